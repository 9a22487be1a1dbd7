// The host's own port on a switch, without any NIC: an interface that is made for it, whose wire ends at us.

import { Keepsakes } from '../keepsakes.ts';
import type { BufferMemory, Device, Interface, NicMode, Queue } from '../nic.ts';
import { whyNoAfXdp } from './af-xdp.ts';
import { receiveByXdp } from './carrier.ts';
import { byPackets } from './emulated.ts';
import { FarEnd } from './far-end.ts';
import { openSocket, withLosses } from './socket.ts';

const MTU = 1500;

export class Endpoint implements Device {
  readonly mode: NicMode;
  readonly why: string;
  readonly rings = 1;
  readonly hostRings = { tx: 1, rx: 1 };
  readonly #far: FarEnd;

  constructor(name: string, memory: BufferMemory, entries: number) {
    const why = whyNoAfXdp(memory.bufSize);
    this.mode = why === undefined ? 'native' : 'emulated';
    this.why = why ?? '';
    const keep = new Keepsakes(); // Nobody but the module holds any of it: there is nothing to be found later.
    const socket = (far: Interface, queue: number) =>
      withLosses(openSocket(far.index, queue, memory, entries));
    const carrier = why === undefined ? { socket, receive: receiveByXdp } : byPackets(entries, keep);
    this.#far = new FarEnd({
      name,
      peerName: 'far',
      mtu: MTU,
      silent: false,
      rings: this.hostRings,
      carrier,
      keep,
    });
  }

  /** The host's end. */
  get interface(): Interface {
    return this.#far.near;
  }

  openQueue(): Queue {
    return this.#far.openQueue(0);
  }

  openHost(): Queue {
    return this.#far.openQueue(0);
  }

  follow({ mtu }: Interface): void {
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
