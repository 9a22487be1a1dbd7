// make demo: the first experiment, by itself.  A switch and a pipe between separate processes, and the rates.

import { spawn } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { status, unload } from '../src/client/index.ts';

const PROGRAM = fileURLToPath(new URL('../apps/pkt-gen/main.js', import.meta.url));
const FRAMES = 250_000_000;

function run(command: string): Promise<string> {
  const [, ...args] = command.split(' ');
  const child = spawn(process.execPath, [PROGRAM, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  child.stdout.on('data', (text) => {
    output += text;
  });
  let complaints = '';
  child.stderr.on('data', (text) => {
    complaints += text;
  });
  return new Promise<string>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code) =>
      code === 0 ? resolve(output) : reject(new Error(`${command} failed:\n${complaints}`)),
    );
  });
}

async function opened(name: string): Promise<void> {
  for (;;) {
    const state = await status().catch(() => undefined);
    if (state?.ports.some((port) => port.name === name && port.opens > 0)) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

async function experiment(title: string, sender: string, receiver: string): Promise<void> {
  const [receive, transmit] = [`pkt-gen -i ${receiver} -f rx -W`, `pkt-gen -i ${sender} -f tx -n ${FRAMES}`];
  console.log(`\n${title}\n  bin/${receive}\n  bin/${transmit}`);
  const received = run(receive);
  await opened(receiver);
  const sent = await run(transmit);
  for (const output of [sent, await received]) {
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
