// Links: threads of the module that move frames between a port of one switch and a port of another, or the rings of an
// interface.  A link's first thread sleeps until something is to be moved; while it is polled (spec ports §1.16), others
// that never sleep have some of its pairs of rings, or all of them.

import { NetmapError } from '../abi/errors.ts';
import type { Poller } from './polling.ts';
import { type Order, Thread, type ThreadData } from './thread.ts';

const PROGRAM = new URL('../forward/link.js', import.meta.url);

/** What the thread is started with. */
export interface LinkTask extends ThreadData {
  pairs: readonly Pair[];
  /** Kept to this CPU, it looks all the time instead of sleeping. */
  cpu?: number;
}

/** The frames of each go to the other. */
export type Pair = readonly [InternalPort, InternalPort];

/** A port by the name that the module knows it by, and which of its rings. */
export interface InternalPort {
  name: string;
  mode?: number;
  ringId?: number;
}

/** To serve these of its pairs, by their indices; or to close all and end. */
type Work = { do: 'serve'; pairs: readonly number[] } | { do: 'end' };
export type LinkOrder = Order<Work>;

interface Link {
  readonly pairs: readonly Pair[];
  readonly thread: Thread<Work>;
  polling: 'off' | 'changing' | 'on';
  pollers: readonly Thread<Work>[];
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
  async start(name: string, pairs: readonly Pair[]): Promise<void> {
    const thread = this.#startThread(pairs);
    this.#links.set(name, { pairs, thread, polling: 'off', pollers: [] });
    void thread.ended.then(() => this.#links.delete(name));
    await thread.order({ do: 'serve', pairs: [...pairs.keys()] });
  }

  /** Ends a link; resolves when its ports are closed. */
  async stop(name: string): Promise<void> {
    const link = this.#links.get(name);
    if (!link) return;
    link.polling = 'changing';
    await Promise.all([...link.pollers, link.thread].map((thread) => thread.end({ do: 'end' })));
  }

  async stopAll(): Promise<void> {
    await Promise.all([...this.#links.keys()].map((name) => this.stop(name)));
  }

  isPolled(name: string): boolean {
    const link = this.#links.get(name);
    return link !== undefined && link.polling !== 'off';
  }

  /**
   * Has threads that never sleep take pairs of a link over.
   * @throws NetmapError EFAULT: a thread could not be had, or not on its CPU; nothing has changed
   */
  async poll(name: string, pollers: readonly Poller[]): Promise<void> {
    const link = this.#link(name);
    link.polling = 'changing';
    const threads = pollers.map(({ cpu, pairs }) =>
      this.#startThread(
        pairs.map((i) => link.pairs[i]!),
        cpu,
      ),
    );
    link.pollers = threads;
    try {
      await Promise.all(threads.map((thread) => thread.order({ do: 'serve', pairs: [] })));
      const taken = new Set(pollers.flatMap(({ pairs }) => pairs));
      const left = [...link.pairs.keys()].filter((i) => !taken.has(i));
      // A pair is served by one thread at a time: first it is left, then it is taken.
      await link.thread.order({ do: 'serve', pairs: left });
      const all = (poller: Poller) => [...poller.pairs.keys()];
      await Promise.all(threads.map((thread, i) => thread.order({ do: 'serve', pairs: all(pollers[i]!) })));
    } catch (error) {
      await this.#endPollers(link);
      throw new NetmapError('EFAULT', `Cannot poll "${name}": ${(error as Error).message}`);
    }
    link.polling = 'on';
    // Should one die, its rings are not to be left alone.
    for (const thread of threads) {
      void thread.ended.then(() => {
        if (link.polling === 'on') this.unpoll(name).catch((error) => console.error(error));
      });
    }
  }

  /** Has the sleeping thread of a link serve all of it again. @throws NetmapError EFAULT: it does already. */
  async unpoll(name: string): Promise<void> {
    const link = this.#link(name);
    if (link.polling !== 'on')
      throw new NetmapError('EFAULT', `Cannot stop polling "${name}": it is not polled`);
    link.polling = 'changing';
    await this.#endPollers(link);
  }

  async #endPollers(link: Link): Promise<void> {
    await Promise.all(link.pollers.map((thread) => thread.end({ do: 'end' })));
    link.pollers = [];
    await link.thread.order({ do: 'serve', pairs: [...link.pairs.keys()] });
    link.polling = 'off';
  }

  #link(name: string): Link {
    const link = this.#links.get(name);
    if (link) return link;
    throw new NetmapError('EFAULT', `Cannot poll "${name}": the thread that served it is gone; detach it`);
  }

  #startThread(pairs: readonly Pair[], cpu?: number): Thread<Work> {
    const [[a, b]] = pairs as [Pair];
    const task: Omit<LinkTask, 'controlFd'> = {
      directory: this.#directory,
      pass: this.#pass,
      pairs,
      ...(cpu !== undefined && { cpu }),
    };
    return new Thread(PROGRAM, task, `link ${a.name} and ${b.name}`);
  }
}
