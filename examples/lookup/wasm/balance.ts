// Spreads flows over ports: both addresses and, of IPv4, both ports choose one.  Configuration: the ports' indices.

export { config } from './config';
import { nextNumber } from './config';

const DROP: u32 = 255;
const ports: usize = memory.data(256);
let count: u32 = 0;
let ready = false;

function readConfig(): void {
  ready = true;
  for (let to = nextNumber(); to >= 0 && count < 254; to = nextNumber()) {
    store<u8>(ports + count, <u8>to);
    count++;
  }
}

export function lookup(w0: u64, w1: u64, w2: u64, w3: u64, w4: u64, w5: u64, w6: u64, w7: u64, length: u32, port: u32): u32 {
  if (!ready) readConfig();
  if (count == 0) return DROP;
  let key = w0 ^ (w1 & 0xffffffff);
  if ((<u32>(w1 >> 32) & 0xffff) == 0x0008 && length >= 38) key ^= (w3 >> 16) ^ (w4 << 16);
  return load<u8>(ports + <u32>((key * 0x9e3779b97f4a7c15) >> 33) % count);
}
