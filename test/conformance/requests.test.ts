// Objective: the requests besides REGISTER answer as spec api §3.5 and §5 say: information, null ports, parameters,
// and what a switch tells about its addresses.
// Operations: requests of one process, ports opened in it.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import {
  delIf,
  listAddresses,
  NR_REG_NULL,
  newIf,
  open,
  parameters,
  poolsInfo,
  portInfo,
  setParameter,
} from '../../src/client/index.ts';
import {
  frame,
  markOf,
  marks,
  ownModule,
  portNames,
  receive,
  refuses,
  run,
  send,
  until,
  using,
} from '../harness.ts';

ownModule();

describe('POOLS_INFO_GET, PORT_INFO_GET', () => {
  test('pools of a port that is not there: told, and nothing is left', async () => {
    const { memSize, memId, ifs, rings, bufs } = await poolsInfo('vale0:a');
    assert.ok(memId > 1);
    assert.equal(ifs.ofs, 0);
    assert.equal(rings.ofs, ifs.count * ifs.size);
    assert.equal(bufs.ofs, rings.ofs + rings.count * rings.size);
    assert.ok(memSize >= bufs.ofs + bufs.count * bufs.size);
    assert.deepEqual(await portNames(), []);
  });

  test('pools of an open port are those of its region', async () => {
    await using([open('vale0:a')], async (port) => {
      const pools = await poolsInfo('vale0:a');
      assert.equal(pools.memId, port.memId);
      assert.equal(pools.memSize, port.memSize);
    });
  });

  test('of an unknown region: EINVAL', () => refuses(poolsInfo('vale0:a@4711'), 'EINVAL'));

  test('sizes of a pipe that is not there', async () => {
    const info = await portInfo('netmap:q{1');
    assert.deepEqual([info.txRings, info.rxRings, info.txSlots, info.rxSlots], [1, 1, 1024, 1024]);
    assert.deepEqual(await portNames(), []);
  });
});

describe('spec ports §7.4 H15: null ports', () => {
  test('without a region: EINVAL', () => refuses(open('netmap:n', { mode: NR_REG_NULL }), 'EINVAL'));

  test('with region 1: rings and slots as asked for; syncs do nothing', async () => {
    const options = { mode: NR_REG_NULL, txRings: 10, rxRings: 5, txSlots: 256, rxSlots: 100 };
    await using([open('netmap:n@1', options)], (port) => {
      assert.equal(port.memId, 1);
      const { mode: _mode, ...sizes } = options;
      assert.deepEqual(port.info, { ...sizes, hostTxRings: 0, hostRxRings: 0 });
      const ring = port.txRings[0]!;
      ring.publish(ring.next(ring.head));
      assert.equal(port.txSync(), 0);
      assert.equal(ring.tail, 255);
      assert.equal(port.rxSync(), 0);
      assert.ok(port.rxRings[4]!.empty);
    });
  });

  test('zero rings are possible', async () => {
    await using([open('netmap:n@1', { mode: NR_REG_NULL, extraBufs: 7 })], (port) => {
      assert.equal(port.txRings.length + port.rxRings.length, 0);
      assert.equal(port.extraBufs, 7);
    });
  });

  test('two of a name are two ports, in one memory', async () => {
    const options = { mode: NR_REG_NULL, txRings: 1, rxRings: 1, txSlots: 8, rxSlots: 8 };
    await using([open('netmap:n@1', options), open('netmap:n@1', options)], (one, two) => {
      assert.equal(one.memId, two.memId);
      assert.notEqual(one.txRings[0]!.bufIdx(0), two.txRings[0]!.bufIdx(0));
    });
    assert.deepEqual(await portNames(), []);
  });
});

describe('spec api §5: parameters', () => {
  const value = async (name: string) => (await parameters()).find((known) => known.name === name)?.value;

  test('defaults are those of netmap, but for the buffers of region 1, all of which a NIC has the kernel pin', async () => {
    const expected = {
      bridge_batch: 1024,
      max_bridges: 8,
      if_size: 1024,
      if_num: 100,
      ring_size: 36864,
      ring_num: 200,
      buf_size: 2048,
      buf_num: 16384,
      priv_if_size: 1024,
      priv_if_num: 2,
      priv_ring_size: 20480,
      priv_ring_num: 4,
      priv_buf_size: 2048,
      priv_buf_num: 4098,
    };
    for (const [name, wanted] of Object.entries(expected)) assert.equal(await value(name), wanted, name);
  });

  test('unknown, read-only, out of range', async () => {
    await refuses(setParameter('nonsense', 1), 'ENOENT');
    await refuses(setParameter('max_bridges', 9), 'EACCES');
    await refuses(setParameter('buf_size', 63), 'EINVAL');
    await refuses(setParameter('buf_num', 1_000_001), 'EINVAL');
  });

  test('priv_buf_size: ports made from then on have buffers of that size; a longer frame is cut for a monitor (M13)', async () => {
    await using([open('vale0:a'), open('vale0:b')], async (a, b) => {
      await setParameter('priv_buf_size', 128);
      try {
        await using([open('vale0:c'), open('vale0:a/r')], (c, monitor) => {
          assert.equal(c.rxRings[0]!.bufSize, 128);
          send(b, [frame({ length: 100, mark: 1 }), frame({ length: 1000, mark: 2 })]);
          assert.deepEqual(marks(a), [1, 2]);
          assert.equal(markOf(receive(c)[0]!.bytes), 1);
          assert.equal(b.drops['slot longer than a buffer'], 1);
          assert.deepEqual(
            receive(monitor).map(({ bytes }) => bytes.length),
            [100, 128],
          );
        });
      } finally {
        await setParameter('priv_buf_size', 2048);
      }
    });
  });

  test('nm-ctl lists, shows, sets, and refuses', async () => {
    const all = await run('nm-ctl', []);
    assert.equal(all.code, 0);
    assert.match(all.stdout, /^bridge_batch = 1024\nmax_bridges = 8\n/);
    assert.equal((await run('nm-ctl', ['mac_age=60', 'mac_age'])).stdout, 'mac_age = 60\nmac_age = 60\n');
    assert.equal(await value('mac_age'), 60);
    await setParameter('mac_age', 300);
    for (const [word, complaint] of [
      ['nonsense', /Cannot find parameter "nonsense"/],
      ['max_bridges=9', /cannot be changed/],
      ['buf_size=1', /64 to 65536 is allowed/],
      ['buf_size=many', /a whole number is expected/],
    ] as const) {
      const { code, stderr } = await run('nm-ctl', [word]);
      assert.equal(code, 1);
      assert.match(stderr, complaint);
    }
  });
});

describe('addresses of a switch', { timeout: 60_000 }, () => {
  test('a table that can be printed; a port’s addresses go with it', async () => {
    await newIf('keeps'); // Has the module stay while nothing is open.
    await using([open('vale0:a'), open('vale0:b')], async (a, b) => {
      send(a, [frame({ src: 1 }), frame({ src: 2 })]);
      send(b, [frame({ src: 3 })]);
      const table = await listAddresses('vale0');
      assert.deepEqual(table.map(({ mac, port }) => `${mac} ${port}`).sort(), [
        '02:00:00:00:00:01 vale0:a',
        '02:00:00:00:00:02 vale0:a',
        '02:00:00:00:00:03 vale0:b',
      ]);
      const { stdout } = await run('vale-ctl', ['-t', 'vale0']);
      assert.match(stdout, /^02:00:00:00:00:03 vale0:b seen \d+ s ago$/m);
      await b.close();
      assert.equal((await listAddresses('vale0')).length, 2);
    });
    await refuses(listAddresses('vale0'), 'ENOENT');
    await delIf('keeps');
  });

  test('mac_age: a silent address is forgotten and flooded to, a busy one is not', async () => {
    await setParameter('mac_age', 2);
    await using([open('vale0:a'), open('vale0:b'), open('vale0:c')], async (a, b, c) => {
      send(b, [frame({ src: 9 })]);
      send(a, [frame({ src: 1, dst: 9, mark: 1 })]);
      receive(c);
      assert.deepEqual(marks(b), [1]);
      await until(
        () => {
          send(a, [frame({ src: 1, dst: 9, mark: 2 })]);
          return marks(c).length > 0;
        },
        'the silent address to be forgotten',
        20_000,
      );
      assert.deepEqual(
        (await listAddresses('vale0')).map(({ mac }) => mac),
        ['02:00:00:00:00:01'],
      );
    });
    await setParameter('mac_age', 300);
  });
});
