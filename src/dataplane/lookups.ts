// Lookups of switches' owners (spec ports §1.17), as one thread has them loaded: a WebAssembly instance per switch,
// whose function the data plane calls for each packet.  It has no memory but its own, it cannot run for ever (the
// module has put a count into its loops), and when it throws, the sync goes on without the packet.

import * as st from '../abi/state.ts';
import type { Arena } from '../mem/arena.ts';
import type { DataPlane } from './dataplane.ts';

/** Rounds of loops and calls that a lookup may make before it is asked how it stands; some milliseconds. */
export const LOOKUP_FUEL = 1_000_000;
/** Export that says how much is left. */
export const FUEL_EXPORT = 'netmap_fuel';
/** Export that the data plane calls: `lookup`, with the words of a frame in vectors. */
export const LOOKUP_EXPORT = 'netmap_lookup';
/** After so many faults the rest of a sync's packets is dropped unasked. */
const MAX_FAULTS = 16;

/** What the data plane's resumeTxSync() is told. */
const SKIP = 0;
const AGAIN = 1;
const GIVE_UP = 2;

interface Loaded {
  /** Place in the data plane's function table. */
  readonly place: number;
  fuel: WebAssembly.Global | undefined;
}

export class Lookups {
  readonly #arena: Arena;
  readonly #dataPlane: DataPlane;
  readonly #loaded = new Map<number, Loaded>();

  constructor(arena: Arena, dataPlane: DataPlane) {
    this.#arena = arena;
    this.#dataPlane = dataPlane;
  }

  /** Loads what a switch has for a lookup now: a sync has found it changed. */
  load(state: number, stateSlot: number): void {
    const { view, words, scratch } = this.#arena;
    const current = () => Atomics.load(words, (state + st.SW_LOOKUP) >> 2) >>> 0;
    let name: number;
    let area: Uint8Array;
    do {
      name = current();
      area = this.#read(state, name);
    } while (name !== current());
    const at = scratch + st.SC_LOOKUPS + 8 * stateSlot;
    view.setUint32(at + 4, this.#place(area, stateSlot), true);
    view.setUint32(at, name, true);
  }

  /**
   * Ends a txSync that a lookup has thrown out of.
   * @returns the sync's answer
   * @throws error, if it is no lookup's
   */
  resume(thrown: unknown, stateSlot: number): number {
    const fuel = this.#loaded.get(stateSlot)?.fuel;
    let error = thrown;
    let lastEmpty = -1;
    for (let faults = 1; ; faults++) {
      if (!fuel || !(error instanceof WebAssembly.RuntimeError || error instanceof RangeError)) throw error;
      let what = faults < MAX_FAULTS ? SKIP : GIVE_UP;
      if (fuel.value <= 0) {
        // Emptied by many packets, or by this one alone?
        fuel.value = LOOKUP_FUEL;
        const slot = this.#dataPlane.lookedUp();
        what = slot === lastEmpty ? GIVE_UP : AGAIN;
        lastEmpty = slot;
      }
      try {
        return this.#dataPlane.resumeTxSync(what);
      } catch (next) {
        error = next;
      }
    }
  }

  /** The area that a lookup's name says, copied. */
  #read(state: number, name: number): Uint8Array {
    const at = state + st.SW_LOOKUP_AREAS + (name & 1) * st.LOOKUP_AREA_SIZE;
    const area = this.#arena.bytes.subarray(at, at + st.LOOKUP_AREA_SIZE);
    const { view } = this.#arena;
    const size =
      st.LK_BYTES + view.getUint32(at + st.LK_CODE_SIZE, true) + view.getUint32(at + st.LK_CONFIG_SIZE, true);
    return name === 0 ? new Uint8Array(st.LK_BYTES) : new Uint8Array(area.subarray(0, size));
  }

  /** What the data plane is to call, or how it is to do without. */
  #place(area: Uint8Array, stateSlot: number): number {
    const view = new DataView(area.buffer);
    const kind = view.getUint32(st.LK_KIND, true);
    if (kind === st.LOOKUP_TABLE) return 0;
    if (kind === st.LOOKUP_BATCH) return st.LOOKUP_HANDED;
    const configAt = st.LK_BYTES + view.getUint32(st.LK_CODE_SIZE, true);
    const config = area.subarray(configAt, configAt + view.getUint32(st.LK_CONFIG_SIZE, true));
    const { table } = this.#dataPlane;
    const loaded = this.#loaded.get(stateSlot) ?? { place: table.grow(1), fuel: undefined };
    this.#loaded.set(stateSlot, loaded);
    try {
      const exports = instantiateLookup(area.slice(st.LK_BYTES, configAt), config, this.#dataPlane.sendAlso);
      table.set(loaded.place, exports[LOOKUP_EXPORT]);
      loaded.fuel = exports[FUEL_EXPORT];
      return loaded.place;
    } catch {
      return st.LOOKUP_BROKEN;
    }
  }
}

interface LookupExports {
  [LOOKUP_EXPORT]: CallableFunction;
  [FUEL_EXPORT]: WebAssembly.Global;
}

/**
 * An instance of a lookup, with its configuration written to where its export `config` points.
 * @throws Error if its start function traps, or the configuration has no room.
 */
export function instantiateLookup(
  code: Uint8Array,
  config: Uint8Array,
  sendAlso: (answer: number) => void,
): LookupExports {
  const abort = () => {
    throw new WebAssembly.RuntimeError('abort');
  };
  const imports = { netmap: { sendAlso }, env: { abort } };
  const { exports } = new WebAssembly.Instance(new WebAssembly.Module(code), imports);
  if (config.length > 0) {
    const memory = exports.memory as WebAssembly.Memory;
    const at = (exports.config as WebAssembly.Global).value as number;
    new Uint8Array(memory.buffer, at, config.length).set(config);
  }
  return exports as unknown as LookupExports;
}
