// Objective: the programs do what the first experiments show, between separate processes, nothing loaded before.
// Operations: the command lines of the README, verbatim; rates are printed, not asserted.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, describe, test } from 'node:test';
import { readPcap } from '../../apps/pcap/pcap-file.ts';
import { checksum, udpChecksum } from '../../apps/pkt-gen/frame.ts';
import { status } from '../../src/client/index.ts';
import { CAPTURES, NO_CAPTURES, ownModule, Program, ROOT, run, until } from '../harness.ts';

ownModule();
const scratch = fs.mkdtempSync(path.join(os.tmpdir(), 'netmap-e2e-'));
after(() => fs.rmSync(scratch, { recursive: true, force: true }));

const MIXED = path.join(CAPTURES, 'mixed-4k.pcap');

const HAS_TCPDUMP = await run('tcpdump', ['--version']).then(
  () => true,
  () => false,
);

function packetsIn(summary: string): number {
  return Number(/(?:Sent|Received) (\d+) packets/.exec(summary)?.[1] ?? 0);
}

/** Waits until a port is open, so that nothing sent is lost before. */
function opened(name: string): Promise<void> {
  return until(
    async () =>
      (await status().catch(() => undefined))?.ports.some((port) => port.name === name && port.opens > 0) ??
      false,
    `${name} to be open`,
  );
}

describe('two terminals', { timeout: 300_000 }, () => {
  for (const program of ['pkt-gen', 'pkt-gen-b']) {
    for (const [sender, receiver] of [
      ['vale1:a', 'vale1:b'],
      ['vale0:a}1', 'vale0:a{1'],
    ] as const) {
      test(`${program} -i ${sender} -f tx and ${program} -i ${receiver} -f rx`, async (t) => {
        const rx = new Program(program, ['-i', receiver, '-f', 'rx']);
        await rx.says(/reading from/);
        const tx = new Program(program, ['-i', sender, '-f', 'tx']);
        await tx.says(/main_thread .* Mpps[^\n]*\n[^\n]*main_thread/);
        const sent = await tx.stop();
        const received = await rx.stop();
        for (const [who, { code, stdout }] of Object.entries({ sent, received })) {
          assert.equal(code, 0, who);
          t.diagnostic(`${who}: ${stdout.trim().split('\n').at(-1)}`);
        }
        assert.match(
          sent.stdout,
          new RegExp(`^Sending on ${sender}: 1 queues, 1 threads and 1 cpus.`.replace(/[{}]/g, '\\$&')),
        );
        assert.match(sent.stdout, /10\.0\.0\.1 -> 10\.1\.0\.1 \(00:00:00:00:00:00 -> ff:ff:ff:ff:ff:ff\)/);
        assert.ok(packetsIn(received.stdout) > 0);
        // A pipe has back-pressure: what was sent was received, but for what was under way when both were stopped.
        if (sender.includes('}')) assert.ok(packetsIn(sent.stdout) - packetsIn(received.stdout) <= 1023);
        else assert.ok(packetsIn(received.stdout) <= packetsIn(sent.stdout));
      });
    }
  }

  test('ping and pong', async (t) => {
    const pong = new Program('pkt-gen', ['-i', 'vale1:b', '-f', 'pong']);
    await opened('vale1:b');
    const ping = await run('pkt-gen', ['-i', 'vale1:a', '-f', 'ping', '-n', '2000']);
    assert.equal(ping.code, 0);
    const summary = /RTT over (\d+) packets: min (\d+) av (\d+) ns/.exec(ping.stderr);
    assert.ok(summary, ping.stderr);
    t.diagnostic(summary[0]);
    assert.equal(Number(summary[1]), 2000);
    assert.ok(Number(summary[2]) > 0);
    assert.equal((await pong.stop()).code, 0);
  });

  test('txseq and rxseq over a pipe: not a number is missing', async (t) => {
    const rx = new Program('pkt-gen', ['-i', 'netmap:s}1', '-f', 'rxseq', '-W']);
    await rx.says(/reading from/);
    const tx = new Program('pkt-gen', ['-i', 'netmap:s{1', '-f', 'txseq']);
    await tx.says(/main_thread .* Mpps[^\n]*\n[^\n]*main_thread/);
    const sent = await tx.stop();
    const received = await rx.ended;
    t.diagnostic(received.stdout.trim().split('\n').at(-1)!);
    assert.doesNotMatch(received.stderr, /Sequence|too small/);
    assert.ok(packetsIn(received.stdout) > 100_000);
    assert.ok(packetsIn(sent.stdout) - packetsIn(received.stdout) <= 1023);
  });

  test('a range of addresses reaches the receiver in order, checksums right', async () => {
    const file = path.join(scratch, 'range.pcap');
    const dump = new Program('nm-dump', ['-i', 'vale1:b', '-w', file, '-n', '6']);
    await opened('vale1:b');
    await run('pkt-gen', ['-i', 'vale1:a', '-f', 'tx', '-n', '6', '-s', '10.0.0.1:5-10.0.0.2:6']);
    assert.equal((await dump.ended).code, 0);
    const seen = readPcap(file).frames.map(({ data }) => `${data[29]}:${(data[34]! << 8) | data[35]!}`);
    for (const { data } of readPcap(file).frames) {
      assert.equal((data[40]! << 8) | data[41]!, udpChecksum(data));
      assert.equal(checksum([data.subarray(14, 34)]), 0);
    }
    assert.deepEqual(seen, ['1:5', '1:6', '2:5', '2:6', '1:5', '1:6']);
  });
});

describe('a real capture', { skip: NO_CAPTURES, timeout: 300_000 }, () => {
  for (const [what, sender, receiver] of [
    ['through a VALE switch', 'vale2:a', 'vale2:b'],
    ['through a pipe', 'netmap:c{1', 'netmap:c}1'],
  ] as const) {
    test(`${what}: 4096 frames, byte for byte, in order`, async () => {
      const file = path.join(scratch, `${receiver.replace(/\W/g, '-')}.pcap`);
      const dump = new Program('nm-dump', ['-i', receiver, '-w', file, '-n', '4096']);
      await opened(receiver.replace('netmap:', ''));
      // VALE drops what a busy receiver has no room for: the rate leaves it time.
      const sent = await run('pkt-gen', ['-i', sender, '-f', 'tx', '-P', MIXED, '-R', '40000']);
      assert.equal(sent.code, 0, sent.stderr);
      assert.equal(packetsIn(sent.stdout), 4096);
      const dumped = await dump.ended;
      assert.equal(dumped.code, 0, dumped.stderr);
      const before = readPcap(MIXED).frames;
      const after = readPcap(file).frames;
      assert.equal(after.length, before.length);
      before.forEach(({ data }, i) => {
        assert.ok(Buffer.compare(data, after[i]!.data) === 0, `frame ${i + 1} differs`);
      });
      if (!HAS_TCPDUMP) return;
      const read = await run('tcpdump', ['-nn', '-r', file]);
      assert.equal(read.code, 0, read.stderr);
      assert.equal(read.stdout.trim().split('\n').length, 4096);
    });
  }

  test('a thousand times round a pipe: nothing is lost', async (t) => {
    const rx = new Program('pkt-gen', ['-i', 'netmap:t}1', '-f', 'rx', '-n', '4096000']);
    await rx.says(/reading from/);
    const tx = await run('pkt-gen', ['-i', 'netmap:t{1', '-f', 'tx', '-P', MIXED, '-n', '4096000']);
    const received = await rx.ended;
    t.diagnostic(received.stdout.trim().split('\n').at(-1)!);
    const bytes = readPcap(MIXED).frames.reduce((sum, { data }) => sum + data.length, 0);
    assert.match(tx.stdout, new RegExp(`Sent 4096000 packets ${bytes * 1000} bytes`));
    assert.match(received.stdout, new RegExp(`Received 4096000 packets ${bytes * 1000} bytes`));
  });

  test('nm-dump -w - is followed live by tcpdump -r -', {
    skip: HAS_TCPDUMP ? false : 'needs tcpdump',
  }, async () => {
    const pipeline = new Program('sh', [
      '-c',
      `"${path.join(ROOT, 'bin/nm-dump')}" -i vale3:b -w - | tcpdump -nn -l -r -`,
    ]);
    await opened('vale3:b');
    await run('pkt-gen', ['-i', 'vale3:a', '-f', 'tx', '-n', '3']);
    await until(() => pipeline.stdout.split('\n').length > 3, 'three lines of tcpdump');
    assert.match(pipeline.stdout, /10\.0\.0\.1\.1234 > 10\.1\.0\.1\.1234: UDP, length 18/);
    const { clients } = await status();
    for (const { pid } of clients) process.kill(pid, 'SIGINT');
    await pipeline.ended;
  });
});
