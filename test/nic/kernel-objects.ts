// What the kernel keeps for NICs: BPF programs, maps and links of the whole machine by their numbers, sockets of a
// namespace by their kind.  To see that nothing of a process is left after its death.

import fs from 'node:fs';
import * as libc from '../../src/os/linux/libc.ts';
import type { Machine } from './network.ts';

const SYS_BPF = process.arch === 'arm64' ? 280 : 321;
/** bpf(2)'s commands that tell the number after a given one. */
const NEXT = { prog: 11, map: 12, link: 31 } as const;
type Kind = keyof typeof NEXT;

/** The BPF objects that a process holds, as "map 17". */
export function objectsOf(pid: number): string[] {
  const found = new Set<string>();
  for (const fd of fs.readdirSync(`/proc/${pid}/fdinfo`)) {
    let text: string;
    try {
      text = fs.readFileSync(`/proc/${pid}/fdinfo/${fd}`, 'utf8');
    } catch {
      continue; // Closed since.
    }
    for (const [, kind, id] of text.matchAll(/^(prog|map|link)_id:\s*(\d+)$/gm)) found.add(`${kind} ${id}`);
  }
  return [...found];
}

/** Those of some BPF objects that the kernel still has. */
export function stillThere(objects: readonly string[]): string[] {
  const all = allObjects();
  return objects.filter((object) => all.has(object));
}

/** Every BPF object of the machine. */
function allObjects(): Set<string> {
  const all = new Set<string>();
  for (const kind of Object.keys(NEXT) as Kind[]) {
    for (let id = nextAfter(kind, 0); id !== undefined; id = nextAfter(kind, id)) all.add(`${kind} ${id}`);
  }
  return all;
}

function nextAfter(kind: Kind, id: number): number | undefined {
  const attr = new Uint8Array(new ArrayBuffer(128));
  const view = new DataView(attr.buffer);
  view.setUint32(0, id, true);
  if (Number(libc.bpfCall(SYS_BPF, NEXT[kind], attr, attr.length)) === 0) return view.getUint32(4, true);
  const error = libc.lastError(`list BPF ${kind}s`);
  if (error.code === 'ENOENT') return undefined;
  throw error;
}

/** AF_XDP and packet sockets of a machine, each kind with how many there are. */
export function socketsOf(machine: Machine): string[] {
  const table = machine.run('cat', '/proc/net/protocols');
  return [...table.matchAll(/^(XDP|PACKET)\s+\d+\s+(\d+)\s/gm)]
    .filter(([, , count]) => count !== '0')
    .map(([, kind, count]) => `${count} ${kind} sockets`);
}
