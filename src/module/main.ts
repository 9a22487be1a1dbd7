#!/usr/bin/env node
// netmapd: loads the module and keeps it until it is unloaded.

import fs from 'node:fs';
import { parseArgs } from 'node:util';
import { NetmapError } from '../abi/errors.ts';
import { os } from '../os/index.ts';
import { ensureDirectory, lockPath, runtimeDirectory, socketPath } from '../protocol/directory.ts';
import { Access } from './access.ts';
import { Module } from './module.ts';
import { serve } from './server.ts';

const USAGE = `usage: netmapd [-h] [-x SECONDS] [-g GROUP] [-d DIRECTORY] [-s]
netmap's module: owns names, ports and memory of a runtime directory (NETMAP_DIR). Started by
"nm-loader l", or on demand by the first program that opens a port.
  -x SECONDS   go away so long after the last client (default: stay)
  -g GROUP     let users of this group open ports, in isolated mode (default: nobody but the owner)
  -d DIRECTORY instead of NETMAP_DIR
  -s           as a service that the system has started
  -h           this text
`;

function main(): void {
  const { values } = parseArgs({
    options: {
      x: { type: 'string', short: 'x' },
      g: { type: 'string', short: 'g' },
      d: { type: 'string', short: 'd' },
      s: { type: 'boolean', short: 's' },
      h: { type: 'boolean', short: 'h' },
    },
  });
  if (values.h) {
    process.stdout.write(USAGE);
    return;
  }
  if (values.d !== undefined) process.env['NETMAP_DIR'] = values.d; // For the threads of the module, too.
  const directory = runtimeDirectory();
  ensureDirectory(directory);
  const path = socketPath(directory);
  if (os.lockFile(lockPath(directory)) < 0) {
    throw new NetmapError(
      'EBUSY',
      `Cannot load netmap: it is loaded already in ${directory}; "nm-loader s" shows it`,
    );
  }
  // A socket without the lock's owner: the module before us did not end by itself.
  const crashed = fs.existsSync(path);
  const access = new Access(directory, values.g);
  const module = new Module(directory, access, crashed);
  if (crashed) fs.unlinkSync(path);

  const idle = new IdleTimer(values.x === undefined ? undefined : Number(values.x) * 1000, unload);
  const address = os.newSocketAddress(path);
  const server = serve(module, address, {
    unload: () => setImmediate(unload),
    used: () => idle.update(module.users),
  });
  server.on('listening', () => {
    try {
      os.guardSocket(address);
      access.open();
    } catch (error) {
      fs.rmSync(path, { force: true });
      fail(error);
    }
    process.stdout.write(`ready ${process.pid}\n`);
    if (crashed) module.relink().catch((error) => console.error(error));
  });
  server.on('error', (error) => {
    // Somebody could not be let in, for want of descriptors perhaps: no reason to leave the others.
    if (server.listening) console.error(error.message);
    else fail(new NetmapError('EACCES', `Cannot listen on ${path}: ${error.message}`));
  });
  idle.update(module.users);
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, unload);
  if (values.s) os.runAsService(unload);
  // Whoever started us may have closed the other ends of these.
  for (const stream of [process.stdout, process.stderr]) stream.on('error', () => {});

  async function unload(): Promise<void> {
    server.close();
    await module.close();
    access.close();
    fs.rmSync(path, { force: true });
    fs.rmSync(lockPath(directory), { force: true });
    process.exit(0);
  }
}

/** Runs `expired` some time after the last client has gone. */
class IdleTimer {
  readonly #afterMs: number | undefined;
  readonly #expired: () => void;
  #timer: NodeJS.Timeout | undefined;

  constructor(afterMs: number | undefined, expired: () => void) {
    this.#afterMs = afterMs;
    this.#expired = expired;
  }

  update(users: number): void {
    clearTimeout(this.#timer);
    if (users === 0 && this.#afterMs !== undefined) this.#timer = setTimeout(this.#expired, this.#afterMs);
  }
}

function fail(error: unknown): never {
  process.stderr.write(`netmapd: ${error instanceof NetmapError ? error.message : (error as Error).stack}\n`);
  process.exit(1);
}

try {
  main();
} catch (error) {
  fail(error);
}
