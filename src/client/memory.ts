// Memory that a program brings for a port to live in (EXTMEM, spec api §3.6.1; `@extmem`).

import fs from 'node:fs';
import { ERRNO, type ErrnoName, NetmapError } from '../abi/errors.ts';
import { os } from '../os/index.ts';
import type { ExtmemRequest } from '../protocol/messages.ts';
import type { Extmem } from './port-name.ts';

/** A sealed memory object of this process, zeroed; other processes reach it by its path while it is open. */
export class OwnMemory {
  /** What follows `@extmem=`. */
  readonly path: string;
  readonly size: number;
  readonly #fd: number;
  #closed = false;

  constructor(bytes: number) {
    const { fd, size } = os.createObject('netmap-own-memory', Math.ceil(bytes / 4096) * 4096);
    this.#fd = fd;
    this.size = size;
    this.path = os.objectPath(fd);
  }

  /** Ports that live in it live on. */
  close(): void {
    if (!this.#closed) os.closeFd(this.#fd);
    this.#closed = true;
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/** Makes memory for `@extmem`. @param bytes  rounded up to whole pages */
export function createMemory(bytes: number): OwnMemory {
  return new OwnMemory(bytes);
}

/** Has the file of `@extmem` open, whole, for as long as `work` takes. @throws NetmapError as open(2) and the module say. */
export async function withMemory<T>(
  port: string,
  extmem: Extmem,
  work: (request: ExtmemRequest) => Promise<T>,
): Promise<T> {
  const { file } = extmem;
  let fd: number;
  try {
    fd = fs.openSync(file, 'r+');
  } catch (error) {
    const { code = 'EIO', message } = error as NodeJS.ErrnoException;
    throw new NetmapError(
      code in ERRNO ? (code as ErrnoName) : 'EIO',
      `Cannot open "${port}" in "${file}": ${message}`,
    );
  }
  try {
    return await work({
      fd,
      memSize: fs.fstatSync(fd).size,
      ifs: { count: extmem.ifNum, size: extmem.ifSize },
      rings: { count: extmem.ringNum, size: extmem.ringSize },
      bufs: { count: extmem.bufNum, size: extmem.bufSize },
    });
  } catch (error) {
    if (!(error instanceof NetmapError && error.code === 'EFAULT')) throw error;
    throw new NetmapError(
      'EFAULT',
      `Cannot open "${port}" in "${file}": it is no memfd that is sealed against shrinking, and a file that is cut off would kill whoever touches it; createMemory() makes one`,
    );
  } finally {
    fs.closeSync(fd);
  }
}
