// Objective: kill -9 at full speed where frames go more than one way: of a monitor, of a sender that is watched, of the
// module that links two switches.
// Operations: real processes; the survivors' counters must move on after each kill.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { attach, delIf, detach, load, newIf, open, status, unload } from '../../src/client/index.ts';
import { frame, ownModule, receive, send, until, using } from '../harness.ts';
import { freed, kill, movesOn, start } from './processes.ts';

ownModule();
const KILLS = 40;

for (const { what, a, b } of [
  { what: 'a VALE switch', a: 'vale0:a', b: 'vale0:b' },
  { what: 'a pipe', a: 'netmap:x{1', b: 'netmap:x}1' },
]) {
  describe(`${what} that is watched, kill -9 at full speed, ${KILLS} times`, { timeout: 600_000 }, () => {
    test('of the monitor: nobody notices', async () => {
      await load();
      const receiver = await start('receiver', b);
      const sender = await start('sender', a, '256');
      for (let i = 0; i < KILLS; i++) {
        const monitor = await start('receiver', `${i % 2 ? a : b}/${i % 4 < 2 ? 'rt' : 'z'}`);
        await movesOn(receiver);
        await kill(monitor);
        await movesOn(receiver);
      }
      await until(
        async () => (await status()).ports.every(({ kind }) => kind !== 'monitor'),
        'the last monitor to be gone',
      );
      await kill(sender);
      await kill(receiver);
      await unload({ force: true });
    });

    test('of the sender: receiver and monitor go on with the next one', async () => {
      await load();
      const receiver = await start('receiver', b);
      const copies = await start('receiver', `${b}/r`);
      const buffers = await start('receiver', `${b}/z`);
      for (let i = 0; i < KILLS; i++) {
        const sender = await start('sender', a, String(1 + (i % 300)));
        for (const survivor of [receiver, copies, buffers]) await movesOn(survivor);
        await kill(sender);
        if (what === 'a VALE switch') await freed(a);
      }
      for (const survivor of [copies, buffers, receiver]) await kill(survivor);
      await until(async () => (await status()).ports.length === 0, 'every port to be free');
      await unload();
    });

    test('of the module: monitors see on, and the next one knows them', async () => {
      await load();
      const receiver = await start('receiver', b);
      const sender = await start('sender', a, '256');
      const monitor = await start('receiver', `${b}/r`);
      const names = async () => (await status()).ports.map((port) => port.name).sort();
      const before = await names();
      for (let i = 0; i < KILLS; i++) {
        process.kill((await status()).pid, 'SIGKILL');
        await movesOn(monitor);
        await load();
        assert.deepEqual(await names(), before);
      }
      await until(
        async () => (await status()).clients.every((client) => client.connected),
        'the clients to come back',
      );
      for (const child of [monitor, sender, receiver]) await kill(child);
      await until(async () => (await status()).ports.length === 0, 'every port to be free');
      await unload();
    });
  });
}

describe('two switches that the module links', { timeout: 300_000 }, () => {
  test('kill -9 of the module, ten times: the next one links them again', async () => {
    await load();
    await newIf('link');
    await attach('vale1:link');
    await attach('vale2:link');
    await using([open('vale1:x'), open('vale2:y')], async (x, y) => {
      for (let i = 0; i < 10; i++) {
        process.kill((await status()).pid, 'SIGKILL');
        await load();
        let crossed = 0;
        await until(() => {
          send(x, [frame({ mark: i })]);
          crossed += receive(y).length;
          return crossed > 0;
        }, 'a frame to cross');
        await until(
          async () => (await status()).clients.every((client) => client.connected),
          'the clients to come back',
        );
      }
    });
    await detach('vale2:link');
    await detach('vale1:link');
    await delIf('link');
    await unload();
  });
});
