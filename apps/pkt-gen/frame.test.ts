import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { buildFrame, type FramePlan, udpChecksum } from './frame.ts';
import { parseMac } from './mac.ts';
import { parseOptions } from './options.ts';
import { scheduleFor } from './pace.ts';
import { describeRange, parseRange } from './ranges.ts';
import { hexDump, norm, periodicLine, RttStatistics, summaryLines } from './report.ts';
import { fragments } from './sender.ts';

const PLAN: FramePlan = {
  family: 4,
  length: 60,
  smac: new Uint8Array(6),
  dmac: new Uint8Array(6).fill(0xff),
  src: Uint8Array.of(10, 0, 0, 1),
  dst: Uint8Array.of(10, 1, 0, 1),
  sport: 1234,
  dport: 1234,
};

/** 2001:db8::LAST */
function v6(last: number): Uint8Array {
  return Uint8Array.of(0x20, 0x01, 0x0d, 0xb8, ...new Uint8Array(11), last);
}

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
  test('80 bytes of IPv6', () => {
    const plan = { family: 6, length: 80, src: v6(1), dst: v6(2) } as const;
    const frame = buildFrame({ ...PLAN, ...plan });
    assert.equal(
      Buffer.from(frame.subarray(12, 62)).toString('hex'),
      `86dd60000000001a1140${'20010db8'}${'0'.repeat(23)}1${'20010db8'}${'0'.repeat(23)}204d204d2001ace0d`,
    );
    assert.equal(udpChecksum(frame, 6), 0xce0d);
  });
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
  for (const [text, shown] of [
    ['fd00::1', '7@[fd00::1]:1234 to 7@[fd00::1]:1234'],
    ['[fd00::1]:5-[fd00::9]:6', '7@[fd00::1]:5 to 7@[fd00::9]:6'],
    ['3@fd00::1-fd00:0:0:ff::2', '3@[fd00::1]:1234 to 3@[fd00:0:0:ff::1]:1234'],
    ['12@::ffff:1.2.3.4', '7@[::ffff:1.2.3.4]:1234 to 7@[::ffff:1.2.3.4]:1234'],
  ] as const)
    test(text, () => assert.equal(describeRange(parseRange(text, 6)), shown));

  test('what is no address is refused', () => {
    assert.throws(() => parseRange('300.1.1.1'), /no IPv4 address/);
    assert.throws(() => parseRange('10.0.0.1:99999'), /port 99999 is none of 0 to 65535/);
    assert.throws(() => parseRange('10.0.0.1', 6), /no IPv6 address/);
    assert.throws(() => parseRange('fd00::1:5]', 6), /no IPv6 address/);
    assert.throws(() => parseRange('1@fd00::1-2@fd00::2', 6), /count the same group/);
  });
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

test('a packet is spread over slots (spec apps §1.7)', () => {
  const spread = (length: number, frags: number, most = Number.POSITIVE_INFINITY, bufSize = 2048) => {
    const { part, slots } = fragments(length, { frags, mostPerSlot: most }, bufSize);
    return [slots, part, length - (slots - 1) * part];
  };
  assert.deepEqual(spread(60, 1), [1, 60, 60]);
  assert.deepEqual(spread(100, 3), [3, 33, 34]);
  assert.deepEqual(spread(9000, 1), [5, 1800, 1800]);
  assert.deepEqual(spread(100, 1, 30), [4, 25, 25]);
  assert.deepEqual(spread(4097, 2), [3, 1365, 1367]);
  assert.deepEqual(spread(16, 63), [16, 1, 1]);
});

describe('options', () => {
  const parse = (line: string) => parseOptions(line.split(' '), { cpus: 2 });
  test('defaults', () => {
    const { fn, size, burst, waitSeconds, ifname } = parse('-i eth0');
    assert.deepEqual([fn, size, burst, waitSeconds, ifname], ['rx', 60, 512, 2, 'netmap:eth0']);
  });
  test('-4 and -6: the last one holds', () => {
    assert.equal(parse('-i vale0:a -6').family, 6);
    assert.equal(parse('-i vale0:a -6 -4').family, 4);
    assert.equal(parse('-X -6 -i vale0:a').family, 6);
  });
  test('-C, -o', () => {
    assert.deepEqual(parse('-i vale0:a -C 512,256,2').sizes, {
      txSlots: 512,
      rxSlots: 256,
      txRings: 2,
      rxRings: 2,
    });
    const { copy, update, dump, rubbish, random } = parse('-i vale0:a -o 4932');
    assert.deepEqual([copy, update, dump, rubbish, random], [true, true, true, true, [true, false]]);
    assert.throws(() => parse('-i vale0:a -o 32'), /indirect buffers/);
    assert.throws(() => parse('-i vale0:a -o 128'), /there are no bits 128/);
    assert.throws(() => parse('-i vale0:a -C 1,2,x'), /bad -C 1,2,x/);
    assert.throws(() => parse('-i vale0:a -H 11'), /-H takes 0, 10 or 12/);
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
