// Objective: every program starts from cmd and PowerShell as it does from a shell.
// Operations: the launchers of both kinds are compared; `make test-windows` starts what they name.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { ROOT } from '../harness.ts';

test('each launcher has a .cmd beside it, for the same program', () => {
  const bin = path.join(ROOT, 'bin');
  const names = fs.readdirSync(bin).filter((name) => !name.endsWith('.cmd'));
  for (const name of names) {
    const [, main] = /(build\/js\/\S+\.js)/.exec(fs.readFileSync(path.join(bin, name), 'utf8'))!;
    const text = fs.readFileSync(path.join(bin, `${name}.cmd`), 'latin1');
    assert.ok(text.includes(`\\${main!.replaceAll('/', '\\')}"\r\n`), name);
    assert.doesNotMatch(text, /[^\r]\n/, name);
  }
});
