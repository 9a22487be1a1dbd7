// What a process of another user does in guest.test.ts: opens an interface and says what it has mapped; then, as told,
// holds it, waits for a frame, or writes nonsense all over its rings and has them synced.

import fs from 'node:fs';
import { open } from '../../src/client/index.ts';

const [name, what] = process.argv.slice(2) as [string, 'hold' | 'scribble' | 'wait'];
const port = await open(name);
const maps = fs
  .readFileSync('/proc/self/maps', 'utf8')
  .split('\n')
  .filter((line) => line.includes('/memfd:netmap-'))
  .map((line) => line.slice(line.indexOf('/memfd:') + 7).split(' ')[0]);
console.log(JSON.stringify({ maps, memId: port.memId }));

if (what === 'hold') setInterval(() => {}, 1000);
else if (what === 'wait') {
  await port.readable().catch(({ code, message }) => console.log(code, message));
  await port.close();
} else {
  const rings = [...port.txRings, ...port.rxRings];
  let random = 1;
  const next = () => {
    random = (Math.imul(random, 1664525) + 1013904223) >>> 0;
    return random;
  };
  for (let round = 0; ; round++) {
    for (const ring of rings) {
      // Header and slots; what is constant there, too.
      const words = new DataView(ring.bytes.buffer, ring.address, 256 + 16 * ring.numSlots);
      for (let i = 0; i < 40; i++) words.setUint32((next() % (words.byteLength / 4)) * 4, next(), true);
      for (const at of [16, 20, 24])
        words.setUint32(at, next() % (round % 3 === 0 ? 0x7fffffff : 1024), true);
      if (round % 2 === 0) ring.forwards = true;
    }
    for (const ring of port.txRings) port.txSyncRing(ring);
    for (const ring of port.rxRings) port.rxSyncRing(ring);
    if (round === 20_000) console.log('scribbled');
    if (round % 100 === 0) await new Promise((resolve) => setImmediate(resolve));
  }
}
