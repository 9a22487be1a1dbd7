// The control socket: JSON lines in, JSON lines out.  Every message is checked before it is looked at; a
// client that misbehaves is told so or dropped, and nobody else notices.

import net from 'node:net';
import * as v from 'valibot';
import { NetmapError } from '../abi/errors.ts';
import { NR_REG_NIC_SW } from '../abi/netmap.ts';
import { LOOKUP_AREA_SIZE } from '../abi/state.ts';
import { survey } from '../nic/index.ts';
import { os, type Peer } from '../os/index.ts';
import {
  describeIssues,
  MAX_REPLY,
  MAX_REQUEST,
  type Operation,
  type RegisterRequest,
  type Request,
  requestSchema,
} from '../protocol/messages.ts';
import { RequestStream } from '../protocol/stream.ts';
import { BinarySession } from './binary/session.ts';
import { checkAttach } from './binding.ts';
import type { Client, Introduction, Module } from './module.ts';
import { resolveValeName } from './names.ts';
import { checkGuest, checkGuestRequest, isGuest, memoryUser } from './permission.ts';
import { Places, Turns } from './turns.ts';

/** A client that has begun a line must end it within this time. */
const LINE_TIMEOUT_MS = 5000;
const MAX_CONNECTIONS = 4096;
/** Of those, another user's, and those of all other users together. */
const GUEST_CONNECTIONS = 128;
const GUESTS_CONNECTIONS = 1024;
/** Bytes of answers that another user may leave unread. */
const MAX_GUEST_BACKLOG = 1 << 20;

export interface ServerEvents {
  /** The module is to go: all of its ports are closed, or it was forced. */
  unload(): void;
  /** Clients have come or gone. */
  used(): void;
}

type Handler<O extends Operation> = (request: Extract<Request, { op: O }>, connection: Connection) => unknown;

/** Listens until closed. */
export function serve(module: Module, path: string, events: ServerEvents): net.Server {
  const guests = { turns: new Turns(), places: new Places(GUEST_CONNECTIONS, GUESTS_CONNECTIONS) };
  const server = net.createServer((socket) => new Connection(module, socket, events, guests));
  server.maxConnections = MAX_CONNECTIONS;
  server.listen(path);
  return server;
}

interface Guests {
  readonly turns: Turns;
  readonly places: Places;
}

class Connection {
  readonly module: Module;
  readonly events: ServerEvents;
  readonly #socket: net.Socket;
  readonly #guests: Guests;
  readonly #stream = new RequestStream(MAX_REQUEST);
  #binary: BinarySession | undefined;
  #lineTimer: NodeJS.Timeout | undefined;
  /** Lines of another user's that are not answered yet. */
  #waiting = 0;
  client: Client | undefined;
  readonly peer: Peer;

  constructor(module: Module, socket: net.Socket, events: ServerEvents, guests: Guests) {
    this.module = module;
    this.events = events;
    this.#socket = socket;
    this.#guests = guests;
    this.peer = os.peerOf(descriptorOf(socket));
    socket.on('data', (chunk) => this.#receive(Buffer.from(chunk)));
    socket.on('error', () => socket.destroy());
    socket.on('close', () => this.#closed().catch((error) => console.error(error)));
    if (this.isGuest) this.#seat();
  }

  /** Gives another user a place, if there is one. */
  #seat(): void {
    const { peer } = this;
    const { places } = this.#guests;
    if (!places.take(peer.uid)) {
      this.#drop(
        new NetmapError(
          'EMFILE',
          `Cannot let uid ${peer.uid} in once more: another user may have ${GUEST_CONNECTIONS} connections, all others ${GUESTS_CONNECTIONS} together; close some`,
        ),
      );
      return;
    }
    this.#socket.once('close', () => places.giveBack(peer.uid));
    // Told why once it has said something: hung up on before, it could miss the reason.
    if (!this.module.access.admits(peer))
      this.#lineTimer = setTimeout(() => this.#socket.destroy(), LINE_TIMEOUT_MS);
  }

  #receive(chunk: Buffer): void {
    clearTimeout(this.#lineTimer);
    try {
      if (this.isGuest && !this.client) this.module.access.checkUser(this.peer);
      for (const said of this.#stream.push(chunk)) {
        if ('frame' in said && this.isGuest)
          throw new NetmapError('EACCES', 'Cannot take frames from another user: use the library');
        if ('frame' in said) void this.#session().take(said.frame);
        else if (said.line !== '') this.#takeLine(said.line);
      }
    } catch (error) {
      this.#drop(error as NetmapError);
      return;
    }
    if (this.#stream.pending) {
      this.#lineTimer = setTimeout(() => {
        this.#drop(
          new NetmapError(
            'ETIMEDOUT',
            `Cannot wait longer than ${LINE_TIMEOUT_MS} ms for the end of a message`,
          ),
        );
      }, LINE_TIMEOUT_MS);
    }
  }

  #takeLine(line: string): void {
    if (!this.isGuest) {
      void this.#answer(line);
      return;
    }
    // No more is read than is at hand before that is dealt with.
    this.#waiting++;
    this.#socket.pause();
    this.#guests.turns.take(this.peer.uid, async () => {
      if (!this.#socket.destroyed) await this.#answer(line);
      if (--this.#waiting === 0) this.#socket.resume();
    });
  }

  async #answer(line: string): Promise<void> {
    let id = 0;
    try {
      const request = parse(line);
      id = request.id;
      if (this.isGuest) checkGuest(request.op);
      const ok = await (handlers[request.op] as Handler<Operation>)(request, this);
      if (ok !== undefined) this.#send({ id, ok });
    } catch (error) {
      if (!(error instanceof NetmapError)) console.error(error);
      const { code, message } =
        error instanceof NetmapError ? error : { code: 'EIO', message: `The module failed: ${error}` };
      this.#send({ id: id || idOf(line), error: { code, message } });
    }
  }

  #send(reply: object): void {
    this.#write(`${JSON.stringify(reply)}\n`);
  }

  #write(reply: string | Buffer): void {
    if (this.#socket.destroyed) return;
    this.#socket.write(reply);
    // Somebody who asks but does not read is not waited for.
    const most = this.isGuest ? MAX_GUEST_BACKLOG : MAX_REPLY;
    if (this.#socket.writableLength > most) this.#socket.destroy();
  }

  #drop(error: NetmapError): void {
    this.#send({ id: 0, error: { code: error.code, message: error.message } });
    this.#socket.destroySoon();
  }

  /** The conversation in frames, begun with the first of them. */
  #session(): BinarySession {
    if (this.#binary) return this.#binary;
    this.client ??= this.module.hello({ pid: process.pid, startTime: os.startTime(process.pid) });
    this.events.used();
    this.#binary = new BinarySession(this.module, this.client, (reply) => this.#write(reply));
    return this.#binary;
  }

  async #closed(): Promise<void> {
    clearTimeout(this.#lineTimer);
    if (!this.client) return;
    await this.#binary?.close();
    await this.module.goodbye(this.client);
    this.events.used();
  }

  /** Somebody of another user. */
  get isGuest(): boolean {
    return isGuest(this.peer);
  }

  /** @throws NetmapError EACCES, EPERM: somebody of another user may not ask for this. */
  checkRequest(request: RegisterRequest): void {
    if (!this.isGuest) return;
    const { registry, access } = this.module;
    checkGuestRequest(request, registry.ports.interfaceNamed(request.name)?.name, this.peer, access);
  }

  /** Whose memory that of its ports is. */
  get uid(): number {
    return memoryUser(this.peer);
  }

  /** Takes a client in; of guests only what the system says of them is believed. */
  introduce(said: Introduction): Client {
    if (!this.isGuest) return this.module.hello(said, this.uid);
    const { pid, uid } = this.peer;
    return this.module.hello({ pid, startTime: os.startTime(pid), isolated: true }, uid);
  }

  /** Gives what a ticket is good for to whoever is at the other end, and hangs up. */
  handOver(id: number, ticket: string): void {
    const answer = `${JSON.stringify({ id, ok: {} })}\n`;
    const peer = { ...this.peer, uid: this.uid };
    this.module.isolation.collect(ticket, peer, descriptorOf(this.#socket), answer);
    this.#socket.end();
  }

  /** @throws NetmapError EPROTO: it did not say that it is isolated. */
  requireIsolated(): Client {
    const client = this.requireClient();
    if (client.isolated) return client;
    throw new NetmapError(
      'EPROTO',
      'Cannot open an isolated port: the client did not say "hello" as isolated',
    );
  }

  /** The client behind this connection. @throws NetmapError EPROTO before its hello. */
  requireClient(): Client {
    if (this.client) return this.client;
    throw new NetmapError('EPROTO', 'Cannot open or close ports before "hello"');
  }
}

/** What the system knows a socket of Node's by. */
function descriptorOf(socket: net.Socket): number {
  return (socket as unknown as { _handle: { fd: number } })._handle.fd;
}

const handlers: { [O in Operation]: Handler<O> } = {
  hello({ pid, startTime, token, pass, isolated }, connection) {
    if (connection.client) throw new NetmapError('EPROTO', 'Cannot say "hello" twice on one connection');
    connection.client = connection.introduce({ pid, startTime, token, pass, isolated });
    connection.events.used();
    return connection.module.helloReply(connection.client);
  },
  register(request, connection) {
    return connection.module.register(connection.requireClient(), request);
  },
  registerIsolated(request, connection) {
    connection.checkRequest(request);
    return connection.module.registerIsolated(connection.requireIsolated(), request);
  },
  collect({ id, ticket }, connection) {
    connection.handOver(id, ticket);
    return undefined; // The answer went with the descriptors.
  },
  async release({ registration }, connection) {
    await connection.module.release(connection.requireClient(), registration);
    return {};
  },
  portInfo(request, connection) {
    connection.checkRequest(request);
    const { module, peer, client, isGuest: guest } = connection;
    const who = { pid: peer.pid, uid: connection.uid, isolated: client?.isolated ?? guest };
    return module.portInfo(who, request);
  },
  async valeAttach(request, { module }) {
    checkAttach(request);
    return {
      port: await module.attach(request.name, request.mode === NR_REG_NIC_SW, request.memId),
    };
  },
  valeHost: async ({ name }, { module }) => ({ port: await module.attachHost(name) }),
  valeDetach: async ({ name }, { module }) => ({ port: await module.detach(name) }),
  valeList: ({ name, bridge, port }, { module: { registry } }) =>
    name === '' ? registry.switchboard.firstFrom(bridge, port) : registry.switchboard.locate(name),
  valeNewIf(request, { module }) {
    const made = module.change(({ attachments }) => attachments.newIf({ ...NOTHING_MORE, ...request }));
    return { ...made.sizes, memId: made.region.memId };
  },
  valeDelIf({ name }, { module }) {
    module.change(({ attachments }, isOpen) => attachments.delIf(name, isOpen));
    return {};
  },
  async valePolling({ name, enable, mode, firstCpu, cpus }, { module }) {
    await (enable ? module.poll(name, { mode, firstCpu, cpus }) : module.unpoll(name));
    return {};
  },
  portHeaderSet({ name, length }, { module }) {
    module.change(({ switchboard }) => switchboard.setHeader(name, length));
    return {};
  },
  portHeaderGet: ({ name }, { module }) => ({ length: module.registry.switchboard.header(name) }),
  portLimitSet({ name, longest }, { module }) {
    module.registry.switchboard.setLongest(name, longest);
    return {};
  },
  portLimitGet: ({ name }, { module }) => ({ longest: module.registry.switchboard.longest(name) }),
  poolsInfo: (request, { module }) => module.registry.poolsInfo(request),
  valeAddresses: ({ name }, { module }) => module.registry.switchboard.addresses(name),
  valeLookupSet({ name, label, code }, connection) {
    const { pid } = connection.requireClient();
    const [program, config] = takeBytes(pid, code);
    connection.module.registry.switchboard.setLookup(name, label, program, config);
    return {};
  },
  valeLookupOpen({ name, label }, connection) {
    resolveValeName(`${name}:lookup`);
    const reply = connection.module.registry.registerLookup(connection.requireClient(), name, label);
    connection.module.keep();
    return reply;
  },
  valeLookupClear({ name }, { module }) {
    module.registry.switchboard.clearLookup(name);
    return {};
  },
  valeLookupGet: ({ name }, { module }) => module.registry.switchboard.lookup(name),
  interfaces: (_request, { module: { registry, access } }) =>
    survey(registry.ports.parameters.get('buf_size')).map((nic) => ({
      ...nic,
      installedFor: access.installedFor(nic.name),
    })),
  installInterface({ name, group }, { module: { access }, events }) {
    access.install(name, group);
    events.used();
    return {};
  },
  uninstallInterface({ name }, { module: { access }, events }) {
    access.uninstall(name);
    events.used();
    return {};
  },
  status: (_request, { module }) => module.status(),
  counterPlaces: (_request, { module }) => module.registry.counterPlaces(),
  unload({ force }, { module, events }) {
    const { openPorts, persistentPorts } = module;
    if (openPorts > 0 && !force) {
      throw new NetmapError(
        'EBUSY',
        `Cannot unload netmap: ${openPorts} port${openPorts > 1 ? 's are' : ' is'} open; close them, or force it with "nm-loader u -f"`,
      );
    }
    if (persistentPorts.length > 0 && !force) {
      throw new NetmapError(
        'EBUSY',
        `Cannot unload netmap: persistent ports exist (${persistentPorts.join(', ')}); remove them with "vale-ctl -r", or force it with "nm-loader u -f"`,
      );
    }
    events.unload();
    return {};
  },
  setParameter({ parameter, value }, { module }) {
    module.registry.ports.parameters.set(parameter, value);
    module.keep();
    return {};
  },
  parameters: (_request, { module }) => module.registry.ports.parameters.list(),
};

/** What a client has put into an object of its own: code, and configuration behind it. @throws NetmapError EFAULT, EINVAL. */
function takeBytes(
  pid: number,
  { fd, size, configSize }: { fd: number; size: number; configSize: number },
): [Uint8Array, Uint8Array] {
  const object = os.takeObject(pid, fd);
  try {
    const all = size + configSize;
    if (all > object.size || all > LOOKUP_AREA_SIZE)
      throw new NetmapError('EINVAL', `Cannot take a lookup of ${all} bytes from ${object.size} bytes`);
    const bytes = new Uint8Array(all);
    os.readObject(object.fd, bytes);
    return [bytes.subarray(0, size), bytes.subarray(size)];
  } finally {
    os.closeFd(object.fd);
  }
}

/** What a request that makes a port may ask for besides, and VALE_NEWIF cannot. */
const NOTHING_MORE = { mode: 0, ringId: 0, flags: 0, extraBufs: 0 };

function parse(line: string): Request {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch (error) {
    throw new NetmapError('EPROTO', `Cannot read the message: it is not JSON (${(error as Error).message})`);
  }
  const result = v.safeParse(requestSchema, value);
  if (result.success) return result.output;
  throw new NetmapError('EINVAL', `Cannot accept the request: ${describeIssues(result.issues)}`);
}

/** The id of a message that could not be accepted, so that its sender can tell which one it was. */
function idOf(line: string): number {
  try {
    const { id } = JSON.parse(line) as { id?: unknown };
    return typeof id === 'number' ? id : 0;
  } catch {
    return 0;
  }
}
