// The switch's learning table: which port an address was last seen on (spec ports §1.6, without its defects).
//
//   entry (one 64-bit word, so a reader never sees a torn pair)
//   | port generation 8 | port 8 | MAC 48, first byte on the wire lowest |
//
// Two ways a bucket.  An entry counts only while its port has the generation it was learned under: the table
// needs no purge when a port closes, and a new port in the same place does not inherit its traffic.

import { PT_GEN, PT_SIZE, SW_CLOCK, SW_MAC_BUCKET_BITS, SW_MACS, SW_PORTS, SW_SEEN } from '../src/abi/state';

export const MAC_MASK: u64 = 0xffffffffffff;

@inline
export function portEntry(state: u32, port: u32): u32 {
  return state + SW_PORTS + port * PT_SIZE;
}

@inline
function bucketOf(state: u32, mac: u64): u32 {
  return state + SW_MACS + (<u32>((mac * 0x9e3779b97f4a7c15) >> (64 - SW_MAC_BUCKET_BITS)) << 4);
}

@inline
function isLive(state: u32, entry: u64): bool {
  return load<u32>(portEntry(state, <u32>(entry >> 48) & 0xff), PT_GEN) == <u32>(entry >> 56) && entry >> 56 != 0;
}

/** Port that `mac` was last seen on, or -1. */
@inline
export function lookupMac(state: u32, mac: u64): i32 {
  const bucket = bucketOf(state, mac);
  let entry = load<u64>(bucket);
  if (((entry ^ mac) & MAC_MASK) != 0) {
    entry = load<u64>(bucket, 8);
    if (((entry ^ mac) & MAC_MASK) != 0) return -1;
  }
  return isLive(state, entry) ? <i32>(entry >> 48) & 0xff : -1;
}

/** True while the table still says that `mac` is behind this port; then it is as good as seen now. */
export function isLearned(state: u32, mac: u64, port: u32): bool {
  if (lookupMac(state, mac) != <i32>port) return false;
  const bucket = bucketOf(state, mac);
  saw(state, ((load<u64>(bucket) ^ mac) & MAC_MASK) == 0 ? bucket : bucket + 8);
  return true;
}

@inline
function saw(state: u32, entry: u32): void {
  const seen = state + SW_SEEN + ((entry - state - SW_MACS) >> 1);
  const now = load<u32>(state, SW_CLOCK);
  if (load<u32>(seen) != now) store<u32>(seen, now);
}

/** Forgets addresses that were not seen for `age` seconds; answers how many. */
export function forgetSilent(state: u32, age: u32): u32 {
  const now = load<u32>(state, SW_CLOCK);
  let forgotten: u32 = 0;
  for (let i: u32 = 0; i < 2 << SW_MAC_BUCKET_BITS; i++) {
    const entry = state + SW_MACS + (i << 3);
    if (load<u64>(entry) == 0 || now - load<u32>(state + SW_SEEN + (i << 2)) <= age) continue;
    store<u64>(entry, 0); // Whoever has just seen it again learns it anew with the next batch.
    forgotten++;
  }
  return forgotten;
}

/** Notes that `mac` was seen on `port`; the newest sighting wins. */
export function learnMac(state: u32, mac: u64, port: u32): void {
  const bucket = bucketOf(state, mac);
  const fresh = mac | (<u64>port << 48) | (<u64>load<u32>(portEntry(state, port), PT_GEN) << 56);
  const first = load<u64>(bucket);
  const second = load<u64>(bucket, 8);
  let entry = bucket + 8;
  if (((first ^ mac) & MAC_MASK) == 0) {
    entry = bucket;
  } else if (((second ^ mac) & MAC_MASK) != 0) {
    if (!isLive(state, first)) entry = bucket;
    else if (isLive(state, second)) {
      store<u64>(bucket, second); // Both taken: the older way goes.
      saw(state, bucket);
    }
  }
  saw(state, entry);
  if (load<u64>(entry) != fresh) store<u64>(entry, fresh);
}
