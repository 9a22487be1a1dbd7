// WebAssembly modules of one function, assembled byte by byte, for what no compiler would write.

const I32 = 0x7f;
const I64 = 0x7e;
export const LOOKUP_SIGNATURE: readonly number[] = [...Array<number>(8).fill(I64), I32, I32];

interface Parts {
  /** Instructions of the function, without the last `end`. */
  body: readonly number[];
  /** Locals of type i32 that it has besides its parameters. */
  locals?: number;
  name?: string;
  parameters?: readonly number[];
  import?: readonly [string, string];
  pages?: number;
  /** Instructions of a start function. */
  start?: readonly number[];
}

export function assemble({
  body,
  locals = 0,
  name = 'lookup',
  parameters = LOOKUP_SIGNATURE,
  import: imported,
  pages,
  start,
}: Parts): Uint8Array {
  const first = imported ? 1 : 0;
  const functions = start ? [0, 1] : [0];
  const code = (instructions: readonly number[]) => sized([1, locals, I32, ...instructions, 0x0b]);
  return Uint8Array.from([
    ...[0, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
    ...section(1, [2, 0x60, ...sized(parameters), 1, I32, 0x60, 0, 0]),
    ...(imported ? section(2, [1, ...text(imported[0]), ...text(imported[1]), 0, 1]) : []),
    ...section(3, sized(functions)),
    ...(pages === undefined ? [] : section(5, [1, 0, ...leb(pages)])),
    ...section(7, [1, ...text(name), 0, first]),
    ...(start ? section(8, [first + 1]) : []),
    ...section(10, [functions.length, ...code(body), ...(start ? code(start) : [])]),
  ]);
}

function section(id: number, bytes: readonly number[]): number[] {
  return [id, ...sized(bytes)];
}

function sized(bytes: readonly number[]): number[] {
  return [...leb(bytes.length), ...bytes];
}

function text(value: string): number[] {
  return sized([...new TextEncoder().encode(value)]);
}

function leb(value: number): number[] {
  return value < 128 ? [value] : [(value & 0x7f) | 0x80, ...leb(value >> 7)];
}
