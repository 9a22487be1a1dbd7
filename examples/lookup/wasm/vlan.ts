// Switches within the switch: a frame goes to the other ports of its sender's VLAN.  Configuration: lines of
// "PORT VLAN"; a port that is in none sends to nobody.

export { config } from './config';
import { nextNumber } from './config';

@external('netmap', 'sendAlso')
declare function sendAlso(answer: u32): void;

const DROP: u32 = 255;
/** VLAN u16 of each of 256 ports; 0: none. */
const vlanOf: usize = memory.data(512);
let ready = false;

function readConfig(): void {
  ready = true;
  for (;;) {
    const member = nextNumber();
    const vlan = nextNumber();
    if (vlan < 0) return;
    if (member < 254) store<u16>(vlanOf + (<usize>member << 1), <u16>vlan);
  }
}

export function lookup(w0: u64, w1: u64, w2: u64, w3: u64, w4: u64, w5: u64, w6: u64, w7: u64, length: u32, port: u32): u32 {
  if (!ready) readConfig();
  const vlan = load<u16>(vlanOf + (<usize>(port & 255) << 1));
  if (vlan == 0) return DROP;
  for (let member: u32 = 0; member < 254; member++)
    if (member != port && load<u16>(vlanOf + (<usize>member << 1)) == vlan) sendAlso(member);
  return DROP;
}
