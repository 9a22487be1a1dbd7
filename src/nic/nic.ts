// What the module needs of a network interface's driver, and of the system; a folder a system implements it.

import type { ErrnoName } from '../abi/errors.ts';
import type { Interface } from '../os/interfaces.ts';
import type { Keepsakes } from './keepsakes.ts';

export type { Interface };

/**
 * How an interface's frames are taken: by its driver itself; by the stack on its behalf; as copies that a packet socket
 * is given.
 */
export type NicMode = 'native' | 'generic' | 'emulated';

/** One of the kernel's rings in a queue's memory: offsets of producer, consumer and entries, and how many of those. */
export interface RingLayout {
  readonly producer: number;
  readonly consumer: number;
  readonly desc: number;
  readonly entries: number;
}

/** What a driver goes by in its rings. */
export interface FrameTerms {
  /** What it calls buffer 0; the others follow at the size of one. */
  readonly bufAddress: number;
  /** It writes a frame so far behind the address that it was given. */
  readonly headroom: number;
  /** Buffers that one frame may be spread over. */
  readonly chain: number;
  /** Bytes of the longest frame that it sends. */
  readonly longest: number;
}

/** A process that serves a queue in the kernel's stead. */
export interface QueueServer {
  /** Rung to tell it that there is something for it. */
  readonly bell: number;
  /** Where in the queue's memory it says, by a word other than 0, that it sleeps; not at 0. */
  readonly asleep: number;
}

/**
 * A queue of an interface, each way: a descriptor, and rings in the memory that it maps.  Either frames are buffers of
 * ours, which come back by two more rings; or they are the kernel's, of `frameSize` bytes each.
 */
export interface Queue {
  /** Where frames are buffers of ours. */
  readonly terms?: FrameTerms;
  /** Absent where the kernel itself reads and writes the rings: then its descriptor is waited on, and kicked. */
  readonly server?: QueueServer;
  readonly fd: number;
  readonly size: number;
  readonly parts: readonly { at: number; size: number; pageOffset: number }[];
  readonly rx: RingLayout;
  readonly tx: RingLayout;
  readonly fill?: RingLayout;
  readonly completion?: RingLayout;
  readonly frameSize?: number;
  /** Frames that came and found no room, since it was opened. */
  lost(): number;
}

/** Rings of the host stack's side, each way. */
export interface HostRings {
  readonly tx: number;
  readonly rx: number;
}

/** Memory of this process that a driver is to put frames into. */
export interface BufferMemory {
  size: number;
  /** Where in it the buffers begin. */
  bufOfs: number;
  bufSize: number;
  bufCount: number;
  /** Has it mapped for as long as `work` takes. */
  mapped<T>(work: (address: number) => T): T;
  /** Has it mapped until it is released. */
  pinned(): { readonly address: number; readonly release: () => void };
  /** What another thread of this process needs to wake those who sleep on rings. */
  readonly lent: { readonly memory: WebAssembly.Memory; readonly system: number };
}

/** Krings of a queue's two rings, by their addresses in this process's arena; 0: it has none in that direction. */
export interface Krings {
  readonly tx: number;
  readonly rx: number;
}

/** What is wanted of an interface. */
export interface DevicePlan {
  /** Where its frames are to lie. */
  readonly memory: BufferMemory;
  /** Of each ring, a power of two. */
  readonly entries: number;
  /** As many as can be had are made. */
  readonly hostRings: HostRings;
  /** Nothing but this; undefined: the best that there is. */
  readonly mode: NicMode | undefined;
  /** What it begins with, and writes down what it has. */
  readonly keep: Keepsakes;
}

/**
 * Makes ready to take an interface's frames by what a system has; nothing changes before a queue is opened.
 * @throws NetmapError EOPNOTSUPP: not in the mode that is wanted; EPERM.
 */
export type OpenDevice = (nic: Interface, plan: DevicePlan) => Device;

/** What stands in the way of opening an interface. */
export interface Obstacle {
  cause: string;
  remedy: string;
  /** What opening answers. */
  code?: ErrnoName;
}

/** An interface that has changed, or is gone. */
export interface LinkNews {
  readonly gone: boolean;
  readonly nic: Interface;
}

/** What a system has for network interfaces. */
export interface NicSystem {
  readonly openDevice: OpenDevice;
  /** Rings each way that an interface's device will have. @param bufSize  of the buffers that they are to use */
  ringsOf(nic: Interface, bufSize: number, mode: NicMode | undefined): number;
  /** Why interfaces' frames can only be taken in emulated mode; undefined: they can be better. */
  whyEmulated(bufSize: number): string | undefined;
  /** Makes an interface for the host whose wire ends at us. @throws NetmapError EEXIST, EPERM. */
  openEndpoint(name: string, memory: BufferMemory, entries: number): { device: Device; nic: Interface };
  /** What keeps every interface from being opened. */
  missing(): Obstacle | undefined;
  /** Commands that bring an interface up, and that give it another MTU. */
  readonly remedies: { up(name: string): string; mtu(name: string, mtu: number): string };
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
  readonly mode: NicMode;
  /** Why in no better mode, '' if there is none. */
  readonly why: string;
  /** Rings each way, of the interface and of the host stack. */
  readonly rings: number;
  readonly hostRings: HostRings;
  /**
   * @param krings  of the rings that the queue is to serve: who sleeps on them is woken, where the kernel does not do it
   * @throws NetmapError EBUSY: somebody else has the queue.
   */
  openQueue(index: number, krings: Krings): Queue;
  closeQueue(index: number): void;
  /** Whether a queue's frames come to its socket, rather than to the host. @throws NetmapError EBUSY. */
  setReceive(index: number, on: boolean): void;
  /** A ring, each way, of the host stack's side. */
  openHost(index: number, krings: Krings): Queue;
  closeHost(index: number): void;
  setEgress(egress: Egress): void;
  /** The interface has another name or MTU. */
  follow(nic: Interface): void;
  /** Descriptors that keep all of this alive: whoever uses a ring holds copies. */
  readonly descriptors: readonly number[];
  /** Gives everything back to the host at once. */
  close(): void;
}
