// Proxies: workers of the module that run the syncs of clients which map nothing but their own region, on request or
// in a loop on CSB memory (spec api §6).

import { Worker } from 'node:worker_threads';
import { NetmapError } from '../abi/errors.ts';
import { os } from '../os/index.ts';
import type { RegisterReply, RegisterRequest } from '../protocol/messages.ts';
import type { CsbMemory } from './csb.ts';

const WORKER = new URL('../forward/proxy.js', import.meta.url);

/** What a loop is to do. */
export interface LoopTask {
  atok: CsbMemory;
  ktoa: CsbMemory;
  sleepUs: number;
  /** Per ring, TX before RX: what the client kicks with, what it is told by; -1 for none. */
  events: readonly { kick: number; irq: number }[];
}

/** What the worker is started with. */
export interface ProxyTask {
  directory: string;
  pass: string;
  /** Name of the adapter; the worker may open what nobody else may. */
  name: string;
  request: RegisterRequest;
  stopFd: number;
}

export type Order = { id: number; do: 'tx' | 'rx' | 'end' } | { id: number; do: 'loop'; task: LoopTask };

export interface SyncProxy {
  sync(direction: 'tx' | 'rx'): Promise<void>;
  /** Resolves when the loop has ended. */
  loop(task: LoopTask): Promise<void>;
  stopLoop(): void;
  /** Closes its port and ends. */
  end(): Promise<void>;
}

export class Proxies {
  readonly #directory: string;
  readonly #pass: string;

  constructor(directory: string, pass: string) {
    this.#directory = directory;
    this.#pass = pass;
  }

  /** A worker on the rings of a registration; resolves once it can sync. @throws NetmapError EIO. */
  start(request: RegisterRequest, { adapter: name }: RegisterReply): Promise<SyncProxy> {
    const bell = os.createBell();
    const ringer = os.openBell(process.pid, bell.fd, bell.ino);
    const task: ProxyTask = { directory: this.#directory, pass: this.#pass, name, request, stopFd: bell.fd };
    const worker = new Worker(WORKER, { workerData: task });
    const waiting = new Map<number, { done: () => void; failed: (error: Error) => void }>();
    let failure = 'its worker ended';
    let nextId = 1;
    const order = (what: Omit<Order, 'id'> & { task?: LoopTask }) =>
      new Promise<void>((done, failed) => {
        const id = nextId++;
        waiting.set(id, { done, failed });
        worker.postMessage({ ...what, id });
      });
    const ended = new Promise<void>((resolve) => worker.once('exit', () => resolve()));
    worker.on('error', (error) => {
      failure = error.message;
    });
    worker.on('message', (id: number) => {
      waiting.get(id)?.done();
      waiting.delete(id);
    });
    void ended.then(() => {
      os.closeFd(ringer);
      bell.close();
      const error = new NetmapError('EIO', `Cannot sync "${name}": ${failure}`);
      for (const { failed } of waiting.values()) failed(error);
      waiting.clear();
    });
    const stopLoop = () => void os.ring(ringer);
    const proxy: SyncProxy = {
      sync: (direction) => order({ do: direction }),
      loop: (loop) => order({ do: 'loop', task: loop }),
      stopLoop,
      async end() {
        stopLoop();
        worker.postMessage({ id: 0, do: 'end' });
        await ended;
      },
    };
    return new Promise((resolve, reject) => {
      waiting.set(0, { done: () => resolve(proxy), failed: reject });
    });
  }
}
