// What pkt-gen prints while it runs and at the end (spec apps §1.14): diagnostics on standard error, results
// on standard output.

import fs from 'node:fs';
import type { Ring } from '../../src/client/index.ts';
import type { Board } from './board.ts';
import type { PktGenOptions } from './options.ts';

/** CRC, preamble and gap of a frame on a wire: what -B adds. */
const FRAMING_BYTES = 24;
/** Non-zero samples that -A looks back on. */
const AVERAGED = 15;
/** A period shorter than this is not reported. */
const MIN_PERIOD_MS = 10;

/** A diagnostic line: `SSS.UUUUUU component text`. */
export function D(component: string, text: string): void {
  const us = Math.round((performance.timeOrigin + performance.now()) * 1000);
  const seconds = String(Math.floor(us / 1e6) % 1000).padStart(3, '0');
  fs.writeSync(2, `${seconds}.${String(us % 1e6).padStart(6, '0')} ${component} ${text}\n`);
}

/** `14.881 M`: three decimals and a unit's letter; raw: a whole number and a blank (spec apps §0.2). */
export function norm(value: number, raw = false): string {
  if (raw) return `${value.toFixed(0)} `;
  let scaled = value;
  let unit = 0;
  for (; scaled >= 1000 && unit < 4; unit++) scaled /= 1000;
  return `${scaled.toFixed(3)} ${['', 'K', 'M', 'G', 'T'][unit]}`;
}

type Format = Pick<PktGenOptions, 'averages' | 'framing' | 'rawNumbers'>;

/** What moved in a period. */
export interface Period {
  packets: number;
  bytes: number;
  events: number;
  us: number;
  minSpace: number;
}

/** Mean and standard deviation over the last non-zero rates. */
export class Averages {
  readonly #samples: number[] = [];

  add(rate: number): void {
    if (rate === 0) return;
    this.#samples.push(rate);
    if (this.#samples.length > AVERAGED) this.#samples.shift();
  }

  get mean(): number {
    return this.#samples.length === 0
      ? 0
      : this.#samples.reduce((sum, rate) => sum + rate, 0) / this.#samples.length;
  }

  get deviation(): number {
    const { mean } = this;
    if (this.#samples.length === 0) return 0;
    return Math.sqrt(this.#samples.reduce((sum, rate) => sum + (rate - mean) ** 2, 0) / this.#samples.length);
  }
}

export function periodicLine(
  { packets, bytes, events, us, minSpace }: Period,
  format: Format,
  averages?: Averages,
): string {
  const n = (value: number) => norm(value, format.rawNumbers);
  const pps = Math.round((packets * 1e6) / us);
  const bits = 8 * (bytes + (format.framing ? packets * FRAMING_BYTES : 0));
  const spread = averages ? `[avg/std ${n(averages.mean)}/${n(averages.deviation)}pps]` : '';
  const batch = (events === 0 ? 0 : packets / events).toFixed(2);
  return `${n(pps)}pps ${spread}(${n(packets)}pkts ${n((bits * 1e6) / us)}bps in ${us} usec) ${batch} avg_batch ${minSpace} min_space`;
}

/** The two lines at the end, or `Sent nothing.` */
export function summaryLines(
  verb: 'Sent' | 'Received',
  total: Omit<Period, 'us' | 'minSpace'>,
  seconds: number,
  format: Format,
): string[] {
  const { packets, bytes, events } = total;
  if (packets === 0) return [`${verb} nothing.`];
  const n = (value: number) => norm(value, format.rawNumbers);
  const time = Math.max(seconds, 1e-6);
  const bits = (8 * bytes) / time;
  const raw = format.framing ? (8 * (bytes + packets * FRAMING_BYTES)) / time : bits;
  const batch = events === 0 ? 'inf' : (packets / events).toFixed(2);
  return [
    `${verb} ${packets} packets ${bytes} bytes ${events} events ${Math.floor(bytes / packets)} bytes each in ${time.toFixed(2)} seconds.`,
    `Speed: ${n(packets / time)}pps Bandwidth: ${n(bits)}bps (raw ${n(raw)}bps). Average batch: ${batch} pkts`,
  ];
}

/** Reads the board once a period. */
export class Reporter {
  readonly #options: PktGenOptions;
  readonly #board: Board;
  readonly #averages = new Averages();
  #last = { packets: 0, bytes: 0, events: 0 };
  #at = performance.now();

  constructor(options: PktGenOptions, board: Board) {
    this.#options = options;
    this.#board = board;
  }

  /** Prints what has moved since the last call. */
  period(): void {
    const now = performance.now();
    if (now - this.#at < MIN_PERIOD_MS) return;
    const us = Math.round((now - this.#at) * 1000);
    const total = this.#total();
    const period = {
      packets: total.packets - this.#last.packets,
      bytes: total.bytes - this.#last.bytes,
      events: total.events - this.#last.events,
      us,
      minSpace: this.#board.takeMinSpace(),
    };
    this.#averages.add((period.packets * 1e6) / us);
    D(
      'main_thread',
      periodicLine(period, this.#options, this.#options.averages ? this.#averages : undefined),
    );
    this.#last = total;
    this.#at = now;
  }

  /** The final lines; ping and pong have none. */
  summary(): string[] {
    const { fn } = this.#options;
    if (fn === 'ping' || fn === 'pong') return [];
    const rows = this.#board.rows().filter((row) => row.start > 0);
    const seconds =
      rows.length === 0
        ? 0
        : Math.max(...rows.map((row) => row.end)) - Math.min(...rows.map((row) => row.start));
    return summaryLines(fn.startsWith('tx') ? 'Sent' : 'Received', this.#total(), seconds, this.#options);
  }

  #total() {
    const rows = this.#board.rows();
    const sum = (pick: (row: (typeof rows)[number]) => number) =>
      rows.reduce((total, row) => total + pick(row), 0);
    return {
      packets: sum((row) => row.packets),
      bytes: sum((row) => row.bytes),
      events: sum((row) => row.events),
    };
  }
}

/** -X: slots as hexadecimal and text. */
export function dumpSlots(ring: Ring, head: number, count: number): void {
  let slot = head;
  for (let i = 0; i < count; i++, slot = ring.next(slot)) {
    const hex = (value: number) => value.toString(16).padStart(4, '0');
    const title = `ring 0x${ring.address.toString(16)} cur ${String(slot).padStart(5)} [buf ${String(ring.bufIdx(slot)).padStart(6)} flags 0x${hex(ring.flags(slot))} len ${String(ring.len(slot)).padStart(5)}]`;
    fs.writeSync(1, `${title}\n${hexDump(ring.frame(slot))}`);
  }
}

/** 16 bytes a line: offset, hexadecimal, text from column 55. */
export function hexDump(bytes: Uint8Array): string {
  let text = '';
  for (let at = 0; at < bytes.length; at += 16) {
    const line = bytes.subarray(at, at + 16);
    const hex = Array.from(line, (byte) => byte.toString(16).padStart(2, '0')).join(' ');
    const ascii = Array.from(line, (byte) =>
      byte >= 32 && byte < 127 ? String.fromCharCode(byte) : '.',
    ).join('');
    text += `${`${String(at).padStart(5)}: ${hex}`.padEnd(55)}${ascii}\n`;
  }
  return text;
}

/** Round-trip times: minimum, mean, and a histogram by powers of two. */
export class RttStatistics {
  #all = new Rtts();
  #period = new Rtts();

  add(ns: number): void {
    this.#all.add(ns);
    this.#period.add(ns);
  }

  /** Lines on what came since the last call. */
  takePeriod(): string[] {
    const { count, min, mean, histogram } = this.#period;
    this.#period = new Rtts();
    if (count === 0) return [];
    const first = histogram.findIndex((n) => n > 0);
    const last = histogram.findLastIndex((n) => n > 0);
    const counts = histogram.slice(first, last + 1).map((n) => ` ${String(n).padStart(5)}`);
    return [
      `count ${count} RTT: min ${min} av ${mean} ns`,
      `k: ${2 ** first} .. ${2 ** last}\n\t${counts.join('')}`,
    ];
  }

  summary(): string {
    const { count, min, mean } = this.#all;
    return `RTT over ${count} packets: min ${min} av ${mean} ns`;
  }
}

class Rtts {
  count = 0;
  min = 0;
  readonly histogram = new Array<number>(64).fill(0);
  #sum = 0;

  add(ns: number): void {
    this.min = this.count === 0 ? ns : Math.min(this.min, ns);
    this.count++;
    this.#sum += ns;
    this.histogram[Math.max(0, Math.floor(Math.log2(Math.max(1, ns))))]!++;
  }

  get mean(): number {
    return this.count === 0 ? 0 : Math.round(this.#sum / this.count);
  }
}
