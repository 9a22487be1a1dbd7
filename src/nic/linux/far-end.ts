// A wire whose near end is an interface of the host's, and whose far end is ours: a socket in a namespace that only
// descriptors keep alive, so that both ends are gone when the last of those is closed, in whatever way.

import { NetmapError } from '../../abi/errors.ts';
import * as bpf from '../../os/linux/bpf.ts';
import * as links from '../../os/linux/interfaces.ts';
import * as libc from '../../os/linux/libc.ts';
import type { Interface, Queue } from '../nic.ts';
import { drop, hang } from './hang.ts';
import { sendWholeFrames } from './offloads.ts';
import * as programs from './programs.ts';

export interface FarEndPlan {
  /** Near end, in this namespace. */
  name: string;
  peerName: string;
  mtu: number;
  /** The near end has no addresses or ARP of its own. */
  silent: boolean;
  /** A socket on a queue of the far end; runs in its namespace. */
  socket(ifindex: number, queue: number): Queue;
}

export class FarEnd {
  readonly near: Interface;
  readonly queue: Queue;
  readonly #peerName: string;
  readonly #namespace: links.Namespace;
  readonly #map: number;
  readonly #receive: number;

  /** @throws NetmapError EPERM; EEXIST: an interface of that name is there, and stays. */
  constructor({ name, peerName, mtu, silent, socket }: FarEndPlan) {
    this.#peerName = peerName;
    this.#namespace = links.Namespace.create();
    const undo: (() => void)[] = [() => this.#namespace.close()];
    try {
      createPairSoon({ name, peerName, peer: this.#namespace, mtu, silent });
      // What the host sends is to arrive as it would on a wire: whole frames, whole checksums.
      sendWholeFrames(name);
      this.near = find(name);
      const queue = this.#namespace.run(() => socket(find(peerName).index, 0));
      undo.push(() => libc.closeFd(queue.fd));
      const map = bpf.createSocketMap(1);
      undo.push(() => libc.closeFd(map));
      bpf.setSocket(map, 0, queue.fd);
      this.#receive = this.#namespace.run(() => {
        const code = programs.receiveOrDrop(map);
        const { index } = find(peerName);
        return hang('take what the host sends', bpf.PROG_XDP, bpf.ATTACH_XDP, index, code, bpf.XDP_DRV_MODE);
      });
      this.queue = queue;
      this.#map = map;
    } catch (error) {
      for (const step of undo.reverse()) step();
      throw error;
    }
  }

  setMtu(mtu: number): void {
    links.setMtu(this.near.index, mtu);
    this.#namespace.run(() => links.setMtu(find(this.#peerName).index, mtu));
  }

  /** What keeps it alive. */
  get descriptors(): number[] {
    return [this.#map, this.#receive, this.#namespace.fd];
  }

  close(): void {
    libc.closeFd(this.queue.fd);
    drop(this.#receive);
    libc.closeFd(this.#map);
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
