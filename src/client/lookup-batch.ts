// What a TypeScript lookup decides about, and what it says: see lookup.ts.

import {
  NM_BDG_MAXPORTS,
  NM_BDG_NOPORT,
  NS_MOREFRAG,
  RING_SLOTS,
  SLOT_FLAGS,
  SLOT_LEN,
  SLOT_PTR,
  SLOT_SIZE,
} from '../abi/netmap.ts';
import { FURTHER_WORDS, SC_FURTHER } from '../abi/state.ts';
import type { Ring } from './ring.ts';

/** An answer that no port has. */
const NONSENSE = 0xffffffff;
/** A switch has no more ports; their number also fits a byte. */
const MOST_FURTHER = NM_BDG_MAXPORTS;

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
  /** Of each packet, and the slot behind the last one's. */
  readonly #first: Uint16Array;
  readonly #further: FurtherDestinations;

  /** @param scratch  of the thread whose data plane sends what is decided */
  constructor(ring: Ring, scratch: number) {
    this.#ring = ring;
    this.#further = new FurtherDestinations(ring, scratch);
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

  /**
   * Sends a packet to a further destination, named as in `answers`; NM_BDG_NOPORT there leaves it at those.
   * @throws RangeError: there is no such packet, or it has 254 further ones already
   */
  sendAlso(packet: number, answer: number): void {
    if (!(packet >= 0 && packet < this.count))
      throw new RangeError(`packet ${packet} of a batch of ${this.count}`);
    this.#further.add(packet, answer);
  }

  /** Not for applications: finds the packets in `slots` slots from `head` on. */
  collect(head: number, slots: number): void {
    let count = 0;
    let starts = true;
    let slot = head;
    for (let left = slots; left > 0; left--, slot = this.#ring.next(slot)) {
      if (starts) this.#first[count++] = slot;
      starts = (this.#view.getUint8(this.#slots + slot * SLOT_SIZE + SLOT_FLAGS) & NS_MOREFRAG) === 0;
    }
    this.#first[count] = slot;
    this.count = count;
    this.answers.fill(NM_BDG_NOPORT, 0, count);
    this.#further.forget();
  }

  /** Not for applications: whatever was decided, the packets are dropped, and counted as the lookup's fault. */
  refuse(): void {
    this.answers.fill(NONSENSE, 0, this.count);
    this.#further.forget();
  }

  /** Not for applications: how far packets from that one on can go in one sync, and how many slots they have. */
  fitting(packet: number): { after: number; slots: number } {
    const after = this.#further.fitting(packet, this.count);
    const slots = this.#first[after]! - this.#first[packet]!;
    return { after, slots: slots < 0 ? slots + this.#ring.numSlots : slots };
  }

  /**
   * Not for applications: writes answers into the sending ring's slots, which packets from that one on were moved to.
   */
  answerInto(tx: Ring, head: number, first: number, slots: number): void {
    const to = tx.address + RING_SLOTS;
    const further = this.#further.startWriting();
    let packet = first - 1;
    let starts = true;
    for (let slot = head, left = slots; left > 0; left--, slot = tx.next(slot)) {
      const at = to + slot * SLOT_SIZE;
      const flags = this.#view.getUint16(at + SLOT_FLAGS, true) & NS_MOREFRAG;
      this.#view.setUint16(at + SLOT_FLAGS, flags, true);
      if (starts) {
        packet++;
        this.#view.setUint32(at + SLOT_PTR, this.answers[packet]!, true);
        const sender = this.#view.getUint16(this.#slot(packet) + SLOT_PTR, true);
        const list = further ? this.#further.write(packet) : 0;
        this.#view.setUint32(at + SLOT_PTR + 4, sender | (list << 16), true);
      }
      starts = flags === 0;
    }
  }

  #slot(packet: number): number {
    return this.#slots + this.#first[packet]! * SLOT_SIZE;
  }
}

/** Where packets of a batch go besides: a chain of answers each, written out as lists for the data plane to read. */
class FurtherDestinations {
  /** Of each packet: how many, and the newest as 1 + its index in the next two. */
  readonly #counts: Uint8Array;
  readonly #newest: Uint32Array;
  #answers = new Uint32Array(256);
  #older = new Uint32Array(256);
  #used = 0;
  readonly #view: DataView;
  readonly #lists: number;
  /** Where the next list goes, in words; 0 stands for none. */
  #word = 1;

  constructor(ring: Ring, scratch: number) {
    this.#counts = new Uint8Array(ring.numSlots);
    this.#newest = new Uint32Array(ring.numSlots);
    this.#view = new DataView(ring.bytes.buffer);
    this.#lists = scratch + SC_FURTHER;
  }

  add(packet: number, answer: number): void {
    if (this.#counts[packet]! === MOST_FURTHER)
      throw new RangeError(`packet ${packet} has ${MOST_FURTHER} further destinations already`);
    if (this.#used === this.#answers.length) {
      this.#answers = larger(this.#answers);
      this.#older = larger(this.#older);
    }
    this.#answers[this.#used] = answer;
    this.#older[this.#used] = this.#newest[packet]!;
    this.#newest[packet] = ++this.#used;
    this.#counts[packet]!++;
  }

  forget(): void {
    if (this.#used === 0) return;
    this.#counts.fill(0);
    this.#newest.fill(0);
    this.#used = 0;
  }

  /** First packet, from `packet` on, whose list has no room behind those before it; `count` if all have. */
  fitting(packet: number, count: number): number {
    if (this.#used === 0) return count;
    let words = 1;
    let after = packet;
    for (; after < count; after++) {
      words += this.#counts[after]! && this.#counts[after]! + 1;
      if (words > FURTHER_WORDS) break;
    }
    return after;
  }

  /** @returns false: there is nothing to write */
  startWriting(): boolean {
    this.#word = 1;
    return this.#used > 0;
  }

  /** Writes a packet's list. @returns what the data plane knows it by; 0: there is none */
  write(packet: number): number {
    const count = this.#counts[packet]!;
    if (count === 0) return 0;
    const list = this.#word;
    let at = this.#lists + 4 * list;
    this.#view.setUint32(at, count, true);
    for (let next = this.#newest[packet]!; next !== 0; next = this.#older[next - 1]!) {
      at += 4;
      this.#view.setUint32(at, this.#answers[next - 1]!, true);
    }
    this.#word += count + 1;
    return list;
  }
}

function larger(words: Uint32Array<ArrayBuffer>): Uint32Array<ArrayBuffer> {
  const copy = new Uint32Array(2 * words.length);
  copy.set(words);
  return copy;
}
