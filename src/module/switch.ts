import { NM_BDG_MAXPORTS } from '../abi/netmap.ts';
import * as st from '../abi/state.ts';
import type { DataPlane } from '../dataplane/dataplane.ts';
import type { Memory, State } from './memory.ts';
import { PortTable } from './port-table.ts';

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
