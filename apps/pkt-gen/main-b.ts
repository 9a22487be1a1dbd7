#!/usr/bin/env node
// pkt-gen-b: pkt-gen that never sleeps.

import { run } from './run.ts';

process.exitCode = await run('pkt-gen-b', process.argv.slice(2), true);
