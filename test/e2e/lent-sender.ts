// A worker that was lent a port: sends `count` frames numbered from mark * 1000000 on its TX ring.  With `lock`,
// it shares the ring with others, and fills it only while it holds the lock.

import { workerData } from 'node:worker_threads';
import { Port, type SharedPort } from '../../src/client/index.ts';
import { frame } from '../harness.ts';

interface Task {
  shared: SharedPort;
  count: number;
  mark: number;
  lock?: Int32Array;
}

const { shared, count, mark, lock } = workerData as Task;
const port = Port.attach(shared);
const ring = port.txRings[0]!;
let sent = 0;
while (sent < count) {
  if (lock) while (Atomics.compareExchange(lock, 0, 0, 1) !== 0) Atomics.wait(lock, 0, 1, 1);
  port.txSync();
  for (; ring.space > 0 && sent < count; ring.publish(ring.next(ring.head)))
    ring.put(ring.head, frame({ mark: mark * 1_000_000 + sent++ }));
  port.txSync();
  if (lock) {
    Atomics.store(lock, 0, 0);
    Atomics.notify(lock, 0);
  }
}
