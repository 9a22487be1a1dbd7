// What is behind names: finds and makes adapters, and answers the requests that make, attach and list ports.

import { NetmapError } from '../abi/errors.ts';
import { NM_BDG_MAXPORTS, NM_BDG_NOPORT } from '../abi/netmap.ts';
import { LOOKUP_BATCH, LOOKUP_TABLE, LOOKUP_WASM } from '../abi/state.ts';
import type { DataPlane } from '../dataplane/dataplane.ts';
import { findInterface } from '../nic/index.ts';
import { os } from '../os/index.ts';
import type { RegisterRequest, Reply } from '../protocol/messages.ts';
import type { Adapter, Monitor, PersistentPort, ValePort } from './adapter.ts';
import { choose } from './binding.ts';
import { meter } from './lookup/code.ts';
import { LookupPorts } from './lookup/ports.ts';
import type { Memory } from './memory.ts';
import { Monitors } from './monitors.ts';
import { resolveName } from './names.ts';
import { NicPorts } from './nic-ports.ts';
import { NullPorts } from './null-ports.ts';
import { Parameters } from './parameters.ts';
import { type Parent, Pipes } from './pipes.ts';
import { type PortSizes, pipeSizes } from './plan.ts';
import { isHost, type Ring } from './rings.ts';
import { Stock, type Undo } from './stock.ts';
import { Switch } from './switch.ts';
import { splitAttachName, ValePorts } from './vale-ports.ts';

/** What VALE_LIST tells. */
export interface Listed {
  name: string;
  bridge: number;
  port: number;
}

/** An Ethernet header and no more. */
const SHORTEST_LIMIT = 14;

export class Ports {
  /** Everything with rings that can be opened by its name. */
  readonly adapters = new Map<string, Adapter>();
  readonly vale: ValePorts;
  readonly pipes: Pipes;
  readonly monitors: Monitors;
  readonly nulls: NullPorts;
  readonly lookups: LookupPorts;
  readonly nics: NicPorts;

  readonly parameters = new Parameters();
  readonly #stock: Stock;

  constructor(memory: Memory, dataPlane: DataPlane) {
    const stock = new Stock(memory, this.parameters);
    this.#stock = stock;
    this.vale = new ValePorts(stock, this.adapters);
    this.pipes = new Pipes(stock);
    this.monitors = new Monitors(stock);
    this.nulls = new NullPorts(stock);
    this.lookups = new LookupPorts(stock, this.vale);
    this.nics = new NicPorts(stock, this.parameters, dataPlane);
    this.parameters.watch('bridge_batch', (slots) => {
      this.vale.batch = slots;
    });
    this.parameters.watch('mac_age', (seconds) => {
      this.vale.macAge = seconds;
    });
  }

  /** The adapter of that name, made if it does not exist yet. @throws NetmapError as spec api §3.5.1 lists. */
  open(request: RegisterRequest): Adapter {
    const known = this.find(request.name);
    if (known) return known;
    const { persistent } = this.vale;
    const own = persistent.get(request.name);
    if (own) return this.vale.placeAlone(own);
    const resolved = resolveName(request.name);
    switch (resolved.kind) {
      case 'vale':
        this.#mustNotBeInterface(resolved.switchName, resolved.name);
        return this.vale.create(resolved.switchName, request);
      case 'pipe': {
        const pipe = this.pipes.create(resolved, request, (name, undo) => this.#parent(name, request, undo));
        for (const end of pipe.ends) this.adapters.set(end.name, end);
        return pipe.ends[resolved.master ? 0 : 1];
      }
      case 'interface':
        return this.nics.open(resolved.name, request.memId);
    }
  }

  /**
   * A new monitor of the port that the request names; nobody else can open it.
   * @throws NetmapError EINVAL: the port is not open, or has no such rings.
   */
  openMonitor(request: RegisterRequest, isOpen: (adapter: Adapter) => boolean): Monitor {
    const parent = this.open(request);
    if ((parent.kind !== 'vale' && parent.kind !== 'pipe') || !isOpen(parent)) {
      throw new NetmapError(
        'EINVAL',
        `Cannot monitor "${request.name}": nobody has it open; open the port first`,
      );
    }
    const watched = choose(parent, { mode: request.mode, ringId: request.ringId, flags: 0 });
    return this.monitors.create(parent, watched, request);
  }

  /** Everything with rings. */
  get everything(): Adapter[] {
    return [
      ...this.adapters.values(),
      ...this.monitors.all,
      ...this.nulls.all,
      ...this.lookups.all,
      ...this.nics.all.values(),
    ];
  }

  /** The adapter of that name, if it exists: an attached port answers to both of its names. */
  find(name: string): Adapter | undefined {
    return this.adapters.get(name) ?? this.vale.persistent.get(name)?.placed;
  }

  /** Destroys what nobody has open, nobody keeps attached and nothing hangs on. */
  collect(isOpen: (adapter: Adapter) => boolean): void {
    for (const port of [...this.nulls.all]) if (!isOpen(port)) this.nulls.destroy(port);
    for (const monitor of [...this.monitors.all]) {
      if (isOpen(monitor)) continue;
      this.monitors.destroy(monitor);
      if (monitor.table instanceof Switch) this.vale.dropIfEmpty(monitor.table);
      else this.pipes.dropIfEmpty(monitor.table);
    }
    for (const pipe of [...this.pipes.all.values()]) {
      if (pipe.ends.some(isOpen)) continue;
      this.pipes.destroy(pipe);
      for (const end of pipe.ends) this.adapters.delete(end.name);
    }
    for (const port of [...this.nics.all.values()]) if (!isOpen(port)) this.nics.destroy(port);
    for (const port of [...this.lookups.all]) if (!isOpen(port)) this.lookups.destroy(port);
    const inUse = this.pipes.parentsInUse();
    for (const adapter of [...this.adapters.values()]) {
      if (adapter.kind !== 'vale' || isOpen(adapter) || inUse.has(adapter.name)) continue;
      if (adapter.persistent?.attached === undefined && !adapter.link && !adapter.nic)
        this.vale.destroy(adapter);
    }
    this.pipes.collect();
  }

  // ---- requests about ports ----

  newIf(request: RegisterRequest): PersistentPort {
    return this.vale.newIf(request, this.#isTaken(request.name));
  }

  /** @throws NetmapError ENXIO, EINVAL, EBUSY. */
  delIf(name: string, isOpen: (adapter: Adapter) => boolean): void {
    const port = this.vale.persistent.get(name);
    if (!port) {
      const exists = this.pipes.parents.has(name) || os.hasInterface(name);
      throw new NetmapError(
        exists ? 'EINVAL' : 'ENXIO',
        `Cannot remove "${name}": ${exists ? 'it was not made as a persistent port' : 'there is no port of that name'}; "vale-ctl" lists those that are attached`,
      );
    }
    const hasPipes = this.pipes.parentsInUse().has(name);
    if (hasPipes || (port.placed && isOpen(port.placed))) {
      throw new NetmapError('EBUSY', `Cannot remove "${name}": it is open; close it first`);
    }
    this.vale.delIf(port);
  }

  /**
   * VALE_ATTACH.  An interface gets a port, and with `host` one for its host stack, too.  A persistent port that is on a switch already gets a port on the second one, for a link
   * between the two.
   * @returns the ports, that of the name first
   * @throws NetmapError EINVAL, EBUSY, ENOMEM, EOPNOTSUPP.
   */
  attach(name: string, host: boolean, memId: number, isOpen: (adapter: Adapter) => boolean): ValePort[] {
    const { switchName, port: portName } = splitAttachName(name);
    const refuse = (code: 'EBUSY' | 'EINVAL' | 'EOPNOTSUPP', why: string) =>
      new NetmapError(code, `Cannot attach "${name}": ${why}`);
    const nic = this.vale.persistent.has(portName) ? undefined : findInterface(portName);
    if (this.adapters.has(name)) throw refuse('EBUSY', `${switchName} has a port of that name already`);
    const port = this.vale.persistent.get(portName);
    if (!port) {
      if (nic) return this.#attachNic(nic.name, switchName, host, memId, refuse, isOpen);
      throw refuse(
        'EINVAL',
        `there is no interface or persistent port "${portName}"; make one with "vale-ctl -n ${portName}"`,
      );
    }
    if (port.placed && isOpen(port.placed)) throw refuse('EBUSY', `"${portName}" is open; close it first`);
    if (port.link)
      throw refuse('EBUSY', `"${portName}" links ${port.attached} and ${port.link.sw.name} already`);
    if (port.attached !== undefined) return [this.vale.createLink(port, switchName, name)];
    if (port.placed) this.vale.destroy(port.placed);
    return [this.vale.attach(port, switchName, name)];
  }

  #attachNic(
    nic: string,
    switchName: string,
    host: boolean,
    memId: number,
    refuse: (code: 'EBUSY', why: string) => NetmapError,
    isOpen: (adapter: Adapter) => boolean,
  ): ValePort[] {
    if (this.nicPorts(nic).length > 0) throw refuse('EBUSY', `"${nic}" is attached already; detach it first`);
    const known = this.nics.named(nic);
    if (known && isOpen(known)) throw refuse('EBUSY', `"${nic}" is open; close it first`);
    const { sizes, region } = this.nics.describe(nic, memId);
    const one = { ...sizes, txRings: 1, rxRings: 1 };
    const name = `${switchName}:${nic}`;
    const ports = [this.vale.createForNic({ name: nic, host: false }, sizes, region, switchName, name)];
    if (host)
      ports.push(this.vale.createForNic({ name: nic, host: true }, one, region, switchName, `${name}^`));
    return ports;
  }

  /**
   * Puts the host on a switch by an interface that is made for it and lives until it is detached.
   * @throws NetmapError EEXIST, EBUSY, EINVAL, ENOMEM.
   */
  attachHost(name: string, isOpen: (adapter: Adapter) => boolean): ValePort[] {
    const { switchName, port } = splitAttachName(name);
    if (findInterface(port) || this.vale.persistent.has(port) || this.nics.endpoints.has(port))
      throw new NetmapError(
        'EEXIST',
        `Cannot make interface "${port}" for the host: there is one of that name; choose another`,
      );
    const refuse = (code: 'EBUSY', why: string) => new NetmapError(code, `Cannot attach "${name}": ${why}`);
    this.nics.endpoints.add(port);
    try {
      return this.#attachNic(port, switchName, false, 0, refuse, isOpen);
    } catch (error) {
      this.nics.endpoints.delete(port);
      throw error;
    }
  }

  /** Switch ports that an interface is attached by. */
  nicPorts(nic: string): ValePort[] {
    return [...this.adapters.values()].filter(
      (adapter): adapter is ValePort => adapter.kind === 'vale' && adapter.nic?.name === nic,
    );
  }

  /**
   * The port that a request to detach is about.
   * @throws NetmapError EINVAL, ENXIO; EBUSY: its interface's port has to be named, it was opened and not attached, or
   *   something else is to be detached first.
   */
  detachable(name: string): ValePort {
    splitAttachName(name);
    const adapter = this.adapters.get(name);
    if (adapter?.kind !== 'vale') {
      throw new NetmapError('ENXIO', `Cannot detach "${name}": there is no such port; "vale-ctl" lists all`);
    }
    const busy = (why: string) => new NetmapError('EBUSY', `Cannot detach "${name}": ${why}`);
    const { nic, link, persistent, sw } = adapter;
    if (nic?.host)
      throw busy(`it is the host's side of an interface; detach "${sw.name}:${nic.name}", and it goes, too`);
    if (nic || link) return adapter;
    if (!persistent) throw busy('it was opened, not attached, and goes with its last user');
    if (persistent.link) throw busy(`it links two switches; detach "${persistent.link.name}" first`);
    return adapter;
  }

  /** VALE_DETACH. @returns the index that the port had. @throws as detachable() */
  detach(name: string, isOpen: (adapter: Adapter) => boolean): number {
    const adapter = this.detachable(name);
    const { index } = adapter.port;
    if (adapter.nic) {
      for (const port of this.nicPorts(adapter.nic.name)) this.vale.destroy(port);
      this.nics.endpoints.delete(adapter.nic.name);
    } else if (adapter.link) {
      this.vale.destroy(adapter);
    } else {
      const inUse = isOpen(adapter) || this.pipes.parentsInUse().has(name);
      this.vale.detach(adapter.persistent!, inUse);
    }
    return index;
  }

  /** VALE_LIST by name: the port's indices, 255 for a port that the switch has not. @throws NetmapError EINVAL, ENOENT. */
  locate(name: string): Listed {
    if (!name.startsWith('vale')) {
      throw new NetmapError('EINVAL', `Cannot look "${name}" up: a VALE name is needed, as in vale0:a`);
    }
    const sw = this.vale.switches.get(name.split(':', 1)[0]!);
    if (!sw || sw.index < 0) {
      throw new NetmapError('ENOENT', `Cannot look "${name}" up: there is no such switch`);
    }
    const adapter = this.adapters.get(name);
    const port = adapter?.kind === 'vale' ? adapter.port.index : NM_BDG_NOPORT;
    return { name, bridge: sw.index, port };
  }

  /** VALE_LIST: the first port at or after a place. @throws NetmapError ENOENT: there is none. */
  firstFrom(bridge: number, port: number): Listed {
    const place = ({ bridge, port }: { bridge: number; port: number }) => bridge * NM_BDG_MAXPORTS + port;
    const from = place({ bridge, port: Math.min(port, NM_BDG_MAXPORTS) });
    const [first] = this.list()
      .filter((listed) => place(listed) >= from)
      .sort((a, b) => place(a) - place(b));
    if (first) return first;
    throw new NetmapError(
      'ENOENT',
      `Cannot list further: no port at or after switch ${bridge}, port ${port}`,
    );
  }

  /** Every port of every switch. */
  list(): Listed[] {
    return [...this.adapters.values()].flatMap((adapter) =>
      adapter.kind === 'vale' && adapter.sw.index >= 0 && !adapter.port.hidden
        ? [{ name: adapter.name, bridge: adapter.sw.index, port: adapter.port.index }]
        : [],
    );
  }

  /** The port by which an interface is attached, not its host's. @throws NetmapError EINVAL, ENXIO, EOPNOTSUPP. */
  attachedNic(name: string): ValePort {
    splitAttachName(name);
    const adapter = this.adapters.get(name);
    if (adapter?.kind !== 'vale')
      throw new NetmapError(
        'ENXIO',
        `Cannot poll "${name}": no switch has such a port; "vale-ctl" lists all`,
      );
    if (adapter.nic && !adapter.nic.host) return adapter;
    throw new NetmapError('EOPNOTSUPP', `Cannot poll "${name}": it is no network interface`);
  }

  /** PORT_HDR_SET. @throws NetmapError EINVAL, ENXIO. */
  setHeader(name: string, length: number): void {
    if (![0, 10, 12].includes(length)) {
      throw new NetmapError(
        'EINVAL',
        `Cannot put virtio-net headers of ${length} bytes on "${name}": 0, 10 or 12 are possible`,
      );
    }
    const adapter = this.find(name);
    if (adapter?.kind !== 'vale' || adapter.sw.index < 0 || adapter.port.hidden) {
      throw new NetmapError('ENXIO', `Cannot set the header length of "${name}": no switch has such a port`);
    }
    this.vale.setHeader(adapter, length);
  }

  /** PORT_HDR_GET. @throws NetmapError ENXIO. */
  header(name: string): number {
    const adapter = this.find(name);
    if (adapter) return adapter.kind === 'vale' ? adapter.headerLength : 0;
    const persistent = this.vale.persistent.get(name);
    if (persistent) return persistent.headerLength;
    throw new NetmapError('ENXIO', `Cannot tell the header length of "${name}": there is no such port`);
  }

  /**
   * Longest frame that is brought to a port of a switch, without its virtio-net header; 0: any.
   * @throws NetmapError ENXIO
   */
  setLongest(name: string, bytes: number): void {
    const port = this.#switchPort(name, 'limit the frames of');
    if (bytes !== 0 && bytes < SHORTEST_LIMIT)
      throw new NetmapError(
        'EINVAL',
        `Cannot limit the frames of "${name}" to ${bytes} bytes: ${SHORTEST_LIMIT} or more are possible, or 0 for any`,
      );
    port.sw.setLongest(port.port, bytes);
  }

  /** @throws NetmapError ENXIO. */
  longest(name: string): number {
    const { sw, port } = this.#switchPort(name, 'tell the longest frame of');
    return sw.longest(port);
  }

  #switchPort(name: string, what: string): ValePort {
    const adapter = this.find(name);
    if (adapter?.kind === 'vale' && adapter.sw.index >= 0 && !adapter.port.hidden) return adapter;
    throw new NetmapError('ENXIO', `Cannot ${what} "${name}": no switch has such a port`);
  }

  /** A switch's learning table, ports by name. @throws NetmapError ENOENT. */
  addresses(switchName: string): { mac: string; port: string; age: number }[] {
    const sw = this.#existing(switchName, 'list the addresses of', 'ENOENT');
    const names = new Map(
      [...this.adapters.values()].flatMap((adapter) =>
        adapter.kind === 'vale' && adapter.sw === sw ? [[adapter.port.index, adapter.name] as const] : [],
      ),
    );
    return sw.addresses().map(({ mac, port, age }) => ({ mac, age, port: names.get(port) ?? '?' }));
  }

  /** Gives a switch a lookup in WebAssembly. @throws NetmapError ENXIO, EINVAL, ENOMEM. */
  setLookup(switchName: string, label: string, code: Uint8Array, config: Uint8Array): void {
    const sw = this.#existing(switchName, 'set the lookup of', 'ENXIO');
    sw.setLookup({ kind: LOOKUP_WASM, label, code: meter(code, label, config.length > 0), config });
  }

  /** Gives a switch its learning table back. @throws NetmapError ENXIO. */
  clearLookup(switchName: string): void {
    this.#existing(switchName, 'clear the lookup of', 'ENXIO').setLookup({ kind: LOOKUP_TABLE });
  }

  /** What decides where a switch's frames go. @throws NetmapError ENXIO. */
  lookup(switchName: string): Reply<'valeLookupGet'> {
    const { kind, label, port } = this.#existing(switchName, 'tell the lookup of', 'ENXIO').lookup;
    const kinds = { [LOOKUP_TABLE]: 'table', [LOOKUP_WASM]: 'wasm', [LOOKUP_BATCH]: 'batch' } as const;
    const name = kinds[kind as keyof typeof kinds];
    return { kind: name, label, alive: name !== 'batch' || port !== NM_BDG_NOPORT };
  }

  #existing(switchName: string, purpose: string, code: 'ENOENT' | 'ENXIO'): Switch {
    const sw = this.vale.switches.get(switchName);
    if (sw && sw.index >= 0) return sw;
    throw new NetmapError(
      code,
      `Cannot ${purpose} "${switchName}": there is no such switch; open a port on it first`,
    );
  }

  /** Bytes of a memory region; of the global one, those that it will have if it is not there yet. @throws NetmapError EINVAL. */
  regionSize(memId: number): number {
    return this.#stock.sizeOf(memId);
  }

  // ---- inside ----

  /** The port that pipes are to hang on, if its name is one that a port can have. */
  #parent(name: string, request: RegisterRequest, undo: Undo): Parent | undefined {
    const known = this.find(name);
    if (known) return { region: known.region, sizes: sizesOf(known) };
    const persistent = this.vale.persistent.get(name);
    if (persistent) return persistent;
    const resolved = resolveName(name);
    if (resolved.kind !== 'vale') return undefined;
    this.#mustNotBeInterface(resolved.switchName, name);
    // The parent's rings and slots are netmap's defaults; the request speaks of the pipe.
    const plain = { ...request, name, txRings: 0, rxRings: 0, txSlots: 0, rxSlots: 0 };
    const parent = this.vale.create(resolved.switchName, plain, pipeSizes(request));
    undo.push(() => this.vale.destroy(parent));
    return { region: parent.region, sizes: sizesOf(parent) };
  }

  #mustNotBeInterface(switchName: string, name: string): void {
    const port = name.slice(switchName.length + 1);
    if (!os.hasInterface(port) && !this.vale.persistent.has(port)) return;
    throw new NetmapError(
      'EINVAL',
      `Cannot open VALE port "${name}": "${port}" is a network interface or a persistent port, which must be attached first ("vale-ctl -a ${name}")`,
    );
  }

  #isTaken(name: string): boolean {
    return this.vale.persistent.has(name) || this.pipes.parents.has(name) || os.hasInterface(name);
  }
}

export function sizesOf(adapter: Adapter): PortSizes {
  if (adapter.kind === 'null') return adapter.sizes;
  const ofNic = (rings: readonly Ring[]) => rings.filter((ring) => !isHost(ring)).length;
  return {
    txRings: ofNic(adapter.tx),
    rxRings: ofNic(adapter.rx),
    txSlots: adapter.tx[0]?.slots ?? 0,
    rxSlots: adapter.rx[0]?.slots ?? 0,
  };
}
