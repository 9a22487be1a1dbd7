// A process of another user: which ports it may open, what it has mapped, what it may not do, and that nothing of it is
// left when it is killed.

import assert from 'node:assert/strict';
import { type ChildProcess, fork } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, test } from 'node:test';
import { load, newIf, open, type Port, status, unload } from '../../src/client/index.ts';
import { frame, markOf, ROOT, receive, refuses, send, until } from '../harness.ts';

const GUEST = 65534;
const NO_ROOT = process.getuid?.() === 0 ? false : 'needs root, to start a process of another user';

const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'netmap-test-'));
process.env['NETMAP_DIR'] = directory;
after(async () => {
  await unload({ force: true }).catch(() => {});
  fs.rmSync(directory, { recursive: true, force: true });
});

interface Told {
  uid: number;
  refused: Record<string, string>;
  maps: string[];
}

/** Starts a guest that may run what we run, wherever that lies. */
function startGuest(uid: number, gid: number, args: string[]): ChildProcess {
  return fork(path.join(ROOT, 'build/js/test/e2e/guest.js'), args, { uid, gid, cwd: '/' });
}

test('a process of another user exchanges frames, maps its own region only, and may do nothing else', {
  skip: NO_ROOT,
}, async () => {
  await load(undefined, String(GUEST));
  assert.equal(fs.statSync(directory).mode & 0o777, 0o710);
  const owner = await open('vale0:owner');
  const { memId: persistent } = await newIf('kept');
  const guest = startGuest(GUEST, GUEST, [String(owner.memId), String(persistent)]);
  try {
    const told = await new Promise<Told>((resolve, reject) => {
      guest.once('message', (message) => resolve(message as Told));
      guest.once('exit', (code) => reject(new Error(`the guest ended with ${code}`)));
    });
    assert.equal(told.uid, GUEST);
    assert.deepEqual(told.maps.sort(), ['netmap-asks', 'netmap-region']);
    const { ticket, ...others } = told.refused;
    assert.equal(ticket, 'ENOENT');
    for (const [what, code] of Object.entries(others)) assert.equal(code, 'EACCES', what);
    await exchange(owner);
    assert.deepEqual((await status()).ports.map(({ name }) => name).sort(), ['vale0:guest', 'vale0:owner']);
    // Nor does the owner get into the guest's memory.
    await refuses(open('vale0:guest'), 'EACCES');

    guest.removeAllListeners('exit');
    const ended = new Promise((resolve) => guest.once('exit', resolve));
    guest.kill('SIGKILL');
    await ended;
    await until(async () => {
      const { ports, clients } = await status();
      return ports.length === 1 && clients.every(({ pid }) => pid !== guest.pid);
    }, 'the guest to be gone');
    const again = startGuest(GUEST, GUEST, [String(owner.memId), String(persistent)]);
    await new Promise((resolve) => again.once('message', resolve));
    await exchange(owner);
    again.kill('SIGKILL');
  } finally {
    guest.kill('SIGKILL');
    await owner.close();
    await unload({ force: true });
  }
  assert.equal(fs.statSync(directory).mode & 0o777, 0o700);
});

test('a user who is not of the group does not get in', { skip: NO_ROOT }, async () => {
  await load(undefined, String(GUEST));
  const stranger = startGuest(12345, 12345, ['2']);
  stranger.on('error', () => {});
  const code = await new Promise((resolve) => stranger.once('exit', resolve));
  assert.notEqual(code, 0);
  await unload();
});

/** Sends frames that the guest answers. */
async function exchange(owner: Port): Promise<void> {
  const got: number[] = [];
  send(
    owner,
    Array.from({ length: 50 }, (_, mark) => frame({ mark, src: 1 })),
  );
  while (got.length < 50) {
    await owner.readable({ timeoutMs: 10_000 });
    const received = receive(owner);
    assert.notEqual(received.length, 0);
    for (const { bytes } of received) got.push(markOf(bytes));
  }
  assert.deepEqual(
    got,
    Array.from({ length: 50 }, (_, mark) => mark),
  );
}
