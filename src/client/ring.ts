import * as abi from '../abi/netmap.ts';
import type { Arena } from '../mem/arena.ts';

/**
 * One ring of a port, as `struct netmap_ring` lies in memory (spec api §1.2, ring rules §2).
 *
 *     [0 ........ head ############ tail ....... numSlots)     # slots and buffers are the application's
 *
 * TX: fill slots from `head` on, then publish(); they go out with the next txSync().
 * RX: read slots from `head` to `tail`, then publish(); they are given back with the next rxSync().
 *
 * Accessors take slot numbers and return numbers: no allocation.  What others may write (tail, slots) is
 * checked when it is read.
 */
export class Ring {
  /** Index within its direction. */
  readonly ringId: number;
  readonly numSlots: number;
  /** Capacity of a buffer in bytes. */
  readonly bufSize: number;
  /** Buffers in the ring's memory region; indices from 2 up to this are good. */
  readonly bufCount: number;
  /** Slots say where in their buffers packets start (option OFFSETS): offset() and frameOfs() count, not bufferOfs(). */
  readonly hasOffsets: boolean;
  /** Where the ring lies in the arena: what the data plane's frame loops take. */
  readonly address: number;
  /** The private half of it. */
  readonly kring: number;
  /** Memory that `bufferOfs()` speaks of. */
  readonly bytes: Uint8Array;
  readonly #view: DataView;
  readonly #words: Int32Array;
  readonly #slots: number;
  readonly #bufs: number;
  readonly #offsetMask: bigint;

  constructor(
    arena: Arena,
    address: number,
    kring: number,
    bufs: { address: number; size: number; count: number },
    ringId: number,
    numSlots: number,
  ) {
    this.address = address;
    this.kring = kring;
    this.bytes = arena.bytes;
    this.#view = arena.view;
    this.#words = arena.words;
    this.#slots = address + abi.RING_SLOTS;
    this.#bufs = bufs.address;
    // As the module says: the ring itself may say something else, if others have it mapped who are not trusted.
    this.ringId = ringId;
    this.numSlots = numSlots;
    this.bufSize = bufs.size;
    this.bufCount = bufs.count;
    this.#offsetMask = this.#view.getBigUint64(address + abi.RING_OFFSET_MASK, true);
    this.hasOffsets = this.#offsetMask !== 0n;
  }

  /** First slot that the application owns. */
  get head(): number {
    return this.#index(abi.RING_HEAD);
  }

  /** Wake-up point: poll reports the ring ready while `cur != tail`. */
  get cur(): number {
    return this.#index(abi.RING_CUR);
  }

  /** First slot that the application does not own. */
  get tail(): number {
    return this.#index(abi.RING_TAIL);
  }

  /** Slots in [head, tail): room to send, or frames received. */
  get space(): number {
    const space = this.tail - this.head;
    return space < 0 ? space + this.numSlots : space;
  }

  get empty(): boolean {
    return this.head === this.tail;
  }

  /** TX: something that was sent has not come back yet. */
  get pending(): boolean {
    return this.next(this.tail) !== this.head;
  }

  /** Time of the last rxSync, in microseconds since 1970. */
  get timestampUs(): number {
    const at = this.address + abi.RING_TS;
    return Number(this.#view.getBigInt64(at, true)) * 1e6 + Number(this.#view.getBigInt64(at + 8, true));
  }

  /** NR_FORWARD: slots given back marked NS_FORWARD go to the other side, between a NIC and its host. */
  get forwards(): boolean {
    return (this.#view.getUint32(this.address + abi.RING_FLAGS, true) & abi.NR_FORWARD) !== 0;
  }

  set forwards(on: boolean) {
    const flags = this.#view.getUint32(this.address + abi.RING_FLAGS, true);
    const changed = on ? flags | abi.NR_FORWARD : flags & ~abi.NR_FORWARD;
    this.#view.setUint32(this.address + abi.RING_FLAGS, changed, true);
  }

  next(slot: number): number {
    return slot + 1 === this.numSlots ? 0 : slot + 1;
  }

  /** The slot `count` slots after `slot`. */
  after(slot: number, count: number): number {
    return (slot + count) % this.numSlots;
  }

  len(slot: number): number {
    return this.#view.getUint16(this.#slots + slot * abi.SLOT_SIZE + abi.SLOT_LEN, true);
  }

  setLen(slot: number, bytes: number): void {
    this.#view.setUint16(this.#slots + slot * abi.SLOT_SIZE + abi.SLOT_LEN, bytes, true);
  }

  /** NS_* bits; on RX slots of VALE ports the high byte is the number of slots of the packet. */
  flags(slot: number): number {
    return this.#view.getUint16(this.#slots + slot * abi.SLOT_SIZE + abi.SLOT_FLAGS, true);
  }

  setFlags(slot: number, flags: number): void {
    this.#view.setUint16(this.#slots + slot * abi.SLOT_SIZE + abi.SLOT_FLAGS, flags, true);
  }

  bufIdx(slot: number): number {
    return this.#view.getUint32(this.#slots + slot * abi.SLOT_SIZE + abi.SLOT_BUF_IDX, true);
  }

  /** Puts another buffer of the same region into a slot; sets NS_BUF_CHANGED. */
  setBufIdx(slot: number, index: number): void {
    this.#view.setUint32(this.#slots + slot * abi.SLOT_SIZE + abi.SLOT_BUF_IDX, index, true);
    this.setFlags(slot, this.flags(slot) | abi.NS_BUF_CHANGED);
  }

  /** Where a slot's buffer starts in `bytes`; a bad index stands for buffer 0. */
  bufferOfs(slot: number): number {
    return this.bufferOfsOf(this.bufIdx(slot));
  }

  /** The same for a buffer's index. */
  bufferOfsOf(index: number): number {
    return this.#bufs + (index < this.bufCount ? index : 0) * this.bufSize;
  }

  /** Bytes between the start of a slot's buffer and its packet; 0 on rings without offsets. */
  offset(slot: number): number {
    if (!this.hasOffsets) return 0;
    const ptr = this.#view.getBigUint64(this.#slots + slot * abi.SLOT_SIZE + abi.SLOT_PTR, true);
    const offset = ptr & this.#offsetMask;
    return offset > this.bufSize ? this.bufSize : Number(offset);
  }

  /** Says where the packet starts; what is beyond the limit given at open counts as the limit. */
  setOffset(slot: number, bytes: number): void {
    const at = this.#slots + slot * abi.SLOT_SIZE + abi.SLOT_PTR;
    const rest = this.#view.getBigUint64(at, true) & ~this.#offsetMask;
    this.#view.setBigUint64(at, BigInt.asUintN(64, rest | (BigInt(bytes) & this.#offsetMask)), true);
  }

  /** Where a slot's packet starts in `bytes`. */
  frameOfs(slot: number): number {
    return this.bufferOfs(slot) + this.offset(slot);
  }

  /**
   * The frame in a slot, as a view of shared memory.  Borrowed: until the slot is published.  Allocates a
   * view object; loops that must not do so use bufferOfs() and len().
   */
  frame(slot: number): Uint8Array {
    const offset = this.offset(slot);
    const ofs = this.bufferOfs(slot) + offset;
    return this.bytes.subarray(ofs, ofs + Math.min(this.len(slot), this.bufSize - offset));
  }

  /** A slot's whole buffer, borrowed like frame(). */
  buffer(slot: number): Uint8Array {
    const ofs = this.bufferOfs(slot);
    return this.bytes.subarray(ofs, ofs + this.bufSize);
  }

  /** Copies a frame of at most bufSize bytes, less the offset, into a slot and sets its length. */
  put(slot: number, frame: Uint8Array): void {
    const offset = this.offset(slot);
    if (frame.length > this.bufSize - offset)
      throw new RangeError(`frame of ${frame.length} bytes, buffers have ${this.bufSize - offset}`);
    this.bytes.set(frame, this.bufferOfs(slot) + offset);
    this.setLen(slot, frame.length);
    this.setFlags(slot, 0);
  }

  /** Gives up the slots before `head`: moves head and cur there. */
  publish(head: number): void {
    this.#view.setUint32(this.address + abi.RING_CUR, head, true);
    Atomics.store(this.#words, (this.address + abi.RING_HEAD) >> 2, head);
  }

  /** Moves cur alone, up to tail: asks poll for more than is there now. */
  setCur(cur: number): void {
    this.#view.setUint32(this.address + abi.RING_CUR, cur, true);
  }

  #index(ofs: number): number {
    const value = Atomics.load(this.#words, (this.address + ofs) >> 2);
    return value >= 0 && value < this.numSlots ? value : 0;
  }
}
