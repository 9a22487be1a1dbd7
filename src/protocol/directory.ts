import fs from 'node:fs';
import path from 'node:path';
import { NetmapError } from '../abi/errors.ts';
import { os } from '../os/index.ts';

// Where a module is found: one system-wide for root, one per user for everybody else, any number by
// NETMAP_DIR.  The directory is its owner's alone (mode 0700), or a group's to walk through (0710), who may then use
// the socket (0660).

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

/**
 * Lets a group in, or nobody any more: modes and group of the directory and the socket in it.
 * @param group  its number; undefined: nobody but the owner
 * @throws NetmapError EPERM: not a group of ours.
 */
export function admitGroup(directory: string, group: number | undefined): void {
  const socket = socketPath(directory);
  try {
    if (group === undefined) {
      fs.chmodSync(directory, 0o700);
      return;
    }
    for (const path of [directory, socket]) fs.chownSync(path, -1, group);
    fs.chmodSync(socket, 0o660);
    fs.chmodSync(directory, 0o710);
  } catch (error) {
    throw new NetmapError('EPERM', `Cannot let group ${group} use ${directory}: ${(error as Error).message}`);
  }
}

/** Number of a group by name or number. @throws NetmapError ENOENT. */
export function groupByName(name: string): number {
  if (/^\d{1,9}$/.test(name)) return Number(name);
  for (const line of fs.readFileSync('/etc/group', 'utf8').split('\n')) {
    const [group, , id] = line.split(':');
    if (group === name) return Number(id);
  }
  throw new NetmapError('ENOENT', `Cannot let group "${name}" in: /etc/group has none of that name`);
}

/** True if the directory is there and another user's: a client comes to somebody else's module.  Root is nobody else. */
export function isForeign(directory: string): boolean {
  const uid = process.getuid?.() ?? 0;
  if (uid === 0) return false;
  const stat = fs.statSync(directory, { throwIfNoEntry: false });
  return stat !== undefined && stat.uid !== uid;
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
