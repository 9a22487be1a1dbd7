// What a batch holds, sorted by destination: entries, runs of them, queues of runs.
//
// An entry is one slot to deliver: address of its bytes in the sender's memory | length << 32 | flags << 48,
// the flags as the receiver will see them.
//
// A run is a stretch of entries in a row that go to the same ring: most traffic makes few.  A queue is the
// runs of this batch that go to one ring.  Runs never overlap, so two queues are merged in order run by run.

import { NM_BDG_BROADCAST, NM_BDG_MAXRINGS, NS_MOREFRAG } from '../src/abi/netmap';
import { SC_ACTIVE, SC_ENTRIES, SC_QUEUES, SC_RUNS } from '../src/abi/state';
import { scratch } from './ring';

/** The queue of what goes to everybody. */
export const FLOOD: u32 = NM_BDG_BROADCAST * NM_BDG_MAXRINGS;
export const END: u32 = 0xffff;

const RUN_SIZE = 8;
const R_FIRST = 0; //   u16 entry
const R_SLOTS = 2; //   u16
const R_NEXT = 4; //    u16 run, or END

export const Q_HEAD = 0; //    u16 run
const Q_TAIL = 2; //           u16 run
export const Q_SLOTS = 4; //   u16
export const Q_PACKETS = 6; // u16

@inline
export function runAt(run: u32): u32 {
  return scratch + SC_RUNS + run * RUN_SIZE;
}

@inline
export function entryAt(entry: u32): u32 {
  return scratch + SC_ENTRIES + (entry << 3);
}

@inline
export function queueAt(index: u32): u32 {
  return scratch + SC_QUEUES + (index << 3);
}

@inline
export function firstEntry(run: u32): u32 {
  return entryAt(load<u16>(run, R_FIRST));
}

@inline
export function slotsOf(run: u32): u32 {
  return load<u16>(run, R_SLOTS);
}

@inline
export function nextRun(run: u32): u32 {
  return load<u16>(run, R_NEXT);
}

/** Unicast queues in use: which, at SC_ACTIVE. */
export let active: u32 = 0;
/** Runs of this batch. */
export let runs: u32 = 0;
let fragmented: bool = false;

/** Before the next batch. */
@inline
export function forgetRuns(): void {
  active = 0;
  runs = 0;
  fragmented = false;
}

/** A packet of several slots is in the batch. */
@inline
export function noteFragments(): void {
  fragmented = true;
}

/** Appends the entries between two addresses, `more` of which are not a packet's first, to a queue. */
export function endRun(queue: u32, first: u32, end: u32, more: u32): void {
  const slots = (end - first) >> 3;
  if (slots == 0) return;
  const run = runAt(runs);
  store<u16>(run, <u16>((first - entryAt(0)) >> 3), R_FIRST);
  store<u16>(run, <u16>slots, R_SLOTS);
  store<u16>(run, <u16>END, R_NEXT);
  const q = queueAt(queue);
  if (load<u16>(q, Q_SLOTS) == 0) {
    store<u16>(q, <u16>runs, Q_HEAD);
    if (queue != FLOOD) {
      store<u32>(scratch + SC_ACTIVE + (active << 2), queue);
      active++;
    }
  } else {
    store<u16>(runAt(load<u16>(q, Q_TAIL)), <u16>runs, R_NEXT);
  }
  store<u16>(q, <u16>runs, Q_TAIL);
  store<u16>(q, <u16>(<u32>load<u16>(q, Q_SLOTS) + slots), Q_SLOTS);
  store<u16>(q, <u16>(<u32>load<u16>(q, Q_PACKETS) + slots - more), Q_PACKETS);
  runs++;
}

/** Packets in what wholePackets() has found room for last. */
export let fitting: u32 = 0;

/**
 * How many slots of the two queues, given by their first runs, make whole packets within `space`.  Without
 * queues it is all or nothing: nothing.
 */
export function wholePackets(space: u32, ownHead: u32, floodHead: u32): u32 {
  if (ownHead == floodHead) return 0;
  if (!fragmented) {
    fitting = space;
    return space;
  }
  let a = ownHead;
  let b = floodHead;
  let slots: u32 = 0;
  let whole: u32 = 0;
  fitting = 0;
  while (a != b) {
    const run = runAt(a < b ? a : b);
    if (a < b) a = nextRun(run);
    else b = nextRun(run);
    const first = firstEntry(run);
    const stop = first + (slotsOf(run) << 3);
    for (let at = first; at != stop; at += 8) {
      if (++slots > space) return whole;
      if (<u32>load<u16>(at, 6) & NS_MOREFRAG) continue;
      whole = slots;
      fitting++;
    }
  }
  return whole;
}
