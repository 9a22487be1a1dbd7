import { NetmapError } from '../abi/errors.ts';
import { FR_LENGTH, FR_LONGEST, FR_SIZE, FRAME_MAGIC } from '../abi/requests.ts';

/** What a client says: a line of JSON, or a frame around a request as C lays it out. */
export type Said = { line: string } | { frame: Buffer };

/** Cuts what arrives on the control socket into lines and frames of bounded length. */
export class RequestStream {
  readonly #longestLine: number;
  #rest: Buffer = Buffer.alloc(0);

  constructor(longestLine: number) {
    this.#longestLine = longestLine;
  }

  /** @returns what is complete. @throws NetmapError EMSGSIZE. */
  push(chunk: Buffer): Said[] {
    let rest = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    const said: Said[] = [];
    for (;;) {
      const length = isFrame(rest) ? frameLength(rest) : rest.indexOf(10) + 1;
      if (length === 0 || length > rest.length) break;
      const part = rest.subarray(0, length);
      said.push(isFrame(rest) ? { frame: Buffer.from(part) } : { line: this.#line(part.subarray(0, -1)) });
      rest = rest.subarray(length);
    }
    if (!isFrame(rest)) this.#line(rest);
    this.#rest = Buffer.from(rest);
    return said;
  }

  /** True in the middle of a line or frame. */
  get pending(): boolean {
    return this.#rest.length > 0;
  }

  #line(bytes: Buffer): string {
    if (bytes.length <= this.#longestLine) return bytes.toString('utf8');
    throw new NetmapError(
      'EMSGSIZE',
      `Cannot read a message of more than ${this.#longestLine} bytes: send one JSON object a line`,
    );
  }
}

function isFrame(bytes: Buffer): boolean {
  return bytes.length >= 4 && bytes.readUInt32LE(0) === FRAME_MAGIC;
}

/** Bytes of the frame at hand, 0 while that is not known. @throws NetmapError EMSGSIZE. */
function frameLength(bytes: Buffer): number {
  if (bytes.length < FR_SIZE) return 0;
  const length = bytes.readUInt32LE(FR_LENGTH);
  if (length >= FR_SIZE && length <= FR_LONGEST) return length;
  throw new NetmapError(
    'EMSGSIZE',
    `Cannot read a frame of ${length} bytes: ${FR_SIZE} to ${FR_LONGEST} are possible`,
  );
}
