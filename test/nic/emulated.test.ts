// Objective: emulated mode, by packet sockets: what it has to do that AF_XDP does by itself (spec ports §4.3, linux-nic §5;
// what all modes have in common is in rings.test and host.test).
// Operations: both ends of a wire in one namespace; frames with tags, frames made large by offloads, a death in between.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import {
  attach,
  detach,
  interfaces,
  NS_MOREFRAG,
  open,
  portInfo,
  setParameter,
  unload,
} from '../../src/client/index.ts';
import { drop, hang } from '../../src/nic/linux/hang.ts';
import * as programs from '../../src/nic/linux/programs.ts';
import * as bpf from '../../src/os/linux/bpf.ts';
import * as libc from '../../src/os/linux/libc.ts';
import { frame, markOf, ownModule, ROOT, receive, refuses, send, take, until, using } from '../harness.ts';
import { Machine, NO_NETWORK, wire } from './network.ts';
import { RawSocket } from './raw-socket.ts';

ownModule();

describe('emulated mode', { skip: NO_NETWORK, timeout: 300_000 }, () => {
  const machine = NO_NETWORK ? undefined! : new Machine();
  if (!NO_NETWORK) {
    wire([machine, 'v0'], [machine, 'v1']);
    wire([machine, 'q0'], [machine, 'q1'], { queues: 4 });
    wire([machine, 'big0'], [machine, 'big1'], { mtu: 9000 });
    machine.enter();
  }
  before(() => setParameter('admode', 3));
  after(() => unload({ force: true }));

  test('a VLAN tag, which the stack takes out before packet sockets hear a frame, is where it was', async () => {
    await using([open('netmap:v0'), open('netmap:v1')], async (a, b) => {
      for (const type of [0x8100, 0x88a8]) {
        const tagged = frame({ length: 80 });
        new DataView(tagged.buffer).setUint16(12, type);
        new DataView(tagged.buffer).setUint16(14, 0x6007);
        new DataView(tagged.buffer).setUint16(16, 0x0800);
        send(a, [tagged, frame({ mark: 2 })]);
        const [first, second] = await take(b, 2);
        assert.deepEqual(Buffer.from(first!.bytes).toString('hex'), Buffer.from(tagged).toString('hex'));
        assert.equal(markOf(second!.bytes), 2);
      }
    });
  });

  test('H16: a frame of 9 KB, as GRO makes them: several slots, MOREFRAG on all but the last; 60 KB too', async () => {
    machine.run('ethtool', '-K', 'v1', 'tx', 'on', 'tso', 'on');
    await using([open('netmap:v0')], async (port) => {
      using raw = new RawSocket('v1');
      const bufSize = port.rxRings[0]!.bufSize;
      for (const payload of [9000, 60_000, 3000]) {
        const large = raw.sendLarge(payload);
        raw.send(frame({ mark: 7 }));
        const slots = Math.ceil(large.length / bufSize);
        const got = await take(port, slots + 1);
        assert.deepEqual(
          got.map(({ flags }) => (flags & NS_MOREFRAG) !== 0),
          Array.from({ length: slots + 1 }, (_, i) => i < slots - 1),
        );
        const whole = Buffer.concat(got.slice(0, slots).map(({ bytes }) => bytes));
        assert.equal(whole.toString('hex'), large.toString('hex'));
        assert.equal(markOf(got[slots]!.bytes), 7);
      }
    });
    machine.run('ethtool', '-K', 'v1', 'tx', 'off');
  });

  test('a frame that finds too few free slots waits for them', async () => {
    machine.run('ethtool', '-K', 'v1', 'tx', 'on', 'tso', 'on');
    await using([open('netmap:v0')], async (port) => {
      using raw = new RawSocket('v1');
      const ring = port.rxRings[0]!;
      const full = ring.numSlots - 1;
      for (let mark = 0; mark < full - 2; mark++) raw.send(frame({ mark }));
      const large = raw.sendLarge(9000);
      await until(() => {
        port.rxSync();
        return ring.space === full - 2;
      }, 'all short frames');
      port.rxSync();
      assert.equal(ring.space, full - 2);
      const got = await take(port, full - 2);
      assert.equal(markOf(got.at(-1)!.bytes), full - 3);
      const rest = await take(port, Math.ceil(large.length / ring.bufSize));
      assert.equal(Buffer.concat(rest.map(({ bytes }) => bytes)).toString('hex'), large.toString('hex'));
    });
    machine.run('ethtool', '-K', 'v1', 'tx', 'off');
  });

  test('what is sent does not come back; the host neither hears nor is heard', async () => {
    machine.ip('addr', 'add', '10.5.0.1/24', 'dev', 'v0');
    await using([open('netmap:v0'), open('netmap:v1')], async (a, b) => {
      assert.ok(!machine.tries('ping', '-c', '1', '-W', '1', '10.5.0.2'), 'nobody is there');
      b.rxSync();
      assert.deepEqual(receive(b), [], 'no ARP request has left');
      send(a, [frame({ mark: 1 })]);
      assert.equal((await take(b, 1)).length, 1);
      a.rxSync();
      assert.deepEqual(receive(a), []);
    });
    machine.ip('addr', 'del', '10.5.0.1/24', 'dev', 'v0');
  });

  test('for reading alone, the host may send; for sending alone, it hears', async () => {
    machine.ip('addr', 'add', '10.5.0.1/24', 'dev', 'v0');
    await using([open('netmap:v0/R'), open('netmap:v1')], async (_reader, b) => {
      machine.tries('ping', '-c', '1', '-W', '1', '10.5.0.2');
      assert.ok((await take(b, 1)).length > 0, 'an ARP request');
    });
    await using([open('netmap:v0/T'), open('netmap:v1')], async (sender, b) => {
      using raw = new RawSocket('v0', { receives: true });
      send(b, [frame({ mark: 5 })]);
      await until(() => raw.received().some((bytes) => markOf(bytes) === 5), 'the host to hear it');
      send(sender, [frame({ mark: 6 })]);
      assert.equal(markOf((await take(b, 1))[0]!.bytes), 6);
    });
    machine.ip('addr', 'del', '10.5.0.1/24', 'dev', 'v0');
  });

  test('one ring each way, however many queues there are; there is no second', async () => {
    await using([open('netmap:q0')], async (a) => {
      assert.equal(a.txRings.length, 1);
      using raw = new RawSocket('q1');
      for (let mark = 0; mark < 32; mark++) raw.send(frame({ mark, src: mark }));
      assert.deepEqual(
        (await take(a, 32)).map(({ bytes }) => markOf(bytes)),
        Array.from({ length: 32 }, (_, mark) => mark),
      );
    });
    await refuses(open('netmap:q0-1'), 'EINVAL', /1 tx and 1 rx/);
  });

  test('isolated: the module syncs, and wakes who waits', async () => {
    await using([open('netmap:v0', { isolated: true }), open('netmap:v1')], async (guest, far) => {
      for (let mark = 0; mark < 10; mark++) {
        const woken = guest.readable({ timeoutMs: 20_000 });
        send(far, [frame({ mark })]);
        await woken;
        assert.equal(markOf((await take(guest, 1))[0]!.bytes), mark);
        send(guest, [frame({ mark: 100 + mark })]);
        await guest.writable({ timeoutMs: 20_000 });
        assert.equal(markOf((await take(far, 1))[0]!.bytes), 100 + mark);
      }
    });
  });

  test('on a switch: attached with one ring, though the interface has more queues', async () => {
    await attach('vale0:q0');
    await using([open('vale0:x'), open('netmap:q1')], async (port, far) => {
      send(port, [frame({ mark: 3, src: 1 })]);
      assert.equal(markOf((await take(far, 1))[0]!.bytes), 3);
      send(far, [frame({ mark: 4, src: 2 })]);
      assert.equal(markOf((await take(port, 1))[0]!.bytes), 4);
    });
    await detach('vale0:q0');
  });

  test('one of those who share a port is killed in the middle, again and again: the others go on in step', async () => {
    await using([open('netmap:v0'), open('netmap:v1')], async (a, b) => {
      for (let i = 0; i < 10; i++) {
        const programs = [
          machine.start(`${ROOT}bin/pkt-gen`, ['-i', 'netmap:v0', '-f', 'tx', '-w', '0']),
          machine.start(`${ROOT}bin/pkt-gen`, ['-i', 'netmap:v1', '-f', 'rx', '-w', '0', '-T', '100']),
        ];
        await programs[1]!.says(/main_thread .*[1-9][0-9.]* [KM]pps/);
        for (const program of programs) {
          program.process.kill('SIGKILL');
          await program.ended;
        }
        // What was under way comes first.
        await until(async () => {
          send(a, [frame({ mark: 1000 + i })]);
          await b.readable({ timeoutMs: 100 });
          return receive(b).some(({ bytes }) => markOf(bytes) === 1000 + i);
        }, 'a frame of ours');
        assert.equal((await portInfo('netmap:v0')).rxRings, 1);
      }
    });
  });

  test("beside an XDP program of somebody else's, which AF_XDP cannot be: refused with what to do, offloads as they were", async () => {
    machine.run('ethtool', '-K', 'v0', 'gro', 'on');
    const map = bpf.createSocketMap(1);
    const { index } = (await interfaces()).find(({ name }) => name === 'v0')!;
    // It has no socket to bring frames to: all pass.
    const code = programs.receive(map);
    const link = hang('be there', bpf.PROG_XDP, bpf.ATTACH_XDP, index, code, bpf.XDP_SKB_MODE);
    await setParameter('admode', 0);
    await refuses(open('netmap:v0'), 'EEXIST', /admode=3/);
    assert.match(machine.run('ethtool', '-k', 'v0'), /generic-receive-offload: on/);
    await setParameter('admode', 3);
    await using([open('netmap:v0'), open('netmap:v1')], async (a, b) => {
      send(b, [frame({ mark: 1 })]);
      assert.equal(markOf((await take(a, 1))[0]!.bytes), 1);
    });
    drop(link);
    libc.closeFd(map);
  });

  test('chosen where AF_XDP takes no buffers of that size, and said so; H10: not with admode=1', async () => {
    await setParameter('admode', 0);
    await setParameter('buf_size', 9216);
    await setParameter('buf_num', 8192);
    await using([open('netmap:big0'), open('netmap:big1')], async (a, b) => {
      assert.equal(a.nic!.mode, 'emulated');
      assert.match(a.nic!.why, /AF_XDP takes buffers of 1792 to 3840 bytes, these have 9216/);
      const long = frame({ length: 9014, mark: 1 });
      send(a, [long]);
      const [got] = await take(b, 1);
      assert.equal(got!.bytes.length, 9014);
    });
    const big = (await interfaces()).find(({ name }) => name === 'big0')!;
    assert.equal(big.bestMode, 'emulated');
    assert.ok(big.obstacles.some(({ cause }) => /AF_XDP takes/.test(cause)));
    await setParameter('admode', 1);
    await refuses(open('netmap:big0'), 'EOPNOTSUPP', /admode=1/);
  });
});
