// Senders and receivers in processes of their own, to be killed at any instruction.

import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { after } from 'node:test';
import { fileURLToPath } from 'node:url';
import { status } from '../../src/client/index.ts';
import { until } from '../harness.ts';

const children = new Set<ChildProcess>();
after(() => {
  for (const child of children) child.kill('SIGKILL');
});

export async function start(program: 'sender' | 'receiver', ...args: string[]): Promise<ChildProcess> {
  const child = fork(fileURLToPath(new URL(`${program}.js`, import.meta.url)), args);
  children.add(child);
  child.once('exit', () => children.delete(child));
  await once(child, 'message');
  return child;
}

export async function kill(child: ChildProcess): Promise<void> {
  const ended = once(child, 'exit');
  child.kill('SIGKILL');
  await ended;
}

export async function packetsOf(receiver: ChildProcess): Promise<number> {
  const answer = once(receiver, 'message');
  receiver.send('count');
  const [{ packets }] = (await answer) as [{ packets: number }];
  return packets;
}

export async function movesOn(receiver: ChildProcess): Promise<void> {
  const before = await packetsOf(receiver);
  await until(async () => (await packetsOf(receiver)) > before + 2000, 'the receiver to go on');
}

/** After a kill the port must be gone soon. */
export async function freed(name: string): Promise<number> {
  const start = performance.now();
  await until(
    async () => !(await status()).ports.some((port) => port.name === name),
    `${name} to be free`,
    10_000,
  );
  return performance.now() - start;
}
