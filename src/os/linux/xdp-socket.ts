// AF_XDP sockets: the kernel's four rings, and the buffers that they speak of (spec linux-nic §2.3).

import { NetmapError } from '../../abi/errors.ts';
import * as libc from './libc.ts';

const AF_XDP = 44;
const SOL_XDP = 283;
const SOCK_RAW_CLOEXEC = 0x80003;
const MMAP_OFFSETS = 1;
const RX_RING = 2;
const TX_RING = 3;
const UMEM_REG = 4;
const FILL_RING = 5;
const COMPLETION_RING = 6;
const STATISTICS = 7;
const MAX_TX_SKB_BUDGET = 9;
const UNALIGNED_CHUNKS = 1;
const BIND_SHARED_UMEM = 1;
const BIND_COPY = 2;
const BIND_USE_SG = 16;
const MSG_DONTWAIT = 0x40;
const PAGE = 4096;
/** How long a queue whose last user has gone may still be busy. */
const RELEASE_MS = 1000;

/** Where the kernel writes a frame: so far behind the address that it was given. */
export const HEADROOM = 256;
/** Bytes of buffers that the kernel takes at any place, with what it wants before each: 2048 to a page of 4096. */
export const SMALLEST_BUFFER = 2048 - HEADROOM;
export const LARGEST_BUFFER = PAGE - HEADROOM;
const BUDGET = 2048;
/** What nobody wakes: to wait by the clock. */
const NEVER = new Int32Array(new SharedArrayBuffer(4));

/** Where one of the kernel's rings lies in the memory that a socket's rings are mapped to, one behind the other. */
export interface RingLayout {
  producer: number;
  consumer: number;
  desc: number;
  entries: number;
}

export interface SocketRings {
  /** Bytes of all four. */
  size: number;
  parts: readonly { at: number; size: number; pageOffset: number }[];
  rx: RingLayout;
  tx: RingLayout;
  fill: RingLayout;
  completion: RingLayout;
}

const ORDER = ['rx', 'tx', 'fill', 'completion'] as const;
const PAGE_OFFSETS = { rx: 0, tx: 0x80000000, fill: 0x100000000, completion: 0x180000000 };
const OPTIONS = { rx: RX_RING, tx: TX_RING, fill: FILL_RING, completion: COMPLETION_RING };
const ENTRY = { rx: 16, tx: 16, fill: 8, completion: 8 };

/** @throws NetmapError EPERM: CAP_NET_RAW is missing. */
export function createSocket(): number {
  const fd = libc.socket(AF_XDP, SOCK_RAW_CLOEXEC, 0);
  if (fd < 0) throw libc.lastError('open an AF_XDP socket');
  return fd;
}

/** Pins memory, at an address of this process, as what a socket's buffers lie in. */
export function registerMemory(fd: number, address: number, size: number, bufferSize: number): void {
  const request = new DataView(new ArrayBuffer(32));
  request.setBigUint64(0, BigInt(address), true);
  request.setBigUint64(8, BigInt(size), true);
  request.setUint32(16, bufferSize + HEADROOM, true);
  request.setUint32(24, UNALIGNED_CHUNKS, true);
  set(fd, UMEM_REG, new Uint8Array(request.buffer), `hand ${size} bytes of buffers to the kernel`);
}

/** Gives a socket its four rings. */
export function createRings(fd: number, entries: number): SocketRings {
  for (const ring of ORDER) set(fd, OPTIONS[ring], u32(entries), `make a ring of ${entries} entries`);
  const offsets = new DataView(new ArrayBuffer(128));
  const length = new Uint32Array([128]);
  if (libc.getsockopt(fd, SOL_XDP, MMAP_OFFSETS, new Uint8Array(offsets.buffer), length) !== 0)
    throw libc.lastError("find the kernel's rings");
  let at = 0;
  const parts = [];
  const layouts = {} as Record<(typeof ORDER)[number], RingLayout>;
  for (const [i, ring] of ORDER.entries()) {
    const offset = (nth: number) => Number(offsets.getBigUint64(i * 32 + nth * 8, true));
    const desc = offset(2);
    const size = Math.ceil((desc + entries * ENTRY[ring]) / PAGE) * PAGE;
    layouts[ring] = { producer: at + offset(0), consumer: at + offset(1), desc: at + desc, entries };
    parts.push({ at, size, pageOffset: PAGE_OFFSETS[ring] });
    at += size;
  }
  return { size: at, parts, ...layouts };
}

/**
 * Binds a socket to a queue.  One that has just been given up may be busy for some milliseconds yet.
 * @param shared  socket whose memory this one shares, if it has none of its own
 */
export function bindQueue(fd: number, ifindex: number, queue: number, shared?: number): void {
  const address = new DataView(new ArrayBuffer(16));
  address.setUint16(0, AF_XDP, true);
  address.setUint16(2, shared === undefined ? BIND_COPY | BIND_USE_SG : BIND_SHARED_UMEM, true);
  address.setUint32(4, ifindex, true);
  address.setUint32(8, queue, true);
  address.setUint32(12, shared ?? 0, true);
  const deadline = performance.now() + RELEASE_MS;
  for (;;) {
    if (libc.bindSocket(fd, new Uint8Array(address.buffer), 16) === 0) break;
    const error = libc.lastError(`bind to queue ${queue} of interface ${ifindex}`);
    if (error.code !== 'EBUSY' || performance.now() > deadline) throw error;
    Atomics.wait(NEVER, 0, 0, 2);
  }
  // Sends a whole batch by one call, where the kernel knows how (6.17 on).
  libc.setsockopt(fd, SOL_XDP, MAX_TX_SKB_BUDGET, u32(BUDGET), 4);
}

/** Maps a socket's rings at an address of this process. */
export function mapRings(fd: number, address: number, parts: SocketRings['parts']): void {
  for (const { at, size, pageOffset } of parts) libc.mapDevice(fd, address + at, size, pageOffset);
}

/** Frames that found no room in the RX ring, or no buffer, since it was made. */
export function lostFrames(fd: number): number {
  const statistics = new BigUint64Array(6);
  const length = new Uint32Array([48]);
  if (libc.getsockopt(fd, SOL_XDP, STATISTICS, new Uint8Array(statistics.buffer), length) !== 0) return 0;
  const [noBuffer, , , ringFull] = statistics;
  return Number(noBuffer! + ringFull!);
}

/** Has the kernel send what is in the TX ring: 0, or the errno. */
export function kick(fd: number): number {
  return libc.sendto(fd, null, 0, MSG_DONTWAIT, null, 0) < 0 ? libc.errorNumber() : 0;
}

function set(fd: number, option: number, value: Uint8Array, purpose: string): void {
  if (libc.setsockopt(fd, SOL_XDP, option, value, value.length) === 0) return;
  const error = libc.lastError(purpose);
  throw error.code === 'ENOMEM'
    ? new NetmapError('ENOMEM', `${error.message}; raise the limit of locked memory ("ulimit -l")`)
    : error;
}

function u32(value: number): Uint8Array {
  return new Uint8Array(new Uint32Array([value]).buffer);
}
