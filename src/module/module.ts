// The module: plays the kernel's part.  Owns the system memory, the registry and the list of clients; keeps
// the registry's record; takes over what a module before it has left.

import { randomUUID } from 'node:crypto';
import { NetmapError } from '../abi/errors.ts';
import { NR_REG_ONE_NIC, NR_REG_SW } from '../abi/netmap.ts';
import * as st from '../abi/state.ts';
import { Bells } from '../dataplane/bells.ts';
import { instantiate } from '../dataplane/dataplane.ts';
import { Arena } from '../mem/arena.ts';
import { type ObjectRef, os } from '../os/index.ts';
import type {
  HelloReply,
  PortInfo,
  RegisterReply,
  RegisterRequest,
  Reply,
  Status,
} from '../protocol/messages.ts';
import type { Access } from './access.ts';
import type { Adapter, AttachedNic, ValePort } from './adapter.ts';
import { restore } from './adopt.ts';
import { takeMemory } from './extmem.ts';
import { Isolation } from './isolation.ts';
import { type RegistryRecord, readRecord, writeRecord } from './journal.ts';
import { Links, type Pair } from './links.ts';
import { Memory, type Region } from './memory.ts';
import { GuestMemory, RegionUsers } from './permission.ts';
import { type PollingRequest, pollersFor } from './polling.ts';
import { Proxies } from './proxies.ts';
import { Quota } from './quota.ts';
import { recordOf } from './record.ts';
import { Registry } from './registry.ts';
import { range } from './stock.ts';

export const VERSION = '0.1.0';

export interface Client {
  readonly token: number;
  readonly pid: number;
  readonly startTime: string;
  /** A worker of the module's own: may open what belongs to the switches. */
  readonly internal: boolean;
  /** Maps nothing but its own regions. */
  readonly isolated: boolean;
  /** User that it runs as. */
  readonly uid: number;
  /** False between a module's restart and the client's return. */
  connected: boolean;
}

/** A client of the module's own user that maps what it must. */
const TRUSTED = { internal: false, isolated: false, uid: process.getuid?.() ?? 0 };

/** What a client says of itself. */
export interface Introduction {
  pid: number;
  startTime: string;
  token?: number | undefined;
  pass?: string | undefined;
  isolated?: boolean | undefined;
}

export class Module {
  readonly directory: string;
  readonly access: Access;
  readonly registry: Registry;
  readonly clients = new Map<number, Client>();
  /** What workers of the module show to be known as such. */
  readonly pass = randomUUID();
  readonly #arena: Arena;
  readonly #system: ObjectRef;
  readonly #systemAddress: number;
  readonly proxies: Proxies;
  readonly isolation: Isolation;
  readonly #users = new RegionUsers();
  readonly #guestMemory: GuestMemory;
  readonly #quota: Quota;
  readonly #links: Links;
  readonly #lost: NodeJS.Timeout;
  #nextToken = 1;

  /** @param survivors  look for what a module that died in this directory has left */
  constructor(directory: string, access: Access, survivors: boolean) {
    this.directory = directory;
    this.access = access;
    this.#arena = Arena.create();
    this.#links = new Links(directory, this.pass);
    this.proxies = new Proxies(directory, this.pass);
    this.isolation = new Isolation(directory, this.pass);
    const name = `netmap-system ${directory}`.slice(0, 240);
    const old = survivors ? openFirst(os.findObjects(name)) : undefined;
    const object = old ?? os.createObject(name, st.SYS_SIZE);
    this.#system = { pid: process.pid, fd: object.fd, ino: object.ino, size: object.size };
    this.#systemAddress = this.#arena.mapOwn(object.fd, object.ino, object.size).address;
    const bells = new Bells(this.#arena, this.#systemAddress);
    const dataPlane = instantiate(this.#arena);
    this.registry = new Registry(new Memory(this.#arena), this.#systemAddress, dataPlane, () =>
      bells.ringCollected(),
    );
    this.#guestMemory = new GuestMemory(this.registry.ports.parameters);
    this.#quota = new Quota(this.registry, this.clients);
    const record = old && readRecord(this.#arena, this.#systemAddress);
    if (record) this.#adopt(record);
    const { view } = this.#arena;
    view.setUint32(this.#systemAddress + st.SYS_MAGIC, st.STATE_MAGIC, true);
    view.setUint32(this.#systemAddress + st.SYS_VERSION, st.STATE_VERSION, true);
    view.setUint32(this.#systemAddress + st.SYS_MODULE_PID, process.pid, true);
    this.keep();
    this.#lost = setInterval(() => this.#dropDead(), 50);
    if (!this.#anyLost()) clearInterval(this.#lost);
    setInterval(() => {
      for (const sw of this.registry.ports.vale.switches.values()) sw.tick(dataPlane);
    }, 1000).unref();
  }

  /** What keeps a module that was started on demand: clients, ports that stay without any, what others come for. */
  get users(): number {
    const { adapters, vale } = this.registry.ports;
    const attached = [...adapters.values()].filter((adapter) => adapter.kind === 'vale' && adapter.nic);
    // Threads of the module's own serve others, and keep nobody.
    const clients = [...this.clients.values()].filter(({ internal }) => !internal);
    return clients.length + vale.persistent.size + attached.length + this.access.interfaces;
  }

  get persistentPorts(): string[] {
    return [...this.registry.ports.vale.persistent.keys()];
  }

  /** Ports that are open. */
  get openPorts(): number {
    return this.registry.registrations.size;
  }

  /**
   * A client introduces itself, for the first time or, with its token, after the module's restart.
   * @param uid  user that its memory will belong to
   */
  hello({ pid, startTime, token, pass, isolated = false }: Introduction, uid = TRUSTED.uid): Client {
    const known = token === undefined ? undefined : this.clients.get(token);
    if (known && known.pid === pid && known.startTime === startTime) {
      known.connected = true;
      return known;
    }
    if (token !== undefined) {
      throw new NetmapError(
        'ENOENT',
        `Cannot take client ${token} back: this module knows nothing of it; open its ports again`,
      );
    }
    const internal = pass !== undefined && pass === this.pass;
    const who = { token: this.#nextToken++, pid, startTime };
    const client: Client = { ...who, internal, isolated, uid, connected: true };
    this.clients.set(client.token, client);
    this.keep();
    return client;
  }

  /** REGISTER, in memory that is the client's user's. @throws NetmapError EACCES, and what the registry answers. */
  register(client: Client, request: RegisterRequest): RegisterReply {
    this.#quota.checkOpenings(client, request.name);
    return this.#inOwnMemory(client, request, (wanted) => {
      if (client.internal) return this.change((registry) => registry.register(client, wanted));
      const { memory, registrations, ports } = this.registry;
      const check = (region: Region) => this.#users.check(region, client.uid, wanted.name);
      if (memory.hasRegion(wanted.memId)) check(memory.regionById(wanted.memId));
      const known = ports.memoryOf(wanted.name);
      if (known) check(known);
      const switches = new Set(ports.vale.switches.keys());
      return this.change((registry) => {
        let reply: RegisterReply;
        const region = this.#users.claiming(memory, client.uid, () => {
          const account = this.#guestMemory.accountOf(client.uid);
          reply = memory.charging(account, () => registry.register(client, wanted));
          return registrations.get(reply.registration)!.adapter.region;
        });
        try {
          check(region);
          this.#quota.checkSwitches(client, wanted.name, switches, this.#switchesOfOthers());
        } catch (error) {
          registry.release(client, reply!.registration);
          throw error;
        }
        return reply!;
      });
    });
  }

  /** Switches that no port of the module's own user is on. */
  #switchesOfOthers(): Set<string> {
    const { ports } = this.registry;
    const others = new Set(ports.vale.switches.keys());
    for (const adapter of ports.adapters.values()) {
      if (adapter.kind === 'vale' && this.#users.userOf(adapter.region) === TRUSTED.uid)
        others.delete(adapter.sw.name);
    }
    return others;
  }

  /** PORT_INFO_GET, as the port would be if this client opened it. */
  portInfo(client: Pick<Client, 'pid' | 'uid' | 'isolated'>, request: RegisterRequest): PortInfo {
    const { memory } = this.registry;
    if (client.uid !== TRUSTED.uid && memory.hasRegion(request.memId))
      this.#users.check(memory.regionById(request.memId), client.uid, request.name);
    const account = this.#guestMemory.accountOf(client.uid);
    return this.#inOwnMemory(client, request, (wanted) =>
      memory.charging(account, () => this.registry.portInfo(wanted)),
    );
  }

  /**
   * Gives a request the memory that its client brings; and that of its own that an isolated one has an interface in,
   * since all in the global region is everybody's who has an interface open.  It goes again if nothing came to use it.
   */
  #inOwnMemory<T>(
    { pid, uid, isolated }: Pick<Client, 'pid' | 'uid' | 'isolated'>,
    { extmem, ...request }: RegisterRequest,
    work: (request: RegisterRequest) => T,
  ): T {
    const { memory, ports } = this.registry;
    const nic = isolated && request.memId === 0 && !extmem ? ports.interfaceNamed(request.name) : undefined;
    const region = this.#users.claiming(memory, uid, () => {
      if (extmem) return takeMemory(memory, pid, extmem, ports.parameters.pools('priv_'));
      if (!nic || ports.nics.all.has(nic.index)) return undefined;
      return memory.charging(this.#guestMemory.accountOf(uid), () =>
        memory.createRegion(ports.nics.geometryFor(nic, request), request.name),
      );
    });
    if (!region) return work(request);
    try {
      return work({ ...request, memId: region.memId });
    } finally {
      memory.dropIfUnused(region);
    }
  }

  /** The same for a client that maps only its own region. @returns the ticket for its descriptors besides. */
  async registerIsolated(client: Client, request: RegisterRequest): Promise<Reply<'registerIsolated'>> {
    const reply = this.register(client, request);
    try {
      return shownToIsolated(reply, await this.isolation.add(request, reply, client.uid));
    } catch (error) {
      // Gone with its client, perhaps, while the thread was opening the port.
      await this.release(client, reply.registration).catch(() => {});
      throw error;
    }
  }

  /** Ends a registration. @throws NetmapError EINVAL. */
  async release(client: Client, registration: number): Promise<void> {
    this.registry.checkOwner(client, registration);
    await this.isolation.remove(registration);
    this.registry.release(client, registration);
    this.keep();
  }

  helloReply(client: Client): HelloReply {
    const shown = { token: client.token, pid: process.pid, version: VERSION };
    return client.isolated ? shown : { ...shown, system: this.#system };
  }

  /** A client is gone, in whatever way. */
  async goodbye(client: Client): Promise<void> {
    if (!this.clients.delete(client.token)) return;
    if (client.isolated) {
      const { registrations } = this.registry;
      const own = [...registrations.values()].filter(({ token }) => token === client.token);
      await Promise.all(own.map(({ id }) => this.isolation.remove(id)));
    }
    this.registry.releaseClient(client.token);
    this.keep();
  }

  /** VALE_ATTACH. @returns the port's index. */
  async attach(name: string, host: boolean, memId: number): Promise<number> {
    return this.#startLinks(
      this.change(({ attachments }, isOpen) => attachments.attach(name, host, memId, isOpen)),
    );
  }

  /** Puts the host on a switch. @returns the port's index. */
  attachHost(name: string): Promise<number> {
    return this.#startLinks(this.change(({ attachments }, isOpen) => attachments.attachHost(name, isOpen)));
  }

  async #startLinks(made: readonly ValePort[]): Promise<number> {
    try {
      for (const port of made) await this.#startLink(port);
    } catch (error) {
      await this.detach(made[0]!.name);
      throw error;
    }
    return made[0]!.port.index;
  }

  /** VALE_POLLING_ENABLE. @throws NetmapError EINVAL, ENXIO, EOPNOTSUPP, EFAULT (spec api §3.5.9). */
  async poll(name: string, request: PollingRequest): Promise<void> {
    const { rx } = this.registry.attachments.attachedNic(name);
    if (this.#links.isPolled(name))
      throw new NetmapError('EFAULT', `Cannot poll "${name}": it is polled already; stop that first`);
    await this.#links.poll(name, pollersFor(name, rx.length, request));
  }

  /** VALE_POLLING_DISABLE. @throws as poll() */
  async unpoll(name: string): Promise<void> {
    this.registry.attachments.attachedNic(name);
    await this.#links.unpoll(name);
  }

  /** VALE_DETACH. @returns the index that the port had. @throws NetmapError EINVAL, ENXIO, EBUSY. */
  async detach(name: string): Promise<number> {
    this.registry.attachments.detachable(name);
    if (this.#links.isPolled(name))
      throw new NetmapError(
        'EBUSY',
        `Cannot detach "${name}": it is polled; stop that first ("vale-ctl -P ${name}")`,
      );
    await this.#links.stop(`${name}^`);
    await this.#links.stop(name);
    return this.change(({ attachments }, isOpen) => attachments.detach(name, isOpen));
  }

  /** Before the process ends. */
  async close(): Promise<void> {
    await this.#links.stopAll();
    await this.isolation.close();
  }

  /** Has the frames of what a port stands for come and go, if it stands for anything. */
  async #startLink({ name, link, nic, rx }: ValePort): Promise<void> {
    if (nic)
      await this.#links.start(name, nic.host ? [hostPair(nic, name)] : ringPairs(nic, name, rx.length));
    else if (link?.placed) await this.#links.start(name, [[{ name: link.placed.name }, { name }]]);
  }

  /** A request that changes which ports there are. */
  change<T>(work: (registry: Registry, isOpen: (adapter: Adapter) => boolean) => T): T {
    const result = this.registry.with((_ports, isOpen) => work(this.registry, isOpen));
    this.keep();
    return result;
  }

  status(): Status {
    return {
      pid: process.pid,
      version: VERSION,
      directory: this.directory,
      clients: [...this.clients.values()].map(({ token, pid, connected }) => ({ token, pid, connected })),
      ports: this.registry.describePorts(),
    };
  }

  /** Writes the record; after every change. */
  keep(): void {
    const record = recordOf(this.registry, [...this.clients.values()], this.#nextToken);
    writeRecord(this.#arena, this.#systemAddress, record);
  }

  #adopt(record: RegistryRecord): void {
    this.#nextToken = record.nextToken;
    const holders = record.clients
      .filter((client) => os.startTime(client.pid) === client.startTime)
      .map(({ pid }) => pid);
    const lost = restore(this.registry, record, [...new Set(holders)]);
    for (const { token, pid, startTime, isolated } of record.clients) {
      // Whose syncs the dead module ran has no more; its ports are gone, and it knows.
      if (isolated) lost.add(token);
      else this.clients.set(token, { ...TRUSTED, token, pid, startTime, connected: false });
    }
    for (const token of lost) this.registry.releaseClient(token);
    this.#dropDead();
    this.registry.ports.nics.settle();
  }

  /** Starts again, once the socket listens, the links that the module before had. */
  async relink(): Promise<void> {
    const links = [...this.registry.ports.adapters.values()].filter(
      (adapter): adapter is ValePort =>
        adapter.kind === 'vale' && (adapter.link !== undefined || adapter.nic !== undefined),
    );
    await Promise.all(links.map((port) => this.#startLink(port)));
  }

  #anyLost(): boolean {
    return [...this.clients.values()].some((client) => !client.connected);
  }

  /** Between a restart and its return, a client's death shows in the process table only. */
  #dropDead(): void {
    for (const client of [...this.clients.values()]) {
      if (!client.connected && os.startTime(client.pid) !== client.startTime) void this.goodbye(client);
    }
    if (!this.#anyLost()) clearInterval(this.#lost);
  }
}

function hostPair(nic: AttachedNic, name: string): Pair {
  return [{ name: nic.name, mode: NR_REG_SW }, { name }];
}

/** Ring by ring, as an interface's port on a switch has those that the interface has. */
function ringPairs(nic: AttachedNic, name: string, rings: number): Pair[] {
  const one = { mode: NR_REG_ONE_NIC };
  return range(rings).map((ringId) => [
    { name: nic.name, ...one, ringId },
    { name, ...one, ringId },
  ]);
}

/** What an isolated client is told of its registration: nothing of private state, no descriptors. */
function shownToIsolated(reply: RegisterReply, ticket: string): Reply<'registerIsolated'> {
  const { registration, adapter, kind, memSize, memId, txRings, rxRings, txSlots, rxSlots } = reply;
  const { hostTxRings, hostRxRings, extraBufs, maxOffset, ifOfs, region, tx, rx, nic } = reply;
  const { ifs, rings, bufs } = region;
  const place = ({ index, ringOfs }: { index: number; ringOfs: number }) => ({ index, ringOfs });
  const sizes = { memSize, memId, txRings, rxRings, hostTxRings, hostRxRings, txSlots, rxSlots };
  return {
    registration,
    adapter,
    kind,
    ...sizes,
    extraBufs,
    maxOffset,
    ifOfs,
    region: { ifs, rings, bufs },
    tx: tx.map(place),
    rx: rx.map(place),
    nic,
    ticket,
  };
}

function openFirst(refs: readonly ObjectRef[]) {
  for (const ref of refs) {
    try {
      return os.openObject(ref);
    } catch {
      // Its holder has gone since.
    }
  }
  return undefined;
}
