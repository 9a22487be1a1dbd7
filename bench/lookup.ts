// A switch's own lookup beside the learning table: in WebAssembly and as a TypeScript function in one thread, which
// sends, decides and receives in turn; and as a function in a process of its own, while this one sends and receives.
//
// This file is also what that process runs: `lookup.js decide SWITCH`.

import { fork } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import { fileURLToPath } from 'node:url';
import * as examples from '../examples/lookup/batch.ts';
import {
  clearLookup,
  type LookupFunction,
  locatePort,
  open,
  openLookup,
  poll,
  setLookup,
} from '../src/client/index.ts';
import type { Case } from './cases.ts';
import { introduce, Receiver, Sender } from './traffic.ts';

const SELF = fileURLToPath(import.meta.url);
const SWITCH = 'valebench3';

export const LOOKUP_CASE: Case = {
  kind: 'vale',
  traffic: 'unicast',
  receivers: 1,
  size: 60,
  burst: 256,
  processes: 1,
};
export const BATCH_CASE: Case = { ...LOOKUP_CASE, processes: 2 };

/** Packets between a sender and a receiver: less than their rings and the lookup's hold, so that none is lost. */
const WINDOW = 768;

/** Per example: its name, nanoseconds per packet, and by how much that is more than with the learning table; medians. */
export async function measureLookupCost(ms: number, rounds: number): Promise<[string, number, number][]> {
  const from = await open(`${SWITCH}:s`);
  const to = await open(`${SWITCH}:r`);
  const sender = new Sender(from, LOOKUP_CASE);
  const receiver = new Receiver(to, LOOKUP_CASE);
  const { port } = await locatePort(`${SWITCH}:r`);
  const measure = (turn: () => void) => {
    exchange(sender, receiver, ms / 2, turn); // Warm after this.
    return exchange(sender, receiver, ms, turn);
  };
  const inWebAssembly = (name: string, text: string) => async () => {
    const code = fs.readFileSync(new URL(`../../lookup/${name}.wasm`, import.meta.url));
    await setLookup(SWITCH, code, { config: new TextEncoder().encode(text) });
    return { turn: () => {}, close: async () => {} };
  };
  const inTypeScript = (decide: LookupFunction) => async () => {
    const lookup = await openLookup(SWITCH, decide);
    return { turn: () => void lookup.turn(0), close: () => lookup.close() };
  };
  const table = `02:00:00:00:00:02 ${port}`;
  const results: [string, number, number][] = [];
  for (const [name, start] of [
    ['WebAssembly hub', inWebAssembly('hub', '')],
    ['WebAssembly static-table', inWebAssembly('static-table', table)],
    ['WebAssembly acl', inWebAssembly('acl', '6 23')],
    ['WebAssembly balance', inWebAssembly('balance', `${port}`)],
    ['TypeScript hub', inTypeScript(examples.hub)],
    ['TypeScript static-table', inTypeScript(examples.staticTable(table))],
    ['TypeScript acl', inTypeScript(examples.acl('6 23'))],
  ] as const) {
    const times: number[] = [];
    const costs: number[] = [];
    for (let round = 0; round <= rounds; round++) {
      introduce(to);
      const learned = measure(() => {});
      const lookup = await start();
      const own = measure(lookup.turn);
      await lookup.close();
      await clearLookup(SWITCH);
      if (round === 0) continue; // The engine optimises meanwhile.
      times.push(own);
      costs.push(own - learned);
    }
    const median = (values: number[]) => values.sort((a, b) => a - b)[values.length >> 1]!;
    results.push([name, median(times), median(costs)]);
  }
  await from.close();
  await to.close();
  return results;
}

/** Nanoseconds per packet received, `turn` deciding after each burst; `full`: nothing more may be sent now. */
function exchange(sender: Sender, receiver: Receiver, ms: number, turn: (full: boolean) => void): number {
  const { totals } = receiver;
  const before = totals.packets;
  let ahead = 0;
  const start = performance.now();
  let end = start;
  do {
    for (let i = 0; i < 64; i++) {
      if (ahead + LOOKUP_CASE.burst <= WINDOW) ahead += sender.burst(LOOKUP_CASE.burst);
      turn(ahead + LOOKUP_CASE.burst > WINDOW);
      ahead -= receiver.burst();
    }
    end = performance.now();
  } while (end - start < ms || totals.packets === before);
  const received = totals.packets - before;
  while (ahead > 0 && performance.now() - end < 100) {
    turn(true);
    ahead -= receiver.burst(); // So that the next one starts with nothing on its way.
  }
  return ((end - start) * 1e6) / received;
}

/** Nanoseconds per packet that comes back to this process, the function deciding in another. */
export async function measureBatchLookup(_: Case, ms: number): Promise<number> {
  const from = await open(`${SWITCH}:s`);
  const to = await open(`${SWITCH}:r`);
  const decider = fork(SELF, ['decide', SWITCH]);
  const ended = once(decider, 'exit');
  try {
    await once(decider, 'message');
    const sender = new Sender(from, BATCH_CASE);
    const receiver = new Receiver(to, BATCH_CASE);
    // Whoever has nothing to do sleeps: there may be no core to spare.
    const wait = (full: boolean) => {
      if (full) poll([{ port: to, events: 'in' }], 1);
    };
    exchange(sender, receiver, ms / 2, wait);
    return exchange(sender, receiver, ms, wait);
  } finally {
    decider.kill('SIGKILL');
    await ended;
    await clearLookup(SWITCH);
    await from.close();
    await to.close();
  }
}

const [role, switchName] = process.argv[1] === SELF ? process.argv.slice(2) : [];
if (role === 'decide') {
  const lookup = await openLookup(switchName!, examples.hub, { label: 'bench' });
  process.send!('open');
  for (;;) lookup.turn();
}
