import { NM_BDG_MAXPORTS } from '../abi/netmap.ts';
import * as st from '../abi/state.ts';
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
