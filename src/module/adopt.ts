// Taking over: a module started after a crash opens, through its living clients, the memory that its
// predecessor made, and rebuilds the registry from the record.  Traffic goes on meanwhile.

import { type ObjectRef, os } from '../os/index.ts';
import { NM_RESERVED_BUFS } from '../abi/netmap.ts';
import type { Adapter, NicPort, Pipe, PipeEnd, ValePort } from './adapter.ts';
import type { RegistryRecord } from './journal.ts';
import type { Region, State } from './memory.ts';
import { pipeKey } from './pipes.ts';
import { PortTable } from './port-table.ts';
import type { Registry } from './registry.ts';
import { buffersOf, claimIf, claimRing, type Ring } from './rings.ts';
import { Switch } from './switch.ts';

/** An application that has put one buffer into two slots keeps the count from being reached. */
const MOST_LOOKS = 100;

/**
 * @param holders  processes that still run and may hold the memory
 * @returns tokens of registrations that could not be taken over, because nobody holds their memory any more
 */
export function restore(registry: Registry, record: RegistryRecord, holders: readonly number[]): Set<number> {
  const { memory, ports } = registry;
  const found = objectsOf(holders);
  const regions = new Map<number, Region>();
  const states = new Map<number, State>();
  for (const { slot, memId, object, geometry } of record.regions) {
    const here = found(object.ino, object.size);
    if (here) regions.set(slot, memory.adoptRegion(slot, memId, here, geometry));
  }
  for (const { slot, object } of record.states) {
    const here = found(object.ino, object.size);
    if (here) states.set(slot, memory.adoptState(slot, here));
  }
  const { vale, pipes } = ports;
  for (const { name, value } of record.parameters) ports.parameters.restore(name, value);
  for (const { name, index, state } of record.switches) {
    const shared = states.get(state);
    if (shared) vale.switches.set(name, new Switch(memory, name, index, shared));
  }
  for (const { name, region, sizes, headerLength, attached } of record.persistent) {
    const shared = regions.get(region);
    if (!shared) continue;
    shared.users++;
    const port = { name, region: shared, sizes, headerLength, placed: undefined, link: undefined };
    vale.persistent.set(name, { ...port, attached: attached ?? undefined });
  }
  const common = (adapter: { name: string; region: number; state: number; tx: Ring[]; rx: Ring[] }) => {
    const region = regions.get(adapter.region);
    const state = states.get(adapter.state);
    if (!region || !state) return undefined;
    return { name: adapter.name, region, state, tx: adapter.tx, rx: adapter.rx };
  };
  for (const entry of record.valePorts) {
    const shared = common(entry);
    const sw = vale.switches.get(entry.sw);
    if (!sw) continue;
    sw.adopt(entry.port);
    if (!shared) {
      sw.remove(entry.port); // Nobody has its memory: senders must not look for it.
      continue;
    }
    sw.setModule(entry.port, shared.region.object);
    const named = (name: string | null) => (name === null ? undefined : vale.persistent.get(name));
    const persistent = named(entry.persistent);
    const link = named(entry.link);
    const { port, headerLength } = entry;
    const nic = entry.nic ?? undefined;
    const adapter: ValePort = { kind: 'vale', ...shared, sw, port, headerLength, persistent, link, nic };
    if (link) link.link = adapter;
    if (persistent) persistent.placed = adapter;
    shared.region.users++;
    ports.adapters.set(entry.name, adapter);
  }
  const tables = new Map<number, PortTable>([...vale.switches.values()].map((sw) => [sw.state.slot, sw]));
  const tableOn = (state: State) => {
    const table = tables.get(state.slot) ?? new PortTable(memory, 'pipe', 0, state);
    tables.set(state.slot, table);
    return table;
  };
  for (const entry of record.pipes) {
    const shared = entry.ends.map(common);
    if (shared.some((end) => end === undefined)) continue;
    const table = tableOn(shared[0]!.state);
    const ends: PipeEnd[] = [];
    const pipe: Pipe = { parent: entry.parent, id: entry.id, table, ends: ends as unknown as Pipe['ends'] };
    entry.ends.forEach(({ port }, i) => {
      table.adopt(port);
      table.setModule(port, shared[i]!.region.object);
      ends.push({ kind: 'pipe', ...shared[i]!, port, pipe });
    });
    ends[0]!.region.users++;
    pipes.all.set(pipeKey(pipe.parent, pipe.id), pipe);
    for (const end of ends) ports.adapters.set(end.name, end);
  }
  for (const entry of record.nulls) {
    const shared = common(entry);
    if (!shared) continue;
    const { port, sizes } = entry;
    shared.region.users++;
    ports.nulls.all.add({ kind: 'null', ...shared, port, sizes, table: tableOn(shared.state) });
  }
  const held = record.nics.length > 0 ? os.holdersOf(holders) : new Map();
  for (const entry of record.nics) {
    const shared = common(entry);
    if (!shared) continue;
    const { region, state } = shared;
    try {
      if (ports.nics.adopt(entry, region, state, held)) continue;
    } catch (error) {
      console.error(`Cannot take "${entry.name}" over: ${(error as Error).message}`);
    }
    memory.releaseState(state);
  }
  for (const entry of record.lookups) {
    const shared = common(entry);
    const sw = vale.switches.get(entry.sw);
    if (!sw) continue;
    sw.adopt(entry.port);
    if (!shared) {
      sw.orphanLookup(entry.port.index);
      sw.remove(entry.port);
      continue;
    }
    sw.setModule(entry.port, shared.region.object);
    shared.region.users++;
    ports.lookups.all.add({ kind: 'lookup', ...shared, port: entry.port, sw });
  }
  for (const entry of record.monitors) {
    const shared = common(entry);
    if (!shared) continue;
    const table = tableOn(shared.state);
    const { port, zeroCopy, watched } = entry;
    table.adopt(port);
    table.setModule(port, shared.region.object);
    shared.region.users++;
    const parent = entry.parent === null ? undefined : ports.find(entry.parent);
    ports.monitors.all.add({
      kind: 'monitor',
      ...shared,
      port,
      table,
      zeroCopy,
      watched,
      parent: parent?.kind === 'vale' || parent?.kind === 'pipe' ? parent : undefined,
    });
  }
  for (const { name, region } of record.parents) {
    const shared = regions.get(region);
    if (!shared) continue;
    shared.users++;
    pipes.parents.set(name, { kind: 'parent', name, region: shared });
  }
  const lost = restoreRegistrations(registry, record);
  for (const region of regions.values()) memory.dropIfUnused(region);
  markTaken(registry);
  rebuildPersistent(registry, record);
  return lost;
}

/** Persistent ports, and links, that nobody had open went with the module's memory: they held nothing, and are made again. */
function rebuildPersistent({ ports }: Registry, record: RegistryRecord): void {
  const { vale } = ports;
  for (const { name, sizes, headerLength, attached } of record.persistent) {
    let port = vale.persistent.get(name);
    if (!port) {
      const request = { name, ...sizes, mode: 0, ringId: 0, flags: 0, memId: 0, extraBufs: 0 };
      port = vale.newIf(request, false);
      port.headerLength = headerLength;
    }
    if (attached !== null && !port.placed) vale.attach(port, attached, `${attached}:${name}`);
  }
  for (const { name, sw, nic } of record.valePorts) {
    if (!nic || ports.adapters.has(name)) continue;
    try {
      const { sizes, region } = ports.nics.describe(nic.name, 0);
      vale.createForNic(nic, sizes, region, sw, name);
    } catch (error) {
      console.error(`Cannot attach "${name}" again: ${(error as Error).message}`);
    }
  }
  for (const { name, sw, link } of record.valePorts) {
    const port = link === null ? undefined : vale.persistent.get(link);
    if (port && !port.link) vale.createLink(port, sw, name);
  }
}

function restoreRegistrations(registry: Registry, record: RegistryRecord): Set<number> {
  const lost = new Set<number>();
  registry.nextRegistration = record.nextRegistration;
  for (const { id, token, adapter: name, tx, rx, ifOfs } of record.registrations) {
    const adapter = registry.ports.everything.find((known) => known.name === name);
    if (!adapter) {
      // Whose interface nobody held any more has its other ports still.
      if (!record.nics.some((nic) => nic.name === name)) lost.add(token);
      continue;
    }
    const pick = (rings: readonly Ring[], indices: number[]) =>
      rings.filter((ring) => indices.includes(ring.index));
    registry.registrations.set(id, {
      id,
      token,
      adapter,
      tx: pick(adapter.tx, tx),
      rx: pick(adapter.rx, rx),
      ifOfs,
    });
  }
  return lost;
}

/** What is taken in a region's pools is what its rings and openings refer to now. */
function markTaken(registry: Registry): void {
  const { memory, ports, registrations } = registry;
  const byRegion = new Map<Region, Adapter[]>();
  for (const adapter of ports.everything) {
    byRegion.set(adapter.region, [...(byRegion.get(adapter.region) ?? []), adapter]);
  }
  for (const [region, adapters] of byRegion) {
    memory.withRegion(region, (base) => {
      const { view } = memory.arena;
      for (const adapter of adapters) {
        for (const ring of [...adapter.tx, ...adapter.rx]) claimRing(view, base, region, ring);
      }
      const nics = adapters.filter((adapter) => adapter.kind === 'nic');
      claimNicBuffers(view, base, region, nics);
      for (const registration of registrations.values()) {
        if (registration.adapter.region === region) claimIf(view, base, region, registration.ifOfs);
      }
    });
  }
}

/**
 * Buffers of interfaces' rings change places while we look, between rings that one process forwards between and with those
 * that the kernel has: so it is looked until as many were seen as the rings have slots.
 */
function claimNicBuffers(view: DataView, base: number, region: Region, nics: readonly NicPort[]): void {
  const seen = new Set<number>();
  let slots = 0;
  for (let look = 0; look === 0 || (look < MOST_LOOKS && seen.size < slots); look++) {
    slots = 0;
    for (const { tx, rx, queues, state } of nics)
      for (const ring of [...tx, ...rx]) {
        if (!queues.has(ring.index)) continue;
        slots += ring.slots;
        for (const index of buffersOf(view, base, state, ring))
          if (index >= NM_RESERVED_BUFS) seen.add(index);
      }
  }
  for (const index of seen) region.bufs.take(index);
}

/** Shared memory that the processes hold, opened here. */
function objectsOf(pids: readonly number[]) {
  const find = os.objectFinder(pids);
  return (ino: number, size: number): ObjectRef | undefined => {
    const object = find(ino, size);
    return object && { pid: process.pid, ...object };
  };
}
