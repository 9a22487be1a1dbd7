// The interfaces of the fake driver's machine, in place of src/os/*/interfaces.ts: two adapters joined by a wire, each with a
// host stack behind it, and one that is down and whose frames are too long.

import type { Interface } from '../../src/os/interfaces.ts';

const common = { up: true, running: true, loopback: false, txQueues: 0, rxQueues: 0 };

export const INTERFACES: readonly Interface[] = [
  { ...common, index: 101, name: 'Ethernet', mac: '02:00:00:00:00:65', mtu: 1500 },
  { ...common, index: 102, name: 'Ethernet 2', mac: '02:00:00:00:00:66', mtu: 1500 },
  {
    ...common,
    index: 103,
    name: 'Ethernet 3',
    mac: '02:00:00:00:00:67',
    mtu: 9000,
    up: false,
    running: false,
  },
];

export const listInterfaces = (): Interface[] => [...INTERFACES];
export const driverOf = (): string => 'Fake Ethernet Adapter';
