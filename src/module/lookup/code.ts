// What a lookup's WebAssembly may be, and the count that is put into it so that it cannot run for ever.
//
// The binary is taken apart as far as needed (WebAssembly core specification 2.0, chapter 5): every loop and every
// function begins with "is anything left? one less" on a global of ours, and its memory gets an upper bound.
// Instructions are known one by one; what is not known is refused, so nothing can hide a loop.  Whether the result
// is valid is for the engine to say.

import { NetmapError } from '../../abi/errors.ts';
import { FUEL_EXPORT, LOOKUP_FUEL } from '../../dataplane/lookups.ts';
import { Reader, signed, unsigned, Writer } from './leb.ts';

/** 64-KiB pages that a lookup's memory may have. */
const MAX_PAGES = 256;

const TYPE = 1;
const IMPORT = 2;
const FUNCTION = 3;
const MEMORY = 5;
const GLOBAL = 6;
const EXPORT = 7;
const CODE = 10;
/** In the order that a module has them; 12, the data count, comes before the code. */
const ORDER = [TYPE, IMPORT, FUNCTION, 4, MEMORY, GLOBAL, EXPORT, 8, 9, 12, CODE, 11];

const I32 = 0x7f;
const I64 = 0x7e;
const FUNCTION_KIND = 0;
const MEMORY_KIND = 2;
const GLOBAL_KIND = 3;

/** lookup(8 or 3 x i64 of frame, length, port) -> answer. */
const LOOKUP_TYPES = [8, 3].map((words) => `${[...Array<number>(words).fill(I64), I32, I32]}>${I32}`);
/** What may be imported, and its type. */
const IMPORTS: Readonly<Record<string, string>> = {
  'netmap.sendAlso': `${I32}>`,
  'env.abort': `${[I32, I32, I32, I32]}>`,
};

/**
 * The code of a lookup, metered.
 * @param label  what it is called in errors
 * @param configured  a configuration comes with it
 * @throws NetmapError EINVAL: not a lookup, and why.
 */
export function meter(code: Uint8Array, label: string, configured: boolean): Uint8Array {
  const refuse = (why: string) => new NetmapError('EINVAL', `Cannot use "${label}" as a lookup: ${why}`);
  try {
    return rewrite(code, configured, refuse);
  } catch (error) {
    if (error instanceof NetmapError) throw error;
    throw refuse('it is no whole WebAssembly module');
  }
}

type Refuse = (why: string) => NetmapError;

function rewrite(code: Uint8Array, configured: boolean, refuse: Refuse): Uint8Array {
  compile(code, refuse); // As it is: what it says of globals must not become true by our adding one.
  const sections = parseSections(code, refuse);
  const types = parseTypes(sections.get(TYPE), refuse);
  const imported = parseImports(sections.get(IMPORT), types, refuse);
  const functions = [...imported, ...typesOfFunctions(sections.get(FUNCTION), types)];
  checkExports(sections.get(EXPORT), functions, configured, refuse);
  const fuel = addGlobal(sections);
  addExport(sections, FUEL_EXPORT, GLOBAL_KIND, fuel);
  boundMemory(sections, refuse);
  sections.set(CODE, meterFunctions(sections.get(CODE), fuel, refuse));
  const out = new Writer().raw(code.subarray(0, 8));
  for (const id of ORDER) {
    const body = sections.get(id);
    if (body) out.byte(id).sized(body);
  }
  const metered = out.bytes();
  compile(metered, refuse);
  return metered;
}

function compile(code: Uint8Array, refuse: Refuse): void {
  try {
    new WebAssembly.Module(code);
  } catch (error) {
    throw refuse((error as Error).message);
  }
}

/** Section bodies by number; those of tools' own are left out. */
function parseSections(code: Uint8Array, refuse: Refuse): Map<number, Uint8Array> {
  const reader = new Reader(code);
  if (code.length < 8 || reader.u32le() !== 0x6d736100 || reader.u32le() !== 1)
    throw refuse('it is no WebAssembly module of version 1');
  const sections = new Map<number, Uint8Array>();
  while (!reader.done) {
    const id = reader.byte();
    const body = reader.take(reader.unsigned());
    if (id === 0) continue;
    if (!ORDER.includes(id) || sections.has(id)) throw refuse(`it has a section ${id} that is not allowed`);
    sections.set(id, body);
  }
  return sections;
}

/** Each type as "parameters>results". */
function parseTypes(body: Uint8Array | undefined, refuse: Refuse): string[] {
  return vector(body, (reader) => {
    if (reader.byte() !== 0x60) throw refuse('it has types other than functions');
    const list = () => Array.from({ length: reader.length() }, () => reader.byte());
    return `${list()}>${list()}`;
  });
}

/** Types of the imported functions; nothing else can be imported. */
function parseImports(body: Uint8Array | undefined, types: readonly string[], refuse: Refuse): string[] {
  return vector(body, (reader) => {
    const name = `${reader.name()}.${reader.name()}`;
    const kind = reader.byte();
    const type = kind === FUNCTION_KIND ? types[reader.unsigned()] : undefined;
    if (type !== undefined && IMPORTS[name] === type) return type;
    throw refuse(
      `it imports "${name}"${type === undefined ? '' : ' of another type'}; there are netmap.sendAlso(i32) and env.abort(i32, i32, i32, i32)`,
    );
  });
}

function typesOfFunctions(body: Uint8Array | undefined, types: readonly string[]): string[] {
  return vector(body, (reader) => types[reader.unsigned()] ?? '');
}

function checkExports(
  body: Uint8Array | undefined,
  functions: readonly string[],
  configured: boolean,
  refuse: Refuse,
): void {
  const exported = new Map(
    vector(body, (reader) => {
      const name = reader.name();
      return [name, { kind: reader.byte(), index: reader.unsigned() }] as const;
    }),
  );
  const lookup = exported.get('lookup');
  if (lookup?.kind !== FUNCTION_KIND) throw refuse('it exports no function "lookup"');
  if (!LOOKUP_TYPES.includes(functions[lookup.index] ?? ''))
    throw refuse(
      'its "lookup" is not (8 x i64, i32, i32) -> i32: 64 bytes of frame, length, port; nor is it that with 3 x i64',
    );
  if (!configured) return;
  if (exported.get('config')?.kind !== GLOBAL_KIND || exported.get('memory')?.kind !== MEMORY_KIND)
    throw refuse('it exports no "memory" and no global "config" that says where its configuration goes');
}

/** @returns the number of a new global, full of fuel */
function addGlobal(sections: Map<number, Uint8Array>): number {
  const [count, rest] = split(sections.get(GLOBAL));
  const init = new Writer().byte(I32).byte(1).byte(0x41).raw(signed(LOOKUP_FUEL)).byte(0x0b);
  sections.set(
    GLOBAL,
    new Writer()
      .raw(unsigned(count + 1))
      .raw(rest)
      .raw(init.bytes())
      .bytes(),
  );
  return count;
}

function addExport(sections: Map<number, Uint8Array>, name: string, kind: number, index: number): void {
  const [count, rest] = split(sections.get(EXPORT));
  const entry = new Writer().sized(new TextEncoder().encode(name)).byte(kind).raw(unsigned(index));
  sections.set(
    EXPORT,
    new Writer()
      .raw(unsigned(count + 1))
      .raw(rest)
      .raw(entry.bytes())
      .bytes(),
  );
}

function boundMemory(sections: Map<number, Uint8Array>, refuse: Refuse): void {
  const body = sections.get(MEMORY);
  if (!body) return;
  const out = new Writer();
  const limits = vector(body, (reader) => {
    const flags = reader.byte();
    const least = reader.unsigned();
    const most = flags & 1 ? reader.unsigned() : MAX_PAGES;
    if (flags > 1) throw refuse('its memory is shared or of 64 bits');
    if (least > MAX_PAGES) throw refuse(`it wants ${least} pages of memory, ${MAX_PAGES} are allowed`);
    return [least, Math.min(most, MAX_PAGES)] as const;
  });
  out.raw(unsigned(limits.length));
  for (const [least, most] of limits) out.byte(1).raw(unsigned(least)).raw(unsigned(most));
  sections.set(MEMORY, out.bytes());
}

function meterFunctions(body: Uint8Array | undefined, fuel: number, refuse: Refuse): Uint8Array {
  const get = new Writer().byte(0x23).raw(unsigned(fuel)).bytes();
  const set = new Writer().byte(0x24).raw(unsigned(fuel)).bytes();
  // if (fuel <= 0) unreachable; fuel -= 1
  const check = new Writer()
    .raw(get)
    .raw([0x41, 0, 0x4c, 0x04, 0x40, 0x00, 0x0b])
    .raw(get)
    .raw([0x41, 1, 0x6b])
    .raw(set)
    .bytes();
  const bodies = vector(body, (reader) => meterFunction(reader.take(reader.unsigned()), check, refuse));
  const out = new Writer().raw(unsigned(bodies.length));
  for (const metered of bodies) out.sized(metered);
  return out.bytes();
}

function meterFunction(body: Uint8Array, check: Uint8Array, refuse: Refuse): Uint8Array {
  const reader = new Reader(body);
  const out = new Writer();
  for (let groups = reader.length(); groups > 0; groups--) {
    reader.unsigned();
    reader.byte();
  }
  let copied = reader.at;
  out.raw(body.subarray(0, copied)).raw(check);
  while (!reader.done) {
    const opcode = reader.byte();
    skipImmediates(reader, opcode, refuse);
    if (opcode !== LOOP) continue;
    out.raw(body.subarray(copied, reader.at)).raw(check);
    copied = reader.at;
  }
  return out.raw(body.subarray(copied)).bytes();
}

const LOOP = 0x03;

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
function skipImmediates(reader: Reader, opcode: number, refuse: Refuse): void {
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

/** The entries of a section. */
function vector<T>(body: Uint8Array | undefined, read: (reader: Reader) => T): T[] {
  if (!body) return [];
  const reader = new Reader(body);
  return Array.from({ length: reader.length() }, () => read(reader));
}

/** A section's count, and what follows it. */
function split(body: Uint8Array | undefined): [number, Uint8Array] {
  if (!body) return [0, new Uint8Array()];
  const reader = new Reader(body);
  const count = reader.length();
  return [count, body.subarray(reader.at)];
}
