// The data plane's own per-packet loops, for programs that generate, count or send back frames: fill TX slots
// from a template, a table or a sequence, drain RX slots.  All work on [head, head + count) of a ring and leave
// publishing to the caller.

import { NetmapError } from '../abi/errors.ts';
import * as fr from '../abi/frames.ts';
import type { Port } from './port.ts';
import type { Ring } from './ring.ts';
import type { Runtime } from './runtime.ts';

/** Low, high and current value of one digit of the address odometer. */
export interface Digit {
  low: number;
  high: number;
}

/** Ranges that a template's addresses and ports step through, fastest first. */
export interface FrameRanges {
  sport: Digit;
  src: Digit;
  dport: Digit;
  dst: Digit;
}

/** These loops look for frames where buffers start. @throws NetmapError EOPNOTSUPP. */
function refuseOffsets(ring: Ring): void {
  if (ring.hasOffsets)
    throw new NetmapError(
      'EOPNOTSUPP',
      `Cannot fill or drain ring ${ring.ringId} this way: it has offsets; use put(), frame() and frameOfs()`,
    );
}

/** A frame in memory of the process that the data plane can reach. */
export class FrameTemplate {
  readonly length: number;
  readonly #runtime: Runtime;
  readonly #address: number;
  readonly #range: number;

  /** @param frame  at most one buffer long */
  constructor(port: Port, frame: Uint8Array, ranges?: FrameRanges) {
    this.#runtime = port.runtime;
    this.length = frame.length;
    const { arena } = port.runtime;
    const { address } = arena.allocate(frame.length + fr.RANGE_SIZE + 64);
    this.#range = address;
    this.#address = address + 64;
    arena.bytes.set(frame, this.#address);
    if (!ranges) return;
    for (const [ofs, { low, high }] of [
      [fr.RA_SPORT, ranges.sport],
      [fr.RA_SRC, ranges.src],
      [fr.RA_DPORT, ranges.dport],
      [fr.RA_DST, ranges.dst],
    ] as const) {
      [low, high, low].forEach((value, i) => {
        arena.view.setUint32(this.#range + ofs + 4 * i, value, true);
      });
    }
  }

  /** The frame as it stands: stepping and numbering change it. */
  get bytes(): Uint8Array {
    return this.#runtime.arena.bytes.subarray(this.#address, this.#address + this.length);
  }

  /** Fills slots with the frame, cut to `length`.  Slots that hold it still are not copied to, unless asked. */
  fill(ring: Ring, head: number, count: number, { copy = false, length = this.length } = {}): void {
    refuseOffsets(ring);
    this.#runtime.dataPlane.fillTemplate(
      ring.address,
      head,
      count,
      ring.bufCount,
      this.#address,
      length,
      copy,
    );
  }

  /** Fills slots, stepping the ranges after each. */
  fillStepping(ring: Ring, head: number, count: number, length = this.length): void {
    refuseOffsets(ring);
    this.#runtime.dataPlane.fillRange(
      ring.address,
      head,
      count,
      ring.bufCount,
      this.#address,
      length,
      this.#range,
    );
  }

  /** Fills slots, each with the next number from `first` on, big endian, where the payload starts. */
  fillNumbered(ring: Ring, head: number, count: number, first: number): void {
    refuseOffsets(ring);
    this.#runtime.dataPlane.fillSequence(
      ring.address,
      head,
      count,
      ring.bufCount,
      this.#address,
      this.length,
      first,
    );
  }
}

/** Sets the length of slots and leaves their buffers as they are. */
export function fillLengths(port: Port, ring: Ring, head: number, count: number, length: number): void {
  port.runtime.dataPlane.fillLengths(ring.address, head, count, length);
}

/** Frames of different lengths, in order; those longer than a buffer go out in several slots. */
export class FrameTable {
  readonly count: number;
  readonly #runtime: Runtime;
  readonly #address: number;
  #next = 0;

  /** @throws NetmapError EINVAL for a frame that no packet can hold. */
  constructor(port: Port, frames: readonly Uint8Array[]) {
    this.#runtime = port.runtime;
    this.count = frames.length;
    const { arena } = port.runtime;
    const bytes = frames.reduce((sum, frame) => sum + frame.length, 0);
    this.#address = arena.allocate(frames.length * 8 + bytes).address;
    let at = this.#address + frames.length * 8;
    frames.forEach((frame, i) => {
      if (frame.length > 0xffff) {
        throw new NetmapError(
          'EINVAL',
          `Cannot send frame ${i + 1}: it has ${frame.length} bytes, 65535 is the most`,
        );
      }
      arena.view.setUint32(this.#address + i * 8, at, true);
      arena.view.setUint32(this.#address + i * 8 + 4, frame.length, true);
      arena.bytes.set(frame, at);
      at += frame.length;
    });
  }

  /** Places up to `frames` frames, going round, in up to `space` slots, which get the NS_* bits of `flags`. */
  fill(
    ring: Ring,
    head: number,
    space: number,
    frames: number,
    flags = 0,
  ): { slots: number; frames: number } {
    const upTo = Math.min(frames, this.count - this.#next);
    const at = this.#address + this.#next * 8;
    refuseOffsets(ring);
    const answer = this.#runtime.dataPlane.fillFrames(
      ring.address,
      head,
      space,
      ring.bufCount,
      at,
      upTo,
      flags,
    );
    const placed = answer >>> 16;
    this.#next = (this.#next + placed) % this.count;
    return { slots: answer & 0xffff, frames: placed };
  }
}

/** What a receiver has counted; the data plane adds to it. */
export class ReceiveTotals {
  readonly #runtime: Runtime;
  readonly #address: number;

  constructor(port: Port) {
    this.#runtime = port.runtime;
    this.#address = port.runtime.arena.allocate(fr.TOTALS_SIZE).address;
  }

  get packets(): number {
    return this.#u64(fr.DT_PACKETS);
  }

  get bytes(): number {
    return this.#u64(fr.DT_BYTES);
  }

  /** Sequence numbers: gaps, steps back, frames too short for one, and the last mismatch. */
  get sequence(): { gaps: number; unordered: number; short: number; wanted: number; found: number } {
    return {
      gaps: this.#u32(fr.DT_GAPS),
      unordered: this.#u32(fr.DT_UNORDERED),
      short: this.#u32(fr.DT_SHORT),
      wanted: this.#u32(fr.DT_WANTED),
      found: this.#u32(fr.DT_FOUND),
    };
  }

  /** Counts `count` slots from head on.  Empty slots do not count. */
  drain(ring: Ring, head: number, count: number): void {
    this.#runtime.dataPlane.drain(ring.address, head, count, this.#address);
  }

  /** The same, checking that fillNumbered()'s numbers follow one another. */
  drainNumbered(ring: Ring, head: number, count: number): void {
    refuseOffsets(ring);
    this.#runtime.dataPlane.drainSequence(ring.address, head, count, ring.bufCount, this.#address);
  }

  #u32(ofs: number): number {
    return this.#runtime.arena.view.getUint32(this.#address + ofs, true);
  }

  #u64(ofs: number): number {
    return Number(this.#runtime.arena.view.getBigUint64(this.#address + ofs, true));
  }
}

/** Sends received frames back, addresses swapped: `count` slots of rx into as many of tx. */
export function bounce(port: Port, rx: Ring, rxHead: number, count: number, tx: Ring, txHead: number): void {
  refuseOffsets(rx);
  refuseOffsets(tx);
  port.runtime.dataPlane.bounce(rx.address, rxHead, count, tx.address, txHead, tx.bufCount);
}
