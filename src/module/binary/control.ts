// NIOCCTRL: what each request of spec api §3.4 does, on the bodies that C programs lay out.

import { ERRNO, NetmapError } from '../../abi/errors.ts';
import * as abi from '../../abi/netmap.ts';
import * as rq from '../../abi/requests.ts';
import { os } from '../../os/index.ts';
import type { OffsetsRequest, RegisterReply, RegisterRequest } from '../../protocol/messages.ts';
import { checkAttach } from '../binding.ts';
import { takeMemory } from '../extmem.ts';
import type { Region } from '../memory.ts';
import type { Descriptor } from './descriptor.ts';
import type { BinaryRequest, Option } from './request.ts';

type Handler = (descriptor: Descriptor, request: BinaryRequest) => void | Promise<void>;

/** A size that wants no saying. */
const NOTHING: Omit<RegisterRequest, 'name'> = {
  mode: abi.NR_REG_ALL_NIC,
  ringId: 0,
  flags: 0,
  memId: 0,
  txRings: 0,
  rxRings: 0,
  txSlots: 0,
  rxSlots: 0,
  extraBufs: 0,
};

const HANDLERS: Readonly<Record<number, Handler>> = {
  [rq.NETMAP_REQ_REGISTER](descriptor, request) {
    const { body } = request;
    const fields = readRegister(request.name, body);
    const extmem = request.option(rq.NETMAP_REQ_OPT_EXTMEM);
    const { memory } = descriptor.module.registry;
    let brought: Region | undefined;
    if (extmem) {
      consume(request, extmem, () => {
        brought = bringMemory(descriptor, extmem);
      });
      fields.memId = brought!.memId;
    }
    let reply: RegisterReply;
    try {
      reply = descriptor.register(fields);
    } finally {
      if (brought) memory.dropIfUnused(brought);
    }
    try {
      const offsets = request.option(rq.NETMAP_REQ_OPT_OFFSETS);
      if (offsets) {
        consume(request, offsets, () => {
          const max = descriptor.setOffsets(readOffsets(offsets));
          offsets.view.setBigUint64(rq.OF_MAX, BigInt(max), true);
        });
      }
      const csb = request.option(rq.NETMAP_REQ_OPT_CSB);
      if (csb) consume(request, csb, () => enableCsb(descriptor, csb));
      if (request.unconsumed)
        throw new NetmapError(
          'EOPNOTSUPP',
          `Cannot register "${request.name}": it has an option that is not supported`,
        );
    } catch (error) {
      descriptor.unregister();
      throw error;
    }
    writeRegister(body, reply);
  },

  [rq.NETMAP_REQ_PORT_INFO_GET]({ module }, { name, body }) {
    const info = module.registry.portInfo({
      ...NOTHING,
      name,
      txSlots: body.getUint32(rq.PI_TX_SLOTS, true),
      rxSlots: body.getUint32(rq.PI_RX_SLOTS, true),
      txRings: body.getUint16(rq.PI_TX_RINGS, true),
      rxRings: body.getUint16(rq.PI_RX_RINGS, true),
      hostTxRings: body.getUint16(rq.PI_HOST_TX_RINGS, true),
      hostRxRings: body.getUint16(rq.PI_HOST_RX_RINGS, true),
      memId: body.getUint16(rq.PI_MEM_ID, true),
    });
    body.setBigUint64(rq.PI_MEMSIZE, BigInt(info.memSize), true);
    body.setUint16(rq.PI_MEM_ID, info.memId, true);
    if (name === '') return;
    body.setUint32(rq.PI_TX_SLOTS, info.txSlots, true);
    body.setUint32(rq.PI_RX_SLOTS, info.rxSlots, true);
    body.setUint16(rq.PI_TX_RINGS, info.txRings, true);
    body.setUint16(rq.PI_RX_RINGS, info.rxRings, true);
    body.setUint16(rq.PI_HOST_TX_RINGS, info.hostTxRings, true);
    body.setUint16(rq.PI_HOST_RX_RINGS, info.hostRxRings, true);
  },

  [rq.NETMAP_REQ_POOLS_INFO_GET]({ module }, { name, body }) {
    const memId = body.getUint16(rq.PO_MEM_ID, true);
    const pools = module.registry.poolsInfo({ ...NOTHING, name, memId });
    body.setBigUint64(rq.PO_MEMSIZE, BigInt(pools.memSize), true);
    body.setUint16(rq.PO_MEM_ID, pools.memId, true);
    for (const [at, { ofs, count, size }] of [
      [rq.PO_IF, pools.ifs],
      [rq.PO_RING, pools.rings],
      [rq.PO_BUF, pools.bufs],
    ] as const) {
      body.setBigUint64(at, BigInt(ofs), true);
      body.setUint32(at + 8, count, true);
      body.setUint32(at + 12, size, true);
    }
  },

  async [rq.NETMAP_REQ_VALE_ATTACH]({ module }, { name, body }) {
    const { mode, ringId, memId } = readRegister(name, body);
    checkAttach({ name, mode, ringId });
    body.setUint32(rq.VA_PORT_INDEX, await module.attach(name, mode === abi.NR_REG_NIC_SW, memId), true);
  },

  async [rq.NETMAP_REQ_VALE_DETACH]({ module }, { name, body }) {
    body.setUint32(0, await module.detach(name), true);
  },

  [rq.NETMAP_REQ_VALE_LIST]({ module }, request) {
    const { switchboard } = module.registry;
    const { name, body } = request;
    const from = [body.getUint16(rq.VL_BRIDGE, true), body.getUint32(rq.VL_PORT, true)] as const;
    const listed = name === '' ? switchboard.firstFrom(...from) : switchboard.locate(name);
    if (name === '') request.setName(listed.name);
    body.setUint16(rq.VL_BRIDGE, listed.bridge, true);
    body.setUint32(rq.VL_PORT, listed.port, true);
  },

  [rq.NETMAP_REQ_PORT_HDR_SET]({ module }, { name, body }) {
    module.change(({ switchboard }) => switchboard.setHeader(name, body.getUint32(0, true)));
  },
  [rq.NETMAP_REQ_PORT_HDR_GET]({ module }, { name, body }) {
    body.setUint32(0, module.registry.switchboard.header(name), true);
  },

  [rq.NETMAP_REQ_VALE_NEWIF]({ module }, { name, body }) {
    const request = {
      ...NOTHING,
      name,
      txSlots: body.getUint32(rq.NI_TX_SLOTS, true),
      rxSlots: body.getUint32(rq.NI_RX_SLOTS, true),
      txRings: body.getUint16(rq.NI_TX_RINGS, true),
      rxRings: body.getUint16(rq.NI_RX_RINGS, true),
      memId: body.getUint16(rq.NI_MEM_ID, true),
    };
    const { sizes, region } = module.change(({ attachments }) => attachments.newIf(request));
    body.setUint32(rq.NI_TX_SLOTS, sizes.txSlots, true);
    body.setUint32(rq.NI_RX_SLOTS, sizes.rxSlots, true);
    body.setUint16(rq.NI_TX_RINGS, sizes.txRings, true);
    body.setUint16(rq.NI_RX_RINGS, sizes.rxRings, true);
    body.setUint16(rq.NI_MEM_ID, region.memId, true);
  },
  [rq.NETMAP_REQ_VALE_DELIF]({ module }, { name }) {
    module.change(({ attachments }, isOpen) => attachments.delIf(name, isOpen));
  },

  [rq.NETMAP_REQ_VALE_POLLING_ENABLE]: ({ module }, { name, body }) =>
    module.poll(name, {
      mode: body.getUint32(rq.VP_MODE, true),
      firstCpu: body.getUint32(rq.VP_FIRST_CPU, true),
      cpus: body.getUint32(rq.VP_CPUS, true),
    }),
  [rq.NETMAP_REQ_VALE_POLLING_DISABLE]: ({ module }, { name }) => module.unpoll(name),

  [rq.NETMAP_REQ_CSB_ENABLE](descriptor, request) {
    const csb = request.option(rq.NETMAP_REQ_OPT_CSB);
    if (!csb) throw new NetmapError('EINVAL', 'Cannot enable CSB: the request has no option that says where');
    consume(request, csb, () => enableCsb(descriptor, csb));
  },

  [rq.NETMAP_REQ_SYNC_KLOOP_START]: startLoop,
  [rq.NETMAP_REQ_SYNC_KLOOP_STOP]: (descriptor) => descriptor.stopLoop(),
};

/** Does what a request asks for; results are in its body and options afterwards. @throws NetmapError. */
export function control(descriptor: Descriptor, request: BinaryRequest): void | Promise<void> {
  const handler = HANDLERS[request.type];
  if (!handler)
    throw new NetmapError('EINVAL', `Cannot do request ${request.type}: there is none of that type`);
  return handler(descriptor, request);
}

/** The fields of a struct nmreq_register. */
export function readRegister(name: string, body: DataView): RegisterRequest {
  return {
    name,
    txSlots: body.getUint32(rq.RG_TX_SLOTS, true),
    rxSlots: body.getUint32(rq.RG_RX_SLOTS, true),
    txRings: body.getUint16(rq.RG_TX_RINGS, true),
    rxRings: body.getUint16(rq.RG_RX_RINGS, true),
    hostTxRings: body.getUint16(rq.RG_HOST_TX_RINGS, true),
    hostRxRings: body.getUint16(rq.RG_HOST_RX_RINGS, true),
    memId: body.getUint16(rq.RG_MEM_ID, true),
    ringId: body.getUint16(rq.RG_RINGID, true),
    mode: body.getUint32(rq.RG_MODE, true),
    extraBufs: body.getUint32(rq.RG_EXTRA_BUFS, true),
    flags: Number(body.getBigUint64(rq.RG_FLAGS, true) & 0xffffffffn),
  };
}

function writeRegister(body: DataView, reply: RegisterReply): void {
  body.setBigUint64(rq.RG_OFFSET, BigInt(reply.ifOfs), true);
  body.setBigUint64(rq.RG_MEMSIZE, BigInt(reply.memSize), true);
  body.setUint32(rq.RG_TX_SLOTS, reply.txSlots, true);
  body.setUint32(rq.RG_RX_SLOTS, reply.rxSlots, true);
  body.setUint16(rq.RG_TX_RINGS, reply.txRings, true);
  body.setUint16(rq.RG_RX_RINGS, reply.rxRings, true);
  body.setUint16(rq.RG_HOST_TX_RINGS, reply.hostTxRings, true);
  body.setUint16(rq.RG_HOST_RX_RINGS, reply.hostRxRings, true);
  body.setUint16(rq.RG_MEM_ID, reply.memId, true);
  body.setUint32(rq.RG_EXTRA_BUFS, reply.extraBufs, true);
  const flags = body.getBigUint64(rq.RG_FLAGS, true);
  if (flags & BigInt(abi.NR_ZCOPY_MON))
    body.setBigUint64(rq.RG_FLAGS, flags | BigInt(abi.NR_MONITOR_TX | abi.NR_MONITOR_RX), true);
}

/** Runs what an option asks for; its status tells how that went. */
function consume(request: BinaryRequest, option: Option, work: () => void): void {
  try {
    work();
    request.setStatus(option, 0);
  } catch (error) {
    request.setStatus(option, error instanceof NetmapError ? ERRNO[error.code] : ERRNO.EIO);
    throw error;
  }
}

/** Makes a region of the client's object; the sizes that hold are written back. */
function bringMemory(descriptor: Descriptor, { view }: Option): Region {
  const { registry } = descriptor.module;
  const info = new DataView(
    view.buffer,
    view.byteOffset + rq.EX_INFO,
    rq.BODY_SIZES[rq.NETMAP_REQ_POOLS_INFO_GET],
  );
  const pool = (at: number) => ({ count: info.getUint32(at + 8, true), size: info.getUint32(at + 12, true) });
  const layout = {
    memSize: Number(info.getBigUint64(rq.PO_MEMSIZE, true)),
    ifs: pool(rq.PO_IF),
    rings: pool(rq.PO_RING),
    bufs: pool(rq.PO_BUF),
  };
  const address = view.getBigUint64(rq.EX_USRPTR, true);
  const fd = Number(address >> 32n) - 1;
  if (fd < 0 || address & 0xffffffffn)
    throw new NetmapError(
      'EFAULT',
      'Cannot use memory of your own: the address is not the start of an object',
    );
  const defaults = registry.ports.parameters.pools('priv_');
  const region = takeMemory(registry.memory, descriptor.pid, { fd, ...layout }, defaults);
  for (const [at, { count, size }] of [
    [rq.PO_IF, region.geometry.ifs],
    [rq.PO_RING, region.geometry.rings],
    [rq.PO_BUF, region.geometry.bufs],
  ] as const) {
    if (info.getUint32(at + 8, true) === 0) info.setUint32(at + 8, count, true);
    if (info.getUint32(at + 12, true) === 0) info.setUint32(at + 12, size, true);
  }
  return region;
}

/** What is beyond any buffer is left for the checks to refuse. */
function readOffsets({ view }: Option): OffsetsRequest {
  const bytes = (at: number) => Number(view.getBigUint64(at, true));
  return {
    max: bytes(rq.OF_MAX),
    initial: bytes(rq.OF_INITIAL),
    bits: view.getUint32(rq.OF_BITS, true),
    gap: Math.min(bytes(rq.OF_MIN_GAP), 0xffffffff),
  };
}

function enableCsb(descriptor: Descriptor, { view }: Option): void {
  descriptor.enableCsb(view.getBigUint64(rq.CS_ATOK, true), view.getBigUint64(rq.CS_KTOA, true));
}

const LONGEST_SLEEP_US = 1_000_000;
const DIRECT = 3;

async function startLoop(descriptor: Descriptor, request: BinaryRequest): Promise<void> {
  const sleepUs = request.body.getUint32(0, true);
  const refuse = (why: string) => new NetmapError('EINVAL', `Cannot start a loop: ${why}`);
  if (sleepUs > LONGEST_SLEEP_US) throw refuse(`${sleepUs} µs of sleep are more than ${LONGEST_SLEEP_US}`);
  const modeOption = request.option(rq.NETMAP_REQ_OPT_SYNC_KLOOP_MODE);
  const mode = modeOption?.view.getUint32(rq.KM_MODE, true) ?? 0;
  const eventOption = request.option(rq.NETMAP_REQ_OPT_SYNC_KLOOP_EVENTFDS);
  if (modeOption) {
    consume(request, modeOption, () => {
      if (mode & ~DIRECT) throw refuse(`mode ${mode} has bits besides DIRECT_TX and DIRECT_RX`);
      if (mode !== 0 && !eventOption) throw refuse('direct modes need eventfds');
    });
  }
  const events: { kick: number; irq: number }[] = [];
  if (eventOption) consume(request, eventOption, () => takeEvents(descriptor, eventOption, mode, events));
  try {
    await descriptor.loop({ sleepUs, events });
  } finally {
    for (const fd of events.flatMap(({ kick, irq }) => [kick, irq])) if (fd >= 0) os.closeFd(fd);
  }
}

/** The client's event counters as our own; -1 for those it left out. */
function takeEvents(
  descriptor: Descriptor,
  { view }: Option,
  mode: number,
  events: { kick: number; irq: number }[],
): void {
  const entries = (view.byteLength - rq.OPTION_SIZE) / 8;
  if (entries !== descriptor.rings) {
    throw new NetmapError(
      'EINVAL',
      `Cannot start a loop: ${entries} pairs of eventfds for ${descriptor.rings} rings`,
    );
  }
  const take = (fd: number) => (fd < 0 ? -1 : os.takeDescriptor(descriptor.pid, fd));
  try {
    for (let i = 0; i < entries; i++) {
      const at = rq.OPTION_SIZE + 8 * i;
      const kick = view.getInt32(at, true);
      if (mode !== 0 && kick < 0)
        throw new NetmapError('EINVAL', 'Cannot start a loop: direct modes need every ioeventfd');
      events.push({ kick: take(kick), irq: -1 });
      events.at(-1)!.irq = take(view.getInt32(at + 4, true));
    }
  } catch (error) {
    for (const fd of events.splice(0).flatMap(({ kick, irq }) => [kick, irq])) if (fd >= 0) os.closeFd(fd);
    throw error;
  }
}
