// Isolated mode, the client's side: its region, a page to ask by and two lines are all that it has of the module.
// Each sync is asked for and waited for; a thread of the module runs it (see abi/isolated.ts).

import { NetmapError } from '../abi/errors.ts';
import * as is from '../abi/isolated.ts';
import * as st from '../abi/state.ts';
import type { Bell } from '../dataplane/bells.ts';
import type { Arena, Mapping } from '../mem/arena.ts';
import { os } from '../os/index.ts';
import { socketPath } from '../protocol/directory.ts';
import type { RegisterReply, Reply } from '../protocol/messages.ts';
import type { Ring } from './ring.ts';
import type { Syncs } from './syncs.ts';

const COLLECT_MS = 5000;
/** The answer is there within microseconds while the thread is awake. */
const LOOKS = 2000;
/** After so many of them others get the CPU: the thread may be waiting for this very one. */
const LOOKS_IN_A_ROW = 100;
/** The line says when the thread is gone; a look by the clock costs nothing. */
const LONGEST_WAIT_MS = 1000;

const POLLIN = 1;
const POLLHUP = 0x10;

/** What collecting a ticket gave: mapped where it is memory. */
export interface IsolatedParts {
  readonly reply: RegisterReply;
  readonly region: Mapping;
  readonly page: Mapping;
  readonly fds: readonly number[];
  readonly syncs: IsolatedSyncs;
}

/** Collects what a registration was given, and maps it. @throws NetmapError. */
export function collect(arena: Arena, directory: string, shown: Reply<'registerIsolated'>): IsolatedParts {
  const request = `${JSON.stringify({ id: 1, op: 'collect', ticket: shown.ticket })}\n`;
  const { text, fds } = os.receiveDescriptors(socketPath(directory), request, COLLECT_MS);
  if (fds.length !== 4) {
    for (const fd of fds) os.closeFd(fd);
    throw new NetmapError('EPROTO', `Cannot open the port: the module answered ${text.trim()}`);
  }
  const [regionFd, pageFd, line, bell] = fds as [number, number, number, number];
  const object = os.objectAt(regionFd);
  const asks = os.objectAt(pageFd);
  const region = arena.mapOwn(object.fd, object.ino, object.size);
  const page = arena.mapOwn(asks.fd, asks.ino, asks.size);
  const lane = (i: number) => is.PAGE_LANES + i * is.LANE_SIZE;
  const { ticket: _used, tx, rx, region: pools, ...rest } = shown;
  const nowhere = { pid: 0, fd: -1, ino: object.ino, size: object.size };
  const reply: RegisterReply = {
    ...rest,
    region: { slot: -1, ref: nowhere, ...pools },
    state: { slot: 0, ref: nowhere },
    queues: [],
    held: [],
    tx: tx.map((ring, i) => ({ ...ring, kringOfs: lane(i) })),
    rx: rx.map((ring, i) => ({ ...ring, kringOfs: lane(tx.length + i) })),
  };
  const syncs = new IsolatedSyncs(arena, page, line, bell);
  return { reply, region, page, fds: [regionFd, pageFd, line, bell], syncs };
}

export class IsolatedSyncs implements Syncs {
  readonly #words: Int32Array;
  readonly #view: DataView;
  readonly #sleeps: number;
  readonly #line: number;
  readonly #record = new Uint8Array(new ArrayBuffer(8));
  /** The module is. */
  gone = false;
  /** What this port's sleepers wait for. */
  readonly bell: Bell;

  constructor(arena: Arena, page: Mapping, line: number, bell: number) {
    this.#words = arena.words;
    this.#view = arena.view;
    this.#sleeps = (page.address + is.PAGE_MODULE_SLEEPS) >> 2;
    this.#line = line;
    this.bell = { id: 0, fd: bell, empty: () => os.drainBell(bell), close() {} };
  }

  // A ring's `kring` is the address of its lane.

  /** @returns SYNC_* bits; SYNC_ERROR once the module is gone */
  tx({ kring }: Ring): number {
    return this.#ask(kring, is.WISH_SYNC);
  }

  /** The same. */
  rx({ kring }: Ring): number {
    return this.#ask(kring, is.WISH_SYNC);
  }

  /** Has the bell rung at the ring's next change; false if it has no place for another sleeper. */
  arm({ kring }: Ring): boolean {
    return this.#ask(kring, is.WISH_ARM) !== 0;
  }

  drops({ kring }: Ring): readonly number[] {
    this.#ask(kring, is.WISH_DROPS);
    return Array.from({ length: st.DROP_REASONS }, (_, reason) =>
      Number(this.#view.getBigUint64(kring + is.LANE_DROPS + 8 * reason, true)),
    );
  }

  #ask(lane: number, wish: number): number {
    if (this.gone) return st.SYNC_ERROR;
    const words = this.#words;
    const at = lane >> 2;
    const number = (words[at + is.LANE_ASKED / 4]! + 1) | 0;
    words[at + is.LANE_WISH / 4] = wish;
    Atomics.store(words, at + is.LANE_ASKED / 4, number);
    if (Atomics.exchange(words, this.#sleeps, 0) !== 0) os.ring(this.#line);
    for (let look = 0; look < LOOKS; look++) {
      if (Atomics.load(words, at + is.LANE_DONE / 4) === number) return words[at + is.LANE_ANSWER / 4]!;
      if (look % LOOKS_IN_A_ROW === LOOKS_IN_A_ROW - 1) os.giveWay();
    }
    Atomics.store(words, at + is.LANE_WAITS / 4, 1);
    while (Atomics.load(words, at + is.LANE_DONE / 4) !== number && !this.gone) this.#sleep();
    Atomics.store(words, at + is.LANE_WAITS / 4, 0);
    return this.gone ? st.SYNC_ERROR : words[at + is.LANE_ANSWER / 4]!;
  }

  #sleep(): void {
    const view = new DataView(this.#record.buffer);
    view.setInt32(0, this.#line, true);
    view.setInt16(4, POLLIN, true);
    view.setInt16(6, 0, true);
    os.poll(this.#record, 1, LONGEST_WAIT_MS);
    const events = view.getInt16(6, true);
    if (events & POLLHUP) this.gone = true;
    else if (events !== 0) os.drainBell(this.#line);
  }
}
