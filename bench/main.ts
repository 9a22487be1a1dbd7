// make bench: every case beside the C program, alternating in the same minutes.  Prints a table and writes
// bench/results/latest.json.

import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { unload } from '../src/client/index.ts';
import { allCases, type Case, nameOf } from './cases.ts';
import { ISOLATED_CASE, measureIsolated } from './isolated.ts';
import { BATCH_CASE, LOOKUP_CASE, measureBatchLookup, measureLookupCost } from './lookup.ts';
import { measureNics, NIC_BURST, NIC_SIZE, type NicResult, nicNames, whyNoNics } from './nic.ts';
import { OneThread } from './one-thread.ts';
import { measurePktGen, PROGRAM_CASES } from './programs.ts';
import { Reference } from './reference.ts';
import { measureTwoProcesses } from './two-processes.ts';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));

const USAGE = `usage: node build/js/bench/main.js [-h] [-m MS] [-r ROUNDS] [-s SIZES] [-b BURSTS] [-k PATTERN] [-o FILE]
Measures every case beside the C program of bench/reference, alternating.
  -m MS       length of one measurement in one thread; four times that across processes, eight times that on
              network interfaces (50)
  -r ROUNDS   measurements of a case, whose median counts (5)
  -s SIZES    only these frame sizes, separated by commas
  -b BURSTS   only these bursts
  -k PATTERN  only cases whose name contains this
  -o FILE     where the results go (bench/results/latest.json)
`;

interface Result {
  case: string;
  size: number;
  burst: number;
  processes: number;
  nsPerPacket: number;
  mpps: number;
  cNsPerPacket: number | null;
  /** C's time over ours, the median of the rounds: above 1 we are faster. */
  ratioToC: number | null;
  /** Our time over the calibration's (60 bytes; for 1500-byte frames 1500 bytes), median of the rounds. */
  timesCalibration: number | null;
}

const { values: options } = parseArgs({
  options: {
    h: { type: 'boolean', short: 'h', default: false },
    m: { type: 'string', short: 'm', default: '50' },
    r: { type: 'string', short: 'r', default: '5' },
    s: { type: 'string', short: 's' },
    b: { type: 'string', short: 'b' },
    k: { type: 'string', short: 'k', default: '' },
    o: { type: 'string', short: 'o', default: path.join(ROOT, 'bench/results/latest.json') },
  },
});
const ms = Number(options.m);
const rounds = Number(options.r);

function wanted(work: Case): boolean {
  const listed = (list: string | undefined, value: number) =>
    list === undefined || list.split(',').map(Number).includes(value);
  return (
    listed(options.s, work.size) &&
    listed(options.b, work.burst) &&
    `${nameOf(work)} ${work.processes}`.includes(options.k)
  );
}

async function measure(work: Case, reference: Reference | undefined): Promise<Result> {
  const single = work.processes === 1 ? await OneThread.prepare(work) : undefined;
  const window = single ? ms : ms * 4; // Two processes need longer to meet.
  const ours: number[] = [];
  const ratios: number[] = [];
  const cs: number[] = [];
  const multiples: number[] = [];
  if (single) for (let i = 0; i < 3; i++) single.measure(ms / 3);
  for (let round = 0; round < rounds; round++) {
    const calibration = reference?.calibrate(work.size === 1500 ? 1500 : 60, ms / 2);
    const c = reference?.measure(work, window);
    const ns = single ? single.measure(window) : await measureTwoProcesses(work, window);
    ours.push(ns);
    if (c !== undefined) {
      cs.push(c);
      ratios.push(c / ns);
    }
    if (calibration !== undefined) multiples.push(ns / calibration);
  }
  await single?.close();
  const ns = median(ours);
  return {
    case: nameOf(work),
    size: work.size,
    burst: work.burst,
    processes: work.processes,
    nsPerPacket: rounded(ns),
    mpps: rounded(1e3 / ns),
    cNsPerPacket: cs.length > 0 ? rounded(median(cs)) : null,
    ratioToC: ratios.length > 0 ? rounded(median(ratios)) : null,
    timesCalibration: multiples.length > 0 ? rounded(median(multiples)) : null,
  };
}

/** Something else that does the same work, alternating with the benchmark's own loop across two processes. */
async function measureBeside(
  name: string,
  work: Case,
  measureOther: (work: Case, ms: number) => Promise<number>,
): Promise<Result & { ratioToBenchmark: number }> {
  const ours: number[] = [];
  const ratios: number[] = [];
  for (let round = 0; round < rounds; round++) {
    const benchmark = await measureTwoProcesses(work, ms * 4);
    const ns = await measureOther(work, ms * 4);
    ours.push(ns);
    ratios.push(benchmark / ns);
  }
  const ns = median(ours);
  return {
    case: name,
    size: work.size,
    burst: work.burst,
    processes: work.processes,
    nsPerPacket: rounded(ns),
    mpps: rounded(1e3 / ns),
    cNsPerPacket: null,
    ratioToC: null,
    timesCalibration: null,
    ratioToBenchmark: rounded(median(ratios)),
  };
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[sorted.length >> 1]!;
}

function rounded(value: number): number {
  return Math.round(value * 100) / 100;
}

function row(result: Result): string {
  const cell = (value: number | null, width: number) =>
    (value === null ? '-' : value.toFixed(2)).padStart(width);
  return (
    `${result.case.padEnd(30)}${String(result.size).padStart(5)}${String(result.burst).padStart(6)}${String(result.processes).padStart(6)}` +
    `${cell(result.nsPerPacket, 10)}${cell(result.mpps, 9)}${cell(result.cNsPerPacket, 10)}${cell(result.ratioToC, 8)}${cell(result.timesCalibration, 9)}`
  );
}

function commit(): string {
  try {
    return execFileSync('git', ['-C', ROOT, 'rev-parse', '--short', 'HEAD'], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    }).trim();
  } catch {
    return 'unknown';
  }
}

/** Network interfaces; eight times the measurement's length, for all of it to be under way. */
async function nics(): Promise<NicResult[]> {
  const chosen = (name: string) => name.includes(options.k);
  if (options.s !== undefined && !options.s.split(',').map(Number).includes(NIC_SIZE)) return [];
  if (!nicNames().some(chosen)) return [];
  const why = whyNoNics();
  if (why === undefined) return measureNics(ms * 8, rounds, chosen);
  console.log(`No network interfaces: ${why}.`);
  return [];
}

if (options.h) {
  process.stdout.write(USAGE);
  process.exit();
}
const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'netmap-bench-'));
process.env['NETMAP_DIR'] = directory;
try {
  const reference = Reference.build();
  const machine = `${os.cpus()[0]?.model ?? 'unknown'} x ${os.cpus().length}, ${os.type()} ${os.release()}`;
  console.log(
    `${machine}, Node ${process.version}, commit ${commit()}; medians of ${rounds} rounds of ${ms} ms`,
  );
  console.log('case                           size burst procs  ns/pkt     Mpps      C ns    C/us  x calib');
  const results: Result[] = [];
  for (const work of allCases().filter(wanted)) {
    const result = await measure(work, reference);
    results.push(result);
    console.log(row(result));
  }
  for (const work of PROGRAM_CASES.filter(wanted)) {
    const result = await measureBeside(`pkt-gen ${work.kind}`, work, measurePktGen);
    results.push(result);
    console.log(`${row(result)}   ${result.ratioToBenchmark.toFixed(2)} of the benchmark's rate`);
  }
  if (wanted(ISOLATED_CASE)) {
    const result = await measureBeside('vale broadcast, isolated', ISOLATED_CASE, measureIsolated);
    results.push(result);
    console.log(`${row(result)}   ${result.ratioToBenchmark.toFixed(2)} of direct mode`);
  }
  if (wanted(BATCH_CASE)) {
    const result = await measureBeside('vale, TypeScript lookup', BATCH_CASE, measureBatchLookup);
    results.push(result);
    console.log(`${row(result)}   ${result.ratioToBenchmark.toFixed(2)} of the learning table`);
  }
  if (wanted(LOOKUP_CASE)) {
    for (const [name, ns, cost] of await measureLookupCost(ms, rounds)) {
      const { size, burst, processes } = LOOKUP_CASE;
      const none = { cNsPerPacket: null, ratioToC: null, timesCalibration: null };
      const figures = { nsPerPacket: rounded(ns), mpps: rounded(1e3 / ns), ...none };
      const result = { case: `vale, ${name}`, size, burst, processes, ...figures };
      results.push(result);
      console.log(`${row(result)}   ${cost.toFixed(2)} ns over the learning table`);
    }
  }
  for (const { name, ns, cNs, ratioToC, note } of await nics()) {
    const result = {
      case: name,
      size: NIC_SIZE,
      burst: NIC_BURST,
      processes: 2,
      nsPerPacket: rounded(ns),
      mpps: rounded(1e3 / ns),
      cNsPerPacket: cNs && rounded(cNs),
      ratioToC: ratioToC && rounded(ratioToC),
      timesCalibration: null,
      note,
    };
    results.push(result);
    console.log(`${row(result)}   ${note}`);
  }
  fs.mkdirSync(path.dirname(options.o), { recursive: true });
  const meta = { machine, node: process.version, commit: commit() };
  fs.writeFileSync(
    options.o,
    `${JSON.stringify(
      results.map((result) => ({ ...result, ...meta })),
      null,
      1,
    )}\n`,
  );
  console.log(`${results.length} cases, written to ${path.relative(process.cwd(), options.o)}`);
} finally {
  await unload({ force: true }).catch(() => {});
  fs.rmSync(directory, { recursive: true, force: true });
}
