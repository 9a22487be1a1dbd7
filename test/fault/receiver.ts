// A receiver in a process of its own, for tests to kill or to ask: answers "count" with the packets seen so far.

import { open, ReceiveTotals } from '../../src/client/index.ts';

const [name] = process.argv.slice(2);
const port = await open(name!);
const totals = new ReceiveTotals(port);
process.on('message', () => process.send!({ packets: totals.packets }));
process.send!('receiving');
const turn = () => {
  for (let i = 0; i < 2000; i++) {
    port.rxSync();
    for (const ring of port.rxRings) {
      const count = ring.space;
      if (count === 0) continue;
      totals.drain(ring, ring.head, count);
      ring.publish(ring.tail);
    }
  }
  setImmediate(turn);
};
turn();
