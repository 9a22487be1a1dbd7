// make demo: the first experiment, by itself.  A switch and a pipe between separate processes, and the rates.

import { spawn } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { status, unload } from '../src/client/index.ts';

const BIN = fileURLToPath(new URL('../../../bin/', import.meta.url));
const SECONDS = 3;

function start(command: string): { ended: Promise<string>; stop(): void } {
  const [program, ...args] = command.split(' ');
  const child = spawn(path.join(BIN, program!), args, { stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  child.stdout.on('data', (text) => {
    output += text;
  });
  let complaints = '';
  child.stderr.on('data', (text) => {
    complaints += text;
  });
  const ended = new Promise<string>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code) =>
      code === 0 ? resolve(output) : reject(new Error(`${command} failed:\n${complaints}`)),
    );
  });
  return { ended, stop: () => child.kill('SIGINT') };
}

async function opened(name: string): Promise<void> {
  for (;;) {
    const state = await status().catch(() => undefined);
    if (state?.ports.some((port) => port.name === name && port.opens > 0)) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

async function experiment(title: string, sender: string, receiver: string): Promise<void> {
  console.log(`\n${title}\n  bin/pkt-gen -i ${receiver} -f rx\n  bin/pkt-gen -i ${sender} -f tx`);
  const rx = start(`pkt-gen -i ${receiver} -f rx`);
  await opened(receiver);
  const tx = start(`pkt-gen -i ${sender} -f tx`);
  await new Promise((resolve) => setTimeout(resolve, SECONDS * 1000));
  tx.stop();
  const sent = await tx.ended;
  rx.stop();
  for (const output of [sent, await rx.ended]) {
    for (const line of output.split('\n').filter((text) => /^(Sent|Received|Speed)/.test(text)))
      console.log(`    ${line}`);
  }
}

const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'netmap-demo-'));
process.env['NETMAP_DIR'] = directory;
try {
  await experiment('A VALE switch between two processes', 'vale1:a', 'vale1:b');
  await experiment('A netmap pipe between two processes', 'vale0:a}1', 'vale0:a{1');
} finally {
  await unload({ force: true }).catch(() => {});
  fs.rmSync(directory, { recursive: true, force: true });
}
