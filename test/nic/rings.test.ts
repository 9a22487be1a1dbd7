// Objective: the rings of a network interface carry frames as they are (spec linux-nic §3, ports §4, §7.4).
// Operations: both ends of a wire in one namespace, opened by this process; frames sent at one, taken at the other.

import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { interfaces, open, POLLERR, parameters, poll, setParameter, status } from '../../src/client/index.ts';
import { frame, markOf, ownModule, ROOT, receive, refuses, send, take, until, using } from '../harness.ts';
import { lacks, Machine, NO_NETWORK, wire } from './network.ts';

ownModule();

/** Values of the parameter admode. */
const MODES = [
  ['native', 1],
  ['generic', 2],
  ['emulated', 3],
] as const;

describe('rings of an interface', { skip: NO_NETWORK, timeout: 300_000 }, () => {
  const machine = NO_NETWORK ? undefined! : new Machine();
  if (!NO_NETWORK) {
    wire([machine, 'v0'], [machine, 'v1']);
    wire([machine, 'q0'], [machine, 'q1'], { queues: 4 });
    wire([machine, 'big0'], [machine, 'big1'], { mtu: 9000 });
    machine.enter();
  }

  for (const [mode, admode] of MODES) {
    describe(`in ${mode} mode`, () => {
      before(() => setParameter('admode', admode));
      after(() => setParameter('admode', 0));

      test('every length, both ways, byte for byte and in order', async () => {
        await using([open('netmap:v0'), open('netmap:v1')], async (a, b) => {
          assert.equal(a.nic!.mode, mode);
          for (const [from, to] of [
            [a, b],
            [b, a],
          ] as const) {
            const lengths = [14, 15, 59, 60, 61, 64, 255, 256, 511, 1023, 1499, 1514];
            const frames = lengths.map((length, mark) =>
              frame({ length, mark }).map((byte, i) => byte ^ (i < 18 ? 0 : i)),
            );
            send(from, frames);
            const got = await take(to, frames.length);
            assert.deepEqual(
              got.map(({ bytes }) => Buffer.from(bytes).toString('hex')),
              frames.map((bytes) => Buffer.from(bytes).toString('hex')),
            );
          }
        });
      });

      test('round and round the rings: nothing lost while there is room', async () => {
        await using([open('netmap:v0'), open('netmap:v1')], async (a, b) => {
          let next = 0;
          let expected = 0;
          for (let turn = 0; turn < 200; turn++) {
            const count = 1 + (turn % 61);
            send(
              a,
              Array.from({ length: count }, () => frame({ mark: next++ })),
            );
            for (const { bytes } of await take(b, count)) assert.equal(markOf(bytes), expected++);
          }
          assert.equal(expected, next);
        });
      });

      test('a packet of several slots goes out as one; one that is not whole yet waits', async () => {
        await using([open('netmap:v0'), open('netmap:v1')], async (a, b) => {
          send(a, [
            [frame({ length: 100, mark: 7 }), new Uint8Array(200).fill(1), new Uint8Array(50).fill(2)],
            frame({ mark: 8 }),
          ]);
          const got = await take(b, 2);
          assert.deepEqual(
            got.map(({ bytes }) => bytes.length),
            [350, 60],
          );
          assert.equal(markOf(got[0]!.bytes), 7);
        });
      });

      test('slots that cannot be sent are dropped, counted by reason, and free again', async () => {
        await using([open('netmap:v0'), open('netmap:v1')], async (a, b) => {
          const ring = a.txRings[0]!;
          const good = ring.bufIdx(0);
          send(a, [frame({ length: 13 }), frame({ mark: 1 })]);
          ring.setBufIdx(ring.head, 1);
          ring.setLen(ring.head, 60);
          ring.publish(ring.next(ring.head));
          a.txSync();
          assert.equal((await take(b, 1)).length, 1);
          assert.deepEqual(a.drops, {
            'frame shorter than 14 bytes': 1,
            'buffer index not of the region': 1,
          });
          await until(() => {
            a.txSync();
            return !ring.pending;
          }, 'all slots to be free');
          ring.setBufIdx(2, good);
        });
      });

      test('H13: interface down: what is sent is lost or waits, and it goes on afterwards; removed: POLLERR', async () => {
        wire([machine, 'gone0'], [machine, 'gone1']);
        await using([open('netmap:gone0'), open('netmap:gone1')], async (a, b) => {
          machine.ip('link', 'set', 'gone0', 'down');
          send(a, [frame({ mark: 1 })]);
          machine.ip('link', 'set', 'gone0', 'up');
          await until(async () => {
            send(a, [frame({ mark: 2 })]);
            await b.readable({ timeoutMs: 50 });
            return receive(b).some(({ bytes }) => markOf(bytes) === 2);
          }, 'frames to pass again');
          machine.ip('link', 'del', 'gone0');
          const target = { port: b, events: 'in' as const, revents: 0 };
          await until(() => {
            poll([target], 1000);
            return (target.revents & POLLERR) !== 0;
          }, 'POLLERR');
        });
        assert.ok(!(await status()).ports.some(({ name }) => name.startsWith('gone')));
      });
    });
  }

  test('one ring each of several queues; the others stay with the host', async () => {
    await using([open('netmap:q0'), open('netmap:q1-2')], async (a, b) => {
      assert.equal(a.txRings.length, 4);
      assert.equal(b.rxRings.length, 1);
      for (const ring of a.txRings.keys()) send(a, [frame({ mark: ring })], ring);
      assert.deepEqual(
        (await take(b, 1)).map(({ bytes }) => markOf(bytes)),
        [2],
      );
    });
  });

  test('ethN means the interface of that index, where none has that name', async () => {
    const index = (await interfaces()).find(({ name }) => name === 'v0')!.index;
    await using([open(`netmap:eth${index}`), open('netmap:v1')], async (a, b) => {
      send(a, [frame({ mark: 3 })]);
      assert.equal(markOf((await take(b, 1))[0]!.bytes), 3);
    });
  });

  test('two openings share rings; /x does not', async () => {
    await using([open('netmap:v0'), open('netmap:v0')], async (a, b) => {
      assert.equal(a.memId, b.memId);
      await refuses(open('netmap:v0/x'), 'EBUSY');
    });
    await using([open('netmap:v0/x')], async () => {
      await refuses(open('netmap:v0'), 'EBUSY');
    });
  });

  test('buffers change places between interfaces: they share memory', async () => {
    await using([open('netmap:v0'), open('netmap:v1')], async (a, b) => {
      const { memId } = a;
      assert.equal(memId, 1);
      assert.equal(b.memId, 1);
      send(a, [frame({ mark: 9 })]);
      await b.readable({ timeoutMs: 20_000 });
      const rx = b.rxRings[0]!;
      const tx = b.txRings[0]!;
      const [received, free] = [rx.bufIdx(rx.head), tx.bufIdx(tx.head)];
      tx.setBufIdx(tx.head, received);
      tx.setLen(tx.head, rx.len(rx.head));
      rx.setBufIdx(rx.head, free);
      rx.publish(rx.next(rx.head));
      tx.publish(tx.next(tx.head));
      b.txSync();
      b.rxSync();
      assert.equal(markOf((await take(a, 1))[0]!.bytes), 9);
    });
  });

  test('generic mode, asked for by admode=2; H10: 7 is refused', async () => {
    await setParameter('admode', 2);
    await using([open('netmap:v0'), open('netmap:v1')], async (a, b) => {
      assert.equal(b.nic!.mode, 'generic');
      send(a, [frame({ mark: 5 })]);
      assert.equal(markOf((await take(b, 1))[0]!.bytes), 5);
    });
    await setParameter('admode', 0);
    await using([open('netmap:v0')], async (a) => assert.deepEqual(a.nic, { mode: 'native', why: '' }));
    await refuses(setParameter('admode', 7), 'EINVAL');
    assert.equal((await parameters()).find(({ name }) => name === 'admode')!.value, 0);
  });

  test("a driver that refuses: generic mode, in the driver's words; with admode=1 nothing", async () => {
    // veth's does where its peer has more queues to send by than it has to receive.
    machine.run('ethtool', '-L', 'q0', 'rx', '2', 'tx', '2');
    await using([open('netmap:q0')], async (port) => {
      assert.equal(port.nic!.mode, 'generic');
      assert.match(port.nic!.why, /No space left/);
    });
    await setParameter('admode', 1);
    await refuses(open('netmap:q0'), 'EIO', /No space left/);
    await setParameter('admode', 0);
    machine.run('ethtool', '-L', 'q0', 'rx', '4', 'tx', '4');
  });

  test('H11, H12, H17, and an interface that is not there', async () => {
    await refuses(open('netmap:big0'), 'EINVAL', /MTU of 9000/);
    await refuses(open('netmap:lo'), 'EINVAL', /loopback/);
    await refuses(open('netmap:nosuch'), 'ENXIO', /nm-loader interfaces/);
    await refuses(open('vale0:a', { mode: 8 }), 'EINVAL', /host rings/);
    await refuses(open('netmap:v0-1'), 'EINVAL', /ring 1/);
  });

  test('without privileges: which are missing, and what to do', { skip: lacks('setpriv') }, () => {
    const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'netmap-nobody-'));
    fs.chownSync(directory, 65534, 65534);
    try {
      const drop = ['--reuid=65534', '--regid=65534', '--clear-groups', '--'];
      const { status: code, stderr } = spawnSync(
        'setpriv',
        [...drop, `${ROOT}bin/pkt-gen`, '-i', 'netmap:v0', '-f', 'rx'],
        { env: { ...process.env, NETMAP_DIR: directory }, encoding: 'utf8' },
      );
      assert.equal(code, 1);
      assert.match(
        stderr,
        /the module has not CAP_NET_ADMIN, CAP_NET_RAW, .*setcap cap_net_admin,cap_net_raw/,
      );
    } finally {
      fs.rmSync(directory, { recursive: true, force: true });
    }
  });

  test('the list of interfaces: what stands in the way, with its remedy', async () => {
    const all = new Map((await interfaces()).map((nic) => [nic.name, nic]));
    assert.equal(all.get('v0')!.driver, 'veth');
    assert.equal(all.get('v0')!.bestMode, 'native');
    assert.equal(all.get('q0')!.rxQueues, 4);
    assert.match(all.get('big0')!.obstacles[0]!.cause, /MTU of 9000/);
    assert.match(all.get('lo')!.obstacles[0]!.cause, /loopback/);
    machine.ip('link', 'set', 'q0', 'down');
    const down = (await interfaces()).find(({ name }) => name === 'q0')!;
    assert.deepEqual(down.obstacles[0], { cause: 'it is down', remedy: 'ip link set q0 up' });
  });
});
