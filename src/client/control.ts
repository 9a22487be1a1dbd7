import { NetmapError } from '../abi/errors.ts';
import { runtimeDirectory } from '../protocol/directory.ts';

export type { InterfaceInfo, Status as ModuleStatus } from '../protocol/messages.ts';

import type { InterfaceInfo, Status } from '../protocol/messages.ts';
import { Connection } from './connection.ts';
import { startModule } from './module-process.ts';
import { moduleEnded } from './runtime.ts';

// Loading, unloading and looking at the module: what nm-loader does.

/**
 * Loads the module.
 * @param group  whose members may open ports, too, isolated: a name or number
 * @returns its pid
 * @throws NetmapError EBUSY if it is loaded already.
 */
export function load(directory = runtimeDirectory(), group?: string): Promise<number> {
  return startModule({ directory, group });
}

/** Unloads it. @throws NetmapError EBUSY while ports are open, unless forced; ENXIO if none is loaded. */
export async function unload({ force = false, directory = runtimeDirectory() } = {}): Promise<void> {
  const connection = await visit(directory, 'unload netmap');
  try {
    await connection.request('unload', { force });
    await connection.ended();
    await moduleEnded(directory);
  } finally {
    connection.close();
  }
}

/** Clients, ports, counters. @throws NetmapError ENXIO if no module is loaded. */
export async function status(directory = runtimeDirectory()): Promise<Status> {
  const connection = await visit(directory, 'show the state of netmap');
  try {
    return await connection.request('status', {});
  } finally {
    connection.close();
  }
}

/** Network interfaces of the machine: how their frames would be taken, and what stands in the way. Loads the module. */
export function interfaces(directory = runtimeDirectory()): Promise<InterfaceInfo[]> {
  return ask('list network interfaces', directory, (connection) => connection.request('interfaces', {}));
}

/**
 * Lets users of a group open an interface through the module, isolated, from now on.  Loads the module.
 * @param group  its name or number; unless given, that which the module was loaded for
 * @throws NetmapError ENXIO: no such interface; EINVAL: no group; EEXIST: installed already; ENOENT, EPERM, EACCES.
 */
export async function installInterface(
  name: string,
  group?: string,
  directory = runtimeDirectory(),
): Promise<void> {
  await ask(`install "${name}"`, directory, (connection) =>
    connection.request('installInterface', { name, ...(group !== undefined && { group }) }),
  );
}

/** Undoes installInterface(); what is open stays open until it is closed. @throws NetmapError ENOENT, EACCES. */
export async function uninstallInterface(name: string, directory = runtimeDirectory()): Promise<void> {
  await ask(`uninstall "${name}"`, directory, (connection) =>
    connection.request('uninstallInterface', { name }),
  );
}

/** Asks a module, which is loaded if need be. */
async function ask<T>(
  purpose: string,
  directory: string,
  question: (connection: Connection) => Promise<T>,
): Promise<T> {
  const connection = await Connection.open(directory, purpose);
  try {
    return await question(connection);
  } finally {
    connection.close();
  }
}

async function visit(directory: string, purpose: string): Promise<Connection> {
  const connection = await Connection.visit(directory);
  if (connection) return connection;
  throw new NetmapError(
    'ENXIO',
    `Cannot ${purpose}: no module is loaded in ${directory}; load it with "nm-loader l"`,
  );
}
