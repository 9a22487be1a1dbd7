// What a descriptor of /dev/netmap is elsewhere, for a client that speaks in frames: at most one registration, its
// syncs run for it by the module, its CSB memory and the loop on it.

import { NetmapError } from '../../abi/errors.ts';
import { NR_EXCLUSIVE } from '../../abi/netmap.ts';
import * as rq from '../../abi/requests.ts';
import { type MemoryObject, os } from '../../os/index.ts';
import type { OffsetsRequest, RegisterReply, RegisterRequest } from '../../protocol/messages.ts';
import { type CsbMemory, initializeCsb } from '../csb.ts';
import type { Client, Module } from '../module.ts';
import type { LoopTask, SyncProxy } from '../proxies.ts';

export class Descriptor {
  readonly module: Module;
  readonly client: Client;
  /** Process of the client, as it says; its memory is looked for there. */
  readonly pid: number;
  #request: RegisterRequest | undefined;
  #reply: RegisterReply | undefined;
  #proxy: Promise<SyncProxy> | undefined;
  #csb: { atok: CsbMemory; ktoa: CsbMemory } | undefined;
  #looping = false;
  /** A stop that came while no loop ran: the next one ends at once (spec api §6.5). */
  #stopped = false;

  constructor(module: Module, client: Client, pid: number) {
    this.module = module;
    this.client = client;
    this.pid = pid;
  }

  /** What the registration was given. */
  get reply(): RegisterReply | undefined {
    return this.#reply;
  }

  /** TX rings, then RX rings that the registration has bound. */
  get rings(): number {
    return this.#reply ? this.#reply.tx.length + this.#reply.rx.length : 0;
  }

  /** @throws NetmapError EBUSY if it is registered already, and whatever REGISTER answers. */
  register(request: RegisterRequest): RegisterReply {
    if (this.#reply)
      throw new NetmapError(
        'EBUSY',
        `Cannot register "${request.name}": this descriptor has a registration already`,
      );
    this.#reply = this.module.register(this.client, request);
    this.#request = request;
    return this.#reply;
  }

  /** Gives the rings of the registration offsets. @throws NetmapError EOPNOTSUPP, EINVAL, EBUSY. */
  setOffsets(offsets: OffsetsRequest): number {
    return this.module.registry.setOffsets(this.#reply!.registration, offsets);
  }

  /** Undoes a registration whose options were refused. */
  unregister(): void {
    const reply = this.#reply;
    this.#reply = undefined;
    this.#dropCsb();
    if (reply) this.module.change((registry) => registry.release(this.client, reply.registration));
  }

  /** NIOCTXSYNC, NIOCRXSYNC. @throws NetmapError ENXIO: not registered; EBUSY: in CSB mode. */
  async sync(direction: 'tx' | 'rx'): Promise<void> {
    if (!this.#reply) throw unregistered();
    if (this.#csb) throw new NetmapError('EBUSY', 'Cannot sync: the descriptor is in CSB mode');
    if (this.#reply.kind === 'null') return;
    await (await this.#worker()).sync(direction);
  }

  /**
   * Puts the descriptor into CSB mode (spec api §3.6.3).
   * @param atok, ktoa  addresses in objects that the client holds
   */
  enableCsb(atok: bigint, ktoa: bigint): void {
    if (this.#looping)
      throw new NetmapError('EBUSY', 'Cannot enable CSB: a loop is running on the descriptor');
    if (this.rings === 0) return;
    if (!((this.#request?.flags ?? 0) & NR_EXCLUSIVE))
      throw new NetmapError('EINVAL', 'Cannot enable CSB: the port is not open exclusively');
    const bytes = this.rings * rq.CSB_ENTRY;
    const entries = [memoryAt(atok, bytes), memoryAt(ktoa, bytes)] as const;
    const objects: MemoryObject[] = [];
    try {
      for (const { fd } of entries) objects.push(os.takeObject(this.pid, fd));
      entries.forEach(({ ofs }, i) => {
        if (ofs + bytes > objects[i]!.size)
          throw new NetmapError(
            'EFAULT',
            `Cannot enable CSB: ${bytes} bytes do not fit behind offset ${ofs}`,
          );
      });
    } catch (error) {
      for (const { fd } of objects) os.closeFd(fd);
      throw error;
    }
    this.#dropCsb();
    const [a, k] = objects as [MemoryObject, MemoryObject];
    this.#csb = { atok: { object: a, ofs: entries[0].ofs }, ktoa: { object: k, ofs: entries[1].ofs } };
    const { tx, rx, state } = this.#reply!;
    const { memory } = this.module.registry;
    const krings = [...tx, ...rx].map(({ kringOfs }) => kringOfs);
    initializeCsb(memory, memory.stateOn(state.slot), krings, this.#csb.atok, this.#csb.ktoa);
  }

  /** SYNC_KLOOP_START: resolves when the loop has been stopped. */
  async loop(task: Omit<LoopTask, 'atok' | 'ktoa'>): Promise<void> {
    if (!this.#reply) throw unregistered();
    if (!this.#csb) throw new NetmapError('EINVAL', 'Cannot start a loop: the descriptor is not in CSB mode');
    if (this.#looping)
      throw new NetmapError('EBUSY', 'Cannot start a loop: one is running on the descriptor');
    this.#looping = true;
    try {
      const proxy = await this.#worker();
      if (!this.#stopped) await proxy.loop({ ...task, ...this.#csb });
    } finally {
      this.#looping = false;
      this.#stopped = false;
    }
  }

  /** SYNC_KLOOP_STOP. @throws NetmapError ENXIO. */
  async stopLoop(): Promise<void> {
    if (!this.#reply) throw unregistered();
    this.#stopped = true;
    if (this.#looping) (await this.#worker()).stopLoop();
  }

  /** The client closes it, or is gone. */
  async close(): Promise<void> {
    const proxy = await this.#proxy?.catch(() => undefined);
    await proxy?.end();
    this.unregister();
  }

  #worker(): Promise<SyncProxy> {
    this.#proxy ??= this.module.proxies.start(this.#request!, this.#reply!);
    return this.#proxy;
  }

  #dropCsb(): void {
    if (this.#csb) for (const { object } of Object.values(this.#csb)) os.closeFd(object.fd);
    this.#csb = undefined;
  }
}

/** An address of the client's: (descriptor + 1) << 32 | offset. */
function memoryAt(address: bigint, bytes: number): { fd: number; ofs: number } {
  const fd = Number(address >> 32n) - 1;
  const ofs = Number(address & 0xffffffffn);
  if (ofs % rq.CSB_ENTRY !== 0)
    throw new NetmapError('EINVAL', `Cannot use CSB memory at offset ${ofs}: it must be a multiple of 64`);
  if (fd < 0)
    throw new NetmapError(
      'EFAULT',
      `Cannot find ${bytes} bytes of CSB memory: the address names no descriptor`,
    );
  return { fd, ofs };
}

function unregistered(): NetmapError {
  return new NetmapError('ENXIO', 'Cannot do this: the descriptor has no registration');
}
