// Memory that a client brings (EXTMEM, spec api §3.6.1): an object of its own becomes a region.

import { NetmapError } from '../abi/errors.ts';
import { NM_BUF_ALIGN } from '../abi/netmap.ts';
import type { Geometry, PoolGeometry, PoolRequest } from '../mem/geometry.ts';
import { type MemoryObject, os } from '../os/index.ts';
import type { Memory, Region } from './memory.ts';

const PAGE = 4096;

/** Sizes that a client asks for; zeros leave them to the module. */
export interface ExternalLayout {
  memSize: number;
  ifs: PoolRequest;
  rings: PoolRequest;
  bufs: PoolRequest;
}

/**
 * The region in an object: the one that is there already if somebody brought the same object before, else a new
 * one.  It goes with its last user.
 * @param defaults  for what the layout leaves open
 * @throws NetmapError EINVAL: sizes that cannot be; ENOMEM: the pools do not fit.
 */
export function externalRegion(
  memory: Memory,
  object: MemoryObject,
  layout: ExternalLayout,
  defaults: Record<'ifs' | 'rings' | 'bufs', PoolRequest>,
): Region {
  const known = memory.regionIn(object.ino);
  if (known) {
    os.closeFd(object.fd);
    return known;
  }
  const pools = (['ifs', 'rings', 'bufs'] as const).map((kind) => ({
    count: layout[kind].count || defaults[kind].count,
    size: layout[kind].size || defaults[kind].size,
  }));
  const geometry = place(pools as [PoolRequest, PoolRequest, PoolRequest], layout.memSize, object.size);
  return memory.addRegion({ pid: process.pid, ...object }, geometry);
}

/** The same for an object that another process holds. @throws NetmapError EFAULT: it is none, or not sealed. */
export function takeMemory(
  memory: Memory,
  pid: number,
  { fd, ...layout }: ExternalLayout & { fd: number },
  defaults: Record<'ifs' | 'rings' | 'bufs', PoolRequest>,
): Region {
  const object = os.takeObject(pid, fd);
  try {
    return externalRegion(memory, object, layout, defaults);
  } catch (error) {
    os.closeFd(object.fd);
    throw error;
  }
}

/** Pools one behind the other, each from a page on; what is left over becomes buffers, what has no room is left out. */
function place(
  [ifs, rings, bufs]: [PoolRequest, PoolRequest, PoolRequest],
  memSize: number,
  objectSize: number,
): Geometry {
  for (const { count, size } of [ifs, rings, bufs]) {
    if (count > 0 && size >= NM_BUF_ALIGN && size % NM_BUF_ALIGN === 0) continue;
    throw new NetmapError(
      'EINVAL',
      `Cannot use memory of your own with ${count} objects of ${size} bytes: sizes are multiples of ${NM_BUF_ALIGN}`,
    );
  }
  const wanted = [ifs, rings, bufs].reduce((sum, { count, size }) => sum + count * size, 0);
  if (wanted > memSize || memSize > objectSize) {
    throw new NetmapError(
      'ENOMEM',
      `Cannot use memory of your own: pools of ${wanted} bytes, ${memSize} bytes said, ${objectSize} bytes there`,
    );
  }
  const pages = (bytes: number) => Math.ceil(bytes / PAGE) * PAGE;
  const pool = (ofs: number, { count, size }: PoolRequest): PoolGeometry => ({
    ofs,
    size,
    count: Math.max(0, Math.min(count, Math.floor((memSize - ofs) / size))),
  });
  const first = pool(0, ifs);
  const second = pool(pages(first.count * first.size), rings);
  const third = pool(second.ofs + pages(second.count * second.size), {
    size: bufs.size,
    count: bufs.count + Math.floor((memSize - wanted) / bufs.size),
  });
  return { ifs: first, rings: second, bufs: third, size: objectSize };
}
