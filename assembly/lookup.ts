// A switch's own lookup instead of the learning table (spec ports §1.17).  It says for each packet where it goes:
//
//   asked     a function of the switch's owner, called here.  It may throw at any packet; whoever catches that calls
//             resumeTxSync(), which takes the sync up where it was.
//   handed    all packets go to the port of the process that decides
//   directed  packets of that process: `ptr` of a packet's first slot holds answer | (port | ring << 8) << 32, the
//             latter saying for whom it is sent, | list << 48, which names further destinations at SC_FURTHER

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
  FURTHER_WORDS,
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
  SC_ENTRIES,
  SC_FURTHER,
  SC_HEADERS,
  SC_TOLD,
  SW_LIST,
  SW_LISTS,
  SW_LIST_SIZE,
  SW_LOOKUP,
  SW_LOOKUP_AREAS,
} from '../src/abi/state';
import { DROP, NO_MAC, classify, collectChain, dropSlot, ethernetOf, noLearn, toPort } from './collect';
import { copyFrame } from './copy';
import { flush } from './deliver';
import { learnMac, MAC_MASK, portEntry } from './mac-table';
import { badIndex, count, hasOffsets, regionOf, scratch } from './ring';
import { FLOOD, endRun, entryAt, noteFragments, runs } from './runs';
import { drop, header, port, ringId, sendFor, source, state } from './sender';

// What takes the place of a function's number in the table where there is none.
const HANDED: u32 = LOOKUP_HANDED;
const BROKEN: u32 = LOOKUP_BROKEN;
export const DIRECTED: u32 = 0xfffffffe;

/** A packet may end so many runs: one for each of its further destinations, and a flood. */
const MAX_ALSO: u32 = 255;
const MAX_RUNS: u32 = 4096 - MAX_ALSO - NM_BDG_MAXPORTS - 2;
/** Flags of an entry that is all of its packet. */
const ONE_SLOT: u32 = 1 << NS_PORT_SHIFT;
/** Behind an entry, so far: what its slot's `ptr` held. */
const TOLD = SC_TOLD - SC_ENTRIES;
/** An answer that no port has. */
const NONSENSE: u32 = 0xffffffff;
/** Sixteen bytes from here on keep all, further on fewer. */
const WINDOW = <u32>memory.data<u64>([-1, -1, 0, 0]);
/** No answer at all. */
const NOTHING: u64 = 0xffffffffffffffff;

// Where a sync stands: slots up to `k` are in entries, of which those from `at` on are not decided yet.  A function
// that throws takes the locals with it, so these are none.
let how: u32 = 0;
let txRing: u32 = 0;
let head: u32 = 0;
let limit: u32 = 0; //     entries at which a batch is full
let k: u32 = 0; //         next slot
let at: u32 = 0; //        entry of the packet that is asked about
let stop: u32 = 0;
let queue: u32 = 0; //     the run in progress: entries [first, at) for `queue`, which may be DROP + reason,
let first: u32 = 0;
let more: u32 = 0; //      `more` of which are not a packet's first
let also: u32 = 0; //      further destinations of the packet in hand, at SC_ALSO
let packets: u64 = 0;
let bytes: u64 = 0;

/** Which packet of the sync the function was asked about last: another number for each. */
export function lookedUp(): u32 {
  return (k << 13) | ((at - entryAt(0)) >> 3);
}

/** Sends what lies in [hwcur, head) where the function of that number says, or one of the ways above. */
export function forwardBy(lookup: u32, ring: u32, end: u32, batch: u32): void {
  how = lookup;
  txRing = ring;
  head = end;
  limit = entryAt(batch);
  k = load<u32>(source, KR_HWCUR);
  at = stop = first = entryAt(0);
  more = also = 0;
  packets = bytes = 0;
  run();
}

/** The function threw.  @param again  asks it about the same packet once more, rather than dropping it */
export function resume(again: bool): void {
  also = 0;
  if (!again) {
    turnTo(DROP + DROP_LOOKUP);
    pass();
  }
  run();
}

/** The function threw too often: what is left is dropped. */
export function giveUp(): void {
  how = BROKEN;
  run();
}

function run(): void {
  for (;;) {
    turnTo(DROP + DROP_LOOKUP); // Until somebody says otherwise.
    if (how == HANDED) routeAll(portThatDecides());
    else if (how == BROKEN) routeAll(DROP + DROP_LOOKUP);
    else if (how == DIRECTED) followEach();
    else askAboutEach(how);
    endRunHere();
    flush();
    if (k == head) break;
    gather();
  }
  count(source, KR_PACKETS, packets);
  count(source, KR_BYTES, bytes);
}

/** Reads slots into entries, as many as make a batch. */
function gather(): void {
  const slots = txRing + RING_SLOTS;
  const n = load<u32>(source, KR_NUM_SLOTS);
  const bufs = regionOf(source) + load<u32>(source, KR_BUF_OFS);
  const bufSize = load<u32>(source, KR_BUF_SIZE);
  const bufCount = load<u32>(source, KR_BUF_COUNT);
  const directed = how == DIRECTED;
  const full = limit;
  const plain = header == 0 && !hasOffsets(source);
  const end = head;
  let entry = entryAt(0);
  let next = k;
  let seen: u64 = 0;
  let size: u64 = 0;
  while (next != end && entry < full) {
    // Slots in a row, as in forward().
    const inRow: u32 = plain ? (end > next ? end : n) - next : 0;
    const room = (full - entry) >> 3;
    const start = slots + next * SLOT_SIZE;
    const beyond = start + (inRow < room ? inRow : room) * SLOT_SIZE;
    let slot = start;
    let chain = !plain;
    for (; slot != beyond; slot += SLOT_SIZE) {
      const word = load<u64>(slot); // The only read of this slot.
      if (<u32>(word >> 48) & (NS_BUF_CHANGED | NS_INDIRECT | NS_MOREFRAG | NS_NO_LEARN)) {
        chain = true;
        break;
      }
      const length = <u32>(word >> 32) & 0xffff;
      size += length;
      if (<u32>badIndex(<u32>word, bufCount) | <u32>(length - 14 > bufSize - 14)) {
        dropSlot(<u32>word, length, bufCount);
        continue;
      }
      store<u64>(entry, <u64>(bufs + <u32>word * bufSize) | (<u64>(length | (ONE_SLOT << 16)) << 32));
      if (directed) store<u64>(entry, load<u64>(slot, SLOT_PTR), TOLD);
      entry += 8;
    }
    const passed = (slot - start) / SLOT_SIZE;
    seen += passed;
    next = next + passed == n ? 0 : next + passed;
    if (!chain) continue;

    const told = load<u64>(slots + next * SLOT_SIZE, SLOT_PTR);
    const collected = collectChain(slots, next, end, n, bufs, entry);
    const frags = <u32>collected & 0xffff;
    next = <u32>(collected >> 16) & 0xffff;
    size += collected >> 32;
    seen++;
    if (frags == 0) continue; // Dropped, and counted there.
    if (ethernetOf(entry, frags) == 0) {
      drop(DROP_SHORT, 1);
      continue;
    }
    if (noLearn) store<u16>(entry, load<u16>(entry, 6) | NS_NO_LEARN, 6); // For us alone: pass() takes it away.
    if (directed) store<u64>(entry, told, TOLD);
    entry += frags << 3;
  }
  at = first = entryAt(0);
  stop = entry;
  k = next;
  packets += seen;
  bytes += size;
}

/** Asks the function about the packets of [at, stop).  What lives across a call costs, so little does. */
function askAboutEach(lookup: u32): void {
  const end = stop;
  let last = NOTHING; // What was said of the packet before, if it was put into the run in progress.
  let entry = at;
  while (entry != end) {
    at = entry;
    const word = load<u64>(entry);
    const length = <u32>(word >> 32) & 0xffff;
    // One slot, no header, and as long as what is shown of it.
    if (<u32>(word >> 48) != ONE_SLOT || length < 48 || header) {
      settle(askAboutChain(lookup, entry));
      entry = at;
      last = NOTHING;
      continue;
    }
    const said = ask(lookup, <u32>word, length);
    if (<u64>said == last && !also && (said != LOOKUP_AS_LEARNED || sameAddresses(entry))) {
      entry += 8;
      continue;
    }
    last = also ? NOTHING : said;
    settle(said);
    entry = at;
  }
  at = end;
}

/** The same of the packet at `entry`, whatever it is made of. */
function askAboutChain(lookup: u32, entry: u32): u32 {
  const word = load<u64>(entry);
  const frags = <u32>(word >> 48) >> NS_PORT_SHIFT;
  const frame = ethernetOf(entry, frags);
  const have = <u32>(word >> 32) & 0xffff; // If that is the header alone, the frame begins with the second slot.
  const shown = have == header ? <u32>load<u16>(entry, 12) : have - header;
  return ask(lookup, shown < 64 ? padded(frame, shown) : frame, lengthOf(entry, frags) - header);
}

/** The packets at `entry` and in front of it have the same addresses. */
@inline
function sameAddresses(entry: u32): bool {
  const frame = load<u32>(entry);
  const before = load<u32>(entry - 8);
  return load<u64>(frame) == load<u64>(before) && load<u32>(frame, 8) == load<u32>(before, 8);
}

/** A copy of a frame's first bytes, of which there are fewer than a function is shown: zeros follow. */
function padded(frame: u32, length: u32): u32 {
  const copy = scratch + SC_HEADERS;
  memory.fill(copy, 0, 64);
  copyFrame(copy, frame, length);
  return copy;
}

/**
 * The first 64 bytes go as numbers: no memory of ours is within the function's reach.  Of those of a frame of 48 bytes or
 * more, what is behind its end is masked here; shorter ones have been padded.
 */
@inline
function ask(lookup: u32, frame: u32, length: u32): u32 {
  return call_indirect<u32>(
    lookup,
    v128.load(frame),
    v128.load(frame, 16),
    v128.load(frame, 32),
    v128.and(v128.load(frame, 48), v128.load(WINDOW + 64 - min<u32>(length, 64))),
    length,
    port,
  );
}

/** Has the packets of [at, stop) go where they were told to. */
function followEach(): void {
  let last = NOTHING; // What was told of the packet before, if that stands for the run in progress.
  while (at != stop) {
    const told = load<u64>(at, TOLD);
    if (told == last) {
      pass();
      continue;
    }
    const list = <u32>(told >> 48);
    last = list || <u32>told == LOOKUP_AS_LEARNED ? NOTHING : told;
    if (sendsFor(<u32>(told >> 32) & 0xffff)) {
      if (list) readFurther(list);
      settle(<u32>told);
    } else {
      settle(NONSENSE);
    }
  }
}

/** Takes the further destinations of the packet at `at` from the list that starts at that word. */
function readFurther(list: u32): void {
  if (list >= <u32>FURTHER_WORDS) return;
  const from = scratch + SC_FURTHER + (list << 2);
  const count = min(load<u32>(from), <u32>FURTHER_WORDS - list - 1);
  for (let i: u32 = 0; i < count; i++) sendAlso(load<u32>(from + (i << 2), 4));
}

/** Has the packet at `at` go where that answer says. */
function settle(said: u32): void {
  if (also) {
    routeToAll(said);
  } else {
    turnTo(destination(said));
    pass();
  }
}
/** Puts the packets of [at, stop) into a run. */
function routeAll(to: u32): void {
  turnTo(to);
  while (at != stop) pass();
}

/** The packet at `at` belongs to the run in progress. */
function pass(): void {
  const flags: u32 = load<u16>(at, 6);
  if (flags & NS_NO_LEARN) store<u16>(at, flags & ~NS_NO_LEARN, 6);
  const frags = flags >> NS_PORT_SHIFT;
  more += frags - 1;
  at += frags << 3;
}

/** What follows goes to that queue, or is dropped for DROP + reason. */
function turnTo(to: u32): void {
  if (to == queue) return;
  endRunHere();
  queue = to;
}

/** Ends the run in progress in front of `at`. */
function endRunHere(): void {
  if (queue >= DROP) drop(queue - DROP, ((at - first) >> 3) - more);
  else if (queue == FLOOD && how == DIRECTED) endFlood();
  else endRun(queue, first, at, more);
  first = at;
  more = 0;
  if (runs <= MAX_RUNS) return;
  flush();
  noteFragments(); // There may be some among the entries that are left.
}

function lengthOf(entry: u32, frags: u32): u32 {
  let length: u32 = 0;
  for (let i: u32 = 0; i < frags; i++) length += load<u16>(entry + (i << 3), 4);
  return length;
}

/** For the function to call: the packet that it is asked about goes there, too. */
export function sendAlso(answer: u32): void {
  if (also == MAX_ALSO) return;
  store<u32>(scratch + SC_ALSO + (also << 2), answer);
  also++;
}

/** Queue that an answer about the packet at `at` stands for, or FLOOD, or DROP + reason. */
function destination(said: u32): u32 {
  if (said == LOOKUP_AS_LEARNED) return learned();
  if (said == NM_BDG_BROADCAST) return FLOOD;
  if (said == NM_BDG_NOPORT) return DROP + DROP_FILTERED;
  const to = said & 0xff;
  const ring = said >> 8;
  if (to >= <u32>NM_BDG_MAXPORTS || ring > <u32>NM_BDG_MAXRINGS) return DROP + DROP_LOOKUP;
  if (load<u32>(portEntry(state, to), PT_GEN) == 0) return DROP + DROP_LOOKUP;
  return toPort(to, ring == 0 ? ringId : ring - 1);
}

/** What the learning table says, which learns from the packet. */
function learned(): u32 {
  const flags: u32 = load<u16>(at, 6);
  const frame = ethernetOf(at, flags >> NS_PORT_SHIFT);
  const src = load<u64>(frame, 6) & MAC_MASK;
  if (!(src & 1) && !(flags & NS_NO_LEARN)) learnMac(state, src, port);
  return classify(load<u64>(frame) & MAC_MASK);
}

/** A flood on behalf of one of several ports: a run for each of the others. */
function endFlood(): void {
  if (first == at) return;
  const list = state + SW_LISTS + atomic.load<u32>(state, SW_LIST) * SW_LIST_SIZE;
  const members = <u32>load<u16>(list);
  for (let i: u32 = 0; i < members && i < <u32>NM_BDG_MAXPORTS; i++) {
    const to = <u32>load<u16>(list + 2 + (i << 1));
    if (to == port || to >= <u32>NM_BDG_MAXPORTS || !(load<u32>(portEntry(state, to), PT_RX_OPEN) & 1)) continue;
    endRun(to * NM_BDG_MAXRINGS, first, at, more);
  }
}

/** The packet at `at` goes where sendAlso() was told, and where the answer says: a run of its own for each. */
function routeToAll(said: u32): void {
  if (said != NM_BDG_NOPORT) sendAlso(said);
  const entry = at;
  const flags = load<u16>(entry, 6);
  for (let i: u32 = 0; i < also; i++) {
    at = entry;
    store<u16>(entry, flags, 6); // As it was before pass().
    turnTo(destination(load<u32>(scratch + SC_ALSO + (i << 2))));
    pass();
    endRunHere();
    first = entry;
  }
  first = at;
  also = 0;
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
  if (sender == (port | (ringId << 8))) return true;
  const from = sender & 0xff;
  if (from >= <u32>NM_BDG_MAXPORTS || load<u32>(portEntry(state, from), PT_GEN) == 0) return false;
  endRunHere();
  sendFor(from, (sender >> 8) & 0xff);
  return true;
}
