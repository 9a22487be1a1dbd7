// What the fake driver's adapters are part of: a wire between two of them, and behind each a host stack that answers.
//
//   netmap <-rx-  [rx inspect]  <-- wire -->  peer            frames pass every hook that has no program
//                       |  (no program)
//                     host  -- sends -->  [tx inspect]  -- (no program) -->  wire

import { INTERFACES } from './fake-interfaces.ts';

/** Ethernet types of local experiments (IEEE 802). */
export const ECHO = 0x88b5;
/** Whoever receives it from the wire is unplugged, for good. */
export const UNPLUG = 0x88b6;
/** First byte behind the header of an ECHO frame. */
export const REQUEST = 1;
export const REPLY = 2;
/** Second byte: by which of its queues the host sends the reply. */
const BY_QUEUE = 15;

const QUEUES = 2;
const WIRE: Readonly<Record<number, number>> = { 101: 102, 102: 101 };

/** Decides of a frame at an inspecting hook: true if it is dealt with. */
type Inspect = (adapter: Adapter, direction: 'rx' | 'tx', queue: number, frame: Uint8Array) => boolean;

export class Adapter {
  readonly index: number;
  readonly mtu: number;
  readonly queues = QUEUES;
  readonly #mac: Uint8Array;
  readonly #machine: Machine;
  plugged = true;

  constructor(machine: Machine, index: number, mac: string, mtu: number) {
    this.#machine = machine;
    this.index = index;
    this.mtu = mtu;
    this.#mac = Uint8Array.from(mac.split(':'), (byte) => Number.parseInt(byte, 16));
  }

  /** Out on the wire: the other adapter has it. */
  send(frame: Uint8Array, queue: number): void {
    const peer = this.#machine.adapters.get(WIRE[this.index] ?? 0);
    if (!this.plugged || !peer?.plugged) return;
    if (typeOf(frame) === UNPLUG) {
      peer.plugged = false;
      this.#machine.unplugged(peer);
      return;
    }
    if (!this.#machine.inspect(peer, 'rx', queue % peer.queues, frame)) peer.up(frame);
  }

  /** Up to the host stack, which answers what asks for it. */
  up(frame: Uint8Array): void {
    const forUs = this.#mac.every((byte, i) => frame[i] === byte);
    if (!forUs || typeOf(frame) !== ECHO || frame[14] !== REQUEST) return;
    const reply = frame.slice();
    reply.set(frame.subarray(6, 12), 0);
    reply.set(this.#mac, 6);
    reply[14] = REPLY;
    const queue = reply[BY_QUEUE]! % this.queues;
    if (!this.#machine.inspect(this, 'tx', queue, reply)) this.send(reply, queue);
  }
}

export class Machine {
  readonly adapters: ReadonlyMap<number, Adapter>;
  readonly inspect: Inspect;
  readonly unplugged: (adapter: Adapter) => void;

  constructor(inspect: Inspect, unplugged: (adapter: Adapter) => void) {
    this.inspect = inspect;
    this.unplugged = unplugged;
    this.adapters = new Map(
      INTERFACES.map(({ index, mac, mtu }) => [index, new Adapter(this, index, mac, mtu)]),
    );
  }
}

function typeOf(frame: Uint8Array): number {
  return (frame[12]! << 8) | frame[13]!;
}
