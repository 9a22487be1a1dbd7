import type { Geometry } from '../mem/geometry.ts';
import type { RegisterRequest } from '../protocol/messages.ts';
import type { Memory, Region, State } from './memory.ts';
import { createRing, destroyRing, type Ring, type RingPlan } from './rings.ts';

/** Regions and rings for those who make adapters, each taken with the step that gives it back. */
export class Stock {
  readonly memory: Memory;

  constructor(memory: Memory) {
    this.memory = memory;
  }

  /** The region asked for by id, else a new one. */
  region({ memId, name }: Pick<RegisterRequest, 'memId' | 'name'>, geometry: Geometry, undo: Undo): Region {
    const region = memId !== 0 ? this.memory.regionById(memId) : this.memory.createRegion(geometry, name);
    this.share(region, undo);
    return region;
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
