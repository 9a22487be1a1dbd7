// A thread of the module that moves frames between pairs of ports, as it is told to.

import { parentPort, receiveMessageOnPort, workerData } from 'node:worker_threads';
import { Bridge, type FdTarget, pinThread, poll } from '../client/index.ts';
import { openInternal } from '../client/open.ts';
import type { LinkOrder, LinkTask } from '../module/links.ts';
import type { OrderDone } from '../module/thread.ts';
import { os } from '../os/index.ts';

const { directory, pass, pairs, cpu, controlFd } = workerData as LinkTask;
if (cpu !== undefined) pinThread(cpu);
const bridges: Bridge[] = [];
for (const [a, b] of pairs)
  bridges.push(new Bridge(await openInternal(a, directory, pass), await openInternal(b, directory, pass)));
let served: readonly Bridge[] = [];

/** Moves frames until there is an order; between frames it sleeps, but on a CPU of its own. */
function moveUntilOrdered(): void {
  const ordered: FdTarget = { fd: controlFd, events: 'in', revents: 0 };
  const sleepMs = cpu === undefined || served.length === 0 ? -1 : 0;
  while (!ordered.revents) {
    poll([...served.flatMap((bridge) => bridge.targets()), ordered], sleepMs);
    for (const bridge of served) bridge.move();
    // An interface that is gone would end every sleep at once; its port stays on the switch until it is detached.
    if (served.some(isDead)) served = served.filter((bridge) => !isDead(bridge));
  }
  os.drainBell(controlFd);
}

function isDead({ ports }: Bridge): boolean {
  return ports.some((port) => port.dead !== undefined);
}

async function end(): Promise<never> {
  for (const port of bridges.flatMap(({ ports }) => ports)) await port.close();
  process.exit();
}

for (;;) {
  const received = receiveMessageOnPort(parentPort!) as { message: LinkOrder } | undefined;
  if (!received) {
    moveUntilOrdered();
    continue;
  }
  const order = received.message;
  if (order.do === 'end') await end();
  else served = order.pairs.map((i) => bridges[i]!);
  parentPort!.postMessage({ id: order.id } satisfies OrderDone);
}
