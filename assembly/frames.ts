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
  DG_AT,
  DG_HIGH,
  DG_LOW,
  DG_NOW,
  DG_WORDS,
  DIGIT_SIZE,
  DT_BEFORE,
  DT_BYTES,
  DT_EXPECTED,
  DT_FOUND,
  DT_GAPS,
  DT_ODD,
  DT_PACKETS,
  DT_SHORT,
  DT_SLOTS,
  DT_STARTED,
  DT_UNEVEN,
  DT_UNORDERED,
  DT_USUAL,
  DT_WANTED,
  ST_DIGITS,
  ST_IP_SUM,
  ST_RANDOM,
  ST_SEED,
  ST_UDP_SUM,
} from '../src/abi/frames';
import { copyFrame } from './copy';
import { badIndex } from './ring';

// Ethernet, IPv4 or IPv6, UDP.
const PAYLOAD_IPV4 = 42;
const PAYLOAD_IPV6 = 62;
const IP_SRC = 26;
const IP_DST = 30;

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
    const from = load<u32>(table + (placed << 3));
    const left = load<u32>(table + (placed << 3), 4);
    const need: u32 = left <= size ? 1 : (left + size - 1) / size;
    if (used + need > space) break;
    used += need;
    k = place(ring, k, bufs, from, left, size, need, flags);
  }
  return used | (placed << 16);
}

/** Puts a frame into `slots` slots, `part` bytes into each but the last.  @returns the slot behind them */
function place(ring: u32, head: u32, bufs: u32, frame: u32, length: u32, part: u32, slots: u32, flags: u32): u32 {
  let k = head;
  let from = frame;
  for (let i = slots; i != 0; i--) {
    const size = i == 1 ? length - (from - frame) : part;
    const slot = slotAt(ring, k);
    const buffer = bufferOf(ring, load<u32>(slot, SLOT_BUF_IDX), bufs);
    if (buffer) copyFrame(buffer, from, size);
    store<u32>(slot, size | ((i == 1 ? flags : flags | NS_MOREFRAG) << 16), SLOT_LEN);
    from += size;
    k = nextSlot(ring, k);
  }
  return k;
}

// ---- templates that change from frame to frame -------------------------------------------------------------

/** Internet checksum at `at` after the 16-bit word that it covers went from `was` to `is` (RFC 1624). */
@inline
function adjust(at: u32, was: u32, is: u32): void {
  let sum = (~(<u32>bswap<u16>(load<u16>(at))) & 0xffff) + (~was & 0xffff) + is;
  sum = (sum & 0xffff) + (sum >> 16);
  sum = (sum & 0xffff) + (sum >> 16);
  store<u16>(at, bswap<u16>(<u16>~sum));
}

/** Writes a 16-bit word; both checksums follow, IPv4's (0: none) and UDP's. */
function setWord(at: u32, value: u32, ipSum: u32, udpSum: u32): void {
  const was = bswap<u16>(load<u16>(at));
  if (ipSum) adjust(ipSum, was, value);
  adjust(udpSum, was, value);
  store<u16>(at, bswap<u16>(<u16>value));
}

/** Writes a digit's value where it belongs; `inIp`: IPv4's header checksum covers it. */
function setDigit(template: u32, steps: u32, digit: u32, value: u32, inIp: bool): void {
  const ip = load<u32>(steps, ST_IP_SUM);
  const ipSum: u32 = inIp && ip ? template + ip : 0;
  const udpSum = template + load<u32>(steps, ST_UDP_SUM);
  const at = template + load<u16>(digit, DG_AT);
  if (load<u16>(digit, DG_WORDS) == 1) {
    setWord(at, value & 0xffff, ipSum, udpSum);
    return;
  }
  setWord(at, value >> 16, ipSum, udpSum);
  setWord(at + 2, value & 0xffff, ipSum, udpSum);
}

/** Turns a digit.  True if it went back to its low value. */
@inline
function turn(template: u32, steps: u32, digit: u32, inIp: bool): bool {
  const now = load<u32>(digit, DG_NOW);
  const wrapped = now == load<u32>(digit, DG_HIGH);
  const next = wrapped ? load<u32>(digit, DG_LOW) : now + 1;
  store<u32>(digit, next, DG_NOW);
  setDigit(template, steps, digit, next, inIp);
  return wrapped;
}

/** xorshift64*. */
function draw(steps: u32): u32 {
  let x = load<u64>(steps, ST_SEED);
  x ^= x >> 12;
  x ^= x << 25;
  x ^= x >> 27;
  store<u64>(steps, x, ST_SEED);
  return <u32>((x * 0x2545f4914f6cdd1d) >> 32);
}

/** Steps the template to the next addresses and ports, checksums kept right. */
function step(template: u32, steps: u32): void {
  const random = load<u32>(steps, ST_RANDOM);
  for (let pair: u32 = 0; pair < 2; pair++) {
    const port = steps + ST_DIGITS + pair * 2 * DIGIT_SIZE;
    const address = port + DIGIT_SIZE;
    if ((random >> pair) & 1) {
      setDigit(template, steps, port, draw(steps), false);
      setDigit(template, steps, address, draw(steps), true);
      continue;
    }
    if (!turn(template, steps, port, false)) return;
    if (!turn(template, steps, address, true)) return;
  }
}

/**
 * Places up to `count` copies of the template in up to `space` slots, each in `slots` of them, `part` bytes in each but
 * the last; `steps`, where there are any, after each.
 * @returns slots used | packets placed << 16
 */
export function fillPackets(
  ring: u32,
  head: u32,
  space: u32,
  bufs: u32,
  template: u32,
  length: u32,
  part: u32,
  slots: u32,
  count: u32,
  steps: u32,
): u32 {
  let k = head;
  let placed: u32 = 0;
  for (; placed < count && (placed + 1) * slots <= space; placed++) {
    k = place(ring, k, bufs, template, length, part, slots, 0);
    if (steps) step(template, steps);
  }
  return (placed * slots) | (placed << 16);
}

/**
 * As fillTemplate with copies, each frame carrying the next number, big endian, at `payload`, which UDP's checksum at
 * `udpSum` covers.  Every `group` of them make a packet, of which each slot is a whole frame.
 */
export function fillSequence(
  ring: u32,
  head: u32,
  count: u32,
  bufs: u32,
  template: u32,
  length: u32,
  first: u32,
  payload: u32,
  udpSum: u32,
  group: u32,
  steps: u32,
): void {
  const at = template + payload;
  let inGroup: u32 = 0;
  for (let k = head, number = first; count != 0; count--, number++, k = nextSlot(ring, k)) {
    setWord(at, number >> 16, 0, template + udpSum);
    setWord(at + 2, number & 0xffff, 0, template + udpSum);
    fillTemplate(ring, k, 1, bufs, template, length, true);
    if (++inGroup < group) {
      store<u16>(slotAt(ring, k), NS_MOREFRAG, SLOT_FLAGS);
      continue;
    }
    inGroup = 0;
    if (steps) step(template, steps);
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

/**
 * Adds up slots and bytes, and checks the numbers that fillSequence() wrote, and that packets are of equally many slots.
 * @param header  bytes in front of the frames
 */
export function drainSequence(ring: u32, head: u32, count: u32, bufs: u32, totals: u32, header: u32): void {
  for (let k = head; count != 0; count--, k = nextSlot(ring, k)) {
    const word = load<u64>(slotAt(ring, k));
    const len = <u32>(word >> 32) & 0xffff;
    if (len == 0) continue;
    store<u64>(totals, load<u64>(totals, DT_PACKETS) + 1, DT_PACKETS);
    store<u64>(totals, load<u64>(totals, DT_BYTES) + len, DT_BYTES);
    bump(totals, DT_SLOTS);
    if (!(<u32>(word >> 48) & NS_MOREFRAG)) endPacket(totals);
    const buffer = bufferOf(ring, <u32>word, bufs);
    const ethernet = buffer + header;
    const payload = header + (buffer && load<u16>(ethernet, 12) == 0xdd86 ? <u32>PAYLOAD_IPV6 : <u32>PAYLOAD_IPV4);
    if (!buffer || len < payload + 4) {
      bump(totals, DT_SHORT);
      continue;
    }
    const found = bswap<u32>(load<u32>(buffer + payload));
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

/** A packet of DT_SLOTS slots is over. */
function endPacket(totals: u32): void {
  const slots = load<u32>(totals, DT_SLOTS);
  const before = load<u32>(totals, DT_BEFORE);
  if (before != 0 && before != slots) {
    bump(totals, DT_UNEVEN);
    store<u32>(totals, slots, DT_ODD);
    store<u32>(totals, before, DT_USUAL);
  }
  store<u32>(totals, slots, DT_BEFORE);
  store<u32>(totals, 0, DT_SLOTS);
}

@inline
function bump(totals: u32, counter: u32): void {
  store<u32>(totals + counter, load<u32>(totals + counter) + 1);
}

/** Sends received frames back, Ethernet and IPv4 addresses behind `header` bytes swapped (pkt-gen pong). */
export function bounce(rx: u32, rxHead: u32, count: u32, tx: u32, txHead: u32, bufs: u32, header: u32): void {
  for (let i = rxHead, o = txHead; count != 0; count--, i = nextSlot(rx, i), o = nextSlot(tx, o)) {
    const word = load<u64>(slotAt(rx, i));
    const from = bufferOf(rx, <u32>word, bufs);
    const to = bufferOf(tx, load<u32>(slotAt(tx, o), SLOT_BUF_IDX), bufs);
    const len = <u32>(word >> 32) & 0xffff;
    store<u32>(slotAt(tx, o), 0, SLOT_LEN);
    if (!from || !to || len < header + 14 || len > load<u32>(tx, RING_BUF_SIZE)) continue;
    copyFrame(to, from, len);
    const there = to + header;
    const here = from + header;
    store<u32>(there, load<u32>(here, 6));
    store<u16>(there, load<u16>(here, 10), 4);
    store<u32>(there, load<u32>(here), 6);
    store<u16>(there, load<u16>(here, 4), 10);
    if (len >= header + 34 && load<u16>(here, 12) == 0x0008) {
      store<u32>(there, load<u32>(here, IP_DST), IP_SRC);
      store<u32>(there, load<u32>(here, IP_SRC), IP_DST);
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
