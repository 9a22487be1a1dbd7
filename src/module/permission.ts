// What clients of other users may do, once they are let in (access.ts): open ports, isolated, and close them.  Memory
// belongs to the user who first opens a port in it, and nobody else is ever handed it.

import { NetmapError } from '../abi/errors.ts';
import type { Peer } from '../os/index.ts';
import type { Operation, RegisterRequest } from '../protocol/messages.ts';
import type { Access } from './access.ts';
import { type Account, GLOBAL_REGION, type Memory, type Region } from './memory.ts';
import { MONITOR_FLAGS } from './monitors.ts';
import type { Parameters } from './parameters.ts';

const GUEST_OPERATIONS: ReadonlySet<Operation> = new Set([
  'hello',
  'registerIsolated',
  'collect',
  'release',
  'portInfo',
  'interfaces',
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

/**
 * @param nic  the interface that the request's name opens, if it opens one
 * @throws NetmapError EACCES: it is about ports, frames or memory that are not the module's to give to it; EPERM: an interface that is not for this user.
 */
export function checkGuestRequest(
  { name, flags, memId, extmem }: Pick<RegisterRequest, 'name' | 'flags' | 'memId' | 'extmem'>,
  nic: string | undefined,
  peer: Peer,
  access: Access,
): void {
  // To open what another user has open is to use our rights on whatever that may be: a device, or a file of ours.
  if (extmem)
    throw new NetmapError(
      'EACCES',
      `Cannot open "${name}" in memory of your own: only uid ${OWN_UID}, whose module this is, and root may bring some`,
    );
  if (memId === GLOBAL_REGION)
    throw new NetmapError(
      'EACCES',
      `Cannot open "${name}" in memory region ${GLOBAL_REGION}: it is the module's own; name none, or one of your own`,
    );
  if (flags & MONITOR_FLAGS)
    throw new NetmapError(
      'EACCES',
      `Cannot monitor "${name}": only uid ${OWN_UID}, whose module this is, and root may`,
    );
  if (nic !== undefined) access.checkInterface(nic, peer);
  else if (!name.startsWith('vale'))
    throw new NetmapError(
      'EACCES',
      `Cannot open "${name}": it is no interface, and other users than uid ${OWN_UID}, whose module this is, may open those, ports of switches, and their pipes`,
    );
}

/** Whose each region is: unless somebody else has claimed it, the module's own user's. */
export class RegionUsers {
  readonly #users = new WeakMap<Region, number>();

  /** Regions that are made by `work` and come out of it are this user's; but for the global one. */
  claiming<T extends Region | undefined>(memory: Memory, uid: number, work: () => T): T {
    const before = new Set(memory.regions);
    const region = work();
    if (region && !before.has(region) && region.memId !== GLOBAL_REGION) this.#users.set(region, uid);
    return region;
  }

  userOf(region: Region): number {
    return this.#users.get(region) ?? OWN_UID;
  }

  /** @throws NetmapError EACCES: it is another user's. */
  check(region: Region, uid: number, name: string): void {
    const user = this.userOf(region);
    if (user === uid) return;
    throw new NetmapError(
      'EACCES',
      `Cannot open "${name}": its memory belongs to uid ${user}; wait until it is closed, or open a port of another name`,
    );
  }
}

const MIB = 2 ** 20;

/** What memory regions of other users take, and may take: parameters guest_mem and guest_mem_total. */
export class GuestMemory {
  readonly #parameters: Parameters;
  /** Bytes by user. */
  readonly #taken = new Map<number, number>();

  constructor(parameters: Parameters) {
    this.#parameters = parameters;
  }

  /** What a user's regions are charged to; the module's own user has no limit. */
  accountOf(uid: number): Account | undefined {
    if (uid === OWN_UID) return undefined;
    return {
      charge: (bytes, forWhat) => this.#charge(uid, bytes, forWhat),
      refund: (bytes) => this.#add(uid, -bytes),
    };
  }

  #charge(uid: number, bytes: number, forWhat: string): void {
    const all = [...this.#taken.values()].reduce((sum, taken) => sum + taken, 0);
    this.#check('guest_mem', `uid ${uid} has`, this.#taken.get(uid) ?? 0, bytes, forWhat);
    this.#check('guest_mem_total', 'other users have', all, bytes, forWhat);
    this.#add(uid, bytes);
  }

  #check(parameter: string, who: string, taken: number, bytes: number, forWhat: string): void {
    const most = this.#parameters.get(parameter);
    if (taken + bytes <= most * MIB) return;
    throw new NetmapError(
      'ENOMEM',
      `Cannot open "${forWhat}": its rings and buffers need ${mib(bytes)} MiB, and ${who} ${mib(taken)} of ${most} MiB already; close other ports, ask for fewer slots, or have uid ${OWN_UID} raise ${parameter} ("nm-ctl ${parameter}=...")`,
    );
  }

  #add(uid: number, bytes: number): void {
    const taken = (this.#taken.get(uid) ?? 0) + bytes;
    if (taken > 0) this.#taken.set(uid, taken);
    else this.#taken.delete(uid);
  }
}

function mib(bytes: number): string {
  return (bytes / MIB).toFixed(1);
}
