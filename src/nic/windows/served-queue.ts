// A queue as the thread that serves it sees it: XDP sockets on one side, the memory by which others use it on the other.
//
//   mirror.tx  ->  socket.tx          mirror.rx    <-  socket.rx            descriptors, copied in batches
//   mirror.completion  <-  socket.completion         mirror.fill  ->  socket.fill
//
// The host's side of an interface is one queue for all that the driver has: its frames come from a socket on each of those,
// what is sent goes by the first.

import type * as api from '../../os/windows/xdp-api.ts';
import { Mirror } from './mirror.ts';
import { receivingHook, type SocketPlan, XdpSocket } from './socket.ts';

export interface QueuePlan extends Omit<SocketPlan, 'queue' | 'sends'> {
  /** The driver's queues that this one stands for. */
  readonly queues: readonly number[];
}

/** What serve() found. */
export const FRAMES_CAME = 1;
export const FRAMES_SENT = 2;
export const MOVED = 4;

/** So long a queue that is closed still has what was accepted sent. */
const LAST_MS = 100;
/** What nobody wakes: to wait by the clock. */
const NEVER = new Int32Array(new SharedArrayBuffer(4));

export class ServedQueue {
  readonly mirror: Mirror;
  readonly sockets: readonly XdpSocket[];
  readonly #driver: api.XdpDriver;
  readonly #plan: QueuePlan;
  #programs: number[] = [];

  /** @param memory  of the mirror, zeroed @throws NetmapError as XdpSocket's constructor. */
  constructor(driver: api.XdpDriver, plan: QueuePlan, memory: Uint8Array) {
    this.#driver = driver;
    this.#plan = plan;
    this.mirror = new Mirror(memory, plan.entries);
    const sockets: XdpSocket[] = [];
    this.sockets = sockets;
    try {
      for (const [nth, queue] of plan.queues.entries())
        sockets.push(new XdpSocket(driver, { ...plan, queue, sends: nth === 0 }));
    } catch (error) {
      this.#closeSockets();
      throw error;
    }
  }

  /** Whether the driver has given it up. */
  get failed(): boolean {
    return this.sockets.some((socket) => socket.failed);
  }

  /** Frames that came and found no buffer. */
  get lost(): number {
    return this.sockets.reduce((sum, socket) => sum + socket.lost, 0);
  }

  /** Moves everything on. @returns FRAMES_CAME, FRAMES_SENT, MOVED @throws NetmapError EPROTO: its users broke a ring. */
  serve(): number {
    const { mirror, sockets } = this;
    const sender = sockets[0]!;
    let found = 0;
    if (mirror.tx.moveTo(sender.tx!) > 0) found |= MOVED;
    if (sender.poke()) found |= MOVED;
    if (sender.completion!.moveTo(mirror.completion) > 0) found |= MOVED | FRAMES_SENT;
    for (const { rx } of sockets) if (rx.moveTo(mirror.rx) > 0) found |= MOVED | FRAMES_CAME;
    if (this.#refill() > 0) found |= MOVED;
    return found;
  }

  /** Has the sockets' events signalled, and our bell rung, when there is something to do. @returns whether there is now */
  fallAsleep(): boolean {
    for (const socket of this.sockets) socket.wait();
    this.mirror.asleep = true;
    return this.mirror.asks;
  }

  wakeUp(): void {
    this.mirror.asleep = false;
  }

  /** Has frames come here, or leaves them to whom they are for otherwise. @throws NetmapError EBUSY, EPERM. */
  receive(on: boolean): void {
    for (const program of this.#programs.splice(0)) this.#driver.close(program);
    if (!on) return;
    this.#refill(); // The first frame is to find a buffer.
    const { ifIndex, queues, host } = this.#plan;
    const rules = queues.map((_, nth) => ({ redirect: this.sockets[nth]!.handle }) as const);
    this.#programs = hang(this.#driver, ifIndex, receivingHook(host), queues, rules);
  }

  close(): void {
    this.receive(false);
    try {
      this.#sendLast();
    } catch {
      // Its users broke a ring, or the driver has given it up: there is nothing to save.
    }
    this.#closeSockets();
  }

  #sendLast(): void {
    const deadline = performance.now() + LAST_MS;
    while (!this.failed && performance.now() < deadline) {
      if (this.serve() & MOVED) continue;
      if (this.sockets[0]!.tx!.filled === 0) return;
      Atomics.wait(NEVER, 0, 0, 1);
    }
  }

  #closeSockets(): void {
    for (const socket of this.sockets) socket.close();
  }

  /** Gives buffers to the sockets, those to whom the fewest are left first. */
  #refill(): number {
    const { mirror, sockets } = this;
    if (sockets.length === 1) return mirror.fill.moveTo(sockets[0]!.fill);
    const have = sockets.reduce((sum, { fill }) => sum + fill.filled, mirror.fill.filled);
    const share = Math.ceil(have / sockets.length);
    return sockets.reduce(
      (moved, { fill }) => moved + mirror.fill.moveTo(fill, Math.max(0, share - fill.filled)),
      0,
    );
  }
}

/** Hangs a program on a hook of each queue; all or none. @throws NetmapError EBUSY, EPERM. */
export function hang(
  driver: api.XdpDriver,
  ifIndex: number,
  hook: api.Hook,
  queues: readonly number[],
  rules: readonly api.Rule[],
): number[] {
  const made: number[] = [];
  try {
    for (const [nth, queue] of queues.entries())
      made.push(driver.createProgram(ifIndex, hook, queue, rules[nth]!));
    return made;
  } catch (error) {
    for (const program of made) driver.close(program);
    throw error;
  }
}
