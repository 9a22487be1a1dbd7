// pkt-gen -f rx and -f rxseq.

import { poll, ReceiveTotals, type Ring } from '../../src/client/index.ts';
import type { Job } from './job.ts';
import { D, dumpSlots } from './report.ts';

const POLL_MS = 1000;

/** Receives until the target is reached, the run is cancelled or, with -W, nothing came for a second. */
export function receive(job: Job): void {
  const { port, options, board, row, target } = job;
  const checker = options.fn === 'rxseq' ? new SequenceChecker(job) : undefined;
  const totals = new ReceiveTotals(port);
  D(bodyName(job), `reading from ${options.ifname} thread ${job.thread}`);
  awaitFirst(job);
  row.begin();
  let lateSeconds = 0;
  while (!board.cancelled && row.packets < target) {
    port.rxSync();
    let found = false;
    let space = 0;
    for (const ring of port.rxRings) {
      space += ring.empty ? 0 : ring.numSlots - ring.space;
      if (ring.empty) continue;
      found = true;
      take(job, ring, totals, checker);
    }
    row.sawSpace(space);
    if (found || job.busy) continue;
    if (poll([{ port, events: 'in' }], POLL_MS) === 0 && options.exitOnIdle) {
      lateSeconds = POLL_MS / 1000;
      break;
    }
  }
  port.rxSync();
  row.finish(lateSeconds);
}

function bodyName({ options }: Job): string {
  return options.fn === 'rxseq' ? 'rxseq_body' : 'receiver_body';
}

function awaitFirst(job: Job): void {
  const { port, board } = job;
  while (!board.cancelled && poll([{ port, events: 'in' }], POLL_MS) === 0) {
    D(bodyName(job), 'waiting for initial packets, poll returns 0 0');
  }
}

function take(
  { row, options }: Job,
  ring: Ring,
  totals: ReceiveTotals,
  checker: SequenceChecker | undefined,
): void {
  const { head } = ring;
  const count = Math.min(ring.space, options.burst);
  if (options.dump) dumpSlots(ring, head, count);
  if (checker) checker.drain(ring, head, count, totals);
  else totals.drain(ring, head, count);
  ring.publish(ring.after(head, count));
  row.countTo(totals.packets, totals.bytes);
}

/** Says where numbers do not follow one another, at most twice a second. */
class SequenceChecker {
  readonly #job: Job;
  #saidAt = Number.NEGATIVE_INFINITY;
  #before = { gaps: 0, unordered: 0, short: 0, uneven: 0 };

  constructor(job: Job) {
    this.#job = job;
  }

  drain(ring: Ring, head: number, count: number, totals: ReceiveTotals): void {
    totals.drainNumbered(ring, head, count, this.#job.options.header);
    const { gaps, unordered, short, uneven, wanted, found, slots, usualSlots } = totals.sequence;
    const before = this.#before;
    this.#before = { gaps, unordered, short, uneven };
    if (gaps > before.gaps) this.#say(`Sequence GAP: exp ${wanted} found ${found}`);
    if (unordered > before.unordered) this.#say(`Sequence OUT OF ORDER: exp ${wanted} found ${found}`);
    if (uneven > before.uneven) this.#say(`Received packets with ${slots} frags, expected ${usualSlots}`);
    if (short > before.short) this.#say('packet too small to hold a sequence number');
  }

  #say(text: string): void {
    const now = performance.now();
    if (now - this.#saidAt < 500) return;
    this.#saidAt = now;
    D(bodyName(this.#job), text);
  }
}
