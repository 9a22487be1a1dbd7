// What an application like pkt-gen does per packet: fill TX slots, drain RX slots.  `bufs` is the number of
// buffers in the ring's region: a slot whose index is none of them is passed over, since whoever else maps
// the region may have written it.

import {
  NS_BUF_CHANGED,
  NS_MOREFRAG,
  RING_BUF_OFS,
  RING_BUF_SIZE,
  RING_NUM_SLOTS,
  RING_SLOTS,
  SLOT_BUF_IDX,
  SLOT_FLAGS,
  SLOT_LEN,
  SLOT_SIZE,
} from '../src/abi/netmap';
import {
  DT_BYTES,
  DT_EXPECTED,
  DT_FOUND,
  DT_GAPS,
  DT_PACKETS,
  DT_SHORT,
  DT_STARTED,
  DT_UNORDERED,
  DT_WANTED,
  RA_DPORT,
  RA_DST,
  RA_SPORT,
  RA_SRC,
  SEQUENCE_OFS,
} from '../src/abi/frames';
import { copyFrame } from './copy';
import { badIndex } from './ring';

@inline
function slotAt(ring: u32, slot: u32): u32 {
  return ring + RING_SLOTS + slot * SLOT_SIZE;
}

@inline
function nextSlot(ring: u32, slot: u32): u32 {
  return slot + 1 == load<u32>(ring, RING_NUM_SLOTS) ? 0 : slot + 1;
}

/** Address of a slot's buffer, 0 if its index is none. */
@inline
function bufferOf(ring: u32, index: u32, bufs: u32): u32 {
  if (badIndex(index, bufs)) return 0;
  return ring + <u32>load<i64>(ring, RING_BUF_OFS) + index * load<u32>(ring, RING_BUF_SIZE);
}

/**
 * Puts the template frame into `count` slots.  A slot that still holds it from its last turn is not copied
 * again, unless NS_BUF_CHANGED is set or `copy` asks for it.
 */
export function fillTemplate(ring: u32, head: u32, count: u32, bufs: u32, template: u32, length: u32, copy: bool): void {
  const toEnd = load<u32>(ring, RING_NUM_SLOTS) - head;
  fillRun(ring, head, count < toEnd ? count : toEnd, bufs, template, length, copy);
  if (count > toEnd) fillRun(ring, 0, count - toEnd, bufs, template, length, copy);
}

function fillRun(ring: u32, first: u32, count: u32, bufs: u32, template: u32, length: u32, copy: bool): void {
  const stop = slotAt(ring, first + count);
  for (let slot = slotAt(ring, first); slot != stop; slot += SLOT_SIZE) {
    if (copy || (<u32>load<u16>(slot, SLOT_FLAGS) & NS_BUF_CHANGED) != 0) {
      const buffer = bufferOf(ring, load<u32>(slot, SLOT_BUF_IDX), bufs);
      if (buffer) copyFrame(buffer, template, length);
    }
    store<u32>(slot, length, SLOT_LEN); // And no flags.
  }
}

/** Only lengths: whatever the buffers hold is sent (pkt-gen -r). */
export function fillLengths(ring: u32, head: u32, count: u32, length: u32): void {
  for (let k = head; count != 0; count--, k = nextSlot(ring, k)) store<u32>(slotAt(ring, k), length, SLOT_LEN);
}

/**
 * Puts frames of a table into slots, each split over as many as it needs.
 * @param table  per frame: u32 address, u32 length
 * @param flags  NS_* bits that every slot gets
 * @returns slots used | frames placed << 16
 */
export function fillFrames(ring: u32, head: u32, space: u32, bufs: u32, table: u32, frames: u32, flags: u32): u32 {
  const size = load<u32>(ring, RING_BUF_SIZE);
  let used: u32 = 0;
  let placed: u32 = 0;
  let k = head;
  for (; placed < frames; placed++) {
    let from = load<u32>(table + (placed << 3));
    let left = load<u32>(table + (placed << 3), 4);
    const need: u32 = left <= size ? 1 : (left + size - 1) / size;
    if (used + need > space) break;
    used += need;
    for (let i: u32 = 0; i < need; i++, k = nextSlot(ring, k)) {
      const slot = slotAt(ring, k);
      const part = left < size ? left : size;
      const buffer = bufferOf(ring, load<u32>(slot, SLOT_BUF_IDX), bufs);
      if (buffer) copyFrame(buffer, from, part);
      store<u32>(slot, part | ((i + 1 < need ? flags | NS_MOREFRAG : flags) << 16), SLOT_LEN);
      from += part;
      left -= part;
    }
  }
  return used | (placed << 16);
}

// ---- IPv4/UDP templates that change from frame to frame ----------------------------------------------------

const IP_SUM = 24;
const IP_SRC = 26;
const IP_DST = 30;
const UDP_SPORT = 34;
const UDP_DPORT = 36;
const UDP_SUM = 40;

/** Internet checksum at `at` after the 16-bit word that it covers went from `was` to `is` (RFC 1624). */
@inline
function adjust(at: u32, was: u32, is: u32): void {
  let sum = (~(<u32>bswap<u16>(load<u16>(at))) & 0xffff) + (~was & 0xffff) + is;
  sum = (sum & 0xffff) + (sum >> 16);
  sum = (sum & 0xffff) + (sum >> 16);
  store<u16>(at, bswap<u16>(<u16>~sum));
}

function setPort(template: u32, at: u32, value: u32): void {
  adjust(template + UDP_SUM, bswap<u16>(load<u16>(template + at)), value);
  store<u16>(template + at, bswap<u16>(<u16>value));
}

function setAddress(template: u32, at: u32, value: u32): void {
  const was = bswap<u32>(load<u32>(template + at));
  adjust(template + IP_SUM, was >> 16, value >> 16);
  adjust(template + IP_SUM, was & 0xffff, value & 0xffff);
  adjust(template + UDP_SUM, was >> 16, value >> 16);
  adjust(template + UDP_SUM, was & 0xffff, value & 0xffff);
  store<u32>(template + at, bswap<u32>(value));
}

/** One digit of the odometer: low, high, now (u32 each).  True if it went back to its low value. */
@inline
function turn(digit: u32): bool {
  const now = load<u32>(digit, 8);
  const wrapped = now == load<u32>(digit, 4);
  store<u32>(digit, wrapped ? load<u32>(digit) : now + 1, 8);
  return wrapped;
}

/** Steps the template's addresses and ports to the next of the ranges, checksums kept right. */
function stepRange(template: u32, range: u32): void {
  let carry = turn(range + RA_SPORT);
  setPort(template, UDP_SPORT, load<u32>(range + RA_SPORT, 8));
  if (!carry) return;
  carry = turn(range + RA_SRC);
  setAddress(template, IP_SRC, load<u32>(range + RA_SRC, 8));
  if (!carry) return;
  carry = turn(range + RA_DPORT);
  setPort(template, UDP_DPORT, load<u32>(range + RA_DPORT, 8));
  if (!carry) return;
  turn(range + RA_DST);
  setAddress(template, IP_DST, load<u32>(range + RA_DST, 8));
}

/** As fillTemplate with copies, stepping the ranges after each frame. */
export function fillRange(ring: u32, head: u32, count: u32, bufs: u32, template: u32, length: u32, range: u32): void {
  for (let k = head; count != 0; count--, k = nextSlot(ring, k)) {
    fillTemplate(ring, k, 1, bufs, template, length, true);
    stepRange(template, range);
  }
}

/** As fillTemplate with copies, each frame carrying the next number, big endian, at the start of its payload. */
export function fillSequence(ring: u32, head: u32, count: u32, bufs: u32, template: u32, length: u32, first: u32): void {
  const at = template + SEQUENCE_OFS;
  for (let k = head, number = first; count != 0; count--, number++, k = nextSlot(ring, k)) {
    const was = bswap<u32>(load<u32>(at));
    adjust(template + UDP_SUM, was >> 16, number >> 16);
    adjust(template + UDP_SUM, was & 0xffff, number & 0xffff);
    store<u32>(at, bswap<u32>(number));
    fillTemplate(ring, k, 1, bufs, template, length, true);
  }
}

// ---- receiving -----------------------------------------------------------------------------------------------

/** Adds up packets and bytes of `count` slots.  Empty slots (a dead sender's) do not count. */
export function drain(ring: u32, head: u32, count: u32, totals: u32): void {
  const toEnd = load<u32>(ring, RING_NUM_SLOTS) - head;
  drainRun(ring, head, count < toEnd ? count : toEnd, totals);
  if (count > toEnd) drainRun(ring, 0, count - toEnd, totals);
}

function drainRun(ring: u32, first: u32, count: u32, totals: u32): void {
  const stop = slotAt(ring, first + count);
  let packets: u32 = 0;
  let bytes: u64 = 0;
  for (let slot = slotAt(ring, first); slot != stop; slot += SLOT_SIZE) {
    const word = load<u32>(slot, SLOT_LEN);
    const len = word & 0xffff;
    bytes += len;
    packets += <u32>(len != 0) & <u32>((word & (NS_MOREFRAG << 16)) == 0);
  }
  store<u64>(totals, load<u64>(totals, DT_PACKETS) + packets, DT_PACKETS);
  store<u64>(totals, load<u64>(totals, DT_BYTES) + bytes, DT_BYTES);
}

/** Reads every byte of `count` slots' frames, a word at a time; answers a sum of them. */
export function readPayload(ring: u32, head: u32, count: u32, bufs: u32): u64 {
  let sum: u64 = 0;
  for (let k = head; count != 0; count--, k = nextSlot(ring, k)) {
    const word = load<u64>(slotAt(ring, k));
    const len = <u32>(word >> 32) & 0xffff;
    const buffer = bufferOf(ring, <u32>word, bufs);
    if (!buffer) continue;
    for (let i: u32 = 0; i + 8 <= len; i += 8) sum += load<u64>(buffer + i);
  }
  return sum;
}

/** drain() that also checks the numbers that fillSequence() wrote. */
export function drainSequence(ring: u32, head: u32, count: u32, bufs: u32, totals: u32): void {
  drain(ring, head, count, totals);
  for (let k = head; count != 0; count--, k = nextSlot(ring, k)) {
    const word = load<u64>(slotAt(ring, k));
    const len = <u32>(word >> 32) & 0xffff;
    if (len == 0) continue;
    const buffer = bufferOf(ring, <u32>word, bufs);
    if (!buffer || len < <u32>SEQUENCE_OFS + 4) {
      bump(totals, DT_SHORT);
      continue;
    }
    const found = bswap<u32>(load<u32>(buffer + SEQUENCE_OFS));
    const expected = load<u32>(totals, DT_EXPECTED);
    if (load<u32>(totals, DT_STARTED) != 0 && found != expected) {
      bump(totals, found - expected < 0x7fffffff ? DT_GAPS : DT_UNORDERED);
      store<u32>(totals, expected, DT_WANTED);
      store<u32>(totals, found, DT_FOUND);
    }
    store<u32>(totals, 1, DT_STARTED);
    store<u32>(totals, found + 1, DT_EXPECTED);
  }
}

@inline
function bump(totals: u32, counter: u32): void {
  store<u32>(totals + counter, load<u32>(totals + counter) + 1);
}

/** Sends received frames back with their addresses swapped (pkt-gen pong). */
export function bounce(rx: u32, rxHead: u32, count: u32, tx: u32, txHead: u32, bufs: u32): void {
  for (let i = rxHead, o = txHead; count != 0; count--, i = nextSlot(rx, i), o = nextSlot(tx, o)) {
    const word = load<u64>(slotAt(rx, i));
    const from = bufferOf(rx, <u32>word, bufs);
    const to = bufferOf(tx, load<u32>(slotAt(tx, o), SLOT_BUF_IDX), bufs);
    const len = <u32>(word >> 32) & 0xffff;
    store<u32>(slotAt(tx, o), 0, SLOT_LEN);
    if (!from || !to || len < 14 || len > load<u32>(tx, RING_BUF_SIZE)) continue;
    copyFrame(to, from, len);
    const dst = load<u32>(from);
    const dstEnd = load<u16>(from, 4);
    store<u32>(to, load<u32>(from, 6));
    store<u16>(to, load<u16>(from, 10), 4);
    store<u32>(to, dst, 6);
    store<u16>(to, dstEnd, 10);
    if (len >= 34 && load<u16>(from, 12) == 0x0008) {
      store<u32>(to, load<u32>(from, IP_DST), IP_SRC);
      store<u32>(to, load<u32>(from, IP_SRC), IP_DST);
    }
    store<u16>(slotAt(tx, o), <u16>len, SLOT_LEN);
    store<u16>(slotAt(tx, o), 0, SLOT_FLAGS);
  }
}

/**
 * Moves `count` slots of a received ring to a ring to be sent, in order, fragments with their marks.
 * @param swap  exchange the buffers, which must be of one region; else the bytes are copied
 */
export function moveSlots(
  rx: u32,
  rxHead: u32,
  rxBufs: u32,
  tx: u32,
  txHead: u32,
  txBufs: u32,
  count: u32,
  swap: bool,
): void {
  const rxSize = load<u32>(rx, RING_BUF_SIZE);
  const txSize = load<u32>(tx, RING_BUF_SIZE);
  for (let i = rxHead, o = txHead, left = count; left != 0; left--, i = nextSlot(rx, i), o = nextSlot(tx, o)) {
    const source = slotAt(rx, i);
    const target = slotAt(tx, o);
    const word = load<u64>(source);
    const index = <u32>word;
    const len = <u32>(word >> 32) & 0xffff;
    const more = <u32>(word >> 48) & NS_MOREFRAG;
    const other = load<u32>(target, SLOT_BUF_IDX);
    const from = bufferOf(rx, index, rxBufs);
    const to = bufferOf(tx, other, txBufs);
    if (!from || !to || len > rxSize || len > txSize) {
      store<u32>(target, more << 16, SLOT_LEN);
    } else if (swap) {
      store<u64>(target, <u64>index | (<u64>(len | ((more | NS_BUF_CHANGED) << 16)) << 32));
      store<u64>(source, <u64>other | (<u64>(NS_BUF_CHANGED << 16) << 32));
    } else {
      copyFrame(to, from, len);
      store<u32>(target, len | (more << 16), SLOT_LEN);
    }
  }
}
