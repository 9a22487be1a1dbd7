// Objective: kill -9 at full speed, a hundred times each, of a sender, a receiver, the module: survivors keep
// going, ports are free within 100 ms, nothing is left behind (V43 of spec ports §7.1 with processes).
// Operations: real processes; the survivor's counter must move on after each kill.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import { describe, test } from 'node:test';
import { load, status, unload } from '../../src/client/index.ts';
import { ownModule, until } from '../harness.ts';
import { freed, kill, movesOn, start } from './processes.ts';

const KILLS = 100;
const FREE_WITHIN_MS = 100;

const directory = ownModule();
/** What others on this machine hold is none of our business. */
const foreign = new Set(netmapObjects());
/** Memfds, sockets and pipes of netmap that any process holds. */
function netmapObjects(): string[] {
  const found: string[] = [];
  for (const pid of fs.readdirSync('/proc').filter((entry) => /^\d+$/.test(entry))) {
    try {
      for (const fd of fs.readdirSync(`/proc/${pid}/fd`)) {
        const link = fs.readlinkSync(`/proc/${pid}/fd/${fd}`);
        if (link.startsWith('/memfd:netmap-')) found.push(`${pid}: ${link}`);
      }
    } catch {
      // Gone, or closed meanwhile.
    }
  }
  return found;
}

function modulePids(): number[] {
  return fs.readdirSync('/proc').flatMap((pid) => {
    try {
      const environment = fs.readFileSync(`/proc/${pid}/environ`, 'utf8');
      const command = fs.readFileSync(`/proc/${pid}/cmdline`, 'utf8');
      return environment.includes(`NETMAP_DIR=${directory}\0`) && command.includes('module/main.js')
        ? [Number(pid)]
        : [];
    } catch {
      return [];
    }
  });
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1]!;
}

for (const { what, a, b } of [
  { what: 'a VALE switch', a: 'vale0:a', b: 'vale0:b' },
  { what: 'a pipe', a: 'netmap:x{1', b: 'netmap:x}1' },
]) {
  describe(`${what}, kill -9 at full speed, ${KILLS} times`, { timeout: 600_000 }, () => {
    test('of the sender: the receiver goes on with the next one', async (t) => {
      await load();
      const receiver = await start('receiver', b);
      const times: number[] = [];
      for (let i = 0; i < KILLS; i++) {
        const sender = await start('sender', a, String(1 + (i % 300)));
        await movesOn(receiver);
        await kill(sender);
        if (what === 'a VALE switch') times.push(await freed(a));
      }
      if (times.length > 0) {
        t.diagnostic(
          `port free after ${median(times).toFixed(1)} ms (median), ${Math.max(...times).toFixed(1)} ms (worst)`,
        );
        assert.ok(median(times) < FREE_WITHIN_MS);
      }
      await kill(receiver);
      await unload({ force: true });
    });

    test('of the receiver: the sender goes on, the next receiver finds frames', async () => {
      await load();
      const sender = await start('sender', a, '256');
      for (let i = 0; i < KILLS; i++) {
        const receiver = await start('receiver', b);
        await movesOn(receiver);
        await kill(receiver);
      }
      await kill(sender);
      await unload({ force: true });
    });

    test('of the module: traffic does not stop, and the next one finds the ports as they were', async () => {
      await load();
      const receiver = await start('receiver', b);
      const sender = await start('sender', a, '256');
      const names = async () => (await status()).ports.map((port) => port.name).sort();
      const before = await names();
      for (let i = 0; i < KILLS; i++) {
        const { pid } = await status();
        process.kill(pid, 'SIGKILL');
        await movesOn(receiver);
        await load();
        assert.deepEqual(await names(), before);
      }
      await until(
        async () => (await status()).clients.every((client) => client.connected),
        'the clients to come back',
      );
      // It is the next module that clears up after a client, as the first would have.
      await kill(sender);
      if (what === 'a VALE switch') await freed(a);
      await kill(receiver);
      await until(async () => (await status()).ports.length === 0, 'every port to be free');
      await unload();
    });

    test('nothing is left: no module, no memory, no file', async () => {
      await until(() => modulePids().length === 0, 'the last module to end', 10_000);
      assert.deepEqual(
        netmapObjects().filter((object) => !foreign.has(object)),
        [],
      );
      assert.deepEqual(fs.readdirSync(directory), []);
    });
  });
}
