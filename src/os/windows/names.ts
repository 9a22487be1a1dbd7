// Kernel objects are found by name.  Numbers take the part of inodes: the system lets one object at a time have
// a name, so a number is one object's as long as anybody holds it.  Names go with the last handle.

import { randomBytes } from 'node:crypto';
import { NetmapError } from '../../abi/errors.ts';
import * as w from './win32.ts';

/** Visible in every session, where we may; else in this login session. */
const SPACES = ['Global\\', 'Local\\'];

export type Kind = 'memory' | 'bell';

const nameOf = (kind: Kind, ino: number) => `netmap-${kind}-${ino.toString(16).padStart(8, '0')}`;

/** The number of an object, from its name; undefined if it is none of ours. */
export function inoIn(name: string): number | undefined {
  const match = /netmap-memory-([0-9a-f]{8})$/.exec(name);
  return match ? Number.parseInt(match[1]!, 16) : undefined;
}

export interface Named {
  fd: number;
  ino: number;
  name: string;
}

/**
 * Makes an object under a number that nobody has.
 * @param from  the number to try first; then those behind it, or others where none is asked for
 */
export function createNamed(kind: Kind, make: (name: string) => number, from?: number): Named {
  let refused = new NetmapError('EACCES', `Cannot create ${kind}: every name is taken`);
  for (const space of SPACES) {
    for (let attempt = 0; attempt < 16; attempt++) {
      const ino = from === undefined ? randomBytes(4).readUInt32LE() | 1 : from + attempt;
      const name = space + nameOf(kind, ino >>> 0);
      const fd = make(name);
      const error = w.errorNumber();
      if (fd !== 0 && error !== w.ERROR_ALREADY_EXISTS) return { fd, ino: ino >>> 0, name };
      if (fd !== 0) w.CloseHandle(fd);
      else {
        refused = new NetmapError('ENOMEM', `Cannot create ${kind}: Windows error ${error}`);
        break;
      }
    }
  }
  throw refused;
}

/** Opens what has a number; undefined if nothing has. */
export function openNamed(kind: Kind, ino: number, open: (name: string) => number): number | undefined {
  for (const space of SPACES) {
    const fd = open(space + nameOf(kind, ino));
    if (fd !== 0) return fd;
  }
  return undefined;
}
