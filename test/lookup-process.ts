// A hub in a process of its own, for tests to kill.

import { hub } from '../examples/lookup/batch.ts';
import { openLookup } from '../src/client/index.ts';

const lookup = await openLookup(process.argv[2]!, hub, { label: 'hub' });
process.send!('open');
await lookup.run();
