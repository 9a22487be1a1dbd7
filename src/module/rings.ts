// Making rings: the part an application maps (netmap_ring, netmap_if) and the private part (kring).

import { NetmapError } from '../abi/errors.ts';
import * as abi from '../abi/netmap.ts';
import * as st from '../abi/state.ts';
import { ifSize, ringSize } from '../mem/geometry.ts';
import type { Memory, Region, State } from './memory.ts';

/** One ring of an adapter. */
export interface Ring {
  readonly kind: number;
  /** Index within its direction. */
  readonly index: number;
  readonly slots: number;
  /** netmap_ring, from the start of the region. */
  readonly ringOfs: number;
  /** kring, from the start of the state. */
  readonly kringOfs: number;
  /** Registrations that have bound it. */
  users: number;
  exclusive: boolean;
}

const TRANSMITTING: ReadonlySet<number> = new Set([
  st.KIND_VALE_TX,
  st.KIND_PIPE_TX,
  st.KIND_MONITOR_TX,
  st.KIND_NULL_TX,
  st.KIND_NIC_TX,
  st.KIND_HOST_TX,
]);

/** A ring of the host stack's side of an interface. */
export function isHost(ring: Ring): boolean {
  return ring.kind === st.KIND_HOST_TX || ring.kind === st.KIND_HOST_RX;
}

export function transmits(ring: Ring): boolean {
  return TRANSMITTING.has(ring.kind);
}

export interface RingPlan {
  kind: number;
  index: number;
  slots: number;
  kringOfs: number;
  port: number;
  /** Its buffers come later, with stockRing(). */
  empty?: boolean;
}

/**
 * Takes a ring object and, unless `shareBuffersOf` lends its own, buffers from the region, and writes both
 * halves of the ring as a fresh one looks (spec api §1.2): TX all free, RX empty.
 * @throws NetmapError ENOMEM, with nothing taken.
 */
export function createRing(
  memory: Memory,
  region: Region,
  state: State,
  plan: RingPlan,
  shareBuffersOf?: Ring,
): Ring {
  const { geometry } = region;
  if (ringSize(plan.slots) > geometry.rings.size) throw noRoom(region, `a ring of ${plan.slots} slots`);
  const object = region.rings.allocate();
  if (object < 0) throw noRoom(region, 'another ring');
  // A monitor cannot send: its TX ring has the reserved buffer in every slot.
  const own = plan.kind === st.KIND_MONITOR_TX || plan.empty ? 0 : plan.slots;
  const buffers = shareBuffersOf ? [] : takeBuffers(region, own);
  if (!shareBuffersOf && buffers.length < own) {
    region.rings.release(object);
    for (const buffer of buffers) region.bufs.release(buffer);
    throw noRoom(region, `${plan.slots} buffers`);
  }
  const ring: Ring = {
    kind: plan.kind,
    index: plan.index,
    slots: plan.slots,
    ringOfs: geometry.rings.ofs + object * geometry.rings.size,
    kringOfs: plan.kringOfs,
    users: 0,
    exclusive: false,
  };
  memory.withRegion(region, (base) => {
    const { view } = memory.arena;
    const lent = shareBuffersOf && readBuffers(view, base + shareBuffersOf.ringOfs, plan.slots);
    writeRing(view, base + ring.ringOfs, ring, region, lent ?? buffers);
  });
  writeKring(memory.arena.view, state.mapping.address + plan.kringOfs, ring, region, plan.port);
  return ring;
}

function takeBuffers(region: Region, count: number): number[] {
  const taken: number[] = [];
  while (taken.length < count) {
    const index = region.bufs.allocate();
    if (index < 0) break;
    taken.push(index);
  }
  return taken;
}

/** Gives a ring that was made empty its buffers, and has it look fresh. @throws NetmapError ENOMEM, with nothing taken. */
export function stockRing(memory: Memory, region: Region, state: State, ring: Ring, port: number): void {
  const buffers = takeBuffers(region, ring.slots);
  if (buffers.length < ring.slots) {
    for (const buffer of buffers) region.bufs.release(buffer);
    throw noRoom(region, `${ring.slots} buffers`);
  }
  memory.withRegion(region, (base) => {
    writeRing(memory.arena.view, base + ring.ringOfs, ring, region, buffers);
  });
  writeKring(memory.arena.view, state.mapping.address + ring.kringOfs, ring, region, port);
}

/** Takes its buffers from a NIC's ring again, those that the kernel had too. */
export function emptyRing(memory: Memory, region: Region, state: State, ring: Ring): void {
  const { view } = memory.arena;
  memory.withRegion(region, (base) => {
    const slots = base + ring.ringOfs + abi.RING_SLOTS;
    const notes = notesAt(view, state, ring);
    buffersOf(view, base, state, ring).forEach((index, i) => {
      region.bufs.release(index, abi.NM_RESERVED_BUFS);
      view.setUint32(slots + i * abi.SLOT_SIZE, 0, true);
      view.setUint32(notes + 4 * i, 0, true);
    });
  });
}

/** Gives a ring's object back, and those of its buffers that are (still) taken. */
export function destroyRing(memory: Memory, region: Region, ring: Ring): void {
  const { view } = memory.arena;
  memory.withRegion(region, (base) => {
    for (const index of readBuffers(view, base + ring.ringOfs, ring.slots))
      region.bufs.release(index, abi.NM_RESERVED_BUFS);
  });
  region.rings.release((ring.ringOfs - region.geometry.rings.ofs) / region.geometry.rings.size);
}

/** Marks what a ring that exists has taken: used when a module takes running ports over. */
export function claimRing(view: DataView, base: number, region: Region, ring: Ring): void {
  region.rings.take((ring.ringOfs - region.geometry.rings.ofs) / region.geometry.rings.size);
  for (const index of readBuffers(view, base + ring.ringOfs, ring.slots)) {
    if (index >= abi.NM_RESERVED_BUFS) region.bufs.take(index);
  }
}

/** Buffers of a NIC's ring, slot by slot; which one the kernel has of a slot is noted in private memory. */
export function buffersOf(view: DataView, base: number, state: State, ring: Ring): number[] {
  const notes = notesAt(view, state, ring);
  return readBuffers(view, base + ring.ringOfs, ring.slots).map(
    (index, i) => view.getUint32(notes + 4 * i, true) || index,
  );
}

function notesAt(view: DataView, state: State, ring: Ring): number {
  const { address } = state.mapping;
  return address + view.getUint32(address + ring.kringOfs + st.KR_READY_OFS, true);
}

function readBuffers(view: DataView, ringAt: number, slots: number): number[] {
  return Array.from({ length: slots }, (_, i) =>
    view.getUint32(ringAt + abi.RING_SLOTS + i * abi.SLOT_SIZE, true),
  );
}

function noRoom(region: Region, what: string): NetmapError {
  return new NetmapError(
    'ENOMEM',
    `Cannot place ${what} in memory region ${region.memId}: ${region.rings.free} ring objects of ${region.geometry.rings.size} bytes and ${region.bufs.free} buffers are free there`,
  );
}

function writeRing(view: DataView, at: number, ring: Ring, region: Region, buffers: readonly number[]): void {
  const { bufs } = region.geometry;
  new Uint8Array(view.buffer, at, ringSize(ring.slots)).fill(0);
  view.setBigInt64(at + abi.RING_BUF_OFS, BigInt(bufs.ofs - ring.ringOfs), true);
  view.setUint32(at + abi.RING_NUM_SLOTS, ring.slots, true);
  view.setUint32(at + abi.RING_BUF_SIZE, bufs.size, true);
  view.setUint16(at + abi.RING_RINGID, ring.index, true);
  view.setUint16(at + abi.RING_DIR, transmits(ring) ? abi.DIR_TX : abi.DIR_RX, true);
  view.setUint32(at + abi.RING_TAIL, transmits(ring) ? ring.slots - 1 : 0, true);
  for (let i = 0; i < ring.slots; i++) {
    const slot = at + abi.RING_SLOTS + i * abi.SLOT_SIZE;
    view.setUint32(slot + abi.SLOT_BUF_IDX, buffers[i] ?? 0, true);
    view.setUint16(slot + abi.SLOT_LEN, Math.min(bufs.size, 0xffff), true);
  }
}

function writeKring(view: DataView, at: number, ring: Ring, region: Region, port: number): void {
  const { bufs } = region.geometry;
  const readyOfs = view.getUint32(at + st.KR_READY_OFS, true);
  const ownersOfs = view.getUint32(at + st.KR_OWNERS_OFS, true);
  const peer = view.getUint32(at + st.KR_PEER, true);
  new Uint8Array(view.buffer, at, st.KR_SIZE).fill(0);
  const constants: [number, number][] = [
    [st.KR_KIND, ring.kind],
    [st.KR_NUM_SLOTS, ring.slots],
    [st.KR_RING_OFS, ring.ringOfs],
    [st.KR_BUF_OFS, bufs.ofs],
    [st.KR_BUF_SIZE, bufs.size],
    [st.KR_BUF_COUNT, bufs.count],
    [st.KR_REGION_SLOT, region.slot],
    [st.KR_PORT, port],
    [st.KR_RING_ID, ring.index],
    [st.KR_PEER, peer],
    [st.KR_READY_OFS, readyOfs],
    [st.KR_OWNERS_OFS, ownersOfs],
    // Krings lie at multiples of their size, so the place of each is a number of its own.
    [st.KR_ID, (ring.kringOfs - st.SW_HEAP) / st.KR_SIZE + 1],
  ];
  for (const [ofs, value] of constants) view.setUint32(at + ofs, value, true);
  if (transmits(ring)) {
    for (const ofs of [st.KR_HWTAIL, st.KR_RTAIL, st.KR_PTAIL])
      view.setUint32(at + ofs, ring.slots - 1, true);
  }
  view.setBigUint64(at + st.KR_LAST_SRC, 0xffffffffffffffffn, true);
}

/** What a registration's netmap_if says (spec api §1.3). */
export interface IfPlan {
  name: string;
  txRings: readonly Ring[];
  rxRings: readonly Ring[];
  /** Whether this registration has bound the ring; others show offset 0. */
  isBound(ring: Ring): boolean;
  extraBufs: number;
}

export interface RegistrationMemory {
  /** netmap_if, from the start of the region. */
  ifOfs: number;
  extraBufs: number;
}

/** Takes a netmap_if and up to the extra buffers asked for (spec api §1.6). @throws NetmapError ENOMEM. */
export function createIf(memory: Memory, region: Region, plan: IfPlan): RegistrationMemory {
  const { ifs, bufs } = region.geometry;
  const [tx, hostTx] = partByHost(plan.txRings);
  const [rx, hostRx] = partByHost(plan.rxRings);
  const needed = ifSize(tx.length, rx.length, hostTx.length, hostRx.length);
  if (needed > ifs.size)
    throw noRoom(region, `a netmap_if of ${needed} bytes (there, they have ${ifs.size})`);
  const object = region.ifs.allocate();
  if (object < 0) {
    throw new NetmapError(
      'ENOMEM',
      `Cannot open "${plan.name}" once more: all ${ifs.count} openings of memory region ${region.memId} are in use`,
    );
  }
  const ifOfs = ifs.ofs + object * ifs.size;
  const extra = takeBuffers(region, plan.extraBufs);
  memory.withRegion(region, (base) => {
    const { view } = memory.arena;
    const at = base + ifOfs;
    new Uint8Array(view.buffer, at, ifs.size).fill(0);
    const name = new TextEncoder().encode(plan.name).subarray(0, abi.IF_NAME_SIZE - 1);
    new Uint8Array(view.buffer, at + abi.IF_NAME, name.length).set(name);
    view.setUint32(at + abi.IF_FLAGS, abi.NI_PRIV_MEM, true);
    view.setUint32(at + abi.IF_TX_RINGS, tx.length, true);
    view.setUint32(at + abi.IF_RX_RINGS, rx.length, true);
    // At least one host ring each way is described, those of a port that has none as not bound.
    const [shownTx, shownRx] = [hostTx, hostRx].map((host) => (host.length > 0 ? host : [undefined])) as [
      (Ring | undefined)[],
      (Ring | undefined)[],
    ];
    view.setUint32(at + abi.IF_HOST_TX_RINGS, shownTx.length, true);
    view.setUint32(at + abi.IF_HOST_RX_RINGS, shownRx.length, true);
    const rings = [...tx, ...shownTx, ...rx, ...shownRx];
    rings.forEach((ring, i) => {
      const ofs = ring && plan.isBound(ring) ? ring.ringOfs - ifOfs : 0;
      view.setBigInt64(at + abi.IF_RING_OFS + 8 * i, BigInt(ofs), true);
    });
    let next = 0;
    for (const index of extra) {
      view.setUint32(base + bufs.ofs + index * bufs.size, next, true);
      next = index;
    }
    view.setUint32(at + abi.IF_BUFS_HEAD, next, true);
  });
  return { ifOfs, extraBufs: extra.length };
}

function partByHost(rings: readonly Ring[]): [Ring[], Ring[]] {
  return [rings.filter((ring) => !isHost(ring)), rings.filter(isHost)];
}

/** Gives a netmap_if back, with the extra buffers that the application has left in its list. */
export function destroyIf(memory: Memory, region: Region, ifOfs: number): void {
  const { ifs, bufs } = region.geometry;
  memory.withRegion(region, (base) => {
    const { view } = memory.arena;
    let index = view.getUint32(base + ifOfs + abi.IF_BUFS_HEAD, true);
    while (region.bufs.release(index, abi.NM_RESERVED_BUFS))
      index = view.getUint32(base + bufs.ofs + index * bufs.size, true);
  });
  region.ifs.release((ifOfs - ifs.ofs) / ifs.size);
}

/** Marks what a registration that exists has taken. */
export function claimIf(view: DataView, base: number, region: Region, ifOfs: number): void {
  const { ifs, bufs } = region.geometry;
  region.ifs.take((ifOfs - ifs.ofs) / ifs.size);
  let index = view.getUint32(base + ifOfs + abi.IF_BUFS_HEAD, true);
  while (index >= abi.NM_RESERVED_BUFS && region.bufs.take(index)) {
    index = view.getUint32(base + bufs.ofs + index * bufs.size, true);
  }
}
