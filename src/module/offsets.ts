// Option OFFSETS (spec api §3.6.5): part of each slot's `ptr` says where in its buffer the packet starts.

import { NetmapError } from '../abi/errors.ts';
import * as abi from '../abi/netmap.ts';
import * as st from '../abi/state.ts';
import type { OffsetsRequest } from '../protocol/messages.ts';
import type { Adapter, Registration } from './adapter.ts';
import type { Memory } from './memory.ts';
import type { Ring } from './rings.ts';

const ALL_BITS = 64;

/**
 * Gives the rings of a registration offsets; those that have them already must have room for what is asked.
 * All or none of them.
 * @returns the farthest offset that holds for all of them
 * @throws NetmapError EOPNOTSUPP: no port of this kind has them; EINVAL: offsets that cannot be; EBUSY: the rings
 *   have others.
 */
export function setOffsets(memory: Memory, registration: Registration, wanted: OffsetsRequest): number {
  const { adapter } = registration;
  checkKind(adapter);
  const mask = maskOf(adapter, wanted);
  const { view } = memory.arena;
  const rings = [...registration.tx, ...registration.rx];
  const kringOf = (ring: Ring) => adapter.state.mapping.address + ring.kringOfs;
  for (const ring of rings) {
    const present = view.getBigUint64(kringOf(ring) + st.KR_OFFSET_MASK, true);
    const most = view.getUint32(kringOf(ring) + st.KR_OFFSET_MAX, true);
    if (present === 0n || ((present & mask) === mask && most >= wanted.max)) continue;
    throw new NetmapError(
      'EBUSY',
      `Cannot open "${adapter.name}" with offsets up to ${wanted.max}: somebody has it open with offsets up to ${most}`,
    );
  }
  let most = wanted.max;
  memory.withRegion(adapter.region, (base) => {
    rings.forEach((ring, i) => {
      const kring = kringOf(ring);
      if (view.getBigUint64(kring + st.KR_OFFSET_MASK, true) === 0n) {
        view.setUint32(kring + st.KR_OFFSET_MAX, wanted.max, true);
        view.setUint32(kring + st.KR_OFFSET_GAP, wanted.gap, true);
        view.setBigUint64(kring + st.KR_OFFSET_MASK, mask, true);
        view.setBigUint64(base + ring.ringOfs + abi.RING_OFFSET_MASK, mask, true);
        view.setBigUint64(base + ring.ringOfs + abi.RING_BUF_ALIGN, 0n, true);
      }
      const holds = view.getUint32(kring + st.KR_OFFSET_MAX, true);
      most = i === 0 ? holds : Math.min(most, holds);
      if (wanted.initial !== 0 && ring.users === 1)
        writeInitial(view, base + ring.ringOfs, ring, wanted.initial);
    });
  });
  return most;
}

/** What nobody has open any more has no offsets. */
export function clearOffsets(memory: Memory, adapter: Adapter, ring: Ring): void {
  const { view } = memory.arena;
  const kring = adapter.state.mapping.address + ring.kringOfs;
  if (view.getBigUint64(kring + st.KR_OFFSET_MASK, true) === 0n) return;
  view.setBigUint64(kring + st.KR_OFFSET_MASK, 0n, true);
  view.setUint32(kring + st.KR_OFFSET_MAX, 0, true);
  view.setUint32(kring + st.KR_OFFSET_GAP, 0, true);
  memory.withRegion(adapter.region, (base) => {
    view.setBigUint64(base + ring.ringOfs + abi.RING_OFFSET_MASK, 0n, true);
    writeInitial(view, base + ring.ringOfs, ring, 0);
  });
}

function writeInitial(view: DataView, ringAt: number, ring: Ring, offset: number): void {
  for (let i = 0; i < ring.slots; i++)
    view.setBigUint64(ringAt + abi.RING_SLOTS + i * abi.SLOT_SIZE + abi.SLOT_PTR, BigInt(offset), true);
}

function checkKind(adapter: Adapter): void {
  const zeroCopy = adapter.kind === 'monitor' && adapter.zeroCopy;
  if (!zeroCopy && ['vale', 'pipe', 'monitor', 'null'].includes(adapter.kind)) return;
  const what = zeroCopy ? 'a zero-copy monitor' : adapter.kind === 'nic' ? 'a network interface' : 'a lookup';
  throw new NetmapError(
    'EOPNOTSUPP',
    `Cannot open "${adapter.name}" with offsets: ${what} has none; ports of switches, pipes and copy monitors do`,
  );
}

function maskOf(adapter: Adapter, { max, initial, bits }: OffsetsRequest): bigint {
  const bufSize = adapter.region.geometry.bufs.size;
  const refuse = (why: string) =>
    new NetmapError('EINVAL', `Cannot open "${adapter.name}" with offsets up to ${max}: ${why}`);
  if (bits > ALL_BITS) throw refuse(`${bits} bits are more than ${ALL_BITS}`);
  if (max > bufSize) throw refuse(`buffers have ${bufSize} bytes`);
  const mask = (1n << BigInt(bits || ALL_BITS)) - 1n;
  if (BigInt(max) > mask) throw refuse(`they do not fit into ${bits} bits`);
  if (initial > max) throw refuse(`the first, ${initial}, is beyond`);
  return mask;
}
