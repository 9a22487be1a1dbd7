// The queues behind a NIC's rings: the kernel's own rings, or those of the process that serves them in its stead, mapped
// where the data plane looks for them; and the descriptors by which it is told that there is something for it.  The kernel's
// also tell that something has come; a process rings the bells of those who wait.

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

/** Descriptors of a queue; the bell of the process that serves it, if the kernel does not. */
export interface QueueFds {
  readonly fd: number;
  readonly bell?: number;
}

/** What another thread of the process needs of them. */
export interface LentQueues {
  readonly fds: ReadonlyMap<number, QueueFds>;
  readonly module: { readonly pid: number; readonly startTime: string };
}

export class Queues {
  /** By the index of their rings. */
  readonly #fds = new Map<number, QueueFds>();
  readonly #mappings: Mapping[] = [];
  readonly #held: number[] = [];
  readonly #arena: Arena;
  /** By what is waited for. */
  readonly #waitFds: Partial<Record<'in' | 'out' | 'both', readonly WaitFd[]>> = {};
  readonly #module: LentQueues['module'];

  private constructor(arena: Arena, module: LentQueues['module']) {
    this.#arena = arena;
    this.#module = module;
  }

  /** Takes what a registration was given. @throws NetmapError EINVAL: the module is gone, or not ours. */
  static take(arena: Arena, { queues, held }: RegisterReply, module: number): Queues {
    const taken = new Queues(arena, { pid: module, startTime: os.startTime(module) });
    try {
      for (const { index, slot, fd, size, parts, bell } of queues) {
        const own = os.takeDescriptor(module, fd);
        taken.#fds.set(index, { fd: own });
        if (bell !== undefined) taken.#fds.set(index, { fd: own, bell: os.takeDescriptor(module, bell) });
        const map = (address: number) =>
          parts.every(({ at, size, pageOffset }) => os.mapDevice(own, address + at, size, pageOffset));
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
  static lent(arena: Arena, { fds, module }: LentQueues): Queues {
    const queues = new Queues(arena, module);
    for (const [index, queue] of fds) queues.#fds.set(index, queue);
    return queues;
  }

  get fds(): ReadonlyMap<number, QueueFds> {
    return this.#fds;
  }

  /** Descriptors that become readable, or writable, when those rings are to be looked at; always the same rings. */
  waitFds(tx: readonly Ring[], rx: readonly Ring[], events: 'in' | 'out' | 'both'): readonly WaitFd[] {
    const of = (rings: readonly Ring[], events: 'in' | 'out') =>
      rings.map(({ ringId }) => ({ fd: this.#fds.get(ringId)!.fd, events }));
    this.#waitFds[events] ??= [
      ...(events === 'out' ? [] : of(rx, 'in')),
      ...(events === 'in' ? [] : of(tx, 'out')),
    ];
    return this.#waitFds[events];
  }

  get lent(): LentQueues {
    return { fds: this.#fds, module: this.#module };
  }

  /** Whether the module that serves them is gone; with it, what came and went by them. */
  get deserted(): boolean {
    return !this.byKernel && os.startTime(this.#module.pid) !== this.#module.startTime;
  }

  /** Whether the kernel itself serves them, and tells by their descriptors that something has come. */
  get byKernel(): boolean {
    return [...this.#fds.values()].every(({ bell }) => bell === undefined);
  }

  /**
   * Tells of what a ring's sync has left.  The kernel is told again as long as there is something and it takes it.
   * @param left  whether there is: syncs once more
   * @param kicks  most times
   */
  tell(index: number, left: () => boolean, kicks = MAX_KICKS): void {
    const { fd, bell } = this.#fds.get(index)!;
    if (bell !== undefined) {
      os.ring(bell);
      return;
    }
    for (let i = 0; i < kicks; i++) {
      const error = os.kick(fd);
      if (!left()) return;
      // Busy: a frame that the device did not take is gone, the others wait.
      if (error !== 0 && error !== ERRNO.EAGAIN && error !== ERRNO.EBUSY) return;
    }
  }

  /** Reads a frame that was too long for a queue's ring. @returns its length, -1 where there is none */
  receive(index: number, address: number, size: number): number {
    return os.receive(this.#fds.get(index)!.fd, this.#arena.systemAddress(address), size);
  }

  close(): void {
    for (const mapping of this.#mappings.splice(0)) this.#arena.unmapDevice(mapping);
    const own = [...this.#fds.values()].flatMap(({ fd, bell }) => (bell === undefined ? [fd] : [fd, bell]));
    for (const fd of [...own, ...this.#held.splice(0)]) os.closeFd(fd);
    this.#fds.clear();
  }
}
