// Two network namespaces joined by a veth pair, and programs that send and receive in them.  All of it is gone when
// the benchmark ends, and nothing leaves it.

import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const BIN = fileURLToPath(new URL('../../../bin/', import.meta.url));
/** After which a program that says nothing is given up. */
const PATIENCE_MS = 20_000;

export type Side = 'a' | 'b';

/** Why nothing of this can run here; undefined if it can. */
export function whyNoWire(): string | undefined {
  if (process.platform !== 'linux') return 'needs Linux';
  if (process.getuid?.() !== 0) return 'needs root';
  if (spawnSync('ip', ['-V']).status !== 0) return 'needs the program "ip"';
  const probe = `nmbench${process.pid}`;
  if (spawnSync('ip', ['netns', 'add', probe]).status !== 0) return 'network namespaces cannot be made here';
  execFileSync('ip', ['netns', 'del', probe]);
  return undefined;
}

export function installed(program: string): boolean {
  return spawnSync('sh', ['-c', `command -v ${program}`]).status === 0;
}

export class Wire {
  readonly directory = fs.mkdtempSync(path.join(os.tmpdir(), 'netmap-wire-'));
  readonly #running = new Set<ChildProcess>();
  readonly #abandon = () => {
    this.#kill();
    this.#remove();
  };

  constructor() {
    process.once('exit', this.#abandon);
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(1));
    const sides: Side[] = ['a', 'b'];
    try {
      for (const side of sides) ip('netns', 'add', namespaceOf(side));
      ip(
        ...['link', 'add', interfaceOf('a'), 'netns', namespaceOf('a'), 'type', 'veth'].concat([
          'peer',
          'name',
          interfaceOf('b'),
          'netns',
          namespaceOf('b'),
        ]),
      );
      for (const [i, side] of sides.entries()) {
        const quiet = 'echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6';
        spawnSync('ip', ['netns', 'exec', namespaceOf(side), 'sh', '-c', quiet]);
        ip('-n', namespaceOf(side), 'addr', 'add', `10.9.0.${i + 1}/24`, 'dev', interfaceOf(side));
        ip('-n', namespaceOf(side), 'link', 'set', interfaceOf(side), 'up');
      }
    } catch (error) {
      this.#remove();
      throw error;
    }
  }

  /** Starts a program at one end; its own module, if it starts one, is that end's. */
  start(side: Side, command: readonly string[]): Running {
    const child = spawn('ip', ['netns', 'exec', namespaceOf(side), ...command], {
      detached: true, // A group of its own: programs that start others are stopped with those.
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, NETMAP_DIR: path.join(this.directory, side) },
    });
    this.#running.add(child);
    child.once('exit', () => this.#running.delete(child));
    return new Running(child, command.join(' '));
  }

  async close(): Promise<void> {
    process.off('exit', this.#abandon);
    this.#kill();
    for (const side of ['a', 'b'] as const) {
      const unload = this.start(side, [path.join(BIN, 'nm-loader'), 'u', '-f']);
      await unload.ended;
    }
    this.#remove();
  }

  #kill(): void {
    for (const child of this.#running) signalGroup(child, 'SIGKILL');
  }

  #remove(): void {
    for (const side of ['a', 'b'] as const) spawnSync('ip', ['netns', 'del', namespaceOf(side)]);
    fs.rmSync(this.directory, { recursive: true, force: true });
  }
}

export function interfaceOf(side: Side): string {
  return `nb${side}${process.pid % 1e7}`;
}

function signalGroup(child: ChildProcess, signal: NodeJS.Signals): void {
  try {
    process.kill(-child.pid!, signal);
  } catch {
    // It has ended.
  }
}

function namespaceOf(side: Side): string {
  return `nmbench-${side}-${process.pid}`;
}

function ip(...args: string[]): void {
  execFileSync('ip', args, { stdio: ['ignore', 'ignore', 'pipe'] });
}

/** A program that was started, and what it has said so far. */
export class Running {
  readonly ended: Promise<void>;
  readonly #child: ChildProcess;
  readonly #name: string;
  #text = '';
  #changed: () => void = () => {};

  constructor(child: ChildProcess, name: string) {
    this.#child = child;
    this.#name = name;
    const read = (chunk: Buffer) => {
      this.#text += chunk;
      this.#changed();
    };
    child.stdout!.on('data', read);
    child.stderr!.on('data', read);
    this.ended = new Promise((resolve) => {
      child.once('close', () => {
        resolve();
        this.#changed();
      });
    });
  }

  /** Waits until `find` finds what it looks for in the text. @throws Error when the program ends without it. */
  async until<T>(find: (text: string) => T | undefined): Promise<T> {
    const deadline = performance.now() + PATIENCE_MS;
    for (;;) {
      const found = find(this.#text);
      if (found !== undefined) return found;
      if (this.#over || performance.now() > deadline)
        throw new Error(`"${this.#name}" did not do what it should: ${this.#text.slice(-1000)}`);
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, 500);
        this.#changed = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  }

  async stop(): Promise<string> {
    if (!this.#over) signalGroup(this.#child, 'SIGINT');
    const timer = setTimeout(() => signalGroup(this.#child, 'SIGKILL'), 3000);
    await this.ended;
    clearTimeout(timer);
    return this.#text;
  }

  get #over(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null;
  }
}
