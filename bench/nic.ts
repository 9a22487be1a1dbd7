// Network interfaces and host rings, between two namespaces: pkt-gen at both ends, beside a C program with AF_XDP
// sockets of its own, and other senders beside pkt-gen's.  What receives, counts.

import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { writePcap } from '../apps/pcap/pcap-file.ts';
import { installed, interfaceOf, type Running, type Side, Wire, whyNoWire } from './wire.ts';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const REFERENCE = path.join(ROOT, 'build/reference');
const PKT_GEN = path.join(ROOT, 'bin/pkt-gen');
const NM_CTL = path.join(ROOT, 'bin/nm-ctl');

export const NIC_SIZE = 60;
export const NIC_BURST = 512;
/** 02:00:00:00:00:77, whose frames a host drops as not for it. */
const NOBODY = [2, 0, 0, 0, 0, 0x77];

/** What the original says of itself: NIC rings, and host rings when the host drops frames or a sniffer reads them. */
const ORIGINAL = { nic: 1, dropped: 2.3, sniffed: 1.8 };

export interface NicResult {
  name: string;
  ns: number;
  /** What the senders say, at the other end. */
  sentNs: number | null;
  /** The C program's own, and the median of the rounds' ratios. */
  cNs: number | null;
  ratioToC: number | null;
  note: string;
}

interface Sample {
  ns: number;
  sentNs?: number | undefined;
  kernelNs?: number | undefined;
}

interface NicCase {
  name: string;
  /** Of which case of the C program this is the counterpart. */
  beside?: string;
  note: (sample: Sample) => string;
  measure: (wire: Wire, ms: number) => Promise<Sample>;
}

/** Why there are no such figures here; undefined if there are. */
export function whyNoNics(): string | undefined {
  return whyNoWire() ?? (fs.existsSync(REFERENCE) ? undefined : 'needs a C compiler');
}

export function nicNames(): string[] {
  return cases().map(({ name }) => name);
}

/** Every case of which `wanted` likes the name, all of them once a round; medians. */
export async function measureNics(
  ms: number,
  rounds: number,
  wanted: (name: string) => boolean,
): Promise<NicResult[]> {
  const wire = new Wire();
  try {
    const chosen = cases().filter(({ name }) => wanted(name));
    const needed = new Set(chosen.flatMap(({ name, beside }) => [name, ...(beside ? [beside] : [])]));
    const samples = new Map<string, Sample[]>([...needed].map((name) => [name, []]));
    for (let round = 0; round < rounds; round++) {
      for (const { name, measure } of cases()) {
        if (needed.has(name)) samples.get(name)!.push(await measure(wire, ms));
      }
    }
    return chosen.map((work) => summary(work, samples));
  } finally {
    await wire.close();
  }
}

function summary({ name, beside, note }: NicCase, samples: ReadonlyMap<string, Sample[]>): NicResult {
  const own = samples.get(name)!;
  const c = beside === undefined ? undefined : samples.get(beside)!;
  const of = (choose: (sample: Sample) => number | undefined) =>
    median(own.map(choose).filter((value) => value !== undefined && Number.isFinite(value)) as number[]);
  const sample = { ns: of(({ ns }) => ns)!, sentNs: of((s) => s.sentNs), kernelNs: of((s) => s.kernelNs) };
  return {
    name,
    ns: sample.ns,
    sentNs: sample.sentNs ?? null,
    cNs: (c && median(c.map(({ ns }) => ns))) ?? null,
    ratioToC: (c && median(own.map(({ ns }, i) => c[i]!.ns / ns))) ?? null,
    note: note(sample),
  };
}

function median(values: readonly number[]): number | undefined {
  return values.toSorted((a, b) => a - b)[values.length >> 1];
}

// ---- what is measured ----------------------------------------------------------------------------------------

function cases(): NicCase[] {
  const sent = ({ sentNs }: Sample) => (sentNs === undefined ? '' : `${mpps(sentNs)} sent`);
  const kernel = (sample: Sample) =>
    `${sent(sample)}; the kernel's own work for the sender: ${Math.round(sample.kernelNs ?? 0)} ns a packet`;
  const original = (figure: number) => (sample: Sample) =>
    `${sent(sample) || `${mpps(sample.ns)} sent`}; the original: ${figure.toFixed(2)} Mpps`;
  const flow = (from: Side, sender: Sender, receiver: Receiver) => (wire: Wire, ms: number) =>
    measureFlow(wire, [{ from, sender, receiver }], ms);
  const others: NicCase[] = [
    { name: 'packet socket in C to netmap', sender: cSender('packet-tx') },
    ...(installed('trafgen') ? [{ name: 'trafgen to netmap', sender: trafgen }] : []),
    ...(installed('tcpreplay') ? [{ name: 'tcpreplay to netmap', sender: tcpreplay }] : []),
  ].map(({ name, sender }) => ({ name, note: sent, measure: flow('a', sender, netmapReceiver('R')) }));
  return [
    { name: 'AF_XDP in C', note: kernel, measure: flow('a', cSender('xdp-tx'), cReceiver('xdp-rx')) },
    {
      name: 'netmap, a to b',
      beside: 'AF_XDP in C',
      note: original(ORIGINAL.nic),
      measure: flow('a', netmapSender('T'), netmapReceiver('R')),
    },
    {
      name: 'netmap, b to a',
      beside: 'AF_XDP in C',
      note: original(ORIGINAL.nic),
      measure: flow('b', netmapSender('T'), netmapReceiver('R')),
    },
    {
      name: 'netmap to AF_XDP in C',
      beside: 'AF_XDP in C',
      note: sent,
      measure: flow('a', netmapSender('T'), cReceiver('xdp-rx')),
    },
    {
      name: 'AF_XDP in C to netmap',
      beside: 'AF_XDP in C',
      note: sent,
      measure: flow('a', cSender('xdp-tx'), netmapReceiver('R')),
    },
    { name: 'AF_XDP in C, both ways', note: () => '', measure: measureBothInC },
    {
      name: 'netmap, both ways',
      beside: 'AF_XDP in C, both ways',
      note: sent,
      measure: (wire, ms) =>
        measureFlow(
          wire,
          (['a', 'b'] as const).map((from) => ({
            from,
            sender: netmapSender('T'),
            receiver: netmapReceiver('R'),
          })),
          ms,
        ),
    },
    ...others,
    {
      name: 'packet sockets in C',
      note: kernel,
      measure: flow('a', cSender('packet-tx'), cReceiver('packet-take')),
    },
    {
      name: 'netmap, emulated, a to b',
      beside: 'packet sockets in C',
      note: original(ORIGINAL.nic),
      measure: emulated(flow('a', netmapSender('T'), netmapReceiver('R'))),
    },
    { name: 'host ring, dropped', note: original(ORIGINAL.dropped), measure: measureDropped },
    {
      name: 'host ring, to a sniffer',
      note: original(ORIGINAL.sniffed),
      measure: (wire, ms) => measureHost(wire, netmapSender('^'), cReceiver('packet-rx'), ms),
    },
    {
      name: 'host to host ring',
      note: kernel,
      measure: (wire, ms) => measureHost(wire, cSender('host-tx'), netmapReceiver('*'), ms),
    },
  ];
}

/** The same by packet sockets. */
function emulated(measure: NicCase['measure']): NicCase['measure'] {
  return async (wire, ms) => {
    await setAdmode(wire, 3);
    try {
      return await measure(wire, ms);
    } finally {
      await setAdmode(wire, 0);
    }
  };
}

async function setAdmode(wire: Wire, value: number): Promise<void> {
  for (const side of ['a', 'b'] as const)
    await wire.start(side, [NM_CTL, `admode=${value}`]).until((text) => /admode/.test(text) || undefined);
}

interface Flow {
  from: Side;
  sender: Sender;
  receiver: Receiver;
}

/** Frames from one end to the other, or each way at once: then what comes at both ends counts. */
async function measureFlow(wire: Wire, flows: readonly Flow[], ms: number): Promise<Sample> {
  const receivers = flows.map(({ from, receiver }) => receiver(wire, from === 'a' ? 'b' : 'a', ms));
  const senders: ActiveSender[] = [];
  try {
    await Promise.all(receivers.map(({ ready }) => ready));
    for (const { from, sender } of flows) senders.push(sender(wire, from, ms));
    const times = await Promise.all(receivers.map(({ ns }) => ns));
    const sent = await Promise.all(senders.splice(0).map((sender) => sender.end()));
    return {
      ns: together(times),
      sentNs: together(sent.map(({ ns }) => ns ?? Number.NaN)),
      kernelNs: sent[0]!.kernelNs,
    };
  } finally {
    await Promise.all([...senders.map((sender) => sender.end()), ...receivers.map(({ end }) => end())]);
  }
}

/** Of flows at the same time, from the time that a packet of each takes. */
function together(times: readonly number[]): number {
  return 1 / times.reduce((sum, ns) => sum + 1 / ns, 0);
}

async function measureBothInC(wire: Wire, ms: number): Promise<Sample> {
  const ends = (['a', 'b'] as const).map((side) => cReceiver('xdp-both')(wire, side, ms));
  try {
    return { ns: together(await Promise.all(ends.map(({ ns }) => ns))) };
  } finally {
    await Promise.all(ends.map(({ end }) => end()));
  }
}

/** Between an interface and its own host stack. */
async function measureHost(wire: Wire, sender: Sender, receiver: Receiver, ms: number): Promise<Sample> {
  const active = receiver(wire, 'a', ms);
  let sending: ActiveSender | undefined;
  try {
    await active.ready;
    sending = sender(wire, 'a', ms);
    const ns = await active.ns;
    const { ns: sentNs, kernelNs } = await sending.end();
    sending = undefined;
    return { ns, sentNs, kernelNs };
  } finally {
    await Promise.all([sending?.end(), active.end()]);
  }
}

/** What the host does not want, the sender alone knows of. */
async function measureDropped(wire: Wire, ms: number): Promise<Sample> {
  const reports = reportsFor(ms);
  const program = wire.start('a', netmapCommand('a', '^', 'tx', ms));
  try {
    return { ns: await program.until((text) => rateIn(text, reports)) };
  } finally {
    await program.stop();
  }
}

// ---- who sends and receives ----------------------------------------------------------------------------------

interface ActiveSender {
  end(): Promise<{ ns?: number | undefined; kernelNs?: number | undefined }>;
}

interface ActiveReceiver {
  /** Frames may come. */
  ready: Promise<unknown>;
  /** Nanoseconds per packet, over about the time that was asked for. */
  ns: Promise<number>;
  end(): Promise<unknown>;
}

type Sender = (wire: Wire, side: Side, ms: number) => ActiveSender;
type Receiver = (wire: Wire, side: Side, ms: number) => ActiveReceiver;

/** Periods of pkt-gen's reports; the first with packets in it is of the start. */
const REPORTS = 6;

function reportsFor(ms: number): number {
  return ms < 100 ? 2 : REPORTS;
}

/** @param rings  T, R: of the interface; ^: of its host stack; *: both, which is what cuts the host off */
function netmapCommand(side: Side, rings: 'T' | 'R' | '^' | '*', fn: 'tx' | 'rx', ms: number): string[] {
  const name = `netmap:${interfaceOf(side)}${rings === 'T' || rings === 'R' ? `/${rings}` : rings}`;
  const reportMs = Math.max(20, Math.ceil(ms / (REPORTS - 1)));
  const sending = fn === 'tx' ? ['-l', String(NIC_SIZE), '-b', String(NIC_BURST), '-D', mac(NOBODY)] : [];
  return [PKT_GEN, '-w', '0', '-i', name, '-f', fn, '-T', String(reportMs), ...sending];
}

function mac(bytes: readonly number[]): string {
  return bytes.map((byte) => byte.toString(16).padStart(2, '0')).join(':');
}

function netmapSender(rings: 'T' | '^'): Sender {
  return (wire, side, ms) => {
    const program = wire.start(side, netmapCommand(side, rings, 'tx', ms));
    return { end: async () => ({ ns: rateIn(await program.stop(), 1) }) };
  };
}

function netmapReceiver(rings: 'R' | '*'): Receiver {
  return (wire, side, ms) => {
    const program = wire.start(side, netmapCommand(side, rings, 'rx', ms));
    const reports = reportsFor(ms);
    return receiving(program, /waiting for initial packets/, (text) => rateIn(text, reports));
  };
}

/** Nanoseconds per packet in what pkt-gen reports, from the second report with packets in it on. */
function rateIn(text: string, count: number): number | undefined {
  const scale: Record<string, number> = { '': 1, K: 1e3, M: 1e6 };
  const moving = [...text.matchAll(/ main_thread .* \(([\d.]+) ([KM]?)pkts .* in (\d+) usec\)/g)]
    .map(([, packets, unit, us]) => ({ packets: Number(packets) * scale[unit!]!, us: Number(us) }))
    .filter(({ packets }) => packets > 0)
    .slice(1);
  if (moving.length < count) return undefined;
  return (
    (moving.reduce((sum, { us }) => sum + us, 0) * 1e3) /
    moving.reduce((sum, { packets }) => sum + packets, 0)
  );
}

function cCommand(what: string, side: Side, ms?: number): string[] {
  const given = [NIC_SIZE, NIC_BURST, ...(ms === undefined ? [] : [ms])].map(String);
  return [REFERENCE, 'wire', what, interfaceOf(side), ...given];
}

function cSender(what: string): Sender {
  return (wire, side) => {
    const program = wire.start(side, cCommand(what, side));
    return { end: async () => figuresIn(await program.stop()) ?? {} };
  };
}

function cReceiver(what: string): Receiver {
  return (wire, side, ms) => {
    const program = wire.start(side, cCommand(what, side, ms));
    return receiving(program, /ready/, (text) => figuresIn(text)?.ns);
  };
}

function figuresIn(text: string): { ns: number; kernelNs: number } | undefined {
  const found = /\{"ns".*\}/.exec(text);
  return found ? (JSON.parse(found[0]) as { ns: number; kernelNs: number }) : undefined;
}

function receiving(
  program: Running,
  begun: RegExp,
  rate: (text: string) => number | undefined,
): ActiveReceiver {
  const ready = program.until((text) => begun.test(text) || undefined);
  const ns = ready.then(() => program.until(rate));
  ns.catch(() => {}); // Whoever awaits `ready` says it.
  return { ready, ns, end: () => program.stop() };
}

const trafgen: Sender = (wire, side) => {
  const file = path.join(wire.directory, 'frame.cfg');
  fs.writeFileSync(file, `{ ${frame().join(', ')} }\n`);
  const program = wire.start(side, ['trafgen', '-o', interfaceOf(side), '-i', file, '-P', '1']);
  return {
    async end() {
      const said = /(\d+) sec, (\d+) usec on CPU\d+ \((\d+) packets\)/.exec(await program.stop());
      const [s, us, packets] = (said ?? []).slice(1).map(Number);
      return { ns: said ? (s! * 1e9 + us! * 1e3) / packets! : undefined };
    },
  };
};

const tcpreplay: Sender = (wire, side) => {
  const file = path.join(wire.directory, 'frames.pcap');
  writePcap(file, Array.from({ length: NIC_BURST }, frame));
  const args = ['--topspeed', '--preload-pcap', '--loop=100000000', '-i', interfaceOf(side), file];
  const program = wire.start(side, ['tcpreplay', ...args]);
  return {
    async end() {
      const rate = Number(/([\d.]+) pps/.exec(await program.stop())?.[1]);
      return { ns: rate > 0 ? 1e9 / rate : undefined };
    },
  };
};

function frame(): Uint8Array {
  const bytes = new Uint8Array(NIC_SIZE);
  bytes.set([...NOBODY, 2, 0, 0, 0, 0, 1, 0x88, 0xb5]);
  return bytes;
}

function mpps(ns: number): string {
  return `${(1e3 / ns).toFixed(2)} Mpps`;
}
