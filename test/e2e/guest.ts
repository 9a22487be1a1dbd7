// What a process of another user does in guest.test.ts: opens a port, says what it has mapped, answers frames, tries what
// it must not.

import fs from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import * as nm from '../../src/client/index.ts';

const directory = nm.runtimeDirectory();

/** The errno of what is refused, '' for what is not. */
async function codeOf(attempt: () => Promise<unknown>): Promise<string> {
  try {
    await attempt();
    return '';
  } catch (error) {
    return (error as nm.NetmapError).code;
  }
}

/** The errno that a line sent as it is gets for an answer. */
function ask(line: object | Buffer): Promise<string> {
  return new Promise((resolve) => {
    const socket = net.connect(path.join(directory, 'netmapd.sock'));
    socket.on('error', () => resolve('hung up'));
    socket.on('data', (text) => {
      resolve((JSON.parse(String(text)) as { error?: { code: string } }).error?.code ?? '');
      socket.destroy();
    });
    socket.write(Buffer.isBuffer(line) ? line : `${JSON.stringify(line)}\n`);
  });
}

const none = { txRings: 0, rxRings: 0, txSlots: 0, rxSlots: 0, extraBufs: 0 };
const register = { name: 'vale0:direct', mode: 1, ringId: 0, flags: 0, memId: 0, ...none };
const frames = Buffer.alloc(24);
frames.writeUInt32LE(0x51524d4e, 0);
frames.writeUInt32LE(24, 4);

const port = await nm.open('vale0:guest');
const refused = {
  unload: await codeOf(() => nm.unload({ force: true })),
  status: await codeOf(() => nm.status()),
  direct: await ask({ id: 1, op: 'register', ...register }),
  parameter: await ask({ id: 1, op: 'setParameter', parameter: 'bridge_batch', value: 0 }),
  attach: await ask({ id: 1, op: 'valeAttach', name: 'vale0:x', mode: 1, ringId: 0, memId: 0 }),
  newIf: await ask({ id: 1, op: 'valeNewIf', name: 'x', ...none, memId: 0 }),
  lookup: await ask({ id: 1, op: 'valeLookupClear', name: 'vale0' }),
  ticket: await ask({ id: 1, op: 'collect', ticket: 'guessed' }),
  frames: await ask(frames),
  samePort: await codeOf(() => nm.open('vale0:owner')),
  memoryOfOwner: await codeOf(() => nm.open(`vale0:other@${process.argv[2]}`)),
  memoryOfInterfaces: await codeOf(() => nm.open('vale0:other@1')),
  memoryOfPersistent: await codeOf(() => nm.open(`vale0:other@${process.argv[3]}`)),
  pipeOfPersistent: await codeOf(() => nm.open('netmap:kept{1')),
  monitor: await codeOf(() => nm.open('vale0:owner/t')),
  direct2: await codeOf(() => nm.open('vale0:direct2', { isolated: false })),
};
const maps = fs
  .readFileSync('/proc/self/maps', 'utf8')
  .split('\n')
  .filter((line) => line.includes('/memfd:netmap-'))
  .map((line) => line.slice(line.indexOf('/memfd:') + 7).split(' ')[0]);
process.send!({ uid: process.getuid!(), refused, maps });

for await (const ring of port.batches()) {
  const tx = port.txRings[0]!;
  let slot = tx.head;
  for (let at = ring.head; at !== ring.tail; at = ring.next(at)) {
    const bytes = ring.frame(at).slice();
    bytes.set(bytes.slice(6, 12), 0);
    bytes[11] = 99;
    tx.put(slot, bytes);
    slot = tx.next(slot);
  }
  ring.publish(ring.tail);
  tx.publish(slot);
  port.txSync();
}
