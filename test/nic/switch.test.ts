// Objective: interfaces, and the host stack behind one, are ports of a switch (spec ports §1.15).
// Operations: machines wired to one that switches; ping, a learning table, real captures, detach; a module restarted.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, describe, test } from 'node:test';
import { writePcap } from '../../apps/pcap/pcap-file.ts';
import {
  attach,
  attachHost,
  detach,
  listAddresses,
  listPorts,
  NR_REG_NIC_SW,
  open,
  status,
} from '../../src/client/index.ts';
import { CAPTURES, NO_CAPTURES, ownModule, ROOT, refuses, until } from '../harness.ts';
import { lacks, Machine, NO_NETWORK, wire } from './network.ts';

ownModule();

describe('interfaces on a switch', { skip: NO_NETWORK, timeout: 300_000 }, () => {
  const [hub, a, b] = NO_NETWORK ? [] : [new Machine(), new Machine(), new Machine()];
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'netmap-nic-'));
  after(() => fs.rmSync(folder, { recursive: true, force: true }));
  if (hub && a && b) {
    wire([hub, 'pa'], [a, 'v0']);
    wire([hub, 'pb'], [b, 'v0']);
    a.ip('addr', 'add', '10.8.0.1/24', 'dev', 'v0');
    b.ip('addr', 'add', '10.8.0.2/24', 'dev', 'v0');
    hub.ip('addr', 'add', '10.8.0.3/24', 'dev', 'pb');
    hub.enter();
  }
  const pings = (machine: Machine, to: string) => machine.tries('ping', '-q', '-c', '1', '-W', '1', to);

  test('two machines joined by vale0: they reach each other, and the switch has learned both', async () => {
    await attach('vale0:pa');
    await attach('vale0:pb');
    await until(() => pings(a!, '10.8.0.2'), 'the first answer');
    assert.ok(pings(b!, '10.8.0.1'));
    assert.ok(!pings(hub!, '10.8.0.2'), 'the host between them is cut off');
    const learned = new Map((await listAddresses('vale0')).map(({ mac, port }) => [mac, port]));
    const macOf = (machine: Machine) => /ether ([0-9a-f:]+)/.exec(machine.ip('link', 'show', 'v0'))![1]!;
    assert.equal(learned.get(macOf(a!)), 'vale0:pa');
    assert.equal(learned.get(macOf(b!)), 'vale0:pb');
  });

  test('attached: it can be neither opened nor attached again', async () => {
    await refuses(open('netmap:pa'), 'EBUSY', /vale-ctl -d vale0:pa/);
    await refuses(attach('vale1:pa'), 'EBUSY', /attached already/);
    await refuses(open('vale0:pa'), 'EBUSY');
    await refuses(attach('vale0:nosuch'), 'EINVAL');
  });

  test('a program on the switch sees what is flooded', { skip: lacks('ping') }, async () => {
    const port = await open('vale0:watch');
    a!.tries('ping', '-q', '-c', '1', '-W', '1', '-b', '10.8.0.255');
    a!.tries('ping', '-q', '-c', '1', '-W', '1', '10.8.0.77');
    await port.readable({ timeoutMs: 20_000 });
    await port.close();
  });

  for (const name of NO_CAPTURES ? [] : ['web-browsing.pcap', 'mixed-4k.pcap']) {
    test(`${name} through the switch: byte for byte`, { skip: lacks('tcpdump') }, async () => {
      // One side of the conversations: a switch does not send a frame back to where its destination is.
      const all = framesOf(fs.readFileSync(path.join(CAPTURES, name))).filter(
        (bytes) => bytes.length <= 1514,
      );
      const sourceOf = (bytes: Buffer) => bytes.toString('hex', 6, 12);
      const source = sourceOf(all[0]!);
      const frames = all.filter(
        (bytes) => sourceOf(bytes) === source && bytes.toString('hex', 0, 6) !== source,
      );
      const capture = path.join(folder, `sent-${name}`);
      writePcap(capture, frames);
      const written = path.join(folder, name);
      const sniffer = b!.start('tcpdump', [
        '-i',
        'v0',
        '-Q',
        'in',
        '-U',
        '-w',
        written,
        '--immediate-mode',
        '-s',
        '0',
        '-B',
        '65536',
      ]);
      await sniffer.says(/listening on/);
      // From a module of the sending machine's own.
      const sender = a!.start(
        `${ROOT}bin/pkt-gen`,
        ['-i', 'netmap:v0', '-f', 'tx', '-P', capture, '-n', String(frames.length), '-R', '20000', '-w', '0'],
        {
          NETMAP_DIR: path.join(folder, 'a'),
        },
      );
      assert.equal((await sender.ended).code, 0);
      const wanted = new Set(frames.map((bytes) => bytes.toString('latin1')));
      const got = () =>
        framesOf(fs.readFileSync(written))
          .map((bytes) => bytes.toString('latin1'))
          .filter((bytes) => wanted.has(bytes));
      await until(
        () => got().length >= frames.length,
        'every frame of the capture',
        60_000,
        () => `: ${got().length} of ${frames.length} came`,
      );
      await sniffer.stop('SIGTERM');
      assert.deepEqual(
        got(),
        frames.map((bytes) => bytes.toString('latin1')),
      );
    });
  }

  test('detached: the host has its interface again; -h gives the host a port of its own', async () => {
    await detach('vale0:pb');
    await until(() => pings(hub!, '10.8.0.2'), 'the host to reach its wire');
    await attach('vale0:pb', { mode: NR_REG_NIC_SW });
    assert.deepEqual(
      (await listPorts()).map(({ name }) => name),
      ['vale0:pa', 'vale0:pb', 'vale0:pb^'],
    );
    await until(() => pings(hub!, '10.8.0.1'), 'the host to reach the other machine through the switch');
    assert.ok(pings(hub!, '10.8.0.2'));
    assert.ok(pings(a!, '10.8.0.2'));
    await detach('vale0:pb');
    await detach('vale0:pa');
    assert.deepEqual((await status()).ports, []);
    assert.ok(!hub!.interfaces().some((name) => /^nm\d/.test(name)));
  });

  test('the host on a switch without any NIC: an interface made for it, gone when detached', async () => {
    await attach('vale0:pa');
    await attachHost('vale0:host0');
    await refuses(attachHost('vale0:host0'), 'EEXIST');
    hub!.ip('addr', 'add', '10.8.1.3/24', 'dev', 'host0');
    a!.ip('addr', 'add', '10.8.1.1/24', 'dev', 'v0');
    await until(() => pings(hub!, '10.8.1.1'), 'an answer through the switch');
    assert.ok(pings(a!, '10.8.1.3'));
    await detach('vale0:host0');
    assert.ok(!hub!.interfaces().includes('host0'));
    await detach('vale0:pa');
  });

  test('vxlan: a switch reaches machines beyond this one', async () => {
    // hub and b are two hosts; each has a vxlan interface on the wire between them.
    for (const [machine, own, other, wireEnd] of [
      [hub!, '10.8.0.3', '10.8.0.2', 'pb'],
      [b!, '10.8.0.2', '10.8.0.3', 'v0'],
    ] as const) {
      machine.ip(
        'link',
        'add',
        'vx0',
        'type',
        'vxlan',
        'id',
        '7',
        'local',
        own,
        'remote',
        other,
        'dstport',
        '4789',
        'dev',
        wireEnd,
      );
      machine.tries('ethtool', '-K', 'vx0', 'tx', 'off');
      machine.ip('link', 'set', 'vx0', 'up');
    }
    b!.ip('addr', 'add', '10.9.9.2/24', 'dev', 'vx0');
    a!.ip('addr', 'add', '10.9.9.1/24', 'dev', 'v0');
    await attach('vale0:pa');
    await attach('vale0:vx0');
    await until(() => pings(a!, '10.9.9.2'), 'an answer from beyond');
    await detach('vale0:vx0');
    await detach('vale0:pa');
  });
});

/** Frames of a capture in pcap's own form, of either byte order. */
function framesOf(file: Buffer): Buffer[] {
  const little = file.length < 4 || file.readUInt8(0) === 0xd4 || file.readUInt8(0) === 0x4d;
  const frames: Buffer[] = [];
  for (let at = 24; at + 16 <= file.length; ) {
    const length = little ? file.readUInt32LE(at + 8) : file.readUInt32BE(at + 8);
    if (at + 16 + length > file.length) break;
    frames.push(file.subarray(at + 16, at + 16 + length));
    at += 16 + length;
  }
  return frames;
}
