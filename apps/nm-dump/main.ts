#!/usr/bin/env node
// nm-dump: receives from a port into a capture file.

import fs from 'node:fs';
import { parseArgs } from 'node:util';
import { NetmapError, NS_MOREFRAG, open, pollAsync, type Ring } from '../../src/client/index.ts';
import { PcapWriter } from '../pcap/pcap-file.ts';

const USAGE = `usage: nm-dump -i PORT -w FILE.pcap [-n COUNT] [-h]
Receives from a netmap port into a capture file, until stopped or COUNT frames are written.
  -i PORT    port to receive from: vale0:m, netmap:x{1, ...
  -w FILE    capture file (pcap, nanoseconds); - is standard output, flushed after each batch,
             so that "nm-dump -i vale0:m -w - | tcpdump -r -" follows live
  -n COUNT   stop after so many frames (default: never)
  -h         this text
Exit status: 0 done, 1 an error, and standard error says which.
`;

interface Options {
  ifname: string;
  file: string;
  count: number;
}

function parse(argv: string[]): Options | undefined {
  const { values } = parseArgs({
    args: argv,
    options: {
      i: { type: 'string', short: 'i' },
      w: { type: 'string', short: 'w' },
      n: { type: 'string', short: 'n' },
      h: { type: 'boolean', short: 'h' },
    },
  });
  if (values.h) return undefined;
  if (!values.i || !values.w) {
    throw new NetmapError(
      'EINVAL',
      'Cannot start: both -i PORT and -w FILE are needed; "nm-dump -h" shows how',
    );
  }
  const count = values.n === undefined ? Number.POSITIVE_INFINITY : Number(values.n);
  if (values.n !== undefined && !(Number.isInteger(count) && count > 0)) {
    throw new NetmapError('EINVAL', `Cannot stop after "${values.n}" frames: -n takes a whole number from 1`);
  }
  return { ifname: values.i, file: values.w, count };
}

async function dump({ ifname, file, count }: Options): Promise<void> {
  const fd = create(file);
  const port = await open(ifname);
  const stop = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => stop.abort());
  const writer = new PcapWriter(fd);
  let written = 0;
  try {
    writer.flush(); // The header, so that a reader sees a capture at once.
    while (written < count) {
      await pollAsync([{ port, events: 'in' }], { signal: stop.signal });
      for (const ring of port.rxRings) written += writeFrames(ring, writer, count - written);
      writer.flush();
      port.rxSync();
    }
  } catch (error) {
    if (!stop.signal.aborted) throw error;
  } finally {
    await port.close();
  }
  process.stderr.write(`nm-dump: ${written} frames from ${ifname}\n`);
}

function create(file: string): number {
  if (file === '-') return 1;
  try {
    return fs.openSync(file, 'w');
  } catch (error) {
    throw new NetmapError(
      'EACCES',
      `Cannot write the capture "${file}": ${(error as Error).message}; choose another file`,
    );
  }
}

/** Writes up to `most` packets, fragments put together, and gives their slots back. */
function writeFrames(ring: Ring, writer: PcapWriter, most: number): number {
  const now = BigInt(Date.now()) * 1_000_000n;
  let written = 0;
  let slot = ring.head;
  let parts: Uint8Array[] = [];
  while (slot !== ring.tail && written < most) {
    parts.push(ring.frame(slot));
    const more = (ring.flags(slot) & NS_MOREFRAG) !== 0;
    slot = ring.next(slot);
    if (more) continue;
    const frame = parts.length === 1 ? parts[0]! : Buffer.concat(parts);
    parts = [];
    if (frame.length === 0) continue; // What a sender that died has left.
    writer.frame(frame, now);
    written++;
  }
  ring.publish(slot);
  return written;
}

async function main(): Promise<number> {
  try {
    const options = parse(process.argv.slice(2));
    if (options) await dump(options);
    else process.stdout.write(USAGE);
    return 0;
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === 'EPIPE') return 0; // Whoever read from us has seen enough.
    if (!(error instanceof NetmapError) && !code?.startsWith('ERR_PARSE_ARGS')) throw error;
    process.stderr.write(`nm-dump: ${(error as Error).message}\n`);
    return 1;
  }
}

process.exitCode = await main();
