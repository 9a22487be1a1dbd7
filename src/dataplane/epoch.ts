import { NM_BDG_MAXPORTS } from '../abi/netmap.ts';
import * as st from '../abi/state.ts';
import type { Arena } from '../mem/arena.ts';

/**
 * True if no sync on a switch, in whatever process, works by a port table older than `epoch`: what was taken
 * out before may be used again.
 * @param state  where the switch's state is mapped
 */
export function noSyncOlderThan(arena: Arena, state: number, epoch: number): boolean {
  const { view, words } = arena;
  for (let port = 0; port < NM_BDG_MAXPORTS; port++) {
    const entry = state + st.SW_PORTS + port * st.PT_SIZE;
    if (view.getUint32(entry + st.PT_GEN, true) === 0) continue;
    // The rx krings follow the tx krings: a monitored receiver fills rings of others, too.
    const first = state + view.getUint32(entry + st.PT_TX_KRINGS, true);
    const rings = view.getUint32(entry + st.PT_TX_RINGS, true) + view.getUint32(entry + st.PT_RX_RINGS, true);
    for (let i = 0; i < rings; i++) {
      const kring = first + i * st.KR_SIZE;
      if (Atomics.load(words, (kring + st.KR_BUSY) >> 2) === 0) continue;
      if (Atomics.load(words, (kring + st.KR_BUSY_EPOCH) >> 2) - epoch < 0) return false;
    }
  }
  return true;
}
