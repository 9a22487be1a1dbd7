// The data plane's own per-packet loops, for programs that generate, count or send back frames: fill TX slots
// from a template, a table or a sequence, drain RX slots.  All work on [head, head + count) of a ring and leave
// publishing to the caller.

import { NetmapError } from '../abi/errors.ts';
import * as fr from '../abi/frames.ts';
import type { Port } from './port.ts';
import type { Ring } from './ring.ts';
import type { Runtime } from './runtime.ts';

/** Values that an address or port goes through, both ends included. */
export interface Digit {
  low: number;
  high: number;
}

/** A digit, and where in the frame it stands: its offset, and how many 16-bit words it has. */
export interface PlacedDigit extends Digit {
  at: number;
  words: 1 | 2;
}

/** How a template changes after each packet: source port, source address, destination port, destination address. */
export interface FrameSteps {
  digits: readonly [PlacedDigit, PlacedDigit, PlacedDigit, PlacedDigit];
  /** Offsets of the checksums that change with them; IPv6 has none of its own. */
  ipSum: number | undefined;
  udpSum: number;
  /** Of the source's digits, and the destination's: any value rather than the next. */
  random: readonly [boolean, boolean];
  /** Where randomness starts, not 0. */
  seed: bigint;
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
  readonly #steps: number;

  constructor(port: Port, frame: Uint8Array, steps?: FrameSteps) {
    this.#runtime = port.runtime;
    this.length = frame.length;
    const { arena } = port.runtime;
    const { address } = arena.allocate(128 + Math.max(128, frame.length)); // Stepping writes into headers that are cut off.
    this.#address = address + 128;
    this.#steps = steps ? address : 0;
    arena.bytes.set(frame, this.#address);
    if (steps) writeSteps(arena.view, address, steps);
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

  /**
   * Places up to `packets` of the frame, cut to `length`, in up to `space` slots, each in `slots` of them with `part`
   * bytes in each but the last; steps after each.
   */
  fillPackets(
    ring: Ring,
    head: number,
    space: number,
    packets: number,
    { length, part, slots = 1 }: { length: number; part: number; slots?: number },
  ): { slots: number; packets: number } {
    refuseOffsets(ring);
    const answer = this.#runtime.dataPlane.fillPackets(
      ring.address,
      head,
      space,
      ring.bufCount,
      this.#address,
      length,
      part,
      slots,
      packets,
      this.#steps,
    );
    return { slots: answer & 0xffff, packets: answer >>> 16 };
  }

  /**
   * Fills slots, each with the next number from `first` on, big endian, at `payload`, which the checksum at `udpSum`
   * covers; every `group` slots make a packet, and a step.
   */
  fillNumbered(
    ring: Ring,
    head: number,
    count: number,
    first: number,
    { payload = 42, udpSum = 40, group = 1 } = {},
  ): void {
    refuseOffsets(ring);
    this.#runtime.dataPlane.fillSequence(
      ring.address,
      head,
      count,
      ring.bufCount,
      this.#address,
      this.length,
      first,
      payload,
      udpSum,
      group,
      this.#steps,
    );
  }
}

function writeSteps(view: DataView, at: number, { digits, ipSum, udpSum, random, seed }: FrameSteps): void {
  digits.forEach(({ low, high, at: place, words }, i) => {
    const digit = at + fr.ST_DIGITS + i * fr.DIGIT_SIZE;
    view.setUint32(digit + fr.DG_LOW, low, true);
    view.setUint32(digit + fr.DG_HIGH, high, true);
    view.setUint32(digit + fr.DG_NOW, low, true);
    view.setUint16(digit + fr.DG_AT, place, true);
    view.setUint16(digit + fr.DG_WORDS, words, true);
  });
  view.setUint32(at + fr.ST_IP_SUM, ipSum ?? 0, true);
  view.setUint32(at + fr.ST_UDP_SUM, udpSum, true);
  view.setUint32(at + fr.ST_RANDOM, Number(random[0]) | (Number(random[1]) << 1), true);
  view.setBigUint64(at + fr.ST_SEED, seed, true);
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

  /**
   * Sequence numbers: gaps, steps back, frames too short for one, and the last mismatch; packets of another number of
   * slots than the one before, and the last such: so many rather than so many.
   */
  get sequence() {
    return {
      uneven: this.#u32(fr.DT_UNEVEN),
      slots: this.#u32(fr.DT_ODD),
      usualSlots: this.#u32(fr.DT_USUAL),
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

  /**
   * Counts slots as packets, and checks that fillNumbered()'s numbers follow one another.
   * @param header  bytes in front of the frames
   */
  drainNumbered(ring: Ring, head: number, count: number, header = 0): void {
    refuseOffsets(ring);
    this.#runtime.dataPlane.drainSequence(ring.address, head, count, ring.bufCount, this.#address, header);
  }

  #u32(ofs: number): number {
    return this.#runtime.arena.view.getUint32(this.#address + ofs, true);
  }

  #u64(ofs: number): number {
    return Number(this.#runtime.arena.view.getBigUint64(this.#address + ofs, true));
  }
}

/** Sends received frames back, addresses behind `header` bytes swapped: `count` slots of rx into as many of tx. */
export function bounce(
  port: Port,
  rx: Ring,
  rxHead: number,
  count: number,
  tx: Ring,
  txHead: number,
  header = 0,
): void {
  refuseOffsets(rx);
  refuseOffsets(tx);
  port.runtime.dataPlane.bounce(rx.address, rxHead, count, tx.address, txHead, tx.bufCount, header);
}
