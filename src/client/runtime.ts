// What a thread needs to move packets: the process's arena, its own instance of the data plane, the bells.
// Threads that own ports have a control connection as well; threads that were lent ports do not.

import { Bells } from '../dataplane/bells.ts';
import { type DataPlane, instantiate } from '../dataplane/dataplane.ts';
import { Lookups } from '../dataplane/lookups.ts';
import { Arena } from '../mem/arena.ts';
import { os } from '../os/index.ts';
import { runtimeDirectory } from '../protocol/directory.ts';
import { Connection, type Who } from './connection.ts';

export interface Runtime {
  readonly arena: Arena;
  readonly dataPlane: DataPlane;
  readonly bells: Bells;
  readonly lookups: Lookups;
  /** Names this client in rings it is busy with. */
  readonly token: number;
  /** Where system memory is mapped; 0 if this thread's ports are isolated. */
  readonly system: number;
  readonly connection: Connection | undefined;
}

const runtimes = new Map<string, Promise<Runtime>>();
const lent = new Map<SharedArrayBuffer, Runtime>();

/**
 * The runtime of this thread for a module's directory, made at first use, and anew where the module is gone and the next
 * one does not know this process: its open ports are then cut off from those to come.
 */
export async function runtimeFor(
  purpose: string,
  directory = runtimeDirectory(),
  who: Who = {},
): Promise<Runtime> {
  const key = who.isolated ? `isolated ${directory}` : directory;
  const known = runtimes.get(key);
  if (known) {
    const runtime = await known;
    if (await runtime.connection!.ready(purpose)) return runtime;
    if (runtimes.get(key) === known) runtimes.delete(key);
  }
  return runtimes.get(key) ?? makeFor(key, directory, purpose, who);
}

/** Resolves once this thread has noticed that the module of a directory has ended. */
export async function moduleEnded(directory: string): Promise<void> {
  const known = await runtimes.get(directory)?.catch(() => undefined);
  await known?.connection?.ended();
}

function makeFor(key: string, directory: string, purpose: string, who: Who): Promise<Runtime> {
  const made = create(directory, purpose, who);
  runtimes.set(key, made);
  made.catch(() => runtimes.delete(key));
  // A lost module ends isolated ports; the next one is asked anew.
  if (who.isolated)
    void made
      .then(({ connection }) => connection!.ended())
      .then(
        () => runtimes.delete(key),
        () => {},
      );
  return made;
}

/** One arena for all isolated ports of this thread. */
let isolatedArena: Arena | undefined;

async function create(directory: string, purpose: string, who: Who): Promise<Runtime> {
  const connection = await Connection.open(directory, purpose, who);
  try {
    const { token, system } = connection.hello!;
    if (!system) {
      isolatedArena ??= Arena.create();
      return make(isolatedArena, 0, token, connection);
    }
    const arena = Arena.create();
    // The descriptor stays open: through it a later module finds what this one made.
    const object = os.openObject(system);
    const mapping = arena.mapOwn(object.fd, object.ino, object.size);
    return make(arena, mapping.address, token, connection);
  } catch (error) {
    connection.close();
    throw error;
  }
}

/** The runtime of a thread that was lent ports by another thread of the process. */
export function lentRuntime(memory: WebAssembly.Memory, system: number, token: number): Runtime {
  const known = lent.get(memory.buffer);
  if (known) return known;
  const runtime = make(Arena.attach(memory), system, token, undefined);
  lent.set(memory.buffer, runtime);
  return runtime;
}

function make(arena: Arena, system: number, token: number, connection: Connection | undefined): Runtime {
  const dataPlane = instantiate(arena);
  const lookups = new Lookups(arena, dataPlane);
  return { arena, dataPlane, bells: new Bells(arena, system), lookups, token, system, connection };
}
