// Capture files: classic pcap, read whole and written as a stream.
//
//   file header 24: magic, version 2.4, zone, accuracy, longest record, link type
//   record header 16: seconds, micro- or nanoseconds, bytes kept, bytes on the wire; then the bytes kept

import fs from 'node:fs';
import { NetmapError } from '../../src/client/index.ts';

const MAGIC_MICRO = 0xa1b2c3d4;
const MAGIC_NANO = 0xa1b23c4d;
const MAGIC_PCAPNG = 0x0a0d0d0a;
const FILE_HEADER = 24;
const RECORD_HEADER = 16;
const MAX_RECORD = 262144;
const LINKTYPE_ETHERNET = 1;

export interface PcapFile {
  linkType: number;
  nanoseconds: boolean;
  frames: CapturedFrame[];
}

export interface CapturedFrame {
  /** The bytes kept: a view of the file's contents. */
  data: Uint8Array;
  /** Bytes that were on the wire. */
  originalLength: number;
  /** Since 1970. */
  timeNs: bigint;
}

/**
 * Reads an Ethernet capture.
 * @throws NetmapError ENOENT or EACCES if it cannot be read, EINVAL if it is no such capture, is cut off, or
 *   has no frames.
 */
export function readPcap(path: string): PcapFile {
  const bytes = readFile(path);
  const refuse = (why: string) => new NetmapError('EINVAL', `Cannot read capture "${path}": ${why}`);
  if (bytes.length < FILE_HEADER)
    throw refuse(`it has ${bytes.length} bytes, less than a pcap file's header`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const little = [MAGIC_MICRO, MAGIC_NANO].includes(view.getUint32(0, true));
  const magic = view.getUint32(0, little);
  if (magic === MAGIC_PCAPNG) throw refuse('it is a pcapng file; "editcap -F pcap" makes a pcap file of it');
  if (magic !== MAGIC_MICRO && magic !== MAGIC_NANO)
    throw refuse('it is not a pcap file; tcpdump -w and editcap -F pcap write them');
  const nanoseconds = magic === MAGIC_NANO;
  const linkType = view.getUint32(20, little) & 0x0fffffff;
  if (linkType !== LINKTYPE_ETHERNET)
    throw refuse(`its link type is ${linkType}, only Ethernet (1) can be sent`);

  const frames: CapturedFrame[] = [];
  for (let at = FILE_HEADER; at < bytes.length; ) {
    const where = `record ${frames.length + 1} at byte ${at}`;
    if (at + RECORD_HEADER > bytes.length)
      throw refuse(`it is cut off in the header of ${where}; take a whole copy`);
    const kept = view.getUint32(at + 8, little);
    if (kept > MAX_RECORD) throw refuse(`${where} claims ${kept} bytes, ${MAX_RECORD} is the most`);
    const end = at + RECORD_HEADER + kept;
    if (end > bytes.length)
      throw refuse(
        `it is cut off in ${where}: ${kept} bytes are announced, ${bytes.length - at - RECORD_HEADER} are there; take a whole copy`,
      );
    const fraction = BigInt(view.getUint32(at + 4, little)) * (nanoseconds ? 1n : 1000n);
    frames.push({
      data: bytes.subarray(at + RECORD_HEADER, end),
      originalLength: view.getUint32(at + 12, little),
      timeNs: BigInt(view.getUint32(at, little)) * 1_000_000_000n + fraction,
    });
    at = end;
  }
  if (frames.length === 0) throw refuse('it has no frames');
  return { linkType, nanoseconds, frames };
}

function readFile(path: string): Uint8Array {
  try {
    return fs.readFileSync(path);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    throw new NetmapError(
      code === 'EACCES' ? 'EACCES' : 'ENOENT',
      `Cannot read capture "${path}": ${message}`,
    );
  }
}

/** Writes a capture of frames that all came at once. */
export function writePcap(path: string, frames: Iterable<Uint8Array>): void {
  const fd = fs.openSync(path, 'w');
  try {
    const writer = new PcapWriter(fd);
    for (const frame of frames) writer.frame(frame, 0n);
    writer.flush();
  } finally {
    fs.closeSync(fd);
  }
}

/** Writes a capture: frames are gathered, flush() brings them out. Nanoseconds, this machine's byte order. */
export class PcapWriter {
  readonly #fd: number;
  #bytes = new Uint8Array(1 << 20);
  #used = 0;

  constructor(fd: number, snapLength = MAX_RECORD) {
    this.#fd = fd;
    const view = this.#reserve(FILE_HEADER);
    view.setUint32(0, MAGIC_NANO, true);
    view.setUint16(4, 2, true);
    view.setUint16(6, 4, true);
    view.setUint32(16, snapLength, true);
    view.setUint32(20, LINKTYPE_ETHERNET, true);
  }

  frame(data: Uint8Array, timeNs: bigint): void {
    const view = this.#reserve(RECORD_HEADER + data.length);
    view.setUint32(0, Number(timeNs / 1_000_000_000n), true);
    view.setUint32(4, Number(timeNs % 1_000_000_000n), true);
    view.setUint32(8, data.length, true);
    view.setUint32(12, data.length, true);
    this.#bytes.set(data, view.byteOffset + RECORD_HEADER);
  }

  /** Writes all that was gathered, waiting for a slow reader of a pipe. @throws EPIPE when it has gone. */
  flush(): void {
    for (let done = 0; done < this.#used; ) {
      try {
        done += fs.writeSync(this.#fd, this.#bytes, done, this.#used - done);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error;
        Atomics.wait(pause, 0, 0, 1);
      }
    }
    this.#used = 0;
  }

  #reserve(size: number): DataView {
    if (this.#used + size > this.#bytes.length) {
      this.flush();
      if (size > this.#bytes.length) this.#bytes = new Uint8Array(size);
    }
    const view = new DataView(this.#bytes.buffer, this.#used, size);
    this.#used += size;
    return view;
  }
}

const pause = new Int32Array(new SharedArrayBuffer(4));
