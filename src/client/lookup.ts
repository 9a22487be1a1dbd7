// A switch's own lookup (spec ports §1.17): what decides where its frames go, in place of the learning table.
//
//   setLookup()    a WebAssembly function, called for each packet inside every sender
//   openLookup()   a TypeScript function in this process, which all frames of the switch come to first
//
// Both answer with the index of a port (see locatePort()), or with NM_BDG_BROADCAST, NM_BDG_NOPORT to drop it,
// LOOKUP_AS_LEARNED; answerFor() names a ring as well.  Both can name further ones for a packet, by `sendAlso`.

import { os } from '../os/index.ts';
import { runtimeDirectory } from '../protocol/directory.ts';
import type { Reply } from '../protocol/messages.ts';
import { LookupBatch } from './lookup-batch.ts';
import { poll } from './poll.ts';
import { Port } from './port.ts';
import { runtimeFor } from './runtime.ts';
import { ask, type Where } from './vale.ts';

export { LOOKUP_AS_LEARNED } from '../abi/state.ts';
export { LookupBatch } from './lookup-batch.ts';

/** What decides on a switch: the learning table, or a lookup and its label; not alive: its process is gone. */
export type Lookup = Reply<'valeLookupGet'>;

export interface LookupOptions extends Where {
  /** What it is listed as, up to 63 characters. */
  label?: string;
}

/**
 * Has a WebAssembly module decide where a switch's packets go: its export `lookup(8 x i64, i32, i32) -> i32` gets the
 * first 64 bytes of each (zeros behind a shorter one), length and source port.  A configuration is written to where its
 * global `config` points.
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

/**
 * Writes a packet's destination into `batch.answers` for each packet, and further ones by `batch.sendAlso()`; what it
 * leaves alone is dropped.
 */
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
    this.#batch = new LookupBatch(port.rxRings[0]!, port.runtime.arena.scratch);
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
    const slots = Math.min(rx.space, this.port.txRings[0]!.space);
    if (slots === 0) return 0;
    const batch = this.#batch;
    batch.collect(rx.head, slots);
    try {
      this.#decide(batch);
    } catch (error) {
      this.faults++;
      this.lastError = error;
      batch.refuse();
    }
    for (let packet = 0; packet < batch.count; ) packet = this.#send(packet);
    return batch.count;
  }

  /** Sends packets from that one on, as many as can be told their destinations at a time. @returns the first left */
  #send(packet: number): number {
    const rx = this.port.rxRings[0]!;
    const tx = this.port.txRings[0]!;
    const { head } = rx;
    const out = tx.head;
    const { after, slots } = this.#batch.fitting(packet);
    const { dataPlane } = this.port.runtime;
    dataPlane.moveSlots(rx.address, head, rx.bufCount, tx.address, out, tx.bufCount, slots, true);
    this.#batch.answerInto(tx, out, packet, slots);
    tx.publish(tx.after(out, slots));
    this.port.txSync();
    rx.publish(rx.after(head, slots));
    this.port.rxSync();
    return after;
  }
}
