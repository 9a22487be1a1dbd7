// Objective: an interface that changes while it is open: ports go on where they can, and say why where they cannot.
// Operations: renamed, with another number of queues, another MTU, gone; ports, programs and a switch that have it.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import { describe, test } from 'node:test';
import {
  attach,
  detach,
  listPorts,
  open,
  POLLERR,
  type Port,
  poll,
  setParameter,
  status,
} from '../../src/client/index.ts';
import { frame, markOf, ownModule, ROOT, receive, refuses, send, until, using } from '../harness.ts';
import { lacks, Machine, NO_NETWORK, wire } from './network.ts';

ownModule();

describe('an interface that changes', { skip: NO_NETWORK || lacks('ethtool'), timeout: 300_000 }, () => {
  const machine = NO_NETWORK ? undefined! : new Machine();
  if (!NO_NETWORK) {
    wire([machine, 'v0'], [machine, 'v1']);
    wire([machine, 'q0'], [machine, 'q1'], { queues: 4 });
    machine.enter();
  }

  async function passes(from: Port, to: Port, mark: number): Promise<void> {
    await until(async () => {
      send(from, [frame({ mark })]);
      await to.readable({ timeoutMs: 100 });
      return to.rxRings.some((_, ring) => receive(to, ring).some(({ bytes }) => markOf(bytes) === mark));
    }, 'a frame');
  }

  async function saysError(port: Port): Promise<void> {
    const target = { port, events: 'both' as const, revents: 0 };
    await until(() => {
      poll([target], 1000);
      return (target.revents & POLLERR) !== 0;
    }, 'POLLERR');
  }

  /** Waits for a process to use less than a fifth of a CPU. */
  async function idle(pid: number): Promise<void> {
    const ticks = () => {
      const fields = fs.readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]!.split(' ');
      return Number(fields[11]) + Number(fields[12]);
    };
    await until(async () => {
      const before = ticks();
      await new Promise((resolve) => setTimeout(resolve, 500));
      return ticks() - before < 10;
    }, `process ${pid} to be idle`);
  }

  const gro = (name: string) => /generic-receive-offload: (\w+)/.exec(machine.run('ethtool', '-k', name))![1];

  test('renamed: frames go on, the new name opens it, its offloads are restored', async () => {
    machine.run('ethtool', '-K', 'v0', 'gro', 'on');
    await using([open('netmap:v0'), open('netmap:v1')], async (a, b) => {
      assert.equal(gro('v0'), 'off');
      machine.ip('link', 'set', 'v0', 'down');
      machine.ip('link', 'set', 'v0', 'name', 'w0');
      machine.ip('link', 'set', 'w0', 'up');
      await passes(a, b, 1);
      await passes(b, a, 2);
      await refuses(open('netmap:v0'), 'ENXIO');
      await using([open('netmap:w0')], (again) => assert.equal(again.memId, a.memId));
      await refuses(attach('vale0:w0'), 'EBUSY', /open/);
    });
    assert.equal(gro('w0'), 'on');
    await attach('vale0:w0');
    machine.ip('link', 'set', 'w0', 'down');
    machine.ip('link', 'set', 'w0', 'name', 'v0');
    machine.ip('link', 'set', 'v0', 'up');
    await refuses(open('netmap:v0'), 'EBUSY');
    await refuses(attach('vale1:v0'), 'EBUSY');
    await detach('vale0:w0');
    await using([open('netmap:v0')], () => {});
  });

  test('with another number of queues: POLLERR, and why; open again, it has as many rings', async () => {
    // Fewer than are open the kernel refuses.
    machine.run('ethtool', '-L', 'q0', 'rx', '2', 'tx', '2');
    machine.run('ethtool', '-L', 'q1', 'rx', '2', 'tx', '2');
    const port = await open('netmap:q0');
    assert.equal(port.rxRings.length, 2);
    machine.run('ethtool', '-L', 'q0', 'rx', '4', 'tx', '4');
    machine.run('ethtool', '-L', 'q1', 'rx', '4', 'tx', '4');
    await saysError(port);
    await assert.rejects(port.readable(), /EIO|another number of queues/);
    assert.match(port.dead!, /another number of queues/);
    await refuses(open('netmap:q0'), 'EBUSY', /another number of queues/);
    await port.close();
    await using([open('netmap:q0'), open('netmap:q1-0')], async (a, b) => {
      assert.equal(a.rxRings.length, 4);
      await passes(a, b, 3);
    });
  });

  test('in emulated mode the number of queues does not matter', async () => {
    await setParameter('admode', 3);
    await using([open('netmap:q0'), open('netmap:q1')], async (a, b) => {
      machine.run('ethtool', '-L', 'q0', 'rx', '2', 'tx', '2');
      await passes(a, b, 4);
      await passes(b, a, 5);
      machine.run('ethtool', '-L', 'q0', 'rx', '4', 'tx', '4');
      assert.equal(a.dead, undefined);
    });
    await setParameter('admode', 0);
  });

  test('with an MTU that no buffer holds: POLLERR, and why', async () => {
    await using([open('netmap:v0/T')], async (port) => {
      machine.ip('link', 'set', 'v0', 'mtu', '9000');
      await saysError(port);
      assert.match(port.dead!, /MTU/);
      machine.ip('link', 'set', 'v0', 'mtu', '1500');
    });
  });

  test('down, in emulated mode: who waits for frames sleeps until it is up again', async () => {
    await setParameter('admode', 3);
    const reader = machine.start(`${ROOT}bin/pkt-gen`, ['-i', 'netmap:v0', '-f', 'rx', '-w', '0']);
    await reader.says(/Ready/);
    machine.ip('link', 'set', 'v0', 'down');
    await idle(reader.process.pid!);
    machine.ip('link', 'set', 'v0', 'up');
    await using([open('netmap:v1')], async (far) => {
      await until(() => {
        send(far, [frame()]);
        return /main_thread .*[1-9][0-9.]* pkts/.test(reader.stdout + reader.stderr);
      }, 'the reader to see frames');
    });
    await idle(reader.process.pid!);
    await reader.stop();
    await setParameter('admode', 0);
  });

  test('gone: bridge and pkt-gen end and say why', async () => {
    wire([machine, 'gone0'], [machine, 'gone1']);
    const bridge = machine.start(`${ROOT}bin/bridge`, [
      '-w',
      '0',
      '-i',
      'netmap:gone0',
      '-i',
      'netmap:gone0^',
    ]);
    await bridge.says(/Ready to go/);
    const reader = machine.start(`${ROOT}bin/pkt-gen`, ['-i', 'netmap:gone1', '-f', 'rx', '-w', '0']);
    await reader.says(/Ready/);
    machine.ip('link', 'del', 'gone0');
    for (const program of [bridge, reader]) {
      const { code, stdout, stderr } = await program.ended;
      assert.equal(code, 1);
      assert.match(stdout + stderr, /its interface is gone/);
    }
  });

  test('gone from a switch: nobody spins, its port can be detached', async () => {
    wire([machine, 'gone0'], [machine, 'gone1']);
    await attach('vale0:gone0');
    machine.ip('link', 'del', 'gone0');
    await idle((await status()).pid);
    await detach('vale0:gone0');
    assert.deepEqual(await listPorts(), []);
    assert.deepEqual((await status()).ports, []);
  });
});
