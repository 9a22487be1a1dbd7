// The frames that pkt-gen makes: Ethernet, IPv4, UDP, and a text (spec apps §1.5).

import { NetmapError } from '../../src/client/index.ts';
import type { PktGenOptions } from './options.ts';

const ETHERNET = 14;
const IPV4 = 20;
const UDP = 8;
const PAYLOAD = ETHERNET + IPV4 + UDP;
const TEXT = new TextEncoder().encode(
  'netmap pkt-gen DIRECT payload\nhttp://info.iet.unipi.it/~luigi/netmap/ ',
);

export interface FramePlan {
  /** Bytes, without CRC. */
  length: number;
  smac: Uint8Array;
  dmac: Uint8Array;
  /** IPv4 addresses as numbers, most significant byte first on the wire. */
  src: number;
  dst: number;
  sport: number;
  dport: number;
}

/** The template frame.  One shorter than its headers is cut off, with lengths that say so. */
export function buildFrame({ length, smac, dmac, src, dst, sport, dport }: FramePlan): Uint8Array {
  const bytes = new Uint8Array(Math.max(length, PAYLOAD));
  const view = new DataView(bytes.buffer);
  bytes.set(dmac, 0);
  bytes.set(smac, 6);
  view.setUint16(12, 0x0800);
  view.setUint8(14, 0x45);
  view.setUint8(15, 0x10); // Low delay.
  view.setUint16(16, Math.max(0, length - ETHERNET));
  view.setUint16(20, 0x4000); // Do not fragment.
  view.setUint8(22, 64);
  view.setUint8(23, 17);
  view.setUint32(26, src);
  view.setUint32(30, dst);
  view.setUint16(34, sport);
  view.setUint16(36, dport);
  view.setUint16(38, Math.max(0, length - ETHERNET - IPV4));
  for (let i = PAYLOAD; i < length; i++) bytes[i] = TEXT[(i - PAYLOAD) % TEXT.length]!;
  const frame = bytes.subarray(0, length);
  view.setUint16(24, checksum([bytes.subarray(ETHERNET, ETHERNET + IPV4)]));
  if (length >= PAYLOAD) view.setUint16(40, udpChecksum(frame));
  return frame;
}

/** The frame that the options ask for: the first of their ranges. */
export function templateFrame({ size, smac, dmac, src, dst }: PktGenOptions): Uint8Array {
  return buildFrame({
    length: size,
    smac,
    dmac,
    src: src.address.low,
    dst: dst.address.low,
    sport: src.port.low,
    dport: dst.port.low,
  });
}

/** UDP checksum of a frame, over pseudo header, header and payload, its own field counted as 0. */
export function udpChecksum(frame: Uint8Array): number {
  const udp = frame.slice(ETHERNET + IPV4);
  udp.fill(0, 6, 8);
  const pseudo = Uint8Array.of(...frame.subarray(26, 34), 0, 17, udp.length >> 8, udp.length & 0xff);
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

/** @throws NetmapError EINVAL: six hexadecimal bytes parted by colons are expected. */
export function parseMac(text: string): Uint8Array {
  const parts = text.split(':');
  if (parts.length !== 6 || !parts.every((part) => /^[0-9a-fA-F]{1,2}$/.test(part))) {
    throw new NetmapError(
      'EINVAL',
      `invalid MAC address '${text}': six hexadecimal bytes parted by colons are expected, as in 02:00:00:00:00:01`,
    );
  }
  return Uint8Array.from(parts, (part) => Number.parseInt(part, 16));
}
