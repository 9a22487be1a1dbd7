// The VALE switch: what txSync and rxSync of its ports do (spec ports §1.6-1.10).
//
// A txSync runs in the sender, on memory that it shares with the receivers:
//
//   collect.ts, or lookup.ts    chains slots [hwcur, head) to the queue of their destination
//   deliver.ts                  per destination: claim slots, copy, publish

import { NS_TXMON } from '../src/abi/netmap';
import {
  ARENA_EPOCHS,
  DROP_DETACHED,
  DROP_DISABLED,
  KR_BUSY_EPOCH,
  KR_COPY_MON,
  KR_DETACHED,
  KR_HWCUR,
  KR_HWTAIL,
  KR_NEXT_TX,
  KR_NUM_SLOTS,
  KR_ORPHAN,
  KR_PACKETS,
  KR_RELEASED,
  KR_RHEAD,
  KR_TAIL,
  KR_ZCOPY_MON,
  SC_LOOKUPS,
  SW_BATCH,
  SW_EPOCH,
  SW_LOOKUP,
  SYNC_BUSY,
  SYNC_ERROR,
  SYNC_LOOKUP,
  SYNC_REINIT,
  SYNC_REMAP,
} from '../src/abi/state';
import { showFinished } from './claim';
import { forward } from './collect';
import { DIRECTED, forwardBy, giveUp, resume } from './lookup';
import { mirrorSlots, surrender, surrenderRead } from './monitor';
import {
  count,
  dist,
  enter,
  finish,
  leave,
  noBells,
  regionOf,
  reinit,
  ringOf,
  rxPrologue,
  scratch,
  txPrologue,
} from './ring';
import { answer, begin, drop, note, source, state } from './sender';

/** bridge_batch at most: more slots than this are flushed in several rounds. */
const MAX_BATCH: i32 = 1024;
/** Stands for the learning table where the number of a lookup's function can stand. */
const LEARNED: u32 = 0;

/** Sends every slot up to head: all are consumed, whatever becomes of the packets. */
export function valeTxSync(stateBase: u32, kring: u32, token: u32, stateSlot: u32): u32 {
  const loaded = scratch + SC_LOOKUPS + (stateSlot << 3);
  const lookup = atomic.load<u32>(stateBase, SW_LOOKUP);
  if (lookup != load<u32>(loaded)) return SYNC_LOOKUP;
  return txSync(stateBase, kring, token, stateSlot, lookup ? load<u32>(loaded, 4) : LEARNED);
}

/** The same for the port of a process that decides where the packets of others go. */
export function lookupTxSync(stateBase: u32, kring: u32, token: u32, stateSlot: u32): u32 {
  return txSync(stateBase, kring, token, stateSlot, DIRECTED);
}

/**
 * Takes up the sync in which a lookup has thrown.
 * @param what  0: that packet is dropped; 1: it is looked up again; 2: it and all that follow are dropped
 */
export function resumeTxSync(what: u32): u32 {
  if (what == 2) giveUp();
  else resume(what == 1);
  return done(ringOf(source, regionOf(source)));
}

function txSync(stateBase: u32, kring: u32, token: u32, stateSlot: u32, lookup: u32): u32 {
  if (!enter(kring, token)) return SYNC_BUSY;
  // Entering comes before reading the epoch: the module, having moved it on, waits for whoever entered earlier.
  const epoch = atomic.load<u32>(stateBase, SW_EPOCH);
  if (epoch != load<u32>(ARENA_EPOCHS + (stateSlot << 2))) {
    leave(kring);
    return SYNC_REMAP;
  }
  store<u32>(kring, epoch, KR_BUSY_EPOCH);
  noBells();
  const ring = ringOf(kring, regionOf(kring));
  if (!txPrologue(kring, ring)) {
    reinit(kring, ring);
    leave(kring);
    return SYNC_REINIT;
  }
  begin(stateBase, kring);
  if (load<u32>(kring, KR_RHEAD) != load<u32>(kring, KR_HWCUR)) send(ring, lookup);
  return done(ring);
}

function send(ring: u32, lookup: u32): void {
  const head = load<u32>(source, KR_RHEAD);
  const first = load<u32>(source, KR_HWCUR);
  const sent = dist(first, head, load<u32>(source, KR_NUM_SLOTS));
  const copies = load<u32>(source, KR_COPY_MON);
  if (copies) note(mirrorSlots(state, source, copies, KR_NEXT_TX, source, first, sent, NS_TXMON));
  const batch = min(load<i32>(state, SW_BATCH), MAX_BATCH);
  if (load<u32>(source, KR_DETACHED)) drop(DROP_DETACHED, sent);
  else if (batch <= 0) drop(DROP_DISABLED, sent);
  else if (lookup == LEARNED) forward(ring, head, batch);
  else forwardBy(lookup, ring, head, batch);
}

/** What ends a sync that has sent everything. */
function done(ring: u32): u32 {
  const kring = source;
  const head = load<u32>(kring, KR_RHEAD);
  const first = load<u32>(kring, KR_HWCUR);
  const n = load<u32>(kring, KR_NUM_SLOTS);
  if (head != first) {
    if (load<u32>(kring, KR_ZCOPY_MON)) note(surrender(state, kring, first, dist(first, head, n), NS_TXMON));
    store<u32>(kring, head, KR_HWCUR);
  }
  store<u32>(kring, head == 0 ? n - 1 : head - 1, KR_HWTAIL);
  finish(kring, ring);
  leave(kring);
  return answer;
}

/** Gives the slots up to head back to the switch, and shows what senders have finished.  Monitors' rings too. */
export function valeRxSync(stateBase: u32, kring: u32, token: u32): u32 {
  if (load<u32>(kring, KR_ORPHAN)) return SYNC_ERROR;
  if (!enter(kring, token)) return SYNC_BUSY;
  store<u32>(kring, atomic.load<u32>(stateBase, SW_EPOCH), KR_BUSY_EPOCH);
  noBells();
  const ring = ringOf(kring, regionOf(kring));
  let result: u32 = 0;
  if (!rxPrologue(kring, ring)) {
    reinit(kring, ring);
    result = SYNC_REINIT;
  } else {
    const head = load<u32>(kring, KR_RHEAD);
    if (head != load<u32>(kring, KR_HWCUR)) {
      if (load<u32>(kring, KR_ZCOPY_MON)) result |= surrenderRead(stateBase, kring);
      store<u32>(kring, head, KR_HWCUR);
      atomic.store<u32>(kring + KR_RELEASED, head);
    }
    count(kring, KR_PACKETS, showFinished(stateBase, kring));
    store<u32>(kring, load<u32>(kring, KR_TAIL), KR_HWTAIL);
    finish(kring, ring);
  }
  leave(kring);
  return result;
}
