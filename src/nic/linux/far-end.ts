// A wire whose near end is an interface of the host's, and whose far end is ours: sockets in a namespace that only
// descriptors keep alive, so that both ends are gone when the last of those is closed, in whatever way.

import { NetmapError } from '../../abi/errors.ts';
import * as links from '../../os/linux/interfaces.ts';
import * as libc from '../../os/linux/libc.ts';
import type { Keepsakes } from '../keepsakes.ts';
import type { HostRings, Interface, Queue } from '../nic.ts';
import type { Carrier, Receiver } from './carrier.ts';
import { sendWholeFrames } from './offloads.ts';

export interface FarEndPlan {
  /** Near end, in this namespace. */
  name: string;
  peerName: string;
  mtu: number;
  /** The near end has no addresses or ARP of its own. */
  silent: boolean;
  /** Queues of the far end. */
  rings: HostRings;
  /** Its work is done in the far end's namespace. */
  carrier: Carrier;
  keep: Keepsakes;
}

export class FarEnd {
  readonly near: Interface;
  readonly queues = new Map<number, Queue>();
  readonly #far: Interface;
  readonly #namespace: links.Namespace;
  readonly #carrier: Carrier;
  readonly #receiver: Receiver;

  /** @throws NetmapError EPERM; EEXIST: an interface of that name is there, and stays. */
  constructor({ name, peerName, mtu, silent, rings, carrier, keep }: FarEndPlan) {
    this.#carrier = carrier;
    const known = keep.take('far namespace');
    this.#namespace = known === undefined ? links.Namespace.create() : new links.Namespace(known);
    try {
      if (known === undefined) {
        keep.put('far namespace', this.#namespace.fd);
        createPairSoon({ name, peerName, peer: this.#namespace, mtu, silent, rings });
        // What the host sends is to arrive as it would on a wire: whole frames, whole checksums.
        sendWholeFrames(name);
      }
      this.near = find(name);
      this.#far = this.#namespace.run(() => find(peerName));
      this.#receiver = this.#namespace.run(() => carrier.receive(this.#far, keep));
    } catch (error) {
      this.#namespace.close();
      throw error;
    }
  }

  openQueue(index: number): Queue {
    const known = this.queues.get(index);
    if (known) return known;
    const queue = this.#namespace.run(() => this.#carrier.socket(this.#far, index));
    this.queues.set(index, queue);
    if (index < this.#far.rxQueues) this.#receiver.setSocket(index, queue.fd);
    return queue;
  }

  closeQueue(index: number): void {
    const queue = this.queues.get(index);
    if (!queue) return;
    if (index < this.#far.rxQueues) this.#receiver.setSocket(index, -1);
    this.queues.delete(index);
    libc.closeFd(queue.fd);
  }

  setMtu(mtu: number): void {
    links.setMtu(this.near.index, mtu);
    this.#namespace.run(() => links.setMtu(this.#far.index, mtu));
  }

  /** What keeps it alive. */
  get descriptors(): number[] {
    return [...this.#receiver.descriptors, this.#namespace.fd];
  }

  close(): void {
    for (const index of [...this.queues.keys()]) this.closeQueue(index);
    this.#receiver.close();
    links.removeInterface(this.near.index);
    this.#namespace.close();
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
