// Plain models of what rings do, to hold the real ones against.  Frames are numbers.

/** What the reader of a ring sees: frames that have come, how many of them it was shown, how many it has read. */
class ReadModel {
  protected readonly capacity: number;
  /** Come, not read. */
  protected readonly queue: number[] = [];
  /** Read since the last sync, and so not given back yet. */
  protected held = 0;
  #shown = 0;

  constructor(slots: number) {
    this.capacity = slots - 1;
  }

  get shown(): readonly number[] {
    return this.queue.slice(0, this.#shown);
  }

  /** Reads the first frames shown, without a sync. */
  read(count: number): number[] {
    this.#shown -= count;
    this.held += count;
    return this.queue.splice(0, count);
  }

  sync(): void {
    this.held = 0;
    this.#shown = this.queue.length;
  }
}

/** A pipe, one direction, of rings with n slots. */
export class PipeModel extends ReadModel {
  /** Given back, and not yet seen by the sender. */
  #returned = 0;
  /** Sender's free slots, as it knows. */
  space = this.capacity;

  /** Slots the sender fills are taken by its sync; it also sees what came back before. */
  send(frames: readonly number[]): void {
    this.queue.push(...frames);
    this.space += this.#returned - frames.length;
    this.#returned = 0;
  }

  override sync(): void {
    this.#returned += this.held;
    super.sync();
  }
}

/** A ring that senders fill: of a switch port, or of a monitor. */
export class FilledModel extends ReadModel {
  lost = 0;

  /** Frames of one batch for a port: the last ones find no room. @returns those that were taken */
  deliver(frames: readonly number[]): readonly number[] {
    const taken = frames.slice(0, this.#free);
    this.queue.push(...taken);
    this.lost += frames.length - taken.length;
    return taken;
  }

  /** Frames of one batch for a monitor: the first ones are skipped. */
  observe(frames: readonly number[]): void {
    const skipped = Math.max(0, frames.length - this.#free);
    this.queue.push(...frames.slice(skipped));
    this.lost += skipped;
  }

  get #free(): number {
    return this.capacity - this.queue.length - this.held;
  }
}

/**
 * Where packets start in their buffers (option OFFSETS): both sides say something else for every slot, now and then
 * more than the limit.  Rings without offsets are not told.
 */
export class Starts {
  static readonly FARTHEST = 300;
  /** Of rings that receive, by slot: what their readers said last. */
  readonly #meant = new WeakMap<object, Map<number, number>>();
  /** Of frames. */
  readonly #sent = new Map<number, number>();
  #step = 0;

  /** Before a sequence of operations: what is said depends on the sequence alone. */
  restart(): void {
    this.#step = 0;
    this.#sent.clear();
  }

  /** What the sender of a frame is to say. */
  sends(frame: number): number {
    const offset = this.#next();
    this.#sent.set(frame, offset);
    return offset;
  }

  /** What the reader of a ring is to say for a slot that it gives back. */
  receives(ring: object, slot: number): number {
    const offset = this.#next();
    let slots = this.#meant.get(ring);
    if (!slots) {
      slots = new Map();
      this.#meant.set(ring, slots);
    }
    slots.set(slot, offset);
    return offset;
  }

  /**
   * What a slot with a frame says.
   * @param swapped  the frame, where buffers change places, as in a pipe: it starts no earlier than its sender said
   */
  expected(ring: object, slot: number, swapped?: number): number {
    const meant = this.#meant.get(ring)?.get(slot) ?? 0;
    const sent = swapped === undefined ? 0 : (this.#sent.get(swapped) ?? 0);
    return Math.min(Math.max(meant, sent), Starts.FARTHEST);
  }

  #next(): number {
    this.#step++;
    return (Math.imul(this.#step, 0x9e3779b1) >>> 16) % (Starts.FARTHEST + 30);
  }
}
