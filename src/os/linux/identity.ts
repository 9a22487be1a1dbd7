// What a descriptor stands for, in words that are the same in every process: so that what one process held is found
// again among what others hold.

import fs from 'node:fs';

/** `socket:[7]`, `net:[7]`, `bpf-map 7`, `bpf_link 7`; '' for what has no name of its own. */
function identityAt(process: number | string, fd: number | string): string {
  try {
    const link = fs.readlinkSync(`/proc/${process}/fd/${fd}`);
    if (/^(socket|net):\[\d+\]$/.test(link)) return link;
    const kind = /^anon_inode:(bpf-map|bpf_link)$/.exec(link)?.[1];
    if (kind === undefined) return '';
    const id = /^(?:map|link)_id:\s*(\d+)$/m.exec(
      fs.readFileSync(`/proc/${process}/fdinfo/${fd}`, 'utf8'),
    )?.[1];
    return id === undefined ? '' : `${kind} ${id}`;
  } catch {
    return ''; // Closed meanwhile, or not ours to look at.
  }
}

export function identityOf(fd: number): string {
  return identityAt('self', fd);
}

/** Numbers of a process's descriptors; none if it is gone, or not ours to look into. */
export function descriptorsOf(pid: number | string): string[] {
  try {
    return fs.readdirSync(`/proc/${pid}/fd`);
  } catch {
    return [];
  }
}

/** Where these processes hold what. */
export function holdersOf(pids: readonly number[]): Map<string, { pid: number; fd: number }> {
  const found = new Map<string, { pid: number; fd: number }>();
  for (const pid of pids) {
    for (const fd of descriptorsOf(pid)) {
      const identity = identityAt(pid, fd);
      if (identity !== '') found.set(identity, { pid, fd: Number(fd) });
    }
  }
  return found;
}
