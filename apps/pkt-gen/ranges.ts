// Ranges of addresses and ports that frames step through (spec apps §1.6): LO[:PORT][-HI[:PORT]].

import { type Digit, NetmapError } from '../../src/client/index.ts';

const DEFAULT_PORT = 1234;

export interface Range {
  address: Digit;
  port: Digit;
}

/** @throws NetmapError EINVAL for what is no IPv4 address or port. */
export function parseRange(text: string): Range {
  const [first = '', last, ...rest] = text.split('-');
  if (rest.length > 0) throw wrong(text, 'a range has one "-"');
  const start = parseEnd(text, first);
  const end = last === undefined ? start : parseEnd(text, last);
  const startPort = start.port ?? DEFAULT_PORT;
  const endPort = end.port ?? (last === undefined ? startPort : DEFAULT_PORT);
  return { address: ordered(start.address, end.address), port: ordered(startPort, endPort) };
}

/** `10.0.0.1:1234 to 10.0.0.3:1240` */
export function describeRange({ address, port }: Range): string {
  return `${formatAddress(address.low)}:${port.low} to ${formatAddress(address.high)}:${port.high}`;
}

export function isSingle({ address, port }: Range): boolean {
  return address.low === address.high && port.low === port.high;
}

export function formatAddress(address: number): string {
  return [24, 16, 8, 0].map((shift) => (address >>> shift) & 0xff).join('.');
}

function ordered(a: number, b: number): Digit {
  return { low: Math.min(a, b), high: Math.max(a, b) };
}

function parseEnd(text: string, end: string): { address: number; port: number | undefined } {
  const match = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})(?::(\d{1,5}|0x[0-9a-fA-F]{1,4}))?$/.exec(end);
  const bytes = match?.slice(1, 5).map(Number);
  if (!match || !bytes?.every((byte) => byte <= 255))
    throw wrong(text, `"${end}" is no IPv4 address with an optional port`);
  const port = match[5] === undefined ? undefined : Number(match[5]);
  if (port !== undefined && port > 0xffff) throw wrong(text, `port ${port} is beyond 65535`);
  return { address: bytes.reduce((sum, byte) => sum * 256 + byte, 0), port };
}

function wrong(text: string, why: string): NetmapError {
  return new NetmapError(
    'EINVAL',
    `invalid address range '${text}': ${why}; write 10.0.0.1, 10.0.0.1:2000 or 10.0.0.1:2000-10.0.0.9:2010`,
  );
}
