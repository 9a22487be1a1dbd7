// A receiver that sleeps, in a process of its own: `waiter.js PORT` tells, for each frame, how long after the
// time written in it (CLOCK_MONOTONIC, at offset 42) it was seen.

import { open, poll } from '../../src/client/index.ts';

const port = await open(process.argv[2]!);
const ring = port.rxRings[0]!;
process.send!({ ready: true });
for (;;) {
  poll([{ port, events: 'in' }]);
  const now = process.hrtime.bigint();
  const delays: number[] = [];
  for (let slot = ring.head; slot !== ring.tail; slot = ring.next(slot)) {
    const sent = new DataView(ring.bytes.buffer, ring.bufferOfs(slot) + 42, 8).getBigUint64(0, true);
    delays.push(Number(now - sent) / 1000);
  }
  ring.publish(ring.tail);
  for (const delay of delays) process.send!({ delay });
}
