// Machines for tests: network namespaces, and wires between them.  What is made here is removed here.

import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import { after } from 'node:test';
import * as libc from '../../src/os/linux/libc.ts';
import { Program } from '../harness.ts';

const CLONE_NEWNET = 0x40000000;

/** For tests that need namespaces of their own: false, or why they are skipped. */
export const NO_NETWORK =
  process.platform !== 'linux'
    ? 'network namespaces are Linux only'
    : process.getuid!() !== 0
      ? 'needs root, to make network namespaces'
      : hasIp()
        ? false
        : 'needs the command "ip" (iproute2)';

function hasIp(): boolean {
  try {
    execFileSync('ip', ['-V'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

/** Whether a command is there; else why a test that needs it is skipped. */
export function lacks(command: string): string | false {
  const found = (process.env['PATH'] ?? '')
    .split(':')
    .some((folder) => fs.existsSync(`${folder}/${command}`));
  return found ? NO_NETWORK : `needs the command "${command}"`;
}

let made = 0;

/** A namespace, and the programs that run in it. */
export class Machine {
  readonly name = `nmt${process.pid}-${made++}`;

  constructor() {
    execFileSync('ip', ['netns', 'add', this.name]);
    this.ip('link', 'set', 'lo', 'up');
    after(() => this.remove());
  }

  /** Runs `ip` inside. */
  ip(...args: string[]): string {
    return execFileSync('ip', ['-n', this.name, ...args], { encoding: 'utf8' });
  }

  /** Runs a command inside to its end. */
  run(command: string, ...args: string[]): string {
    return execFileSync('ip', ['netns', 'exec', this.name, command, ...args], {
      encoding: 'utf8',
      timeout: 60_000,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
  }

  /** The same, whether or not it succeeds. */
  tries(command: string, ...args: string[]): boolean {
    try {
      this.run(command, ...args);
      return true;
    } catch {
      return false;
    }
  }

  start(command: string, args: readonly string[], env: NodeJS.ProcessEnv = {}): Program {
    return new Program('ip', ['netns', 'exec', this.name, command, ...args], env);
  }

  /** Has this process, and what it starts from now on, live inside. */
  enter(): void {
    const fd = fs.openSync(`/run/netns/${this.name}`, 'r');
    if (libc.setns(fd, CLONE_NEWNET) !== 0) throw libc.lastError('enter a network namespace');
    fs.closeSync(fd);
  }

  /** Names of the interfaces inside. */
  interfaces(): string[] {
    return (JSON.parse(this.ip('-j', 'link')) as { ifname: string }[]).map(({ ifname }) => ifname);
  }

  remove(): void {
    execFileSync('ip', ['netns', 'del', this.name]);
  }
}

/** A wire between two machines, or two interfaces of one; both ends up, without offloads of their own. */
export function wire(
  [a, nameA]: readonly [Machine, string],
  [b, nameB]: readonly [Machine, string],
  { queues = 1, mtu = 1500 } = {},
): void {
  const count = String(queues);
  const sizes = ['numtxqueues', count, 'numrxqueues', count];
  const one = ['name', nameA, 'netns', a.name, 'mtu', String(mtu), ...sizes];
  const two = ['name', nameB, 'netns', b.name, 'mtu', String(mtu), ...sizes];
  execFileSync('ip', ['link', 'add', ...one, 'type', 'veth', 'peer', ...two]);
  for (const [machine, name] of [
    [a, nameA],
    [b, nameB],
  ] as const) {
    machine.tries('sysctl', '-qw', `net.ipv6.conf.${name}.disable_ipv6=1`);
    machine.tries('ethtool', '-K', name, 'tx', 'off');
    machine.ip('link', 'set', name, 'up');
  }
}
