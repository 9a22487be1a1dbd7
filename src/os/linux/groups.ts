// Groups of users, and which of them may come to a socket.

import fs from 'node:fs';
import { NetmapError } from '../../abi/errors.ts';

export function groupId(name: string): number {
  if (/^\d{1,9}$/.test(name)) return Number(name);
  for (const line of fs.readFileSync('/etc/group', 'utf8').split('\n')) {
    const [group, , id] = line.split(':');
    if (group === name) return Number(id);
  }
  throw new NetmapError('ENOENT', `Cannot let group "${name}" in: /etc/group has none of that name`);
}

/** One group owns both; several have no common owner, so that everybody comes as far as the socket. */
export function admitGroups(directory: string, socket: string, groups: readonly number[]): void {
  try {
    if (groups.length === 0) {
      fs.chmodSync(directory, 0o700);
      return;
    }
    const [group] = groups;
    const alone = groups.length === 1;
    if (alone) for (const path of [directory, socket]) fs.chownSync(path, -1, group!);
    fs.chmodSync(socket, alone ? 0o660 : 0o666);
    fs.chmodSync(directory, alone ? 0o710 : 0o711);
  } catch (error) {
    throw new NetmapError(
      'EPERM',
      `Cannot let group ${groups.join(', ')} use ${directory}: ${(error as Error).message}`,
    );
  }
}
