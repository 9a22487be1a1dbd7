// A switch's own lookup (spec ports §1.17): what decides where its frames go, in place of the learning table.
//
//   setLookup()    a WebAssembly function, called for each packet inside every sender
//   openLookup()   a TypeScript function in this process, which all frames of the switch come to first
//
// Both answer with the index of a port (see locatePort()), or with NM_BDG_BROADCAST, NM_BDG_NOPORT to drop it,
// LOOKUP_AS_LEARNED; answerFor() names a ring as well.

import {
  NM_BDG_NOPORT,
  NS_MOREFRAG,
  RING_SLOTS,
  SLOT_FLAGS,
  SLOT_LEN,
  SLOT_PTR,
  SLOT_SIZE,
} from '../abi/netmap.ts';
import { os } from '../os/index.ts';
import { runtimeDirectory } from '../protocol/directory.ts';
import type { Reply } from '../protocol/messages.ts';
import { poll } from './poll.ts';
import { Port } from './port.ts';
import type { Ring } from './ring.ts';
import { runtimeFor } from './runtime.ts';
import { ask, type Where } from './vale.ts';

export { LOOKUP_AS_LEARNED } from '../abi/state.ts';

/** What decides on a switch: the learning table, or a lookup and its label; not alive: its process is gone. */
export type Lookup = Reply<'valeLookupGet'>;

export interface LookupOptions extends Where {
  /** What it is listed as, up to 63 characters. */
  label?: string;
}

/**
 * Has a WebAssembly module decide where a switch's packets go: its export `lookup(8 x i64, i32, i32) -> i32` gets the
 * first 64 bytes of each, length and source port.  A configuration is written to where its global `config` points.
 * @throws NetmapError EINVAL: not a lookup, and why; ENXIO: no such switch; ENOMEM: larger than a megabyte.
 */
export async function setLookup(
  switchName: string,
  code: Uint8Array,
  { config = new Uint8Array(), label = '', directory }: LookupOptions & { config?: Uint8Array } = {},
): Promise<void> {
  const object = os.createObject('netmap-lookup', Math.max(1, code.length + config.length));
  try {
    os.writeObject(object.fd, Buffer.concat([code, config]));
    const source = { fd: object.fd, size: code.length, configSize: config.length };
    await ask(directory, `set the lookup of "${switchName}"`, (connection) =>
      connection.request('valeLookupSet', { name: switchName, label, code: source }),
    );
  } finally {
    os.closeFd(object.fd);
  }
}

/** Has the learning table decide again. @throws NetmapError ENXIO. */
export async function clearLookup(switchName: string, { directory }: Where = {}): Promise<void> {
  await ask(directory, `clear the lookup of "${switchName}"`, (connection) =>
    connection.request('valeLookupClear', { name: switchName }),
  );
}

/** What decides where a switch's frames go. @throws NetmapError ENXIO. */
export function getLookup(switchName: string, { directory }: Where = {}): Promise<Lookup> {
  return ask(directory, `tell the lookup of "${switchName}"`, (connection) =>
    connection.request('valeLookupGet', { name: switchName }),
  );
}

/** The answer "that ring of that port"; without a ring, the one of the sender's number. */
export function answerFor(port: number, ring?: number): number {
  return ring === undefined ? port : port | ((ring + 1) << 8);
}

/** Writes a packet's destination into `batch.answers` for each packet; what it leaves alone is dropped. */
export type LookupFunction = (batch: LookupBatch) => void;

/** Has this process decide where a switch's frames go, from now until it closes the lookup. @throws NetmapError ENOMEM, EINVAL. */
export async function openLookup(
  switchName: string,
  decide: LookupFunction,
  { label = '', directory = runtimeDirectory() }: LookupOptions = {},
): Promise<BatchLookup> {
  const runtime = await runtimeFor(`open a lookup on "${switchName}"`, directory);
  const reply = await runtime.connection!.request('valeLookupOpen', { name: switchName, label });
  try {
    return new BatchLookup(Port.map(runtime, `${switchName}:lookup`, reply), decide);
  } catch (error) {
    await runtime.connection!.request('release', { registration: reply.registration });
    throw error;
  }
}

/** Packets to decide about, in the order that they came.  Valid, like what it shows, until the function returns. */
export class LookupBatch {
  /** How many packets there are. */
  count = 0;
  /** Where each goes, for the function to fill in; NM_BDG_NOPORT before. */
  readonly answers: Uint32Array;
  /** Memory that `ofs()` speaks of. */
  readonly bytes: Uint8Array;
  readonly #ring: Ring;
  readonly #view: DataView;
  readonly #slots: number;
  readonly #first: Uint16Array;

  constructor(ring: Ring) {
    this.#ring = ring;
    this.bytes = ring.bytes;
    this.#view = new DataView(ring.bytes.buffer);
    this.#slots = ring.address + RING_SLOTS;
    this.answers = new Uint32Array(ring.numSlots);
    this.#first = new Uint16Array(ring.numSlots + 1);
  }

  /** Where a packet's first slot starts in `bytes`. */
  ofs(packet: number): number {
    return this.#ring.bufferOfs(this.#first[packet]!);
  }

  /** Bytes in its first slot: all of it, but for packets of several slots. */
  length(packet: number): number {
    const length = this.#view.getUint16(this.#slot(packet) + SLOT_LEN, true);
    return Math.min(length, this.#ring.bufSize);
  }

  /** Index of the port that sent it. */
  port(packet: number): number {
    return this.#view.getUint8(this.#slot(packet) + SLOT_PTR);
  }

  /** The ring that it was sent on. */
  ring(packet: number): number {
    return this.#view.getUint8(this.#slot(packet) + SLOT_PTR + 1);
  }

  /** The first slot as a view of shared memory: allocates, loops that must not do so use ofs() and length(). */
  frame(packet: number): Uint8Array {
    const ofs = this.ofs(packet);
    return this.bytes.subarray(ofs, ofs + this.length(packet));
  }

  /** Not for applications: finds the packets in `slots` slots from `head` on. */
  collect(head: number, slots: number): void {
    let count = 0;
    let starts = true;
    for (let slot = head, left = slots; left > 0; left--, slot = this.#ring.next(slot)) {
      if (starts) this.#first[count++] = slot;
      starts = (this.#view.getUint8(this.#slots + slot * SLOT_SIZE + SLOT_FLAGS) & NS_MOREFRAG) === 0;
    }
    this.count = count;
    this.answers.fill(NM_BDG_NOPORT, 0, count);
  }

  /** Not for applications: writes the answers into the sending ring's slots, which the packets were moved to. */
  answerInto(tx: Ring, head: number, slots: number): void {
    const to = tx.address + RING_SLOTS;
    let packet = -1;
    let starts = true;
    for (let slot = head, left = slots; left > 0; left--, slot = tx.next(slot)) {
      const at = to + slot * SLOT_SIZE;
      const flags = this.#view.getUint16(at + SLOT_FLAGS, true) & NS_MOREFRAG;
      this.#view.setUint16(at + SLOT_FLAGS, flags, true);
      if (starts) {
        packet++;
        this.#view.setUint32(at + SLOT_PTR, this.answers[packet]!, true);
        this.#view.setUint32(
          at + SLOT_PTR + 4,
          this.#view.getUint16(this.#slot(packet) + SLOT_PTR, true),
          true,
        );
      }
      starts = flags === 0;
    }
  }

  #slot(packet: number): number {
    return this.#slots + this.#first[packet]! * SLOT_SIZE;
  }
}

/** An answer that no port has: the packet is dropped and counted as the lookup's fault. */
const NONSENSE = 0xffffffff;

/** A lookup in this process: run() or turn() moves the frames of its switch. */
export class BatchLookup implements Disposable {
  /** What the frames come through. share() it, and a worker makes a BatchLookup of its own of it. */
  readonly port: Port;
  /** Batches at which the function threw; their packets were dropped. */
  faults = 0;
  /** What it threw last. */
  lastError: unknown;
  readonly #decide: LookupFunction;
  readonly #batch: LookupBatch;

  constructor(port: Port, decide: LookupFunction) {
    this.port = port;
    this.#decide = decide;
    this.#batch = new LookupBatch(port.rxRings[0]!);
  }

  /**
   * Waits for frames and sends them where the function says, blocking this thread.
   * @param timeoutMs  0 looks once, negative waits for ever
   * @returns packets decided about; 0 when the time was over
   */
  turn(timeoutMs = -1): number {
    if (timeoutMs !== 0) poll([{ port: this.port, events: 'in' }], timeoutMs);
    else this.port.rxSync();
    return this.#forward();
  }

  /** Does so whenever frames come, until the signal aborts or the lookup is closed; leaves the event loop free. */
  async run({ signal }: { signal?: AbortSignal } = {}): Promise<void> {
    for await (const _ of this.port.batches(signal ? { signal } : {})) this.#forward();
  }

  /** Packets that were not delivered after a decision, by reason. */
  get drops(): Record<string, number> {
    return this.port.drops;
  }

  /** Frames of the switch are dropped and counted from now on, until another lookup is set or it is cleared. */
  close(): Promise<void> {
    return this.port.close();
  }

  [Symbol.dispose](): void {
    this.port[Symbol.dispose]();
  }

  #forward(): number {
    const rx = this.port.rxRings[0]!;
    const tx = this.port.txRings[0]!;
    const { head } = rx;
    const slots = Math.min(rx.space, tx.space);
    if (slots === 0) return 0;
    const batch = this.#batch;
    batch.collect(head, slots);
    try {
      this.#decide(batch);
    } catch (error) {
      this.faults++;
      this.lastError = error;
      batch.answers.fill(NONSENSE, 0, batch.count);
    }
    const out = tx.head;
    const { dataPlane } = this.port.runtime;
    dataPlane.moveSlots(rx.address, head, rx.bufCount, tx.address, out, tx.bufCount, slots, true);
    batch.answerInto(tx, out, slots);
    tx.publish(tx.after(out, slots));
    this.port.txSync();
    rx.publish(rx.after(head, slots));
    this.port.rxSync();
    return batch.count;
  }
}
