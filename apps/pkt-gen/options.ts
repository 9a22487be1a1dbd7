// pkt-gen's command line (spec apps §1.1): what was typed, checked, as numbers.

import { parseArgs } from 'node:util';
import { NetmapError, type OpenOptions } from '../../src/client/index.ts';
import { parseMac } from './mac.ts';
import { parseRange, type Range } from './ranges.ts';

export const FUNCTIONS = ['tx', 'rx', 'ping', 'pong', 'txseq', 'rxseq'] as const;
export type FunctionName = (typeof FUNCTIONS)[number];

export type RingSizes = Pick<OpenOptions, 'txSlots' | 'rxSlots' | 'txRings' | 'rxRings'>;

/** Bits of -o. */
const BIT = {
  copy: 4 | 8,
  indirect: 32,
  dump: 64,
  rubbish: 256,
  randomSrc: 512,
  randomDst: 1024,
  averages: 2048,
  update: 4096,
};
const ALL_BITS = 1 | 2 | 16 | Object.values(BIT).reduce((all, bits) => all | bits);

export interface PktGenOptions {
  ifname: string;
  fn: FunctionName;
  /** 0 = unlimited. */
  count: number;
  /** Bytes; with minSize below it, each burst's size is drawn from [minSize, size]. */
  size: number;
  minSize: number;
  burst: number;
  family: 4 | 6;
  src: Range;
  dst: Range;
  smac: Uint8Array;
  dmac: Uint8Array;
  /** Whether -S was given. */
  ownSmac: boolean;
  /** As typed, for the banner. */
  srcText: string;
  dstText: string;
  smacText: string;
  dmacText: string;
  /** Any address and port rather than the next one: of the source, of the destination. */
  random: [boolean, boolean];
  /** Slots per packet. */
  frags: number;
  /** Most bytes per slot. */
  mostPerSlot: number;
  /** Bytes of virtio-net header in front of frames; `ownHeader`: asked for, rather than found at the port. */
  header: number;
  ownHeader: boolean;
  /** Sizes of what the port is made of. */
  sizes: RingSizes;
  /** Copies each frame, even if its slot holds it already. */
  copy: boolean;
  /** Lengths and checksums follow a random size. */
  update: boolean;
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

const STRINGS = [
  'i',
  'f',
  'n',
  'b',
  'd',
  's',
  'D',
  'S',
  'R',
  'P',
  'w',
  'p',
  'c',
  'a',
  'T',
  'F',
  'M',
  'H',
  'C',
  'o',
] as const;
const SWITCHES = ['r', 'W', 'A', 'B', 'N', 'X', 'h', 'z', 'Z', 'I'] as const;

/** @throws NetmapError EINVAL with one sentence on the first thing that is wrong. */
export function parseOptions(argv: readonly string[], { cpus: available }: { cpus: number }): PktGenOptions {
  const { given, sizes, verbose, family } = read(argv);
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
  const least = fn === 'txseq' || fn === 'ping' ? MIN_NUMBERED[fn] + (family === 4 ? 0 : 20) : 0;
  if (size < least) {
    throw new NetmapError(
      'EINVAL',
      `bad pktsize ${size} for ${fn}: it needs ${least} bytes to carry its numbers; use a larger -l`,
    );
  }
  const bits = number('o', 0, 0, ALL_BITS, 'as the sum of option bits');
  if (bits & ~ALL_BITS)
    throw new NetmapError('EINVAL', `bad -o ${bits}: there are no bits ${bits & ~ALL_BITS}`);
  const chosen = (option: string, bit: number) => given[option] === true || (bits & bit) !== 0;
  if (chosen('I', BIT.indirect))
    throw new NetmapError(
      'EOPNOTSUPP',
      "Cannot send indirect buffers (-I): what lies outside of the port's memory is out of its reach; leave -I out",
    );
  const header = number('H', 0, 0, 12, 'bytes of virtio-net header');
  if (![0, 10, 12].includes(header))
    throw new NetmapError('EINVAL', `bad virtio-net-header length ${header}: -H takes 0, 10 or 12`);
  const srcText = text('s', family === 4 ? '10.0.0.1' : 'fd00::1');
  const dstText = text('d', family === 4 ? '10.1.0.1' : 'fd00::2');
  const smacText = text('S', '00:00:00:00:00:00');
  const dmacText = text('D', 'ff:ff:ff:ff:ff:ff');
  return {
    ifname,
    fn,
    count: number('n', 0, 0, Number.MAX_SAFE_INTEGER, 'packets'),
    size,
    minSize,
    burst: number('b', fn === 'ping' || fn === 'pong' ? 1 : 512, 1, 4096, 'packets a burst'),
    family,
    src: parseRange(srcText, family),
    dst: parseRange(dstText, family),
    smac: parseMac(smacText),
    dmac: parseMac(dmacText),
    ownSmac: given['S'] !== undefined,
    srcText,
    dstText,
    smacText,
    dmacText,
    random: [chosen('z', BIT.randomSrc), chosen('Z', BIT.randomDst)],
    frags: number('F', 1, 1, 63, 'slots a packet'),
    mostPerSlot: number('M', Number.POSITIVE_INFINITY, 1, 65535, 'bytes a slot'),
    header,
    ownHeader: given['H'] !== undefined,
    sizes: ringSizes(given['C'] as string | undefined),
    copy: (bits & BIT.copy) !== 0,
    update: (bits & BIT.update) !== 0,
    rate: number('R', 0, 0, 1e9, 'packets per second'),
    pcapFile: given['P'] as string | undefined,
    rubbish: chosen('r', BIT.rubbish),
    waitSeconds: number('w', /^vale|[{}]/.test(ifname) ? 0 : 2, 0, 3600, 'seconds to wait'),
    exitOnIdle: given['W'] === true,
    threads,
    cpus,
    affinity: number('a', -1, -1, available - 1, 'as the first CPU'),
    reportMs: number('T', 1000, 10, 3_600_000, 'ms between reports'),
    averages: chosen('A', BIT.averages),
    framing: given['B'] === true,
    rawNumbers: given['N'] === true,
    dump: chosen('X', BIT.dump),
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
  family: 4 | 6;
}

function read(argv: readonly string[]): CommandLine {
  const options: Record<string, { type: 'string' | 'boolean'; short: string; multiple?: boolean }> = {
    l: { type: 'string', short: 'l', multiple: true },
    v: { type: 'boolean', short: 'v', multiple: true },
  };
  for (const name of ['4', '6']) options[name] = { type: 'boolean', short: name };
  for (const name of STRINGS) options[name] = { type: 'string', short: name };
  for (const name of SWITCHES) options[name] = { type: 'boolean', short: name };
  try {
    const { values, tokens } = parseArgs({ args: joinNegative(argv), options, tokens: true });
    const { l, v, ...given } = values as Record<string, unknown>;
    const names = tokens.map((token) => (token.kind === 'option' ? token.name : ''));
    const lastFamily = names.findLast((name) => name === '4' || name === '6');
    return {
      given: given as CommandLine['given'],
      sizes: (l as string[] | undefined) ?? [],
      verbose: (v as unknown[] | undefined)?.length ?? 0,
      family: lastFamily === '6' ? 6 : 4,
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
    if (
      /^-\d/.test(arg) &&
      /^-[a-zA-Z]$/.test(joined.at(-1) ?? '') &&
      STRINGS.includes(joined.at(-1)![1] as never)
    )
      joined.push(joined.pop()! + arg);
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

/** TXSLOTS[,RXSLOTS[,TXRINGS[,RXRINGS]]]: one number is for both directions. */
function ringSizes(text: string | undefined): RingSizes {
  if (text === undefined) return {};
  const fields = text.split(',');
  const counts = fields.map(Number);
  if (fields.length > 4 || !fields.every((field) => /^\d{1,5}$/.test(field)))
    throw new NetmapError(
      'EINVAL',
      `bad -C ${text}: up to four numbers parted by commas are expected, TXSLOTS,RXSLOTS,TXRINGS,RXRINGS`,
    );
  const [txSlots = 0, rxSlots = txSlots, txRings = 0, rxRings = txRings] = counts;
  return { txSlots, rxSlots, txRings, rxRings };
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
