// Bytes and LEB128 numbers of the WebAssembly binary format, of at most 32 bits where they are lengths or indices.

export class Reader {
  readonly #bytes: Uint8Array;
  at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  get done(): boolean {
    return this.at >= this.#bytes.length;
  }

  /** @throws RangeError at the end, as all of these do. */
  byte(): number {
    const byte = this.#bytes[this.at++];
    if (byte === undefined) throw new RangeError('beyond the end');
    return byte;
  }

  take(length: number): Uint8Array {
    if (length > this.#bytes.length - this.at) throw new RangeError('beyond the end');
    this.at += length;
    return this.#bytes.subarray(this.at - length, this.at);
  }

  /** What has been read from there on. */
  since(start: number): Uint8Array {
    return this.#bytes.subarray(start, this.at);
  }

  u32le(): number {
    return new DataView(this.take(4).slice().buffer).getUint32(0, true);
  }

  unsigned(): number {
    let value = 0;
    for (let shift = 0; shift < 35; shift += 7) {
      const byte = this.byte();
      value += (byte & 0x7f) * 2 ** shift;
      if (byte < 0x80) return value;
    }
    throw new RangeError('number of more than 5 bytes');
  }

  /** A count of things that take a byte each at least. */
  length(): number {
    const length = this.unsigned();
    if (length > this.#bytes.length - this.at) throw new RangeError('more entries than bytes');
    return length;
  }

  /** Passes over a signed number of up to 64 bits. */
  signed(): void {
    for (let i = 0; i < 10; i++) if (this.byte() < 0x80) return;
    throw new RangeError('number of more than 10 bytes');
  }

  name(): string {
    return new TextDecoder('utf-8', { fatal: true }).decode(this.take(this.unsigned()));
  }
}

export class Writer {
  readonly #parts: Uint8Array[] = [];

  byte(value: number): this {
    return this.raw([value]);
  }

  raw(bytes: ArrayLike<number>): this {
    this.#parts.push(Uint8Array.from(bytes));
    return this;
  }

  /** Bytes with their count in front. */
  sized(bytes: Uint8Array): this {
    return this.raw(unsigned(bytes.length)).raw(bytes);
  }

  bytes(): Uint8Array {
    const all = new Uint8Array(this.#parts.reduce((sum, { length }) => sum + length, 0));
    let at = 0;
    for (const part of this.#parts) {
      all.set(part, at);
      at += part.length;
    }
    return all;
  }
}

export function unsigned(value: number): number[] {
  const bytes: number[] = [];
  let left = value;
  do {
    const more = left >= 0x80;
    bytes.push((left % 0x80) | (more ? 0x80 : 0));
    left = Math.floor(left / 0x80);
  } while (left > 0);
  return bytes;
}

/** Of a number that is not negative. */
export function signed(value: number): number[] {
  const bytes = unsigned(value);
  const last = bytes.length - 1;
  if (bytes[last]! & 0x40) {
    bytes[last]! |= 0x80;
    bytes.push(0);
  }
  return bytes;
}
