// bpf(2): maps, programs and the links by which programs hang on an interface; all are gone with their last
// descriptor (spec linux-nic §2.2).

import * as libc from './libc.ts';

const SYS_BPF = process.arch === 'arm64' ? 280 : 321;
const MAP_CREATE = 0;
const MAP_UPDATE = 2;
const MAP_DELETE = 3;
const PROG_LOAD = 5;
const LINK_CREATE = 28;
const LINK_DETACH = 34;
const ATTR_SIZE = 144;
const LOG_SIZE = 65536;

const MAP_TYPE_XSKMAP = 17;
export const PROG_SCHED_CLS = 3;
export const PROG_XDP = 6;
export const ATTACH_XDP = 37;
export const ATTACH_TCX_INGRESS = 46;
export const ATTACH_TCX_EGRESS = 47;
/** Flags of an XDP link. */
export const XDP_SKB_MODE = 2;
export const XDP_DRV_MODE = 4;
const XDP_HAS_FRAGS = 1 << 5;

/** Memory that does not move, for the kernel to be pointed at. */
function still(bytes: Uint8Array): Uint8Array {
  const out = new Uint8Array(new ArrayBuffer(bytes.length));
  out.set(bytes);
  return out;
}

function bpf(command: number, fill: (attr: DataView) => void): number {
  const attr = new Uint8Array(new ArrayBuffer(ATTR_SIZE));
  fill(new DataView(attr.buffer));
  return Number(libc.bpfCall(SYS_BPF, command, attr, attr.length));
}

function pointer(attr: DataView, at: number, bytes: Uint8Array): void {
  attr.setBigUint64(at, BigInt(libc.addressOf(bytes)), true);
}

/** A map from rx queue to AF_XDP socket. @throws NetmapError EPERM. */
export function createSocketMap(queues: number): number {
  const fd = bpf(MAP_CREATE, (attr) => {
    attr.setUint32(0, MAP_TYPE_XSKMAP, true);
    attr.setUint32(4, 4, true);
    attr.setUint32(8, 4, true);
    attr.setUint32(12, queues, true);
  });
  if (fd < 0) throw libc.lastError('make a BPF map');
  return fd;
}

/** Has a queue's packets go to a socket; -1: to the host again. */
export function setSocket(map: number, queue: number, socket: number): void {
  const key = still(new Uint8Array(new Uint32Array([queue]).buffer));
  const value = still(new Uint8Array(new Int32Array([socket]).buffer));
  bpf(socket < 0 ? MAP_DELETE : MAP_UPDATE, (attr) => {
    attr.setUint32(0, map, true);
    pointer(attr, 8, key);
    pointer(attr, 16, value);
  });
}

/** @throws NetmapError with the verifier's last words. */
export function loadProgram(type: number, attachType: number, instructions: Uint8Array): number {
  const code = still(instructions);
  const license = still(Buffer.from('GPL\0'));
  const log = new Uint8Array(new ArrayBuffer(LOG_SIZE));
  const load = (logLevel: number) =>
    bpf(PROG_LOAD, (attr) => {
      attr.setUint32(0, type, true);
      attr.setUint32(4, code.length / 8, true);
      pointer(attr, 8, code);
      pointer(attr, 16, license);
      if (logLevel > 0) {
        attr.setUint32(24, logLevel, true);
        attr.setUint32(28, log.length, true);
        pointer(attr, 32, log);
      }
      attr.setUint32(44, type === PROG_XDP ? XDP_HAS_FRAGS : 0, true);
      attr.setUint32(68, attachType, true);
    });
  const fd = load(0);
  if (fd >= 0) return fd;
  const error = libc.lastError('load a BPF program');
  if (load(1) >= 0) return load(0);
  const words = Buffer.from(log)
    .toString('latin1')
    .replace(/\0.*$/s, '')
    .trim()
    .split('\n')
    .slice(-3)
    .join('; ');
  if (words) error.message += ` (${words})`;
  throw error;
}

/** Hangs a program on an interface. @throws NetmapError EBUSY, EEXIST: somebody else's is there; EOPNOTSUPP. */
export function createLink(
  purpose: string,
  program: number,
  ifindex: number,
  attachType: number,
  flags = 0,
): number {
  const fd = bpf(LINK_CREATE, (attr) => {
    attr.setUint32(0, program, true);
    attr.setUint32(4, ifindex, true);
    attr.setUint32(8, attachType, true);
    attr.setUint32(12, flags, true);
  });
  if (fd < 0) throw libc.lastError(purpose);
  return fd;
}

/** Takes a link's program off the interface now, whoever else has the link. */
export function detachLink(link: number): void {
  bpf(LINK_DETACH, (attr) => attr.setUint32(0, link, true));
}
