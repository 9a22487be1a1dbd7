#!/usr/bin/env node
// bridge: forwards all traffic between two ports, both ways (spec apps §3).

import { parseArgs } from 'node:util';
import { Bridge, type BridgeTurn, NetmapError, open, POLLERR, type Port } from '../../src/client/index.ts';

const USAGE = `usage: bridge [options] [PORT_A [PORT_B [BURST]]]
Forwards everything between two ports, both ways.
  -i PORT     first use: port A, second: port B
  -b BURST    most slots moved at a time, 1 to 8192 (default 1024)
  -w SECONDS  wait so long before starting, up to 100 (default 2; VALE ports and pipes 0)
  -c          copy even where the ports share memory and buffers could change places
  -L          if A and B are the same: send its traffic back to it
  -v          say what is moved; twice, at every turn
  -h          this text
Without B, or with B the same as A and no -L, A is bridged with its host rings (A^).
Exit status: 0 interrupted, 1 an error, and standard error says which.
`;

const POLL_MS = 250;
const REPORT_MS = 2500;

interface Options {
  a: string;
  b: string;
  burst: number;
  copy: boolean;
  waitSeconds: number;
  verbose: number;
}

/** @throws NetmapError EINVAL. */
function parse(argv: readonly string[]): Options | undefined {
  const { values, positionals } = parseArgs({
    args: [...argv],
    allowPositionals: true,
    options: {
      i: { type: 'string', short: 'i', multiple: true, default: [] },
      b: { type: 'string', short: 'b' },
      w: { type: 'string', short: 'w' },
      c: { type: 'boolean', short: 'c', default: false },
      L: { type: 'boolean', short: 'L', default: false },
      v: { type: 'boolean', short: 'v', multiple: true, default: [] },
      h: { type: 'boolean', short: 'h', default: false },
    },
  });
  if (values.h) return undefined;
  for (const extra of values.i.slice(2)) say(`${extra} ignored, already have 2 interfaces`);
  const a = positionals[0] ?? values.i[0];
  if (a === undefined)
    throw new NetmapError('EINVAL', 'Cannot bridge without a port: give two, as in -i vale0:a -i vale1:b');
  const given = positionals[1] ?? values.i[1] ?? a;
  if (a === given) {
    say(values.L ? 'same interface, loopbacking traffic' : 'same interface, endpoint 0 goes to host');
  }
  const fast = [a, given].every((name) => /^vale|[{}]/.test(name));
  return {
    a: a === given && !values.L ? `${a}^` : a,
    b: given,
    burst: numberIn('burst', positionals[2] ?? values.b, 1024, 1, 8192),
    copy: values.c,
    waitSeconds: numberIn('wait', values.w, fast ? 0 : 2, 0, 100),
    verbose: values.v.length,
  };
}

function numberIn(
  what: string,
  text: string | undefined,
  otherwise: number,
  low: number,
  high: number,
): number {
  if (text === undefined) return otherwise;
  const value = Number(text);
  if (/^\d+$/.test(text) && value >= low && value <= high) return value;
  throw new NetmapError('EINVAL', `Cannot accept a ${what} of ${text}: ${low} to ${high} is allowed`);
}

async function run({ a, b, burst, copy, waitSeconds, verbose }: Options): Promise<void> {
  const one = await open(a);
  const two = await open(b);
  const bridge = new Bridge(one, two, { burst, copy });
  say(`zerocopy ${bridge.zeroCopy ? 'supported' : 'NOT supported'}`);
  if (waitSeconds > 0) {
    say(`Wait ${waitSeconds} secs for link to come up...`);
    await new Promise((resolve) => setTimeout(resolve, waitSeconds * 1000));
  }
  say(`Ready to go, ${one.name} ${rings(one)} <-> ${two.name} ${rings(two)}.`);
  let stopped = false;
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => {
      stopped = true;
    });
  }
  let silentSince = performance.now();
  while (!stopped) {
    const turn = bridge.turn(POLL_MS);
    if (turn.ready > 0 || performance.now() - silentSince >= REPORT_MS) {
      if (turn.ready === 0 || verbose > 1 || (verbose > 0 && turn.moved[0] + turn.moved[1] > 0))
        report(bridge, turn);
      silentSince = performance.now();
    }
    turn.revents.forEach((revents, side) => {
      if (revents & POLLERR) sayError(bridge.ports[side]!, side);
    });
    // Signals are seen when the event loop turns.
    await new Promise((resolve) => setImmediate(resolve));
  }
  await Promise.all([one.close(), two.close()]);
}

/** @throws NetmapError EIO: nothing moves there any more. */
function sayError({ name, dead }: Port, side: number): void {
  if (dead === undefined) say(`error on port ${side}: a ring was broken and has been reset`);
  else throw new NetmapError('EIO', `Cannot bridge "${name}" any further: ${dead}`);
}

function rings(port: Port): string {
  return `0x${(port.rxRings[0]?.ringId ?? 0).toString(16)}/${port.rxRings.length}`;
}

function report(bridge: Bridge, { ready, revents, moved }: BridgeTurn): void {
  const sides = bridge.ports.map((port, side) => {
    const received = port.rxRings.reduce((sum, ring) => sum + ring.space, 0);
    const room = port.txRings.reduce((sum, ring) => sum + ring.space, 0);
    return `[${side}] ev ${revents[side]} rx ${received}@${port.rxRings[0]?.head ?? 0} tx ${room}`;
  });
  say(`poll ${ready === 0 ? 'timeout' : 'ok'} ${sides.join(', ')} moved ${moved.join(' and ')}`);
}

function say(text: string): void {
  process.stderr.write(`bridge: ${text}\n`);
}

async function main(): Promise<number> {
  try {
    const options = parse(process.argv.slice(2));
    if (options) await run(options);
    else process.stdout.write(USAGE);
    return 0;
  } catch (error) {
    const usage = (error as NodeJS.ErrnoException).code?.startsWith('ERR_PARSE_ARGS');
    if (!usage && !(error instanceof NetmapError)) throw error;
    say((error as Error).message);
    return 1;
  }
}

process.exitCode = await main();
