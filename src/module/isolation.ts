// Isolated clients, the module's side: what each is handed (its region, a page to ask by, two lines), the thread that
// runs their syncs, and whose memory a region is.

import { randomUUID } from 'node:crypto';
import { NetmapError } from '../abi/errors.ts';
import * as is from '../abi/isolated.ts';
import { type MemoryObject, os, type Peer } from '../os/index.ts';
import type { RegisterReply, RegisterRequest } from '../protocol/messages.ts';
import { type Order, Thread } from './thread.ts';

const PROGRAM = new URL('../forward/isolated.js', import.meta.url);

/** What the thread needs for one registration. */
export interface IsolatedTask {
  registration: number;
  /** Name of the adapter; the thread may open what nobody else may. */
  name: string;
  /** User whose client it is. */
  uid: number;
  request: RegisterRequest;
  page: MemoryObject;
  /** The module's ends: asked and answered by the one, told of frames by the other. */
  line: number;
  bell: number;
}

type Work = { do: 'add'; task: IsolatedTask } | { do: 'remove'; registration: number } | { do: 'end' };
export type ThreadOrder = Order<Work>;

interface Held {
  readonly task: IsolatedTask;
  /** Waits to be collected by its user, once; then the client's ends are the client's. */
  ticket: string;
  readonly regionFd: number;
  readonly clientLine: number;
  readonly clientBell: number;
  /** Descriptors that are ours to close. */
  readonly fds: Set<number>;
}

export class Isolation {
  readonly #directory: string;
  readonly #pass: string;
  readonly #held = new Map<number, Held>();
  #thread: Thread<Work> | undefined;

  constructor(directory: string, pass: string) {
    this.#directory = directory;
    this.#pass = pass;
  }

  /** Serves a registration from now on. @returns the ticket by which its descriptors are collected. */
  async add(request: RegisterRequest, reply: RegisterReply, uid: number): Promise<string> {
    const held = prepare(request, reply, uid);
    this.#held.set(reply.registration, held);
    try {
      this.#thread ??= this.#startThread();
      await this.#thread.order({ do: 'add', task: held.task });
    } catch (error) {
      await this.remove(reply.registration);
      throw error;
    }
    return held.ticket;
  }

  /** Hands the descriptors of a ticket over, once. @throws NetmapError ENOENT, EAGAIN. */
  collect(ticket: string, peer: Peer, socket: number, text: string): void {
    const held = [...this.#held.values()].find((one) => one.ticket === ticket && ticket !== '');
    if (!held || held.task.uid !== peer.uid)
      throw new NetmapError(
        'ENOENT',
        'Cannot hand descriptors over: there is no such ticket, or it is not yours',
      );
    const { task, regionFd, clientLine, clientBell } = held;
    os.sendDescriptors(socket, text, [regionFd, task.page.fd, clientLine, clientBell]);
    held.ticket = '';
    close(held, [clientLine, clientBell]);
  }

  #startThread(): Thread<Work> {
    const data = { directory: this.#directory, pass: this.#pass };
    const thread = new Thread<Work>(PROGRAM, data, 'serve an isolated client');
    void thread.ended.then(() => {
      this.#thread = undefined;
      // Whom it served is told by the lines' end.
      for (const held of this.#held.values()) close(held);
    });
    return thread;
  }

  isServed(registration: number): boolean {
    return this.#held.has(registration);
  }

  /** Before the process ends. */
  async close(): Promise<void> {
    await this.#thread?.end({ do: 'end' });
  }

  /** Stops serving a registration; nothing if it is none of ours. */
  async remove(registration: number): Promise<void> {
    const held = this.#held.get(registration);
    if (!held) return;
    this.#held.delete(registration);
    await this.#thread?.order({ do: 'remove', registration }).catch(() => {}); // Dead: nothing of it is left there.
    close(held);
  }
}

/** What a registration needs to be served; of what cannot be had whole, nothing is left. */
function prepare(request: RegisterRequest, reply: RegisterReply, uid: number): Held {
  const fds = new Set<number>();
  try {
    const lanes = reply.tx.length + reply.rx.length;
    const page = os.createObject('netmap-asks', is.PAGE_LANES + lanes * is.LANE_SIZE);
    fds.add(page.fd);
    const pair = () => {
      const ends = os.createLine();
      for (const end of ends) fds.add(end);
      return ends;
    };
    const [line, clientLine] = pair();
    const [bell, clientBell] = pair();
    const { registration, adapter: name } = reply;
    const task = { registration, name, uid, request, page, line, bell };
    return { task, ticket: randomUUID(), regionFd: reply.region.ref.fd, clientLine, clientBell, fds };
  } catch (error) {
    for (const fd of fds) os.closeFd(fd);
    throw error;
  }
}

function close({ fds }: Held, which: Iterable<number> = [...fds]): void {
  for (const fd of which) if (fds.delete(fd)) os.closeFd(fd);
}
