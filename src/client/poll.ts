// Waiting for ports.  poll() does what netmap's does (spec api §2.10): pushes what is pending on TX, looks at
// RX, and sleeps only if nothing is ready.  To sleep, the rings are armed with this thread's bell, looked at
// once more, and the bell is waited for: no wake-up is lost, and an idle waiter costs nothing.

import { NetmapError } from '../abi/errors.ts';
import { SYNC_ERROR, SYNC_REINIT } from '../abi/state.ts';
import type { Bell } from '../dataplane/bells.ts';
import { type BellWatch, os } from '../os/index.ts';
import type { IsolatedSyncs } from './isolated.ts';
import type { Port } from './port.ts';
import type { Ring } from './ring.ts';
import type { Runtime } from './runtime.ts';

export const POLLIN = 0x001;
export const POLLOUT = 0x004;
export const POLLERR = 0x008;

/** One port to wait for, or one descriptor of any other kind. */
export type PollTarget = PortTarget | FdTarget;

export interface PortTarget {
  port: Port;
  /** What is waited for. */
  events: 'in' | 'out' | 'both';
  /**
   * POLLIN, POLLOUT, POLLERR bits: filled in.  POLLERR: a ring was found broken and was reset; a monitor was asked
   * to send, or what it watched is closed.
   */
  revents?: number;
}

export interface FdTarget {
  fd: number;
  events: 'in' | 'out' | 'both';
  revents?: number;
}

export interface PollOptions {
  signal?: AbortSignal;
  /** Milliseconds, fractions count; absent or negative: for ever. */
  timeoutMs?: number;
}

/** Where nobody will ring, as enough others sleep on a ring, it is looked at by the clock. */
const CROWDED_MS = 1;
/** Who waits for what a process serves looks so often whether that still lives. */
const SERVER_MS = 1000;

/**
 * Under load the other side is back within microseconds, a sleep and its wake-up cost ten times that: after a
 * sleep that was short, the next one is preceded by a look or two (some 50 µs of them).  Who sleeps long sleeps at once.
 */
const SHORT_SLEEP_MS = 0.15;
const LOOK_AGAIN_MS = 0.05;
let lastSleepMs = Number.POSITIVE_INFINITY;

const EVENT_BITS = { in: POLLIN, out: POLLOUT, both: POLLIN | POLLOUT } as const;

/**
 * Waits for any number of ports, mixed with other descriptors, blocking this thread: for workers and simple
 * programs.
 * @param timeoutMs  0 looks once, negative waits for ever
 * @returns how many targets are ready; 0 when the time was over
 */
export function poll(targets: readonly PollTarget[], timeoutMs = -1): number {
  const deadline = timeoutMs < 0 ? Number.POSITIVE_INFINITY : performance.now() + timeoutMs;
  const ports = targets.filter((target) => 'port' in target);
  // The kernel, who wakes us then, needs the processor on which we would look again; bells ring seldom.
  const byKernel = ports.every(({ port }) => port.wokenByKernel);
  for (let turn = 0; ; turn++) {
    const ready = look(ports);
    if (ready > 0 || timeoutMs === 0) return ready + pollFds(targets, [], 0);
    if (lastSleepMs < SHORT_SLEEP_MS && !byKernel) {
      const soon = lookAgain(ports, Math.min(LOOK_AGAIN_MS, deadline - performance.now()));
      if (soon > 0) return soon + pollFds(targets, [], 0);
    }
    const bells = bellsFor(ports);
    if (!byKernel || turn > 0) for (const bell of bells.values()) bell.empty();
    const crowded = arm(ports, bells);
    const now = look(ports);
    const remaining = deadline - performance.now();
    if (now > 0 || remaining <= 0) return now + pollFds(targets, [], 0);
    const others = sleep(targets, bells, Math.min(longestSleep(ports, crowded), remaining));
    checkServers(ports, lastSleepMs);
    if (others > 0) return look(ports) + others;
  }
}

/** Sleeps until a bell rings or a descriptor is ready; how many descriptors are. */
function sleep(targets: readonly PollTarget[], bells: ReadonlyMap<Waker, Bell>, limitMs: number): number {
  const asleep = performance.now();
  const others = pollFds(targets, bells.values(), Number.isFinite(limitMs) ? limitMs : -1);
  lastSleepMs = performance.now() - asleep;
  return others;
}

/**
 * The same without blocking: the event loop goes on meanwhile.
 * @returns how many targets are ready; 0 when the time was over
 * @throws the signal's reason when aborted
 */
export async function pollAsync(
  targets: readonly PortTarget[],
  { signal, timeoutMs = -1 }: PollOptions = {},
): Promise<number> {
  const deadline = timeoutMs < 0 ? Number.POSITIVE_INFINITY : performance.now() + timeoutMs;
  for (;;) {
    signal?.throwIfAborted();
    if (targets.some((target) => target.port.closed))
      throw new NetmapError('ENXIO', 'Cannot wait for a port that is closed');
    const ready = look(targets);
    if (ready > 0 || timeoutMs === 0) return ready;
    const sleepers = new Map(targets.map(({ port }) => [wakerOf(port), sleeperOf(port)]));
    const bells = new Map([...sleepers].map(([waker, sleeper]) => [waker, sleeper.bell]));
    const crowded = arm(targets, bells);
    const now = look(targets);
    const remaining = deadline - performance.now();
    if (now === 0 && remaining > 0) {
      const limitMs = Math.min(longestSleep(targets, crowded), remaining);
      const asleep = performance.now();
      await sleepUntilAny([...sleepers.values()], targets.flatMap(nicFds), limitMs, signal);
      checkServers(targets, performance.now() - asleep);
    }
    if (now > 0) return now;
    if (performance.now() >= deadline) return look(targets);
  }
}

// ---- looking -------------------------------------------------------------------------------------------------

/** Syncs and fills in revents; how many targets are ready. */
function look(targets: readonly PortTarget[]): number {
  let ready = 0;
  for (const target of targets) {
    target.revents = lookAt(target.port, EVENT_BITS[target.events]);
    if (target.revents !== 0) ready++;
  }
  return ready;
}

function lookAgain(targets: readonly PortTarget[], forMs: number): number {
  const until = performance.now() + forMs;
  let ready = 0;
  while (ready === 0 && performance.now() < until) ready = look(targets);
  return ready;
}

function lookAt(port: Port, wanted: number): number {
  let found = 0;
  let broken = 0;
  for (const ring of port.txRings) {
    if (found & POLLOUT || !(wanted & POLLOUT)) {
      if (!ring.pending) continue;
    }
    const answer = port.txSyncRing(ring);
    broken |= answer;
    if (wanted & POLLOUT && !(answer & SYNC_ERROR) && ring.cur !== ring.tail) found |= POLLOUT;
  }
  if (wanted & POLLIN) {
    for (const ring of port.rxRings) broken |= port.rxSyncRing(ring);
    if (port.rxRings.some((ring) => ring.cur !== ring.tail)) {
      found |= POLLIN;
      port.stamp();
    }
  }
  return broken & (SYNC_REINIT | SYNC_ERROR) ? found | POLLERR : found;
}

// ---- being left alone ------------------------------------------------------------------------------------------

function longestSleep(targets: readonly PortTarget[], crowded: boolean): number {
  if (crowded) return CROWDED_MS;
  return targets.some(({ port }) => port.served) ? SERVER_MS : Number.POSITIVE_INFINITY;
}

/** After a sleep that nobody ended. */
function checkServers(targets: readonly PortTarget[], sleptMs: number): void {
  if (sleptMs < SERVER_MS) return;
  for (const { port } of targets) if (port.served) port.checkServer();
}

// ---- arming --------------------------------------------------------------------------------------------------

function waitedFor({ port, events }: PortTarget): Ring[] {
  return [...(events === 'in' ? [] : port.txRings), ...(events === 'out' ? [] : port.rxRings)];
}

/**
 * Hangs the bells on the rings.  Nobody takes them off again: a ring gives its bell up when it
 * rings it, and one rung too many costs a look.
 * @returns true if some ring has no place left for another sleeper, or there is room that nobody will tell of
 */
function arm(targets: readonly PortTarget[], bells: ReadonlyMap<Waker, Bell>): boolean {
  let crowded = false;
  for (const target of targets) {
    const { isolated, runtime } = target.port;
    if (target.events !== 'in' && target.port.waitsByClock) crowded = true;
    for (const ring of waitedFor(target)) {
      const armed = isolated
        ? isolated.arm(ring)
        : runtime.dataPlane.armBell(ring.kring, bells.get(runtime)!.id);
      if (!armed) crowded = true;
    }
  }
  return crowded;
}

// ---- sleeping ------------------------------------------------------------------------------------------------

const blockingBells = new WeakMap<Runtime, Bell>();

/** Who rings: others, a bell of this thread's for all of its ports; or the module, one for each isolated port. */
type Waker = Runtime | IsolatedSyncs;

function wakerOf(port: Port): Waker {
  return port.isolated ?? port.runtime;
}

function bellsFor(targets: readonly PortTarget[]): Map<Waker, Bell> {
  const bells = new Map<Waker, Bell>();
  for (const { port } of targets) {
    const { runtime, isolated } = port;
    if (isolated) {
      bells.set(isolated, isolated.bell);
      // One bell serves those who block and those who await: what is taken from it here may have been for them.
      sleepersByWaker.get(isolated)?.wake();
      continue;
    }
    let bell = blockingBells.get(runtime);
    if (!bell) {
      bell = runtime.bells.create(runtime.token);
      blockingBells.set(runtime, bell);
    }
    bells.set(runtime, bell);
  }
  return bells;
}

let pollfds = new DataView(new ArrayBuffer(64 * 8));

function putFd(at: number, fd: number, events: number): void {
  if ((at + 1) * 8 > pollfds.byteLength) {
    const larger = new Uint8Array(pollfds.byteLength * 2);
    larger.set(new Uint8Array(pollfds.buffer));
    pollfds = new DataView(larger.buffer);
  }
  pollfds.setInt32(at * 8, fd, true);
  pollfds.setInt16(at * 8 + 4, events, true);
  pollfds.setInt16(at * 8 + 6, 0, true);
}

/** poll(2) on the bells and on those targets that are descriptors; how many of the latter are ready. */
function pollFds(targets: readonly PollTarget[], bells: Iterable<Bell>, timeoutMs: number): number {
  let count = 0;
  for (const target of targets) if ('fd' in target) putFd(count++, target.fd, EVENT_BITS[target.events]);
  if (count === 0 && timeoutMs === 0) return 0;
  const firstOfNics = count;
  for (const target of targets) {
    if (!('port' in target)) continue;
    for (const { fd, events } of target.port.waitFds(target.events)) putFd(count++, fd, EVENT_BITS[events]);
  }
  const endOfNics = count;
  for (const { fd } of bells) putFd(count++, fd, POLLIN);
  os.poll(new Uint8Array(pollfds.buffer), count, timeoutMs);
  clearErrors(pollfds, firstOfNics, endOfNics);
  let at = 0;
  let ready = 0;
  for (const target of targets) {
    if (!('fd' in target)) continue;
    target.revents = pollfds.getInt16(at++ * 8 + 6, true);
    if (target.revents !== 0) ready++;
  }
  return ready;
}

/** What has become of an interface is seen by syncs; left there, it would end every further sleep at once. */
function clearErrors(records: DataView, from: number, to: number): void {
  for (let i = from; i < to; i++) {
    if (records.getInt16(i * 8 + 6, true) & POLLERR) os.clearError(records.getInt32(i * 8, true));
  }
}

function nicFds(target: PollTarget): readonly { fd: number; events: 'in' | 'out' }[] {
  return 'port' in target ? target.port.waitFds(target.events) : [];
}

/** Records as poll(2) has them; a bell is waited for until it can be read. */
function writePollFds(into: Uint8Array, targets: readonly (FdTarget | Bell)[]): void {
  const view = new DataView(into.buffer);
  targets.forEach((target, i) => {
    view.setInt32(i * 8, target.fd, true);
    view.setInt16(i * 8 + 4, 'events' in target ? EVENT_BITS[target.events] : POLLIN, true);
    view.setInt16(i * 8 + 6, 0, true);
  });
}

/** A bell that the event loop listens to, shared by all that await something in this thread. */
class Sleeper {
  readonly bell: Bell;
  readonly #watch: BellWatch;
  readonly #awake = new Set<() => void>();

  constructor(bell: Bell) {
    this.bell = bell;
    this.#watch = os.watchBell(bell.fd, () => this.wake());
  }

  /** Closes the bell's descriptor, too. */
  close(): void {
    this.#watch.close();
  }

  wake(): void {
    for (const wake of this.#awake) wake();
  }

  sleep(timeoutMs: number, signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve) => {
      const wake = () => {
        clearTimeout(timer);
        signal?.removeEventListener('abort', wake);
        this.#awake.delete(wake);
        if (this.#awake.size === 0) this.#watch.unref();
        resolve();
      };
      const timer = Number.isFinite(timeoutMs) ? setTimeout(wake, timeoutMs) : undefined;
      signal?.addEventListener('abort', wake);
      this.#awake.add(wake);
      this.#watch.ref();
    });
  }
}

async function sleepUntilAny(
  sleepers: readonly Sleeper[],
  nics: readonly FdTarget[],
  timeoutMs: number,
  signal: AbortSignal | undefined,
): Promise<void> {
  if (sleepers.length === 1 && nics.length === 0) return sleepers[0]!.sleep(timeoutMs, signal);
  const enough = new AbortController();
  const either = signal ? AbortSignal.any([signal, enough.signal]) : enough.signal;
  const elsewhere = nics.length > 0 ? [readyElsewhere(nics, timeoutMs, either)] : [];
  await Promise.race([...sleepers.map((sleeper) => sleeper.sleep(timeoutMs, either)), ...elsewhere]);
  enough.abort();
  await Promise.all(elsewhere);
}

/** NICs' descriptors are none that the event loop can watch: another thread does, until `signal` calls it off. */
async function readyElsewhere(
  nics: readonly FdTarget[],
  timeoutMs: number,
  signal: AbortSignal,
): Promise<void> {
  const calledOff = os.createEvent();
  const callOff = () => void os.signalEvent(calledOff);
  signal.addEventListener('abort', callOff);
  const fds = new Uint8Array((nics.length + 1) * 8);
  writePollFds(fds, [...nics, { fd: calledOff, events: 'in' }]);
  try {
    await os.pollElsewhere(fds, nics.length + 1, Number.isFinite(timeoutMs) ? timeoutMs : -1);
    clearErrors(new DataView(fds.buffer), 0, nics.length);
  } finally {
    signal.removeEventListener('abort', callOff);
    os.closeFd(calledOff);
  }
}

const sleepersByWaker = new WeakMap<Waker, Sleeper>();

/** Lets all that await ports of a waker in this thread look again: one of them was closed. */
export function wakeSleepers(waker: Waker): void {
  sleepersByWaker.get(waker)?.wake();
}

/** An isolated port is closed. @returns true if the bell's descriptor was closed with it */
export function endSleeper(waker: IsolatedSyncs): boolean {
  const sleeper = sleepersByWaker.get(waker);
  sleeper?.close();
  return sleeper !== undefined;
}

function sleeperOf(port: Port): Sleeper {
  const waker = wakerOf(port);
  let sleeper = sleepersByWaker.get(waker);
  if (!sleeper) {
    const { isolated, runtime } = port;
    sleeper = new Sleeper(isolated ? isolated.bell : runtime.bells.create(runtime.token));
    sleepersByWaker.set(waker, sleeper);
  }
  return sleeper;
}
