// The arena's address space by placeholders, which Windows has since 10 1803: reservations that a view or private
// memory replaces, with no moment in between at which another thread could take the place.  The layout is that of
// space.ts, which serves older systems.

import koffi from 'koffi';
import * as gaps from './space.ts';
import * as w from './win32.ts';

const MEM_COMMIT_RESERVE = 0x3000;
const MEM_RESERVE_PLACEHOLDER = 0x42000;
const MEM_REPLACE_PLACEHOLDER = 0x4000;
const MEM_RELEASE = 0x8000;
const COALESCE = MEM_RELEASE | 1;
const PRESERVE = MEM_RELEASE | 2;
const PRESERVE_PLACEHOLDER = 2;
const PAGE_NOACCESS = 1;
const PAGE_READWRITE = 4;
const PAGE = 4096;
const { MAP_UNIT } = gaps;

/** What older systems lack. */
function load() {
  const kernelbase = koffi.load('kernelbase.dll');
  return {
    VirtualAlloc2: kernelbase.func(
      'int64_t VirtualAlloc2(int64_t process, int64_t address, size_t size, uint32_t type, uint32_t protect, void *parameters, uint32_t count)',
    ),
    MapViewOfFile3: kernelbase.func(
      'int64_t MapViewOfFile3(int64_t section, int64_t process, int64_t address, uint64_t offset, size_t size, uint32_t type, uint32_t protect, void *parameters, uint32_t count)',
    ),
    UnmapViewOfFile2: kernelbase.func(
      'bool UnmapViewOfFile2(int64_t process, int64_t address, uint32_t flags)',
    ),
  };
}

let calls: ReturnType<typeof load> | undefined;

/** True where the system has placeholders. */
export function available(): boolean {
  try {
    calls = load();
  } catch {
    return false;
  }
  const probe: number = hold(0, MAP_UNIT);
  if (probe !== 0) w.VirtualFree(probe, 0, MEM_RELEASE);
  return probe !== 0;
}

const hold = (address: number, size: number): number =>
  calls!.VirtualAlloc2(w.CURRENT_PROCESS, address, size, MEM_RESERVE_PLACEHOLDER, PAGE_NOACCESS, null, 0);

/** Cuts a placeholder that begins at `address`, or makes private memory there one. */
const cut = (address: number, size: number): boolean => w.VirtualFree(address, size, PRESERVE);

/** Puts private memory in the place of a placeholder of that size. */
function fill(address: number, size: number): boolean {
  return (
    calls!.VirtualAlloc2(
      w.CURRENT_PROCESS,
      address,
      size,
      MEM_COMMIT_RESERVE | MEM_REPLACE_PLACEHOLDER,
      PAGE_READWRITE,
      null,
      0,
    ) === address
  );
}

/** Cuts a placeholder into pieces. */
function cutUp(pieces: readonly number[]): boolean {
  return pieces.slice(0, -1).every((piece) => cut(piece, MAP_UNIT));
}

export function prepare(base: number, size: number, committed: number): number[] {
  const { first, behind } = gaps.reservationAround(base);
  const whole =
    w.VirtualFree(first, 0, MEM_RELEASE) &&
    hold(first, behind - first) === first &&
    (first === base || cut(first, base - first)) &&
    cut(base, committed) &&
    fill(base, committed) &&
    (behind === base + size || cut(base + committed, size - committed)) &&
    cutUp(gaps.piecesOf(base + committed, size - committed));
  return whole ? [] : gaps.giveUp();
}

export function map(address: number, size: number, section: number): boolean {
  const pieces = gaps.piecesOf(address, size);
  for (const piece of pieces) if (gaps.isCommitted(piece)) cut(piece, MAP_UNIT);
  const all = pieces.length * MAP_UNIT;
  const view = gaps.roundUp(size, PAGE);
  const placed =
    (pieces.length === 1 || w.VirtualFree(address, all, COALESCE)) &&
    (view === all || cut(address, view)) &&
    calls!.MapViewOfFile3(
      section,
      w.CURRENT_PROCESS,
      address,
      0,
      view,
      MEM_REPLACE_PLACEHOLDER,
      PAGE_READWRITE,
      null,
      0,
    ) === address;
  if (placed) return true;
  const error = w.lastError('ENOMEM', `map ${size} bytes of shared memory`);
  if (view !== all) w.VirtualFree(address, all, COALESCE);
  cutUp(pieces);
  throw error;
}

export function commit(address: number, size: number): void {
  for (const piece of gaps.piecesOf(address, size)) {
    if (gaps.isCommitted(piece)) gaps.commit(piece, MAP_UNIT);
    else if (!fill(piece, MAP_UNIT)) throw w.lastError('ENOMEM', `commit ${size} bytes of memory`);
  }
}

export function unmap(address: number, size: number): boolean {
  if (gaps.isView(address)) {
    const pieces = gaps.piecesOf(address, size);
    const all = pieces.length * MAP_UNIT;
    const whole =
      calls!.UnmapViewOfFile2(w.CURRENT_PROCESS, address, PRESERVE_PLACEHOLDER) &&
      (gaps.roundUp(size, PAGE) === all || w.VirtualFree(address, all, COALESCE)) &&
      cutUp(pieces);
    if (!whole) throw w.lastError('EIO', 'take shared memory away');
  }
  commit(address, size);
  return true;
}
