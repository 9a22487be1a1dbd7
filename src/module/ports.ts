// Making and unmaking adapters: VALE ports and pipes with their memory.

import { NetmapError } from '../abi/errors.ts';
import { NM_MAX_EXTRA_BUFS, NM_PIPES_PER_PARENT } from '../abi/netmap.ts';
import * as st from '../abi/state.ts';
import { type Geometry, ringSize } from '../mem/geometry.ts';
import { os } from '../os/index.ts';
import type { RegisterRequest } from '../protocol/messages.ts';
import type { Adapter, Pipe, PipeEnd, PipeParent, ValePort } from './adapter.ts';
import type { Memory, Region } from './memory.ts';
import { type ResolvedName, resolveName } from './names.ts';
import { type PortSizes, parentGeometry, pipeGeometry, pipeSizes, portGeometry, valeSizes } from './plan.ts';
import { createRing, destroyRing, type Ring } from './rings.ts';
import { Switch } from './switch.ts';

/** Switches at a time, as netmap's max_bridges. */
const MAX_BRIDGES = 8;

export class Ports {
  readonly memory: Memory;
  readonly adapters = new Map<string, Adapter>();
  readonly switches = new Map<string, Switch>();
  readonly pipes = new Map<string, Pipe>();
  readonly parents = new Map<string, PipeParent>();
  /** bridge_batch of switches made from now on. */
  #batch = 1024;

  constructor(memory: Memory) {
    this.memory = memory;
  }

  set batch(slots: number) {
    this.#batch = slots;
    for (const sw of this.switches.values()) sw.batch = slots;
  }

  /** The adapter of that name, made if it does not exist yet. @throws NetmapError as spec api §3.5.1 lists. */
  open(request: RegisterRequest): Adapter {
    const known = this.adapters.get(request.name);
    if (known) return known;
    const resolved = resolveName(request.name);
    switch (resolved.kind) {
      case 'vale':
        return this.#createValePort(resolved.switchName, request);
      case 'pipe':
        return this.#createPipe(resolved, request);
      case 'interface':
        throw noInterface(resolved.name);
    }
  }

  /** Destroys what nobody has open and nothing hangs on. */
  collect(isOpen: (adapter: Adapter) => boolean): void {
    for (const pipe of [...this.pipes.values()]) if (!pipe.ends.some(isOpen)) this.#destroyPipe(pipe);
    const inUse = new Set([...this.pipes.values()].map((pipe) => pipe.parent));
    for (const adapter of [...this.adapters.values()]) {
      if (adapter.kind === 'vale' && !isOpen(adapter) && !inUse.has(adapter.name))
        this.#destroyValePort(adapter);
    }
    for (const parent of [...this.parents.values()]) {
      if (inUse.has(parent.name)) continue;
      this.parents.delete(parent.name);
      this.memory.releaseRegion(parent.region);
    }
  }

  // ---- VALE ports ----

  #createValePort(switchName: string, request: RegisterRequest, pipe?: PortSizes): ValePort {
    const { name } = request;
    const sizes = valeSizes(request);
    const extra = Math.min(request.extraBufs, NM_MAX_EXTRA_BUFS);
    const sw = this.#switch(switchName, name);
    const undo = new Undo();
    try {
      if (sw.size === 0) undo.push(() => this.#dropSwitchIfEmpty(sw));
      const plan = { name, txRings: sizes.txRings, rxRings: sizes.rxRings, rxSlots: sizes.rxSlots };
      const port = sw.reserve(plan);
      undo.push(() => sw.remove(port));
      const region = this.#region(
        request,
        pipe ? parentGeometry(sizes, pipe, extra) : portGeometry(sizes, extra),
        undo,
      );
      // RX before TX, as netmap creates them (spec api §1.4).
      const ring = (kind: number, index: number, slots: number, nth: number) =>
        this.#ring(
          region,
          sw.state,
          { kind, index, slots, kringOfs: port.krings.ofs + nth * st.KR_SIZE, port: port.index },
          undo,
        );
      const rx = range(sizes.rxRings).map((i) => ring(st.KIND_VALE_RX, i, sizes.rxSlots, sizes.txRings + i));
      const tx = range(sizes.txRings).map((i) => ring(st.KIND_VALE_TX, i, sizes.txSlots, i));
      sw.show(port, plan, region);
      const adapter: ValePort = { kind: 'vale', name, region, state: sw.state, tx, rx, sw, port };
      this.adapters.set(name, adapter);
      return adapter;
    } catch (error) {
      undo.run();
      throw error;
    }
  }

  #destroyValePort(adapter: ValePort): void {
    this.adapters.delete(adapter.name);
    adapter.sw.remove(adapter.port);
    this.#releaseRings(adapter.region, [...adapter.tx, ...adapter.rx]);
    this.memory.releaseRegion(adapter.region);
    this.#dropSwitchIfEmpty(adapter.sw);
  }

  #switch(name: string, forPort: string): Switch {
    const known = this.switches.get(name);
    if (known) return known;
    if (this.switches.size >= MAX_BRIDGES) {
      throw new NetmapError(
        'ENOMEM',
        `Cannot open "${forPort}": all ${MAX_BRIDGES} switches are in use (${[...this.switches.keys()].join(', ')}); close the ports of one`,
      );
    }
    const sw = new Switch(this.memory, name);
    sw.batch = this.#batch;
    this.switches.set(name, sw);
    return sw;
  }

  #dropSwitchIfEmpty(sw: Switch): void {
    if (sw.size > 0) return;
    this.switches.delete(sw.name);
    this.memory.releaseState(sw.state);
  }

  // ---- pipes ----

  #createPipe(name: Extract<ResolvedName, { kind: 'pipe' }>, request: RegisterRequest): PipeEnd {
    const siblings = [...this.pipes.values()].filter((pipe) => pipe.parent === name.parent).length;
    if (siblings >= NM_PIPES_PER_PARENT) {
      throw new NetmapError(
        'EINVAL',
        `Cannot open pipe "${name.name}": "${name.parent}" has ${siblings} pipes, which is all that a port may have`,
      );
    }
    const undo = new Undo();
    try {
      const { region, sizes } = this.#pipeMemory(name.parent, request, undo);
      const pipe = this.#connect(name, region, sizes, undo);
      this.pipes.set(pipeKey(name.parent, name.id), pipe);
      for (const end of pipe.ends) this.adapters.set(end.name, end);
      return pipe.ends[name.master ? 0 : 1];
    } catch (error) {
      undo.run();
      throw error;
    }
  }

  /** The parent's region where it has room, else one of the pipe's own (netmap would refuse with ENOMEM). */
  #pipeMemory(
    parentName: string,
    request: RegisterRequest,
    undo: Undo,
  ): { region: Region; sizes: PortSizes } {
    const parent =
      this.adapters.get(parentName) ??
      this.parents.get(parentName) ??
      this.#createParent(parentName, request, undo);
    const parentSizes = parent.kind === 'parent' ? undefined : sizesOf(parent);
    const sizes = pipeSizes(request, parentSizes);
    const { region } = parent;
    const extra = Math.min(request.extraBufs, NM_MAX_EXTRA_BUFS);
    const rings = 2 * (sizes.txRings + sizes.rxRings);
    const bufs = sizes.txRings * sizes.txSlots + sizes.rxRings * sizes.rxSlots;
    const ringBytes = ringSize(Math.max(sizes.txSlots, sizes.rxSlots));
    if (
      region.rings.free >= rings &&
      region.bufs.free >= bufs + extra &&
      region.geometry.rings.size >= ringBytes
    ) {
      region.users++;
      undo.push(() => this.memory.releaseRegion(region));
      return { region, sizes };
    }
    return { region: this.#region(request, pipeGeometry(sizes, extra), undo), sizes };
  }

  #createParent(name: string, request: RegisterRequest, undo: Undo): Adapter | PipeParent {
    const resolved = resolveName(name);
    if (resolved.kind === 'vale') {
      // The parent's rings and slots are netmap's defaults; the request speaks of the pipe.
      const plain = { ...request, name, txRings: 0, rxRings: 0, txSlots: 0, rxSlots: 0 };
      const parent = this.#createValePort(resolved.switchName, plain, pipeSizes(request));
      undo.push(() => this.#destroyValePort(parent));
      return parent;
    }
    const region = this.#region(
      request,
      parentGeometry(undefined, pipeSizes(request), request.extraBufs),
      undo,
    );
    const parent: PipeParent = { kind: 'parent', name, region };
    this.parents.set(name, parent);
    undo.push(() => this.parents.delete(name));
    return parent;
  }

  /** TX ring i of one end and RX ring i of the other share one set of buffers. */
  #connect(
    name: Extract<ResolvedName, { kind: 'pipe' }>,
    region: Region,
    opener: PortSizes,
    undo: Undo,
  ): Pipe {
    const { parent, id } = name;
    const master: PortSizes = name.master
      ? opener
      : {
          txRings: opener.rxRings,
          rxRings: opener.txRings,
          txSlots: opener.rxSlots,
          rxSlots: opener.txSlots,
        };
    const krings = 2 * (master.txRings + master.rxRings);
    const state = this.memory.createState(
      'netmap-pipe',
      Math.ceil((st.PIPE_HEAP + krings * st.KR_SIZE) / 65536) * 65536,
    );
    undo.push(() => this.memory.releaseState(state));
    let nth = 0;
    const pair = (index: number, slots: number): [Ring, Ring] => {
      const txOfs = st.PIPE_HEAP + nth++ * st.KR_SIZE;
      const rxOfs = st.PIPE_HEAP + nth++ * st.KR_SIZE;
      const { view } = this.memory.arena;
      view.setUint32(state.mapping.address + txOfs + st.KR_PEER, rxOfs, true);
      view.setUint32(state.mapping.address + rxOfs + st.KR_PEER, txOfs, true);
      const tx = this.#ring(
        region,
        state,
        { kind: st.KIND_PIPE_TX, index, slots, kringOfs: txOfs, port: 0 },
        undo,
      );
      const rx = this.#ring(
        region,
        state,
        { kind: st.KIND_PIPE_RX, index, slots, kringOfs: rxOfs, port: 0 },
        undo,
        tx,
      );
      return [tx, rx];
    };
    const down = range(master.txRings).map((i) => pair(i, master.txSlots));
    const up = range(master.rxRings).map((i) => pair(i, master.rxSlots));
    const ends: PipeEnd[] = [];
    const pipe: Pipe = { parent, id, ends: ends as unknown as [PipeEnd, PipeEnd] };
    const common = { kind: 'pipe' as const, region, state, pipe };
    ends.push({ ...common, name: `${parent}{${id}`, tx: down.map(([tx]) => tx), rx: up.map(([, rx]) => rx) });
    ends.push({ ...common, name: `${parent}}${id}`, tx: up.map(([tx]) => tx), rx: down.map(([, rx]) => rx) });
    return pipe;
  }

  #destroyPipe(pipe: Pipe): void {
    const [master, slave] = pipe.ends;
    for (const end of pipe.ends) this.adapters.delete(end.name);
    this.pipes.delete(pipeKey(pipe.parent, pipe.id));
    this.#releaseRings(master.region, [...master.tx, ...master.rx, ...slave.tx, ...slave.rx]);
    this.memory.releaseRegion(master.region);
    this.memory.releaseState(master.state);
  }

  // ---- memory ----

  /** The region asked for by id, else a new one. */
  #region(request: RegisterRequest, geometry: Geometry, undo: Undo): Region {
    const region =
      request.memId !== 0
        ? this.memory.regionById(request.memId)
        : this.memory.createRegion(geometry, request.name);
    region.users++;
    undo.push(() => this.memory.releaseRegion(region));
    return region;
  }

  #ring(
    region: Region,
    state: Adapter['state'],
    plan: Parameters<typeof createRing>[3],
    undo: Undo,
    lender?: Ring,
  ): Ring {
    const ring = createRing(this.memory, region, state, plan, lender);
    undo.push(() => this.#releaseRings(region, [ring]));
    return ring;
  }

  /** Not worth the walk where the region goes with its last user anyway. */
  #releaseRings(region: Region, rings: readonly Ring[]): void {
    if (region.users > 1) for (const ring of rings) destroyRing(this.memory, region, ring);
  }
}

/** Steps to take back, last first, when a later one fails. */
class Undo {
  readonly #steps: (() => void)[] = [];

  push(step: () => void): void {
    this.#steps.push(step);
  }

  run(): void {
    for (const step of this.#steps.reverse()) step();
  }
}

export function pipeKey(parent: string, id: string): string {
  return `${parent}|${id}`;
}

export function sizesOf(adapter: Adapter): PortSizes {
  return {
    txRings: adapter.tx.length,
    rxRings: adapter.rx.length,
    txSlots: adapter.tx[0]?.slots ?? 0,
    rxSlots: adapter.rx[0]?.slots ?? 0,
  };
}

function range(count: number): number[] {
  return Array.from({ length: count }, (_, i) => i);
}

function noInterface(name: string): NetmapError {
  if (os.hasInterface(name)) {
    return new NetmapError(
      'EOPNOTSUPP',
      `Cannot open network interface "${name}": this version has VALE ports (vale0:a) and pipes (${name}{1), no NIC access yet`,
    );
  }
  return new NetmapError(
    'ENXIO',
    `Cannot open "${name}": no network interface of that name; a VALE port is written vale0:a, a pipe ${name}{1`,
  );
}
