// A client that speaks in frames, as a C program with the header file would: requests laid out byte by byte.

import assert from 'node:assert/strict';
import type net from 'node:net';
import path from 'node:path';
import * as rq from '../src/abi/requests.ts';
import { connectLocally } from '../src/client/index.ts';

export interface Answer {
  errno: number;
  payload: Buffer;
}

export class FrameClient {
  readonly #socket: net.Socket;
  readonly #waiting = new Map<number, (answer: Answer) => void>();
  #rest: Buffer = Buffer.alloc(0);
  #nextId = 1;
  closed = false;

  private constructor(socket: net.Socket) {
    this.#socket = socket;
    socket.on('data', (chunk) => this.#receive(Buffer.from(chunk)));
    socket.on('error', () => {});
    socket.on('close', () => {
      this.closed = true;
    });
  }

  /** Connects to a module, and tells it whose descriptors it will speak of. */
  static async connect(directory: string): Promise<FrameClient> {
    const socket = connectLocally(path.join(directory, 'netmapd.sock'))!;
    await new Promise((resolve, reject) => socket.once('connect', resolve).once('error', reject));
    const client = new FrameClient(socket);
    const pid = Buffer.alloc(4);
    pid.writeUInt32LE(process.pid);
    assert.equal((await client.ask(rq.FR_HELLO, 0, pid)).errno, 0);
    return client;
  }

  ask(request: number, fd: number, payload: Buffer = Buffer.alloc(0)): Promise<Answer> {
    const id = this.#nextId++;
    const frame = Buffer.alloc(rq.FR_SIZE + payload.length);
    frame.writeUInt32LE(rq.FRAME_MAGIC, rq.FR_MAGIC);
    frame.writeUInt32LE(frame.length, rq.FR_LENGTH);
    frame.writeUInt32LE(request, rq.FR_REQUEST);
    frame.writeUInt32LE(fd, rq.FR_FD);
    frame.writeUInt32LE(id, rq.FR_ID);
    payload.copy(frame, rq.FR_SIZE);
    return new Promise((resolve) => {
      this.#waiting.set(id, resolve);
      this.#socket.write(frame);
    });
  }

  /** NIOCCTRL; what the module wrote back is in the request afterwards. */
  async control(fd: number, request: ControlRequest): Promise<number> {
    const { errno, payload } = await this.ask(rq.NIOCCTRL, fd, request.bytes);
    payload.copy(request.bytes, 0, 0, request.bytes.length);
    request.appended = payload.subarray(request.bytes.length);
    return errno;
  }

  /** NIOCREGIF or NIOCGINFO on a struct nmreq, changed in place. */
  async legacy(ioctl: number, fd: number, nmr: Buffer): Promise<number> {
    const { errno, payload } = await this.ask(ioctl, fd, nmr);
    payload.copy(nmr, 0, 0, nmr.length);
    return errno;
  }

  async sync(fd: number, direction: 'tx' | 'rx'): Promise<number> {
    return (await this.ask(direction === 'tx' ? rq.NIOCTXSYNC : rq.NIOCRXSYNC, fd)).errno;
  }

  async close(fd: number): Promise<void> {
    await this.ask(rq.FR_CLOSE, fd);
  }

  write(bytes: Buffer): void {
    this.#socket.write(bytes);
  }

  end(): void {
    this.#socket.destroy();
  }

  #receive(chunk: Buffer): void {
    let rest = Buffer.concat([this.#rest, chunk]);
    while (rest.length >= rq.FR_SIZE && rest.length >= rest.readUInt32LE(rq.FR_LENGTH)) {
      const frame = rest.subarray(0, rest.readUInt32LE(rq.FR_LENGTH));
      rest = rest.subarray(frame.length);
      const id = frame.readUInt32LE(rq.FR_ID);
      const answer = {
        errno: frame.readInt32LE(rq.FR_RESULT),
        payload: Buffer.from(frame.subarray(rq.FR_SIZE)),
      };
      this.#waiting.get(id)?.(answer);
      this.#waiting.delete(id);
    }
    this.#rest = Buffer.from(rest);
  }
}

/** Fields of struct nmreq_register that a test sets. */
export interface RegisterFields {
  mode?: number;
  ringId?: number;
  flags?: number;
  memId?: number;
  txSlots?: number;
  rxSlots?: number;
  txRings?: number;
  rxRings?: number;
  hostTxRings?: number;
  hostRxRings?: number;
  extraBufs?: number;
}

/** A NIOCCTRL request: header, body, options one after the other. */
export class ControlRequest {
  bytes: Buffer;
  appended: Buffer = Buffer.alloc(0);
  readonly #optionsAt: number[] = [];

  constructor(type: number, name: string, bodySize = rq.BODY_SIZES[type] ?? 0) {
    this.bytes = Buffer.alloc(rq.HEADER_SIZE + bodySize);
    this.bytes.writeUInt16LE(14, rq.HD_VERSION);
    this.bytes.writeUInt16LE(type, rq.HD_REQTYPE);
    this.bytes.write(name, rq.HD_NAME, 63, 'utf8');
    if (bodySize > 0) this.bytes.writeBigUInt64LE(BigInt(rq.HEADER_SIZE), rq.HD_BODY);
  }

  static register(name: string, fields: RegisterFields): ControlRequest {
    const request = new ControlRequest(rq.NETMAP_REQ_REGISTER, name);
    const { body } = request;
    body.setUint32(rq.RG_MODE, fields.mode ?? 0, true);
    body.setUint16(rq.RG_RINGID, fields.ringId ?? 0, true);
    body.setBigUint64(rq.RG_FLAGS, BigInt(fields.flags ?? 0), true);
    body.setUint16(rq.RG_MEM_ID, fields.memId ?? 0, true);
    body.setUint32(rq.RG_TX_SLOTS, fields.txSlots ?? 0, true);
    body.setUint32(rq.RG_RX_SLOTS, fields.rxSlots ?? 0, true);
    body.setUint16(rq.RG_TX_RINGS, fields.txRings ?? 0, true);
    body.setUint16(rq.RG_RX_RINGS, fields.rxRings ?? 0, true);
    body.setUint16(rq.RG_HOST_TX_RINGS, fields.hostTxRings ?? 0, true);
    body.setUint16(rq.RG_HOST_RX_RINGS, fields.hostRxRings ?? 0, true);
    body.setUint32(rq.RG_EXTRA_BUFS, fields.extraBufs ?? 0, true);
    return request;
  }

  get view(): DataView {
    return new DataView(this.bytes.buffer, this.bytes.byteOffset, this.bytes.length);
  }

  get body(): DataView {
    return new DataView(this.bytes.buffer, this.bytes.byteOffset + rq.HEADER_SIZE);
  }

  get name(): string {
    return this.bytes
      .subarray(rq.HD_NAME, rq.HD_NAME + 64)
      .toString('utf8')
      .split('\0', 1)[0]!;
  }

  /** Appends an option to the list. @returns its number */
  add(type: number, size: number, fill: (view: DataView) => void = () => {}): number {
    const at = this.bytes.length;
    this.bytes = Buffer.concat([this.bytes, Buffer.alloc(size)]);
    const last = this.#optionsAt.at(-1);
    const pointer = last === undefined ? rq.HD_OPTIONS : last + rq.OP_NEXT;
    this.bytes.writeBigUInt64LE(BigInt(at), pointer);
    this.bytes.writeUInt32LE(type, at + rq.OP_REQTYPE);
    fill(new DataView(this.bytes.buffer, this.bytes.byteOffset + at, size));
    return this.#optionsAt.push(at) - 1;
  }

  /** Has an option point to itself. */
  selfLink(option: number): void {
    const at = this.#optionsAt[option]!;
    this.bytes.writeBigUInt64LE(BigInt(at), at + rq.OP_NEXT);
  }

  option(number: number): { next: bigint; type: number; status: number; view: DataView } {
    const at = this.#optionsAt[number]!;
    const view = new DataView(this.bytes.buffer, this.bytes.byteOffset + at);
    return {
      next: view.getBigUint64(rq.OP_NEXT, true),
      type: view.getUint32(rq.OP_REQTYPE, true),
      status: view.getUint32(rq.OP_STATUS, true),
      view,
    };
  }
}
