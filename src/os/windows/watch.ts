// The event loop and bells.  libuv cannot wait for an event, so a thread of its pool does, one for all bells that
// this thread's event loop listens to, and only while somebody is awaiting one: it neither keeps a program from
// ending nor takes a pool thread from one that sleeps otherwise.

import type { BellWatch } from '../os.ts';
import * as w from './win32.ts';

/** WaitForMultipleObjects takes so many; one is ours. */
const MOST_AT_ONCE = 63;
/** A pool thread is waited for when the process ends: bounded even where nobody tells it. */
const LONGEST_MS = 1000;

const listening = new Set<Watch>();
let waiting = false;
/** Interrupts the wait: another bell, or one less. */
let changed = 0;

export function watchBell(fd: number, rung: () => void): BellWatch {
  return new Watch(fd, rung);
}

class Watch implements BellWatch {
  readonly fd: number;
  readonly rung: () => void;

  constructor(fd: number, rung: () => void) {
    this.fd = fd;
    this.rung = rung;
  }

  ref(): void {
    if (listening.has(this)) return;
    listening.add(this);
    update();
  }

  unref(): void {
    if (listening.delete(this)) update();
  }

  close(): void {
    this.unref();
    w.CloseHandle(this.fd);
  }

  /** Tells of the bell if it rang. */
  look(): void {
    if (w.WaitForSingleObject(this.fd, 0) !== 0) return;
    w.ResetEvent(this.fd);
    this.rung();
  }
}

function update(): void {
  if (changed === 0) {
    changed = w.CreateEventW(null, false, false, null);
    process.once('exit', () => w.SetEvent(changed));
  }
  if (waiting) w.SetEvent(changed);
  else wait();
}

function wait(): void {
  waiting = listening.size > 0;
  if (!waiting) return;
  const handles = [changed, ...[...listening].slice(0, MOST_AT_ONCE).map(({ fd }) => fd)];
  const list = BigInt64Array.from(handles, BigInt);
  w.WaitForMultipleObjects.async(list.length, list, false, LONGEST_MS, () => {
    for (const watch of [...listening]) watch.look();
    wait();
  });
}
