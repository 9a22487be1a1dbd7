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
import * as libc from '../../os/linux/libc.ts';
import type { BufferMemory, Device, Egress, Interface, OpenDevice, Queue } from '../nic.ts';
import { FarEnd } from './far-end.ts';
import { drop, hang } from './hang.ts';
import { withoutOffloads } from './offloads.ts';
import * as programs from './programs.ts';
import { openSocket } from './socket.ts';

/** The far end of the helper, and what brings the host's frames there and back. */
interface HostSide {
  far: FarEnd;
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
    return this.#host.far.queue;
  }

  closeHost(): void {
    const host = this.#host;
    if (!host) return;
    host.egress = drop(host.egress);
    this.#host = undefined;
    for (const link of host.held) drop(link);
    host.far.close();
    this.setEgress(this.#egress);
  }

  setMtu(mtu: number): void {
    this.#host?.far.setMtu(mtu);
  }

  setEgress(egress: Egress): void {
    this.#egress = egress;
    const { index, name } = this.#interface;
    const host = this.#host;
    const attach = (code: Uint8Array) =>
      hang(`take what the host sends on "${name}"`, bpf.PROG_SCHED_CLS, bpf.ATTACH_TCX_EGRESS, index, code);
    const wanted = egress === 'ring' && !host ? 'nowhere' : egress;
    if (wanted === 'ring' && host && host.egress < 0)
      host.egress = attach(programs.toHelper(host.far.near.index));
    if (wanted === 'nowhere' && this.#cut < 0) this.#cut = attach(programs.dropAll());
    if (wanted !== 'ring' && host) host.egress = drop(host.egress);
    if (wanted !== 'nowhere') this.#cut = drop(this.#cut);
  }

  get descriptors(): number[] {
    const { egress = -1, held = [], far } = this.#host ?? {};
    const all = [this.#map, this.#receiveLink, this.#cut, egress, ...held, ...(far?.descriptors ?? [])];
    return all.filter((fd) => fd >= 0);
  }

  close(): void {
    for (const index of [...this.#queues.keys()]) this.closeQueue(index);
    this.#egress = 'wire';
    this.closeHost();
    this.setEgress('wire');
    libc.closeFd(this.#map);
  }

  #socket(ifindex: number, queue: number): Queue {
    const [other] = [...this.#queues.values(), ...(this.#host ? [this.#host.far.queue] : [])];
    return openSocket(ifindex, queue, this.#memory, this.#entries, other?.fd);
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
    const far = new FarEnd({
      name: `nm${index}h`,
      peerName: `nm${index}n`,
      mtu,
      silent: true,
      socket: (ifindex, queue) => this.#socket(ifindex, queue),
    });
    const held: number[] = [];
    try {
      const tcx = (attach: number, code: Uint8Array) =>
        held.push(hang('reach the host stack', bpf.PROG_SCHED_CLS, attach, far.near.index, code));
      tcx(bpf.ATTACH_TCX_EGRESS, programs.onlyMarked());
      // An interface whose frames generic XDP takes would have those for the host taken again.
      const native = this.#forced !== 'generic' && this.#takesNative();
      tcx(
        bpf.ATTACH_TCX_INGRESS,
        native ? programs.toHost(index) : programs.toHostBehindSecret(index, this.#secret),
      );
      return { far, held, egress: -1 };
    } catch (error) {
      for (const link of held) drop(link);
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

export const openDevice: OpenDevice = (nic, memory, entries, mode) => new AfXdp(nic, memory, entries, mode);
