import { NetmapError } from '../../src/client/index.ts';

/** An Ethernet address, as typed. @throws NetmapError EINVAL: six hexadecimal bytes parted by colons are expected. */
export function parseMac(text: string): Uint8Array {
  const parts = text.split(':');
  if (parts.length !== 6 || !parts.every((part) => /^[0-9a-fA-F]{1,2}$/.test(part))) {
    throw new NetmapError(
      'EINVAL',
      `invalid MAC address '${text}': six hexadecimal bytes parted by colons are expected, as in 02:00:00:00:00:01`,
    );
  }
  return Uint8Array.from(parts, (part) => Number.parseInt(part, 16));
}
