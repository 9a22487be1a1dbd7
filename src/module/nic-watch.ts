// What becomes of interfaces while they are open: what they have lost is counted; users of one that is not what it was
// when it was opened are told.

import * as st from '../abi/state.ts';
import type { DataPlane } from '../dataplane/dataplane.ts';
import type { Arena } from '../mem/arena.ts';
import { type Interface, type LinkNews, listInterfaces, watchLinks } from '../nic/index.ts';
import type { NicPort } from './adapter.ts';

/** Between two looks at what the kernel does not tell; every so manieth is a look at interfaces, too. */
const LOOK_MS = 250;
const LOOKS_BETWEEN = 4;

export class NicWatch {
  readonly #ports: ReadonlyMap<number, NicPort>;
  readonly #arena: Arena;
  readonly #dataPlane: DataPlane;
  #end: (() => void) | undefined;
  #looks = 0;
  /** Rings the bells that a wake() has collected. */
  ringBells: () => void = () => {};

  /** @param ports  by the indices of their interfaces */
  constructor(ports: ReadonlyMap<number, NicPort>, arena: Arena, dataPlane: DataPlane) {
    this.#ports = ports;
    this.#arena = arena;
    this.#dataPlane = dataPlane;
  }

  begin(): void {
    if (this.#end) return;
    const end = watchLinks((news) => this.#hear(news));
    const timer = setInterval(() => this.#look(), LOOK_MS).unref();
    this.#end = () => {
      clearInterval(timer);
      end();
    };
  }

  end(): void {
    this.#end?.();
    this.#end = undefined;
  }

  /** Writes down what the kernel had no room for: drops of RX rings. */
  countLost(): void {
    for (const port of this.#ports.values()) {
      for (const [index, { queue }] of port.queues) {
        const ring = port.rx[index];
        if (!ring) continue;
        const counter = port.state.mapping.address + ring.kringOfs + st.KR_DROPS + 8 * st.DROP_FULL;
        this.#arena.view.setBigUint64(counter, BigInt(queue.lost()), true);
      }
    }
  }

  /** Numbers of queues, of which the kernel sends no news, and losses. */
  #look(): void {
    this.countLost();
    if (++this.#looks % LOOKS_BETWEEN !== 0) return;
    for (const nic of listInterfaces()) this.#compare(nic);
  }

  #hear({ gone, nic: { index } }: LinkNews): void {
    const port = this.#ports.get(index);
    if (!port) return;
    if (gone) {
      this.#retire(port, st.ORPHAN_GONE);
      return;
    }
    this.check(index); // News may be older than a name that is in them.
  }

  /** Compares an interface with what it was. */
  check(index: number): void {
    const now = listInterfaces().find((nic) => nic.index === index);
    if (now) this.#compare(now);
  }

  #compare(nic: Interface): void {
    const port = this.#ports.get(nic.index);
    if (!port) return;
    const why = whyOutdated(port, nic);
    if (why !== 0) {
      this.#retire(port, why);
      return;
    }
    port.interface = nic;
    port.device.follow(nic);
  }

  #retire(port: NicPort, why: number): void {
    if (port.retired !== 0) return;
    port.retired = why;
    this.orphan(port, why);
  }

  /** Tells users of rings that nothing moves there any more (POLLERR). @param why  ORPHAN_* */
  orphan({ state, tx, rx }: Pick<NicPort, 'state' | 'tx' | 'rx'>, why: number): void {
    for (const { kringOfs } of [...tx, ...rx]) {
      const kring = state.mapping.address + kringOfs;
      this.#arena.view.setUint32(kring + st.KR_ORPHAN, why, true);
      if (this.#dataPlane.wake(kring) & st.SYNC_RING_BELLS) this.ringBells();
    }
  }
}

/** ORPHAN_*: what of an interface is not as its rings were made for; 0: nothing. */
function whyOutdated({ region, device, interface: was }: NicPort, nic: Interface): number {
  if (nic.mtu + 18 > region.geometry.bufs.size) return st.ORPHAN_MTU;
  const sameQueues = nic.txQueues === was.txQueues && nic.rxQueues === was.rxQueues;
  // A packet socket hears all of them.
  return sameQueues || device.mode === 'emulated' ? 0 : st.ORPHAN_QUEUES;
}
