// NIC and host rings over a packet socket's (emulated mode, spec linux-nic §5): frames are copied between netmap's
// buffers and the frames of two rings of the kernel's (TPACKET_V2), each of which begins with a word that says whose
// it is.
//
//   ring of frames   [ .. the kernel's | ours, dealt with | ours ............ | the kernel's .. ]
//                                      handed             posted
//
// A batch is dealt with first, then noted (KR_POSTED), then handed over frame by frame (KR_HANDED): where a process is
// killed in between, whoever syncs next hands over what has been dealt with, and stays in step with the kernel.

import { NS_BUF_CHANGED, NS_MOREFRAG, RING_SLOTS, SLOT_SIZE } from '../src/abi/netmap';
import {
  DROP_BAD_SLOT,
  DROP_FRAGS,
  DROP_OVERSIZE,
  DROP_SHORT,
  KR_BUF_COUNT,
  KR_BUF_OFS,
  KR_BUF_SIZE,
  KR_BYTES,
  KR_DROPS,
  KR_FRAME_SIZE,
  KR_FRAMES,
  KR_HANDED,
  KR_HWCUR,
  KR_HWTAIL,
  KR_NUM_SLOTS,
  KR_PACKETS,
  KR_POSTED,
  KR_RHEAD,
  RL_DESC,
  RL_MASK,
  SC_LONG,
  SYNC_FETCH,
  SYNC_KICK,
  SYNC_REINIT,
} from '../src/abi/state';
import { copyFrame } from './copy';
import { begin, part, queueOf } from './nic';
import { badIndex, count, dist, finish, leave, regionOf, reinit, ringOf, rxPrologue, scratch, txPrologue } from './ring';

// struct tpacket2_hdr
const STATUS: u32 = 0;
const LENGTH: u32 = 4; //     of the frame
const CAPTURED: u32 = 8; //   of what the ring holds of it
const START: u32 = 12; //     u16  where that begins
const TAG: u32 = 24; //       u16  VLAN tag that the kernel has taken out,
const TAG_TYPE: u32 = 26; //  u16  and what it was one of
/** Where a frame to be sent begins. */
const TX_START: u32 = 32;

// Status of a received frame: ours; all of it is in the socket's queue; it had a tag, of a type that is told
const OURS: u32 = 1;
const QUEUED: u32 = 2;
const TAGGED: u32 = 0x10;
const TYPED: u32 = 0x40;
// and of one to be sent
const FREE: u32 = 0;
const TO_SEND: u32 = 1;

const SHORTEST: u32 = 14;
const ADDRESSES: u32 = 12;
const VLAN: u16 = 0x8100;
const NONE: u32 = 0xffffffff;

@inline
function frameAt(kring: u32, queue: u32, index: u32): u32 {
  return queue + part(kring, KR_FRAMES, RL_DESC) + index * load<u32>(kring, KR_FRAME_SIZE);
}

/** Makes over to the kernel what has been dealt with. */
function handOver(kring: u32, queue: u32, status: u32): void {
  const end = load<u32>(kring, KR_POSTED);
  let at = load<u32>(kring, KR_HANDED);
  if (at == end) return;
  const mask = part(kring, KR_FRAMES, RL_MASK);
  // An atomic access a frame: what it costs is nothing to what the kernel does with one.
  for (; at != end; at = (at + 1) & mask) atomic.store<u32>(frameAt(kring, queue, at) + STATUS, status);
  store<u32>(kring, at, KR_HANDED);
}

/** Copies what is before head into the kernel's ring: SYNC_KICK if it is to be told. */
export function packetTxSync(state: u32, kring: u32, token: u32, stateSlot: u32): u32 {
  const refused = begin(kring, token);
  if (refused) return refused;
  const queue = queueOf(kring);
  const region = regionOf(kring);
  const ring = ringOf(kring, region);
  let answer: u32 = 0;
  handOver(kring, queue, TO_SEND);
  if (!txPrologue(kring, ring)) {
    reinit(kring, ring);
    answer = SYNC_REINIT;
  } else {
    if (load<u32>(kring, KR_RHEAD) != load<u32>(kring, KR_HWCUR)) send(kring, queue, region, ring);
    handOver(kring, queue, TO_SEND);
    finish(kring, ring);
  }
  const last = (load<u32>(kring, KR_POSTED) - 1) & part(kring, KR_FRAMES, RL_MASK);
  if (load<u32>(frameAt(kring, queue, last), STATUS) == TO_SEND) answer |= SYNC_KICK;
  leave(kring);
  return answer;
}

/** Whole packets of [hwcur, head), as many as there are free frames; their slots are free at once. */
function send(kring: u32, queue: u32, region: u32, ring: u32): void {
  const n = load<u32>(kring, KR_NUM_SLOTS);
  const head = load<u32>(kring, KR_RHEAD);
  const bufs = region + load<u32>(kring, KR_BUF_OFS);
  const bufSize = load<u32>(kring, KR_BUF_SIZE);
  const bufCount = load<u32>(kring, KR_BUF_COUNT);
  const mask = part(kring, KR_FRAMES, RL_MASK);
  const room = load<u32>(kring, KR_FRAME_SIZE) - TX_START;
  let first = load<u32>(kring, KR_HWCUR);
  let at = load<u32>(kring, KR_POSTED);
  let packets: u64 = 0;
  let bytes: u64 = 0;
  while (first != head) {
    const frame = frameAt(kring, queue, at);
    if (atomic.load<u32>(frame + STATUS) != FREE) break;
    let k = first;
    let length: u32 = 0;
    let bad = NONE;
    let more = true;
    while (more && k != head) {
      const slot = ring + RING_SLOTS + k * SLOT_SIZE;
      const word = load<u64>(slot); // The only read of this slot.
      const index = <u32>word;
      const len = <u32>(word >> 32) & 0xffff;
      const flags = <u32>(word >> 48);
      more = (flags & NS_MOREFRAG) != 0;
      if (flags & NS_BUF_CHANGED) store<u16>(slot, <u16>(flags & ~NS_BUF_CHANGED), 6);
      if (badIndex(index, bufCount)) bad = DROP_BAD_SLOT;
      else if (len > bufSize || length + len > room) bad = DROP_OVERSIZE;
      else if (len == 0) bad = DROP_SHORT;
      if (bad == NONE) copyFrame(frame + TX_START + length, bufs + index * bufSize, len);
      length += len;
      k = k + 1 == n ? 0 : k + 1;
    }
    if (more && bad == NONE) break; // The rest is still to come.
    packets++;
    bytes += length;
    if (bad == NONE && length < SHORTEST) bad = DROP_SHORT;
    if (bad != NONE) {
      count(kring, KR_DROPS + bad * 8, 1);
    } else {
      store<u32>(frame, length, LENGTH);
      at = (at + 1) & mask;
    }
    first = k;
  }
  store<u32>(kring, at, KR_POSTED);
  store<u32>(kring, first, KR_HWCUR);
  store<u32>(kring, first == 0 ? n - 1 : first - 1, KR_HWTAIL);
  count(kring, KR_PACKETS, packets);
  count(kring, KR_BYTES, bytes);
}

/**
 * Takes slots up to head back, and copies what has come.
 * @returns SYNC_FETCH: a frame longer than the kernel's ring holds is to be read to SC_LONG, then packetFetched() is to
 *   be called, by the same thread: nobody else can sync the ring meanwhile
 */
export function packetRxSync(state: u32, kring: u32, token: u32): u32 {
  const refused = begin(kring, token);
  if (refused) return refused;
  const region = regionOf(kring);
  const ring = ringOf(kring, region);
  let answer: u32 = 0;
  if (!rxPrologue(kring, ring)) {
    reinit(kring, ring);
    answer = SYNC_REINIT;
  } else {
    store<u32>(kring, load<u32>(kring, KR_RHEAD), KR_HWCUR);
    if (receive(kring, queueOf(kring), region, ring)) return SYNC_FETCH;
    finish(kring, ring);
  }
  leave(kring);
  return answer;
}

/** @param length  of the long frame, now at SC_LONG; -1 if there was none */
export function packetFetched(kring: u32, length: u32): u32 {
  const queue = queueOf(kring);
  const region = regionOf(kring);
  const ring = ringOf(kring, region);
  const at = load<u32>(kring, KR_POSTED);
  const frame = frameAt(kring, queue, at);
  const k = load<u32>(kring, KR_HWTAIL);
  let after = NONE;
  if (length == load<u32>(frame, LENGTH)) after = spread(kring, region, ring, k, frame, scratch + SC_LONG, length);
  store<u32>(kring, (at + 1) & part(kring, KR_FRAMES, RL_MASK), KR_POSTED);
  if (after == NONE) {
    count(kring, KR_DROPS + DROP_FRAGS * 8, 1);
  } else {
    store<u32>(kring, after, KR_HWTAIL);
    count(kring, KR_PACKETS, 1);
    count(kring, KR_BYTES, length);
  }
  handOver(kring, queue, 0);
  if (receive(kring, queue, region, ring)) return SYNC_FETCH;
  finish(kring, ring);
  leave(kring);
  return 0;
}

/** @returns whether the next frame is to be fetched */
function receive(kring: u32, queue: u32, region: u32, ring: u32): bool {
  handOver(kring, queue, 0);
  const n = load<u32>(kring, KR_NUM_SLOTS);
  const mask = part(kring, KR_FRAMES, RL_MASK);
  const size = load<u32>(kring, KR_FRAME_SIZE);
  const bufSize = load<u32>(kring, KR_BUF_SIZE);
  let at = load<u32>(kring, KR_POSTED);
  let left = arrived(kring, queue, at, n);
  if (left == 0) return false;
  let k = load<u32>(kring, KR_HWTAIL);
  let packets: u64 = 0;
  let bytes: u64 = 0;
  let fetch = false;
  for (; left != 0; left--) {
    const frame = frameAt(kring, queue, at);
    const length = load<u32>(frame, LENGTH);
    const start = <u32>load<u16>(frame, START);
    if (load<u32>(frame, STATUS) & QUEUED) {
      // One that no ring could hold is fetched, too, to be got rid of.
      const slots = (length + 3 + bufSize) / bufSize;
      fetch = slots <= free(kring, k, n) || slots >= n;
      break;
    }
    // Other openings of this port can write here: what does not fit the frame is no frame.
    if (length != load<u32>(frame, CAPTURED) || length > size || start > size - length || length < SHORTEST) {
      count(kring, KR_DROPS + (length < SHORTEST ? DROP_SHORT : DROP_OVERSIZE) * 8, 1);
    } else {
      const after = spread(kring, region, ring, k, frame, frame + start, length);
      if (after == NONE) break;
      k = after;
      packets++;
      bytes += length;
    }
    at = (at + 1) & mask;
  }
  store<u32>(kring, at, KR_POSTED);
  store<u32>(kring, k, KR_HWTAIL);
  count(kring, KR_PACKETS, packets);
  count(kring, KR_BYTES, bytes);
  handOver(kring, queue, 0);
  return fetch;
}

/** Frames that the kernel has made ours, `most` at most. */
function arrived(kring: u32, queue: u32, from: u32, most: u32): u32 {
  const mask = part(kring, KR_FRAMES, RL_MASK);
  let found: u32 = 0;
  while (found < most && atomic.load<u32>(frameAt(kring, queue, (from + found) & mask) + STATUS) & OURS) found++;
  return found;
}

/** Slots from k on that may be filled: all but one of those that the application has not. */
@inline
function free(kring: u32, k: u32, n: u32): u32 {
  return n - 1 - dist(load<u32>(kring, KR_HWCUR), k, n);
}

/**
 * Copies a frame into slots from k on, its VLAN tag back in its place.
 * @returns the slot behind them; NONE: there is no room, or a slot without a buffer
 */
function spread(kring: u32, region: u32, ring: u32, k: u32, frame: u32, from: u32, length: u32): u32 {
  const n = load<u32>(kring, KR_NUM_SLOTS);
  const bufSize = load<u32>(kring, KR_BUF_SIZE);
  const bufCount = load<u32>(kring, KR_BUF_COUNT);
  const bufs = region + load<u32>(kring, KR_BUF_OFS);
  const status = load<u32>(frame, STATUS);
  // Bytes in front of `from` that stand for those copied already.
  let head: u32 = 0;
  if (status & TAGGED) head = 4;
  const total = length + head;
  let room = free(kring, k, n);
  if ((total - 1) / bufSize >= room) return NONE;
  let done: u32 = 0;
  while (done != total) {
    const slot = ring + RING_SLOTS + k * SLOT_SIZE;
    const index = load<u32>(slot); // The only read of this slot.
    if (badIndex(index, bufCount)) {
      count(kring, KR_DROPS + DROP_BAD_SLOT * 8, 1);
      return NONE;
    }
    const to = bufs + index * bufSize;
    const len = min(bufSize, total - done);
    if (done == 0 && head != 0) {
      const type = status & TYPED ? load<u16>(frame, TAG_TYPE) : VLAN;
      copyFrame(to, from, ADDRESSES);
      store<u16>(to, bswap<u16>(type), ADDRESSES);
      store<u16>(to, bswap<u16>(load<u16>(frame, TAG)), ADDRESSES + 2);
      copyFrame(to + ADDRESSES + 4, from + ADDRESSES, len - ADDRESSES - 4);
    } else {
      copyFrame(to, from + done - head, len);
    }
    done += len;
    const more: u64 = done != total ? <u64>NS_MOREFRAG << 48 : 0;
    store<u64>(slot, <u64>index | (<u64>len << 32) | more);
    k = k + 1 == n ? 0 : k + 1;
  }
  return k;
}
