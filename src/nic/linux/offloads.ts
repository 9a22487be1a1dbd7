// Offloads that change frames before we see them: several made into one, a VLAN tag taken out of its place.  While an
// interface's frames are ours they are off; afterwards they are as they were.

import { ethtool, type Interface, listInterfaces } from '../../os/linux/interfaces.ts';
import type { Keepsakes } from '../keepsakes.ts';

const GET_GRO = 0x2b;
const SET_GRO = 0x2c;
const GET_FLAGS = 0x25;
const SET_FLAGS = 0x26;
/** TX checksum, scatter and gather, TSO, GSO: each one switched by a request of its own. */
const SWITCHES = [0x17, 0x19, 0x1f, 0x24];
const FLAG_RX_VLAN = 0x100;
const FLAG_LRO = 0x8000;

/** By ethtool's names, those that are on. */
export function offloadsOn(name: string): string[] {
  const flags = get(name, GET_FLAGS);
  return [
    ...(get(name, GET_GRO) !== 0 ? ['gro'] : []),
    ...(flags & FLAG_LRO ? ['lro'] : []),
    ...(flags & FLAG_RX_VLAN ? ['rxvlan'] : []),
  ];
}

/** Switches them off; how they were is kept. */
export function withoutOffloads({ name }: Interface, keep: Keepsakes): void {
  const gro = get(name, GET_GRO);
  const flags = get(name, GET_FLAGS);
  if (keep.text('offloads') === undefined) keep.remember('offloads', `${gro} ${flags}`);
  const fewer = flags & ~(FLAG_LRO | FLAG_RX_VLAN);
  if (gro !== 0) set(name, SET_GRO, 0);
  if (fewer !== flags) set(name, SET_FLAGS, fewer);
}

/** Has them as they were, whatever the interface is called now. */
export function restoreOffloads({ index }: Interface, keep: Keepsakes): void {
  const were = keep.text('offloads');
  if (were === undefined) return;
  keep.forget('offloads');
  const name = listInterfaces().find((nic) => nic.index === index)?.name;
  if (name === undefined) return;
  const [gro, flags] = were.split(' ').map(Number) as [number, number];
  if (gro !== get(name, GET_GRO)) set(name, SET_GRO, gro);
  if (flags !== get(name, GET_FLAGS)) set(name, SET_FLAGS, flags);
}

/** Has the stack hand an interface nothing but whole frames with whole checksums, VLAN tags in place. */
export function sendWholeFrames(name: string): void {
  // What a driver does not know it does not do.
  for (const command of [...SWITCHES, SET_FLAGS]) set(name, command, 0);
}

function get(name: string, command: number): number {
  const request = Buffer.alloc(8);
  request.writeUInt32LE(command, 0);
  return ethtool(name, request) ? request.readUInt32LE(4) : 0;
}

function set(name: string, command: number, value: number): void {
  const request = Buffer.alloc(8);
  request.writeUInt32LE(command, 0);
  request.writeUInt32LE(value >>> 0, 4);
  ethtool(name, request);
}
