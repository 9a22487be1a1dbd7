// What the worker threads tell the main one while they run: a row of counters each, and one flag back.

const CANCEL = 0;
const HEADER = 8;
const ROW = 8;

const PACKETS = 0;
const BYTES = 1;
const EVENTS = 2;
const MIN_SPACE = 3;
const START = 4;
const END = 5;

/** min_space of a thread that has not looked since the last report. */
const UNSEEN = 99999;

/** Shared between threads by its buffer.  Each row has one writer; the main thread only reads, but for min_space. */
export class Board {
  readonly buffer: SharedArrayBuffer;
  readonly #numbers: Float64Array;

  constructor(threads: number | SharedArrayBuffer) {
    this.buffer = typeof threads === 'number' ? new SharedArrayBuffer((HEADER + threads * ROW) * 8) : threads;
    this.#numbers = new Float64Array(this.buffer);
  }

  /** Asks every thread to end soon. */
  cancel(): void {
    this.#numbers[CANCEL] = 1;
  }

  get cancelled(): boolean {
    return this.#numbers[CANCEL] !== 0;
  }

  get threads(): number {
    return (this.#numbers.length - HEADER) / ROW;
  }

  row(thread: number): Row {
    return new Row(this.#numbers.subarray(HEADER + thread * ROW, HEADER + (thread + 1) * ROW));
  }

  rows(): Row[] {
    return Array.from({ length: this.threads }, (_, thread) => this.row(thread));
  }

  /** Sum of the threads' min_space since the last call. */
  takeMinSpace(): number {
    let sum = 0;
    for (const row of this.rows()) sum += row.takeMinSpace();
    return sum;
  }
}

export class Row {
  readonly #cells: Float64Array;

  constructor(cells: Float64Array) {
    this.#cells = cells;
  }

  get packets(): number {
    return this.#cells[PACKETS]!;
  }

  get bytes(): number {
    return this.#cells[BYTES]!;
  }

  /** Ring visits that moved something. */
  get events(): number {
    return this.#cells[EVENTS]!;
  }

  /** Seconds since the process started; 0 before. */
  get start(): number {
    return this.#cells[START]!;
  }

  get end(): number {
    return this.#cells[END]!;
  }

  begin(): void {
    this.#cells[START] = performance.now() / 1000;
  }

  /** @param lateSeconds  how much of the time was waiting for more that did not come */
  finish(lateSeconds = 0): void {
    this.#cells[END] = performance.now() / 1000 - lateSeconds;
  }

  /** One visit that moved so much. */
  count(packets: number, bytes: number): void {
    this.#cells[PACKETS]! += packets;
    this.#cells[BYTES]! += bytes;
    this.#cells[EVENTS]! += 1;
  }

  /** The same with totals instead of differences. */
  countTo(packets: number, bytes: number): void {
    this.#cells[PACKETS] = packets;
    this.#cells[BYTES] = bytes;
    this.#cells[EVENTS]! += 1;
  }

  sawSpace(space: number): void {
    if (this.#cells[MIN_SPACE] === 0 || space < this.#cells[MIN_SPACE]!) this.#cells[MIN_SPACE] = space;
  }

  takeMinSpace(): number {
    const space = this.#cells[MIN_SPACE]!;
    this.#cells[MIN_SPACE] = UNSEEN;
    return space;
  }
}
