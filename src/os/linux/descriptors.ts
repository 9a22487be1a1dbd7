// Descriptors on their way between processes: SCM_RIGHTS over unix sockets, and who is at the other end.

import fs from 'node:fs';
import { NetmapError } from '../../abi/errors.ts';
import type { Peer, Received } from '../os.ts';
import * as libc from './libc.ts';

const AF_UNIX = 1;
const SOCK_STREAM_CLOEXEC = 0o2000001;
const SOCK_NONBLOCK = 0o4000;
const SOL_SOCKET = 1;
const SO_PEERCRED = 17;
const SO_PEERGROUPS = 59;
/** More groups a user cannot have. */
const MAX_GROUPS = 65536;
const SCM_RIGHTS = 1;
const MSG_DONTWAIT_NOSIGNAL = 0x4040;
const MSG_CMSG_CLOEXEC = 0x40000000;
const MSG_CTRUNC = 8;
const POLLIN = 1;
/** The kernel passes no more in one message. */
const MAX_DESCRIPTORS = 253;
const LONGEST_PATH = 107;

// struct msghdr, struct iovec and struct cmsghdr of the 64-bit ABIs.
const MSGHDR = 56;
const MH_IOV = 16;
const MH_IOVLEN = 24;
const MH_CONTROL = 32;
const MH_CONTROLLEN = 40;
const MH_FLAGS = 48;
const CMSG_HEADER = 16;

/** A message header that speaks of `bytes` and `control`; none of the three moves while it is in use. */
class Message {
  readonly header = new Uint8Array(new ArrayBuffer(MSGHDR));
  readonly view = new DataView(this.header.buffer);
  readonly control: DataView<ArrayBuffer>;
  // The header holds only its address.
  readonly #iov = new BigUint64Array(new ArrayBuffer(16));

  constructor(bytes: Uint8Array<ArrayBuffer>, controlSize: number) {
    const control = new Uint8Array(new ArrayBuffer(controlSize));
    this.control = new DataView(control.buffer);
    this.#iov[0] = BigInt(libc.addressOf(bytes));
    this.#iov[1] = BigInt(bytes.length);
    this.view.setBigUint64(MH_IOV, BigInt(libc.addressOf(new Uint8Array(this.#iov.buffer))), true);
    this.view.setBigUint64(MH_IOVLEN, 1n, true);
    this.view.setBigUint64(MH_CONTROL, BigInt(libc.addressOf(control)), true);
    this.view.setBigUint64(MH_CONTROLLEN, BigInt(controlSize), true);
  }
}

export function sendDescriptors(socket: number, text: string, fds: readonly number[]): void {
  const encoded = Buffer.from(text);
  const bytes = new Uint8Array(new ArrayBuffer(encoded.length));
  bytes.set(encoded);
  const message = new Message(bytes, Math.ceil((CMSG_HEADER + 4 * fds.length) / 8) * 8);
  message.control.setBigUint64(0, BigInt(CMSG_HEADER + 4 * fds.length), true);
  message.control.setInt32(8, SOL_SOCKET, true);
  message.control.setInt32(12, SCM_RIGHTS, true);
  fds.forEach((fd, i) => {
    message.control.setInt32(CMSG_HEADER + 4 * i, fd, true);
  });
  const sent = Number(libc.sendmsg(socket, message.header, MSG_DONTWAIT_NOSIGNAL));
  if (sent < 0) throw libc.lastError(`hand ${fds.length} descriptors to a client`);
  // A part that went has the descriptors with it: what is left is no use to anybody.
  if (sent < bytes.length) throw new NetmapError('EIO', `Cannot hand over more than ${sent} bytes of text`);
}

export function receiveDescriptors(path: string, request: string, timeoutMs: number): Received {
  const encoded = Buffer.from(path);
  if (encoded.length > LONGEST_PATH)
    throw new NetmapError('EINVAL', `Cannot connect to ${path}: it has more than ${LONGEST_PATH} bytes`);
  const address = new Uint8Array(new ArrayBuffer(2 + encoded.length + 1));
  address[0] = AF_UNIX;
  address.set(encoded, 2);
  const socket: number = libc.socket(AF_UNIX, SOCK_STREAM_CLOEXEC, 0);
  if (socket < 0) throw libc.lastError('make a socket for descriptors');
  try {
    if (libc.connect(socket, address, address.length) !== 0) throw libc.lastError(`connect to ${path}`);
    fs.writeSync(socket, request);
    return receive(socket, timeoutMs);
  } finally {
    fs.closeSync(socket);
  }
}

/** One line, and what comes with it. */
function receive(socket: number, timeoutMs: number): Received {
  const fds: number[] = [];
  let text = '';
  try {
    while (!text.endsWith('\n')) {
      if (!readable(socket, timeoutMs))
        throw new NetmapError('ETIMEDOUT', `Cannot get descriptors: no answer within ${timeoutMs} ms`);
      const bytes = new Uint8Array(new ArrayBuffer(65536));
      const message = new Message(bytes, CMSG_HEADER + 4 * (MAX_DESCRIPTORS + 1));
      const count = Number(libc.recvmsg(socket, message.header, MSG_CMSG_CLOEXEC));
      if (count < 0) throw libc.lastError('get descriptors');
      fds.push(...descriptorsIn(message));
      if (message.view.getInt32(MH_FLAGS, true) & MSG_CTRUNC)
        throw new NetmapError('EMFILE', 'Cannot take all of the descriptors: this process has no more room');
      if (count === 0) throw new NetmapError('EPIPE', 'Cannot get descriptors: the other side has hung up');
      text += Buffer.from(bytes.buffer, 0, count).toString('utf8');
    }
    return { text, fds };
  } catch (error) {
    for (const fd of fds) fs.closeSync(fd);
    throw error;
  }
}

function descriptorsIn({ view, control }: Message): number[] {
  if (view.getBigUint64(MH_CONTROLLEN, true) < BigInt(CMSG_HEADER)) return [];
  if (control.getInt32(8, true) !== SOL_SOCKET || control.getInt32(12, true) !== SCM_RIGHTS) return [];
  const count = (Number(control.getBigUint64(0, true)) - CMSG_HEADER) / 4;
  return Array.from({ length: count }, (_, i) => control.getInt32(CMSG_HEADER + 4 * i, true));
}

function readable(fd: number, timeoutMs: number): boolean {
  const record = new Uint8Array(new ArrayBuffer(8));
  const view = new DataView(record.buffer);
  view.setInt32(0, fd, true);
  view.setInt16(4, POLLIN, true);
  const deadline = performance.now() + timeoutMs;
  let left = timeoutMs;
  do {
    if (libc.waitFor(record, 1, left) > 0) return true;
    left = deadline - performance.now(); // A signal has ended the wait, if anything is.
  } while (left > 0);
  return false;
}

export function peerOf(socket: number): Peer {
  const credentials = new Int32Array(new ArrayBuffer(12));
  const length = new Int32Array(new ArrayBuffer(8));
  length[0] = 12;
  if (libc.getsockopt(socket, SOL_SOCKET, SO_PEERCRED, credentials, length) !== 0)
    throw libc.lastError('tell who is at the other end of a socket');
  const [pid, uid, gid] = credentials as unknown as [number, number, number];
  return { pid, uid: uid >>> 0, gid: gid >>> 0, groups: [gid >>> 0, ...furtherGroups(socket)] };
}

function furtherGroups(socket: number): number[] {
  const length = new Int32Array(new ArrayBuffer(8));
  for (let room = 64; room <= MAX_GROUPS; room *= 32) {
    const groups = new Uint32Array(new ArrayBuffer(4 * room));
    length[0] = groups.byteLength;
    if (libc.getsockopt(socket, SOL_SOCKET, SO_PEERGROUPS, groups, length) === 0)
      return [...groups.subarray(0, length[0] / 4)];
  }
  return [];
}

export function createLine(): [number, number] {
  const fds = [0, 0];
  if (libc.socketpair(AF_UNIX, SOCK_STREAM_CLOEXEC | SOCK_NONBLOCK, 0, fds) !== 0)
    throw libc.lastError('create a pair of sockets');
  return fds as [number, number];
}
