// Ports of VALE switches: ephemeral ones, which live while somebody has them open, and persistent ones, which
// are made, attached to a switch, detached and removed by request (spec ports §1.3-1.5).

import { NetmapError } from '../abi/errors.ts';
import { NM_MAX_EXTRA_BUFS } from '../abi/netmap.ts';
import * as st from '../abi/state.ts';
import type { RegisterRequest } from '../protocol/messages.ts';
import type { AttachedNic, PersistentPort, ValePort } from './adapter.ts';
import type { Region } from './memory.ts';
import { resolveValeName } from './names.ts';
import { type PortSizes, parentGeometry, pipeSizes, portGeometry, valeSizes } from './plan.ts';
import { range, type Stock, Undo } from './stock.ts';
import { Switch } from './switch.ts';

/** Switches at a time, as netmap's max_bridges. */
const MAX_BRIDGES = 8;

export class ValePorts {
  readonly switches = new Map<string, Switch>();
  readonly persistent = new Map<string, PersistentPort>();
  readonly #stock: Stock;
  /** By the name they are opened by. */
  readonly #adapters: Map<string, { name: string }>;
  /** Parameters bridge_batch and mac_age, for switches made from now on too. */
  #batch = 1024;
  #macAge = 0;

  /** @param adapters  where ports are entered while they have rings */
  constructor(stock: Stock, adapters: Map<string, { name: string }>) {
    this.#stock = stock;
    this.#adapters = adapters;
  }

  set batch(slots: number) {
    this.#batch = slots;
    for (const sw of this.switches.values()) sw.batch = slots;
  }

  set macAge(seconds: number) {
    this.#macAge = seconds;
    for (const sw of this.switches.values()) sw.macAge = seconds;
  }

  /** An ephemeral port. @param pipe  sizes of pipes to leave room for */
  create(switchName: string, request: RegisterRequest, pipe?: PortSizes): ValePort {
    const sizes = valeSizes(request);
    const extra = Math.min(request.extraBufs, NM_MAX_EXTRA_BUFS);
    return Undo.around((undo) => {
      const sw = this.switchFor(switchName, request.name, undo);
      const { bufSize } = this.#stock;
      const geometry = pipe
        ? parentGeometry(sizes, pipe, extra, bufSize)
        : portGeometry(sizes, extra, bufSize);
      const region = this.#stock.region(request, geometry, undo);
      return this.#place(request.name, sw, region, sizes, undo);
    });
  }

  /** A port on a second switch, for the frames of a persistent port that is attached to a first. */
  createLink(port: PersistentPort, switchName: string, name: string): ValePort {
    return Undo.around((undo) => {
      const sw = this.switchFor(switchName, name, undo);
      const region = this.#stock.region(
        { memId: 0, name },
        portGeometry(port.sizes, 0, this.#stock.bufSize),
        undo,
      );
      port.link = this.#place(name, sw, region, port.sizes, undo, { link: port });
      return port.link;
    });
  }

  /** A port for the frames of a network interface, in the interface's own memory: buffers change places. */
  createForNic(
    nic: AttachedNic,
    sizes: PortSizes,
    memId: number,
    switchName: string,
    name: string,
  ): ValePort {
    return Undo.around((undo) => {
      const sw = this.switchFor(switchName, name, undo);
      const region = this.#stock.byId(memId);
      this.#stock.share(region, undo);
      return this.#place(name, sw, region, sizes, undo, { nic });
    });
  }

  /** Takes a port off its switch; its memory goes with its last user, which for a persistent port is the port itself. */
  destroy(port: ValePort): void {
    this.#adapters.delete(port.name);
    port.sw.remove(port.port);
    this.#stock.releaseRings(port.region, [...port.tx, ...port.rx]);
    if (port.link) port.link.link = undefined;
    if (port.persistent) port.persistent.placed = undefined;
    this.#stock.memory.releaseRegion(port.region);
    this.dropIfEmpty(port.sw);
  }

  // ---- persistent ports ----

  /** VALE_NEWIF. @throws NetmapError EINVAL, EEXIST, ENOMEM. */
  newIf(request: RegisterRequest, taken: boolean): PersistentPort {
    const { name } = request;
    const refuse = (code: 'EINVAL' | 'EEXIST', why: string) =>
      new NetmapError(code, `Cannot create persistent port "${name}": ${why}`);
    if (name.startsWith('vale')) throw refuse('EINVAL', 'names that start with "vale" are those of switches');
    if (!/^[^{}:/@^*]{1,15}$/.test(name))
      throw refuse('EINVAL', 'a name has 1 to 15 characters, none of them one of { } : / @ ^ *');
    if (taken) throw refuse('EEXIST', 'a port or an interface of that name exists');
    const sizes = valeSizes(request);
    return Undo.around((undo) => {
      const geometry = parentGeometry(sizes, pipeSizes(request, sizes), 0, this.#stock.bufSize);
      const region = this.#stock.region(request, geometry, undo);
      const port: PersistentPort = {
        name,
        region,
        sizes,
        headerLength: 0,
        placed: undefined,
        attached: undefined,
        link: undefined,
      };
      this.persistent.set(name, port);
      return port;
    });
  }

  /** VALE_DELIF of a port that nobody has open. @throws NetmapError EBUSY while it is attached. */
  delIf(port: PersistentPort): void {
    if (port.attached !== undefined) {
      throw new NetmapError(
        'EBUSY',
        `Cannot remove "${port.name}": it is attached to ${port.attached}; detach it first`,
      );
    }
    if (port.placed) this.destroy(port.placed);
    this.persistent.delete(port.name);
    this.#stock.memory.releaseRegion(port.region);
  }

  /** Puts a persistent port on a switch, made if need be; `name` is what it is opened by there. */
  attach(port: PersistentPort, switchName: string, name: string): ValePort {
    return Undo.around((undo) => {
      const sw = this.switchFor(switchName, name, undo);
      this.#stock.share(port.region, undo);
      const placed = this.#place(name, sw, port.region, port.sizes, undo, { persistent: port });
      port.attached = switchName;
      return placed;
    });
  }

  /**
   * Takes a persistent port off its switch.  One that is open stays as it is, out of everybody's sight: what it
   * sends is discarded, and its place is given back with its last opening.
   */
  detach(port: PersistentPort, isOpen: boolean): void {
    const { placed } = port;
    port.attached = undefined;
    if (!placed) return;
    if (!isOpen) {
      this.destroy(placed);
      return;
    }
    placed.sw.hide(placed.port);
    const { view } = this.#stock.memory.arena;
    for (const { kringOfs } of placed.tx)
      view.setUint32(placed.state.mapping.address + kringOfs + st.KR_DETACHED, 1, true);
    this.#adapters.delete(placed.name);
    placed.name = port.name;
    this.#adapters.set(port.name, placed);
  }

  /** Rings for a persistent port that is opened without being attached: a switch of its own, which nobody else is on. */
  placeAlone(port: PersistentPort): ValePort {
    return Undo.around((undo) => {
      const sw = new Switch(this.#stock.memory, port.name, -1);
      this.switches.set(sw.name, sw);
      undo.push(() => this.dropIfEmpty(sw));
      this.#stock.share(port.region, undo);
      return this.#place(port.name, sw, port.region, port.sizes, undo, { persistent: port });
    });
  }

  /** Sets the length of the virtio-net header in front of a port's frames: 0, 10 or 12. */
  setHeader(port: ValePort, length: number): void {
    port.headerLength = length;
    if (port.persistent) port.persistent.headerLength = length;
    port.sw.setHeader(port.port, length, length === 0 ? st.DEFAULT_MFS : port.region.geometry.bufs.size);
  }

  #place(
    name: string,
    sw: Switch,
    region: Region,
    sizes: PortSizes,
    undo: Undo,
    { persistent, link, nic }: { persistent?: PersistentPort; link?: PersistentPort; nic?: AttachedNic } = {},
  ): ValePort {
    const plan = { name, txRings: sizes.txRings, rxRings: sizes.rxRings, rxSlots: sizes.rxSlots };
    const port = sw.reserve(plan);
    undo.push(() => sw.remove(port));
    const kinds = { tx: st.KIND_VALE_TX, rx: st.KIND_VALE_RX };
    const { tx, rx } = this.#stock.rings(kinds, region, sw, port, sizes, undo);
    sw.show(port, plan, region);
    const adapter: ValePort = {
      kind: 'vale',
      name,
      region,
      state: sw.state,
      tx,
      rx,
      sw,
      port,
      headerLength: 0,
      persistent,
      link,
      nic,
    };
    if (persistent) persistent.placed = adapter;
    this.setHeader(adapter, persistent?.headerLength ?? 0);
    this.#adapters.set(name, adapter);
    return adapter;
  }

  /** The switch of that name, made if need be. @throws NetmapError ENOMEM: there are too many. */
  switchFor(name: string, forPort: string, undo: Undo): Switch {
    const known = this.switches.get(name);
    if (known) return known;
    const taken = new Set([...this.switches.values()].map((sw) => sw.index));
    const index = range(MAX_BRIDGES).find((i) => !taken.has(i));
    if (index === undefined) {
      const names = [...this.switches.values()].filter((sw) => sw.index >= 0).map((sw) => sw.name);
      throw new NetmapError(
        'ENOMEM',
        `Cannot open "${forPort}": all ${MAX_BRIDGES} switches are in use (${names.join(', ')}); close the ports of one`,
      );
    }
    const sw = new Switch(this.#stock.memory, name, index);
    sw.batch = this.#batch;
    sw.macAge = this.#macAge;
    this.switches.set(name, sw);
    undo.push(() => this.dropIfEmpty(sw));
    return sw;
  }

  /** Gives a switch back, once its last port is gone. */
  dropIfEmpty(sw: Switch): void {
    if (sw.size > 0) return;
    this.switches.delete(sw.name);
    this.#stock.memory.releaseState(sw.state);
  }
}

/** Switch and port of a name in an attach or detach request. @throws NetmapError EINVAL. */
export function splitAttachName(name: string): { switchName: string; port: string } {
  if (!name.startsWith('vale')) {
    throw new NetmapError(
      'EINVAL',
      `Cannot attach or detach "${name}": a switch and a port are needed, as in vale0:v1`,
    );
  }
  const switchName = resolveValeName(name);
  return { switchName, port: name.slice(switchName.length + 1) };
}
