// The frames that functional sends and expects: UDP over IPv4, filled up with one character (spec apps §8.1).

import { checksum } from '../pkt-gen/frame.ts';

export interface Addresses {
  src: Uint8Array;
  dst: Uint8Array;
}

const HEADERS = 42;

/** @param length  bytes of the frame; headers that it has no room for are cut off */
export function modelFrame({ src, dst }: Addresses, length: number, fill: number): Uint8Array {
  const frame = new Uint8Array(Math.max(length, HEADERS)).fill(fill, HEADERS);
  const view = new DataView(frame.buffer);
  frame.set(dst, 0);
  frame.set(src, 6);
  view.setUint16(12, 0x0800);
  view.setUint16(14, 0x4500);
  view.setUint16(16, Math.max(length - 14, 0));
  view.setUint16(20, 0x4000);
  view.setUint8(22, 64);
  view.setUint8(23, 17);
  view.setUint32(26, 0x0a000005);
  view.setUint32(30, 0x0a000007);
  view.setUint16(24, checksum([frame.subarray(14, 34)]));
  view.setUint16(38, Math.max(length - 34, 0));
  const pseudo = Uint8Array.of(...frame.subarray(26, 34), 0, 17, frame[38]!, frame[39]!);
  view.setUint16(40, checksum([pseudo, frame.subarray(34)]));
  return frame.subarray(0, length);
}

/** With -q each frame has the next character: z is followed by a, Z by A. */
export function nextFill(fill: number): number {
  if (fill === 0x7a) return 0x61;
  if (fill === 0x5a) return 0x41;
  return (fill + 1) & 0xff;
}
