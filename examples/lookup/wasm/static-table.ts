// A table of addresses that nobody can change by sending.  Configuration: lines of "02:00:00:00:00:01 PORT".

export { config } from './config';
import { nextNumber } from './config';

const DROP: u32 = 255;
const BROADCAST: u32 = 254;
/** 1024 entries of address u64, with the port in its top byte; 0: free. */
const table: usize = memory.data(8192);
const MASK: u64 = 0xffffffffffff;
let ready = false;

function place(mac: u64): u32 {
  return <u32>((mac * 0x9e3779b97f4a7c15) >> 54);
}

function readConfig(): void {
  ready = true;
  for (let entries = 0; entries < 1000; entries++) {
    let mac: u64 = 0;
    for (let i: u64 = 0; i < 6; i++) {
      const byte = nextNumber(16);
      if (byte < 0) return;
      mac |= <u64>byte << (8 * i);
    }
    const to = nextNumber();
    if (to < 0) return;
    let i = place(mac);
    while (load<u64>(table + (i << 3))) i = (i + 1) & 1023;
    store<u64>(table + (i << 3), mac | (<u64>(to + 1) << 48));
  }
}

export function lookup(w0: u64, w1: u64, w2: u64, w3: u64, w4: u64, w5: u64, w6: u64, w7: u64, length: u32, port: u32): u32 {
  if (!ready) readConfig();
  if (w0 & 1) return BROADCAST;
  const mac = w0 & MASK;
  let i = place(mac);
  let entry = load<u64>(table + (i << 3));
  while (entry && (entry & MASK) != mac) {
    i = (i + 1) & 1023;
    entry = load<u64>(table + (i << 3));
  }
  return entry ? <u32>(entry >> 48) - 1 : DROP;
}
