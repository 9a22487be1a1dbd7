// What is measured.  `broadcast` etc. are the C reference's words too.

export interface Case {
  kind: 'vale' | 'pipe';
  /** unicast, unknown, broadcast, full-unicast, full-broadcast; pipe: plain or touched payload. */
  traffic: string;
  receivers: number;
  size: number;
  burst: number;
  processes: 1 | 2;
}

export const SIZES = [60, 512, 1500];
export const BURSTS = [1, 16, 64, 256, 511];

const VALE: readonly (readonly [string, number])[] = [
  ['unicast', 1],
  ['unknown', 1],
  ['broadcast', 1],
  ['broadcast', 2],
  ['broadcast', 4],
  ['broadcast', 8],
  ['broadcast', 16],
  ['full-unicast', 1],
  ['full-broadcast', 1],
];

export function allCases(): Case[] {
  const cases: Case[] = [];
  for (const size of SIZES) {
    for (const burst of BURSTS) {
      for (const [traffic, receivers] of VALE)
        cases.push({ kind: 'vale', traffic, receivers, size, burst, processes: 1 });
      for (const traffic of ['plain', 'touch'])
        cases.push({ kind: 'pipe', traffic, receivers: 1, size, burst, processes: 1 });
      for (const traffic of ['unicast', 'broadcast'])
        cases.push({ kind: 'vale', traffic, receivers: 1, size, burst, processes: 2 });
      for (const traffic of ['plain', 'touch'])
        cases.push({ kind: 'pipe', traffic, receivers: 1, size, burst, processes: 2 });
    }
  }
  return cases;
}

/** As it appears in tables and in latest.json. */
export function nameOf({ kind, traffic, receivers }: Case): string {
  return kind === 'vale'
    ? `vale ${traffic}${receivers > 1 ? ` to ${receivers}` : ''}`
    : `pipe${traffic === 'touch' ? ' touching the payload' : ''}`;
}

/** Arguments of the C reference for the same case. */
export function referenceArgs(
  { kind, traffic, receivers, size, burst, processes }: Case,
  ms: number,
): string[] {
  const rest = [size, burst, ms].map(String);
  const touch = traffic === 'touch' ? '1' : '0';
  if (kind === 'pipe') return [processes === 2 ? 'pipe2' : 'pipe', ...rest, touch];
  return processes === 2 ? ['vale2', traffic, ...rest] : ['vale', traffic, String(receivers), ...rest];
}
