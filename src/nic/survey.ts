// What there is to open, and what stands in the way: one cause and one remedy each.

import { driverOf, type Interface, listInterfaces } from '../os/interfaces.ts';
import type { NicMode, Obstacle } from './nic.ts';
import { system } from './system.ts';

export interface Surveyed extends Interface {
  driver: string;
  /** How its frames would be taken. */
  bestMode: NicMode | 'none';
  obstacles: Obstacle[];
}

/** @param bufSize  bytes of a buffer of the region that NICs use */
export function survey(bufSize: number): Surveyed[] {
  const missing = system.missing();
  const noXdp = missing ? undefined : system.whyEmulated(bufSize);
  return listInterfaces().map((nic) => {
    const driver = driverOf(nic.name);
    const obstacles = [...obstaclesOf(nic, bufSize), ...(missing ? [missing] : [])];
    if (noXdp && !nic.loopback)
      obstacles.push({ cause: noXdp, remedy: 'none needed: its frames are taken by a packet socket' });
    const withXdp = system.isNative(driver) ? 'native' : 'generic';
    const bestMode = nic.loopback ? 'none' : noXdp ? 'emulated' : withXdp;
    return { ...nic, driver, bestMode, obstacles };
  });
}

function* obstaclesOf(nic: Interface, bufSize: number): Generator<Obstacle> {
  if (nic.loopback) {
    yield {
      cause: 'a loopback interface has no frames on a wire',
      remedy: 'use a switch (vale0:a) or a pipe',
    };
    return;
  }
  if (!nic.up) yield { cause: 'it is down', remedy: system.remedies.up(nic.name) };
  else if (!nic.running)
    yield { cause: 'it has no carrier', remedy: 'plug in its cable, or set its peer up' };
  const longest = nic.mtu + 18;
  if (longest > bufSize) {
    yield {
      cause: `its MTU of ${nic.mtu} makes frames of ${longest} bytes, a buffer has ${bufSize}`,
      remedy: `${system.remedies.mtu(nic.name, bufSize - 18)}, or nm-ctl buf_size=${Math.ceil(longest / 64) * 64}`,
    };
  }
  const on = system.offloadsOn(nic.name);
  if (on.length > 0) {
    yield {
      cause: `offloads that change frames are on (${on.join(', ')})`,
      remedy: 'none needed: they are off while it is open',
    };
  }
}
