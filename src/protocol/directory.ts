import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { NetmapError } from '../abi/errors.ts';

// Where a module is found: one system-wide for root, one per user for everybody else, any number by
// NETMAP_DIR.  The directory is its owner's alone (mode 0700).

/** The runtime directory that this process's environment names; it need not exist. */
export function runtimeDirectory(env: NodeJS.ProcessEnv = process.env): string {
  if (env['NETMAP_DIR']) return path.resolve(env['NETMAP_DIR']);
  const uid = process.getuid?.() ?? 0;
  if (uid === 0) return '/run/netmap';
  return env['XDG_RUNTIME_DIR']
    ? path.join(env['XDG_RUNTIME_DIR'], 'netmap')
    : path.join(os.tmpdir(), `netmap-${uid}`);
}

export function socketPath(directory: string): string {
  return path.join(directory, 'netmapd.sock');
}

export function lockPath(directory: string): string {
  return path.join(directory, 'netmapd.lock');
}

/** Makes the directory if need be.  @throws NetmapError EACCES: not ours, or no permission. */
export function ensureDirectory(directory: string): void {
  try {
    fs.mkdirSync(directory, { recursive: true, mode: 0o700 });
    const stat = fs.statSync(directory);
    if (stat.uid !== process.getuid?.()) {
      throw new NetmapError(
        'EACCES',
        `Cannot use runtime directory ${directory}: it belongs to uid ${stat.uid}; set NETMAP_DIR to a directory of your own`,
      );
    }
    fs.accessSync(directory, fs.constants.W_OK | fs.constants.X_OK);
  } catch (error) {
    if (error instanceof NetmapError) throw error;
    throw new NetmapError(
      'EACCES',
      `Cannot use runtime directory ${directory}: ${(error as Error).message}; set NETMAP_DIR to a directory that you may write to`,
    );
  }
}
