// Objective: a switch's own lookup decides where its frames go, cannot hurt anybody else, and its failures are counted.
// Operations: the examples of examples/lookup, and modules assembled here, on switches of ports in one process.

import assert from 'node:assert/strict';
import { fork } from 'node:child_process';
import { once } from 'node:events';
import fs from 'node:fs';
import path from 'node:path';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import * as examples from '../../examples/lookup/batch.ts';
import {
  answerFor,
  type BatchLookup,
  clearLookup,
  getLookup,
  LOOKUP_AS_LEARNED,
  type LookupBatch,
  type LookupFunction,
  load,
  locatePort,
  NM_BDG_BROADCAST,
  NM_BDG_NOPORT,
  open,
  openLookup,
  type Port,
  setHeaderLength,
  setLookup,
  status,
} from '../../src/client/index.ts';
import { frame, marks, ownModule, receive, refuses, ROOT, run, send, until, using } from '../harness.ts';
import { assemble } from '../wasm.ts';

ownModule();
const indexOf = async (name: string) => (await locatePort(name)).port;
const example = (name: string) => fs.readFileSync(path.join(ROOT, `build/lookup/${name}.wasm`));
const text = (lines: string) => new TextEncoder().encode(lines);

/** A switch of four ports, and a lookup of either kind on it; `moved` has a batch lookup do its part. */
async function onSwitch(
  lookup: Uint8Array | LookupFunction,
  config: string | ((indices: number[]) => string),
  work: (ports: Port[], moved: () => void, batch: BatchLookup | undefined) => unknown,
): Promise<void> {
  const names = ['a', 'b', 'c', 'd'].map((name) => `vale0:${name}`);
  await using(
    names.map((name) => open(name)),
    async (...ports) => {
      const indices = await Promise.all(names.map(indexOf));
      const lines = typeof config === 'string' ? config : config(indices);
      if (lookup instanceof Uint8Array) {
        await setLookup('vale0', lookup, { config: text(lines) });
        await work(ports, () => {}, undefined);
        await clearLookup('vale0');
      } else {
        const batch = await openLookup('vale0', lookup);
        await work(ports, () => void batch.turn(0), batch);
        await batch.close();
        await clearLookup('vale0');
      }
    },
  );
}

/** An example of both kinds. */
function both(
  name: string,
  config: (indices: number[]) => string,
  asFunction: (config: string) => LookupFunction,
  work: (ports: Port[], moved: () => void) => unknown,
): void {
  test(`${name}, in WebAssembly`, () => onSwitch(example(name), config, work));
  test(`${name}, a function`, async () => {
    let decide: LookupFunction = () => {};
    const late: LookupFunction = (batch) => decide(batch);
    await onSwitch(
      late,
      (indices) => {
        const lines = config(indices);
        decide = asFunction(lines);
        return lines;
      },
      work,
    );
  });
}

/** An IPv4 frame of that protocol and destination port. */
function ipv4(protocol: number, port: number, mark: number): Uint8Array {
  const bytes = frame({ mark });
  bytes.set([8, 0], 12);
  bytes[23] = protocol;
  bytes.set([port >> 8, port & 255], 36);
  return bytes;
}

const all = (ports: readonly Port[]) => ports.map((port) => marks(port));

describe('examples', () => {
  both(
    'hub',
    () => '',
    () => examples.hub,
    (ports, moved) => {
      send(ports[0]!, [frame({ dst: 2, mark: 1 }), frame({ dst: 1, mark: 2 })]);
      moved();
      assert.deepEqual(all(ports), [[], [1, 2], [1, 2], [1, 2]]);
    },
  );

  both(
    'static-table',
    ([, b, c]) => `02:00:00:00:00:02 ${b}\n02:00:00:00:00:03 ${c}\n`,
    examples.staticTable,
    (ports, moved) => {
      send(ports[3]!, [frame({ src: 2, mark: 1 })]); // Teaches nothing.
      send(ports[0]!, [frame({ dst: 2, mark: 2 }), frame({ dst: 9, mark: 3 }), frame({ dst: 3, mark: 4 })]);
      moved();
      assert.deepEqual(all(ports), [[1], [1, 2], [1, 4], []]);
    },
  );

  both(
    'acl',
    () => '6 23\n17 0\n',
    examples.acl,
    (ports, moved) => {
      send(ports[0]!, [ipv4(6, 23, 1), ipv4(6, 24, 2), ipv4(17, 7, 3), frame({ mark: 4 })]);
      moved();
      assert.deepEqual(all(ports), [[], [2, 4], [2, 4], [2, 4]]);
      send(ports[1]!, [frame({ dst: 1, src: 5, mark: 5 })]); // As learned.
      moved();
      assert.deepEqual(all(ports), [[5], [], [], []]);
    },
  );

  both(
    'vlan',
    ([a, b, c]) => `${a} 10\n${b} 10\n${c} 10\n`,
    examples.vlan,
    (ports, moved) => {
      ports.forEach((port, i) => {
        send(port, [frame({ mark: i })]);
      });
      moved();
      assert.deepEqual(all(ports), [[1, 2], [0, 2], [0, 1], []]);
    },
  );

  both(
    'balance',
    ([, b, c]) => `${b} ${c}`,
    examples.balance,
    (ports, moved) => {
      const flows = Array.from({ length: 100 }, (_, i) => frame({ src: i + 1, dst: 7, mark: i }));
      send(ports[0]!, flows);
      moved();
      const [, b, c, d] = all(ports) as [number[], number[], number[], number[]];
      assert.equal(b.length + c.length, 100);
      assert.ok(b.length > 20 && c.length > 20, `${b.length} and ${c.length}`);
      assert.deepEqual(d, []);
      send(ports[0]!, flows); // A flow stays where it is.
      moved();
      assert.deepEqual(all(ports), [[], b, c, []]);
    },
  );
});

describe('a lookup finds what it asked for in its parameters', () => {
  /** A number out of a parameter, kept in a local while a loop goes more than a dozen rounds. */
  const keeping = (number: readonly number[]) => {
    const countDown = [0x20, 11, 0x41, 1, 0x6b, 0x22, 11, 0x0d, 0];
    const rounds = [0x41, ...sleb(200), 0x21, 11, 0x03, 0x40, ...countDown, 0x0b];
    return assemble({ locals: 2, body: [...number, 0x21, 10, ...rounds, 0x20, 10] });
  };
  const low = (word: number) => [0x20, word, 0xa7, 0x41, ...sleb(0xff), 0x71]; // i32.wrap_i64, and 0xff
  const bytes = new Uint8Array(64).fill(NM_BDG_NOPORT);

  for (let word = 0; word < 8; word++)
    test(`word ${word}: 8 bytes of the frame, the first one lowest`, () =>
      onSwitch(keeping(low(word)), '', async ([a, , c]) => {
        const marked = bytes.slice();
        marked[8 * word] = await indexOf('vale0:c');
        send(a!, [marked, bytes]);
        assert.deepEqual(
          receive(c!).map((got) => got.bytes),
          [marked],
        );
      }));

  test('length, and the port that sent it', () =>
    onSwitch(keeping([0x20, 8, 0x41, 61, 0x6b, 0x20, 9, 0x6a]), '', async ([a, b]) => {
      const own = await indexOf('vale0:a');
      const other = await indexOf('vale0:b');
      const marked = bytes.slice(0, 61 + other - own); // length - 61 + port: that other port
      send(a!, [marked]);
      assert.deepEqual(
        receive(b!).map((got) => got.bytes),
        [marked],
      );
    }));
});

/** One function, `lookup`, of these instructions. */
const of = (...body: number[]) => assemble({ body });
const ENDLESS = [0x03, 0x40, 0x0c, 0x00, 0x0b, 0x00];
const RECURSION = [...Array.from({ length: 10 }, (_, i) => [0x20, i]).flat(), 0x10, 0x00];
const constant = (value: number) => of(0x41, ...sleb(value));

function sleb(value: number): number[] {
  const bytes: number[] = [];
  for (let rest = value; ; rest >>= 7) {
    const last = (rest >> 7 === 0 && !(rest & 0x40)) || (rest >> 7 === -1 && rest & 0x40);
    bytes.push((rest & 0x7f) | (last ? 0 : 0x80));
    if (last) return bytes;
  }
}

describe('a lookup that fails harms only its own switch, and is counted', () => {
  for (const { what, code } of [
    { what: 'loops for ever', code: of(...ENDLESS) },
    { what: 'calls itself for ever', code: of(...RECURSION) },
    { what: 'traps', code: of(0x00) },
    { what: 'answers a port that is not there', code: constant(77) },
    { what: 'answers nonsense', code: constant(-1) },
    { what: 'traps in its start function', code: assemble({ body: [0x41, 0], start: [0x00] }) },
    { what: 'loops in its start function', code: assemble({ body: [0x41, 0], start: ENDLESS }) },
  ])
    test(what, { timeout: 30_000 }, () =>
      using([open('vale1:x'), open('vale1:y')], (x, y) =>
        onSwitch(code, '', ([a, b]) => {
          send(
            a!,
            Array.from({ length: 40 }, () => frame()),
          );
          assert.deepEqual(receive(b!), []);
          assert.deepEqual(a!.drops, { 'lookup of its switch failed': 40 });
          send(x, [frame({ mark: 5 })]);
          assert.deepEqual(marks(y), [5]);
        }),
      ),
    );

  test('a trap at some packets costs those', () =>
    // The last byte of the destination address is 9: unreachable.
    onSwitch(
      of(
        0x20,
        0,
        0x42,
        40,
        0x88,
        0x42,
        ...sleb(255),
        0x83,
        0x42,
        9,
        0x51,
        0x04,
        0x40,
        0x00,
        0x0b,
        0x41,
        ...sleb(254),
      ),
      '',
      ([a, b]) => {
        send(
          a!,
          [1, 9, 2, 9, 3].map((dst) => frame({ dst, mark: dst })),
        );
        assert.deepEqual(marks(b!), [1, 2, 3]);
        assert.equal(Object.values(a!.drops)[0], 2);
      },
    ));
});

describe('what is no lookup is refused in a sentence', () => {
  const refused = async (code: Uint8Array, message: RegExp, config?: Uint8Array) => {
    await refuses(setLookup('vale2', code, { label: 'x', ...(config && { config }) }), 'EINVAL', message);
  };
  for (const { what, code, message, config } of [
    { what: 'no WebAssembly', code: text('#!/bin/sh'), message: /Cannot use "x" as a lookup/ },
    { what: 'nothing', code: new Uint8Array(), message: /as a lookup/ },
    {
      what: 'an import',
      code: assemble({ body: [0x41, 0], import: ['env', 'system'] }),
      message: /imports "env.system"/,
    },
    {
      what: 'no export',
      code: assemble({ body: [0x41, 0], name: 'look' }),
      message: /exports no function "lookup"/,
    },
    {
      what: 'another type',
      code: assemble({ body: [0x41, 0], parameters: [0x7f] }),
      message: /its "lookup" is not/,
    },
    {
      what: 'too much memory',
      code: assemble({ body: [0x41, 0], pages: 300 }),
      message: /300 pages of memory, 256/,
    },
    {
      what: 'vectors',
      code: of(0xfd, 0x0c, ...Array(16).fill(0), 0x1a, 0x41, 0),
      message: /instruction 0xfd/,
    },
    { what: 'a configuration without a place', code: constant(0), message: /no "memory"/, config: text('1') },
  ])
    test(what, () => using([open('vale2:a')], () => refused(code, message, config)));

  test('no such switch', () => refuses(setLookup('vale77', constant(0)), 'ENXIO', /no such switch/));

  test('a module cut off at every length', () =>
    using([open('vale2:a')], async () => {
      const code = example('static-table');
      for (let length = 0; length < code.length; length++) await refused(code.subarray(0, length), /./);
      assert.equal((await getLookup('vale2')).kind, 'table');
    }));

  test('a module with bytes changed is refused or harmless', { timeout: 120_000 }, () =>
    using([open('vale2:a'), open('vale2:b')], async (a) => {
      const code = example('acl');
      await fc.assert(
        fc.asyncProperty(
          fc.array(fc.tuple(fc.nat(code.length - 1), fc.nat(255)), { minLength: 1, maxLength: 4 }),
          async (changes) => {
            const changed = Uint8Array.from(code);
            for (const [at, value] of changes) changed[at] = value;
            await setLookup('vale2', changed, { config: text('6 23') }).catch((error) => {
              assert.equal(error.code, 'EINVAL', error.message);
              assert.doesNotMatch(error.message, /\n/);
            });
            send(a, [ipv4(6, 23, 1)]);
          },
        ),
        { numRuns: 150 },
      );
      await clearLookup('vale2');
      assert.equal((await getLookup('vale2')).kind, 'table');
    }),
  );
});

describe('answers', () => {
  test('a ring of a port', () =>
    using([open('vale3:a'), open('vale3:b@conf:rings=4')], async (a, b) => {
      await setLookup('vale3', constant(answerFor(await indexOf('vale3:b'), 2)));
      send(a, [frame({ mark: 1 })]);
      assert.deepEqual(
        [0, 1, 2, 3].map((ring) => marks(b, ring)),
        [[], [], [1], []],
      );
    }));

  test('as learned, and to drop', () =>
    onSwitch(constant(LOOKUP_AS_LEARNED), '', async ([a, b, c]) => {
      send(a!, [frame({ src: 1 })]);
      assert.equal(receive(c!).length, 1);
      send(b!, [frame({ src: 2, dst: 1, mark: 4 })]);
      assert.deepEqual([marks(a!), marks(c!)], [[4], []]);
      await setLookup('vale0', constant(NM_BDG_NOPORT));
      send(a!, [frame()]);
      assert.deepEqual(a!.drops, { 'discarded by the lookup of its switch': 1 });
    }));

  test('several ports: sendAlso(), with packets of several slots among others', () =>
    onSwitch(
      example('vlan'),
      ([a, b, c]) => `${a} 5\n${b} 5\n${c} 5\n`,
      (ports) => {
        const long = [frame({ mark: 2 }), new Uint8Array(100)];
        send(ports[0]!, [frame({ mark: 1 }), long, frame({ mark: 3 })]);
        for (const port of ports.slice(1, 3)) {
          const lengths = receive(port).map(({ bytes }) => bytes.length);
          assert.deepEqual(lengths, [60, 60, 100, 60]);
        }
        send(ports[3]!, [frame()]); // In no VLAN.
        assert.deepEqual(all(ports), [[], [], [], []]);
        assert.deepEqual(ports[3]!.drops, { 'discarded by the lookup of its switch': 1 });
      },
    ));

  /** Answers everybody if all bytes shown are 0, else nobody. */
  const allZero = of(
    ...[0x20, 0],
    ...Array.from({ length: 7 }, (_, i) => [0x20, i + 1, 0x84]).flat(),
    ...[0x50, 0x04, 0x7f, 0x41, ...sleb(NM_BDG_BROADCAST), 0x05, 0x41, ...sleb(NM_BDG_NOPORT), 0x0b],
  );

  test('64 bytes are shown: those of the frame, and zeros behind it', () =>
    using([open('vale3:a', { offsets: { max: 100 } }), open('vale3:b'), open('vale3:c')], async (a, b, c) => {
      await setLookup('vale3', allZero);
      const passes = (sender: Port, parts: Uint8Array[], offset = 0) => {
        const ring = sender.txRings[0]!;
        let slot = ring.head;
        for (const _ of parts) {
          ring.buffer(slot).fill(0xff); // What was there before.
          if (ring.hasOffsets) ring.setOffset(slot, offset);
          slot = ring.next(slot);
        }
        send(sender, [parts]);
        return receive(c).length > 0;
      };
      for (const [sender, offset] of [
        [b, 0],
        [a, 0],
        [a, 33],
      ] as const) {
        for (let length = 14; length < 80; length++) {
          assert.ok(passes(sender, [new Uint8Array(length)], offset), `${length} bytes`);
          const last = new Uint8Array(length);
          last[length - 1] = 1;
          assert.equal(passes(sender, [last], offset), length > 64, `the last of ${length} bytes`);
        }
        // Of several slots the first is shown.
        const more = new Uint8Array(80).fill(1);
        for (const first of [14, 40, 63, 64])
          assert.ok(passes(sender, [new Uint8Array(first), more], offset), `${first} + 80 bytes`);
      }
      await setHeaderLength('vale3:b', 12);
      const header = new Uint8Array(12).fill(9, 2);
      header[0] = 2; // A flag that asks for nothing.
      assert.ok(passes(b, [Uint8Array.from([...header, ...new Uint8Array(20)])]));
      assert.ok(passes(b, [header, new Uint8Array(20)]));
      assert.ok(!passes(b, [header, new Uint8Array(20).fill(1)]));
      await clearLookup('vale3');
    }));

  test('packets of several slots', () =>
    onSwitch(constant(NM_BDG_BROADCAST), '', ([a, b]) => {
      send(a!, [[frame({ mark: 1 }), new Uint8Array(2048).fill(7)], frame({ mark: 2 })]);
      assert.deepEqual(
        receive(b!).map(({ bytes }) => bytes.length),
        [60, 2048, 60],
      );
    }));

  test('changed while frames are sent: each goes by one lookup or the other', () =>
    onSwitch(constant(NM_BDG_BROADCAST), '', async ([a, b]) => {
      for (let i = 0; i < 20; i++) {
        await setLookup('vale0', constant(i & 1 ? NM_BDG_BROADCAST : NM_BDG_NOPORT));
        send(a!, [frame({ mark: i })]);
        assert.deepEqual(marks(b!), i & 1 ? [i] : []);
      }
      assert.equal((await getLookup('vale0')).kind, 'wasm');
    }));
});

describe('a function on batches', () => {
  test('sees bytes, length, port and ring; order is kept; nobody gets its own frames', () => {
    const seen: number[][] = [];
    return onSwitch(
      (batch) => {
        for (let i = 0; i < batch.count; i++) {
          seen.push([batch.frame(i)[5]!, batch.length(i), batch.port(i), batch.ring(i)]);
          batch.answers[i] = NM_BDG_BROADCAST;
        }
      },
      '',
      async (ports, moved) => {
        for (let round = 0; round < 5; round++) {
          const sent = Array.from({ length: 400 }, (_, i) => frame({ dst: 3, mark: round * 400 + i }));
          send(ports[0]!, sent);
          moved();
          const expected = sent.map((_, i) => round * 400 + i);
          assert.deepEqual(all(ports), [[], expected, expected, expected]);
        }
        const a = await indexOf('vale0:a');
        assert.deepEqual(seen[0], [3, 60, a, 0]);
        send(ports[1]!, [[frame({ mark: 9 }), new Uint8Array(100)], frame({ mark: 10 })]);
        moved();
        assert.deepEqual(
          receive(ports[0]!).map(({ bytes }) => bytes.length),
          [60, 100, 60],
        );
      },
    );
  });

  test('throws: its packets are dropped and counted, the next are not', () => {
    let fails = true;
    return onSwitch(
      (batch) => {
        if (fails) throw new Error('no idea');
        examples.hub(batch);
      },
      '',
      ([a, b], moved, batch) => {
        send(a!, [frame(), frame()]);
        moved();
        assert.deepEqual(receive(b!), []);
        assert.deepEqual([batch!.faults, Object.values(batch!.drops)], [1, [2]]);
        fails = false;
        send(a!, [frame({ mark: 3 })]);
        moved();
        assert.deepEqual(marks(b!), [3]);
      },
    );
  });

  test('answers nonsense, or nothing: counted', () =>
    onSwitch(
      (batch) => {
        batch.answers[0] = 99;
      },
      '',
      ([a, b], moved, batch) => {
        send(a!, [frame(), frame()]);
        moved();
        assert.deepEqual(receive(b!), []);
        assert.deepEqual(batch!.drops, {
          'lookup of its switch failed': 1,
          'discarded by the lookup of its switch': 1,
        });
      },
    ));

  describe('sendAlso()', () => {
    test('further ports, rings, everybody; packets of several slots; in any order', () =>
      using(
        [open('vale3:a'), open('vale3:b@conf:rings=2'), open('vale3:c'), open('vale3:d')],
        async (a, b, c, d) => {
          const [toB, toC, toD] = (await Promise.all(
            ['b', 'c', 'd'].map((name) => indexOf(`vale3:${name}`)),
          )) as [number, number, number];
          const lookup = await openLookup('vale3', (batch) => {
            batch.sendAlso(4, LOOKUP_AS_LEARNED);
            batch.sendAlso(2, toD);
            batch.sendAlso(0, answerFor(toB, 1));
            batch.sendAlso(0, toD);
            batch.answers[0] = toC;
            batch.sendAlso(2, toB); // And no answer.
            batch.answers[3] = toB;
            batch.sendAlso(4, toD);
            batch.answers[4] = NM_BDG_NOPORT;
          });
          const long = [frame({ mark: 2 }), new Uint8Array(100)];
          const nobody = frame({ mark: 1 });
          send(a, [frame({ mark: 0 }), nobody, long, frame({ mark: 3 }), frame({ mark: 4 })]);
          lookup.turn(0);
          const lengths = (port: Port) => receive(port).map(({ bytes }) => [bytes.length, bytes[17]]);
          assert.deepEqual(lengths(b), [
            [60, 2],
            [100, 0],
            [60, 3],
            [60, 4],
          ]);
          assert.deepEqual(marks(b, 1), [0]);
          assert.deepEqual(marks(c), [0, 4]);
          assert.deepEqual(lengths(d), [
            [60, 0],
            [60, 2],
            [100, 0],
            [60, 4], // Everybody, and once more by name.
            [60, 4],
          ]);
          assert.deepEqual(lookup.drops, { 'discarded by the lookup of its switch': 1 });
          await lookup.close();
          await clearLookup('vale3');
        },
      ));

    test('more destinations than are told at a time: none is lost, and frames stay in order', () =>
      using(
        ['a', 'b', 'c'].map((name) => open(`vale3:${name}@conf:slots=4096`)),
        async (...ports) => {
          const [a, b, c] = ports as [Port, Port, Port];
          const [toB, toC] = [await indexOf('vale3:b'), await indexOf('vale3:c')];
          const MANY = 5;
          const lookup = await openLookup('vale3', (batch) => {
            for (let i = 0; i < batch.count; i++) {
              batch.answers[i] = toC;
              if (i % 3 === 2) continue;
              batch.sendAlso(i, toB);
              for (let n = 0; n < MANY; n++) batch.sendAlso(i, NM_BDG_NOPORT);
            }
          });
          const COUNT = 1900;
          for (let i = 0; i < COUNT; i += 475)
            send(
              a,
              Array.from({ length: 475 }, (_, n) => frame({ mark: i + n })),
            );
          assert.equal(lookup.turn(0), COUNT);
          const sent = Array.from({ length: COUNT }, (_, i) => i);
          assert.deepEqual(marks(c), sent);
          assert.deepEqual(
            marks(b),
            sent.filter((i) => i % 3 !== 2),
          );
          await lookup.close();
          await clearLookup('vale3');
        },
      ));

    test('what it does not take: no such packet, a 255th further destination; its batch is dropped, the next is not', () => {
      let wrong: (batch: LookupBatch) => void = (batch) => batch.sendAlso(2, NM_BDG_BROADCAST);
      return onSwitch(
        (batch) => {
          batch.answers.fill(NM_BDG_BROADCAST, 0, batch.count);
          wrong(batch);
        },
        '',
        ([a, b], moved, lookup) => {
          const attempt = () => {
            send(a!, [frame({ mark: 1 }), frame({ mark: 2 })]);
            moved();
            return marks(b!);
          };
          assert.deepEqual(attempt(), []);
          wrong = (batch) => batch.sendAlso(-1, NM_BDG_BROADCAST);
          assert.deepEqual(attempt(), []);
          wrong = (batch) => {
            for (let i = 0; i < 255; i++) batch.sendAlso(0, NM_BDG_BROADCAST);
          };
          assert.deepEqual(attempt(), []);
          assert.ok(lookup!.lastError instanceof RangeError);
          assert.deepEqual([lookup!.faults, Object.values(lookup!.drops)], [3, [6]]);
          wrong = () => {};
          assert.deepEqual(attempt(), [1, 2]);
          wrong = (batch) => {
            for (let i = 0; i < 254; i++) batch.sendAlso(0, NM_BDG_BROADCAST);
          };
          assert.deepEqual(attempt(), [...new Array(255).fill(1), 2]);
        },
      );
    });
  });

  test('run() forwards until the signal aborts', () =>
    onSwitch(examples.hub, '', async ([a, b], _moved, batch) => {
      const abort = new AbortController();
      const running = batch!.run({ signal: abort.signal });
      send(a!, [frame({ mark: 8 })]);
      await b!.readable();
      assert.deepEqual(marks(b!), [8]);
      abort.abort();
      await running;
    }));

  test('its process is killed: frames are dropped and counted, until the lookup is cleared', () =>
    using([open('vale4:a'), open('vale4:b')], async (a, b) => {
      const child = fork(fileURLToPath(new URL('../lookup-process.js', import.meta.url)), ['vale4']);
      await once(child, 'message');
      send(a, [frame({ mark: 1 })]);
      await b.readable({ timeoutMs: 10_000 });
      assert.deepEqual(marks(b), [1]);
      child.kill('SIGKILL');
      await until(async () => !(await getLookup('vale4')).alive, 'the module to notice');
      send(a, [frame()]);
      assert.deepEqual(Object.values(a.drops), [1]);
      await setLookup('vale4', constant(NM_BDG_BROADCAST)); // Another one makes it work again,
      send(a, [frame({ mark: 3 })]);
      assert.deepEqual(marks(b), [3]);
      await clearLookup('vale4'); // and so does none.
      send(a, [frame({ mark: 2 })]);
      assert.deepEqual(marks(b), [2]);
    }));
});

test('a function that never returns holds up its own switch alone, until its process is killed', () =>
  using([open('vale8:a'), open('vale8:b'), open('vale9:a'), open('vale9:b')], async (a, b, c, d) => {
    const script = fileURLToPath(new URL('../lookup-process.js', import.meta.url));
    const child = fork(script, ['vale8', 'loop'], { stdio: ['ignore', 'pipe', 'inherit', 'ipc'] });
    await once(child, 'message');
    send(a, [frame({ mark: 1 })]);
    await once(child.stdout!, 'data');
    const sent = Array.from({ length: 500 }, () => frame());
    for (let i = 0; i < 6; i++) send(a, sent); // Senders do not wait for it: what its ring cannot hold is counted.
    assert.deepEqual(receive(b), []);
    const full = Object.values(a.drops).reduce((sum, count) => sum + count, 0);
    assert.ok(full > 0 && full < 3000, JSON.stringify(a.drops));
    send(c, [frame({ mark: 2 })]);
    assert.deepEqual(marks(d), [2]);
    child.kill('SIGKILL');
    await until(async () => !(await getLookup('vale8')).alive, 'the module to notice');
    await clearLookup('vale8');
    send(a, [frame({ mark: 3 })]);
    assert.deepEqual(marks(b), [3]);
  }));

test('a module that is killed and started again finds the lookups', () =>
  using([open('vale5:a'), open('vale5:b'), open('vale6:a'), open('vale6:b')], async (a, b, c, d) => {
    await setLookup('vale5', constant(NM_BDG_NOPORT), { label: 'nothing' });
    const batch = await openLookup('vale6', examples.hub, { label: 'hub' });
    const { pid } = await status();
    process.kill(pid, 'SIGKILL');
    await until(
      () =>
        load().then(
          () => true,
          () => false,
        ),
      'another module',
    );
    await until(
      async () => (await status()).clients.every((client) => client.connected),
      'the clients to come back',
    );
    assert.deepEqual(await getLookup('vale5'), { kind: 'wasm', label: 'nothing', alive: true });
    assert.deepEqual(await getLookup('vale6'), { kind: 'batch', label: 'hub', alive: true });
    send(a, [frame()]);
    assert.deepEqual(receive(b), []);
    send(c, [frame({ mark: 6 })]);
    batch.turn(0);
    assert.deepEqual(marks(d), [6]);
    await batch.close();
  }));

test('vale-ctl sets, shows and clears a lookup', () =>
  using([open('vale7:a')], async () => {
    const file = path.join(ROOT, 'build/lookup/hub.wasm');
    assert.equal((await run('vale-ctl', ['-L', 'vale7', '-f', file])).code, 0);
    assert.equal((await run('vale-ctl', ['-L', 'vale7'])).stdout, 'wasm "hub.wasm"\n');
    assert.equal((await run('vale-ctl', ['-U', 'vale7'])).code, 0);
    assert.equal((await run('vale-ctl', ['-L', 'vale7'])).stdout, 'table\n');
    assert.match((await run('vale-ctl', ['-L', 'vale7', '-f', '/nowhere'])).stderr, /^vale-ctl: Cannot read/);
  }));
