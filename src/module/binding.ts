import { NetmapError } from '../abi/errors.ts';
import * as abi from '../abi/netmap.ts';
import type { RegisterRequest } from '../protocol/messages.ts';
import type { Adapter } from './adapter.ts';
import type { Ring } from './rings.ts';

/** Rings of an adapter that a request binds. */
export interface Binding {
  tx: readonly Ring[];
  rx: readonly Ring[];
}

/** What can be refused before anything is made. @throws NetmapError EINVAL. */
export function checkRequest(request: RegisterRequest): void {
  switch (request.mode) {
    case abi.NR_REG_ALL_NIC:
    case abi.NR_REG_ONE_NIC:
    case abi.NR_REG_NULL:
      return;
    case abi.NR_REG_SW:
    case abi.NR_REG_NIC_SW:
    case abi.NR_REG_ONE_SW:
      throw new NetmapError(
        'EINVAL',
        `Cannot open the host rings of "${request.name}": it has none; only network interfaces do`,
      );
    default:
      throw new NetmapError(
        'EINVAL',
        `Cannot open "${request.name}" in mode ${request.mode}: use ALL_NIC (1) or ONE_NIC (4)`,
      );
  }
}

/**
 * Chooses the rings by mode, ring id and direction flags (spec api §3.5.1).
 * @throws NetmapError EINVAL: no such ring.
 */
export function choose(
  adapter: Adapter,
  request: Pick<RegisterRequest, 'mode' | 'ringId' | 'flags'>,
): Binding {
  const { tx, rx } = adapter;
  if (request.mode === abi.NR_REG_ONE_NIC && request.ringId >= Math.max(tx.length, rx.length)) {
    throw new NetmapError(
      'EINVAL',
      `Cannot bind ring ${request.ringId} of "${adapter.name}": it has ${tx.length} tx and ${rx.length} rx rings`,
    );
  }
  const select = (rings: readonly Ring[]) =>
    request.mode === abi.NR_REG_ONE_NIC ? [rings[request.ringId] ?? rings[0]!] : rings;
  return {
    tx: request.flags & abi.NR_RX_RINGS_ONLY ? [] : select(tx),
    rx: request.flags & abi.NR_TX_RINGS_ONLY ? [] : select(rx),
  };
}

/**
 * The rings that a request binds.
 * @throws NetmapError EINVAL: no such ring; EBUSY: exclusively held, or wanted exclusively while in use.
 */
export function bind(adapter: Adapter, request: RegisterRequest): Binding {
  const chosen = choose(adapter, request);
  for (const ring of [...chosen.tx, ...chosen.rx]) {
    if (ring.exclusive) {
      throw new NetmapError(
        'EBUSY',
        `Cannot open "${adapter.name}": somebody holds it exclusively; wait until it is closed`,
      );
    }
    if (request.flags & abi.NR_EXCLUSIVE && ring.users > 0) {
      throw new NetmapError(
        'EBUSY',
        `Cannot open "${adapter.name}" exclusively: it is open already; close it, or open it without /x`,
      );
    }
  }
  return chosen;
}

/** @throws NetmapError EINVAL (spec api §3.5.4). */
export function checkAttach({ name, mode, ringId }: Pick<RegisterRequest, 'name' | 'mode' | 'ringId'>): void {
  if (ringId === 0 && (mode === abi.NR_REG_ALL_NIC || mode === abi.NR_REG_NIC_SW)) return;
  throw new NetmapError(
    'EINVAL',
    `Cannot attach "${name}" in mode ${mode} with ring ${ringId}: use ALL_NIC (1) or NIC_SW (3), and ring 0`,
  );
}
