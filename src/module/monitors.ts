// Monitors (spec ports §3): made with one opening, gone with it.  They hang on the rings they watch by lists that
// the data plane walks (assembly/monitor.ts).

import * as abi from '../abi/netmap.ts';
import * as st from '../abi/state.ts';
import type { DataPlane } from '../dataplane/dataplane.ts';
import type { RegisterRequest } from '../protocol/messages.ts';
import { type Monitor, type PipeEnd, tableOf, type ValePort } from './adapter.ts';
import type { Binding } from './binding.ts';
import { monitorGeometry, monitorSizes } from './plan.ts';
import { type Ring, transmits } from './rings.ts';
import { type Stock, Undo } from './stock.ts';

export const MONITOR_FLAGS = abi.NR_MONITOR_TX | abi.NR_MONITOR_RX | abi.NR_ZCOPY_MON;

export class Monitors {
  readonly all = new Set<Monitor>();
  readonly #stock: Stock;
  #serial = 0;

  constructor(stock: Stock) {
    this.#stock = stock;
  }

  /**
   * @param watched  rings of the parent that the request's mode chooses
   * @throws NetmapError ENOMEM.
   */
  create(parent: ValePort | PipeEnd, watched: Binding, request: RegisterRequest): Monitor {
    const zeroCopy = (request.flags & abi.NR_ZCOPY_MON) !== 0;
    const rings = [
      ...(zeroCopy || request.flags & abi.NR_MONITOR_TX ? watched.tx : []),
      ...(zeroCopy || request.flags & abi.NR_MONITOR_RX ? watched.rx : []),
    ];
    const letters = zeroCopy
      ? 'z'
      : `${request.flags & abi.NR_MONITOR_RX ? 'r' : ''}${request.flags & abi.NR_MONITOR_TX ? 't' : ''}`;
    const name = this.#freeName(`${parent.name}/${letters}#`);
    const sizes = monitorSizes(
      request,
      {
        txRings: parent.tx.length,
        rxRings: parent.rx.length,
        txSlots: parent.tx[0]?.slots ?? 1,
        rxSlots: parent.rx[0]?.slots ?? 1,
      },
      zeroCopy,
    );
    return Undo.around((undo) => {
      const table = tableOf(parent);
      // What copies go to must be mapped by whoever sends; buffers change places within the parent's region.
      const open = zeroCopy ? 0 : 2 ** sizes.rxRings - 1;
      const plan = { name, txRings: 1, rxRings: sizes.rxRings, rxSlots: sizes.rxSlots, hidden: true, open };
      const port = table.reserve(plan);
      undo.push(() => table.remove(port));
      const { region } = zeroCopy
        ? parent
        : {
            region: this.#stock.region(
              request,
              monitorGeometry(sizes, request.extraBufs, this.#stock.bufSize),
              undo,
            ),
          };
      if (zeroCopy) this.#stock.share(region, undo);
      const kinds = { tx: st.KIND_MONITOR_TX, rx: st.KIND_MONITOR_RX };
      const { tx, rx } = this.#stock.rings(kinds, region, table, port, sizes, undo);
      table.show(port, plan, region);
      const monitor: Monitor = {
        kind: 'monitor',
        name,
        region,
        state: table.state,
        tx,
        rx,
        port,
        table,
        zeroCopy,
        watched: rings.map(({ kringOfs }) => kringOfs),
        parent,
      };
      for (const watchedRing of rings) this.#hang(monitor, watchedRing);
      this.all.add(monitor);
      return monitor;
    });
  }

  /** Takes a monitor off what it watches; its memory goes once nobody can be filling it. */
  destroy(monitor: Monitor): void {
    this.all.delete(monitor);
    this.#takeOff(monitor);
    this.#stock.releaseRings(monitor.region, [...monitor.tx, ...monitor.rx]);
    monitor.table.remove(monitor.port);
    this.#stock.memory.releaseRegion(monitor.region);
  }

  /** What a monitor watched is closed: its reader is told. @returns whether bells are to be rung */
  orphan(monitor: Monitor, dataPlane: DataPlane): boolean {
    this.#takeOff(monitor);
    monitor.parent = undefined;
    let bells = 0;
    for (const { kringOfs } of monitor.rx) {
      this.#set(monitor, kringOfs, st.KR_ORPHAN, st.ORPHAN_CLOSED);
      bells |= dataPlane.wake(this.#at(monitor, kringOfs));
    }
    return bells !== 0;
  }

  #freeName(prefix: string): string {
    const taken = new Set([...this.all].map(({ name }) => name));
    for (;;) {
      const name = prefix + this.#serial++;
      if (!taken.has(name)) return name;
    }
  }

  #hang(monitor: Monitor, watched: Ring): void {
    const own = monitor.rx[watched.index]!.kringOfs;
    if (monitor.zeroCopy) {
      // At the end of the chain: it gets what the monitors before it are done with.
      let last = watched.kringOfs;
      for (let next = this.#get(monitor, last, st.KR_ZCOPY_MON); next !== 0 && next !== own; ) {
        last = next;
        next = this.#get(monitor, last, st.KR_ZCOPY_MON);
      }
      if (last !== own) this.#set(monitor, last, st.KR_ZCOPY_MON, own);
      return;
    }
    const link = transmits(watched) ? st.KR_NEXT_TX : st.KR_NEXT_RX;
    this.#set(monitor, own, link, this.#get(monitor, watched.kringOfs, st.KR_COPY_MON));
    this.#set(monitor, watched.kringOfs, st.KR_COPY_MON, own);
  }

  #takeOff(monitor: Monitor): void {
    if (!monitor.parent) return;
    const { parent } = monitor;
    for (const watched of [...parent.tx, ...parent.rx]) {
      const own = monitor.rx[watched.index]?.kringOfs;
      if (own === undefined || !monitor.watched.includes(watched.kringOfs)) continue;
      const link = transmits(watched) ? st.KR_NEXT_TX : st.KR_NEXT_RX;
      const [first, next] = monitor.zeroCopy ? [st.KR_ZCOPY_MON, st.KR_ZCOPY_MON] : [st.KR_COPY_MON, link];
      let at = watched.kringOfs;
      let field: number = first;
      for (let m = this.#get(monitor, at, field); m !== 0; m = this.#get(monitor, at, field)) {
        if (m === own) {
          this.#set(monitor, at, field, this.#get(monitor, own, next));
          break;
        }
        at = m;
        field = next;
      }
    }
    monitor.table.touch();
  }

  #at(monitor: Monitor, kringOfs: number): number {
    return monitor.state.mapping.address + kringOfs;
  }

  #get(monitor: Monitor, kringOfs: number, field: number): number {
    return this.#stock.memory.arena.view.getUint32(this.#at(monitor, kringOfs) + field, true);
  }

  #set(monitor: Monitor, kringOfs: number, field: number, value: number): void {
    Atomics.store(this.#stock.memory.arena.words, (this.#at(monitor, kringOfs) + field) >> 2, value);
  }
}
