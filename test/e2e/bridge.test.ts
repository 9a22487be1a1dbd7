// Objective: bridge forwards everything between two ports, both ways, without losing what it took.
// Operations: the program between ports of this process; frames of one and of several slots.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { open } from '../../src/client/index.ts';
import { frame, markOf, ownModule, Program, receive, run, send, using } from '../harness.ts';

ownModule();

describe('bridge', { timeout: 120_000 }, () => {
  for (const [what, a, b, inner, zeroCopy] of [
    ['two switches', 'vale0:x', 'vale1:x', ['vale0:br', 'vale1:br'], false],
    ['two pipes of one memory', 'netmap:z{1', 'netmap:z{2', ['netmap:z}1', 'netmap:z}2'], true],
    ['a switch and a pipe', 'vale2:x', 'netmap:y{1', ['vale2:br', 'netmap:y}1'], false],
  ] as const) {
    test(`between ${what}: ${zeroCopy ? 'buffers change places' : 'copied'}`, async () => {
      await using([open(a), open(b)], async (one, two) => {
        const bridge = new Program('bridge', ['-i', inner[0], '-i', inner[1]]);
        await bridge.says(/Ready to go/);
        assert.match(bridge.stderr, zeroCopy ? /zerocopy supported/ : /zerocopy NOT supported/);
        let next = 0;
        for (let turn = 0; turn < 50; turn++) {
          for (const [from, to] of [
            [one, two],
            [two, one],
          ] as const) {
            const mark = next++;
            const long = [frame({ mark, length: 2048 }), new Uint8Array(500).fill(mark)];
            send(from, [frame({ mark, src: 1 + (from === two ? 1 : 0) }), long]);
            const slots = [];
            while (slots.length < 3) {
              await to.readable({ timeoutMs: 20_000 });
              slots.push(...receive(to));
            }
            assert.deepEqual(
              slots.map(({ bytes }) => bytes.length),
              [60, 2048, 500],
            );
            assert.equal(markOf(slots[0]!.bytes), mark);
            assert.ok(slots[2]!.bytes.every((byte) => byte === mark));
          }
        }
        assert.equal((await bridge.stop()).code, 0);
      });
    });
  }

  test('bad input: one sentence each', async () => {
    for (const [args, complaint] of [
      [[], /give two/],
      [['-i', 'vale0:a', '-i', 'vale0:b', '-b', '0'], /1 to 8192 is allowed/],
      [['-i', 'vale0:a', '-i', 'vale0:b', '-w', '101'], /0 to 100 is allowed/],
      [['-i', 'vale0:a'], /host rings/],
    ] as const) {
      const { code, stderr } = await run('bridge', args);
      assert.equal(code, 1);
      assert.match(stderr, complaint);
    }
  });
});
