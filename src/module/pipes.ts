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
    const { memory } = this.#stock;
    this.all.delete(pipeKey(pipe.parent, pipe.id));
    this.#stock.releaseRings(master.region, [...master.tx, ...master.rx, ...slave.tx, ...slave.rx]);
    memory.releaseRegion(master.region);
    memory.releaseState(master.state);
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
    const geometry = parentGeometry(undefined, pipeSizes(request), request.extraBufs);
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
    if (!fits) return { region: this.#stock.region(request, pipeGeometry(sizes, extra), undo), sizes };
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
    const krings = 2 * (sizes.txRings + sizes.rxRings);
    const bytes = Math.ceil((st.PIPE_HEAP + krings * st.KR_SIZE) / 65536) * 65536;
    const state = memory.createState('netmap-pipe', bytes);
    undo.push(() => memory.releaseState(state));
    let nth = 0;
    const pair = (index: number, slots: number): [Ring, Ring] => {
      const txOfs = st.PIPE_HEAP + nth++ * st.KR_SIZE;
      const rxOfs = st.PIPE_HEAP + nth++ * st.KR_SIZE;
      const { view } = memory.arena;
      view.setUint32(state.mapping.address + txOfs + st.KR_PEER, rxOfs, true);
      view.setUint32(state.mapping.address + rxOfs + st.KR_PEER, txOfs, true);
      const plan = { index, slots, port: 0 };
      const tx = this.#stock.ring(region, state, { ...plan, kind: st.KIND_PIPE_TX, kringOfs: txOfs }, undo);
      const rx = this.#stock.ring(
        region,
        state,
        { ...plan, kind: st.KIND_PIPE_RX, kringOfs: rxOfs },
        undo,
        tx,
      );
      return [tx, rx];
    };
    const down = range(sizes.txRings).map((i) => pair(i, sizes.txSlots));
    const up = range(sizes.rxRings).map((i) => pair(i, sizes.rxSlots));
    const ends: PipeEnd[] = [];
    const pipe: Pipe = { parent, id, ends: ends as unknown as [PipeEnd, PipeEnd] };
    const common = { kind: 'pipe' as const, region, state, pipe };
    ends.push({ ...common, name: `${parent}{${id}`, tx: down.map(([tx]) => tx), rx: up.map(([, rx]) => rx) });
    ends.push({ ...common, name: `${parent}}${id}`, tx: up.map(([tx]) => tx), rx: down.map(([, rx]) => rx) });
    return pipe;
  }
}

export function pipeKey(parent: string, id: string): string {
  return `${parent}|${id}`;
}
