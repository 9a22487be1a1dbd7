// pkt-gen itself, as a person runs it: sender and receiver in processes of their own.  The receiver's own
// reports count.

import { type ChildProcess, spawn } from 'node:child_process';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Case } from './cases.ts';

const PKT_GEN = fileURLToPath(new URL('../../../bin/pkt-gen-b', import.meta.url));

/** The cases of the table that pkt-gen does as a whole. */
export const PROGRAM_CASES: readonly Case[] = (['vale', 'pipe'] as const).map((kind) => ({
  kind,
  traffic: kind === 'vale' ? 'broadcast' : 'plain',
  receivers: 1,
  size: 60,
  burst: 256,
  processes: 2,
}));

/** Nanoseconds per packet that `pkt-gen -f rx` reports while `pkt-gen -f tx` sends: the median over about `ms`. */
export async function measurePktGen({ kind, size, burst }: Case, ms: number): Promise<number> {
  const [from, to] =
    kind === 'pipe' ? ['netmap:bench3{1', 'netmap:bench3}1'] : ['valebench3:s', 'valebench3:r'];
  const reportMs = Math.max(20, Math.ceil(ms / 5));
  const receiver = start(['-i', to, '-f', 'rx', '-T', String(reportMs)]);
  const sender = start(['-i', from, '-f', 'tx', '-l', String(size), '-b', String(burst)]);
  try {
    const rates = await reports(receiver, 6);
    const [middle] = rates
      .slice(1)
      .sort((a, b) => a - b)
      .slice(2); // The first one is of the start.
    return 1e3 / middle!;
  } finally {
    await Promise.all([stop(sender), stop(receiver)]);
  }
}

function start(args: readonly string[]): ChildProcess {
  return spawn(path.normalize(PKT_GEN), args, { stdio: ['ignore', 'pipe', 'pipe'] });
}

/** The first `count` rates in Mpps that a receiver reports with packets in them. */
function reports(receiver: ChildProcess, count: number): Promise<number[]> {
  return new Promise((resolve, reject) => {
    let text = '';
    const read = (chunk: Buffer) => {
      text += chunk;
      const rates = [...text.matchAll(/ main_thread ([\d.]+) ([KMG]?)pps /g)].map(
        ([, value, unit]) => Number(value) * ({ '': 1e-6, K: 1e-3, M: 1, G: 1e3 }[unit!] ?? 1),
      );
      const moving = rates.filter((rate) => rate > 0);
      if (moving.length >= count) resolve(moving);
    };
    receiver.stdout!.on('data', read);
    receiver.stderr!.on('data', read);
    receiver.once('exit', () => reject(new Error(`pkt-gen -f rx ended early: ${text}`)));
  });
}

async function stop(program: ChildProcess): Promise<void> {
  program.removeAllListeners('exit');
  if (program.exitCode !== null || program.signalCode !== null) return;
  const ended = new Promise((resolve) => program.once('exit', resolve));
  program.kill('SIGINT');
  await ended;
}
