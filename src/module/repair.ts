// After a death: what a sync of the dead client left half done is finished or undone, so that nobody waits
// for it.  Runs when none of its instructions can run any more.

import * as st from '../abi/state.ts';
import type { DataPlane } from '../dataplane/dataplane.ts';
import type { Adapter } from './adapter.ts';
import type { Memory, Region } from './memory.ts';
import type { Ports } from './ports.ts';
import { type Ring, transmits } from './rings.ts';

/** @returns whether bells are to be rung. Does nothing unless `token` died, or left, inside a sync of the ring. */
export function repairRing(
  memory: Memory,
  dataPlane: DataPlane,
  ports: Ports,
  adapter: Adapter,
  ring: Ring,
  token: number,
): boolean {
  const state = adapter.state.mapping.address;
  const kring = state + ring.kringOfs;
  const busy = (kring + st.KR_BUSY) >> 2;
  if (Atomics.load(memory.arena.words, busy) >>> 0 !== token) return false;
  let answer = 0;
  // A block that it had claimed from a receiver or a monitor.
  if (memory.arena.view.getUint32(kring + st.JR_STATE, true) !== 0) {
    const target = receiverOf(ports, adapter, memory.arena.view.getUint32(kring + st.JR_RING, true));
    // The receiver may have closed since: then there is nobody left to wait for the block.
    if (target) answer = memory.withRegion(target, () => dataPlane.repairSender(state, kring));
  }
  if (adapter.kind === 'pipe') {
    answer |= memory.withRegion(adapter.region, () => dataPlane.repairPipe(state, kring, transmits(ring)));
  }
  Atomics.store(memory.arena.words, busy, 0);
  return (answer & st.SYNC_RING_BELLS) !== 0;
}

function receiverOf(ports: Ports, sender: Adapter, kringOfs: number): Region | undefined {
  for (const adapter of ports.everything) {
    if (adapter.state === sender.state && adapter.rx.some((ring) => ring.kringOfs === kringOfs))
      return adapter.region;
  }
  return undefined;
}
