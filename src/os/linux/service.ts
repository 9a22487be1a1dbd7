// Permanent installation on Linux: a systemd unit, the system's for root and the user's own for others.  What
// "systemctl enable" does is a link; it is made here, so that a system that is not running systemd now starts the
// module when it does.

import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import { homedir } from 'node:os';
import path from 'node:path';
import { NetmapError } from '../../abi/errors.ts';

const UNIT = 'netmapd.service';

interface Place {
  directory: string;
  target: string;
  systemctl: readonly string[];
}

function place(): Place {
  if (process.getuid!() === 0)
    return { directory: '/etc/systemd/system', target: 'multi-user.target', systemctl: [] };
  const config = process.env['XDG_CONFIG_HOME'] ?? path.join(homedir(), '.config');
  return { directory: path.join(config, 'systemd/user'), target: 'default.target', systemctl: ['--user'] };
}

const quoted = (word: string) =>
  `"${word.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('%', '%%')}"`;

export function unitText(command: readonly string[], directory: string, target: string): string {
  return `[Unit]
Description=netmap's module

[Service]
ExecStart=${command.map((word) => quoted(word.replaceAll('$', '$$$$'))).join(' ')}
Environment=${quoted(`NETMAP_DIR=${directory}`)}
Restart=on-failure

[Install]
WantedBy=${target}
`;
}

/** What systemctl complains of; '' if it did what it was told. */
function systemctl(at: Place, ...args: string[]): string {
  const { status, stderr, error } = spawnSync('systemctl', [...at.systemctl, ...args], {
    encoding: 'utf8',
    timeout: 30_000,
  });
  if (error)
    return (error as NodeJS.ErrnoException).code === 'ENOENT' ? 'there is no systemctl' : error.message;
  return status === 0 ? '' : stderr.trim().split('\n')[0] || `systemctl ended with ${status}`;
}

export function installService(command: readonly string[], directory: string): string {
  const at = place();
  const unit = path.join(at.directory, UNIT);
  const link = path.join(at.directory, `${at.target}.wants`, UNIT);
  if (fs.existsSync(unit))
    throw new NetmapError(
      'EEXIST',
      `Cannot install netmap: ${unit} exists; remove it with "nm-loader uninstall"`,
    );
  try {
    fs.mkdirSync(path.dirname(link), { recursive: true });
    fs.writeFileSync(unit, unitText(command, directory, at.target));
    fs.rmSync(link, { force: true });
    fs.symlinkSync(unit, link);
  } catch (error) {
    fs.rmSync(unit, { force: true });
    throw new NetmapError('EACCES', `Cannot install netmap as ${unit}: ${(error as Error).message}`);
  }
  const complaint = systemctl(at, 'daemon-reload') || systemctl(at, 'start', UNIT);
  const started = complaint === '' ? 'and started' : `but not started now (${complaint})`;
  return `netmap installed as ${unit}, ${started}; the system starts it from the next boot on`;
}

function removeIfEmpty(directory: string): void {
  if (fs.readdirSync(directory).length === 0) fs.rmdirSync(directory);
}

export function uninstallService(): string {
  const at = place();
  const unit = path.join(at.directory, UNIT);
  if (!fs.existsSync(unit)) throw new NetmapError('ENOENT', `Cannot uninstall netmap: there is no ${unit}`);
  const stopped = systemctl(at, 'stop', UNIT);
  try {
    fs.rmSync(path.join(at.directory, `${at.target}.wants`, UNIT), { force: true });
    fs.rmSync(unit);
    removeIfEmpty(path.join(at.directory, `${at.target}.wants`));
  } catch (error) {
    throw new NetmapError('EACCES', `Cannot remove ${unit}: ${(error as Error).message}`);
  }
  systemctl(at, 'daemon-reload');
  return `netmap uninstalled: ${unit} removed${stopped === '' ? ', module stopped' : `; no service was stopped (${stopped})`}`;
}
