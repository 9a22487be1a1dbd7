// Shared memory: sections backed by the page file.  Zeroed, charged when created, of a size that nobody can change.

import { createHash } from 'node:crypto';
import { NetmapError } from '../../abi/errors.ts';
import type { MemoryObject, ObjectRef } from '../os.ts';
import { createNamed, inoIn, openNamed } from './names.ts';
import { openProcess, PROCESS_DUP_HANDLE } from './processes.ts';
import { ownerAttributes } from './security.ts';
import * as w from './win32.ts';

const PAGE = 4096;
const PAGE_READWRITE = 4;
const SECTION_ALL_ACCESS = 0xf001f;
const FILE_MAP_WRITE = 2;
const FILE_MAP_READ = 4;
const DUPLICATE_SAME_ACCESS = 2;
const NO_FILE = -1;
const OBJECT_NAME = 1;

/** Objects of this name are looked for after a crash; the others, of which there are many, by number alone. */
const WELL_KNOWN = 'netmap-system ';
/** How many of one well-known name may be alive: those of modules whose clients outlived them. */
const SAME_NAME = 16;

const pages = (size: number) => Math.ceil(size / PAGE) * PAGE;

/** Where the numbers of a well-known name begin. */
function numberFor(name: string): number {
  return createHash('sha256').update(name).digest().readUInt32LE() & 0xfffffff0;
}

export function createObject(name: string, size: number): MemoryObject {
  const { fd, ino } = createNamed(
    'memory',
    (path) =>
      w.CreateFileMappingW(
        NO_FILE,
        ownerAttributes(),
        PAGE_READWRITE,
        Math.floor(size / 2 ** 32),
        size >>> 0,
        path,
      ),
    name.startsWith(WELL_KNOWN) ? numberFor(name) : undefined,
  );
  return { fd, ino, size };
}

/** Bytes in a section, whole pages of them; undefined if it is no section. */
function sizeOf(fd: number): number | undefined {
  const info = new BigInt64Array(3);
  return w.NtQuerySection(fd, 0, info, 24, null) === 0 ? Number(info[2]) : undefined;
}

const openByNumber = (ino: number) =>
  openNamed('memory', ino, (name) => w.OpenFileMappingW(SECTION_ALL_ACCESS, false, name));

export function openObject({ ino, size }: ObjectRef): MemoryObject {
  const fd = openByNumber(ino);
  if (fd === undefined)
    throw new NetmapError('ENOENT', `Cannot open shared memory ${ino}: nobody holds it any more`);
  const found = sizeOf(fd);
  if (found === pages(size)) return { fd, ino, size };
  w.CloseHandle(fd);
  throw new NetmapError('ENOENT', `Cannot open shared memory ${ino}: it has ${found} bytes, not ${size}`);
}

/** The name of an object, '' if it has none. */
function nameOf(fd: number): string {
  const info = new Uint8Array(1024);
  if (w.NtQueryObject(fd, OBJECT_NAME, info, info.length, null) !== 0) return '';
  const length = new DataView(info.buffer).getUint16(0, true);
  return Buffer.from(info.subarray(16, 16 + length)).toString('utf16le');
}

export function takeDescriptor(pid: number, fd: number): number {
  const owner = openProcess(pid, PROCESS_DUP_HANDLE);
  if (owner === 0) throw new NetmapError('EINVAL', `Cannot reach process ${pid}: it is gone, or not ours`);
  const own = w.out((cell) =>
    w.DuplicateHandle(owner, fd, w.CURRENT_PROCESS, cell, 0, false, DUPLICATE_SAME_ACCESS),
  );
  w.CloseHandle(owner);
  if (own !== undefined) return own;
  throw new NetmapError('EINVAL', `Cannot use handle ${fd} of process ${pid}: it has none of that number`);
}

const NOT_OURS = 'it is no section that this library has made';

function sectionAt(fd: number): MemoryObject | undefined {
  const ino = inoIn(nameOf(fd));
  const size = sizeOf(fd);
  return ino !== undefined && size !== undefined ? { fd, ino, size } : undefined;
}

/** What a handle of this process stands for. @throws NetmapError EFAULT: no section of ours. */
export function objectAt(fd: number): MemoryObject {
  const object = sectionAt(fd);
  if (object) return object;
  throw new NetmapError('EFAULT', `Cannot use handle ${fd} as memory: ${NOT_OURS}`);
}

export function takeObject(pid: number, fd: number): MemoryObject {
  let own = 0;
  try {
    own = takeDescriptor(pid, fd);
    const object = sectionAt(own);
    if (object) return object;
    throw new Error(NOT_OURS);
  } catch (error) {
    if (own !== 0) w.CloseHandle(own);
    throw new NetmapError(
      'EFAULT',
      `Cannot use memory at handle ${fd} of process ${pid}: ${(error as Error).message}; a section called netmap-memory-<number> is needed`,
    );
  }
}

/** Has a section's first bytes mapped for as long as `work` takes. */
function withBytes(fd: number, access: number, size: number, work: (bytes: Uint8Array) => void): void {
  if (size === 0) return;
  const address = w.MapViewOfFileEx(fd, access, 0, 0, size, 0);
  if (address === 0) throw w.lastError('EFAULT', 'look into shared memory');
  work(w.bytesAt(address, size));
  w.UnmapViewOfFile(address);
}

export function readObject(fd: number, bytes: Uint8Array): void {
  withBytes(fd, FILE_MAP_READ, bytes.length, (there) => bytes.set(there));
}

export function writeObject(fd: number, bytes: Uint8Array): void {
  withBytes(fd, FILE_MAP_WRITE, bytes.length, (there) => there.set(bytes));
}

export function findObjects(name: string): ObjectRef[] {
  const first = numberFor(name);
  const found: ObjectRef[] = [];
  for (let ino = first >>> 0; ino < (first >>> 0) + SAME_NAME; ino++) {
    const fd = openByNumber(ino);
    if (fd === undefined) continue;
    found.push({ pid: 0, fd: 0, ino, size: sizeOf(fd)! });
    w.CloseHandle(fd);
  }
  return found;
}

/** By what name other programs open an object. */
export function objectPath(fd: number): string {
  return nameOf(fd).replace(/^.*\\/, '');
}
