// Bells and poll(2) over events.  An event of ours stays signalled until it is emptied, as a pipe stays readable.

import type { BellPipe } from '../os.ts';
import { createNamed, openNamed } from './names.ts';
import { ownerAttributes } from './security.ts';
import * as w from './win32.ts';

const POLLIN = 1;
const POLLOUT = 4;
const POLLERR = 8;
const EVENT_ALL_ACCESS = 0x1f0003;
const TIMER_ALL_ACCESS = 0x1f0003;
const HIGH_RESOLUTION = 2;
const INFINITE = 0xffffffff;
/** WaitForMultipleObjects takes so many; one is the timer's. */
const MOST_AT_ONCE = 63;
const ONLY_ONCE = 8;
const WAIT_FOR_CALLBACKS = -1;

const SOL_SOCKET = 0xffff;
const SO_TYPE = 0x1008;
const SOCKET_IN = 0x300;
const SOCKET_OUT = 0x10;
const FD_READ_OOB_ACCEPT_CLOSE = 1 | 4 | 8 | 32;
const FD_WRITE_CONNECT = 2 | 16;
const SOCKET_FIELDS = 16;
/** FD_WRITE tells once; afterwards a socket is looked at by the clock. */
const SOCKET_TICK_MS = 10;

/** Events of this thread: certainly no sockets. */
const own = new Set<number>();

export function createBell(): BellPipe {
  const { fd, ino } = createNamed('bell', (name) => w.CreateEventW(ownerAttributes(), true, false, name));
  own.add(fd);
  return {
    fd,
    ino,
    close() {
      own.delete(fd);
      w.CloseHandle(fd);
    },
  };
}

export function openBell(ino: number): number {
  return openNamed('bell', ino, (name) => w.OpenEventW(EVENT_ALL_ACCESS, false, name)) ?? -1;
}

export function createEvent(): number {
  return w.CreateEventW(ownerAttributes(), true, false, null);
}

/** True while signalled. */
function isSet(fd: number): boolean {
  return w.WaitForSingleObject(fd, 0) === 0;
}

const optionValue = new Uint32Array(1);
const optionLength = new Uint32Array(1);

function isSocket(fd: number): boolean {
  if (own.has(fd)) return false;
  optionLength[0] = 4;
  return w.getsockopt(fd, SOL_SOCKET, SO_TYPE, optionValue, optionLength) === 0;
}

/** What is ready of a socket, in poll(2)'s bits. */
function lookAtSocket(fd: number, events: number): number {
  const field = new Uint8Array(SOCKET_FIELDS);
  const view = new DataView(field.buffer);
  view.setBigInt64(0, BigInt(fd), true);
  view.setInt16(8, (events & POLLIN ? SOCKET_IN : 0) | (events & POLLOUT ? SOCKET_OUT : 0), true);
  if (w.WSAPoll(field, 1, 0) <= 0) return 0;
  const found = view.getInt16(10, true);
  return (
    (found & SOCKET_IN ? POLLIN : 0) |
    (found & SOCKET_OUT ? POLLOUT : 0) |
    (found & ~(SOCKET_IN | SOCKET_OUT) ? POLLERR : 0)
  );
}

interface Awaited {
  fd: number;
  events: number;
  socket: boolean;
}

/** Looks at all, fills in what is ready. */
function look(view: DataView, awaited: readonly Awaited[]): number {
  let ready = 0;
  awaited.forEach(({ fd, events, socket }, i) => {
    const found = socket ? lookAtSocket(fd, events) : isSet(fd) ? events : 0;
    view.setInt16(i * 8 + 6, found, true);
    if (found !== 0) ready++;
  });
  return ready;
}

export function poll(fds: Uint8Array, count: number, timeoutMs: number): number {
  const view = new DataView(fds.buffer, fds.byteOffset);
  const awaited = Array.from({ length: count }, (_, i): Awaited => {
    const fd = view.getInt32(i * 8, true);
    return { fd, events: view.getInt16(i * 8 + 4, true), socket: isSocket(fd) };
  });
  const deadline = timeoutMs < 0 ? Number.POSITIVE_INFINITY : performance.now() + timeoutMs;
  for (;;) {
    const ready = look(view, awaited);
    const remaining = deadline - performance.now();
    if (ready > 0 || remaining <= 0) return ready;
    block(awaited, remaining);
  }
}

/** Sleeps until something may be ready. */
function block(awaited: readonly Awaited[], limitMs: number): void {
  const sockets = awaited.filter(({ socket }) => socket);
  const signals = sockets.map(({ fd, events }) => {
    const signal: number = w.CreateEventW(null, true, false, null);
    const wanted =
      (events & POLLIN ? FD_READ_OOB_ACCEPT_CLOSE : 0) | (events & POLLOUT ? FD_WRITE_CONNECT : 0);
    w.WSAEventSelect(fd, signal, wanted);
    return signal;
  });
  const handles = [...awaited.filter(({ socket }) => !socket).map(({ fd }) => fd), ...signals];
  const writes = sockets.some(({ events }) => events & POLLOUT);
  try {
    waitForAny(handles, writes ? Math.min(limitMs, SOCKET_TICK_MS) : limitMs);
  } finally {
    for (const { fd } of sockets) w.WSAEventSelect(fd, 0, 0);
    for (const signal of signals) w.CloseHandle(signal);
  }
}

let timer = 0;
const due = new BigInt64Array(1);

/** A timer of this thread that goes off after so long: fractions of a millisecond count, where Windows has them. */
function timerIn(ms: number): number {
  timer ||=
    w.CreateWaitableTimerExW(null, null, HIGH_RESOLUTION, TIMER_ALL_ACCESS) ||
    w.CreateWaitableTimerExW(null, null, 0, TIMER_ALL_ACCESS);
  due[0] = -BigInt(Math.max(1, Math.round(ms * 10_000)));
  w.SetWaitableTimer(timer, due, 0, null, null, false);
  return timer;
}

function waitForAny(handles: readonly number[], limitMs: number): void {
  const timed = Number.isFinite(limitMs) ? [timerIn(limitMs)] : [];
  if (handles.length <= MOST_AT_ONCE) waitFor([...handles, ...timed]);
  else waitForMany(handles, timed);
}

function waitFor(handles: readonly number[]): void {
  w.WaitForMultipleObjects(handles.length, BigInt64Array.from(handles, BigInt), false, INFINITE);
}

let setEventAddress = 0;

/** Threads of the system's pool wait for any number; each of them then calls SetEvent itself, no code of ours. */
function waitForMany(handles: readonly number[], timed: readonly number[]): void {
  setEventAddress ||= w.addressOfFunction('SetEvent');
  const any: number = w.CreateEventW(null, true, false, null);
  const waits = handles.map((handle) =>
    w.out((cell) => w.RegisterWaitForSingleObject(cell, handle, setEventAddress, any, INFINITE, ONLY_ONCE)),
  );
  waitFor([any, ...timed]);
  for (const wait of waits) if (wait !== undefined) w.UnregisterWaitEx(wait, WAIT_FOR_CALLBACKS);
  w.CloseHandle(any);
}
