// What the module needs of a network interface's driver, and of the system; a folder a system implements it.

import type { Interface } from '../os/interfaces.ts';

export type { Interface };

/** One of the kernel's rings in a queue's memory: offsets of producer, consumer and entries, and how many of those. */
export interface RingLayout {
  readonly producer: number;
  readonly consumer: number;
  readonly desc: number;
  readonly entries: number;
}

/** A queue of an interface, each way: a descriptor, and four rings in the memory that it maps. */
export interface Queue {
  readonly fd: number;
  readonly size: number;
  readonly parts: readonly { at: number; size: number; pageOffset: number }[];
  readonly rx: RingLayout;
  readonly tx: RingLayout;
  readonly fill: RingLayout;
  readonly completion: RingLayout;
}

/** Memory of this process that a driver is to put frames into. */
export interface BufferMemory {
  size: number;
  bufSize: number;
  /** Has it mapped for as long as `work` takes. */
  mapped<T>(work: (address: number) => T): T;
}

/**
 * Makes ready to take an interface's frames by a system's driver; nothing changes before a queue is opened.
 * @param entries  of each ring, a power of two
 * @param mode  undefined: the best that there is
 */
export type OpenDevice = (
  nic: Interface,
  memory: BufferMemory,
  entries: number,
  mode: 'native' | 'generic' | undefined,
) => Device;

/** What stands in the way of opening an interface. */
export interface Obstacle {
  cause: string;
  remedy: string;
}

/** An interface that has changed, or is gone. */
export interface LinkNews {
  readonly gone: boolean;
  readonly nic: Interface;
}

/** What a system has for network interfaces. */
export interface NicSystem {
  readonly openDevice: OpenDevice;
  /** Makes an interface for the host whose wire ends at us. @throws NetmapError EEXIST, EPERM. */
  openEndpoint(name: string, memory: BufferMemory, entries: number): { device: Device; nic: Interface };
  missingPrivileges(): Obstacle | undefined;
  /** Offloads of an interface that change frames, by the system's names. */
  offloadsOn(name: string): string[];
  /** Whether frames are taken by the driver itself. */
  isNative(driver: string): boolean;
  /** Tells what becomes of interfaces. @returns what ends it */
  watchLinks(tell: (news: LinkNews) => void): () => void;
}

/** What becomes of the host stack's own frames: out on the wire, nowhere, or into the host ring. */
export type Egress = 'wire' | 'nowhere' | 'ring';

export interface Device {
  /** How frames are taken: by the driver itself, or by the stack on its behalf; why not better. */
  readonly mode: 'native' | 'generic';
  readonly why: string;
  /** @throws NetmapError EBUSY: somebody else has the queue. */
  openQueue(index: number): Queue;
  closeQueue(index: number): void;
  /** Whether a queue's frames come to its socket, rather than to the host. @throws NetmapError EBUSY. */
  setReceive(index: number, on: boolean): void;
  /** The host stack's side. */
  openHost(): Queue;
  closeHost(): void;
  setEgress(egress: Egress): void;
  /** The interface's MTU is another: the host's side follows. */
  setMtu(mtu: number): void;
  /** Descriptors that keep all of this alive: whoever uses a ring holds copies. */
  readonly descriptors: readonly number[];
  /** Gives everything back to the host at once. */
  close(): void;
}
