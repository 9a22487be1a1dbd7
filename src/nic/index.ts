// Network interfaces of the system that we run on.

import { NetmapError } from '../abi/errors.ts';
import { listInterfaces } from '../os/interfaces.ts';
import type { BufferMemory, Device, DevicePlan, Interface, NicMode } from './nic.ts';
import { system } from './system.ts';

export { type Holders, hostQueue, Keepsakes, wireQueue } from './keepsakes.ts';
export type { BufferMemory, Device, Egress, HostRings, Interface, LinkNews, NicMode, Queue } from './nic.ts';
export { survey } from './survey.ts';

export const { watchLinks } = system;
export { listInterfaces };

/** The interface of that name, or, where there is none, `ethN` by its index, as on Windows. */
export function findInterface(name: string): Interface | undefined {
  const all = listInterfaces();
  const byIndex = /^eth(\d+)$/.exec(name)?.[1];
  return (
    all.find((nic) => nic.name === name) ??
    (byIndex === undefined ? undefined : all.find(({ index }) => index === Number(byIndex)))
  );
}

/** By the values of the parameter admode; undefined: as near to the driver as can be. */
const MODES: readonly (NicMode | undefined)[] = [undefined, 'native', 'generic', 'emulated'];

/** What is wanted of an interface: `slots` of a ring, the parameter `admode`. */
export type DeviceWishes = Pick<DevicePlan, 'memory' | 'hostRings' | 'keep'> & {
  slots: number;
  admode: number;
};

/**
 * Makes ready to take an interface's frames; nothing changes before a queue is opened.
 * @throws NetmapError EINVAL: a loopback interface, or one with frames longer than a buffer; EPERM; EOPNOTSUPP.
 */
export function openDevice(nic: Interface, { slots, admode, ...wishes }: DeviceWishes): Device {
  const { memory } = wishes;
  const refuse = (why: string) => new NetmapError('EINVAL', `Cannot open "${nic.name}": ${why}`);
  checkMissing(nic.name);
  if (nic.loopback) throw refuse('a loopback interface has no frames on a wire');
  const longest = nic.mtu + 18;
  if (longest > memory.bufSize)
    throw refuse(
      `its MTU of ${nic.mtu} makes frames of ${longest} bytes, a buffer has ${memory.bufSize}; lower the MTU, or set buf_size before anybody uses memory region 1 ("nm-ctl buf_size=4096")`,
    );
  return system.openDevice(nic, { ...wishes, entries: entriesFor(slots), mode: MODES[admode] });
}

/** Rings each way that openDevice() would make. */
export function ringsOf(nic: Interface, bufSize: number, admode: number): number {
  return system.ringsOf(nic, bufSize, MODES[admode]);
}

/** Makes an interface for the host, whose other end is ours. @throws NetmapError EPERM, EEXIST. */
export function openEndpoint(name: string, memory: BufferMemory, slots: number) {
  checkMissing(name);
  return system.openEndpoint(name, memory, entriesFor(slots));
}

function entriesFor(slots: number): number {
  return 2 ** Math.ceil(Math.log2(slots));
}

/** @throws NetmapError EPERM and others, with what is missing and what to do. */
function checkMissing(name: string): void {
  const missing = system.missing();
  if (!missing) return;
  throw new NetmapError(
    missing.code ?? 'EPERM',
    `Cannot open "${name}": ${missing.cause}; ${missing.remedy}`,
  );
}
