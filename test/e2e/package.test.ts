// Objective: what npm installs works: the programs, the library, and nothing that is only for us.
// Operations: the package is packed, unpacked beside its dependencies, and used from there.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { ownModule, ROOT } from '../harness.ts';

const directory = ownModule();
const execute = promisify(execFile);

test('packed, unpacked and used', { timeout: 120_000 }, async () => {
  const packed = await execute(
    'npm',
    ['pack', '--json', '--ignore-scripts', '--pack-destination', directory],
    {
      cwd: ROOT,
    },
  );
  const [{ filename, files }] = JSON.parse(packed.stdout) as [
    { filename: string; files: { path: string }[] },
  ];
  for (const { path: file } of files)
    assert.doesNotMatch(
      file,
      /^(assembly|test|bench|scripts)\/|build\/(js\/(test|bench|scripts)|windows|reference)/,
    );

  const modules = path.join(directory, 'node_modules');
  fs.mkdirSync(modules);
  await execute('tar', ['xzf', filename], { cwd: directory });
  const own = path.join(modules, 'netmap');
  fs.renameSync(path.join(directory, 'package'), own);
  for (const name of fs.readdirSync(path.join(ROOT, 'node_modules')))
    if (!name.startsWith('.'))
      fs.symlinkSync(path.join(ROOT, 'node_modules', name), path.join(modules, name));

  const { bin } = JSON.parse(fs.readFileSync(path.join(own, 'package.json'), 'utf8')) as {
    bin: Record<string, string>;
  };
  const launchers = fs.readdirSync(path.join(ROOT, 'bin')).filter((name) => !name.endsWith('.cmd'));
  assert.deepEqual(Object.keys(bin).sort(), launchers.sort());
  for (const [name, main] of Object.entries(bin)) {
    const text = fs.readFileSync(path.join(own, main), 'utf8');
    assert.ok(text.startsWith('#!/usr/bin/env node\n'), `${name}: ${text.slice(0, 40)}`);
  }

  const sent = await execute(process.execPath, [
    path.join(own, bin['pkt-gen']!),
    '-i',
    'vale0:p',
    '-f',
    'tx',
    '-n',
    '100',
  ]);
  assert.match(sent.stdout, /^Sent 100 packets/m);
  const program = path.join(directory, 'program.mjs');
  fs.writeFileSync(
    program,
    `import { open } from 'netmap';\nconst port = await open('vale0:q');\nconsole.log(port.name);\nawait port.close();\n`,
  );
  const ran = await execute(process.execPath, [program]);
  assert.equal(ran.stdout, 'vale0:q\n');
});
