// Objective: other users can have only so much memory, and are told so (parameters guest_mem, guest_mem_total).
// Operations: processes of two other users open ports until they are refused, close some, end; the owner opens more.

import assert from 'node:assert/strict';
import { type ChildProcess, fork } from 'node:child_process';
import path from 'node:path';
import { test } from 'node:test';
import { load, open, setParameter } from '../../src/client/index.ts';
import { ownModule, ROOT, refuses, until, using } from '../harness.ts';
import type { Greed } from './greedy-guest.ts';

ownModule();

const GUEST = 65534;
const MIB = 2 ** 20;
const NO_ROOT = process.getuid?.() === 0 ? false : 'needs root, to start processes of other users';

test('the memory of other users is limited, that of each and that of all of them', {
  skip: NO_ROOT,
}, async () => {
  await load(undefined, String(GUEST));
  const owner = await open('vale0:owner');
  const portSize = owner.memSize;
  await refuses(setParameter('guest_mem', -1), 'EINVAL');
  await setParameter('guest_mem', 20);
  await setParameter('guest_mem_total', 30);
  const guests: ChildProcess[] = [];
  const greedy = (uid: number) => {
    guests.push(
      fork(path.join(ROOT, 'build/js/test/e2e/greedy-guest.js'), [`vale0:g${uid}`], {
        uid,
        gid: GUEST,
        cwd: '/',
      }),
    );
    return guests.at(-1)!;
  };
  const told = (guest: ChildProcess, order?: string) =>
    new Promise<Greed>((resolve, reject) => {
      guest.once('message', (message) => resolve(message as Greed));
      guest.once('exit', (code) => reject(new Error(`the guest ended with ${code}`)));
      if (order) guest.send(order);
    });
  const isRefused = ({ code, message }: Greed, parameter: string) => {
    assert.equal(code, 'ENOMEM', message);
    assert.match(
      message,
      new RegExp(`^Cannot open "vale0:g\\d+[^"]*": .* of \\d+ MiB already; .*"nm-ctl ${parameter}=...".$`),
    );
  };
  try {
    const first = greedy(GUEST);
    const got = await told(first);
    isRefused(got, 'guest_mem');
    assert.equal(got.opened, Math.floor((20 * MIB) / portSize));
    for (const order of ['open', 'huge', 'pipe']) isRefused(await told(first, order), 'guest_mem');
    await told(first, 'close');
    isRefused(await told(first, 'huge'), 'guest_mem');
    assert.equal((await told(first, 'open')).code, '', 'what was given back can be had again');

    // Another user has what the first has left of the total; the owner is not counted.
    const second = greedy(GUEST - 1);
    const rest = await told(second);
    isRefused(rest, 'guest_mem_total');
    assert.equal(rest.opened, Math.floor((30 * MIB - got.opened * portSize) / portSize));
    await using([open('vale0:one'), open('vale0:two'), open('vale0:three')], () => {});

    // What a guest had is free once it is gone.
    first.removeAllListeners('exit');
    first.kill('SIGKILL');
    await until(async () => (await told(second, 'open')).code === '', 'the memory of the guest that is gone');
    await setParameter('guest_mem', 0);
    isRefused(await told(second, 'open'), 'guest_mem');
  } finally {
    for (const guest of guests) guest.kill('SIGKILL');
    await owner.close();
  }
});
