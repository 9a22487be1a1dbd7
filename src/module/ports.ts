// What is behind names: finds and makes adapters, and destroys those that nothing keeps.

import { NetmapError } from '../abi/errors.ts';
import type { DataPlane } from '../dataplane/dataplane.ts';
import { findInterface, type Interface } from '../nic/index.ts';
import { os } from '../os/index.ts';
import type { RegisterRequest } from '../protocol/messages.ts';
import type { Adapter, Monitor } from './adapter.ts';
import { choose } from './binding.ts';
import { LookupPorts } from './lookup/ports.ts';
import type { Memory, Region } from './memory.ts';
import { Monitors } from './monitors.ts';
import { parentOf, resolveName } from './names.ts';
import { NicPorts } from './nic-ports.ts';
import { NullPorts } from './null-ports.ts';
import { Parameters } from './parameters.ts';
import { type Parent, Pipes } from './pipes.ts';
import { type PortSizes, pipeSizes } from './plan.ts';
import { isHost, type Ring } from './rings.ts';
import { Stock, type Undo } from './stock.ts';
import { Switch } from './switch.ts';
import { ValePorts } from './vale-ports.ts';

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

  /** @param system  where system memory is mapped */
  constructor(memory: Memory, dataPlane: DataPlane, system: number) {
    const stock = new Stock(memory, this.parameters);
    this.#stock = stock;
    this.vale = new ValePorts(stock, this.adapters);
    this.pipes = new Pipes(stock);
    this.monitors = new Monitors(stock);
    this.nulls = new NullPorts(stock);
    this.lookups = new LookupPorts(stock, this.vale);
    this.nics = new NicPorts(stock, this.parameters, dataPlane, system);
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
        return this.nics.open(resolved.name, request.memId, {
          tx: request.hostTxRings ?? 0,
          rx: request.hostRxRings ?? 0,
        });
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

  /** The interface that a name opens, if it opens one. */
  interfaceNamed(name: string): Interface | undefined {
    if (name.startsWith('vale') || /[{}]/.test(name)) return undefined;
    if (this.find(name) || this.vale.persistent.has(name)) return undefined;
    return findInterface(name);
  }

  /** The adapter that a name opens, if it exists. */
  existing(name: string): Adapter | undefined {
    const nic = this.interfaceNamed(name);
    return nic ? this.nics.all.get(nic.index) : this.find(name);
  }

  /** Memory of what a name opens, or else of the port that a pipe of that name hangs on; undefined if neither exists. */
  memoryOf(name: string): Region | undefined {
    const known = this.existing(name);
    if (known) return known.region;
    const parent = parentOf(name);
    if (parent === undefined) return undefined;
    const { persistent } = this.vale;
    return (this.find(parent) ?? persistent.get(parent) ?? this.pipes.parents.get(parent))?.region;
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
