// A thread of the module that serves the queues of NICs whose rings no other process can reach (nic/windows): between the
// driver and those who use a queue it copies descriptors, and wakes who waits for them.  It sleeps when nothing moves.

import { receiveMessageOnPort, workerData } from 'node:worker_threads';
import { NetmapError } from '../abi/errors.ts';
import * as st from '../abi/state.ts';
import { lentRuntime } from '../client/runtime.ts';
import { FRAMES_CAME, FRAMES_SENT, hang, MOVED, ServedQueue } from '../nic/windows/served-queue.ts';
import {
  ANSWERED,
  ENDING,
  type ServerAnswer,
  type ServerOrder,
  type ServerTask,
} from '../nic/windows/server.ts';
import { receivingHook } from '../nic/windows/socket.ts';
import { os } from '../os/index.ts';
import { driver } from '../os/windows/xdp-driver.ts';

const POLLIN = 1;
/** A thread that blocks for ever could not be ended with its process. */
const LONGEST_SLEEP_MS = 1000;
/** It runs no syncs, only rings bells. */
const NO_TOKEN = 0;

const { lent, bellFd, port, words } = workerData as ServerTask;
const { arena, dataPlane, bells } = lentRuntime(lent.memory, lent.system, NO_TOKEN);

interface Open {
  readonly served: ServedQueue;
  readonly krings: { readonly tx: number; readonly rx: number };
  readonly unmap: () => void;
  /** Its users were told that it is of no use any more. */
  dead: boolean;
}

const queues = new Map<number, Open>();
/** By interface: programs that drop what the host sends. */
const cuts = new Map<number, number[]>();

const orders: { [K in ServerOrder['do']]: (order: Extract<ServerOrder, { do: K }>) => unknown } = {
  open({ queue, plan, mirror, krings }) {
    const { address, size } = arena.mapOwn(mirror.fd, mirror.ino, mirror.size);
    const unmap = () => arena.unmapOwn({ address, size });
    try {
      const served = new ServedQueue(driver, plan, arena.bytes.subarray(address, address + size));
      queues.set(queue, { served, krings, unmap, dead: false });
    } catch (error) {
      unmap();
      throw error;
    }
  },
  close({ queue }) {
    const { served, unmap } = queues.get(queue)!;
    queues.delete(queue);
    served.close();
    unmap();
  },
  receive({ queue, on }) {
    queues.get(queue)!.served.receive(on);
  },
  cut({ ifIndex, queues: all, on }) {
    for (const program of cuts.get(ifIndex) ?? []) driver.close(program);
    cuts.delete(ifIndex);
    if (!on) return;
    const rules = all.map(() => 'drop' as const);
    cuts.set(ifIndex, hang(driver, ifIndex, receivingHook(true), all, rules));
  },
  count: ({ queue }) => queues.get(queue)!.served.lost,
};

function obey(order: ServerOrder): ServerAnswer {
  try {
    const value = (orders[order.do] as (order: ServerOrder) => unknown)(order);
    return { value: typeof value === 'number' ? value : 0 };
  } catch (error) {
    const code = error instanceof NetmapError ? error.code : 'EIO';
    return { value: 0, error: { code, message: (error as Error).message } };
  }
}

function wake(kring: number): void {
  if (dataPlane.wake(kring) & st.SYNC_RING_BELLS) bells.ringCollected();
}

/** Its users find an error at their next sync. */
function giveUp(open: Open): void {
  open.dead = true;
  for (const kring of [open.krings.tx, open.krings.rx]) {
    arena.view.setUint32(kring + st.KR_ORPHAN, st.ORPHAN_DETACHED, true);
    wake(kring);
  }
}

/** Does something for a queue that is alive; one that throws is not any more. */
function attempt(open: Open, what: (open: Open) => boolean): boolean {
  if (open.dead) return false;
  try {
    const done = what(open);
    if (open.served.failed) giveUp(open);
    return done;
  } catch (error) {
    if (!open.served.failed) console.error(error);
    giveUp(open);
    return false;
  }
}

/** @returns whether anything moved */
function serve({ served, krings }: Open): boolean {
  const found = served.serve();
  if (found & FRAMES_CAME) wake(krings.rx);
  if (found & FRAMES_SENT) wake(krings.tx);
  return (found & MOVED) !== 0;
}

const all = (what: (open: Open) => boolean) => [...queues.values()].map((open) => attempt(open, what));

/** Blocks until there is something to do. */
function sleep(): void {
  const asked = all(({ served }) => served.fallAsleep()).includes(true);
  if (!asked) {
    const sockets = [...queues.values()].flatMap(({ served, dead }) => (dead ? [] : served.sockets));
    const fds = new DataView(new ArrayBuffer((sockets.length + 1) * 8));
    [bellFd, ...sockets.map(({ event }) => event)].forEach((fd, i) => {
      fds.setInt32(i * 8, fd, true);
      fds.setInt16(i * 8 + 4, POLLIN, true);
    });
    os.poll(new Uint8Array(fds.buffer), sockets.length + 1, LONGEST_SLEEP_MS);
    sockets.forEach((socket, i) => {
      if (fds.getInt16((i + 1) * 8 + 6, true) !== 0) socket.wake();
    });
    os.drainBell(bellFd);
  }
  for (const { served } of queues.values()) served.wakeUp();
}

while (Atomics.load(words, ENDING) === 0) {
  const received = receiveMessageOnPort(port) as { message: ServerOrder } | undefined;
  if (received) {
    port.postMessage(obey(received.message));
    Atomics.add(words, ANSWERED, 1);
    Atomics.notify(words, ANSWERED);
    continue;
  }
  if (!all(serve).includes(true)) sleep();
}
process.exit();
