// A sender in isolated mode: a thread of the module runs its syncs.  The receiver is one of our own, as in
// two-processes.ts, and its rate counts: what isolation costs beside direct mode.
//
// This file is also what the sender runs: `isolated.js send CASE`.

import { fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { open } from '../src/client/index.ts';
import type { Case } from './cases.ts';
import { Receiver, Sender } from './traffic.ts';

const SELF = fileURLToPath(import.meta.url);

/** The case that is measured in isolation too. */
export const ISOLATED_CASE: Case = {
  kind: 'vale',
  traffic: 'broadcast',
  receivers: 1,
  size: 60,
  burst: 256,
  processes: 2,
};

/** Nanoseconds per packet received, over about `ms`. */
export async function measureIsolated(work: Case, ms: number): Promise<number> {
  const port = await open('valebench4:r');
  const sender = fork(SELF, ['send', JSON.stringify(work)]);
  try {
    const receiver = new Receiver(port, work);
    await new Promise((resolve, reject) => {
      sender.once('message', resolve);
      sender.once('exit', () => reject(new Error('the isolated sender ended')));
    });
    receiver.measure(ms / 2); // Both sides are warm after this.
    return receiver.measure(ms);
  } finally {
    sender.removeAllListeners('exit');
    const ended = new Promise((resolve) => sender.once('exit', resolve));
    sender.kill('SIGKILL');
    await ended;
    await port.close();
  }
}

async function send(work: Case): Promise<void> {
  const port = await open('valebench4:s', { isolated: true });
  const sender = new Sender(port, work);
  process.send!('sending', () => {
    for (;;) sender.burst(work.burst);
  });
}

const [role, work] = process.argv[1] === SELF ? process.argv.slice(2) : [];
if (role === 'send') await send(JSON.parse(work!) as Case);
