import { NetmapError } from '../abi/errors.ts';
import { NM_RESERVED_BUFS } from '../abi/netmap.ts';
import { REGION_SLOTS, STATE_SLOTS } from '../abi/state.ts';
import type { Arena, Mapping } from '../mem/arena.ts';
import type { Geometry } from '../mem/geometry.ts';
import { Pool } from '../mem/pool.ts';
import { type ObjectRef, os } from '../os/index.ts';

/** nr_mem_id of the region that NICs and null ports share. */
export const GLOBAL_REGION = 1;

/** A netmap memory region: what applications map. */
export interface Region {
  readonly slot: number;
  readonly memId: number;
  readonly object: ObjectRef;
  readonly geometry: Geometry;
  readonly ifs: Pool;
  readonly rings: Pool;
  readonly bufs: Pool;
  /** Adapters that live in it; it goes with the last. */
  users: number;
  /** Has been told of its size, and will be told when it goes. */
  readonly account: Account | undefined;
}

/** Somebody whose memory is limited. */
export interface Account {
  /** @throws NetmapError ENOMEM: that would be too much. */
  charge(bytes: number, forWhat: string): void;
  refund(bytes: number): void;
}

/** Private state: what only trusted processes map. */
export interface State {
  readonly slot: number;
  readonly object: ObjectRef;
  readonly mapping: Mapping;
}

/** The shared memory that the module hands out: creates it, knows it by id, gives it back. */
export class Memory {
  readonly arena: Arena;
  readonly #regions = new Map<number, Region>();
  readonly #states = new Map<number, State>();
  #lastMemId = 1;
  #nextRegionSlot = 0;
  /** Slots of what is mapped and is no region: the rings of NICs' queues. */
  readonly #deviceSlots = new Set<number>();
  #nextStateSlot = 0;
  #account: Account | undefined;

  constructor(arena: Arena) {
    this.arena = arena;
  }

  get regions(): Iterable<Region> {
    return this.#regions.values();
  }

  /** @throws NetmapError EINVAL for an id that no region has. */
  regionById(memId: number): Region {
    for (const region of this.#regions.values()) if (region.memId === memId) return region;
    throw new NetmapError(
      'EINVAL',
      `Cannot use memory region ${memId}: there is none of that id; use the id of an open port`,
    );
  }

  hasRegion(memId: number): boolean {
    return [...this.#regions.values()].some((region) => region.memId === memId);
  }

  /** Has regions that `work` makes charged to somebody. */
  charging<T>(account: Account | undefined, work: () => T): T {
    this.#account = account;
    try {
      return work();
    } finally {
      this.#account = undefined;
    }
  }

  /** @throws NetmapError ENOMEM: more than the machine has left, or than whom it is charged to may have. */
  createRegion(geometry: Geometry, forWhat: string, id?: number): Region {
    const available = os.availableMemory();
    if (geometry.size > available) {
      throw new NetmapError(
        'ENOMEM',
        `Cannot open "${forWhat}": its rings and buffers need ${mib(geometry.size)} MiB, the machine has ${mib(available)} MiB left; ask for fewer slots or extra buffers`,
      );
    }
    const account = this.#account;
    account?.charge(geometry.size, forWhat);
    try {
      const { fd, size, ino } = os.createObject('netmap-region', geometry.size);
      return this.addRegion({ pid: process.pid, fd, size, ino }, geometry, id, account);
    } catch (error) {
      account?.refund(geometry.size);
      throw error;
    }
  }

  /** Makes a region of an object that this process holds. */
  addRegion(object: ObjectRef, geometry: Geometry, id?: number, account?: Account): Region {
    return this.adoptRegion(this.#freeRegionSlot(), id ?? this.#freeMemId(), object, geometry, account);
  }

  /** The region that lies in an object, if one does. */
  regionIn(ino: number): Region | undefined {
    return [...this.#regions.values()].find(({ object }) => object.ino === ino);
  }

  /** Takes over a region that exists. */
  adoptRegion(slot: number, memId: number, object: ObjectRef, geometry: Geometry, account?: Account): Region {
    const region: Region = {
      slot,
      memId,
      object,
      geometry,
      ifs: new Pool(geometry.ifs.count),
      rings: new Pool(geometry.rings.count),
      bufs: new Pool(geometry.bufs.count, NM_RESERVED_BUFS),
      users: 0,
      account,
    };
    this.#regions.set(slot, region);
    this.#lastMemId = Math.max(memId, 1);
    this.#nextRegionSlot = (slot + 1) % REGION_SLOTS;
    return region;
  }

  /** A region that nobody came to use goes again. */
  dropIfUnused(region: Region): void {
    region.users++;
    this.releaseRegion(region);
  }

  /** One adapter less uses it. */
  releaseRegion(region: Region): void {
    if (--region.users > 0) return;
    this.#regions.delete(region.slot);
    os.closeFd(region.object.fd);
    region.account?.refund(region.geometry.size);
  }

  /** Has the region mapped for as long as `work` takes; `base` is its address in the module's arena. */
  withRegion<T>(region: Region, work: (base: number) => T): T {
    const mapping = this.arena.mapOwn(region.object.fd, region.object.ino, region.object.size, region.slot);
    try {
      return work(mapping.address);
    } finally {
      this.arena.unmapOwn(mapping);
    }
  }

  /** A place in every process's table of addresses, for memory of a device. @throws NetmapError ENFILE. */
  takeDeviceSlot(): number {
    const slot = this.#freeRegionSlot();
    this.#deviceSlots.add(slot);
    this.#nextRegionSlot = (slot + 1) % REGION_SLOTS;
    return slot;
  }

  /** The same for one that was taken before this module. */
  keepDeviceSlot(slot: number): void {
    this.#deviceSlots.add(slot);
    this.#nextRegionSlot = (slot + 1) % REGION_SLOTS;
  }

  releaseDeviceSlot(slot: number): void {
    this.#deviceSlots.delete(slot);
  }

  createState(name: string, size: number): State {
    const slot = this.#freeStateSlot();
    const { fd, ino } = os.createObject(name, size);
    return this.adoptState(slot, { pid: process.pid, fd, size, ino });
  }

  adoptState(slot: number, object: ObjectRef): State {
    const mapping = this.arena.mapOwn(object.fd, object.ino, object.size);
    const state: State = { slot, object, mapping };
    this.#states.set(slot, state);
    this.#nextStateSlot = (slot + 1) % STATE_SLOTS;
    return state;
  }

  /** The state in a slot; there must be one. */
  stateOn(slot: number): State {
    return this.#states.get(slot)!;
  }

  releaseState(state: State): void {
    this.#states.delete(state.slot);
    this.arena.unmapOwn(state.mapping);
    os.closeFd(state.object.fd);
  }

  // Slots are used in turn, so that a process with an old address of a slot has long looked again before the
  // slot means something else.
  #freeRegionSlot(): number {
    for (let i = 0; i < REGION_SLOTS; i++) {
      const slot = (this.#nextRegionSlot + i) % REGION_SLOTS;
      if (!this.#regions.has(slot) && !this.#deviceSlots.has(slot)) return slot;
    }
    throw new NetmapError('ENFILE', `Cannot make another memory region: all ${REGION_SLOTS} are in use`);
  }

  #freeStateSlot(): number {
    for (let i = 0; i < STATE_SLOTS; i++) {
      const slot = (this.#nextStateSlot + i) % STATE_SLOTS;
      if (!this.#states.has(slot)) return slot;
    }
    throw new NetmapError('ENFILE', `Cannot make another switch or pipe: all ${STATE_SLOTS} are in use`);
  }

  /** The id after the newest region's, as netmap does; 0 and 1 (the global region) are never given out. */
  #freeMemId(): number {
    const used = new Set([...this.#regions.values()].map((region) => region.memId));
    for (let i = 1; i <= 0xffff; i++) {
      const memId = (this.#lastMemId + i) % 0x10000;
      if (memId >= 2 && !used.has(memId)) return memId;
    }
    throw new NetmapError('ENOMEM', 'Cannot make another memory region: all 65534 ids are in use');
  }
}

function mib(bytes: number): string {
  return (bytes / 2 ** 20).toFixed(1);
}
