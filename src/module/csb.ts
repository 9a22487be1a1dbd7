import * as rq from '../abi/requests.ts';
import * as st from '../abi/state.ts';
import type { MemoryObject } from '../os/index.ts';
import type { Memory, State } from './memory.ts';

/** CSB entries within an object that this process holds. */
export interface CsbMemory {
  object: MemoryObject;
  ofs: number;
}

/**
 * Writes CSB entries as they are before the first sync (spec api §6.1).
 * @param krings  of the bound rings, TX before RX, from the start of the state
 */
export function initializeCsb(
  { arena }: Memory,
  state: State,
  krings: readonly number[],
  atok: CsbMemory,
  ktoa: CsbMemory,
): void {
  const { view } = arena;
  const a = arena.mapOwn(atok.object.fd, atok.object.ino, atok.object.size);
  const k = arena.mapOwn(ktoa.object.fd, ktoa.object.ino, ktoa.object.size);
  krings.forEach((kringOfs, i) => {
    const kring = (field: number) => view.getUint32(state.mapping.address + kringOfs + field, true);
    const application = a.address + atok.ofs + i * rq.CSB_ENTRY;
    view.setUint32(application + rq.CSB_HEAD, kring(st.KR_RHEAD), true);
    view.setUint32(application + rq.CSB_CUR, kring(st.KR_RCUR), true);
    view.setUint32(application + rq.CSB_APPL_NEED_KICK, 1, true);
    view.setUint32(application + rq.CSB_SYNC_FLAGS, 1, true);
    const core = k.address + ktoa.ofs + i * rq.CSB_ENTRY;
    new Uint8Array(view.buffer, core, rq.CSB_ENTRY).fill(0);
    view.setUint32(core + rq.CSB_HWCUR, kring(st.KR_HWCUR), true);
    view.setUint32(core + rq.CSB_HWTAIL, kring(st.KR_HWTAIL), true);
    view.setUint32(core + rq.CSB_KERN_NEED_KICK, 1, true);
  });
  arena.unmapOwn(a);
  arena.unmapOwn(k);
}
