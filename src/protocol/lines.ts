import { NetmapError } from '../abi/errors.ts';

/** Cuts a text stream into lines of bounded length. */
export class LineReader {
  readonly #longest: number;
  #rest = '';

  constructor(longest: number) {
    this.#longest = longest;
  }

  /** @returns the lines completed by `chunk`.  @throws NetmapError EMSGSIZE. */
  push(chunk: string): string[] {
    const lines = (this.#rest + chunk).split('\n');
    this.#rest = lines.pop()!;
    for (const line of [...lines, this.#rest]) {
      if (line.length > this.#longest) {
        throw new NetmapError(
          'EMSGSIZE',
          `Cannot read a message of more than ${this.#longest} characters: send one JSON object a line`,
        );
      }
    }
    return lines;
  }

  /** True in the middle of a line. */
  get pending(): boolean {
    return this.#rest !== '';
  }
}
