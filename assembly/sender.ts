// The sync in progress, as everything that runs in it sees it: one at a time runs in an instance.

import { RING_SLOTS, SLOT_PTR, SLOT_SIZE } from '../src/abi/netmap';
import { KR_DROPS, KR_NUM_SLOTS, KR_PORT, KR_RING_ID, PT_HEADER } from '../src/abi/state';
import { portEntry } from './mac-table';
import { count, ringOf } from './ring';

/** The switch. */
export let state: u32 = 0;
/** The sending ring's kring. */
export let source: u32 = 0;
/** The port whose frames they are, */
export let port: u32 = 0;
/** the ring of it that they come from, */
export let ringId: u32 = 0;
/** and the virtio-net header in front of them. */
export let header: u32 = 0;
/** SYNC_* bits that the sync will answer. */
export let answer: u32 = 0;

export function begin(stateBase: u32, kring: u32): void {
  state = stateBase;
  source = kring;
  answer = 0;
  sendFor(load<u32>(kring, KR_PORT), load<u32>(kring, KR_RING_ID));
  header = load<u32>(portEntry(state, port), PT_HEADER);
}

/** What follows was sent by that port and ring. */
export function sendFor(sender: u32, ring: u32): void {
  port = sender;
  ringId = ring;
}

@inline
export function note(bits: u32): void {
  answer |= bits;
}

@inline
export function drop(reason: u32, packets: u64): void {
  count(source, KR_DROPS + reason * 8, packets);
}

/** Writes into the slots of a claimed block which port and ring its frames come from. */
export function tag(kring: u32, region: u32, block: u64): void {
  const n = load<u32>(kring, KR_NUM_SLOTS);
  const slots = ringOf(kring, region) + RING_SLOTS;
  let j = (<u32>block >> 16) & 0xffff;
  for (let i = <u32>block & 0xffff; i != 0; i--) {
    store<u64>(slots + j * SLOT_SIZE, <u64>(port | (ringId << 8)), SLOT_PTR);
    j = j + 1 == n ? 0 : j + 1;
  }
}
