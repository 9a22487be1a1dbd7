import { NetmapError } from '../abi/errors.ts';
import { IF_RING_OFS, NM_BUF_ALIGN, RING_SLOTS, SLOT_SIZE } from '../abi/netmap.ts';

// A region is three pools of equal objects, one after the other (spec api §1.4):
//
//   | netmap_if objects | netmap_ring objects | packet buffers |

const PAGE = 4096;
const MAX_CLUSTER = 4 << 20;

export interface PoolGeometry {
  /** Bytes from the start of the region. */
  ofs: number;
  /** Objects. */
  count: number;
  /** Bytes per object. */
  size: number;
}

export interface Geometry {
  ifs: PoolGeometry;
  rings: PoolGeometry;
  bufs: PoolGeometry;
  /** Bytes of the whole region. */
  size: number;
}

export interface PoolRequest {
  count: number;
  size: number;
}

interface Limits {
  what: string;
  size: readonly [number, number];
  count: readonly [number, number];
}

const LIMITS: Readonly<Record<'ifs' | 'rings' | 'bufs', Limits>> = {
  ifs: { what: 'netmap_if', size: [IF_RING_OFS, 8192], count: [1, 10000] },
  rings: { what: 'netmap_ring', size: [RING_SLOTS, 131072], count: [1, 65536] },
  bufs: { what: 'buffer', size: [64, 65536], count: [4, 1_000_000] },
};

/**
 * Lays out a region for at least the objects asked for: sizes are rounded up to 64 bytes, counts to what fills
 * whole pages.
 * @throws NetmapError EINVAL outside the limits of spec api §1.4.
 */
export function layOut(request: Readonly<Record<'ifs' | 'rings' | 'bufs', PoolRequest>>): Geometry {
  const ifs = pool(0, request.ifs, LIMITS.ifs);
  const rings = pool(end(ifs), request.rings, LIMITS.rings);
  const bufs = pool(end(rings), request.bufs, LIMITS.bufs);
  return { ifs, rings, bufs, size: Math.ceil(end(bufs) / PAGE) * PAGE };
}

/** Bytes of a ring object with `slots` slots. */
export function ringSize(slots: number): number {
  return RING_SLOTS + SLOT_SIZE * slots;
}

/** Bytes of a netmap_if for so many rings; at least one host ring each way is counted (spec api §1.3). */
export function ifSize(txRings: number, rxRings: number, hostTxRings = 0, hostRxRings = 0): number {
  return IF_RING_OFS + 8 * (txRings + Math.max(hostTxRings, 1) + rxRings + Math.max(hostRxRings, 1));
}

function end(pool: PoolGeometry): number {
  return pool.ofs + pool.count * pool.size;
}

function pool(ofs: number, { count, size }: PoolRequest, limits: Limits): PoolGeometry {
  within(limits.what, 'size', size, limits.size);
  within(limits.what, 'number', count, limits.count);
  const objectSize = Math.ceil(size / NM_BUF_ALIGN) * NM_BUF_ALIGN;
  let cluster = 1;
  while ((cluster * objectSize) % PAGE !== 0) cluster++;
  if (cluster * objectSize > MAX_CLUSTER) {
    throw new NetmapError(
      'EINVAL',
      `Cannot lay out ${limits.what} objects of ${size} bytes: no whole number of them fills 4 MiB or less`,
    );
  }
  return { ofs, size: objectSize, count: Math.ceil(count / cluster) * cluster };
}

function within(what: string, which: string, value: number, [min, max]: readonly [number, number]): void {
  if (Number.isInteger(value) && value >= min && value <= max) return;
  throw new NetmapError(
    'EINVAL',
    `Cannot lay out a region: ${which} of ${what} objects is ${value}, allowed are ${min} to ${max}`,
  );
}
