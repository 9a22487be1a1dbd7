// What a device has of the kernel's, by names of its own, so that a module started later finds it among what clients
// hold and goes on with it: descriptors by what they stand for, and what is to be remembered beside them.  A device asks
// here before it makes anything; so it comes to be as it was by the same steps as it came to be first.

import { os } from '../os/index.ts';
import type { Queue } from './nic.ts';

/** Where a queue's rings lie in the memory that its descriptor maps. */
export type QueueLayout = Omit<Queue, 'fd' | 'server' | 'lost'>;

/** As it goes into the registry's record. */
export interface KeepsakeRecord {
  /** What each descriptor stands for. */
  fds: Record<string, string>;
  layouts: Record<string, QueueLayout>;
  texts: Record<string, string>;
}

/** Descriptors that living processes hold, by what they stand for. */
export type Holders = ReadonlyMap<string, { pid: number; fd: number }>;

export class Keepsakes {
  readonly #left: Map<string, string>;
  readonly #holders: Holders;
  readonly #fds = new Map<string, string>();
  readonly #layouts: Map<string, QueueLayout>;
  readonly #texts: Map<string, string>;

  /** @param record  what the module before this one had, to be found with `holders` */
  constructor(record?: KeepsakeRecord, holders: Holders = new Map()) {
    this.#left = new Map(Object.entries(record?.fds ?? {}));
    this.#layouts = new Map(Object.entries(record?.layouts ?? {}));
    this.#texts = new Map(Object.entries(record?.texts ?? {}));
    this.#holders = holders;
  }

  get record(): KeepsakeRecord {
    return {
      fds: Object.fromEntries(this.#fds),
      layouts: Object.fromEntries(this.#layouts),
      texts: Object.fromEntries(this.#texts),
    };
  }

  /** Whether the module before this one had a descriptor of that name, and somebody holds it. */
  has(name: string): boolean {
    return this.#holders.has(this.#left.get(name) ?? '');
  }

  /** That descriptor, once; undefined if it is not to be had. */
  take(name: string): number | undefined {
    const holder = this.#holders.get(this.#left.get(name) ?? '');
    this.#left.delete(name);
    if (!holder) return undefined;
    try {
      return this.put(name, os.takeDescriptor(holder.pid, holder.fd));
    } catch {
      return undefined; // Its holder has gone since.
    }
  }

  /** @returns the descriptor */
  put(name: string, fd: number): number {
    this.#fds.set(name, os.identityOf(fd));
    return fd;
  }

  /** It is given up, though others may hold copies. */
  gone(name: string): void {
    this.#left.delete(name);
    this.#fds.delete(name);
  }

  /** All that was needed of what was there has been taken. */
  settle(): void {
    this.#left.clear();
  }

  /** What was there, or else is made. */
  fd(name: string, make: () => number): number {
    return this.take(name) ?? this.put(name, make());
  }

  /** The same for a queue's socket. */
  queue(name: string, make: () => QueueLayout & { fd: number }): QueueLayout & { fd: number } {
    const layout = this.#layouts.get(name);
    const known = this.take(name);
    if (layout && known !== undefined) return { fd: known, ...layout };
    const { fd, ...made } = make();
    this.#layouts.set(name, made);
    return { fd: this.put(name, fd), ...made };
  }

  /** What was remembered by that name. */
  text(name: string): string | undefined {
    return this.#texts.get(name);
  }

  /** @returns the text */
  remember(name: string, text: string): string {
    this.#texts.set(name, text);
    return text;
  }

  forget(name: string): void {
    this.#texts.delete(name);
  }
}

/** Names of queues' sockets, for those who look for them from outside. */
export const wireQueue = (index: number) => `queue ${index}`;
export const hostQueue = (index: number) => `host ${index}`;
