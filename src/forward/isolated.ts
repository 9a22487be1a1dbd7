// A thread of the module that runs the syncs of isolated clients, all of them: each asks through a page of its own
// (abi/isolated.ts), the thread looks at the pages in turn, and sleeps when nobody has asked for a while.  Users take
// turns, however many ports each of them has.

import { parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads';
import * as is from '../abi/isolated.ts';
import * as abi from '../abi/netmap.ts';
import * as st from '../abi/state.ts';
import type { Port, Ring } from '../client/index.ts';
import { openInternal } from '../client/open.ts';
import type { IsolatedTask, ThreadOrder } from '../module/isolation.ts';
import type { OrderDone, ThreadData } from '../module/thread.ts';
import { os } from '../os/index.ts';

/** Under load the next wish is there within microseconds; a sleep and its end cost ten times that. */
const LOOK_AGAIN_MS = 0.05;
/** Only after sleeps shorter than this does looking again pay. */
const SHORT_SLEEP_MS = 0.15;
/** Rounds between looks at the clock. */
const ROUNDS = 16;
/** Times that the kernel is told to send for a sync: some thousand frames.  A client that goes on adding must not keep the others waiting. */
const KICKS = 32;
/** A thread that blocks for ever could not be ended with its process. */
const LONGEST_SLEEP_MS = 3000;
/** After so long it is another user's turn. */
const SLICE_MS = 0.2;
const POLLIN = 1;
const POLLOUT = 4;
const SAFE_BITS = st.SYNC_REINIT | st.SYNC_ERROR | st.SYNC_BUSY;

/** The bell that rings of all guests are armed with. */
let threadBell: ReturnType<Port['runtime']['bells']['create']> | undefined;

interface Lane {
  readonly guest: Guest;
  readonly ring: Ring;
  readonly transmits: boolean;
  /** Word of the lane in the arena. */
  readonly at: number;
  /** Of a NIC: what the kernel makes ready when the ring is to be looked at; -1 where a bell alone tells. */
  readonly fd: number;
  armed: boolean;
}

class Guest {
  readonly port: Port;
  readonly lanes: readonly Lane[];
  readonly line: number;
  readonly bell: number;
  readonly #page: { address: number; size: number };
  readonly #words: Int32Array;
  /** Its line's other end is closed: nothing comes from there any more, and poll(2) would say so for ever. */
  hungUp = false;
  /** A sync has thrown, which none should: nothing more is done for it, and nobody else is the worse for it. */
  #broken = false;

  /** @throws NetmapError EMFILE, ENFILE, ENOMEM. */
  constructor(port: Port, { page, line, bell }: IsolatedTask) {
    const { arena, bells, token } = port.runtime;
    threadBell ??= bells.create(token);
    this.port = port;
    this.line = line;
    this.bell = bell;
    this.#words = arena.words;
    this.#page = arena.mapOwn(page.fd, page.ino, page.size);
    const first = (this.#page.address + is.PAGE_LANES) >> 2;
    const [out, into] = [port.waitFds('out'), port.waitFds('in')];
    const transmitting = port.txRings.length;
    this.lanes = [...port.txRings, ...port.rxRings].map((ring, i) => ({
      guest: this,
      ring,
      transmits: i < transmitting,
      at: first + i * (is.LANE_SIZE / 4),
      fd: (i < transmitting ? out[i] : into[i - transmitting])?.fd ?? -1,
      armed: false,
    }));
  }

  /** Does what a lane asks for. @returns true if it did ask. */
  serve(lane: Lane): boolean {
    const words = this.#words;
    const asked = Atomics.load(words, lane.at + is.LANE_ASKED / 4);
    if (asked === words[lane.at + is.LANE_DONE / 4]) return false;
    words[lane.at + is.LANE_ANSWER / 4] = this.#answer(lane, words[lane.at + is.LANE_WISH / 4]!);
    Atomics.store(words, lane.at + is.LANE_DONE / 4, asked);
    if (Atomics.load(words, lane.at + is.LANE_WAITS / 4) !== 0) os.ring(this.line);
    return true;
  }

  get asks(): boolean {
    return this.lanes.some(
      ({ at }) => Atomics.load(this.#words, at + is.LANE_ASKED / 4) !== this.#words[at + is.LANE_DONE / 4],
    );
  }

  showSleep(): void {
    Atomics.store(this.#words, (this.#page.address + is.PAGE_MODULE_SLEEPS) >> 2, 1);
  }

  /** Our bell rang: tells the client if it was for a ring of its. */
  tell(bellId: number): void {
    let rung = false;
    for (const lane of this.lanes) {
      if (!lane.armed || this.#isArmed(lane.ring, bellId)) continue;
      lane.armed = false;
      rung = true;
    }
    if (rung) os.ring(this.bell);
  }

  /** The kernel has something for a lane that the client sleeps on. */
  tellOf(lane: Lane): void {
    lane.armed = false;
    os.clearError(lane.fd);
    os.ring(this.bell);
  }

  async close(): Promise<void> {
    this.port.runtime.arena.unmapOwn(this.#page);
    await this.port.close();
  }

  #answer(lane: Lane, wish: number): number {
    if (!this.#broken) {
      try {
        return this.#grant(lane, wish);
      } catch (error) {
        console.error(error);
        this.#broken = true;
      }
    }
    return wish === is.WISH_ARM ? 0 : st.SYNC_ERROR;
  }

  #grant(lane: Lane, wish: number): number {
    const { ring } = lane;
    switch (wish) {
      case is.WISH_ARM:
        if (lane.transmits && this.port.waitsByClock) return 0;
        lane.armed = true;
        return this.port.runtime.dataPlane.armBell(ring.kring, threadBell!.id) ? 1 : 0;
      case is.WISH_DROPS: {
        const { bytes } = this.port.runtime.arena;
        const from = ring.kring + st.KR_DROPS;
        bytes.copyWithin(lane.at * 4 + is.LANE_DROPS, from, from + 8 * st.DROP_REASONS);
        return 0;
      }
      default:
        return SAFE_BITS & (lane.transmits ? this.port.txSyncRing(ring, KICKS) : this.port.rxSyncRing(ring));
    }
  }

  /** A ring gives its bell up when it rings it. */
  #isArmed(ring: Ring, bellId: number): boolean {
    const at = (ring.kring + st.KR_WAITERS) >> 2;
    for (let i = 0; i < st.WAITERS; i++) if (Atomics.load(this.#words, at + i) === bellId) return true;
    return false;
  }
}

/** The clients of one user. */
class User {
  #lanes: Lane[] = [];
  #next = 0;

  add(guest: Guest): void {
    this.#lanes.push(...guest.lanes);
  }

  /** @returns whether any are left */
  remove(guest: Guest): boolean {
    this.#lanes = this.#lanes.filter((lane) => lane.guest !== guest);
    return this.#lanes.length > 0;
  }

  /** Serves each lane once, from where it left off, for a slice of time at most. @returns true if one has asked */
  serve(): boolean {
    const over = performance.now() + SLICE_MS;
    let served = false;
    for (let left = this.#lanes.length; left > 0; left--) {
      if (this.#next >= this.#lanes.length) this.#next = 0;
      const lane = this.#lanes[this.#next++]!;
      if (!lane.guest.serve(lane)) continue;
      served = true;
      if (performance.now() > over) break;
    }
    return served;
  }
}

const { directory, pass, controlFd } = workerData as ThreadData;
const guests = new Map<number, Guest>();
const users = new Map<number, User>();
let lastSleepMs = Number.POSITIVE_INFINITY;

/** Blocks until the module has an order for us. */
function serveUntilOrdered(): void {
  for (;;) {
    let served = false;
    for (const user of users.values()) if (user.serve()) served = true;
    if (!served && !(lastSleepMs < SHORT_SLEEP_MS && askedSoon())) {
      for (const guest of guests.values()) guest.showSleep();
      let asks = false;
      for (const guest of guests.values()) if (guest.asks) asks = true;
      if (!asks && sleep()) return;
    } else if (ordered()) return;
  }
}

function askedSoon(): boolean {
  const until = performance.now() + LOOK_AGAIN_MS;
  do {
    for (let round = 0; round < ROUNDS; round++)
      for (const guest of guests.values()) if (guest.asks) return true;
    os.giveWay(); // The client that is to ask may be waiting for this very CPU.
  } while (performance.now() < until);
  return false;
}

let busyRounds = 0;

/** Somebody who never stops asking must not keep orders, nor the sleepers' bell, from being seen. */
function ordered(): boolean {
  if (++busyRounds % ROUNDS !== 0) return false;
  return wait(0);
}

function sleep(): boolean {
  const asleep = performance.now();
  const isOrdered = wait(LONGEST_SLEEP_MS);
  lastSleepMs = performance.now() - asleep;
  return isOrdered;
}

/** What poll(2) is to look at. */
class Waited {
  #bytes = new Uint8Array(new ArrayBuffer(64 * 8));
  #view = new DataView(this.#bytes.buffer);
  #count = 0;
  readonly #actions: ((events: number) => void)[] = [];

  clear(): void {
    this.#count = 0;
  }

  add(fd: number, events: number, whenReady: (events: number) => void): void {
    if ((this.#count + 1) * 8 > this.#bytes.length) {
      const larger = new Uint8Array(new ArrayBuffer(this.#bytes.length * 2));
      larger.set(this.#bytes);
      this.#bytes = larger;
      this.#view = new DataView(larger.buffer);
    }
    const at = this.#count * 8;
    this.#view.setInt32(at, fd, true);
    this.#view.setInt16(at + 4, events, true);
    this.#view.setInt16(at + 6, 0, true);
    this.#actions[this.#count++] = whenReady;
  }

  poll(timeoutMs: number): void {
    os.poll(this.#bytes, this.#count, timeoutMs);
    for (let i = 0; i < this.#count; i++) {
      const ready = this.#view.getInt16(i * 8 + 6, true);
      if (ready !== 0) this.#actions[i]!(ready);
    }
  }
}

const waited = new Waited();

/** @returns true if there is an order. */
function wait(timeoutMs: number): boolean {
  let isOrdered = false;
  waited.clear();
  waited.add(controlFd, POLLIN, () => {
    os.drainBell(controlFd);
    isOrdered = true;
  });
  const bell = threadBell;
  if (bell)
    waited.add(bell.fd, POLLIN, () => {
      bell.empty();
      for (const guest of guests.values()) guest.tell(bell.id);
    });
  for (const guest of guests.values()) {
    if (!guest.hungUp)
      waited.add(guest.line, POLLIN, (ready) => {
        os.drainBell(guest.line);
        guest.hungUp = ready !== POLLIN;
      });
    for (const lane of guest.lanes)
      if (lane.armed && lane.fd >= 0)
        waited.add(lane.fd, lane.transmits ? POLLOUT : POLLIN, () => guest.tellOf(lane));
  }
  waited.poll(timeoutMs);
  return isOrdered;
}

async function obey(order: ThreadOrder): Promise<void> {
  if (order.do === 'end') process.exit();
  if (order.do === 'remove') return remove(order.registration);
  const { name, request, registration, uid } = order.task;
  const { mode, ringId, flags } = request;
  const port = await openInternal({ name, mode, ringId, flags: flags & ~abi.NR_EXCLUSIVE }, directory, pass);
  let guest: Guest;
  try {
    guest = new Guest(port, order.task);
  } catch (error) {
    await port.close();
    throw error;
  }
  guests.set(registration, guest);
  const user = users.get(uid) ?? new User();
  users.set(uid, user);
  user.add(guest);
}

async function remove(registration: number): Promise<void> {
  const guest = guests.get(registration);
  if (!guest) return;
  guests.delete(registration);
  for (const [uid, user] of users) if (!user.remove(guest)) users.delete(uid);
  await guest.close();
}

for (;;) {
  const received = receiveMessageOnPort(parentPort!) as { message: ThreadOrder } | undefined;
  if (!received) {
    serveUntilOrdered();
    continue;
  }
  const { id } = received.message;
  try {
    await obey(received.message);
    parentPort!.postMessage({ id } satisfies OrderDone);
  } catch (error) {
    parentPort!.postMessage({ id, error: (error as Error).message } satisfies OrderDone);
  }
}
