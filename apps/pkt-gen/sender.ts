// pkt-gen -f tx and -f txseq.

import {
  FrameTable,
  FrameTemplate,
  fillLengths,
  NS_BUF_CHANGED,
  NS_NO_LEARN,
  type Port,
  poll,
  type Ring,
} from '../../src/client/index.ts';
import { readPcap } from '../pcap/pcap-file.ts';
import { placesIn, setLengths, stepsOf, templateFrame } from './frame.ts';
import type { Job } from './job.ts';
import type { PktGenOptions } from './options.ts';
import { Pacer, scheduleFor } from './pace.ts';
import { D, dumpSlots } from './report.ts';

const POLL_MS = 2000;

/** Puts packets into slots; how many of each. */
type Fill = (
  ring: Ring,
  head: number,
  slots: number,
  packets: number,
) => { slots: number; packets: number; bytes: number };

/** Sends until the target is reached or the run is cancelled. */
export function send(job: Job): void {
  const { port, options, board, row, target } = job;
  const sequence = options.fn === 'txseq';
  const fill = sequence ? numberedFill(port, options) : chooseFill(port, options);
  const rings = sequence ? port.txRings.slice(0, 1) : port.txRings;
  // A slot gets the frame once; after that it holds it.
  for (const ring of rings)
    for (let slot = 0; slot < ring.numSlots; slot++) ring.setFlags(slot, NS_BUF_CHANGED);
  const schedule = scheduleFor(options.rate, options.burst);
  const pacer = new Pacer(schedule);
  D('sender_body', `start, thread ${job.thread}`);
  row.begin();
  while (!board.cancelled && row.packets < target) {
    let budget = Math.min(
      pacer.budget(() => board.cancelled),
      target - row.packets,
    );
    port.txSync();
    for (const ring of rings) {
      budget -= visit(job, ring, fill, Math.min(budget, options.burst));
      if (budget <= 0) break;
    }
    if (!job.busy && rings.every((ring) => ring.space === 0)) awaitSpace(job);
  }
  flush(job);
  row.finish();
}

/** Fills one ring; how many packets. */
function visit({ row, options }: Job, ring: Ring, fill: Fill, most: number): number {
  const { space, head } = ring;
  if (space === 0 || most <= 0) return 0;
  const { slots, packets, bytes } = fill(ring, head, space, most);
  if (options.dump) dumpSlots(ring, head, slots);
  const next = ring.after(head, slots);
  ring.publish(next);
  // Less than wanted fitted: ask to be woken when more room appears.
  if (packets < most) ring.setCur(ring.tail);
  if (packets > 0) row.count(packets, bytes);
  return packets;
}

function awaitSpace({ port, thread, board }: Job): void {
  if (poll([{ port, events: 'out' }], POLL_MS) === 0 && !board.cancelled) {
    D('sender_body', `poll error on queue ${thread}: timeout`);
  }
}

/** Pushes out what is left, and waits until it has been taken. */
function flush({ port, board, thread }: Job): void {
  port.txSync();
  for (const ring of port.txRings) {
    D('sender_body', `flush tail ${ring.tail} head ${ring.head} on thread ${thread}`);
    let said = 0;
    while (ring.pending && !board.cancelled) {
      if (performance.now() - said > 200) {
        D('sender_body', `pending tx tail ${ring.tail} head ${ring.head} on ring ${ring.ringId}`);
        said = performance.now();
      }
      poll([{ port, events: 'out' }], 10);
      port.txSync();
    }
  }
}

// ---- what is put into slots ------------------------------------------------------------------------------------

function chooseFill(port: Port, options: PktGenOptions): Fill {
  if (options.pcapFile !== undefined) return captureFill(port, options.pcapFile);
  if (options.rubbish) return rubbishFill(port, options);
  return templateFill(port, options);
}

function templateFill(port: Port, options: PktGenOptions): Fill {
  const { header, copy, update, minSize, size } = options;
  const steps = stepsOf(options);
  const template = new FrameTemplate(port, templateFrame(options), steps);
  return (ring, head, space, most) => {
    const frame = sizeOf(options);
    if (update && minSize < size) setLengths(template.bytes.subarray(header), frame, options.family);
    const length = header + frame;
    const plan = { length, ...fragments(length, options, ring.bufSize) };
    if (steps || plan.slots > 1) {
      const placed = template.fillPackets(ring, head, space, most, plan);
      return { ...placed, bytes: placed.packets * length };
    }
    const packets = Math.min(space, most);
    template.fill(ring, head, packets, { length, copy: copy || update });
    return { slots: packets, packets, bytes: packets * length };
  };
}

/** How a packet is spread: `part` bytes in each slot but the last, which holds the rest. */
export function fragments(
  length: number,
  { frags, mostPerSlot }: { frags: number; mostPerSlot: number },
  bufSize: number,
): { part: number; slots: number } {
  const most = Math.min(mostPerSlot, bufSize);
  let slots = Math.max(1, Math.min(frags, length), Math.ceil(length / most));
  const part = () => Math.floor(length / slots);
  while (length - (slots - 1) * part() > most) slots++;
  return { part: part(), slots };
}

/** With `-l MAX -l MIN`: a size between, drawn once per visit. */
function sizeOf({ size, minSize }: PktGenOptions): number {
  return minSize < size ? minSize + Math.floor(Math.random() * (size - minSize + 1)) : size;
}

function rubbishFill(port: Port, options: PktGenOptions): Fill {
  return (ring, head, slots, most) => {
    const packets = Math.min(slots, most);
    const length = Math.min(sizeOf(options), ring.bufSize);
    fillLengths(port, ring, head, packets, length);
    return { slots: packets, packets, bytes: packets * length };
  };
}

/**
 * Every frame of the capture in order, and round again.  The capture holds both sides of its conversations;
 * a switch that learned all of their addresses here would drop every frame as being for its own sender.
 */
function captureFill(port: Port, file: string): Fill {
  const frames = readPcap(file).frames.map(({ data }) => data);
  const table = new FrameTable(port, frames);
  return tableFill(table, (index) => frames[index]!.length, NS_NO_LEARN);
}

function tableFill(table: FrameTable, lengthOf: (index: number) => number, flags = 0): Fill {
  let next = 0;
  return (ring, head, space, most) => {
    let slots = 0;
    let packets = 0;
    let bytes = 0;
    for (;;) {
      const placed = table.fill(ring, ring.after(head, slots), space - slots, most - packets, flags);
      for (let i = 0; i < placed.frames; i++) {
        bytes += lengthOf(next);
        next = next + 1 === table.count ? 0 : next + 1;
      }
      slots += placed.slots;
      packets += placed.frames;
      if (placed.frames === 0 || packets >= most || slots >= space) return { slots, packets, bytes };
    }
  };
}

function numberedFill(port: Port, options: PktGenOptions): Fill {
  const template = new FrameTemplate(port, templateFrame(options), stepsOf(options));
  const { frags: group, header, size } = options;
  const places = { ...placesIn(options), group };
  let number = 0;
  return (ring, head, space, most) => {
    const slots = Math.min(space, most) - (Math.min(space, most) % group);
    template.fillNumbered(ring, head, slots, number, places);
    number = (number + slots) >>> 0;
    return { slots, packets: slots, bytes: slots * (header + size) };
  };
}
