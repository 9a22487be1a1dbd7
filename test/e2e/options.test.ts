// Objective: pkt-gen's options do what its help says, seen from outside.
// Operations: two processes on a switch or a pipe; the output, or the frames that arrive, are looked at.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, describe, test } from 'node:test';
import { readPcap } from '../../apps/pcap/pcap-file.ts';
import { checksum, udpChecksum } from '../../apps/pkt-gen/frame.ts';
import { NS_BUF_CHANGED, NS_MOREFRAG, open, status } from '../../src/client/index.ts';
import { type Finished, ownModule, Program, receive, run, until, using } from '../harness.ts';

ownModule();
const scratch = fs.mkdtempSync(path.join(os.tmpdir(), 'netmap-options-'));
after(() => fs.rmSync(scratch, { recursive: true, force: true }));

let nth = 0;
/** Both ends of a pipe of this test alone. */
function pipe(): { tx: string; rx: string } {
  nth++;
  return { tx: `netmap:o${nth}{1`, rx: `netmap:o${nth}}1` };
}

/** Sends `count` packets over a pipe to a pkt-gen that receives as many. */
async function exchange(
  count: number,
  txOptions: readonly string[],
  rxOptions: readonly string[] = [],
): Promise<{ sent: Finished; received: Finished }> {
  const { tx, rx } = pipe();
  const receiver = new Program('pkt-gen', ['-i', rx, '-f', 'rx', '-n', String(count), ...rxOptions]);
  await receiver.says(/reading from/);
  const sent = await run('pkt-gen', ['-i', tx, '-f', 'tx', '-n', String(count), ...txOptions]);
  const received = await receiver.ended;
  assert.equal(sent.code, 0, sent.stderr);
  assert.equal(received.code, 0, received.stderr);
  return { sent, received };
}

/** What arrives at nm-dump, frame by frame. */
async function captured(count: number, txOptions: readonly string[]): Promise<Uint8Array[]> {
  const { tx, rx } = pipe();
  const file = path.join(scratch, `${nth}.pcap`);
  const dump = new Program('nm-dump', ['-i', rx, '-w', file, '-n', String(count)]);
  const sent = await run('pkt-gen', ['-i', tx, '-f', 'tx', '-n', String(count), ...txOptions]);
  assert.equal(sent.code, 0, sent.stderr);
  assert.equal((await dump.ended).code, 0, dump.stderr);
  return readPcap(file).frames.map(({ data }) => data);
}

describe('pkt-gen options', { timeout: 300_000 }, () => {
  test('-R PPS -A: paced, mean and deviation in the reports', async () => {
    const { sent } = await exchange(300, ['-R', '1000', '-T', '100', '-A']);
    assert.match(sent.stderr, /pps \[avg\/std [\d.]+ K?\/[\d.]+ K?pps\]\(/);
    const [, seconds] = /in ([\d.]+) seconds/.exec(sent.stdout)!;
    assert.ok(Number(seconds) > 0.25, `300 packets at 1000 a second took ${seconds} s`);
  });

  test('-B counts 24 more bytes a packet, -N prints whole numbers', async () => {
    const { received } = await exchange(1000, [], ['-B', '-N']);
    const numbers = /Speed: (\d+) pps Bandwidth: (\d+) bps \(raw (\d+) bps\)/.exec(received.stdout);
    assert.ok(numbers, received.stdout);
    const ratio = Number(numbers[3]) / Number(numbers[2]);
    assert.ok(Math.abs(ratio - 84 / 60) < 0.01, `raw is ${ratio} times the frames' bits`);
  });

  test('-X dumps every packet', async () => {
    const { sent, received } = await exchange(2, ['-X'], ['-X']);
    for (const { stdout } of [sent, received]) {
      assert.equal(stdout.match(/^ring 0x[0-9a-f]+ cur +\d+ \[buf +\d+ flags 0x/gm)?.length, 2);
      assert.match(stdout, / {4}0: ff ff ff ff ff ff 00 00 00 00 00 00 08 00 45 10/);
    }
  });

  test('-l, -D, -S, -d, -s shape the frame', async () => {
    const options = '-l 100 -D 02:00:00:00:00:09 -S 02:00:00:00:00:08 -d 1.2.3.4:7 -s 5.6.7.8:9'.split(' ');
    const [frame] = await captured(1, options);
    assert.equal(frame!.length, 100);
    assert.deepEqual([...frame!.subarray(0, 12)], [2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 8]);
    assert.deepEqual([...frame!.subarray(26, 38)], [5, 6, 7, 8, 1, 2, 3, 4, 0, 9, 0, 7]);
  });

  test('-6: frames of IPv6, whose ranges step as those of IPv4, checksums right', async () => {
    const frames = await captured(5, '-6 -l 80 -s [fd00::1]:5-[fd00::2]:6 -d 6@[fd00::8:9]:7'.split(' '));
    const shown = frames.map((frame) => {
      assert.equal(udpChecksum(frame, 6), new DataView(frame.buffer, frame.byteOffset).getUint16(60));
      return [frame[37], frame[55], frame[51], frame[53], frame[57]];
    });
    assert.deepEqual(shown, [
      [1, 5, 8, 9, 7],
      [1, 6, 8, 9, 7],
      [2, 5, 8, 9, 7],
      [2, 6, 8, 9, 7],
      [1, 5, 8, 9, 7],
    ]);
  });

  for (const [family, sum] of [
    [4, 40],
    [6, 60],
  ] as const)
    test(`-z, -Z: any addresses and ports, checksums of IPv${family} right`, async () => {
      const sides = { z: [sum - 6, sum - 4], Z: [sum - 4, sum - 2] };
      for (const [option, [port]] of Object.entries(sides)) {
        const frames = await captured(200, [`-${option}`, `-${family}`, '-l', '90']);
        for (const frame of frames) {
          const view = new DataView(frame.buffer, frame.byteOffset);
          assert.equal(udpChecksum(frame, family), view.getUint16(sum));
          if (family === 4) assert.equal(checksum([frame.subarray(14, 34)]), 0);
        }
        const different = (at: number) =>
          new Set(frames.map((frame) => frame.subarray(at, at + 2).join())).size;
        assert.ok(different(port!) > 150, `${different(port!)} ports with -${option}`);
        const other = port === sides.z[0] ? sides.Z[0]! : sides.z[0]!;
        assert.equal(different(other), 1, `the other side's with -${option}`);
      }
    });

  test('-F SLOTS, -M BYTES: packets of several slots', async () => {
    for (const { options, lengths } of [
      { options: ['-F', '3', '-l', '100'], lengths: [33, 33, 34] },
      { options: ['-M', '40', '-l', '100', '-s', '10.0.0.1-10.0.0.9'], lengths: [33, 33, 34] },
      { options: ['-l', '5000'], lengths: [1666, 1666, 1668] },
    ]) {
      const { sent, received } = await exchange(2, [...options, '-X']);
      const slots = [...sent.stdout.matchAll(/^ring .* flags 0x(\w+) len +(\d+)\]/gm)];
      assert.deepEqual(
        slots.map(([, flags, length]) => [Number(length), (Number.parseInt(flags!, 16) & NS_MOREFRAG) !== 0]),
        [...lengths, ...lengths].map((length, i) => [length, i % lengths.length < lengths.length - 1]),
      );
      assert.match(received.stdout, /^Received 2 packets/m);
    }
  });

  test('-o 4096: lengths and checksums follow a random size', async () => {
    const frames = await captured(2000, '-l 120 -l 60 -o 4096 -b 8'.split(' '));
    for (const frame of frames) {
      const view = new DataView(frame.buffer, frame.byteOffset);
      assert.equal(view.getUint16(16), frame.length - 14);
      assert.equal(checksum([frame.subarray(14, 34)]), 0);
      assert.equal(udpChecksum(frame), view.getUint16(40));
    }
    assert.ok(new Set(frames.map(({ length }) => length)).size > 20);
  });

  test('-H BYTES: a virtio-net header, which a receiver without one does not see', async () => {
    const receiver = new Program('pkt-gen', ['-i', 'vale0:h2', '-f', 'rx', '-n', '10']);
    await receiver.says(/reading from/);
    await using([open('vale0:h1'), open('vale0:h3')], async (first, third) => {
      const sent = await run('pkt-gen', ['-i', 'vale0:h1', '-f', 'tx', '-n', '10', '-H', '12', '-l', '100']);
      assert.match(sent.stdout, /^Sent 10 packets 1120 bytes/m);
      const received = await receiver.ended;
      assert.match(received.stdout, /^Received 10 packets 1000 bytes/m);
      assert.deepEqual(
        receive(third).map(({ bytes }) => bytes.length),
        Array(10).fill(100),
      );
      const next = await run('pkt-gen', ['-i', 'vale0:h1', '-f', 'tx', '-n', '1']);
      assert.match(next.stderr, /Port requires virtio-net header, length = 12/);
      assert.match(next.stdout, /^Sent 1 packets 72 bytes/m);
      void first;
    });
    const refused = await run('pkt-gen', ['-i', 'netmap:h{1', '-f', 'tx', '-n', '1', '-H', '12']);
    assert.match(refused.stderr, /ports of switches have them; leave -H out/);
    assert.equal(refused.code, 1);
  });

  test('-C SIZES: the port that it makes', async () => {
    const sent = await run('pkt-gen', '-i vale0:sizes -f tx -n 1 -v -C 64,128,2'.split(' '));
    assert.match(sent.stderr, /txr 2 txd 64 rxr 2 rxd 128/);
    assert.equal(sent.stderr.match(/TX\d at offset 0x\w+ slots 64/g)?.length, 2);
    assert.equal(sent.stderr.match(/RX\d at offset 0x\w+ slots 128/g)?.length, 2);
  });

  test('-I is refused in a sentence', async () => {
    const refused = await run('pkt-gen', '-i vale0:i -f tx -I'.split(' '));
    assert.match(refused.stderr, /Cannot send indirect buffers \(-I\)/);
    assert.equal(refused.code, 1);
  });

  for (const options of [
    ['-6', '-l', '80'],
    ['-F', '4'],
    ['-s', '10.0.0.1-10.0.0.7'],
  ])
    test(`txseq and rxseq with ${options.join(' ')}: no number is missing`, async () => {
      const { tx, rx } = pipe();
      const receiver = new Program('pkt-gen', ['-i', rx, '-f', 'rxseq', '-W']);
      await receiver.says(/reading from/);
      const sender = new Program('pkt-gen', ['-i', tx, '-f', 'txseq', '-R', '5000', '-T', '100', ...options]);
      await sender.says(/Kpps/);
      await sender.stop();
      const { stdout, stderr } = await receiver.ended;
      assert.match(stdout, /^Received \d+ packets/m);
      assert.doesNotMatch(stderr, /GAP|ORDER|frags|too small/);
    });

  test('ping and pong with IPv6', async () => {
    const pong = new Program('pkt-gen', '-i vale0:po -f pong'.split(' '));
    await pong.says(/Ready/);
    const ping = await run('pkt-gen', '-i vale0:pi -f ping -6 -l 80 -n 20'.split(' '));
    assert.match(ping.stderr, /RTT over 20 packets/);

    assert.equal((await pong.stop()).code, 0);
  });

  test('-l MAX -l MIN draws sizes between', async () => {
    const sizes = new Set(
      (await captured(300, ['-l', '90', '-l', '80', '-b', '1'])).map(({ length }) => length),
    );
    assert.ok(Math.min(...sizes) >= 80 && Math.max(...sizes) <= 90 && sizes.size > 5, `${[...sizes]}`);
  });

  test('-r sends whatever the buffers hold', async () => {
    const frames = await captured(5, ['-r', '-l', '70']);
    assert.ok(frames.every((frame) => frame.length === 70 && frame.every((byte) => byte === 0)));
  });

  test('-W ends a receiver a second after the last packet', async () => {
    const { tx, rx } = pipe();
    const receiver = new Program('pkt-gen', ['-i', rx, '-f', 'rx', '-W']);
    await receiver.says(/reading from/);
    await run('pkt-gen', ['-i', tx, '-f', 'tx', '-n', '7']);
    const { code, stdout } = await receiver.ended;
    assert.equal(code, 0);
    assert.match(stdout, /Received 7 packets/);
  });

  test('-w SECONDS waits before it starts', async () => {
    const { sent } = await exchange(1, ['-w', '1']);
    assert.match(sent.stderr, /Wait 1 secs for phy reset/);
  });

  test('-a pins the threads to CPUs', async () => {
    const { tx } = pipe();
    const sender = new Program('pkt-gen', ['-i', tx, '-f', 'tx', '-a', '0', '-c', '1']);
    await sender.says(/main_thread/);
    const threads = fs.readdirSync(`/proc/${sender.pid}/task`).map((task) => {
      const text = fs.readFileSync(`/proc/${sender.pid}/task/${task}/status`, 'utf8');
      return /^Cpus_allowed_list:\t(.*)$/m.exec(text)?.[1];
    });
    await sender.stop();
    assert.ok(threads.includes('0'), `threads run on ${threads.join(' ')}`);
  });

  test('-p 2: two threads, a ring each, nothing lost on a pipe of two rings', async () => {
    const { tx, rx } = pipe();
    const rings = '@conf:rings=2';
    const receiver = new Program('pkt-gen', ['-i', rx + rings, '-f', 'rx', '-p', '2', '-n', '200000']);
    await receiver.says(/reading from[^\n]*thread 1/);
    const sent = await run('pkt-gen', ['-i', tx + rings, '-f', 'tx', '-p', '2', '-n', '200000']);
    const received = await receiver.ended;
    assert.match(sent.stdout, /2 queues, 2 threads/);
    assert.match(sent.stdout, /Sent 200000 packets/);
    assert.match(received.stdout, /Received 200000 packets/);
  });

  test('-p more than there are rings is refused', async () => {
    const { code, stderr } = await run('pkt-gen', ['-i', pipe().tx, '-f', 'tx', '-p', '3']);
    assert.equal(code, 1);
    assert.match(stderr, /bad nthreads 3, have 1 queues/);
  });

  test('-v tells where the rings lie', async () => {
    const { sent } = await exchange(1, ['-v']);
    assert.match(sent.stderr, /nifp at offset \d+ ntxqs 1 nrxqs 1 memid \d+/);
    assert.match(sent.stderr, /TX0 at offset 0x[0-9a-f]+ slots 1024/);
  });

  test('SIGINT to a receiver of which nobody has heard anything: it ends well', async () => {
    const receiver = new Program('pkt-gen', ['-i', pipe().rx, '-f', 'rx']);
    await receiver.says(/waiting for initial packets/);
    const { code, stdout } = await receiver.stop();
    assert.equal(code, 0);
    assert.match(stdout, /Received nothing\./);
  });

  test('nothing is open afterwards', async () => {
    await until(async () => (await status()).ports.length === 0, 'the last port to close');
  });
});

describe('frames by hand beside pkt-gen', () => {
  test('a frame put into a slot of a running pipe is sent as it is, template or not', async () => {
    const { tx, rx } = pipe();
    using sender = await open(tx);
    using receiver = await open(rx);
    const ring = sender.txRings[0]!;
    ring.put(ring.head, new Uint8Array(64).fill(7));
    ring.setFlags(ring.head, NS_BUF_CHANGED);
    ring.publish(ring.next(ring.head));
    sender.txSync();
    receiver.rxSync();
    assert.ok(receiver.rxRings[0]!.frame(0).every((byte) => byte === 7));
  });
});
