#!/usr/bin/env node
// nm-loader: loads, unloads and shows netmap's module.

import { setTimeout as sleep } from 'node:timers/promises';
import {
  install,
  interfaces,
  load,
  type ModuleStatus,
  NetmapError,
  openCounters,
  status,
  uninstall,
  unload,
} from '../../src/client/index.ts';

const USAGE = `usage: nm-loader l [-g GROUP] | u [-f] | s | w [TIMES] | interfaces | install | uninstall | -h
  l      load the module
  l -g GROUP  and let users of this group open ports, in isolated mode
  u      unload it; refused while ports are open
  u -f   unload it even so: open ports work on, unmanaged, until they are closed
  s      show the module, its clients and ports, with packets and drops of each ring
  w [TIMES]  every second, for ever or so often: packets, bytes and drops of each ring, read from
         the memory that they are counted in
  interfaces
         list network interfaces: index, name, MAC, MTU, queues each way, driver, how
         frames would be taken, and what stands in the way, with its remedy
  install    have the system load the module from now on, at every boot: a systemd unit
             (the system's for root, else the user's), on Windows a service
  uninstall  undo that
  -h     this text

NETMAP_DIR chooses the runtime directory (default: /run/netmap for root, else a
directory of the user's). Exit status: 0 done, 1 not done, and standard error says why.
`;

type Command = (force: boolean, group: string | undefined, times: number) => Promise<void>;

const commands: Readonly<Record<string, Command>> = {
  async l(_force, group) {
    console.log(`netmap loaded, pid ${await load(undefined, group)}`);
  },
  async u(force) {
    await unload({ force });
    console.log('netmap unloaded');
  },
  async s() {
    show(await status());
  },
  async w(_force, _group, times) {
    await status(); // Refuses if no module is loaded: looking on does not load one.
    const counters = await openCounters();
    for (let i = 1; ; i++) {
      for (const { name, rings } of await counters.read())
        for (const { ring, packets, bytes, drops } of rings)
          console.log(`${name} ${ring}  ${packets} packets, ${bytes} bytes${dropped(drops)}`);
      if (i >= times) break;
      await sleep(1000);
      console.log();
    }
    counters.close();
    process.exit(0);
  },
  async install() {
    console.log(install());
  },
  async uninstall() {
    console.log(uninstall());
  },
  async interfaces() {
    for (const nic of await interfaces()) {
      const { index, name, mac, mtu, up, txQueues, rxQueues, driver, bestMode, obstacles } = nic;
      const state = up ? 'up' : 'down';
      console.log(
        `${index} ${name} ${mac || '-'} mtu ${mtu} ${state} queues ${txQueues}/${rxQueues} driver ${driver || '-'} mode ${bestMode}`,
      );
      for (const { cause, remedy } of obstacles) console.log(`    ${cause}: ${remedy}`);
    }
  },
};

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

async function main(args: readonly string[]): Promise<number> {
  const force = args.includes('-f');
  const given = args.filter((arg) => arg !== '-f');
  const at = given[0] === 'l' ? given.indexOf('-g') : -1;
  const group = at > 0 ? given.splice(at, 2)[1] : undefined;
  const times =
    given[0] === 'w' && /^[1-9]\d*$/.test(given[1] ?? '') ? Number(given.splice(1, 1)[0]) : Infinity;
  const [name, ...rest] = given;
  if (name === '-h') {
    process.stdout.write(USAGE);
    return 0;
  }
  const command = name === undefined ? undefined : commands[name];
  if (!command || rest.length > 0 || (at > 0 && group === undefined)) {
    process.stderr.write(
      `nm-loader: cannot do "${args.join(' ')}": expected one of l, u, s, w, interfaces, install, uninstall\n${USAGE}`,
    );
    return 1;
  }
  await command(force, group, times);
  return 0;
}

main(process.argv.slice(2)).then(
  (code) => {
    process.exitCode = code;
  },
  (error) => {
    process.stderr.write(`nm-loader: ${error instanceof NetmapError ? error.message : error.stack}\n`);
    process.exitCode = 1;
  },
);
