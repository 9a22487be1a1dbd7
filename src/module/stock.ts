import { KR_SIZE } from '../abi/state.ts';
import { type Geometry, layOut } from '../mem/geometry.ts';
import type { RegisterRequest } from '../protocol/messages.ts';
import { GLOBAL_REGION, type Memory, type Region, type State } from './memory.ts';
import type { Parameters } from './parameters.ts';
import type { PortSizes } from './plan.ts';
import type { PortTable, SwitchPort } from './port-table.ts';
import { createRing, destroyRing, type Ring, type RingPlan } from './rings.ts';

/** Regions and rings for those who make adapters, each taken with the step that gives it back. */
export class Stock {
  readonly memory: Memory;

  readonly #parameters: Parameters;

  constructor(memory: Memory, parameters: Parameters) {
    this.memory = memory;
    this.#parameters = parameters;
  }

  /** Bytes of a buffer in regions made from now on. */
  get bufSize(): number {
    return this.#parameters.get('priv_buf_size');
  }

  /** The region asked for by id, else a new one. */
  region({ memId, name }: Pick<RegisterRequest, 'memId' | 'name'>, geometry: Geometry, undo: Undo): Region {
    const region = memId !== 0 ? this.byId(memId) : this.memory.createRegion(geometry, name);
    this.share(region, undo);
    return region;
  }

  /** An existing region; the global one (1) is made when it is first asked for. @throws NetmapError EINVAL, ENOMEM. */
  byId(memId: number): Region {
    if (memId !== GLOBAL_REGION) return this.memory.regionById(memId);
    const geometry = layOut(this.#parameters.pools(''));
    return this.memory.hasRegion(memId)
      ? this.memory.regionById(memId)
      : this.memory.createRegion(geometry, 'memory region 1', memId);
  }

  sizeOf(memId: number): number {
    if (memId === GLOBAL_REGION && !this.memory.hasRegion(memId))
      return layOut(this.#parameters.pools('')).size;
    return this.memory.regionById(memId).geometry.size;
  }

  /** One more user of a region. */
  share(region: Region, undo: Undo): void {
    region.users++;
    undo.push(() => this.memory.releaseRegion(region));
  }

  ring(region: Region, state: State, plan: RingPlan, undo: Undo, lender?: Ring): Ring {
    const ring = createRing(this.memory, region, state, plan, lender);
    undo.push(() => this.releaseRings(region, [ring]));
    return ring;
  }

  /**
   * The rings of a port of a table, RX before TX as netmap creates them (spec api §1.4); the krings of its TX rings
   * lie before those of its RX rings.
   */
  rings(
    kinds: { tx: number; rx: number },
    region: Region,
    { state }: PortTable,
    port: SwitchPort,
    { txRings, rxRings, txSlots, rxSlots }: PortSizes,
    undo: Undo,
  ): { tx: Ring[]; rx: Ring[] } {
    const ring = (kind: number, index: number, slots: number, nth: number) => {
      const kringOfs = port.krings.ofs + nth * KR_SIZE;
      return this.ring(region, state, { kind, index, slots, kringOfs, port: port.index }, undo);
    };
    const rx = range(rxRings).map((i) => ring(kinds.rx, i, rxSlots, txRings + i));
    return { rx, tx: range(txRings).map((i) => ring(kinds.tx, i, txSlots, i)) };
  }

  /** Not worth the walk where the region goes with its last user anyway. */
  releaseRings(region: Region, rings: readonly Ring[]): void {
    if (region.users > 1) for (const ring of rings) destroyRing(this.memory, region, ring);
  }
}

/** Steps to take back, last first, when a later one fails. */
export class Undo {
  readonly #steps: (() => void)[] = [];

  push(step: () => void): void {
    this.#steps.push(step);
  }

  run(): void {
    for (const step of this.#steps.reverse()) step();
  }

  /** Runs `work`; what it pushed is taken back if it throws. */
  static around<T>(work: (undo: Undo) => T): T {
    const undo = new Undo();
    try {
      return work(undo);
    } catch (error) {
      undo.run();
      throw error;
    }
  }
}

export function range(count: number): number[] {
  return Array.from({ length: count }, (_, i) => i);
}
