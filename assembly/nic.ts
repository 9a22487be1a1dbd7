// NIC and host rings over the kernel's own (spec linux-nic §3.4), or over those of a process that serves a queue in its
// stead, and then stands for the kernel below: only descriptors move.
//
//   TX ring   [ .. hwtail | in flight ........ hwcur | to send ... head ]    shadow[k]: buffer in flight, 0 once back
//   RX ring   [ hwcur: shown ... hwtail | with the kernel ... posted | spare ]  shadow[k]: buffer that the kernel has
//
// The kernel gives buffers back in an order of its own, so what it has is noted in private memory, slot by slot.
// One slot of an RX ring is never posted: a ring all of whose slots are full would look empty.

import {
  NS_BUF_CHANGED,
  NS_MOREFRAG,
  RING_SLOTS,
  SLOT_SIZE,
} from '../src/abi/netmap';
import {
  ARENA_REGION_BASES,
  DROP_BAD_SLOT,
  DROP_FRAGS,
  DROP_OVERSIZE,
  DROP_SHORT,
  KR_ASLEEP,
  KR_BACK,
  KR_BUF_ADDRESS,
  KR_BUF_COUNT,
  KR_BUF_SIZE,
  KR_BYTES,
  KR_CHAIN,
  KR_DROPS,
  KR_FRAMES,
  KR_HEADROOM,
  KR_HWCUR,
  KR_HWTAIL,
  KR_LONGEST,
  KR_NUM_SLOTS,
  KR_ORPHAN,
  KR_PACKETS,
  KR_POSTED,
  KR_QUEUE_SLOT,
  KR_READY_OFS,
  KR_RHEAD,
  RL_CONSUMER,
  RL_DESC,
  RL_MASK,
  RL_PRODUCER,
  SYNC_BUSY,
  SYNC_ERROR,
  SYNC_KICK,
  SYNC_REINIT,
} from '../src/abi/state';
import { badIndex, count, dist, enter, finish, leave, noBells, regionOf, reinit, ringOf, rxPrologue, txPrologue } from './ring';

const CONTINUES: u64 = 1;
const SHORTEST: u32 = 14;

/** Where this process has a queue's rings, 0 if it has not mapped them. */
@inline
export function queueOf(kring: u32): u32 {
  return load<u32>(ARENA_REGION_BASES + (load<u32>(kring, KR_QUEUE_SLOT) << 2));
}

@inline
export function part(kring: u32, ring: u32, word: u32): u32 {
  return load<u32>(kring + ring + word);
}

/** Enters a ring whose queue is there; else what its sync answers. */
export function begin(kring: u32, token: u32): u32 {
  if (!enter(kring, token)) return SYNC_BUSY;
  noBells();
  if (!load<u32>(kring, KR_ORPHAN) && queueOf(kring) != 0) return 0;
  leave(kring);
  return SYNC_ERROR;
}

/** Takes back what has been sent, and hands the slots up to head to the kernel: SYNC_KICK if it is to be told. */
export function nicTxSync(state: u32, kring: u32, token: u32, stateSlot: u32): u32 {
  const refused = begin(kring, token);
  if (refused) return refused;
  const queue = queueOf(kring);
  const ring = ringOf(kring, regionOf(kring));
  const shadow = state + load<u32>(kring, KR_READY_OFS);
  takeBack(kring, queue, shadow);
  let answer: u32 = 0;
  if (!txPrologue(kring, ring)) {
    reinit(kring, ring);
    answer = SYNC_REINIT;
  } else {
    if (load<u32>(kring, KR_RHEAD) != load<u32>(kring, KR_HWCUR)) send(kring, queue, ring, shadow);
    finish(kring, ring);
  }
  // The kernel sends what it is told to send; a process looks for itself while it is awake.
  if (untaken(kring, queue, KR_FRAMES) && (!load<u32>(kring, KR_ASLEEP) || sleeps(kring, queue))) answer |= SYNC_KICK;
  leave(kring);
  return answer;
}

/** Whether whoever serves the queue has not taken all that a ring of ours has for it. */
@inline
function untaken(kring: u32, queue: u32, ring: u32): bool {
  return load<u32>(queue + part(kring, ring, RL_PRODUCER)) != atomic.load<u32>(queue + part(kring, ring, RL_CONSUMER));
}

/** Whether a process serves the queue, and sleeps. */
@inline
function sleeps(kring: u32, queue: u32): bool {
  const at = load<u32>(kring, KR_ASLEEP);
  return at != 0 && atomic.load<u32>(queue + at) != 0;
}

function takeBack(kring: u32, queue: u32, shadow: u32): void {
  const desc = queue + part(kring, KR_BACK, RL_DESC);
  const mask = part(kring, KR_BACK, RL_MASK);
  const producer = atomic.load<u32>(queue + part(kring, KR_BACK, RL_PRODUCER));
  let consumer = load<u32>(queue + part(kring, KR_BACK, RL_CONSUMER));
  if (producer == consumer) return;
  const n = load<u32>(kring, KR_NUM_SLOTS);
  const buffers = load<u32>(kring, KR_BUF_ADDRESS);
  const bufSize = load<u32>(kring, KR_BUF_SIZE);
  const hwcur = load<u32>(kring, KR_HWCUR);
  let oldest = load<u32>(kring, KR_HWTAIL) + 1;
  if (oldest == n) oldest = 0;
  for (; consumer != producer; consumer++) {
    const index = (load<u32>(desc + ((consumer & mask) << 3)) - buffers) / bufSize;
    for (let k = oldest; k != hwcur; k = k + 1 == n ? 0 : k + 1) {
      if (load<u32>(shadow + (k << 2)) != index) continue;
      store<u32>(shadow + (k << 2), 0);
      break;
    }
    while (oldest != hwcur && load<u32>(shadow + (oldest << 2)) == 0) oldest = oldest + 1 == n ? 0 : oldest + 1;
  }
  atomic.store<u32>(queue + part(kring, KR_BACK, RL_CONSUMER), consumer);
  freeOldest(kring, shadow);
}

/** Shows slots as free up to the oldest one that is in flight. */
function freeOldest(kring: u32, shadow: u32): void {
  const n = load<u32>(kring, KR_NUM_SLOTS);
  const hwcur = load<u32>(kring, KR_HWCUR);
  let tail = load<u32>(kring, KR_HWTAIL);
  for (;;) {
    const next = tail + 1 == n ? 0 : tail + 1;
    if (next == hwcur || load<u32>(shadow + (next << 2)) != 0) break;
    tail = next;
  }
  store<u32>(kring, tail, KR_HWTAIL);
}

/** Writes descriptors for [hwcur, head), whole packets only. */
function send(kring: u32, queue: u32, ring: u32, shadow: u32): void {
  const n = load<u32>(kring, KR_NUM_SLOTS);
  const head = load<u32>(kring, KR_RHEAD);
  const buffers = load<u32>(kring, KR_BUF_ADDRESS);
  const bufSize = load<u32>(kring, KR_BUF_SIZE);
  const bufCount = load<u32>(kring, KR_BUF_COUNT);
  const desc = queue + part(kring, KR_FRAMES, RL_DESC);
  const mask = part(kring, KR_FRAMES, RL_MASK);
  const chain = load<u32>(kring, KR_CHAIN);
  const longest = load<u32>(kring, KR_LONGEST);
  let producer = load<u32>(queue + part(kring, KR_FRAMES, RL_PRODUCER));
  let first = load<u32>(kring, KR_HWCUR);
  let packets: u64 = 0;
  let bytes: u64 = 0;
  while (first != head) {
    // One packet: written as it is read, and taken back if it turns out to be none.
    const begun = producer;
    let k = first;
    let slots: u32 = 0;
    let length: u32 = 0;
    let bad: u32 = 0xffffffff;
    let more = true;
    while (more && k != head) {
      const slot = ring + RING_SLOTS + k * SLOT_SIZE;
      const word = load<u64>(slot); // The only read of this slot.
      const index = <u32>word;
      const len = <u32>(word >> 32) & 0xffff;
      const flags = <u32>(word >> 48);
      more = (flags & NS_MOREFRAG) != 0;
      if (flags & NS_BUF_CHANGED) store<u16>(slot, <u16>(flags & ~NS_BUF_CHANGED), 6);
      if (badIndex(index, bufCount)) bad = DROP_BAD_SLOT;
      else if (len > bufSize) bad = DROP_OVERSIZE;
      else if (len == 0) bad = DROP_SHORT;
      else if (slots == chain) bad = DROP_FRAGS;
      if (bad == 0xffffffff) {
        const at = desc + ((producer & mask) << 4);
        store<u64>(at, <u64>(buffers + index * bufSize));
        store<u64>(at, <u64>len | (more ? CONTINUES << 32 : 0), 8);
        store<u32>(shadow + (k << 2), index);
        producer++;
        slots++;
      }
      length += len;
      k = k + 1 == n ? 0 : k + 1;
    }
    if (more && bad == 0xffffffff) {
      producer = begun; // The rest is still to come.
      break;
    }
    packets++;
    bytes += length;
    if (bad == 0xffffffff) {
      if (length < SHORTEST) bad = DROP_SHORT;
      else if (length > longest) bad = DROP_OVERSIZE;
    }
    if (bad != 0xffffffff) {
      producer = begun;
      count(kring, KR_DROPS + bad * 8, 1);
      for (let i = first; i != k; i = i + 1 == n ? 0 : i + 1) store<u32>(shadow + (i << 2), 0);
    }
    first = k;
  }
  atomic.store<u32>(queue + part(kring, KR_FRAMES, RL_PRODUCER), producer);
  store<u32>(kring, first, KR_HWCUR);
  count(kring, KR_PACKETS, packets);
  count(kring, KR_BYTES, bytes);
  freeOldest(kring, shadow); // Slots that were dropped, if none before them is under way.
}

/** Gives the kernel the slots up to head, and shows what has come. */
export function nicRxSync(state: u32, kring: u32, token: u32): u32 {
  const refused = begin(kring, token);
  if (refused) return refused;
  const queue = queueOf(kring);
  const ring = ringOf(kring, regionOf(kring));
  const shadow = state + load<u32>(kring, KR_READY_OFS);
  let answer: u32 = 0;
  if (!rxPrologue(kring, ring)) {
    reinit(kring, ring);
    answer = SYNC_REINIT;
  } else {
    store<u32>(kring, load<u32>(kring, KR_RHEAD), KR_HWCUR);
    post(kring, queue, ring, shadow);
    receive(kring, queue, ring, shadow);
    finish(kring, ring);
  }
  if (untaken(kring, queue, KR_BACK) && sleeps(kring, queue)) answer |= SYNC_KICK;
  leave(kring);
  return answer;
}

function post(kring: u32, queue: u32, ring: u32, shadow: u32): void {
  const n = load<u32>(kring, KR_NUM_SLOTS);
  const hwcur = load<u32>(kring, KR_HWCUR);
  const end = hwcur == 0 ? n - 1 : hwcur - 1;
  let k = load<u32>(kring, KR_POSTED);
  if (k == end) return;
  const buffers = load<u32>(kring, KR_BUF_ADDRESS);
  const bufSize = load<u32>(kring, KR_BUF_SIZE);
  const bufCount = load<u32>(kring, KR_BUF_COUNT);
  const desc = queue + part(kring, KR_BACK, RL_DESC);
  const mask = part(kring, KR_BACK, RL_MASK);
  const first = buffers - load<u32>(kring, KR_HEADROOM);
  let producer = load<u32>(queue + part(kring, KR_BACK, RL_PRODUCER));
  while (k != end) {
    const slot = ring + RING_SLOTS + k * SLOT_SIZE;
    const index = load<u32>(slot);
    // A slot without a buffer cannot be used, nor can those behind it: the application has to mend it.
    if (badIndex(index, bufCount)) {
      count(kring, KR_DROPS + DROP_BAD_SLOT * 8, 1);
      break;
    }
    store<u64>(desc + ((producer & mask) << 3), <u64>(first + index * bufSize));
    store<u32>(shadow + (k << 2), index);
    producer++;
    k = k + 1 == n ? 0 : k + 1;
  }
  atomic.store<u32>(queue + part(kring, KR_BACK, RL_PRODUCER), producer);
  store<u32>(kring, k, KR_POSTED);
}

function receive(kring: u32, queue: u32, ring: u32, shadow: u32): void {
  const producer = atomic.load<u32>(queue + part(kring, KR_FRAMES, RL_PRODUCER));
  let consumer = load<u32>(queue + part(kring, KR_FRAMES, RL_CONSUMER));
  if (producer == consumer) return;
  const n = load<u32>(kring, KR_NUM_SLOTS);
  const buffers = load<u32>(kring, KR_BUF_ADDRESS);
  const bufSize = load<u32>(kring, KR_BUF_SIZE);
  const desc = queue + part(kring, KR_FRAMES, RL_DESC);
  const mask = part(kring, KR_FRAMES, RL_MASK);
  const posted = load<u32>(kring, KR_POSTED);
  const chains = load<u32>(kring, KR_CHAIN) > 1;
  let k = load<u32>(kring, KR_HWTAIL);
  let packets: u64 = 0;
  let bytes: u64 = 0;
  for (; consumer != producer && k != posted; consumer++) {
    const at = desc + ((consumer & mask) << 4);
    const address = load<u64>(at);
    const word = load<u64>(at, 8);
    // The upper 16 bits are what the kernel has added to the address that it was given.
    const ofs = <u32>(address & 0xffffffff) + <u32>(address >> 48);
    const index = (ofs - buffers) / bufSize;
    const had = load<u32>(shadow + (k << 2));
    if (had != index) {
      for (let j = k + 1 == n ? 0 : k + 1; j != posted; j = j + 1 == n ? 0 : j + 1) {
        if (load<u32>(shadow + (j << 2)) != index) continue;
        store<u32>(shadow + (j << 2), had);
        break;
      }
    }
    store<u32>(shadow + (k << 2), 0);
    const len = <u32>word;
    const more = chains && ((word >> 32) & CONTINUES) != 0;
    store<u64>(ring + RING_SLOTS + k * SLOT_SIZE, <u64>index | (<u64>len << 32) | (more ? <u64>NS_MOREFRAG << 48 : 0));
    bytes += len;
    if (!more) packets++;
    k = k + 1 == n ? 0 : k + 1;
  }
  atomic.store<u32>(queue + part(kring, KR_FRAMES, RL_CONSUMER), consumer);
  store<u32>(kring, k, KR_HWTAIL);
  count(kring, KR_PACKETS, packets);
  count(kring, KR_BYTES, bytes);
}
