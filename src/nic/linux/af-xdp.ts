// A NIC by AF_XDP (spec linux-nic §3, §4): a socket per queue, whose buffers are a netmap region's, and an XDP program
// that brings them the frames.
//
//   wire  --XDP-->  socket of the queue = RX ring        TX ring  -->  wire
//
// When the last descriptor is closed, in whatever way, the program is gone.

import { randomBytes } from 'node:crypto';
import { NetmapError } from '../../abi/errors.ts';
import { NM_BDG_MAXRINGS } from '../../abi/netmap.ts';
import * as bpf from '../../os/linux/bpf.ts';
import * as libc from '../../os/linux/libc.ts';
import { createSocket, LARGEST_BUFFER, SMALLEST_BUFFER } from '../../os/linux/xdp-socket.ts';
import { hostQueue, type Keepsakes, wireQueue } from '../keepsakes.ts';
import type { BufferMemory, Device, DevicePlan, Egress, HostRings, Interface, Queue } from '../nic.ts';
import { receiveByXdp } from './carrier.ts';
import { drop, hang } from './hang.ts';
import { HostSide } from './host-side.ts';
import { restoreOffloads, withoutOffloads } from './offloads.ts';
import * as programs from './programs.ts';
import { openSocket, withLosses } from './socket.ts';

export class AfXdp implements Device {
  #interface: Interface;
  readonly #memory: BufferMemory;
  readonly #entries: number;
  readonly #map: number;
  readonly #keep: Keepsakes;
  readonly #secret: Uint8Array;
  readonly #forced: DevicePlan['mode'];
  readonly #queues = new Map<number, Queue>();
  readonly #receiving = new Set<number>();
  readonly #host: HostSide;
  readonly hostRings: HostRings;
  readonly rings: number;
  #receiveLink = -1;
  mode: 'native' | 'generic' = 'native';
  why = '';

  constructor(nic: Interface, { memory, entries, hostRings, mode, keep }: DevicePlan) {
    this.#interface = nic;
    this.#memory = memory;
    this.#entries = entries;
    this.#forced = mode;
    this.rings = queuesOf(nic);
    this.hostRings = hostRings;
    this.#keep = keep;
    this.#map = keep.fd('map', () => bpf.createSocketMap(nic.rxQueues));
    this.#secret = Buffer.from(keep.text('secret') ?? keep.remember('secret', newSecret()), 'hex');
    this.#host = new HostSide(nic, {
      rings: hostRings,
      keep,
      carrier: {
        socket: (far, queue) => this.#socket(hostQueue(queue), far.index, queue),
        receive: receiveByXdp,
      },
      // An interface whose frames generic XDP takes would have those for the host taken again.
      toHost: () =>
        this.#forced !== 'generic' && this.#takesNative()
          ? programs.toHost(nic.index)
          : programs.toHostBehindSecret(nic.index, this.#secret),
    });
  }

  openQueue(index: number): Queue {
    const known = this.#queues.get(index);
    if (known) return known;
    const queue = this.#socket(wireQueue(index), this.#interface.index, index);
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
      withoutOffloads(this.#interface, this.#keep);
      try {
        this.#attach();
      } catch (error) {
        restoreOffloads(this.#interface, this.#keep);
        throw error;
      }
      bpf.setSocket(this.#map, index, this.#queues.get(index)!.fd);
      this.#receiving.add(index);
      return;
    }
    bpf.setSocket(this.#map, index, -1);
    this.#receiving.delete(index);
    if (this.#receiving.size > 0) return;
    this.#dropReceiver();
    restoreOffloads(this.#interface, this.#keep);
  }

  openHost(index: number): Queue {
    return this.#host.openQueue(index);
  }

  closeHost(index: number): void {
    this.#host.closeQueue(index);
  }

  follow(nic: Interface): void {
    this.#interface = nic;
    this.#host.follow(nic);
  }

  setEgress(egress: Egress): void {
    this.#host.setEgress(egress);
  }

  get descriptors(): number[] {
    const link = this.#receiveLink < 0 ? [] : [this.#receiveLink];
    return [this.#map, ...link, ...this.#host.descriptors];
  }

  close(): void {
    for (const index of [...this.#queues.keys()]) this.closeQueue(index);
    this.#host.close();
    libc.closeFd(this.#map);
  }

  #socket(name: string, ifindex: number, queue: number): Queue {
    const [other] = [...this.#queues.values(), ...this.#host.queues];
    const make = () => openSocket(ifindex, queue, this.#memory, this.#entries, other?.fd);
    return withLosses(this.#keep.queue(name, make));
  }

  /** Hangs the receiving program on the interface, as near to the driver as it can be. */
  #attach(): void {
    if (this.#receiveLink >= 0) return;
    const known = this.#keep.take('receive');
    if (known === undefined) {
      this.#hangReceiver();
      this.#keep.put('receive', this.#receiveLink);
      this.#keep.remember('mode', this.mode);
      this.#keep.remember('why', this.why);
    } else {
      this.#receiveLink = known;
      this.mode = this.#keep.text('mode') === 'generic' ? 'generic' : 'native';
      this.why = this.#keep.text('why') ?? '';
    }
  }

  #hangReceiver(): void {
    const { index, name } = this.#interface;
    const link = (code: Uint8Array, flags: number) =>
      hang(`take the frames that come on "${name}"`, bpf.PROG_XDP, bpf.ATTACH_XDP, index, code, flags);
    try {
      if (this.#forced === 'generic') throw new NetmapError('EOPNOTSUPP', 'it was asked for');
      this.#receiveLink = link(programs.receive(this.#map), bpf.XDP_DRV_MODE);
      this.mode = 'native';
      this.why = '';
    } catch (error) {
      const { code, message } = error as NetmapError;
      if (this.#forced === 'native' || code === 'EPERM') throw error;
      // Somebody else's program is there.
      if (code === 'EBUSY' || code === 'EEXIST')
        throw new NetmapError(code, `${message}; "nm-ctl admode=3" does without XDP`);
      this.#receiveLink = link(programs.receiveButSecret(this.#map, this.#secret), bpf.XDP_SKB_MODE);
      this.mode = 'generic';
      this.why = message;
    }
  }

  /** Whether the driver itself runs XDP programs: tried, where nobody has tried yet. */
  #takesNative(): boolean {
    if (this.#receiveLink >= 0) return this.mode === 'native';
    try {
      this.#attach();
      return this.mode === 'native';
    } finally {
      this.#dropReceiver();
    }
  }

  #dropReceiver(): void {
    this.#keep.gone('receive');
    this.#receiveLink = drop(this.#receiveLink);
  }
}

/** Reads as a unicast, locally administered address and some more. */
function newSecret(): string {
  const secret = randomBytes(programs.SECRET_SIZE);
  secret[0] = (secret[0]! & 0xfc) | 2;
  return secret.toString('hex');
}

/** Those that have both directions. */
export function queuesOf({ txQueues, rxQueues }: Interface): number {
  return Math.min(txQueues, rxQueues, NM_BDG_MAXRINGS);
}

/** Why AF_XDP cannot be had for frames in buffers of so many bytes; undefined where it can. */
export function whyNoAfXdp(bufSize: number): string | undefined {
  if (bufSize < SMALLEST_BUFFER || bufSize > LARGEST_BUFFER)
    return `AF_XDP takes buffers of ${SMALLEST_BUFFER} to ${LARGEST_BUFFER} bytes, these have ${bufSize}`;
  try {
    libc.closeFd(createSocket());
    libc.closeFd(bpf.createSocketMap(1));
    return undefined;
  } catch (error) {
    return (error as Error).message;
  }
}
