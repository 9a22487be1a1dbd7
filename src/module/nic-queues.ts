// The queues behind the rings of interfaces' ports: opened with the rings' buffers, shown to their krings, closed.

import * as st from '../abi/state.ts';
import type { DataPlane } from '../dataplane/dataplane.ts';
import type { Queue } from '../nic/index.ts';
import { os } from '../os/index.ts';
import type { NicPort, OpenQueue } from './adapter.ts';
import type { Parameters } from './parameters.ts';
import { emptyRing, type Ring, stockRing, transmits } from './rings.ts';
import { type Stock, Undo } from './stock.ts';

/** In the syncs that the module itself runs. */
const MODULE_TOKEN = 0xffffffff;

export class NicQueues {
  readonly #stock: Stock;
  readonly #parameters: Parameters;
  readonly #dataPlane: DataPlane;

  constructor(stock: Stock, parameters: Parameters, dataPlane: DataPlane) {
    this.#stock = stock;
    this.#parameters = parameters;
    this.#dataPlane = dataPlane;
  }

  /** Opens what is behind the rings of an index, with buffers of their own. @throws NetmapError EBUSY, EPERM, ENOMEM. */
  open(port: NicPort, index: number): void {
    if (port.queues.has(index)) return;
    const { memory } = this.#stock;
    const { region } = port;
    const rings = pairOf(port, index);
    Undo.around((undo) => {
      for (const ring of rings) {
        stockRing(memory, region, port.state, ring, port.port.index);
        undo.push(() => emptyRing(memory, region, port.state, ring));
      }
      const open: OpenQueue = { queue: queueOf(port, index), slot: memory.takeDeviceSlot() };
      port.queues.set(index, open);
      for (const ring of rings) this.#show(port, ring, open);
      if (open.queue.fill && port.rx[index]) this.#post(port, port.rx[index], open);
    });
  }

  close(port: NicPort, index: number): void {
    const open = port.queues.get(index);
    if (!open) return;
    port.queues.delete(index);
    this.#stock.memory.releaseDeviceSlot(open.slot);
    const nth = index - port.device.rings;
    if (nth >= 0) port.device.closeHost(nth);
    else port.device.closeQueue(index);
    for (const ring of pairOf(port, index)) emptyRing(this.#stock.memory, port.region, port.state, ring);
  }

  /** Tells a kring where its queue's rings are. */
  #show(port: NicPort, ring: Ring, { queue, slot }: OpenQueue): void {
    const { view } = this.#stock.memory.arena;
    const kring = port.state.mapping.address + ring.kringOfs;
    this.showForwarding(port, ring);
    for (const [at, value] of [
      [st.KR_QUEUE_SLOT, slot],
      [st.KR_FRAME_SIZE, queue.frameSize ?? 0],
      [st.KR_ASLEEP, queue.server?.asleep ?? 0],
    ] as const)
      view.setUint32(kring + at, value, true);
    if (queue.terms) {
      const { bufAddress, headroom, chain, longest } = queue.terms;
      for (const [at, value] of [
        [st.KR_BUF_ADDRESS, bufAddress],
        [st.KR_HEADROOM, headroom],
        [st.KR_CHAIN, chain],
        [st.KR_LONGEST, longest],
      ] as const)
        view.setUint32(kring + at, value, true);
    }
    const [frames, back] = transmits(ring) ? [queue.tx, queue.completion] : [queue.rx, queue.fill];
    for (const [at, layout] of [
      [st.KR_FRAMES, frames],
      [st.KR_BACK, back],
    ] as const) {
      if (!layout) continue;
      view.setUint32(kring + at + st.RL_PRODUCER, layout.producer, true);
      view.setUint32(kring + at + st.RL_CONSUMER, layout.consumer, true);
      view.setUint32(kring + at + st.RL_DESC, layout.desc, true);
      view.setUint32(kring + at + st.RL_MASK, layout.entries - 1, true);
    }
  }

  /** Gives the kernel its first buffers, so that frames find some before the application's first sync. */
  #post(port: NicPort, ring: Ring, { queue, slot }: OpenQueue): void {
    const { memory } = this.#stock;
    const { arena } = memory;
    const mapping = arena.mapDevice(slot, queue.size, (address) => mapQueue(queue, address));
    try {
      const state = port.state.mapping.address;
      memory.withRegion(port.region, () => {
        const answer = this.#dataPlane.nicRxSync(state, state + ring.kringOfs, MODULE_TOKEN);
        if (answer & st.SYNC_KICK) os.ring(queue.server!.bell);
      });
    } finally {
      arena.unmapDevice(mapping);
    }
  }

  /** Tells a kring the parameter fwd. */
  showForwarding(port: NicPort, ring: Ring): void {
    const at = port.state.mapping.address + ring.kringOfs + st.KR_FORWARDS;
    this.#stock.memory.arena.view.setUint32(at, this.#parameters.get('fwd'), true);
  }
}

/** The queue behind the rings of an index, opened if it is not. */
export function queueOf({ device, state, tx, rx }: NicPort, index: number): Queue {
  const address = (ring: Ring | undefined) => (ring ? state.mapping.address + ring.kringOfs : 0);
  const krings = { tx: address(tx[index]), rx: address(rx[index]) };
  const nth = index - device.rings;
  return nth >= 0 ? device.openHost(nth, krings) : device.openQueue(index, krings);
}

/** Rings of a queue, of one direction where the other has fewer. */
function pairOf({ rx, tx }: NicPort, index: number): Ring[] {
  return [rx[index], tx[index]].filter((ring) => ring !== undefined);
}

function mapQueue({ fd, parts }: Queue, address: number): boolean {
  return parts.every(({ at, size, pageOffset }) => os.mapDevice(fd, address + at, size, pageOffset));
}
