#!/usr/bin/env node
import { run } from './run.ts';

process.exitCode = await run('pkt-gen', process.argv.slice(2), false);
