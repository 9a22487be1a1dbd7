// What processes of other users do in hostile-guest.test.ts: `hostile-guest.js WHAT SEED`.  Each says 'ready' once it is at
// it, and goes on until it is killed; errors that the module answers with are its business, not ours.

import fs from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import {
  IF_BUFS_HEAD,
  RING_BUF_OFS,
  RING_CUR,
  RING_HEAD,
  RING_NUM_SLOTS,
  RING_SLOTS,
  RING_TAIL,
} from '../../src/abi/netmap.ts';
import * as is from '../../src/abi/isolated.ts';
import * as nm from '../../src/client/index.ts';
import { Arena } from '../../src/mem/arena.ts';
import { os } from '../../src/os/index.ts';
import type { Reply } from '../../src/protocol/messages.ts';

const [what, seed] = process.argv.slice(2) as [string, string];
const socketPath = path.join(nm.runtimeDirectory(), 'netmapd.sock');

let state = Number(seed) >>> 0;
/** A number below `limit`. */
function below(limit: number): number {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return Math.floor((state / 2 ** 32) * limit);
}

const pick = <T>(...all: T[]): T => all[below(all.length)]!;
const turn = () => new Promise((resolve) => setImmediate(resolve));
const tell = (message: unknown) => process.send?.(message);

const sizes = { txRings: 0, rxRings: 0, txSlots: 0, rxSlots: 0, extraBufs: 0 };
const request = (name: string, more: object = {}) => ({
  name,
  mode: 1,
  ringId: 0,
  flags: 0,
  memId: 0,
  ...sizes,
  ...more,
});

type Registered = Reply<'registerIsolated'>;

interface Answer {
  ok?: unknown;
  error?: { code: string; message: string };
}

/** A connection that says what it likes. */
class Raw {
  readonly socket = net.connect(socketPath);
  readonly closed: Promise<void>;
  #rest = '';
  #nextId = 1;
  readonly #waiting = new Map<number, (answer: Answer) => void>();

  constructor() {
    this.closed = new Promise((resolve) => this.socket.once('close', () => resolve()));
    this.socket.on('error', () => {});
    this.socket.setEncoding('utf8').on('data', (text) => {
      const lines = (this.#rest + text).split('\n');
      this.#rest = lines.pop()!;
      for (const line of lines) {
        const answer = JSON.parse(line) as Answer & { id: number };
        this.#waiting.get(answer.id)?.(answer);
        this.#waiting.delete(answer.id);
      }
    });
  }

  ask(op: string, body: object = {}): Promise<Answer> {
    const id = this.#nextId++;
    const answered = new Promise<Answer>((resolve) => {
      this.#waiting.set(id, resolve);
      void this.closed.then(() => resolve({ error: { code: 'EPIPE', message: 'hung up' } }));
    });
    this.socket.write(`${JSON.stringify({ id, op, ...body })}\n`);
    return answered;
  }

  hello(): Promise<unknown> {
    return this.ask('hello', { pid: 1, startTime: 'x' });
  }

  /** The errno of an answer, '' if there was none. */
  async code(op: string, body: object = {}): Promise<string> {
    return (await this.ask(op, body)).error?.code ?? '';
  }
}

const arena = Arena.create();

/** An open port without the library: its memory, and the page, to write what we like where we like. */
class Victim {
  readonly shown: Registered;
  readonly region: { address: number; size: number };
  readonly page: { address: number; size: number };
  readonly fds: number[];

  constructor(shown: Registered) {
    this.shown = shown;
    const asked = `${JSON.stringify({ id: 1, op: 'collect', ticket: shown.ticket })}\n`;
    this.fds = os.receiveDescriptors(socketPath, asked, 5000).fds;
    const map = (fd: number) => {
      const object = os.objectAt(fd);
      return arena.mapOwn(object.fd, object.ino, object.size);
    };
    this.region = map(this.fds[0]!);
    this.page = map(this.fds[1]!);
  }

  get line(): number {
    return this.fds[2]!;
  }

  get rings(): { ofs: number; slots: number }[] {
    const { tx, rx, txSlots, rxSlots } = this.shown;
    return [
      ...tx.map(({ ringOfs }) => ({ ofs: ringOfs, slots: txSlots })),
      ...rx.map(({ ringOfs }) => ({ ofs: ringOfs, slots: rxSlots })),
    ];
  }

  get lanes(): number {
    return this.rings.length;
  }

  word(address: number): number {
    return address >> 2;
  }

  /** Something that no application should write, or that it should. */
  scribble(): void {
    const { words } = arena;
    const ring = pick(...this.rings);
    const at = this.region.address + ring.ofs;
    switch (below(8)) {
      case 0: // A word of the header, what is constant there too.
        words[(at + 4 * below(RING_SLOTS / 4)) >> 2] = odd();
        break;
      case 1:
        words[(at + pick(RING_HEAD, RING_CUR, RING_TAIL, RING_NUM_SLOTS, RING_BUF_OFS)) >> 2] = odd();
        break;
      case 2: // As if all had been filled.
      case 3: {
        const head = below(ring.slots);
        words[(at + RING_CUR) >> 2] = head;
        words[(at + RING_HEAD) >> 2] = head;
        break;
      }
      case 4: // The list of extra buffers, and what they say is next.
        words[(this.region.address + this.shown.ifOfs + IF_BUFS_HEAD) >> 2] = odd();
        break;
      case 5: // The page: answers as if they were ours to give.
        words[(this.page.address + 4 * below(this.page.size / 4)) >> 2] = odd();
        break;
      default: // A slot: a word of it, at the very moment that it is looked at.
        for (let i = 0; i < 8; i++)
          words[(at + RING_SLOTS + 16 * below(ring.slots) + 4 * below(4)) >> 2] =
            below(3) === 0 ? odd() : slotWord(this.shown.region.bufs.count);
    }
  }

  /** Has lanes served: whatever they wish. */
  ask(): void {
    const { words } = arena;
    for (let i = 0; i < this.lanes; i++) {
      const lane = (this.page.address + is.PAGE_LANES + i * is.LANE_SIZE) >> 2;
      words[lane + is.LANE_WISH / 4] = pick(0, 0, 0, 0, 1, 2, odd());
      words[lane + is.LANE_WAITS / 4] = below(2);
      Atomics.add(words, lane + is.LANE_ASKED / 4, 1);
    }
    if (Atomics.exchange(words, this.page.address >> 2, 0) !== 0 || below(64) === 0) os.ring(this.line);
  }
}

function odd(): number {
  return pick(0, 1, 2, 0x7fffffff, -1, -2, 0x80000000 | 0, 0xffff, 0x10000, below(2 ** 32) | 0, below(5000));
}

/** Length and flags, or an index that may be one. */
function slotWord(buffers: number): number {
  return below(2) === 0 ? below(buffers + 2) : below(2100) | (pick(0, 0, 1, 2, 4, 8, 0x20, 0xff) << 16);
}

const ATTACKS: Readonly<Record<string, () => Promise<void>>> = {
  /** Writes all over its memory while the module's thread works on it. */
  async scribble() {
    const raw = new Raw();
    await raw.hello();
    const victims: Victim[] = [];
    const open = async (name: string, more: object = {}) => {
      const { ok, error } = await raw.ask('registerIsolated', request(name, more));
      if (error) throw new Error(error.message);
      victims.push(new Victim(ok as Registered));
    };
    const own = `vale0:h${process.pid % 1000}`;
    await open(own, { txRings: 2, rxRings: 3, extraBufs: 20 });
    await open(`${own}x`, { txSlots: 64, rxSlots: 16, offsets: { max: 200, initial: 10, bits: 16, gap: 0 } });
    await open(`${own}{1`);
    await open(`${own}}1`);
    await open(`${own}y{2`, {
      txSlots: 4,
      rxSlots: 5,
      offsets: { max: 128, initial: 7, bits: 12, gap: 900 },
    });
    await open(`${own}y}2`);
    tell('ready');
    for (let round = 0; ; round++) {
      for (const victim of victims) {
        for (let i = below(20); i > 0; i--) victim.scribble();
        victim.ask();
        for (let i = below(200); i > 0; i--) victim.scribble();
      }
      if (round % 50 === 0) await turn();
    }
  },

  /** Opens, closes, asks and hangs up, in no order. */
  async churn() {
    tell('ready');
    for (;;) {
      const raw = new Raw();
      if (below(4) > 0) void raw.hello();
      for (let i = below(12); i > 0; i--) {
        const name =
          pick('vale0:', 'vale1:', 'valeX:') + pick('a', 'c', 'c{1', 'c}1', 'd{x', '', 'x'.repeat(20));
        const more = pick<object>(
          {},
          {},
          { txSlots: below(5000), rxRings: below(40) },
          { extraBufs: below(9000) },
        );
        const asked = raw.ask(
          pick('registerIsolated', 'registerIsolated', 'portInfo', 'release', 'hello', 'status', 'register'),
          {
            ...request(name, more),
            mode: below(9),
            flags: pick(0, 0, 0, below(2 ** 15)),
            registration: below(400),
          },
        );
        if (below(3) > 0) await asked;
      }
      if (below(8) === 0) raw.socket.write(pick('{"id":1,"op"', 'NMRQ', '\n\n\n', 'x'.repeat(70_000)));
      raw.socket.destroy();
      await turn();
    }
  },

  /** Sends descriptors along with requests, the wrong ones, many. */
  async descriptors() {
    tell('ready');
    const fds = [0, 1, 2, fs.openSync('/dev/null', 'r+'), os.createObject('netmap-gift', 4096).fd];
    for (;;) {
      const raw = new Raw();
      await new Promise((resolve) => raw.socket.once('connect', resolve).once('close', resolve));
      const handle = (raw.socket as unknown as { _handle: { fd: number } | null })._handle;
      try {
        for (let i = below(20); i > 0 && handle; i--) {
          const text = pick(
            '{"id":1,"op":"hello","pid":1,"startTime":"x"}\n',
            '{',
            '{"id":2,"op":"collect","ticket":""}\n',
          );
          os.sendDescriptors(
            handle.fd,
            text,
            Array.from({ length: 1 + below(250) }, () => pick(...fds)),
          );
        }
      } catch {
        // Hung up on.
      }
      raw.socket.destroy();
      await turn();
    }
  },

  /** Asks and asks, and never reads an answer. */
  async deaf() {
    tell('ready');
    for (;;) {
      const socket = net.connect(socketPath);
      socket.on('error', () => {});
      socket.pause();
      const closed = new Promise((resolve) => socket.once('close', resolve));
      for (let i = 0; i < 20_000; i++) socket.write('{"id":1,"op":"interfaces"}\n');
      setTimeout(() => socket.destroy(), 2000);
      await closed;
    }
  },

  /** Has more answered in one go than anybody needs, then says so. */
  async flood() {
    const raw = new Raw();
    await raw.hello();
    let answers = 0;
    let first: () => void;
    const begun = new Promise<void>((resolve) => {
      first = resolve;
    });
    const all = Array.from({ length: 4000 }, () =>
      raw.ask('interfaces').then(() => {
        answers++;
        first();
      }),
    );
    await begun;
    tell('ready');
    await Promise.all(all);
    tell({ answers });
    await raw.closed;
  },

  /** As many connections as can be had. */
  async connections() {
    let refused = '';
    for (let i = 0; i < 2200; i++) {
      const socket = net.connect(socketPath);
      socket.on('error', () => {});
      socket.on('data', (text) => {
        refused = String(text);
      });
      await new Promise((resolve) => socket.once('connect', resolve).once('close', resolve));
    }
    tell({ refused });
  },

  /** Closes its line, and says so. */
  async hangUp() {
    const raw = new Raw();
    await raw.hello();
    const victim = new Victim((await raw.ask('registerIsolated', request('vale0:hung'))).ok as Registered);
    os.closeFd(victim.line);
    tell('ready');
    await raw.closed;
  },

  /** Makes memory that looks like a module's, and keeps an eye on it. */
  async plant() {
    const { fd, ino, size } = os.createObject(
      `netmap-system ${nm.runtimeDirectory()}`.slice(0, 240),
      0x1040000,
    );
    const { address } = arena.mapOwn(fd, ino, size);
    tell('ready');
    process.on('message', () =>
      tell({ untouched: arena.bytes.subarray(address, address + size).every((byte) => byte === 0) }),
    );
  },

  /** Opens what it can get of everything. */
  async greedy() {
    const raw = new Raw();
    await raw.hello();
    const opened: string[] = [];
    const refused = new Set<string>();
    const open = async (name: string) => {
      const { error } = await raw.ask('registerIsolated', request(name, { txSlots: 4, rxSlots: 4 }));
      if (error) refused.add(error.message);
      else opened.push(name);
    };
    for (let i = 0; i < 8; i++) await open(`valeG${i}:x`);
    for (let i = 0; i < 300; i++) await open(`valeG0:p${i}`);
    tell({
      opened: opened.length,
      switches: new Set(opened.map((name) => name.split(':')[0])).size,
      refused: [...refused],
    });
    await raw.closed;
  },

  /** What it must not have, however it asks. */
  async reach() {
    const memId = Number(seed);
    const raw = new Raw();
    await raw.hello();
    const device = os.createObject('netmap-own', 1 << 20);
    const pool = { count: 0, size: 0 };
    const extmem = { fd: device.fd, memSize: 1 << 20, ifs: pool, rings: pool, bufs: pool };
    tell({
      extmem: await raw.code('registerIsolated', request('vale0:mine', { extmem })),
      extmemInfo: await raw.code('portInfo', request('vale0:mine', { extmem })),
      infoInMemory: await raw.code('portInfo', request('vale0:mine', { memId })),
      pipe: await raw.code('registerIsolated', request('vale0:asker{1')),
      // One that has no room in the port's memory would get some of its own.
      bigPipe: await raw.code('registerIsolated', request('vale0:asker{2', { txSlots: 4096 })),
    });
    await raw.closed;
  },

  /** Well-behaved: sends back what is marked as a question. */
  async honest() {
    const port = await nm.open('vale0:honest');
    tell('ready');
    for await (const ring of port.batches()) {
      const tx = port.txRings[0]!;
      let to = tx.head;
      for (let at = ring.head; at !== ring.tail; at = ring.next(at)) {
        const bytes = ring.frame(at);
        if (bytes.length < 60 || bytes[12] !== 0x88 || bytes[13] !== 0xb5 || to === tx.tail) continue;
        const answer = bytes.slice();
        answer[13] = 0xb6;
        tx.put(to, answer);
        to = tx.next(to);
      }
      ring.publish(ring.tail);
      tx.publish(to);
      port.txSync();
    }
  },
};

await ATTACKS[what]!();
