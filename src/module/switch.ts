import { randomInt } from 'node:crypto';
import { NetmapError } from '../abi/errors.ts';
import { NM_BDG_MAXPORTS, NM_BDG_NOPORT } from '../abi/netmap.ts';
import * as st from '../abi/state.ts';
import type { DataPlane } from '../dataplane/dataplane.ts';
import type { Memory, State } from './memory.ts';
import { PortTable } from './port-table.ts';

const LABEL_SIZE = st.LK_BYTES - st.LK_LABEL;

/** What a switch has in place of its learning table. */
export type LookupPlan =
  | { kind: typeof st.LOOKUP_TABLE }
  | { kind: typeof st.LOOKUP_WASM; label: string; code: Uint8Array; config: Uint8Array }
  | { kind: typeof st.LOOKUP_BATCH; label: string; port: number };

/** A VALE switch's control side: its ports, and the list of those that get what goes to everybody. */
export class Switch extends PortTable {
  /** Place among the switches, as VALE_LIST counts them; -1 for that of a port that is attached to none. */
  readonly index: number;

  constructor(memory: Memory, name: string, index: number, state?: State) {
    super(memory, name, st.SW_SIZE, state);
    this.index = index;
    if (!state) this.batch = 1024;
  }

  /** Sets bridge_batch: how many slots a sender flushes at once; 0 or less discards everything. */
  set batch(slots: number) {
    this.set(st.SW_BATCH, slots);
  }

  /** Sets mac_age: seconds after which an address that was silent is forgotten; 0: never. */
  set macAge(seconds: number) {
    this.set(st.SW_MAC_AGE, seconds);
  }

  /** Has senders use another lookup; the learning table begins empty. @throws NetmapError ENOMEM. */
  setLookup(plan: LookupPlan): void {
    const { view, words, bytes } = this.arena;
    const { address } = this.state.mapping;
    // A name that no sender has seen, for the area that is not in use.
    const name = ((randomInt(1, 2 ** 31) << 1) | (~this.get(st.SW_LOOKUP) & 1)) >>> 0;
    const area = this.#lookupArea(name);
    bytes.fill(0, area, area + st.LK_BYTES);
    view.setUint32(area + st.LK_KIND, plan.kind, true);
    view.setUint32(area + st.LK_PORT, plan.kind === st.LOOKUP_BATCH ? plan.port : NM_BDG_NOPORT, true);
    if (plan.kind !== st.LOOKUP_TABLE) {
      const label = new TextEncoder().encode(plan.label).subarray(0, LABEL_SIZE);
      bytes.set(label, area + st.LK_LABEL);
    }
    if (plan.kind === st.LOOKUP_WASM) {
      const { code, config } = plan;
      const most = st.LOOKUP_AREA_SIZE - st.LK_BYTES;
      if (code.length + config.length > most) {
        throw new NetmapError(
          'ENOMEM',
          `Cannot use "${plan.label}" as a lookup: with its configuration it has ${code.length + config.length} bytes, ${most} are possible`,
        );
      }
      view.setUint32(area + st.LK_CODE_SIZE, code.length, true);
      view.setUint32(area + st.LK_CONFIG_SIZE, config.length, true);
      bytes.set(code, area + st.LK_BYTES);
      bytes.set(config, area + st.LK_BYTES + code.length);
    }
    bytes.fill(0, address + st.SW_MACS, address + st.SW_SEEN);
    Atomics.store(words, (address + st.SW_LOOKUP) >> 2, name);
  }

  get lookup(): { kind: number; label: string; port: number } {
    const name = this.get(st.SW_LOOKUP);
    if (name === 0) return { kind: st.LOOKUP_TABLE, label: '', port: NM_BDG_NOPORT };
    const { view, bytes } = this.arena;
    const area = this.#lookupArea(name);
    const label = bytes.slice(area + st.LK_LABEL, area + st.LK_LABEL + LABEL_SIZE);
    return {
      kind: view.getUint32(area + st.LK_KIND, true),
      label: new TextDecoder().decode(label).replace(/\0.*$/s, ''),
      port: view.getUint32(area + st.LK_PORT, true),
    };
  }

  /** The process that decided where frames go is gone: they are dropped, until somebody says otherwise. */
  orphanLookup(port: number): void {
    const { kind, label, port: current } = this.lookup;
    if (kind === st.LOOKUP_BATCH && current === port)
      this.setLookup({ kind: st.LOOKUP_BATCH, label, port: NM_BDG_NOPORT });
  }

  #lookupArea(name: number): number {
    return this.state.mapping.address + st.SW_LOOKUP_AREAS + (name & 1) * st.LOOKUP_AREA_SIZE;
  }

  /** A second has passed. */
  tick(dataPlane: DataPlane): void {
    const now = this.get(st.SW_CLOCK) + 1;
    this.set(st.SW_CLOCK, now);
    const age = this.get(st.SW_MAC_AGE);
    if (age > 0 && now % Math.ceil(age / 10) === 0) dataPlane.forgetSilent(this.state.mapping.address, age);
  }

  /** The learning table: each address with its port's index, and the seconds since it was seen. */
  addresses(): { mac: string; port: number; age: number }[] {
    const { view } = this.arena;
    const { address } = this.state.mapping;
    const now = this.get(st.SW_CLOCK);
    const found: { mac: string; port: number; age: number }[] = [];
    for (let i = 0; i < 2 << st.SW_MAC_BUCKET_BITS; i++) {
      const entry = address + st.SW_MACS + 8 * i;
      const port = view.getUint8(entry + 6);
      const generation = view.getUint8(entry + 7);
      // An entry counts while its port has the generation it was learned under.
      if (generation === 0 || this.generationOf(port) !== generation) continue;
      const bytes = Array.from({ length: 6 }, (_, b) =>
        view
          .getUint8(entry + b)
          .toString(16)
          .padStart(2, '0'),
      );
      const age = now - view.getUint32(address + st.SW_SEEN + 4 * i, true);
      found.push({ mac: bytes.join(':'), port, age });
    }
    return found;
  }

  /** Writes the next of the member lists; a sender with an older one finds it whole. */
  protected override changed(): void {
    const { view, words } = this.arena;
    const { address } = this.state.mapping;
    const next = (this.get(st.SW_LIST) + 1) % st.SW_LIST_COUNT;
    const list = address + st.SW_LISTS + next * st.SW_LIST_SIZE;
    const members = this.visible().slice(0, NM_BDG_MAXPORTS);
    members.forEach((index, i) => {
      view.setUint16(list + 2 + 2 * i, index, true);
    });
    view.setUint16(list, members.length, true);
    Atomics.store(words, (address + st.SW_LIST) >> 2, next);
    super.changed();
  }
}
