// Runs every test with node's own runner, one file after the other: they measure waits and kill processes,
// and two cores are few.  Arguments narrow it down: `node build/js/scripts/test.js conformance`.

import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const BUILD = fileURLToPath(new URL('..', import.meta.url));

const wanted = process.argv.slice(2);
const files = fs
  .readdirSync(BUILD, { recursive: true, encoding: 'utf8' })
  .filter((file) => file.endsWith('.test.js') && wanted.every((part) => file.includes(part)))
  .sort()
  .map((file) => path.join(BUILD, file));

const { status } = spawnSync(
  process.execPath,
  ['--test', '--test-concurrency=1', '--test-reporter=spec', ...files],
  { stdio: 'inherit' },
);
process.exitCode = status ?? 1;
