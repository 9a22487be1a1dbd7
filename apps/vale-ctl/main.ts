#!/usr/bin/env node
// vale-ctl: makes, attaches, detaches, removes and lists ports of VALE switches (spec apps §2).

import fs from 'node:fs';
import path from 'node:path';
import { parseArgs } from 'node:util';
import {
  attach,
  attachHost,
  clearLookup,
  delIf,
  detach,
  getLookup,
  listAddresses,
  listPorts,
  locatePort,
  longestFrame,
  NetmapError,
  NR_REG_ALL_NIC,
  NR_REG_NIC_SW,
  newIf,
  portInfo,
  setLongestFrame,
  setLookup,
  setPolling,
} from '../../src/client/index.ts';

const USAGE = `usage: vale-ctl [ACTION] [options]
Without an action: lists every port of every switch.
  -a vale0:IF   attach an interface or persistent port to a switch
  -h vale0:IF   attach it with its host rings
  -e vale0:NAME put the host on a switch by an interface NAME that is made for it
  -d vale0:IF   detach it
  -n NAME       make a persistent port; -C and -m say what kind
  -r NAME       remove it
  -g PORT       sizes of a port
  -l vale0:P    where a port is
  -t vale0      the addresses that a switch has learned
  -L vale0      what decides where its frames go; with -f: have a WebAssembly lookup decide
  -U vale0      the learning table decides again
  -p vale0:IF   poll the rings of an attached NIC; -C MODE,FIRST[,COUNT]
  -P vale0:IF   stop polling
  -M vale0:P    the longest frame that a port takes; with -b BYTES: set it, 0 for any
  -C CONF       TXSLOTS[,RXSLOTS[,TXRINGS[,RXRINGS]]]; one number: both slots; three: both rings
  -m MEM        memory region for -n, -a, -h: its number, or a port that lives in it (netmap:X)
  -f FILE       the lookup for -L, a WebAssembly module
  -c FILE       what it is configured with
  -b BYTES      for -M
  -v            print what -n, -a, -h, -e, -d return
Exit status: 0 done, 1 an error, and standard error says which.
`;

interface Settings {
  conf: string | undefined;
  memory: string | undefined;
  lookup: string | undefined;
  configuration: string | undefined;
  bytes: string | undefined;
  verbose: boolean;
}

type Action = (name: string, settings: Settings) => Promise<readonly string[]>;

const ACTIONS: Readonly<Record<string, Action>> = {
  a: (name, settings) => attachTo(name, NR_REG_ALL_NIC, settings),
  h: (name, settings) => attachTo(name, NR_REG_NIC_SW, settings),
  async e(name, { verbose }) {
    const port = await attachHost(name);
    return verbose ? [`port_index: ${port}`] : [];
  },
  async d(name, { verbose }) {
    const port = await detach(name);
    return verbose ? [`port_index: ${port}`] : [];
  },
  async n(name, { conf, memory, verbose }) {
    const made = await newIf(name, { ...parseShape(conf), memId: await memoryId(memory) });
    if (!verbose) return [];
    return [
      `tx_slots:   ${made.txSlots}`,
      `rx_slots:   ${made.rxSlots}`,
      `tx_rings:   ${made.txRings}`,
      `rx_rings:   ${made.rxRings}`,
      `mem_id:     ${made.memId}`,
    ];
  },
  async r(name) {
    await delIf(name);
    return [];
  },
  async g(name) {
    const info = await portInfo(
      name.startsWith('vale') || name.startsWith('netmap:') ? name : `netmap:${name}`,
    );
    return [
      `memsize:    ${info.memSize}`,
      `tx_slots:   ${info.txSlots}`,
      `rx_slots:   ${info.rxSlots}`,
      `tx_rings:   ${info.txRings}`,
      `rx_rings:   ${info.rxRings}`,
      `mem_id:     ${info.memId}`,
    ];
  },
  async l(name) {
    const { bridge, port } = await locatePort(name);
    return [`bridge_idx: ${bridge}`, `port_idx:   ${port}`];
  },
  async t(name) {
    const addresses = await listAddresses(name);
    return addresses.map(({ mac, port, age }) => `${mac} ${port} seen ${age} s ago`);
  },
  async L(name, { lookup, configuration }) {
    if (lookup === undefined) {
      const { kind, label, alive } = await getLookup(name);
      return [
        `${kind}${label && ` "${label}"`}${alive ? '' : ', whose process is gone: frames are dropped'}`,
      ];
    }
    const config = configuration === undefined ? {} : { config: readFile(configuration) };
    await setLookup(name, readFile(lookup), { label: path.basename(lookup).slice(0, 63), ...config });
    return [];
  },
  async M(name, { bytes }) {
    if (bytes === undefined) return [`longest frame: ${(await longestFrame(name)) || 'any'}`];
    if (!/^\d{1,9}$/.test(bytes))
      throw new NetmapError('EINVAL', `Cannot accept -b ${bytes}: a number of bytes is expected`);
    await setLongestFrame(name, Number(bytes));
    return [];
  },
  async U(name) {
    await clearLookup(name);
    return [];
  },
  async p(name, { conf }) {
    await setPolling(name, true, parsePolling(conf));
    return [];
  },
  async P(name) {
    await setPolling(name, false);
    return [];
  },
};

async function attachTo(name: string, mode: number, { memory, verbose }: Settings): Promise<string[]> {
  const port = await attach(name, { mode, memId: await memoryId(memory) });
  return verbose ? [`port_index: ${port}`] : [];
}

function readFile(file: string): Uint8Array {
  try {
    return fs.readFileSync(file);
  } catch (error) {
    throw new NetmapError('ENOENT', `Cannot read "${file}": ${(error as Error).message}`);
  }
}

async function listAll(): Promise<string[]> {
  return (await listPorts()).map(({ name, bridge, port }) => `${name} bridge_idx ${bridge} port_idx ${port}`);
}

/** -C of a port: one number stands for both directions' slots, the third for both directions' rings. */
function parseShape(conf: string | undefined) {
  if (conf === undefined) return {};
  const numbers = numbersIn(conf, 4, 'TXSLOTS[,RXSLOTS[,TXRINGS[,RXRINGS]]]');
  const [txSlots = 0, rxSlots = txSlots, txRings = 0, rxRings = txRings] = numbers;
  return { txSlots, rxSlots, txRings, rxRings };
}

/** -C of polling: mode 0 is one CPU for all rings, another one CPU a ring. */
function parsePolling(conf: string | undefined) {
  if (conf === undefined) {
    throw new NetmapError('EINVAL', 'Cannot enable polling without -C: give it MODE,FIRST[,COUNT]');
  }
  const [mode = 0, firstCpu = 0, count] = numbersIn(conf, 3, 'MODE,FIRST[,COUNT]');
  if (mode === 0 && count !== undefined)
    throw new NetmapError('EINVAL', `Cannot accept -C ${conf}: with mode 0 there is one CPU, and no count`);
  return { mode: mode === 0 ? 1 : 2, firstCpu, cpus: count ?? 1 };
}

function numbersIn(conf: string, most: number, form: string): number[] {
  const parts = conf.split(',');
  const numbers = parts.map(Number);
  if (parts.length <= most && parts.every((part) => /^\d+$/.test(part)) && numbers.every((n) => n <= 0xffff))
    return numbers;
  throw new NetmapError('EINVAL', `Cannot accept -C ${conf}: ${form} is expected, numbers up to 65535`);
}

/** -m: the number of a region, or that of the region which a port lives in. */
async function memoryId(memory: string | undefined): Promise<number> {
  if (memory === undefined) return 0;
  if (/^\d+$/.test(memory)) return Number(memory);
  if (memory.startsWith('netmap:') || memory.startsWith('vale')) return (await portInfo(memory)).memId;
  throw new NetmapError(
    'EINVAL',
    `Cannot accept -m ${memory}: a number or a port is expected, as in netmap:v1`,
  );
}

async function main(): Promise<number> {
  try {
    const shorts = [...Object.keys(ACTIONS), 'C', 'm', 'f', 'c', 'b'];
    const options = Object.fromEntries(shorts.map((short) => [short, { type: 'string' as const, short }]));
    const { tokens } = parseArgs({
      options: { ...options, v: { type: 'boolean', short: 'v' } },
      tokens: true,
    });
    const given = (name: string) =>
      tokens.findLast((token) => token.kind === 'option' && token.name === name);
    const textOf = (name: string) => {
      const token = given(name);
      return token?.kind === 'option' ? token.value : undefined;
    };
    const settings: Settings = {
      conf: textOf('C'),
      memory: textOf('m'),
      lookup: textOf('f'),
      configuration: textOf('c'),
      bytes: textOf('b'),
      verbose: given('v') !== undefined,
    };
    // Of several actions the last one counts.
    const last = tokens.filter((token) => token.kind === 'option' && token.name in ACTIONS).at(-1);
    if (!last && process.argv.length > 2) {
      process.stderr.write(USAGE);
      return 1;
    }
    const lines =
      last?.kind === 'option' ? await ACTIONS[last.name]!(last.value!, settings) : await listAll();
    for (const line of lines) console.log(line);
    return 0;
  } catch (error) {
    const usage = (error as NodeJS.ErrnoException).code?.startsWith('ERR_PARSE_ARGS');
    if (!usage && !(error instanceof NetmapError)) throw error;
    process.stderr.write(`vale-ctl: ${(error as Error).message}\n${usage ? USAGE : ''}`);
    return 1;
  }
}

process.exitCode = await main();
