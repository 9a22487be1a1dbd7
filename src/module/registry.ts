// Who has opened what: registrations, their beginning and their end.

import { randomInt } from 'node:crypto';
import { NetmapError } from '../abi/errors.ts';
import {
  NM_MAX_EXTRA_BUFS,
  NR_ACCEPT_VNET_HDR,
  NR_EXCLUSIVE,
  NR_REG_ALL_NIC,
  NR_REG_NULL,
} from '../abi/netmap.ts';
import * as st from '../abi/state.ts';
import type { DataPlane } from '../dataplane/dataplane.ts';
import type {
  OffsetsRequest,
  PortInfo,
  RegisterReply,
  RegisterRequest,
  Reply,
  Status,
} from '../protocol/messages.ts';
import type { Adapter, Registration } from './adapter.ts';
import { Attachments } from './attachments.ts';
import { bind, checkRequest, choose } from './binding.ts';
import type { Memory } from './memory.ts';
import { MONITOR_FLAGS } from './monitors.ts';
import { clearOffsets, setOffsets } from './offsets.ts';
import { Ports, sizesOf } from './ports.ts';
import { repairRing } from './repair.ts';
import { createIf, destroyIf, isHost, type Ring, transmits } from './rings.ts';
import { Switchboard } from './switchboard.ts';

/** Who asks: the client's token, and its process. */
export interface Requester {
  readonly token: number;
  readonly pid: number;
  /** A worker of the module itself. */
  readonly internal: boolean;
}

export class Registry {
  readonly memory: Memory;
  readonly ports: Ports;
  readonly attachments: Attachments;
  readonly switchboard: Switchboard;
  readonly registrations = new Map<number, Registration>();
  readonly #system: number;
  readonly #dataPlane: DataPlane;
  /** Rings the bells that a repair collected in the scratch area. */
  readonly #ringBells: () => void;
  /** From anywhere: a port of a module before this one, whose number it still is, must not close another's. */
  nextRegistration = randomInt(1, 2 ** 40);

  /** @param system  where system memory is mapped */
  constructor(memory: Memory, system: number, dataPlane: DataPlane, ringBells: () => void) {
    this.memory = memory;
    this.ports = new Ports(memory, dataPlane, system);
    this.attachments = new Attachments(this.ports);
    this.switchboard = new Switchboard(this.ports);
    this.#system = system;
    this.#dataPlane = dataPlane;
    this.#ringBells = ringBells;
    this.ports.nics.watch.ringBells = ringBells;
  }

  /** REGISTER.  On an error nothing remains. */
  register(requester: Requester, request: RegisterRequest): RegisterReply {
    checkRequest(request);
    return this.#enter(requester, request, () => this.#adapterFor(request, requester, this.#open()));
  }

  /** Opens a port whose owner decides where the frames of a switch go. */
  registerLookup(requester: Requester, switchName: string, label: string): RegisterReply {
    const request = { name: label, mode: NR_REG_ALL_NIC, ringId: 0, flags: 0, memId: 0, extraBufs: 0 };
    const sizes = { txRings: 0, rxRings: 0, txSlots: 0, rxSlots: 0 };
    return this.#enter(requester, { ...request, ...sizes }, () =>
      this.ports.lookups.create(switchName, label),
    );
  }

  #enter(requester: Requester, request: RegisterRequest, find: () => Adapter): RegisterReply {
    try {
      const adapter = find();
      checkHeader(adapter, request);
      if (!requester.internal) this.#checkLinked(adapter);
      const { tx, rx } = requester.internal ? choose(adapter, request) : bind(adapter, request);
      const bound = new Set<Ring>([...tx, ...rx]);
      const { ifOfs, extraBufs } = createIf(this.memory, adapter.region, {
        name: adapter.name,
        txRings: adapter.tx,
        rxRings: adapter.rx,
        isBound: (ring) => bound.has(ring),
        extraBufs: Math.min(request.extraBufs, NM_MAX_EXTRA_BUFS),
      });
      for (const ring of bound) {
        ring.users++;
        ring.exclusive ||= (request.flags & NR_EXCLUSIVE) !== 0;
      }
      const registration: Registration = {
        id: this.nextRegistration++,
        token: requester.token,
        adapter,
        tx,
        rx,
        ifOfs,
      };
      this.registrations.set(registration.id, registration);
      try {
        const { offsets } = request;
        const shown = offsets ? { maxOffset: setOffsets(this.memory, registration, offsets) } : {};
        this.showOpen(adapter);
        return { ...this.#reply(registration, extraBufs), ...shown };
      } catch (error) {
        this.#end(registration);
        throw error;
      }
    } catch (error) {
      this.#collect();
      throw error;
    }
  }

  #adapterFor(request: RegisterRequest, requester: Requester, open: ReadonlySet<Adapter>): Adapter {
    // A proxy takes what its client has, monitors too.
    const known = requester.internal && this.ports.everything.find(({ name }) => name === request.name);
    if (known) return known;
    if (request.mode === NR_REG_NULL) return this.ports.nulls.create(request);
    if (request.flags & MONITOR_FLAGS) return this.ports.openMonitor(request, (port) => open.has(port));
    return this.ports.open(request);
  }

  /** @throws NetmapError EINVAL if the client has no registration of that id. */
  checkOwner(requester: Requester, id: number): Registration {
    const registration = this.registrations.get(id);
    if (registration?.token === requester.token) return registration;
    throw new NetmapError('EINVAL', `Cannot close registration ${id}: this client has none of that number`);
  }

  /** Gives a registration's rings offsets. @throws NetmapError EOPNOTSUPP, EINVAL, EBUSY. */
  setOffsets(id: number, offsets: OffsetsRequest): number {
    return setOffsets(this.memory, this.registrations.get(id)!, offsets);
  }

  /** Ends a registration. @throws NetmapError EINVAL if the client has none of that id. */
  release(requester: Requester, id: number): void {
    this.#end(this.checkOwner(requester, id));
    this.#collect();
  }

  /** Ends all that a client had, and finishes what it was in the middle of. */
  releaseClient(token: number): void {
    for (const registration of [...this.registrations.values()]) {
      if (registration.token !== token) continue;
      try {
        this.#end(registration);
      } catch (error) {
        console.error(error); // Nobody is left to be told, and the others are to end all the same.
      }
    }
    this.#collect();
    this.#freeBells(token);
  }

  /** POOLS_INFO_GET: where the pools of a port's region lie. @throws NetmapError ENXIO without a name. */
  poolsInfo(request: RegisterRequest): Reply<'poolsInfo'> {
    if (request.name === '')
      throw new NetmapError('ENXIO', 'Cannot tell the pools of a region without a port: give its name');
    return this.with((ports) => {
      const { memId, geometry } = ports.open(request).region;
      const { ifs, rings, bufs, size } = geometry;
      return { memSize: size, memId, ifs, rings, bufs };
    });
  }

  /** PORT_INFO_GET: the port is made if need be, and gone again.  Without a name, only the region's size is told. */
  portInfo(request: RegisterRequest): PortInfo {
    if (request.name === '') {
      const memId = request.memId || 1;
      const none = { txRings: 0, rxRings: 0, hostTxRings: 0, hostRxRings: 0, txSlots: 0, rxSlots: 0 };
      return { memSize: this.ports.regionSize(memId), memId, ...none };
    }
    checkRequest(request);
    try {
      const adapter = this.ports.open(request);
      return this.#info(adapter);
    } finally {
      this.#collect();
    }
  }

  /** Runs a request about ports; what it made and nobody uses goes again. */
  with<T>(work: (ports: Ports, isOpen: (adapter: Adapter) => boolean) => T): T {
    const open = this.#open();
    try {
      return work(this.ports, (adapter) => open.has(adapter));
    } finally {
      this.#collect();
    }
  }

  /** What there is, with counters. */
  describePorts(): Status['ports'] {
    this.ports.nics.watch.countLost();
    return this.ports.everything.map((adapter) => ({
      name: adapter.name,
      kind: adapter.kind,
      memId: adapter.region.memId,
      memSize: adapter.region.geometry.size,
      opens: [...this.registrations.values()].filter((registration) => registration.adapter === adapter)
        .length,
      rings: [...adapter.tx, ...adapter.rx].map((ring) => this.#describeRing(adapter, ring)),
    }));
  }

  /** Where the counters of every ring lie. */
  counterPlaces(): Reply<'counterPlaces'> {
    const states = [...new Set(this.ports.everything.map(({ state }) => state))];
    return {
      states: states.map(({ object }) => object),
      ports: this.ports.everything.map(({ name, kind, state, tx, rx }) => ({
        name,
        kind,
        rings: [...tx, ...rx].map((ring) => ({
          ring: nameOf(ring),
          state: states.indexOf(state),
          kringOfs: ring.kringOfs,
        })),
      })),
    };
  }

  /** Tells senders which rx rings of a VALE port are bound; takes from a NIC and its host what is asked for. */
  showOpen(adapter: Adapter): void {
    if (adapter.kind === 'nic') this.ports.nics.apply(adapter);
    if (adapter.kind !== 'vale') return;
    let open = 0;
    for (const ring of adapter.rx) if (ring.users > 0) open |= 1 << ring.index;
    adapter.sw.setOpen(adapter.port, open);
  }

  #end(registration: Registration): void {
    const { adapter, token } = registration;
    this.registrations.delete(registration.id);
    for (const ring of [...registration.tx, ...registration.rx]) {
      if (repairRing(this.memory, this.#dataPlane, this.ports, adapter, ring, token)) this.#ringBells();
      ring.users--;
      if (ring.users > 0) continue;
      ring.exclusive = false;
      clearOffsets(this.memory, adapter, ring);
    }
    this.showOpen(adapter);
    if (!this.#open().has(adapter)) this.#orphanMonitors(adapter);
    destroyIf(this.memory, adapter.region, registration.ifOfs);
  }

  /** Adapters that somebody has open. */
  #open(): Set<Adapter> {
    return new Set([...this.registrations.values()].map((registration) => registration.adapter));
  }

  #collect(): void {
    const open = this.#open();
    this.ports.collect((adapter) => open.has(adapter));
  }

  /** The last opening of a port is gone: whoever watches it sees nothing more. */
  #orphanMonitors(adapter: Adapter): void {
    const { monitors } = this.ports;
    for (const monitor of monitors.all) {
      if (monitor.parent === adapter && monitors.orphan(monitor, this.#dataPlane)) this.#ringBells();
    }
  }

  #freeBells(token: number): void {
    const { words } = this.memory.arena;
    for (let bell = 1; bell < st.SYS_BELL_COUNT; bell++) {
      const at = (this.#system + st.SYS_BELLS + bell * st.BELL_SIZE + st.BELL_TOKEN) >> 2;
      Atomics.compareExchange(words, at, token, 0);
    }
  }

  /** @throws NetmapError EBUSY: the port's frames come from, or go to, another port. */
  #checkLinked(adapter: Adapter): void {
    const [port] = adapter.kind === 'nic' ? this.attachments.nicPorts(adapter.name) : [];
    if (port) {
      throw new NetmapError(
        'EBUSY',
        `Cannot open "${adapter.name}": it is attached to a switch; detach it first ("vale-ctl -d ${port.name}")`,
      );
    }
    if (adapter.kind !== 'vale' || !(adapter.nic || adapter.link || adapter.persistent?.link)) return;
    const what = adapter.nic ? `${adapter.nic.name} is attached by it` : 'it links two switches';
    throw new NetmapError('EBUSY', `Cannot open "${adapter.name}": ${what}; detach it first`);
  }

  #info(adapter: Adapter): PortInfo {
    const hostRings = {
      hostTxRings: adapter.tx.filter(isHost).length,
      hostRxRings: adapter.rx.filter(isHost).length,
    };
    const { region } = adapter;
    return { memSize: region.geometry.size, memId: region.memId, ...sizesOf(adapter), ...hostRings };
  }

  #reply({ id, adapter, tx, rx, ifOfs }: Registration, extraBufs: number): RegisterReply {
    const { region, state } = adapter;
    const { ifs, rings, bufs } = region.geometry;
    const shown = (ring: Ring) => ({ index: ring.index, kringOfs: ring.kringOfs, ringOfs: ring.ringOfs });
    return {
      registration: id,
      adapter: adapter.name,
      kind: adapter.kind,
      ...this.#info(adapter),
      extraBufs,
      ifOfs,
      region: { slot: region.slot, ref: region.object, ifs, rings, bufs },
      state: { slot: state.slot, ref: state.object },
      tx: tx.map(shown),
      rx: rx.map(shown),
      ...(adapter.kind === 'nic' ? this.ports.nics.shown(adapter, tx, rx) : { queues: [], held: [] }),
    };
  }

  #describeRing(adapter: Adapter, ring: Ring): Status['ports'][number]['rings'][number] {
    const { view } = this.memory.arena;
    const kring = adapter.state.mapping.address + ring.kringOfs;
    const counter = (ofs: number) => Number(view.getBigUint64(kring + ofs, true));
    const drops: Record<string, number> = {};
    st.DROP_NAMES.forEach((name, reason) => {
      const count = counter(st.KR_DROPS + reason * 8);
      if (count > 0) drops[name] = count;
    });
    return {
      ring: nameOf(ring),
      slots: ring.slots,
      packets: counter(st.KR_PACKETS),
      bytes: counter(st.KR_BYTES),
      drops,
    };
  }
}

function nameOf(ring: Ring): string {
  return `${transmits(ring) ? 'tx' : 'rx'}${ring.index}`;
}

/** @throws NetmapError EIO: frames come with a header that the application does not say it copes with. */
function checkHeader(adapter: Adapter, { name, flags }: RegisterRequest): void {
  if (adapter.kind !== 'vale' || adapter.headerLength === 0 || flags & NR_ACCEPT_VNET_HDR) return;
  throw new NetmapError(
    'EIO',
    `Cannot open "${name}": its frames carry a virtio-net header of ${adapter.headerLength} bytes; open it with NR_ACCEPT_VNET_HDR`,
  );
}
