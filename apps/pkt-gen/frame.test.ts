import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { buildFrame, type FramePlan, parseMac, udpChecksum } from './frame.ts';
import { parseOptions } from './options.ts';
import { scheduleFor } from './pace.ts';
import { describeRange, parseRange } from './ranges.ts';
import { hexDump, norm, periodicLine, RttStatistics, summaryLines } from './report.ts';

const PLAN: FramePlan = {
  length: 60,
  smac: new Uint8Array(6),
  dmac: new Uint8Array(6).fill(0xff),
  src: 0x0a000001,
  dst: 0x0a010001,
  sport: 1234,
  dport: 1234,
};

function sums(plan: Partial<FramePlan>): [string, string] {
  const frame = buildFrame({ ...PLAN, ...plan });
  const view = new DataView(frame.buffer, frame.byteOffset);
  return [view.getUint16(24).toString(16), view.getUint16(40).toString(16)];
}

describe('frames (vectors of spec apps §1.5.5)', () => {
  test('the default frame, byte for byte', () => {
    const hex =
      'ffffffffffff00000000000008004510002e000040004011 26ad0a0000010a01000104d204d2001a15806e65746d617020706b742d67656e20444952';
    assert.equal(Buffer.from(buildFrame(PLAN)).toString('hex'), hex.replaceAll(' ', ''));
  });
  test('100 bytes with ports', () =>
    assert.deepEqual(sums({ length: 100, sport: 2000, dport: 53 }), ['2685', '7116']));
  test('100 bytes, default ports', () => assert.deepEqual(sums({ length: 100 }), ['2685', '6f77']));
  test('43 bytes', () => assert.deepEqual(sums({ length: 43 }), ['26be', '7435']));
  test('20 bytes: a header cut off', () => assert.equal(buildFrame({ ...PLAN, length: 20 }).length, 20));
  test('udpChecksum() agrees with what stands in the frame', () =>
    assert.equal(udpChecksum(buildFrame(PLAN)), 0x1580));
  test('MAC addresses', () => {
    assert.deepEqual([...parseMac('2:0:0:0:0:ff')], [2, 0, 0, 0, 0, 255]);
    assert.throws(() => parseMac('1:2:3'), /invalid MAC address '1:2:3'/);
  });
});

describe('ranges (spec apps §1.6)', () => {
  for (const [text, shown] of [
    ['10.0.0.1', '10.0.0.1:1234 to 10.0.0.1:1234'],
    ['10.0.0.1:5-10.0.0.2:6', '10.0.0.1:5 to 10.0.0.2:6'],
    ['10.0.0.1-10.0.0.3:1000', '10.0.0.1:1000 to 10.0.0.3:1234'],
    ['10.0.0.9-10.0.0.2', '10.0.0.2:1234 to 10.0.0.9:1234'],
  ] as const) {
    test(text, () => assert.equal(describeRange(parseRange(text)), shown));
  }
  test('what is no address is refused', () =>
    assert.throws(() => parseRange('300.1.1.1'), /no IPv4 address/));
});

describe('reports (samples of spec apps §1.14)', () => {
  const plain = { averages: false, framing: false, rawNumbers: false };
  test('norm()', () => {
    assert.deepEqual(
      [norm(14_881_000), norm(999.4), norm(14880952, true)],
      ['14.881 M', '999.400 ', '14880952 '],
    );
    assert.equal(norm(1e16), '10000.000 T');
  });
  test('periodic line', () => {
    const period = { packets: 340035, bytes: 20402100, events: 340035, us: 1001045, minSpace: 0 };
    assert.equal(
      periodicLine(period, plain),
      '339.680 Kpps (340.035 Kpkts 163.046 Mbps in 1001045 usec) 1.00 avg_batch 0 min_space',
    );
  });
  test('final lines', () => {
    const lines = summaryLines('Sent', { packets: 1000, bytes: 60000, events: 4 }, 0.5, {
      ...plain,
      framing: true,
    });
    assert.deepEqual(lines, [
      'Sent 1000 packets 60000 bytes 4 events 60 bytes each in 0.50 seconds.',
      'Speed: 2.000 Kpps Bandwidth: 960.000 Kbps (raw 1.344 Mbps). Average batch: 250.00 pkts',
    ]);
    assert.deepEqual(summaryLines('Received', { packets: 0, bytes: 0, events: 0 }, 1, plain), [
      'Received nothing.',
    ]);
  });
  test('hex dump', () => {
    const [first, last] = hexDump(buildFrame(PLAN))
      .trimEnd()
      .split('\n')
      .filter((_, i) => i % 3 === 0);
    assert.equal(first, '    0: ff ff ff ff ff ff 00 00 00 00 00 00 08 00 45 10 ..............E.');
    assert.equal(last, '   48: 20 70 6b 74 2d 67 65 6e 20 44 49 52              pkt-gen DIR');
  });
  test('round-trip times', () => {
    const rtts = new RttStatistics();
    for (const ns of [4096, 5000, 70000]) rtts.add(ns);
    assert.equal(rtts.takePeriod()[0], 'count 3 RTT: min 4096 av 26365 ns');
    assert.equal(rtts.summary(), 'RTT over 3 packets: min 4096 av 26365 ns');
  });
  test('rates are cut into bursts (spec apps §1.9)', () => {
    assert.deepEqual(scheduleFor(100, 512), { burst: 1, periodMs: 10 });
    assert.deepEqual(scheduleFor(1000, 512), { burst: 3, periodMs: 3 });
    assert.deepEqual(scheduleFor(1_000_000, 512), { burst: 512, periodMs: 0.512 });
  });
});

describe('options', () => {
  const parse = (line: string) => parseOptions(line.split(' '), { cpus: 2 });
  test('defaults', () => {
    const { fn, size, burst, waitSeconds, ifname } = parse('-i eth0');
    assert.deepEqual([fn, size, burst, waitSeconds, ifname], ['rx', 60, 512, 2, 'netmap:eth0']);
  });
  test('bundled, glued, repeated, negative', () => {
    const { dump, averages, size, minSize, affinity, burst, verbose } = parse(
      '-XA -i vale0:a -l100 -l 80 -a -1 -f ping -vv',
    );
    assert.deepEqual(
      [dump, averages, size, minSize, affinity, burst, verbose],
      [true, true, 100, 80, -1, 1, 2],
    );
  });
});
