// pkt-gen -f ping and -f pong: round trips, a frame (or a small burst) at a time.

import { bounce, FrameTemplate, poll } from '../../src/client/index.ts';
import { placesIn, templateFrame } from './frame.ts';
import type { Job } from './job.ts';
import { Pacer, scheduleFor } from './pace.ts';
import { D, RttStatistics } from './report.ts';

const PING_POLL_MS = 3000;
const PONG_POLL_MS = 1000;
const REPORT_MS = 1000;

/** Sends requests that carry a number and the time, and measures when they come back. */
export function ping(job: Job): void {
  const { port, options, board, row, target } = job;
  const tx = port.txRings[0]!;
  const template = new FrameTemplate(port, templateFrame(options));
  const pacer = new Pacer(scheduleFor(options.rate, options.burst));
  const statistics = new RttStatistics();
  let reported = performance.now();
  row.begin();
  while (!board.cancelled && row.packets < target) {
    const budget = Math.min(
      pacer.budget(() => board.cancelled),
      target - row.packets,
    );
    let sent = 0;
    for (; sent < budget && tx.space > 0; sent++) {
      const { head } = tx;
      template.fill(tx, head, 1, { copy: true });
      stampRequest(job, head, row.packets + sent);
      tx.publish(tx.next(head));
    }
    if (sent === 0 && budget > 0) D('ping_body', '-- ouch, cannot send');
    port.txSync();
    if (sent > 0) row.count(sent, sent * (options.header + options.size));
    if (!awaitReplies(job, sent, statistics)) D('ping_body', 'poll error on queue 0: timeout');
    if (performance.now() - reported >= REPORT_MS) {
      for (const line of statistics.takePeriod()) D('ping_body', line);
      reported = performance.now();
    }
  }
  row.finish();
  D('ping_body', statistics.summary());
}

/** Number, seconds, nanoseconds: three little-endian words where the payload starts. */
function stampRequest({ port, options }: Job, slot: number, number: number): void {
  const ring = port.txRings[0]!;
  const at = ring.bufferOfs(slot) + placesIn(options).payload;
  const view = new DataView(ring.bytes.buffer, at, 12);
  const now = process.hrtime.bigint();
  view.setUint32(0, number, true);
  view.setUint32(4, Number(now / 1_000_000_000n), true);
  view.setUint32(8, Number(now % 1_000_000_000n), true);
}

/** True once as many replies as requests have come; false when the time was over. */
function awaitReplies(
  { port, busy, board, options }: Job,
  requests: number,
  statistics: RttStatistics,
): boolean {
  const deadline = performance.now() + PING_POLL_MS;
  const { payload } = placesIn(options);
  let replies = 0;
  while (replies < requests && !board.cancelled) {
    port.rxSync();
    for (const ring of port.rxRings) {
      for (let slot = ring.head; slot !== ring.tail; slot = ring.next(slot)) {
        if (ring.len(slot) < payload + 12) continue;
        const view = new DataView(ring.bytes.buffer, ring.bufferOfs(slot) + payload, 12);
        const sent = BigInt(view.getUint32(4, true)) * 1_000_000_000n + BigInt(view.getUint32(8, true));
        statistics.add(Number(process.hrtime.bigint() - sent));
        replies++;
      }
      ring.publish(ring.tail);
    }
    if (replies >= requests) break;
    if (performance.now() > deadline) return false;
    if (!busy) poll([{ port, events: 'in' }], Math.max(0, deadline - performance.now()));
  }
  port.rxSync();
  return true;
}

/** Sends every frame back with its addresses swapped. */
export function pong(job: Job): void {
  const { port, options, board, row, target } = job;
  const tx = port.txRings[0]!;
  row.begin();
  while (!board.cancelled && row.packets < target) {
    port.rxSync();
    let answered = 0;
    for (const ring of port.rxRings) {
      const count = Math.min(ring.space, tx.space);
      if (count > 0) {
        bounce(port, ring, ring.head, count, tx, tx.head, options.header);
        tx.publish(tx.after(tx.head, count));
        row.count(count, 0);
        answered += count;
      }
      // What finds no room to go back is dropped.
      ring.publish(ring.tail);
    }
    if (answered > 0 || job.busy) port.txSync();
    else if (poll([{ port, events: 'in' }], PONG_POLL_MS) === 0 && !board.cancelled) {
      D('pong_body', 'poll error on queue 0: timeout');
    }
  }
  port.txSync();
  row.finish();
}
