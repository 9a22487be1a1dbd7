// Monitors: rings that see the frames of other rings (spec ports §3).
//
//   copy        frames are copied, from a TX ring before its port has them, to an RX ring together with them
//   zero-copy   buffers change places with those of the monitor's free slots when a ring is done with them
//
// Runs in the sync of the ring that is watched.  The monitor's ring is filled as a switch port's is (claim.ts):
// several rings may be watched by one monitor, in several processes.  A monitor without room loses the oldest
// frames, counted; whom it watches waits for nothing.

import { NS_BUF_CHANGED, NS_MOREFRAG, RING_SLOTS, SLOT_FLAGS, SLOT_PTR, SLOT_SIZE } from '../src/abi/netmap';
import {
  DROP_FULL,
  DROP_UNMAPPED,
  KR_BUF_COUNT,
  KR_BUF_OFS,
  KR_BUF_SIZE,
  KR_CLAIM,
  KR_DROPS,
  KR_HWCUR,
  KR_NUM_SLOTS,
  KR_RELEASED,
  KR_RHEAD,
  KR_ZCOPY_MON,
} from '../src/abi/state';
import { claim, publish } from './claim';
import { copyFrame } from './copy';
import { badIndex, dist, hasOffsets, offsetIn, regionOf, ringOf, roomBehind, settleOffset, takeBells } from './ring';
import { END, firstEntry, nextRun, runAt, slotsOf } from './runs';

// The monitor's ring being filled.
let bufs: u32 = 0;
let bufSize: u32 = 0;
let bufCount: u32 = 0;
let slot: u32 = 0;
let withOffsets: u32 = 0; // its kring if its slots have offsets, else 0
let firstSlot: u32 = 0;
let endSlot: u32 = 0;

/** Claims room for the newest of `count` slots; answers the block, with how many of the oldest are to be skipped in `skipped`. */
function claimNewest(state: u32, source: u32, monitor: u32, count: u32): u64 {
  const region = regionOf(monitor);
  if (region == 0) {
    lose(monitor, DROP_UNMAPPED, count);
    return 0;
  }
  const n = load<u32>(monitor, KR_NUM_SLOTS);
  let block: u64 = 0;
  let want: u32 = 0;
  do {
    const from = <u32>atomic.load<u64>(monitor + KR_CLAIM) & 0xffff;
    const space = n - 1 - dist(atomic.load<u32>(monitor + KR_RELEASED), from, n);
    want = min(count, space);
    if (want == 0) break;
    block = claim(state, source, monitor, n, want, END, END);
  } while (block == 0); // Another ring has taken the room meanwhile.
  skipped = count - want;
  if (skipped) lose(monitor, DROP_FULL, skipped);
  withOffsets = hasOffsets(monitor) ? monitor : 0;
  bufs = region + load<u32>(monitor, KR_BUF_OFS);
  bufSize = load<u32>(monitor, KR_BUF_SIZE);
  bufCount = load<u32>(monitor, KR_BUF_COUNT);
  firstSlot = ringOf(monitor, region) + RING_SLOTS;
  endSlot = firstSlot + n * SLOT_SIZE;
  slot = firstSlot + ((<u32>block >> 16) & 0xffff) * SLOT_SIZE;
  return block;
}

let skipped: u32 = 0;

/** Several rings may count at once. */
function lose(monitor: u32, reason: u32, slots: u32): void {
  atomic.add<u64>(monitor + KR_DROPS + reason * 8, slots);
}

/** Copies a frame into the monitor's next slot, cut to its buffer. */
@inline
function put(from: u32, len: u32, flags: u32): void {
  const index = load<u32>(slot);
  if (badIndex(index, bufCount)) {
    store<u32>(slot, flags << 16, 4);
  } else {
    const offset = withOffsets ? settleOffset(withOffsets, slot) : 0;
    const kept = min(len, withOffsets ? roomBehind(withOffsets, offset) : bufSize);
    copyFrame(bufs + index * bufSize + offset, from, kept);
    store<u32>(slot, kept | (flags << 16), 4);
  }
  slot += SLOT_SIZE;
  if (slot == endSlot) slot = firstSlot;
}

/**
 * Shows slots of a ring to the copy monitors on it.
 * @param list  first of them, `next` where each names the one after it
 * @param mark  NS_TXMON, or 0
 * @returns bits as a sync
 */
export function mirrorSlots(
  state: u32,
  source: u32,
  list: u32,
  next: u32,
  watched: u32,
  first: u32,
  count: u32,
  mark: u32,
): u32 {
  const region = regionOf(watched);
  const n = load<u32>(watched, KR_NUM_SLOTS);
  const slots = ringOf(watched, region) + RING_SLOTS;
  const from = region + load<u32>(watched, KR_BUF_OFS);
  const size = load<u32>(watched, KR_BUF_SIZE);
  const buffers = load<u32>(watched, KR_BUF_COUNT);
  const offsets = hasOffsets(watched);
  let answer: u32 = 0;
  for (let m = list; m != 0; m = load<u32>(state + m + next)) {
    const monitor = state + m;
    const block = claimNewest(state, source, monitor, count);
    if (block == 0) continue;
    let k = first + skipped;
    if (k >= n) k -= n;
    for (let left = <u32>block & 0xffff; left != 0; left--) {
      const word = load<u64>(slots + k * SLOT_SIZE);
      const len = <u32>(word >> 32) & 0xffff;
      const flags = (<u32>(word >> 48) & NS_MOREFRAG) | mark;
      const offset = offsets ? offsetIn(watched, load<u64>(slots + k * SLOT_SIZE, SLOT_PTR)) : 0;
      const bad = <u32>badIndex(<u32>word, buffers) | <u32>(len > size - offset);
      put(from + (bad ? 0 : <u32>word * size + offset), bad ? 0 : len, flags);
      k = k + 1 == n ? 0 : k + 1;
    }
    publish(state, source, monitor, block);
    answer |= takeBells(monitor);
  }
  return answer;
}

/** The same for what a batch has just delivered to a ring: the first `count` slots of two queues. */
export function mirrorRuns(
  state: u32,
  source: u32,
  list: u32,
  next: u32,
  ownHead: u32,
  floodHead: u32,
  count: u32,
): u32 {
  let answer: u32 = 0;
  for (let m = list; m != 0; m = load<u32>(state + m + next)) {
    const monitor = state + m;
    const block = claimNewest(state, source, monitor, count);
    if (block == 0) continue;
    let skip = skipped;
    let left = <u32>block & 0xffff;
    let a = ownHead;
    let b = floodHead;
    while (left != 0) {
      const run = runAt(a < b ? a : b);
      if (a < b) a = nextRun(run);
      else b = nextRun(run);
      const inRun = slotsOf(run);
      if (skip >= inRun) {
        skip -= inRun;
        continue;
      }
      let at = firstEntry(run) + (skip << 3);
      const some = min(inRun - skip, left);
      skip = 0;
      left -= some;
      for (const stop = at + (some << 3); at != stop; at += 8) {
        const entry = load<u64>(at);
        put(<u32>entry, <u32>(entry >> 32) & 0xffff, <u32>(entry >> 48));
      }
    }
    publish(state, source, monitor, block);
    answer |= takeBells(monitor);
  }
  return answer;
}

/**
 * Gives the buffers of slots that a ring is done with to its zero-copy monitor, against free ones.
 * @returns bits as a sync
 */
export function surrender(state: u32, watched: u32, first: u32, count: u32, mark: u32): u32 {
  const monitor = state + load<u32>(watched, KR_ZCOPY_MON);
  const block = claimNewest(state, watched, monitor, count);
  if (block == 0) return 0;
  const n = load<u32>(watched, KR_NUM_SLOTS);
  const slots = ringOf(watched, regionOf(watched)) + RING_SLOTS;
  let k = first + skipped;
  if (k >= n) k -= n;
  for (let left = <u32>block & 0xffff; left != 0; left--) {
    const given = slots + k * SLOT_SIZE;
    const word = load<u64>(given);
    const taken = load<u32>(slot);
    const len = <u32>(word >> 32) & 0xffff;
    const flags = <u32>(word >> 48);
    if (<u32>badIndex(<u32>word, bufCount) | <u32>badIndex(taken, bufCount)) {
      store<u32>(slot, mark << 16, 4);
    } else {
      const shown = (flags & NS_MOREFRAG) | mark;
      store<u64>(slot, (word & 0xffffffff) | (<u64>(min(len, bufSize) | (shown << 16)) << 32));
      store<u64>(slot, load<u64>(given, SLOT_PTR), SLOT_PTR); // An offset goes with its buffer.
      store<u32>(given, taken);
      store<u16>(given, <u16>(flags | NS_BUF_CHANGED), SLOT_FLAGS);
    }
    slot += SLOT_SIZE;
    if (slot == endSlot) slot = firstSlot;
    k = k + 1 == n ? 0 : k + 1;
  }
  publish(state, watched, monitor, block);
  return takeBells(monitor);
}

/** The same for what the reader of an RX ring has just given back: the slots up to its head. */
export function surrenderRead(state: u32, watched: u32): u32 {
  const first = load<u32>(watched, KR_HWCUR);
  const read = dist(first, load<u32>(watched, KR_RHEAD), load<u32>(watched, KR_NUM_SLOTS));
  return read ? surrender(state, watched, first, read, 0) : 0;
}
