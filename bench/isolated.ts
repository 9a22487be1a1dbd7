// A sender that maps nothing but its own region and its CSB entries; a thread of the module runs its syncs.  The
// receiver is one of our own, as in two-processes.ts, and its rate counts: what isolation costs beside direct mode.
//
// This file is also what the sender runs: `isolated.js send CASE`.

import { fork } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import * as abi from '../src/abi/netmap.ts';
import * as rq from '../src/abi/requests.ts';
import { open, poll, runtimeDirectory } from '../src/client/index.ts';
import { os } from '../src/os/index.ts';
import { CSB_BYTES, CSB_KTOA, CsbProgram } from '../test/csb-program.ts';
import { ControlRequest, FrameClient } from '../test/frame-client.ts';
import type { Case } from './cases.ts';
import { Receiver } from './traffic.ts';

const SELF = fileURLToPath(import.meta.url);

/** The case that is measured in isolation too. */
export const ISOLATED_CASE: Case = {
  kind: 'vale',
  traffic: 'broadcast',
  receivers: 1,
  size: 60,
  burst: 256,
  processes: 2,
};

/** Nanoseconds per packet received, over about `ms`. */
export async function measureIsolated(work: Case, ms: number): Promise<number> {
  const port = await open('valebench4:r');
  const sender = fork(SELF, ['send', JSON.stringify(work)]);
  try {
    const receiver = new Receiver(port, work);
    await new Promise((resolve, reject) => {
      sender.once('message', resolve);
      sender.once('exit', () => reject(new Error('the isolated sender ended')));
    });
    receiver.measure(ms / 2); // Both sides are warm after this.
    return receiver.measure(ms);
  } finally {
    sender.removeAllListeners('exit');
    const ended = new Promise((resolve) => sender.once('exit', resolve));
    sender.kill('SIGKILL');
    await ended;
    await port.close();
  }
}

async function send({ size, burst }: Case): Promise<void> {
  const client = await FrameClient.connect(runtimeDirectory());
  const csb = os.createObject('netmap-bench-csb', CSB_BYTES);
  const request = ControlRequest.register('valebench4:s', {
    mode: abi.NR_REG_ALL_NIC,
    flags: abi.NR_EXCLUSIVE,
  });
  request.add(rq.NETMAP_REQ_OPT_CSB, 40, (view) => {
    view.setBigUint64(rq.CS_ATOK, BigInt(csb.fd + 1) << 32n, true);
    view.setBigUint64(rq.CS_KTOA, (BigInt(csb.fd + 1) << 32n) | BigInt(CSB_KTOA), true);
  });
  if ((await client.control(1, request)) !== 0) throw new Error('the port was refused');
  const { appended, body } = request;
  const region = os.takeObject(appended.readUInt32LE(rq.MAP_PID), appended.readUInt32LE(rq.MAP_FD));
  const program = new CsbProgram(region, csb, Number(body.getBigUint64(rq.RG_OFFSET, true)));
  // Kicked when there is work, told when there is room: three that spin would share two cores badly.
  const [kick, irq, ...idle] = Array.from({ length: 4 }, () => os.createEvent()) as [
    number,
    number,
    ...number[],
  ];
  const start = new ControlRequest(rq.NETMAP_REQ_SYNC_KLOOP_START, '');
  start.add(rq.NETMAP_REQ_OPT_SYNC_KLOOP_EVENTFDS, 40, (view) => {
    view.setBigUint64(rq.OP_SIZE, 40n, true);
    [kick, irq, ...idle].forEach((fd, i) => {
      view.setInt32(rq.OPTION_SIZE + 4 * i, fd, true);
    });
  });
  void client.control(1, start);
  await new Promise((resolve) => setImmediate(resolve));
  const frame = new Uint8Array(size).fill(0xff, 0, 6);
  frame.set([2, 0, 0, 0, 0, 1], 6);
  program.prepare(frame);
  process.send!('sending', () => {
    const room = { fd: irq, events: 'in' as const };
    for (;;) {
      const sent = program.sendPrepared(burst, size);
      if (program.txNeedsKick) os.signalEvent(kick);
      if (sent > 0) continue;
      poll([room], 10);
      os.clearEvent(irq);
    }
  });
}

const [role, work] = process.argv[1] === SELF ? process.argv.slice(2) : [];
if (role === 'send') await send(JSON.parse(work!) as Case);
