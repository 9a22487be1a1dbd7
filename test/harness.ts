// What tests share: a runtime directory of their own, frames in and out of ports, programs run to their end.

import assert from 'node:assert/strict';
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after } from 'node:test';
import { fileURLToPath } from 'node:url';
import { NetmapError, NS_MOREFRAG, type Port, status, unload } from '../src/client/index.ts';

export const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
export const CAPTURES = path.join(ROOT, '../shared/captures');

/** For tests that need the captures: false, or why they are skipped. */
export const NO_CAPTURES = fs.existsSync(CAPTURES) ? false : 'needs ../shared/captures, which is not here';

/** Gives this test file a module of its own; what is left of it in the end is removed. */
export function ownModule(): string {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'netmap-test-'));
  process.env['NETMAP_DIR'] = directory;
  after(async () => {
    await unload({ force: true }).catch(() => {});
    fs.rmSync(directory, { recursive: true, force: true });
  });
  return directory;
}

/** A frame of `length` bytes whose payload starts with `mark`. MACs are given by their last byte. */
export function frame({ dst = 0xff, src = 1, length = 60, mark = 0 } = {}): Uint8Array {
  const bytes = new Uint8Array(length);
  bytes.set(mac(dst).subarray(0, length), 0);
  if (length >= 12) bytes.set(mac(src), 6);
  if (length >= 18) new DataView(bytes.buffer).setUint32(14, mark);
  return bytes;
}

/** 02:00:00:00:00:xx, and ff:ff:ff:ff:ff:ff for 0xff. */
export function mac(last: number): Uint8Array {
  return last === 0xff ? new Uint8Array(6).fill(0xff) : Uint8Array.of(2, 0, 0, 0, 0, last);
}

export function markOf(bytes: Uint8Array): number {
  return new DataView(bytes.buffer, bytes.byteOffset).getUint32(14);
}

/** Sends packets (each a frame, or its fragments) from a TX ring, in one sync. */
export function send(
  port: Port,
  packets: readonly (Uint8Array | readonly Uint8Array[])[],
  ringIndex = 0,
): void {
  stage(port, packets, ringIndex);
  port.txSync();
}

/** The same without the sync. */
export function stage(
  port: Port,
  packets: readonly (Uint8Array | readonly Uint8Array[])[],
  ringIndex = 0,
): void {
  const ring = port.txRings[ringIndex]!;
  let slot = ring.head;
  for (const packet of packets) {
    const parts = packet instanceof Uint8Array ? [packet] : packet;
    parts.forEach((part, i) => {
      assert.notEqual(slot, ring.tail, 'the test sends more than the ring holds');
      ring.put(slot, part);
      if (i + 1 < parts.length) ring.setFlags(slot, NS_MOREFRAG);
      slot = ring.next(slot);
    });
  }
  ring.publish(slot);
}

export interface Received {
  bytes: Uint8Array;
  flags: number;
}

/** Syncs and takes every slot of an RX ring, or the first `most`. */
export function receive(port: Port, ringIndex = 0, most = Number.POSITIVE_INFINITY): Received[] {
  const ring = port.rxRings[ringIndex]!;
  port.rxSync();
  const slots: Received[] = [];
  let slot = ring.head;
  for (; slot !== ring.tail && slots.length < most; slot = ring.next(slot)) {
    slots.push({ bytes: ring.frame(slot).slice(), flags: ring.flags(slot) });
  }
  ring.publish(slot);
  port.rxSync();
  return slots;
}

/** Waits until so many slots have come to a port's RX rings; takes all that have. */
export async function take(port: Port, count: number): Promise<Received[]> {
  const slots: Received[] = [];
  while (slots.length < count) {
    await port.readable({ timeoutMs: 20_000 });
    for (const ring of port.rxRings.keys()) slots.push(...receive(port, ring));
  }
  return slots;
}

/** Marks of what an RX ring holds. */
export function marks(port: Port, ringIndex = 0): number[] {
  return receive(port, ringIndex).map(({ bytes }) => markOf(bytes));
}

/** Runs `work` with ports that are closed whatever happens. */
export async function using(
  ports: readonly Promise<Port>[],
  work: (...ports: Port[]) => unknown,
): Promise<void> {
  const settled = await Promise.allSettled(ports);
  const opened = settled.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []));
  try {
    for (const result of settled) if (result.status === 'rejected') throw result.reason;
    await work(...opened);
  } finally {
    await Promise.all(opened.map((port) => port.close()));
  }
}

/** Expects a NetmapError of that code, whose message is one sentence that matches. */
export async function refuses(attempt: Promise<unknown>, code: string, message = /./): Promise<void> {
  await assert.rejects(attempt, (error: unknown) => {
    assert.ok(error instanceof NetmapError, String(error));
    assert.equal(error.code, code, error.message);
    assert.match(error.message, message);
    assert.doesNotMatch(error.message, /\n/);
    return true;
  });
}

export interface Finished {
  code: number | null;
  signal: NodeJS.Signals | null;
  stdout: string;
  stderr: string;
}

/** What starts one of our programs, or another one. */
function commandLine(command: string): string[] {
  const launcher = path.join(ROOT, 'bin', command);
  if (!fs.existsSync(launcher)) return [command];
  if (process.platform !== 'win32') return [launcher];
  // A .cmd would be a process of its own between us and the program.
  const [, main] = /(build\/js\/\S+\.js)/.exec(fs.readFileSync(launcher, 'utf8'))!;
  return [process.execPath, path.join(ROOT, main!)];
}

/** A program under way. */
export class Program {
  readonly process: ChildProcessWithoutNullStreams;
  readonly ended: Promise<Finished>;
  stdout = '';
  stderr = '';

  constructor(command: string, args: readonly string[], env: NodeJS.ProcessEnv = {}) {
    const [file, ...first] = commandLine(command);
    this.process = spawn(file!, [...first, ...args], { env: { ...process.env, ...env } });
    this.process.stdout.setEncoding('latin1').on('data', (text) => {
      this.stdout += text;
    });
    this.process.stderr.setEncoding('utf8').on('data', (text) => {
      this.stderr += text;
    });
    this.ended = new Promise((resolve, reject) => {
      this.process.once('error', reject);
      this.process.once('close', (code, signal) =>
        resolve({ code, signal, stdout: this.stdout, stderr: this.stderr }),
      );
    });
  }

  get pid(): number {
    return this.process.pid!;
  }

  /** Resolves when the program's output matches; fails when it ends before. */
  says(pattern: RegExp, timeoutMs = 60_000): Promise<void> {
    let over = false;
    void this.ended.finally(() => {
      over = true;
    });
    return until(
      () => {
        if (pattern.test(this.stdout) || pattern.test(this.stderr)) return true;
        if (over) throw new Error(`the program ended without ${pattern}: ${this.stderr}`);
        return false;
      },
      `${pattern} from the program`,
      timeoutMs,
      () => this.stderr,
    );
  }

  /**
   * As ^C does.  Windows has no such signal for other programs, which end there and then: of those who have nothing to
   * say at their end it counts as well done.
   */
  async stop(signal: NodeJS.Signals = 'SIGINT'): Promise<Finished> {
    this.process.kill(signal);
    const finished = await this.ended;
    const cut = process.platform === 'win32' && finished.signal === 'SIGINT';
    return cut ? { ...finished, code: 0 } : finished;
  }
}

export function run(
  command: string,
  args: readonly string[],
  env: NodeJS.ProcessEnv = {},
): Promise<Finished> {
  return new Program(command, args, env).ended;
}

/** Looks again and again until something is so; fails, naming it, when it takes too long. */
export async function until(
  isSo: () => boolean | Promise<boolean>,
  what: string,
  timeoutMs = 60_000,
  detail: () => string = () => '',
): Promise<void> {
  const deadline = Date.now() + timeoutMs;
  while (!(await isSo())) {
    if (Date.now() > deadline) assert.fail(`waited ${timeoutMs} ms in vain for ${what} ${detail()}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** Names of the ports that the module knows. */
export async function portNames(): Promise<string[]> {
  return (await status()).ports.map((port) => port.name).sort();
}
