// Ranges of addresses and ports that frames step through (spec apps §1.6): LO[:PORT][-HI[:PORT]].  Of an IPv6 address
// one group of 16 bits is counted: [G@]ADDRESS, or [G@][ADDRESS]:PORT.

import { isIPv6, SocketAddress } from 'node:net';
import { type Digit, NetmapError } from '../../src/client/index.ts';

const DEFAULT_PORT = 1234;
const LAST_GROUP = 7;

export interface Range {
  /** The lowest address, 4 or 16 bytes. */
  start: Uint8Array;
  /** What is counted: all of an IPv4 address, or the group of that number of an IPv6 address. */
  address: Digit;
  group: number | undefined;
  port: Digit;
}

interface End {
  bytes: Uint8Array;
  group: number | undefined;
  port: number | undefined;
}

/** @throws NetmapError EINVAL for what is no address or port. */
export function parseRange(text: string, family: 4 | 6 = 4): Range {
  const parse = family === 4 ? parseIpv4 : parseIpv6;
  const [first = '', last, ...rest] = text.split('-');
  if (rest.length > 0) throw wrong(text, family, 'a range has one "-"');
  const refuse = (why: string) => wrong(text, family, why);
  const start = parse(first, refuse);
  const end = last === undefined ? start : parse(last, refuse);
  const group = family === 4 ? undefined : (start.group ?? LAST_GROUP);
  if (end.group !== undefined && end.group !== group) throw refuse('both of its ends count the same group');
  const startPort = start.port ?? DEFAULT_PORT;
  const endPort = end.port ?? (last === undefined ? startPort : DEFAULT_PORT);
  const address = ordered(counted(start.bytes, group), counted(end.bytes, group));
  return {
    start: withCounted(start.bytes, group, address.low),
    address,
    group,
    port: ordered(startPort, endPort),
  };
}

/** `10.0.0.1:1234 to 10.0.0.3:1240`, or `7@[fd00::1]:1234 to 7@[fd00::9]:1234`. */
export function describeRange({ start, address, group, port }: Range): string {
  const end = (value: number, endPort: number) =>
    group === undefined
      ? `${formatIpv4(value)}:${endPort}`
      : `${group}@[${formatIpv6(withCounted(start, group, value))}]:${endPort}`;
  return `${end(address.low, port.low)} to ${end(address.high, port.high)}`;
}

export function isSingle({ address, port }: Range): boolean {
  return address.low === address.high && port.low === port.high;
}

/** Where in an address the counted part is, and how many 16-bit words it has. */
export function countedPart({ group }: Range): { at: number; words: 1 | 2 } {
  return group === undefined ? { at: 0, words: 2 } : { at: 2 * group, words: 1 };
}

function ordered(a: number, b: number): Digit {
  return { low: Math.min(a, b), high: Math.max(a, b) };
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset);
}

function counted(bytes: Uint8Array, group: number | undefined): number {
  return group === undefined ? viewOf(bytes).getUint32(0) : viewOf(bytes).getUint16(2 * group);
}

function withCounted(bytes: Uint8Array, group: number | undefined, value: number): Uint8Array {
  const copy = bytes.slice();
  if (group === undefined) viewOf(copy).setUint32(0, value);
  else viewOf(copy).setUint16(2 * group, value);
  return copy;
}

function formatIpv4(address: number): string {
  return [24, 16, 8, 0].map((shift) => (address >>> shift) & 0xff).join('.');
}

function formatIpv6(bytes: Uint8Array): string {
  const groups = Array.from({ length: 8 }, (_, i) => counted(bytes, i).toString(16));
  return new SocketAddress({ address: groups.join(':'), family: 'ipv6' }).address;
}

type Refuse = (why: string) => NetmapError;

function parseIpv4(end: string, refuse: Refuse): End {
  const match = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})(?::(\w+))?$/.exec(end);
  const bytes = match?.slice(1, 5).map(Number);
  if (!match || !bytes?.every((byte) => byte <= 255))
    throw refuse(`"${end}" is no IPv4 address with an optional port`);
  return { bytes: Uint8Array.from(bytes), group: undefined, port: parsePort(match[5], refuse) };
}

function parseIpv6(end: string, refuse: Refuse): End {
  const match = /^(?:(\d+)@)?(?:\[([^[\]]+)\](?::(\w+))?|([^[\]]+))$/.exec(end);
  const address = match?.[2] ?? match?.[4] ?? '';
  if (!match || !isIPv6(address) || address.includes('%'))
    throw refuse(`"${end}" is no IPv6 address, in brackets if a port follows`);
  const group = match[1] === undefined ? undefined : Math.min(Number(match[1]), LAST_GROUP);
  return { bytes: ipv6Bytes(address), group, port: parsePort(match[3], refuse) };
}

/** Of what isIPv6() takes for an address. */
function ipv6Bytes(address: string): Uint8Array {
  const groupsOf = (half: string) =>
    half
      .split(':')
      .filter((group) => group !== '')
      .flatMap((group) => {
        if (!group.includes('.')) return [Number.parseInt(group, 16)];
        const [a, b, c, d] = group.split('.').map(Number) as [number, number, number, number];
        return [a * 256 + b, c * 256 + d];
      });
  const [head = '', tail] = address.split('::');
  const front = groupsOf(head);
  const back = tail === undefined ? [] : groupsOf(tail);
  const groups = [...front, ...Array<number>(8 - front.length - back.length).fill(0), ...back];
  return Uint8Array.from(groups.flatMap((group) => [group >> 8, group & 0xff]));
}

/** Decimal or 0x. */
function parsePort(text: string | undefined, refuse: Refuse): number | undefined {
  if (text === undefined) return undefined;
  const port = /^(\d{1,5}|0x[0-9a-fA-F]{1,4})$/.test(text) ? Number(text) : Number.NaN;
  if (!(port <= 0xffff)) throw refuse(`port ${text} is none of 0 to 65535`);
  return port;
}

function wrong(text: string, family: 4 | 6, why: string): NetmapError {
  const examples =
    family === 4
      ? '10.0.0.1, 10.0.0.1:2000 or 10.0.0.1:2000-10.0.0.9:2010'
      : 'fd00::1, [fd00::1]:2000 or 7@[fd00::1]:2000-[fd00::9]:2010';
  return new NetmapError('EINVAL', `invalid address range '${text}': ${why}; write ${examples}`);
}
