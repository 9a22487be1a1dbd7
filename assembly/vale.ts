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
  NM_BDG_MAXPORTS,
  NM_BDG_MAXRINGS,
  NS_BUF_CHANGED,
  NS_INDIRECT,
  NS_MOREFRAG,
  NS_NO_LEARN,
  NS_PORT_SHIFT,
  NS_TXMON,
  RING_SLOTS,
  SLOT_FLAGS,
  SLOT_SIZE,
} from '../src/abi/netmap';
import {
  ARENA_EPOCHS,
  DROP_BAD_SLOT,
  DROP_CLOSED,
  DROP_DETACHED,
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
  KR_COPY_MON,
  KR_DETACHED,
  KR_DROPS,
  KR_HWCUR,
  KR_HWTAIL,
  KR_LAST_SRC,
  KR_NEXT_RX,
  KR_NEXT_TX,
  KR_NUM_SLOTS,
  KR_ORPHAN,
  KR_PACKETS,
  KR_PORT,
  KR_RELEASED,
  KR_RHEAD,
  KR_RING_ID,
  KR_SIZE,
  KR_TAIL,
  KR_ZCOPY_MON,
  PT_HEADER,
  PT_RX_KRINGS,
  PT_RX_OPEN,
  PT_RX_RINGS,
  SC_ACTIVE,
  SW_BATCH,
  SW_EPOCH,
  SW_LIST,
  SW_LISTS,
  SW_LIST_SIZE,
  SYNC_BUSY,
  SYNC_ERROR,
  SYNC_REINIT,
  SYNC_REMAP,
} from '../src/abi/state';
import { claim, publish, showFinished } from './claim';
import { copyFrame } from './copy';
import { mirrorRuns, mirrorSlots, surrender, surrenderRead } from './monitor';
import { deliverConverted } from './offload';
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
import {
  END,
  FLOOD,
  Q_HEAD,
  Q_PACKETS,
  Q_SLOTS,
  active,
  endRun,
  entryAt,
  firstEntry,
  fitting,
  forgetRuns,
  nextRun,
  noteFragments,
  queueAt,
  runAt,
  slotsOf,
} from './runs';

/** bridge_batch at most: more slots than this are flushed in several rounds. */
const MAX_BATCH: i32 = 1024;
/** Answers of classify() from here on are drop reasons. */
const DROP: u32 = 0x8000;

/** What the sync in progress knows; one sync at a time runs in an instance. */
let state: u32 = 0;
let source: u32 = 0; //      sending kring
let port: u32 = 0; //        its port
let header: u32 = 0; //      virtio-net header in front of its frames
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
  const first = load<u32>(kring, KR_HWCUR);
  if (head != first) {
    state = stateBase;
    source = kring;
    port = load<u32>(kring, KR_PORT);
    const batch = load<i32>(stateBase, SW_BATCH);
    const sent = dist(first, head, load<u32>(kring, KR_NUM_SLOTS));
    const copies = load<u32>(kring, KR_COPY_MON);
    if (copies) answer |= mirrorSlots(state, kring, copies, KR_NEXT_TX, kring, first, sent, NS_TXMON);
    header = load<u32>(portEntry(stateBase, port), PT_HEADER);
    const detached = load<u32>(kring, KR_DETACHED) != 0;
    if (batch > 0 && !detached) forward(ring, head, batch < MAX_BATCH ? batch : MAX_BATCH);
    else drop(detached ? DROP_DETACHED : DROP_DISABLED, sent);
    if (load<u32>(kring, KR_ZCOPY_MON)) answer |= surrender(state, kring, first, sent, NS_TXMON);
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
  const entryBase = entryAt(0);
  let lastSrc = load<u64>(source, KR_LAST_SRC);
  if (lastSrc != NO_MAC && !isLearned(state, lastSrc, port)) lastSrc = NO_MAC;
  let lastDst: u64 = 0;
  let lastQueue: u32 = FLOOD;
  let packets: u64 = 0;
  let bytes: u64 = 0;

  // The run in progress: entries [first, entry), all for `queue`; `more` of them are not a packet's first.
  let queue: u32 = FLOOD;
  let first = entryBase;
  let entry = entryBase;
  let more: u32 = 0;

  let k = load<u32>(source, KR_HWCUR);
  while (k != head) {
    let room = batch - ((entry - entryBase) >> 3);
    if (<i32>room <= 0) {
      endRun(queue, first, entry, more);
      flush();
      first = entry = entryBase;
      more = 0;
      room = batch;
    }
    // Slots in a row, as far as the ring's end and the batch allow.  Behind a virtio-net header nothing is where
    // the short loop looks for it.
    const inRow: u32 = header ? 0 : (head > k ? head : n) - k;
    const start = slots + k * SLOT_SIZE;
    const stop = start + (inRow < room ? inRow : room) * SLOT_SIZE;
    let slot = start;
    let chain = header != 0;
    for (; slot != stop; slot += SLOT_SIZE) {
      const word = load<u64>(slot); // The only read of this slot.
      const len = <u32>(word >> 32) & 0xffff;
      const flags = <u32>(word >> 48);
      if (flags & (NS_BUF_CHANGED | NS_INDIRECT | NS_MOREFRAG | NS_NO_LEARN)) {
        chain = true;
        break;
      }
      bytes += len;
      if (<u32>badIndex(<u32>word, bufCount) | <u32>(len - 14 > bufSize - 14)) {
        dropSlot(<u32>word, len, bufCount);
        continue;
      }
      const frame = bufs + <u32>word * bufSize;
      const src = load<u64>(frame, 6) & MAC_MASK;
      if (src != lastSrc && !(src & 1)) {
        learnMac(state, src, port);
        lastSrc = src;
      }
      const dst = load<u64>(frame) & MAC_MASK;
      if (dst != lastDst) {
        lastDst = dst;
        lastQueue = classify(dst, ringId);
      }
      if (lastQueue != queue) {
        if (lastQueue >= DROP) {
          drop(lastQueue - DROP, 1);
          continue;
        }
        endRun(queue, first, entry, more);
        queue = lastQueue;
        first = entry;
        more = 0;
      }
      store<u64>(entry, <u64>frame | (<u64>(len | (1 << (NS_PORT_SHIFT + 16))) << 32));
      entry += 8;
    }
    const passed = (slot - start) / SLOT_SIZE;
    packets += passed;
    k = k + passed == n ? 0 : k + passed;
    if (!chain) continue;

    // A packet with flags: several slots, or something else out of the ordinary.
    const collected = collectChain(slots, k, head, n, bufs, entry);
    const frags = <u32>collected & 0xffff;
    k = <u32>(collected >> 16) & 0xffff;
    bytes += collected >> 32;
    packets++;
    if (frags == 0) continue; // Dropped, and counted there.
    const frame = ethernetOf(entry, frags);
    if (frame == 0) {
      drop(DROP_SHORT, 1);
      continue;
    }
    const src = load<u64>(frame, 6) & MAC_MASK;
    if (src != lastSrc && !(src & 1) && !noLearn) {
      learnMac(state, src, port);
      lastSrc = src;
    }
    const to = classify(load<u64>(frame) & MAC_MASK, ringId);
    if (to >= DROP) {
      drop(to - DROP, 1);
      continue;
    }
    if (to != queue) {
      endRun(queue, first, entry, more);
      queue = to;
      first = entry;
      more = 0;
    }
    entry += frags << 3;
    more += frags - 1;
  }
  endRun(queue, first, entry, more);
  flush();
  store<u64>(source, lastSrc, KR_LAST_SRC);
  count(source, KR_PACKETS, packets);
  count(source, KR_BYTES, bytes);
}

function dropSlot(index: u32, len: u32, bufCount: u32): void {
  drop(badIndex(index, bufCount) ? DROP_BAD_SLOT : len < 14 ? DROP_SHORT : DROP_OVERSIZE, 1);
}

/** Of the packet that collectChain() has collected last: its sender asks not to be learned. */
let noLearn: bool = false;

const NO_MAC: u64 = 0xffffffffffffffff;

/**
 * Collects a packet whose first slot has flags set: a chain of slots, or a single one.
 * @returns slots entered (0: dropped, and counted) | next slot of the ring << 16 | bytes << 32
 */
function collectChain(slots: u32, start: u32, head: u32, n: u32, bufs: u32, entry: u32): u64 {
  const bufSize = load<u32>(source, KR_BUF_SIZE);
  const bufCount = load<u32>(source, KR_BUF_COUNT);
  let reason: u32 = DROP_REASON_NONE;
  let bytes: u32 = 0;
  let frags: u32 = 0;
  let more = true;
  let k = start;
  while (more && k != head) {
    const slot = slots + k * SLOT_SIZE;
    const word = load<u64>(slot);
    const len = <u32>(word >> 32) & 0xffff;
    const flags = <u32>(word >> 48);
    if (k == start) noLearn = (flags & NS_NO_LEARN) != 0;
    if (flags & NS_BUF_CHANGED) store<u16>(slot, <u16>(flags & ~NS_BUF_CHANGED), SLOT_FLAGS);
    if (badIndex(<u32>word, bufCount)) reason = DROP_BAD_SLOT;
    else if (len > bufSize) reason = DROP_OVERSIZE;
    else if (flags & NS_INDIRECT) reason = DROP_INDIRECT;
    else if (frags == NETMAP_MAX_FRAGS) reason = DROP_FRAGS;
    else store<u64>(entry + (frags++ << 3), <u64>(bufs + <u32>word * bufSize) | (<u64>len << 32));
    more = (flags & NS_MOREFRAG) != 0;
    bytes += len;
    k = k + 1 == n ? 0 : k + 1;
  }
  if (reason != DROP_REASON_NONE) {
    drop(reason, 1);
    frags = 0;
  }
  if (frags > 1) noteFragments();
  for (let i: u32 = 0; i < frags; i++) {
    const flags = (frags << NS_PORT_SHIFT) | (i + 1 < frags ? NS_MOREFRAG : 0);
    store<u16>(entry + (i << 3), <u16>flags, 6);
  }
  return <u64>frags | (<u64>k << 16) | (<u64>bytes << 32);
}

const DROP_REASON_NONE: u32 = 0xff;

/** Where the Ethernet header of a collected packet is, behind its virtio-net header; 0 if it is not whole. */
function ethernetOf(entry: u32, frags: u32): u32 {
  const word = load<u64>(entry);
  const len = <u32>(word >> 32) & 0xffff;
  if (len >= header + 14) return <u32>word + header;
  if (len != header || frags == 1) return 0;
  const second = load<u64>(entry, 8); // The first slot is the header alone.
  return (<u32>(second >> 32) & 0xffff) < 14 ? 0 : <u32>second;
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
    answer |= takeBells(kring);
    for (let m = load<u32>(kring, KR_COPY_MON); m != 0; m = load<u32>(state + m + KR_NEXT_RX)) {
      deliverConverted(state, source, header, target, state + m, a, b);
      answer |= takeBells(state + m);
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
  while (left != 0) {
    // Runs are numbered in the order of their packets; END is beyond all of them.
    const run = runAt(a < b ? a : b);
    if (a < b) a = nextRun(run);
    else b = nextRun(run);
    const some = min(slotsOf(run), left);
    j = copyRun(kring, region, n, j, firstEntry(run), some);
    left -= some;
  }
  publish(state, source, kring, block);
  answer |= takeBells(kring);
  const copies = load<u32>(kring, KR_COPY_MON);
  if (copies) answer |= mirrorRuns(state, source, copies, KR_NEXT_RX, ownHead, floodHead, granted);
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

// ---- receive ---------------------------------------------------------------------------------------------

/** Gives the slots up to head back to the switch, and shows what senders have finished.  Monitors' rings too. */
export function valeRxSync(stateBase: u32, kring: u32, token: u32): u32 {
  if (load<u32>(kring, KR_ORPHAN)) return SYNC_ERROR;
  if (!enter(kring, token)) return SYNC_BUSY;
  store<u32>(kring, atomic.load<u32>(stateBase, SW_EPOCH), KR_BUSY_EPOCH);
  noBells();
  const ring = ringOf(kring, regionOf(kring));
  let result: u32 = 0;
  if (!rxPrologue(kring, ring)) {
    reinit(kring, ring);
    result = SYNC_REINIT;
  } else {
    const head = load<u32>(kring, KR_RHEAD);
    if (head != load<u32>(kring, KR_HWCUR)) {
      if (load<u32>(kring, KR_ZCOPY_MON)) result |= surrenderRead(stateBase, kring);
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
