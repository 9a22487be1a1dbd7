// Transparent forwarding between a NIC's rings and the host's (spec api §2.9): what the application gives back marked
// NS_FORWARD, or with the parameter fwd all of it, goes to the other side, buffers changing places.

import { NS_BUF_CHANGED, NS_FORWARD, RING_SLOTS, SLOT_BUF_IDX, SLOT_FLAGS, SLOT_LEN, SLOT_SIZE } from '../src/abi/netmap';
import { KR_BUF_COUNT, KR_BUF_SIZE, KR_HWCUR, KR_NUM_SLOTS } from '../src/abi/state';
import { badIndex, dist, regionOf, ringOf } from './ring';

/** Frames shorter than this are no frames: passed over. */
const SHORTEST: u32 = 14;

/**
 * Swaps slots of an RX ring, those marked or all of them, from those not given back yet up to `head`, with free ones of a TX ring.
 * @param txHead  first free slot of the TX ring
 * @param space  free slots there; what does not fit is passed over
 * @returns slots filled, from txHead on
 */
export function forwardSlots(rx: u32, head: u32, tx: u32, txHead: u32, space: u32, all: bool): u32 {
  const n = load<u32>(rx, KR_NUM_SLOTS);
  const m = load<u32>(tx, KR_NUM_SLOTS);
  const first = load<u32>(rx, KR_HWCUR);
  if (head >= n || txHead >= m || first >= n) return 0;
  const bufSize = load<u32>(rx, KR_BUF_SIZE);
  const bufCount = load<u32>(rx, KR_BUF_COUNT);
  const from = ringOf(rx, regionOf(rx)) + RING_SLOTS;
  const to = ringOf(tx, regionOf(tx)) + RING_SLOTS;
  let filled: u32 = 0;
  let k = first;
  for (let left = dist(first, head, n); left != 0; left--) {
    const slot = from + k * SLOT_SIZE;
    k = k + 1 == n ? 0 : k + 1;
    const word = load<u64>(slot); // The only read of this slot.
    const flags = <u32>(word >> 48);
    if (!all && !(flags & NS_FORWARD)) continue;
    const len = <u32>(word >> 32) & 0xffff;
    store<u16>(slot, <u16>(flags & ~NS_FORWARD), SLOT_FLAGS);
    if (len < SHORTEST || len > bufSize || badIndex(<u32>word, bufCount) || filled == space) continue;
    const other = to + txHead * SLOT_SIZE;
    const free = load<u32>(other, SLOT_BUF_IDX);
    if (badIndex(free, bufCount)) continue;
    store<u32>(other, <u32>word, SLOT_BUF_IDX);
    store<u32>(other, len | (NS_BUF_CHANGED << 16), SLOT_LEN);
    store<u32>(slot, free, SLOT_BUF_IDX);
    store<u16>(slot, NS_BUF_CHANGED, SLOT_FLAGS);
    txHead = txHead + 1 == m ? 0 : txHead + 1;
    filled++;
  }
  return filled;
}
