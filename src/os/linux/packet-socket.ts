// Packet sockets with two rings of frames, one each way (spec linux-nic §2.5, §5): TPACKET_V2, whose frames change
// hands one by one, where those of V3 wait for a block to be full or for a timer.

import * as libc from './libc.ts';
import type { RingLayout, SocketRings } from './xdp-socket.ts';

const AF_PACKET = 17;
const SOCK_RAW_CLOEXEC = 0x80003;
const SOL_PACKET = 263;
const RX_RING = 5;
const STATISTICS = 6;
const COPY_THRESHOLD = 7;
const VERSION = 10;
const TX_RING = 13;
const LOSS = 14;
const QDISC_BYPASS = 20;
const IGNORE_OUTGOING = 23;
const TPACKET_V2 = 1;
const ETH_P_ALL_SWAPPED = 0x0300;
const SOL_SOCKET = 1;
const SO_ATTACH_FILTER = 26;
const SO_RCVBUFFORCE = 33;
const MSG_DONTWAIT = 0x40;
const BLOCK = 65536;
/** Bytes of frames that were too long for the ring, and wait to be read. */
const LONG_FRAMES = 4 << 20;
/** What the kernel puts in front of a frame, at most. */
const HEADER = 96;

// Classic BPF: a word of what the kernel knows about a frame; a jump; an answer.
const LOAD_ABSOLUTE = 0x20;
const JUMP_EQUAL = 0x15;
const RETURN = 0x06;
const ANCILLARY_MARK = 0xfffff000 + 20;
const WHOLE = 0xffffffff;

export type PacketRings = Pick<SocketRings, 'size' | 'parts' | 'rx' | 'tx'> & { frameSize: number };

/**
 * Makes a socket that sends past the interface's queueing discipline, and receives nothing yet.
 * @param entries  of each ring, a power of two
 * @param longest  bytes of the frames that the rings are made for; longer ones are read by receive()
 * @throws NetmapError EPERM, ENOMEM.
 */
export function createPacketSocket(entries: number, longest: number): { fd: number } & PacketRings {
  const fd = libc.socket(AF_PACKET, SOCK_RAW_CLOEXEC, 0);
  if (fd < 0) throw libc.lastError('open a packet socket');
  try {
    const frameSize = Math.max(2048, 2 ** Math.ceil(Math.log2(longest + HEADER)));
    const bytes = entries * frameSize;
    const block = Math.min(BLOCK, bytes);
    const request = u32(block, bytes / block, frameSize, entries);
    set(fd, VERSION, u32(TPACKET_V2), 'choose a version of packet rings');
    // Sent by the ring, and refused by the interface: lost, instead of in the way of those behind it.
    set(fd, LOSS, u32(1), 'have a packet socket go on');
    set(fd, IGNORE_OUTGOING, u32(1), 'have a packet socket hear no frames that leave');
    set(fd, QDISC_BYPASS, u32(1), "go past an interface's queue");
    set(fd, COPY_THRESHOLD, u32(1), 'have long frames queued');
    libc.setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, u32(LONG_FRAMES), 4);
    for (const ring of [RX_RING, TX_RING])
      set(fd, ring, request, `make a ring of ${entries} frames of ${frameSize} bytes`);
    const layout = (desc: number): RingLayout => ({ producer: 0, consumer: 0, desc, entries });
    const size = 2 * bytes;
    return {
      fd,
      frameSize,
      size,
      parts: [{ at: 0, size, pageOffset: 0 }],
      rx: layout(0),
      tx: layout(bytes),
    };
  } catch (error) {
    libc.closeFd(fd);
    throw error;
  }
}

/** @param receives  frames that come there, too */
export function bindPacketSocket(fd: number, ifindex: number, receives: boolean): void {
  const address = new DataView(new ArrayBuffer(20));
  address.setUint16(0, AF_PACKET, true);
  address.setUint16(2, receives ? ETH_P_ALL_SWAPPED : 0, true);
  address.setInt32(4, ifindex, true);
  if (libc.bindSocket(fd, new Uint8Array(address.buffer), 20) !== 0)
    throw libc.lastError(`bind to interface ${ifindex}`);
}

/** Has a socket pass over frames with a mark; `undefined`: over all. */
export function passOver(fd: number, mark: number | undefined): void {
  const code: [number, number, number, number][] =
    mark === undefined
      ? [[RETURN, 0, 0, 0]]
      : [
          [LOAD_ABSOLUTE, 0, 0, ANCILLARY_MARK],
          [JUMP_EQUAL, 0, 1, mark],
          [RETURN, 0, 0, 0],
          [RETURN, 0, 0, WHOLE],
        ];
  const program = new DataView(new ArrayBuffer(code.length * 8));
  code.forEach(([operation, ifTrue, ifFalse, value], i) => {
    program.setUint16(i * 8, operation, true);
    program.setUint8(i * 8 + 2, ifTrue);
    program.setUint8(i * 8 + 3, ifFalse);
    program.setUint32(i * 8 + 4, value >>> 0, true);
  });
  const bytes = new Uint8Array(program.buffer);
  const request = new DataView(new ArrayBuffer(16));
  request.setUint16(0, code.length, true);
  request.setBigUint64(8, BigInt(libc.addressOf(bytes)), true);
  if (libc.setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, new Uint8Array(request.buffer), 16) !== 0)
    throw libc.lastError('choose what a packet socket hears');
}

/** Frames that found no room in the RX ring since the last call. */
export function lostFrames(fd: number): number {
  const statistics = new Uint32Array(2);
  const length = new Uint32Array([8]);
  const bytes = new Uint8Array(statistics.buffer);
  return libc.getsockopt(fd, SOL_PACKET, STATISTICS, bytes, length) === 0 ? statistics[1]! : 0;
}

/** Reads a frame that was too long for the ring. @returns its length, -1 where there is none */
export function receive(fd: number, address: number, size: number): number {
  const length = Number(libc.recvAt(fd, address, size, MSG_DONTWAIT));
  // What became of the interface in the meantime is told first.
  return length < 0 ? Number(libc.recvAt(fd, address, size, MSG_DONTWAIT)) : length;
}

function set(fd: number, option: number, value: Uint8Array, purpose: string): void {
  if (libc.setsockopt(fd, SOL_PACKET, option, value, value.length) !== 0) throw libc.lastError(purpose);
}

function u32(...values: number[]): Uint8Array {
  return new Uint8Array(new Uint32Array(values).buffer);
}
