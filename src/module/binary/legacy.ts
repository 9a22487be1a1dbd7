// The legacy requests NIOCREGIF and NIOCGINFO on struct nmreq, as the new ones that they stand for (spec api §3.5.11).

import { NetmapError } from '../../abi/errors.ts';
import * as abi from '../../abi/netmap.ts';
import * as rq from '../../abi/requests.ts';
import type { RegisterRequest } from '../../protocol/messages.ts';
import type { Descriptor } from './descriptor.ts';

const NETMAP_DO_RX_POLL = 0x8000;
const NETMAP_HW_RING = 0x4000;
const NETMAP_SW_RING = 0x2000;
const NETMAP_NO_TX_POLL = 0x1000;
/** arg1 of an attach: the host rings, too. */
const BDG_HOST = 1;
const RING_NUMBER = 0x0fff;
const REG_MODE = 0x0f;
const REG_PIPE_MASTER = 5;
const REG_PIPE_SLAVE = 6;

/** What register modes mean where polling is turned on. */
const POLLING_MODES: Readonly<Record<number, number>> = {
  [abi.NR_REG_ALL_NIC]: rq.NETMAP_POLLING_MODE_SINGLE_CPU,
  [abi.NR_REG_ONE_NIC]: rq.NETMAP_POLLING_MODE_MULTI_CPU,
};

type Command = (descriptor: Descriptor, nmr: DataView, name: string) => void | Promise<void>;

const REGIF: Readonly<Record<number, Command>> = {
  0: register,
  async 1({ module }, nmr, name) {
    await module.attach(name, nmr.getUint16(rq.LG_ARG1, true) === BDG_HOST, 0);
  },
  async 2({ module }, _nmr, name) {
    await module.detach(name);
  },
  5({ module }, nmr, name) {
    module.change(({ switchboard }) => switchboard.setHeader(name, nmr.getUint16(rq.LG_ARG1, true)));
  },
  6({ module }, nmr, name) {
    const { sizes, region } = module.change(({ attachments }) => attachments.newIf(readSizes(nmr, name)));
    writeSizes(nmr, { ...sizes, memId: region.memId });
  },
  7({ module }, _nmr, name) {
    module.change(({ attachments }, isOpen) => attachments.delIf(name, isOpen));
  },
  10({ module }, nmr, name) {
    return module.poll(name, {
      mode: POLLING_MODES[nmr.getUint32(rq.LG_FLAGS, true) & REG_MODE] ?? 0,
      firstCpu: nmr.getUint16(rq.LG_RINGID, true) & RING_NUMBER,
      cpus: nmr.getUint16(rq.LG_ARG1, true),
    });
  },
  11: ({ module }, _nmr, name) => module.unpoll(name),
  12({ module }, nmr, name) {
    nmr.setUint16(rq.LG_ARG1, module.registry.switchboard.header(name), true);
  },
};

/** @throws NetmapError EINVAL: too old a version, no such command; and what the request answers. */
export function legacy(descriptor: Descriptor, ioctl: number, bytes: Buffer): void | Promise<void> {
  if (bytes.length < rq.LEGACY_SIZE)
    throw new NetmapError(
      'EFAULT',
      `Cannot read a struct nmreq of ${bytes.length} bytes: it has ${rq.LEGACY_SIZE}`,
    );
  const nmr = new DataView(bytes.buffer, bytes.byteOffset, rq.LEGACY_SIZE);
  const version = nmr.getUint32(rq.LG_VERSION, true);
  if (version < abi.NETMAP_API)
    throw new NetmapError(
      'EINVAL',
      `Cannot accept the request: version ${version} is below ${abi.NETMAP_API}`,
    );
  const name = bytes
    .subarray(rq.LG_NAME, rq.LG_NAME + abi.IF_NAME_SIZE - 1)
    .toString('utf8')
    .split('\0', 1)[0]!;
  const command = nmr.getUint16(rq.LG_CMD, true);
  if (ioctl === rq.NIOCGINFO)
    return command === 4 ? list(descriptor, nmr, bytes, name) : info(descriptor, nmr, name);
  const handler = REGIF[command];
  if (!handler)
    throw new NetmapError('EINVAL', `Cannot do legacy command ${command}: there is none of that number`);
  return handler(descriptor, nmr, name);
}

function register(descriptor: Descriptor, nmr: DataView, name: string): void {
  const ring = nmr.getUint16(rq.LG_RINGID, true);
  const flags = nmr.getUint32(rq.LG_FLAGS, true);
  const request: RegisterRequest = {
    ...readSizes(nmr, name),
    mode: flags & REG_MODE,
    ringId: ring & RING_NUMBER,
    extraBufs: nmr.getUint32(rq.LG_ARG3, true),
    flags:
      (flags & ~REG_MODE) |
      (ring & NETMAP_NO_TX_POLL ? abi.NR_NO_TX_POLL : 0) |
      (ring & NETMAP_DO_RX_POLL ? abi.NR_DO_RX_POLL : 0),
  };
  if (request.mode === abi.NR_REG_DEFAULT) {
    if (ring & NETMAP_SW_RING) request.mode = abi.NR_REG_SW;
    else request.mode = ring & NETMAP_HW_RING ? abi.NR_REG_ONE_NIC : abi.NR_REG_ALL_NIC;
  }
  if (request.mode === REG_PIPE_MASTER || request.mode === REG_PIPE_SLAVE) {
    request.name += `${request.mode === REG_PIPE_MASTER ? '{' : '}'}${request.ringId}`;
    request.mode = abi.NR_REG_ALL_NIC;
    request.ringId = 0;
  }
  const reply = descriptor.register(request);
  nmr.setUint32(rq.LG_OFFSET, reply.ifOfs, true);
  nmr.setUint32(rq.LG_MEMSIZE, reply.memSize % 2 ** 32, true);
  writeSizes(nmr, reply);
  nmr.setUint32(rq.LG_ARG3, reply.extraBufs, true);
}

function info({ module }: Descriptor, nmr: DataView, name: string): void {
  const found = module.registry.portInfo(readSizes(nmr, name));
  nmr.setUint32(rq.LG_MEMSIZE, found.memSize % 2 ** 32, true);
  if (name === '') nmr.setUint16(rq.LG_ARG2, found.memId, true);
  else writeSizes(nmr, found);
}

function list({ module }: Descriptor, nmr: DataView, bytes: Buffer, name: string): void {
  const { switchboard } = module.registry;
  const listed =
    name === ''
      ? switchboard.firstFrom(nmr.getUint16(rq.LG_ARG1, true), nmr.getUint16(rq.LG_ARG2, true))
      : switchboard.locate(name);
  bytes.fill(0, rq.LG_NAME, rq.LG_NAME + abi.IF_NAME_SIZE);
  bytes.write(listed.name, rq.LG_NAME, abi.IF_NAME_SIZE - 1, 'utf8');
  nmr.setUint16(rq.LG_ARG1, listed.bridge, true);
  nmr.setUint16(rq.LG_ARG2, listed.port, true);
}

function readSizes(nmr: DataView, name: string): RegisterRequest {
  return {
    name,
    mode: abi.NR_REG_ALL_NIC,
    ringId: 0,
    flags: 0,
    extraBufs: 0,
    memId: nmr.getUint16(rq.LG_ARG2, true),
    txSlots: nmr.getUint32(rq.LG_TX_SLOTS, true),
    rxSlots: nmr.getUint32(rq.LG_RX_SLOTS, true),
    txRings: nmr.getUint16(rq.LG_TX_RINGS, true),
    rxRings: nmr.getUint16(rq.LG_RX_RINGS, true),
  };
}

type Sizes = Pick<RegisterRequest, 'txSlots' | 'rxSlots' | 'txRings' | 'rxRings' | 'memId'>;

function writeSizes(nmr: DataView, { txSlots, rxSlots, txRings, rxRings, memId }: Sizes): void {
  nmr.setUint32(rq.LG_TX_SLOTS, txSlots, true);
  nmr.setUint32(rq.LG_RX_SLOTS, rxSlots, true);
  nmr.setUint16(rq.LG_TX_RINGS, txRings, true);
  nmr.setUint16(rq.LG_RX_RINGS, rxRings, true);
  nmr.setUint16(rq.LG_ARG2, memId, true);
}
