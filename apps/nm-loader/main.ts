#!/usr/bin/env node
// nm-loader: loads, unloads and shows netmap's module.

import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import {
  install,
  installInterface,
  interfaces,
  load,
  type ModuleStatus,
  NetmapError,
  openCounters,
  status,
  uninstall,
  uninstallInterface,
  unload,
} from '../../src/client/index.ts';

const USAGE = `usage: nm-loader l [-g GROUP] | u [-f] | s | w [TIMES] | interfaces
       nm-loader install [IFNAME [-g GROUP]] | uninstall [IFNAME] | -h
  l      load the module
  l -g GROUP  and let users of this group open ports, in isolated mode
  u      unload it; refused while ports are open
  u -f   unload it even so: open ports work on, unmanaged, until they are closed
  s      show the module, its clients and ports, with packets and drops of each ring
  w [TIMES]  every second, for ever or so often: packets, bytes and drops of each ring, read from
         the memory that they are counted in
  interfaces
         list network interfaces: index, name, MAC, MTU, queues each way, driver, how
         frames would be taken, which group's users may open it, and what stands in the
         way, with its remedy
  install    have the system load the module from now on, at every boot: a systemd unit
             (the system's for root, else the user's), on Windows a service
  uninstall  undo that
  install IFNAME [-g GROUP]
             let users of a group open this interface and its host rings through the module,
             in isolated mode; kept for the modules after this one; -g is not needed where
             the module was loaded with it
  uninstall IFNAME
             undo that; what is open stays open until it is closed
  -h     this text

NETMAP_DIR chooses the runtime directory (default: /run/netmap for root, else a
directory of the user's). Exit status: 0 done, 1 not done, and standard error says why.
`;

/** What follows a command. */
interface Given {
  force: boolean;
  group: string | undefined;
  /** Interface, or how often. */
  what: string | undefined;
}

interface Command {
  /** Which of those it takes. */
  takes: readonly (keyof Given)[];
  run(given: Given): Promise<void>;
}

const commands: Readonly<Record<string, Command>> = {
  l: {
    takes: ['group'],
    async run({ group }) {
      console.log(`netmap loaded, pid ${await load(undefined, group)}`);
    },
  },
  u: {
    takes: ['force'],
    async run({ force }) {
      await unload({ force });
      console.log('netmap unloaded');
    },
  },
  s: { takes: [], run: async () => show(await status()) },
  w: { takes: ['what'], run: ({ what }) => watch(what) },
  install: {
    takes: ['what', 'group'],
    async run({ what, group }) {
      if (what === undefined && group !== undefined)
        throw new UsageError('-g is about an interface: name it');
      if (what === undefined) {
        console.log(install());
        return;
      }
      await installInterface(what, group);
      const { installedFor } = (await interfaces()).find(({ name }) => name === what)!;
      console.log(`${what} installed for users of group ${installedFor}`);
    },
  },
  uninstall: {
    takes: ['what'],
    async run({ what }) {
      if (what === undefined) {
        console.log(uninstall());
        return;
      }
      await uninstallInterface(what);
      console.log(`${what} uninstalled`);
    },
  },
  interfaces: {
    takes: [],
    async run() {
      for (const nic of await interfaces()) {
        const { index, name, mac, mtu, up, txQueues, rxQueues, driver, bestMode, installedFor, obstacles } =
          nic;
        const state = up ? 'up' : 'down';
        const group = installedFor === undefined ? '' : ` installed for group ${installedFor}`;
        console.log(
          `${index} ${name} ${mac || '-'} mtu ${mtu} ${state} queues ${txQueues || '?'}/${rxQueues || '?'} driver ${driver || '-'} mode ${bestMode}${group}`,
        );
        for (const { cause, remedy } of obstacles) console.log(`    ${cause}: ${remedy}`);
      }
    },
  },
};

/** What was typed makes no sense. */
class UsageError extends Error {}

async function watch(often: string | undefined): Promise<void> {
  if (often !== undefined && !/^[1-9]\d*$/.test(often))
    throw new UsageError(`"${often}" is no number of times`);
  await status(); // Refuses if no module is loaded: looking on does not load one.
  const counters = await openCounters();
  for (let i = 1; ; i++) {
    for (const { name, rings } of await counters.read())
      for (const { ring, packets, bytes, drops } of rings)
        console.log(`${name} ${ring}  ${packets} packets, ${bytes} bytes${dropped(drops)}`);
    if (i >= Number(often ?? Number.POSITIVE_INFINITY)) break;
    await sleep(1000);
    console.log();
  }
  counters.close();
  process.exit(0);
}

function show({ pid, version, directory, clients, ports }: ModuleStatus): void {
  console.log(`netmap ${version} loaded in ${directory}, pid ${pid}`);
  const pids = [...new Set(clients.map((client) => client.pid))];
  console.log(`${clients.length} clients${pids.length > 0 ? `: pid ${pids.join(', ')}` : ''}`);
  console.log(`${ports.length} ports`);
  for (const port of ports) {
    const mib = (port.memSize / 2 ** 20).toFixed(1);
    console.log(
      `  ${port.name}  ${port.kind}, memory ${port.memId} (${mib} MiB), opened ${port.opens} times`,
    );
    for (const ring of port.rings) {
      console.log(`    ${ring.ring}  ${ring.slots} slots, ${ring.packets} packets${dropped(ring.drops)}`);
    }
  }
}

function dropped(drops: Record<string, number>): string {
  const counts = Object.entries(drops).map(([reason, count]) => `${count} ${reason}`);
  return counts.length > 0 ? `; dropped: ${counts.join(', ')}` : '';
}

/** @throws UsageError. */
function parse(args: readonly string[]): { command: Command; given: Given } {
  const expected = `expected one of ${Object.keys(commands).join(', ')}`;
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: { f: { type: 'boolean', short: 'f' }, g: { type: 'string', short: 'g' } },
  });
  const [name, what, ...rest] = positionals;
  const command = name === undefined || !Object.hasOwn(commands, name) ? undefined : commands[name];
  if (!command) throw new UsageError(expected);
  const given = { force: values.f ?? false, group: values.g, what };
  const takes = (which: keyof Given) => command.takes.includes(which);
  if (rest.length > 0 || (what !== undefined && !takes('what')))
    throw new UsageError(`${name} takes no "${rest[0] ?? what}"`);
  if (given.force && !takes('force')) throw new UsageError(`${name} takes no -f`);
  if (given.group !== undefined && !takes('group')) throw new UsageError(`${name} takes no -g`);
  return { command, given };
}

async function main(args: readonly string[]): Promise<number> {
  if (args[0] === '-h') {
    process.stdout.write(USAGE);
    return 0;
  }
  try {
    const { command, given } = parse(args);
    await command.run(given);
    return 0;
  } catch (error) {
    const { code, message, stack } = error as NodeJS.ErrnoException;
    if (error instanceof UsageError || code?.startsWith('ERR_PARSE_ARGS')) {
      process.stderr.write(`nm-loader: cannot do "${args.join(' ')}": ${message}\n${USAGE}`);
      return 1;
    }
    process.stderr.write(`nm-loader: ${error instanceof NetmapError ? message : stack}\n`);
    return 1;
  }
}

process.exitCode = await main(process.argv.slice(2));
