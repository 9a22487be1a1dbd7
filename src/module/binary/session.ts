// One client's conversation in frames: descriptors by number, a reply for each request, in the order they are done.

import { ERRNO, NetmapError } from '../../abi/errors.ts';
import * as rq from '../../abi/requests.ts';
import type { RegisterReply } from '../../protocol/messages.ts';
import type { Client, Module } from '../module.ts';
import { control } from './control.ts';
import { Descriptor } from './descriptor.ts';
import { legacy } from './legacy.ts';
import { BinaryRequest } from './request.ts';

const MAX_DESCRIPTORS = 1024;

export class BinarySession {
  readonly client: Client;
  readonly #module: Module;
  readonly #send: (reply: Buffer) => void;
  readonly #descriptors = new Map<number, Descriptor>();
  /** Whose memory and eventfds are spoken of; 0: nobody's, before HELLO. */
  #pid = 0;

  /** @param send  writes a reply to the client */
  constructor(module: Module, client: Client, send: (reply: Buffer) => void) {
    this.#module = module;
    this.client = client;
    this.#send = send;
  }

  /** Does what a frame asks for, and replies. */
  async take(frame: Buffer): Promise<void> {
    const payload = frame.subarray(rq.FR_SIZE);
    let result = 0;
    let appended: Buffer | undefined;
    try {
      appended = await this.#do(frame.readUInt32LE(rq.FR_REQUEST), frame.readUInt32LE(rq.FR_FD), payload);
    } catch (error) {
      if (!(error instanceof NetmapError)) console.error(error);
      result = error instanceof NetmapError ? ERRNO[error.code] : ERRNO.EIO;
    }
    const reply = appended ? Buffer.concat([frame, appended]) : frame;
    reply.writeUInt32LE(rq.REPLY_MAGIC, rq.FR_MAGIC);
    reply.writeUInt32LE(reply.length, rq.FR_LENGTH);
    reply.writeInt32LE(result, rq.FR_RESULT);
    this.#send(reply);
  }

  /** The connection is gone: everything is closed. */
  async close(): Promise<void> {
    const all = [...this.#descriptors.values()];
    this.#descriptors.clear();
    await Promise.allSettled(all.map((descriptor) => descriptor.close()));
  }

  /** @returns what goes behind the payload of the reply */
  async #do(request: number, fd: number, payload: Buffer): Promise<Buffer | undefined> {
    switch (request) {
      case rq.FR_HELLO:
        if (payload.length < 4)
          throw new NetmapError('EFAULT', 'Cannot read the pid: the frame is too short');
        if (payload.readUInt32LE(0) === process.pid)
          throw new NetmapError('EINVAL', 'Cannot take the pid: it is that of the module itself');
        this.#pid = payload.readUInt32LE(0);
        return undefined;
      case rq.FR_CLOSE: {
        const descriptor = this.#descriptors.get(fd);
        this.#descriptors.delete(fd);
        await descriptor?.close();
        return undefined;
      }
      case rq.NIOCTXSYNC:
      case rq.NIOCRXSYNC:
        await this.#descriptor(fd).sync(request === rq.NIOCTXSYNC ? 'tx' : 'rx');
        return undefined;
      case rq.NIOCREGIF:
      case rq.NIOCGINFO:
        return this.#withMemory(fd, (descriptor) => legacy(descriptor, request, payload));
      case rq.NIOCCTRL:
        return this.#withMemory(fd, (descriptor) => control(descriptor, new BinaryRequest(payload)));
      default:
        throw new NetmapError('EOPNOTSUPP', `Cannot do request ${request}: there is none of that number`);
    }
  }

  /** Runs a request; tells where the memory is if it has registered the descriptor. */
  async #withMemory(
    fd: number,
    work: (descriptor: Descriptor) => void | Promise<void>,
  ): Promise<Buffer | undefined> {
    const descriptor = this.#descriptor(fd);
    const before = descriptor.reply;
    await work(descriptor);
    return descriptor.reply && descriptor.reply !== before ? memoryRecord(descriptor.reply) : undefined;
  }

  #descriptor(fd: number): Descriptor {
    const known = this.#descriptors.get(fd);
    if (known) return known;
    if (this.#descriptors.size >= MAX_DESCRIPTORS)
      throw new NetmapError('EMFILE', `Cannot use descriptor ${fd}: ${MAX_DESCRIPTORS} are in use`);
    const descriptor = new Descriptor(this.#module, this.client, this.#pid);
    this.#descriptors.set(fd, descriptor);
    return descriptor;
  }
}

function memoryRecord({ memSize, region }: RegisterReply): Buffer {
  const record = Buffer.alloc(rq.MAP_RECORD);
  record.writeBigUInt64LE(BigInt(memSize), rq.MAP_SIZE);
  record.writeUInt32LE(region.ref.pid, rq.MAP_PID);
  record.writeUInt32LE(region.ref.fd, rq.MAP_FD);
  return record;
}
