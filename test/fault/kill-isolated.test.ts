// Objective: an isolated client, whose syncs the module ran, finds out at once that it is gone, and says so in a sentence.
// Operations: kill -9 of the module while the client waits, polls or sends; then a new port on a new module.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { open, POLLERR, type Port, poll, status } from '../../src/client/index.ts';
import { SYNC_ERROR } from '../../src/abi/state.ts';
import { frame, marks, ownModule, refuses, send, stage, until, using } from '../harness.ts';

ownModule();
const isolated = { isolated: true };

async function killModule(): Promise<void> {
  const { pid } = await status();
  process.kill(pid, 'SIGKILL');
  await until(() => {
    try {
      process.kill(pid, 0);
      return false;
    } catch {
      return true;
    }
  }, 'the module to be gone');
}

async function sendsAndReceives(): Promise<void> {
  await using([open('vale0:a', isolated), open('vale0:b', isolated)], (a: Port, b: Port) => {
    send(a, [frame({ mark: 3 })]);
    assert.deepEqual(marks(b), [3]);
  });
}

test('poll says POLLERR, at once and again; closing is quiet; a new port works', async () => {
  const port = await open('vale0:a', isolated);
  await killModule();
  for (let i = 0; i < 2; i++) {
    const begun = performance.now();
    const target = { port, events: 'both' as const, revents: 0 };
    assert.equal(poll([target], 10_000), 1);
    assert.notEqual(target.revents & POLLERR, 0);
    assert.ok(performance.now() - begun < 1000);
  }
  await port.close();
  await sendsAndReceives();
});

test('a client that awaits frames is told why there will be none', async () => {
  const port = await open('vale0:a', isolated);
  const told = refuses(port.readable({ timeoutMs: 20_000 }), 'EIO', /module/);
  await killModule();
  await told;
  await port.close();
  await sendsAndReceives();
});

test('syncs of a client that sends on and on come back, nothing is sent', async () => {
  const port = await open('vale0:a', isolated);
  send(port, [frame()]);
  await killModule();
  for (let i = 0; i < 3; i++) {
    stage(port, [frame()]);
    const begun = performance.now();
    assert.equal(port.txSyncRing(port.txRings[0]!) & SYNC_ERROR, SYNC_ERROR);
    assert.ok(performance.now() - begun < 2000);
  }
  await port.close();
});
