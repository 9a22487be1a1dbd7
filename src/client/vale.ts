// Requests about switches and their ports: what vale-ctl does.

import { NR_REG_ALL_NIC } from '../abi/netmap.ts';
import { runtimeDirectory } from '../protocol/directory.ts';
import type { ListedPort } from '../protocol/messages.ts';
import { Connection } from './connection.ts';

export type { ListedPort } from '../protocol/messages.ts';

/** Sizes of a port to be made; what is left out is netmap's default. */
export interface PortShape {
  txRings?: number;
  rxRings?: number;
  txSlots?: number;
  rxSlots?: number;
  /** Region that it is to live in, 0 for one of its own. */
  memId?: number;
}

export interface Where {
  /** Runtime directory of the module, instead of NETMAP_DIR or the default. */
  directory?: string;
}

/**
 * VALE_NEWIF: makes a persistent port, which stays until delIf().  It belongs to no switch before attach().
 * @returns the sizes it got
 * @throws NetmapError EINVAL, EEXIST, ENOMEM (spec api §3.5.8)
 */
export function newIf(
  name: string,
  { txRings = 0, rxRings = 0, txSlots = 0, rxSlots = 0, memId = 0, directory }: PortShape & Where = {},
): Promise<Required<PortShape>> {
  return ask(directory, `create port "${name}"`, (connection) =>
    connection.request('valeNewIf', { name, txRings, rxRings, txSlots, rxSlots, memId }),
  );
}

/** VALE_DELIF: removes a persistent port. @throws NetmapError ENXIO, EINVAL, EBUSY. */
export async function delIf(name: string, { directory }: Where = {}): Promise<void> {
  await ask(directory, `remove port "${name}"`, (connection) => connection.request('valeDelIf', { name }));
}

/**
 * VALE_ATTACH: puts a persistent port on a switch, made if need be; `vale0:v1` puts v1 on vale0.
 * @returns its index there
 * @throws NetmapError EINVAL, EBUSY, ENOMEM (spec api §3.5.4)
 */
export async function attach(
  name: string,
  { mode = NR_REG_ALL_NIC, memId = 0, directory }: Where & { mode?: number; memId?: number } = {},
): Promise<number> {
  const reply = await ask(directory, `attach "${name}"`, (connection) =>
    connection.request('valeAttach', { name, mode, ringId: 0, memId }),
  );
  return reply.port;
}

/**
 * Puts the host on a switch without any NIC: an interface is made for it, `host0` of `vale0:host0`, that lives until
 * detach().
 * @returns its index there
 * @throws NetmapError EEXIST: an interface of that name is there; EPERM, ENOMEM
 */
export async function attachHost(name: string, { directory }: Where = {}): Promise<number> {
  const reply = await ask(directory, `attach the host by "${name}"`, (connection) =>
    connection.request('valeHost', { name }),
  );
  return reply.port;
}

/** VALE_DETACH. @returns the index that it had. @throws NetmapError EINVAL, ENXIO, EBUSY. */
export async function detach(name: string, { directory }: Where = {}): Promise<number> {
  const reply = await ask(directory, `detach "${name}"`, (connection) =>
    connection.request('valeDetach', { name }),
  );
  return reply.port;
}

/** VALE_LIST: every port of every switch, switch by switch. */
export function listPorts({ directory }: Where = {}): Promise<ListedPort[]> {
  return ask(directory, 'list ports', async (connection) => {
    const ports: ListedPort[] = [];
    let from = { bridge: 0, port: 0 };
    for (;;) {
      const next = await connection.request('valeList', { name: '', ...from }).catch((error) => {
        if (error.code === 'ENOENT') return undefined;
        throw error;
      });
      if (!next) return ports;
      ports.push(next);
      from = { bridge: next.bridge, port: next.port + 1 };
    }
  });
}

/** What a switch has learned: each address with its port, and the seconds since it was seen. @throws NetmapError ENOENT. */
export function listAddresses(switchName: string, { directory }: Where = {}) {
  return ask(directory, `list the addresses of "${switchName}"`, (connection) =>
    connection.request('valeAddresses', { name: switchName }),
  );
}

/** VALE_LIST of one name: index 255 if the switch has no such port. @throws NetmapError EINVAL, ENOENT: no such switch. */
export function locatePort(name: string, { directory }: Where = {}): Promise<ListedPort> {
  return ask(directory, `look "${name}" up`, (connection) =>
    connection.request('valeList', { name, bridge: 0, port: 0 }),
  );
}

/**
 * VALE_POLLING_ENABLE and DISABLE: has the rings of an attached NIC polled by threads of the module.
 * @param how  mode 1: one CPU for all rings; 2: one CPU a ring, from firstCpu on
 * @throws NetmapError EINVAL, ENXIO, EOPNOTSUPP (spec api §3.5.9)
 */
export async function setPolling(
  name: string,
  enable: boolean,
  {
    mode = 1,
    firstCpu = 0,
    cpus = 1,
    directory,
  }: Where & { mode?: number; firstCpu?: number; cpus?: number } = {},
): Promise<void> {
  await ask(directory, `poll "${name}"`, (connection) =>
    connection.request('valePolling', { name, enable, mode, firstCpu, cpus }),
  );
}

/**
 * PORT_HDR_SET: bytes of virtio-net header in front of each of a switch port's frames, 0, 10 or 12.
 * @throws NetmapError EINVAL, ENXIO (spec api §3.5.7)
 */
export async function setHeaderLength(
  name: string,
  length: number,
  { directory }: Where = {},
): Promise<void> {
  await ask(directory, `set the header of "${name}"`, (connection) =>
    connection.request('portHeaderSet', { name, length }),
  );
}

/** PORT_HDR_GET. @throws NetmapError ENXIO. */
export async function headerLength(name: string, { directory }: Where = {}): Promise<number> {
  const reply = await ask(directory, `tell the header of "${name}"`, (connection) =>
    connection.request('portHeaderGet', { name }),
  );
  return reply.length;
}

/**
 * Sets the longest frame that a switch's port takes, its virtio-net header not counted; 0: any.  Longer ones are
 * dropped and counted at their sender.  Holds for as long as the port is on the switch.
 * @throws NetmapError EINVAL, ENXIO
 */
export async function setLongestFrame(name: string, bytes: number, { directory }: Where = {}): Promise<void> {
  await ask(directory, `limit the frames of "${name}"`, (connection) =>
    connection.request('portLimitSet', { name, longest: bytes }),
  );
}

/** 0: any. @throws NetmapError ENXIO. */
export async function longestFrame(name: string, { directory }: Where = {}): Promise<number> {
  const reply = await ask(directory, `tell the longest frame of "${name}"`, (connection) =>
    connection.request('portLimitGet', { name }),
  );
  return reply.longest;
}

/** Asks the module on a connection for that alone. */
export async function ask<T>(
  directory: string | undefined,
  purpose: string,
  work: (connection: Connection) => Promise<T>,
): Promise<T> {
  const connection = await Connection.open(directory ?? runtimeDirectory(), purpose);
  try {
    return await work(connection);
  } finally {
    connection.close();
  }
}
