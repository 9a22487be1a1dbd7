// What Linux has for network interfaces.

import { NetmapError } from '../../abi/errors.ts';
import type { Interface, NicMode, NicSystem, OpenDevice } from '../nic.ts';
import { AfXdp, queuesOf, whyNoAfXdp } from './af-xdp.ts';
import { Emulated } from './emulated.ts';

export { whyNoAfXdp as whyEmulated } from './af-xdp.ts';
export { openEndpoint } from './endpoint.ts';
export { offloadsOn } from './offloads.ts';
export { missingPrivileges as missing } from './privileges.ts';
export { watchLinks } from './watch.ts';

/** Drivers that run XDP programs themselves, as of Linux 6.18. */
const NATIVE: ReadonlySet<string> = new Set(
  'veth tun virtio_net ixgbe ixgbevf i40e iavf ice igb igc mlx4_en mlx5_core ena bnxt_en nfp sfc mvneta mvpp2 stmmac st_gmac fec dpaa2-eth tsnep hv_netvsc vmxnet3 gve'.split(
    ' ',
  ),
);

function whyNotXdp(bufSize: number, mode: NicMode | undefined): string | undefined {
  return mode === 'emulated' ? 'it was asked for' : whyNoAfXdp(bufSize);
}

export function ringsOf(nic: Interface, bufSize: number, mode: NicMode | undefined): number {
  return whyNotXdp(bufSize, mode) === undefined ? queuesOf(nic) : 1;
}

export const openDevice: OpenDevice = (nic, plan) => {
  const why = whyNotXdp(plan.memory.bufSize, plan.mode);
  if (why === undefined) return new AfXdp(nic, plan);
  if (plan.mode === 'native')
    throw new NetmapError('EOPNOTSUPP', `Cannot open "${nic.name}" by its driver, as admode=1 wants: ${why}`);
  return new Emulated(nic, plan, why);
};

export function isNative(driver: string): boolean {
  return NATIVE.has(driver);
}

export const remedies: NicSystem['remedies'] = {
  up: (name) => `ip link set ${name} up`,
  mtu: (name, mtu) => `ip link set ${name} mtu ${mtu}`,
};
