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
