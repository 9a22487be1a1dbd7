// Plain models of what rings do, to hold the real ones against.  Frames are numbers.

/** A pipe, one direction, of rings with n slots. */
export class PipeModel {
  readonly #capacity: number;
  /** Sent, not read. */
  readonly #queue: number[] = [];
  /** How many of them the receiver has been shown. */
  #shown = 0;
  /** Read since the receiver's last sync, and so not given back yet. */
  #read = 0;
  /** Given back, and not yet seen by the sender. */
  #returned = 0;
  /** Sender's free slots, as it knows. */
  space: number;

  constructor(slots: number) {
    this.#capacity = slots - 1;
    this.space = this.#capacity;
  }

  /** Slots the sender fills are taken by its sync; it also sees what came back before. */
  send(frames: readonly number[]): void {
    this.#queue.push(...frames);
    this.space += this.#returned - frames.length;
    this.#returned = 0;
  }

  get shown(): readonly number[] {
    return this.#queue.slice(0, this.#shown);
  }

  /** Reads the first frames shown, without a sync. */
  read(count: number): number[] {
    this.#shown -= count;
    this.#read += count;
    return this.#queue.splice(0, count);
  }

  sync(): void {
    this.#returned += this.#read;
    this.#read = 0;
    this.#shown = this.#queue.length;
  }
}

/** A ring that senders fill: of a switch port, or of a monitor. */
export class FilledModel {
  readonly #capacity: number;
  readonly #queue: number[] = [];
  #shown = 0;
  #read = 0;
  lost = 0;

  constructor(slots: number) {
    this.#capacity = slots - 1;
  }

  /** Frames of one batch for a port: the last ones find no room. @returns those that were taken */
  deliver(frames: readonly number[]): readonly number[] {
    const taken = frames.slice(0, this.#free);
    this.#queue.push(...taken);
    this.lost += frames.length - taken.length;
    return taken;
  }

  /** Frames of one batch for a monitor: the first ones are skipped. */
  observe(frames: readonly number[]): void {
    const skipped = Math.max(0, frames.length - this.#free);
    this.#queue.push(...frames.slice(skipped));
    this.lost += skipped;
  }

  get shown(): readonly number[] {
    return this.#queue.slice(0, this.#shown);
  }

  read(count: number): number[] {
    this.#shown -= count;
    this.#read += count;
    return this.#queue.splice(0, count);
  }

  sync(): void {
    this.#read = 0;
    this.#shown = this.#queue.length;
  }

  get #free(): number {
    return this.#capacity - this.#queue.length - this.#read;
  }
}
