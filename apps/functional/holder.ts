// The process that keeps ports open between runs of functional: rings, pending packets and monitors stay as they
// are.  One JSON object a line; what is asked for is played here, several at a time.

import { spawn } from 'node:child_process';
import fs from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import {
  connectLocally,
  listenLocally,
  NetmapError,
  open,
  type Port,
  runtimeDirectory,
} from '../../src/client/index.ts';
import { type Event, play, type Settings } from './play.ts';

export type Request =
  | { action: 'play'; port: string; events: Event[]; settings: Settings }
  | { action: 'stop' };

const MAIN = fileURLToPath(new URL('./main.js', import.meta.url));

function socketPath(): string {
  return path.join(runtimeDirectory(), 'functional.sock');
}

/** Runs the holder in this process, until it is told to stop. */
export function hold(): void {
  const ports = new Map<string, Promise<Port>>();
  fs.mkdirSync(path.dirname(socketPath()), { recursive: true, mode: 0o700 });
  fs.rmSync(socketPath(), { force: true });
  const server = net.createServer((socket) => {
    socket.on('error', () => socket.destroy());
    createInterface({ input: socket }).on('line', async (line) => {
      const request = JSON.parse(line) as Request;
      if (request.action === 'stop') {
        await Promise.allSettled([...ports.values()].map(async (port) => (await port).close()));
        fs.rmSync(socketPath(), { force: true });
        socket.end(() => process.exit(0));
        return;
      }
      socket.end(`${JSON.stringify({ complaint: await answer(request, ports) })}\n`);
    });
  });
  listenLocally(server, socketPath(), () => process.stdout.write('ready\n'));
}

async function answer(
  { port: name, events, settings }: Extract<Request, { action: 'play' }>,
  ports: Map<string, Promise<Port>>,
): Promise<string | null> {
  try {
    if (!ports.has(name)) ports.set(name, open(name));
    return (await play(await ports.get(name)!, events, settings)) ?? null;
  } catch (error) {
    ports.delete(name);
    return (error as Error).message;
  }
}

/** Starts a holder and waits until it listens; one that runs already stays. */
export async function startHolder(): Promise<void> {
  if (await connect()) return;
  const child = spawn(process.execPath, [MAIN, '--hold'], {
    detached: true,
    windowsHide: true,
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  await new Promise((resolve) => child.stdout!.once('data', resolve));
  child.stdout!.destroy();
  child.unref();
}

/** Asks the holder. @returns what went wrong, if anything did. @throws NetmapError ENXIO: there is none. */
export async function ask(request: Request): Promise<string | undefined> {
  const socket = await connect();
  if (!socket) {
    if (request.action === 'stop') return undefined;
    throw new NetmapError('ENXIO', 'Cannot use -i: no process holds ports; start one with "functional -o"');
  }
  socket.write(`${JSON.stringify(request)}\n`);
  let reply = '';
  for await (const text of socket.setEncoding('utf8')) reply += text;
  return reply === ''
    ? undefined
    : ((JSON.parse(reply) as { complaint: string | null }).complaint ?? undefined);
}

function connect(): Promise<net.Socket | undefined> {
  return new Promise((resolve) => {
    const socket = connectLocally(socketPath());
    if (!socket) return resolve(undefined);
    socket.once('connect', () => resolve(socket));
    socket.once('error', () => resolve(undefined));
  });
}
