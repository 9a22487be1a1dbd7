// Counters of every port, read from the memory that they lie in: neither the data path nor the module's thread has
// anything to do with a reading.  The module is asked where they are when ports have come or gone, and not before.

import * as st from '../abi/state.ts';
import type { Mapping } from '../mem/arena.ts';
import { type MemoryObject, os } from '../os/index.ts';
import { runtimeDirectory } from '../protocol/directory.ts';
import type { Reply } from '../protocol/messages.ts';
import { type Runtime, runtimeFor } from './runtime.ts';
import type { Where } from './vale.ts';

/** What a ring has counted since it was made. */
export interface RingCounters {
  /** `tx0`, `rx1`, ... */
  ring: string;
  packets: number;
  bytes: number;
  /** Times that its application broke it. */
  reinits: number;
  /** Packets dropped, by reason; reasons that never happened are left out. */
  drops: Record<string, number>;
}

export interface PortCounters {
  name: string;
  kind: string;
  rings: RingCounters[];
}

/** Opens the counters of a module that runs. Close them after use. @throws NetmapError EACCES: it is another user's. */
export async function openCounters({ directory = runtimeDirectory() }: Where = {}): Promise<Counters> {
  return new Counters(await runtimeFor('read counters', directory));
}

export class Counters {
  readonly #runtime: Runtime;
  #states: { object: MemoryObject; mapping: Mapping }[] = [];
  #ports: Reply<'counterPlaces'>['ports'] = [];
  /** Number of the registry's copy that tells of these ports; 0: none does. */
  #sequence = 0;

  /** Not for applications: see openCounters(). */
  constructor(runtime: Runtime) {
    this.#runtime = runtime;
  }

  /** All ports as they are now.  Another process's ring may be in the middle of a batch. */
  async read(): Promise<PortCounters[]> {
    if (this.#present !== this.#sequence) await this.#lookAgain();
    return this.#ports.map(({ name, kind, rings }) => ({
      name,
      kind,
      rings: rings.map(({ ring, state, kringOfs }) => this.#read(ring, state, kringOfs)),
    }));
  }

  close(): void {
    for (const { object, mapping } of this.#states) {
      this.#runtime.arena.unmapOwn(mapping);
      os.closeFd(object.fd);
    }
    this.#states = [];
    this.#ports = [];
    this.#sequence = 0;
  }

  [Symbol.dispose](): void {
    this.close();
  }

  /** Moves on with every change of the registry. */
  get #present(): number {
    const { arena, system } = this.#runtime;
    const copy = (i: number) =>
      arena.view.getUint32(system + st.SYS_REGISTRY + i * st.SYS_REGISTRY_SIZE + st.REG_CHECK, true);
    return Math.max(copy(0), copy(1));
  }

  async #lookAgain(): Promise<void> {
    const { arena, connection } = this.#runtime;
    const sequence = this.#present;
    const { states, ports } = await connection!.request('counterPlaces', {});
    this.close();
    for (const ref of states) {
      const object = os.openObject(ref);
      this.#states.push({ object, mapping: arena.mapOwn(object.fd, object.ino, object.size) });
    }
    this.#ports = ports;
    this.#sequence = sequence;
  }

  #read(ring: string, state: number, kringOfs: number): RingCounters {
    const { view } = this.#runtime.arena;
    const kring = this.#states[state]!.mapping.address + kringOfs;
    const drops: Record<string, number> = {};
    st.DROP_NAMES.forEach((name, reason) => {
      const count = Number(view.getBigUint64(kring + st.KR_DROPS + 8 * reason, true));
      if (count > 0) drops[name] = count;
    });
    return {
      ring,
      packets: Number(view.getBigUint64(kring + st.KR_PACKETS, true)),
      bytes: Number(view.getBigUint64(kring + st.KR_BYTES, true)),
      reinits: view.getUint32(kring + st.KR_REINITS, true),
      drops,
    };
  }
}
