// Delivery between ports whose virtio-net headers differ (spec ports §1.13, api §10): the header is made, or
// taken off and what it asks for is done here: checksum, segmentation.  Packet by packet, for correctness first:
// every length is bounded before it is used, and on any doubt the packet is dropped and counted.
//
//   virtio-net header   flags u8 | type u8 | hdr_len u16 | gso_size u16 | csum_start u16 | csum_offset u16 [| u16]

import { NS_MOREFRAG, NS_PORT_SHIFT, RING_SLOTS, SLOT_LEN, SLOT_SIZE } from '../src/abi/netmap';
import {
  DROP_BAD_SLOT,
  DROP_FULL,
  DROP_OFFLOAD,
  DROP_OVERSIZE,
  DROP_TOO_LONG,
  KR_BUF_COUNT,
  KR_BUF_OFS,
  KR_BUF_SIZE,
  KR_DROPS,
  KR_NUM_SLOTS,
  KR_OFFSET_MAX,
  PT_HEADER,
  PT_LONGEST,
  PT_MFS,
  PT_TAGGED,
  SC_HEADERS,
} from '../src/abi/state';
import { claim, publish } from './claim';
import { copyFrame } from './copy';
import { badIndex, count, hasOffsets, regionOf, ringOf, roomBehind, scratch, settleOffset } from './ring';
import { END, firstEntry, nextRun, runAt, slotsOf } from './runs';
import { tag } from './sender';

const VH_FLAGS = 0;
const VH_TYPE = 1;
const VH_CSUM_START = 6;
const VH_CSUM_OFFSET = 8;
/** What 10- and 12-byte headers have in common. */
const VH_COMMON: u32 = 10;
const VH_NEEDS_CSUM: u32 = 1;
const VH_KNOWN_FLAGS: u32 = 3;
const VH_ECN: u32 = 0x80;
const VH_TCP4: u32 = 1;
const VH_UDP: u32 = 3;
const VH_TCP6: u32 = 4;

/** Ethernet, VLAN tags, IP and TCP headers that are looked at; longer ones are not converted. */
const LONGEST_HEADERS: u32 = 256;
/** Sums of 16-bit words of that many bytes do not overflow. */
const LONGEST_PACKET: u32 = 131072;
const TCP_PSH_FIN: u32 = 0x09;

// The packet in hand: slots of the sender, read as one stream of bytes.
let first: u32 = 0; //   its first entry
let total: u32 = 0; //   bytes of it

// Where it goes.
let kring: u32 = 0;
let slots: u32 = 0; //     first slot of the ring
let buffers: u32 = 0; //   buffer 0
let bufSize: u32 = 0; //  bytes that each is filled with at most
let limit: u32 = 0; //    longest frame that it takes, 0: any
let tagged: u32 = 0; //   its slots say where frames come from

/** Brings the packets of two queues, given by their first runs and merged in order, to a ring. */
export function deliverConverted(
  state: u32,
  source: u32,
  from: u32,
  target: u32,
  to: u32,
  ownHead: u32,
  floodHead: u32,
): void {
  const region = regionOf(to);
  const header = load<u32>(target, PT_HEADER);
  kring = to;
  slots = ringOf(to, region) + RING_SLOTS;
  buffers = region + load<u32>(to, KR_BUF_OFS);
  bufSize = hasOffsets(to) ? roomBehind(to, load<u32>(to, KR_OFFSET_MAX)) : load<u32>(to, KR_BUF_SIZE);
  tagged = load<u32>(target, PT_TAGGED);
  limit = load<u32>(target, PT_LONGEST);
  const longest = min(limit ? min(load<u32>(target, PT_MFS), limit) : load<u32>(target, PT_MFS), bufSize);
  let a = ownHead;
  let b = floodHead;
  while (a != b) {
    const run = runAt(a < b ? a : b);
    if (a < b) a = nextRun(run);
    else b = nextRun(run);
    const stop = firstEntry(run) + (slotsOf(run) << 3);
    for (let at = firstEntry(run); at < stop; ) {
      first = at;
      total = 0;
      let more: u32 = 0;
      do {
        const word = load<u64>(at);
        total += <u32>(word >> 32) & 0xffff;
        more = <u32>(word >> 48) & NS_MOREFRAG;
        at += 8;
      } while (more && at < stop);
      const reason = convert(state, source, from, header, longest);
      if (reason != DONE) count(source, KR_DROPS + reason * 8, 1);
    }
  }
}

const DONE: u32 = 0xff;

/** One packet.  @returns DONE, or why it was dropped */
function convert(state: u32, source: u32, from: u32, to: u32, longest: u32): u32 {
  const vh = scratch + SC_HEADERS;
  if (total < from || total > LONGEST_PACKET) return DROP_OFFLOAD;
  memory.fill(vh, 0, 16);
  readStream(0, min(from, VH_COMMON), vh);
  const type = <u32>load<u8>(vh, VH_TYPE) & ~VH_ECN;
  if (to == 0) {
    if (<u32>load<u8>(vh, VH_FLAGS) & ~VH_KNOWN_FLAGS) return DROP_OFFLOAD;
    if (type == VH_TCP4 || type == VH_TCP6 || type == VH_UDP) {
      return segment(state, source, from, type == VH_UDP, longest);
    }
    if (type != 0) return DROP_OFFLOAD;
  }
  return replaceHeader(state, source, from, to, vh);
}

// ---- the header alone -------------------------------------------------------------------------------------

function replaceHeader(state: u32, source: u32, from: u32, to: u32, vh: u32): u32 {
  const length = to + total - from;
  if (limit != 0 && length - to > limit) return DROP_TOO_LONG;
  if (bufSize == 0) return DROP_OVERSIZE;
  const need = (length + bufSize - 1) / bufSize;
  if (need == 0 || need > 255) return DROP_OFFLOAD;
  let sumAt: u32 = 0;
  let sum: u32 = 0;
  if (to == 0 && (<u32>load<u8>(vh, VH_FLAGS) & VH_NEEDS_CSUM) != 0) {
    const start = <u32>load<u16>(vh, VH_CSUM_START);
    sumAt = start + <u32>load<u16>(vh, VH_CSUM_OFFSET);
    if (start >= length || sumAt + 2 > length || sumAt + 2 > bufSize) return DROP_OFFLOAD;
    sum = ~fold(sumStream(from + start, total)) & 0xffff;
  }
  const block = claim(state, source, kring, load<u32>(kring, KR_NUM_SLOTS), need, END, END);
  if ((<u32>block & 0xffff) == 0) return DROP_FULL;
  let reason = DONE;
  let slot = (<u32>block >> 16) & 0xffff;
  for (let i: u32 = 0, done: u32 = 0; i < need; i++, slot = following(slot)) {
    const part = min(length - done, bufSize);
    const buffer = bufferAt(slot);
    if (buffer) {
      let at = buffer;
      if (i == 0) {
        memory.copy(at, vh, to);
        at += to;
      }
      readStream(done == 0 ? from : from + done - to, buffer + part - at, at);
      if (i == 0 && sumAt != 0) store<u16>(buffer + sumAt, bswap<u16>(<u16>sum));
    } else {
      reason = DROP_BAD_SLOT;
    }
    const flags = (need << NS_PORT_SHIFT) | (i + 1 < need ? NS_MOREFRAG : 0);
    store<u32>(slots + slot * SLOT_SIZE, (buffer ? part : 0) | (flags << 16), SLOT_LEN);
    done += part;
  }
  if (tagged) tag(kring, regionOf(kring), block);
  publish(state, source, kring, block);
  return reason;
}

// ---- segmentation ------------------------------------------------------------------------------------------

/** Cuts a long TCP or UDP packet into frames of at most `longest` bytes, each with headers of its own. */
function segment(state: u32, source: u32, from: u32, udp: bool, longest: u32): u32 {
  // The headers are read once, here; what the sender does to them afterwards is not looked at.
  const headers = scratch + SC_HEADERS;
  const seen = min(total - from, LONGEST_HEADERS);
  readStream(from, seen, headers);

  let l3: u32 = 14;
  while (l3 + 2 <= seen && load<u16>(headers + l3 - 2) == 0x0081) l3 += 4;
  if (l3 + 40 > seen) return DROP_OFFLOAD;
  const etherType = bswap<u16>(load<u16>(headers + l3 - 2));
  let ipLength: u32;
  if (etherType == 0x0800) {
    ipLength = (<u32>load<u8>(headers + l3) & 15) << 2;
    if (ipLength < 20) return DROP_OFFLOAD;
  } else if (etherType == 0x86dd) {
    ipLength = 40;
  } else {
    return DROP_OFFLOAD;
  }
  const l4 = l3 + ipLength;
  if (l4 + 20 > seen && !(udp && l4 + 8 <= seen)) return DROP_OFFLOAD;
  const l4Length: u32 = udp ? 8 : (<u32>load<u8>(headers + l4, 12) >> 4) << 2;
  const all = l4 + l4Length;
  if ((!udp && l4Length < 20) || all > seen || all >= longest) return DROP_OFFLOAD;

  const payload = total - from - all;
  const perFrame = longest - all;
  const frames: u32 = payload == 0 ? 1 : (payload + perFrame - 1) / perFrame;
  const n = load<u32>(kring, KR_NUM_SLOTS);
  if (frames >= n) return DROP_FULL;
  const block = claim(state, source, kring, n, frames, END, END);
  if ((<u32>block & 0xffff) == 0) return DROP_FULL;
  let reason = DONE;
  let slot = (<u32>block >> 16) & 0xffff;
  for (let i: u32 = 0; i < frames; i++, slot = following(slot)) {
    const sent = i * perFrame;
    const part = min(payload - sent, perFrame);
    const buffer = bufferAt(slot);
    if (buffer) {
      memory.copy(buffer, headers, all);
      readStream(from + all + sent, part, buffer + all);
      if (ipLength == 40 && etherType == 0x86dd) store<u16>(buffer + l3 + 4, bswap<u16>(<u16>(l4Length + part)));
      else finishIp4(buffer + l3, ipLength, ipLength + l4Length + part, i);
      if (udp) store<u16>(buffer + l4 + 4, bswap<u16>(<u16>(8 + part)));
      else finishTcp(buffer + l4, sent, i + 1 == frames);
      finishSum(buffer, l3, l4, l4Length + part, udp, etherType == 0x86dd);
    } else {
      reason = DROP_BAD_SLOT;
    }
    store<u32>(slots + slot * SLOT_SIZE, buffer ? all + part : 0, SLOT_LEN);
  }
  if (tagged) tag(kring, regionOf(kring), block);
  publish(state, source, kring, block);
  return reason;
}

function finishIp4(ip: u32, headerLength: u32, length: u32, nth: u32): void {
  store<u16>(ip + 2, bswap<u16>(<u16>length));
  store<u16>(ip + 4, bswap<u16>(<u16>(<u32>bswap<u16>(load<u16>(ip + 4)) + nth)));
  store<u16>(ip + 10, 0);
  store<u16>(ip + 10, bswap<u16>(<u16>~fold(sumBytes(ip, headerLength))));
}

function finishTcp(tcp: u32, sent: u32, last: bool): void {
  store<u32>(tcp + 4, bswap<u32>(bswap<u32>(load<u32>(tcp + 4)) + sent));
  if (!last) store<u8>(tcp + 13, <u8>(<u32>load<u8>(tcp + 13) & ~TCP_PSH_FIN));
}

/** Checksum of TCP or UDP, with the pseudo header of either IP. */
function finishSum(frame: u32, l3: u32, l4: u32, length: u32, udp: bool, ip6: bool): void {
  const at = frame + l4 + (udp ? 6 : 16);
  store<u16>(at, 0);
  const addresses = ip6 ? sumBytes(frame + l3 + 8, 32) : sumBytes(frame + l3 + 12, 8);
  const sum = addresses + (udp ? 17 : 6) + length + sumBytes(frame + l4, length);
  const result = ~fold(sum) & 0xffff;
  store<u16>(at, bswap<u16>(<u16>(udp && result == 0 ? 0xffff : result)));
}

// ---- bytes -------------------------------------------------------------------------------------------------

@inline
function following(slot: u32): u32 {
  return slot + 1 == load<u32>(kring, KR_NUM_SLOTS) ? 0 : slot + 1;
}

/** Buffer of one of the receiver's slots, 0 if its index is none. */
function bufferAt(slot: u32): u32 {
  const index = load<u32>(slots + slot * SLOT_SIZE);
  if (badIndex(index, load<u32>(kring, KR_BUF_COUNT))) return 0;
  const offset = hasOffsets(kring) ? settleOffset(kring, slots + slot * SLOT_SIZE) : 0;
  return buffers + index * load<u32>(kring, KR_BUF_SIZE) + offset;
}

/** Copies bytes [ofs, ofs + length) of the packet; the caller has checked that they exist. */
function readStream(ofs: u32, length: u32, to: u32): void {
  let at = first;
  let skip = ofs;
  let left = length;
  let target = to;
  while (left != 0) {
    const word = load<u64>(at);
    const len = <u32>(word >> 32) & 0xffff;
    if (skip >= len) {
      skip -= len;
    } else {
      const part = min(len - skip, left);
      copyFrame(target, <u32>word + skip, part);
      target += part;
      left -= part;
      skip = 0;
    }
    at += 8;
  }
}

/** Sum of bytes [from, end) of the packet as big-endian words. */
function sumStream(from: u32, end: u32): u32 {
  let sum: u32 = 0;
  let at = first;
  let start: u32 = 0;
  let odd: u32 = 0;
  for (let ofs = from; ofs < end; ) {
    const word = load<u64>(at);
    const len = <u32>(word >> 32) & 0xffff;
    for (; ofs < start + len && ofs < end; ofs++, odd ^= 1) {
      const byte = <u32>load<u8>(<u32>word + ofs - start);
      sum += odd ? byte : byte << 8;
    }
    start += len;
    at += 8;
  }
  return sum;
}

/** Sum of up to 64 KiB as big-endian words. */
function sumBytes(at: u32, length: u32): u32 {
  let sum: u32 = 0;
  const even = length & ~1;
  for (let i: u32 = 0; i < even; i += 2) sum += <u32>bswap<u16>(load<u16>(at + i));
  return length & 1 ? sum + (<u32>load<u8>(at + even) << 8) : sum;
}

@inline
function fold(sum: u32): u32 {
  let folded = (sum & 0xffff) + (sum >> 16);
  folded = (folded & 0xffff) + (folded >> 16);
  return folded;
}
