// A lookup in a process of its own, for tests to kill: `lookup-process.js SWITCH [hub|loop]`, the latter deciding for
// ever once it has said that it has something to decide about.

import fs from 'node:fs';
import { hub } from '../examples/lookup/batch.ts';
import { openLookup } from '../src/client/index.ts';

const [switchName, how = 'hub'] = process.argv.slice(2);

function loop(): void {
  fs.writeSync(1, 'looping');
  for (;;);
}

const lookup = await openLookup(switchName!, how === 'loop' ? loop : hub, { label: how });
process.send!('open');
await lookup.run();
