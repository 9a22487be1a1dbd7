// Objective: ports in memory that a program brings (`@extmem`) or that another port has (`@share`); the longest frame
// of a port; counters read without asking.
// Operations: the library, `vale-ctl -M`, `nm-loader w`.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import path from 'node:path';
import { describe, test } from 'node:test';
import {
  createMemory,
  longestFrame,
  NS_MOREFRAG,
  open,
  openCounters,
  setHeaderLength,
  setLongestFrame,
} from '../../src/client/index.ts';
import { frame, marks, ownModule, receive, refuses, run, send, stage, using } from '../harness.ts';

const directory = ownModule();
const MIB = 1 << 20;

describe('@extmem', { timeout: 60_000 }, () => {
  for (const isolated of [false, true])
    test(`a port in memory of one's own, ${isolated ? 'isolated' : 'direct'}`, async () => {
      await using1(createMemory(16 * MIB), async (memory) => {
        const name = `vale0:a@extmem=${memory.path}`;
        await using([open(name, { isolated }), open('vale0:b')], (a, b) => {
          assert.equal(a.memSize, memory.size);
          send(b, [frame({ mark: 4 })]);
          assert.deepEqual(marks(a), [4]);
          send(a, [frame({ src: 2, mark: 5 })]);
          assert.deepEqual(marks(b), [5]);
        });
      });
    });

  async function using1<T extends Disposable>(what: T, work: (what: T) => Promise<void>) {
    try {
      await work(what);
    } finally {
      what[Symbol.dispose]();
    }
  }

  test('whoever brings the same memory shares it, whatever sizes are said', () =>
    using1(createMemory(16 * MIB), (memory) =>
      using(
        [
          open(`vale0:a@conf:slots=64@extmem:file=${memory.path},buf-num=256,buf-size=4096`),
          open(`vale0:b@conf:slots=64@extmem:file=${memory.path},buf-size=128`),
        ],
        (a, b) => {
          assert.equal(a.memId, b.memId);
          assert.equal(b.rxRings[0]!.bufSize, 4096);
          send(a, [frame({ mark: 8 })]);
          assert.deepEqual(marks(b), [8]);
        },
      ),
    ));

  test('pools that do not fit: ENOMEM; sizes that cannot be: EINVAL', () =>
    using1(createMemory(MIB), async (memory) => {
      await refuses(open(`vale0:a@extmem:file=${memory.path},buf-num=100000`), 'ENOMEM');
      await refuses(open(`vale0:a@extmem:file=${memory.path},buf-size=100`), 'EINVAL');
    }));

  test('a file that is not there: ENOENT; one that is no sealed memfd: EFAULT, and the remedy', async () => {
    await refuses(open('vale0:a@extmem=/missing'), 'ENOENT', /missing/);
    const file = path.join(directory, 'plain');
    fs.writeFileSync(file, Buffer.alloc(16 * MIB));
    await refuses(open(`vale0:a@extmem=${file}`), 'EFAULT', /createMemory/);
    assert.ok(fs.readFileSync(file).every((byte) => byte === 0));
  });
});

describe('@share', { timeout: 60_000 }, () => {
  test("a port in another's memory; what contradicts it: EINVAL", () =>
    using([open('vale0:a@conf:slots=64'), open('vale0:b')], async (a, b) => {
      await using([open('vale0:c@conf:slots=16@share=vale0:a')], (c) => assert.equal(c.memId, a.memId));
      await using([open(`vale0:c@${a.memId}@conf:slots=16@share=vale0:a`)], (c) =>
        assert.equal(c.memId, a.memId),
      );
      await refuses(
        open('vale0:c@share=vale0:a@share=vale0:b'),
        'EINVAL',
        new RegExp(`cannot set mem_id to ${b.memId}, already set to ${a.memId}`),
      );
      await refuses(open('vale0:c@share=vale0:'), 'EINVAL');
    }));
});

describe('the longest frame of a port', { timeout: 60_000 }, () => {
  test('longer ones are dropped and counted; packets of several slots as a whole', () =>
    using([open('vale0:a'), open('vale0:b'), open('vale0:c')], async (a, b, c) => {
      assert.equal(await longestFrame('vale0:b'), 0);
      await setLongestFrame('vale0:b', 100);
      assert.equal(await longestFrame('vale0:b'), 100);
      send(a, [
        frame({ length: 100, mark: 1 }),
        frame({ length: 101, mark: 2 }),
        [frame({ length: 60, mark: 3 }), frame({ length: 60 })],
        [frame({ length: 60, mark: 4 }), frame({ length: 40 })],
      ]);
      assert.deepEqual(
        receive(b).map(({ bytes, flags }) => [bytes.length, flags & NS_MOREFRAG]),
        [
          [100, 0],
          [0, 0],
          [0, NS_MOREFRAG],
          [0, 0],
          [60, NS_MOREFRAG],
          [40, 0],
        ],
      );
      assert.equal(receive(c).length, 6, 'nobody else is concerned');
      assert.deepEqual(a.drops, { 'frame longer than the receiver takes': 2 });
      await setLongestFrame('vale0:b', 0);
      send(a, [frame({ length: 101, mark: 5 })]);
      assert.deepEqual(marks(b), [5]);
    }));

  test('behind a virtio-net header, and where only one side has one', async () => {
    const flags = 0x8000; // NR_ACCEPT_VNET_HDR
    await using([open('vale0:a'), open('vale0:b', { flags })], async (a, b) => {
      await setHeaderLength('vale0:b', 12);
      await setLongestFrame('vale0:b', 100);
      send(a, [frame({ length: 100 }), frame({ length: 101 })]);
      assert.deepEqual(
        receive(b).map(({ bytes }) => bytes.length),
        [112],
      );
      assert.deepEqual(a.drops, { 'frame longer than the receiver takes': 1 });
    });
  });

  test('refused: no such port, no such length; vale-ctl -M', () =>
    using([open('vale0:a')], async () => {
      await refuses(setLongestFrame('vale0:nobody', 100), 'ENXIO');
      await refuses(setLongestFrame('vale0:a', 13), 'EINVAL');
      assert.equal((await run('vale-ctl', ['-M', 'vale0:a'])).stdout, 'longest frame: any\n');
      assert.equal((await run('vale-ctl', ['-M', 'vale0:a', '-b', '1514'])).code, 0);
      assert.equal((await run('vale-ctl', ['-M', 'vale0:a'])).stdout, 'longest frame: 1514\n');
      assert.equal((await run('vale-ctl', ['-M', 'vale0:a', '-b', 'many'])).code, 1);
    }));
});

describe('counters', { timeout: 60_000 }, () => {
  test('are read where they lie, and follow ports that come and go', async () => {
    const counters = await openCounters();
    try {
      await using([open('vale0:a'), open('vale0:b')], async (a, b) => {
        send(a, [frame({ length: 60 }), frame({ length: 13 })]);
        receive(b);
        const find = async (name: string, ring: string) =>
          (await counters.read()).find((port) => port.name === name)?.rings.find((one) => one.ring === ring);
        assert.deepEqual(await find('vale0:a', 'tx0'), {
          ring: 'tx0',
          packets: 2,
          bytes: 73,
          reinits: 0,
          drops: { 'frame shorter than 14 bytes': 1 },
        });
        assert.equal((await find('vale0:b', 'rx0'))?.packets, 1);
        await using([open('vale0:p{1')], async () => assert.ok(await find('vale0:p{1', 'tx0')));
        assert.equal(await find('vale0:p{1', 'tx0'), undefined);
      });
    } finally {
      counters.close();
    }
  });

  test('without the module: a module that is stopped does not hinder a reading', async () => {
    const counters = await openCounters();
    await using([open('vale0:a'), open('vale0:b')], async (a) => {
      await counters.read();
      const { status } = await import('../../src/client/index.ts');
      const { pid } = await status();
      process.kill(pid, 'SIGSTOP');
      try {
        stage(a, [frame(), frame()]);
        a.txSync();
        const port = (await counters.read()).find(({ name }) => name === 'vale0:a');
        assert.equal(port?.rings[0]?.packets, 2);
      } finally {
        process.kill(pid, 'SIGCONT');
      }
    });
    counters.close();
  });

  test('nm-loader w shows them', () =>
    using([open('vale0:a')], async (a) => {
      send(a, [frame()]);
      const { stdout, code } = await run('nm-loader', ['w', '1']);
      assert.equal(code, 0);
      assert.match(stdout, /vale0:a tx0 {2}1 packets, 60 bytes/);
    }));
});
