// An open port: its rings, its syncs, its end.

import { NetmapError } from '../abi/errors.ts';
import * as abi from '../abi/netmap.ts';
import * as st from '../abi/state.ts';
import type { Mapping } from '../mem/arena.ts';
import { os } from '../os/index.ts';
import type { RegisterReply } from '../protocol/messages.ts';
import type { IsolatedSyncs } from './isolated.ts';
import { mapPeers } from './peers.ts';
import { endSleeper, POLLERR, type PollOptions, pollAsync, wakeSleepers } from './poll.ts';
import { type LentQueues, Queues, type WaitFd } from './queues.ts';
import { Ring } from './ring.ts';
import { lentRuntime, type Runtime } from './runtime.ts';
import { DirectSyncs, type Syncs } from './syncs.ts';

/** A port as it goes to another thread of the process (structured clone). See Port.share(). */
export interface SharedPort {
  readonly memory: WebAssembly.Memory;
  readonly system: number;
  readonly token: number;
  readonly name: string;
  readonly reply: RegisterReply;
  readonly region: Mapping;
  readonly state: Mapping;
  /** Of a NIC. */
  readonly queues: LentQueues | undefined;
}

export class Port implements Disposable {
  /** As the core knows it, without `netmap:` and suffixes. */
  readonly name: string;
  /** Bound TX rings, in order. */
  readonly txRings: readonly Ring[];
  /** Bound RX rings, in order. */
  readonly rxRings: readonly Ring[];
  /** nr_mem_id: ports of equal id share buffers, which may be swapped between them. */
  readonly memId: number;
  /** Bytes of the region. */
  readonly memSize: number;
  /** Set where the module runs the syncs; for poll(). */
  readonly isolated: IsolatedSyncs | undefined;
  readonly #runtime: Runtime;
  readonly #reply: RegisterReply;
  readonly #region: Mapping;
  readonly #state: Mapping;
  /** Descriptors of region and state: through them a later module, and peers, find the memory. */
  readonly #fds: readonly number[];
  readonly #queues: Queues | undefined;
  /** Whether the kernel tells that something has come: its frames come from, and go to, the kernel's own rings. */
  readonly wokenByKernel: boolean;
  /** Whether a thread of the module moves what comes and goes: without it nothing does, see checkServer(). */
  readonly served: boolean;
  readonly #syncs: Syncs;
  #closed = false;

  /** Not for applications: see open() and attach(). */
  constructor(
    runtime: Runtime,
    name: string,
    reply: RegisterReply,
    region: Mapping,
    state: Mapping,
    fds: readonly number[],
    { queues, isolated }: { queues?: Queues | undefined; isolated?: IsolatedSyncs } = {},
  ) {
    this.isolated = isolated;
    this.name = name;
    this.memId = reply.memId;
    this.memSize = reply.memSize;
    this.#runtime = runtime;
    this.#reply = reply;
    this.#region = region;
    this.#state = state;
    this.#fds = fds;
    this.#queues = queues;
    this.wokenByKernel = queues?.byKernel ?? false;
    this.served = queues !== undefined && !this.wokenByKernel;
    const { bufs } = reply.region;
    const shown = { address: region.address + bufs.ofs, size: bufs.size, count: bufs.count };
    const ring = (slots: number) => (place: { index: number; ringOfs: number; kringOfs: number }) => {
      const [address, kring] = [region.address + place.ringOfs, state.address + place.kringOfs];
      return new Ring(runtime.arena, address, kring, shown, place.index, slots);
    };
    this.txRings = reply.tx.map(ring(reply.txSlots));
    this.rxRings = reply.rx.map(ring(reply.rxSlots));
    const { txRings } = this;
    const emulated = reply.nic?.mode === 'emulated';
    const nic = queues && { queues, txRings, nicRings: reply.txRings, emulated };
    this.#syncs = isolated ?? new DirectSyncs(runtime, reply.kind, state.address, reply.state.slot, nic);
  }

  /** Maps what a registration was given, and commits its rings and buffers. */
  static map(runtime: Runtime, name: string, reply: RegisterReply): Port {
    const { arena } = runtime;
    const region = os.openObject(reply.region.ref);
    const state = os.openObject(reply.state.ref);
    const regionMapping = arena.mapOwn(region.fd, region.ino, region.size, reply.region.slot);
    const stateMapping = arena.mapOwn(state.fd, state.ino, state.size);
    const module = runtime.connection!.hello!.pid;
    const queues = reply.kind === 'nic' ? Queues.take(arena, reply, module) : undefined;
    const fds = [region.fd, state.fd];
    const port = new Port(runtime, name, reply, regionMapping, stateMapping, fds, { queues });
    port.#populate();
    if (reply.kind !== 'pipe' && reply.kind !== 'nic') port.#showOwner(region.fd);
    if (reply.kind === 'vale' || reply.kind === 'lookup') {
      mapPeers(arena, stateMapping.address, reply.state.slot); // Now, rather than at the first frame.
    }
    return port;
  }

  /** The port as another thread of this process sees it, from what share() gave. */
  static attach(shared: SharedPort): Port {
    const runtime = lentRuntime(shared.memory, shared.system, shared.token);
    const queues = shared.queues && Queues.lent(runtime.arena, shared.queues);
    return new Port(runtime, shared.name, shared.reply, shared.region, shared.state, [], { queues });
  }

  /** Extra buffers granted at open. */
  get extraBufs(): number {
    return this.#reply.extraBufs;
  }

  /** The farthest offset that slots may say; undefined where offsets were not asked for. */
  get maxOffset(): number | undefined {
    return this.#reply.maxOffset;
  }

  /** First extra buffer, 0 if there is none; each holds the index of the next in its first word (spec api §1.6). */
  get bufsHead(): number {
    return this.#runtime.arena.view.getUint32(this.#ifAddress + abi.IF_BUFS_HEAD, true);
  }

  set bufsHead(index: number) {
    this.#runtime.arena.view.setUint32(this.#ifAddress + abi.IF_BUFS_HEAD, index, true);
  }

  /** The whole region as bytes: netmap_if at `nifpOfs`, rings, buffers. Valid until the port is closed. */
  get memory(): Uint8Array {
    return this.#runtime.arena.bytes.subarray(this.#region.address, this.#region.address + this.#region.size);
  }

  /** A file by which other programs can map the region, as long as this port is open. */
  get regionFile(): { path: string; size: number } {
    return { path: os.objectPath(this.#fds[0]!), size: this.#region.size };
  }

  /** nr_offset: where this opening's netmap_if is in `memory`. */
  get nifpOfs(): number {
    return this.#reply.ifOfs;
  }

  /** Of a network interface: how its frames are taken, and why not better. */
  get nic(): { mode: 'native' | 'generic' | 'emulated'; why: string } | undefined {
    return this.#reply.nic;
  }

  /** Whole port's sizes, as PORT_INFO_GET tells them. */
  get info(): Pick<
    RegisterReply,
    'txRings' | 'rxRings' | 'hostTxRings' | 'hostRxRings' | 'txSlots' | 'rxSlots'
  > {
    const { txRings, rxRings, hostTxRings, hostRxRings, txSlots, rxSlots } = this.#reply;
    return { txRings, rxRings, hostTxRings, hostRxRings, txSlots, rxSlots };
  }

  /**
   * Why nothing moves on its rings any more, and never will: its interface is gone, or is not as it was when it was
   * opened; what it watched is closed.  Undefined while all is well, and of an isolated port.
   */
  get dead(): string | undefined {
    const ring = this.rxRings[0] ?? this.txRings[0];
    if (!ring || this.isolated) return undefined;
    const why = this.#runtime.arena.view.getUint32(ring.kring + st.KR_ORPHAN, true);
    return why === 0 ? undefined : st.ORPHAN_REASONS[why];
  }

  /** For the data plane's own frame loops; applications have no business here. */
  get runtime(): Runtime {
    return this.#runtime;
  }

  /**
   * NIOCTXSYNC: sends what lies before head on every bound TX ring.  Never blocks.  A ring that the
   * application has broken is reset (spec api §2.4); one that another thread is syncing is passed over.
   * @returns SYNC_REINIT bits of the rings, 0 when all is well
   */
  txSync(): number {
    let answer = 0;
    for (const ring of this.txRings) answer |= this.txSyncRing(ring);
    return answer & st.SYNC_REINIT;
  }

  /** NIOCRXSYNC: gives back what lies before head on every bound RX ring, and shows what has arrived. */
  rxSync(): number {
    let answer = 0;
    for (const ring of this.rxRings) answer |= this.rxSyncRing(ring);
    return answer & st.SYNC_REINIT;
  }

  /**
   * The same for one ring.
   * @param kicks  of a NIC: most times that the kernel is told to send, should it not take all at once
   * @returns SYNC_* bits
   */
  txSyncRing(ring: Ring, kicks?: number): number {
    return this.#syncs.tx(ring, kicks);
  }

  rxSyncRing(ring: Ring): number {
    return this.#syncs.rx(ring);
  }

  /** If the module that serves the queues is gone, every sync answers an error from now on. */
  checkServer(): void {
    if (!this.#queues?.deserted) return;
    const { view } = this.#runtime.arena;
    for (const { kring } of [...this.txRings, ...this.rxRings])
      view.setUint32(kring + st.KR_ORPHAN, st.ORPHAN_SERVER, true);
  }

  /** Descriptors that become readable, or writable, when the rings of a NIC are to be looked at. */
  waitFds(events: 'in' | 'out' | 'both'): readonly WaitFd[] {
    if (!this.wokenByKernel) return [];
    return this.#queues?.waitFds(this.waitsByClock ? [] : this.txRings, this.rxRings, events) ?? [];
  }

  /** A packet socket is always writable: room in its ring is looked for by the clock. */
  get waitsByClock(): boolean {
    return this.#reply.nic?.mode === 'emulated';
  }

  /** Stamps the RX rings with the time of day, as netmap does at each sync; poll does it, bare syncs need not. */
  stamp(): void {
    const now = Date.now();
    const { view } = this.#runtime.arena;
    for (const ring of this.rxRings) {
      view.setBigInt64(ring.address + abi.RING_TS, BigInt(Math.floor(now / 1000)), true);
      view.setBigInt64(ring.address + abi.RING_TS + 8, BigInt((now % 1000) * 1000), true);
    }
  }

  /**
   * Resolves once an RX ring has frames.
   * @throws the signal's reason when aborted; NetmapError EIO: there will be none any more
   */
  async readable(options: PollOptions = {}): Promise<void> {
    await this.#awaits('in', options);
  }

  /** Resolves once a TX ring has room. @throws as readable() does. */
  async writable(options: PollOptions = {}): Promise<void> {
    await this.#awaits('out', options);
  }

  async #awaits(events: 'in' | 'out', options: PollOptions): Promise<void> {
    const target = { port: this, events, revents: 0 };
    await pollAsync([target], options);
    if (target.revents !== POLLERR) return;
    const dead =
      events === 'in'
        ? this.rxRings.some((ring) => this.rxSyncRing(ring) & st.SYNC_ERROR)
        : this.txRings.some((ring) => this.txSyncRing(ring) & st.SYNC_ERROR);
    if (!dead) return; // A ring was broken, and has been reset.
    const why = this.isolated?.gone
      ? 'the module that ran its syncs is gone'
      : (this.dead ??
        (this.#reply.kind === 'nic'
          ? 'its interface is gone, or is not as it was when it was opened'
          : 'what it watched is closed'));
    throw new NetmapError('EIO', `Cannot wait for "${this.name}": ${why}; close it and open it again`);
  }

  /**
   * Received frames as they come, a ring at a time: what lies in [head, tail) is the loop body's, which calls
   * publish() for what it is done with.  Ends when the port is closed or the signal aborts.
   */
  async *batches({ signal }: { signal?: AbortSignal } = {}): AsyncGenerator<Ring, void, undefined> {
    while (!this.#closed && !signal?.aborted) {
      try {
        await this.readable(signal ? { signal } : {});
      } catch (error) {
        if (signal?.aborted || this.#closed) return;
        throw error;
      }
      for (const ring of this.rxRings) if (!ring.empty) yield ring;
    }
  }

  /** Drop counters of this port's TX rings by reason; reasons that never happened are left out. */
  get drops(): Record<string, number> {
    const drops: Record<string, number> = {};
    for (const ring of this.txRings) {
      const counts = this.#syncs.drops(ring);
      st.DROP_NAMES.forEach((name, reason) => {
        if (counts[reason]! > 0) drops[name] = (drops[name] ?? 0) + counts[reason]!;
      });
    }
    return drops;
  }

  /**
   * What a worker needs to use the port, or one ring each way of it: post it, then Port.attach() it there.
   * Workers sharing one ring take turns; the port is closed here, when they are done.
   */
  share(ringId?: number): SharedPort {
    if (this.isolated)
      throw new NetmapError(
        'EOPNOTSUPP',
        `Cannot share "${this.name}" with a worker: it is isolated; open its rings one by one, each in its worker`,
      );
    const { arena, system, token } = this.#runtime;
    const chosen = <R extends { index: number }>(rings: R[]) =>
      rings.filter(({ index }) => ringId === undefined || index === ringId);
    const reply = { ...this.#reply, tx: chosen(this.#reply.tx), rx: chosen(this.#reply.rx) };
    return {
      memory: arena.memory,
      system,
      token,
      name: this.name,
      reply,
      region: this.#region,
      state: this.#state,
      queues: this.#queues?.lent,
    };
  }

  /** Gives the port back.  Frames sent before are delivered; rings must not be touched any more. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    wakeSleepers(this.isolated ?? this.#runtime);
    const ended = this.isolated && endSleeper(this.isolated) ? this.isolated.bell.fd : -1;
    const { connection, arena } = this.#runtime;
    if (!connection) return; // Lent: its owner closes it.
    this.#queues?.close();
    arena.unmapOwn(this.#region);
    arena.unmapOwn(this.#state);
    try {
      await connection.request('release', { registration: this.#reply.registration });
    } catch (error) {
      // Nothing to give back to: no module, or one that was started later and does not know the port.
      const code = error instanceof NetmapError ? error.code : '';
      if (code !== 'EPIPE' && code !== 'EINVAL') throw error;
    } finally {
      for (const fd of this.#fds) if (fd !== ended) os.closeFd(fd);
    }
  }

  [Symbol.dispose](): void {
    this.close().catch(() => {});
  }

  get closed(): boolean {
    return this.#closed;
  }

  get #ifAddress(): number {
    return this.#region.address + this.#reply.ifOfs;
  }

  #populate(): void {
    const { arena } = this.#runtime;
    const { bufs } = this.#reply.region;
    arena.populate(this.#region.address, Math.ceil(bufs.ofs / 4096) * 4096);
    let lowest = bufs.count;
    let highest = -1;
    for (const ring of [...this.txRings, ...this.rxRings]) {
      for (let slot = 0; slot < ring.numSlots; slot++) {
        const index = ring.bufIdx(slot);
        if (index >= bufs.count) continue;
        if (index < lowest) lowest = index;
        if (index > highest) highest = index;
      }
    }
    if (highest < lowest) return;
    const from = Math.floor((bufs.ofs + lowest * bufs.size) / 4096) * 4096;
    const to = Math.ceil((bufs.ofs + (highest + 1) * bufs.size) / 4096) * 4096;
    arena.populate(this.#region.address + from, to - from);
  }

  /** Where peers find the region should the module be gone. */
  #showOwner(fd: number): void {
    const { view } = this.#runtime.arena;
    const ring = this.rxRings[0] ?? this.txRings[0];
    if (!ring) return;
    const entry =
      this.#state.address + st.SW_PORTS + view.getUint32(ring.kring + st.KR_PORT, true) * st.PT_SIZE;
    view.setUint32(entry + st.PT_OWNER_PID, process.pid, true);
    view.setUint32(entry + st.PT_OWNER_FD, fd, true);
  }
}
