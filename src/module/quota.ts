// How much of what there is a fixed number of, openings and switches, other users may take: the rest is for the module's
// own.  For memory see permission.ts.

import { NetmapError } from '../abi/errors.ts';
import type { Client } from './module.ts';
import type { Registry } from './registry.ts';

const OWN_UID = process.getuid?.() ?? 0;

export class Quota {
  readonly #registry: Registry;
  readonly #clients: ReadonlyMap<number, Client>;

  constructor(registry: Registry, clients: ReadonlyMap<number, Client>) {
    this.#registry = registry;
    this.#clients = clients;
  }

  /** Before another opening. @throws NetmapError ENOMEM. */
  checkOpenings({ uid }: Client, name: string): void {
    if (uid === OWN_UID) return;
    let own = 0;
    let all = 0;
    for (const { token } of this.#registry.registrations.values()) {
      const user = this.#clients.get(token)?.uid ?? OWN_UID;
      if (user === uid) own++;
      if (user !== OWN_UID) all++;
    }
    this.#check('guest_ports', `uid ${uid} has`, own, name);
    this.#check('guest_ports_total', 'other users have', all, name);
  }

  /**
   * Once a port is there that had not been.
   * @param before  names of the switches until then
   * @param others  of those that are there now, for ports of other users alone
   * @throws NetmapError ENOMEM: it has made one switch too many.
   */
  checkSwitches(
    { uid }: Client,
    name: string,
    before: ReadonlySet<string>,
    others: ReadonlySet<string>,
  ): void {
    if (uid === OWN_UID || [...others].every((sw) => before.has(sw))) return;
    const most = this.#registry.ports.parameters.get('guest_bridges');
    if (others.size <= most) return;
    throw new NetmapError(
      'ENOMEM',
      `Cannot open "${name}": it would make another switch, and other users have ${most} for themselves already, which is all they may; open a port of one that exists, or have uid ${OWN_UID} raise guest_bridges ("nm-ctl guest_bridges=...")`,
    );
  }

  #check(parameter: string, who: string, openings: number, name: string): void {
    const most = this.#registry.ports.parameters.get(parameter);
    if (openings < most) return;
    throw new NetmapError(
      'ENOMEM',
      `Cannot open "${name}": ${who} ${openings} ports open already, of ${most}; close some, or have uid ${OWN_UID} raise ${parameter} ("nm-ctl ${parameter}=...")`,
    );
  }
}
