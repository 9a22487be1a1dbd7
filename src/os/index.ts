import { NetmapError } from '../abi/errors.ts';
import type { Os } from './os.ts';

export type { BellPipe, BellWatch, MemoryObject, ObjectRef, Os, Peer, Received } from './os.ts';

async function choose(): Promise<Os> {
  if (process.platform === 'linux') return (await import('./linux/linux.ts')).linux;
  if (process.platform === 'win32') return (await import('./windows/windows.ts')).windows;
  throw new NetmapError(
    'EOPNOTSUPP',
    `netmap does not run on ${process.platform} yet: Linux and Windows have back ends, see README "What works where"`,
  );
}

/** The operating system we run on. */
export const os: Os = await choose();
