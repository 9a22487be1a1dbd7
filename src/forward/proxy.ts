// A thread of the module that runs the syncs of one registration: on request, or in a loop on CSB memory
// (spec api §6.4).  In the loop the client's head and cur come from its entries, what the syncs achieve goes back
// there; the words of the rings themselves are used on the way.

import { parentPort, workerData } from 'node:worker_threads';
import * as abi from '../abi/netmap.ts';
import * as rq from '../abi/requests.ts';
import * as st from '../abi/state.ts';
import { type FdTarget, type PollTarget, type Port, poll, type Ring } from '../client/index.ts';
import { openInternal } from '../client/open.ts';
import type { LoopTask, Order, ProxyTask } from '../module/proxies.ts';
import { os } from '../os/index.ts';

/** Longest sleep of a loop that waits for events. */
const LONGEST_MS = 3000;
/** Where frames wait for the client to have room, it is looked for them again soon. */
const SOON_MS = 1;
/** Rounds without anything new after which a ring is left. */
const PATIENCE = 2;

const { directory, pass, name, request, stopFd } = workerData as ProxyTask;
const { mode, ringId, flags } = request;
const port = await openInternal({ name, mode, ringId, flags: flags & ~abi.NR_EXCLUSIVE }, directory, pass);

parentPort!.on('message', async (order: Order) => {
  switch (order.do) {
    case 'tx':
      port.txSync();
      break;
    case 'rx':
      port.rxSync();
      break;
    case 'loop':
      loop(port, order.task);
      break;
    case 'end':
      await port.close();
      process.exit();
  }
  parentPort!.postMessage(order.id);
});
parentPort!.postMessage(0);

/** One ring and its two entries. */
interface Lane {
  ring: Ring;
  sync(): void;
  /** Words of the entries. */
  atok: number;
  ktoa: number;
  kick: FdTarget | undefined;
  irq: number;
  transmits: boolean;
}

function loop(port: Port, { atok, ktoa, sleepUs, events }: LoopTask): void {
  const { arena } = port.runtime;
  const a = arena.mapOwn(atok.object.fd, atok.object.ino, atok.object.size);
  const k = arena.mapOwn(ktoa.object.fd, ktoa.object.ino, ktoa.object.size);
  try {
    const lane = (ring: Ring, nth: number, transmits: boolean): Lane => ({
      ring,
      sync: () => void (transmits ? port.txSyncRing(ring) : port.rxSyncRing(ring)),
      atok: (a.address + atok.ofs + nth * rq.CSB_ENTRY) >> 2,
      ktoa: (k.address + ktoa.ofs + nth * rq.CSB_ENTRY) >> 2,
      kick: events[nth] && events[nth].kick >= 0 ? { fd: events[nth].kick, events: 'in' } : undefined,
      irq: events[nth]?.irq ?? -1,
      transmits,
    });
    const lanes = [
      ...port.txRings.map((ring, i) => lane(ring, i, true)),
      ...port.rxRings.map((ring, i) => lane(ring, port.txRings.length + i, false)),
    ];
    const kicks = lanes.flatMap(({ kick }) => kick ?? []);
    const waits = lanes.length > 0 && kicks.length === lanes.length;
    const stop: FdTarget = { fd: stopFd, events: 'in', revents: 0 };
    do {
      for (const lane of lanes) serve(arena.words, arena.view, lane, waits);
      if (waits) {
        poll([...whatToWaitFor(port, lanes), ...kicks, stop], sleepLimit(lanes));
        for (const { fd } of kicks) os.clearEvent(fd);
      } else {
        poll([stop], sleepUs / 1000);
      }
    } while (!stop.revents);
    os.drainBell(stopFd);
  } finally {
    arena.unmapOwn(a);
    arena.unmapOwn(k);
  }
}

/** Takes what the client has published, syncs, publishes what came of it; once more while something moves. */
function serve(words: Int32Array, view: DataView, lane: Lane, waits: boolean): void {
  const { ring, atok, ktoa } = lane;
  let idle = 0;
  Atomics.store(words, ktoa + rq.CSB_KERN_NEED_KICK / 4, 0);
  for (;;) {
    // head before cur: the client may have published more in between, never less.
    const head = Atomics.load(words, atok + rq.CSB_HEAD / 4);
    const cur = Atomics.load(words, atok + rq.CSB_CUR / 4);
    const before = Atomics.load(words, ktoa + rq.CSB_HWTAIL / 4);
    ring.publish(head >>> 0);
    ring.setCur(cur >>> 0);
    lane.sync();
    const hwtail = view.getUint32(ring.kring + st.KR_HWTAIL, true);
    Atomics.store(words, ktoa + rq.CSB_HWCUR / 4, view.getUint32(ring.kring + st.KR_HWCUR, true));
    Atomics.store(words, ktoa + rq.CSB_HWTAIL / 4, hwtail);
    const moved = hwtail !== before >>> 0;
    if (moved && lane.irq >= 0 && Atomics.load(words, atok + rq.CSB_APPL_NEED_KICK / 4) !== 0)
      os.signalEvent(lane.irq);
    idle = moved ? 0 : idle + 1;
    if (Atomics.load(words, atok + rq.CSB_HEAD / 4) !== head) continue;
    if (!lane.transmits && idle < PATIENCE) continue;
    if (!waits) return;
    Atomics.store(words, ktoa + rq.CSB_KERN_NEED_KICK / 4, 1);
    if (Atomics.load(words, atok + rq.CSB_HEAD / 4) === head) return;
    Atomics.store(words, ktoa + rq.CSB_KERN_NEED_KICK / 4, 0);
  }
}

/** New frames wake the loop only where the client has read those before; else it is the client that kicks. */
function whatToWaitFor(port: Port, lanes: readonly Lane[]): PollTarget[] {
  return lanes.some((lane) => !lane.transmits) && !unread(lanes) ? [{ port, events: 'in' }] : [];
}

function sleepLimit(lanes: readonly Lane[]): number {
  return unread(lanes) || lanes.some(({ transmits, ring }) => transmits && ring.empty) ? SOON_MS : LONGEST_MS;
}

function unread(lanes: readonly Lane[]): boolean {
  return lanes.some(({ transmits, ring }) => !transmits && !ring.empty);
}
