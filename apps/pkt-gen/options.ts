// pkt-gen's command line (spec apps §1.1): what was typed, checked, as numbers.

import { parseArgs } from 'node:util';
import { NetmapError } from '../../src/client/index.ts';
import { parseMac } from './frame.ts';
import { parseRange, type Range } from './ranges.ts';

export const FUNCTIONS = ['tx', 'rx', 'ping', 'pong', 'txseq', 'rxseq'] as const;
export type FunctionName = (typeof FUNCTIONS)[number];

export const USAGE = `usage: pkt-gen -i PORT [-f FUNCTION] [options]
Generates, receives and measures traffic on a netmap port.
  -i PORT     vale0:a, vale0:a{1, netmap:x}1, ...; netmap: is put in front of other names
  -f FUNCTION tx rx ping pong txseq rxseq (default rx)
  -n COUNT    packets to send or receive, over all threads (default 0: no limit); not for txseq
  -l SIZE     frame size without CRC, 16 to 65535 (default 60); given again: the least size of a random one
  -b BURST    most packets per look at a ring (default 512; ping and pong 1)
  -d RANGE    destination address and UDP port (default 10.1.0.1:1234), single or LO[:PORT]-HI[:PORT]
  -s RANGE    source address and UDP port (default 10.0.0.1:1234)
  -D MAC      destination MAC (default ff:ff:ff:ff:ff:ff)
  -S MAC      source MAC (default 00:00:00:00:00:00)
  -R PPS      packets per second and thread (default 0: as fast as it goes)
  -P FILE     send every frame of a capture, in order: once, or round and round until -n are sent;
              a switch does not learn the capture's addresses (NS_NO_LEARN)
  -r          send whatever the buffers hold
  -w SECONDS  wait so long between opening the port and starting (default 2; VALE ports and pipes 0)
  -W          rx, rxseq: end when nothing came for a second after the first packet
  -p THREADS  threads, one ring each (default 1)
  -c CPUS     CPUs to use, 0 = all (default 1)
  -a CPU      keep thread i on CPU (CPU + i) mod CPUS (default -1: do not)
  -T MS       time between reports (default 1000)
  -A          reports show mean and standard deviation of the rate
  -B          count 24 more bytes a packet, CRC and gap, in bit rates
  -N          do not shorten numbers with K, M, G
  -X          dump every packet sent or received
  -v          say more at the start
  -h          this text
Exit status: 0 done, 1 an error, and standard error says which.
`;

export interface PktGenOptions {
  ifname: string;
  fn: FunctionName;
  /** 0 = unlimited. */
  count: number;
  /** Bytes; with minSize below it, each burst's size is drawn from [minSize, size]. */
  size: number;
  minSize: number;
  burst: number;
  src: Range;
  dst: Range;
  smac: Uint8Array;
  dmac: Uint8Array;
  /** As typed, for the banner. */
  srcText: string;
  dstText: string;
  smacText: string;
  dmacText: string;
  /** Packets per second and thread, 0 = unlimited. */
  rate: number;
  pcapFile: string | undefined;
  rubbish: boolean;
  waitSeconds: number;
  exitOnIdle: boolean;
  threads: number;
  cpus: number;
  /** First CPU, -1 = do not pin. */
  affinity: number;
  reportMs: number;
  averages: boolean;
  framing: boolean;
  rawNumbers: boolean;
  dump: boolean;
  verbose: number;
  help: boolean;
}

const STRINGS = ['i', 'f', 'n', 'b', 'd', 's', 'D', 'S', 'R', 'P', 'w', 'p', 'c', 'a', 'T'] as const;
const SWITCHES = ['r', 'W', 'A', 'B', 'N', 'X', 'h'] as const;

/** @throws NetmapError EINVAL with one sentence on the first thing that is wrong. */
export function parseOptions(argv: readonly string[], { cpus: available }: { cpus: number }): PktGenOptions {
  const { given, sizes, verbose } = read(argv);
  const text = (option: string, fallback: string) => (given[option] as string | undefined) ?? fallback;
  const number = (option: string, fallback: number, min: number, max: number, what: string) =>
    given[option] === undefined ? fallback : integer(option, String(given[option]), min, max, what);

  const fn = text('f', 'rx') as FunctionName;
  if (!FUNCTIONS.includes(fn))
    throw new NetmapError('EINVAL', `unrecognised function ${fn}: -f takes one of ${FUNCTIONS.join(', ')}`);
  const help = given['h'] === true;
  const ifname = portName(given['i'] as string | undefined, help);
  const [size, minSize] = frameSizes(sizes);
  const cpus = number('c', 1, 0, available, `cpus, of which this machine has ${available}`) || available;
  const threads = number('p', 1, 1, 256, 'threads');
  const single = fn === 'ping' || fn === 'pong' || fn === 'txseq';
  if (single && threads > 1)
    throw new NetmapError('EINVAL', `can only ${fn} with 1 thread: leave -p ${threads} out`);
  if (single && fn !== 'pong' && size < MIN_NUMBERED[fn]) {
    throw new NetmapError(
      'EINVAL',
      `bad pktsize ${size} for ${fn}: it needs ${MIN_NUMBERED[fn]} bytes to carry its numbers; use a larger -l`,
    );
  }
  const srcText = text('s', '10.0.0.1');
  const dstText = text('d', '10.1.0.1');
  const smacText = text('S', '00:00:00:00:00:00');
  const dmacText = text('D', 'ff:ff:ff:ff:ff:ff');
  return {
    ifname,
    fn,
    count: number('n', 0, 0, Number.MAX_SAFE_INTEGER, 'packets'),
    size,
    minSize,
    burst: number('b', fn === 'ping' || fn === 'pong' ? 1 : 512, 1, 4096, 'packets a burst'),
    src: parseRange(srcText),
    dst: parseRange(dstText),
    smac: parseMac(smacText),
    dmac: parseMac(dmacText),
    srcText,
    dstText,
    smacText,
    dmacText,
    rate: number('R', 0, 0, 1e9, 'packets per second'),
    pcapFile: given['P'] as string | undefined,
    rubbish: given['r'] === true,
    waitSeconds: number('w', /^vale|[{}]/.test(ifname) ? 0 : 2, 0, 3600, 'seconds to wait'),
    exitOnIdle: given['W'] === true,
    threads,
    cpus,
    affinity: number('a', -1, -1, available - 1, 'as the first CPU'),
    reportMs: number('T', 1000, 10, 3_600_000, 'ms between reports'),
    averages: given['A'] === true,
    framing: given['B'] === true,
    rawNumbers: given['N'] === true,
    dump: given['X'] === true,
    verbose,
    help,
  };
}

/** Bytes up to the end of what txseq and ping write into the payload. */
const MIN_NUMBERED = { txseq: 46, ping: 54 } as const;

interface CommandLine {
  given: Record<string, string | boolean | undefined>;
  sizes: string[];
  verbose: number;
}

function read(argv: readonly string[]): CommandLine {
  const options: Record<string, { type: 'string' | 'boolean'; short: string; multiple?: boolean }> = {
    l: { type: 'string', short: 'l', multiple: true },
    v: { type: 'boolean', short: 'v', multiple: true },
  };
  for (const name of STRINGS) options[name] = { type: 'string', short: name };
  for (const name of SWITCHES) options[name] = { type: 'boolean', short: name };
  try {
    const { values } = parseArgs({ args: joinNegative(argv), options });
    const { l, v, ...given } = values as Record<string, unknown>;
    return {
      given: given as CommandLine['given'],
      sizes: (l as string[] | undefined) ?? [],
      verbose: (v as unknown[] | undefined)?.length ?? 0,
    };
  } catch (error) {
    throw new NetmapError(
      'EINVAL',
      `bad option: ${(error as Error).message.split('\n')[0]} "pkt-gen -h" lists them`,
    );
  }
}

/** `-a -1` as `-a-1`, so that the number is not taken for an option. */
function joinNegative(argv: readonly string[]): string[] {
  const joined: string[] = [];
  for (const arg of argv) {
    if (/^-\d/.test(arg) && /^-[a-zA-Z]$/.test(joined.at(-1) ?? '')) joined.push(joined.pop()! + arg);
    else joined.push(arg);
  }
  return joined;
}

function integer(option: string, text: string, min: number, max: number, what: string): number {
  const value = /^-?\d+$/.test(text) ? Number(text) : Number.NaN;
  if (value >= min && value <= max) return value;
  throw new NetmapError('EINVAL', `bad -${option} ${text}: ${min} to ${max} ${what} can be asked for`);
}

function portName(name: string | undefined, help: boolean): string {
  if (name === undefined || name === '') {
    if (help) return '';
    throw new NetmapError('EINVAL', 'missing ifname: say which port with -i, as in -i vale0:a');
  }
  return /^(netmap:|vale)/.test(name) ? name : `netmap:${name}`;
}

function frameSizes(sizes: readonly string[]): [number, number] {
  const size = sizes[0] === undefined ? 60 : Number(sizes[0]);
  if (!(Number.isInteger(size) && size >= 16 && size <= 65535)) {
    throw new NetmapError('EINVAL', `bad pktsize ${sizes[0]} [16..65535]`);
  }
  const least = sizes.length > 1 ? Number(sizes.at(-1)) : size;
  if (!(Number.isInteger(least) && least >= 16 && least <= size)) {
    throw new NetmapError('EINVAL', `bad pktminsize ${sizes.at(-1)} [16..${size}]`);
  }
  return [size, least];
}
