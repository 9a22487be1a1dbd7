// The control socket is a named pipe.  Its name is random and stands in a file, where others have the socket: so
// nobody can sit on the name beforehand, and the file tells of a module that has crashed.

import { randomUUID } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { NetmapError } from '../../abi/errors.ts';
import { guard, ownerAttributes } from './security.ts';
import * as w from './win32.ts';

const GENERIC_READ_WRITE = 0xc0000000;
const WRITE_DAC = 0x40000;
const FILE_SHARE_DELETE = 4;
const CREATE_ALWAYS = 2;
const OPEN_EXISTING = 3;
const INVALID_HANDLE = -1;
const PIPE_NAME = /^\\\\\.\\pipe\\netmap-[0-9a-f-]{36}$/;

export function defaultDirectory(env: NodeJS.ProcessEnv): string {
  return path.join(env['LOCALAPPDATA'] ?? env['TEMP'] ?? 'C:\\', 'netmap');
}

/** A directory of the user's own: below the profile, and so with the profile's access list. */
export function ownDirectory(directory: string): void {
  fs.mkdirSync(directory, { recursive: true });
  fs.accessSync(directory, fs.constants.W_OK);
}

export function socketAddress(file: string): string | undefined {
  try {
    const name = fs.readFileSync(file, 'utf8');
    return PIPE_NAME.test(name) ? name : undefined;
  } catch {
    return undefined;
  }
}

export function newSocketAddress(file: string): string {
  const name = `\\\\.\\pipe\\netmap-${randomUUID()}`;
  // Whole or not at all: somebody may read it at this moment.
  fs.writeFileSync(`${file}.new`, name);
  fs.renameSync(`${file}.new`, file);
  return name;
}

/** Node gives a pipe the system's default list, by which everybody may read: one connection of ours replaces it. */
export function guardSocket(address: string): void {
  const handle = w.CreateFileW(address, GENERIC_READ_WRITE | WRITE_DAC, 0, null, OPEN_EXISTING, 0, 0);
  if (handle === INVALID_HANDLE || !guard(handle))
    throw new NetmapError(
      'EACCES',
      `Cannot keep others off ${address}: Windows error ${w.errorNumber()}; start the module again`,
    );
  w.CloseHandle(handle);
}

/** Nobody else can open it for writing as long as we live; who is to remove it may. */
export function lockFile(file: string): number {
  return w.CreateFileW(file, GENERIC_READ_WRITE, FILE_SHARE_DELETE, ownerAttributes(), CREATE_ALWAYS, 0, 0);
}
