// Bodies of a lookup's functions, rewritten so that none can run for ever: a global of ours says how many calls and
// rounds of loops are left.  A function that others may call takes one as it begins, a loop takes them by the dozen.
//
// The function that the data plane calls is a copy of `lookup` that gets the words of the frame two by two in vectors.
// Ten numbers do not fit into the registers that arguments travel in, four vectors and two numbers do; a word that is
// not used is not even taken out of its vector.  Nothing inside calls the copy, so it takes none as it begins, and its
// first rounds are free: most lookups never touch the global.

import { isLocal, LOOP, type Refuse, skipImmediates } from './instructions.ts';
import { Reader, signed, unsigned, Writer } from './leb.ts';

export const I32 = 0x7f;
export const I64 = 0x7e;
const V128 = 0x7b;

/** Parameters of `lookup`: the words of a frame, its length, its port. */
export const WORDS = 8;
const VECTORS = WORDS / 2;
/** Parameters and results of the copy, as in a section of types. */
export const VECTOR_TYPE = [VECTORS + 2, ...Array<number>(VECTORS).fill(V128), I32, I32, 1, I32];
const FIRST_WORD = VECTORS + 2;

/** Rounds that a loop takes at a time. */
const DOZEN = 64;

const LOCAL_GET = 0x20;
const LOCAL_SET = 0x21;
const LOCAL_TEE = 0x22;
const I32_CONST = 0x41;

/** A function that takes one call of what is left, and the rounds of its loops. @param fuel  number of the global */
export function meterFunction(
  body: Uint8Array,
  parameters: number,
  fuel: number,
  refuse: Refuse,
): Uint8Array {
  const reader = new Reader(body);
  const locals = readLocals(reader);
  const rounds = parameters + locals.count;
  const out = new Writer()
    .raw(unsigned(locals.groups + 1))
    .raw(locals.bytes)
    .raw([1, I32])
    .raw(take(1, fuel));
  return copyInstructions(reader, body, takeRound(rounds, fuel), (local) => local, out, refuse);
}

/** The copy of `lookup` for the data plane. */
export function vectorFunction(body: Uint8Array, fuel: number, refuse: Refuse): Uint8Array {
  const reader = new Reader(body);
  const locals = readLocals(reader);
  const rounds = FIRST_WORD + WORDS + locals.count;
  const out = new Writer()
    .raw(unsigned(locals.groups + 2))
    .raw([WORDS, I64])
    .raw(locals.bytes)
    .raw([1, I32])
    .raw([I32_CONST, ...signed(DOZEN), LOCAL_SET, ...unsigned(rounds)]);
  for (let word = 0; word < WORDS; word++) {
    const takeLane = [0xfd, 0x1d, word & 1]; // i64x2.extract_lane
    out.raw([LOCAL_GET, word >> 1, ...takeLane, LOCAL_SET, FIRST_WORD + word]);
  }
  return copyInstructions(reader, body, takeRound(rounds, fuel), localOfCopy, out, refuse);
}

/** Number in the copy of a local of `lookup`. */
function localOfCopy(local: number): number {
  if (local < WORDS) return FIRST_WORD + local;
  if (local < WORDS + 2) return local - WORDS + VECTORS;
  return local - 2 + FIRST_WORD;
}

/** if (fuel <= 0) unreachable; fuel -= count */
function take(count: number, fuel: number): number[] {
  const get = [0x23, ...unsigned(fuel)];
  const set = [0x24, ...unsigned(fuel)];
  const trapUnlessPositive = [I32_CONST, 0, 0x4c, 0x04, 0x40, 0x00, 0x0b];
  return [...get, ...trapUnlessPositive, ...get, I32_CONST, ...signed(count), 0x6b, ...set];
}

/** if (--rounds < 0) { take a dozen; rounds = DOZEN - 1 } */
function takeRound(rounds: number, fuel: number): number[] {
  const local = unsigned(rounds);
  const countDown = [LOCAL_GET, ...local, I32_CONST, 1, 0x6b, LOCAL_TEE, ...local];
  const refill = [...take(DOZEN, fuel), I32_CONST, ...signed(DOZEN - 1), LOCAL_SET, ...local];
  return [...countDown, I32_CONST, 0, 0x48, 0x04, 0x40, ...refill, 0x0b];
}

/** The locals that are no parameters, as groups of "count type". */
function readLocals(reader: Reader): { groups: number; count: number; bytes: Uint8Array } {
  const groups = reader.length();
  const start = reader.at;
  let count = 0;
  for (let i = 0; i < groups; i++) {
    count += reader.unsigned();
    reader.byte();
  }
  return { groups, count, bytes: reader.since(start) };
}

/** Copies what is left, with something put into each loop, and locals by their new numbers. */
function copyInstructions(
  reader: Reader,
  body: Uint8Array,
  inLoops: readonly number[],
  renumber: (local: number) => number,
  out: Writer,
  refuse: Refuse,
): Uint8Array {
  let copied = reader.at;
  while (!reader.done) {
    const opcode = reader.byte();
    let at = reader.at;
    let instead: readonly number[];
    if (isLocal(opcode)) {
      instead = unsigned(renumber(reader.unsigned()));
    } else {
      skipImmediates(reader, opcode, refuse);
      if (opcode !== LOOP) continue;
      at = reader.at;
      instead = inLoops;
    }
    out.raw(body.subarray(copied, at)).raw(instead);
    copied = reader.at;
  }
  return out.raw(body.subarray(copied)).bytes();
}
