// Links: workers of the module that move frames between a port of one switch and a port of another.

import { Worker } from 'node:worker_threads';
import { NetmapError } from '../abi/errors.ts';
import { os } from '../os/index.ts';

/** Another program on top of the library, run as a thread of the module. */
const WORKER = new URL('../forward/link.js', import.meta.url);

/** What the worker is started with. */
export interface LinkTask {
  directory: string;
  /** Shows the module that it is its own. */
  pass: string;
  /** The two ports. */
  ports: readonly [InternalPort, InternalPort];
  /** Becomes readable when the worker is to end. */
  stopFd: number;
}

/** A port by the name that the module knows it by, and which of its rings. */
export interface InternalPort {
  name: string;
  mode?: number;
}

interface Link {
  ended: Promise<void>;
  stop(): void;
}

export class Links {
  readonly #links = new Map<string, Link>();
  readonly #directory: string;
  readonly #pass: string;

  constructor(directory: string, pass: string) {
    this.#directory = directory;
    this.#pass = pass;
  }

  /** Starts moving frames; resolves once it does. `name` is what stop() ends it by. @throws NetmapError EIO. */
  start(name: string, ports: LinkTask['ports']): Promise<void> {
    const bell = os.createBell();
    const task: LinkTask = { directory: this.#directory, pass: this.#pass, ports, stopFd: bell.fd };
    const worker = new Worker(WORKER, { workerData: task });
    let failure = 'its worker ended';
    worker.on('error', (error) => {
      failure = error.message;
    });
    const ended = new Promise<void>((resolve) => {
      worker.once('exit', () => {
        bell.close();
        this.#links.delete(name);
        resolve();
      });
    });
    const stop = () => {
      const ringer = os.openBell(process.pid, bell.fd, bell.ino);
      os.ring(ringer);
      os.closeFd(ringer);
    };
    this.#links.set(name, { ended, stop });
    return new Promise((resolve, reject) => {
      worker.once('message', () => resolve());
      worker.once('exit', () =>
        reject(new NetmapError('EIO', `Cannot link ${ports[0].name} and ${ports[1].name}: ${failure}`)),
      );
    });
  }

  /** Ends a link; resolves when its ports are closed. */
  async stop(name: string): Promise<void> {
    const link = this.#links.get(name);
    link?.stop();
    await link?.ended;
  }

  async stopAll(): Promise<void> {
    await Promise.all([...this.#links.keys()].map((name) => this.stop(name)));
  }
}
