import * as libc from '../../os/linux/libc.ts';
import * as xdp from '../../os/linux/xdp-socket.ts';
import type { BufferMemory, Queue } from '../nic.ts';

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
): Queue {
  const fd = xdp.createSocket();
  try {
    const { size, bufSize } = memory;
    if (shared === undefined) memory.mapped((address) => xdp.registerMemory(fd, address, size, bufSize));
    const rings = xdp.createRings(fd, entries);
    xdp.bindQueue(fd, ifindex, queue, shared);
    return { fd, ...rings, lost: () => xdp.lostFrames(fd) };
  } catch (error) {
    libc.closeFd(fd);
    throw error;
  }
}
