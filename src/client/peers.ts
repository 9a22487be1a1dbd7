import { NM_BDG_MAXPORTS } from '../abi/netmap.ts';
import * as st from '../abi/state.ts';
import { noSyncOlderThan } from '../dataplane/epoch.ts';
import type { Arena } from '../mem/arena.ts';
import { os } from '../os/index.ts';

/**
 * Maps the memory of every port that a switch's table shows as open, so that this process can deliver to it.
 * Called when a sync has found the switch changed; any thread may, and several at once.
 * @param state  where the switch's state is mapped
 */
export function mapPeers(arena: Arena, state: number, stateSlot: number): void {
  const { view, words } = arena;
  const epoch = Atomics.load(words, (state + st.SW_EPOCH) >> 2);
  const present = new Set<number>();
  for (let port = 0; port < NM_BDG_MAXPORTS; port++) {
    const entry = state + st.SW_PORTS + port * st.PT_SIZE;
    const field = (ofs: number) => view.getUint32(entry + ofs, true);
    if (field(st.PT_GEN) === 0 || field(st.PT_RX_OPEN) === 0) continue;
    const ino = field(st.PT_REGION_INO);
    const size = field(st.PT_REGION_SIZE);
    present.add(ino);
    const holders = [
      { pid: field(st.PT_MODULE_PID), fd: field(st.PT_MODULE_FD) },
      { pid: field(st.PT_OWNER_PID), fd: field(st.PT_OWNER_FD) },
    ];
    try {
      arena.mapPeer(stateSlot, field(st.PT_REGION_SLOT), ino, size, () => openFrom(holders, ino, size));
    } catch {
      // Gone since, or no room: what is sent there is dropped, with that reason counted.
    }
  }
  if (noSyncOlderThan(arena, state, epoch)) arena.unmapPeersExcept(stateSlot, present);
  Atomics.store(words, (st.ARENA_EPOCHS >> 2) + stateSlot, epoch);
}

/** The module has it; where the module has died, the port's owner does. */
function openFrom(holders: readonly { pid: number; fd: number }[], ino: number, size: number): number {
  let failure: unknown;
  for (const holder of holders) {
    try {
      return os.openObject({ ...holder, ino, size }).fd;
    } catch (error) {
      failure = error;
    }
  }
  throw failure;
}
