// The benchmark itself, with tiny parameters: that it runs, and writes what it promises.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { ROOT, run } from '../test/harness.ts';
import { nicNames, whyNoNics } from './nic.ts';

test('make bench measures every kind of case and writes its results', async () => {
  const file = path.join(fs.mkdtempSync(path.join(os.tmpdir(), 'netmap-bench-test-')), 'results.json');
  try {
    const main = path.join(ROOT, 'build/js/bench/main.js');
    const args = [main, '-m', '2', '-r', '1', '-s', '60', '-b', '256', '-o', file];
    const { code, stdout, stderr } = await run(process.execPath, args);
    assert.equal(code, 0, stderr);
    const results = JSON.parse(fs.readFileSync(file, 'utf8')) as Record<string, unknown>[];
    const names = new Set(results.map((result) => result['case']));
    for (const name of [
      'vale unicast',
      'vale broadcast to 16',
      'pipe',
      'pkt-gen vale',
      'pkt-gen pipe',
      'vale broadcast, isolated',
      'vale, TypeScript lookup',
      'vale, WebAssembly hub',
      ...(whyNoNics() === undefined ? nicNames() : []),
    ])
      assert.ok(names.has(name), `${name} in ${stdout}`);
    for (const result of results) {
      assert.ok((result['nsPerPacket'] as number) > 0, JSON.stringify(result));
      assert.equal(typeof result['commit'], 'string');
    }
  } finally {
    fs.rmSync(path.dirname(file), { recursive: true, force: true });
  }
});
