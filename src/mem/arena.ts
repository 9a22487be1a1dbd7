// One address space per process for everything that the data plane touches: a shared WebAssembly.Memory of a
// fixed 4 GiB, over whose backing store shared objects are mapped.  Nothing is committed before it is mapped
// or touched.  Workers of the process attach to the same memory and see mappings made later.
//
//   0          ARENA_REGION_BASES  ARENA_MAPS    ARENA_SCRATCH     ARENA_LOW            ARENA_HIGH      4 GiB
//   | guard    | tables for the    | what is     | one area per    | own regions, own   | peers'        |
//   | page     | data plane        | mapped      | thread          | private memory     | regions       |
//
// Own regions lie below 2 GiB, so that the addresses TypeScript works with stay small integers; peers'
// regions are touched by WebAssembly alone.

import { NetmapError } from '../abi/errors.ts';
import {
  ARENA_HIGH,
  ARENA_LOCK,
  ARENA_LOW,
  ARENA_MAPS,
  ARENA_REGION_BASES,
  ARENA_SCRATCH,
  ARENA_SIZE,
  ARENA_THREADS,
  MAX_THREADS,
  REGION_SLOTS,
  SCRATCH_SIZE,
} from '../abi/state.ts';
import { os } from '../os/index.ts';

const PAGE = 65536;
const WASM_PAGES = ARENA_SIZE / PAGE;
/** The arena's private part, up to ARENA_LOW, is at hand as typed arrays; so is every own region. */
const REACH = ARENA_HIGH;

// Records of what is mapped, in the arena itself because threads share them.  Guarded by the lock.
const MAP_COUNT = ARENA_MAPS >> 2;
const MAP_FIRST = (ARENA_MAPS + 64) >> 2;
const MAP_WORDS = 8;
const MAX_MAPS = 16384;
const M_ADDRESS = 0;
const M_SIZE = 1;
const M_INO = 2; //     0: private memory
const M_OWNER = 3; //   who asked for it: OWN, or slot + 1 of the switch whose peers it belongs to
const M_REGION = 4; //  region slot + 1, 0 for other objects
const M_REFS = 5;
const OWN = 0;
/** Memory of a device: M_INO holds its slot. */
const DEVICE = -1;
/** A place that something else of this process has taken: nothing is mapped there again. */
const LOST = -2;
/** Places that are tried before giving up. */
const PLACES = 8;

export interface Mapping {
  readonly address: number;
  readonly size: number;
}

export class Arena {
  readonly memory: WebAssembly.Memory;
  /** Bytes below 2 GiB. */
  readonly bytes: Uint8Array;
  /** Words below 2 GiB. */
  readonly words: Int32Array;
  readonly view: DataView;
  /** This thread's scratch area. */
  readonly scratch: number;
  readonly #base: number;

  private constructor(memory: WebAssembly.Memory) {
    this.memory = memory;
    this.bytes = new Uint8Array(memory.buffer, 0, REACH);
    this.words = new Int32Array(memory.buffer, 0, REACH / 4);
    this.view = new DataView(memory.buffer, 0, REACH);
    this.#base = os.addressOf(new Uint8Array(memory.buffer, 0, 1));
    this.scratch = this.#takeScratch();
  }

  /**
   * Makes the process's arena and proves that the mapping trick works here.
   * @throws NetmapError ENOMEM where 4 GiB of address space cannot be had, EOPNOTSUPP where mapping fails.
   */
  static create(): Arena {
    let memory: WebAssembly.Memory;
    try {
      memory = new WebAssembly.Memory({ initial: WASM_PAGES, maximum: WASM_PAGES, shared: true });
    } catch (error) {
      throw new NetmapError(
        'ENOMEM',
        `Cannot reserve 4 GiB of address space for the arena: ${(error as Error).message}; look at "ulimit -v" and vm.overcommit_memory`,
      );
    }
    const base = os.addressOf(new Uint8Array(memory.buffer, 0, 1));
    const lost = os.prepare(base, ARENA_SIZE, ARENA_LOW);
    const arena = new Arena(memory);
    for (const place of lost) arena.#record(place - base, os.mapUnit, 0, LOST, -1);
    arena.#selfTest();
    return arena;
  }

  /** The arena of this process in another thread, from the memory that the first one made. */
  static attach(memory: WebAssembly.Memory): Arena {
    return new Arena(memory);
  }

  /** Maps a region of this process's own ports, or other own shared memory; again if it is mapped already. */
  mapOwn(fd: number, ino: number, size: number, regionSlot = -1): Mapping {
    return this.#locked(() => {
      const record = this.#find(ino, OWN);
      if (record >= 0) {
        this.words[record + M_REFS]!++;
        return this.#mapping(record);
      }
      return this.#map(fd, ino, size, OWN, regionSlot);
    });
  }

  /** Gives back one mapOwn(). */
  unmapOwn(mapping: Mapping): void {
    this.#locked(() => {
      const record = this.#at(mapping.address);
      if (--this.words[record + M_REFS]! === 0) this.#unmap(record);
    });
  }

  /** Where the system knows an address of the arena by. */
  systemAddress(address: number): number {
    return this.#base + address;
  }

  /**
   * Maps memory of a device, such as a NIC queue's rings, where the data plane looks for it; again if it is there.
   * @param map  puts it at an address as systemAddress() tells it; false: as Os.map() does
   */
  mapDevice(slot: number, size: number, map: (address: number) => boolean): Mapping {
    return this.#locked(() => {
      const record = this.#find(slot, DEVICE);
      if (record >= 0) {
        this.words[record + M_REFS]!++;
        return this.#mapping(record);
      }
      const mapping = this.#mapSomewhere(size, slot, DEVICE, -1, map);
      Atomics.store(this.words, (ARENA_REGION_BASES >> 2) + slot, mapping.address);
      return mapping;
    });
  }

  /** Gives back one mapDevice(). */
  unmapDevice(mapping: Mapping): void {
    this.#locked(() => {
      const record = this.#at(mapping.address);
      if (--this.words[record + M_REFS]! > 0) return;
      Atomics.store(this.words, (ARENA_REGION_BASES >> 2) + this.words[record + M_INO]!, 0);
      this.#unmap(record);
    });
  }

  /** Private memory, zeroed, for as long as the process likes. */
  allocate(size: number): Mapping {
    return this.#locked(() => {
      const address = this.#place(size, ARENA_LOW, ARENA_HIGH);
      os.commit(this.#base + address, size);
      return this.#record(address, size, 0, OWN, -1);
    });
  }

  free(mapping: Mapping): void {
    this.#locked(() => this.#unmap(this.#at(mapping.address)));
  }

  /**
   * Makes a peer's region reachable for the data plane, on behalf of a switch.
   * @param open  opens the region's object, called only if it is not mapped yet
   */
  mapPeer(stateSlot: number, regionSlot: number, ino: number, size: number, open: () => number): void {
    this.#locked(() => {
      const own = this.#find(ino, OWN);
      if (own >= 0 || this.#find(ino, stateSlot + 1) >= 0) {
        this.#rebase(regionSlot, ino);
        return;
      }
      const fd = open();
      try {
        this.#map(fd, ino, size, stateSlot + 1, regionSlot);
      } finally {
        os.closeFd(fd);
      }
    });
  }

  /** Takes away the regions of a switch's former peers.  No sync of this process may be using them. */
  unmapPeersExcept(stateSlot: number, inos: ReadonlySet<number>): void {
    this.#locked(() => {
      for (let i = this.words[MAP_COUNT]! - 1; i >= 0; i--) {
        const record = MAP_FIRST + i * MAP_WORDS;
        if (this.words[record + M_OWNER] === stateSlot + 1 && !inos.has(this.words[record + M_INO]! >>> 0)) {
          this.#unmap(record);
        }
      }
    });
  }

  populate(address: number, size: number): void {
    os.populate(this.#base + address, size);
  }

  #map(fd: number, ino: number, size: number, owner: number, regionSlot: number): Mapping {
    return this.#mapSomewhere(size, ino, owner, regionSlot, (address) => os.map(address, size, fd));
  }

  #mapSomewhere(
    size: number,
    ino: number,
    owner: number,
    regionSlot: number,
    map: (address: number) => boolean,
  ): Mapping {
    const peers = owner !== OWN && owner !== DEVICE;
    for (let attempt = 0; attempt < PLACES; attempt++) {
      const address = peers
        ? this.#place(size, ARENA_HIGH, ARENA_SIZE)
        : this.#place(size, ARENA_LOW, ARENA_HIGH);
      if (map(this.#base + address)) return this.#record(address, size, ino, owner, regionSlot);
      this.#record(address, size, 0, LOST, -1);
    }
    throw new NetmapError('ENOMEM', `Cannot map ${size} bytes: other threads took each of ${PLACES} places`);
  }

  #record(address: number, size: number, ino: number, owner: number, regionSlot: number): Mapping {
    const index = this.words[MAP_COUNT]!;
    if (index === MAX_MAPS)
      throw new NetmapError('ENOMEM', `Cannot map more than ${MAX_MAPS} objects in one process`);
    const record = MAP_FIRST + index * MAP_WORDS;
    this.words.set([address, size, ino, owner, regionSlot + 1, 1], record);
    this.words[MAP_COUNT] = index + 1;
    if (regionSlot >= 0) this.#rebase(regionSlot, ino);
    return { address, size };
  }

  #unmap(record: number): void {
    const { words } = this;
    const ino = words[record + M_INO]! >>> 0;
    const regionSlot = words[record + M_REGION]! - 1;
    const { address, size } = this.#mapping(record);
    const last = MAP_FIRST + --words[MAP_COUNT]! * MAP_WORDS;
    words.copyWithin(record, last, last + MAP_WORDS);
    if (regionSlot >= 0) this.#rebase(regionSlot, ino);
    if (!os.unmap(this.#base + address, size)) this.#record(address, size, 0, LOST, -1);
  }

  /** Points the data plane at a mapping of the region, own before peer's, or at none. */
  #rebase(regionSlot: number, ino: number): void {
    if (regionSlot >= REGION_SLOTS)
      throw new NetmapError('ENFILE', `Region slot ${regionSlot} is beyond ${REGION_SLOTS}`);
    let record = this.#find(ino, OWN);
    for (let i = 0; record < 0 && i < this.words[MAP_COUNT]!; i++) {
      if (this.words[MAP_FIRST + i * MAP_WORDS + M_INO]! >>> 0 === ino) record = MAP_FIRST + i * MAP_WORDS;
    }
    const address = record < 0 ? 0 : this.words[record + M_ADDRESS]!;
    Atomics.store(this.words, (ARENA_REGION_BASES >> 2) + regionSlot, address);
  }

  #find(ino: number, owner: number): number {
    for (let i = 0; i < this.words[MAP_COUNT]!; i++) {
      const record = MAP_FIRST + i * MAP_WORDS;
      if (this.words[record + M_INO]! >>> 0 === ino && this.words[record + M_OWNER] === owner) return record;
    }
    return -1;
  }

  #at(address: number): number {
    for (let i = 0; i < this.words[MAP_COUNT]!; i++) {
      const record = MAP_FIRST + i * MAP_WORDS;
      if (this.words[record + M_ADDRESS]! >>> 0 === address) return record;
    }
    throw new Error(`nothing is mapped at ${address}`);
  }

  #mapping(record: number): Mapping {
    return { address: this.words[record + M_ADDRESS]! >>> 0, size: this.words[record + M_SIZE]! >>> 0 };
  }

  /** First gap of [from, to) that holds `size` bytes. */
  #place(size: number, from: number, to: number): number {
    const taken: Mapping[] = [];
    for (let i = 0; i < this.words[MAP_COUNT]!; i++) {
      const mapping = this.#mapping(MAP_FIRST + i * MAP_WORDS);
      if (mapping.address >= from && mapping.address < to) taken.push(mapping);
    }
    taken.sort((a, b) => a.address - b.address);
    let address = from;
    for (const mapping of taken) {
      if (mapping.address - address >= size) break;
      address = Math.ceil((mapping.address + mapping.size) / os.mapUnit) * os.mapUnit;
    }
    if (address + size > to) {
      throw new NetmapError(
        'ENOMEM',
        `Cannot map ${size} bytes: the ${(to - from) / 2 ** 20} MiB of address space for ${from === ARENA_LOW ? 'own' : "peers'"} memory have no such gap left`,
      );
    }
    return address;
  }

  #takeScratch(): number {
    for (let word = 0; word < MAX_THREADS / 32; word++) {
      const at = (ARENA_THREADS >> 2) + word;
      for (let bit = 0; bit < 32; bit++) {
        if (Atomics.or(this.words, at, 1 << bit) & (1 << bit)) continue;
        return ARENA_SCRATCH + (word * 32 + bit) * SCRATCH_SIZE;
      }
    }
    throw new NetmapError('ENFILE', `Cannot use netmap in more than ${MAX_THREADS} threads of one process`);
  }

  /** Gives this thread's scratch area back; the arena must not be used by it afterwards. */
  releaseScratch(): void {
    const index = (this.scratch - ARENA_SCRATCH) / SCRATCH_SIZE;
    Atomics.and(this.words, (ARENA_THREADS >> 2) + (index >> 5), ~(1 << (index & 31)));
  }

  #locked<T>(work: () => T): T {
    const at = ARENA_LOCK >> 2;
    while (Atomics.compareExchange(this.words, at, 0, 1) !== 0) Atomics.wait(this.words, at, 1, 10);
    try {
      return work();
    } finally {
      Atomics.store(this.words, at, 0);
      Atomics.notify(this.words, at, 1);
    }
  }

  #selfTest(): void {
    const object = os.createObject('netmap-self-test', PAGE);
    try {
      const first = this.#map(object.fd, 0, PAGE, OWN, -1);
      const second = this.#map(object.fd, 0, PAGE, OWN, -1);
      this.words[first.address >> 2] = 0x6e6d;
      if (this.words[second.address >> 2] !== 0x6e6d) {
        throw new NetmapError(
          'EOPNOTSUPP',
          'Cannot map shared memory under a WebAssembly.Memory with this runtime: two mappings of one object differ; use Node 20.19 or later',
        );
      }
      this.free(second);
      this.free(first);
    } finally {
      os.closeFd(object.fd);
    }
  }
}
