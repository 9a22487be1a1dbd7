// The frames that pkt-gen makes: Ethernet, IPv4 or IPv6, UDP, and a text (spec apps §1.5); in front of them, where the
// port wants one, a virtio-net header of zeros.

import type { FrameSteps } from '../../src/client/index.ts';
import type { PktGenOptions } from './options.ts';
import { countedPart, isSingle, type Range } from './ranges.ts';

const ETHERNET = 14;
const UDP = 8;
const TEXT = new TextEncoder().encode(
  'netmap pkt-gen DIRECT payload\nhttp://info.iet.unipi.it/~luigi/netmap/ ',
);

/** Offsets that differ between the families. */
const LAYOUTS = {
  4: { ethertype: 0x0800, src: 26, dst: 30, udp: 34, ipSum: 24 },
  6: { ethertype: 0x86dd, src: 22, dst: 38, udp: 54, ipSum: undefined },
} as const;

export interface FramePlan {
  family: 4 | 6;
  /** Bytes, without CRC. */
  length: number;
  smac: Uint8Array;
  dmac: Uint8Array;
  /** Addresses of 4 or 16 bytes. */
  src: Uint8Array;
  dst: Uint8Array;
  sport: number;
  dport: number;
}

/** The template frame.  One shorter than its headers is cut off, with lengths that say so. */
export function buildFrame({ family, length, smac, dmac, src, dst, sport, dport }: FramePlan): Uint8Array {
  const at = LAYOUTS[family];
  const payload = at.udp + UDP;
  const bytes = new Uint8Array(Math.max(length, payload));
  const view = new DataView(bytes.buffer);
  bytes.set(dmac, 0);
  bytes.set(smac, 6);
  view.setUint16(12, at.ethertype);
  if (family === 4) {
    view.setUint16(14, 0x4510); // Low delay.
    view.setUint16(20, 0x4000); // Do not fragment.
    view.setUint16(22, 0x4011); // 64 hops, UDP.
  } else {
    view.setUint8(14, 0x60);
    view.setUint16(20, 0x1140); // UDP, 64 hops.
  }
  bytes.set(src, at.src);
  bytes.set(dst, at.dst);
  view.setUint16(at.udp, sport);
  view.setUint16(at.udp + 2, dport);
  for (let i = payload; i < length; i++) bytes[i] = TEXT[(i - payload) % TEXT.length]!;
  setLengths(bytes, length, family);
  return bytes.subarray(0, length);
}

/** Has a frame say that it is `length` bytes long, and its checksums agree; `bytes` holds its headers, at least. */
export function setLengths(bytes: Uint8Array, length: number, family: 4 | 6): void {
  const at = LAYOUTS[family];
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const udpLength = Math.max(0, length - at.udp);
  if (family === 4) {
    view.setUint16(16, Math.max(0, length - ETHERNET));
    view.setUint16(24, 0);
    view.setUint16(24, checksum([bytes.subarray(ETHERNET, at.udp)]));
  } else {
    view.setUint16(18, udpLength);
  }
  view.setUint16(at.udp + 4, udpLength);
  if (length >= at.udp + UDP) view.setUint16(at.udp + 6, udpChecksum(bytes.subarray(0, length), family));
}

/** The frame that the options ask for, the first of their ranges, behind its header. */
export function templateFrame({ family, size, smac, dmac, src, dst, header }: PktGenOptions): Uint8Array {
  const plan = { family, length: size, smac, dmac, src: src.start, dst: dst.start };
  const frame = buildFrame({ ...plan, sport: src.port.low, dport: dst.port.low });
  return Buffer.concat([new Uint8Array(header), frame]);
}

/** How that frame changes from packet to packet; undefined: it does not. */
export function stepsOf({ family, src, dst, header, random }: PktGenOptions): FrameSteps | undefined {
  const at = LAYOUTS[family];
  if (isSingle(src) && isSingle(dst) && !random.includes(true)) return undefined;
  const port = (range: Range, place: number) => ({ ...range.port, at: header + place, words: 1 as const });
  const address = (range: Range, place: number) => {
    const part = countedPart(range);
    return { ...range.address, at: header + place + part.at, words: part.words };
  };
  return {
    digits: [port(src, at.udp), address(src, at.src), port(dst, at.udp + 2), address(dst, at.dst)],
    ipSum: at.ipSum === undefined ? undefined : header + at.ipSum,
    udpSum: header + at.udp + 6,
    random,
    seed: process.hrtime.bigint() | 1n,
  };
}

/** Where the payload starts, and UDP's checksum is, in what templateFrame() makes. */
export function placesIn({ family, header }: PktGenOptions): { payload: number; udpSum: number } {
  const udp = header + LAYOUTS[family].udp;
  return { payload: udp + UDP, udpSum: udp + 6 };
}

/** UDP checksum of a frame, over pseudo header, header and payload, its own field counted as 0. */
export function udpChecksum(frame: Uint8Array, family: 4 | 6 = 4): number {
  const at = LAYOUTS[family];
  const udp = Uint8Array.from(frame.subarray(at.udp));
  udp.fill(0, 6, 8);
  const pseudo = Uint8Array.of(...frame.subarray(at.src, at.udp), 0, 17, udp.length >> 8, udp.length & 0xff);
  return checksum([pseudo, udp]);
}

/** Internet checksum over parts of which all but the last have an even length. */
export function checksum(parts: readonly Uint8Array[]): number {
  let sum = 0;
  for (const part of parts)
    for (let i = 0; i < part.length; i += 2) sum += (part[i]! << 8) | (part[i + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}
