// The system's own part, chosen by the system that we run on.

import { os } from '../os/index.ts';
import type { NicSystem } from './nic.ts';

const SYSTEMS: Readonly<Record<string, () => Promise<NicSystem>>> = {
  linux: () => import('./linux/index.ts'),
  windows: () => import('./windows/xdp.ts'),
};

export const system: NicSystem = await SYSTEMS[os.name]!();
