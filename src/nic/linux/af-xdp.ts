// A NIC by AF_XDP (spec linux-nic §3, §4): a socket per queue, whose buffers are a netmap region's; an XDP program
// that brings them the frames; for the host rings a pair of helper interfaces.
//
//   wire  --XDP-->  socket of the queue = RX ring        TX ring  -->  wire
//   host  --tcx egress-->  helper ==wire== far end --XDP-->  host socket = host RX ring
//   host  <--redirect--  helper <==wire== far end  <--  host socket = host TX ring
//
// The far end lies in a namespace that only descriptors of ours keep alive: when the last is closed, in whatever
// way, the helpers are gone, and so is every program.

import { randomBytes } from 'node:crypto';
import { NetmapError } from '../../abi/errors.ts';
import * as bpf from '../../os/linux/bpf.ts';
import * as links from '../../os/linux/interfaces.ts';
import * as libc from '../../os/linux/libc.ts';
import * as xdp from '../../os/linux/xdp-socket.ts';
import type { BufferMemory, Device, Egress, Interface, OpenDevice, Queue } from '../nic.ts';
import { withoutOffloads } from './offloads.ts';
import * as programs from './programs.ts';

interface HostSide {
  queue: Queue;
  helper: Interface;
  far: links.Namespace;
  held: number[];
  egress: number;
}

export class AfXdp implements Device {
  readonly #interface: Interface;
  readonly #memory: BufferMemory;
  readonly #entries: number;
  readonly #map: number;
  readonly #secret: Uint8Array;
  readonly #forced: 'native' | 'generic' | undefined;
  readonly #queues = new Map<number, Queue>();
  readonly #receiving = new Set<number>();
  #host: HostSide | undefined;
  #receiveLink = -1;
  #restoreOffloads: (() => void) | undefined;
  /** tcx link that drops what the host sends. */
  #cut = -1;
  #egress: Egress = 'wire';
  mode: 'native' | 'generic' = 'native';
  why = '';

  /** @param entries  of the kernel's rings, a power of two */
  constructor(nic: Interface, memory: BufferMemory, entries: number, forced?: 'native' | 'generic') {
    this.#interface = nic;
    this.#memory = memory;
    this.#entries = entries;
    this.#forced = forced;
    this.#map = bpf.createSocketMap(nic.rxQueues);
    this.#secret = Uint8Array.from(randomBytes(programs.SECRET_SIZE));
    this.#secret[0] = (this.#secret[0]! & 0xfc) | 2;
  }

  openQueue(index: number): Queue {
    const known = this.#queues.get(index);
    if (known) return known;
    const queue = this.#socket(this.#interface.index, index);
    this.#queues.set(index, queue);
    return queue;
  }

  closeQueue(index: number): void {
    const queue = this.#queues.get(index);
    if (!queue) return;
    this.setReceive(index, false);
    this.#queues.delete(index);
    libc.closeFd(queue.fd);
  }

  setReceive(index: number, on: boolean): void {
    if (on === this.#receiving.has(index)) return;
    if (on) {
      this.#restoreOffloads ??= withoutOffloads(this.#interface.name);
      this.#attach();
      bpf.setSocket(this.#map, index, this.#queues.get(index)!.fd);
      this.#receiving.add(index);
      return;
    }
    bpf.setSocket(this.#map, index, -1);
    this.#receiving.delete(index);
    if (this.#receiving.size > 0) return;
    this.#receiveLink = drop(this.#receiveLink);
    this.#restoreOffloads?.();
    this.#restoreOffloads = undefined;
  }

  openHost(): Queue {
    this.#host ??= this.#makeHost();
    return this.#host.queue;
  }

  closeHost(): void {
    const host = this.#host;
    if (!host) return;
    host.egress = drop(host.egress);
    this.#host = undefined;
    libc.closeFd(host.queue.fd);
    for (const link of host.held) drop(link);
    links.removeInterface(host.helper.index);
    host.far.close();
    this.setEgress(this.#egress);
  }

  setMtu(mtu: number): void {
    if (!this.#host) return;
    links.setMtu(this.#host.helper.index, mtu);
    const { far } = this.#host;
    far.run(() => links.setMtu(find(`nm${this.#interface.index}n`).index, mtu));
  }

  setEgress(egress: Egress): void {
    this.#egress = egress;
    const { index, name } = this.#interface;
    const host = this.#host;
    const attach = (code: Uint8Array) =>
      hang(`take what the host sends on "${name}"`, bpf.PROG_SCHED_CLS, bpf.ATTACH_TCX_EGRESS, index, code);
    const wanted = egress === 'ring' && !host ? 'nowhere' : egress;
    if (wanted === 'ring' && host && host.egress < 0)
      host.egress = attach(programs.toHelper(host.helper.index));
    if (wanted === 'nowhere' && this.#cut < 0) this.#cut = attach(programs.dropAll());
    if (wanted !== 'ring' && host) host.egress = drop(host.egress);
    if (wanted !== 'nowhere') this.#cut = drop(this.#cut);
  }

  get descriptors(): number[] {
    const { egress = -1, held = [], far } = this.#host ?? {};
    return [this.#map, this.#receiveLink, this.#cut, egress, ...held, far?.fd ?? -1].filter((fd) => fd >= 0);
  }

  close(): void {
    for (const index of [...this.#queues.keys()]) this.closeQueue(index);
    this.#egress = 'wire';
    this.closeHost();
    this.setEgress('wire');
    libc.closeFd(this.#map);
  }

  /** A socket on a queue; buffers are registered by the first, shared by the others. */
  #socket(ifindex: number, queue: number): Queue {
    const fd = xdp.createSocket();
    try {
      const [other] = [...this.#queues.values(), ...(this.#host ? [this.#host.queue] : [])];
      const { size, bufSize } = this.#memory;
      if (!other) this.#memory.mapped((address) => xdp.registerMemory(fd, address, size, bufSize));
      const rings = xdp.createRings(fd, this.#entries);
      xdp.bindQueue(fd, ifindex, queue, other?.fd);
      return { fd, ...rings };
    } catch (error) {
      libc.closeFd(fd);
      throw error;
    }
  }

  /** Hangs the receiving program on the interface, as near to the driver as it can be. */
  #attach(): void {
    if (this.#receiveLink >= 0) return;
    const { index, name } = this.#interface;
    const link = (code: Uint8Array, flags: number) =>
      hang(`take the frames that come on "${name}"`, bpf.PROG_XDP, bpf.ATTACH_XDP, index, code, flags);
    try {
      if (this.#forced === 'generic') throw new NetmapError('EOPNOTSUPP', 'it was asked for');
      this.#receiveLink = link(programs.receive(this.#map), bpf.XDP_DRV_MODE);
      this.mode = 'native';
      this.why = '';
    } catch (error) {
      if (this.#forced === 'native' || (error as NetmapError).code !== 'EOPNOTSUPP') throw error;
      this.#receiveLink = link(programs.receiveButSecret(this.#map, this.#secret), bpf.XDP_SKB_MODE);
      this.mode = 'generic';
      this.why = (error as Error).message;
    }
  }

  #makeHost(): HostSide {
    const { index, mtu } = this.#interface;
    const names = { name: `nm${index}h`, peerName: `nm${index}n` };
    const far = links.Namespace.create();
    const held: number[] = [];
    try {
      createPairSoon({ ...names, peer: far, mtu, silent: true });
      const here = find(names.name);
      links.switchOffloadsOff(here.name);
      const { queue, there } = far.run(() => {
        const there = find(names.peerName);
        return { there, queue: this.#socket(there.index, 0) };
      });
      const map = bpf.createSocketMap(1);
      held.push(map);
      bpf.setSocket(map, 0, queue.fd);
      far.run(() => {
        const code = programs.receiveOrDrop(map);
        held.push(
          hang('take what the host sends', bpf.PROG_XDP, bpf.ATTACH_XDP, there.index, code, bpf.XDP_DRV_MODE),
        );
      });
      const tcx = (attach: number, code: Uint8Array) =>
        held.push(hang('reach the host stack', bpf.PROG_SCHED_CLS, attach, here.index, code));
      tcx(bpf.ATTACH_TCX_EGRESS, programs.onlyMarked());
      // An interface whose frames generic XDP takes would have those for the host taken again.
      const native = this.#forced !== 'generic' && this.#takesNative();
      tcx(
        bpf.ATTACH_TCX_INGRESS,
        native ? programs.toHost(index) : programs.toHostBehindSecret(index, this.#secret),
      );
      return { queue, helper: here, far, held, egress: -1 };
    } catch (error) {
      for (const fd of held) drop(fd);
      far.close();
      throw error;
    }
  }

  /** Whether the driver itself runs XDP programs: tried, where nobody has tried yet. */
  #takesNative(): boolean {
    if (this.#receiveLink >= 0) return this.mode === 'native';
    try {
      this.#attach();
      return this.mode === 'native';
    } finally {
      this.#receiveLink = drop(this.#receiveLink);
    }
  }
}

/** A helper whose owner has just died is gone after a tenth of a second. */
function createPairSoon(plan: links.PairPlan): void {
  const deadline = performance.now() + 1000;
  for (;;) {
    try {
      links.createPair(plan);
      return;
    } catch (error) {
      if ((error as NetmapError).code !== 'EEXIST' || performance.now() > deadline) throw error;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 10);
    }
  }
}

function find(name: string): Interface {
  const found = links.listInterfaces().find((nic) => nic.name === name);
  if (found) return found;
  throw new NetmapError('ENXIO', `Cannot find interface "${name}" that was just made`);
}

/** Loads a program and hangs it on an interface; the link keeps it. */
function hang(
  purpose: string,
  type: number,
  attach: number,
  ifindex: number,
  code: Uint8Array,
  flags = 0,
): number {
  const program = bpf.loadProgram(type, attach, code);
  try {
    return bpf.createLink(purpose, program, ifindex, attach, flags);
  } finally {
    libc.closeFd(program);
  }
}

/** Takes a link off now, whoever else has a copy of it. @returns -1, what stands for none */
function drop(link: number): -1 {
  if (link >= 0) {
    bpf.detachLink(link);
    libc.closeFd(link);
  }
  return -1;
}

export const openDevice: OpenDevice = (nic, memory, entries, mode) => new AfXdp(nic, memory, entries, mode);
