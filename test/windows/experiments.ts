// Objective: the programs do on Windows what they do on Linux, between separate processes, nothing loaded before.
// Operations: Windows' Node under Wine runs the command lines of the README, verbatim; ^C, kill and the files that
// they write come from here.  Rates are printed, not asserted: they are Wine's.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, describe, test } from 'node:test';
import { readPcap } from '../../apps/pcap/pcap-file.ts';
import { stopWine, WindowsProgram, windowsPath } from '../../scripts/wine.ts';
import { CAPTURES, NO_CAPTURES, until } from '../harness.ts';

const scratch = fs.mkdtempSync(path.join(os.tmpdir(), 'netmap-windows-'));
process.env['NETMAP_DIR'] = windowsPath(path.join(scratch, 'module'));
const programs = new Set<WindowsProgram>();
after(() => {
  stopWine();
  for (const program of programs) program.forget();
  fs.rmSync(scratch, { recursive: true, force: true });
});

const MAINS: Readonly<Record<string, string>> = {
  netmapd: 'src/module/main.js',
  'pkt-gen-b': 'apps/pkt-gen/main-b.js',
  leftovers: 'test/windows/leftovers.js',
};

function start(command: string, ...args: string[]): WindowsProgram {
  const program = new WindowsProgram(MAINS[command] ?? `apps/${command}/main.js`, args);
  programs.add(program);
  return program;
}

async function run(command: string, ...args: string[]): Promise<WindowsProgram> {
  const program = start(command, ...args);
  assert.equal(await program.ended, 0, `${command} ${args.join(' ')}: ${program.stderr}`);
  return program;
}

const says = (program: WindowsProgram, pattern: RegExp) =>
  until(
    () => pattern.test(program.stderr) || pattern.test(program.stdout),
    `${pattern} from the program`,
    60_000,
    () => program.stderr,
  );

const REPORT = /main_thread .* Mpps/;
/** Goes on after what it has said so far. */
async function movesOn(program: WindowsProgram): Promise<void> {
  const before = program.stderr.length;
  await until(() => REPORT.test(program.stderr.slice(before)), 'traffic to go on');
}

async function opened(name: string): Promise<void> {
  await until(async () => (await run('nm-loader', 's')).stdout.includes(`  ${name}  `), `${name} to be open`);
}

function packetsIn(program: WindowsProgram): number {
  return Number(/(?:Sent|Received) (\d+) packets/.exec(program.stdout)?.[1] ?? 0);
}

describe('two windows', { timeout: 300_000 }, () => {
  for (const command of ['pkt-gen', 'pkt-gen-b']) {
    for (const [sender, receiver] of [
      ['vale1:a', 'vale1:b'],
      ['vale0:a}1', 'vale0:a{1'],
    ] as const) {
      test(`${command} -i ${sender} -f tx and ${command} -i ${receiver} -f rx`, async (t) => {
        const rx = start(command, '-i', receiver, '-f', 'rx');
        await says(rx, /reading from/);
        const tx = start(command, '-i', sender, '-f', 'tx');
        await says(tx, REPORT);
        await says(rx, REPORT);
        assert.equal(await tx.stop(), 0, tx.stderr);
        assert.equal(await rx.stop(), 0, rx.stderr);
        for (const { stdout } of [tx, rx]) t.diagnostic(stdout.trim().split('\n').slice(-2).join(' '));
        assert.ok(packetsIn(rx) > 0);
        if (sender.includes('}')) assert.ok(packetsIn(tx) - packetsIn(rx) <= 1023);
        else assert.ok(packetsIn(rx) <= packetsIn(tx));
      });
    }
  }

  test('ping and pong', async (t) => {
    const pong = start('pkt-gen', '-i', 'vale1:b', '-f', 'pong');
    await opened('vale1:b');
    const ping = await run('pkt-gen', '-i', 'vale1:a', '-f', 'ping', '-n', '500');
    const summary = /RTT over (\d+) packets: min (\d+) av (\d+) ns/.exec(ping.stderr);
    assert.ok(summary, ping.stderr);
    t.diagnostic(summary[0]);
    assert.equal(Number(summary[1]), 500);
    assert.equal(await pong.stop(), 0);
  });

  test('a monitor sees what a port receives', async () => {
    const file = path.join(scratch, 'monitor.pcap');
    const rx = start('pkt-gen', '-i', 'vale3:b', '-f', 'rx');
    await opened('vale3:b');
    const dump = start('nm-dump', '-i', 'vale3:b/r', '-w', windowsPath(file), '-n', '100');
    await until(
      async () => /vale3:b\/r/.test((await run('nm-loader', 's')).stdout),
      'the monitor to be open',
    );
    await run('pkt-gen', '-i', 'vale3:a', '-f', 'tx', '-n', '100');
    assert.equal(await dump.ended, 0, dump.stderr);
    assert.equal(readPcap(file).frames.length, 100);
    assert.equal(await rx.stop(), 0);
    assert.equal(packetsIn(rx), 100);
  });
});

test('a real capture through a VALE switch: 4096 frames, byte for byte, in order', {
  skip: NO_CAPTURES,
  timeout: 120_000,
}, async () => {
  const capture = path.join(CAPTURES, 'mixed-4k.pcap');
  const file = path.join(scratch, 'capture.pcap');
  const dump = start('nm-dump', '-i', 'vale2:b', '-w', windowsPath(file), '-n', '4096');
  await opened('vale2:b');
  await run(
    'pkt-gen',
    '-i',
    'vale2:a',
    '-f',
    'tx',
    '-P',
    windowsPath(fs.realpathSync(capture)),
    '-R',
    '20000',
  );
  assert.equal(await dump.ended, 0, dump.stderr);
  const before = readPcap(capture).frames;
  const dumped = readPcap(file).frames;
  assert.equal(dumped.length, before.length);
  before.forEach(({ data }, i) => {
    assert.ok(Buffer.compare(data, dumped[i]!.data) === 0, `frame ${i + 1} differs`);
  });
});

describe('TerminateProcess', { timeout: 200_000 }, () => {
  test('of a sender: its port is free, the receiver goes on with the next one', async () => {
    const rx = start('pkt-gen', '-i', 'vale5:b', '-f', 'rx');
    await opened('vale5:b');
    for (let i = 0; i < 3; i++) {
      const tx = start('pkt-gen', '-i', 'vale5:a', '-f', 'tx');
      await movesOn(rx);
      await tx.stop('SIGKILL');
      await until(
        async () => !(await run('nm-loader', 's')).stdout.includes('vale5:a'),
        'vale5:a to be free',
      );
    }
    assert.equal(await rx.stop(), 0);
    assert.ok(packetsIn(rx) > 0);
  });

  test('of the module: traffic does not stop, the next one takes the ports over', async () => {
    await until(async () => start('nm-loader', 'u').ended.then((code) => code === 0), 'the old module to go');
    const first = start('netmapd');
    await says(first, /^ready/m);
    const rx = start('pkt-gen', '-i', 'vale6:b', '-f', 'rx');
    await opened('vale6:b');
    const tx = start('pkt-gen', '-i', 'vale6:a', '-f', 'tx');
    await movesOn(rx);
    await first.stop('SIGKILL');
    await movesOn(rx);
    const second = start('netmapd');
    await says(second, /^ready/m);
    const { stdout } = await run('nm-loader', 's');
    assert.match(stdout, /vale6:a/);
    assert.match(stdout, /vale6:b/);
    await movesOn(rx);
    // The new one clears up after a client as the first would have.
    await tx.stop('SIGKILL');
    await until(async () => !(await run('nm-loader', 's')).stdout.includes('vale6:a'), 'vale6:a to be free');
    assert.equal(await rx.stop(), 0);
    await run('nm-loader', 'u');
    assert.equal(await second.ended, 0);
  });
});

test('nm-loader install: a service; uninstall undoes it', { timeout: 60_000 }, async (t) => {
  // A service of a run that was cut off, a module of the test before this: either would keep ours from starting.
  await start('nm-loader', 'uninstall').ended;
  await start('nm-loader', 'u', '-f').ended;
  await until(async () => (await start('nm-loader', 's').ended) === 1, 'no module to be loaded');
  const { stdout } = await run('nm-loader', 'install');
  assert.match(stdout, /installed as service "netmapd", (and started|but not started now)/);
  if (/but not started now/.test(stdout)) {
    assert.match((await run('nm-loader', 'uninstall')).stdout, /removed, it was not running/);
    t.skip(`this Wine installs services and starts none: ${stdout}`);
    return;
  }
  await until(async () => (await start('nm-loader', 's').ended) === 0, 'the service to answer');
  const again = start('nm-loader', 'install');
  assert.equal(await again.ended, 1);
  assert.match(again.stderr, /Cannot install netmap as service "netmapd"/);
  assert.match((await run('nm-loader', 'uninstall')).stdout, /removed, module stopped/);
  await until(async () => (await start('nm-loader', 's').ended) === 1, 'the service to end');
  assert.equal(await start('nm-loader', 'uninstall').ended, 1);
});

test('load, status, unload; no section, event or pipe is left', { timeout: 60_000 }, async () => {
  assert.match((await run('nm-loader', 'l')).stdout, /^netmap loaded, pid \d+/);
  assert.match((await run('nm-loader', 's')).stdout, /0 ports/);
  const pipe = fs.readFileSync(path.join(scratch, 'module/netmapd.sock'), 'utf8');
  assert.match((await run('leftovers', pipe)).stdout, /pipe.netmap-.*\nnetmap-memory-/);
  assert.match((await run('nm-loader', 'u')).stdout, /^netmap unloaded/);
  await until(async () => (await run('leftovers', pipe)).stdout === '', 'everything to be gone');
  assert.deepEqual(fs.readdirSync(path.join(scratch, 'module')), []);
});
