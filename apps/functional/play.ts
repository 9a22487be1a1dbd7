// Plays a list of events on a port: frames to be sent, frames to be expected, pauses (spec apps §8.1).

import { NS_BUF_CHANGED, NS_MOREFRAG, NS_REPORT, type Port, type Ring } from '../../src/client/index.ts';
import { modelFrame, nextFill } from './model.ts';

export type Event =
  | { kind: 'tx' | 'rx'; length: number; fill: number; count: number }
  | { kind: 'pause'; ms: number };

export interface Settings {
  /** MACs as bytes; plain arrays, so that they travel as JSON. */
  src: readonly number[];
  dst: readonly number[];
  timeoutMs: number;
  /** Most bytes per slot sent, 0 = a buffer. */
  fragmentBytes: number;
  /** Frames whose Ethernet header differs from the model's are passed over. */
  ignoreOthers: boolean;
  /** An rx event succeeds if nothing comes. */
  expectNothing: boolean;
  /** Each frame has the next character. */
  sequential: boolean;
  /** Extra buffers to send from. */
  extraBufs: number;
  repeat: number;
}

/** @returns undefined when every event succeeded, else what did not. */
export async function play(
  port: Port,
  events: readonly Event[],
  settings: Settings,
): Promise<string | undefined> {
  const lent = settings.extraBufs > 0 ? lendExtraBuffers(port, settings.extraBufs) : [];
  try {
    for (let turn = 0; turn < settings.repeat; turn++) {
      for (const event of events) {
        const complaint = await playOne(port, event, settings);
        if (complaint !== undefined) return complaint;
      }
    }
    await drained(port, settings.timeoutMs);
    return undefined;
  } finally {
    relinkExtraBuffers(port, lent);
  }
}

async function playOne(port: Port, event: Event, settings: Settings): Promise<string | undefined> {
  switch (event.kind) {
    case 'pause':
      await new Promise((resolve) => setTimeout(resolve, event.ms));
      return undefined;
    case 'tx':
      return transmit(port, event, settings);
    case 'rx':
      return expect(port, event, settings);
  }
}

type Frames = Extract<Event, { kind: 'tx' | 'rx' }>;

function* framesOf(
  { length, fill, count }: Frames,
  { src, dst, sequential }: Settings,
): Generator<Uint8Array> {
  const addresses = { src: Uint8Array.from(src), dst: Uint8Array.from(dst) };
  for (let i = 0, character = fill; i < count; i++) {
    yield modelFrame(addresses, length, character);
    if (sequential) character = nextFill(character);
  }
}

async function transmit(port: Port, event: Frames, settings: Settings): Promise<string | undefined> {
  const perSlot = (ring: Ring) =>
    settings.fragmentBytes === 0 ? ring.bufSize : Math.min(ring.bufSize, settings.fragmentBytes);
  const room = () =>
    port.txRings.reduce(
      (sum, ring) => sum + Math.floor(ring.space / Math.ceil(event.length / perSlot(ring))),
      0,
    );
  const enough = await within(settings.timeoutMs, () => {
    port.txSync();
    return room() >= event.count;
  });
  if (!enough) return 'tx: Timeout';
  let which = 0;
  for (const frame of framesOf(event, settings)) {
    let ring = port.txRings[which]!;
    while (ring.space < Math.ceil(frame.length / perSlot(ring))) ring = port.txRings[++which]!;
    place(ring, frame, perSlot(ring));
  }
  port.txSync();
  return undefined;
}

function place(ring: Ring, frame: Uint8Array, perSlot: number): void {
  let slot = ring.head;
  for (let at = 0; at < frame.length; at += perSlot, slot = ring.next(slot)) {
    const last = at + perSlot >= frame.length;
    const changed = ring.flags(slot) & NS_BUF_CHANGED;
    ring.put(slot, frame.subarray(at, at + perSlot));
    ring.setFlags(slot, changed | (last ? NS_REPORT : NS_MOREFRAG));
  }
  ring.publish(slot);
}

async function expect(port: Port, event: Frames, settings: Settings): Promise<string | undefined> {
  for (const model of framesOf(event, settings)) {
    for (;;) {
      const frame = await nextFrame(port, settings.timeoutMs);
      if (!frame) return settings.expectNothing ? undefined : 'rx: Timeout';
      if (settings.ignoreOthers && !sameHeader(frame, model)) continue;
      if (settings.expectNothing) return `a frame of ${frame.length} bytes came where none was to come`;
      const complaint = difference(frame, model);
      if (complaint) return complaint;
      break;
    }
  }
  return undefined;
}

/** Takes one packet, of however many slots; undefined when none came in time. */
async function nextFrame(port: Port, timeoutMs: number): Promise<Uint8Array | undefined> {
  let ring: Ring | undefined;
  await within(timeoutMs, () => {
    ring = port.rxRings.find((candidate) => !candidate.empty);
    if (!ring) port.rxSync();
    ring ??= port.rxRings.find((candidate) => !candidate.empty);
    return ring !== undefined;
  });
  if (!ring) return undefined;
  const parts: Uint8Array[] = [];
  let slot = ring.head;
  let more = true;
  while (more && slot !== ring.tail) {
    parts.push(ring.frame(slot).slice());
    more = (ring.flags(slot) & NS_MOREFRAG) !== 0;
    slot = ring.next(slot);
  }
  ring.publish(slot);
  port.rxSync();
  const frame = Buffer.concat(parts);
  return frame.length === 0 ? nextFrame(port, timeoutMs) : frame; // Empty: what a sender that died has left.
}

function sameHeader(frame: Uint8Array, model: Uint8Array): boolean {
  return frame.subarray(0, 14).every((byte, i) => byte === model[i]);
}

function difference(frame: Uint8Array, model: Uint8Array): string | undefined {
  if (frame.length !== model.length) {
    return `Received packet length (${frame.length}) different from expected (${model.length} bytes)`;
  }
  const at = frame.findIndex((byte, i) => byte !== model[i]);
  if (at < 0) return undefined;
  const hex = (byte: number) => `0x${byte.toString(16).padStart(2, '0')}`;
  return `Received packet differs from model at offset ${at} (${hex(frame[at]!)}!=${hex(model[at]!)})`;
}

/** Waits until what was sent has been taken; for no longer than the time-out. */
async function drained(port: Port, timeoutMs: number): Promise<void> {
  await within(timeoutMs, () => {
    port.txSync();
    return port.txRings.every((ring) => !ring.pending);
  });
}

/** Looks every millisecond, first now; false when the time was over. */
async function within(timeoutMs: number, isSo: () => boolean): Promise<boolean> {
  const deadline = performance.now() + timeoutMs;
  while (!isSo()) {
    if (performance.now() > deadline) return false;
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  return true;
}

// ---- extra buffers ---------------------------------------------------------------------------------------------

interface Lent {
  ring: Ring;
  slot: number;
  /** What the slot had before. */
  original: number;
}

/** Puts extra buffers into free slots, in place of the slots' own. */
function lendExtraBuffers(port: Port, most: number): Lent[] {
  const lent: Lent[] = [];
  for (const ring of port.txRings) {
    for (let slot = ring.head; slot !== ring.tail && lent.length < most; slot = ring.next(slot)) {
      const extra = port.bufsHead;
      if (extra === 0) return lent;
      port.bufsHead = nextExtra(ring, extra);
      lent.push({ ring, slot, original: ring.bufIdx(slot) });
      ring.setBufIdx(slot, extra);
    }
  }
  return lent;
}

/** Makes the buffers that were swapped out the list of extra buffers. */
function relinkExtraBuffers(port: Port, lent: readonly Lent[]): void {
  for (const { ring, original } of lent) {
    new DataView(ring.bytes.buffer, ring.bufferOfsOf(original), 4).setUint32(0, port.bufsHead, true);
    port.bufsHead = original;
  }
}

function nextExtra(ring: Ring, index: number): number {
  return new DataView(ring.bytes.buffer, ring.bufferOfsOf(index), 4).getUint32(0, true);
}
