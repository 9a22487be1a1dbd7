// Objective: the calls that XDP-for-Windows is asked by are those that its headers document (spec windows §6.1), and
// sockets, rings and programs go through their states as it wants, also when something goes wrong.
// Operations: bytes against the documented offsets; sockets and queues of ours against the fake driver, in this process.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { mirrorLayout } from '../../src/nic/windows/mirror.ts';
import { FRAMES_CAME, FRAMES_SENT, hang, ServedQueue } from '../../src/nic/windows/served-queue.ts';
import { type RingPlace, SharedRing } from '../../src/nic/windows/shared-ring.ts';
import { receivingHook, XdpSocket } from '../../src/nic/windows/socket.ts';
import { os } from '../../src/os/index.ts';
import * as api from '../../src/os/windows/xdp-api.ts';
import { driver, handles } from './fake-driver.ts';

const view = (bytes: Uint8Array) => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

describe('bytes as the headers have them', () => {
  test('XSK_UMEM_REG: total size u64, chunk size u32, headroom u32, address', () => {
    const bytes = view(api.umemReg(0x123456789000, 0x2000000, 2048));
    assert.equal(bytes.byteLength, 24);
    assert.equal(bytes.getBigUint64(0, true), 0x2000000n);
    assert.deepEqual([bytes.getUint32(8, true), bytes.getUint32(12, true)], [2048, 0]);
    assert.equal(bytes.getBigUint64(16, true), 0x123456789000n);
  });

  test('XDP_HOOK_ID: layer, direction, sublayer', () => {
    const words = (hook: api.Hook) => [...new Uint32Array(api.hookId(hook).buffer)];
    assert.deepEqual(words({ direction: 'rx', place: 'inspect' }), [0, 0, 0]);
    assert.deepEqual(words({ direction: 'tx', place: 'inject' }), [0, 1, 1]);
  });

  test('XDP_RULE, 72 bytes: match all at 0, action at 48, redirect to a socket at 56 and 64', () => {
    const redirect = view(api.programRule({ redirect: 0x1234 }));
    assert.equal(redirect.byteLength, 72);
    assert.deepEqual(
      [0, 48, 56].map((at) => redirect.getUint32(at, true)),
      [0, 2, 0],
    );
    assert.equal(redirect.getBigInt64(64, true), 0x1234n);
    assert.deepEqual([...api.programRule('drop')], Array(72).fill(0));
  });

  test('the attribute that opens a program: FILE_FULL_EA_INFORMATION, XDP_OPEN_PACKET, XDP_PROGRAM_OPEN', () => {
    const plan = api.programOpen(7, { direction: 'tx', place: 'inspect' }, 3, 0x7ff000001000);
    const bytes = api.openAttribute(api.OBJECT_PROGRAM, plan);
    const at = view(bytes);
    const name = 'XdpOpenPacket000\0';
    assert.equal(at.getUint32(0, true), 0);
    assert.equal(at.getUint8(5), name.length - 1);
    assert.equal(at.getUint16(6, true), 12 + 40);
    assert.equal(Buffer.from(bytes.subarray(8, 8 + name.length)).toString('latin1'), name);
    const packet = 8 + name.length;
    assert.deepEqual([at.getUint16(packet, true), at.getUint16(packet + 2, true)], [1, 0]);
    assert.equal(at.getUint32(packet + 8, true), 0);
    const program = packet + 12;
    assert.deepEqual(
      [0, 4, 8, 12, 16, 20, 24].map((ofs) => at.getUint32(program + ofs, true)),
      [7, 0, 1, 0, 3, 1, 1],
    );
    assert.equal(at.getBigUint64(program + 32, true), 0x7ff000001000n);
  });

  test('requests: CTL_CODE of FILE_DEVICE_NETWORK with write access, buffered, the two that notify neither', () => {
    const code = (nth: number, method: number) => (0x12 << 16) | (2 << 14) | (nth << 2) | method;
    assert.deepEqual(
      [api.IOCTL_BIND, api.IOCTL_ACTIVATE, api.IOCTL_GETSOCKOPT, api.IOCTL_SETSOCKOPT],
      [0, 1, 2, 3].map((nth) => code(nth, 0)),
    );
    assert.deepEqual([api.IOCTL_NOTIFY, api.IOCTL_NOTIFY_ASYNC], [code(4, 3), code(5, 3)]);
  });
});

describe('a shared ring', () => {
  const place = (entries: number, stride: number): RingPlace => ({
    producer: 0,
    consumer: 4,
    desc: 8,
    entries,
    stride,
  });
  const memoryOf = ({ desc, entries, stride }: RingPlace) =>
    new Uint8Array(new ArrayBuffer(desc + entries * stride));

  for (const [what, from, to] of [
    ['of equal layout', place(8, 16), place(8, 16)],
    ['of another size', place(16, 16), place(4, 16)],
    ['whose entries are farther apart', place(8, 16), place(8, 24)],
  ] as const) {
    test(`entries come in order to one ${what}, round and round, and past the end of the count`, () => {
      const [memory, target] = [memoryOf(from), memoryOf(to)];
      const words = new Uint32Array(memory.buffer, 0, 2).fill(0xfffffffa);
      const targetWords = new Uint32Array(target.buffer, 0, 2);
      const [source, sink] = [new SharedRing(memory, from), new SharedRing(target, to)];
      let next = 0;
      let expected = 0;
      for (let turn = 0; turn < 50; turn++) {
        for (let i = 0; i < 1 + (turn % 5) && source.room > 0; i++) {
          const at = from.desc + (words[0]! & (from.entries - 1)) * from.stride;
          view(memory).setBigUint64(at, BigInt(next++), true);
          words[0]! += 1;
        }
        const room = sink.room;
        const filled = source.filled;
        assert.equal(source.moveTo(sink, 3), Math.min(room, filled, 3));
        if (turn % 3 === 0) continue;
        while (sink.filled > 0) {
          const at = to.desc + (targetWords[1]! & (to.entries - 1)) * to.stride;
          assert.equal(view(target).getBigUint64(at, true), BigInt(expected++));
          targetWords[1]! += 1;
        }
      }
      assert.ok(expected > 40);
    });
  }

  test('that claims to hold more than it can is refused', () => {
    const memory = memoryOf(place(8, 8));
    new Uint32Array(memory.buffer)[0] = 9;
    const ring = new SharedRing(memory, place(8, 8));
    assert.throws(() => ring.filled, { code: 'EPROTO' });
    assert.throws(() => ring.moveTo(new SharedRing(memoryOf(place(8, 8)), place(8, 8))), { code: 'EPROTO' });
  });
});

const ENTRIES = 64;
const BUF = 2048;
const BUFFERS = 128;

/** Memory for frames, and a queue of an interface over it, as one who uses it has it. */
class User {
  readonly memory = new Uint8Array(new ArrayBuffer(BUFFERS * BUF));
  readonly queue: ServedQueue;
  readonly #mirror = new Uint8Array(new ArrayBuffer(mirrorLayout(ENTRIES).size));
  readonly #layout = mirrorLayout(ENTRIES);

  constructor(ifIndex: number, { queues = [0], host = false } = {}) {
    const buffers = { address: os.addressOf(this.memory), size: this.memory.length, bufSize: BUF };
    this.queue = new ServedQueue(driver, { ifIndex, queues, host, entries: ENTRIES, buffers }, this.#mirror);
  }

  get sender(): XdpSocket {
    return this.queue.sockets[0]!;
  }

  /** Gives the driver buffers to receive into. */
  fill(count: number): void {
    for (let i = 0; i < count; i++) this.#put('fill', (i % BUFFERS) * BUF);
  }

  /** Has frames sent, each in a buffer of its own from the end on. */
  send(frames: readonly Uint8Array[]): void {
    frames.forEach((frame, i) => {
      const address = (BUFFERS - 1 - i) * BUF;
      this.memory.set(frame, address);
      this.#put('tx', address, frame.length);
    });
  }

  received(): Uint8Array[] {
    return this.#take('rx').map(({ address, length }) => this.memory.slice(address, address + length));
  }

  /** Addresses of buffers that were sent. */
  sent(): number[] {
    return this.#take('completion').map(({ address }) => address);
  }

  /** What its user may write into the memory that it shares with us. */
  word(at: number): Uint32Array {
    return new Uint32Array(this.#mirror.buffer, at, 1);
  }

  #put(ring: 'fill' | 'tx', address: number, length = 0): void {
    const { producer, desc, entries } = this.#layout[ring];
    const word = this.word(producer);
    const at = desc + (word[0]! & (entries - 1)) * (ring === 'tx' ? 16 : 8);
    view(this.#mirror).setBigUint64(at, BigInt(address), true);
    if (ring === 'tx') view(this.#mirror).setUint32(at + 8, length, true);
    word[0]! += 1;
  }

  #take(ring: 'rx' | 'completion'): { address: number; length: number }[] {
    const { producer, consumer, desc, entries } = this.#layout[ring];
    const [end, word] = [this.word(producer)[0]!, this.word(consumer)];
    const taken = [];
    for (; word[0] !== end; word[0]! += 1) {
      const at = desc + (word[0]! & (entries - 1)) * (ring === 'rx' ? 16 : 8);
      const address = Number(view(this.#mirror).getBigUint64(at, true));
      taken.push({ address, length: ring === 'rx' ? view(this.#mirror).getUint32(at + 8, true) : 0 });
    }
    return taken;
  }
}

const frame = (mark: number, length = 60) => new Uint8Array(length).fill(mark).fill(0, 0, 14);
const isSignalled = (event: number) => {
  const fds = new DataView(new ArrayBuffer(8));
  fds.setInt32(0, event, true);
  fds.setInt16(4, 1, true);
  return os.poll(new Uint8Array(fds.buffer), 1, 0) === 1;
};
const statistics = (socket: XdpSocket) => {
  const bytes = view(driver.getOption(socket.handle, api.OPTION_STATISTICS, api.STATISTICS_SIZE));
  return [0, 8, 16, 24].map((at) => Number(bytes.getBigUint64(at, true)));
};

function withUsers(work: (a: User, b: User) => void): void {
  const before = handles();
  const users = [new User(101), new User(102)] as const;
  try {
    work(...users);
  } finally {
    for (const { queue } of users) queue.close();
    assert.equal(handles(), before, 'sockets and programs that are left');
  }
}

describe('a queue between its users and the driver', () => {
  test('frames go out in batches that the driver takes, and come in; buffers come back', () => {
    withUsers((a, b) => {
      b.queue.receive(true);
      b.fill(ENTRIES);
      assert.ok(b.queue.serve());
      a.send(Array.from({ length: 50 }, (_, i) => frame(i)));
      let found = 0;
      for (let bits = a.queue.serve(); bits !== 0; bits = a.queue.serve()) found |= bits;
      assert.ok(found & FRAMES_SENT);
      assert.equal(new Set(a.sent()).size, 50);
      assert.ok(b.queue.serve() & FRAMES_CAME);
      assert.deepEqual(
        b.received(),
        Array.from({ length: 50 }, (_, i) => frame(i)),
      );
      assert.deepEqual(statistics(b.sender), [0, 0, 0, 0]);
    });
  });

  test('the driver is told of frames only while it wants to be', () => {
    withUsers((a) => {
      assert.equal(a.sender.poke(), false, 'nothing to tell of');
      a.send([frame(1)]);
      a.queue.mirror.tx.moveTo(a.sender.tx!);
      assert.equal(a.sender.poke(), true);
      assert.equal(a.sender.poke(), false);
    });
  });

  test('the first frame finds a buffer that was given before', () => {
    withUsers((a, b) => {
      b.fill(1);
      b.queue.receive(true);
      a.send([frame(1)]);
      a.queue.serve();
      b.queue.serve();
      assert.equal(b.received().length, 1);
    });
  });

  test('without buffers frames are lost, and are the driver’s to count', () => {
    withUsers((a, b) => {
      b.queue.receive(true);
      b.fill(3);
      b.queue.serve();
      a.send(Array.from({ length: 5 }, (_, i) => frame(i)));
      while (a.queue.serve());
      b.queue.serve();
      assert.equal(b.received().length, 3);
      assert.deepEqual(statistics(b.sender), [2, 0, 0, 0]);
    });
  });

  test('asleep: a frame, a sent buffer and its users wake it, each once', () => {
    withUsers((a, b) => {
      b.queue.receive(true);
      b.fill(8);
      b.queue.serve();
      const asleep = b.word(mirrorLayout(ENTRIES).asleep);
      assert.equal(b.queue.fallAsleep(), false);
      assert.equal(asleep[0], 1);
      assert.equal(b.queue.fallAsleep(), false, 'a second time changes nothing');
      assert.equal(isSignalled(b.sender.event), false);
      a.send([frame(1)]);
      assert.equal(a.queue.fallAsleep(), true, 'there is something to send');
      a.queue.wakeUp();
      a.queue.serve();
      assert.equal(isSignalled(a.sender.event), true, 'its buffer is back');
      assert.equal(isSignalled(b.sender.event), true);
      b.queue.wakeUp();
      b.sender.wake();
      assert.equal(asleep[0], 0);
      assert.equal(isSignalled(b.sender.event), false);
      b.queue.serve();
      assert.equal(b.received().length, 1);
      b.fill(1);
      assert.equal(b.queue.fallAsleep(), true, 'a buffer for it to take');
    });
  });

  test('the host’s side: frames of every queue, buffers where they are needed', () => {
    const before = handles();
    const host = new User(102, { queues: [0, 1], host: true });
    host.queue.receive(true);
    host.fill(40);
    host.queue.serve();
    assert.deepEqual(
      host.queue.sockets.map(({ fill }) => fill.filled),
      [20, 20],
    );
    const echo = (mark: number, queue: number) => {
      const bytes = frame(mark);
      bytes.set([2, 0, 0, 0, 0, 0x66, 2, 0, 0, 0, 0, 1, 0x88, 0xb5, 1, queue]);
      return bytes;
    };
    host.send(Array.from({ length: 10 }, (_, i) => echo(i, 1)));
    while (host.queue.serve());
    assert.equal(host.received().length, 10);
    host.fill(4);
    host.queue.serve();
    assert.deepEqual(
      host.queue.sockets.map(({ fill }) => fill.filled),
      [20, 14],
    );
    host.queue.close();
    assert.equal(handles(), before);
  });

  test('closed: what was accepted goes out first', () => {
    const before = handles();
    const [a, b] = [new User(101), new User(102)];
    b.queue.receive(true);
    b.fill(ENTRIES);
    b.queue.serve();
    a.send(Array.from({ length: 60 }, (_, i) => frame(i)));
    a.queue.close();
    b.queue.serve();
    assert.equal(b.received().length, 60);
    b.queue.close();
    assert.equal(handles(), before);
  });

  test('a user that breaks a ring is found out, and leaves nothing', () => {
    const before = handles();
    const a = new User(101);
    const { tx } = mirrorLayout(ENTRIES);
    a.word(tx.producer)[0] = 1_000_000;
    assert.throws(() => a.queue.serve(), { code: 'EPROTO' });
    a.queue.close();
    assert.equal(handles(), before);
  });
});

describe('what goes wrong', () => {
  const buffers = {
    address: os.addressOf(new Uint8Array(new ArrayBuffer(8 * BUF))),
    size: 8 * BUF,
    bufSize: BUF,
  };
  const plan = { ifIndex: 101, queue: 0, host: false, sends: true, entries: ENTRIES, buffers };

  for (const [what, change, code] of [
    ['an interface that is not there', { ifIndex: 9 }, 'ENXIO'],
    ['a queue that is not there', { queue: 2 }, 'EINVAL'],
    ['rings whose size is no power of two', { entries: 100 }, 'EINVAL'],
    ['memory smaller than a buffer', { buffers: { ...buffers, size: BUF - 1 } }, 'EINVAL'],
  ] as const) {
    test(`${what}: ${code}, and no socket is left`, () => {
      const before = handles();
      assert.throws(() => new XdpSocket(driver, { ...plan, ...change }), { code });
      assert.equal(handles(), before);
    });
  }

  test('steps out of order are refused by the driver', () => {
    const socket = driver.createSocket();
    const refused = (step: () => void) => assert.throws(step, { code: 'EINVAL' });
    const memory = api.umemReg(buffers.address, buffers.size, BUF);
    refused(() => driver.activate(socket));
    refused(() => driver.poke(socket, api.NOTIFY_POKE_TX));
    driver.setOption(socket, api.OPTION_UMEM_REG, memory);
    refused(() => driver.setOption(socket, api.OPTION_UMEM_REG, memory));
    driver.bind(socket, 101, 0, api.BIND_RX | api.BIND_GENERIC);
    refused(() => driver.bind(socket, 101, 0, api.BIND_RX | api.BIND_GENERIC));
    refused(() => driver.setOption(socket, api.OPTION_RX_HOOK_ID, api.hookId(receivingHook(true))));
    refused(() => driver.activate(socket));
    for (const option of [api.OPTION_RX_RING_SIZE, api.OPTION_RX_FILL_RING_SIZE])
      driver.setOption(socket, option, api.u32s(ENTRIES));
    driver.activate(socket);
    const event = os.createEvent();
    driver.wait(socket, api.NOTIFY_WAIT_RX, event);
    refused(() => driver.wait(socket, api.NOTIFY_WAIT_RX, event));
    driver.close(socket);
    assert.equal(isSignalled(event), true, 'a wait ends with its socket');
    os.closeFd(event);
  });

  test('programs hang on all queues or on none', () => {
    const before = handles();
    const [taken] = hang(driver, 101, receivingHook(true), [1], ['drop']);
    assert.throws(() => hang(driver, 101, receivingHook(true), [0, 1], ['drop', 'drop']), { code: 'EBUSY' });
    driver.close(taken!);
    assert.equal(handles(), before);
    for (const program of hang(driver, 101, receivingHook(true), [0, 1], ['drop', 'drop']))
      driver.close(program);
  });

  test('an interface that goes away: its queues have failed, and who sleeps on them wakes', () => {
    const [a, b] = [new User(101), new User(102)];
    b.queue.fallAsleep();
    assert.equal(b.queue.failed, false);
    const unplug = frame(0);
    unplug.set([0x88, 0xb6], 12);
    a.send([unplug]);
    a.queue.serve();
    assert.equal(b.queue.failed, true);
    assert.equal(isSignalled(b.sender.event), true);
    assert.equal(a.queue.failed, false);
    b.queue.close();
    a.queue.close();
    assert.throws(() => new User(102), { code: 'ENXIO' });
  });
});
