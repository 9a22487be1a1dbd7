// libnetmap's port specifications (spec api §4, apps §9.5), read and written.  Pure: opening the file of
// `@extmem` and asking for the region of `@share` are the caller's work.
//
//   netmap:pipe{1-0/xT@2@conf:slots=512
//   subsys name   │ flag│ options
//                 ring  memory region

import { isDeepStrictEqual } from 'node:util';
import { type ErrnoName, NetmapError } from '../abi/errors.ts';
import {
  NETMAP_REQ_IFNAMSIZ,
  NETMAP_RING_MASK,
  NR_EXCLUSIVE,
  NR_MONITOR_RX,
  NR_MONITOR_TX,
  NR_REG_ALL_NIC,
  NR_REG_NIC_SW,
  NR_REG_ONE_NIC,
  NR_REG_ONE_SW,
  NR_REG_SW,
  NR_RX_RINGS_ONLY,
  NR_TX_RINGS_ONLY,
  NR_ZCOPY_MON,
} from '../abi/netmap.ts';

/** What a port specification asks for. */
export interface PortName {
  /** The name the core knows: `eth0`, `eth0{1`, `vale0:a`.  1 to 63 bytes of UTF-8. */
  name: string;
  /** NR_REG_ALL_NIC, NR_REG_SW, NR_REG_NIC_SW, NR_REG_ONE_NIC or NR_REG_ONE_SW. */
  mode: number;
  /** 0 to 4094; 0 in the modes that select no single ring. */
  ringId: number;
  /** NR_EXCLUSIVE, NR_ZCOPY_MON, NR_MONITOR_TX, NR_MONITOR_RX, NR_RX_RINGS_ONLY, NR_TX_RINGS_ONLY. */
  flags: number;
  /** 1 to 65535; 0 = not given. */
  memId: number;
  options: PortOptions;
}

export interface PortOptions {
  conf: RingConf;
  extmem?: Extmem;
  offset?: Offset;
  /**
   * Ports whose memory to use, as the core names them.  Each one's region must be the one of `memId` and of
   * the others; if not, libnetmap says "cannot set mem_id to A, already set to B" (EINVAL).
   */
  share: string[];
}

/** Where packets start in their buffers: at first and at most, and in how many bits of `ptr` that is said; 0 = all. */
export interface Offset {
  initial: number;
  bits: number;
}

/** What a program must say that it can cope with. */
export interface PortWishes {
  /** Accepts `@offset`: the program looks for packets where their slots say (nmport_enable_option). */
  acceptOffset?: boolean;
}

/** Sizes to ask for: rings 0 to 65535, slots 0 to 4294967295; 0 = the core chooses. */
export interface RingConf {
  txRings: number;
  rxRings: number;
  hostTxRings: number;
  hostRxRings: number;
  txSlots: number;
  rxSlots: number;
}

/** A file to use as memory, and its pools: objects and bytes per object, 0 to 4294967295; 0 = default. */
export interface Extmem {
  file: string;
  ifNum: number;
  ifSize: number;
  ringNum: number;
  ringSize: number;
  bufNum: number;
  bufSize: number;
}

/**
 * Reads a port specification (nmport_parse, spec api §4.1 to §4.3).  The messages are libnetmap's.
 *
 * Different on purpose: a memory region above 65535 and sizes that do not fit their field are refused, where
 * libnetmap cuts off the high bits.
 * @param text with its prefix, `netmap:` or `vale`.
 * @throws NetmapError EINVAL outside the grammar; EOPNOTSUPP for `@offset`, unless it is accepted.
 */
export function parsePortName(text: string, { acceptOffset = false }: PortWishes = {}): PortName {
  if (text.includes('\0')) throw einval(`${JSON.stringify(text)}: invalid NUL character`);
  const { name, rest } = decodeHeader(text);
  const port: PortName = {
    name,
    mode: NR_REG_ALL_NIC,
    ringId: 0,
    flags: 0,
    memId: 0,
    options: {
      conf: { txRings: 0, rxRings: 0, hostTxRings: 0, hostRxRings: 0, txSlots: 0, rxSlots: 0 },
      share: [],
    },
  };
  decodeOptions(port, decodeMode(port, rest), acceptOffset);
  return port;
}

/**
 * Writes a port specification: `parsePortName(formatPortName(port))` equals `port`.
 * @throws NetmapError EINVAL for what the grammar has no words for, such as a `-` in the name.
 */
export function formatPortName(port: PortName): string {
  const text = formatHeader(port.name) + formatMode(port) + formatOptions(port.options);
  // Reading it back finds everything the grammar cannot say without a second list of its rules.
  if (!isDeepStrictEqual(parsePortName(text, { acceptOffset: true }), port)) {
    throw einval(`Cannot write port "${port.name}" as text: "${text}" means something else`);
  }
  return text;
}

// ---- The name -------------------------------------------------------------------------------------------

const IDENTIFIER = /^[A-Za-z0-9_]*$/;

/** Splits `text` where the name ends; `name` is what the core gets (nmreq_header_decode). */
function decodeHeader(text: string): { name: string; rest: string } {
  const prefix = ['netmap', 'vale'].find((subsystem) => text.startsWith(subsystem));
  if (prefix === undefined) throw einval(`${text}: invalid request, prefix unknown or missing`);
  const colon = text.indexOf(':');
  if (colon < 0) throw einval(`${text}: missing ':'`);
  const identifier = text.slice(prefix.length, colon);
  if (prefix === 'netmap' && identifier !== '') {
    throw einval(`${text}: no identifier allowed between 'netmap' and ':'`);
  }
  if (!IDENTIFIER.test(identifier)) throw einval(`${text}: invalid identifier '${identifier}'`);

  const end = colon + 1 + text.slice(colon + 1).search(/[-*^/@]|$/);
  const [, pipe] = /[{}](.*)/s.exec(text.slice(colon + 1, end)) ?? [];
  if (pipe === '') throw einval(`${text}: invalid empty pipe name`);
  if (pipe !== undefined && !IDENTIFIER.test(pipe)) throw einval(`${text}: invalid pipe name '${pipe}'`);

  const name = text.slice(prefix === 'vale' ? 0 : colon + 1, end);
  if (Buffer.byteLength(name) >= NETMAP_REQ_IFNAMSIZ) throw einval(`name '${name}' too long`);
  if (name === '') throw einval(`${text}: invalid empty port name`);
  return { name, rest: text.slice(end) };
}

function formatHeader(name: string): string {
  return /^vale\w*:/.test(name) ? name : `netmap:${name}`;
}

// ---- Mode, flags and memory region: the state machine of spec apps §9.5.3 -------------------------------

type ModeState = 'START' | 'ONESW' | 'NUM' | 'SUFFIX' | 'FLAGS' | 'FLAGSOK' | 'MEM';

/** The next state, and how many characters of `rest` are used up. */
type Move = readonly [next: ModeState | 'OPTIONS', taken: number];

interface ModeRow {
  step: (port: PortName, rest: string) => Move;
  /** The text may not end here. */
  incomplete?: true;
}

const MODE_STATES: Readonly<Record<ModeState, ModeRow>> = {
  START: { step: readSelector },
  ONESW: { step: readHostRing },
  NUM: { step: readRing, incomplete: true },
  SUFFIX: { step: (_port, rest) => readTrailer(rest, 'unexpected character') },
  FLAGS: { step: readFlag, incomplete: true },
  FLAGSOK: { step: readFlag },
  MEM: { step: readMemId },
};

const SELECTORS = new Map<string, { mode: number; next: ModeState }>([
  ['^', { mode: NR_REG_SW, next: 'ONESW' }],
  ['*', { mode: NR_REG_NIC_SW, next: 'SUFFIX' }],
  ['-', { mode: NR_REG_ONE_NIC, next: 'NUM' }],
]);

const FLAGS = new Map<string, number>([
  ['x', NR_EXCLUSIVE],
  ['z', NR_ZCOPY_MON],
  ['t', NR_MONITOR_TX],
  ['r', NR_MONITOR_RX],
  ['R', NR_RX_RINGS_ONLY],
  ['T', NR_TX_RINGS_ONLY],
]);

const MAX_MEM_ID = 0xffff;

/** Fills in mode, ringId, flags and memId; returns the option text (nmreq_register_decode). */
function decodeMode(port: PortName, text: string): string {
  let rest = text;
  let state: ModeState = 'START';
  while (rest !== '') {
    const move: Move = MODE_STATES[state].step(port, rest);
    const [next, taken] = move;
    if (next === 'OPTIONS') return rest;
    state = next;
    rest = rest.slice(taken);
  }
  if (MODE_STATES[state].incomplete) throw einval('unexpected end of request');
  return '';
}

function readSelector(port: PortName, rest: string): Move {
  const selector = SELECTORS.get(rest[0]!);
  if (selector === undefined) return readTrailer(rest, 'unknown modifier');
  port.mode = selector.mode;
  return [selector.next, 1];
}

function readHostRing(port: PortName, rest: string): Move {
  if (leadingDigits(rest) === '') return ['SUFFIX', 0];
  port.mode = NR_REG_ONE_SW;
  return ['NUM', 0];
}

function readRing(port: PortName, rest: string): Move {
  const digits = leadingDigits(rest);
  if (digits === '') throw einval(`got '${rest}' while expecting a number`);
  if (Number(digits) >= NETMAP_RING_MASK) {
    throw einval(`'${digits}' out of range [0, ${NETMAP_RING_MASK})`);
  }
  port.ringId = Number(digits);
  return ['SUFFIX', digits.length];
}

function readTrailer(rest: string, refusal: string): Move {
  if (rest.startsWith('/')) return ['FLAGS', 1];
  if (rest.startsWith('@')) return ['MEM', 0];
  throw einval(`${refusal}: '${firstCharacter(rest)}'`);
}

function readFlag(port: PortName, rest: string): Move {
  if (rest.startsWith('@')) return ['MEM', 0];
  const flag = FLAGS.get(rest[0]!);
  if (flag === undefined) throw einval(`unrecognized flag: '${firstCharacter(rest)}'`);
  port.flags |= flag;
  return ['FLAGSOK', 1];
}

/** `rest` still has its `@`, because that belongs to the options if no number follows. */
function readMemId(port: PortName, rest: string): Move {
  if (rest === '@') throw einval('invalid empty mem_id');
  const digits = leadingDigits(rest.slice(1));
  if (digits === '') return ['OPTIONS', 0];
  const memId = Number(digits);
  if (memId === 0) throw einval(`invalid mem_id: '${digits}'`);
  if (memId > MAX_MEM_ID) throw einval(`invalid mem_id: '${digits}', the largest is ${MAX_MEM_ID}`);
  if (port.memId !== 0 && port.memId !== memId) {
    throw einval(`invalid setting of mem_id to ${memId} (already set to ${port.memId})`);
  }
  port.memId = memId;
  return ['SUFFIX', 1 + digits.length];
}

function formatMode({ mode, ringId, flags, memId }: PortName): string {
  let text = '';
  if (mode === NR_REG_ONE_SW) {
    text = `^${ringId}`;
  } else {
    for (const [char, selector] of SELECTORS) if (selector.mode === mode) text = char;
    if (mode === NR_REG_ONE_NIC) text += ringId;
  }
  const letters = [...FLAGS].filter(([, flag]) => (flags & flag) !== 0).map(([letter]) => letter);
  if (letters.length > 0) text += `/${letters.join('')}`;
  if (memId !== 0) text += `@${memId}`;
  return text;
}

// ---- Options (spec apps §9.5.4) -------------------------------------------------------------------------

/** The keys given, in their spelling with `-`; those with an empty value are left out. */
type Values = ReadonlyMap<string, string>;

interface OptionRow {
  keys: readonly string[];
  /** Must be given, and is meant where a bare `=value` follows the option. */
  mainKey?: string;
  apply: (port: PortName, values: Values) => void;
}

const OPTIONS = new Map<string, OptionRow>();

const MAX_U16 = 0xffff;
const MAX_U32 = 0xffff_ffff;

// General keys first, so that the specific ones override them whatever the order in the text.
const CONF_KEYS: readonly { key: string; fields: readonly (keyof RingConf)[]; max: number }[] = [
  { key: 'rings', fields: ['txRings', 'rxRings'], max: MAX_U16 },
  { key: 'host-rings', fields: ['hostTxRings', 'hostRxRings'], max: MAX_U16 },
  { key: 'slots', fields: ['txSlots', 'rxSlots'], max: MAX_U32 },
  { key: 'tx-rings', fields: ['txRings'], max: MAX_U16 },
  { key: 'rx-rings', fields: ['rxRings'], max: MAX_U16 },
  { key: 'host-tx-rings', fields: ['hostTxRings'], max: MAX_U16 },
  { key: 'host-rx-rings', fields: ['hostRxRings'], max: MAX_U16 },
  { key: 'tx-slots', fields: ['txSlots'], max: MAX_U32 },
  { key: 'rx-slots', fields: ['rxSlots'], max: MAX_U32 },
];

OPTIONS.set('conf', {
  keys: CONF_KEYS.map(({ key }) => key),
  apply: ({ options }, values) => {
    for (const { key, fields, max } of CONF_KEYS) {
      const value = values.get(key);
      if (value !== undefined)
        for (const field of fields) options.conf[field] = toCount('conf', key, value, max);
    }
  },
});

const EXTMEM_SIZES = [
  ['if-num', 'ifNum'],
  ['if-size', 'ifSize'],
  ['ring-num', 'ringNum'],
  ['ring-size', 'ringSize'],
  ['buf-num', 'bufNum'],
  ['buf-size', 'bufSize'],
] as const;

OPTIONS.set('extmem', {
  keys: ['file', ...EXTMEM_SIZES.map(([key]) => key)],
  mainKey: 'file',
  apply: ({ name, options }, values) => {
    if (options.extmem !== undefined) throw einval(`${name}: extmem already in use`);
    const file = values.get('file')!;
    const extmem = { file, ifNum: 0, ifSize: 0, ringNum: 0, ringSize: 0, bufNum: 0, bufSize: 0 };
    for (const [key, field] of EXTMEM_SIZES) {
      extmem[field] = toCount('extmem', key, values.get(key) ?? '', MAX_U32);
    }
    options.extmem = extmem;
  },
});

OPTIONS.set('share', {
  keys: ['port'],
  mainKey: 'port',
  apply: ({ options }, values) => {
    options.share.push(decodeHeader(values.get('port')!).name); // As in libnetmap, what follows the name is ignored.
  },
});

OPTIONS.set('offset', {
  keys: ['initial', 'bits'],
  mainKey: 'initial',
  apply: ({ options }, values) => {
    options.offset = {
      initial: toCount('offset', 'initial', values.get('initial')!, MAX_U32),
      bits: toCount('offset', 'bits', values.get('bits') ?? '', MAX_U32),
    };
  },
});

/** Reads `@option` as often as it comes (nmreq_options_decode). */
function decodeOptions(port: PortName, text: string, acceptOffset: boolean): void {
  for (const option of text.split('@').slice(1)) {
    if (option === '') throw einval('invalid empty option');
    const nameEnd = option.search(/[:=]|$/);
    const name = option.slice(0, nameEnd);
    const row = OPTIONS.get(name);
    if (row === undefined) throw einval(`unknown option: '${name}'`);
    if (name === 'offset' && !acceptOffset) throw refused('EOPNOTSUPP', `option '${name}' is not supported`);
    const values = decodeBody(name, row, option.slice(nameEnd));
    if (row.mainKey !== undefined && !values.has(row.mainKey)) {
      throw einval(`option '${name}': mandatory key '${row.mainKey}' not assigned`);
    }
    row.apply(port, values);
  }
}

/** @param body from the `:` or `=` on. */
function decodeBody(name: string, row: OptionRow, body: string): Values {
  if (body === '') throw einval(`syntax error: missing body after '${name}'`);
  const content = body.slice(1);
  if (body.startsWith(':')) return decodeKeys(name, row, content);
  if (row.mainKey === undefined) throw einval(`syntax error: '=' not valid after '${name}'`);
  if (content === '') throw einval(`missing value for option '${name}'`);
  return new Map([[row.mainKey, content]]);
}

function decodeKeys(name: string, row: OptionRow, content: string): Values {
  const values = new Map<string, string>();
  if (content === '') return values;
  for (const assignment of content.split(',')) {
    const equals = assignment.indexOf('=');
    const spelling = equals < 0 ? assignment : assignment.slice(0, equals);
    const key = spelling.replaceAll('_', '-');
    if (!row.keys.includes(key)) throw einval(`unknown key: '${spelling}'`);
    const earlier = values.get(key);
    if (earlier !== undefined) {
      throw einval(`option '${name}': duplicate key '${spelling}', already set to '${earlier}'`);
    }
    if (equals < 0) throw einval(`option '${name}': missing '=value' for key '${spelling}'`);
    const value = assignment.slice(equals + 1);
    if (value !== '') values.set(key, value);
  }
  return values;
}

function formatOptions({ conf, extmem, offset, share }: PortOptions): string {
  let text = '';
  const sizes: string[] = [];
  for (const { key, fields } of CONF_KEYS) {
    const [field, another] = fields;
    if (another === undefined && conf[field!] !== 0) sizes.push(`${key}=${conf[field!]}`);
  }
  if (sizes.length > 0) text += `@conf:${sizes.join(',')}`;
  if (extmem !== undefined) text += formatExtmem(extmem);
  if (offset) text += `@offset:initial=${offset.initial}${offset.bits ? `,bits=${offset.bits}` : ''}`;
  for (const name of share) text += `@share=${formatHeader(name)}`;
  return text;
}

/** Without sizes in the short form, where a file name may have commas. */
function formatExtmem(extmem: Extmem): string {
  const given = EXTMEM_SIZES.filter(([, field]) => extmem[field] !== 0);
  if (given.length === 0) return `@extmem=${extmem.file}`;
  return `@extmem:file=${extmem.file},${given.map(([key, field]) => `${key}=${extmem[field]}`).join(',')}`;
}

// ---- Characters and numbers -----------------------------------------------------------------------------

function leadingDigits(text: string): string {
  return /^\d*/.exec(text)![0];
}

function firstCharacter(text: string): string {
  return String.fromCodePoint(text.codePointAt(0)!);
}

/** C's atoi: blanks, a sign, digits; the rest is ignored, and anything else is 0. */
function toCount(option: string, key: string, value: string, max: number): number {
  const count = Number(/^[ \t-\r]*([+-]?\d+)/.exec(value)?.[1] ?? 0);
  if (count < 0 || count > max) {
    throw einval(`option '${option}': value '${value}' of key '${key}' out of range [0, ${max}]`);
  }
  return count + 0; // No -0.
}

function einval(message: string): NetmapError {
  return refused('EINVAL', message);
}

function refused(code: ErrnoName, message: string): NetmapError {
  return new NetmapError(code, message);
}
