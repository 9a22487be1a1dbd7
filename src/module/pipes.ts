// Pipes and the parents they hang on (spec ports §2).

import { NetmapError } from '../abi/errors.ts';
import { NM_MAX_EXTRA_BUFS, NM_PIPES_PER_PARENT } from '../abi/netmap.ts';
import * as st from '../abi/state.ts';
import { ringSize } from '../mem/geometry.ts';
import type { RegisterRequest } from '../protocol/messages.ts';
import type { Pipe, PipeEnd, PipeParent } from './adapter.ts';
import type { Region } from './memory.ts';
import type { PipeName } from './names.ts';
import { type PortSizes, parentGeometry, pipeGeometry, pipeSizes } from './plan.ts';
import { PortTable } from './port-table.ts';
import type { Ring } from './rings.ts';
import { range, type Stock, Undo } from './stock.ts';

/** A port that pipes can hang on: its memory, and its sizes if it has rings of its own. */
export interface Parent {
  readonly region: Region;
  readonly sizes?: PortSizes;
}

export class Pipes {
  readonly all = new Map<string, Pipe>();
  readonly parents = new Map<string, PipeParent>();
  readonly #stock: Stock;

  constructor(stock: Stock) {
    this.#stock = stock;
  }

  /**
   * @param parentOf  finds or makes the VALE port of that name; undefined if the name is no VALE port's
   * @throws NetmapError EINVAL: too many pipes; ENOMEM.
   */
  create(
    name: PipeName,
    request: RegisterRequest,
    parentOf: (name: string, undo: Undo) => Parent | undefined,
  ): Pipe {
    const siblings = [...this.all.values()].filter((pipe) => pipe.parent === name.parent).length;
    if (siblings >= NM_PIPES_PER_PARENT) {
      throw new NetmapError(
        'EINVAL',
        `Cannot open pipe "${name.name}": "${name.parent}" has ${siblings} pipes, which is all that a port may have`,
      );
    }
    return Undo.around((undo) => {
      const parent = parentOf(name.parent, undo) ?? this.#standIn(name.parent, request, undo);
      const { region, sizes } = this.#room(parent, request, undo);
      const pipe = this.#connect(name, region, sizes, undo);
      this.all.set(pipeKey(name.parent, name.id), pipe);
      return pipe;
    });
  }

  destroy(pipe: Pipe): void {
    const [master, slave] = pipe.ends;
    this.all.delete(pipeKey(pipe.parent, pipe.id));
    this.#stock.releaseRings(master.region, [...master.tx, ...master.rx, ...slave.tx, ...slave.rx]);
    for (const end of pipe.ends) pipe.table.remove(end.port);
    this.#stock.memory.releaseRegion(master.region);
    this.dropIfEmpty(pipe.table);
  }

  /** Gives a pipe's state back, once its ends and the monitors on them are gone. */
  dropIfEmpty(table: PortTable): void {
    if (table.size === 0) this.#stock.memory.releaseState(table.state);
  }

  /** Lets go of stand-ins that no pipe hangs on any more. */
  collect(): void {
    const inUse = this.parentsInUse();
    for (const parent of [...this.parents.values()]) {
      if (inUse.has(parent.name)) continue;
      this.parents.delete(parent.name);
      this.#stock.memory.releaseRegion(parent.region);
    }
  }

  parentsInUse(): Set<string> {
    return new Set([...this.all.values()].map((pipe) => pipe.parent));
  }

  /** Memory for the pipes of a name that is no port (netmap makes a persistent VALE port behind the scenes). */
  #standIn(name: string, request: RegisterRequest, undo: Undo): Parent {
    const known = this.parents.get(name);
    if (known) return known;
    const geometry = parentGeometry(undefined, pipeSizes(request), request.extraBufs, this.#stock.bufSize);
    const region = this.#stock.region(request, geometry, undo);
    this.parents.set(name, { kind: 'parent', name, region });
    undo.push(() => this.parents.delete(name));
    return { region };
  }

  /** The parent's region where it has room, else one of the pipe's own (netmap would refuse with ENOMEM). */
  #room(parent: Parent, request: RegisterRequest, undo: Undo): { region: Region; sizes: PortSizes } {
    const { region } = parent;
    const sizes = pipeSizes(request, parent.sizes);
    const extra = Math.min(request.extraBufs, NM_MAX_EXTRA_BUFS);
    const rings = 2 * (sizes.txRings + sizes.rxRings);
    const bufs = sizes.txRings * sizes.txSlots + sizes.rxRings * sizes.rxSlots;
    const ringBytes = ringSize(Math.max(sizes.txSlots, sizes.rxSlots));
    const fits =
      region.rings.free >= rings &&
      region.bufs.free >= bufs + extra &&
      region.geometry.rings.size >= ringBytes;
    if (!fits) {
      const geometry = pipeGeometry(sizes, extra, this.#stock.bufSize);
      return { region: this.#stock.region(request, geometry, undo), sizes };
    }
    this.#stock.share(region, undo);
    return { region, sizes };
  }

  /** TX ring i of one end and RX ring i of the other share one set of buffers. */
  #connect({ parent, id, master }: PipeName, region: Region, opener: PortSizes, undo: Undo): Pipe {
    const { memory } = this.#stock;
    const sizes: PortSizes = master
      ? opener
      : {
          txRings: opener.rxRings,
          rxRings: opener.txRings,
          txSlots: opener.rxSlots,
          rxSlots: opener.txSlots,
        };
    const table = this.#table(sizes);
    undo.push(() => this.dropIfEmpty(table));
    // Each end is a port of the table; nobody delivers to it but its peer.
    const reserve = (name: string, txRings: number, rxRings: number) => {
      const plan = { name, txRings, rxRings, rxSlots: 0, hidden: true };
      const port = table.reserve(plan);
      undo.push(() => table.remove(port));
      table.show(port, plan, region);
      return port;
    };
    const names = [`${parent}{${id}`, `${parent}}${id}`] as const;
    const ports = [
      reserve(names[0], sizes.txRings, sizes.rxRings),
      reserve(names[1], sizes.rxRings, sizes.txRings),
    ] as const;
    const { view } = memory.arena;
    const { state } = table;
    /** Ring `index` of `from`, to the other end: its TX half lies before the RX halves there. */
    const pair = (from: 0 | 1, index: number, slots: number): [Ring, Ring] => {
      const [source, target] = [ports[from], ports[from === 0 ? 1 : 0]];
      const targetTx = from === 0 ? sizes.rxRings : sizes.txRings;
      const txOfs = source.krings.ofs + index * st.KR_SIZE;
      const rxOfs = target.krings.ofs + (targetTx + index) * st.KR_SIZE;
      view.setUint32(state.mapping.address + txOfs + st.KR_PEER, rxOfs, true);
      view.setUint32(state.mapping.address + rxOfs + st.KR_PEER, txOfs, true);
      const ring = (kind: number, kringOfs: number, port: number, lender?: Ring) =>
        this.#stock.ring(region, state, { kind, index, slots, kringOfs, port }, undo, lender);
      const tx = ring(st.KIND_PIPE_TX, txOfs, source.index);
      return [tx, ring(st.KIND_PIPE_RX, rxOfs, target.index, tx)];
    };
    const down = range(sizes.txRings).map((i) => pair(0, i, sizes.txSlots));
    const up = range(sizes.rxRings).map((i) => pair(1, i, sizes.rxSlots));
    const ends: PipeEnd[] = [];
    const pipe: Pipe = { parent, id, table, ends: ends as unknown as [PipeEnd, PipeEnd] };
    const end = (which: 0 | 1, out: [Ring, Ring][], back: [Ring, Ring][]): PipeEnd => ({
      kind: 'pipe',
      name: names[which],
      region,
      state,
      pipe,
      port: ports[which],
      tx: out.map(([tx]) => tx),
      rx: back.map(([, rx]) => rx),
    });
    ends.push(end(0, down, up), end(1, up, down));
    return pipe;
  }

  #table({ txRings, rxRings }: PortSizes): PortTable {
    const krings = 2 * (txRings + rxRings) * st.KR_SIZE;
    const bytes = Math.ceil((st.SW_HEAP + krings + st.PIPE_MONITOR_ROOM) / 65536) * 65536;
    return new PortTable(this.#stock.memory, 'pipe', bytes);
  }
}

export function pipeKey(parent: string, id: string): string {
  return `${parent}|${id}`;
}
