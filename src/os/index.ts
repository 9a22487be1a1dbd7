import { NetmapError } from '../abi/errors.ts';
import { linux } from './linux/linux.ts';
import type { Os } from './os.ts';

export type { BellPipe, MemoryObject, ObjectRef, Os, Peer, Received } from './os.ts';

function choose(): Os {
  if (process.platform === 'linux') return linux;
  throw new NetmapError(
    'EOPNOTSUPP',
    `netmap does not run on ${process.platform} yet: Linux is the only system with a back end, see README "What works where"`,
  );
}

/** The operating system we run on. */
export const os: Os = choose();
