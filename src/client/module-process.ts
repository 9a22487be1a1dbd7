import { spawn } from 'node:child_process';
import type net from 'node:net';
import { fileURLToPath } from 'node:url';
import { NetmapError } from '../abi/errors.ts';
import { checkDefault, ensureDirectory, runtimeDirectory, socketPath } from '../protocol/directory.ts';
import { connectLocally } from './local-socket.ts';

const MAIN = fileURLToPath(new URL('../module/main.js', import.meta.url));

/** Seconds that a module started on demand outlives its last client. */
const IDLE_SECONDS = 5;

/** As long as somebody waits for a place among those who are waiting to be let in. */
const QUEUE_MS = 10_000;

/** A connection to the module of a directory, or undefined if none answers there. @throws NetmapError EPERM, EACCES. */
export async function connect(directory: string): Promise<net.Socket | undefined> {
  checkDefault(directory);
  for (const giveUp = performance.now() + QUEUE_MS; ; ) {
    try {
      return await tryToConnect(directory);
    } catch (error) {
      if ((error as NetmapError).code !== 'EAGAIN' || performance.now() > giveUp) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

/** @throws NetmapError EPERM, EACCES; EAGAIN: there are too many at the door. */
function tryToConnect(directory: string): Promise<net.Socket | undefined> {
  return new Promise((resolve, reject) => {
    const socket = connectLocally(socketPath(directory));
    if (!socket) return resolve(undefined);
    socket.once('connect', () => {
      socket.removeAllListeners('error');
      resolve(socket);
    });
    socket.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT' || error.code === 'ECONNREFUSED') resolve(undefined);
      else if (error.code === 'EACCES')
        reject(
          new NetmapError(
            'EPERM',
            `Cannot reach the netmap module in ${directory}: it is not for this user (EACCES); set NETMAP_DIR to a directory of your own, or have users of a group let in by "nm-loader l -g GROUP", to an interface by "nm-loader install IFNAME -g GROUP"`,
          ),
        );
      else
        reject(
          new NetmapError(
            error.code === 'EAGAIN' ? 'EAGAIN' : 'EACCES',
            `Cannot reach the netmap module in ${directory}: ${error.message}`,
          ),
        );
    });
  });
}

/**
 * Starts a module and waits until it listens.
 * @param group  whose members may open ports, too, isolated: a name or number
 * @param onDemand  it goes away again some seconds after its last client
 * @returns its pid
 * @throws NetmapError EBUSY if one is loaded already, EACCES if the directory cannot be used.
 */
export function startModule({
  directory = runtimeDirectory(),
  onDemand = false,
  group,
}: {
  directory?: string;
  onDemand?: boolean;
  group?: string | undefined;
} = {}): Promise<number> {
  ensureDirectory(directory);
  const args = [
    MAIN,
    ...(onDemand ? ['-x', String(IDLE_SECONDS)] : []),
    ...(group === undefined ? [] : ['-g', group]),
  ];
  const child = spawn(process.execPath, args, {
    cwd: '/',
    detached: true,
    windowsHide: true,
    env: { ...process.env, NETMAP_DIR: directory },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  return new Promise((resolve, reject) => {
    let complaint = '';
    child.stderr.on('data', (text) => {
      complaint += text;
    });
    child.stdout.once('data', () => {
      child.stdout.destroy();
      child.stderr.destroy();
      child.unref();
      resolve(child.pid!);
    });
    child.once('close', () => {
      const message =
        complaint.trim().replace(/^netmapd: /, '') || 'Cannot load netmap: netmapd ended without a word';
      reject(new NetmapError(message.includes('loaded already') ? 'EBUSY' : 'EACCES', message));
    });
    child.once('error', (error) => reject(new NetmapError('ENOENT', `Cannot load netmap: ${error.message}`)));
  });
}

/** A connection to the module, started on demand unless NETMAP_AUTOLOAD=0. */
export async function connectOrStart(directory: string, purpose: string): Promise<net.Socket> {
  const found = await connect(directory);
  if (found) return found;
  if (process.env['NETMAP_AUTOLOAD'] === '0') {
    throw new NetmapError(
      'ENXIO',
      `Cannot ${purpose}: no netmap module is loaded in ${directory}; load it with "nm-loader l"`,
    );
  }
  try {
    await startModule({ directory, onDemand: true });
  } catch (error) {
    // Somebody else may have started one at the same time: then it is there now.
    if ((error as NetmapError).code !== 'EBUSY') throw error;
  }
  for (let i = 0; i < 100; i++) {
    const socket = await connect(directory);
    if (socket) return socket;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  throw new NetmapError(
    'ETIMEDOUT',
    `Cannot ${purpose}: the netmap module in ${directory} was started but does not answer`,
  );
}
