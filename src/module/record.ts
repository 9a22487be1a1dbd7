import type { RegistryRecord } from './journal.ts';
import type { Client } from './module.ts';
import type { Registry } from './registry.ts';

/** All that a module started after this one needs to take everything over. */
export function recordOf(registry: Registry, clients: readonly Client[], nextToken: number): RegistryRecord {
  const { ports, registrations, nextRegistration } = registry;
  const { vale, pipes } = ports;
  const adapters = ports.everything;
  const persistent = [...vale.persistent.values()];
  const parents = [...pipes.parents.values()];
  const switches = [...vale.switches.values()];
  const regions = new Set([...adapters, ...parents, ...persistent].map(({ region }) => region));
  const states = new Set([...adapters, ...switches].map(({ state }) => state));
  const shape = (adapter: (typeof adapters)[number]) => ({
    name: adapter.name,
    region: adapter.region.slot,
    state: adapter.state.slot,
    tx: [...adapter.tx],
    rx: [...adapter.rx],
    port: adapter.port,
  });
  return {
    nextToken,
    nextRegistration,
    clients: clients.map(({ token, pid, startTime, isolated }) => ({ token, pid, startTime, isolated })),
    regions: [...regions].map(({ slot, memId, object, geometry }) => ({ slot, memId, object, geometry })),
    states: [...states].map(({ slot, object }) => ({ slot, object })),
    switches: switches.map(({ name, index, state }) => ({ name, index, state: state.slot })),
    persistent: persistent.map(({ name, region, sizes, headerLength, attached }) => ({
      name,
      region: region.slot,
      sizes,
      headerLength,
      attached: attached ?? null,
    })),
    valePorts: adapters.flatMap((adapter) =>
      adapter.kind === 'vale'
        ? [
            {
              ...shape(adapter),
              sw: adapter.sw.name,
              headerLength: adapter.headerLength,
              persistent: adapter.persistent?.name ?? null,
              link: adapter.link?.name ?? null,
              nic: adapter.nic ?? null,
            },
          ]
        : [],
    ),
    pipes: [...pipes.all.values()].map((pipe) => ({
      parent: pipe.parent,
      id: pipe.id,
      ends: pipe.ends.map(shape),
    })),
    monitors: [...ports.monitors.all].map((monitor) => ({
      ...shape(monitor),
      zeroCopy: monitor.zeroCopy,
      watched: [...monitor.watched],
      parent: monitor.parent?.name ?? null,
    })),
    nulls: [...ports.nulls.all].map((port) => ({ ...shape(port), sizes: port.sizes })),
    nics: [...ports.nics.all.values()].map((port) => ({
      ...shape(port),
      ifindex: port.interface.index,
      txQueues: port.interface.txQueues,
      rxQueues: port.interface.rxQueues,
      admode: port.admode,
      queues: [...port.queues].map(([index, { slot }]) => ({ index, slot })),
      kept: port.keep.record,
    })),
    lookups: [...ports.lookups.all].map((port) => ({ ...shape(port), sw: port.sw.name })),
    parameters: ports.parameters.list().map(({ name, value }) => ({ name, value })),
    parents: parents.map(({ name, region }) => ({ name, region: region.slot })),
    registrations: [...registrations.values()].map(({ id, token, adapter, tx, rx, ifOfs }) => ({
      id,
      token,
      adapter: adapter.name,
      tx: tx.map((ring) => ring.index),
      rx: rx.map((ring) => ring.index),
      ifOfs,
    })),
  };
}
