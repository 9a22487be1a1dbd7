// Objective: an interface that is installed for a group is open to its users, isolated, and to nobody else.
// Operations: nm-loader install and uninstall; processes of other users, with the group and without, send, receive, wait,
// bridge, misbehave, are killed; the module is restarted, killed, given files that make no sense.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { describe, test } from 'node:test';
import { interfaces, load, open, setParameter, status, unload } from '../../src/client/index.ts';
import { type Finished, ownModule, Program, ROOT, refuses, run, until } from '../harness.ts';
import { lacks, Machine, NO_NETWORK, wire } from './network.ts';

const directory = ownModule();
const file = path.join(directory, 'interfaces');
const GROUP = '54321';
const OTHER_GROUP = '54322';

/** A program of nobody's, as a user of these groups only. */
function asUser(groups: string, command: string, ...args: string[]): Program {
  const set = groups === '' ? '--clear-groups' : `--groups=${groups}`;
  const file = command === 'node' ? process.execPath : `${ROOT}bin/${command}`;
  return new Program('setpriv', ['--reuid=65534', '--regid=65534', set, '--', file, ...args]);
}

const guest = (name: string, what: 'hold' | 'scribble' | 'wait') =>
  asUser(GROUP, 'node', `${ROOT}build/js/test/nic/guest.js`, name, what);

function pktGen(groups: string, name: string, ...args: string[]): Program {
  return asUser(groups, 'pkt-gen', '-i', name, '-w', '0', ...args);
}

/** One sentence on standard error behind the announcement. */
function assertRefused({ code, stderr }: Finished, reason: RegExp): void {
  assert.equal(code, 1, stderr);
  const said = stderr.split('\n').filter((line) => line.startsWith('pkt-gen: '));
  assert.equal(said.length, 1, stderr);
  assert.match(said[0]!, reason);
}

describe('interfaces for users of a group', { skip: lacks('setpriv'), timeout: 300_000 }, () => {
  const here = NO_NETWORK ? undefined! : new Machine();
  const there = NO_NETWORK ? undefined! : new Machine();
  if (!NO_NETWORK) {
    wire([here, 'v0'], [here, 'v1']);
    wire([here, 'v2'], [here, 'v3']);
    wire([here, 'h0'], [there, 'h1']);
    here.ip('addr', 'add', '10.7.1.1/24', 'dev', 'h0');
    there.ip('addr', 'add', '10.7.1.2/24', 'dev', 'h1');
    here.enter();
  }
  const pings = (machine: Machine, to: string) => machine.tries('ping', '-q', '-c', '1', '-W', '1', to);
  const installed = async () =>
    Object.fromEntries(
      (await interfaces()).flatMap(({ name, installedFor }) => (installedFor ? [[name, installedFor]] : [])),
    );
  const isTaken = (name: string) => /xdp/.test(here.ip('link', 'show', name));

  /** Frames from one user's pkt-gen to another's, and that both end well. */
  async function passes(from: string, to: string): Promise<void> {
    const receiver = pktGen(GROUP, to, '-f', 'rx', '-n', '2000');
    await receiver.says(/reading from/);
    const sender = pktGen(GROUP, from, '-f', 'tx', '-R', '20000');
    const { code, stdout, stderr } = await receiver.ended;
    assert.equal(code, 0, stderr);
    assert.ok(Number(/Received (\d+) packets/.exec(stdout)![1]) >= 2000, stdout);
    assert.equal((await sender.stop()).code, 0);
  }

  test('nothing is installed: nobody else comes in, and is told what would let him', async () => {
    await load();
    assertRefused(
      await pktGen(GROUP, 'netmap:v0', '-f', 'rx').ended,
      /Cannot reach the netmap module in .* is not for this user .*"nm-loader install IFNAME -g GROUP"/,
    );
  });

  test('install: refused for what is not there, or twice; shown by interfaces', async () => {
    const loader = (...args: string[]) => run('nm-loader', args);
    const complains = async (reason: RegExp, ...args: string[]) => {
      const { code, stderr } = await loader(...args);
      assert.equal(code, 1);
      assert.match(stderr, reason);
    };
    await complains(
      /Cannot install "nosuch": there is no network interface/,
      'install',
      'nosuch',
      '-g',
      GROUP,
    );
    await complains(/Cannot install "v0": for users of which group\?/, 'install', 'v0');
    await complains(/has none of that name/, 'install', 'v0', '-g', 'no such group');
    await complains(/Cannot uninstall "v0": it is not installed/, 'uninstall', 'v0');
    await complains(/-g is about an interface/, 'install', '-g', GROUP);
    assert.deepEqual(await installed(), {});
    assert.equal(fs.statSync(directory).mode & 0o777, 0o700);
    for (const name of ['v0', 'v1', 'h0']) {
      const { code, stdout, stderr } = await loader('install', name, '-g', GROUP);
      assert.equal(code, 0, stderr);
      assert.equal(stdout, `${name} installed for users of group ${GROUP}\n`);
    }
    await complains(/"v0": it is installed for group 54321 already/, 'install', 'v0', '-g', OTHER_GROUP);
    assert.deepEqual(await installed(), { v0: GROUP, v1: GROUP, h0: GROUP });
    assert.match((await loader('interfaces')).stdout, /^\d+ v0 .* installed for group 54321$/m);
    assert.equal(fs.statSync(directory).mode & 0o777, 0o710);
  });

  test('users of the group send and receive, and sleep until a frame comes', async () => {
    await passes('netmap:v0', 'netmap:v1');
    await passes('netmap:v1', 'netmap:v0');
    const pong = pktGen(GROUP, 'netmap:v1', '-f', 'pong');
    await pong.says(/Ready/);
    const ping = pktGen(GROUP, 'netmap:v0', '-f', 'ping', '-n', '200');
    const { code, stderr } = await ping.ended;
    assert.equal(code, 0, stderr);
    await pong.stop();
    assert.deepEqual((await status()).ports, []);
  });

  test('in generic and emulated mode, too', async () => {
    for (const admode of [2, 3]) {
      await setParameter('admode', admode);
      await passes('netmap:v0', 'netmap:v1');
    }
    await setParameter('admode', 0);
  });

  test('nobody else does: not of the group, not for what is not installed, nothing but ports', async () => {
    assertRefused(await pktGen('', 'netmap:v0', '-f', 'rx').ended, /is not for this user/);
    assertRefused(await pktGen(OTHER_GROUP, 'netmap:v0', '-f', 'rx').ended, /is not for this user/);
    assertRefused(
      await pktGen(GROUP, 'netmap:v2', '-f', 'rx').ended,
      /Cannot open "v2": it is not installed for users of any group; do it with "nm-loader install v2 -g GROUP"/,
    );
    assertRefused(
      await pktGen(GROUP, 'netmap:v0{1', '-f', 'rx').ended,
      /Cannot open "v0\{1": it is no interface/,
    );
    assertRefused(
      await pktGen(GROUP, 'netmap:v0@1', '-f', 'rx').ended,
      /memory region 1: it is the module's own/,
    );
    assertRefused(await pktGen(GROUP, 'netmap:v0/r', '-f', 'rx').ended, /Cannot monitor/);
    const loader = await asUser(GROUP, 'nm-loader', 'install', 'v2', '-g', GROUP).ended;
    assert.equal(loader.code, 1);
    assert.match(loader.stderr, /only uid 0/);
    assert.match(
      (await asUser(GROUP, 'nm-loader', 'interfaces').ended).stdout,
      / v0 .* installed for group 54321/,
    );
  });

  test('several groups: each has its own, and a stranger is told so by the module', async () => {
    assert.equal((await run('nm-loader', ['install', 'v2', '-g', OTHER_GROUP])).code, 0);
    const other = pktGen(OTHER_GROUP, 'netmap:v2', '-f', 'rx');
    await other.says(/reading from/);
    await other.stop();
    assertRefused(
      await pktGen(GROUP, 'netmap:v2', '-f', 'rx').ended,
      /Cannot open "v2": it is installed for group 54322, which uid 65534 is not of; "usermod -aG 54322 USER"/,
    );
    assertRefused(
      await pktGen('', 'netmap:v2', '-f', 'rx').ended,
      /Cannot let uid 65534 in: it is of no group .*"nm-loader install IFNAME -g GROUP"/,
    );
    assert.equal((await run('nm-loader', ['uninstall', 'v2'])).code, 0);
    assert.equal(fs.statSync(directory).mode & 0o777, 0o710);
  });

  test("the guest has its own region mapped and no other; the owner keeps out, and the guest of what is the owner's", async () => {
    const holder = guest('netmap:v0', 'hold');
    await holder.says(/\n/);
    const { maps, memId } = JSON.parse(holder.stdout) as { maps: string[]; memId: number };
    assert.deepEqual(maps.sort(), ['netmap-asks', 'netmap-region']);
    assert.notEqual(memId, 1);
    await refuses(open('netmap:v0'), 'EACCES', /its memory belongs to uid 65534/);
    await refuses(open(`netmap:v2@${memId}`), 'EACCES');
    const own = await open('netmap:v1');
    assert.equal(own.memId, 1);
    assertRefused(await pktGen(GROUP, 'netmap:v1', '-f', 'rx').ended, /its memory belongs to uid 0/);
    await own.close();
    await holder.stop('SIGKILL');
    await until(() => !isTaken('v0'), 'the interface to be given back');
  });

  test("the host through its own rings by a bridge of a guest; killed: it is the host's again", {
    skip: lacks('ping'),
  }, async () => {
    const bridge = asUser(GROUP, 'bridge', '-w', '0', '-i', 'netmap:h0', '-i', 'netmap:h0^');
    await bridge.says(/Ready to go/);
    await until(() => pings(here, '10.7.1.2'), 'the first answer');
    assert.ok(pings(there, '10.7.1.1'));
    assert.ok(isTaken('h0'));
    await bridge.stop('SIGKILL');
    await until(
      () => !isTaken('h0') && !here.interfaces().some((name) => /^nm\d/.test(name)),
      'all to be gone',
    );
    await until(() => pings(here, '10.7.1.2'), 'the host to answer');
    assert.deepEqual((await status()).ports, []);
  });

  test('a guest that writes nonsense all over its rings harms nobody', async () => {
    const scribbler = guest('netmap:h0*', 'scribble');
    await scribbler.says(/memId/);
    await passes('netmap:v0', 'netmap:v1');
    await scribbler.says(/scribbled/);
    await passes('netmap:v0', 'netmap:v1');
    await scribbler.stop('SIGKILL');
    await until(async () => (await status()).ports.length === 0, 'its port to be gone');
    await until(() => pings(here, '10.7.1.2'), 'the host to answer');
  });

  test('an interface that is removed: who waits for its frames is told', async () => {
    wire([here, 'gone0'], [here, 'gone1']);
    assert.equal((await run('nm-loader', ['install', 'gone0', '-g', GROUP])).code, 0);
    const reader = guest('netmap:gone0', 'wait');
    await reader.says(/memId/);
    here.ip('link', 'del', 'gone0');
    const { stdout } = await reader.ended;
    assert.match(stdout, /^EIO Cannot wait for "gone0": its interface is gone/m);
    await until(async () => (await status()).ports.length === 0, 'its port to be gone');
    assert.equal((await run('nm-loader', ['uninstall', 'gone0'])).code, 0);
  });

  test('the next module knows it, loaded after unloading or kill -9; uninstall ends it', async () => {
    await unload();
    assert.equal(fs.statSync(directory).mode & 0o777, 0o700);
    await load();
    await passes('netmap:v0', 'netmap:v1');
    const { pid } = await status();
    const holder = guest('netmap:v0', 'hold');
    await holder.says(/memId/);
    process.kill(pid, 'SIGKILL');
    await until(() => !isTaken('v0'), 'the interface to be given back');
    await holder.stop('SIGKILL');
    await until(async () => (await load().catch(() => pid)) !== pid, 'the next module');
    await passes('netmap:v0', 'netmap:v1');
    const last = pktGen(GROUP, 'netmap:v0', '-f', 'rx');
    await last.says(/reading from/);
    for (const name of ['v0', 'v1', 'h0'])
      assert.equal((await run('nm-loader', ['uninstall', name])).code, 0);
    assert.deepEqual(await installed(), {});
    // What is open stays open, and can be closed.
    assert.ok(isTaken('v0'));
    assert.equal((await last.stop()).code, 0);
    assert.ok(!isTaken('v0'));
    assert.ok(!fs.existsSync(file));
    assertRefused(await pktGen(GROUP, 'netmap:v0', '-f', 'rx').ended, /is not for this user/);
  });

  test('loaded with -g, install needs none; a file that makes no sense, or that others could write, is refused', async () => {
    await unload();
    await load(directory, GROUP);
    assert.equal((await run('nm-loader', ['install', 'v0'])).code, 0);
    assert.deepEqual(await installed(), { v0: GROUP });
    await unload();
    const refused = async (text: string, reason: RegExp) => {
      fs.writeFileSync(file, text);
      const { code, stderr } = await run('nm-loader', ['l']);
      assert.equal(code, 1);
      assert.match(stderr, reason);
    };
    await refused('v0\n', /line 1 of .*interfaces is "v0": an interface and a group are needed/);
    await refused('# text\nv0 54321 x\n', /line 2 of /);
    await refused('v0 54321\nv0 54321\n', /line 2 of .* names "v0" once more/);
    await refused('v0 no-such-group\n', /line 1 of .* names group "no-such-group"/);
    fs.writeFileSync(file, 'v0 54321\n');
    fs.chmodSync(file, 0o666);
    await refused('v0 54321\n', /others could have written .* mode 0666/);
    fs.rmSync(file);
    execFileSync('mkfifo', ['-m', '644', file]);
    const fifo = await run('nm-loader', ['l']);
    assert.match(fifo.stderr, /others could have written/);
    fs.rmSync(file);
  });
});
