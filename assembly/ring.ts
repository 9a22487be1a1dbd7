// Rings: what every sync does before and after its real work.  Nothing that an application can write is
// used before it was read once into a local and checked (spec api §2.3-2.4, with its recommendations).

import {
  NM_RESERVED_BUFS,
  RING_CUR,
  RING_HEAD,
  RING_SLOTS,
  RING_TAIL,
  SLOT_BUF_IDX,
  SLOT_LEN,
  SLOT_PTR,
  SLOT_SIZE,
} from '../src/abi/netmap';
import {
  ARENA_REGION_BASES,
  KR_BUF_COUNT,
  KR_BUF_SIZE,
  KR_BUSY,
  KR_HWCUR,
  KR_HWTAIL,
  KR_NUM_SLOTS,
  KR_OFFSET_GAP,
  KR_OFFSET_MASK,
  KR_OFFSET_MAX,
  KR_RCUR,
  KR_REGION_SLOT,
  KR_REINITS,
  KR_RHEAD,
  KR_RING_OFS,
  KR_RTAIL,
  KR_WAITERS,
  MAX_BELLS,
  SC_BELL_COUNT,
  SC_BELLS,
  SYNC_RING_BELLS,
  WAITERS,
} from '../src/abi/state';

/** Scratch area of the thread that this instance belongs to. */
export let scratch: u32 = 0;

/** Tells this instance which scratch area is its own; once, before anything else. */
export function useScratch(address: u32): void {
  scratch = address;
}

/** Address of the region that a kring's ring lies in, 0 if this process has not mapped it. */
@inline
export function regionOf(kring: u32): u32 {
  return load<u32>(ARENA_REGION_BASES + (load<u32>(kring, KR_REGION_SLOT) << 2));
}

@inline
export function ringOf(kring: u32, region: u32): u32 {
  return region + load<u32>(kring, KR_RING_OFS);
}

/** Slots from a to b, going forward on a ring of n. */
@inline
export function dist(a: u32, b: u32, n: u32): u32 {
  return b >= a ? b - a : b + n - a;
}

/** One sync at a time per ring: true if it is ours now. */
@inline
export function enter(kring: u32, token: u32): bool {
  return atomic.cmpxchg<u32>(kring + KR_BUSY, 0, token) == 0;
}

@inline
export function leave(kring: u32): void {
  atomic.store<u32>(kring + KR_BUSY, 0);
}

/** head and cur of a TX ring, accepted into rhead and rcur; false if the application broke them. */
export function txPrologue(kring: u32, ring: u32): bool {
  const n = load<u32>(kring, KR_NUM_SLOTS);
  const head = atomic.load<u32>(ring, RING_HEAD);
  const cur = load<u32>(ring, RING_CUR);
  const rhead = load<u32>(kring, KR_RHEAD);
  const rtail = load<u32>(kring, KR_RTAIL);
  if (head >= n || cur >= n) return false;
  if (dist(rhead, head, n) > dist(rhead, rtail, n)) return false;
  if (dist(head, cur, n) > dist(head, rtail, n)) return false;
  store<u32>(kring, head, KR_RHEAD);
  store<u32>(kring, cur, KR_RCUR);
  if (load<u32>(ring, RING_TAIL) != rtail) store<u32>(ring, rtail, RING_TAIL);
  return true;
}

/** The same for an RX ring, whose bounds are hwcur and what was shown as tail. */
export function rxPrologue(kring: u32, ring: u32): bool {
  const n = load<u32>(kring, KR_NUM_SLOTS);
  const head = atomic.load<u32>(ring, RING_HEAD);
  const cur = load<u32>(ring, RING_CUR);
  const hwcur = load<u32>(kring, KR_HWCUR);
  const hwtail = load<u32>(kring, KR_HWTAIL);
  if (head >= n || cur >= n) return false;
  if (dist(hwcur, head, n) > dist(hwcur, hwtail, n)) return false;
  if (dist(head, cur, n) > dist(head, hwtail, n)) return false;
  store<u32>(kring, head, KR_RHEAD);
  store<u32>(kring, cur, KR_RCUR);
  return true;
}

/** Shows the application what the sync achieved. */
@inline
export function finish(kring: u32, ring: u32): void {
  const tail = load<u32>(kring, KR_HWTAIL);
  store<u32>(kring, tail, KR_RTAIL);
  atomic.store<u32>(ring + RING_TAIL, tail);
}

/**
 * Puts a ring that the application broke back in order: slots with impossible buffers or lengths are
 * emptied, head and cur go to hwcur, tail to hwtail.
 */
export function reinit(kring: u32, ring: u32): void {
  const n = load<u32>(kring, KR_NUM_SLOTS);
  const bufSize = load<u32>(kring, KR_BUF_SIZE);
  const bufCount = load<u32>(kring, KR_BUF_COUNT);
  for (let i: u32 = 0; i < n; i++) {
    const slot = ring + RING_SLOTS + i * SLOT_SIZE;
    if (badIndex(load<u32>(slot, SLOT_BUF_IDX), bufCount)) {
      store<u32>(slot, 0, SLOT_BUF_IDX);
      store<u16>(slot, 0, SLOT_LEN);
    } else if (<u32>load<u16>(slot, SLOT_LEN) > bufSize) {
      store<u16>(slot, 0, SLOT_LEN);
    }
  }
  const hwcur = load<u32>(kring, KR_HWCUR);
  store<u32>(kring, hwcur, KR_RHEAD);
  store<u32>(kring, hwcur, KR_RCUR);
  store<u32>(ring, hwcur, RING_CUR);
  store<u32>(ring, hwcur, RING_HEAD);
  store<u32>(kring, load<u32>(kring, KR_REINITS) + 1, KR_REINITS);
  finish(kring, ring);
}

@inline
export function badIndex(index: u32, bufCount: u32): bool {
  return index - NM_RESERVED_BUFS >= bufCount - NM_RESERVED_BUFS;
}

/** Whether slots of a ring say where in their buffers packets start (option OFFSETS, spec api §3.6.5). */
@inline
export function hasOffsets(kring: u32): bool {
  return load<u64>(kring, KR_OFFSET_MASK) != 0;
}

/** The offset in a slot's `ptr`; what is beyond the ring's limit counts as the limit. */
export function offsetIn(kring: u32, ptr: u64): u32 {
  const offset = ptr & load<u64>(kring, KR_OFFSET_MASK);
  const most = load<u32>(kring, KR_OFFSET_MAX);
  return offset > <u64>most ? most : <u32>offset;
}

/** The offset of a slot that packets are put into, which from now on says no more than was meant. */
export function settleOffset(kring: u32, slot: u32): u32 {
  const ptr = load<u64>(slot, SLOT_PTR);
  const offset = offsetIn(kring, ptr);
  store<u64>(slot, withOffset(kring, ptr, offset), SLOT_PTR);
  return offset;
}

export function withOffset(kring: u32, ptr: u64, offset: u32): u64 {
  return (ptr & ~load<u64>(kring, KR_OFFSET_MASK)) | <u64>offset;
}

/** Bytes of a packet that a buffer of the ring has room for behind an offset. */
export function roomBehind(kring: u32, offset: u32): u32 {
  const left = load<u32>(kring, KR_BUF_SIZE) - offset;
  const gap = load<u32>(kring, KR_OFFSET_GAP);
  return gap != 0 && gap < left ? gap : left;
}

@inline
export function count(kring: u32, counter: u32, by: u64): void {
  store<u64>(kring + counter, load<u64>(kring + counter) + by);
}

/** Before a sync that may collect bells. */
@inline
export function noBells(): void {
  store<u32>(scratch, 0, SC_BELL_COUNT);
}

/**
 * Takes the bells of those who sleep on a ring, after something was published there.  Taking disarms: a
 * sleeper is rung once.  The publishing store and these loads are sequentially consistent, so that either
 * we see the sleeper or it sees what we published.
 */
@inline
export function takeBells(kring: u32): u32 {
  const waiters = kring + KR_WAITERS;
  if ((atomic.load<u64>(waiters) | atomic.load<u64>(waiters, 8)) == 0) return 0;
  return takeArmed(waiters);
}

function takeArmed(waiters: u32): u32 {
  let found = load<u32>(scratch, SC_BELL_COUNT);
  for (let i: u32 = 0; i < <u32>WAITERS && found < <u32>MAX_BELLS; i++) {
    const bell = atomic.xchg<u32>(waiters + (i << 2), 0);
    if (bell == 0) continue;
    store<u32>(scratch + SC_BELLS + (found << 2), bell);
    found++;
  }
  store<u32>(scratch, found, SC_BELL_COUNT);
  return SYNC_RING_BELLS;
}

/** Collects the bells of a ring's sleepers, outside of a sync: something about it has changed. */
export function wake(kring: u32): u32 {
  noBells();
  return takeBells(kring);
}

/** Arms a ring for a sleeper; false if its places are taken, and the sleeper must look by the clock. */
export function armBell(kring: u32, bell: u32): bool {
  const waiters = kring + KR_WAITERS;
  for (let i: u32 = 0; i < <u32>WAITERS; i++) {
    if (atomic.load<u32>(waiters + (i << 2)) == bell) return true;
  }
  for (let i: u32 = 0; i < <u32>WAITERS; i++) {
    if (atomic.cmpxchg<u32>(waiters + (i << 2), 0, bell) == 0) return true;
  }
  return false;
}
