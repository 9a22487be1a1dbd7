// A program in CSB mode, as another language would write it: it maps its region and its CSB entries, reads and
// writes nothing else, and never syncs.

import * as abi from '../src/abi/netmap.ts';
import * as rq from '../src/abi/requests.ts';
import { type DataPlane, instantiate } from '../src/dataplane/dataplane.ts';
import { Arena } from '../src/mem/arena.ts';
import { type MemoryObject, os } from '../src/os/index.ts';

/** Where the core's CSB entries lie in the object, behind the application's; and its size. */
export const CSB_KTOA = 4096;
export const CSB_BYTES = 65536;
const TX = 0;
const RX = rq.CSB_ENTRY;

let arena: Arena | undefined;

export class CsbProgram {
  readonly #dataPlane: DataPlane;
  readonly #words: Int32Array;
  readonly #view: DataView;
  readonly #bytes: Uint8Array;
  readonly #csb: number;
  readonly #tx: number;
  readonly #rx: number;
  readonly #object: MemoryObject;
  #txHead = 0;
  #rxHead = 0;

  constructor(region: MemoryObject, csb: MemoryObject, nifpOfs: number) {
    arena ??= Arena.create();
    this.#dataPlane = instantiate(arena);
    this.#object = region;
    this.#words = arena.words;
    this.#view = arena.view;
    this.#bytes = arena.bytes;
    const base = arena.mapOwn(region.fd, region.ino, region.size).address;
    this.#csb = arena.mapOwn(csb.fd, csb.ino, csb.size).address;
    const nifp = base + nifpOfs;
    const rings = this.#view.getUint32(nifp + abi.IF_TX_RINGS, true) + 1;
    this.#tx = nifp + Number(this.#view.getBigInt64(nifp + abi.IF_RING_OFS, true));
    this.#rx = nifp + Number(this.#view.getBigInt64(nifp + abi.IF_RING_OFS + 8 * rings, true));
  }

  /** Sends up to `count` frames, as there is room. */
  send(count: number, frameOf: (nth: number) => Uint8Array): number {
    const slots = this.#view.getUint32(this.#tx + abi.RING_NUM_SLOTS, true);
    const tail = this.#core(TX, rq.CSB_HWTAIL);
    let sent = 0;
    for (; sent < count && this.#txHead !== tail; sent++) {
      const slot = this.#tx + abi.RING_SLOTS + this.#txHead * abi.SLOT_SIZE;
      const bytes = frameOf(sent);
      this.#bytes.set(bytes, this.#buffer(this.#tx, slot));
      this.#view.setUint16(slot + abi.SLOT_LEN, bytes.length, true);
      this.#view.setUint16(slot + abi.SLOT_FLAGS, 0, true);
      this.#txHead = (this.#txHead + 1) % slots;
    }
    this.#publish(TX, this.#txHead);
    return sent;
  }

  /** Puts a frame into every buffer of the TX ring, for sendPrepared(). */
  prepare(frame: Uint8Array): void {
    const slots = this.#view.getUint32(this.#tx + abi.RING_NUM_SLOTS, true);
    for (let i = 0; i < slots; i++)
      this.#bytes.set(frame, this.#buffer(this.#tx, this.#tx + abi.RING_SLOTS + i * abi.SLOT_SIZE));
  }

  /** Sends what prepare() has put there: only lengths are written. */
  sendPrepared(most: number, length: number): number {
    const slots = this.#view.getUint32(this.#tx + abi.RING_NUM_SLOTS, true);
    const space = (this.#core(TX, rq.CSB_HWTAIL) - this.#txHead + slots) % slots;
    const count = Math.min(most, space);
    if (count === 0) return 0;
    this.#dataPlane.fillLengths(this.#tx, this.#txHead, count, length);
    this.#txHead = (this.#txHead + count) % slots;
    this.#publish(TX, this.#txHead);
    return count;
  }

  receive(): Uint8Array[] {
    const slots = this.#view.getUint32(this.#rx + abi.RING_NUM_SLOTS, true);
    const tail = this.#core(RX, rq.CSB_HWTAIL);
    const frames: Uint8Array[] = [];
    for (; this.#rxHead !== tail; this.#rxHead = (this.#rxHead + 1) % slots) {
      const slot = this.#rx + abi.RING_SLOTS + this.#rxHead * abi.SLOT_SIZE;
      const ofs = this.#buffer(this.#rx, slot);
      frames.push(this.#bytes.slice(ofs, ofs + this.#view.getUint16(slot + abi.SLOT_LEN, true)));
    }
    this.#publish(RX, this.#rxHead);
    return frames;
  }

  get txNeedsKick(): boolean {
    return this.#core(TX, rq.CSB_KERN_NEED_KICK) !== 0;
  }

  get rxNeedsKick(): boolean {
    return this.#core(RX, rq.CSB_KERN_NEED_KICK) !== 0;
  }

  close(): void {
    os.closeFd(this.#object.fd);
  }

  #buffer(ring: number, slot: number): number {
    const index = this.#view.getUint32(slot + abi.SLOT_BUF_IDX, true);
    const size = this.#view.getUint32(ring + abi.RING_BUF_SIZE, true);
    return ring + Number(this.#view.getBigInt64(ring + abi.RING_BUF_OFS, true)) + index * size;
  }

  #core(lane: number, field: number): number {
    return Atomics.load(this.#words, (this.#csb + CSB_KTOA + lane + field) >> 2);
  }

  /** cur before head (spec api §6.2). */
  #publish(lane: number, head: number): void {
    Atomics.store(this.#words, (this.#csb + lane + rq.CSB_CUR) >> 2, head);
    Atomics.store(this.#words, (this.#csb + lane + rq.CSB_HEAD) >> 2, head);
  }
}
