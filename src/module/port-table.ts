// The ports of a switch, or the two ends of a pipe, as senders see them: names, memory, krings.  Senders are never
// stopped: a change is written beside what they use, then the epoch moves on; what was taken out is used again only
// after every sync that began before has ended.

import { NetmapError } from '../abi/errors.ts';
import { NM_BDG_MAXPORTS } from '../abi/netmap.ts';
import * as st from '../abi/state.ts';
import { noSyncOlderThan } from '../dataplane/epoch.ts';
import type { Arena } from '../mem/arena.ts';
import type { Memory, Region, State } from './memory.ts';

/** Creation is refused with this many ports, as netmap does (spec ports §1.1). */
const USABLE_PORTS = NM_BDG_MAXPORTS - 2;

interface Block {
  ofs: number;
  size: number;
}

/** Something that former neighbours may still be using. */
interface Limbo {
  epoch: number;
  port: number;
  block: Block;
}

export interface PortPlan {
  name: string;
  txRings: number;
  rxRings: number;
  rxSlots: number;
  /** Slots of tx rings that keep note of each, as rx rings always do. */
  txSlots?: number;
  /** Senders see it by other ways than its name and its addresses: a monitor, a pipe's end. */
  hidden?: boolean;
  /** Which of its rx rings senders fill from the start: bit by ring. */
  open?: number;
  /** Slots brought to it say where their frames come from. */
  tagged?: boolean;
}

export interface SwitchPort {
  index: number;
  /** Taken off the switch while somebody had it open: it keeps its place, and nobody sees it. */
  hidden: boolean;
  /** First tx kring; the others and the rx krings follow. */
  krings: Block;
}

export class PortTable {
  readonly name: string;
  readonly state: State;
  readonly #memory: Memory;
  readonly #size: number;
  readonly #ports = new Map<number, SwitchPort>();
  #limbo: Limbo[] = [];

  /** @param size  bytes of state: 0 where it exists already, as `state` */
  constructor(memory: Memory, name: string, size: number, state?: State) {
    this.name = name;
    this.#memory = memory;
    this.state = state ?? memory.createState(`netmap-${name}`, size);
    this.#size = this.state.object.size;
    if (state) return;
    this.set(st.SW_MAGIC, st.STATE_MAGIC);
    this.set(st.SW_VERSION, st.STATE_VERSION);
    this.set(st.SW_EPOCH, 1);
  }

  get size(): number {
    return this.#ports.size;
  }

  protected get arena(): Arena {
    return this.#memory.arena;
  }

  get #view(): DataView {
    return this.#memory.arena.view;
  }

  /**
   * Reserves an index and room for krings; nobody sees the port before show().
   * @throws NetmapError ENOMEM: the switch is full.
   */
  reserve(plan: PortPlan): SwitchPort {
    this.#recycle();
    if (this.#ports.size >= USABLE_PORTS) {
      throw new NetmapError(
        'ENOMEM',
        `Cannot open "${plan.name}": ${this.name} has ${this.#ports.size} ports, which is all it can take`,
      );
    }
    const readyBytes = plan.rxSlots * 4;
    const ownerBytes = plan.rxSlots * 8;
    const krings = (plan.txRings + plan.rxRings) * st.KR_SIZE;
    const txBytes = (plan.txSlots ?? 0) * 4;
    const arrays = plan.rxRings * (readyBytes + ownerBytes) + plan.txRings * txBytes;
    const block = this.#allocate(krings + arrays, plan.name);
    const base = this.state.mapping.address + block.ofs;
    new Uint8Array(this.#view.buffer, base, block.size).fill(0);
    for (let i = 0; i < plan.rxRings; i++) {
      const kring = base + (plan.txRings + i) * st.KR_SIZE;
      const arrays = block.ofs + krings + i * (readyBytes + ownerBytes);
      this.#view.setUint32(kring + st.KR_OWNERS_OFS, arrays, true);
      this.#view.setUint32(kring + st.KR_READY_OFS, arrays + ownerBytes, true);
    }
    for (let i = 0; txBytes > 0 && i < plan.txRings; i++) {
      const arrays = block.ofs + krings + plan.rxRings * (readyBytes + ownerBytes) + i * txBytes;
      this.#view.setUint32(base + i * st.KR_SIZE + st.KR_READY_OFS, arrays, true);
    }
    const port: SwitchPort = { index: this.#freeIndex(), hidden: plan.hidden ?? false, krings: block };
    this.#ports.set(port.index, port);
    return port;
  }

  /** Makes a reserved port visible to senders. */
  show(port: SwitchPort, plan: PortPlan, region: Region): void {
    const entry = this.#entry(port.index);
    const generation = (this.#view.getUint32(entry + st.PT_LAST_GEN, true) % 255) + 1;
    const { object } = region;
    new Uint8Array(this.#view.buffer, entry, st.PT_SIZE).fill(0);
    const fields: [number, number][] = [
      [st.PT_TX_RINGS, plan.txRings],
      [st.PT_RX_RINGS, plan.rxRings],
      [st.PT_TX_KRINGS, port.krings.ofs],
      [st.PT_RX_KRINGS, port.krings.ofs + plan.txRings * st.KR_SIZE],
      [st.PT_REGION_SLOT, region.slot],
      [st.PT_REGION_SIZE, object.size],
      [st.PT_REGION_INO, object.ino],
      [st.PT_MODULE_PID, object.pid],
      [st.PT_MODULE_FD, object.fd],
      [st.PT_RX_OPEN, plan.open ?? 0],
      [st.PT_TAGGED, plan.tagged ? 1 : 0],
      [st.PT_LAST_GEN, generation],
      [st.PT_GEN, generation],
    ];
    for (const [ofs, value] of fields) this.#view.setUint32(entry + ofs, value, true);
    const name = new TextEncoder().encode(plan.name).subarray(0, 63);
    new Uint8Array(this.#view.buffer, entry + st.PT_NAME, name.length).set(name);
    this.changed();
  }

  /** Says where the module, having been restarted, holds the region now. */
  setModule(port: SwitchPort, object: { pid: number; fd: number }): void {
    const entry = this.#entry(port.index);
    this.#view.setUint32(entry + st.PT_MODULE_PID, object.pid, true);
    this.#view.setUint32(entry + st.PT_MODULE_FD, object.fd, true);
  }

  /** Which of a port's rx rings somebody has bound: bit by ring. Senders drop what goes to others. */
  setOpen(port: SwitchPort, rings: number): void {
    const at = this.#entry(port.index) + st.PT_RX_OPEN;
    if (port.hidden || this.#view.getUint32(at, true) === rings >>> 0) return;
    this.#view.setUint32(at, rings, true);
    this.touch();
  }

  /** Longest frame that is brought to a port, 0: any. */
  setLongest(port: SwitchPort, bytes: number): void {
    this.#view.setUint32(this.#entry(port.index) + st.PT_LONGEST, bytes, true);
  }

  longest(port: SwitchPort): number {
    return this.#view.getUint32(this.#entry(port.index) + st.PT_LONGEST, true);
  }

  /** Header in front of a port's frames and its longest frame: senders whose own header differs convert. */
  setHeader(port: SwitchPort, length: number, mfs: number): void {
    const entry = this.#entry(port.index);
    this.#view.setUint32(entry + st.PT_MFS, mfs, true);
    this.#view.setUint32(entry + st.PT_HEADER, length, true);
  }

  /** Takes an open port out of everybody's sight; its addresses are forgotten. */
  hide(port: SwitchPort): void {
    const entry = this.#entry(port.index);
    this.#view.setUint32(entry + st.PT_RX_OPEN, 0, true);
    const generation = (this.#view.getUint32(entry + st.PT_GEN, true) % 255) + 1;
    this.#view.setUint32(entry + st.PT_LAST_GEN, generation, true);
    this.#view.setUint32(entry + st.PT_GEN, generation, true);
    port.hidden = true;
    this.changed();
  }

  /** Takes a port out: senders flood what goes to its addresses from now on. */
  remove(port: SwitchPort): void {
    const entry = this.#entry(port.index);
    this.#view.setUint32(entry + st.PT_RX_OPEN, 0, true);
    this.#view.setUint32(entry + st.PT_GEN, 0, true);
    this.#ports.delete(port.index);
    this.changed();
    this.#limbo.push({ epoch: this.get(st.SW_EPOCH), port: port.index, block: port.krings });
    this.#recycle();
  }

  /** Takes over a port that exists. */
  adopt(port: SwitchPort): void {
    this.#ports.set(port.index, port);
  }

  #freeIndex(): number {
    const waiting = new Set(this.#limbo.map((limbo) => limbo.port));
    for (let i = 0; i < NM_BDG_MAXPORTS; i++) if (!this.#ports.has(i) && !waiting.has(i)) return i;
    throw new NetmapError(
      'ENOMEM',
      `Cannot open another port on ${this.name}: senders still use the last one that closed; try again`,
    );
  }

  /** First fit in the heap. */
  #allocate(size: number, forWhat: string): Block {
    const rounded = Math.ceil(size / st.KR_SIZE) * st.KR_SIZE;
    const taken = [...this.#ports.values()]
      .map((port) => port.krings)
      .concat(this.#limbo.map((limbo) => limbo.block));
    taken.sort((a, b) => a.ofs - b.ofs);
    let ofs = st.SW_HEAP;
    for (const block of taken) {
      if (block.ofs - ofs >= rounded) break;
      ofs = block.ofs + block.size;
    }
    if (ofs + rounded > Math.min(this.#size, st.SW_LOOKUP_AREAS)) {
      throw new NetmapError(
        'ENOMEM',
        `Cannot open "${forWhat}": ${this.name} has no room for ${size} bytes of ring state; ask for fewer rings or slots`,
      );
    }
    return { ofs, size: rounded };
  }

  protected generationOf(port: number): number {
    return this.#view.getUint32(this.#entry(port) + st.PT_GEN, true);
  }

  /** Ports that senders may see, by index. */
  protected visible(): number[] {
    return [...this.#ports.values()]
      .filter(
        ({ index, hidden }) => !hidden && this.#view.getUint32(this.#entry(index) + st.PT_GEN, true) !== 0,
      )
      .map(({ index }) => index);
  }

  /** Ports have come or gone. */
  protected changed(): void {
    this.touch();
  }

  /** Senders that begin from now on look at everything anew. */
  touch(): void {
    Atomics.add(this.#memory.arena.words, (this.state.mapping.address + st.SW_EPOCH) >> 2, 1);
  }

  /** Frees what no sync can be using any more. */
  #recycle(): void {
    this.#limbo = this.#limbo.filter(
      (limbo) => !noSyncOlderThan(this.#memory.arena, this.state.mapping.address, limbo.epoch),
    );
  }

  #entry(index: number): number {
    return this.state.mapping.address + st.SW_PORTS + index * st.PT_SIZE;
  }

  protected get(ofs: number): number {
    return this.#view.getUint32(this.state.mapping.address + ofs, true);
  }

  protected set(ofs: number, value: number): void {
    this.#view.setUint32(this.state.mapping.address + ofs, value, true);
  }
}
