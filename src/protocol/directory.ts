import fs from 'node:fs';
import path from 'node:path';
import { NetmapError } from '../abi/errors.ts';
import { os } from '../os/index.ts';

// Where a module is found: one system-wide for root, one per user for everybody else, any number by
// NETMAP_DIR.  The directory is its owner's alone (mode 0700), unless users of groups are let in (module/access.ts).

/** The runtime directory that this process's environment names; it need not exist. */
export function runtimeDirectory(env: NodeJS.ProcessEnv = process.env): string {
  return env['NETMAP_DIR'] ? path.resolve(env['NETMAP_DIR']) : os.defaultDirectory(env);
}

export function socketPath(directory: string): string {
  return path.join(directory, 'netmapd.sock');
}

export function lockPath(directory: string): string {
  return path.join(directory, 'netmapd.lock');
}

/** What users of groups may open besides ports of switches, see module/access.ts. */
export function interfacesPath(directory: string): string {
  return path.join(os.settingsDirectory(directory), 'interfaces');
}

/** True if the directory is there and another user's: a client comes to somebody else's module.  Root is nobody else. */
export function isForeign(directory: string): boolean {
  const uid = process.getuid?.() ?? 0;
  if (uid === 0) return false;
  const stat = fs.statSync(directory, { throwIfNoEntry: false });
  return stat !== undefined && stat.uid !== uid;
}

/**
 * Refuses a directory that ought to be ours, since the environment names no other, and is somebody else's: who makes it
 * before us, where everybody may, would be given our frames.
 * @throws NetmapError EACCES.
 */
export function checkDefault(directory: string, env: NodeJS.ProcessEnv = process.env): void {
  if (env['NETMAP_DIR'] || directory !== os.defaultDirectory(env) || !isForeign(directory)) return;
  throw new NetmapError(
    'EACCES',
    `Cannot use runtime directory ${directory}: it belongs to another user; remove it, or set NETMAP_DIR to the directory of the module that you mean`,
  );
}

/** Makes the directory if need be.  @throws NetmapError EACCES: not ours, or no permission. */
export function ensureDirectory(directory: string): void {
  try {
    os.ownDirectory(directory);
  } catch (error) {
    throw new NetmapError(
      'EACCES',
      `Cannot use runtime directory ${directory}: ${(error as Error).message}; set NETMAP_DIR to a directory of your own that you may write to`,
    );
  }
}
