// A driver as XDP-for-Windows documents itself (spec windows §6.1), in place of src/os/windows/xdp-driver.ts: sockets with
// their states, rings in real memory at addresses and offsets of its own, programs on hooks, frames copied between the
// memory of one socket and that of another.  What it does it does within a call, as a kernel does on its caller's thread.
//
// Unfriendly where it may be: ring words lie elsewhere in every ring, entries are farther apart than they need be, a poke
// sends 32 frames at the most, and buffers come back in another order than they went.

import koffi from 'koffi';
import { type ErrnoName, NetmapError } from '../../src/abi/errors.ts';
import { os } from '../../src/os/index.ts';
import * as api from '../../src/os/windows/xdp-api.ts';
import { type Adapter, Machine } from './fake-machine.ts';

const MOST_AT_ONCE = 32;
const ETHERNET_HEADER = 14;

type State = 'unbound' | 'bound' | 'active' | 'detached';
type RingName = 'rx' | 'fill' | 'tx' | 'completion';

/** Ring words: bytes from the ring's start; bytes of an entry. */
const PLACES: Readonly<
  Record<RingName, { producer: number; consumer: number; flags: number; desc: number; stride: number }>
> = {
  rx: { producer: 0, consumer: 64, flags: 128, desc: 192, stride: 16 },
  fill: { producer: 64, consumer: 0, flags: 128, desc: 256, stride: 8 },
  tx: { producer: 128, consumer: 64, flags: 0, desc: 192, stride: 24 },
  completion: { producer: 0, consumer: 128, flags: 64, desc: 512, stride: 8 },
};

const SIZE_OPTIONS: Readonly<Record<number, RingName>> = {
  [api.OPTION_RX_RING_SIZE]: 'rx',
  [api.OPTION_RX_FILL_RING_SIZE]: 'fill',
  [api.OPTION_TX_RING_SIZE]: 'tx',
  [api.OPTION_TX_COMPLETION_RING_SIZE]: 'completion',
};

function refuse(code: ErrnoName, why: string): never {
  throw new NetmapError(code, `the fake driver refuses: ${why}`);
}

class Ring {
  readonly memory: Uint8Array;
  readonly size: number;
  readonly #view: DataView;
  readonly #words: Int32Array;
  readonly #place: (typeof PLACES)[RingName];

  constructor(name: RingName, size: number) {
    this.#place = PLACES[name];
    this.size = size;
    this.memory = new Uint8Array(new ArrayBuffer(this.#place.desc + size * this.#place.stride));
    this.#view = new DataView(this.memory.buffer);
    this.#words = new Int32Array(this.memory.buffer);
    if (name === 'tx') this.flag(api.RING_FLAG_NEED_POKE, true);
  }

  get filled(): number {
    return (this.#word('producer') - this.#word('consumer')) >>> 0;
  }

  flag(bit: number, on: boolean): void {
    const at = this.#place.flags >> 2;
    if (on) Atomics.or(this.#words, at, bit);
    else Atomics.and(this.#words, at, ~bit);
  }

  /** Where the n-th entry from the consumer, or from the producer, is. */
  entry(from: 'producer' | 'consumer', n: number): { view: DataView; at: number } {
    const index = (this.#word(from) + n) & (this.size - 1);
    return { view: this.#view, at: this.#place.desc + index * this.#place.stride };
  }

  advance(which: 'producer' | 'consumer', n: number): void {
    Atomics.add(this.#words, this.#place[which] >> 2, n);
  }

  infoInto(view: DataView, at: number): void {
    const { producer, consumer, flags, desc, stride } = this.#place;
    view.setBigUint64(at, BigInt(os.addressOf(this.memory)), true);
    [desc, producer, consumer, flags, this.size, stride].forEach((value, i) => {
      view.setUint32(at + 8 + 4 * i, value, true);
    });
  }

  #word(which: 'producer' | 'consumer'): number {
    return Atomics.load(this.#words, this.#place[which] >> 2);
  }
}

interface Umem {
  bytes: Uint8Array;
  chunkSize: number;
}

class Socket {
  state: State = 'unbound';
  umem: Umem | undefined;
  /** Directions of the hooks: what is received from where, what is sent to where. */
  rxHook = 'rx inspect';
  txHook = 'tx inject';
  adapter: Adapter | undefined;
  queue = 0;
  directions = 0;
  readonly rings: Partial<Record<RingName, Ring>> = {};
  readonly statistics = { rxDropped: 0, rxTruncated: 0, rxInvalid: 0, txInvalid: 0 };
  #wait: { flags: number; event: number } | undefined;

  startWait(flags: number, event: number): void {
    if (this.#wait) refuse('EINVAL', 'a wait is under way already');
    this.#wait = { flags, event };
    this.signal();
  }

  /** Ends the wait if what it is for is there. */
  signal(anyway = false): void {
    if (!this.#wait) return;
    const { flags, event } = this.#wait;
    const ready =
      (flags & api.NOTIFY_WAIT_RX && this.rings.rx!.filled > 0) ||
      (flags & api.NOTIFY_WAIT_TX && this.rings.completion!.filled > 0);
    if (!ready && !anyway) return;
    this.#wait = undefined;
    os.signalEvent(event);
  }

  receive(frame: Uint8Array): void {
    const { rx, fill } = this.rings as Record<RingName, Ring>;
    const { bytes, chunkSize } = this.umem!;
    if (this.state !== 'active' || fill.filled === 0 || rx.filled === rx.size) {
      this.statistics.rxDropped++;
      return;
    }
    const given = fill.entry('consumer', 0);
    const address = Number(given.view.getBigUint64(given.at, true));
    fill.advance('consumer', 1);
    if (address > bytes.length - chunkSize) {
      this.statistics.rxInvalid++;
      return;
    }
    const length = Math.min(frame.length, chunkSize);
    if (length < frame.length) this.statistics.rxTruncated++;
    bytes.set(frame.subarray(0, length), address);
    const { view, at } = rx.entry('producer', 0);
    view.setBigUint64(at, BigInt(address), true);
    view.setUint32(at + 8, length, true);
    view.setUint32(at + 12, 0xdead, true); // Reserved: nobody may look at it.
    rx.advance('producer', 1);
    this.signal();
  }

  /** Sends what it may at once; completions in reverse order. */
  transmit(): void {
    const { tx, completion } = this.rings as Record<RingName, Ring>;
    const { bytes, chunkSize } = this.umem!;
    tx.flag(api.RING_FLAG_NEED_POKE, false);
    const count = Math.min(tx.filled, completion.size - completion.filled, MOST_AT_ONCE);
    const taken: { address: number; frame: Uint8Array }[] = [];
    for (let i = 0; i < count; i++) {
      const { view, at } = tx.entry('consumer', i);
      const address = Number(view.getBigUint64(at, true) & 0xffffffffffffn);
      const length = view.getUint32(at + 8, true);
      const longest = this.adapter!.mtu + ETHERNET_HEADER;
      const chunk = Math.floor(address / chunkSize);
      const whole = chunk === Math.floor((address + length - 1) / chunkSize);
      if (length === 0 || length > longest || address + length > bytes.length || !whole)
        this.statistics.txInvalid++;
      else taken.push({ address, frame: bytes.slice(address, address + length) });
    }
    tx.advance('consumer', count);
    for (const [i, { address }] of taken.reverse().entries()) {
      const { view, at } = completion.entry('producer', i);
      view.setBigUint64(at, BigInt(address), true);
    }
    completion.advance('producer', taken.length);
    tx.flag(api.RING_FLAG_NEED_POKE, true);
    this.signal();
    for (const { frame } of taken.reverse()) {
      if (this.txHook === 'tx inject') this.adapter!.send(frame, this.queue);
      else this.adapter!.up(frame);
    }
  }

  detach(): void {
    this.state = 'detached';
    for (const ring of Object.values(this.rings)) ring.flag(api.RING_FLAG_ERROR, true);
    this.signal(true);
  }
}

interface Program {
  adapter: Adapter;
  hook: string;
  queue: number;
  rule: api.Rule;
}

const sockets = new Map<number, Socket>();
const programs = new Map<number, Program>();
let nextHandle = 0x1000;

const machine = new Machine(
  (adapter, direction, queue, frame) => {
    const hook = `${direction} inspect`;
    const program = [...programs.values()].find(
      (one) => one.adapter === adapter && one.hook === hook && one.queue === queue,
    );
    if (!program) return false;
    if (program.rule === 'drop') return true;
    const socket = sockets.get(program.rule.redirect);
    if (socket?.adapter === adapter && socket.rxHook === hook && socket.queue === queue)
      socket.receive(frame);
    return true;
  },
  (adapter) => {
    for (const socket of sockets.values()) if (socket.adapter === adapter) socket.detach();
  },
);

/** Sockets and programs that are open. */
export const handles = (): number => sockets.size + programs.size;

const hookName = ({ direction, place }: api.Hook) => `${direction} ${place}`;

function hookIn(value: Uint8Array): string {
  const [layer, direction, place] = new Uint32Array(value.slice().buffer);
  if (layer !== 0) refuse('EOPNOTSUPP', `layer ${layer}`);
  return `${direction === 0 ? 'rx' : 'tx'} ${place === 0 ? 'inspect' : 'inject'}`;
}

function socketOf(handle: number): Socket {
  return sockets.get(handle) ?? refuse('EINVAL', `${handle} is no socket`);
}

function adapterOf(index: number): Adapter {
  const adapter = machine.adapters.get(index);
  return adapter?.plugged ? adapter : refuse('ENXIO', `there is no interface ${index}`);
}

export const driver: api.XdpDriver = {
  missing: () => undefined,

  createSocket() {
    const handle = nextHandle++;
    sockets.set(handle, new Socket());
    return handle;
  },

  setOption(handle, option, value) {
    const socket = socketOf(handle);
    const view = new DataView(value.buffer, value.byteOffset, value.byteLength);
    const unbound = () => socket.state === 'unbound' || refuse('EINVAL', 'it is bound already');
    const name = SIZE_OPTIONS[option];
    if (name) {
      const size = view.getUint32(0, true);
      if (socket.state === 'active' || socket.rings[name]) refuse('EINVAL', `${name} has its size`);
      if (size === 0 || size & (size - 1)) refuse('EINVAL', `${size} is no power of two`);
      socket.rings[name] = new Ring(name, size);
    } else if (option === api.OPTION_UMEM_REG) {
      unbound();
      if (socket.umem) refuse('EINVAL', 'it has its memory');
      const total = Number(view.getBigUint64(0, true));
      const chunkSize = view.getUint32(8, true);
      if (chunkSize === 0 || chunkSize > total || total > 0xffffffff) refuse('EINVAL', 'sizes of memory');
      if (view.getUint32(12, true) !== 0) refuse('EINVAL', 'headroom is not asked for here');
      const bytes = driver.memoryAt(Number(view.getBigUint64(16, true)), total - (total % chunkSize));
      socket.umem = { bytes, chunkSize };
    } else if (option === api.OPTION_RX_HOOK_ID || option === api.OPTION_TX_HOOK_ID) {
      unbound();
      socket[option === api.OPTION_RX_HOOK_ID ? 'rxHook' : 'txHook'] = hookIn(value);
    } else refuse('EOPNOTSUPP', `option ${option}`);
  },

  getOption(handle, option, size) {
    const { rings, statistics } = socketOf(handle);
    const view = new DataView(new ArrayBuffer(size));
    if (option === api.OPTION_RING_INFO) {
      if (size < 160) refuse('EINVAL', `${size} bytes are too few`);
      for (const [i, name] of (['fill', 'completion', 'rx', 'tx'] as const).entries())
        rings[name]?.infoInto(view, i * 40);
    } else if (option === api.OPTION_STATISTICS) {
      const { rxDropped, rxTruncated, rxInvalid, txInvalid } = statistics;
      [rxDropped, rxTruncated, rxInvalid, txInvalid].forEach((count, i) => {
        view.setBigUint64(i * 8, BigInt(count), true);
      });
    } else refuse('EOPNOTSUPP', `option ${option}`);
    return new Uint8Array(view.buffer);
  },

  bind(handle, ifIndex, queue, flags) {
    const socket = socketOf(handle);
    const directions = flags & (api.BIND_RX | api.BIND_TX);
    if (socket.state !== 'unbound') refuse('EINVAL', 'it is bound already');
    if (directions === 0 || !(flags & api.BIND_GENERIC)) refuse('EINVAL', `flags ${flags}`);
    const adapter = adapterOf(ifIndex);
    if (queue >= adapter.queues) refuse('EINVAL', `there is no queue ${queue}`);
    if (!socket.rxHook.endsWith('inspect') || !socket.txHook.endsWith('inject'))
      refuse('EOPNOTSUPP', `hooks ${socket.rxHook} and ${socket.txHook}`);
    Object.assign(socket, { state: 'bound', adapter, queue, directions });
  },

  activate(handle) {
    const socket = socketOf(handle);
    const { rx, fill, tx, completion } = socket.rings;
    if (socket.state !== 'bound' || !socket.umem) refuse('EINVAL', 'it is not bound, or has no memory');
    if (socket.directions & api.BIND_RX && !(rx && fill)) refuse('EINVAL', 'rx and fill have no size');
    if (socket.directions & api.BIND_TX && !(tx && completion))
      refuse('EINVAL', 'tx and completion have no size');
    socket.state = 'active';
  },

  poke(handle, flags) {
    const socket = socketOf(handle);
    if (socket.state !== 'active') refuse('EINVAL', 'it is not active');
    if (!(flags & api.NOTIFY_POKE_TX) || !socket.rings.tx) refuse('EINVAL', `flags ${flags}`);
    socket.transmit();
  },

  wait(handle, flags, event) {
    const socket = socketOf(handle);
    const { rx, tx } = socket.rings;
    if (socket.state !== 'active') refuse('EINVAL', 'it is not active');
    if ((flags & api.NOTIFY_WAIT_RX && !rx) || (flags & api.NOTIFY_WAIT_TX && !tx))
      refuse('EINVAL', `flags ${flags}`);
    socket.startWait(flags, event);
  },

  createProgram(ifIndex, hook, queue, rule) {
    const adapter = adapterOf(ifIndex);
    const name = hookName(hook);
    if (!name.endsWith('inspect')) refuse('EOPNOTSUPP', `a program on ${name}`);
    if (queue >= adapter.queues) refuse('EINVAL', `there is no queue ${queue}`);
    for (const one of programs.values())
      if (one.adapter === adapter && one.hook === name && one.queue === queue)
        refuse('EBUSY', 'there is a program already');
    if (rule !== 'drop') {
      const target = socketOf(rule.redirect);
      if (target.state === 'unbound') refuse('EINVAL', 'its target is not bound');
    }
    const handle = nextHandle++;
    programs.set(handle, { adapter, hook: name, queue, rule });
    return handle;
  },

  close(handle) {
    if (programs.delete(handle)) return;
    socketOf(handle).signal(true);
    sockets.delete(handle);
  },

  memoryAt: (address, size) => new Uint8Array(koffi.view(address, size)),
};
