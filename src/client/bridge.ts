// Moving frames between two ports, as they are: what the program bridge does, and the links between switches.

import { type FdTarget, type PortTarget, poll } from './poll.ts';
import type { Port } from './port.ts';

export interface BridgeOptions {
  /** Most slots moved per pair of rings and turn (default 1024). */
  burst?: number;
  /** Copy even where the two ports share memory and buffers could change places. */
  copy?: boolean;
}

/** What a turn of a bridge has found and done. */
export interface BridgeTurn {
  /** Ready targets; 0: the time was over. */
  ready: number;
  /** poll()'s revents of the two ports. */
  revents: readonly [number, number];
  /** Slots moved from the first port to the second, and back. */
  moved: readonly [number, number];
}

/** Two ports whose traffic goes to each other. */
export class Bridge {
  readonly ports: readonly [Port, Port];
  /** Buffers change places instead of being copied: both ports have the same memory. */
  readonly zeroCopy: boolean;
  readonly #burst: number;

  constructor(a: Port, b: Port, { burst = 1024, copy = false }: BridgeOptions = {}) {
    this.ports = [a, b];
    this.zeroCopy = !copy && a.memId === b.memId && a.runtime === b.runtime;
    this.#burst = burst;
  }

  /**
   * Waits until something can be moved, and moves it.  A side whose frames wait is not read further before the
   * other has room: nothing is lost in between.
   * @param timeoutMs  as poll()'s
   * @param others  descriptors that end the wait too
   */
  turn(timeoutMs: number, others: readonly FdTarget[] = []): BridgeTurn {
    const targets = this.targets();
    const ready = poll([...targets, ...others], timeoutMs);
    const moved = this.move();
    const reventsOf = (port: Port) => targets.find((target) => target.port === port)?.revents ?? 0;
    return { ready, revents: [reventsOf(this.ports[0]), reventsOf(this.ports[1])], moved };
  }

  /** What is to be waited for before the next move(): who serves several bridges waits for all of theirs at once. */
  targets(): PortTarget[] {
    const [a, b] = this.ports;
    return [...waitFor(a, b), ...waitFor(b, a)];
  }

  /** Moves what has been received. @returns slots moved from the first port to the second, and back */
  move(): readonly [number, number] {
    const [a, b] = this.ports;
    const moved = [this.#move(a, b), this.#move(b, a)] as const;
    if (moved[0] > 0) b.txSync();
    if (moved[1] > 0) a.txSync();
    return moved;
  }

  /** From the received rings of one port to the sending rings of the other, ring by ring. */
  #move(from: Port, to: Port): number {
    const { dataPlane } = from.runtime;
    let moved = 0;
    let t = 0;
    for (const rx of from.rxRings) {
      while (!rx.empty && t < to.txRings.length) {
        const tx = to.txRings[t]!;
        const count = Math.min(rx.space, tx.space, this.#burst);
        if (count === 0) {
          t++;
          continue;
        }
        const { head } = rx;
        const out = tx.head;
        dataPlane.moveSlots(
          rx.address,
          head,
          rx.bufCount,
          tx.address,
          out,
          tx.bufCount,
          count,
          this.zeroCopy,
        );
        rx.publish(rx.after(head, count));
        tx.publish(tx.after(out, count));
        moved += count;
        if (count === this.#burst) break;
      }
    }
    return moved;
  }
}

/** What to wait for at a port: room if the other side has frames for it, frames if it has none itself. */
function waitFor(port: Port, other: Port): PortTarget[] {
  const events = received(other) ? (received(port) ? 'out' : 'both') : received(port) ? undefined : 'in';
  return events ? [{ port, events, revents: 0 }] : [];
}

function received(port: Port): boolean {
  return port.rxRings.some((ring) => !ring.empty);
}
