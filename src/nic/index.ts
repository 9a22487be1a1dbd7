// Network interfaces of the system that we run on.

import { NetmapError } from '../abi/errors.ts';
import { listInterfaces } from '../os/interfaces.ts';
import type { BufferMemory, Device, Interface } from './nic.ts';
import { system } from './system.ts';

export type { Device, Egress, Interface, LinkNews, Queue } from './nic.ts';
export { survey } from './survey.ts';

export const { watchLinks } = system;

/** The interface of that name, or, where there is none, `ethN` by its index, as on Windows. */
export function findInterface(name: string): Interface | undefined {
  const all = listInterfaces();
  const byIndex = /^eth(\d+)$/.exec(name)?.[1];
  return (
    all.find((nic) => nic.name === name) ??
    (byIndex === undefined ? undefined : all.find(({ index }) => index === Number(byIndex)))
  );
}

/**
 * Makes ready to take an interface's frames; nothing changes before a queue is opened.
 * @param admode  0: as near to the driver as can be; 1: by the driver itself only; 2: by the stack on its behalf
 * @throws NetmapError EINVAL: a loopback interface, or one with frames longer than a buffer; EPERM.
 */
export function openDevice(nic: Interface, memory: BufferMemory, slots: number, admode: number): Device {
  const refuse = (why: string) => new NetmapError('EINVAL', `Cannot open "${nic.name}": ${why}`);
  checkPrivileges(nic.name);
  if (nic.loopback) throw refuse('a loopback interface has no frames on a wire');
  const longest = nic.mtu + 18;
  if (longest > memory.bufSize)
    throw refuse(
      `its MTU of ${nic.mtu} makes frames of ${longest} bytes, a buffer has ${memory.bufSize}; lower the MTU, or set buf_size before anybody uses memory region 1 ("nm-ctl buf_size=4096")`,
    );
  return system.openDevice(
    nic,
    memory,
    entriesFor(slots),
    admode === 1 ? 'native' : admode === 2 ? 'generic' : undefined,
  );
}

/** Makes an interface for the host, whose other end is ours. @throws NetmapError EPERM, EEXIST. */
export function openEndpoint(name: string, memory: BufferMemory, slots: number) {
  checkPrivileges(name);
  return system.openEndpoint(name, memory, entriesFor(slots));
}

function entriesFor(slots: number): number {
  return 2 ** Math.ceil(Math.log2(slots));
}

/** @throws NetmapError EPERM, with what is missing and what to do. */
function checkPrivileges(name: string): void {
  const missing = system.missingPrivileges();
  if (missing) throw new NetmapError('EPERM', `Cannot open "${name}": ${missing.cause}; ${missing.remedy}`);
}
