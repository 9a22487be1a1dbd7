import * as libc from '../../os/linux/libc.ts';
import * as xdp from '../../os/linux/xdp-socket.ts';
import type { QueueLayout } from '../keepsakes.ts';
import type { BufferMemory, FrameTerms, Queue } from '../nic.ts';

/** Buffers that one frame is spread over, as of Linux 6.18 at the least. */
const MAX_CHAIN = 16;
/** The interface knows: it counts and drops what is longer. */
const ANY_LENGTH = 0xffffffff;

/**
 * A socket on a queue of an interface, whose buffers are `memory`.
 * @param entries  of each of its rings, a power of two
 * @param shared  a bound socket that has the memory registered already
 */
export function openSocket(
  ifindex: number,
  queue: number,
  memory: BufferMemory,
  entries: number,
  shared?: number,
): QueueLayout & { fd: number } {
  const fd = xdp.createSocket();
  try {
    const { size, bufSize } = memory;
    if (shared === undefined) memory.mapped((address) => xdp.registerMemory(fd, address, size, bufSize));
    const rings = xdp.createRings(fd, entries);
    xdp.bindQueue(fd, ifindex, queue, shared);
    const terms: FrameTerms = {
      bufAddress: memory.bufOfs,
      headroom: xdp.HEADROOM,
      chain: MAX_CHAIN,
      longest: ANY_LENGTH,
    };
    return { fd, terms, ...rings };
  } catch (error) {
    libc.closeFd(fd);
    throw error;
  }
}

/** A queue of it. */
export function withLosses(socket: QueueLayout & { fd: number }): Queue {
  return { ...socket, lost: () => xdp.lostFrames(socket.fd) };
}
