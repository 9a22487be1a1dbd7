/** Which objects of a pool are taken.  The lowest free index is given out first, as netmap does. */
export class Pool {
  readonly count: number;
  readonly #taken: Uint8Array;
  #lowest: number;
  #free: number;

  /** @param reserved  objects at the start that are never given out */
  constructor(count: number, reserved = 0) {
    this.count = count;
    this.#taken = new Uint8Array(count).fill(1, 0, reserved);
    this.#lowest = reserved;
    this.#free = count - reserved;
  }

  get free(): number {
    return this.#free;
  }

  /** An index, or -1 if all are taken. */
  allocate(): number {
    while (this.#lowest < this.count && this.#taken[this.#lowest]) this.#lowest++;
    if (this.#lowest >= this.count) return -1;
    this.take(this.#lowest);
    return this.#lowest;
  }

  /** Marks an object as taken; false if it cannot be or is already. */
  take(index: number): boolean {
    if (!(index >= 0 && index < this.count) || this.#taken[index]) return false;
    this.#taken[index] = 1;
    this.#free--;
    return true;
  }

  /** Gives one back; false (and nothing done) for a double free or an index that is none. */
  release(index: number, reserved = 0): boolean {
    if (!(index >= reserved && index < this.count) || !this.#taken[index]) return false;
    this.#taken[index] = 0;
    this.#free++;
    if (index < this.#lowest) this.#lowest = index;
    return true;
  }
}
