// The queues behind a NIC's rings: the kernel's own rings, mapped where the data plane looks for them, and the
// descriptors by which the kernel is told to send, and tells that something has come.

import { ERRNO, type NetmapError } from '../abi/errors.ts';
import type { Arena, Mapping } from '../mem/arena.ts';
import { os } from '../os/index.ts';
import type { RegisterReply } from '../protocol/messages.ts';
import type { Ring } from './ring.ts';

/** Calls after which a queue that takes no more is left alone until the next sync. */
const MAX_KICKS = 1024;

/** A descriptor, and what to wait for there. */
export interface WaitFd {
  readonly fd: number;
  readonly events: 'in' | 'out';
}

export class Queues {
  /** By the index of their rings. */
  readonly #fds = new Map<number, number>();
  readonly #mappings: Mapping[] = [];
  readonly #held: number[] = [];
  readonly #arena: Arena;
  /** By what is waited for. */
  readonly #waitFds: Partial<Record<'in' | 'out' | 'both', readonly WaitFd[]>> = {};

  private constructor(arena: Arena) {
    this.#arena = arena;
  }

  /** Takes what a registration was given. @throws NetmapError EINVAL: the module is gone, or not ours. */
  static take(arena: Arena, { queues, held }: RegisterReply, module: number): Queues {
    const taken = new Queues(arena);
    try {
      for (const { index, slot, fd, size, parts } of queues) {
        const own = os.takeDescriptor(module, fd);
        taken.#fds.set(index, own);
        const map = (address: number) => {
          for (const { at, size, pageOffset } of parts) os.mapDevice(own, address + at, size, pageOffset);
        };
        taken.#mappings.push(arena.mapDevice(slot, size, map));
      }
      for (const fd of held) taken.#hold(module, fd);
      return taken;
    } catch (error) {
      taken.close();
      throw error;
    }
  }

  /** What another opening has had replaced in the meantime need not be held. */
  #hold(module: number, fd: number): void {
    try {
      this.#held.push(os.takeDescriptor(module, fd));
    } catch (error) {
      if ((error as NetmapError).code !== 'EINVAL') throw error;
    }
  }

  /** The same queues in another thread of the process. */
  static lent(arena: Arena, fds: ReadonlyMap<number, number>): Queues {
    const queues = new Queues(arena);
    for (const [index, fd] of fds) queues.#fds.set(index, fd);
    return queues;
  }

  get fds(): ReadonlyMap<number, number> {
    return this.#fds;
  }

  /** Descriptors that become readable, or writable, when those rings are to be looked at; always the same rings. */
  waitFds(tx: readonly Ring[], rx: readonly Ring[], events: 'in' | 'out' | 'both'): readonly WaitFd[] {
    const of = (rings: readonly Ring[], events: 'in' | 'out') =>
      rings.map(({ ringId }) => ({ fd: this.#fds.get(ringId)!, events }));
    this.#waitFds[events] ??= [
      ...(events === 'out' ? [] : of(rx, 'in')),
      ...(events === 'in' ? [] : of(tx, 'out')),
    ];
    return this.#waitFds[events];
  }

  /** Has the kernel send what a ring's sync has left for it, as long as there is something and it takes it. */
  send(index: number, unsent: () => boolean, kicks = MAX_KICKS): void {
    const fd = this.#fds.get(index)!;
    for (let i = 0; i < kicks; i++) {
      const error = os.kick(fd);
      if (!unsent()) return;
      // Busy: a frame that the device did not take is gone, the others wait.
      if (error !== 0 && error !== ERRNO.EAGAIN && error !== ERRNO.EBUSY) return;
    }
  }

  /** Reads a frame that was too long for a queue's ring. @returns its length, -1 where there is none */
  receive(index: number, address: number, size: number): number {
    return os.receive(this.#fds.get(index)!, this.#arena.systemAddress(address), size);
  }

  close(): void {
    for (const mapping of this.#mappings.splice(0)) this.#arena.unmapDevice(mapping);
    for (const fd of [...this.#fds.values(), ...this.#held.splice(0)]) os.closeFd(fd);
    this.#fds.clear();
  }
}
