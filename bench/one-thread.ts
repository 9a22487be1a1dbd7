// One thread is sender and receiver: the whole path, nothing but the path.

import { open, type Port } from '../src/client/index.ts';
import type { Case } from './cases.ts';
import { introduce, Receiver, Sender } from './traffic.ts';

export class OneThread {
  readonly #case: Case;
  readonly #ports: readonly Port[];
  readonly #sender: Sender;
  readonly #receivers: readonly Receiver[];

  private constructor(work: Case, ports: readonly Port[]) {
    this.#case = work;
    this.#ports = ports;
    const [first, ...others] = ports as [Port, ...Port[]];
    if (work.traffic.endsWith('unicast')) introduce(others[0]!);
    this.#sender = new Sender(first, work);
    this.#receivers = others.map((port) => new Receiver(port, work));
  }

  static async prepare(work: Case): Promise<OneThread> {
    const names =
      work.kind === 'pipe'
        ? ['netmap:bench{1', 'netmap:bench}1']
        : ['valebench:s', ...Array.from({ length: work.receivers }, (_, i) => `valebench:r${i}`)];
    const ports: Port[] = [];
    for (const name of names) ports.push(await open(name));
    return new OneThread(work, ports);
  }

  /** Nanoseconds per packet sent, over about `ms` milliseconds. */
  measure(ms: number): number {
    const full = this.#case.traffic.startsWith('full');
    let sent = 0;
    const start = performance.now();
    let end = start;
    do {
      for (let i = 0; i < 64; i++) {
        sent += this.#sender.burst(this.#case.burst);
        if (!full) for (const receiver of this.#receivers) receiver.burst();
      }
      end = performance.now();
    } while (end - start < ms);
    return ((end - start) * 1e6) / sent;
  }

  /** Packets seen by the receivers: says that the work was done. */
  get delivered(): number {
    return this.#receivers.reduce((sum, receiver) => sum + receiver.totals.packets, 0);
  }

  async close(): Promise<void> {
    for (const port of this.#ports) await port.close();
  }
}
