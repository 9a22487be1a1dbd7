// Objective: the layout is what spec api §1 says, seen from a language that knows nothing of our code.
// Operations: a C program, compiled with the header that our build writes from src/abi, opens a region by
// descriptor, prints what it finds, and sends a frame.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, describe, test } from 'node:test';
import { DIR_RX, DIR_TX, open } from '../../src/client/index.ts';
import { frame, ownModule, ROOT, receive, run, send, using } from '../harness.ts';

ownModule();

const CC = process.env['CC'] ?? 'cc';
const NO_CC = spawnSync(CC, ['--version']).status === 0 ? false : `needs a C compiler ("${CC}")`;
const scratch = fs.mkdtempSync(path.join(os.tmpdir(), 'netmap-outside-'));
after(() => fs.rmSync(scratch, { recursive: true, force: true }));

describe('a region from outside', { skip: NO_CC, timeout: 120_000 }, () => {
  test('a C program with the generated header finds every field, and its frame arrives', async () => {
    const header = path.join(scratch, 'include/netmap_abi.h');
    const binary = path.join(scratch, 'region');
    const written = await run(process.execPath, [path.join(ROOT, 'build/js/scripts/header.js'), header]);
    assert.equal(written.code, 0, written.stderr);
    const source = path.join(ROOT, 'test/outside/region.c');
    const compiled = await run(CC, ['-Wall', '-Werror', '-I', path.dirname(header), '-o', binary, source]);
    assert.equal(compiled.code, 0, compiled.stderr);

    await using(
      [open('vale0:abc@conf:rings=2,slots=64', { extraBufs: 3 }), open('vale0:b')],
      async (a, b) => {
        const bytes = Array.from({ length: 3 }, (_, i) => frame({ mark: i, length: 60 + i }));
        send(b, bytes);
        a.rxSync();
        const { path: file, size } = a.regionFile;
        const { code, stdout, stderr } = await run(binary, [file, String(size), String(a.nifpOfs)]);
        assert.equal(code, 0, stderr);
        const lines = stdout.trim().split('\n');
        const hex = (part: Uint8Array) => Buffer.from(part).toString('hex').match(/../g)!.join(' ');
        const ring = (nth: number, dir: number, id: number, tail: number) =>
          `ring ${nth} slots 64 bufsize 2048 id ${id} dir ${dir} head 0 cur 0 tail ${tail}`;
        const rx = a.rxRings[0]!;
        assert.deepEqual(lines, [
          `if vale0:abc tx 2 rx 2 extra ${a.bufsHead}`,
          ring(0, DIR_TX, 0, 63),
          ring(1, DIR_TX, 1, 63),
          'ring 2 none',
          ring(3, DIR_RX, 0, 3),
          ...bytes.map(
            (part, i) =>
              `slot ${i} idx ${rx.bufIdx(i)} len ${part.length} flags 256 bytes ${hex(part.subarray(0, 20))}`,
          ),
          ring(4, DIR_RX, 1, 0),
          'ring 5 none',
        ]);
        a.txSync();
        const [sent] = receive(b);
        assert.deepEqual([...sent!.bytes.subarray(0, 8)], [255, 255, 255, 255, 255, 255, 6, 7]);
      },
    );
  });
});
