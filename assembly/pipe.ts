// Netmap pipes: slots, not bytes, go from one end to the other (spec ports §2.4).
//
//   TX ring of one end   [ .. hwcur ====== head .. ]      slot k of the TX ring corresponds to slot k of the
//                              | copied whole             peer's RX ring; each buffer is owned by one side,
//                              v                          the other side's slot k is a stale copy.
//   RX ring of the peer  [ .. ptail -----> .....  ]       ptail: what the peer publishes as our hwtail.
//
// One writer per ptail, slots before ptail, ptail before slots at the reader: no lock, one publish a batch.

import { NS_BUF_CHANGED, NS_MOREFRAG, NS_TXMON, RING_SLOTS, SLOT_FLAGS, SLOT_PTR, SLOT_SIZE } from '../src/abi/netmap';
import {
  ARENA_EPOCHS,
  DROP_BAD_SLOT,
  DROP_OVERSIZE,
  KR_BUF_COUNT,
  KR_BUF_OFS,
  KR_BUF_SIZE,
  KR_BUSY_EPOCH,
  KR_BYTES,
  KR_COPY_MON,
  KR_DROPS,
  KR_HWCUR,
  KR_HWTAIL,
  KR_NEXT_RX,
  KR_NEXT_TX,
  KR_NUM_SLOTS,
  KR_PACKETS,
  KR_PEER,
  KR_PTAIL,
  KR_RHEAD,
  KR_ZCOPY_MON,
  SW_EPOCH,
  SYNC_BUSY,
  SYNC_REINIT,
  SYNC_REMAP,
} from '../src/abi/state';
import { mirrorSlots, surrender, surrenderRead } from './monitor';
import {
  badIndex,
  count,
  dist,
  enter,
  finish,
  hasOffsets,
  leave,
  noBells,
  offsetIn,
  regionOf,
  reinit,
  ringOf,
  roomBehind,
  rxPrologue,
  takeBells,
  txPrologue,
  withOffset,
} from './ring';

/** Hands the slots up to head to the other end, and learns which ones came back. */
export function pipeTxSync(state: u32, kring: u32, token: u32, stateSlot: u32): u32 {
  if (!enter(kring, token)) return SYNC_BUSY;
  const epoch = atomic.load<u32>(state, SW_EPOCH);
  const peer = state + load<u32>(kring, KR_PEER);
  const txCopies = load<u32>(kring, KR_COPY_MON);
  const rxCopies = load<u32>(peer, KR_COPY_MON);
  if ((txCopies | rxCopies) != 0 && epoch != load<u32>(ARENA_EPOCHS + (stateSlot << 2))) {
    leave(kring);
    return SYNC_REMAP;
  }
  store<u32>(kring, epoch, KR_BUSY_EPOCH);
  noBells();
  const ring = ringOf(kring, regionOf(kring));
  let answer = takeReturned(state, kring);
  if (!txPrologue(kring, ring)) {
    reinit(kring, ring);
    answer |= SYNC_REINIT;
  } else {
    const first = load<u32>(kring, KR_HWCUR);
    const sent = dist(first, load<u32>(kring, KR_RHEAD), load<u32>(kring, KR_NUM_SLOTS));
    if (sent != 0) {
      if (txCopies) answer |= mirrorSlots(state, kring, txCopies, KR_NEXT_TX, kring, first, sent, NS_TXMON);
      if (rxCopies) answer |= mirrorSlots(state, kring, rxCopies, KR_NEXT_RX, kring, first, sent, 0);
      answer |= sendSlots(peer, kring, ring);
    }
    finish(kring, ring);
  }
  leave(kring);
  return answer;
}

/** Which slots the peer has given back. */
function takeReturned(state: u32, kring: u32): u32 {
  const tail = atomic.load<u32>(kring, KR_PTAIL);
  let answer: u32 = 0;
  if (load<u32>(kring, KR_ZCOPY_MON)) {
    const n = load<u32>(kring, KR_NUM_SLOTS);
    const before = load<u32>(kring, KR_HWTAIL);
    const returned = dist(before, tail, n);
    if (returned) answer = surrender(state, kring, before + 1 == n ? 0 : before + 1, returned, NS_TXMON);
  }
  store<u32>(kring, tail, KR_HWTAIL);
  return answer;
}

function sendSlots(peer: u32, kring: u32, ring: u32): u32 {
  const n = load<u32>(kring, KR_NUM_SLOTS);
  const head = load<u32>(kring, KR_RHEAD);
  const from = ring + RING_SLOTS;
  const to = ringOf(peer, regionOf(peer)) + RING_SLOTS;
  const first = load<u32>(kring, KR_HWCUR);
  complete = NONE;
  const slots = dist(first, head, n);
  if (hasOffsets(kring) || hasOffsets(peer)) {
    if (head <= first) moveRunWithOffsets(peer, kring, from, to, first, n);
    moveRunWithOffsets(peer, kring, from, to, head > first ? first : 0, head);
  } else if (head > first) {
    moveRun(kring, from, to, first, head);
  } else {
    moveRun(kring, from, to, first, n);
    moveRun(kring, from, to, 0, head);
  }
  store<u32>(kring, head, KR_HWCUR);
  count(kring, KR_PACKETS, slots - fragments);
  fragments = 0;
  if (complete == NONE) return 0; // Only fragments so far: withheld until the packet is whole.
  atomic.store<u32>(peer + KR_PTAIL, complete == n ? 0 : complete);
  return takeBells(peer);
}

const NONE: u32 = 0xffffffff;
/** Of the sync in progress: the slot after the last whole packet, and slots that have more behind them. */
let complete: u32 = NONE;
let fragments: u32 = 0;

/** Copies the slots [first, end) to the peer, each read once: the application may write to it while we look. */
function moveRun(kring: u32, from: u32, to: u32, first: u32, end: u32): void {
  const bufSize = load<u32>(kring, KR_BUF_SIZE);
  const bufCount = load<u32>(kring, KR_BUF_COUNT);
  const shift = to - from;
  const stop = from + end * SLOT_SIZE;
  let bytes: u64 = 0;
  let last: u32 = 0;
  for (let src = from + first * SLOT_SIZE; src != stop; src += SLOT_SIZE) {
    const slot = v128.load(src);
    const word = v128.extract_lane<u64>(slot, 0);
    const len = <u32>(word >> 32) & 0xffff;
    const flags = <u32>(word >> 48);
    if (<u32>badIndex(<u32>word, bufCount) | <u32>(len > bufSize)) {
      emptySlot(kring, src + shift, <u32>word, bufCount, flags);
    } else {
      v128.store(src + shift, slot);
      bytes += len;
    }
    if (flags & (NS_BUF_CHANGED | NS_MOREFRAG)) {
      if (flags & NS_BUF_CHANGED) store<u16>(src, <u16>(flags & ~NS_BUF_CHANGED), SLOT_FLAGS);
      if (flags & NS_MOREFRAG) {
        fragments++;
        continue;
      }
    }
    last = src;
  }
  if (last) complete = (last - from) / SLOT_SIZE + 1;
  count(kring, KR_BYTES, bytes);
}

/**
 * The same where at least one end has offsets.  The packet is to be at the farther one of what the sender says and
 * what the receiver's slot says; without offsets of the receiver's, at the buffer's start.  It is moved if need be.
 */
function moveRunWithOffsets(peer: u32, kring: u32, from: u32, to: u32, first: u32, end: u32): void {
  const bufCount = load<u32>(kring, KR_BUF_COUNT);
  const bufSize = load<u32>(kring, KR_BUF_SIZE);
  const bufs = regionOf(kring) + load<u32>(kring, KR_BUF_OFS);
  const sends = hasOffsets(kring);
  const takes = hasOffsets(peer);
  for (let k = first; k != end; k++) {
    const src = from + k * SLOT_SIZE;
    const dst = to + k * SLOT_SIZE;
    const slot = v128.load(src);
    const word = v128.extract_lane<u64>(slot, 0);
    const ptr = v128.extract_lane<u64>(slot, 1);
    const len = <u32>(word >> 32) & 0xffff;
    const flags = <u32>(word >> 48);
    const at = sends ? offsetIn(kring, ptr) : 0;
    const wanted = takes ? max(at, offsetIn(peer, load<u64>(dst, SLOT_PTR))) : 0;
    const fits = len <= roomBehind(kring, at) && len <= roomBehind(peer, wanted);
    if (!fits || badIndex(<u32>word, bufCount)) {
      emptySlot(kring, dst, <u32>word, bufCount, flags);
    } else {
      const buffer = bufs + <u32>word * bufSize;
      if (at != wanted) memory.copy(buffer + wanted, buffer + at, len);
      store<u64>(dst, word);
      count(kring, KR_BYTES, len);
    }
    const base = sends ? withOffset(kring, ptr, 0) : ptr;
    store<u64>(dst, takes ? withOffset(peer, base, wanted) : base, SLOT_PTR);
    if (flags & NS_BUF_CHANGED) store<u16>(src, <u16>(flags & ~NS_BUF_CHANGED), SLOT_FLAGS);
    if (flags & NS_MOREFRAG) fragments++;
    else complete = k + 1;
  }
}

/** A slot that cannot be: the peer gets an empty one, with the reserved buffer if the index is none. */
function emptySlot(kring: u32, slot: u32, index: u32, bufCount: u32, flags: u32): void {
  const bad = badIndex(index, bufCount);
  store<u64>(slot, (<u64>flags << 48) | (bad ? 0 : <u64>index));
  store<u64>(slot, 0, 8);
  count(kring, KR_DROPS + (bad ? DROP_BAD_SLOT : DROP_OVERSIZE) * 8, 1);
}

/** Gives the slots up to head back to the sender as they are now, and shows what has arrived. */
export function pipeRxSync(state: u32, kring: u32, token: u32): u32 {
  if (!enter(kring, token)) return SYNC_BUSY;
  store<u32>(kring, atomic.load<u32>(state, SW_EPOCH), KR_BUSY_EPOCH);
  noBells();
  const ring = ringOf(kring, regionOf(kring));
  let answer: u32 = 0;
  if (!rxPrologue(kring, ring)) {
    reinit(kring, ring);
    answer = SYNC_REINIT;
  } else {
    if (load<u32>(kring, KR_ZCOPY_MON)) answer = surrenderRead(state, kring);
    answer |= returnSlots(state + load<u32>(kring, KR_PEER), kring, ring);
    store<u32>(kring, atomic.load<u32>(kring, KR_PTAIL), KR_HWTAIL);
    finish(kring, ring);
  }
  leave(kring);
  return answer;
}

function returnSlots(peer: u32, kring: u32, ring: u32): u32 {
  const n = load<u32>(kring, KR_NUM_SLOTS);
  const head = load<u32>(kring, KR_RHEAD);
  const k = load<u32>(kring, KR_HWCUR);
  if (k == head) return 0;
  const from = ring + RING_SLOTS;
  const to = ringOf(peer, regionOf(peer)) + RING_SLOTS;
  if (hasOffsets(peer) && !hasOffsets(kring)) {
    if (head < k) returnRunAsItWas(from, to, k, n);
    returnRunAsItWas(from, to, head > k ? k : 0, head);
  } else if (head > k) {
    returnRun(from, to, k, head);
  } else {
    returnRun(from, to, k, n);
    returnRun(from, to, 0, head);
  }
  store<u32>(kring, head, KR_HWCUR);
  atomic.store<u32>(peer + KR_PTAIL, head == 0 ? n - 1 : head - 1);
  return takeBells(peer);
}

function returnRun(from: u32, to: u32, first: u32, end: u32): void {
  const shift = to - from;
  const stop = from + end * SLOT_SIZE;
  for (let src = from + first * SLOT_SIZE; src != stop; src += SLOT_SIZE) {
    const slot = v128.load(src);
    v128.store(src + shift, slot);
    const flags = <u32>v128.extract_lane<u16>(slot, 3);
    if (flags & NS_BUF_CHANGED) store<u16>(src, <u16>(flags & ~NS_BUF_CHANGED), SLOT_FLAGS);
  }
}

/** The same where only the sender has offsets: its slots keep theirs. */
function returnRunAsItWas(from: u32, to: u32, first: u32, end: u32): void {
  for (let k = first; k != end; k++) {
    const src = from + k * SLOT_SIZE;
    const word = load<u64>(src);
    store<u64>(to + k * SLOT_SIZE, word);
    const flags = <u32>(word >> 48);
    if (flags & NS_BUF_CHANGED) store<u16>(src, <u16>(flags & ~NS_BUF_CHANGED), SLOT_FLAGS);
  }
}

/**
 * Finishes what a process that died inside a sync of this ring had begun: hwcur moves before ptail, so what it
 * moved may not have been shown yet.  Only the module calls it.
 */
export function repairPipe(state: u32, kring: u32, transmits: bool): u32 {
  const peer = state + load<u32>(kring, KR_PEER);
  const n = load<u32>(kring, KR_NUM_SLOTS);
  const hwcur = load<u32>(kring, KR_HWCUR);
  if (!transmits) {
    atomic.store<u32>(peer + KR_PTAIL, hwcur == 0 ? n - 1 : hwcur - 1);
    return takeBells(peer);
  }
  const region = regionOf(peer);
  if (region == 0) return 0;
  const slots = ringOf(peer, region) + RING_SLOTS;
  let complete = load<u32>(peer, KR_PTAIL);
  for (let k = complete; k != hwcur; ) {
    const flags = <u32>load<u16>(slots + k * SLOT_SIZE, SLOT_FLAGS);
    k = k + 1 == n ? 0 : k + 1;
    if (!(flags & NS_MOREFRAG)) complete = k;
  }
  atomic.store<u32>(peer + KR_PTAIL, complete);
  return takeBells(peer);
}
