// Objective: the host rings one by one: rows H3, H5 and H6 of spec ports §7.4, and several of them (spec ports §4.1).
// Operations: a machine whose interface this process has open with its host rings; programs of that machine's host.

import assert from 'node:assert/strict';
import dgram from 'node:dgram';
import { after, before, describe, test } from 'node:test';
import { open, type Port, setParameter, status } from '../../src/client/index.ts';
import { frame, ownModule, type Received, receive, send, until, using } from '../harness.ts';
import { Machine, NO_NETWORK, wire } from './network.ts';
import { checksum, RawSocket } from './raw-socket.ts';

ownModule();
const OWN = '10.4.0.1';
const OTHER = '10.4.0.2';

const machine = NO_NETWORK ? undefined! : new Machine();
if (!NO_NETWORK) {
  wire([machine, 'v0'], [machine, 'v1']);
  machine.ip('addr', 'add', `${OWN}/24`, 'dev', 'v0');
  machine.ip('neigh', 'add', OTHER, 'lladdr', '02:00:00:00:00:02', 'dev', 'v0');
  machine.enter();
}

/** The address of v0, byte by byte. */
function macOf(name: string): Buffer {
  return Buffer.from(
    /ether ([0-9a-f:]+)/.exec(machine.ip('link', 'show', name))![1]!.replaceAll(':', ''),
    'hex',
  );
}

/** A UDP datagram from OTHER to OWN, as it comes by the wire. */
function datagram(port: number, text: string): Uint8Array {
  const udp = 8 + text.length;
  const bytes = Buffer.alloc(Math.max(60, 34 + udp));
  macOf('v0').copy(bytes);
  Buffer.from('0200000000020800450000000000000040110000', 'hex').copy(bytes, 6);
  bytes.writeUInt16BE(20 + udp, 16);
  Buffer.from([10, 4, 0, 2, 10, 4, 0, 1]).copy(bytes, 26);
  bytes.writeUInt16BE(checksum(bytes.subarray(14, 34)), 24);
  bytes.writeUInt16BE(port, 34);
  bytes.writeUInt16BE(port, 36);
  bytes.writeUInt16BE(udp, 38);
  bytes.write(text, 42);
  return bytes;
}

async function socket(port: number): Promise<dgram.Socket> {
  const made = dgram.createSocket('udp4');
  await new Promise<void>((resolve) => made.bind(port, OWN, resolve));
  return made;
}

for (const [mode, admode] of [
  ['native', 1],
  ['generic', 2],
  ['emulated', 3],
] as const)
  describe(`host rings, ${mode} mode`, { skip: NO_NETWORK, timeout: 120_000 }, () => {
    before(() => setParameter('admode', admode));
    after(() => setParameter('admode', 0));

    test('H3: a frame put on the host TX ring: the host receives it from the interface; the slot is free at once', async () => {
      const listener = await socket(5000);
      const heard: string[] = [];
      listener.on('message', (text) => heard.push(String(text)));
      await using([open('netmap:v0*')], async (port) => {
        const host = port.txRings.at(-1)!;
        send(port, [datagram(5000, 'up')], port.txRings.length - 1);
        assert.equal(host.pending, false);
        assert.equal(host.space, host.numSlots - 1);
        await until(() => heard.includes('up'), 'the host to hear it');
      });
      listener.close();
    });

    test('H5: what the host sends beyond N-1 unread frames is dropped and counted', async () => {
      await using([open('netmap:v0*')], async (port) => {
        const ring = port.rxRings.at(-1)!;
        using raw = new RawSocket('v0');
        const room = ring.numSlots - 1;
        const sent = 2 * room + 500;
        for (let mark = 0; mark < sent; mark++) raw.send(frame({ mark }));
        await until(() => {
          port.rxSync();
          return ring.space === room;
        }, 'a full ring');
        const lost = async () => {
          const rings = (await status()).ports.find(({ name }) => name === 'v0')!.rings;
          return rings.find(({ ring }) => ring === 'rx1')!.drops['receiver ring full'] ?? 0;
        };
        let received = 0;
        await until(async () => {
          received += receive(port, 1).length;
          port.rxSync();
          return received + (await lost()) === sent;
        }, 'every frame to be received or counted');
        // The kernel's own ring has held some, too, in emulated mode.
        assert.ok(received >= room && received < sent, `${received} received`);
      });
    });

    test("H6: the host's TSO is on: frames come no longer than the MTU allows, their checksums whole", async () => {
      machine.run('ethtool', '-K', 'v0', 'tx', 'on', 'tso', 'on', 'gso', 'on');
      await using([open('netmap:v0*')], async (port) => {
        using raw = new RawSocket('v0');
        raw.sendLarge(20_000);
        const segments = await takeFromHost(port, 14);
        assert.deepEqual(
          [...new Set(segments.map(({ bytes }) => bytes.length))].sort(),
          [1514, 54 + 20_000 - 13 * 1460].sort(),
        );
        for (const { bytes, flags } of segments) {
          assert.equal(flags & 0x20, 0);
          const tcp = bytes.subarray(34);
          const pseudo = bytes.subarray(26, 34);
          const sum = [...pseudo].reduce(
            (total, byte, i) => total + (i % 2 ? byte : byte << 8),
            6 + tcp.length,
          );
          assert.equal(checksum(tcp, sum), 0);
        }
      });
      machine.run('ethtool', '-K', 'v0', 'tx', 'off');
    });
  });

/** What comes to the host RX rings, until so many frames have. */
async function takeFromHost(port: Port, count: number, first = port.rxRings.length - 1): Promise<Received[]> {
  const frames: Received[] = [];
  while (frames.length < count) {
    await port.readable({ timeoutMs: 20_000 });
    for (let i = 0; i < port.rxRings.length; i++) {
      const got = receive(port, i);
      if (i >= first) frames.push(...got);
    }
  }
  return frames;
}

describe('several host rings', { skip: NO_NETWORK, timeout: 120_000 }, () => {
  test("the host's flows are spread over them, each flow on one; each of them reaches the host", async () => {
    const listener = await socket(5001);
    const heard = new Set<string>();
    listener.on('message', (text) => heard.add(String(text)));
    const senders = await Promise.all(Array.from({ length: 32 }, () => socket(0)));
    await using([open('netmap:v0*@conf:host-rings=4')], async (port) => {
      assert.deepEqual([port.info.hostTxRings, port.info.hostRxRings], [4, 4]);
      assert.equal(port.rxRings.length, 5);
      for (const sender of senders) for (const text of ['a', 'b']) sender.send(text, 6000, OTHER);
      const rings = new Map<number, Set<number>>();
      let count = 0;
      while (count < 64) {
        await port.readable({ timeoutMs: 20_000 });
        for (let i = 1; i < port.rxRings.length; i++) {
          for (const { bytes } of receive(port, i)) {
            if (bytes[23] !== 17) continue;
            const flow = (bytes[34]! << 8) | bytes[35]!;
            rings.set(flow, (rings.get(flow) ?? new Set()).add(i));
            count++;
          }
        }
      }
      assert.equal(rings.size, 32);
      for (const [flow, used] of rings) assert.equal(used.size, 1, `flow ${flow}`);
      assert.ok(new Set([...rings.values()].flatMap((used) => [...used])).size > 1, 'more than one ring');
      for (let ring = 1; ring <= 4; ring++) send(port, [datagram(5001, `ring ${ring}`)], ring);
      await until(() => heard.size === 4, 'the host to hear of each ring');
    });
    for (const sender of [...senders, listener]) sender.close();
  });

  test('5/4: one more TX ring than RX rings; one pair of them alone', async () => {
    const listener = await socket(5002);
    let heard = 0;
    listener.on('message', () => heard++);
    await using(
      [open('netmap:v0@conf:host-tx-rings=5,host-rx-rings=4'), open('netmap:v0^4')],
      async (_nic, last) => {
        assert.deepEqual([last.txRings.length, last.rxRings.length], [1, 1]);
        assert.deepEqual([last.txRings[0]!.ringId, last.rxRings[0]!.ringId], [5, 1]);
        send(last, [datagram(5002, 'x')]);
        await until(() => heard === 1, 'the host to hear of it');
      },
    );
    listener.close();
  });
});
