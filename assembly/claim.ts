// Several senders, one receiving ring, no lock: claim slots, copy, publish in order.
//
//     released                    tail                                   claim
//        |  slots the receiver has  |  blocks claimed; some finished, some  |  free
//        v  not given back          v  still being copied                   v
//   -----[##########################][A: ready ][B: copying ][C: ready      ].........
//
//   sender     journal <- {ring, from, lap, count};  compare-and-swap of the claim word;  copies;
//              ready[from] <- lap and count;  journal cleared
//   receiver   while ready[tail] has the tail's lap: tail += its count, entry cleared
//
// One slot stays empty, so positions alone tell full from empty; laps keep old entries from being believed.
//
// Repair.  A sender may die at any instruction.  Its journal says which block it wanted; whether it got it is
// settled by two facts: the claim word names the claimant of the newest block, and before anybody moves the
// claim word on, it notes in owners[] who claimed the block that ends there.  So one look decides, also when
// two dead senders wanted the same slots: the winner's block is published as empty slots, the loser's forgotten.

import { RING_SLOTS, SLOT_LEN, SLOT_SIZE } from '../src/abi/netmap';
import {
  JR_COUNT,
  JR_FROM,
  JR_GEN,
  JR_RING,
  JR_STATE,
  KR_CLAIM,
  KR_ID,
  KR_NUM_SLOTS,
  KR_OWNERS_OFS,
  KR_READY_OFS,
  KR_RELEASED,
  KR_TAIL,
} from '../src/abi/state';
import { dist, regionOf, ringOf, takeBells } from './ring';
import { wholePackets } from './runs';

// The claim word, and what claim() answers with the lap in the same place: count | from << 16 | lap << 32.

@inline
function readyWord(lap: u32, count: u32): u32 {
  return (lap << 12) | count;
}

/**
 * Claims up to `need` slots of a ring for whole packets of the two queues, given by their first runs; all or
 * nothing if both are END.  Answers count | from << 16 | lap << 32, with count 0 if nothing fits.  The block must
 * be published.
 */
export function claim(state: u32, source: u32, kring: u32, n: u32, need: u32, own: u32, flood: u32): u64 {
  const id = load<u32>(source, KR_ID);
  const owners = state + load<u32>(kring, KR_OWNERS_OFS);
  while (true) {
    const word = atomic.load<u64>(kring + KR_CLAIM);
    const from = <u32>word & 0xffff;
    const lap = <u32>(word >> 32);
    const space = n - 1 - dist(atomic.load<u32>(kring + KR_RELEASED), from, n);
    let granted = need;
    if (need > space) granted = wholePackets(space, own, flood);
    if (granted == 0) return 0;
    store<u32>(source, kring - state, JR_RING);
    store<u32>(source, from, JR_FROM);
    store<u32>(source, lap, JR_GEN);
    store<u32>(source, granted, JR_COUNT);
    store<u32>(source, 1, JR_STATE);
    store<u64>(owners + (from << 3), <u64>(<u32>word >> 16) | (<u64>lap << 32));
    const end = from + granted;
    const next: u64 = end >= n ? <u64>(end - n) | (<u64>(lap + 1) << 32) : <u64>end | (<u64>lap << 32);
    if (atomic.cmpxchg<u64>(kring + KR_CLAIM, word, next | (<u64>id << 16)) == word) {
      return <u64>granted | (<u64>from << 16) | (<u64>lap << 32);
    }
    store<u32>(source, 0, JR_STATE);
  }
}

/** Shows a finished block to the receiver. */
@inline
export function publish(state: u32, source: u32, kring: u32, block: u64): void {
  const ready = state + load<u32>(kring, KR_READY_OFS) + ((<u32>block >> 16) << 2);
  atomic.store<u32>(ready, readyWord(<u32>(block >> 32), <u32>block & 0xffff));
  store<u32>(source, 0, JR_STATE);
}

/** Moves the receiver's tail over the blocks that are finished; answers how many slots that were. */
export function showFinished(state: u32, kring: u32): u32 {
  const n = load<u32>(kring, KR_NUM_SLOTS);
  const ready = state + load<u32>(kring, KR_READY_OFS);
  const start = load<u64>(kring, KR_TAIL);
  let tail = <u32>start;
  let lap = <u32>(start >> 32);
  let shown: u32 = 0;
  while (true) {
    const entry = ready + (tail << 2);
    const word = atomic.load<u32>(entry);
    const block = word & 0xfff;
    if (block == 0 || block >= n || word != readyWord(lap, block)) break;
    shown += block;
    tail += block;
    if (tail >= n) {
      tail -= n;
      lap++;
    }
    // Slot and lap move in one store, and before the entry goes: whoever dies here leaves a ring that works.
    store<u64>(kring, <u64>tail | (<u64>lap << 32), KR_TAIL);
    store<u32>(entry, 0);
  }
  return shown;
}

/**
 * Finishes what a dead sender had begun on `source`.  Answers bits as a sync does.  Only the module calls
 * it, once nothing of the dead process runs any more.
 */
export function repairSender(state: u32, source: u32): u32 {
  if (load<u32>(source, JR_STATE) == 0) return 0;
  const kring = state + load<u32>(source, JR_RING);
  const n = load<u32>(kring, KR_NUM_SLOTS);
  const from = load<u32>(source, JR_FROM);
  const lap = load<u32>(source, JR_GEN);
  const granted = load<u32>(source, JR_COUNT);
  const id = load<u32>(source, KR_ID);
  store<u32>(source, 0, JR_STATE);
  if (granted == 0 || granted >= n || from >= n) return 0;

  const end = from + granted >= n ? from + granted - n : from + granted;
  const endLap = from + granted >= n ? lap + 1 : lap;
  const word = atomic.load<u64>(kring + KR_CLAIM);
  const newest = <u32>word & 0xffff;
  let ours: bool;
  if (newest == end && <u32>(word >> 32) == endLap) {
    ours = (<u32>word >> 16) == id;
  } else {
    const owners = state + load<u32>(kring, KR_OWNERS_OFS);
    ours = load<u64>(owners + (end << 3)) == (<u64>id | (<u64>endLap << 32));
  }
  if (!ours) return 0;
  const ready = state + load<u32>(kring, KR_READY_OFS) + (from << 2);
  // Published already, and perhaps consumed since: then the tail has passed it.
  if (load<u32>(ready) == readyWord(lap, granted) || tailHasPassed(kring, from, lap)) return 0;
  const region = regionOf(kring);
  if (region != 0) {
    const slots = ringOf(kring, region) + RING_SLOTS;
    for (let i: u32 = 0, j = from; i < granted; i++, j = j + 1 == n ? 0 : j + 1) {
      store<u32>(slots + j * SLOT_SIZE, 0, SLOT_LEN);
    }
  }
  atomic.store<u32>(ready, readyWord(lap, granted));
  return takeBells(kring);
}

@inline
function tailHasPassed(kring: u32, from: u32, lap: u32): bool {
  const tail = load<u64>(kring, KR_TAIL);
  const tailLap = <u32>(tail >> 32);
  return <i32>(tailLap - lap) > 0 || (tailLap == lap && <u32>tail > from);
}
