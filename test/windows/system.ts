// Objective: what src/os/windows promises, call by call, and what it is there for: any number of ports.
// Operations: run by Windows' Node.

import assert from 'node:assert/strict';
import { networkInterfaces } from 'node:os';
import path from 'node:path';
import { describe, test } from 'node:test';
import koffi from 'koffi';
import { open, poll, pollAsync } from '../../src/client/index.ts';
import { os } from '../../src/os/index.ts';
import { listInterfaces } from '../../src/os/interfaces.ts';
import { driver } from '../../src/os/windows/xdp-driver.ts';
import { frame, marks, ownModule, refuses, run, send, using } from '../harness.ts';

const directory = ownModule();
const POLLIN = 1;

function records(fds: readonly number[]): Uint8Array {
  const bytes = new Uint8Array(fds.length * 8);
  const view = new DataView(bytes.buffer);
  fds.forEach((fd, i) => {
    view.setInt32(i * 8, fd, true);
    view.setInt16(i * 8 + 4, POLLIN, true);
  });
  return bytes;
}
const readyIn = (bytes: Uint8Array) =>
  Array.from({ length: bytes.length / 8 }, (_, i) => i).filter((i) => bytes[i * 8 + 6] !== 0);

describe('a hundred ports', () => {
  test('on one switch: one poll() finds the one that a frame came for', async () => {
    const names = Array.from({ length: 100 }, (_, i) => `vale0:p${i}@conf:slots=64`);
    await using(
      names.map((name) => open(name)),
      async (...ports) => {
        const targets = ports.slice(1).map((port) => ({ port, events: 'in' as const, revents: 0 }));
        assert.equal(poll(targets, 1), 0);
        send(ports[57]!, [frame({ src: 57 })]);
        for (const { port } of targets) marks(port);
        send(ports[0]!, [frame({ dst: 57, src: 1, mark: 4711 })]);
        assert.equal(poll(targets, 5000), 1);
        assert.deepEqual(marks(ports[57]!), [4711]);
        const waiting = pollAsync(targets, { timeoutMs: 5000 });
        send(ports[0]!, [frame({ dst: 57, src: 1, mark: 4712 })]);
        assert.equal(await waiting, 1);
        assert.deepEqual(marks(ports[57]!), [4712]);
      },
    );
  });
});

describe('poll', () => {
  test('of two hundred handles: those that are set, and none else', () => {
    const events = Array.from({ length: 200 }, () => os.createEvent());
    assert.equal(os.poll(records(events), 200, 1.5), 0);
    for (const i of [3, 64, 199]) os.signalEvent(events[i]!);
    const bytes = records(events);
    assert.equal(os.poll(bytes, 200, -1), 3);
    assert.deepEqual(readyIn(bytes), [3, 64, 199]);
    for (const event of events) os.closeFd(event);
  });

  test('of two hundred handles sleeps until one is set by another', async () => {
    const events = Array.from({ length: 200 }, () => os.createEvent());
    const wakes = koffi
      .load('kernel32.dll')
      .func(
        'bool RegisterWaitForSingleObject(void *wait, int64_t object, int64_t callback, int64_t context, uint32_t ms, uint32_t flags)',
      );
    const kernel32 = koffi.load('kernel32.dll');
    const address = kernel32.func('int64_t GetProcAddress(int64_t module, str name)')(
      kernel32.func('int64_t GetModuleHandleW(str16 name)')('kernel32.dll'),
      'SetEvent',
    );
    // A thread of the system's, after 50 ms in which nothing sets the bell.
    const bell = os.createEvent();
    assert.ok(wakes(new BigInt64Array(1), bell, address, events[150], 50, 8));
    const bytes = records(events);
    assert.equal(os.poll(bytes, 200, 10_000), 1);
    assert.deepEqual(readyIn(bytes), [150]);
    for (const event of [...events, bell]) os.closeFd(event);
  });

  test('of a socket beside a port: each wakes it', async () => {
    const ws2 = koffi.load('ws2_32.dll');
    const socket = ws2.func('int64_t socket(int family, int type, int protocol)')(2, 2, 17);
    const local = new Uint8Array(16);
    new DataView(local.buffer).setUint16(0, 2, true);
    local.set([127, 0, 0, 1], 4);
    assert.equal(ws2.func('int bind(int64_t socket, const void *name, int length)')(socket, local, 16), 0);
    const length = new Int32Array([16]);
    assert.equal(
      ws2.func('int getsockname(int64_t socket, void *name, void *length)')(socket, local, length),
      0,
    );
    await using([open('vale1:a'), open('vale1:b')], (a, b) => {
      const targets = [
        { port: b, events: 'in' as const, revents: 0 },
        { fd: socket, events: 'in' as const, revents: 0 },
      ];
      assert.equal(poll(targets, 1), 0);
      const sendto = ws2.func(
        'int sendto(int64_t socket, const void *bytes, int length, int flags, const void *to, int size)',
      );
      assert.equal(sendto(socket, Uint8Array.of(1), 1, 0, local, 16), 1);
      assert.equal(poll(targets, 5000), 1);
      assert.deepEqual(
        targets.map(({ revents }) => revents !== 0),
        [false, true],
      );
      ws2.func('int recv(int64_t socket, void *bytes, int length, int flags)')(
        socket,
        new Uint8Array(4),
        4,
        0,
      );
      send(a, [frame({ mark: 5 })]);
      assert.equal(poll(targets, 5000), 1);
      assert.deepEqual(marks(b), [5]);
    });
    ws2.func('int closesocket(int64_t socket)')(socket);
  });
});

describe('objects', () => {
  test('one is found by its number alone, and only with its size', () => {
    const object = os.createObject('netmap-test', 100_000);
    const ref = { pid: process.pid, fd: object.fd, ino: object.ino, size: object.size };
    const again = os.openObject(ref);
    assert.equal(again.ino, object.ino);
    assert.throws(() => os.openObject({ ...ref, size: 5_000_000 }), { code: 'ENOENT' });
    os.closeFd(again.fd);
    const taken = os.takeObject(process.pid, object.fd);
    assert.equal(taken.ino, object.ino);
    os.closeFd(taken.fd);
    os.closeFd(object.fd);
    assert.throws(() => os.openObject(ref), { code: 'ENOENT' });
  });

  test('what is no section of ours is not taken', () => {
    const event = os.createEvent();
    assert.throws(() => os.takeObject(process.pid, event), { code: 'EFAULT' });
    assert.throws(() => os.takeObject(process.pid, 0x7ffc), { code: 'EFAULT' });
    os.closeFd(event);
  });

  test('those of a well-known name are found, all of them', () => {
    const name = `netmap-system ${directory}-other`;
    const made = [os.createObject(name, 65536), os.createObject(name, 65536)];
    assert.deepEqual(
      os.findObjects(name).map(({ ino }) => ino),
      made.map(({ ino }) => ino),
    );
    for (const { fd } of made) os.closeFd(fd);
    assert.deepEqual(os.findObjects(name), []);
  });
});

describe('the process', () => {
  test('a start time for the living, none for others', () => {
    assert.match(os.startTime(process.pid), /^\d+$/);
    assert.equal(os.startTime(process.pid), os.startTime(process.pid));
    assert.equal(os.startTime(0x7ffffff0), '');
  });

  test('a thread is pinned to a CPU that there is', () => {
    os.pinThread(0);
    assert.throws(() => os.pinThread(99), { code: 'EINVAL' });
  });

  test('a lock has one holder', () => {
    const file = path.join(directory, 'test.lock');
    const held = os.lockFile(file);
    assert.ok(held > 0);
    assert.equal(os.lockFile(file), -1);
    os.closeFd(held);
    const next = os.lockFile(file);
    assert.ok(next > 0);
    os.closeFd(next);
  });

  test('a second module is refused', async () => {
    await using([open('vale2:a')], async () => {
      const { load } = await import('../../src/client/index.ts');
      await refuses(load(), 'EBUSY', /loaded already/);
    });
  });

  test('the control pipe is found by its file only', () => {
    assert.equal(os.socketAddress(path.join(directory, 'none')), undefined);
    assert.match(os.socketAddress(path.join(directory, 'netmapd.sock'))!, /^\\\\\.\\pipe\\netmap-/);
  });
});

describe('network interfaces', () => {
  const own = Object.entries(networkInterfaces());

  test('are listed as Windows has them: index, name, address, MTU, state', () => {
    const listed = listInterfaces();
    assert.equal(new Set(listed.map(({ index }) => index)).size, listed.length);
    for (const [name, addresses] of own) {
      const nic = listed.find((one) => one.name === name);
      assert.ok(nic, `${name} is missing`);
      assert.ok(nic.up && nic.running);
      assert.equal(nic.loopback, addresses![0]!.internal);
      if (!nic.loopback) assert.equal(nic.mac, addresses![0]!.mac);
      assert.ok(nic.mtu >= 576);
    }
  });

  test('nm-loader interfaces: what stands in the way is the missing driver, with how to install it', async () => {
    const { code, stdout } = await run('nm-loader', ['interfaces']);
    assert.equal(code, 0);
    for (const { index, name, mac, mtu, loopback } of listInterfaces()) {
      const at = stdout.indexOf(`${index} ${name} ${mac || '-'} mtu ${mtu} `);
      assert.ok(at >= 0, stdout);
      const more = stdout.slice(at).split(/\r?\n(?! )/)[0]!;
      assert.match(more, loopback ? /use a switch/ : /XDP-for-Windows is not installed: take the package/);
    }
  });

  test('are opened by XDP-for-Windows only: one sentence says how to have it', {
    skip: own.every(([, addresses]) => addresses![0]!.internal) && 'this machine has none but loopback',
  }, async () => {
    const nic = listInterfaces().find(({ loopback }) => !loopback)!;
    for (const name of [`netmap:eth${nic.index}`, `netmap:eth${nic.index}^`])
      await refuses(open(name), 'EOPNOTSUPP', /XDP-for-Windows is not installed; .*xdp-setup\.ps1/);
  });

  test('requests to what is none of the driver’s objects are refused, whatever they ask', () => {
    const event = os.createEvent();
    const other = os.createEvent();
    for (const attempt of [
      () => driver.bind(event, 1, 0, 5),
      () => driver.setOption(event, 6, Uint8Array.of(1, 0, 0, 0)),
      () => driver.getOption(event, 6, 160),
      () => driver.poke(event, 2),
      () => driver.wait(event, 4, other),
      () => driver.createSocket(),
      () => driver.createProgram(1, { direction: 'rx', place: 'inspect' }, 0, 'drop'),
    ])
      assert.throws(attempt, /^NetmapError: Cannot .*XDP-for-Windows answered status 0x[0-9a-f]{8}$/);
    os.closeFd(event);
    os.closeFd(other);
  });
});
