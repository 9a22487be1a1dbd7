import fs from 'node:fs';
import type { Obstacle } from '../nic.ts';

const CAPABILITIES = { CAP_NET_ADMIN: 12, CAP_NET_RAW: 13, CAP_IPC_LOCK: 14, CAP_SYS_ADMIN: 21, CAP_BPF: 39 };

/** What opening a NIC takes that this process may not, and what is to be done about it. */
export function missingPrivileges(): Obstacle | undefined {
  const line = /^CapEff:\s+([0-9a-f]+)$/m.exec(fs.readFileSync('/proc/self/status', 'utf8'));
  const have = BigInt(`0x${line?.[1] ?? '0'}`);
  const missing = Object.entries(CAPABILITIES)
    .filter(([, bit]) => ((have >> BigInt(bit)) & 1n) === 0n)
    .map(([name]) => name);
  if (missing.length === 0) return undefined;
  return {
    cause: `the module has not ${missing.join(', ')}`,
    remedy: `load it as root ("sudo nm-loader l"), or "sudo setcap ${missing.join(',').toLowerCase()}+ep ${process.execPath}"; or use root's module (NETMAP_DIR), where "nm-loader install IFNAME -g GROUP" lets users of a group in`,
  };
}
