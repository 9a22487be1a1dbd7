// The arena's address space.  V8 has reserved it as one piece; we give that back and take it again in pieces, over
// which views of sections can be put.  Head and tail, on which V8 leaves out bounds checks, stay out of reach.
//
//   V8's reservation
//   | head      | private, committed | pieces of MAP_UNIT: reserved, committed for this process, or  | tail      |
//   | no access | (tables, scratch)  | released in a row, with the view of a section in their place   | no access |
//               base                 base + committed                                         base + size
//
// Here for systems without placeholders (placeholders.ts): Windows maps nothing *over* something, so pieces are released and the view placed in the gap.  The gap is open for
// microseconds, but other threads' stacks and heaps do fall into such gaps: then the place is lost, left alone for
// good, and the arena takes another.
//
// When V8 gives the memory back it releases the allocation at `base`, or at the head: both are private.  A view
// there would stop the process.

import fs from 'node:fs';
import * as w from './win32.ts';

const MEM_COMMIT = 0x1000;
const MEM_RESERVE = 0x2000;
const MEM_DECOMMIT = 0x4000;
const MEM_RELEASE = 0x8000;
const MEM_FREE = 0x10000;
const MEM_MAPPED = 0x40000;
const PAGE_NOACCESS = 1;
const PAGE_READWRITE = 4;
const FILE_MAP_ALL_ACCESS = 0xf001f;
/** Allocations begin at multiples of it. */
const GRANULE = 0x10000;

/** What is mapped begins at multiples of it, from the arena's start. */
export const MAP_UNIT = 0x100000;

interface Block {
  /** Where its allocation begins; 0 if there is none. */
  allocation: number;
  end: number;
  mapped: boolean;
  committed: boolean;
}

const info = new Uint8Array(48);
const infoView = new DataView(info.buffer);

/** The pages from `address` on that are of one kind (MEMORY_BASIC_INFORMATION). */
function blockAt(address: number): Block {
  if (w.VirtualQuery(address, info, info.length) === 0) throw w.lastError('EIO', 'look at own memory');
  const number = (ofs: number) => Number(infoView.getBigUint64(ofs, true));
  return {
    allocation: infoView.getUint32(32, true) === MEM_FREE ? 0 : number(8),
    end: number(0) + number(24),
    mapped: infoView.getUint32(40, true) === MEM_MAPPED,
    committed: infoView.getUint32(32, true) === MEM_COMMIT,
  };
}

function endOfAllocation(allocation: number): number {
  let end = allocation;
  for (let block = blockAt(end); block.allocation === allocation; block = blockAt(end)) end = block.end;
  return end;
}

/** Takes a gap again; false if somebody else has. */
function take(address: number, size: number, committed = false): boolean {
  const type = committed ? MEM_RESERVE | MEM_COMMIT : MEM_RESERVE;
  const protect = committed ? PAGE_READWRITE : PAGE_NOACCESS;
  return w.VirtualAlloc(address, size, type, protect) === address;
}

export const roundUp = (size: number, unit: number) => Math.ceil(size / unit) * unit;

/** Addresses of the pieces that hold `size` bytes. */
export function piecesOf(address: number, size: number): number[] {
  return Array.from({ length: Math.ceil(size / MAP_UNIT) }, (_, i) => address + i * MAP_UNIT);
}

/** What V8 has reserved. */
export function reservationAround(base: number): { first: number; behind: number } {
  const first = blockAt(base).allocation;
  return { first, behind: endOfAllocation(first) };
}

export const isView = (address: number): boolean => blockAt(address).mapped;
export const isCommitted = (address: number): boolean => blockAt(address).committed;

/** Takes over from V8 what it has reserved around [base, base + size). */
export function prepare(base: number, size: number, committed: number): number[] {
  const { first, behind } = reservationAround(base);
  const whole =
    w.VirtualFree(first, 0, MEM_RELEASE) &&
    take(base, committed, true) &&
    (first === base || take(first, base - first)) &&
    (behind === base + size || take(base + size, behind - base - size));
  if (whole) return piecesOf(base + committed, size - committed).filter((piece) => !take(piece, MAP_UNIT));
  return giveUp();
}

/** V8 believes in memory that is not its own now: there is no going on, and no orderly end. */
export function giveUp(): never {
  fs.writeSync(2, 'netmap: another thread took address space of the arena; start the program again\n');
  process.abort();
}

export function map(address: number, size: number, section: number): boolean {
  const pieces = piecesOf(address, size);
  for (const piece of pieces) w.VirtualFree(piece, 0, MEM_RELEASE);
  if (w.MapViewOfFileEx(section, FILE_MAP_ALL_ACCESS, 0, 0, size, address) !== address) {
    if (!pieces.map((piece) => take(piece, MAP_UNIT)).every(Boolean)) return false;
    throw w.lastError('ENOMEM', `map ${size} bytes of shared memory`);
  }
  const rest = restOf(size);
  // Lost or not, nothing is ever put there while the view is.
  if (rest > 0) take(address + roundUp(size, GRANULE), rest);
  return true;
}

/** What lies between a view and the end of its last piece. */
const restOf = (size: number) => roundUp(size, MAP_UNIT) - roundUp(size, GRANULE);

/** Memory of this process alone, zeroed. */
export function commit(address: number, size: number): void {
  for (const piece of piecesOf(address, size)) {
    w.VirtualFree(piece, MAP_UNIT, MEM_DECOMMIT);
    if (w.VirtualAlloc(piece, MAP_UNIT, MEM_COMMIT, PAGE_READWRITE) !== piece)
      throw w.lastError('ENOMEM', `commit ${size} bytes of memory`);
  }
}

/** What is left reads as zero, as it does on Linux: a late look of the data plane must not end the process. */
export function unmap(address: number, size: number): boolean {
  if (!isView(address)) {
    commit(address, size);
    return true;
  }
  const rest = address + roundUp(size, GRANULE);
  const restIsOurs = restOf(size) === 0 || blockAt(rest).allocation === rest;
  if (!w.UnmapViewOfFile(address)) throw w.lastError('EIO', 'take shared memory away');
  if (restOf(size) > 0 && restIsOurs) w.VirtualFree(rest, 0, MEM_RELEASE);
  return piecesOf(address, size)
    .map((piece) => take(piece, MAP_UNIT, true))
    .every(Boolean);
}
