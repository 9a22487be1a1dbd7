// rtnetlink: asking the kernel about network interfaces, and for new ones (spec linux-nic §2.4).  A socket speaks of
// the network namespace that it was made in.

import { NetmapError } from '../../abi/errors.ts';
import * as libc from './libc.ts';

const AF_NETLINK = 16;
const SOCK_RAW_CLOEXEC = 0x80003;
const NETLINK_ROUTE = 0;
const MSG_DONTWAIT = 0x40;

export const RTM_NEWLINK = 16;
export const RTM_DELLINK = 17;
export const RTM_GETLINK = 18;
const NLMSG_ERROR = 2;
const NLMSG_DONE = 3;
const NLM_REQUEST = 1;
const NLM_ACK = 4;
const NLM_DUMP = 0x300;
export const NLM_CREATE_EXCL = 0x600;
/** Group of sockets that hear of links' changes. */
export const RTMGRP_LINK = 1;

export const IFLA_ADDRESS = 1;
export const IFLA_IFNAME = 3;
export const IFLA_MTU = 4;
export const IFLA_OPERSTATE = 16;
export const IFLA_LINKINFO = 18;
export const IFLA_AF_SPEC = 26;
export const IFLA_NET_NS_FD = 28;
export const IFLA_NUM_TX_QUEUES = 31;
export const IFLA_NUM_RX_QUEUES = 32;
export const IFLA_XDP = 43;
const HEADER = 16;

/** Message type and body of what the kernel says. */
export interface Said {
  readonly type: number;
  readonly body: Buffer;
}

export class Netlink {
  readonly fd: number;
  #sequence = 0;

  /** @param groups  RTMGRP_* whose news come unasked, for news() */
  constructor(groups = 0) {
    this.fd = libc.socket(AF_NETLINK, SOCK_RAW_CLOEXEC, NETLINK_ROUTE);
    if (this.fd < 0) throw libc.lastError('ask the kernel about network interfaces');
    const address = Buffer.alloc(12);
    address.writeUInt16LE(AF_NETLINK, 0);
    address.writeUInt32LE(groups, 8);
    if (libc.bindSocket(this.fd, address, address.length) !== 0) {
      const error = libc.lastError('listen to the kernel about network interfaces');
      this.close();
      throw error;
    }
  }

  /** Has something done. @throws NetmapError with the kernel's errno. */
  request(purpose: string, type: number, flags: number, body: Buffer): void {
    for (const _ of this.#ask(purpose, type, flags | NLM_ACK, body)) break;
  }

  /** Everything of a kind. */
  dump(purpose: string, type: number, body: Buffer): Said[] {
    return [...this.#ask(purpose, type, NLM_DUMP, body)];
  }

  /** What has been said unasked; empty when there is nothing (more). */
  news(): Said[] {
    return [...messages(this.#receive(MSG_DONTWAIT))];
  }

  close(): void {
    libc.closeFd(this.fd);
  }

  *#ask(purpose: string, type: number, flags: number, body: Buffer): Generator<Said> {
    const header = Buffer.alloc(HEADER);
    header.writeUInt32LE(HEADER + body.length, 0);
    header.writeUInt16LE(type, 4);
    header.writeUInt16LE(flags | NLM_REQUEST, 6);
    header.writeUInt32LE(++this.#sequence, 8);
    const message = Buffer.concat([header, body]);
    if (libc.sendto(this.fd, message, message.length, 0, null, 0) < 0) throw libc.lastError(purpose);
    for (;;) {
      for (const said of messages(this.#receive(0))) {
        if (said.type === NLMSG_DONE) return;
        if (said.type === NLMSG_ERROR) {
          const errno = -said.body.readInt32LE(0);
          if (errno !== 0) throw libc.errorOf(errno, purpose);
          return;
        }
        yield said;
      }
    }
  }

  #receive(flags: number): Buffer {
    const space = Buffer.alloc(65536);
    const count = Number(libc.recv(this.fd, space, space.length, flags));
    if (count > 0) return space.subarray(0, count);
    if (flags === 0) throw new NetmapError('EIO', 'Cannot hear the kernel about network interfaces any more');
    return Buffer.alloc(0);
  }
}

function* messages(bytes: Buffer): Generator<Said> {
  for (let at = 0; at + HEADER <= bytes.length; ) {
    const length = bytes.readUInt32LE(at);
    if (length < HEADER || at + length > bytes.length) return;
    yield { type: bytes.readUInt16LE(at + 4), body: bytes.subarray(at + HEADER, at + length) };
    at += (length + 3) & ~3;
  }
}

/** An attribute; one of numbers and text, or of further attributes. */
export function attribute(type: number, value: Buffer | number | string): Buffer {
  const body =
    typeof value === 'string' ? Buffer.from(`${value}\0`) : typeof value === 'number' ? u32(value) : value;
  const out = Buffer.alloc((4 + body.length + 3) & ~3);
  out.writeUInt16LE(4 + body.length, 0);
  out.writeUInt16LE(type, 2);
  body.copy(out, 4);
  return out;
}

/** Attributes by type; the last one counts. */
export function attributes(body: Buffer): Map<number, Buffer> {
  const found = new Map<number, Buffer>();
  for (let at = 0; at + 4 <= body.length; ) {
    const length = body.readUInt16LE(at);
    if (length < 4 || at + length > body.length) break;
    found.set(body.readUInt16LE(at + 2) & 0x3fff, body.subarray(at + 4, at + length));
    at += (length + 3) & ~3;
  }
  return found;
}

/** struct ifinfomsg: which interface, and the flags it shall have. */
export function interfaceInfo(index = 0, flags = 0, change = 0): Buffer {
  const out = Buffer.alloc(16);
  out.writeInt32LE(index, 4);
  out.writeUInt32LE(flags, 8);
  out.writeUInt32LE(change, 12);
  return out;
}
export const INTERFACE_INFO_SIZE = 16;

function u32(value: number): Buffer {
  const out = Buffer.alloc(4);
  out.writeUInt32LE(value);
  return out;
}
