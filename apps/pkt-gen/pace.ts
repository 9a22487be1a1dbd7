// Sending at a rate (spec apps §1.9): bursts at fixed times, caught up with when late.

/** Bursts per second that a rate is cut into, at least. */
const BURSTS_PER_SECOND = 300;

export interface Schedule {
  /** Packets per period. */
  burst: number;
  /** Milliseconds; 0: as fast as it goes. */
  periodMs: number;
}

/** @param rate  packets per second, 0 = unlimited */
export function scheduleFor(rate: number, burst: number): Schedule {
  if (rate === 0) return { burst, periodMs: 0 };
  const packets = Math.max(1, Math.min(burst, Math.floor(rate / BURSTS_PER_SECOND)));
  return { burst: packets, periodMs: Math.floor((1e9 * packets) / rate) / 1e6 };
}

const nap = new Int32Array(new SharedArrayBuffer(4));

export class Pacer {
  readonly #schedule: Schedule;
  #next: number;

  constructor(schedule: Schedule) {
    this.#schedule = schedule;
    this.#next = performance.now();
  }

  /** Packets that may be sent now: waits until the next burst is due, or answers the burst if there is no rate. */
  budget(cancelled: () => boolean): number {
    if (this.#schedule.periodMs === 0) return this.#schedule.burst;
    this.#next += this.#schedule.periodMs;
    for (let left = this.#left; left > 0; left = this.#left) {
      if (cancelled()) return 0;
      // The last millisecond is spun: a sleep may end late.
      if (left > 1.2) Atomics.wait(nap, 0, 0, Math.min(left - 1, 100));
    }
    return this.#schedule.burst;
  }

  get #left(): number {
    return this.#next - performance.now();
  }
}
