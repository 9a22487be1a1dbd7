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
  /** Waits to be collected by this user, once; then the client's ends are the client's. */
  ticket: string;
  readonly uid: number;
  readonly regionFd: number;
  readonly clientLine: number;
  readonly clientBell: number;
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
    const lanes = reply.tx.length + reply.rx.length;
    const page = os.createObject('netmap-asks', is.PAGE_LANES + lanes * is.LANE_SIZE);
    const [line, clientLine] = os.createLine();
    const [bell, clientBell] = os.createLine();
    const task = { registration: reply.registration, name: reply.adapter, request, page, line, bell };
    const ticket = randomUUID();
    const held = { task, ticket, uid, regionFd: reply.region.ref.fd, clientLine, clientBell };
    this.#held.set(reply.registration, held);
    try {
      this.#thread ??= this.#startThread();
      await this.#thread.order({ do: 'add', task });
    } catch (error) {
      await this.remove(reply.registration);
      throw error;
    }
    return ticket;
  }

  /** Hands the descriptors of a ticket over, once. @throws NetmapError ENOENT, EAGAIN. */
  collect(ticket: string, peer: Peer, socket: number, text: string): void {
    const held = [...this.#held.values()].find((one) => one.ticket === ticket && ticket !== '');
    if (!held || held.uid !== peer.uid)
      throw new NetmapError(
        'ENOENT',
        'Cannot hand descriptors over: there is no such ticket, or it is not yours',
      );
    const { task, regionFd, clientLine, clientBell } = held;
    os.sendDescriptors(socket, text, [regionFd, task.page.fd, clientLine, clientBell]);
    held.ticket = '';
    os.closeFd(clientLine);
    os.closeFd(clientBell);
  }

  #startThread(): Thread<Work> {
    const data = { directory: this.#directory, pass: this.#pass };
    const thread = new Thread<Work>(PROGRAM, data, 'serve an isolated client');
    void thread.ended.then(() => {
      this.#thread = undefined;
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
    const { page, line, bell } = held.task;
    for (const fd of [page.fd, line, bell]) os.closeFd(fd);
    if (held.ticket !== '') for (const fd of [held.clientLine, held.clientBell]) os.closeFd(fd);
  }
}
