// The memory by which those who use a queue reach it: four rings as the kernel's of an AF_XDP socket, and a word that says
// whether the thread that serves them sleeps.  The driver's own rings lie where it has put them in the module's process,
// out of WebAssembly's reach and of other processes': descriptors are copied between the two, frames are not.
//
//   0    asleep       rx             tx             fill           completion     entries of the four
//   |    64           128, 192       256, 320       384, 448       512, 576       640 ...

import type { RingLayout } from '../nic.ts';
import { SharedRing } from './shared-ring.ts';

const LINE = 64;
const PAGE = 4096;
const ASLEEP = LINE;
const FRAME_STRIDE = 16;
const BUFFER_STRIDE = 8;

export interface MirrorLayout {
  readonly size: number;
  /** Word that is not 0 while the thread that serves the rings sleeps. */
  readonly asleep: number;
  readonly rx: RingLayout;
  readonly tx: RingLayout;
  readonly fill: RingLayout;
  readonly completion: RingLayout;
}

/** @param entries  of each ring, a power of two */
export function mirrorLayout(entries: number): MirrorLayout {
  let desc = 10 * LINE;
  const ring = (nth: number, stride: number): RingLayout => {
    const at = (2 + 2 * nth) * LINE;
    const layout = { producer: at, consumer: at + LINE, desc, entries };
    desc += entries * stride;
    return layout;
  };
  const [rx, tx] = [ring(0, FRAME_STRIDE), ring(1, FRAME_STRIDE)];
  const [fill, completion] = [ring(2, BUFFER_STRIDE), ring(3, BUFFER_STRIDE)];
  return { size: Math.ceil(desc / PAGE) * PAGE, asleep: ASLEEP, rx, tx, fill, completion };
}

/** The same memory as the thread that serves it sees it. */
export class Mirror {
  readonly rx: SharedRing;
  readonly tx: SharedRing;
  readonly fill: SharedRing;
  readonly completion: SharedRing;
  readonly #words: Int32Array;

  constructor(memory: Uint8Array, entries: number) {
    const { rx, tx, fill, completion } = mirrorLayout(entries);
    this.rx = new SharedRing(memory, { ...rx, stride: FRAME_STRIDE });
    this.tx = new SharedRing(memory, { ...tx, stride: FRAME_STRIDE });
    this.fill = new SharedRing(memory, { ...fill, stride: BUFFER_STRIDE });
    this.completion = new SharedRing(memory, { ...completion, stride: BUFFER_STRIDE });
    this.#words = new Int32Array(memory.buffer, memory.byteOffset, memory.byteLength >> 2);
  }

  /** Says whether the thread sleeps: whoever has something for it then rings. */
  set asleep(asleep: boolean) {
    Atomics.store(this.#words, ASLEEP >> 2, asleep ? 1 : 0);
  }

  /** Whether there is something that whoever uses the queue has left for us. */
  get asks(): boolean {
    return this.tx.filled > 0 || this.fill.filled > 0;
  }
}
