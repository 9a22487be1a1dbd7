// A thread of the module that moves frames between two ports until its descriptor becomes readable.

import { parentPort, workerData } from 'node:worker_threads';
import { Bridge } from '../client/index.ts';
import { openInternal } from '../client/open.ts';
import type { LinkTask } from '../module/links.ts';

const { directory, pass, ports, stopFd } = workerData as LinkTask;
const [a, b] = [await openInternal(ports[0], directory, pass), await openInternal(ports[1], directory, pass)];
const bridge = new Bridge(a, b);
parentPort!.postMessage('linked');
const stop = { fd: stopFd, events: 'in' as const, revents: 0 };
while (stop.revents === 0) bridge.turn(-1, [stop]);
await a.close();
await b.close();
process.exit();
