import { NetmapError } from '../abi/errors.ts';
import { runtimeDirectory } from '../protocol/directory.ts';

export type { InterfaceInfo, Status as ModuleStatus } from '../protocol/messages.ts';

import type { InterfaceInfo, Status } from '../protocol/messages.ts';
import { Connection } from './connection.ts';
import { startModule } from './module-process.ts';

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
export async function interfaces(directory = runtimeDirectory()): Promise<InterfaceInfo[]> {
  const connection = await Connection.open(directory, 'list network interfaces');
  try {
    return await connection.request('interfaces', {});
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
