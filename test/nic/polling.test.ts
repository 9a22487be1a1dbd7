// Objective: an attached interface can be polled: threads on CPUs of their own serve its rings and never sleep (spec
// ports §1.16, api §3.5.9).
// Operations: two machines wired to one that switches; polling on and off by vale-ctl and by the library, with one CPU
// for all rings and one for one ring; every refusal; the module killed.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import { describe, test } from 'node:test';
import {
  attach,
  attachHost,
  delIf,
  detach,
  listPorts,
  load,
  NR_REG_NIC_SW,
  newIf,
  open,
  setPolling,
  status,
} from '../../src/client/index.ts';
import { frame, markOf, ownModule, receive, refuses, run, send, take, until, using } from '../harness.ts';
import { Machine, NO_NETWORK, wire } from './network.ts';

ownModule();

const CPUS = os.cpus().length;
const SKIP = NO_NETWORK || (CPUS < 2 && 'polling needs two CPUs');

/** Threads of the module that are kept to one CPU. */
async function pinned(): Promise<{ id: string; cpu: number; ticks(): number }[]> {
  const tasks = `/proc/${(await status()).pid}/task`;
  return fs.readdirSync(tasks).flatMap((id) => {
    const [, cpus] = /^Cpus_allowed_list:\s*(\S+)$/m.exec(fs.readFileSync(`${tasks}/${id}/status`, 'utf8'))!;
    if (!/^\d+$/.test(cpus!)) return [];
    const ticks = () => {
      const fields = fs.readFileSync(`${tasks}/${id}/stat`, 'utf8').split(') ')[1]!.split(' ');
      return Number(fields[11]) + Number(fields[12]); // utime and stime
    };
    return [{ id, cpu: Number(cpus), ticks }];
  });
}

describe('polling of an attached interface', { skip: SKIP, timeout: 300_000 }, () => {
  const [hub, a, b] = SKIP ? [] : [new Machine(), new Machine(), new Machine()];
  if (hub && a && b) {
    wire([hub, 'pa'], [a, 'v0']);
    wire([hub, 'pb'], [b, 'v0']);
    wire([hub, 'q0'], [hub, 'q1'], { queues: 2 });
    a.ip('addr', 'add', '10.8.0.1/24', 'dev', 'v0');
    b.ip('addr', 'add', '10.8.0.2/24', 'dev', 'v0');
    hub.enter();
  }
  const pings = () => a!.tries('ping', '-q', '-c', '1', '-W', '1', '10.8.0.2');
  const attached = () => until(pings, 'the first answer through the switch');

  test('one CPU for all rings: a thread kept to it and always busy; traffic goes on, off again', async () => {
    await attach('vale0:pa');
    await attach('vale0:pb');
    await attached();
    assert.deepEqual(await pinned(), []);
    const on = await run('vale-ctl', ['-p', 'vale0:pa', '-C', '0,1']);
    assert.deepEqual([on.code, on.stderr], [0, '']);
    const [thread, ...more] = await pinned();
    assert.equal(thread?.cpu, 1);
    assert.deepEqual(more, []);
    const before = thread!.ticks();
    await until(() => thread!.ticks() > before + 50, 'an idle interface to keep its thread busy');
    for (let i = 0; i < 20; i++) assert.ok(pings(), `ping ${i}`);
    const off = await run('vale-ctl', ['-P', 'vale0:pa']);
    assert.deepEqual([off.code, off.stderr], [0, '']);
    assert.deepEqual(await pinned(), []);
    assert.ok(pings());
  });

  test('polled: it cannot be detached, nor polled again; once it is not, it can', async () => {
    await setPolling('vale0:pa', true);
    await refuses(setPolling('vale0:pa', true), 'EFAULT', /polled already/);
    await refuses(detach('vale0:pa'), 'EBUSY', /vale-ctl -P vale0:pa/);
    assert.ok(pings());
    await detach('vale0:pb'); // The other one is not polled.
    await setPolling('vale0:pa', false);
    await refuses(setPolling('vale0:pa', false), 'EFAULT', /not polled/);
    await detach('vale0:pa');
    assert.deepEqual(await listPorts(), []);
    assert.deepEqual(await pinned(), []);
  });

  test('on and off under traffic: every frame arrives, once and in order', async () => {
    await attach('vale0:q0');
    await using([open('netmap:q1-0'), open('vale0:sink')], async (far, sink) => {
      const WINDOW = 200;
      let sent = 0;
      const got: number[] = [];
      let switches = 0;
      let failure: unknown;
      const switching = (async () => {
        for (; switches < 6; switches++) await setPolling('vale0:q0', switches % 2 === 0);
      })().catch((error) => {
        failure = error;
      });
      for (;;) {
        const done = switches === 6 || failure !== undefined;
        while (!done && sent - got.length < WINDOW) send(far, [frame({ mark: sent++ })]);
        if (done && got.length === sent) break;
        await sink.readable({ timeoutMs: 20_000 });
        const more = receive(sink).map(({ bytes }) => markOf(bytes));
        assert.ok(more.length > 0, `${sent - got.length} of ${sent} frames are missing`);
        got.push(...more);
      }
      await switching;
      assert.ifError(failure);
      assert.ok(got.every((mark, i) => mark === i));
      assert.ok(sent > 2 * WINDOW, `${sent} frames`);
    });
    await detach('vale0:q0');
  });

  test('a CPU for each ring: the rings asked for go to threads of their own, the others stay', async () => {
    await attach('vale0:q0');
    await using([open('netmap:q1'), open('vale0:sink')], async (far, sink) => {
      const arrive = async (ring: number, mark: number) => {
        send(far, [frame({ mark })], ring);
        const got = await take(sink, 1);
        assert.deepEqual(
          got.map(({ bytes }) => markOf(bytes)),
          [mark],
        );
      };
      const both = async (first: number) => {
        await arrive(0, first);
        await arrive(1, first + 1);
      };
      await both(1);
      const on = await run('vale-ctl', ['-p', 'vale0:q0', '-C', '1,1,1']);
      assert.deepEqual([on.code, on.stderr], [0, '']);
      assert.deepEqual(
        (await pinned()).map(({ cpu }) => cpu),
        [1],
      );
      await both(11);
      send(sink, [frame({ mark: 5 })]);
      await far.readable({ timeoutMs: 20_000 });
      await setPolling('vale0:q0', false);
      await both(21);
    });
    await detach('vale0:q0');
  });

  test('refused, with nothing changed: bad names, numbers, and what is no interface', async () => {
    await attach('vale0:pa', { mode: NR_REG_NIC_SW });
    await newIf('v7');
    await attach('vale0:v7');
    await using([open('vale0:program')], async () => {
      await refuses(setPolling('netmap:pa', true), 'EINVAL');
      await refuses(setPolling('vale0:nosuch', true), 'ENXIO');
      for (const other of ['vale0:v7', 'vale0:program', 'vale0:pa^']) {
        await refuses(setPolling(other, true), 'EOPNOTSUPP');
        await refuses(setPolling(other, false), 'EOPNOTSUPP');
      }
      for (const request of [
        { cpus: 0 },
        { cpus: CPUS },
        { cpus: CPUS, mode: 2 },
        { mode: 0 },
        { mode: 3 },
        { mode: 2, firstCpu: 1, cpus: 1 },
        { mode: 2, firstCpu: 0xffffffff, cpus: 1 },
        ...(CPUS > 2 ? [{ mode: 1, cpus: 2 }] : []),
      ])
        await refuses(setPolling('vale0:pa', true, request), 'EINVAL', /^Cannot poll "vale0:pa": /);
      await refuses(setPolling('vale0:pa', true, { firstCpu: 60_000 }), 'EFAULT', /60000/);
      await refuses(setPolling('vale0:pa', false), 'EFAULT');
      await refuses(detach('vale0:pa^'), 'EBUSY', /detach "vale0:pa"/);
      assert.deepEqual(await pinned(), []);
      // What was refused is still served as before.
      hub!.ip('addr', 'add', '10.8.0.9/24', 'dev', 'pa');
      await until(
        () => a!.tries('ping', '-q', '-c', '1', '-W', '1', '10.8.0.9'),
        'the host behind the switch',
      );
    });
    const wrong = await run('vale-ctl', ['-p', 'vale0:pa', '-C', '0,1,1']);
    assert.deepEqual([wrong.code, wrong.stderr.split('\n').length], [1, 2]);
    await detach('vale0:v7');
    await delIf('v7');
    await detach('vale0:pa');
  });

  test('the interface that is made for the host can be polled, too', async () => {
    await attachHost('vale0:host0');
    await setPolling('vale0:host0', true);
    assert.equal((await pinned()).length, 1);
    await setPolling('vale0:host0', false);
    await detach('vale0:host0');
  });

  test('the interface is removed: polling can be turned off, and it can be detached', async () => {
    await attach('vale0:q0');
    await setPolling('vale0:q0', true, { mode: 2, firstCpu: 0, cpus: 1 });
    hub!.ip('link', 'del', 'q0');
    await setPolling('vale0:q0', false);
    assert.deepEqual(await pinned(), []);
    await detach('vale0:q0');
  });

  test('kill -9 of the module: thread and interface are free', async () => {
    await attach('vale0:pa');
    await setPolling('vale0:pa', true);
    const { pid } = await status();
    process.kill(pid, 'SIGKILL');
    await until(() => !fs.existsSync(`/proc/${pid}/task`), 'the end of the module');
    await until(
      () => a!.tries('ping', '-q', '-c', '1', '-W', '1', '10.8.0.9'),
      'the host to have its interface again',
    );
    await load();
    assert.deepEqual(await pinned(), []); // Nor does a module that is started now poll anything.
  });
});
