#!/usr/bin/env node
// functional: sends and expects frames as scripted, on one port (spec apps §8.1).

import { parseArgs } from 'node:util';
import { NetmapError, open } from '../../src/client/index.ts';
import { parseMac } from '../pkt-gen/mac.ts';
import { ask, hold, startHolder } from './holder.ts';
import { type Event, play, type Settings } from './play.ts';

const USAGE = `usage: functional -i PORT | -I PORT [options] [events]
Plays events on a port, in order; without events it only opens it.
  -t LEN[:FILL[:NUM]]  send NUM frames of LEN bytes filled with the character FILL (a, 1)
  -r LEN[:FILL[:NUM]]  expect such frames
  -p NUM[us|ms|s]      pause (seconds)
  -i PORT     use a port that a process keeps open from run to run (-o starts it, -c ends it)
  -I PORT     open the port for this run alone
  -o, -c      start, stop the process that keeps ports
  -s, -d MAC  source and destination (00:00:00:00:00:00, ff:ff:ff:ff:ff:ff)
  -C N        play all events N times
  -T SECONDS  time-out of an event (1)
  -w SECONDS  wait after opening (0)
  -F BYTES    most bytes in a slot sent
  -g          pass over frames of other addresses
  -n          expect that nothing comes
  -q          the next character in each frame
  -e N        send from N extra buffers; with -I only
  -v          say what fails
  -h          this text
Exit status: 0 if every event succeeded, else 1.
`;
const MAX_EVENTS = 64;

interface Options {
  port: string;
  held: boolean;
  events: Event[];
  settings: Settings;
  waitSeconds: number;
  verbose: boolean;
}

const SHORTS = {
  i: 'string',
  I: 'string',
  s: 'string',
  d: 'string',
  w: 'string',
  F: 'string',
  T: 'string',
  t: 'string',
  r: 'string',
  p: 'string',
  C: 'string',
  e: 'string',
  g: 'boolean',
  n: 'boolean',
  q: 'boolean',
  v: 'boolean',
  h: 'boolean',
  c: 'boolean',
  o: 'boolean',
} as const;

/** @throws NetmapError EINVAL. */
function parse(tokens: readonly { name: string; value: string | undefined }[]): Options {
  const last = (name: string) => tokens.findLast((token) => token.name === name)?.value;
  const has = (name: string) => tokens.some((token) => token.name === name);
  const port = last('i') ?? last('I');
  if (port === undefined) throw new NetmapError('EINVAL', 'Cannot play without a port: give -i or -I');
  const events = tokens.flatMap(({ name, value }) => {
    if (name === 't' || name === 'r') return [framesEvent(name, value!)];
    return name === 'p' ? [pauseEvent(value!)] : [];
  });
  if (events.length > MAX_EVENTS)
    throw new NetmapError('EINVAL', `Cannot play ${events.length} events: ${MAX_EVENTS} at most`);
  return {
    port,
    held: last('i') !== undefined,
    events,
    waitSeconds: number(last('w'), 0, 'wait'),
    verbose: has('v'),
    settings: {
      src: [...parseMac(last('s') ?? '0:0:0:0:0:0')],
      dst: [...parseMac(last('d') ?? 'ff:ff:ff:ff:ff:ff')],
      timeoutMs: number(last('T'), 1, 'time-out') * 1000,
      fragmentBytes: number(last('F'), 0, 'fragment size'),
      ignoreOthers: has('g'),
      expectNothing: has('n'),
      sequential: has('q'),
      extraBufs: number(last('e'), 0, 'number of extra buffers'),
      repeat: number(last('C'), 1, 'number of turns'),
    },
  };
}

function number(text: string | undefined, otherwise: number, what: string): number {
  if (text === undefined) return otherwise;
  const value = Number(text);
  if (Number.isFinite(value) && value >= 0 && text !== '') return value;
  throw new NetmapError('EINVAL', `Cannot accept ${text} as ${what}: a number is expected`);
}

function framesEvent(name: 't' | 'r', text: string): Event {
  const [length, fill = 'a', count = '1'] = text.split(':');
  const event = {
    kind: name === 't' ? ('tx' as const) : ('rx' as const),
    length: Number(length),
    fill: fill === '' ? 0 : fill.charCodeAt(0),
    count: Number(count),
  };
  const good = [event.length, event.count].every((value) => Number.isInteger(value) && value > 0);
  if (good && event.length <= 0xffff) return event;
  throw new NetmapError('EINVAL', `Invalid event syntax '${text}': LEN[:FILL[:NUM]] is expected`);
}

function pauseEvent(text: string): Event {
  const [, value, unit = 's'] = /^(\d+)(us|ms|s)?$/.exec(text) ?? [];
  if (value === undefined)
    throw new NetmapError('EINVAL', `Invalid event syntax '${text}': NUM[us|ms|s] is expected`);
  return { kind: 'pause', ms: (Number(value) * { us: 1, ms: 1e3, s: 1e6 }[unit]!) / 1e3 };
}

async function run({
  port: name,
  held,
  events,
  settings,
  waitSeconds,
}: Options): Promise<string | undefined> {
  if (held) return ask({ action: 'play', port: name, events, settings });
  const port = await open(name, { extraBufs: settings.extraBufs });
  try {
    await new Promise((resolve) => setTimeout(resolve, waitSeconds * 1000));
    return await play(port, events, settings);
  } finally {
    await port.close();
  }
}

async function main(argv: readonly string[]): Promise<number> {
  if (argv[0] === '--hold') {
    hold();
    return 0;
  }
  try {
    const options = Object.fromEntries(
      Object.entries(SHORTS).map(([short, type]) => [short, { type, short }]),
    );
    const parsed = parseArgs({ args: [...argv], options, tokens: true }).tokens;
    const tokens = parsed.flatMap((token) =>
      token.kind === 'option' ? [{ name: token.name, value: token.value }] : [],
    );
    // These act at once, in the order they are given.
    for (const { name } of tokens) {
      if (name === 'h') process.stdout.write(USAGE);
      if (name === 'o') await startHolder();
      if (name === 'c') await ask({ action: 'stop' });
      if ('hoc'.includes(name)) return 0;
    }
    const settings = parse(tokens);
    const complaint = await run(settings);
    if (complaint !== undefined && settings.verbose) process.stderr.write(`functional: ${complaint}\n`);
    return complaint === undefined ? 0 : 1;
  } catch (error) {
    const usage = (error as NodeJS.ErrnoException).code?.startsWith('ERR_PARSE_ARGS');
    if (!usage && !(error instanceof NetmapError)) throw error;
    process.stderr.write(`functional: ${(error as Error).message}\n`);
    return 1;
  }
}

process.exitCode = await main(process.argv.slice(2));
