// The thread that has the driver's sockets, as the module's first thread sees it: asked for one thing after the other, each
// waited for, blocking.  One thread for all interfaces; started with the first, it stays.

import { MessageChannel, type MessagePort, receiveMessageOnPort, Worker } from 'node:worker_threads';
import { type ErrnoName, NetmapError } from '../../abi/errors.ts';
import { os } from '../../os/index.ts';
import type { BufferMemory, Krings } from '../nic.ts';
import type { QueuePlan } from './served-queue.ts';

const PROGRAM = new URL('../../forward/queues.js', import.meta.url);
/** Binding waits for the system's network stack. */
const LONGEST_MS = 30_000;

/** What the thread is started with. */
export interface ServerTask {
  readonly lent: BufferMemory['lent'];
  /** Becomes readable when there is an order, or something in a queue of which we said that we sleep. */
  readonly bellFd: number;
  readonly port: MessagePort;
  /** Counts answers up; then 1 when the process ends. */
  readonly words: Int32Array;
}
export const ANSWERED = 0;
export const ENDING = 1;

/** Queues go by numbers of the asker's. */
export type ServerOrder =
  | {
      do: 'open';
      queue: number;
      plan: QueuePlan;
      mirror: { fd: number; ino: number; size: number };
      krings: Krings;
    }
  | { do: 'close'; queue: number }
  /** Whether its frames come to a queue. */
  | { do: 'receive'; queue: number; on: boolean }
  /** Whether what the host sends by an interface goes nowhere. */
  | { do: 'cut'; ifIndex: number; queues: readonly number[]; on: boolean }
  /** Frames that came to a queue and found no buffer: the answer's `value`. */
  | { do: 'count'; queue: number };

export interface ServerAnswer {
  readonly value: number;
  readonly error?: { readonly code: ErrnoName; readonly message: string };
}

export class Server {
  /** Rings the thread. */
  readonly bell: number;
  readonly #port: MessagePort;
  readonly #words = new Int32Array(new SharedArrayBuffer(8));
  #nextQueue = 1;
  /** It has stopped answering. */
  dead = false;

  constructor(lent: BufferMemory['lent']) {
    const { port1, port2 } = new MessageChannel();
    const bell = os.createBell();
    this.bell = os.openBell(process.pid, bell.fd, bell.ino);
    this.#port = port1;
    const task: ServerTask = { lent, bellFd: bell.fd, port: port2, words: this.#words };
    const worker = new Worker(PROGRAM, { workerData: task, transferList: [port2] });
    worker.on('error', (error) => console.error(error));
    worker.unref();
    process.once('exit', () => {
      Atomics.store(this.#words, ENDING, 1);
      os.ring(this.bell);
    });
  }

  /** A number for a new queue. */
  newQueue(): number {
    return this.#nextQueue++;
  }

  /** Has it done. @returns its answer's value @throws NetmapError what the driver answers; EIO: the thread is no more. */
  order(order: ServerOrder): number {
    const answer = this.dead ? undefined : this.#ask(order);
    if (!answer)
      throw new NetmapError('EIO', `Cannot ${order.do} a queue: the thread that has them does not answer`);
    const { error, value } = answer;
    if (error) throw new NetmapError(error.code, error.message);
    return value;
  }

  #ask(order: ServerOrder): ServerAnswer | undefined {
    const before = Atomics.load(this.#words, ANSWERED);
    this.#port.postMessage(order);
    os.ring(this.bell);
    this.dead = Atomics.wait(this.#words, ANSWERED, before, LONGEST_MS) === 'timed-out';
    return (receiveMessageOnPort(this.#port) as { message: ServerAnswer } | undefined)?.message;
  }
}
