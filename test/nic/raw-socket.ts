// A packet socket of a test's: frames put on a wire past all of ours, those among them that a sender has left to offloads.

import { listInterfaces } from '../../src/os/interfaces.ts';
import * as libc from '../../src/os/linux/libc.ts';

const AF_PACKET = 17;
const SOCK_RAW_CLOEXEC = 0x80003;
const SOL_PACKET = 263;
const VNET_HDR = 15;
const ETH_P_ALL_SWAPPED = 0x0300;
const MSG_DONTWAIT = 0x40;
/** Length of struct virtio_net_hdr, which goes in front of every frame. */
const HEADER = 10;
const NEEDS_CHECKSUM = 1;
const GSO_TCPV4 = 1;
const ETHERNET = 14;
const HEADERS = ETHERNET + 20 + 20;

/** The Internet's checksum of some bytes; 0 where it is among them. */
export function checksum(bytes: Uint8Array, start = 0): number {
  let sum = start;
  for (let i = 0; i < bytes.length; i += 2) sum += (bytes[i]! << 8) | (bytes[i + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}

export class RawSocket implements Disposable {
  readonly #fd: number;

  /** @param receives  hears what the host's other protocols hear, too */
  constructor(name: string, { receives = false } = {}) {
    this.#fd = libc.socket(AF_PACKET, SOCK_RAW_CLOEXEC, 0);
    if (this.#fd < 0) throw libc.lastError('open a packet socket');
    const on = new Uint8Array(new Uint32Array([1]).buffer);
    if (libc.setsockopt(this.#fd, SOL_PACKET, VNET_HDR, on, 4) !== 0) throw libc.lastError('have headers');
    const address = new DataView(new ArrayBuffer(20));
    address.setUint16(0, AF_PACKET, true);
    address.setUint16(2, receives ? ETH_P_ALL_SWAPPED : 0, true);
    address.setInt32(4, listInterfaces().find((nic) => nic.name === name)!.index, true);
    if (libc.bindSocket(this.#fd, new Uint8Array(address.buffer), 20) !== 0) throw libc.lastError('bind');
  }

  send(frame: Uint8Array): void {
    this.#put(new Uint8Array(HEADER), frame);
  }

  /** Sends a TCP segment that is to be cut up on the way, which a virtual wire does not. @returns the frame */
  sendLarge(payload: number): Buffer {
    const bytes = Buffer.alloc(HEADERS + payload);
    Buffer.from('020000000001020000000002', 'hex').copy(bytes);
    bytes.writeUInt16BE(0x0800, 12);
    bytes.writeUInt8(0x45, ETHERNET);
    bytes.writeUInt16BE(bytes.length - ETHERNET, ETHERNET + 2);
    bytes.writeUInt8(64, ETHERNET + 8);
    bytes.writeUInt8(6, ETHERNET + 9);
    bytes.writeUInt32BE(0x0a090001, ETHERNET + 12);
    bytes.writeUInt32BE(0x0a090002, ETHERNET + 16);
    bytes.writeUInt8(0x50, ETHERNET + 20 + 12);
    // What whoever cuts it up goes on from: the sum of addresses, protocol and length.
    bytes.writeUInt16BE(
      ~checksum(bytes.subarray(ETHERNET + 12, ETHERNET + 20), 6 + 20 + payload) & 0xffff,
      ETHERNET + 36,
    );
    for (let i = 0; i < payload; i++) bytes.writeUInt8((i * 7 + (i >> 8)) & 0xff, HEADERS + i);
    const header = new DataView(new ArrayBuffer(HEADER));
    header.setUint8(0, NEEDS_CHECKSUM);
    header.setUint8(1, GSO_TCPV4);
    header.setUint16(2, HEADERS, true);
    header.setUint16(4, 1460, true);
    header.setUint16(6, ETHERNET + 20, true);
    header.setUint16(8, 16, true);
    this.#put(new Uint8Array(header.buffer), bytes);
    return bytes;
  }

  /** What has come. */
  received(): Uint8Array[] {
    const all: Uint8Array[] = [];
    for (;;) {
      const space = new Uint8Array(new ArrayBuffer(65536 + HEADER));
      const length = Number(libc.recv(this.#fd, space, space.length, MSG_DONTWAIT));
      if (length < 0) return all;
      all.push(space.subarray(HEADER, length));
    }
  }

  [Symbol.dispose](): void {
    libc.closeFd(this.#fd);
  }

  #put(header: Uint8Array, frame: Uint8Array): void {
    const message = Buffer.concat([header, frame]);
    if (libc.sendto(this.#fd, message, message.length, 0, null, 0) < 0) throw libc.lastError('send a frame');
  }
}
