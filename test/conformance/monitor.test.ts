// Objective: monitors see what spec ports §3 and §7.3 say, when they say, and never cost the monitored port anything.
// Operations: port, its other side and monitors opened in one process; frames sent and read sync by sync.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import {
  NS_TXMON,
  open,
  POLLERR,
  POLLOUT,
  type Port,
  type PortTarget,
  poll,
  status,
} from '../../src/client/index.ts';
import { frame, marks, ownModule, receive, refuses, send, stage, until, using } from '../harness.ts';

ownModule();

let count = 0;
/** A switch of two ports that no other row uses. */
function pair(): { a: string; b: string } {
  const sw = `vale${count++ % 8}`;
  return { a: `${sw}:a`, b: `${sw}:b` };
}
function pipe(): { a: string; b: string } {
  const n = count++;
  return { a: `netmap:m${n}{1`, b: `netmap:m${n}}1` };
}

function numbered(frames: number, from = 0): Uint8Array[] {
  return Array.from({ length: frames }, (_, i) => frame({ mark: from + i }));
}
function range(end: number, from = 0): number[] {
  return Array.from({ length: end - from }, (_, i) => from + i);
}

/** What poll finds out about a port at once. */
function revents(port: Port, events: 'in' | 'out'): number {
  const target: PortTarget = { port, events };
  poll([target], 0);
  return target.revents!;
}

const KINDS = [
  ['a VALE port', pair],
  ['a pipe', pipe],
] as const;

describe('spec ports §7.3', { timeout: 120_000 }, () => {
  for (const [what, names] of KINDS) {
    test(`M1 /r on ${what} that nobody reads: the monitor gets the frames, the port still has them`, async () => {
      const { a, b } = names();
      await using([open(a), open(b)], (rx, tx) =>
        using([open(`${a}/r`)], (monitor) => {
          send(tx, numbered(5));
          assert.deepEqual(marks(monitor), range(5));
          assert.deepEqual(marks(rx), range(5));
        }),
      );
    });

    test(`M2 /t on ${what}: frames at txsync, marked NS_TXMON`, async () => {
      const { a, b } = names();
      await using([open(a), open(b)], (tx, rx) =>
        using([open(`${a}/t`)], (monitor) => {
          stage(tx, numbered(3));
          assert.deepEqual(marks(monitor), []);
          tx.txSync();
          const seen = receive(monitor);
          assert.deepEqual(
            seen.map(({ flags }) => flags),
            [NS_TXMON, NS_TXMON, NS_TXMON],
          );
          assert.deepEqual(marks(rx), range(3));
        }),
      );
    });

    test(`M3 /z on ${what}: what it receives is seen once its owner has read it`, async () => {
      const { a, b } = names();
      await using([open(a), open(b)], (rx, tx) =>
        using([open(`${a}/z`)], (monitor) => {
          assert.equal(monitor.memId, rx.memId);
          send(tx, numbered(5));
          assert.deepEqual(marks(monitor), []);
          assert.deepEqual(marks(rx), range(5));
          assert.deepEqual(marks(monitor), range(5));
          // Buffers have changed places; the port goes on as before, all around its ring.
          for (let i = 0; i < 500; i++) {
            send(tx, numbered(10, 10 * i));
            assert.deepEqual(marks(rx), range(10 * i + 10, 10 * i));
            assert.deepEqual(marks(monitor), range(10 * i + 10, 10 * i));
          }
        }),
      );
    });

    test(`M6 two copy monitors on ${what}: both get all`, async () => {
      const { a, b } = names();
      await using([open(a), open(b)], (rx, tx) =>
        using([open(`${a}/r`), open(`${a}/rt`)], (one, two) => {
          send(tx, numbered(4));
          assert.deepEqual(marks(one), range(4));
          assert.deepEqual(marks(two), range(4));
          send(rx, numbered(2, 50));
          assert.deepEqual(marks(one), []);
          assert.deepEqual(marks(two), [50, 51]);
        }),
      );
    });

    test(`M7 two zero-copy monitors on ${what}: the second gets what the first is done with, unmarked`, async () => {
      const { a, b } = names();
      await using([open(a), open(b)], (rx, tx) =>
        using([open(`${a}/z`), open(`${a}/z`)], async (one, two) => {
          send(tx, numbered(4));
          assert.deepEqual(marks(rx), range(4));
          assert.deepEqual(marks(two), []);
          assert.deepEqual(marks(one), range(4));
          assert.deepEqual(marks(two), range(4));
          await one.close(); // The second takes its place.
          send(tx, numbered(4, 10));
          assert.deepEqual(marks(rx), range(14, 10));
          assert.deepEqual(marks(two), range(14, 10));
        }),
      );
    });

    test(`M8 a monitor that is not read costs ${what} nothing, and has the newest frames that fitted`, async () => {
      const { a, b } = names();
      await using([open(a), open(b)], (rx, tx) =>
        using([open(`${a}/r`)], async (monitor) => {
          for (let i = 0; i < 40; i++) {
            send(tx, numbered(100, 100 * i));
            assert.deepEqual(marks(rx), range(100 * i + 100, 100 * i));
          }
          const seen = marks(monitor);
          assert.equal(seen.length, 1023);
          // Batches that fitted whole, then the newest frames of the first that did not.
          assert.deepEqual(seen, [...range(1000), ...range(1100, 1077)]);
          const { ports } = await status();
          const ring = ports
            .find(({ kind }) => kind === 'monitor')!
            .rings.find(({ ring }) => ring === 'rx0')!;
          assert.equal(ring.drops['receiver ring full'], 4000 - 1023);
        }),
      );
    });

    test(`M9 of ${what} that nobody has open: EINVAL, and nothing is left`, async () => {
      const { a } = names();
      const before = (await status()).ports.length;
      await refuses(open(`${a}/r`), 'EINVAL', /open the port first/);
      assert.equal((await status()).ports.length, before);
    });

    test(`M10 ${what} is closed: the monitor's poll says POLLERR, also to one who sleeps; a new monitor works`, async () => {
      const { a, b } = names();
      await using([open(b)], async (tx) => {
        const port = await open(a);
        const monitor = await open(`${a}/r`);
        const waiting = refuses(monitor.readable(), 'EIO', /what it watched is closed/);
        await port.close();
        await waiting;
        assert.equal(revents(monitor, 'in') & POLLERR, POLLERR);
        monitor.rxSync();
        assert.ok(monitor.rxRings[0]!.empty);
        await using([open(a)], (again) =>
          using([open(`${a}/r`)], (other) => {
            send(tx, numbered(2));
            assert.deepEqual(marks(monitor), []);
            assert.deepEqual(marks(other), range(2));
            assert.deepEqual(marks(again), range(2));
          }),
        );
        await monitor.close();
      });
    });

    test(`M14 a monitor closed while ${what} is at full speed: it goes on without a loss`, async () => {
      const { a, b } = names();
      await using([open(a), open(b)], async (rx, tx) => {
        let next = 0;
        for (let turn = 0; turn < 20; turn++) {
          const monitor = await open(`${a}/${turn % 2 ? 'z' : 'rt'}`);
          for (let i = 0; i < 30; i++) {
            send(tx, numbered(20, next));
            assert.deepEqual(marks(rx), range(next + 20, next));
            next += 20;
            if (i === 10) void monitor.close();
            if (i % 10 === 0) await new Promise(setImmediate);
          }
        }
      });
      await until(async () => (await status()).ports.length === 0, 'everything to close');
    });
  }

  test('M4 /z on the sender of a pipe: once the peer has read and the sender syncs again', async () => {
    const { a, b } = pipe();
    await using([open(a), open(b)], (tx, rx) =>
      using([open(`${a}/z`)], (monitor) => {
        send(tx, numbered(4));
        assert.deepEqual(marks(monitor), []);
        assert.deepEqual(marks(rx), range(4));
        assert.deepEqual(marks(monitor), []);
        tx.txSync();
        const seen = receive(monitor);
        assert.deepEqual(
          seen.map(({ flags }) => flags),
          new Array(4).fill(NS_TXMON),
        );
      }),
    );
  });

  test('M5 /z on the sender of a switch: at once', async () => {
    const { a, b } = pair();
    await using([open(a), open(b)], (tx, rx) =>
      using([open(`${a}/z`)], (monitor) => {
        send(tx, numbered(4));
        assert.deepEqual(marks(monitor), range(4));
        assert.deepEqual(marks(rx), range(4));
      }),
    );
  });

  test('M11 a monitor cannot send: POLLERR instead of POLLOUT, txSync does nothing', async () => {
    const { a } = pair();
    await using([open(a)], () =>
      using([open(`${a}/r`)], (monitor) => {
        assert.equal(revents(monitor, 'out'), POLLERR);
        assert.equal(revents(monitor, 'out') & POLLOUT, 0);
        const ring = monitor.txRings[0]!;
        ring.publish(ring.next(ring.head));
        assert.equal(monitor.txSync(), 0);
        assert.equal(ring.tail, ring.numSlots - 1);
      }),
    );
  });

  test('M12 a port that is open exclusively can be monitored', async () => {
    const { a, b } = pair();
    await using([open(`${a}/x`), open(b)], (_rx, tx) =>
      using([open(`${a}/r`)], (monitor) => {
        send(tx, numbered(2));
        assert.deepEqual(marks(monitor), range(2));
      }),
    );
  });

  test('M13 fragments are copied slot by slot, with their marks', async () => {
    const { a, b } = pair();
    await using([open(a), open(b)], (rx, tx) =>
      using([open(`${a}/r`), open(`${b}/t`)], (received, sent) => {
        const parts = [frame({ length: 2048 }), new Uint8Array(2048).fill(7), new Uint8Array(10).fill(9)];
        send(tx, [parts]);
        for (const [port, flags] of [
          [rx, [0x0320, 0x0320, 0x0300]],
          [received, [0x0320, 0x0320, 0x0300]],
          [sent, [0x0060, 0x0060, 0x0040]],
        ] as const) {
          const slots = receive(port);
          assert.deepEqual(
            slots.map((slot) => slot.flags),
            flags,
          );
          assert.deepEqual(
            slots.map((slot) => slot.bytes),
            parts,
          );
        }
      }),
    );
  });

  test('M15 /zr and /zt watch both directions, as /z does', async () => {
    for (const suffix of ['zr', 'zt']) {
      const { a, b } = pair();
      await using([open(a), open(b)], (one, two) =>
        using([open(`${a}/${suffix}`)], (monitor) => {
          send(one, numbered(1, 1));
          send(two, numbered(1, 2));
          assert.deepEqual(marks(one), [2]);
          assert.deepEqual(marks(monitor), [1, 2]);
        }),
      );
    }
  });

  test('M16 of ring k alone: only that ring’s frames', async () => {
    const { a, b } = pair();
    await using([open(`${a}@conf:rings=4`), open(`${b}@conf:rings=4`)], (rx, tx) =>
      using([open(`${a}-2/r`), open(`${a}/r`), open(`${b}-1/t`)], (one, all, sent) => {
        rx.txSync();
        send(rx, [frame({ src: 8 })]);
        receive(tx);
        for (let ring = 0; ring < 4; ring++) send(tx, [frame({ dst: 8, src: 9, mark: ring })], ring);
        assert.deepEqual(marks(one), [2]);
        assert.deepEqual(marks(sent), [1]);
        assert.deepEqual(
          [0, 1, 2, 3].map((ring) => marks(all, ring)),
          [[0], [1], [2], [3]],
        );
      }),
    );
  });

  test('a zero-copy monitor has half the slots, or those asked for; more than there is room for is ENOMEM', async () => {
    const { a } = pair();
    await using([open(a)], async () => {
      await using([open(`${a}/z`)], (monitor) => assert.equal(monitor.rxRings[0]!.numSlots, 512));
      await using([open(`${a}/z@conf:rx-slots=16`)], (monitor) =>
        assert.equal(monitor.rxRings[0]!.numSlots, 16),
      );
      await refuses(open(`${a}/z@conf:rx-slots=4096`), 'ENOMEM');
    });
  });
});
