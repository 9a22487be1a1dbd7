// Syncs of a port's rings that run in this process, in the data plane that it has loaded; isolated.ts is their counterpart.

import * as st from '../abi/state.ts';
import type { DataPlane } from '../dataplane/dataplane.ts';
import type { RegisterReply } from '../protocol/messages.ts';
import { mapPeers } from './peers.ts';
import type { Queues } from './queues.ts';
import type { Ring } from './ring.ts';
import type { Runtime } from './runtime.ts';

/** How a port has its rings synced; answers are SYNC_* bits. */
export interface Syncs {
  /** @param kicks  of a NIC: most times that the kernel is told to send */
  tx(ring: Ring, kicks?: number): number;
  rx(ring: Ring): number;
  /** Drop counters of a TX ring, by reason. */
  drops(ring: Ring): readonly number[];
}

type Kind = RegisterReply['kind'];
/** What a sync of one ring is called with; which function that is depends on the kind of port. */
type Sync = (state: number, kring: number, token: number, stateSlot: number) => number;

const nothing: Sync = () => 0;

const SYNCS: Readonly<Record<Kind | 'packet', (dataPlane: DataPlane) => readonly [tx: Sync, rx: Sync]>> = {
  vale: ({ valeTxSync, valeRxSync }) => [valeTxSync, valeRxSync],
  pipe: ({ pipeTxSync, pipeRxSync }) => [pipeTxSync, pipeRxSync],
  lookup: ({ lookupTxSync, valeRxSync }) => [lookupTxSync, valeRxSync],
  nic: ({ nicTxSync, nicRxSync }) => [nicTxSync, nicRxSync],
  packet: ({ packetTxSync, packetRxSync }) => [packetTxSync, packetRxSync],
  null: () => [nothing, nothing],
  monitor: ({ valeRxSync }) => [() => st.SYNC_ERROR, valeRxSync], // Its ring is filled as a switch port's is.
};

export class DirectSyncs implements Syncs {
  readonly #runtime: Runtime;
  /** Where the private state is mapped, and the slot that it has in every process's tables. */
  readonly #state: number;
  readonly #stateSlot: number;
  readonly #tx: Sync;
  readonly #rx: Sync;
  readonly #nic: NicRings | undefined;

  /** @param nic  of a network interface: what its rings need besides */
  constructor(runtime: Runtime, kind: Kind, state: number, stateSlot: number, nic: NicRings | undefined) {
    this.#runtime = runtime;
    this.#state = state;
    this.#stateSlot = stateSlot;
    [this.#tx, this.#rx] = SYNCS[nic?.emulated ? 'packet' : kind](runtime.dataPlane);
    this.#nic = nic;
  }

  tx(ring: Ring, kicks?: number): number {
    let answer = this.#transmit(ring.kring);
    // The switch may change again while we look; whoever changes it for ever only gets itself more work.
    while (answer & (st.SYNC_REMAP | st.SYNC_LOOKUP)) {
      if (answer & st.SYNC_REMAP) mapPeers(this.#runtime.arena, this.#state, this.#stateSlot);
      else this.#runtime.lookups.load(this.#state, this.#stateSlot);
      answer = this.#transmit(ring.kring);
    }
    if (answer & st.SYNC_RING_BELLS) this.#runtime.bells.ringCollected();
    if (answer & st.SYNC_KICK) answer = this.#kick(ring, kicks);
    return answer;
  }

  rx(ring: Ring): number {
    if (this.#nic) {
      const all = this.#runtime.arena.view.getUint32(ring.kring + st.KR_FORWARDS, true) !== 0;
      if (all || ring.forwards) this.#forward(ring, this.#nic, all);
    }
    let answer = this.#rx(this.#state, ring.kring, this.#runtime.token, this.#stateSlot);
    while (answer & st.SYNC_FETCH) {
      const { arena, dataPlane } = this.#runtime;
      const length = this.#nic!.queues.receive(ring.ringId, arena.scratch + st.SC_LONG, st.LONG_SIZE);
      answer = dataPlane.packetFetched(ring.kring, length);
    }
    if (answer & st.SYNC_RING_BELLS) this.#runtime.bells.ringCollected();
    if (answer & st.SYNC_KICK) this.#nic!.queues.tell(ring.ringId, () => false);
    return answer;
  }

  drops(ring: Ring): readonly number[] {
    const { view } = this.#runtime.arena;
    return Array.from({ length: st.DROP_REASONS }, (_, reason) =>
      Number(view.getBigUint64(ring.kring + st.KR_DROPS + 8 * reason, true)),
    );
  }

  #transmit(kring: number): number {
    const { token, lookups } = this.#runtime;
    try {
      return this.#tx(this.#state, kring, token, this.#stateSlot);
    } catch (error) {
      return lookups.resume(error, this.#stateSlot); // Out of a lookup, the only thing there that can throw.
    }
  }

  /** What the kernel has sent comes back at once where it can. */
  #kick(ring: Ring, kicks: number | undefined): number {
    let answer = st.SYNC_KICK;
    const unsent = () => {
      answer = this.#transmit(ring.kring);
      return (answer & st.SYNC_KICK) !== 0;
    };
    this.#nic!.queues.tell(ring.ringId, unsent, kicks);
    return answer;
  }

  /**
   * Transparent mode (NR_FORWARD): frames given back marked NS_FORWARD go up to the host from NIC rings, out of the NIC
   * from host rings; the latter only if all of the NIC's TX rings are this opening's (spec api §2.9).
   * @param all  marked or not (parameter fwd)
   */
  #forward(ring: Ring, { txRings, nicRings }: NicRings, all: boolean): void {
    const isHost = ({ ringId }: Ring) => ringId >= nicRings;
    const fromHost = isHost(ring);
    const targets = txRings.filter((target) => isHost(target) !== fromHost);
    if (fromHost && targets.length < nicRings) return;
    for (const target of targets) {
      const { head, space } = target;
      const { dataPlane } = this.#runtime;
      const filled = dataPlane.forwardSlots(ring.kring, ring.head, target.kring, head, space, all);
      if (filled === 0) continue;
      target.publish(target.after(head, filled));
      this.tx(target);
      if (filled < space) return;
    }
  }
}

/** What syncs of a network interface's rings need. */
export interface NicRings {
  queues: Queues;
  /** Bound TX rings. */
  txRings: readonly Ring[];
  /** How many the NIC has each way; host rings have the numbers behind. */
  nicRings: number;
  /** Its frames come and go by packet sockets. */
  emulated: boolean;
}
