// Isolated mode: the client maps its own region, the module runs its syncs.  Objective: the same results as in direct
// mode.  Operations: frames between direct and isolated ports of a switch and a pipe, poll, waiting, closing.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { open, type Port, poll, POLLIN, POLLOUT } from '../../src/client/index.ts';
import {
  frame,
  markOf,
  marks,
  ownModule,
  portNames,
  receive,
  refuses,
  send,
  until,
  using,
} from '../harness.ts';

ownModule();
const isolated = { isolated: true };

for (const [sender, receiver] of [
  [true, false],
  [false, true],
  [true, true],
] as const) {
  const kinds = `${sender ? 'isolated' : 'direct'} to ${receiver ? 'isolated' : 'direct'}`;
  test(`${kinds}: a switch delivers at once, in order, whole`, async () => {
    await using(
      [open('vale0:a', { isolated: sender }), open('vale0:b', { isolated: receiver })],
      (a: Port, b: Port) => {
        for (let round = 0; round < 30; round++) {
          const sent = Array.from({ length: 100 }, (_, i) => round * 100 + i);
          send(
            a,
            sent.map((mark) => frame({ mark, length: 60 + (mark % 900) })),
          );
          const got = receive(b);
          assert.deepEqual(
            got.map(({ bytes }) => markOf(bytes)),
            sent,
          );
          assert.deepEqual(
            got.map(({ bytes }) => bytes.length),
            sent.map((mark) => 60 + (mark % 900)),
          );
          assert.equal(a.txRings[0]!.pending, false);
        }
        send(b, [frame({ src: 2, dst: 1, mark: 7 })]);
        assert.deepEqual(marks(a), [7]);
      },
    );
  });

  test(`${kinds}: a pipe passes slots on`, async () => {
    await using(
      [open('vale0:p{1', { isolated: sender }), open('vale0:p}1', { isolated: receiver })],
      (a: Port, b: Port) => {
        for (let round = 0; round < 30; round++) {
          send(a, [frame({ mark: round }), frame({ mark: round + 1000 })]);
          assert.deepEqual(marks(b), [round, round + 1000]);
        }
      },
    );
  });

  test(`${kinds}: poll sleeps until a frame comes, and says what is ready`, async () => {
    await using(
      [open('vale0:a', { isolated: sender }), open('vale0:b', { isolated: receiver })],
      (a: Port, b: Port) => {
        const target = { port: b, events: 'both' as const, revents: 0 };
        assert.equal(poll([{ port: b, events: 'in' }], 1), 0);
        assert.equal(poll([target], 100), 1);
        assert.equal(target.revents, POLLOUT);
        send(a, [frame({ mark: 1 })]);
        assert.equal(poll([target], 1000), 1);
        assert.equal(target.revents, POLLIN | POLLOUT);
        assert.deepEqual(marks(b), [1]);
      },
    );
  });

  test(`${kinds}: awaiting frames`, async () => {
    await using(
      [open('vale0:a', { isolated: sender }), open('vale0:b', { isolated: receiver })],
      async (a: Port, b: Port) => {
        for (let round = 0; round < 20; round++) {
          const waiting = b.readable({ timeoutMs: 10_000 });
          setImmediate(() => send(a, [frame({ mark: round })]));
          await waiting;
          assert.deepEqual(marks(b), [round]);
        }
      },
    );
  });
}

test('drops are counted by name, a ring that is broken is reset', async () => {
  await using([open('vale0:a', isolated), open('vale0:b')], (a: Port) => {
    send(a, [frame({ length: 5 })]);
    assert.deepEqual(a.drops, { 'frame shorter than 14 bytes': 1 });
    const ring = a.txRings[0]!;
    new DataView(ring.bytes.buffer).setUint32(ring.address + 20, 0xffff_fff0, true); // head
    assert.notEqual(a.txSync(), 0);
    assert.equal(ring.space, ring.numSlots - 1);
    send(a, [frame({ length: 5 })]);
    assert.deepEqual(a.drops, { 'frame shorter than 14 bytes': 2 });
  });
});

test('several ports, rings and modes; refused as in direct mode; nothing remains', async () => {
  await using(
    [
      open('vale0:a', { ...isolated, txRings: 2, rxRings: 2 }),
      open('vale0:b', isolated),
      open('vale1:c-0', { ...isolated, extraBufs: 5 }),
    ],
    async (a: Port, b: Port, c: Port) => {
      assert.equal(a.txRings.length, 2);
      assert.equal(c.extraBufs, 5);
      send(a, [frame({ mark: 4 })], 1);
      assert.deepEqual(marks(b), [4]);
      await refuses(open('vale0:b/x', isolated), 'EBUSY');
      await refuses(open('vale0:b-7', isolated), 'EINVAL');
      assert.throws(() => a.share(), { code: 'EOPNOTSUPP' });
    },
  );
  assert.deepEqual(await portNames(), []);
});

test('an awaited port that is closed throws, the descriptor is closed once', async () => {
  const port = await open('vale0:a', isolated);
  const waiting = port.readable();
  const ended = refuses(waiting, 'ENXIO');
  await port.close();
  await ended;
  await until(async () => (await portNames()).length === 0, 'the port to go');
});
