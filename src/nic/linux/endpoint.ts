// The host's own port on a switch, without any NIC: an interface that is made for it, whose wire ends at us.

import type { BufferMemory, Device, Interface, Queue } from '../nic.ts';
import { FarEnd } from './far-end.ts';
import { openSocket } from './socket.ts';

const MTU = 1500;

export class Endpoint implements Device {
  readonly mode = 'native';
  readonly why = '';
  readonly #far: FarEnd;

  constructor(name: string, memory: BufferMemory, entries: number) {
    const socket = (ifindex: number, queue: number) => openSocket(ifindex, queue, memory, entries);
    this.#far = new FarEnd({ name, peerName: 'far', mtu: MTU, silent: false, socket });
  }

  /** The host's end. */
  get interface(): Interface {
    return this.#far.near;
  }

  openQueue(): Queue {
    return this.#far.queue;
  }

  openHost(): Queue {
    return this.#far.queue;
  }

  setMtu(mtu: number): void {
    this.#far.setMtu(mtu);
  }

  get descriptors(): number[] {
    return this.#far.descriptors;
  }

  close(): void {
    this.#far.close();
  }

  // All of it is ours from the beginning to the end.
  closeQueue(): void {}
  closeHost(): void {}
  setReceive(): void {}
  setEgress(): void {}
}

export function openEndpoint(name: string, memory: BufferMemory, entries: number) {
  const device = new Endpoint(name, memory, entries);
  return { device, nic: device.interface };
}
