// What the configured lookups share: numbers out of a text that netmap writes to `config` before the first packet.

const SIZE: usize = 65536;
/** Where the configuration goes; zero follows it. */
export const config: usize = memory.data(65536);

let at: usize = config;

/** The next number in the text, decimal or (`radix` 16) hexadecimal; -1 at its end. */
export function nextNumber(radix: i32 = 10): i32 {
  while (digit(radix) < 0) {
    if (at == config + SIZE || load<u8>(at) == 0) return -1;
    at++;
  }
  let value = 0;
  for (let d = digit(radix); d >= 0; d = digit(radix)) {
    value = value * radix + d;
    at++;
  }
  return value;
}

function digit(radix: i32): i32 {
  if (at >= config + SIZE) return -1;
  const c = <i32>load<u8>(at);
  const d = c >= 48 && c <= 57 ? c - 48 : (c | 32) >= 97 && (c | 32) <= 102 ? (c | 32) - 87 : -1;
  return d < radix ? d : -1;
}
