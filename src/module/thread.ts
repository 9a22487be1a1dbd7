// Threads of the module: programs on top of the library that do what they are told, one order after the other.

import { Worker } from 'node:worker_threads';
import { NetmapError } from '../abi/errors.ts';
import { os } from '../os/index.ts';

/** What every thread is started with, besides what it is to do. */
export interface ThreadData {
  /** Runtime directory of the module. */
  directory: string;
  /** Shows the module that it is its own. */
  pass: string;
  /** Becomes readable when there is an order. */
  controlFd: number;
}

/** An order as the thread receives it: answered by its number, and a sentence if it could not be done. */
export type Order<Work> = { id: number } & Work;
export interface OrderDone {
  id: number;
  error?: string;
}

export class Thread<Work extends object> {
  /** Resolves when it is no more, for whatever reason. */
  readonly ended: Promise<void>;
  readonly #worker: Worker;
  readonly #ringer: number;
  readonly #purpose: string;
  readonly #waiting = new Map<number, { done: () => void; failed: (error: Error) => void }>();
  #failure = 'its thread ended';
  #nextId = 1;
  #over = false;

  /**
   * @param program  in src/forward
   * @param data  what it finds as workerData, besides its end of the control bell
   * @param purpose  what its errors say could not be done
   */
  constructor(program: URL, data: Omit<ThreadData, 'controlFd'>, purpose: string) {
    this.#purpose = purpose;
    const bell = os.createBell();
    this.#ringer = os.openBell(process.pid, bell.fd, bell.ino);
    this.#worker = new Worker(program, { workerData: { ...data, controlFd: bell.fd } });
    this.#worker.unref(); // It serves others, and keeps nobody.
    this.#worker.on('error', (error) => {
      this.#failure = error.message;
      console.error(error);
    });
    this.#worker.on('message', ({ id, error }: OrderDone) => {
      const waiting = this.#waiting.get(id);
      this.#waiting.delete(id);
      if (error === undefined) waiting?.done();
      else waiting?.failed(this.#error(error));
    });
    this.ended = new Promise((resolve) => {
      this.#worker.once('exit', () => {
        this.#over = true;
        os.closeFd(this.#ringer);
        bell.close();
        for (const { failed } of this.#waiting.values()) failed(this.#error(this.#failure));
        this.#waiting.clear();
        resolve();
      });
    });
  }

  /** Resolves when the thread has done it. @throws NetmapError EIO: it could not, or it is no more. */
  order(what: Work): Promise<void> {
    if (this.#over) return Promise.reject(this.#error(this.#failure));
    return new Promise((done, failed) => {
      const id = this.#nextId++;
      this.#waiting.set(id, { done, failed });
      this.#worker.postMessage({ ...what, id });
      os.ring(this.#ringer);
    });
  }

  /** Gives the last order; resolves when the thread is no more. */
  async end(what: Work): Promise<void> {
    this.order(what).catch(() => {}); // It ends instead of answering.
    await this.ended;
  }

  #error(why: string): NetmapError {
    return new NetmapError('EIO', `Cannot ${this.#purpose}: ${why}`);
  }
}
