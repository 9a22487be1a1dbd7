// Objective: waiting without blocking, workers and several modules at once, as applications use the library.
// Operations: ports opened in this process; frames come from another thread, another process or a timer.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { describe, test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { open, type PortTarget, poll, unload } from '../../src/client/index.ts';
import { frame, markOf, marks, ownModule, run, send, using } from '../harness.ts';

ownModule();

const WORKER = new URL('./lent-sender.js', import.meta.url);

describe('one module after the other', { timeout: 120_000 }, () => {
  const exchange = () =>
    using([open('vale0:a'), open('vale0:b')], (a, b) => {
      send(a, [frame({ mark: 7 })]);
      assert.deepEqual(marks(b), [7]);
    });

  test('a program opens ports, unloads netmap, and opens ports again', async () => {
    for (let i = 0; i < 3; i++) {
      await exchange();
      await unload();
    }
  });

  test('nm-loader unloads it with a port open: the next open() loads the next', async () => {
    const [left, right] = [await open('vale1:a'), await open('vale1:b')];
    assert.equal((await run('nm-loader', ['u', '-f'])).code, 0);
    await exchange();
    send(left, [frame({ mark: 8 })]); // What is open works on.
    assert.deepEqual(marks(right), [8]);
    await left.close();
    await right.close();
    await exchange();
  });
});

describe('await', { timeout: 120_000 }, () => {
  test('readable() resolves when a frame comes, and leaves the event loop free until then', async () => {
    await using([open('vale0:a'), open('vale0:b')], async (a, b) => {
      const order: string[] = [];
      const arrived = b.readable().then(() => order.push('frame'));
      setTimeout(() => {
        order.push('timer');
        send(a, [frame()]);
      }, 20);
      await arrived;
      assert.deepEqual(order, ['timer', 'frame']);
      assert.equal(marks(b).length, 1);
    });
  });

  test('readable() is rejected with the reason of an AbortSignal, and the port works on', async () => {
    await using([open('vale0:a'), open('vale0:b')], async (a, b) => {
      const abort = new AbortController();
      const waiting = b.readable({ signal: abort.signal });
      setImmediate(() => abort.abort(new Error('enough')));
      await assert.rejects(waiting, /enough/);
      send(a, [frame({ mark: 5 })]);
      await b.readable();
      assert.deepEqual(marks(b), [5]);
    });
  });

  test('readable() with timeoutMs comes back without a frame', async () => {
    await using([open('vale0:b')], async (b) => {
      const start = performance.now();
      await b.readable({ timeoutMs: 30 });
      assert.ok(performance.now() - start >= 25);
      assert.ok(b.rxRings[0]!.empty);
    });
  });

  test('writable() resolves when the other end of a full pipe has read', async () => {
    await using([open('netmap:w{1'), open('netmap:w}1')], async (a, b) => {
      send(
        a,
        Array.from({ length: 1023 }, () => frame()),
      );
      assert.equal(a.txRings[0]!.space, 0);
      setTimeout(() => marks(b), 10);
      await a.writable();
      assert.ok(a.txRings[0]!.space > 0);
    });
  });

  test('batches() gives every frame once, in order, and ends with its signal', async () => {
    await using([open('netmap:i{1'), open('netmap:i}1')], async (a, b) => {
      let sent = 0;
      const timer = setInterval(() => {
        for (let i = 0; i < 10; i++) send(a, [frame({ mark: sent++ })]);
      }, 1);
      const abort = new AbortController();
      const seen: number[] = [];
      for await (const ring of b.batches({ signal: abort.signal })) {
        for (let slot = ring.head; slot !== ring.tail; slot = ring.next(slot))
          seen.push(markOf(ring.frame(slot)));
        ring.publish(ring.tail);
        if (seen.length >= 500) abort.abort();
      }
      clearInterval(timer);
      assert.deepEqual(
        seen,
        seen.map((_, i) => i),
      );
    });
  });

  test('a port closed while somebody waits for it: the wait ends with ENXIO', async () => {
    const port = await open('vale0:b');
    const waiting = assert.rejects(port.readable(), { code: 'ENXIO' });
    await port.close();
    await waiting;
  });
});

describe('workers', { timeout: 120_000 }, () => {
  test('two workers send on a ring each of one port; every frame arrives, in order by ring', async () => {
    await using([open('netmap:k{1@conf:rings=2'), open('netmap:k}1@conf:rings=2')], async (tx, rx) => {
      const count = 20_000;
      const workers = [0, 1].map(
        (ring) => new Worker(WORKER, { workerData: { shared: tx.share(ring), count, mark: ring } }),
      );
      const ended = workers.map((worker) => new Promise((resolve) => worker.once('exit', resolve)));
      const next = [0, 0];
      while (next.some((n) => n < count)) {
        await rx.readable({ timeoutMs: 10_000 });
        rx.rxRings.forEach((ring, index) => {
          assert.equal(ring.ringId, index);
          for (; ring.head !== ring.tail; ring.publish(ring.next(ring.head)))
            assert.equal(markOf(ring.frame(ring.head)), index * 1_000_000 + next[index]!++);
        });
      }
      assert.deepEqual(await Promise.all(ended), [0, 0]);
    });
  });

  test('two workers on one ring take turns: nothing is torn, the ring stays whole', async () => {
    await using([open('netmap:l{1'), open('netmap:l}1')], async (tx, rx) => {
      const lock = new Int32Array(new SharedArrayBuffer(4));
      const count = 5000;
      const workers = [0, 1].map(
        (mark) => new Worker(WORKER, { workerData: { shared: tx.share(), count, mark, lock } }),
      );
      const ended = workers.map((worker) => new Promise((resolve) => worker.once('exit', resolve)));
      const next = [0, 0];
      while (next.some((n) => n < count)) {
        await rx.readable({ timeoutMs: 10_000 });
        const ring = rx.rxRings[0]!;
        for (; ring.head !== ring.tail; ring.publish(ring.next(ring.head))) {
          const mark = markOf(ring.frame(ring.head));
          const from = Math.floor(mark / 1_000_000);
          assert.equal(mark % 1_000_000, next[from]!++);
        }
      }
      assert.deepEqual(await Promise.all(ended), [0, 0]);
    });
  });
});

describe('several modules', { timeout: 120_000 }, () => {
  test('one poll() waits for ports of two modules and for a descriptor', {
    skip: process.platform === 'win32' ? 'is about a FIFO; windows/system has handles and sockets' : false,
  }, async () => {
    const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'netmap-second-'));
    const { signal, ring } = pipeOfDescriptors();
    try {
      await using(
        [open('vale0:a'), open('vale0:b'), open('vale0:a', { directory }), open('vale0:b', { directory })],
        (a1, b1, a2, b2) => {
          const targets: PortTarget[] = [
            { port: b1, events: 'in' },
            { port: b2, events: 'in' },
          ];
          const fd = { fd: signal, events: 'in' as const, revents: 0 };
          assert.equal(poll([...targets, fd], 5), 0);
          send(a2, [frame({ mark: 2 })]);
          assert.equal(poll([...targets, fd], 1000), 1);
          assert.deepEqual(marks(b2), [2]);
          send(a1, [frame({ mark: 1 })]);
          assert.equal(poll([...targets, fd], 1000), 1);
          assert.deepEqual(marks(b1), [1]);
          fs.writeSync(ring, 'x');
          assert.equal(poll([...targets, fd], 1000), 1);
          assert.notEqual(fd.revents, 0);
        },
      );
    } finally {
      fs.closeSync(signal);
      await unload({ force: true, directory });
      fs.rmSync(directory, { recursive: true, force: true });
    }
  });
});

/** A named pipe, open at both ends through one descriptor, its name gone. */
function pipeOfDescriptors(): { signal: number; ring: number } {
  const name = path.join(fs.mkdtempSync(path.join(os.tmpdir(), 'netmap-fifo-')), 'fifo');
  const made = spawnSync('mkfifo', [name]);
  assert.equal(made.status, 0);
  const fd = fs.openSync(name, 'r+');
  fs.rmSync(path.dirname(name), { recursive: true });
  return { signal: fd, ring: fd };
}
