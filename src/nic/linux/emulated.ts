// A NIC where AF_XDP cannot be had (spec linux-nic §5, ports §4.3): a packet socket, one ring each way.
//
//   wire  -->  packet socket = RX ring;  tcx ingress drops it before the host has it     TX ring  -->  wire
//
// Packet sockets hear frames before tcx ingress does, and send past tcx egress.  What we send up to the host has a mark,
// which the socket passes over and the program lets through.

import * as bpf from '../../os/linux/bpf.ts';
import * as libc from '../../os/linux/libc.ts';
import * as packet from '../../os/linux/packet-socket.ts';
import { hostQueue, type Keepsakes, wireQueue } from '../keepsakes.ts';
import type { Device, DevicePlan, Egress, Interface, Queue } from '../nic.ts';
import { type Carrier, receiveByPackets } from './carrier.ts';
import { drop, hang } from './hang.ts';
import { HostSide } from './host-side.ts';
import { restoreOffloads, withoutOffloads } from './offloads.ts';
import * as programs from './programs.ts';

/** What an Ethernet header and a VLAN tag take beside an MTU. */
const HEADERS = 18;

export class Emulated implements Device {
  readonly mode = 'emulated';
  readonly why: string;
  readonly rings = 1;
  readonly hostRings = { tx: 1, rx: 1 };
  readonly #entries: number;
  readonly #host: HostSide;
  #interface: Interface;
  #queue: Queue | undefined;
  /** tcx link that keeps from the host what comes by the wire. */
  #cut = -1;
  readonly #keep: Keepsakes;

  /** @param why  AF_XDP cannot be had */
  constructor(nic: Interface, { entries, keep }: DevicePlan, why: string) {
    this.#interface = nic;
    this.#entries = entries;
    this.#keep = keep;
    this.why = keep.text('why') ?? keep.remember('why', why);
    this.#host = new HostSide(nic, {
      rings: this.hostRings,
      keep,
      carrier: byPackets(entries, keep),
      toHost: () => programs.toHostMarked(nic.index),
    });
  }

  openQueue(): Queue {
    this.#queue ??= openSocket(this.#keep, wireQueue(0), this.#interface, this.#entries, false);
    return this.#queue;
  }

  closeQueue(index: number): void {
    this.setReceive(index, false);
    if (this.#queue) libc.closeFd(this.#queue.fd);
    this.#queue = undefined;
  }

  setReceive(_index: number, on: boolean): void {
    const receives = this.#cut >= 0;
    if (on === receives) return;
    if (!on) {
      this.#keep.gone('receive');
      this.#cut = drop(this.#cut);
      this.#hearNothing();
      return;
    }
    const { index, name } = this.#interface;
    const { fd } = this.#queue!;
    withoutOffloads(this.#interface, this.#keep);
    try {
      packet.passOver(fd, programs.UP_MARK);
      packet.bindPacketSocket(fd, index, true);
      const purpose = `keep the frames that come on "${name}" from the host`;
      this.#cut = this.#keep.fd('receive', () =>
        hang(purpose, bpf.PROG_SCHED_CLS, bpf.ATTACH_TCX_INGRESS, index, programs.onlyUp()),
      );
    } catch (error) {
      this.#hearNothing();
      throw error;
    }
  }

  #hearNothing(): void {
    packet.passOver(this.#queue!.fd, undefined);
    restoreOffloads(this.#interface, this.#keep);
  }

  openHost(index: number): Queue {
    return this.#host.openQueue(index);
  }

  closeHost(index: number): void {
    this.#host.closeQueue(index);
  }

  setEgress(egress: Egress): void {
    this.#host.setEgress(egress);
  }

  follow(nic: Interface): void {
    this.#interface = nic;
    this.#host.follow(nic);
  }

  get descriptors(): number[] {
    return [...(this.#cut < 0 ? [] : [this.#cut]), ...this.#host.descriptors];
  }

  close(): void {
    this.closeQueue(0);
    this.#host.close();
  }
}

/** The far end of a wire, by packet sockets. */
export function byPackets(entries: number, keep: Keepsakes): Carrier {
  return {
    socket: (far, queue) => openSocket(keep, hostQueue(queue), far, entries, true),
    receive: receiveByPackets,
  };
}

function openSocket(
  keep: Keepsakes,
  name: string,
  { index, mtu }: Interface,
  entries: number,
  receives: boolean,
): Queue {
  let lost = 0;
  const socket = keep.queue(name, () => {
    const made = packet.createPacketSocket(entries, mtu + HEADERS);
    try {
      packet.bindPacketSocket(made.fd, index, receives);
      return made;
    } catch (error) {
      libc.closeFd(made.fd);
      throw error;
    }
  });
  return {
    ...socket,
    lost() {
      lost += packet.lostFrames(socket.fd);
      return lost;
    },
  };
}
