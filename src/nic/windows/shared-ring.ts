// A ring that two sides share: one writes entries and moves `producer` on, the other reads them and moves `consumer` on.
// Both count on for ever; an entry's place is its number modulo the ring's size.

import { NetmapError } from '../../abi/errors.ts';

/** Where a ring's words and entries lie in some memory; what entries are apart. */
export interface RingPlace {
  readonly producer: number;
  readonly consumer: number;
  readonly desc: number;
  /** A power of two. */
  readonly entries: number;
  readonly stride: number;
}

export class SharedRing {
  readonly #bytes: Uint8Array;
  readonly #words: Int32Array;
  readonly #place: RingPlace;

  /** @param memory  begins at a multiple of 4 */
  constructor(memory: Uint8Array, place: RingPlace) {
    this.#bytes = memory;
    this.#words = new Int32Array(memory.buffer, memory.byteOffset, memory.byteLength >> 2);
    this.#place = place;
  }

  /** Entries that are in it. @throws NetmapError EPROTO: who writes the other word has written nonsense. */
  get filled(): number {
    const { producer, consumer, entries } = this.#place;
    const filled =
      (Atomics.load(this.#words, producer >> 2) - Atomics.load(this.#words, consumer >> 2)) >>> 0;
    if (filled <= entries) return filled;
    throw new NetmapError('EPROTO', `Cannot use a ring of ${entries} entries: it claims to hold ${filled}`);
  }

  /** Entries that it has room for. */
  get room(): number {
    return this.#place.entries - this.filled;
  }

  /**
   * Moves as many entries as there are, and as there is room for, from this ring, of which we are the consumer, to
   * another, of which we are the producer.
   * @returns how many
   */
  moveTo(to: SharedRing, atMost = Number.POSITIVE_INFINITY): number {
    const count = Math.min(this.filled, to.room, atMost);
    if (count === 0) return 0;
    const source = this.#place;
    const target = to.#place;
    let read = this.#words[source.consumer >> 2]!;
    let write = to.#words[target.producer >> 2]!;
    for (let left = count; left > 0; ) {
      const from = read & (source.entries - 1);
      const into = write & (target.entries - 1);
      const run = Math.min(left, source.entries - from, target.entries - into);
      to.#take(into, this, from, run);
      read = (read + run) | 0;
      write = (write + run) | 0;
      left -= run;
    }
    Atomics.store(this.#words, source.consumer >> 2, read);
    Atomics.store(to.#words, target.producer >> 2, write);
    return count;
  }

  /** Copies entries that lie in a row on both sides. */
  #take(into: number, source: SharedRing, from: number, count: number): void {
    const { desc, stride } = this.#place;
    const { desc: sourceDesc, stride: sourceStride } = source.#place;
    const runs = stride === sourceStride ? 1 : count;
    const bytes = stride === sourceStride ? count * stride : Math.min(stride, sourceStride);
    for (let i = 0; i < runs; i++) {
      const at = sourceDesc + (from + i) * sourceStride;
      this.#bytes.set(source.#bytes.subarray(at, at + bytes), desc + (into + i) * stride);
    }
  }
}
