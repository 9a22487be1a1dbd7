// The VALE switch: classify a batch, then deliver one destination at a time (spec ports §1.6-1.10).
//
// Runs in the sender, in the time of its txSync, on memory it shares with the receivers:
//
//   collect    slots [hwcur, head) are read once, checked, and chained to the queue of their destination
//   deliver    per destination: claim slots, copy, publish.  No lock is held across a copy.
//
// How several senders fill one ring, and why a death at any instruction can be repaired: see claim.ts.

import {
  NETMAP_MAX_FRAGS,
  NM_BDG_MAXRINGS,
  NS_BUF_CHANGED,
  NS_INDIRECT,
  NS_MOREFRAG,
  NS_NO_LEARN,
  NS_PORT_SHIFT,
  RING_SLOTS,
  SLOT_FLAGS,
  SLOT_SIZE,
} from '../src/abi/netmap';
import {
  ARENA_EPOCHS,
  DROP_BAD_SLOT,
  DROP_CLOSED,
  DROP_DISABLED,
  DROP_FRAGS,
  DROP_FULL,
  DROP_INDIRECT,
  DROP_OVERSIZE,
  DROP_SELF,
  DROP_SHORT,
  DROP_UNMAPPED,
  KR_BUF_COUNT,
  KR_BUF_OFS,
  KR_BUF_SIZE,
  KR_BUSY_EPOCH,
  KR_BYTES,
  KR_DROPS,
  KR_HWCUR,
  KR_HWTAIL,
  KR_LAST_SRC,
  KR_NUM_SLOTS,
  KR_PACKETS,
  KR_PORT,
  KR_RELEASED,
  KR_RHEAD,
  KR_RING_ID,
  KR_SIZE,
  KR_TAIL,
  PT_RX_KRINGS,
  PT_RX_OPEN,
  PT_RX_RINGS,
  SC_ACTIVE,
  SC_ENTRIES,
  SC_LINKS,
  SC_QUEUES,
  SW_BATCH,
  SW_EPOCH,
  SW_LIST,
  SW_LISTS,
  SW_LIST_SIZE,
  SYNC_BUSY,
  SYNC_REINIT,
  SYNC_REMAP,
  SYNC_UNMAPPED,
} from '../src/abi/state';
import { claim, publish, showFinished } from './claim';
import { copyFrame } from './copy';
import { isLearned, learnMac, lookupMac, MAC_MASK, portEntry } from './mac-table';
import {
  badIndex,
  count,
  dist,
  enter,
  finish,
  leave,
  noBells,
  regionOf,
  reinit,
  ringOf,
  rxPrologue,
  scratch,
  takeBells,
  txPrologue,
} from './ring';

/** bridge_batch at most: more slots than this are flushed in several rounds. */
const MAX_BATCH: i32 = 1024;
const FLOOD: u32 = 254 * NM_BDG_MAXRINGS;
/** Answers of classify() from here on are drop reasons. */
const DROP: u32 = 0x8000;
const END: u32 = 0xffff;

// A queue: the packets of this batch that go to one ring, chained through the links.
const Q_HEAD = 0; //    u16
const Q_TAIL = 2; //    u16
const Q_SLOTS = 4; //   u16
const Q_PACKETS = 6; // u16

@inline
function queueAt(index: u32): u32 {
  return scratch + SC_QUEUES + (index << 3);
}

/** What the sync in progress knows; one sync at a time runs in an instance. */
let state: u32 = 0;
let source: u32 = 0; //      sending kring
let port: u32 = 0; //        its port
let active: u32 = 0; //      unicast queues in use
let entries: u32 = 0; //     slots collected
let fragmented: bool = false;
let answer: u32 = 0;

/** Sends every slot up to head: all are consumed, whatever becomes of the packets. */
export function valeTxSync(stateBase: u32, kring: u32, token: u32, stateSlot: u32): u32 {
  if (!enter(kring, token)) return SYNC_BUSY;
  // Entering comes before reading the epoch: the module, having moved it on, waits for whoever entered earlier.
  const epoch = atomic.load<u32>(stateBase, SW_EPOCH);
  if (epoch != load<u32>(ARENA_EPOCHS + (stateSlot << 2))) {
    leave(kring);
    return SYNC_REMAP;
  }
  store<u32>(kring, epoch, KR_BUSY_EPOCH);
  noBells();
  const ring = ringOf(kring, regionOf(kring));
  answer = 0;
  if (!txPrologue(kring, ring)) {
    reinit(kring, ring);
    leave(kring);
    return SYNC_REINIT;
  }
  const head = load<u32>(kring, KR_RHEAD);
  if (head != load<u32>(kring, KR_HWCUR)) {
    state = stateBase;
    source = kring;
    port = load<u32>(kring, KR_PORT);
    const batch = load<i32>(stateBase, SW_BATCH);
    if (batch > 0) forward(ring, head, batch < MAX_BATCH ? batch : MAX_BATCH);
    else drop(DROP_DISABLED, dist(load<u32>(kring, KR_HWCUR), head, load<u32>(kring, KR_NUM_SLOTS)));
    store<u32>(kring, head, KR_HWCUR);
  }
  store<u32>(kring, head == 0 ? load<u32>(kring, KR_NUM_SLOTS) - 1 : head - 1, KR_HWTAIL);
  finish(kring, ring);
  leave(kring);
  return answer;
}

@inline
function drop(reason: u32, packets: u64): void {
  count(source, KR_DROPS + reason * 8, packets);
}

// ---- collect ---------------------------------------------------------------------------------------------

function forward(ring: u32, head: u32, batch: u32): void {
  const slots = ring + RING_SLOTS;
  const n = load<u32>(source, KR_NUM_SLOTS);
  const bufs = regionOf(source) + load<u32>(source, KR_BUF_OFS);
  const bufSize = load<u32>(source, KR_BUF_SIZE);
  const bufCount = load<u32>(source, KR_BUF_COUNT);
  const ringId = load<u32>(source, KR_RING_ID);
  let lastSrc = load<u64>(source, KR_LAST_SRC);
  if (lastSrc != ~<u64>0 && !isLearned(state, lastSrc, port)) lastSrc = ~<u64>0;
  let lastDst: u64 = 0;
  let lastQueue: u32 = FLOOD;
  let packets: u64 = 0;
  let bytes: u64 = 0;

  begin();
  let k = load<u32>(source, KR_HWCUR);
  while (k != head) {
    if (entries >= batch) flush();
    const slot = slots + k * SLOT_SIZE;
    const word = load<u64>(slot); // The only read of this slot.
    const len = <u32>(word >> 32) & 0xffff;
    const flags = <u32>(word >> 48);
    const frame = bufs + <u32>word * bufSize;
    packets++;
    if (flags & (NS_BUF_CHANGED | NS_INDIRECT | NS_MOREFRAG)) {
      if (flags & NS_BUF_CHANGED) store<u16>(slot, <u16>(flags & ~NS_BUF_CHANGED), SLOT_FLAGS);
      if (flags & NS_MOREFRAG) {
        // A chain: its slots are entered first, then classified by the first of them.
        const first = entries;
        let reason: u32 = DROP_REASON_NONE;
        let more = true;
        while (more && k != head) {
          const at = slots + k * SLOT_SIZE;
          const part = load<u64>(at);
          const partLen = <u32>(part >> 32) & 0xffff;
          const partFlags = <u32>(part >> 48);
          if (partFlags & NS_BUF_CHANGED) store<u16>(at, <u16>(partFlags & ~NS_BUF_CHANGED), SLOT_FLAGS);
          if (badIndex(<u32>part, bufCount)) reason = DROP_BAD_SLOT;
          else if (partLen > bufSize) reason = DROP_OVERSIZE;
          else if (partFlags & NS_INDIRECT) reason = DROP_INDIRECT;
          else if (entries - first == NETMAP_MAX_FRAGS) reason = DROP_FRAGS;
          else addEntry(bufs + <u32>part * bufSize, partLen);
          more = (partFlags & NS_MOREFRAG) != 0;
          bytes += partLen;
          k = k + 1 == n ? 0 : k + 1;
        }
        const frags = entries - first;
        if (reason != DROP_REASON_NONE || len < 14) {
          entries = first;
          drop(reason != DROP_REASON_NONE ? reason : DROP_SHORT, 1);
          continue;
        }
        const src = load<u64>(frame, 6) & MAC_MASK;
        if (src != lastSrc && !(src & 1) && !(flags & NS_NO_LEARN)) {
          learnMac(state, src, port);
          lastSrc = src;
        }
        const dst = load<u64>(frame) & MAC_MASK;
        const queue = classify(dst, ringId);
        if (queue >= DROP) {
          entries = first;
          drop(queue - DROP, 1);
          continue;
        }
        fragmented = fragmented || frags > 1;
        setFragments(first, frags);
        append(queue, first, frags);
        continue;
      }
      if (flags & NS_INDIRECT) {
        drop(DROP_INDIRECT, 1);
        k = k + 1 == n ? 0 : k + 1;
        continue;
      }
    }
    k = k + 1 == n ? 0 : k + 1;
    bytes += len;
    if (badIndex(<u32>word, bufCount)) {
      drop(DROP_BAD_SLOT, 1);
      continue;
    }
    if (len - 14 > bufSize - 14) {
      drop(len < 14 ? DROP_SHORT : DROP_OVERSIZE, 1);
      continue;
    }
    const src = load<u64>(frame, 6) & MAC_MASK;
    if (src != lastSrc && !(src & 1) && !(flags & NS_NO_LEARN)) {
      learnMac(state, src, port);
      lastSrc = src;
    }
    const dst = load<u64>(frame) & MAC_MASK;
    if (dst != lastDst) {
      lastDst = dst;
      lastQueue = classify(dst, ringId);
    }
    if (lastQueue >= DROP) {
      drop(lastQueue - DROP, 1);
      continue;
    }
    const entry = entries;
    addEntry(frame, len);
    append(lastQueue, entry, 1);
  }
  flush();
  store<u64>(source, lastSrc, KR_LAST_SRC);
  count(source, KR_PACKETS, packets);
  count(source, KR_BYTES, bytes);
}

const DROP_REASON_NONE: u32 = 0xff;

// An entry: address of the frame in the sender's memory | length << 32 | slots of the packet << 48.
@inline
function addEntry(frame: u32, len: u32): void {
  store<u64>(scratch + SC_ENTRIES + (entries << 3), <u64>frame | (<u64>len << 32) | (<u64>1 << 48));
  entries++;
}

@inline
function setFragments(entry: u32, frags: u32): void {
  store<u16>(scratch + SC_ENTRIES + (entry << 3), <u16>frags, 6);
}

function begin(): void {
  entries = 0;
  active = 0;
  fragmented = false;
}

@inline
function append(queue: u32, entry: u32, slots: u32): void {
  const q = queueAt(queue);
  const filled = load<u16>(q, Q_SLOTS);
  if (filled == 0) {
    store<u16>(q, <u16>entry, Q_HEAD);
    if (queue != FLOOD) {
      store<u32>(scratch + SC_ACTIVE + (active << 2), queue);
      active++;
    }
  } else {
    store<u16>(scratch + SC_LINKS + (<u32>load<u16>(q, Q_TAIL) << 1), <u16>entry);
  }
  store<u16>(scratch + SC_LINKS + (entry << 1), <u16>END);
  store<u16>(q, <u16>entry, Q_TAIL);
  store<u16>(q, <u16>(filled + slots), Q_SLOTS);
  store<u16>(q, load<u16>(q, Q_PACKETS) + 1, Q_PACKETS);
}

/** Where a frame to `dst` goes: a queue, FLOOD, or DROP + reason. */
function classify(dst: u64, ringId: u32): u32 {
  if (dst & 1) return FLOOD;
  const to = lookupMac(state, dst);
  if (to < 0) return FLOOD;
  if (<u32>to == port) return DROP + DROP_SELF;
  const target = portEntry(state, to);
  const rings = load<u32>(target, PT_RX_RINGS);
  const ring = ringId < rings ? ringId : rings == 0 ? 0 : ringId % rings;
  if (!((load<u32>(target, PT_RX_OPEN) >> ring) & 1)) return DROP + DROP_CLOSED;
  return <u32>to * NM_BDG_MAXRINGS + ring;
}

// ---- deliver ---------------------------------------------------------------------------------------------

function flush(): void {
  const flood = queueAt(FLOOD);
  if (load<u16>(flood, Q_SLOTS) != 0) {
    const list = state + SW_LISTS + atomic.load<u32>(state, SW_LIST) * SW_LIST_SIZE;
    const members = <u32>load<u16>(list);
    for (let i: u32 = 0; i < members && i < 254; i++) {
      const to = <u32>load<u16>(list + 2 + (i << 1));
      if (to == port || to > 253 || !(load<u32>(portEntry(state, to), PT_RX_OPEN) & 1)) continue;
      deliver(to, 0, queueAt(to * NM_BDG_MAXRINGS), flood);
    }
    store<u64>(flood, 0);
  }
  for (let i: u32 = 0; i < active; i++) {
    const queue = load<u32>(scratch + SC_ACTIVE + (i << 2));
    const q = queueAt(queue);
    if (load<u16>(q, Q_SLOTS) != 0) deliver(queue / NM_BDG_MAXRINGS, queue % NM_BDG_MAXRINGS, q, 0);
  }
  begin();
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
    answer |= SYNC_UNMAPPED;
    drop(DROP_UNMAPPED, packets);
    return;
  }
  const n = load<u32>(kring, KR_NUM_SLOTS);
  const block = claim(state, source, kring, n, need, a, b);
  const granted = <u32>block & 0xffff;
  if (granted == 0) {
    drop(DROP_FULL, packets);
    return;
  }
  const slotsAt = ringOf(kring, region) + RING_SLOTS;
  const bufs = region + load<u32>(kring, KR_BUF_OFS);
  const bufSize = load<u32>(kring, KR_BUF_SIZE);
  const bufCount = load<u32>(kring, KR_BUF_COUNT);
  let left = granted;
  let done: u32 = 0;
  let j = <u32>(block >> 16) & 0xffff;
  while (left != 0) {
    let i = a;
    if (a < b) {
      a = load<u16>(scratch + SC_LINKS + (a << 1));
    } else {
      i = b;
      b = load<u16>(scratch + SC_LINKS + (b << 1));
    }
    const entry = load<u64>(scratch + SC_ENTRIES + (i << 3));
    let frags = <u32>(entry >> 48);
    done++;
    if (frags == 1) {
      put(slotsAt + j * SLOT_SIZE, bufs, bufSize, bufCount, entry, 1 << NS_PORT_SHIFT);
      j = j + 1 == n ? 0 : j + 1;
      left--;
      continue;
    }
    left -= frags;
    const flags = frags << NS_PORT_SHIFT;
    for (; frags != 0; frags--, i++) {
      put(slotsAt + j * SLOT_SIZE, bufs, bufSize, bufCount, load<u64>(scratch + SC_ENTRIES + (i << 3)), frags > 1 ? flags | NS_MOREFRAG : flags);
      j = j + 1 == n ? 0 : j + 1;
    }
  }
  publish(source, kring, block);
  answer |= takeBells(kring);
  if (done < packets) drop(DROP_FULL, packets - done);
}

/** Copies one slot; the receiver may have put anything in its slot, so its buffer index is checked. */
@inline
function put(slot: u32, bufs: u32, bufSize: u32, bufCount: u32, entry: u64, flags: u32): void {
  const index = load<u32>(slot);
  let len = <u32>(entry >> 32) & 0xffff;
  if (badIndex(index, bufCount) || len > bufSize) {
    drop(badIndex(index, bufCount) ? DROP_BAD_SLOT : DROP_OVERSIZE, 1);
    len = 0;
  } else {
    copyFrame(bufs + index * bufSize, <u32>entry, len);
  }
  store<u32>(slot, len | (flags << 16), 4);
}

/** How many slots of the two chains make whole packets within `space`. */
export function wholePackets(space: u32, ownHead: u32, floodHead: u32): u32 {
  if (!fragmented) return space;
  let a = ownHead;
  let b = floodHead;
  let total: u32 = 0;
  while (a != b) {
    let i = a;
    if (a < b) {
      a = load<u16>(scratch + SC_LINKS + (a << 1));
    } else {
      i = b;
      b = load<u16>(scratch + SC_LINKS + (b << 1));
    }
    const frags = <u32>load<u16>(scratch + SC_ENTRIES + (i << 3), 6);
    if (total + frags > space) break;
    total += frags;
  }
  return total;
}

// ---- receive ---------------------------------------------------------------------------------------------

/** Gives the slots up to head back to the switch, and shows what senders have finished. */
export function valeRxSync(stateBase: u32, kring: u32, token: u32): u32 {
  if (!enter(kring, token)) return SYNC_BUSY;
  store<u32>(kring, atomic.load<u32>(stateBase, SW_EPOCH), KR_BUSY_EPOCH);
  const ring = ringOf(kring, regionOf(kring));
  let result: u32 = 0;
  if (!rxPrologue(kring, ring)) {
    reinit(kring, ring);
    result = SYNC_REINIT;
  } else {
    const head = load<u32>(kring, KR_RHEAD);
    if (head != load<u32>(kring, KR_HWCUR)) {
      store<u32>(kring, head, KR_HWCUR);
      atomic.store<u32>(kring + KR_RELEASED, head);
    }
    count(kring, KR_PACKETS, showFinished(stateBase, kring));
    store<u32>(kring, load<u32>(kring, KR_TAIL), KR_HWTAIL);
    finish(kring, ring);
  }
  leave(kring);
  return result;
}
