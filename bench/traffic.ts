// The loops that are timed: what pkt-gen does, a burst at a time.

import { FrameTemplate, type Port, ReceiveTotals, type Ring } from '../src/client/index.ts';
import type { Case } from './cases.ts';

/** 02:00:00:00:00:xx. */
const MACS = { sender: 1, receiver: 2, nobody: 0x77 };

export function templateFor(port: Port, { kind, traffic, size }: Case): FrameTemplate {
  const frame = new Uint8Array(size);
  const individual = traffic.endsWith('unicast') || traffic === 'unknown';
  if (kind === 'vale' && individual)
    frame.set([2, 0, 0, 0, 0, traffic === 'unknown' ? MACS.nobody : MACS.receiver]);
  else frame.fill(0xff, 0, 6);
  frame.set([2, 0, 0, 0, 0, MACS.sender], 6);
  return new FrameTemplate(port, frame);
}

/** A frame by which a receiver teaches the switch its address. */
export function introduce(receiver: Port): void {
  const frame = new Uint8Array(60).fill(0xff, 0, 6);
  frame.set([2, 0, 0, 0, 0, MACS.receiver], 6);
  const ring = receiver.txRings[0]!;
  ring.put(ring.head, frame);
  ring.publish(ring.next(ring.head));
  receiver.txSync();
}

export class Sender {
  readonly #port: Port;
  readonly #ring: Ring;
  readonly #template: FrameTemplate;
  readonly #copy: boolean;

  constructor(port: Port, work: Case) {
    this.#port = port;
    this.#ring = port.txRings[0]!;
    this.#template = templateFor(port, work);
    this.#copy = work.traffic === 'touch';
    // Every buffer holds the frame once; after that only lengths are set, unless the payload is to be touched.
    for (let slot = 0; slot < this.#ring.numSlots; slot++) this.#ring.put(slot, this.#template.bytes);
  }

  /** Fills and sends up to a burst; how many. */
  burst(most: number): number {
    const ring = this.#ring;
    const count = Math.min(most, ring.space);
    if (count > 0) {
      const { head } = ring;
      this.#template.fill(ring, head, count, { copy: this.#copy });
      ring.publish(ring.after(head, count));
    }
    this.#port.txSync();
    return count;
  }
}

export class Receiver {
  readonly #port: Port;
  readonly #ring: Ring;
  readonly #touch: boolean;
  readonly totals: ReceiveTotals;
  checksum = 0n;

  constructor(port: Port, work: Case) {
    this.#port = port;
    this.#ring = port.rxRings[0]!;
    this.#touch = work.traffic === 'touch';
    this.totals = new ReceiveTotals(port);
  }

  /** Nanoseconds per packet over about `ms`, longer if nothing comes in that time. */
  measure(ms: number): number {
    const before = this.totals.packets;
    const start = performance.now();
    let end = start;
    do {
      for (let i = 0; i < 256; i++) this.burst();
      end = performance.now();
    } while (end - start < ms || this.totals.packets === before);
    return ((end - start) * 1e6) / (this.totals.packets - before);
  }

  /** Takes what is there; how many slots. */
  burst(): number {
    const ring = this.#ring;
    this.#port.rxSync();
    const count = ring.space;
    if (count === 0) return 0;
    const { head } = ring;
    this.totals.drain(ring, head, count);
    if (this.#touch) {
      this.checksum += this.#port.runtime.dataPlane.readPayload(ring.address, head, count, ring.bufCount);
    }
    ring.publish(ring.after(head, count));
    return count;
  }
}
