// Objective: requests laid out as net/netmap.h has them, sent by a program that knows nothing else, are answered as
// spec api §7 says, row by row; then the further rules of §3.3 and §6.
// Operations: frames on the control socket; the interface of the rows is a persistent VALE port, so rows about host
// rings, polling and what only a NIC has are in test/nic/control-api.test.ts.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { ERRNO } from '../../src/abi/errors.ts';
import * as abi from '../../src/abi/netmap.ts';
import * as rq from '../../src/abi/requests.ts';
import { newIf, open, parsePortName, status } from '../../src/client/index.ts';
import { type MemoryObject, os } from '../../src/os/index.ts';
import { CSB_BYTES, CSB_KTOA, CsbProgram } from '../csb-program.ts';
import { ControlRequest, FrameClient, type RegisterFields } from '../frame-client.ts';
import { frame, markOf, ownModule, receive, send, until, using } from '../harness.ts';

const directory = ownModule();
const IF = 'if4711';
const ROW_NEEDS_NIC = 'needs a network interface: in test/nic/control-api.test.ts';

let client: FrameClient;
let nextFd = 1;

before(async () => {
  await newIf(IF);
  client = await FrameClient.connect(directory);
});
after(() => client.end());

/** A fresh descriptor for as long as a row takes. */
async function withFd(work: (fd: number) => Promise<void>): Promise<void> {
  const fd = nextFd++;
  try {
    await work(fd);
  } finally {
    await client.close(fd);
  }
}

const control = (fd: number, request: ControlRequest) => client.control(fd, request);

/** REGISTER, with the common check of the rows. */
async function registers(fd: number, name: string, fields: RegisterFields): Promise<ControlRequest> {
  const request = ControlRequest.register(name, fields);
  assert.equal(await control(fd, request), 0);
  const { body } = request;
  assert.notEqual(body.getBigUint64(rq.RG_MEMSIZE, true), 0n);
  assert.equal(body.getUint32(rq.RG_MODE, true), fields.mode ?? 0);
  assert.equal(body.getUint16(rq.RG_RINGID, true), fields.ringId ?? 0);
  assert.equal(body.getBigUint64(rq.RG_FLAGS, true), BigInt(fields.flags ?? 0));
  assert.equal(body.getUint32(rq.RG_EXTRA_BUFS, true), fields.extraBufs ?? 0);
  const echoed: [number | undefined, number][] = [
    [fields.txSlots, body.getUint32(rq.RG_TX_SLOTS, true)],
    [fields.rxSlots, body.getUint32(rq.RG_RX_SLOTS, true)],
    [fields.txRings, body.getUint16(rq.RG_TX_RINGS, true)],
    [fields.rxRings, body.getUint16(rq.RG_RX_RINGS, true)],
    [fields.memId, body.getUint16(rq.RG_MEM_ID, true)],
  ];
  for (const [asked, got] of echoed) if (asked) assert.equal(got, asked);
  return request;
}

async function portInfo(fd: number, name: string): Promise<void> {
  const request = new ControlRequest(rq.NETMAP_REQ_PORT_INFO_GET, name);
  assert.equal(await control(fd, request), 0);
  assert.notEqual(request.body.getBigUint64(rq.PI_MEMSIZE, true), 0n);
  for (const at of [rq.PI_TX_SLOTS, rq.PI_RX_SLOTS]) assert.notEqual(request.body.getUint32(at, true), 0);
  for (const at of [rq.PI_TX_RINGS, rq.PI_RX_RINGS]) assert.notEqual(request.body.getUint16(at, true), 0);
}

async function poolsInfo(fd: number, name: string, memId = 0): Promise<number> {
  const request = new ControlRequest(rq.NETMAP_REQ_POOLS_INFO_GET, name);
  request.body.setUint16(rq.PO_MEM_ID, memId, true);
  const errno = await control(fd, request);
  if (errno !== 0) return errno;
  assert.notEqual(request.body.getBigUint64(rq.PO_MEMSIZE, true), 0n);
  for (const at of [rq.PO_IF, rq.PO_RING, rq.PO_BUF]) {
    assert.notEqual(request.body.getUint32(at + 8, true), 0);
    assert.notEqual(request.body.getUint32(at + 12, true), 0);
  }
  return 0;
}

async function simple(fd: number, type: number, name: string): Promise<number> {
  return control(fd, new ControlRequest(type, name));
}

async function attach(fd: number, name: string, mode: number): Promise<number> {
  const request = new ControlRequest(rq.NETMAP_REQ_VALE_ATTACH, name);
  request.body.setUint32(rq.RG_MODE, mode, true);
  return control(fd, request);
}

// ---- CSB ---------------------------------------------------------------------------------------------------------

/** CSB entries for some rings, in an object that this process holds. */
class Csb {
  readonly object: MemoryObject;
  readonly rings: number;

  constructor(rings: number) {
    this.rings = rings;
    this.object = os.createObject('netmap-test-csb', CSB_BYTES);
  }

  get atok(): bigint {
    return BigInt(this.object.fd + 1) << 32n;
  }

  get ktoa(): bigint {
    return this.atok | BigInt(CSB_KTOA);
  }

  addTo(request: ControlRequest, atok = this.atok, ktoa = this.ktoa): number {
    return request.add(rq.NETMAP_REQ_OPT_CSB, 40, (view) => {
      view.setBigUint64(rq.CS_ATOK, atok, true);
      view.setBigUint64(rq.CS_KTOA, ktoa, true);
    });
  }

  close(): void {
    os.closeFd(this.object.fd);
  }
}

async function csbRegistered(
  flags: number,
  rings: number,
  work: (fd: number, csb: Csb) => Promise<void>,
): Promise<void> {
  const csb = new Csb(rings);
  try {
    await withFd(async (fd) => {
      const request = ControlRequest.register(IF, {
        mode: abi.NR_REG_ALL_NIC,
        flags: abi.NR_EXCLUSIVE | flags,
      });
      const option = csb.addTo(request);
      assert.equal(await control(fd, request), 0);
      assert.equal(request.option(option).status, 0);
      await work(fd, csb);
    });
  } finally {
    csb.close();
  }
}

function startRequest(sleepUs = 500): ControlRequest {
  const request = new ControlRequest(rq.NETMAP_REQ_SYNC_KLOOP_START, '');
  request.body.setUint32(0, sleepUs, true);
  return request;
}

const stop = (fd: number) => simple(fd, rq.NETMAP_REQ_SYNC_KLOOP_STOP, '');

/** START, and STOP at the same time; whichever comes first, both succeed. */
async function startAndStop(fd: number, request = startRequest()): Promise<void> {
  const [started, stopped] = await Promise.all([control(fd, request), stop(fd)]);
  assert.deepEqual([started, stopped], [0, 0]);
}

function withEvents(
  entries: number,
  mode: number,
): { request: ControlRequest; events: number[]; option: number } {
  const events = Array.from({ length: 2 * entries }, () => os.createEvent());
  const request = startRequest();
  const option = request.add(rq.NETMAP_REQ_OPT_SYNC_KLOOP_EVENTFDS, 24 + 8 * entries, (view) => {
    view.setBigUint64(rq.OP_SIZE, BigInt(24 + 8 * entries), true);
    events.forEach((fd, i) => {
      view.setInt32(24 + 4 * i, fd, true);
    });
  });
  request.add(rq.NETMAP_REQ_OPT_SYNC_KLOOP_MODE, 32, (view) => view.setUint32(rq.KM_MODE, mode, true));
  return { request, events, option };
}

async function loopWithEvents(flags: number, rings: number, mode: number): Promise<void> {
  await csbRegistered(flags, rings, async (fd) => {
    const { request, events, option } = withEvents(rings, mode);
    await startAndStop(fd, request);
    assert.equal(request.option(option).status, 0);
    assert.equal(request.option(option).type, rq.NETMAP_REQ_OPT_SYNC_KLOOP_EVENTFDS);
    for (const event of events) os.closeFd(event);
  });
}

// ---- legacy ------------------------------------------------------------------------------------------------------

interface LegacyFields {
  version: number;
  flags: number;
  arg3?: number;
  name?: string;
}

async function legacyRegisters({ version, flags, arg3 = 0, name = IF }: LegacyFields): Promise<void> {
  await withFd(async (fd) => {
    const nmr = Buffer.alloc(rq.LEGACY_SIZE);
    nmr.write(name.slice(0, 15), rq.LG_NAME);
    nmr.writeUInt32LE(version, rq.LG_VERSION);
    nmr.writeUInt32LE(flags, rq.LG_FLAGS);
    nmr.writeUInt32LE(arg3, rq.LG_ARG3);
    assert.equal(await client.legacy(rq.NIOCREGIF, fd, nmr), 0);
    assert.notEqual(nmr.readUInt32LE(rq.LG_MEMSIZE), 0);
    assert.equal(nmr.readUInt16LE(rq.LG_RINGID), 0);
    assert.equal(nmr.readUInt32LE(rq.LG_FLAGS), flags);
    assert.equal(nmr.readUInt32LE(rq.LG_ARG3), arg3);
    assert.notEqual(nmr.readUInt16LE(rq.LG_ARG2), 0);
  });
}

describe('spec api §7', { timeout: 120_000 }, () => {
  test('1 port_info_get', () => withFd((fd) => portInfo(fd, IF)));
  test('2 port_register_hwall_host', { skip: ROW_NEEDS_NIC });
  test('3 port_register_hwall', () =>
    withFd(async (fd) => void (await registers(fd, IF, { mode: abi.NR_REG_ALL_NIC }))));
  test('4 port_register_hostall', { skip: ROW_NEEDS_NIC });
  test('5 port_register_single_hw_pair', () =>
    withFd(async (fd) => void (await registers(fd, IF, { mode: abi.NR_REG_ONE_NIC, ringId: 0 }))));
  test('6 port_register_single_host_pair', { skip: ROW_NEEDS_NIC });
  test('7 port_register_hostall_many', { skip: ROW_NEEDS_NIC });

  test('8 vale_attach_detach', () =>
    withFd(async (fd) => {
      assert.equal(await attach(fd, `vale500:${IF}`, abi.NR_REG_ALL_NIC), 0);
      assert.equal(await simple(fd, rq.NETMAP_REQ_VALE_DETACH, `vale500:${IF}`), 0);
    }));
  test('9 vale_attach_detach_host_rings', () =>
    withFd(async (fd) => {
      assert.equal(await attach(fd, `vale500:${IF}`, abi.NR_REG_NIC_SW), 0);
      assert.equal(await simple(fd, rq.NETMAP_REQ_VALE_DETACH, `vale500:${IF}`), 0);
    }));
  test('10 vale_ephemeral_port_hdr_manipulation', () =>
    withFd(async (fd) => {
      await registers(fd, 'vale:eph0', { mode: abi.NR_REG_ALL_NIC });
      for (const length of [12, 0, 10]) {
        const set = new ControlRequest(rq.NETMAP_REQ_PORT_HDR_SET, 'vale:eph0');
        set.body.setUint32(0, length, true);
        assert.equal(await control(fd, set), 0);
        assert.equal(set.body.getUint32(0, true), length);
        const get = new ControlRequest(rq.NETMAP_REQ_PORT_HDR_GET, 'vale:eph0');
        assert.equal(await control(fd, get), 0);
        assert.equal(get.body.getUint32(0, true), length);
      }
    }));
  test('11 vale_persistent_port', () =>
    withFd(async (fd) => {
      assert.equal(await simple(fd, rq.NETMAP_REQ_VALE_NEWIF, 'per4'), 0);
      assert.equal(await attach(fd, 'vale500:per4', abi.NR_REG_ALL_NIC), 0);
      assert.equal(await simple(fd, rq.NETMAP_REQ_VALE_DETACH, 'vale500:per4'), 0);
      assert.equal(await simple(fd, rq.NETMAP_REQ_VALE_DELIF, 'per4'), 0);
    }));
  test('12 pools_info_get_and_register', () =>
    withFd(async (fd) => {
      assert.equal(await poolsInfo(fd, IF), 0);
      const request = await registers(fd, IF, { mode: abi.NR_REG_ONE_NIC });
      assert.equal(await poolsInfo(fd, IF, request.body.getUint16(rq.RG_MEM_ID, true)), 0);
    }));
  test('13 pools_info_get_empty_ifname', () =>
    withFd(async (fd) => assert.equal(await poolsInfo(fd, ''), ERRNO.ENXIO)));
  test('14 pipe_master', () =>
    withFd(async (fd) => {
      const wrong = ControlRequest.register(`${IF}{pipeid1`, { mode: abi.NR_REG_NIC_SW });
      assert.equal(await control(fd, wrong), ERRNO.EINVAL);
      await registers(fd, `${IF}{pipeid1`, { mode: abi.NR_REG_ALL_NIC });
    }));
  test('15 pipe_slave', () =>
    withFd(async (fd) => void (await registers(fd, `${IF}}pipeid2`, { mode: abi.NR_REG_ALL_NIC }))));
  test('16 pipe_port_info_get', () => withFd((fd) => portInfo(fd, `${IF}}pipeid3`)));
  test('17 pipe_pools_info_get', () =>
    withFd(async (fd) => assert.equal(await poolsInfo(fd, `${IF}{xid`), 0)));
  test('18 vale_polling_enable_disable', { skip: ROW_NEEDS_NIC });

  test('19 unsupported_option', () =>
    withFd(async (fd) => {
      const request = ControlRequest.register(IF, { mode: abi.NR_REG_ALL_NIC });
      const option = request.add(1234, 24);
      assert.equal(await control(fd, request), ERRNO.EOPNOTSUPP);
      assert.deepEqual(
        { ...request.option(option), view: 0 },
        { next: 0n, type: 1234, status: ERRNO.EOPNOTSUPP, view: 0 },
      );
      // Nothing remains: the descriptor is free.
      await registers(fd, IF, { mode: abi.NR_REG_ALL_NIC });
    }));
  test('20 infinite_options', () =>
    withFd(async (fd) => {
      const request = ControlRequest.register(IF, { mode: abi.NR_REG_ALL_NIC });
      request.selfLink(request.add(7, 24));
      assert.equal(await control(fd, request), ERRNO.EMSGSIZE);
    }));
  test('21 infinite_options2', () =>
    withFd(async (fd) => {
      const request = ControlRequest.register(IF, { mode: abi.NR_REG_ALL_NIC });
      request.selfLink(request.add(rq.NETMAP_REQ_OPT_OFFSETS, 56));
      assert.equal(await control(fd, request), ERRNO.EINVAL);
      assert.equal(request.option(0).status, ERRNO.EINVAL);
    }));
  test('22 invalid_valid_options3', () =>
    withFd(async (fd) => {
      const request = ControlRequest.register(IF, { mode: abi.NR_REG_ALL_NIC });
      for (let i = 0; i < 99; i++) request.add(6, 24);
      request.add(rq.NETMAP_REQ_OPT_SYNC_KLOOP_EVENTFDS, 1000, (view) =>
        view.setBigUint64(rq.OP_SIZE, 1000n, true),
      );
      assert.equal(await control(fd, request), ERRNO.EMSGSIZE);
    }));
  /** EXTMEM with the geometry of the rows. */
  const withMemory = async (
    ringSize: number,
    work: (request: ControlRequest, fd: number) => Promise<void>,
  ) => {
    const size = 2 * 1024 + 64 * 512 + 4096 * 2048;
    const object = os.createObject('netmap-test-extmem', Math.ceil(size / 65536) * 65536);
    const request = ControlRequest.register('vale0:0', {
      mode: abi.NR_REG_ALL_NIC,
      txSlots: 16,
      rxSlots: 16,
    });
    request.add(rq.NETMAP_REQ_OPT_EXTMEM, 96, (view) => {
      view.setBigUint64(rq.EX_USRPTR, BigInt(object.fd + 1) << 32n, true);
      view.setBigUint64(rq.EX_INFO + rq.PO_MEMSIZE, BigInt(size), true);
      for (const [at, count, bytes] of [
        [rq.PO_IF, 2, 1024],
        [rq.PO_RING, 64, ringSize],
        [rq.PO_BUF, 4096, 2048],
      ] as const) {
        view.setUint32(rq.EX_INFO + at + 8, count, true);
        view.setUint32(rq.EX_INFO + at + 12, bytes, true);
      }
    });
    try {
      await withFd((fd) => work(request, fd));
    } finally {
      os.closeFd(object.fd);
    }
  };
  test('23 extmem_option', () =>
    withMemory(512, async (request, fd) => {
      const before = Buffer.from(request.bytes);
      assert.equal(await control(fd, request), 0);
      const { view } = request.option(0);
      assert.equal(request.option(0).status, 0);
      assert.equal(request.option(0).next, 0n);
      const at = view.byteOffset - request.view.byteOffset;
      for (const field of [rq.EX_USRPTR, rq.EX_INFO + rq.PO_MEMSIZE])
        assert.equal(view.getBigUint64(field, true), before.readBigUInt64LE(at + field));
      // It is a port like any other, in the memory that was brought.
      await using([open('vale0:0'), open('vale0:1')], (mine, other) => {
        assert.equal(mine.memId, request.body.getUint16(rq.RG_MEM_ID, true));
        send(other, [frame({ mark: 3 })]);
        assert.equal(markOf(receive(mine)[0]!.bytes), 3);
      });
    }));
  test('24 bad_extmem_option', () =>
    withMemory(1 << 20, async (request, fd) => {
      assert.equal(await control(fd, request), ERRNO.ENOMEM);
      assert.equal(request.option(0).status, ERRNO.ENOMEM);
    }));
  test('25 duplicate_extmem_options', () =>
    withFd(async (fd) => {
      const request = ControlRequest.register('vale0:0', { mode: abi.NR_REG_ALL_NIC });
      for (let i = 0; i < 2; i++)
        request.add(rq.NETMAP_REQ_OPT_EXTMEM, 96, (view) => view.setBigUint64(rq.EX_USRPTR, 77n, true));
      assert.equal(await control(fd, request), ERRNO.EINVAL);
      for (const option of [0, 1].map((i) => request.option(i))) {
        assert.equal(option.status, ERRNO.EINVAL);
        assert.equal(option.view.getBigUint64(rq.EX_USRPTR, true), 77n);
      }
    }));

  test('26 csb_mode', () => csbRegistered(0, 2, async () => {}));
  test('27 csb_mode_invalid_memory', () =>
    withFd(async (fd) => {
      const csb = new Csb(2);
      const request = ControlRequest.register(IF, { mode: abi.NR_REG_ALL_NIC, flags: abi.NR_EXCLUSIVE });
      csb.addTo(request, 0x10n, 0x800n);
      assert.notEqual(await control(fd, request), 0);
      await registers(fd, IF, { mode: abi.NR_REG_ALL_NIC });
      csb.close();
    }));
  test('28 sync_kloop', () => csbRegistered(0, 2, (fd) => startAndStop(fd)));
  test('29 sync_kloop_eventfds_all', () => loopWithEvents(0, 2, 0));
  test('30 sync_kloop_eventfds_all_tx', () => loopWithEvents(abi.NR_TX_RINGS_ONLY, 1, 0));
  test('31 sync_kloop_eventfds_all_direct', () => loopWithEvents(0, 2, 3));
  test('32 sync_kloop_eventfds_all_direct_tx', () => loopWithEvents(0, 2, 1));
  test('33 sync_kloop_eventfds_all_direct_rx', () => loopWithEvents(0, 2, 2));
  test('34 sync_kloop_nocsb', () =>
    withFd(async (fd) => {
      await registers(fd, IF, { mode: abi.NR_REG_ALL_NIC });
      const [started, stopped] = await Promise.all([control(fd, startRequest()), stop(fd)]);
      assert.deepEqual([started, stopped], [ERRNO.EINVAL, 0]);
    }));
  test('35 sync_kloop_csb_enable', () =>
    withFd(async (fd) => {
      await registers(fd, IF, { mode: abi.NR_REG_ALL_NIC, flags: abi.NR_EXCLUSIVE });
      const csb = new Csb(2);
      const request = new ControlRequest(rq.NETMAP_REQ_CSB_ENABLE, '');
      const option = csb.addTo(request);
      assert.equal(await control(fd, request), 0);
      assert.equal(request.option(option).status, 0);
      await startAndStop(fd);
      csb.close();
    }));
  test('36 sync_kloop_conflict', () =>
    csbRegistered(0, 2, async (fd) => {
      const starts = [control(fd, startRequest()), control(fd, startRequest())];
      assert.equal(await Promise.race(starts), ERRNO.EBUSY);
      assert.equal(await stop(fd), 0);
      assert.deepEqual((await Promise.all(starts)).sort(), [0, ERRNO.EBUSY]);
    }));
  test('37 sync_kloop_eventfds_mismatch', () =>
    csbRegistered(abi.NR_RX_RINGS_ONLY, 1, async (fd) => {
      const { request, events } = withEvents(2, 0);
      assert.equal(await control(fd, request), ERRNO.EINVAL);
      for (const event of events) os.closeFd(event);
    }));

  const NULL_PORT = { mode: abi.NR_REG_NULL, memId: 1 };
  const FULL = { ...NULL_PORT, txRings: 10, rxRings: 5, txSlots: 256, rxSlots: 100 };
  test('38 null_port', () => withFd(async (fd) => void (await registers(fd, IF, FULL))));
  test('39 null_port_all_zero', () => withFd(async (fd) => void (await registers(fd, IF, NULL_PORT))));
  test('40 null_port_sync', () =>
    withFd(async (fd) => {
      await registers(fd, IF, FULL);
      assert.equal(await client.sync(fd, 'tx'), 0);
    }));

  test('41 legacy_regif_default', () => legacyRegisters({ version: 14, flags: 0 }));
  test('42 legacy_regif_all_nic', () => legacyRegisters({ version: 14, flags: 1 }));
  test('43 legacy_regif_12', () => legacyRegisters({ version: 15, flags: 1 }));
  test('44 legacy_regif_sw', { skip: ROW_NEEDS_NIC });
  test('45 legacy_regif_future', { skip: ROW_NEEDS_NIC });
  test('46 legacy_regif_extra_bufs', () => legacyRegisters({ version: 14, flags: 1, arg3: 20 }));
  test('47 legacy_regif_extra_bufs_pipe', () =>
    legacyRegisters({ version: 14, flags: 1, arg3: 58, name: `${IF}{pipeexbuf` }));
  test('48 legacy_regif_extra_bufs_pipe_vale', () =>
    legacyRegisters({ version: 14, flags: 1, arg3: 58, name: 'valeX1:Y4{pipeexbuf' }));

  test('49 nmreq_parsing: a sample; every vector is in port-name.test.ts', () => {
    const { name, mode, ringId, flags } = parsePortName('netmap:eth0-2/Tx');
    assert.deepEqual([name, mode, ringId, flags], ['eth0', 4, 2, 0x4800]);
  });
  test('50 binarycomp', () => {
    assert.deepEqual(
      [
        abi.RING_BUF_OFS,
        abi.RING_NUM_SLOTS,
        abi.RING_BUF_SIZE,
        abi.RING_RINGID,
        abi.RING_DIR,
        abi.RING_HEAD,
        abi.RING_CUR,
        abi.RING_TAIL,
        abi.RING_FLAGS,
        abi.RING_TS,
        abi.RING_OFFSET_MASK,
        abi.RING_BUF_ALIGN,
        abi.RING_SEM,
        abi.RING_SLOTS,
      ],
      [0, 8, 12, 16, 18, 20, 24, 28, 32, 40, 56, 64, 128, 256],
    );
  });
});

describe('spec api §3.3 and §7, suggested additions', { timeout: 120_000 }, () => {
  const patched = async (patch: (request: ControlRequest) => void): Promise<number> => {
    const request = ControlRequest.register(IF, { mode: abi.NR_REG_ALL_NIC });
    patch(request);
    const fd = nextFd++;
    const errno = await control(fd, request);
    await client.close(fd);
    return errno;
  };

  test('versions 13 and 16', async () => {
    for (const version of [13, 16])
      assert.equal(await patched(({ view }) => view.setUint16(rq.HD_VERSION, version, true)), ERRNO.EINVAL);
  });
  test('nr_reserved that is not 0', async () => {
    assert.equal(await patched(({ view }) => view.setUint32(rq.HD_RESERVED, 1, true)), ERRNO.EINVAL);
  });
  test('a body where there is none, none where there is one, one beyond the message', async () => {
    assert.equal(await patched(({ view }) => view.setBigUint64(rq.HD_BODY, 0n, true)), ERRNO.EINVAL);
    assert.equal(
      await patched(({ view }) => view.setUint16(rq.HD_REQTYPE, rq.NETMAP_REQ_VALE_DELIF, true)),
      ERRNO.EINVAL,
    );
    assert.equal(
      await patched(({ view }) => view.setBigUint64(rq.HD_BODY, 0xffff_0000n, true)),
      ERRNO.EFAULT,
    );
  });
  test('unknown types', async () => {
    for (const type of [0, 16, 65535])
      assert.equal(
        await patched(({ view }) => {
          view.setUint16(rq.HD_REQTYPE, type, true);
          view.setBigUint64(rq.HD_BODY, 0n, true);
        }),
        ERRNO.EINVAL,
      );
  });
  test('option type 0', async () => {
    assert.equal(await patched((request) => void request.add(0, 24)), ERRNO.EINVAL);
  });
  test('modes that are none', async () => {
    for (const mode of [0, 5, 6, 9, 0xffff_ffff])
      assert.equal(await patched(({ body }) => body.setUint32(rq.RG_MODE, mode, true)), ERRNO.EINVAL);
  });
  test('a second REGISTER on a descriptor: EBUSY; syncs before the first: ENXIO; in CSB mode: EBUSY', () =>
    withFd(async (fd) => {
      assert.equal(await client.sync(fd, 'tx'), ERRNO.ENXIO);
      await registers(fd, IF, { mode: abi.NR_REG_ALL_NIC, flags: abi.NR_EXCLUSIVE });
      const again = ControlRequest.register(IF, { mode: abi.NR_REG_ALL_NIC });
      assert.equal(await control(fd, again), ERRNO.EBUSY);
      const csb = new Csb(2);
      const enable = new ControlRequest(rq.NETMAP_REQ_CSB_ENABLE, '');
      csb.addTo(enable);
      assert.equal(await control(fd, enable), 0);
      assert.equal(await client.sync(fd, 'rx'), ERRNO.EBUSY);
      csb.close();
    }));
  test('CSB: without the option, not exclusive, not aligned, beyond the object, not sealed', () =>
    withFd(async (fd) => {
      const csb = new Csb(2);
      const enable = async (atok?: bigint, ktoa?: bigint) => {
        const request = new ControlRequest(rq.NETMAP_REQ_CSB_ENABLE, '');
        csb.addTo(request, atok, ktoa);
        return control(fd, request);
      };
      assert.equal(await simple(fd, rq.NETMAP_REQ_CSB_ENABLE, ''), ERRNO.EINVAL);
      assert.equal(await enable(), 0, 'unregistered: no effect');
      await registers(fd, IF, { mode: abi.NR_REG_ALL_NIC });
      assert.equal(await enable(), ERRNO.EINVAL);
      await client.close(fd);
      await registers(fd, IF, { mode: abi.NR_REG_ALL_NIC, flags: abi.NR_EXCLUSIVE });
      assert.equal(await enable(csb.atok | 32n), ERRNO.EINVAL);
      assert.equal(await enable(csb.atok | 65536n), ERRNO.EFAULT);
      assert.equal(await enable(1n << 32n), ERRNO.EFAULT, 'standard input is no memory');
      csb.close();
    }));
  test('memory and eventfds are the client’s: the module’s own are out of reach', async () => {
    const { pid } = await status();
    const payload = Buffer.alloc(4);
    payload.writeUInt32LE(pid);
    assert.equal((await client.ask(rq.FR_HELLO, 0, payload)).errno, ERRNO.EINVAL);
  });
  test('SYNC_KLOOP_START: longest sleep, unknown mode bits, unregistered', () =>
    csbRegistered(0, 2, async (fd) => {
      assert.equal(await control(fd, startRequest(1_000_001)), ERRNO.EINVAL);
      const request = startRequest();
      request.add(rq.NETMAP_REQ_OPT_SYNC_KLOOP_MODE, 32, (view) => view.setUint32(rq.KM_MODE, 4, true));
      assert.equal(await control(fd, request), ERRNO.EINVAL);
      await withFd(async (other) => {
        assert.equal(await control(other, startRequest()), ERRNO.ENXIO);
        assert.equal(await stop(other), ERRNO.ENXIO);
      });
    }));
  test('VALE_LIST: all ports, one after the other', () =>
    using([open('vale0:x'), open('vale0:y')], () =>
      withFd(async (fd) => {
        const names: string[] = [];
        const place = { bridge: 0, port: 0 };
        for (;;) {
          const request = new ControlRequest(rq.NETMAP_REQ_VALE_LIST, '');
          request.body.setUint16(rq.VL_BRIDGE, place.bridge, true);
          request.body.setUint32(rq.VL_PORT, place.port, true);
          const errno = await control(fd, request);
          if (errno !== 0) {
            assert.equal(errno, ERRNO.ENOENT);
            break;
          }
          names.push(request.name);
          place.bridge = request.body.getUint16(rq.VL_BRIDGE, true);
          place.port = request.body.getUint32(rq.VL_PORT, true) + 1;
        }
        assert.deepEqual(names, ['vale0:x', 'vale0:y']);
      }),
    ));
});

describe('moving packets without mapping anybody else', { timeout: 120_000 }, () => {
  /** The region that a reply speaks of, opened as any program would. */
  function regionOf(request: ControlRequest): { object: MemoryObject } {
    const { appended } = request;
    assert.equal(appended.length, rq.MAP_RECORD);
    const ref = { pid: appended.readUInt32LE(rq.MAP_PID), fd: appended.readUInt32LE(rq.MAP_FD) };
    return { object: os.takeObject(ref.pid, ref.fd) };
  }

  test('syncs on request: frames go out and come in', () =>
    withFd(async (fd) => {
      const request = await registers(fd, 'vale0:c', { mode: abi.NR_REG_ALL_NIC });
      assert.ok(regionOf(request).object.size > 0);
      await using([open('vale0:c'), open('vale0:d')], async (shared, other) => {
        // The test writes to the client's rings through a second opening; the module syncs.
        const ring = shared.txRings[0]!;
        ring.put(ring.head, frame({ mark: 8 }));
        ring.publish(ring.next(ring.head));
        assert.equal(await client.sync(fd, 'tx'), 0);
        assert.equal(markOf(receive(other)[0]!.bytes), 8);
        send(other, [frame({ mark: 9, src: 2 })]);
        assert.equal(await client.sync(fd, 'rx'), 0);
        assert.equal(markOf(shared.rxRings[0]!.frame(0)), 9);
      });
    }));

  for (const [what, events] of [
    ['sleeping', false],
    ['woken by events', true],
  ] as const) {
    test(`CSB mode, the loop ${what}: a thousand frames each way, in order`, async () => {
      const csb = new Csb(2);
      const fd = nextFd++;
      const name = 'vale0:csb';
      const request = ControlRequest.register(name, { mode: abi.NR_REG_ALL_NIC, flags: abi.NR_EXCLUSIVE });
      csb.addTo(request);
      assert.equal(await control(fd, request), 0);
      const { object } = regionOf(request);

      const program = new CsbProgram(
        object,
        csb.object,
        Number(request.body.getBigUint64(rq.RG_OFFSET, true)),
      );
      const kicks = events ? withEvents(2, 0) : undefined;
      const loop = control(fd, kicks?.request ?? startRequest(50));
      await using([open('vale0:peer')], async (peer) => {
        let sent = 0;
        let received = 0;
        const back: number[] = [];
        await until(
          () => {
            sent += program.send(Math.min(20, 1000 - sent), (i) => frame({ mark: sent + i }));
            if (kicks && program.txNeedsKick) os.signalEvent(kicks.events[0]!);
            for (const { bytes } of receive(peer)) {
              assert.equal(markOf(bytes), received++);
              send(peer, [frame({ mark: received, src: 2 })]);
            }
            for (const bytes of program.receive()) back.push(markOf(bytes));
            if (kicks && program.rxNeedsKick) os.signalEvent(kicks.events[2]!);
            return back.length >= 1000;
          },
          'a thousand frames there and back',
          60_000,
          () => `sent ${sent}, received ${received}, back ${back.length}`,
        );
        assert.deepEqual(
          back,
          Array.from({ length: 1000 }, (_, i) => i + 1),
        );
      });
      assert.equal(await stop(fd), 0);
      assert.equal(await loop, 0);
      await client.close(fd);
      program.close();
      for (const event of kicks?.events ?? []) os.closeFd(event);
      csb.close();
    });
  }

  test('nothing is left of the rows', async () => {
    await until(async () => (await status()).ports.length === 0, 'the last port to close');
  });

  test('a connection that breaks: its descriptors are closed, loops and all', async () => {
    const other = await FrameClient.connect(directory);
    const csb = new Csb(2);
    const request = ControlRequest.register('vale0:gone', {
      mode: abi.NR_REG_ALL_NIC,
      flags: abi.NR_EXCLUSIVE,
    });
    csb.addTo(request);
    assert.equal(await other.control(1, request), 0);
    void other.control(1, startRequest());
    other.end();
    await until(
      async () => !(await status()).ports.some(({ name }) => name === 'vale0:gone'),
      'the port to be closed',
    );
    csb.close();
  });
});
