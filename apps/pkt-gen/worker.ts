// A worker thread of pkt-gen: attaches the port that the main thread has opened, or opens it where that is no good to
// another thread, and does one job.

import { workerData } from 'node:worker_threads';
import {
  NetmapError,
  NR_REG_ONE_NIC,
  open,
  Port,
  pinThread,
  type SharedPort,
} from '../../src/client/index.ts';
import { Board } from './board.ts';
import type { Job } from './job.ts';
import type { FunctionName, PktGenOptions } from './options.ts';
import { ping, pong } from './pingpong.ts';
import { receive } from './receiver.ts';
import { D } from './report.ts';
import { send } from './sender.ts';

export interface WorkerData {
  /** Undefined: isolated, to be opened here. */
  shared: SharedPort | undefined;
  options: PktGenOptions;
  busy: boolean;
  thread: number;
  board: SharedArrayBuffer;
  target: number;
}

const BODIES: Readonly<Record<FunctionName, (job: Job) => void>> = {
  tx: send,
  txseq: send,
  rx: receive,
  rxseq: receive,
  ping,
  pong,
};

const data = workerData as WorkerData;
const board = new Board(data.board);
try {
  const { options, thread, busy, target } = data;
  if (options.affinity >= 0) pinThread((options.affinity + thread) % options.cpus);
  const mine = options.threads > 1 ? { mode: NR_REG_ONE_NIC, ringId: thread } : {};
  const port = data.shared ? Port.attach(data.shared) : await open(options.ifname, mine);
  BODIES[options.fn]({ port, options, busy, thread, board, row: board.row(thread), target });
  await port.close();
} catch (error) {
  D(
    'main',
    `ouch, thread ${data.thread} exited with error: ${error instanceof NetmapError ? error.message : (error as Error).stack}`,
  );
  process.exitCode = 1;
  throw error;
}
