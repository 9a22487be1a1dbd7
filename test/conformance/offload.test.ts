// Objective: virtio-net headers on switch ports, and what is done where they differ: spec ports §7.1 V38 to V40,
// spec api §10.
// Operations: ports of one switch in one process; packets built by hand, received frames taken apart.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { checksum } from '../../apps/pkt-gen/frame.ts';
import {
  headerLength,
  NR_ACCEPT_VNET_HDR,
  open,
  type Port,
  setHeaderLength,
} from '../../src/client/index.ts';
import { frame, ownModule, receive, refuses, send, using } from '../harness.ts';

ownModule();

let switches = 0;
function fresh(): string {
  return `vale${switches++}`;
}

describe('spec ports §7.1, headers', () => {
  test('V38 header length 11 is EINVAL; with 12 set, a port opens with NR_ACCEPT_VNET_HDR only: EIO', async () => {
    const name = `${fresh()}:a`;
    await using([open(name)], async () => {
      await refuses(setHeaderLength(name, 11), 'EINVAL');
      await setHeaderLength(name, 12);
      assert.equal(await headerLength(name), 12);
      await refuses(open(name), 'EIO');
      await using([open(name, { flags: NR_ACCEPT_VNET_HDR })], () => {});
    });
  });

  test('V39 a 9 KB TCPv4 packet behind a header of 12 bytes reaches a port without one as frames of 1514', async () => {
    const sw = fresh();
    await using([open(`${sw}:a`), open(`${sw}:b`)], async (a, b) => {
      await setHeaderLength(`${sw}:a`, 12);
      const payload = Uint8Array.from({ length: 9000 }, (_, i) => i % 251);
      const packet = tcpPacket(payload, { gsoType: 1, id: 77, seq: 0xfffff000, flags: 0x19 });
      const parts: Uint8Array[] = [];
      for (let at = 0; at < packet.length; at += 2048) parts.push(packet.subarray(at, at + 2048));
      send(a, [parts]);
      const frames = receive(b).map(({ bytes }) => bytes);
      assert.equal(frames.length, Math.ceil(9000 / (1514 - 54)));
      let seq = 0xfffff000;
      const seen: number[] = [];
      frames.forEach((bytes, i) => {
        const last = i + 1 === frames.length;
        const view = new DataView(bytes.buffer);
        assert.ok(bytes.length === 1514 || (last && bytes.length < 1514));
        assert.equal(view.getUint16(16), bytes.length - 14, 'IP length');
        assert.equal(view.getUint16(18), 77 + i, 'IP id');
        assert.equal(checksum([bytes.subarray(14, 34)]), 0, 'IP checksum');
        assert.equal(view.getUint32(38), seq >>> 0, 'TCP sequence');
        assert.equal(bytes[47], last ? 0x19 : 0x10, 'PSH and FIN only on the last');
        const pseudo = Uint8Array.of(...bytes.subarray(26, 34), 0, 6, 0, 0);
        new DataView(pseudo.buffer).setUint16(10, bytes.length - 34);
        assert.equal(checksum([pseudo, bytes.subarray(34)]), 0, 'TCP checksum');
        seen.push(...bytes.subarray(54));
        seq += bytes.length - 54;
      });
      assert.deepEqual(seen, [...payload]);
    });
  });

  test('V39 checksum without segmentation: done where the header is taken off', async () => {
    const sw = fresh();
    await using([open(`${sw}:a`), open(`${sw}:b`)], async (a, b) => {
      await setHeaderLength(`${sw}:a`, 10);
      const payload = Uint8Array.from({ length: 101 }, (_, i) => i);
      const packet = tcpPacket(payload, { headerLength: 10, needsChecksum: true });
      send(a, [[packet.subarray(0, 80), packet.subarray(80)]]);
      const { bytes } = receive(b)[0]!;
      assert.equal(bytes.length, 54 + 101);
      const pseudo = Uint8Array.of(...bytes.subarray(26, 34), 0, 6, 0, 0);
      new DataView(pseudo.buffer).setUint16(10, bytes.length - 34);
      assert.equal(checksum([pseudo, bytes.subarray(34)]), 0);
    });
  });

  test('V39 headers that cannot be converted: dropped, counted, nothing else harmed', async () => {
    const sw = fresh();
    await using([open(`${sw}:a`), open(`${sw}:b`)], async (a, b) => {
      await setHeaderLength(`${sw}:a`, 12);
      const good = tcpPacket(new Uint8Array(10), {});
      const bad = [
        tcpPacket(new Uint8Array(10), { gsoType: 2 }), // No such type.
        tcpPacket(new Uint8Array(10), { gsoType: 1, ipWord: 0x41 }), // IP header of 4 bytes.
        tcpPacket(new Uint8Array(10), { gsoType: 1, tcpOffset: 0x10 }), // TCP header of 4 bytes.
        tcpPacket(new Uint8Array(10), { gsoType: 1, tcpOffset: 0xf0 }), // Longer than the packet.
        tcpPacket(new Uint8Array(10), { needsChecksum: true, csumStart: 60000 }),
        tcpPacket(new Uint8Array(10), { gsoType: 1, etherType: 0x1234 }),
        tcpPacket(new Uint8Array(10), { virtioFlags: 0x80 }),
        good.subarray(0, 11),
      ];
      send(a, [...bad, good]);
      assert.equal(receive(b).length, 1);
      assert.equal(a.drops['virtio-net header that cannot be converted'], bad.length - 1);
      assert.equal(a.drops['frame shorter than 14 bytes'], 1);
    });
  });

  test('V40 without a header to a port with one: 10 zero bytes in front', async () => {
    const sw = fresh();
    await using([open(`${sw}:a`), open(`${sw}:b`)], async (a, b) => {
      await setHeaderLength(`${sw}:b`, 10);
      const long = frame({ mark: 2, length: 2048 });
      send(a, [frame({ mark: 1 }), long]);
      const [first, ...rest] = receive(b);
      assert.deepEqual([...first!.bytes.subarray(0, 10)], new Array(10).fill(0));
      assert.deepEqual(first!.bytes.subarray(10), frame({ mark: 1 }));
      assert.equal(first!.flags, 0x0100);
      // Header and frame are longer than a buffer: two slots.
      assert.deepEqual(
        rest.map(({ bytes, flags }) => [bytes.length, flags]),
        [
          [2048, 0x0220],
          [10, 0x0200],
        ],
      );
      assert.deepEqual(Uint8Array.from([...rest[0]!.bytes.subarray(10), ...rest[1]!.bytes]), long);
    });
  });

  test('V40 headers of 10 and 12 bytes: ten bytes are kept; of equal length: all of it', async () => {
    const sw = fresh();
    await using([open(`${sw}:a`), open(`${sw}:b`), open(`${sw}:c`)], async (a, b, c) => {
      await setHeaderLength(`${sw}:a`, 12);
      await setHeaderLength(`${sw}:b`, 10);
      await setHeaderLength(`${sw}:c`, 12);
      const header = Uint8Array.of(1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11);
      send(a, [Uint8Array.from([...header, ...frame({ mark: 3 })])]);
      assert.deepEqual(
        [...receive(b)[0]!.bytes.subarray(0, 14)],
        [...header.subarray(0, 10), 255, 255, 255, 255],
      );
      assert.deepEqual([...receive(c)[0]!.bytes.subarray(0, 13)], [...header, 255]);
    });
  });

  test('behind a header, addresses are learned and looked up as without', async () => {
    const sw = fresh();
    await using([open(`${sw}:a`), open(`${sw}:b`), open(`${sw}:c`)], async (a, b, c) => {
      for (const port of ['a', 'b', 'c']) await setHeaderLength(`${sw}:${port}`, 12);
      const behind = (bytes: Uint8Array) => Uint8Array.from([...new Uint8Array(12), ...bytes]);
      send(b, [behind(frame({ src: 9 }))]);
      receive(a);
      receive(c);
      send(a, [behind(frame({ dst: 9 })), [new Uint8Array(12), frame({ dst: 9 })]]);
      assert.equal(receive(b).length, 3);
      assert.equal(receive(c).length, 0);
    });
  });
});

describe('headers and offsets together (option OFFSETS, spec api §3.6.5)', () => {
  /** Sends packets, each slot's part at an offset of its own: 3, 44, 85, ... bytes into the buffer. */
  function sendShifted(port: Port, packets: readonly (readonly Uint8Array[])[]): void {
    const ring = port.txRings[0]!;
    let slot = ring.head;
    for (let i = packets.flat().length, shift = 3; i > 0; i--, slot = ring.next(slot), shift += 41)
      ring.setOffset(slot, shift);
    send(port, packets);
  }

  /** Receiving slots say offsets that rise by 7, and have rubbish at the start of their buffers. */
  function shiftReceiver(port: Port): void {
    const ring = port.rxRings[0]!;
    for (let slot = 0; slot < ring.numSlots; slot++) {
      ring.setOffset(slot, (7 * slot) % 200);
      ring.buffer(slot).fill(0xee, 0, 256);
    }
  }

  /** Takes what came; nothing in front of a packet was written to, and its slot says what it said before. */
  function receiveShifted(port: Port): { bytes: Uint8Array; flags: number }[] {
    const ring = port.rxRings[0]!;
    port.rxSync();
    for (let slot = ring.head; slot !== ring.tail; slot = ring.next(slot)) {
      assert.equal(ring.offset(slot), (7 * slot) % 200);
      assert.ok(
        ring
          .buffer(slot)
          .subarray(0, ring.offset(slot))
          .every((byte) => byte === 0xee),
      );
    }
    return receive(port);
  }

  const offsets = { max: 512 };
  const cut = (bytes: Uint8Array, ...at: number[]) =>
    [0, ...at].map((from, i) => bytes.subarray(from, at[i] ?? bytes.length));
  const payload = Uint8Array.from({ length: 3000 }, (_, i) => i % 251);

  test('a long TCP packet is cut into frames that each start where their slots say', async () => {
    const sw = fresh();
    await using(
      [open(`${sw}:a`, { offsets }), open(`${sw}:b`, { offsets }), open(`${sw}:c`)],
      async (a, b, c) => {
        await setHeaderLength(`${sw}:a`, 12);
        shiftReceiver(b);
        const packet = tcpPacket(payload, { gsoType: 1 });
        sendShifted(a, [cut(packet, 12, 700, 1500, 2700)]);
        const frames = receiveShifted(b).map(({ bytes }) => bytes);
        assert.deepEqual(
          frames,
          receive(c).map(({ bytes }) => bytes),
          'as without offsets',
        );
        // A buffer has 2048 bytes, 512 of which may lie in front: 1514 still fit.
        assert.deepEqual(
          frames.map(({ length }) => length),
          [1514, 1514, 54 + 80],
        );
        assert.deepEqual(
          frames.flatMap((bytes) => [...bytes.subarray(54)]),
          [...payload],
        );
        for (const bytes of frames) {
          const pseudo = Uint8Array.of(...bytes.subarray(26, 34), 0, 6, 0, 0);
          new DataView(pseudo.buffer).setUint16(10, bytes.length - 34);
          assert.equal(checksum([pseudo, bytes.subarray(34)]), 0, 'TCP checksum');
        }
      },
    );
  });

  test('frames are no longer than the room behind the farthest offset', async () => {
    const sw = fresh();
    const far = { max: 1500, initial: 1500 };
    await using([open(`${sw}:a`), open(`${sw}:b`, { offsets: far })], async (a, b) => {
      await setHeaderLength(`${sw}:a`, 12);
      send(a, [cut(tcpPacket(payload, { gsoType: 1 }), 2000)]);
      const frames = receive(b).map(({ bytes }) => bytes);
      assert.ok(
        frames.every(({ length }) => length <= 548),
        `${frames.map(({ length }) => length)}`,
      );
      assert.deepEqual(
        frames.flatMap((bytes) => [...bytes.subarray(54)]),
        [...payload],
      );
      // Without segmentation a packet is laid out in as many slots as it needs.
      const plain = tcpPacket(payload.subarray(0, 1000), {});
      send(a, [[plain]]);
      const parts = receive(b);
      assert.deepEqual(
        parts.map(({ bytes, flags }) => [bytes.length, flags]),
        [
          [548, 0x0220],
          [506, 0x0200],
        ],
      );
      assert.deepEqual(
        parts.flatMap(({ bytes }) => [...bytes]),
        [...plain.subarray(12)],
      );
    });
  });

  test('a checksum is completed, a header added, or passed on, wherever packets start', async () => {
    const sw = fresh();
    const names = ['a', 'b', 'c', 'd'].map((port) => `${sw}:${port}`);
    await using(
      names.map((name) => open(name, { offsets })),
      async (a, b, c, d) => {
        await setHeaderLength(`${sw}:a`, 12);
        await setHeaderLength(`${sw}:c`, 10);
        await setHeaderLength(`${sw}:d`, 12);
        for (const port of [b!, c!, d!]) shiftReceiver(port);
        const packet = tcpPacket(payload.subarray(0, 101), { needsChecksum: true });
        sendShifted(a!, [[packet], cut(packet, 12, 60, 90)]);
        for (const { bytes } of receiveShifted(b!)) {
          const pseudo = Uint8Array.of(...bytes.subarray(26, 34), 0, 6, 0, 0);
          new DataView(pseudo.buffer).setUint16(10, bytes.length - 34);
          assert.equal(checksum([pseudo, bytes.subarray(34)]), 0);
          assert.deepEqual(bytes.subarray(54), payload.subarray(0, 101));
        }
        const shorter = [...packet.subarray(0, 10), ...packet.subarray(12)];
        assert.deepEqual(
          receiveShifted(c!).map(({ bytes }) => [...bytes]),
          [shorter, shorter],
        );
        // Of equal length headers are part of the frame: slot by slot, as it was sent.
        assert.deepEqual(
          receiveShifted(d!).map(({ bytes }) => bytes),
          [packet, ...cut(packet, 12, 60, 90)],
        );
        sendShifted(b!, [[frame({ src: 2, mark: 7 })]]);
        const made = receiveShifted(d!)[0]!.bytes;
        assert.deepEqual([...made], [...new Array(12).fill(0), ...frame({ src: 2, mark: 7 })]);
      },
    );
  });

  test('a monitor of a receiver sees the same, where its own slots say', async () => {
    const sw = fresh();
    await using([open(`${sw}:a`, { offsets }), open(`${sw}:b`)], async (a, b) => {
      await setHeaderLength(`${sw}:a`, 12);
      await using([open(`${sw}:b/r`, { offsets })], (seen) => {
        shiftReceiver(seen);
        sendShifted(a, [cut(tcpPacket(payload, { gsoType: 1 }), 1500)]);
        const frames = receive(b).map(({ bytes }) => bytes);
        assert.equal(frames.length, 3);
        assert.deepEqual(
          receiveShifted(seen).map(({ bytes }) => bytes),
          frames,
        );
      });
    });
  });
});

interface TcpFields {
  headerLength?: number;
  virtioFlags?: number;
  gsoType?: number;
  needsChecksum?: boolean;
  csumStart?: number;
  id?: number;
  seq?: number;
  flags?: number;
  ipWord?: number;
  tcpOffset?: number;
  etherType?: number;
}

/** Virtio-net header, Ethernet, IPv4, TCP, payload; the TCP checksum field holds the sum of the pseudo header. */
function tcpPacket(payload: Uint8Array, fields: TcpFields): Uint8Array {
  const { headerLength = 12, gsoType = 0, needsChecksum = gsoType !== 0 } = fields;
  const bytes = new Uint8Array(headerLength + 54 + payload.length);
  bytes[0] = fields.virtioFlags ?? (needsChecksum ? 1 : 0);
  bytes[1] = gsoType;
  const header = new DataView(bytes.buffer, 0, headerLength);
  header.setUint16(6, fields.csumStart ?? 34, true);
  header.setUint16(8, 16, true);
  bytes.set(frame({ length: 14 }), headerLength);
  bytes.set(payload, headerLength + 54);
  const view = new DataView(bytes.buffer, headerLength);
  view.setUint16(12, fields.etherType ?? 0x0800);
  view.setUint8(14, fields.ipWord ?? 0x45);
  view.setUint16(16, Math.min(40 + payload.length, 0xffff));
  view.setUint16(18, fields.id ?? 0);
  view.setUint8(22, 64);
  view.setUint8(23, 6);
  view.setUint32(26, 0x0a000001);
  view.setUint32(30, 0x0a000002);
  view.setUint16(34, 1000);
  view.setUint16(36, 80);
  view.setUint32(38, fields.seq ?? 1);
  view.setUint8(46, fields.tcpOffset ?? 0x50);
  view.setUint8(47, fields.flags ?? 0x10);
  const pseudo = Uint8Array.of(...bytes.subarray(headerLength + 26, headerLength + 34), 0, 6, 0, 0);
  new DataView(pseudo.buffer).setUint16(10, 20 + payload.length);
  view.setUint16(50, ~checksum([pseudo]) & 0xffff);
  return bytes;
}
