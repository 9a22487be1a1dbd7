// Objective: port names parse as libnetmap parses them: the tables of spec api §4.4, ports §7.6, apps §9.5.5.
// Operations: parsePortName() on each row; fields or the exact message.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import { formatPortName, NetmapError, parsePortName } from '../../src/client/index.ts';

const [ALL, SW, NIC_SW, ONE, ONE_SW] = [1, 2, 3, 4, 8];

const ACCEPTED: readonly [
  string,
  { name: string; mode?: number; ring?: number; flags?: number; memId?: number },
][] = [
  ['netmap:eth0', { name: 'eth0' }],
  ['netmap:eth0-1', { name: 'eth0', mode: ONE, ring: 1 }],
  ['netmap:eth0-4094', { name: 'eth0', mode: ONE, ring: 4094 }],
  ['netmap:eth0-1/x', { name: 'eth0', mode: ONE, ring: 1, flags: 0x800 }],
  ['netmap:eth0-2/Tx', { name: 'eth0', mode: ONE, ring: 2, flags: 0x4800 }],
  ['netmap:eth0*', { name: 'eth0', mode: NIC_SW }],
  ['netmap:eth0*@2/x', { name: 'eth0', mode: NIC_SW, memId: 2, flags: 0x800 }],
  ['netmap:eth0^', { name: 'eth0', mode: SW }],
  ['netmap:eth0^3', { name: 'eth0', mode: ONE_SW, ring: 3 }],
  ['netmap:eth0^3/xR', { name: 'eth0', mode: ONE_SW, ring: 3, flags: 0x2800 }],
  ['netmap:eth0^@2', { name: 'eth0', mode: SW, memId: 2 }],
  ['netmap:eth0/x', { name: 'eth0', flags: 0x800 }],
  ['netmap:eth0/z', { name: 'eth0', flags: 0x400 }],
  ['netmap:eth0/r', { name: 'eth0', flags: 0x200 }],
  ['netmap:eth0/t', { name: 'eth0', flags: 0x100 }],
  ['netmap:eth0/xztrRT', { name: 'eth0', flags: 0x6f00 }],
  ['netmap:eth0@2', { name: 'eth0', memId: 2 }],
  ['netmap:eth0@2@2', { name: 'eth0', memId: 2 }],
  ['netmap:eth0/R@2', { name: 'eth0', memId: 2, flags: 0x2000 }],
  ['netmap:eth0@2/R', { name: 'eth0', memId: 2, flags: 0x2000 }],
  ['netmap:eth0@2/R@2', { name: 'eth0', memId: 2, flags: 0x2000 }],
  ['netmap:{x', { name: '{x' }],
  ['netmap:x{1', { name: 'x{1' }],
  ['netmap:x}1', { name: 'x}1' }],
  ['netmap:x{abc_1', { name: 'x{abc_1' }],
  ['netmap:x{in-7', { name: 'x{in', mode: ONE, ring: 7 }],
  ['netmap:x{1*', { name: 'x{1', mode: NIC_SW }],
  ['netmap:eth0+', { name: 'eth0+' }],
  ['netmap:eth0&', { name: 'eth0&' }],
  ['netmap:eth0.100', { name: 'eth0.100' }],
  ['netmap:eth0:1', { name: 'eth0:1' }],
  ['netmap:vale0:0', { name: 'vale0:0' }],
  ['netmap:14', { name: '14' }],
  ['vale0:0', { name: 'vale0:0' }],
  ['vale:0', { name: 'vale:0' }],
  ['vale:', { name: 'vale:' }],
  ['vale0:', { name: 'vale0:' }],
  ['valeXXX:YYY-4', { name: 'valeXXX:YYY', mode: ONE, ring: 4 }],
  ['vale0:a.b', { name: 'vale0:a.b' }],
  ['vale0:0{0', { name: 'vale0:0{0' }],
  [`vale0:${'x'.repeat(57)}`, { name: `vale0:${'x'.repeat(57)}` }],
];

const REFUSED: readonly [string, string, string?][] = [
  ['netmap:eth0-4095', "'4095' out of range [0, 4095)"],
  ['netmap:eth0-', 'unexpected end of request'],
  ['netmap:eth0-x', "got 'x' while expecting a number"],
  ['netmap:eth0-1-2', "unexpected character: '-'"],
  ['netmap:eth0*3', "unexpected character: '3'"],
  ['netmap:eth0^^', "unexpected character: '^'"],
  ['netmap:eth0/', 'unexpected end of request'],
  ['netmap:eth0-1/', 'unexpected end of request'],
  ['netmap:eth0/q', "unrecognized flag: 'q'"],
  ['netmap:eth0/x/t', "unrecognized flag: '/'"],
  ['netmap:eth0@0', "invalid mem_id: '0'"],
  ['netmap:eth0@', 'invalid empty mem_id'],
  ['netmap:eth0@2@3', 'invalid setting of mem_id to 3 (already set to 2)'],
  ['netmap:eth0@2/R@3', 'invalid setting of mem_id to 3 (already set to 2)'],
  ['netmap:', 'netmap:: invalid empty port name'],
  ['netmap:^', 'netmap:^: invalid empty port name'],
  ['netmap:x{', 'netmap:x{: invalid empty pipe name'],
  ['netmap:{', 'netmap:{: invalid empty pipe name'],
  ['netmap:x{1}2', "netmap:x{1}2: invalid pipe name '1}2'"],
  ['netmap:x{1.2', "netmap:x{1.2: invalid pipe name '1.2'"],
  ['netmapXXX:eth0', "netmapXXX:eth0: no identifier allowed between 'netmap' and ':'"],
  ['netmap', "netmap: missing ':'"],
  ['vale0', "vale0: missing ':'"],
  ['eth0', 'eth0: invalid request, prefix unknown or missing'],
  ['', ': invalid request, prefix unknown or missing'],
  ['valx:1', 'valx:1: invalid request, prefix unknown or missing'],
  ['vale-1:a', "vale-1:a: invalid identifier '-1'"],
  ['vale0:a-b', "got 'b' while expecting a number"],
  ['vale0:0@conf:rings=1@3', "unknown option: '3'"],
  ['vale0:0@conf=3', "syntax error: '=' not valid after 'conf'"],
  ['vale0:0@conf', "syntax error: missing body after 'conf'"],
  ['vale0:0@conf:bogus=1', "unknown key: 'bogus'"],
  ['vale0:0@conf:rings=1,rings=2', "option 'conf': duplicate key 'rings', already set to '1'"],
  ['vale0:0@conf:rings', "option 'conf': missing '=value' for key 'rings'"],
  ['vale0:0@@conf:rings=1', 'invalid empty option'],
  ['vale0:0@extmem=', "missing value for option 'extmem'"],
  ['vale0:0@extmem:buf-num=1', "option 'extmem': mandatory key 'file' not assigned"],
  ['vale0:0@offset=4', "option 'offset' is not supported", 'EOPNOTSUPP'],
  ['vale0:0@opt', "unknown option: 'opt'"],
];

describe('accepted', () => {
  for (const [text, { name, mode = ALL, ring = 0, flags = 0, memId = 0 }] of ACCEPTED) {
    test(`${text} is ${name}, mode ${mode}, ring ${ring}, flags 0x${flags.toString(16)}, memory ${memId}`, () => {
      const parsed = parsePortName(text);
      assert.deepEqual(
        [parsed.name, parsed.mode, parsed.ringId, parsed.flags, parsed.memId],
        [name, mode, ring, flags, memId],
      );
    });
  }

  for (const [text, conf] of [
    ['vale0:0@conf:rings=3,slots=512', { txRings: 3, rxRings: 3, txSlots: 512, rxSlots: 512 }],
    ['vale0:0@conf:rings=4,rx-rings=2', { txRings: 4, rxRings: 2, txSlots: 0, rxSlots: 0 }],
    ['vale0:0@3@conf:rings=1', { txRings: 1, rxRings: 1, txSlots: 0, rxSlots: 0 }],
    ['vale0:0@conf:rings=1@conf:slots=2', { txRings: 1, rxRings: 1, txSlots: 2, rxSlots: 2 }],
    ['vale0:0@conf:', { txRings: 0, rxRings: 0, txSlots: 0, rxSlots: 0 }],
    ['vale0:0@conf:rings=', { txRings: 0, rxRings: 0, txSlots: 0, rxSlots: 0 }],
    [
      'netmap:x@conf:rings=2,tx-slots=100,slots=64,host-rings=3,host-rx-rings=1',
      { txRings: 2, rxRings: 2, txSlots: 100, rxSlots: 64 },
    ],
  ] as const) {
    test(`${text} asks for ${JSON.stringify(conf)}`, () => {
      const { txRings, rxRings, txSlots, rxSlots } = parsePortName(text).options.conf;
      assert.deepEqual({ txRings, rxRings, txSlots, rxSlots }, conf);
    });
  }
});

describe('refused', () => {
  for (const [text, message, code = 'EINVAL'] of REFUSED) {
    test(`"${text}": ${message}`, () => assert.throws(() => parsePortName(text), { code, message }));
  }
  test('differs: netmap:eth0@65537 is refused, where libnetmap cuts it to 1', () => {
    assert.throws(() => parsePortName('netmap:eth0@65537'), { code: 'EINVAL' });
  });
  test('a name of 64 characters is too long', () => {
    assert.throws(() => parsePortName(`vale0:${'x'.repeat(58)}`), /^NetmapError: name '.*' too long/);
  });
});

/** Seeded: a failure prints the seed, and FC_SEED=... repeats it. */
const seed = process.env['FC_SEED'] === undefined ? {} : { seed: Number(process.env['FC_SEED']) };

describe('whatever is typed', () => {
  test('gives a name or a NetmapError, and what was accepted is written back as it was read', () => {
    const piece = fc.constantFrom(
      'netmap',
      'vale',
      ':',
      '0',
      'eth0',
      '{',
      '}',
      '-',
      '*',
      '^',
      '/',
      '@',
      'x',
      'conf',
      '=',
      ',',
      '1',
      '70000',
    );
    const text = fc.oneof(
      fc.string(),
      fc.array(piece, { maxLength: 10 }).map((pieces) => pieces.join('')),
    );
    fc.assert(
      fc.property(text, (typed) => {
        try {
          const parsed = parsePortName(typed);
          assert.deepEqual(parsePortName(formatPortName(parsed)), parsed);
        } catch (error) {
          assert.ok(error instanceof NetmapError, `${error} (repeat with FC_SEED=<seed above> make test)`);
        }
      }),
      { numRuns: 5000, ...seed },
    );
  });
});
