// What Linux has for network interfaces.

export { openDevice } from './af-xdp.ts';
export { openEndpoint } from './endpoint.ts';
export { offloadsOn } from './offloads.ts';
export { missingPrivileges } from './privileges.ts';
export { watchLinks } from './watch.ts';

/** Drivers that run XDP programs themselves, as of Linux 6.18. */
const NATIVE: ReadonlySet<string> = new Set(
  'veth tun virtio_net ixgbe ixgbevf i40e iavf ice igb igc mlx4_en mlx5_core ena bnxt_en nfp sfc mvneta mvpp2 stmmac st_gmac fec dpaa2-eth tsnep hv_netvsc vmxnet3 gve'.split(
    ' ',
  ),
);

export function isNative(driver: string): boolean {
  return NATIVE.has(driver);
}
