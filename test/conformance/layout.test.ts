// Objective: memory looks as net/netmap.h says, byte for byte (spec api §1.1 to §1.4, §1.6).
// Operations: the constants against the spec's offset tables; the bytes of a port that was opened.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import * as abi from '../../src/abi/netmap.ts';
import { open } from '../../src/client/index.ts';
import { layOut } from '../../src/mem/geometry.ts';
import { ownModule, using } from '../harness.ts';

ownModule();

describe('offsets', () => {
  const tables: Readonly<Record<string, Readonly<Record<string, number>>>> = {
    'struct netmap_slot': { SLOT_BUF_IDX: 0, SLOT_LEN: 4, SLOT_FLAGS: 6, SLOT_PTR: 8, SLOT_SIZE: 16 },
    'struct netmap_ring': {
      RING_BUF_OFS: 0,
      RING_NUM_SLOTS: 8,
      RING_BUF_SIZE: 12,
      RING_RINGID: 16,
      RING_DIR: 18,
      RING_HEAD: 20,
      RING_CUR: 24,
      RING_TAIL: 28,
      RING_FLAGS: 32,
      RING_TS: 40,
      RING_OFFSET_MASK: 56,
      RING_BUF_ALIGN: 64,
      RING_SEM: 128,
      RING_SLOTS: 256,
    },
    'struct netmap_if': {
      IF_NAME: 0,
      IF_VERSION: 16,
      IF_FLAGS: 20,
      IF_TX_RINGS: 24,
      IF_RX_RINGS: 28,
      IF_BUFS_HEAD: 32,
      IF_HOST_TX_RINGS: 36,
      IF_HOST_RX_RINGS: 40,
      IF_RING_OFS: 56,
    },
    flags: {
      NS_BUF_CHANGED: 1,
      NS_REPORT: 2,
      NS_FORWARD: 4,
      NS_NO_LEARN: 8,
      NS_INDIRECT: 16,
      NS_MOREFRAG: 32,
      NS_TXMON: 64,
      NR_TIMESTAMP: 2,
      NR_FORWARD: 4,
      DIR_RX: 0,
      DIR_TX: 1,
      NI_PRIV_MEM: 1,
    },
    registration: {
      NR_REG_ALL_NIC: 1,
      NR_REG_SW: 2,
      NR_REG_NIC_SW: 3,
      NR_REG_ONE_NIC: 4,
      NR_REG_NULL: 7,
      NR_REG_ONE_SW: 8,
      NR_MONITOR_TX: 0x100,
      NR_MONITOR_RX: 0x200,
      NR_ZCOPY_MON: 0x400,
      NR_EXCLUSIVE: 0x800,
      NR_RX_RINGS_ONLY: 0x2000,
      NR_TX_RINGS_ONLY: 0x4000,
      NR_ACCEPT_VNET_HDR: 0x8000,
      NR_DO_RX_POLL: 0x10000,
      NR_NO_TX_POLL: 0x20000,
    },
  };
  for (const [name, table] of Object.entries(tables)) {
    for (const [constant, value] of Object.entries(table)) {
      test(`${name}: ${constant} is ${value}`, () =>
        assert.equal((abi as Record<string, unknown>)[constant], value));
    }
  }
});

describe('pool geometry (worked examples of spec api §1.4)', () => {
  const pool = (count: number, size: number) => ({ count, size });
  test('the global region', () => {
    const geometry = layOut({ ifs: pool(100, 1024), rings: pool(200, 36864), bufs: pool(163840, 2048) });
    assert.deepEqual(
      [geometry.ifs.count, geometry.rings.ofs, geometry.bufs.ofs, geometry.size],
      [100, 0x19000, 0x721000, 343019520],
    );
  });
  test('private minima', () => {
    const geometry = layOut({ ifs: pool(2, 1024), rings: pool(4, 20480), bufs: pool(4098, 2048) });
    assert.deepEqual(
      [geometry.ifs.count, geometry.rings.ofs, geometry.bufs.ofs, geometry.size],
      [4, 0x1000, 0x1000 + 0x14000, 8478720],
    );
  });
  test("the reference's VALE port", () => {
    const geometry = layOut({ ifs: pool(10, 1024), rings: pool(20, 20480), bufs: pool(20482, 2048) });
    assert.deepEqual(
      [geometry.ifs.count, geometry.rings.ofs, geometry.bufs.ofs, geometry.size],
      [12, 0x3000, 0x67000, 42369024],
    );
  });
});

describe("a fresh port's memory", () => {
  test('netmap_if, rings, slots and buffers are where and what they should be', async () => {
    await using([open('vale0:a-long-name'.replaceAll('-', '_')), open('vale0:b')], (a) => {
      const view = new DataView(a.memory.buffer, a.memory.byteOffset, a.memory.length);
      const nifp = a.nifpOfs;
      const text = new TextDecoder().decode(a.memory.slice(nifp, nifp + 16));
      assert.equal(text, 'vale0:a_long_na\0');
      const field = (ofs: number) => view.getUint32(nifp + ofs, true);
      assert.deepEqual(
        [field(24), field(28), field(36), field(40), field(20) & abi.NI_PRIV_MEM],
        [1, 1, 1, 1, 1],
      );
      const ringOfs = (i: number) => Number(view.getBigInt64(nifp + 56 + 8 * i, true));
      assert.notEqual(ringOfs(0), 0);
      assert.equal(ringOfs(1), 0, 'no host tx ring');
      assert.notEqual(ringOfs(2), 0);
      assert.equal(ringOfs(3), 0, 'no host rx ring');
      const seen = new Set<number>();
      for (const [i, dir, first] of [
        [0, abi.DIR_TX, 1026],
        [2, abi.DIR_RX, 2],
      ] as const) {
        const ring = nifp + ringOfs(i);
        const u32 = (ofs: number) => view.getUint32(ring + ofs, true);
        assert.equal(u32(8), 1024);
        assert.equal(u32(12), 2048);
        assert.equal(view.getUint16(ring + 18, true), dir);
        assert.deepEqual([u32(20), u32(24), u32(28)], [0, 0, dir === abi.DIR_TX ? 1023 : 0]);
        const buffers = ring + Number(view.getBigInt64(ring, true));
        for (let slot = 0; slot < 1024; slot++) {
          const at = ring + 256 + 16 * slot;
          const index = view.getUint32(at, true);
          assert.equal(index, first + slot, 'RX buffers come first, then TX (spec api §1.4)');
          seen.add(index);
          assert.deepEqual(
            [view.getUint16(at + 4, true), view.getUint16(at + 6, true), view.getBigUint64(at + 8, true)],
            [2048, 0, 0n],
          );
          assert.ok(buffers + (index + 1) * 2048 <= a.memory.length);
        }
      }
      assert.equal(seen.size, 2048);
      assert.ok(a.memSize < 7 << 20, `${a.memSize} bytes: sized to need`);
    });
  });

  test('extra buffers hang on ni_bufs_head, last one first, ended by 0', async () => {
    await using([open('vale0:a', { extraBufs: 12 })], (a) => {
      const ring = a.txRings[0]!;
      const chain: number[] = [];
      for (let index = a.bufsHead; index !== 0; ) {
        chain.push(index);
        index = new DataView(ring.bytes.buffer, ring.bufferOfsOf(index), 4).getUint32(0, true);
      }
      assert.equal(a.extraBufs, 12);
      assert.deepEqual(
        chain,
        Array.from({ length: 12 }, (_, i) => chain[0]! - i),
      );
    });
  });

  test('a ring bound by somebody else shows as offset 0', async () => {
    await using([open('vale0:a@conf:rings=2'), open('vale0:a-1')], (_all, one) => {
      const view = new DataView(one.memory.buffer, one.memory.byteOffset, one.memory.length);
      const ofs = [0, 1, 2, 3, 4, 5].map(
        (i) => Number(view.getBigInt64(one.nifpOfs + 56 + 8 * i, true)) !== 0,
      );
      assert.deepEqual(ofs, [false, true, false, false, true, false]);
    });
  });

  test("own regions lie below 2 GiB, peers' above", async () => {
    await using([open('vale0:a')], (a) => assert.ok(a.rxRings[0]!.address < 0x80000000));
  });
});
