// The lookups of wasm/ as functions for openLookup().

import {
  LOOKUP_AS_LEARNED,
  type LookupBatch,
  type LookupFunction,
  NM_BDG_BROADCAST,
  NM_BDG_NOPORT,
} from '../../src/client/index.ts';

/** Every frame goes to everybody. */
export function hub({ answers, count }: LookupBatch): void {
  answers.fill(NM_BDG_BROADCAST, 0, count);
}

/** Addresses that nobody can change by sending: lines of "02:00:00:00:00:01 PORT". */
export function staticTable(config: string): LookupFunction {
  const ports = new Map<number, number>();
  for (const line of config.split('\n')) {
    const [mac = '', port] = line.trim().split(/\s+/);
    if (port !== undefined) ports.set(Number.parseInt(mac.replaceAll(':', ''), 16), Number(port));
  }
  return (batch) => {
    for (let i = 0; i < batch.count; i++) {
      const ofs = batch.ofs(i);
      batch.answers[i] =
        batch.bytes[ofs]! & 1 ? NM_BDG_BROADCAST : (ports.get(macAt(batch.bytes, ofs)) ?? NM_BDG_NOPORT);
    }
  };
}

/** Drops IPv4 by protocol and destination port, 0: all of them; the rest as learned: lines of "PROTOCOL PORT". */
export function acl(config: string): LookupFunction {
  const denied = new Set(pairs(config).map(([protocol, port]) => protocol * 65536 + port));
  return (batch) => {
    const { bytes } = batch;
    for (let i = 0; i < batch.count; i++) {
      const ofs = batch.ofs(i);
      const isIpv4 = bytes[ofs + 12] === 8 && bytes[ofs + 13] === 0 && batch.length(i) >= 38;
      const protocol = bytes[ofs + 23]! * 65536;
      const drops = isIpv4 && (denied.has(protocol) || denied.has(protocol + uint16At(bytes, ofs + 36)));
      batch.answers[i] = drops ? NM_BDG_NOPORT : LOOKUP_AS_LEARNED;
    }
  };
}

/** Switches within the switch: frames go to the other ports of their sender's VLAN: lines of "PORT VLAN". */
export function vlan(config: string): LookupFunction {
  const members = pairs(config);
  const others = Array.from({ length: 256 }, (_, port) => {
    const own = members.find(([member]) => member === port)?.[1];
    return members.flatMap(([member, id]) => (id === own && member !== port ? [member] : []));
  });
  return (batch) => {
    for (let i = 0; i < batch.count; i++) for (const to of others[batch.port(i)]!) batch.sendAlso(i, to);
  };
}

/** Spreads flows over ports by their addresses: the ports' indices. */
export function balance(config: string): LookupFunction {
  const ports = config.trim().split(/\s+/).map(Number);
  return (batch) => {
    for (let i = 0; i < batch.count; i++) {
      const ofs = batch.ofs(i);
      let hash = 0;
      for (let b = 0; b < 12; b++) hash = (Math.imul(hash, 31) + batch.bytes[ofs + b]!) >>> 0;
      batch.answers[i] = ports[hash % ports.length]!;
    }
  };
}

function pairs(config: string): [number, number][] {
  const numbers = config.match(/\d+/g)?.map(Number) ?? [];
  return Array.from({ length: numbers.length >> 1 }, (_, i) => [numbers[2 * i]!, numbers[2 * i + 1]!]);
}

function macAt(bytes: Uint8Array, ofs: number): number {
  return uint16At(bytes, ofs) * 2 ** 32 + uint16At(bytes, ofs + 2) * 65536 + uint16At(bytes, ofs + 4);
}

function uint16At(bytes: Uint8Array, ofs: number): number {
  return (bytes[ofs]! << 8) | bytes[ofs + 1]!;
}
