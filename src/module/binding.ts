import { NetmapError } from '../abi/errors.ts';
import * as abi from '../abi/netmap.ts';
import type { RegisterRequest } from '../protocol/messages.ts';
import type { Adapter } from './adapter.ts';
import { isHost, type Ring } from './rings.ts';

/** Rings of an adapter that a request binds. */
export interface Binding {
  tx: readonly Ring[];
  rx: readonly Ring[];
}

const HOST_MODES: readonly number[] = [abi.NR_REG_SW, abi.NR_REG_NIC_SW, abi.NR_REG_ONE_SW];

/** What can be refused before anything is made. @throws NetmapError EINVAL. */
export function checkRequest({ name, mode }: RegisterRequest): void {
  if ([abi.NR_REG_ALL_NIC, abi.NR_REG_ONE_NIC, abi.NR_REG_NULL].includes(mode)) return;
  if (!HOST_MODES.includes(mode)) {
    throw new NetmapError(
      'EINVAL',
      `Cannot open "${name}" in mode ${mode}: use ALL_NIC (1), SW (2), NIC_SW (3), ONE_NIC (4) or ONE_SW (8)`,
    );
  }
  if (name.startsWith('vale') || /[{}]/.test(name)) throw noHostRings(name);
}

function noHostRings(name: string): NetmapError {
  return new NetmapError(
    'EINVAL',
    `Cannot open the host rings of "${name}": it has none; only network interfaces do`,
  );
}

/**
 * Chooses the rings by mode, ring id and direction flags (spec api §3.5.1).
 * @throws NetmapError EINVAL: no such ring.
 */
export function choose(
  adapter: Adapter,
  { mode, ringId, flags }: Pick<RegisterRequest, 'mode' | 'ringId' | 'flags'>,
): Binding {
  const host = mode === abi.NR_REG_SW || mode === abi.NR_REG_ONE_SW;
  const ofMode = (ring: Ring) => mode === abi.NR_REG_NIC_SW || isHost(ring) === host;
  const tx = adapter.tx.filter(ofMode);
  const rx = adapter.rx.filter(ofMode);
  if (HOST_MODES.includes(mode) && !adapter.rx.some(isHost)) throw noHostRings(adapter.name);
  const one = mode === abi.NR_REG_ONE_NIC || mode === abi.NR_REG_ONE_SW;
  if (one && ringId >= Math.max(tx.length, rx.length)) {
    throw new NetmapError(
      'EINVAL',
      `Cannot bind ring ${ringId} of "${adapter.name}": it has ${tx.length} tx and ${rx.length} rx rings`,
    );
  }
  const select = (rings: readonly Ring[]) => (one ? [rings[ringId] ?? rings[0]!] : rings);
  return {
    tx: flags & abi.NR_RX_RINGS_ONLY ? [] : select(tx),
    rx: flags & abi.NR_TX_RINGS_ONLY ? [] : select(rx),
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
