// A switch's own lookup instead of the learning table (spec ports §1.17).  It says for each packet where it goes:
//
//   asked     a function of the switch's owner, called here.  It may throw at any packet; whoever catches that calls
//             resumeTxSync(), which takes the sync up where it was.
//   handed    all packets go to the port of the process that decides
//   directed  packets of that process: `ptr` of a packet's first slot holds answer | (port | ring << 8) << 32, the
//             latter saying for whom it is sent

import {
  NM_BDG_BROADCAST,
  NM_BDG_MAXPORTS,
  NM_BDG_MAXRINGS,
  NM_BDG_NOPORT,
  NS_BUF_CHANGED,
  NS_INDIRECT,
  NS_MOREFRAG,
  NS_NO_LEARN,
  NS_PORT_SHIFT,
  RING_SLOTS,
  SLOT_PTR,
  SLOT_SIZE,
} from '../src/abi/netmap';
import {
  DROP_FILTERED,
  DROP_LOOKUP,
  DROP_SHORT,
  KR_BUF_COUNT,
  KR_BUF_OFS,
  KR_BUF_SIZE,
  KR_BYTES,
  KR_HWCUR,
  KR_NUM_SLOTS,
  KR_PACKETS,
  LK_PORT,
  LOOKUP_AREA_SIZE,
  LOOKUP_AS_LEARNED,
  LOOKUP_BROKEN,
  LOOKUP_HANDED,
  PT_GEN,
  PT_RX_OPEN,
  PT_TAGGED,
  SC_ALSO,
  SW_LIST,
  SW_LISTS,
  SW_LIST_SIZE,
  SW_LOOKUP,
  SW_LOOKUP_AREAS,
} from '../src/abi/state';
import { DROP, classify, collectChain, dropSlot, ethernetOf, noLearn, toPort } from './collect';
import { flush } from './deliver';
import { learnMac, MAC_MASK, portEntry } from './mac-table';
import { badIndex, count, regionOf, scratch } from './ring';
import { FLOOD, endRun, entryAt, runs } from './runs';
import { drop, header, port, ringId, sendFor, source, state } from './sender';

// What takes the place of a function's number in the table where there is none.
const HANDED: u32 = LOOKUP_HANDED;
const BROKEN: u32 = LOOKUP_BROKEN;
export const DIRECTED: u32 = 0xfffffffe;

/** A packet may end so many runs: one for each of its further destinations, and a flood. */
const MAX_ALSO: u32 = 255;
const MAX_RUNS: u32 = 4096 - MAX_ALSO - NM_BDG_MAXPORTS - 2;

// Where the loop stands.  A function that throws takes the locals with it, so these are none.
let how: u32 = 0;
let slots: u32 = 0;
let n: u32 = 0;
let head: u32 = 0;
let bufs: u32 = 0;
let limit: u32 = 0; //     entries at which the batch is full
let k: u32 = 0; //         next slot
let asked: u32 = 0; //     first slot of the packet that is being looked up
let queue: u32 = 0; //     the run in progress: entries [first, entry) for `queue`,
let first: u32 = 0;
let entry: u32 = 0;
let more: u32 = 0; //      `more` of which are not a packet's first
let also: u32 = 0; //      further destinations of the packet in hand, at SC_ALSO
let packets: u64 = 0;
let bytes: u64 = 0;

/** First slot of the packet that the function was asked about last. */
export function lookedUp(): u32 {
  return asked;
}

/** Sends what lies in [hwcur, head) where the function of that number says, or one of the ways above. */
export function forwardBy(lookup: u32, ring: u32, end: u32, batch: u32): void {
  how = lookup;
  slots = ring + RING_SLOTS;
  n = load<u32>(source, KR_NUM_SLOTS);
  head = end;
  bufs = regionOf(source) + load<u32>(source, KR_BUF_OFS);
  k = load<u32>(source, KR_HWCUR);
  limit = entryAt(batch);
  queue = FLOOD;
  first = entry = entryAt(0);
  more = 0;
  packets = bytes = 0;
  run();
}

/** The function threw.  @param again  asks it about the same packet once more, rather than dropping it */
export function resume(again: bool): void {
  if (again) {
    k = asked;
    packets--;
  } else {
    drop(DROP_LOOKUP, 1);
  }
  run();
}

/** The function threw too often: what is left is dropped. */
export function giveUp(): void {
  drop(DROP_LOOKUP, 1);
  how = BROKEN;
  run();
}

function run(): void {
  const bufSize = load<u32>(source, KR_BUF_SIZE);
  const bufCount = load<u32>(source, KR_BUF_COUNT);
  const decider: u32 = how == HANDED ? portThatDecides() : 0;
  while (k != head) {
    if (entry >= limit || runs > MAX_RUNS) {
      endOfRun();
      flush();
      first = entry = entryAt(0);
    }
    const slot = slots + k * SLOT_SIZE;
    const told: u64 = how == DIRECTED ? load<u64>(slot, SLOT_PTR) : 0;
    const word = load<u64>(slot);
    let frame: u32;
    let length = <u32>(word >> 32) & 0xffff;
    let frags: u32 = 1;
    let learns = true;
    packets++;
    asked = k;
    if (<u32>(word >> 48) & (NS_BUF_CHANGED | NS_INDIRECT | NS_MOREFRAG | NS_NO_LEARN) || header) {
      const collected = collectChain(slots, k, head, n, bufs, entry);
      frags = <u32>collected & 0xffff;
      k = <u32>(collected >> 16) & 0xffff;
      bytes += collected >> 32;
      if (frags == 0) continue; // Dropped, and counted there.
      length = <u32>(collected >> 32);
      frame = ethernetOf(entry, frags);
      if (frame == 0) {
        drop(DROP_SHORT, 1);
        continue;
      }
      length -= header;
      learns = !noLearn;
    } else {
      k = k + 1 == n ? 0 : k + 1;
      bytes += length;
      if (<u32>badIndex(<u32>word, bufCount) | <u32>(length - 14 > bufSize - 14)) {
        dropSlot(<u32>word, length, bufCount);
        continue;
      }
      frame = bufs + <u32>word * bufSize;
      store<u64>(entry, <u64>frame | (<u64>(length | (1 << (NS_PORT_SHIFT + 16))) << 32));
    }
    if (how == HANDED) {
      route(decider, frags);
    } else if (how == DIRECTED) {
      if (sendsFor(<u32>(told >> 32))) route(destination(<u32>told, frame, learns), frags);
      else drop(DROP_LOOKUP, 1);
    } else if (how == BROKEN) {
      drop(DROP_LOOKUP, 1);
    } else {
      also = 0;
      const said = ask(how, frame, length);
      if (also) routeToAll(said, frame, frags, learns);
      else route(destination(said, frame, learns), frags);
    }
  }
  endOfRun();
  flush();
  count(source, KR_PACKETS, packets);
  count(source, KR_BYTES, bytes);
}

/** The first 64 bytes go as numbers: no memory of ours is within the function's reach. */
@inline
function ask(lookup: u32, frame: u32, length: u32): u32 {
  return call_indirect<u32>(
    lookup,
    load<u64>(frame),
    load<u64>(frame, 8),
    load<u64>(frame, 16),
    load<u64>(frame, 24),
    load<u64>(frame, 32),
    load<u64>(frame, 40),
    load<u64>(frame, 48),
    load<u64>(frame, 56),
    length,
    port,
  );
}

/** For the function to call: the packet that it is asked about goes there, too. */
export function sendAlso(answer: u32): void {
  if (also == MAX_ALSO) return;
  store<u32>(scratch + SC_ALSO + (also << 2), answer);
  also++;
}

/** Queue that an answer stands for, or FLOOD, or DROP + reason. */
function destination(said: u32, frame: u32, learns: bool): u32 {
  if (said == LOOKUP_AS_LEARNED) {
    const src = load<u64>(frame, 6) & MAC_MASK;
    if (!(src & 1) && learns) learnMac(state, src, port);
    return classify(load<u64>(frame) & MAC_MASK);
  }
  if (said == NM_BDG_BROADCAST) return FLOOD;
  if (said == NM_BDG_NOPORT) return DROP + DROP_FILTERED;
  const to = said & 0xff;
  const ring = said >> 8;
  if (to >= <u32>NM_BDG_MAXPORTS || ring > <u32>NM_BDG_MAXRINGS) return DROP + DROP_LOOKUP;
  if (load<u32>(portEntry(state, to), PT_GEN) == 0) return DROP + DROP_LOOKUP;
  return toPort(to, ring == 0 ? ringId : ring - 1);
}

/** Adds the packet whose entries were written last to a queue. */
function route(to: u32, frags: u32): void {
  if (to >= DROP) {
    drop(to - DROP, 1);
    return;
  }
  if (to != queue) {
    endOfRun();
    queue = to;
  }
  entry += frags << 3;
  more += frags - 1;
}

@inline
function endOfRun(): void {
  if (queue == FLOOD && how == DIRECTED) endFlood();
  else endRun(queue, first, entry, more);
  first = entry;
  more = 0;
}

/** A flood on behalf of one of several ports: a run for each of the others. */
function endFlood(): void {
  if (first == entry) return;
  const list = state + SW_LISTS + atomic.load<u32>(state, SW_LIST) * SW_LIST_SIZE;
  const members = <u32>load<u16>(list);
  for (let i: u32 = 0; i < members && i < <u32>NM_BDG_MAXPORTS; i++) {
    const to = <u32>load<u16>(list + 2 + (i << 1));
    if (to == port || to >= <u32>NM_BDG_MAXPORTS || !(load<u32>(portEntry(state, to), PT_RX_OPEN) & 1)) continue;
    endRun(to * NM_BDG_MAXRINGS, first, entry, more);
  }
}

/** The packet in hand for the queues that sendAlso() was called with, and the one answered: a run of its own in each. */
function routeToAll(said: u32, frame: u32, frags: u32, learns: bool): void {
  endOfRun();
  const end = entry + (frags << 3);
  if (said != NM_BDG_NOPORT) sendAlso(said);
  for (let i: u32 = 0; i < also; i++) {
    const to = destination(load<u32>(scratch + SC_ALSO + (i << 2)), frame, learns);
    if (to >= DROP) drop(to - DROP, 1);
    else endRun(to, entry, end, frags - 1);
  }
  first = entry = end;
}

/** Queue of the port whose process decides, or DROP + reason: it may be gone. */
function portThatDecides(): u32 {
  const area = state + SW_LOOKUP_AREAS + (load<u32>(state, SW_LOOKUP) & 1) * LOOKUP_AREA_SIZE;
  const to = load<u32>(area, LK_PORT);
  if (to >= <u32>NM_BDG_MAXPORTS) return DROP + DROP_LOOKUP;
  const entry = portEntry(state, to);
  if (!load<u32>(entry, PT_TAGGED) || !(load<u32>(entry, PT_RX_OPEN) & 1)) return DROP + DROP_LOOKUP;
  return to * NM_BDG_MAXRINGS;
}

/** What follows is sent for that port and ring; false if there is no such port. */
function sendsFor(sender: u32): bool {
  const from = sender & 0xff;
  const ring = (sender >> 8) & 0xff;
  if (from == port && ring == ringId) return true;
  if (from >= <u32>NM_BDG_MAXPORTS || load<u32>(portEntry(state, from), PT_GEN) == 0) return false;
  endOfRun();
  sendFor(from, ring);
  return true;
}
