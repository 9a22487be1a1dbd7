// Delivery: per destination, claim slots, copy, publish.  No lock is held across a copy.
//
// How several senders fill one ring, and why a death at any instruction can be repaired: see claim.ts.

import { NM_BDG_MAXPORTS, NM_BDG_MAXRINGS, NS_MOREFRAG, RING_SLOTS, SLOT_SIZE } from '../src/abi/netmap';
import {
  DROP_BAD_SLOT,
  DROP_FULL,
  DROP_OVERSIZE,
  DROP_TOO_LONG,
  DROP_UNMAPPED,
  KR_BUF_COUNT,
  KR_BUF_OFS,
  KR_BUF_SIZE,
  KR_COPY_MON,
  KR_NEXT_RX,
  KR_NUM_SLOTS,
  KR_SIZE,
  PT_HEADER,
  PT_LONGEST,
  PT_RX_KRINGS,
  PT_RX_OPEN,
  PT_TAGGED,
  SC_ACTIVE,
  SW_LIST,
  SW_LISTS,
  SW_LIST_SIZE,
} from '../src/abi/state';
import { claim, publish } from './claim';
import { copyFrame } from './copy';
import { portEntry } from './mac-table';
import { mirrorRuns } from './monitor';
import { deliverConverted } from './offload';
import { badIndex, hasOffsets, regionOf, ringOf, roomBehind, scratch, settleOffset, takeBells } from './ring';
import {
  END,
  FLOOD,
  Q_HEAD,
  Q_PACKETS,
  Q_SLOTS,
  active,
  firstEntry,
  fitting,
  forgetRuns,
  nextRun,
  queueAt,
  runAt,
  slotsOf,
} from './runs';
import { drop, header, note, port, source, state, tag } from './sender';

/** Delivers what has been collected, one destination at a time. */
export function flush(): void {
  const flood = queueAt(FLOOD);
  if (load<u16>(flood, Q_SLOTS) != 0) {
    const list = state + SW_LISTS + atomic.load<u32>(state, SW_LIST) * SW_LIST_SIZE;
    const members = <u32>load<u16>(list);
    for (let i: u32 = 0; i < members && i < <u32>NM_BDG_MAXPORTS; i++) {
      const to = <u32>load<u16>(list + 2 + (i << 1));
      if (to == port || to >= <u32>NM_BDG_MAXPORTS || !(load<u32>(portEntry(state, to), PT_RX_OPEN) & 1)) continue;
      deliver(to, 0, queueAt(to * NM_BDG_MAXRINGS), flood);
    }
    store<u64>(flood, 0);
  }
  for (let i: u32 = 0; i < active; i++) {
    const queue = load<u32>(scratch + SC_ACTIVE + (i << 2));
    const q = queueAt(queue);
    if (load<u16>(q, Q_SLOTS) != 0) deliver(queue / NM_BDG_MAXRINGS, queue % NM_BDG_MAXRINGS, q, 0);
  }
  forgetRuns();
}

/** Brings the packets of a queue, merged in order with the flooded ones, to one ring; empties the queue. */
function deliver(to: u32, ringIndex: u32, own: u32, flood: u32): void {
  const slots: u32 = load<u16>(own, Q_SLOTS);
  const packets: u32 = load<u16>(own, Q_PACKETS) + (flood ? load<u16>(flood, Q_PACKETS) : 0);
  const need: u32 = slots + (flood ? load<u16>(flood, Q_SLOTS) : 0);
  let a: u32 = slots ? <u32>load<u16>(own, Q_HEAD) : END;
  let b: u32 = flood ? <u32>load<u16>(flood, Q_HEAD) : END;
  store<u64>(own, 0);

  const kring = state + load<u32>(portEntry(state, to), PT_RX_KRINGS) + ringIndex * KR_SIZE;
  const region = regionOf(kring);
  if (region == 0) {
    drop(DROP_UNMAPPED, packets);
    return;
  }
  if (load<u32>(portEntry(state, to), PT_HEADER) != header) {
    const target = portEntry(state, to);
    deliverConverted(state, source, header, target, kring, a, b);
    note(takeBells(kring));
    for (let m = load<u32>(kring, KR_COPY_MON); m != 0; m = load<u32>(state + m + KR_NEXT_RX)) {
      deliverConverted(state, source, header, target, state + m, a, b);
      note(takeBells(state + m));
    }
    return;
  }
  const ownHead = a;
  const floodHead = b;
  const n = load<u32>(kring, KR_NUM_SLOTS);
  const block = claim(state, source, kring, n, need, a, b);
  const granted = <u32>block & 0xffff;
  if (granted == 0) {
    drop(DROP_FULL, packets);
    return;
  }
  if (granted < need) drop(DROP_FULL, packets - fitting);
  let j = <u32>(block >> 16) & 0xffff;
  let left = granted;
  const longest = load<u32>(portEntry(state, to), PT_LONGEST);
  const plain = longest == 0 && !hasOffsets(kring);
  while (left != 0) {
    // Runs are numbered in the order of their packets; END is beyond all of them.
    const run = runAt(a < b ? a : b);
    if (a < b) a = nextRun(run);
    else b = nextRun(run);
    const some = min(slotsOf(run), left);
    if (plain) j = copyRun(kring, region, n, j, firstEntry(run), some);
    else j = copyRunWithin(kring, region, n, j, firstEntry(run), some, longest ? longest + header : 0xffffffff);
    left -= some;
  }
  if (load<u32>(portEntry(state, to), PT_TAGGED)) tag(kring, region, block);
  publish(state, source, kring, block);
  note(takeBells(kring));
  const copies = load<u32>(kring, KR_COPY_MON);
  if (copies) note(mirrorRuns(state, source, copies, KR_NEXT_RX, ownHead, floodHead, granted));
}

/**
 * Copies `slots` entries to the slots from `j` on; answers the slot after them.  The receiver may have put
 * anything into its slots, so their buffer indices are checked.
 */
function copyRun(kring: u32, region: u32, n: u32, j: u32, from: u32, slots: u32): u32 {
  const ring = ringOf(kring, region) + RING_SLOTS;
  const bufs = region + load<u32>(kring, KR_BUF_OFS);
  const bufSize = load<u32>(kring, KR_BUF_SIZE);
  const bufCount = load<u32>(kring, KR_BUF_COUNT);
  const end = ring + n * SLOT_SIZE;
  const stop = from + (slots << 3);
  let slot = ring + j * SLOT_SIZE;
  for (let at = from; at != stop; at += 8) {
    const entry = load<u64>(at);
    const index = load<u32>(slot);
    const word = <u32>(entry >> 32);
    const len = word & 0xffff;
    if (<u32>badIndex(index, bufCount) | <u32>(len > bufSize)) {
      drop(badIndex(index, bufCount) ? DROP_BAD_SLOT : DROP_OVERSIZE, 1);
      store<u32>(slot, word & 0xffff0000, 4);
    } else {
      copyFrame(bufs + index * bufSize, <u32>entry, len);
      store<u32>(slot, word, 4);
    }
    slot += SLOT_SIZE;
    if (slot == end) slot = ring;
  }
  return (slot - ring) / SLOT_SIZE;
}

/** The same for a ring with offsets, or a port that takes no frame longer than `longest`, its header included. */
function copyRunWithin(kring: u32, region: u32, n: u32, j: u32, from: u32, slots: u32, longest: u32): u32 {
  const ring = ringOf(kring, region) + RING_SLOTS;
  const bufs = region + load<u32>(kring, KR_BUF_OFS);
  const bufSize = load<u32>(kring, KR_BUF_SIZE);
  const bufCount = load<u32>(kring, KR_BUF_COUNT);
  const stop = from + (slots << 3);
  let slot = j;
  let after = from; // Where the next packet begins.
  let fits = true;
  for (let at = from; at != stop; at += 8) {
    if (at == after) {
      let length: u32 = 0;
      let more: u32 = NS_MOREFRAG;
      for (; more != 0 && after != stop; after += 8) {
        length += load<u16>(after, 4);
        more = <u32>load<u16>(after, 6) & NS_MOREFRAG;
      }
      fits = length <= longest;
      if (!fits) drop(DROP_TOO_LONG, 1);
    }
    const entry = load<u64>(at);
    const word = <u32>(entry >> 32);
    const len = word & 0xffff;
    const target = ring + slot * SLOT_SIZE;
    const index = load<u32>(target);
    const offset = hasOffsets(kring) ? settleOffset(kring, target) : 0;
    const bad = badIndex(index, bufCount);
    if (fits && !bad && len <= roomBehind(kring, offset)) {
      copyFrame(bufs + index * bufSize + offset, <u32>entry, len);
      store<u32>(target, word, 4);
    } else {
      if (fits) drop(bad ? DROP_BAD_SLOT : DROP_OVERSIZE, 1);
      store<u32>(target, word & 0xffff0000, 4);
    }
    slot = slot + 1 == n ? 0 : slot + 1;
  }
  return slot;
}
