// What a lookup's WebAssembly may be, and the count that is put into it so that it cannot run for ever.
//
// The binary is taken apart as far as needed (WebAssembly core specification 2.0, chapter 5): its functions get the
// count, its memory gets an upper bound, and what the data plane calls is added.  Whether the result is valid is for
// the engine to say.

import { NetmapError } from '../../abi/errors.ts';
import { FUEL_EXPORT, LOOKUP_EXPORT, LOOKUP_FUEL } from '../../dataplane/lookups.ts';
import { I32, I64, meterFunction, VECTOR_TYPE, vectorFunction, WORDS } from './functions.ts';
import type { Refuse } from './instructions.ts';
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

const FUNCTION_KIND = 0;
const MEMORY_KIND = 2;
const GLOBAL_KIND = 3;

/** lookup(8 x i64 of frame, length, port) -> answer. */
const LOOKUP_TYPE = `${[...Array<number>(WORDS).fill(I64), I32, I32]}>${I32}`;
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

function rewrite(code: Uint8Array, configured: boolean, refuse: Refuse): Uint8Array {
  compile(code, refuse); // As it is: what it says of globals must not become true by our adding one.
  const sections = parseSections(code, refuse);
  const types = parseTypes(sections.get(TYPE), refuse);
  const imported = parseImports(sections.get(IMPORT), types, refuse);
  const own = typesOfFunctions(sections.get(FUNCTION), types);
  const functions = [...imported, ...own];
  const lookup = checkExports(sections.get(EXPORT), functions, configured, refuse);
  const fuel = append(sections, GLOBAL, [I32, 1, 0x41, ...signed(LOOKUP_FUEL), 0x0b]);
  const type = append(sections, TYPE, [0x60, ...VECTOR_TYPE]);
  append(sections, FUNCTION, unsigned(type));
  addExport(sections, FUEL_EXPORT, GLOBAL_KIND, fuel);
  addExport(sections, LOOKUP_EXPORT, FUNCTION_KIND, functions.length);
  boundMemory(sections, refuse);
  meterFunctions(sections, own, lookup - imported.length, fuel, refuse);
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

/** @returns the number of `lookup` */
function checkExports(
  body: Uint8Array | undefined,
  functions: readonly string[],
  configured: boolean,
  refuse: Refuse,
): number {
  const exported = new Map(
    vector(body, (reader) => {
      const name = reader.name();
      return [name, { kind: reader.byte(), index: reader.unsigned() }] as const;
    }),
  );
  const lookup = exported.get('lookup');
  if (lookup?.kind !== FUNCTION_KIND) throw refuse('it exports no function "lookup"');
  if (functions[lookup.index] !== LOOKUP_TYPE)
    throw refuse('its "lookup" is not (8 x i64, i32, i32) -> i32: 64 bytes of frame, length, port');
  if (!configured) return lookup.index;
  if (exported.get('config')?.kind !== GLOBAL_KIND || exported.get('memory')?.kind !== MEMORY_KIND)
    throw refuse('it exports no "memory" and no global "config" that says where its configuration goes');
  return lookup.index;
}

/** Appends an entry to a section. @returns its number there */
function append(sections: Map<number, Uint8Array>, id: number, entry: ArrayLike<number>): number {
  const [count, rest] = split(sections.get(id));
  const body = new Writer()
    .raw(unsigned(count + 1))
    .raw(rest)
    .raw(entry);
  sections.set(id, body.bytes());
  return count;
}

function addExport(sections: Map<number, Uint8Array>, name: string, kind: number, index: number): void {
  const entry = new Writer().sized(new TextEncoder().encode(name)).byte(kind).raw(unsigned(index));
  append(sections, EXPORT, entry.bytes());
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

/** Meters the functions, and adds the copy of `lookup` that the data plane calls. */
function meterFunctions(
  sections: Map<number, Uint8Array>,
  types: readonly string[],
  lookup: number,
  fuel: number,
  refuse: Refuse,
): void {
  const bodies = vector(sections.get(CODE), (reader) => reader.take(reader.unsigned()));
  const body = bodies[lookup];
  if (!body) throw refuse('its "lookup" is imported');
  const out = new Writer().raw(unsigned(bodies.length + 1));
  for (const [i, each] of bodies.entries())
    out.sized(meterFunction(each, parametersOf(types[i]!), fuel, refuse));
  sections.set(CODE, out.sized(vectorFunction(body, fuel, refuse)).bytes());
}

function parametersOf(type: string): number {
  const [parameters] = type.split('>');
  return parameters === '' ? 0 : parameters!.split(',').length;
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
