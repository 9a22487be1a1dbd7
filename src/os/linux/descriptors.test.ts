import assert from 'node:assert/strict';
import fs from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { Worker } from 'node:worker_threads';
import type { Peer } from '../os.ts';
import { linux } from './linux.ts';

/** The descriptor below a socket of Node's. */
function descriptorOf(socket: net.Socket): number {
  return (socket as unknown as { _handle: { fd: number } })._handle.fd;
}

test('descriptors go over a socket with a line of text, and the peer is who the system says', async () => {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), 'netmap-test-'));
  const socketPath = path.join(directory, 's');
  const object = linux.createObject('netmap-test', 4096);
  fs.writeSync(object.fd, 'shared');
  const [a, b] = linux.createLine();
  let peer: Peer | undefined;
  let request = '';
  const server = net.createServer((socket) => {
    peer = linux.peerOf(descriptorOf(socket));
    socket.once('data', (text) => {
      request = String(text);
      linux.sendDescriptors(descriptorOf(socket), 'here they are\n', [object.fd, b]);
      socket.end();
    });
  });
  await new Promise<void>((resolve) => server.listen(socketPath, resolve));
  // Receiving blocks, so it is done by another thread than the one that serves.
  const code = `
    import { linux } from ${JSON.stringify(new URL('./linux.js', import.meta.url).href)};
    import fs from 'node:fs';
    import { parentPort } from 'node:worker_threads';
    const { text, fds } = linux.receiveDescriptors(${JSON.stringify(socketPath)}, 'please', 5000);
    const bytes = new Uint8Array(6);
    fs.readSync(fds[0], bytes, 0, 6, 0);
    linux.ring(fds[1]);
    const { size } = linux.objectAt(fds[0]);
    for (const fd of fds) linux.closeFd(fd);
    parentPort.postMessage({ text, size, read: Buffer.from(bytes).toString() });`;
  const worker = new Worker(new URL(`data:text/javascript,${encodeURIComponent(code)}`), {
    trackUnmanagedFds: false,
  });
  try {
    const got = await new Promise((resolve, reject) => {
      worker.once('message', resolve).once('error', reject);
    });
    assert.deepEqual(got, { text: 'here they are\n', size: 4096, read: 'shared' });
    assert.equal(request, 'please');
    const { groups, ...who } = peer!;
    assert.deepEqual(who, { pid: process.pid, uid: process.getuid!(), gid: process.getgid!() });
    assert.deepEqual(new Set(groups), new Set([process.getgid!(), ...process.getgroups!()]));
    const rung = Buffer.alloc(8);
    assert.equal(fs.readSync(a, rung), 1, 'rung through the descriptor that went');
  } finally {
    await worker.terminate();
    server.close();
    for (const fd of [object.fd, a, b]) linux.closeFd(fd);
    fs.rmSync(directory, { recursive: true });
  }
});

test('receiving says when nobody listens, and when the other side hangs up', () => {
  assert.throws(() => linux.receiveDescriptors('/nowhere/at/all', '', 10), { code: 'ENOENT' });
  assert.throws(() => linux.receiveDescriptors(`/${'x'.repeat(108)}`, '', 10), { code: 'EINVAL' });
});
