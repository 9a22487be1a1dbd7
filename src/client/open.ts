import { NetmapError } from '../abi/errors.ts';
import { NM_MAX_EXTRA_BUFS, NR_REG_ALL_NIC } from '../abi/netmap.ts';
import { isForeign, runtimeDirectory } from '../protocol/directory.ts';
import type { RegisterRequest } from '../protocol/messages.ts';
import { collect } from './isolated.ts';
import { withMemory } from './memory.ts';
import { Port } from './port.ts';
import { type PortName, type PortWishes, parsePortName } from './port-name.ts';
import { type Runtime, runtimeFor } from './runtime.ts';

/** Where in their buffers packets start (option OFFSETS, spec api §3.6.5). */
export interface Offsets {
  /** The farthest offset that slots will say. */
  max: number;
  /** What all slots say at first; 0 unless given. */
  initial?: number;
  /** Lowest bits of each slot's `ptr` that hold it; all unless given. */
  bits?: number;
  /** Most bytes of a packet in one buffer; as many as fit unless given. */
  gap?: number;
}

/** What a port's name does not say.  Sizes left out are the module's to choose; see spec api §3.5.1. */
export interface OpenOptions extends PortWishes {
  /** Instead of what `@offset` says. */
  offsets?: Offsets;
  /** Rings each way, 1 to 16 (pipes: 256); beyond is cut off. */
  txRings?: number;
  rxRings?: number;
  /** Of the host stack, each way, 1 to 16; only who opens an interface first is asked. */
  hostTxRings?: number;
  hostRxRings?: number;
  /** Slots per ring, 1 to 4096; beyond is cut off. */
  txSlots?: number;
  rxSlots?: number;
  /** Buffers that belong to no ring, 0 to 524288. */
  extraBufs?: number;
  /** Further NR_* register flags. */
  flags?: number;
  /** Instead of the mode and ring that the name asks for. */
  mode?: number;
  ringId?: number;
  /**
   * Maps nothing but the port's own region; a thread of the module runs the syncs.  Default: NETMAP_ISOLATED=1, and
   * always where the module is another user's.
   */
  isolated?: boolean;
  /** Runtime directory of the module, instead of NETMAP_DIR or the default. */
  directory?: string;
}

/**
 * Opens a port: `vale0:a`, `vale0:a{1`, `netmap:x}1/x`, ... (spec api §4).  Starts a module if none is loaded,
 * unless NETMAP_AUTOLOAD=0.
 * @throws NetmapError with the errno that netmap's manual promises: EINVAL for a name that cannot be, EBUSY,
 *   ENXIO, ENOMEM, ...
 */
export async function open(name: string, options: OpenOptions = {}): Promise<Port> {
  const parsed = parsePortName(name, options);
  const request = registerRequest(parsed, options);
  const directory = options.directory ?? runtimeDirectory();
  const isolated = options.isolated ?? isIsolated(directory);
  const { extmem, share } = parsed.options;
  for (const other of share) request.memId = await sharedMemory(parsed.name, request.memId, other, options);
  const register = async (wanted: RegisterRequest) =>
    isolated
      ? openIsolated(name, wanted, directory)
      : registerDirectly(await runtimeFor(`open "${name}"`, directory), wanted);
  if (!extmem) return register(request);
  return withMemory(parsed.name, extmem, (brought) => register({ ...request, extmem: brought }));
}

/** The region of another port, for `@share`. @throws NetmapError EINVAL: it is not the one that was asked for before. */
async function sharedMemory(name: string, memId: number, other: string, options: OpenOptions) {
  const where: OpenOptions = {
    ...(options.directory !== undefined && { directory: options.directory }),
    ...(options.isolated !== undefined && { isolated: options.isolated }),
  };
  const { memId: shared } = await portInfo(/^vale\w*:/.test(other) ? other : `netmap:${other}`, where);
  if (memId === 0 || memId === shared) return shared;
  throw new NetmapError(
    'EINVAL',
    `Cannot open "${name}" in the memory of "${other}": cannot set mem_id to ${shared}, already set to ${memId}`,
  );
}

/** Asked for by the environment, or the only way: the module is another user's. */
function isIsolated(directory: string): boolean {
  return process.env['NETMAP_ISOLATED'] === '1' || isForeign(directory);
}

async function openIsolated(name: string, request: RegisterRequest, directory: string): Promise<Port> {
  const ask = async () => {
    const runtime = await runtimeFor(`open "${name}"`, directory, { isolated: true });
    return { runtime, shown: await runtime.connection!.request('registerIsolated', request) };
  };
  const { runtime, shown } = await ask().catch((error) => {
    if (error.code !== 'EPIPE') throw error;
    return ask(); // The module known so far has died: the next one knows nothing of this request.
  });
  const connection = runtime.connection!;
  try {
    const { reply, region, page, fds, syncs } = collect(runtime.arena, directory, shown);
    return new Port(runtime, request.name, reply, region, page, fds, { isolated: syncs });
  } catch (error) {
    await connection.request('release', { registration: shown.registration });
    throw error;
  }
}

/** What a thread of the module opens: rings of an adapter, by the name that the module knows it by. */
export type InternalRequest = Pick<RegisterRequest, 'name'> &
  Partial<Pick<RegisterRequest, 'mode' | 'ringId' | 'flags'>>;

/**
 * Opens a port for a thread of the module itself, which may open what nobody else may.
 * @param pass  what the module gave it to be known by
 */
export async function openInternal(
  { name, mode = NR_REG_ALL_NIC, ringId = 0, flags = 0 }: InternalRequest,
  directory: string,
  pass: string,
): Promise<Port> {
  const sizes = { memId: 0, txRings: 0, rxRings: 0, txSlots: 0, rxSlots: 0, extraBufs: 0 };
  const runtime = await runtimeFor(`open "${name}"`, directory, { pass });
  return registerDirectly(runtime, { name, mode, ringId, flags, ...sizes });
}

async function registerDirectly(runtime: Runtime, request: RegisterRequest): Promise<Port> {
  const reply = await runtime.connection!.request('register', request);
  try {
    return Port.map(runtime, request.name, reply);
  } catch (error) {
    await runtime.connection!.request('release', { registration: reply.registration });
    throw error;
  }
}

/** A port's sizes, without opening it (PORT_INFO_GET, spec api §3.5.2); a port that is not there leaves no trace. */
export async function portInfo(name: string, options: OpenOptions = {}) {
  const directory = options.directory ?? runtimeDirectory();
  const who = (options.isolated ?? isIsolated(directory)) ? { isolated: true } : {};
  const runtime = await runtimeFor(`ask about "${name}"`, directory, who);
  return runtime.connection!.request('portInfo', registerRequest(parsePortName(name, options), options));
}

/** Where the pools of a port's region lie (POOLS_INFO_GET, spec api §3.5.3); a port that is not there leaves no trace. */
export async function poolsInfo(name: string, options: OpenOptions = {}) {
  const runtime = await runtimeFor(`ask about "${name}"`, options.directory ?? runtimeDirectory());
  return runtime.connection!.request('poolsInfo', registerRequest(parsePortName(name, options), options));
}

/** The module's parameters, with what is allowed and what they mean (spec api §5). */
export async function parameters(directory = runtimeDirectory()) {
  const runtime = await runtimeFor('list parameters', directory);
  return runtime.connection!.request('parameters', {});
}

/** Sets a parameter of the module. @throws NetmapError ENOENT, EACCES, EINVAL. */
export async function setParameter(
  parameter: string,
  value: number,
  directory = runtimeDirectory(),
): Promise<void> {
  const runtime = await runtimeFor(`set "${parameter}"`, directory);
  await runtime.connection!.request('setParameter', { parameter, value });
}

function registerRequest(parsed: PortName, options: OpenOptions): RegisterRequest {
  const { conf, offset } = parsed.options;
  const offsets = options.offsets ?? (offset && { max: offset.initial, ...offset });
  const extraBufs = options.extraBufs ?? 0;
  if (!Number.isInteger(extraBufs) || extraBufs < 0 || extraBufs > NM_MAX_EXTRA_BUFS) {
    throw new NetmapError(
      'EINVAL',
      `Cannot open "${parsed.name}" with ${extraBufs} extra buffers: 0 to ${NM_MAX_EXTRA_BUFS} are allowed`,
    );
  }
  return {
    name: parsed.name,
    mode: options.mode ?? parsed.mode,
    ringId: options.ringId ?? parsed.ringId,
    flags: parsed.flags | (options.flags ?? 0),
    memId: parsed.memId,
    txRings: options.txRings ?? conf.txRings,
    rxRings: options.rxRings ?? conf.rxRings,
    hostTxRings: options.hostTxRings ?? conf.hostTxRings,
    hostRxRings: options.hostRxRings ?? conf.hostRxRings,
    txSlots: options.txSlots ?? conf.txSlots,
    rxSlots: options.rxSlots ?? conf.rxSlots,
    extraBufs,
    ...(offsets && { offsets: { initial: 0, bits: 0, gap: 0, ...offsets } }),
  };
}
