// What clients of other users may do.  Whoever can reach the socket may open ports, isolated, and close them; memory
// belongs to the user who first opens a port in it, and nobody else is ever handed it.

import { NetmapError } from '../abi/errors.ts';
import type { Peer } from '../os/index.ts';
import type { Operation, RegisterRequest } from '../protocol/messages.ts';
import type { Region } from './memory.ts';
import { MONITOR_FLAGS } from './monitors.ts';

const GUEST_OPERATIONS: ReadonlySet<Operation> = new Set([
  'hello',
  'registerIsolated',
  'collect',
  'release',
  'portInfo',
]);

const OWN_UID = process.getuid?.() ?? 0;

/** Neither the module's own user nor root. */
export function isGuest({ uid }: Peer): boolean {
  return uid !== OWN_UID && uid !== 0;
}

/** Whose memory a client's is: all whom the module trusts count as its own user. */
export function memoryUser(peer: Peer): number {
  return isGuest(peer) ? peer.uid : OWN_UID;
}

/** @throws NetmapError EACCES. */
export function checkGuest(operation: Operation): void {
  if (GUEST_OPERATIONS.has(operation)) return;
  throw new NetmapError(
    'EACCES',
    `Cannot do "${operation}": only uid ${OWN_UID}, whose module this is, and root may; other users may open ports in isolated mode`,
  );
}

/** @throws NetmapError EACCES: it is about frames, or interfaces, of others. */
export function checkGuestRequest({ name, flags }: Pick<RegisterRequest, 'name' | 'flags'>): void {
  if (!name.startsWith('vale'))
    throw new NetmapError(
      'EACCES',
      `Cannot open "${name}": other users than uid ${OWN_UID}, whose module this is, may open ports of switches and their pipes`,
    );
  if ((flags & MONITOR_FLAGS) === 0) return;
  throw new NetmapError(
    'EACCES',
    `Cannot monitor "${name}": only uid ${OWN_UID}, whose module this is, and root may`,
  );
}

/** Whose each region is. */
export class RegionUsers {
  readonly #users = new WeakMap<Region, number>();

  /** @throws NetmapError EACCES: it is another user's. */
  claim(region: Region, uid: number, name: string): void {
    this.check(region, uid, name);
    this.#users.set(region, uid);
  }

  /** @throws NetmapError EACCES: it is another user's. */
  check(region: Region, uid: number, name: string): void {
    const user = this.#users.get(region);
    if (user !== undefined && user !== uid)
      throw new NetmapError(
        'EACCES',
        `Cannot open "${name}": its memory belongs to uid ${user}; open a port of another name`,
      );
  }
}
