// Objective: docs/protocol.md is enough to take part: its example in another language works as it stands.
// Operations: the Python program sends in CSB mode; a port of this process sends everything back.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { describe, test } from 'node:test';
import { open } from '../../src/client/index.ts';
import { frame, markOf, ownModule, Program, ROOT, receive, send, using } from '../harness.ts';

const directory = ownModule();
const python = spawnSync('python3', ['-c', 'import os; os.memfd_create']);
const NO_PYTHON = python.status === 0 ? false : 'needs python3 with os.memfd_create';
const COUNT = 5000;

describe('docs/examples/csb.py', { skip: NO_PYTHON, timeout: 120_000 }, () => {
  test(`sends ${COUNT} frames and gets them back, mapping its own region alone`, async () => {
    await using([open('vale0:echo')], async (echo) => {
      const program = new Program('python3', [
        path.join(ROOT, 'docs/examples/csb.py'),
        path.join(directory, 'netmapd.sock'),
        'vale0:python',
        String(COUNT),
      ]);
      let expected = 0;
      let regions: string[] = [];
      while (expected < COUNT) {
        await echo.readable({ timeoutMs: 20_000 });
        const got = receive(echo);
        assert.ok(got.length > 0 || program.process.exitCode === null, program.stderr);
        if (regions.length === 0) regions = mappedRegions(program.pid);
        for (const { bytes } of got) assert.equal(markOf(bytes), expected++);
        send(
          echo,
          got.map(({ bytes }) => frame({ src: 9, mark: markOf(bytes), length: 64 })),
        );
      }
      const { code, stdout, stderr } = await program.ended;
      assert.equal(code, 0, stderr);
      const lines = stdout.trim().split('\n');
      assert.equal(lines.length, COUNT);
      assert.ok(lines.every((line, i) => line === `${i} 64`));
      assert.deepEqual(regions, ['/memfd:netmap-region (deleted)']);
    });
  });
});

/** Shared memory of ours that a process has mapped. */
function mappedRegions(pid: number): string[] {
  const maps = fs.readFileSync(`/proc/${pid}/maps`, 'utf8');
  return maps.split('\n').flatMap((line) => /(\/memfd:netmap\S* .*)$/.exec(line)?.[1] ?? []);
}
