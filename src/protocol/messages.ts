// What goes over the control socket: one JSON object a line, `{id, op, ...}` answered by `{id, ok}` or
// `{id, error}`.  Both sides check every message against these schemas before they look at it.

import * as v from 'valibot';
import { ERRNO, type ErrnoName } from '../abi/errors.ts';

/** Longest request, in characters; answers may be as long as a list of every port needs. */
export const MAX_REQUEST = 65536;
export const MAX_REPLY = 64 << 20;

const u16 = v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(0xffff));
const u32 = v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(0xffffffff));
const i32 = v.pipe(v.number(), v.integer(), v.minValue(-0x80000000), v.maxValue(0x7fffffff));
const id = v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(Number.MAX_SAFE_INTEGER));
const pid = v.pipe(u32, v.minValue(1));
const text = v.pipe(v.string(), v.maxLength(255));
const name = v.pipe(v.string(), v.maxLength(63, 'is longer than 63 characters'));

const label = v.pipe(v.string(), v.maxLength(63, 'is longer than 63 characters'));

const sizes = { txRings: u16, rxRings: u16, txSlots: u32, rxSlots: u32 };

/** Packets start behind their buffers' beginnings (option OFFSETS, spec api §3.6.5). */
const offsets = v.object({
  /** The farthest, and the one that all slots say at first. */
  max: u32,
  initial: u32,
  /** Of each slot's `ptr`, from the lowest on; 0: all. */
  bits: u32,
  /** Most bytes of a packet in one buffer; 0: as many as fit. */
  gap: u32,
});
export type OffsetsRequest = v.InferOutput<typeof offsets>;

const objects = v.object({ count: u32, size: u32 });

/** Memory that the client brings: an object that it holds, and its pools, 0 for what is the module's to choose. */
const extmem = v.object({ fd: u32, memSize: id, ifs: objects, rings: objects, bufs: objects });
export type ExtmemRequest = v.InferOutput<typeof extmem>;

/** Fields of a REGISTER request (spec api §3.5.1); 0 leaves a size to the module. */
const register = v.object({
  name,
  mode: u32,
  ringId: u16,
  flags: u32,
  memId: u16,
  ...sizes,
  /** Of an interface that nobody has open. */
  hostTxRings: v.optional(u16),
  hostRxRings: v.optional(u16),
  extraBufs: u32,
  offsets: v.optional(offsets),
  extmem: v.optional(extmem),
});
export type RegisterRequest = v.InferOutput<typeof register>;

export const requestSchema = v.variant('op', [
  v.object({
    id,
    op: v.literal('hello'),
    pid,
    startTime: text,
    token: v.optional(u32),
    pass: v.optional(text),
    /** Maps nothing but its own regions; the module runs its syncs. */
    isolated: v.optional(v.boolean()),
  }),
  v.object({ id, op: v.literal('register'), ...register.entries }),
  v.object({ id, op: v.literal('registerIsolated'), ...register.entries }),
  v.object({ id, op: v.literal('collect'), ticket: text }),
  v.object({ id, op: v.literal('release'), registration: id }),
  v.object({ id, op: v.literal('portInfo'), ...register.entries }),
  v.object({ id, op: v.literal('valeAttach'), name, mode: u32, ringId: u16, memId: u16 }),
  v.object({ id, op: v.literal('valeDetach'), name }),
  v.object({ id, op: v.literal('valeList'), name, bridge: u16, port: u32 }),
  v.object({ id, op: v.literal('valeNewIf'), name, ...sizes, memId: u16 }),
  v.object({ id, op: v.literal('valeDelIf'), name }),
  v.object({
    id,
    op: v.literal('valePolling'),
    name,
    enable: v.boolean(),
    mode: u32,
    firstCpu: u32,
    cpus: u32,
  }),
  v.object({ id, op: v.literal('portHeaderSet'), name, length: u32 }),
  v.object({ id, op: v.literal('portHeaderGet'), name }),
  v.object({ id, op: v.literal('portLimitSet'), name, longest: u32 }),
  v.object({ id, op: v.literal('portLimitGet'), name }),
  v.object({ id, op: v.literal('poolsInfo'), ...register.entries }),
  v.object({ id, op: v.literal('valeAddresses'), name }),
  v.object({
    id,
    op: v.literal('valeLookupSet'),
    name,
    label,
    code: v.object({ fd: u32, size: u32, configSize: u32 }),
  }),
  v.object({ id, op: v.literal('valeLookupOpen'), name, label }),
  v.object({ id, op: v.literal('valeLookupClear'), name }),
  v.object({ id, op: v.literal('valeLookupGet'), name }),
  v.object({ id, op: v.literal('valeHost'), name }),
  v.object({ id, op: v.literal('interfaces') }),
  v.object({ id, op: v.literal('installInterface'), name, group: v.optional(text) }),
  v.object({ id, op: v.literal('uninstallInterface'), name }),
  v.object({ id, op: v.literal('status') }),
  v.object({ id, op: v.literal('counterPlaces') }),
  v.object({ id, op: v.literal('unload'), force: v.boolean() }),
  v.object({ id, op: v.literal('setParameter'), parameter: text, value: i32 }),
  v.object({ id, op: v.literal('parameters') }),
]);
export type Request = v.InferOutput<typeof requestSchema>;
export type Operation = Request['op'];

const objectRef = v.object({ pid, fd: u32, ino: u32, size: id });
const pool = v.object({ ofs: u32, count: u32, size: u32 });
const ring = v.object({ index: u16, kringOfs: u32, ringOfs: u32 });

/** How a NIC's frames are taken. */
const nicModes = ['native', 'generic', 'emulated'] as const;

const queue = v.object({
  index: u32,
  slot: u32,
  fd: u32,
  size: u32,
  parts: v.array(v.object({ at: u32, size: u32, pageOffset: id })),
  /** Of a queue that a process serves: rung to tell it that there is something for it. */
  bell: v.optional(u32),
});

/** Isolated clients are told of no memory but their own. */
const hello = v.object({ token: u32, pid, version: text, system: v.optional(objectRef) });
export type HelloReply = v.InferOutput<typeof hello>;

const portInfo = v.object({
  memSize: id,
  memId: u16,
  txRings: u32,
  rxRings: u32,
  /** None, but for interfaces. */
  hostTxRings: u32,
  hostRxRings: u32,
  txSlots: u32,
  rxSlots: u32,
});
export type PortInfo = v.InferOutput<typeof portInfo>;

const registered = v.object({
  registration: id,
  /** What the module knows the port by. */
  adapter: v.string(),
  kind: v.picklist(['vale', 'pipe', 'monitor', 'null', 'lookup', 'nic']),
  ...portInfo.entries,
  extraBufs: u32,
  /** The farthest offset, where offsets were asked for. */
  maxOffset: v.optional(u32),
  /** nr_offset: this registration's netmap_if, from the start of the region. */
  ifOfs: u32,
  region: v.object({ slot: u32, ref: objectRef, ifs: pool, rings: pool, bufs: pool }),
  state: v.object({ slot: u32, ref: objectRef }),
  /** The rings bound by this registration. */
  tx: v.array(ring),
  rx: v.array(ring),
  /** Of a NIC: the queues behind its rings, by the rings' index; descriptors are the module's. */
  queues: v.array(queue),
  /** Further descriptors of the module's, copies of which keep the NIC as it is should the module die. */
  held: v.array(u32),
  /** Of a NIC: how its frames are taken, and why not better. */
  nic: v.optional(v.object({ mode: v.picklist(nicModes), why: v.string() })),
});
export type RegisterReply = v.InferOutput<typeof registered>;

const isolatedRing = v.object({ index: u16, ringOfs: u32 });

/** A registration whose syncs the module runs: its memory is handed over against the ticket. */
const registeredIsolated = v.object({
  registration: id,
  adapter: v.string(),
  kind: registered.entries.kind,
  ...portInfo.entries,
  extraBufs: u32,
  maxOffset: v.optional(u32),
  ifOfs: u32,
  region: v.object({ ifs: pool, rings: pool, bufs: pool }),
  tx: v.array(isolatedRing),
  rx: v.array(isolatedRing),
  nic: registered.entries.nic,
  ticket: text,
});

/** A place on a switch: VALE_LIST's bridge and port index. */
const listed = v.object({ name: v.string(), bridge: u16, port: u32 });
export type ListedPort = v.InferOutput<typeof listed>;

const status = v.object({
  pid,
  version: text,
  directory: v.string(),
  clients: v.array(v.object({ token: u32, pid, connected: v.boolean() })),
  ports: v.array(
    v.object({
      name: v.string(),
      kind: text,
      memId: u16,
      memSize: id,
      opens: u32,
      rings: v.array(
        v.object({
          ring: text,
          slots: u32,
          packets: id,
          bytes: id,
          drops: v.record(v.string(), id),
        }),
      ),
    }),
  ),
});
export type Status = v.InferOutput<typeof status>;

const surveyed = v.object({
  index: u32,
  name: v.string(),
  mac: text,
  mtu: u32,
  up: v.boolean(),
  running: v.boolean(),
  txQueues: u32,
  rxQueues: u32,
  driver: text,
  bestMode: v.picklist([...nicModes, 'none']),
  obstacles: v.array(v.object({ cause: v.string(), remedy: v.string() })),
  /** Group whose users may open it, besides the module's own user. */
  installedFor: v.optional(v.string()),
});
export type InterfaceInfo = v.InferOutput<typeof surveyed>;

/** Schema of each operation's answer. */
export const replySchemas = {
  hello,
  register: registered,
  registerIsolated: registeredIsolated,
  collect: v.object({}),
  release: v.object({}),
  portInfo,
  valeAttach: v.object({ port: u32 }),
  valeHost: v.object({ port: u32 }),
  valeDetach: v.object({ port: u32 }),
  valeList: listed,
  valeNewIf: v.object({ ...sizes, memId: u16 }),
  valeDelIf: v.object({}),
  valePolling: v.object({}),
  portHeaderSet: v.object({}),
  portHeaderGet: v.object({ length: u32 }),
  portLimitSet: v.object({}),
  portLimitGet: v.object({ longest: u32 }),
  poolsInfo: v.object({ memSize: id, memId: u16, ifs: pool, rings: pool, bufs: pool }),
  valeAddresses: v.array(v.object({ mac: text, port: v.string(), age: u32 })),
  valeLookupSet: v.object({}),
  valeLookupOpen: registered,
  valeLookupClear: v.object({}),
  valeLookupGet: v.object({ kind: v.picklist(['table', 'wasm', 'batch']), label: text, alive: v.boolean() }),
  interfaces: v.array(surveyed),
  installInterface: v.object({}),
  uninstallInterface: v.object({}),
  status,
  /** Where counters lie: krings, by the states that they are in. */
  counterPlaces: v.object({
    states: v.array(objectRef),
    ports: v.array(
      v.object({
        name: v.string(),
        kind: text,
        rings: v.array(v.object({ ring: text, state: u32, kringOfs: u32 })),
      }),
    ),
  }),
  unload: v.object({}),
  setParameter: v.object({}),
  parameters: v.array(
    v.object({ name: text, value: i32, min: i32, max: i32, writable: v.boolean(), meaning: v.string() }),
  ),
} as const satisfies Record<Operation, v.GenericSchema>;
export type Reply<O extends Operation> = v.InferOutput<(typeof replySchemas)[O]>;

const errno = v.picklist(Object.keys(ERRNO) as [ErrnoName, ...ErrnoName[]]);
export const envelopeSchema = v.union([
  v.object({ id, ok: v.unknown() }),
  v.object({ id, error: v.object({ code: errno, message: v.string() }) }),
]);

/** What is wrong with a message, in a few words. */
export function describeIssues(issues: readonly v.BaseIssue<unknown>[]): string {
  const first = issues[0]!;
  const path = v.getDotPath(first);
  return path === null ? first.message : `"${path}": ${first.message}`;
}
