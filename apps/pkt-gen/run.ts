// pkt-gen's main thread: opens the port, starts the workers, reports while they run, sums up.

import os from 'node:os';
import { Worker } from 'node:worker_threads';
import {
  headerLength,
  interfaces,
  NetmapError,
  NR_ACCEPT_VNET_HDR,
  open,
  type Port,
  setHeaderLength,
} from '../../src/client/index.ts';
import { readPcap } from '../pcap/pcap-file.ts';
import { Board } from './board.ts';
import { parseMac } from './mac.ts';
import { type FunctionName, type PktGenOptions, parseOptions } from './options.ts';
import { scheduleFor } from './pace.ts';
import { describeRange } from './ranges.ts';
import { D, Reporter } from './report.ts';
import { USAGE } from './usage.ts';
import type { WorkerData } from './worker.ts';

const VERBS: Readonly<Record<FunctionName, string>> = {
  tx: 'Sending on',
  txseq: 'Sending on',
  rx: 'Receiving from',
  rxseq: 'Receiving from',
  ping: 'Working on',
  pong: 'Working on',
};

/** Runs the program to its end. @returns its exit status */
export async function run(program: string, argv: readonly string[], busy: boolean): Promise<number> {
  try {
    const options = parseOptions(argv, { cpus: os.availableParallelism() });
    if (options.help) {
      process.stdout.write(USAGE.replaceAll('pkt-gen', program));
      return 0;
    }
    return await generate(options, busy);
  } catch (error) {
    if (!(error instanceof NetmapError)) throw error;
    process.stderr.write(`${program}: ${error.message}\n`);
    return 1;
  }
}

async function generate(options: PktGenOptions, busy: boolean): Promise<number> {
  announce(options);
  const frames = options.pcapFile === undefined ? 0 : readPcap(options.pcapFile).frames.length;
  const port = await open(options.ifname, { ...options.sizes, flags: NR_ACCEPT_VNET_HDR });
  try {
    await agreeOnHeader(options);
    if (port.nic && !options.ownSmac) await sendFromInterface(options);
    const queues = sends(options.fn) ? port.txRings.length : port.rxRings.length;
    if (options.threads > queues) {
      throw new NetmapError(
        'EINVAL',
        `bad nthreads ${options.threads}, have ${queues} queues: open the port with @conf:rings=${options.threads}, or use -p ${queues}`,
      );
    }
    banner(options, port, queues);
    if (options.waitSeconds > 0) {
      D('start_threads', `Wait ${options.waitSeconds} secs for phy reset`);
      await new Promise((resolve) => setTimeout(resolve, options.waitSeconds * 1000));
    }
    // Its syncs are another process's, asked for by one thread: each worker opens its rings itself.
    if (port.isolated) await port.close();
    D('start_threads', 'Ready...');
    return await supervise(options, port, busy, options.count || frames);
  } finally {
    await port.close();
  }
}

/** A switch's port may want a virtio-net header in front of its frames, or be told to. */
async function agreeOnHeader(options: PktGenOptions): Promise<void> {
  const { ifname, header, ownHeader } = options;
  if (!/^vale[^{}]*$/.test(ifname)) {
    if (header > 0)
      throw new NetmapError(
        'EINVAL',
        `Cannot put a virtio-net header of ${header} bytes in front of frames of "${ifname}": ports of switches have them; leave -H out`,
      );
    return;
  }
  const name = ifname.replace(/[@/].*$/s, '');
  if (ownHeader) {
    await setHeaderLength(name, header);
    return;
  }
  options.header = await headerLength(name);
  if (options.header > 0) D('main', `Port requires virtio-net header, length = ${options.header}`);
}

/** The interface's own address is the frames' source. */
async function sendFromInterface(options: PktGenOptions): Promise<void> {
  const name = /^netmap:([^{}@/^*]+)/.exec(options.ifname)?.[1] ?? '';
  const nic = (await interfaces()).find((each) => name === each.name || name.startsWith(`${each.name}-`));
  if (!nic) return;
  options.smacText = nic.mac;
  options.smac = parseMac(nic.mac);
}

function sends(fn: FunctionName): boolean {
  return fn === 'tx' || fn === 'txseq';
}

function announce(options: PktGenOptions): void {
  D('main', `interface is ${options.ifname}`);
  D('main', `running on ${options.cpus} cpus (have ${os.availableParallelism()})`);
  D('extract_ip_range', `range is ${describeRange(options.src)}`);
  D('extract_ip_range', `range is ${describeRange(options.dst)}`);
  const { txRings, txSlots, rxRings, rxSlots } = options.sizes;
  if (txSlots !== undefined) D('main', `txr ${txRings} txd ${txSlots} rxr ${rxRings} rxd ${rxSlots}`);
  if (options.fn === 'txseq' && options.count > 0) D('main', 'Ignoring -n argument');
}

function banner(options: PktGenOptions, port: Port, queues: number): void {
  const { fn, ifname, threads, cpus } = options;
  if (port.nic) {
    const { mode, why } = port.nic;
    const by = mode === 'emulated' ? 'packet sockets' : 'AF_XDP';
    D('main', `${ifname} by ${by}, ${mode} mode${why ? `; no better: ${why}` : ''}`);
  }
  console.log(`${VERBS[fn]} ${ifname}: ${queues} queues, ${threads} threads and ${cpus} cpus.`);
  if (options.verbose > 0) {
    D(
      'main',
      `nifp at offset ${port.nifpOfs} ntxqs ${port.txRings.length} nrxqs ${port.rxRings.length} memid ${port.memId}`,
    );
    const base = port.memory.byteOffset;
    for (const ring of port.txRings)
      D(
        'main',
        `   TX${ring.ringId} at offset 0x${(ring.address - base).toString(16)} slots ${ring.numSlots}`,
      );
    for (const ring of port.rxRings)
      D(
        'main',
        `   RX${ring.ringId} at offset 0x${(ring.address - base).toString(16)} slots ${ring.numSlots}`,
      );
  }
  if (!sends(fn)) return;
  console.log(`${options.srcText} -> ${options.dstText} (${options.smacText} -> ${options.dmacText})`);
  const { burst, periodMs } = scheduleFor(options.rate, options.burst);
  D('main', `Sending ${burst} packets every  ${(periodMs / 1000).toFixed(9)} s`);
}

async function supervise(options: PktGenOptions, port: Port, busy: boolean, count: number): Promise<number> {
  const board = new Board(options.threads);
  const reporter = new Reporter(options, board);
  const stop = () => {
    D('sigint_h', 'received control-C');
    board.cancel();
  };
  process.on('SIGINT', stop);
  process.on('SIGTERM', stop);
  const timer = setInterval(() => {
    reporter.period();
    if (port.dead === undefined || board.cancelled) return;
    D('main', `${options.ifname} has come to its end: ${port.dead}`);
    board.cancel();
  }, options.reportMs);
  const unlimited = count === 0 || options.fn === 'txseq';
  const ends = Array.from({ length: options.threads }, (_, thread) =>
    finished({
      shared: port.isolated ? undefined : port.share(options.threads > 1 ? thread : undefined),
      options,
      busy,
      thread,
      board: board.buffer,
      target: unlimited ? Number.POSITIVE_INFINITY : Math.floor(count / options.threads),
    }),
  );
  const failures = (await Promise.all(ends)).filter((ok) => !ok).length;
  clearInterval(timer);
  process.off('SIGINT', stop);
  process.off('SIGTERM', stop);
  reporter.period();
  for (const line of reporter.summary()) console.log(line);
  return failures > 0 || port.dead !== undefined ? 1 : 0;
}

/** Runs a worker; whether it ended well. */
function finished(workerData: WorkerData): Promise<boolean> {
  return new Promise((resolve) => {
    const worker = new Worker(new URL('./worker.js', import.meta.url), {
      workerData,
      trackUnmanagedFds: false, // Descriptors come from elsewhere than Node.
    });
    worker.on('error', () => {}); // It has said why.
    worker.on('exit', (code) => resolve(code === 0));
  });
}
