// Objective: nothing that comes over the control socket harms the module or its other clients (bad input of every
// field: out of range, oversized, of the wrong type, missing, doubled; then noise).
// Operations: messages drawn from a seed are written straight to the socket, while a port of another client is open
// and its registry is compared before and after.
//
// NETMAP_SEED repeats a run, NETMAP_RUNS says how many messages it has (1,000,000 by hand; CI takes fewer).

import assert from 'node:assert/strict';
import type net from 'node:net';
import path from 'node:path';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import * as rq from '../../src/abi/requests.ts';
import { connectLocally, open, status } from '../../src/client/index.ts';
import { ControlRequest, FrameClient } from '../frame-client.ts';
import { frame, marks, ownModule, send, until, using } from '../harness.ts';

const directory = ownModule();
const SEED = Number(process.env['NETMAP_SEED'] ?? Date.now() % 1_000_000_000);
const MESSAGES = Number(process.env['NETMAP_RUNS'] ?? 60_000);

const OPERATIONS = [
  'register',
  'release',
  'portInfo',
  'poolsInfo',
  'valeAttach',
  'valeDetach',
  'valeList',
  'valeNewIf',
  'valeDelIf',
  'valePolling',
  'valeAddresses',
  'portHeaderSet',
  'portHeaderGet',
  'parameters',
  'status',
  'nonsense',
];
const FIELDS = [
  'name',
  'mode',
  'ringId',
  'flags',
  'memId',
  'txRings',
  'rxRings',
  'txSlots',
  'rxSlots',
  'extraBufs',
  'registration',
  'bridge',
  'port',
  'length',
  'enable',
  'firstCpu',
  'cpus',
  'token',
  'pid',
];

const names = fc.oneof(
  fc.constantFrom(
    'valeF:a',
    'valeF:b',
    'netmap',
    'f{1',
    'f}1',
    '',
    'vale',
    'valeF:',
    '{',
    'lo',
    'valeF:lo',
    'per',
  ),
  fc.string({ maxLength: 80, unit: 'binary' }),
);
const numbers = fc.oneof(
  fc.constantFrom(
    0,
    1,
    2,
    3,
    4,
    7,
    8,
    16,
    255,
    256,
    4096,
    65535,
    65536,
    2 ** 31,
    2 ** 32 - 1,
    2 ** 32,
    -1,
    0.5,
  ),
  fc.double(),
);
const value = fc.oneof(
  { weight: 6, arbitrary: numbers },
  { weight: 2, arbitrary: names },
  { weight: 1, arbitrary: fc.jsonValue({ maxDepth: 2 }) },
);

/** A request with the right fields, some of them wrong. */
const message = fc
  .record({
    id: fc.nat(),
    op: fc.constantFrom(...OPERATIONS),
    name: names,
    fields: fc.dictionary(fc.constantFrom(...FIELDS), value, { maxKeys: 6 }),
    small: fc.boolean(),
  })
  .map(({ id, op, name, fields, small }) => {
    const sane = {
      mode: 1,
      ringId: 0,
      flags: 0,
      memId: 0,
      txRings: 1,
      rxRings: 1,
      txSlots: 4,
      rxSlots: 4,
      extraBufs: 0,
      registration: 1,
      bridge: 0,
      port: 0,
      length: 0,
      enable: true,
      firstCpu: 0,
      cpus: 1,
    };
    return JSON.stringify({ ...(small ? sane : {}), name, ...fields, id, op });
  });
const line = fc.oneof(
  { weight: 20, arbitrary: message },
  { weight: 1, arbitrary: fc.string({ unit: 'binary' }).map((text) => text.replaceAll('\n', ' ')) },
  { weight: 1, arbitrary: message.map((text) => text.slice(0, text.length / 2)) },
);

/** A request as C lays it out, right in part: type, name, body, options; then some of its bytes changed. */
const frameRequest = fc
  .record({
    what: fc.constantFrom(
      rq.NIOCCTRL,
      rq.NIOCCTRL,
      rq.NIOCCTRL,
      rq.NIOCREGIF,
      rq.NIOCGINFO,
      rq.FR_CLOSE,
      999,
    ),
    fd: fc.nat({ max: 40 }),
    // Loops and syncs need threads of the module: they have tests of their own.
    type: fc.nat({ max: 18 }).filter((type) => type !== rq.NETMAP_REQ_SYNC_KLOOP_START),
    name: names,
    body: fc.uint8Array({ minLength: 64, maxLength: 64 }),
    sane: fc.boolean(),
    options: fc.array(fc.tuple(fc.nat({ max: 8 }), fc.nat({ max: 120 })), { maxLength: 4 }),
    changes: fc.array(fc.tuple(fc.nat({ max: 400 }), fc.nat({ max: 255 })), { maxLength: 6 }),
  })
  .map(({ what, fd, type, name, body, sane, options, changes }) => {
    const request = new ControlRequest(type, name.slice(0, 40));
    if (sane && type === rq.NETMAP_REQ_REGISTER) {
      request.body.setUint32(rq.RG_MODE, 1, true);
      request.body.setUint32(rq.RG_TX_SLOTS, 4, true);
      request.body.setUint32(rq.RG_RX_SLOTS, 4, true);
    } else {
      for (let i = 0; i < request.bytes.length - rq.HEADER_SIZE; i++)
        request.body.setUint8(i, body[i]! >> (i & 7));
    }
    for (const [option, size] of options) request.add(option, Math.max(size, rq.OPTION_SIZE));
    for (const [at, value] of changes) if (at < request.bytes.length) request.bytes[at] = value;
    return { what, fd, bytes: request.bytes };
  });

/** A connection that writes without waiting, and reads whatever comes. */
class Attacker {
  readonly #socket: net.Socket;
  answers = 0;
  closed = false;

  constructor() {
    this.#socket = connectLocally(path.join(directory, 'netmapd.sock'))!;
    this.#socket.on('data', (chunk) => {
      for (const byte of chunk) if (byte === 10) this.answers++;
    });
    this.#socket.on('error', () => {});
    this.#socket.on('close', () => {
      this.closed = true;
    });
  }

  write(text: string): void {
    this.#socket.write(text);
  }

  end(): void {
    this.#socket.destroy();
  }
}

describe('noise on the control socket', { timeout: 900_000 }, () => {
  test(`${MESSAGES} messages (NETMAP_SEED=${SEED}): each is answered, nobody else is touched`, async (t) => {
    await using([open('vale0:a'), open('vale0:b')], async (a, b) => {
      const before = (await status()).ports;
      let answered = 0;
      let expected = 0;
      const perConnection = 2000;
      for (let sent = 0; sent < MESSAGES; sent += perConnection) {
        const attacker = new Attacker();
        attacker.write(`{"id":1,"op":"hello","pid":${process.pid},"startTime":"x"}\n`);
        const lines = fc.sample(line, { seed: SEED + sent, numRuns: perConnection });
        attacker.write(`${lines.join('\n')}\n`);
        const answers = 1 + lines.filter((text) => text !== '').length;
        expected += answers;
        await until(
          () => attacker.answers >= answers || attacker.closed,
          `${answers} answers to the messages of NETMAP_SEED=${SEED + sent}`,
        );
        answered += attacker.answers;
        attacker.end();
      }
      t.diagnostic(`${answered} answers`);
      assert.equal(answered, expected);
      await until(
        async () => (await status()).ports.every(({ name }) => name === 'vale0:a' || name === 'vale0:b'),
        'what was opened to be closed with its connection',
      );
      const shape = (ports: typeof before) => ports.map(({ name, memId, opens }) => [name, memId, opens]);
      assert.deepEqual(shape((await status()).ports), shape(before));
      send(a, [frame({ mark: 42 })]);
      assert.deepEqual(marks(b), [42]);
    });
  });

  const FRAMES = Math.ceil(MESSAGES / 4);
  test(`${FRAMES} requests in frames (NETMAP_SEED=${SEED}), bytes of them changed: each is answered`, async () => {
    await using([open('vale0:a'), open('vale0:b')], async (a, b) => {
      const before = (await status()).ports.map(({ name, memId, opens }) => [name, memId, opens]);
      const requests = fc.sample(frameRequest, { seed: SEED, numRuns: FRAMES });
      const perConnection = 500;
      for (let from = 0; from < FRAMES; from += perConnection) {
        const client = await FrameClient.connect(directory);
        const batch = requests.slice(from, from + perConnection);
        const answers = await Promise.all(batch.map(({ what, fd, bytes }) => client.ask(what, fd, bytes)));
        for (const { errno } of answers) assert.ok(errno >= 0 && errno < 200, `errno ${errno}`);
        client.end();
      }
      await until(
        async () => (await status()).ports.every(({ name }) => name === 'vale0:a' || name === 'vale0:b'),
        'what was opened to be closed with its connection',
      );
      assert.deepEqual(
        (await status()).ports.map(({ name, memId, opens }) => [name, memId, opens]),
        before,
      );
      send(a, [frame({ mark: 43 })]);
      assert.deepEqual(marks(b), [43]);
    });
  });

  test('frames whose length is a lie: told or dropped', async () => {
    for (const length of [0, 23, 65_537, 2 ** 32 - 1]) {
      const client = await FrameClient.connect(directory);
      const bytes = Buffer.alloc(rq.FR_SIZE);
      bytes.writeUInt32LE(rq.FRAME_MAGIC, rq.FR_MAGIC);
      bytes.writeUInt32LE(length, rq.FR_LENGTH);
      client.write(bytes);
      await until(() => client.closed, `the client with a frame of ${length} bytes to be dropped`);
    }
  });

  test('a message too long, one that never ends, one who never reads: told or dropped, nobody else waits', async () => {
    const long = new Attacker();
    long.write('x'.repeat(200_000));
    await until(() => long.closed, 'the long one to be dropped');
    assert.equal(long.answers, 1);

    const slow = new Attacker();
    slow.write('{"id":1,');
    const start = performance.now();
    await status();
    assert.ok(performance.now() - start < 5000);
    await until(() => slow.closed, 'the slow one to be dropped', 30_000);
  });
});
