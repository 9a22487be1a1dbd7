// The control connection of one client (a process, or a thread of its own) to the module.  Requests go out and
// answers come back in order of arrival; when the module dies, the connection comes back by itself and
// introduces the client again, so that the next module knows who is who.

import type net from 'node:net';
import * as v from 'valibot';
import { NetmapError } from '../abi/errors.ts';
import { os } from '../os/index.ts';
import { LineReader } from '../protocol/lines.ts';
import {
  describeIssues,
  envelopeSchema,
  type HelloReply,
  MAX_REPLY,
  type Operation,
  type Reply,
  type Request,
  replySchemas,
} from '../protocol/messages.ts';
import { connect, connectOrStart } from './module-process.ts';

/** Fields of an operation's request besides its id. */
type Body<O extends Operation> = Omit<Extract<Request, { op: O }>, 'id' | 'op'>;

interface Pending {
  op: Operation;
  resolve(value: unknown): void;
  reject(error: NetmapError): void;
}

const RETRY_MS = 100;

/** How a client introduces itself besides. */
export interface Who {
  pass?: string;
  isolated?: boolean;
}

export class Connection {
  readonly directory: string;
  #socket: net.Socket | undefined;
  readonly #pending = new Map<number, Pending>();
  #nextId = 1;
  #closed = false;
  /** An isolated client has lost its syncs with the module: there is nothing to come back with. */
  #returns = false;
  /** Under way to the next module; before its answer nothing else may be asked. */
  #introduction: Promise<void> | undefined;
  /** What the module said when we came in; absent for those who never need to own ports. */
  hello: HelloReply | undefined;

  private constructor(directory: string, socket: net.Socket) {
    this.directory = directory;
    this.#use(socket);
  }

  /**
   * Connects, starting the module if need be.
   * @param purpose  completes "Cannot ..." in errors
   * @param who  a pass that shows the module that it started this client itself; or that the client is isolated
   */
  static async open(directory: string, purpose: string, who: Who = {}): Promise<Connection> {
    const connection = new Connection(directory, await connectOrStart(directory, purpose));
    connection.hello = await connection.request('hello', { ...introduction(), ...who });
    connection.#returns = !who.isolated;
    return connection;
  }

  /** Connects to a module that is there, as nobody in particular; undefined if none is. */
  static async visit(directory: string): Promise<Connection | undefined> {
    const socket = await connect(directory);
    return socket && new Connection(directory, socket);
  }

  /** @throws NetmapError with the module's code and sentence; EPIPE if it is gone. */
  request<O extends Operation>(op: O, body: Body<O>): Promise<Reply<O>> {
    const socket = this.#socket;
    if (!socket) {
      return Promise.reject(
        new NetmapError(
          'EPIPE',
          `Cannot ask the netmap module in ${this.directory}: it is gone; open ports work on, load a new one with "nm-loader l"`,
        ),
      );
    }
    const id = this.#nextId++;
    return new Promise((resolve, reject) => {
      this.#pending.set(id, { op, resolve: resolve as (value: unknown) => void, reject });
      socket.ref();
      socket.write(`${JSON.stringify({ id, op, ...body })}\n`);
    });
  }

  /**
   * Sees to it that there is a module on the other side: if the one that was is gone, the next, which is started if need be.
   * @param purpose  as in open()
   * @returns false if that one does not know this client, so that what it had is lost
   */
  async ready(purpose: string): Promise<boolean> {
    await this.#introduction?.catch(() => {}); // Who came for it is told what was wrong.
    if (this.#closed) return false;
    if (this.#socket) return true;
    if (!this.#returns) return false;
    await this.#introduceAgain(await connectOrStart(this.directory, purpose));
    return !this.#closed;
  }

  /** Resolves once the other side has hung up. */
  ended(): Promise<void> {
    return new Promise((resolve) => {
      if (!this.#socket) return resolve();
      this.#socket.ref();
      this.#socket.once('close', () => resolve());
    });
  }

  close(): void {
    this.#closed = true;
    this.#socket?.destroy();
  }

  #use(socket: net.Socket): void {
    const reader = new LineReader(MAX_REPLY);
    this.#socket = socket;
    socket.setEncoding('utf8');
    socket.unref(); // An open port alone does not keep a program running.
    socket.on('data', (chunk) => {
      for (const line of reader.push(String(chunk))) this.#settle(line);
    });
    socket.on('error', () => socket.destroy());
    socket.on('close', () => this.#lost());
  }

  #settle(line: string): void {
    const envelope = v.safeParse(envelopeSchema, JSON.parse(line));
    if (!envelope.success) return;
    // Not an answer to anything: why the module is about to hang up.
    if ('error' in envelope.output && envelope.output.id === 0) {
      const { code, message } = envelope.output.error;
      for (const { reject } of this.#pending.values()) reject(new NetmapError(code, message));
      this.#pending.clear();
    }
    const pending = this.#pending.get(envelope.output.id);
    if (!pending) return;
    this.#pending.delete(envelope.output.id);
    if (this.#pending.size === 0) this.#socket?.unref();
    if ('error' in envelope.output) {
      const { code, message } = envelope.output.error;
      pending.reject(new NetmapError(code, message));
      return;
    }
    const reply = v.safeParse(replySchemas[pending.op] as v.GenericSchema, envelope.output.ok);
    if (reply.success) pending.resolve(reply.output);
    else
      pending.reject(
        new NetmapError(
          'EPROTO',
          `Cannot understand the module's answer to "${pending.op}": ${describeIssues(reply.issues)}`,
        ),
      );
  }

  #lost(): void {
    this.#socket = undefined;
    for (const { op, reject } of this.#pending.values()) {
      reject(
        new NetmapError('EPIPE', `Cannot finish "${op}": the netmap module in ${this.directory} went away`),
      );
    }
    this.#pending.clear();
    if (!this.#closed && this.#returns) setTimeout(() => void this.#comeBack(), RETRY_MS).unref();
  }

  /** Looks for the next module. */
  async #comeBack(): Promise<void> {
    if (this.#closed || this.#socket) return;
    const socket = await connect(this.directory).catch(() => undefined);
    if (socket) await this.#introduceAgain(socket).catch(() => {});
    else setTimeout(() => void this.#comeBack(), RETRY_MS).unref();
  }

  /** Gives up only if the module does not know us. @throws NetmapError what else it says */
  async #introduceAgain(socket: net.Socket): Promise<void> {
    if (this.#socket)
      socket.destroy(); // Whoever else looked was faster.
    else {
      this.#use(socket);
      this.#introduction = this.#introduce().finally(() => {
        this.#introduction = undefined;
      });
    }
    await this.#introduction;
  }

  async #introduce(): Promise<void> {
    try {
      this.hello = await this.request('hello', { ...introduction(), token: this.hello!.token });
    } catch (error) {
      if ((error as NetmapError).code !== 'ENOENT') throw error;
      this.close();
    }
  }
}

function introduction(): { pid: number; startTime: string } {
  return { pid: process.pid, startTime: os.startTime(process.pid) };
}
