// Programs on interfaces, held by links.

import * as bpf from '../../os/linux/bpf.ts';
import * as libc from '../../os/linux/libc.ts';

/** Loads a program and hangs it on an interface; the link keeps it. */
export function hang(
  purpose: string,
  type: number,
  attach: number,
  ifindex: number,
  code: Uint8Array,
  flags = 0,
): number {
  const program = bpf.loadProgram(type, attach, code);
  try {
    return bpf.createLink(purpose, program, ifindex, attach, flags);
  } finally {
    libc.closeFd(program);
  }
}

/** Takes a link off now, whoever else has a copy of it. @returns -1, what stands for none */
export function drop(link: number): -1 {
  if (link >= 0) {
    bpf.detachLink(link);
    libc.closeFd(link);
  }
  return -1;
}
