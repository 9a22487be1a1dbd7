// Objective: a module that is started after a crash takes interfaces' ports over: what is open goes on and is known, is
// shared, closed, and given back as if nothing had happened.
// Operations: kill -9 of the module, with ports open by this process and by others, in every mode, under traffic; clients
// that die in between; an interface that is removed in between; the next module.

import assert from 'node:assert/strict';
import path from 'node:path';
import { describe, test } from 'node:test';
import {
  attach,
  detach,
  interfaces,
  load,
  open,
  POLLERR,
  type Port,
  poll,
  portInfo,
  setParameter,
  status,
} from '../../src/client/index.ts';
import {
  frame,
  markOf,
  ownModule,
  type Program,
  portNames,
  ROOT,
  receive,
  refuses,
  send,
  until,
  using,
} from '../harness.ts';
import { lacks, Machine, NO_NETWORK, wire } from './network.ts';

const directory = ownModule();

const knowsUs = () =>
  portInfo('vale0:x').then(
    () => true,
    () => false,
  );

async function killModule(): Promise<number> {
  const { pid } = await status();
  process.kill(pid, 'SIGKILL');
  return pid;
}

/** Until another than the dead module answers, this process among its clients. */
async function nextModule(dead: number): Promise<void> {
  await until(async () => (await load().catch(() => dead)) !== dead, 'the next module');
  await until(knowsUs, 'the module to know us');
}

const restart = async () => nextModule(await killModule());

/** One frame from one port to another. */
async function passes(from: Port, to: Port, mark: number): Promise<void> {
  send(from, [frame({ mark })]);
  await until(async () => {
    await to.readable({ timeoutMs: 20_000 });
    return receive(to).some(({ bytes }) => markOf(bytes) === mark);
  }, `frame ${mark}`);
}

function buffersOf(port: Port): number[] {
  return [...port.txRings, ...port.rxRings].flatMap((ring) =>
    Array.from({ length: ring.numSlots }, (_, slot) => ring.bufIdx(slot)),
  );
}

describe('interfaces and the next module', { skip: NO_NETWORK, timeout: 300_000 }, () => {
  const here = NO_NETWORK ? undefined! : new Machine();
  const there = NO_NETWORK ? undefined! : new Machine();
  if (!NO_NETWORK) {
    wire([here, 'v0'], [here, 'v1']);
    wire([here, 'w0'], [here, 'w1'], { queues: 2 });
    wire([here, 'h0'], [there, 'h1']);
    here.ip('addr', 'add', '10.7.2.1/24', 'dev', 'h0');
    there.ip('addr', 'add', '10.7.2.2/24', 'dev', 'h1');
    here.enter();
  }
  const pings = () => here.tries('ping', '-q', '-c', '1', '-W', '1', '10.7.2.2');
  const isTaken = (name: string) => /xdp/.test(here.ip('link', 'show', name));
  const helpers = () => here.interfaces().filter((name) => /^nm\d/.test(name));
  const opens = async (name: string) => (await status()).ports.find((port) => port.name === name)?.opens ?? 0;

  async function bridge(): Promise<Program> {
    const program = here.start(`${ROOT}bin/bridge`, ['-w', '0', '-i', 'netmap:h0', '-i', 'netmap:h0^']);
    await program.says(/Ready to go/);
    await until(pings, 'the first answer');
    return program;
  }

  async function reader(name: string): Promise<Program> {
    const program = here.start(`${ROOT}bin/pkt-gen`, ['-i', name, '-f', 'rx', '-w', '0']);
    await program.says(/reading from/);
    return program;
  }

  for (const [mode, admode] of [
    ['native', 0],
    ['generic', 2],
    ['emulated', 3],
  ] as const) {
    test(`${mode}: what is open goes on, is known, shared and closed`, async () => {
      await setParameter('admode', admode);
      const offloads = async () =>
        (await interfaces()).find(({ name }) => name === 'v0')!.obstacles.map(({ cause }) => cause);
      const before = await offloads();
      await using([open('netmap:v0'), open('netmap:v1')], async (a, b) => {
        await passes(a, b, 1);
        await restart();
        await passes(a, b, 2);
        await passes(b, a, 3);
        assert.deepEqual(await portNames(), ['v0', 'v1']);
        await refuses(open('netmap:v0/x'), 'EBUSY');
        await using([open('netmap:v0')], async (again) => {
          assert.equal(again.nic!.mode, mode);
          assert.equal(again.memId, a.memId);
          await passes(b, again, 4);
          await passes(again, b, 5);
          assert.equal(await opens('v0'), 2);
        });
        await passes(a, b, 6);
        // Once more, by what the second module had only taken over itself.
        await restart();
        await passes(a, b, 7);
      });
      assert.deepEqual(await portNames(), []);
      assert.ok(!isTaken('v0'));
      assert.deepEqual(await offloads(), before);
      await using([open('netmap:v0/x'), open('netmap:v1')], (a, b) => passes(a, b, 8));
      await setParameter('admode', 0);
    });
  }

  test('held exclusively before, held exclusively after', async () => {
    await using([open('netmap:v0/x')], async () => {
      await restart();
      await refuses(open('netmap:v0'), 'EBUSY', /exclusively/);
    });
    await using([open('netmap:v0')], () => {});
  });

  test('buffers of what was taken over are given to nobody else', async () => {
    await using([open('netmap:v0'), open('netmap:v1')], async (a, b) => {
      for (let mark = 0; mark < 50; mark++) await passes(a, b, mark);
      await restart();
      await using([open('netmap:w0'), open('netmap:w1')], async (c, d) => {
        const all = [a, b, c, d].flatMap(buffersOf);
        assert.equal(new Set(all).size, all.length);
        assert.equal(c.memId, a.memId);
        await passes(c, d, 1);
        await passes(a, b, 2);
      });
    });
  });

  test('the host through its own rings by bridge: nothing stops, and all is given back', {
    skip: lacks('ping'),
  }, async () => {
    for (const signal of ['SIGINT', 'SIGKILL'] as const) {
      const program = await bridge();
      const dead = await killModule();
      assert.ok(pings());
      await nextModule(dead);
      assert.ok(pings());
      assert.equal(await opens('h0'), 2);
      await program.stop(signal);
      await until(async () => (await portNames()).length === 0, 'the module to tear it down');
      assert.ok(!isTaken('h0'));
      assert.deepEqual(helpers(), []);
      await until(pings, 'the host to answer');
    }
  });

  test('a client that dies while there is no module takes its side with it, and only that', {
    skip: lacks('ping'),
  }, async () => {
    const wireSide = await reader('netmap:h0');
    const hostSide = await reader('netmap:h0^');
    assert.ok(!pings());
    const dead = await killModule();
    await hostSide.stop('SIGKILL');
    await nextModule(dead);
    assert.equal(await opens('h0'), 1);
    // All of the wire's rings are open still: the host stays cut off, by what the new module has made.
    assert.ok(isTaken('h0'));
    assert.ok(!pings());
    await until(() => helpers().length === 0, 'the helper to be gone');
    await wireSide.stop();
    await until(pings, 'the host to answer');

    const lone = await reader('netmap:h0*');
    const gone = await killModule();
    await lone.stop('SIGKILL');
    await nextModule(gone);
    assert.deepEqual(await portNames(), []);
    await until(pings, 'the host to answer');
    await until(() => helpers().length === 0, 'the helper to be gone');
  });

  test('under traffic, ten modules one after the other', async () => {
    const rx = here.start(`${ROOT}bin/pkt-gen`, ['-i', 'netmap:v1', '-f', 'rx', '-w', '0']);
    await rx.says(/reading from/);
    const tx = here.start(`${ROOT}bin/pkt-gen`, ['-i', 'netmap:v0', '-f', 'tx', '-R', '20000', '-w', '0']);
    const packets = async () =>
      (await status()).ports.find(({ name }) => name === 'v1')?.rings.find(({ ring }) => ring === 'rx0')
        ?.packets ?? 0;
    await until(async () => (await packets()) > 0, 'the first frame');
    for (let i = 0; i < 10; i++) {
      const before = await packets();
      await restart();
      assert.equal(await opens('v0'), 1);
      await until(async () => (await packets()) > before, 'more frames');
    }
    assert.equal((await tx.stop()).code, 0);
    const { stdout } = await rx.stop();
    assert.match(stdout, /Received \d+ packets/);
    await until(async () => (await portNames()).length === 0, 'both ports to be closed');
    assert.ok(!isTaken('v0'));
  });

  test('an interface that is removed while there is no module: POLLERR with the next one', async () => {
    wire([here, 'gone0'], [here, 'gone1']);
    await using([open('netmap:gone0'), open('vale0:kept')], async (port) => {
      const dead = await killModule();
      here.ip('link', 'del', 'gone0');
      await nextModule(dead);
      const target = { port, events: 'in' as const, revents: 0 };
      await until(() => {
        poll([target], 1000);
        return (target.revents & POLLERR) !== 0;
      }, 'POLLERR');
      assert.deepEqual(await portNames(), ['vale0:kept']);
    });
    assert.deepEqual(await portNames(), []);
  });

  test('attached to a switch: back with the host meanwhile, attached again by the next module', {
    skip: lacks('ping'),
  }, async () => {
    // Once with another port on the switch, once with a client alone that keeps the record.
    for (const names of [['vale0:watch'], []]) {
      await using(
        names.map((name) => open(name)),
        async (watch) => {
          await attach('vale0:h0');
          assert.ok(!pings());
          const dead = await killModule();
          await until(pings, 'the host to have its interface');
          await nextModule(dead);
          await until(() => isTaken('h0'), 'the interface to be taken again');
          assert.deepEqual(await portNames(), ['h0', 'vale0:h0', ...names]);
          if (watch) {
            there.tries('ping', '-q', '-c', '1', '-W', '1', '10.7.2.99');
            await watch.readable({ timeoutMs: 20_000 });
          }
          await detach('vale0:h0');
        },
      );
      await until(pings, 'the host to answer');
    }
  });

  test('attached, and no client lives that has the record: the interface stays with the host', {
    skip: lacks('ping'),
  }, async () => {
    const env = { NETMAP_DIR: path.join(directory, 'other') };
    const runs = async (command: string, ...args: string[]) => {
      const { code, stdout, stderr } = await here.start(`${ROOT}bin/${command}`, args, env).ended;
      assert.equal(code, 0, stderr);
      return stdout;
    };
    const { 1: pid } = /pid (\d+)/.exec(await runs('nm-loader', 'l'))!;
    await runs('vale-ctl', '-a', 'vale0:h0');
    assert.ok(isTaken('h0'));
    process.kill(Number(pid), 'SIGKILL');
    await until(pings, 'the host to have its interface');
    await until(
      async () => (await here.start(`${ROOT}bin/nm-loader`, ['l'], env).ended).code === 0,
      'a module',
    );
    assert.match(await runs('nm-loader', 's'), /^0 ports$/m);
    await runs('nm-loader', 'u');
    assert.ok(pings());
  });
});
