// The instructions of WebAssembly that a lookup may have, one by one: what is not known is refused, so nothing can hide
// a loop (WebAssembly core specification 2.0, section 5.4).

import type { NetmapError } from '../../abi/errors.ts';
import type { Reader } from './leb.ts';

export type Refuse = (why: string) => NetmapError;

export const LOOP = 0x03;
/** Those on locals: get, set, tee. */
export const isLocal = (opcode: number) => opcode >= 0x20 && opcode <= 0x22;

/** How many numbers of locals, functions, labels, memories follow an opcode. */
const INDICES: ReadonlyMap<number, number> = new Map([
  [0x00, 0], // unreachable
  [0x01, 0], // nop
  [0x05, 0], // else
  [0x0b, 0], // end
  [0x0f, 0], // return
  [0x1a, 0], // drop
  [0x1b, 0], // select
  [0x0c, 1], // br
  [0x0d, 1], // br_if
  [0x10, 1], // call
  [0x20, 1], // local.get
  [0x21, 1], // local.set
  [0x22, 1], // local.tee
  [0x23, 1], // global.get
  [0x24, 1], // global.set
  [0x3f, 1], // memory.size
  [0x40, 1], // memory.grow
  [0x11, 2], // call_indirect
]);
/** The same for what follows 0xfc; up to 7 are conversions. */
const INDICES_FC: ReadonlyMap<number, number> = new Map([
  [8, 2], //  memory.init
  [9, 1], //  data.drop
  [10, 2], // memory.copy
  [11, 1], // memory.fill
]);

/** Passes over what follows an opcode. @throws NetmapError for instructions that lookups may not have. */
export function skipImmediates(reader: Reader, opcode: number, refuse: Refuse): void {
  const skip = (count: number) => {
    for (let i = 0; i < count; i++) reader.unsigned();
  };
  if (opcode >= 0x45 && opcode <= 0xc4) return; // comparisons, arithmetic, conversions
  if (opcode >= 0x28 && opcode <= 0x3e) {
    // Loads and stores; a higher alignment says that the number of a memory follows.
    if (reader.unsigned() > 3) throw refuse('it has more than one memory');
    skip(1);
    return;
  }
  const indices = INDICES.get(opcode);
  if (indices !== undefined) {
    skip(indices);
    return;
  }
  switch (opcode) {
    case 0x02: // block
    case LOOP:
    case 0x04: // if
    case 0x41: // i32.const
    case 0x42: // i64.const
      reader.signed();
      return;
    case 0x0e: // br_table
      skip(reader.length() + 1);
      return;
    case 0x1c: // select t
      skip(reader.length());
      return;
    case 0x43: // f32.const
      reader.take(4);
      return;
    case 0x44: // f64.const
      reader.take(8);
      return;
    case 0xfc: {
      const operation = reader.unsigned();
      const follow = operation < 8 ? 0 : INDICES_FC.get(operation);
      if (follow === undefined)
        throw refuse(`it has the instruction 0xfc ${operation}, which is not allowed`);
      skip(follow);
      return;
    }
    default:
      throw refuse(
        `it has the instruction 0x${opcode.toString(16)}, which is not allowed: no vectors, threads, references, tail calls`,
      );
  }
}
