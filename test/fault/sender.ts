// A sender in a process of its own, for tests to kill: `sender.js PORT BURST` sends numbered frames for ever.

import { FrameTemplate, open } from '../../src/client/index.ts';

const [name, burst] = process.argv.slice(2);
const port = await open(name!);
const ring = port.txRings[0]!;
const frame = new Uint8Array(60).fill(0xff, 0, 6);
frame.set([2, 0, 0, 0, process.pid >> 8, process.pid], 6);
const template = new FrameTemplate(port, frame);
for (let slot = 0; slot < ring.numSlots; slot++) ring.put(slot, frame);
process.send!('sending');
let turns = 0;
const turn = () => {
  // A few thousand bursts, then a look at the event loop, as a program with other work would.
  for (let i = 0; i < 2000; i++) {
    const count = Math.min(ring.space, Number(burst));
    if (count > 0) {
      const { head } = ring;
      template.fillNumbered(ring, head, count, turns);
      turns += count;
      ring.publish(ring.after(head, count));
    }
    port.txSync();
  }
  setImmediate(turn);
};
turn();
