// Objective: transparent mode: what is given back marked goes to the other side (spec api §2.9, ports §7.4 H7-H9).
// Operations: a machine whose interface this process has open with its host rings; the other machine pings.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { NS_FORWARD, open, type Port, poll, setParameter } from '../../src/client/index.ts';
import { ownModule, type Program, until, using } from '../harness.ts';
import { Machine, NO_NETWORK, wire } from './network.ts';

ownModule();

/** Gives everything back, marked or not, until the program has ended. */
async function turnUntilEnd(port: Port, program: Program, mark: boolean): Promise<number> {
  let ended = false;
  void program.ended.then(() => {
    ended = true;
  });
  let seen = 0;
  while (!ended) {
    poll([{ port, events: 'in' }], 20);
    for (const ring of port.rxRings) {
      for (let slot = ring.head; slot !== ring.tail; slot = ring.next(slot)) {
        if (mark) ring.setFlags(slot, NS_FORWARD);
        seen++;
      }
      ring.publish(ring.tail);
    }
    port.rxSync();
    await new Promise((resolve) => setImmediate(resolve));
  }
  return seen;
}

describe('transparent mode', { skip: NO_NETWORK, timeout: 120_000 }, () => {
  const [here, there] = NO_NETWORK ? [] : [new Machine(), new Machine()];
  if (here && there) {
    wire([here, 'v0'], [there, 'v1']);
    here.ip('addr', 'add', '10.6.0.1/24', 'dev', 'v0');
    there.ip('addr', 'add', '10.6.0.2/24', 'dev', 'v1');
    here.enter();
  }
  const ping = () => there!.start('ping', ['-c', '3', '-i', '0.2', '-W', '1', '10.6.0.1']);

  test('H7, H8: with NR_FORWARD marked frames pass both ways, and are seen', async () => {
    await using([open('netmap:v0*')], async (port) => {
      for (const ring of port.rxRings) ring.forwards = true;
      const program = ping();
      const seen = await turnUntilEnd(port, program, true);
      assert.equal((await program.ended).code, 0, program.stdout);
      assert.ok(seen >= 6, `${seen} frames seen`);
    });
  });

  test('H7: without NR_FORWARD the mark means nothing; with it, what is not marked is dropped', async () => {
    await using([open('netmap:v0*')], async (port) => {
      for (const [forwards, mark] of [
        [false, true],
        [true, false],
      ] as const) {
        for (const ring of port.rxRings) ring.forwards = forwards;
        const program = ping();
        assert.ok((await turnUntilEnd(port, program, mark)) > 0);
        assert.notEqual((await program.ended).code, 0);
      }
    });
  });

  test('with the parameter fwd everything passes, marked or not, whatever the rings say', async () => {
    await using([open('netmap:v0*')], async (port) => {
      await setParameter('fwd', 1);
      const program = ping();
      await turnUntilEnd(port, program, false);
      assert.equal((await program.ended).code, 0, program.stdout);
      await setParameter('fwd', 0);
      const again = ping();
      await turnUntilEnd(port, again, true);
      assert.notEqual((await again.ended).code, 0);
    });
    await setParameter('fwd', 1);
    await using([open('netmap:v0*@conf:host-rings=3')], async (port) => {
      const program = ping();
      await turnUntilEnd(port, program, false);
      assert.equal((await program.ended).code, 0, program.stdout);
    });
    await setParameter('fwd', 0);
  });

  test("H9: the host's frames do not leave by an opening that has not all TX rings", async () => {
    await using([open('netmap:v0/T'), open('netmap:v0^')], async (_nic, host) => {
      const [ring] = host.rxRings;
      ring!.forwards = true;
      here!.tries('ping', '-c', '1', '-W', '1', '10.6.0.2');
      await until(() => {
        host.rxSync();
        return !ring!.empty;
      }, 'a frame of the host');
      for (let slot = ring!.head; slot !== ring!.tail; slot = ring!.next(slot))
        ring!.setFlags(slot, NS_FORWARD);
      ring!.publish(ring!.tail);
      host.rxSync();
      assert.ok(host.txRings.every((tx) => !tx.pending));
    });
  });
});
