// Collecting: slots [hwcur, head) of the sender are read once, checked, and chained to the queue of their
// destination, which the learning table knows (spec ports §1.6-1.8).

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
  SLOT_PTR,
  SLOT_SIZE,
} from '../src/abi/netmap';
import {
  DROP_BAD_SLOT,
  DROP_CLOSED,
  DROP_FRAGS,
  DROP_INDIRECT,
  DROP_OVERSIZE,
  DROP_SELF,
  DROP_SHORT,
  KR_BUF_COUNT,
  KR_BUF_OFS,
  KR_BUF_SIZE,
  KR_BYTES,
  KR_HWCUR,
  KR_LAST_SRC,
  KR_NUM_SLOTS,
  KR_PACKETS,
  PT_RX_OPEN,
  PT_RX_RINGS,
} from '../src/abi/state';
import { flush } from './deliver';
import { isLearned, learnMac, lookupMac, MAC_MASK, portEntry } from './mac-table';
import { badIndex, count, hasOffsets, offsetIn, regionOf, roomBehind } from './ring';
import { FLOOD, endRun, entryAt, noteFragments } from './runs';
import { drop, header, port, ringId, source, state } from './sender';

/** Answers of classify() from here on are drop reasons. */
export const DROP: u32 = 0x8000;

/** Sends what lies in [hwcur, head) where the learning table says. */
export function forward(ring: u32, head: u32, batch: u32): void {
  const slots = ring + RING_SLOTS;
  const n = load<u32>(source, KR_NUM_SLOTS);
  const bufs = regionOf(source) + load<u32>(source, KR_BUF_OFS);
  const bufSize = load<u32>(source, KR_BUF_SIZE);
  const bufCount = load<u32>(source, KR_BUF_COUNT);
  const entryBase = entryAt(0);
  const plain = header == 0 && !hasOffsets(source);
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
    // Slots in a row, as far as the ring's end and the batch allow.  Behind a virtio-net header, or an offset,
    // nothing is where the short loop looks for it.
    const inRow: u32 = plain ? (head > k ? head : n) - k : 0;
    const start = slots + k * SLOT_SIZE;
    const stop = start + (inRow < room ? inRow : room) * SLOT_SIZE;
    let slot = start;
    let chain = !plain;
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
        lastQueue = classify(dst);
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
    const to = classify(load<u64>(frame) & MAC_MASK);
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

export function dropSlot(index: u32, len: u32, bufCount: u32): void {
  drop(badIndex(index, bufCount) ? DROP_BAD_SLOT : len < 14 ? DROP_SHORT : DROP_OVERSIZE, 1);
}

/** Of the packet that collectChain() has collected last: its sender asks not to be learned. */
export let noLearn: bool = false;

export const NO_MAC: u64 = 0xffffffffffffffff;

/**
 * Collects a packet whose first slot has flags set: a chain of slots, or a single one.
 * @returns slots entered (0: dropped, and counted) | next slot of the ring << 16 | bytes << 32
 */
export function collectChain(slots: u32, start: u32, head: u32, n: u32, bufs: u32, entry: u32): u64 {
  const bufSize = load<u32>(source, KR_BUF_SIZE);
  const bufCount = load<u32>(source, KR_BUF_COUNT);
  const offsets = hasOffsets(source);
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
    let offset: u32 = 0;
    let room = bufSize;
    if (offsets) {
      offset = offsetIn(source, load<u64>(slot, SLOT_PTR));
      room = roomBehind(source, offset);
    }
    if (badIndex(<u32>word, bufCount)) reason = DROP_BAD_SLOT;
    else if (len > room) reason = DROP_OVERSIZE;
    else if (flags & NS_INDIRECT) reason = DROP_INDIRECT;
    else if (frags == NETMAP_MAX_FRAGS) reason = DROP_FRAGS;
    else store<u64>(entry + (frags++ << 3), <u64>(bufs + <u32>word * bufSize + offset) | (<u64>len << 32));
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
export function ethernetOf(entry: u32, frags: u32): u32 {
  const word = load<u64>(entry);
  const len = <u32>(word >> 32) & 0xffff;
  if (len >= header + 14) return <u32>word + header;
  if (len != header || frags == 1) return 0;
  const second = load<u64>(entry, 8); // The first slot is the header alone.
  return (<u32>(second >> 32) & 0xffff) < 14 ? 0 : <u32>second;
}

/** Where a frame to `dst` goes: a queue, FLOOD, or DROP + reason. */
export function classify(dst: u64): u32 {
  if (dst & 1) return FLOOD;
  const to = lookupMac(state, dst);
  if (to < 0) return FLOOD;
  return toPort(to, ringId);
}

/** A ring of a port, modulo the rings that it has: its queue, or DROP + reason. */
export function toPort(to: u32, wanted: u32): u32 {
  if (to == port) return DROP + DROP_SELF;
  const target = portEntry(state, to);
  const rings = load<u32>(target, PT_RX_RINGS);
  const ring = wanted < rings ? wanted : rings == 0 ? 0 : wanted % rings;
  if (!((load<u32>(target, PT_RX_OPEN) >> ring) & 1)) return DROP + DROP_CLOSED;
  return to * NM_BDG_MAXRINGS + ring;
}
