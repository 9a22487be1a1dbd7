// Sender and receiver in processes of their own, both busy, as pkt-gen-b is.  The receiver's rate counts.
//
// This file is also what the two processes run: `two-processes.js send|receive CASE MS`.

import { fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { open } from '../src/client/index.ts';
import type { Case } from './cases.ts';
import { introduce, Receiver, Sender } from './traffic.ts';

const SELF = fileURLToPath(import.meta.url);

/** Nanoseconds per packet received. */
export async function measureTwoProcesses(work: Case, ms: number): Promise<number> {
  const receiver = fork(SELF, ['receive', JSON.stringify(work), String(ms)]);
  await new Promise((resolve, reject) => {
    receiver.once('message', resolve); // Open, and known to the switch.
    receiver.once('exit', (code, signal) =>
      reject(new Error(`the receiver ended at its start: ${signal ?? code}`)),
    );
  });
  const sender = fork(SELF, ['send', JSON.stringify(work), String(ms)]);
  try {
    return await new Promise<number>((resolve, reject) => {
      receiver.once('message', (ns) => resolve(ns as number));
      receiver.once('exit', () => reject(new Error('the receiver ended without a result')));
      sender.once('exit', () => reject(new Error('the sender ended before the receiver had seen enough')));
    });
  } finally {
    for (const child of [sender, receiver]) {
      child.removeAllListeners('exit');
      if (child.exitCode !== null || child.signalCode !== null) continue;
      const ended = new Promise((resolve) => child.once('exit', resolve));
      child.kill('SIGKILL');
      await ended;
    }
  }
}

async function send(work: Case): Promise<void> {
  const port = await open(work.kind === 'pipe' ? 'netmap:bench2{1' : 'valebench2:s');
  const sender = new Sender(port, work);
  for (;;) sender.burst(work.burst);
}

async function receive(work: Case, ms: number): Promise<void> {
  const port = await open(work.kind === 'pipe' ? 'netmap:bench2}1' : 'valebench2:r');
  if (work.kind === 'vale') introduce(port);
  const receiver = new Receiver(port, work);
  process.send!('open');
  while (receiver.burst() === 0);
  receiver.measure(ms / 2); // Both sides are warm after this.
  process.send!(receiver.measure(ms));
}

const [role, work, ms] = process.argv[1] === SELF ? process.argv.slice(2) : [];
if (role === 'send') await send(JSON.parse(work!) as Case);
if (role === 'receive') await receive(JSON.parse(work!) as Case, Number(ms));
