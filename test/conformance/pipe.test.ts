// Objective: netmap pipes answer the edge cases of spec ports §7.2, a named test per row.
// Operations: both ends opened in one process, slots staged by hand, syncs one by one.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import {
  NR_REG_NIC_SW,
  NR_REG_SW,
  NS_BUF_CHANGED,
  open,
  POLLIN,
  POLLOUT,
  type Port,
  poll,
} from '../../src/client/index.ts';
import { frame, marks, ownModule, portNames, receive, refuses, send, stage, using } from '../harness.ts';

ownModule();

let pipes = 0;
/** Both names of a pipe that no other row uses. */
function fresh(parent = 'netmap:p'): [string, string] {
  const n = pipes++;
  return [`${parent}${n}{1`, `${parent}${n}}1`];
}

function numbered(count: number, from = 0): Uint8Array[] {
  return Array.from({ length: count }, (_, i) => frame({ mark: from + i }));
}

function reventsOf(port: Port, events: 'in' | 'out'): number {
  const target = { port, events, revents: 0 };
  poll([target], 0);
  return target.revents;
}

describe('spec ports §7.2', () => {
  test('P1 a lone end takes N-1 frames, then waits; the other end finds them all, in order', async () => {
    const [master, slave] = fresh();
    await using([open(slave)], async (s) => {
      send(s, numbered(1023));
      assert.equal(s.txRings[0]!.space, 0);
      assert.equal(reventsOf(s, 'out'), 0);
      await using([open(master)], (m) =>
        assert.deepEqual(
          marks(m),
          Array.from({ length: 1023 }, (_, i) => i),
        ),
      );
    });
  });

  test('P2 10 sent, 7 read: 3 are pending, and free space counts them', async () => {
    await using(
      fresh().map((name) => open(name)),
      (m, s) => {
        send(m, numbered(10));
        assert.equal(receive(s, 0, 7).length, 7);
        m.txSync();
        assert.equal(m.txRings[0]!.space, 1023 - 3);
        send(m, numbered(1020, 10));
        assert.equal(m.txRings[0]!.space, 0);
        assert.equal(reventsOf(m, 'out'), 0);
      },
    );
  });

  test('P3 what a closed reader has left unread is there when it comes back', async () => {
    const [master, slave] = fresh();
    await using([open(master)], async (m) => {
      const reader = await open(slave);
      send(m, numbered(5));
      assert.equal(receive(reader, 0, 2).length, 2);
      await reader.close();
      await using([open(slave)], (again) => assert.deepEqual(marks(again), [2, 3, 4]));
    });
  });

  test('P4 a closed writer is no event for the reader', async () => {
    const [master, slave] = fresh();
    await using([open(slave)], async (s) => {
      await (await open(master)).close();
      assert.equal(reventsOf(s, 'in'), 0);
    });
  });

  test('P5 both closed, opened again: fresh and empty', async () => {
    const [master, slave] = fresh();
    await using([open(master), open(slave)], (m) => send(m, numbered(5)));
    await using([open(master), open(slave)], (m, s) => {
      assert.deepEqual(marks(s), []);
      assert.equal(m.txRings[0]!.head, 0);
      assert.equal(m.txRings[0]!.space, 1023);
    });
  });

  test('P6 a full pipe is writable again once the reader gave a slot back and synced', async () => {
    await using(
      fresh().map((name) => open(name)),
      (m, s) => {
        send(m, numbered(1023));
        assert.equal(reventsOf(m, 'out'), 0);
        receive(s, 0, 1);
        assert.equal(reventsOf(m, 'out'), POLLOUT);
      },
    );
  });

  test('P7 a packet sent in two syncs is visible only when whole', async () => {
    await using(
      fresh().map((name) => open(name)),
      (m, s) => {
        stage(m, [[frame({ mark: 1 }), frame({ mark: 2 }), frame({ mark: 3 })]]);
        const ring = m.txRings[0]!;
        ring.publish(2);
        m.txSync();
        assert.equal(reventsOf(s, 'in'), 0);
        ring.publish(3);
        m.txSync();
        assert.equal(reventsOf(s, 'in'), POLLIN);
        assert.deepEqual(marks(s), [1, 2, 3]);
      },
    );
  });

  test('P8 a swapped buffer travels, and the receiver sees the flag', async () => {
    const [master, slave] = fresh();
    await using([open(master, { extraBufs: 1 }), open(slave)], (m, s) => {
      const ring = m.txRings[0]!;
      const spare = m.bufsHead;
      assert.ok(spare >= 2);
      stage(m, [frame({ mark: 1 })]);
      m.bufsHead = ring.bufIdx(0);
      ring.setBufIdx(0, spare);
      ring.bytes.set(frame({ mark: 42 }), ring.bufferOfsOf(spare));
      m.txSync();
      s.rxSync();
      const rx = s.rxRings[0]!;
      assert.equal(rx.bufIdx(0), spare);
      assert.equal(rx.flags(0) & NS_BUF_CHANGED, NS_BUF_CHANGED);
      assert.equal(ring.flags(0) & NS_BUF_CHANGED, 0);
      assert.deepEqual(marks(s), [42]);
    });
  });

  for (const [name, message] of [
    ['netmap:a{', /empty pipe name/],
    ['netmap:{a', /needs a port before the brace/],
    ['netmap:a{1}2', /invalid pipe name/],
  ] as const) {
    test(`P9 ${name} is EINVAL`, () => refuses(open(name), 'EINVAL', message));
  }

  for (const mode of [NR_REG_NIC_SW, NR_REG_SW]) {
    test(`P10 mode ${mode} is EINVAL`, () => refuses(open(fresh()[0], { mode }), 'EINVAL', /host rings/));
  }

  test('P11 a port takes 64 pipes, also a VALE port; the 65th is EINVAL', async () => {
    const ends: Port[] = [];
    try {
      for (let i = 0; i < 64; i++) ends.push(await open(`valep:many{${i}@conf:slots=64`));
      await refuses(open('valep:many{64'), 'EINVAL', /64 pipes/);
    } finally {
      await Promise.all(ends.map((end) => end.close()));
    }
  });

  test('P12 what the second end asks for is ignored, the real sizes are told', async () => {
    const [master, slave] = fresh();
    await using(
      [
        open(`${master}@conf:tx-slots=256,rx-slots=128,tx-rings=2,rx-rings=1`),
        open(`${slave}@conf:slots=64`),
      ],
      (_m, s) => {
        const none = { hostTxRings: 0, hostRxRings: 0 };
        assert.deepEqual(s.info, { txRings: 1, rxRings: 2, txSlots: 128, rxSlots: 256, ...none });
      },
    );
  });

  test('P13 300 rings of 9999 slots become 256 of 4096', { timeout: 120_000 }, async () => {
    const [master] = fresh();
    await refuses(open(`${master}@conf:rings=300,slots=9999`), 'EINVAL', /number of buffer objects/);
    await using([open(`${fresh()[0]}@conf:rings=300,slots=16`)], (m) => assert.equal(m.info.txRings, 256));
    await using([open(`${fresh()[0]}@conf:slots=9999`)], (m) => assert.equal(m.info.txSlots, 4096));
  });

  test("P14 a pipe's VALE parent is a port of its switch, and what is flooded to it is dropped", async () => {
    await using([open('valeq:a{1'), open('valeq:b')], async (_pipe, b) => {
      assert.deepEqual(await portNames(), ['valeq:a', 'valeq:a{1', 'valeq:a}1', 'valeq:b']);
      send(b, [frame()]);
      assert.equal(b.txRings[0]!.space, 1023);
    });
    assert.deepEqual(await portNames(), []);
  });

  test('P15 under random syncs each buffer stays present once across the pair, and nothing is lost', async () => {
    await using(
      fresh().map((name) => open(`${name}@conf:slots=64`)),
      (m, s) => {
        const tx = m.txRings[0]!;
        const rx = s.rxRings[0]!;
        const all = new Set(Array.from({ length: 64 }, (_, slot) => tx.bufIdx(slot)));
        assert.equal(all.size, 64);
        let seed = 12345;
        const random = (below: number) => {
          seed = (Math.imul(seed, 1103515245) + 12345) & 0x7fffffff;
          return seed % below;
        };
        let sent = 0;
        let seen = 0;
        for (let round = 0; round < 20_000; round++) {
          m.txSync();
          const batch = random(tx.space + 1);
          send(m, numbered(batch, sent));
          sent += batch;
          for (const { bytes } of receive(s, 0, random(64))) {
            assert.equal(new DataView(bytes.buffer).getUint32(14), seen++);
          }
        }
        m.txSync();
        s.rxSync();
        const owned = new Set<number>();
        for (let slot = rx.head; slot !== rx.tail; slot = rx.next(slot)) owned.add(rx.bufIdx(slot));
        for (let slot = tx.head; slot !== tx.tail; slot = tx.next(slot)) owned.add(tx.bufIdx(slot));
        owned.add(tx.bufIdx(tx.tail));
        assert.deepEqual([...owned].sort(), [...all].sort());
        assert.equal(sent - seen, rx.space);
      },
    );
  });

  test('P16 the parent of a free-standing pipe comes and goes with it', async () => {
    const [master] = fresh();
    await using([open(master)], async () => assert.equal((await portNames()).length, 2));
    assert.deepEqual(await portNames(), []);
  });

  test('P17 an exclusive opening concerns its own end alone', async () => {
    const [master, slave] = fresh();
    await using([open(`${master}/x`), open(slave)], () => refuses(open(master), 'EBUSY', /exclusively/));
  });

  test('P18 (want) a buffer index or length that cannot be is contained', async () => {
    await using(
      fresh().map((name) => open(name)),
      (m, s) => {
        stage(m, numbered(3));
        const tx = m.txRings[0]!;
        tx.setBufIdx(0, 0x7fffffff);
        tx.setLen(1, 0xffff);
        m.txSync();
        s.rxSync();
        const rx = s.rxRings[0]!;
        assert.deepEqual([rx.bufIdx(0), rx.len(0), rx.len(1), rx.len(2)], [0, 0, 0, 60]);
        assert.deepEqual(m.drops, { 'buffer index not of the region': 1, 'slot longer than a buffer': 1 });
      },
    );
  });
});

describe('beside the table', () => {
  test("both ends share the parent's memory region", async () => {
    await using([open('valer:a}1'), open('valer:a{1'), open('valer:a')], (s, m, parent) => {
      assert.deepEqual([s.memId, m.memId], [parent.memId, parent.memId]);
    });
  });

  test('a broken TX ring is reset, and says so', async () => {
    await using(
      fresh().map((name) => open(name)),
      (m, s) => {
        send(m, numbered(4));
        m.txRings[0]!.publish(1500 % 1024);
        m.txRings[0]!.publish(3);
        assert.notEqual(m.txSync(), 0);
        assert.equal(m.txRings[0]!.head, 4);
        send(m, numbered(2, 4));
        assert.deepEqual(marks(s), [0, 1, 2, 3, 4, 5]);
      },
    );
  });
});
