// Users of groups that may come in besides the module's own user, and the network interfaces that they may open.
//
//   nm-loader l -g GROUP                 users of the group come in
//   nm-loader install IFNAME -g GROUP    so do users of this one, and they may open the interface
//
// The latter is for the next module, too: it is kept in a file, a line each, `IFNAME GROUP`.

import fs from 'node:fs';
import path from 'node:path';
import { NetmapError } from '../abi/errors.ts';
import { findInterface } from '../nic/index.ts';
import { os, type Peer } from '../os/index.ts';
import { interfacesPath, socketPath } from '../protocol/directory.ts';

interface Group {
  /** As it was given: a name or a number. */
  readonly name: string;
  readonly id: number;
}

export class Access {
  readonly #directory: string;
  readonly #file: string;
  readonly #loadedFor: Group | undefined;
  readonly #installed: Map<string, Group>;

  /**
   * @param group  that the module is loaded for
   * @throws NetmapError ENOENT: no such group; EINVAL: a file that makes no sense; EACCES: that others could write.
   */
  constructor(directory: string, group?: string) {
    this.#directory = directory;
    this.#file = interfacesPath(directory);
    this.#loadedFor = group === undefined ? undefined : { name: group, id: os.groupId(group) };
    this.#installed = readInterfaces(this.#file);
  }

  /** Interfaces that are installed. */
  get interfaces(): number {
    return this.#installed.size;
  }

  /** What an interface is installed for: a group, by name or number. */
  installedFor(name: string): string | undefined {
    return this.#installed.get(name)?.name;
  }

  /** Opens the way to the socket, which is listened on, to those who may come. @throws NetmapError EPERM. */
  open(): void {
    if (this.#groups.size > 0) this.#admit(this.#groups);
  }

  /** Closes it again. */
  close(): void {
    if (this.#groups.size > 0) this.#admit([]);
  }

  admits({ groups }: Peer): boolean {
    return groups.some((group) => this.#groups.has(group));
  }

  /** Refuses a user who has come as far as the socket. @throws NetmapError EPERM. */
  checkUser(peer: Peer): void {
    if (this.admits(peer)) return;
    const { uid } = peer;
    throw new NetmapError(
      'EPERM',
      `Cannot let uid ${uid} in: it is of no group that the module in ${this.#directory} is for; "nm-loader l -g GROUP" lets a group in, "nm-loader install IFNAME -g GROUP" to an interface, too`,
    );
  }

  /** @throws NetmapError EPERM: the interface is not for this user, and what would make it so. */
  checkInterface(name: string, { uid, groups }: Peer): void {
    const group = this.#installed.get(name);
    if (!group)
      throw new NetmapError(
        'EPERM',
        `Cannot open "${name}": it is not installed for users of any group; do it with "nm-loader install ${name} -g GROUP" as the module's user`,
      );
    if (groups.includes(group.id)) return;
    throw new NetmapError(
      'EPERM',
      `Cannot open "${name}": it is installed for group ${group.name}, which uid ${uid} is not of; "usermod -aG ${group.name} USER" makes a user one of it`,
    );
  }

  /** @param group  unless given, that which the module was loaded for. @throws NetmapError ENXIO, EINVAL, EEXIST, ENOENT, EPERM, EACCES. */
  install(name: string, group = this.#loadedFor?.name): void {
    const refuse = (code: 'ENXIO' | 'EINVAL' | 'EEXIST', why: string) =>
      new NetmapError(code, `Cannot install "${name}": ${why}`);
    // By its own name: what has an index now has another after the next boot.
    if (findInterface(name)?.name !== name || !isName(name))
      throw refuse('ENXIO', 'there is no network interface of that name; "nm-loader interfaces" lists all');
    if (group === undefined) throw refuse('EINVAL', 'for users of which group? Give it with "-g GROUP"');
    const known = this.#installed.get(name);
    if (known)
      throw refuse(
        'EEXIST',
        `it is installed for group ${known.name} already; "nm-loader uninstall ${name}" undoes that`,
      );
    this.#change(() => this.#installed.set(name, { name: group, id: os.groupId(group) }));
  }

  /** Ports that are open stay open. @throws NetmapError ENOENT, EPERM, EACCES. */
  uninstall(name: string): void {
    if (!this.#installed.has(name))
      throw new NetmapError(
        'ENOENT',
        `Cannot uninstall "${name}": it is not installed; "nm-loader interfaces" shows which are`,
      );
    this.#change(() => this.#installed.delete(name));
  }

  #admit(groups: Iterable<number>): void {
    os.admitGroups(this.#directory, socketPath(this.#directory), [...groups]);
  }

  get #groups(): ReadonlySet<number> {
    const all = [...this.#installed.values(), ...(this.#loadedFor ? [this.#loadedFor] : [])];
    return new Set(all.map(({ id }) => id));
  }

  /** A change that is written down and takes effect, or does neither. */
  #change(change: () => void): void {
    const before = new Map(this.#installed);
    try {
      change();
      this.#admit(this.#groups);
      writeInterfaces(this.#file, this.#installed);
    } catch (error) {
      this.#installed.clear();
      for (const [name, group] of before) this.#installed.set(name, group);
      this.#admit(this.#groups);
      throw error;
    }
  }
}

function isName(name: string): boolean {
  return /^[^\s/#]{1,15}$/.test(name);
}

function readInterfaces(file: string): Map<string, Group> {
  const installed = new Map<string, Group>();
  readOwn(file)
    .split('\n')
    .forEach((line, i) => {
      const refuse = (why: string) =>
        new NetmapError('EINVAL', `Cannot load netmap: line ${i + 1} of ${file} ${why}`);
      const text = line.replace(/#.*/, '').trim();
      if (text === '') return;
      const [name, group, ...rest] = text.split(/\s+/);
      if (!isName(name!) || group === undefined || rest.length > 0)
        throw refuse(`is "${text}": an interface and a group are needed, as in "eth0 netmap"`);
      if (installed.has(name!)) throw refuse(`names "${name}" once more: remove one of the lines`);
      try {
        installed.set(name!, { name: group, id: os.groupId(group) });
      } catch (error) {
        throw refuse(
          `names group "${group}": ${(error as Error).message}; make the group or remove the line`,
        );
      }
    });
  return installed;
}

/** A file's text; '' if there is none. @throws NetmapError EACCES: others than us and root could have written it. */
function readOwn(file: string): string {
  let fd: number;
  try {
    fd = fs.openSync(file, fs.constants.O_RDONLY | fs.constants.O_NONBLOCK);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return '';
    throw new NetmapError('EACCES', `Cannot load netmap: ${(error as Error).message}`);
  }
  try {
    const stat = fs.fstatSync(fd);
    const trusted = stat.uid === 0 || stat.uid === process.getuid?.();
    if (!stat.isFile() || !trusted || stat.mode & 0o022)
      throw new NetmapError(
        'EACCES',
        `Cannot load netmap: others could have written ${file} (uid ${stat.uid}, mode 0${(stat.mode & 0o777).toString(8)}); have it owned by the module's user, with mode 0644`,
      );
    return fs.readFileSync(fd, 'utf8');
  } finally {
    fs.closeSync(fd);
  }
}

/** Whole or not at all. @throws NetmapError EACCES. */
function writeInterfaces(file: string, installed: ReadonlyMap<string, Group>): void {
  const lines = [...installed].map(([name, group]) => `${name} ${group.name}\n`);
  try {
    if (lines.length === 0) {
      fs.rmSync(file, { force: true });
      return;
    }
    fs.mkdirSync(path.dirname(file), { recursive: true, mode: 0o755 });
    fs.writeFileSync(
      `${file}.new`,
      `# interface group, as "nm-loader install" wrote them\n${lines.join('')}`,
      {
        mode: 0o644,
      },
    );
    fs.renameSync(`${file}.new`, file);
  } catch (error) {
    throw new NetmapError('EACCES', `Cannot write ${file}: ${(error as Error).message}`);
  }
}
