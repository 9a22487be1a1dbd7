// Drops what a rule denies; the rest goes where the learning table says.  Configuration: lines of "PROTOCOL PORT",
// numbers of an IPv4 protocol and a destination port that are denied, port 0: all of them.  "6 23" is Telnet.

export { config } from './config';
import { nextNumber } from './config';

const DROP: u32 = 255;
const AS_LEARNED: u32 = 0x10000;
/** Up to 255 rules of protocol u32, port u32. */
const rules: usize = memory.data(2048);
let count: usize = 0;
let ready = false;

function readConfig(): void {
  ready = true;
  while (count < 255) {
    const protocol = nextNumber();
    const to = nextNumber();
    if (to < 0) return;
    store<i32>(rules + (count << 3), protocol);
    store<i32>(rules + (count << 3), to, 4);
    count++;
  }
}

export function lookup(w0: u64, w1: u64, w2: u64, w3: u64, w4: u64, w5: u64, w6: u64, w7: u64, length: u32, port: u32): u32 {
  if (!ready) readConfig();
  const isIpv4 = (<u32>(w1 >> 32) & 0xffff) == 0x0008;
  if (!isIpv4 || length < 38) return AS_LEARNED;
  const protocol = <i32>(w2 >> 56);
  const to = <i32>bswap<u16>(<u16>(w4 >> 32));
  for (let i: usize = 0; i < count; i++) {
    const denied = load<i32>(rules + (i << 3), 4);
    if (load<i32>(rules + (i << 3)) == protocol && (denied == 0 || denied == to)) return DROP;
  }
  return AS_LEARNED;
}
