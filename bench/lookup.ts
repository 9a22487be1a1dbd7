// A switch's own lookup beside the learning table: in WebAssembly, in one thread; as a TypeScript function, in a
// process of its own between the sender's and the receiver's.
//
// This file is also what that process runs: `lookup.js decide SWITCH`.

import { fork } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import { fileURLToPath } from 'node:url';
import { hub } from '../examples/lookup/batch.ts';
import { clearLookup, locatePort, open, openLookup, setLookup } from '../src/client/index.ts';
import type { Case } from './cases.ts';
import { introduce, Receiver, Sender } from './traffic.ts';
import { measureTwoProcesses } from './two-processes.ts';

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

/** Per example: nanoseconds per packet, and by how much that is more than with the learning table; medians. */
export async function measureLookupCost(ms: number, rounds: number): Promise<[string, number, number][]> {
  const from = await open(`${SWITCH}:s`);
  const to = await open(`${SWITCH}:r`);
  const sender = new Sender(from, LOOKUP_CASE);
  const receiver = new Receiver(to, LOOKUP_CASE);
  const { port } = await locatePort(`${SWITCH}:r`);
  const run = (window: number) => {
    let sent = 0;
    const start = performance.now();
    let end = start;
    do {
      for (let i = 0; i < 64; i++) {
        sent += sender.burst(LOOKUP_CASE.burst);
        receiver.burst();
      }
      end = performance.now();
    } while (end - start < window);
    return ((end - start) * 1e6) / sent;
  };
  const measure = () => {
    run(ms / 2); // Warm after this.
    return run(ms);
  };
  const results: [string, number, number][] = [];
  for (const [name, text] of [
    ['hub', ''],
    ['static-table', `02:00:00:00:00:02 ${port}`],
    ['acl', '6 23'],
    ['balance', `${port}`],
  ] as const) {
    const code = fs.readFileSync(new URL(`../../lookup/${name}.wasm`, import.meta.url));
    const config = new TextEncoder().encode(text);
    const times: number[] = [];
    const costs: number[] = [];
    for (let round = 0; round <= rounds; round++) {
      introduce(to);
      const learned = measure();
      await setLookup(SWITCH, code, { config });
      const own = measure();
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

/** Nanoseconds per packet received, the function deciding in a third process. */
export async function measureBatchLookup(work: Case, ms: number): Promise<number> {
  const decider = fork(SELF, ['decide', 'valebench2']);
  await once(decider, 'message');
  try {
    return await measureTwoProcesses(work, ms);
  } finally {
    const ended = once(decider, 'exit');
    decider.kill('SIGKILL');
    await ended;
  }
}

const [role, switchName] = process.argv[1] === SELF ? process.argv.slice(2) : [];
if (role === 'decide') {
  const lookup = await openLookup(switchName!, hub, { label: 'bench' });
  process.send!('open');
  for (;;) lookup.turn();
}
