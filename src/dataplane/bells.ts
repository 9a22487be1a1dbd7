// Doorbells: how a sync in one process wakes a sleeper in another.  A bell is a pipe of the sleeper's; the
// table in system memory says where to find it; rings name bells by their index there.

import { NetmapError } from '../abi/errors.ts';
import * as st from '../abi/state.ts';
import type { Arena } from '../mem/arena.ts';
import { type BellPipe, os } from '../os/index.ts';

export interface Bell {
  /** Index in the table: what rings are armed with. */
  readonly id: number;
  /** Becomes readable when rung. */
  readonly fd: number;
  /** Forgets that it was rung. */
  empty(): void;
  close(): void;
}

interface Ringer {
  ino: number;
  fd: number;
}

export class Bells {
  readonly #arena: Arena;
  readonly #table: number;
  readonly #ringers = new Map<number, Ringer>();

  /** @param system  where system memory is mapped in the arena */
  constructor(arena: Arena, system: number) {
    this.#arena = arena;
    this.#table = system + st.SYS_BELLS;
  }

  /** A bell of this thread, on behalf of a client. @throws NetmapError ENFILE, EMFILE. */
  create(token: number): Bell {
    const { words } = this.#arena;
    const pipe = os.createBell();
    for (let id = 1; id < st.SYS_BELL_COUNT; id++) {
      const at = this.#entry(id) >> 2;
      if (Atomics.compareExchange(words, at, 0, token) !== 0) continue;
      words[at + st.BELL_PID / 4] = process.pid;
      words[at + st.BELL_FD / 4] = pipe.fd;
      words[at + st.BELL_INO / 4] = pipe.ino;
      return { id, fd: pipe.fd, empty: () => os.drainBell(pipe.fd), close: () => this.#close(id, pipe) };
    }
    pipe.close();
    throw new NetmapError(
      'ENFILE',
      `Cannot wait: all ${st.SYS_BELL_COUNT - 1} doorbells of this module are in use`,
    );
  }

  /** Rings what the last sync of this thread has collected in its scratch area. */
  ringCollected(): void {
    const { view, scratch } = this.#arena;
    const count = view.getUint32(scratch + st.SC_BELL_COUNT, true);
    for (let i = 0; i < count; i++) this.#ring(view.getUint32(scratch + st.SC_BELLS + 4 * i, true));
  }

  /** Forgets how to reach the others. */
  close(): void {
    for (const { fd } of this.#ringers.values()) os.closeFd(fd);
    this.#ringers.clear();
  }

  #ring(id: number): void {
    if (id === 0 || id >= st.SYS_BELL_COUNT) return;
    const { view } = this.#arena;
    const entry = this.#entry(id);
    const ino = view.getUint32(entry + st.BELL_INO, true);
    const known = this.#ringers.get(id);
    if (known?.ino === ino && os.ring(known.fd)) return;
    if (known) os.closeFd(known.fd);
    this.#ringers.delete(id);
    // Freed, or its owner has died: nobody sleeps there.
    if (view.getUint32(entry + st.BELL_TOKEN, true) === 0) return;
    const fd = os.openBell(
      view.getUint32(entry + st.BELL_PID, true),
      view.getUint32(entry + st.BELL_FD, true),
      ino,
    );
    if (fd < 0) return;
    os.ring(fd);
    this.#ringers.set(id, { ino, fd });
  }

  #close(id: number, pipe: BellPipe): void {
    Atomics.store(this.#arena.words, this.#entry(id) >> 2, 0);
    pipe.close();
  }

  #entry(id: number): number {
    return this.#table + id * st.BELL_SIZE;
  }
}
