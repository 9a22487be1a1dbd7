// Objective: the rows of spec api §7 that need a network interface, and H14 and H15 of spec ports §7.4, in the binary form.
// Operations: registrations of host rings, polling, legacy requests, on one end of a wire.

import assert from 'node:assert/strict';
import os from 'node:os';
import { after, before, describe, test } from 'node:test';
import { ERRNO } from '../../src/abi/errors.ts';
import * as abi from '../../src/abi/netmap.ts';
import * as rq from '../../src/abi/requests.ts';
import { load, NS_MOREFRAG, open } from '../../src/client/index.ts';
import { ControlRequest, FrameClient, type RegisterFields } from '../frame-client.ts';
import { frame, markOf, ownModule, send, take, using } from '../harness.ts';
import { Machine, NO_NETWORK, wire } from './network.ts';

const directory = ownModule();
const IF = 'v0';

describe('spec api §7, on an interface', { skip: NO_NETWORK, timeout: 120_000 }, () => {
  let client: FrameClient;
  let nextFd = 1;
  if (!NO_NETWORK) {
    const machine = new Machine();
    wire([machine, IF], [machine, 'v1']);
    machine.enter();
  }
  before(async () => {
    await load(directory);
    client = await FrameClient.connect(directory);
  });
  after(() => client?.end());

  /** REGISTER on a descriptor of its own; how it was answered. */
  async function register(name: string, fields: RegisterFields) {
    const fd = nextFd++;
    const request = ControlRequest.register(name, fields);
    const errno = await client.control(fd, request);
    await client.close(fd);
    return { errno, body: request.body };
  }

  /** The rows' common check. */
  async function registers(fields: RegisterFields): Promise<DataView> {
    const { errno, body } = await register(IF, fields);
    assert.equal(errno, 0);
    assert.notEqual(body.getBigUint64(rq.RG_MEMSIZE, true), 0n);
    assert.equal(body.getUint32(rq.RG_MODE, true), fields.mode);
    assert.equal(body.getUint16(rq.RG_RINGID, true), fields.ringId ?? 0);
    const { hostTxRings = 1, hostRxRings = 1 } = fields;
    assert.deepEqual(hostRings(body), [hostTxRings, hostRxRings]);
    return body;
  }

  const hostRings = (body: DataView) => [
    body.getUint16(rq.RG_HOST_TX_RINGS, true),
    body.getUint16(rq.RG_HOST_RX_RINGS, true),
  ];

  async function simple(type: number, name: string, fill: (body: DataView) => void = () => {}) {
    const fd = nextFd++;
    const request = new ControlRequest(type, name);
    fill(request.body);
    const errno = await client.control(fd, request);
    await client.close(fd);
    return { errno, body: request.body };
  }

  /** A legacy command (nr_cmd); how it was answered. */
  async function command(
    number: number,
    name: string,
    fill: (nmr: DataView) => void = () => {},
  ): Promise<number> {
    const nmr = Buffer.alloc(rq.LEGACY_SIZE);
    nmr.write(name, rq.LG_NAME);
    nmr.writeUInt32LE(abi.NETMAP_API, rq.LG_VERSION);
    nmr.writeUInt16LE(number, rq.LG_CMD);
    fill(new DataView(nmr.buffer, nmr.byteOffset, nmr.length));
    return client.legacy(rq.NIOCREGIF, nextFd++, nmr);
  }

  async function legacy(version: number, flags: number): Promise<void> {
    const fd = nextFd++;
    const nmr = Buffer.alloc(rq.LEGACY_SIZE);
    nmr.write(IF, rq.LG_NAME);
    nmr.writeUInt32LE(version, rq.LG_VERSION);
    nmr.writeUInt32LE(flags, rq.LG_FLAGS);
    assert.equal(await client.legacy(rq.NIOCREGIF, fd, nmr), 0);
    await client.close(fd);
    assert.notEqual(nmr.readUInt32LE(rq.LG_MEMSIZE), 0);
    assert.equal(nmr.readUInt16LE(rq.LG_RINGID), 0);
    assert.equal(nmr.readUInt32LE(rq.LG_FLAGS), flags);
    assert.notEqual(nmr.readUInt16LE(rq.LG_ARG2), 0);
  }

  test('1 port_info_get', async () => {
    const { errno, body } = await simple(rq.NETMAP_REQ_PORT_INFO_GET, IF);
    assert.equal(errno, 0);
    assert.notEqual(body.getBigUint64(rq.PI_MEMSIZE, true), 0n);
    for (const at of [rq.PI_TX_SLOTS, rq.PI_RX_SLOTS]) assert.notEqual(body.getUint32(at, true), 0);
    for (const at of [rq.PI_TX_RINGS, rq.PI_RX_RINGS, rq.PI_HOST_TX_RINGS, rq.PI_HOST_RX_RINGS])
      assert.notEqual(body.getUint16(at, true), 0);
  });
  test('2 port_register_hwall_host', async () => void (await registers({ mode: abi.NR_REG_NIC_SW })));
  test('3 port_register_hwall', async () => void (await registers({ mode: abi.NR_REG_ALL_NIC })));
  test('4 port_register_hostall', async () => void (await registers({ mode: abi.NR_REG_SW })));
  test('5 port_register_single_hw_pair', async () => void (await registers({ mode: abi.NR_REG_ONE_NIC })));
  test('6 port_register_single_host_pair', async () => {
    const second = { mode: abi.NR_REG_ONE_SW, ringId: 1 };
    await registers({ ...second, hostTxRings: 2, hostRxRings: 2 });
    // The counts went with the last opening.
    assert.equal((await register(IF, second)).errno, ERRNO.EINVAL);
  });
  test('7 port_register_hostall_many, H14: as asked for by who comes first; ignored from others', async () => {
    const many = { mode: abi.NR_REG_SW, hostTxRings: 5, hostRxRings: 4 };
    await registers(many);
    const fd = nextFd++;
    const first = ControlRequest.register(IF, { mode: abi.NR_REG_ALL_NIC });
    assert.equal(await client.control(fd, first), 0);
    assert.deepEqual(hostRings((await register(IF, many)).body), [1, 1]);
    await client.close(fd);
  });
  for (const [row, mode] of [
    ['8 vale_attach_detach', abi.NR_REG_ALL_NIC],
    ['9 vale_attach_detach_host_rings', abi.NR_REG_NIC_SW],
  ] as const)
    test(row, async () => {
      const setMode = (body: DataView) => body.setUint32(rq.RG_MODE, mode, true);
      assert.equal((await simple(rq.NETMAP_REQ_VALE_ATTACH, `vale500:${IF}`, setMode)).errno, 0);
      assert.equal((await simple(rq.NETMAP_REQ_VALE_DETACH, `vale500:${IF}`)).errno, 0);
    });
  test('12 pools_info_get_and_register', async () => {
    const { errno, body } = await simple(rq.NETMAP_REQ_POOLS_INFO_GET, IF);
    assert.equal(errno, 0);
    for (const at of [rq.PO_IF, rq.PO_RING, rq.PO_BUF]) assert.notEqual(body.getUint32(at + 8, true), 0);
  });
  const POLLING_CPUS = os.cpus().length < 2 && 'polling needs two CPUs';
  test('18 vale_polling_enable_disable', { skip: POLLING_CPUS }, async () => {
    const setMode = (body: DataView) => body.setUint32(rq.RG_MODE, abi.NR_REG_ALL_NIC, true);
    assert.equal((await simple(rq.NETMAP_REQ_VALE_ATTACH, `vale500:${IF}`, setMode)).errno, 0);
    const enable = await simple(rq.NETMAP_REQ_VALE_POLLING_ENABLE, `vale500:${IF}`, (body) => {
      body.setUint32(rq.VP_MODE, rq.NETMAP_POLLING_MODE_SINGLE_CPU, true);
      body.setUint32(rq.VP_CPUS, 1, true);
    });
    assert.equal(enable.errno, 0);
    const words = [rq.VP_MODE, rq.VP_FIRST_CPU, rq.VP_CPUS].map((at) => enable.body.getUint32(at, true));
    assert.deepEqual(words, [rq.NETMAP_POLLING_MODE_SINGLE_CPU, 0, 1]);
    assert.equal((await simple(rq.NETMAP_REQ_VALE_DETACH, `vale500:${IF}`)).errno, ERRNO.EBUSY);
    assert.equal((await simple(rq.NETMAP_REQ_VALE_POLLING_DISABLE, `vale500:${IF}`)).errno, 0);
    assert.equal((await simple(rq.NETMAP_REQ_VALE_DETACH, `vale500:${IF}`)).errno, 0);
  });
  test('BDG_POLLING_ON and OFF, the legacy requests for the same', { skip: POLLING_CPUS }, async () => {
    assert.equal(await command(1, `vale500:${IF}`), 0);
    const on = (flags: number, first: number, cpus: number) =>
      command(10, `vale500:${IF}`, (nmr) => {
        nmr.setUint32(rq.LG_FLAGS, flags, true);
        nmr.setUint16(rq.LG_RINGID, first, true);
        nmr.setUint16(rq.LG_ARG1, cpus, true);
      });
    assert.equal(await on(abi.NR_REG_NIC_SW, 0, 1), ERRNO.EINVAL);
    assert.equal(await on(abi.NR_REG_ONE_NIC, 1, 1), ERRNO.EINVAL);
    assert.equal(await on(abi.NR_REG_ONE_NIC, 0, 1), 0);
    assert.equal(await on(abi.NR_REG_ALL_NIC, 0, 1), ERRNO.EFAULT);
    assert.equal(await command(11, `vale500:${IF}`), 0);
    assert.equal(await on(abi.NR_REG_ALL_NIC, 1, 1), 0);
    assert.equal(await command(11, `vale500:${IF}`), 0);
    assert.equal(await command(11, `vale500:${IF}`), ERRNO.EFAULT);
    assert.equal(await command(2, `vale500:${IF}`), 0);
  });
  test('44 legacy_regif_sw', () => legacy(14, abi.NR_REG_SW));
  test('45 legacy_regif_future', () => legacy(16, abi.NR_REG_NIC_SW));

  test('H15: a null port without a region, with region 1 and no rings; TXSYNC', async () => {
    assert.equal((await register('n', { mode: abi.NR_REG_NULL })).errno, ERRNO.EINVAL);
    const fd = nextFd++;
    assert.equal(
      await client.control(fd, ControlRequest.register('n', { mode: abi.NR_REG_NULL, memId: 1 })),
      0,
    );
    assert.equal(await client.sync(fd, 'tx'), 0);
    await client.close(fd);
  });

  test('OFFSETS on an interface: EOPNOTSUPP, in its status too, and it is not open', async () => {
    const fd = nextFd++;
    const request = ControlRequest.register(IF, { mode: abi.NR_REG_ALL_NIC });
    request.add(rq.NETMAP_REQ_OPT_OFFSETS, 56, (view) => view.setBigUint64(rq.OF_MAX, 8n, true));
    assert.equal(await client.control(fd, request), ERRNO.EOPNOTSUPP);
    assert.equal(request.option(0).status, ERRNO.EOPNOTSUPP);
    assert.equal(await client.sync(fd, 'tx'), ERRNO.ENXIO);
    await client.close(fd);
  });
});

describe('spec apps §8.5 and ports §7.4, on an interface', { skip: NO_NETWORK, timeout: 120_000 }, () => {
  test('024 sending and receiving, veth', () =>
    using([open(`netmap:${IF}`), open('netmap:v1')], async (a, b) => {
      for (const [from, to] of [
        [a, b],
        [b, a],
      ] as const) {
        send(
          from,
          Array.from({ length: 100 }, (_, mark) => frame({ length: 274, mark })),
        );
        const got = await take(to, 100);
        got.forEach(({ bytes, flags }, mark) => {
          assert.deepEqual([bytes.length, markOf(bytes), flags & NS_MOREFRAG], [274, mark, 0]);
        });
      }
    }));

  test('H4: a frame of 13 bytes to the host: skipped, counted, and its slot free at once', () =>
    using([open(`netmap:${IF}^`)], (host) => {
      send(host, [frame({ length: 13 })]);
      assert.deepEqual(host.drops, { 'frame shorter than 14 bytes': 1 });
      assert.equal(host.txRings[0]!.pending, false);
    }));
});
