// Objective: the option OFFSETS (spec api §3.6.5) is answered as its tables say, and frames are where slots say.
// Operations: registrations in the library's and the binary form; frames between ports of which one, the other or
// both have offsets, on a switch, with lookups of its own too, a pipe and a monitor, in direct and isolated mode.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { ERRNO } from '../../src/abi/errors.ts';
import * as abi from '../../src/abi/netmap.ts';
import * as rq from '../../src/abi/requests.ts';
import { hub } from '../../examples/lookup/batch.ts';
import {
  clearLookup,
  type OpenOptions,
  open,
  openLookup,
  type Port,
  setLookup,
} from '../../src/client/index.ts';
import { ControlRequest, FrameClient } from '../frame-client.ts';
import { frame, marks, ownModule, receive, refuses, ROOT, send, using } from '../harness.ts';

const directory = ownModule();

/** Sends with the frame `offset` bytes into the buffer. */
function sendAt(port: Port, offset: number, bytes: Uint8Array): void {
  const ring = port.txRings[0]!;
  ring.setOffset(ring.head, offset);
  send(port, [bytes]);
}

/** Offset and mark of each frame that has come. */
function received(port: Port): [number, number][] {
  const ring = port.rxRings[0]!;
  port.rxSync();
  const found: [number, number][] = [];
  let slot = ring.head;
  for (; slot !== ring.tail; slot = ring.next(slot)) {
    const at = ring.frameOfs(slot);
    assert.equal(at - ring.bufferOfs(slot), ring.offset(slot));
    found.push([ring.offset(slot), new DataView(ring.bytes.buffer).getUint32(at + 14)]);
  }
  ring.publish(slot);
  port.rxSync();
  return found;
}

for (const isolated of [false, true]) {
  const openWith = (name: string, options: OpenOptions = {}) => open(name, { ...options, isolated });

  describe(`frames at offsets, ${isolated ? 'isolated' : 'direct'}`, { timeout: 60_000 }, () => {
    test('all slots say the first offset; without offsets they say 0', () =>
      using([openWith('vale0:a', { offsets: { max: 128, initial: 64 } }), openWith('vale0:b')], (a, b) => {
        assert.equal(a.maxOffset, 128);
        assert.equal(b.maxOffset, undefined);
        for (const ring of [a.txRings[0]!, a.rxRings[0]!])
          for (let slot = 0; slot < ring.numSlots; slot++) assert.equal(ring.offset(slot), 64);
        assert.equal(b.txRings[0]!.hasOffsets, false);
      }));

    test('a switch: from the offset of the sender to exactly the offset of the receiver', () =>
      using(
        [
          openWith('vale0:a', { offsets: { max: 128 } }),
          openWith('vale0:b', { offsets: { max: 20, initial: 20 } }),
          openWith('vale0:c'),
        ],
        (a, b, c) => {
          sendAt(a, 74, frame({ mark: 1 }));
          assert.deepEqual(received(b), [[20, 1]]);
          assert.deepEqual(received(c), [[0, 1]]);
          send(c, [frame({ src: 3, mark: 2 })]);
          assert.deepEqual(received(b), [[20, 2]]);
          assert.deepEqual(received(a), [[0, 2]]);
        },
      ));

    test('a switch: several slots a packet, each at its offset; what is beyond counts as the limit', () =>
      using(
        [
          openWith('vale0:a', { offsets: { max: 100 } }),
          openWith('vale0:b', { offsets: { max: 8, initial: 8 } }),
        ],
        (a, b) => {
          const ring = a.txRings[0]!;
          ring.setOffset(0, 30);
          ring.setOffset(1, 5000); // Where put() would not look: the limit is 100.
          const view = new DataView(ring.bytes.buffer);
          ring.put(0, frame({ mark: 7 }));
          ring.setFlags(0, abi.NS_MOREFRAG);
          view.setUint32(ring.bufferOfs(1) + 100, 77);
          ring.setLen(1, 4);
          ring.setFlags(1, 0);
          ring.publish(2);
          a.txSync();
          b.rxSync();
          const rx = b.rxRings[0]!;
          assert.equal(rx.space, 2);
          assert.equal(view.getUint32(rx.frameOfs(0) + 14), 7);
          assert.equal(view.getUint32(rx.bufferOfs(1) + 8), 77);
        },
      ));

    test('a slot has room for a buffer less its offset, on both sides', () =>
      using(
        [
          openWith('vale0:a', { offsets: { max: 512 } }),
          openWith('vale0:b', { offsets: { max: 1024, initial: 1024 } }),
          openWith('vale0:c'),
        ],
        (a, b, c) => {
          const ring = a.txRings[0]!;
          ring.setOffset(0, 512);
          ring.setLen(0, 2048 - 511); // One more than fits.
          ring.publish(1);
          a.txSync();
          assert.deepEqual(a.drops, { 'slot longer than a buffer': 1 });
          assert.equal(received(c).length, 0);
          sendAt(a, 512, frame({ length: 1025, mark: 5 }));
          sendAt(a, 512, frame({ length: 1024, mark: 6 }));
          assert.deepEqual(
            received(c).map(([, mark]) => mark),
            [5, 6],
          );
          assert.deepEqual(
            received(b).filter(([, mark]) => mark === 6),
            [[1024, 6]],
          );
          assert.equal(a.drops['slot longer than a buffer'], 2);
        },
      ));

    test('the gap limits what a slot takes', () =>
      using([openWith('vale0:a'), openWith('vale0:b', { offsets: { max: 64, gap: 256 } })], (a, b) => {
        send(a, [frame({ length: 256, mark: 1 }), frame({ length: 257, mark: 2 })]);
        assert.deepEqual(
          received(b).filter(([, mark]) => mark === 1),
          [[0, 1]],
        );
        assert.deepEqual(a.drops, { 'slot longer than a buffer': 1 });
      }));

    test('pipes deliver at the farther of the two offsets; buffers travel back and forth', () =>
      using(
        [
          openWith('vale0:p{1', { offsets: { max: 256 } }),
          openWith('vale0:p}1', { offsets: { max: 256, initial: 32 } }),
        ],
        (a, b) => {
          sendAt(a, 10, frame({ mark: 1 }));
          sendAt(a, 100, frame({ mark: 2 }));
          assert.deepEqual(received(b), [
            [32, 1],
            [100, 2],
          ]);
          sendAt(b, 0, frame({ mark: 3 }));
          assert.deepEqual(received(a), [[0, 3]]);
        },
      ));

    test('a pipe of which one end has offsets', () =>
      using(
        [openWith('vale0:p{1', { offsets: { max: 256, initial: 40 } }), openWith('vale0:p}1')],
        (a, b) => {
          send(a, [frame({ mark: 1 })]);
          assert.deepEqual(received(b), [[0, 1]]);
          assert.equal(a.txRings[0]!.offset(0), 40, 'the slot that came back says what it said');
          send(b, [frame({ mark: 2 })]);
          assert.deepEqual(received(a), [[40, 2]]);
        },
      ));

    const lookups = {
      'a WebAssembly lookup': async () => {
        await setLookup('vale0', fs.readFileSync(path.join(ROOT, 'build/lookup/hub.wasm')));
        return { moved: () => {}, close: async () => {} };
      },
      'a TypeScript lookup': async () => {
        const lookup = await openLookup('vale0', (batch) => {
          // Who decides sees frames at the start of buffers, whoever sent them.
          for (let i = 0; i < batch.count; i++) assert.equal(batch.bytes[batch.ofs(i)], 0xff);
          hub(batch);
        });
        return {
          moved: () => assert.notEqual(lookup.turn(0), 0),
          async close() {
            assert.equal(lookup.faults, 0);
            await lookup.close();
          },
        };
      },
    };
    for (const [what, start] of Object.entries(lookups))
      test(`${what}: frames come from where slots say, and go to where slots say`, () =>
        using(
          [
            openWith('vale0:a', { offsets: { max: 300 } }),
            openWith('vale0:b', { offsets: { max: 77, initial: 77 } }),
            openWith('vale0:c'),
          ],
          async (a, b, c) => {
            const { moved, close } = await start();
            a.txRings[0]!.buffer(0).fill(0xee);
            sendAt(a, 300, frame({ mark: 1 }));
            moved();
            assert.deepEqual([received(b), received(c)], [[[77, 1]], [[0, 1]]]);
            // Of several slots, each at an offset of its own.
            const ring = a.txRings[0]!;
            ring.setOffset(ring.head, 5);
            ring.setOffset(ring.next(ring.head), 250);
            const parts = [frame({ mark: 2 }), frame({ mark: 3, length: 100 })];
            send(a, [parts]);
            moved();
            for (const port of [b, c])
              assert.deepEqual(
                receive(port).map(({ bytes }) => bytes),
                parts,
              );
            send(c, [frame({ src: 3, mark: 4 })]);
            moved();
            assert.deepEqual([received(a), received(b)], [[[0, 4]], [[77, 4]]]);
            await close();
            await clearLookup('vale0');
          },
        ));

    test('copy monitors see frames where their own slots say', () =>
      using([openWith('vale0:a', { offsets: { max: 100, initial: 50 } }), openWith('vale0:b')], (a, b) =>
        using(
          [openWith('vale0:a/rt', { offsets: { max: 16, initial: 16 } }), openWith('vale0:a/rt')],
          (seen, plain) => {
            send(a, [frame({ mark: 1 })]);
            send(b, [frame({ src: 2, mark: 2 })]);
            assert.deepEqual(received(seen), [
              [16, 1],
              [16, 2],
            ]);
            assert.deepEqual(marks(plain), [1, 2]);
          },
        ),
      ));
  });
}

describe('what is refused', { timeout: 60_000 }, () => {
  const attempt = (offsets: OpenOptions['offsets'], name = 'vale1:a') =>
    open(name, { offsets: offsets! }).then((port) => port.close());

  test('offsets that cannot be: EINVAL', async () => {
    await refuses(attempt({ max: 8, bits: 65 }), 'EINVAL', /bits/);
    await refuses(attempt({ max: 2049 }), 'EINVAL', /2048 bytes/);
    await refuses(attempt({ max: 256, bits: 8 }), 'EINVAL', /fit into 8 bits/);
    await refuses(attempt({ max: 16, initial: 17 }), 'EINVAL', /beyond/);
    await attempt({ max: 255, bits: 8 });
    await attempt({ max: 2048, bits: 64 });
  });

  test('a zero-copy monitor, a lookup: EOPNOTSUPP', () =>
    using([open('vale1:a')], () => refuses(attempt({ max: 8 }, 'vale1:a/z'), 'EOPNOTSUPP', /zero-copy/)));

  test('another opening: EBUSY for a wider mask or a farther limit, else what is there', () =>
    using([open('vale1:a', { offsets: { max: 100, bits: 8, initial: 9 } })], async (first) => {
      await refuses(attempt({ max: 101, bits: 8 }), 'EBUSY');
      await refuses(attempt({ max: 100, bits: 9 }), 'EBUSY');
      await refuses(attempt({ max: 100 }), 'EBUSY');
      await using([open('vale1:a', { offsets: { max: 50, bits: 7, initial: 3 } })], (second) => {
        assert.equal(second.maxOffset, 100);
        assert.equal(second.rxRings[0]!.offset(0), 9, 'slots in use are left alone');
      });
      assert.equal(first.rxRings[0]!.offset(0), 9);
    }));

  test('with the last opening offsets are gone, though the port stays', async () => {
    await using([open('vale1:p}1'), open('vale1:p{1', { offsets: { max: 8, initial: 8 } })], () => {});
    await using([open('vale1:p}1')], () =>
      using([open('vale1:p{1')], (port) => assert.equal(port.txRings[0]!.hasOffsets, false)),
    );
  });

  test('frame loops that look at the start of buffers say so', () =>
    using([open('vale1:a', { offsets: { max: 8 } })], async (port) => {
      const { FrameTemplate } = await import('../../src/client/index.ts');
      const template = new FrameTemplate(port, frame());
      assert.throws(() => template.fill(port.txRings[0]!, 0, 1), { code: 'EOPNOTSUPP' });
    }));
});

describe('@offset', { timeout: 60_000 }, () => {
  test('is refused unless the program accepts it', () =>
    refuses(open('vale2:a@offset=4'), 'EOPNOTSUPP', /option 'offset' is not supported/));
  test('asks for offsets up to the first', () =>
    using([open('vale2:a@offset:initial=24,bits=8', { acceptOffset: true })], (port) => {
      assert.equal(port.maxOffset, 24);
      assert.equal(port.rxRings[0]!.offset(5), 24);
    }));
});

describe('the binary form', { timeout: 60_000 }, () => {
  let client: FrameClient;
  before(async () => {
    client = await FrameClient.connect(directory);
  });
  after(() => client.end());

  const register = (
    fd: number,
    name: string,
    max: bigint,
    initial: bigint,
    bits: number,
    mode = abi.NR_REG_ALL_NIC,
  ) => {
    const request = ControlRequest.register(name, { mode, memId: mode === abi.NR_REG_NULL ? 1 : 0 });
    request.add(rq.NETMAP_REQ_OPT_OFFSETS, 56, (view) => {
      view.setBigUint64(rq.OF_MAX, max, true);
      view.setBigUint64(rq.OF_INITIAL, initial, true);
      view.setUint32(rq.OF_BITS, bits, true);
      view.setUint32(rq.OF_TX_ALIGN, 64, true);
    });
    return { request, errno: client.control(fd, request) };
  };

  test('tells the limit that holds; status 0', async () => {
    const { request, errno } = register(1, 'vale3:a', 200n, 32n, 16);
    assert.equal(await errno, 0);
    const second = register(2, 'vale3:a', 100n, 0n, 8);
    assert.equal(await second.errno, 0);
    for (const answer of [request, second.request]) {
      assert.equal(answer.option(0).status, 0);
      assert.equal(answer.option(0).view.getBigUint64(rq.OF_MAX, true), 200n);
    }
    await using([open('vale3:a')], (port) => assert.equal(port.rxRings[0]!.offset(0), 32));
    await client.close(1);
    await client.close(2);
  });

  test('a null port takes them; refused offsets undo the registration and say why in their status', async () => {
    assert.equal(await register(3, 'x', 8n, 0n, 8, abi.NR_REG_NULL).errno, 0);
    await client.close(3);
    for (const [max, initial, bits] of [
      [1n << 63n, 0n, 0],
      [8n, 9n, 0],
      [256n, 0n, 8],
      [8n, 0n, 0xffffffff],
    ] as const) {
      const { request, errno } = register(4, 'vale3:b', max, initial, bits);
      assert.equal(await errno, ERRNO.EINVAL);
      assert.equal(request.option(0).status, ERRNO.EINVAL);
    }
    assert.equal(await register(4, 'vale3:b', 8n, 0n, 8).errno, 0, 'the descriptor is as it was');
    await client.close(4);
  });
});
