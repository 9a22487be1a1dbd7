// Ports of network interfaces (spec ports §4.1): made with the first opening, gone with the last.  Which queues are
// open, whether the host stack is cut off and where its frames go follows from the rings that are bound.

import { NetmapError } from '../abi/errors.ts';
import { NM_BDG_MAXRINGS } from '../abi/netmap.ts';
import * as st from '../abi/state.ts';
import type { DataPlane } from '../dataplane/dataplane.ts';
import type { Geometry } from '../mem/geometry.ts';
import {
  type BufferMemory,
  type Egress,
  findInterface,
  type Holders,
  type HostRings,
  hostQueue,
  type Interface,
  Keepsakes,
  listInterfaces,
  openDevice,
  openEndpoint,
  ringsOf,
  wireQueue,
} from '../nic/index.ts';
import type { RegisterReply, RegisterRequest } from '../protocol/messages.ts';
import type { NicPort } from './adapter.ts';
import type { NicRecord } from './journal.ts';
import { GLOBAL_REGION, type Region, type State } from './memory.ts';
import { NicQueues, queueOf } from './nic-queues.ts';
import { NicWatch } from './nic-watch.ts';
import type { Parameters } from './parameters.ts';
import { nicGeometry, type PortSizes } from './plan.ts';
import { PortTable } from './port-table.ts';
import { isHost, type Ring } from './rings.ts';
import { range, type Stock, Undo } from './stock.ts';

/** Value of the parameter admode. */
const EMULATED = 3;

export class NicPorts {
  /** By the interface's index: a port has the name that its interface had when it was made. */
  readonly all = new Map<number, NicPort>();
  readonly #stock: Stock;
  readonly #parameters: Parameters;
  readonly #system: number;
  readonly #queues: NicQueues;
  /** Names of interfaces that are made for the host when they are opened, and gone when they are closed. */
  readonly endpoints = new Set<string>();
  /** Taken over, and not brought in line with their users yet. */
  readonly #unsettled = new Set<NicPort>();
  /** What becomes of them while they are open. */
  readonly watch: NicWatch;

  /** @param system  where system memory is mapped */
  constructor(stock: Stock, parameters: Parameters, dataPlane: DataPlane, system: number) {
    this.#stock = stock;
    this.#system = system;
    this.#parameters = parameters;
    this.#queues = new NicQueues(stock, parameters, dataPlane);
    this.watch = new NicWatch(this.all, stock.memory.arena, dataPlane);
    parameters.watch('fwd', () => this.#showForwarding());
  }

  /**
   * The port of that interface, made if nobody has it open.
   * @param hostRings  wanted then, 0 for one; what can be had is made
   * @throws NetmapError ENXIO, EINVAL, EPERM, ENOMEM, EOPNOTSUPP.
   */
  open(name: string, memId: number, hostRings: HostRings): NicPort {
    const endpoint = this.endpoints.has(name);
    const nic = findInterface(name);
    if (!nic && !endpoint) throw noInterface(name);
    const known = nic && this.all.get(nic.index);
    if (known) {
      if (known.retired === 0) return known;
      throw new NetmapError(
        'EBUSY',
        `Cannot open "${name}": ${st.ORPHAN_REASONS[known.retired]}, and somebody has it open as it was; wait until it is closed`,
      );
    }
    const made = Undo.around((undo) =>
      this.#create(endpoint ? name : nic!, memId || GLOBAL_REGION, hostRingsFor(hostRings), undo),
    );
    this.#register(made);
    return made;
  }

  #showForwarding(): void {
    for (const port of this.all.values()) for (const ring of port.rx) this.#queues.showForwarding(port, ring);
  }

  /**
   * Takes over a port of a module that has died, with what living clients hold of it; settle() has to follow.
   * @returns undefined: nobody holds it, or the interface is gone
   */
  adopt(record: NicRecord, region: Region, state: State, holders: Holders): NicPort | undefined {
    const { name, tx, rx, port, admode } = record;
    const { memory } = this.#stock;
    const keep = new Keepsakes(record.kept, holders);
    const count = rx.filter((ring) => !isHost(ring)).length;
    const nameOf = (index: number) => (index < count ? wireQueue(index) : hostQueue(index - count));
    const held = record.queues.filter(({ index }) => keep.has(nameOf(index)));
    if (held.length === 0) return undefined;
    const now = listInterfaces().find(({ index }) => index === record.ifindex);
    const tooLong = now && now.mtu + 18 > region.geometry.bufs.size;
    if (!now || tooLong) {
      this.watch.orphan({ state, tx, rx }, tooLong ? st.ORPHAN_MTU : st.ORPHAN_GONE);
      return undefined;
    }
    // Queues are counted as when it was opened.
    const nic = { ...now, txQueues: record.txQueues, rxQueues: record.rxQueues };
    const hostRings = { tx: tx.filter(isHost).length, rx: rx.filter(isHost).length };
    const slots = rx[0]!.slots;
    const device = openDevice(nic, { memory: this.#buffersOf(region), hostRings, slots, admode, keep });
    const table = new PortTable(memory, 'nic', 0, state);
    table.adopt(port);
    table.setModule(port, region.object);
    region.users++;
    const common = { kind: 'nic', name, region, state, tx, rx, port, table } as const;
    const retired = memory.arena.view.getUint32(state.mapping.address + rx[0]!.kringOfs + st.KR_ORPHAN, true);
    const adopted: NicPort = { ...common, interface: nic, retired, device, keep, admode, queues: new Map() };
    for (const { index, slot } of held) {
      memory.keepDeviceSlot(slot);
      adopted.queues.set(index, { queue: queueOf(adopted, index), slot });
    }
    this.#register(adopted);
    this.#unsettled.add(adopted);
    return adopted;
  }

  /** Ports that were taken over have the users that they will have: what nobody but the dead module held is made again. */
  settle(): void {
    for (const port of [...this.#unsettled]) {
      this.#unsettled.delete(port);
      if (!this.all.has(port.interface.index)) continue;
      try {
        this.apply(port);
        port.keep.settle();
        this.watch.check(port.interface.index);
      } catch (error) {
        console.error(`Cannot take over all of "${port.name}": ${(error as Error).message}`);
      }
    }
  }

  #register(port: NicPort): void {
    this.all.set(port.interface.index, port);
    this.watch.begin();
  }

  /** The port of an interface that somebody has open, by its name; of one that is gone, by the name that it had. */
  named(name: string): NicPort | undefined {
    const nic = findInterface(name);
    return nic ? this.all.get(nic.index) : [...this.all.values()].find((port) => port.name === name);
  }

  /** Sizes of an interface's rings, and the region that they lie in. @throws NetmapError as open(). */
  describe(name: string, memId: number): { sizes: PortSizes; region: number } {
    const nic = findInterface(name);
    const endpoint = this.endpoints.has(name);
    if (!nic && !endpoint) throw noInterface(name);
    const { memory } = this.#stock;
    const id = memId || GLOBAL_REGION;
    const bufSize = memory.hasRegion(id)
      ? memory.regionById(id).geometry.bufs.size
      : this.#parameters.get('buf_size');
    const count = endpoint
      ? 1
      : (this.all.get(nic!.index)?.device.rings ?? ringsOf(nic!, bufSize, this.#parameters.get('admode')));
    const slots = this.#parameters.get('generic_ringsize');
    const sizes = { txRings: count, rxRings: count, txSlots: slots, rxSlots: slots };
    return { sizes, region: memId || GLOBAL_REGION };
  }

  /** Memory for one interface alone. */
  geometryFor(nic: Interface, { hostTxRings = 0, hostRxRings = 0, extraBufs }: RegisterRequest): Geometry {
    const bufSize = this.#parameters.get('buf_size');
    const count = ringsOf(nic, bufSize, this.#parameters.get('admode'));
    const host = hostRingsFor({ tx: hostTxRings, rx: hostRxRings });
    const slots = this.#parameters.get('generic_ringsize');
    return nicGeometry(count + host.tx, count + host.rx, slots, extraBufs, bufSize);
  }

  destroy(port: NicPort): void {
    this.all.delete(port.interface.index);
    if (this.all.size === 0) this.watch.end();
    for (const index of [...port.queues.keys()]) this.#queues.close(port, index);
    port.device.close();
    this.#stock.releaseRings(port.region, [...port.tx, ...port.rx]);
    this.#stock.memory.releaseRegion(port.region);
    this.#stock.memory.releaseState(port.state);
  }

  /** Brings the interface in line with the rings that are bound. @throws NetmapError EBUSY, EPERM. */
  apply(port: NicPort): void {
    if (this.#unsettled.has(port)) return;
    const { device } = port;
    const used = (rings: readonly Ring[], index: number) => (rings[index]?.users ?? 0) > 0;
    const queues = range(Math.max(port.tx.length, port.rx.length));
    for (const index of queues) {
      if (used(port.tx, index) || used(port.rx, index)) this.#queues.open(port, index);
    }
    for (const index of queues) {
      if (index < device.rings) device.setReceive(index, used(port.rx, index));
    }
    device.setEgress(egressOf(port));
    for (const index of queues) {
      if (!used(port.tx, index) && !used(port.rx, index)) this.#queues.close(port, index);
    }
  }

  /** What a client needs to use rings: descriptors, and how their memory is mapped. */
  shown(
    port: NicPort,
    tx: readonly Ring[],
    rx: readonly Ring[],
  ): Pick<RegisterReply, 'queues' | 'held' | 'nic'> {
    const wanted = new Set([...tx, ...rx].map(({ index }) => index));
    const queues = [...port.queues]
      .filter(([index]) => wanted.has(index))
      .map(([index, { queue, slot }]) => ({
        index,
        slot,
        fd: queue.fd,
        size: queue.size,
        parts: [...queue.parts],
        ...(queue.server && { bell: queue.server.bell }),
      }));
    const { mode, why, descriptors } = port.device;
    return { queues, held: [...descriptors], nic: { mode, why } };
  }

  /** @param what  an interface, or the name of one to be made for the host */
  #create(what: Interface | string, memId: number, hostRings: HostRings, undo: Undo): NicPort {
    const { memory } = this.#stock;
    const region = this.#stock.byId(memId);
    this.#stock.share(region, undo);
    const slots = this.#parameters.get('generic_ringsize');
    const admode = this.#parameters.get('admode');
    const buffers = this.#buffersOf(region);
    const keep = new Keepsakes();
    const { nic, device } =
      typeof what === 'string'
        ? openEndpoint(what, buffers, slots)
        : {
            nic: what,
            device: openDevice(what, { memory: buffers, hostRings, slots, admode, keep }),
          };
    undo.push(() => device.close());
    const count = device.rings;
    const txRings = count + device.hostRings.tx;
    const rxRings = count + device.hostRings.rx;
    const plan = { name: nic.name, txRings, rxRings, rxSlots: slots, txSlots: slots };
    const rings = txRings + rxRings;
    const bytes = Math.ceil((st.SW_HEAP + rings * (st.KR_SIZE + slots * 12)) / 65536 + 1) * 65536;
    const table = new PortTable(memory, 'nic', bytes);
    undo.push(() => memory.releaseState(table.state));
    const place = table.reserve({ ...plan, hidden: true });
    table.show(place, plan, region);
    const ring = (transmit: boolean, index: number) => {
      const [wire, host] = transmit ? [st.KIND_NIC_TX, st.KIND_HOST_TX] : [st.KIND_NIC_RX, st.KIND_HOST_RX];
      const kind = index < count ? wire : host;
      const kringOfs = place.krings.ofs + (transmit ? index : txRings + index) * st.KR_SIZE;
      return this.#stock.ring(
        region,
        table.state,
        { kind, index, slots, kringOfs, port: place.index, empty: true },
        undo,
      );
    };
    const rx = range(rxRings).map((index) => ring(false, index));
    const tx = range(txRings).map((index) => ring(true, index));
    return {
      kind: 'nic',
      name: nic.name,
      region,
      state: table.state,
      tx,
      rx,
      port: place,
      table,
      interface: nic,
      device,
      retired: 0,
      keep,
      admode: device.mode === 'emulated' ? EMULATED : admode,
      queues: new Map(),
    };
  }

  #buffersOf(region: Region): BufferMemory {
    const { memory } = this.#stock;
    const { size, bufs } = region.geometry;
    return {
      size,
      bufOfs: bufs.ofs,
      bufSize: bufs.size,
      bufCount: bufs.count,
      mapped: (work) =>
        memory.withRegion(region, (base) => {
          memory.arena.populate(base, size);
          return work(memory.arena.systemAddress(base));
        }),
      pinned: () => {
        const { fd, ino, size } = region.object;
        const mapping = memory.arena.mapOwn(fd, ino, size, region.slot);
        const address = memory.arena.systemAddress(mapping.address);
        return { address, release: () => memory.arena.unmapOwn(mapping) };
      },
      lent: { memory: memory.arena.memory, system: this.#system },
    };
  }
}

/** As many host rings as are asked for, within limits. */
function hostRingsFor({ tx, rx }: HostRings): HostRings {
  const atMost = (count: number) => Math.min(count || 1, NM_BDG_MAXRINGS);
  return { tx: atMost(tx), rx: atMost(rx) };
}

/** The host is cut off once all of the NIC's TX rings are bound; its frames go to the host ring, if that is bound. */
function egressOf({ tx, rx }: NicPort): Egress {
  if (!tx.every((ring) => isHost(ring) || ring.users > 0)) return 'wire';
  return rx.some((ring) => isHost(ring) && ring.users > 0) ? 'ring' : 'nowhere';
}

function noInterface(name: string): NetmapError {
  return new NetmapError(
    'ENXIO',
    `Cannot open "${name}": there is no network interface of that name; "nm-loader interfaces" lists all`,
  );
}
