// Objective: users whom the module lets in can do what they like with their memory, their page, their lines and the control
// socket: the module lives, nobody else's traffic suffers, nothing is left of them.
// Operations: processes of other users write random words all over their rings while they are synced, open and close, flood,
// hang up, run the module out of descriptors, ask for everything; meanwhile two ports of the owner's and one of an honest
// guest's exchange frames, and each is compared byte for byte.
//
// NETMAP_SEED repeats a run, NETMAP_RUNS says for how many seconds each attack goes on (1 here; more by hand).

import assert from 'node:assert/strict';
import { type ChildProcess, execFileSync, fork } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterEach, before, beforeEach, describe, test } from 'node:test';
import { load, open, type Port, status, unload } from '../../src/client/index.ts';
import { markOf, ownModule, portNames, receive, ROOT, run, send, until, using } from '../harness.ts';

ownModule();
const SEED = Number(process.env['NETMAP_SEED'] ?? Date.now() % 1_000_000_000);
const SECONDS = Number(process.env['NETMAP_RUNS'] ?? 1);
const AGAIN = `NETMAP_SEED=${SEED} NETMAP_RUNS=${SECONDS} node build/js/scripts/test.js hostile-guest`;
const GROUP = 65534;
const NO_ROOT = process.getuid?.() === 0 ? false : 'needs root, to start processes of other users';

let guests: ChildProcess[] = [];

/** Starts a process of another user at one of the things in hostile-guest.ts. */
function start(what: string, uid = GROUP, seed: number = SEED): ChildProcess {
  const guest = fork(path.join(ROOT, 'build/js/test/fault/hostile-guest.js'), [what, String(seed)], {
    uid,
    gid: GROUP,
    cwd: '/',
  });
  guests.push(guest);
  return guest;
}

/** What a guest says next. */
function told<T = unknown>(guest: ChildProcess): Promise<T> {
  return new Promise((resolve, reject) => {
    const ended = (code: number | null) => reject(new Error(`the guest ended with ${code}; again: ${AGAIN}`));
    guest.once('exit', ended);
    guest.once('message', (message) => {
      guest.off('exit', ended);
      resolve(message as T);
    });
  });
}

async function stop(which = guests): Promise<void> {
  await Promise.all(
    which.map((guest) => {
      if (guest.exitCode !== null || guest.signalCode !== null) return undefined;
      const ended = new Promise((resolve) => guest.once('exit', resolve));
      guest.kill('SIGKILL');
      return ended;
    }),
  );
  guests = guests.filter((guest) => !which.includes(guest));
}

/** What a process has open, by kind; but for bells of others, which are kept at hand once they were rung. */
function descriptors(pid: number): string[] {
  const kindOf = (fd: string) => {
    try {
      return fs.readlinkSync(`/proc/${pid}/fd/${fd}`).replace(/\d+/g, '');
    } catch {
      return 'closed since';
    }
  };
  return fs
    .readdirSync(`/proc/${pid}/fd`)
    .map(kindOf)
    .filter((kind) => kind !== 'pipe:[]');
}

/** Waits until a process has no more open than it had. */
async function noMoreThan(before: readonly string[], pid: number): Promise<void> {
  const kinds = () => {
    const more = new Map<string, number>();
    for (const kind of descriptors(pid)) more.set(kind, (more.get(kind) ?? 0) + 1);
    for (const kind of before) more.set(kind, (more.get(kind) ?? 0) - 1);
    return JSON.stringify([...more].filter(([, count]) => count !== 0));
  };
  await until(
    () => descriptors(pid).length <= before.length,
    `descriptors to be closed; again: ${AGAIN}`,
    30_000,
    kinds,
  );
}

/** CPU time that a process has had, in seconds. */
function cpuSeconds(pid: number): number {
  const stat = fs.readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

async function registry(): Promise<unknown[]> {
  return (await status()).ports.map(({ name, memId, opens }) => `${name} ${memId} ${opens}`).sort();
}

const QUESTION = 0xb5;
const ANSWER = 0xb6;
let number = 0;

/** A frame that no other is like, for everybody: addresses are easily usurped on a learning switch. */
function question(): Uint8Array {
  const bytes = new Uint8Array(60 + (++number % 1400));
  bytes.set([255, 255, 255, 255, 255, 255, 2, 0, 0, 0, 0, 0x55, 0x88, QUESTION]);
  new DataView(bytes.buffer).setUint32(14, number);
  for (let i = 18; i < bytes.length; i++) bytes[i] = number * 31 + i * 7;
  return bytes;
}

/** What has come of the present question or its answer, by the type in its header. */
function arrived(port: Port, type: number): Uint8Array[] {
  return receive(port)
    .map(({ bytes }) => bytes)
    .filter(
      (bytes) => bytes.length >= 60 && bytes[12] === 0x88 && bytes[13] === type && markOf(bytes) === number,
    );
}

/** Has `again` done until something is so; a full ring on the way is no loss of the switch's. */
async function repeat(from: Port, frame: Uint8Array, isSo: () => boolean, what: string): Promise<void> {
  let next = 0;
  const doing = () => {
    if (performance.now() > next && from.txRings[0]!.space > 0) {
      send(from, [frame]);
      next = performance.now() + 20;
    }
    return isSo();
  };
  await until(doing, `${what}; again: ${AGAIN}`, 30_000);
}

/** A frame from one port to another of a switch that is theirs alone: it comes as it went. */
async function passes(from: Port, to: Port): Promise<void> {
  const sent = question();
  await repeat(
    from,
    sent,
    () => {
      const got = arrived(to, QUESTION);
      for (const bytes of got) assert.deepEqual(bytes, sent, AGAIN);
      return got.length > 0;
    },
    'a frame between two ports of the owner',
  );
}

/** A question that an honest guest answers; others on the switch may send it on, cut off or longer. */
async function isAnswered(asker: Port): Promise<void> {
  const sent = question();
  const expected = Buffer.from(sent);
  expected[13] = ANSWER;
  await repeat(
    asker,
    sent,
    () => arrived(asker, ANSWER).some((bytes) => expected.equals(bytes)),
    'an answer of the honest guest',
  );
}

describe('users who mean harm', { skip: NO_ROOT, timeout: 600_000 }, () => {
  let module = 0;
  let a: Port;
  let b: Port;
  let asker: Port;

  before(async () => {
    module = await load(undefined, String(GROUP));
  });

  beforeEach(async () => {
    [a, b, asker] = [await open('vale9:a'), await open('vale9:b'), await open('vale0:asker')];
  });

  afterEach(async () => {
    await stop();
    await until(
      async () => (await portNames()).join() === 'vale0:asker,vale9:a,vale9:b',
      `only the owner's ports; again: ${AGAIN}`,
    );
    assert.equal((await status()).pid, module, `the module lives; again: ${AGAIN}`);
    assert.deepEqual(
      fs.readdirSync('/dev/shm').filter((name) => name.startsWith('netmap')),
      [],
    );
    await passes(a, b);
    await Promise.all([a, b, asker].map((port) => port.close()));
  });

  test(`scribbling, churn, gifts, floods, kills at any time (NETMAP_SEED=${SEED})`, async (t) => {
    const honest = start('honest', GROUP - 2);
    await told(honest);
    await isAnswered(asker);
    const before = await registry();
    const open = descriptors(module);
    // Each is a user of its own, so that none waits for another's requests.
    const attacks = ['scribble', 'scribble', 'churn', 'churn', 'descriptors', 'deaf'].map(
      (what, i) => [what, GROUP - 3 - i, SEED + i] as const,
    );
    let exchanged = 0;
    for (const together of [attacks.slice(0, 2), attacks.slice(2, 4), attacks.slice(4), attacks]) {
      let running = together.map((attack) => start(...attack));
      await Promise.all(running.map((guest) => told(guest)));
      const until = performance.now() + SECONDS * 1000;
      for (let i = 0; performance.now() < until; i++) {
        await passes(a, b);
        await isAnswered(asker);
        await status();
        exchanged += 2;
        if (i % 20 !== 19) continue;
        // One dies, whatever it was at, and another takes its place.
        const [first, ...others] = running;
        await stop([first!]);
        const [what, uid] = together[i % together.length]!;
        running = [...others, start(what, uid, SEED + i)];
      }
      await stop(running);
    }
    await until(
      async () => JSON.stringify(await registry()) === JSON.stringify(before),
      `the registry as it was; again: ${AGAIN}`,
    );
    await noMoreThan(open, module);
    t.diagnostic(`${exchanged} frames`);
  });

  test('thousands of questions at once: nobody else waits for all of the answers', async () => {
    const flood = start('flood');
    await told(flood);
    let done = false;
    const all = told<{ answers: number }>(flood).then(({ answers }) => {
      done = true;
      assert.equal(answers, 4000);
    });
    for (let i = 0; i < 20; i++) await status();
    assert.equal(done, false, 'the owner was answered in between');
    await all;
  });

  test('connections: so many for a user, and room for others', async () => {
    const { refused } = await told<{ refused: string }>(start('connections'));
    assert.match(refused, /EMFILE.*Cannot let uid 65534 in once more/);
    await told(start('honest', GROUP - 2));
    await using([open('vale0:c')], () => {});
  });

  test('one who closes the line does not keep the thread awake', async () => {
    await told(start('hangUp'));
    const before = cpuSeconds(module);
    const begun = performance.now();
    await new Promise((resolve) => setTimeout(resolve, 1500));
    const share = (cpuSeconds(module) - before) / ((performance.now() - begun) / 1000);
    assert.ok(share < 0.3, `the module takes ${share.toFixed(2)} of a CPU`);
    await told(start('honest', GROUP - 2));
    await isAnswered(asker);
  });

  test('ports and switches: so many for a user; the owner has the rest', async () => {
    const got = await told<{ opened: number; switches: number; refused: string[] }>(start('greedy'));
    assert.equal(got.opened, 64);
    assert.equal(got.switches, 4);
    assert.equal(got.refused.length, 4 + 300 - 60, 'each said which one');
    assert.match(got.refused[0]!, /^Cannot open "valeG4:x": it would make another switch.*guest_bridges=/);
    assert.match(
      got.refused.at(-1)!,
      /^Cannot open "valeG0:p299": uid 65534 has 64 ports open already.*guest_ports=/,
    );
    await using([open('vale7:x'), open('valeG0:owner')], () => {});
  });

  test('memory and pipes of others are out of reach, and so is what a descriptor of theirs stands for', async () => {
    const got = await told<Record<string, string>>(start('reach', GROUP, asker.memId));
    for (const [how, code] of Object.entries(got)) assert.equal(code, 'EACCES', how);
  });

  test('when descriptors run out, those who have theirs go on, and none is lost', async () => {
    await told(start('honest', GROUP - 2));
    await isAnswered(asker);
    const open = descriptors(module);
    const limit = (soft: string) => execFileSync('prlimit', ['--pid', String(module), `--nofile=${soft}:`]);
    const { stdout } = await run('prlimit', [
      '--pid',
      String(module),
      '--nofile',
      '--output=SOFT',
      '--noheadings',
    ]);
    limit(String(fs.readdirSync(`/proc/${module}/fd`).length + 40));
    try {
      const churners = [0, 1, 2].map((i) => start('greedy', GROUP, SEED + i));
      await Promise.all(churners.map((guest) => told(guest)));
      for (let i = 0; i < 50; i++) await isAnswered(asker);
      await stop(churners);
    } finally {
      limit(stdout.trim());
    }
    await noMoreThan(open, module);
  });
});

test('memory that another user has put where a module looks for its own is left alone', {
  skip: NO_ROOT,
}, async () => {
  // A module that this process is no client of: nobody else holds what it leaves.
  const other = fs.mkdtempSync(path.join(os.tmpdir(), 'netmap-test-'));
  const first = await load(other, String(GROUP));
  const planter = fork(path.join(ROOT, 'build/js/test/fault/hostile-guest.js'), ['plant', '1'], {
    uid: GROUP,
    gid: GROUP,
    cwd: '/',
    env: { ...process.env, NETMAP_DIR: other },
  });
  guests.push(planter);
  try {
    await told(planter);
    process.kill(first, 'SIGKILL');
    await until(() => !fs.existsSync(`/proc/${first}`), 'the module to be gone');
    await load(other, String(GROUP));
    const looked = told<{ untouched: boolean }>(planter);
    planter.send('look');
    assert.ok((await looked).untouched);
  } finally {
    await stop();
    await unload({ force: true, directory: other });
    fs.rmSync(other, { recursive: true });
  }
});

test('a directory that another user made where ours ought to be is not used', { skip: NO_ROOT }, async () => {
  const place = fs.mkdtempSync(path.join(os.tmpdir(), 'netmap-test-'));
  fs.chmodSync(place, 0o777);
  const squatted = path.join(place, 'netmap-12345');
  const asVictim = () =>
    run(
      'setpriv',
      ['--reuid=12345', '--regid=12345', '--clear-groups', path.join(ROOT, 'bin/nm-loader'), 's'],
      {
        TMPDIR: place,
        NETMAP_DIR: '',
        XDG_RUNTIME_DIR: '',
      },
    );
  try {
    fs.mkdirSync(squatted);
    fs.chownSync(squatted, GROUP, GROUP);
    const { code, stderr } = await asVictim();
    assert.equal(code, 1);
    assert.match(
      stderr,
      /Cannot use runtime directory .*netmap-12345: it belongs to another user; remove it, or set NETMAP_DIR/,
    );
  } finally {
    fs.rmSync(place, { recursive: true });
  }
});
