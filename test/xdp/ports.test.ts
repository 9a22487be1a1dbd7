// Objective: netmap:ethN and its host rings over XDP-for-Windows, by everything of ours: module, the thread that serves the
// queues, data plane, client, programs. Only the driver is not the real one, nor the interfaces (fake-driver.ts).
// Operations: two adapters joined by a wire, a host stack behind each that answers; on Linux and on Windows alike.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { load, open, type Port, poll, portInfo, setParameter, status } from '../../src/client/index.ts';
import { ownModule, Program, receive, refuses, run, send, stage, until, using } from '../harness.ts';
import { ECHO, REPLY, REQUEST, UNPLUG } from './fake-machine.ts';

ownModule();
process.env['NODE_OPTIONS'] = `--import ${new URL('./substitute.js', import.meta.url)}`;

const MACS = { 101: 0x65, 102: 0x66 };

/** A frame from the interface of an index to another's. */
function ether({ to = 102, type = 0x0800, op = 0, queue = 0, mark = 0, length = 60 } = {}): Uint8Array {
  const bytes = new Uint8Array(length);
  const last = (index: number) => MACS[index as 101 | 102];
  bytes.set([2, 0, 0, 0, 0, last(to), 2, 0, 0, 0, 0, last(to === 101 ? 102 : 101), type >> 8, type & 0xff]);
  bytes.set([op, queue], 14);
  new DataView(bytes.buffer).setUint32(16, mark);
  for (let i = 20; i < length; i++) bytes[i] = mark + i;
  return bytes;
}

const markIn = (bytes: Uint8Array) => new DataView(bytes.buffer, bytes.byteOffset).getUint32(16);

/** Takes `count` frames of a port's rings, waiting for them. */
async function take(port: Port, count: number): Promise<Uint8Array[]> {
  const taken: Uint8Array[] = [];
  while (taken.length < count) {
    await port.readable({ timeoutMs: 20_000 });
    const got = port.rxRings.flatMap((_, i) => receive(port, i));
    assert.ok(got.length > 0, `${taken.length} of ${count} frames came`);
    taken.push(...got.map(({ bytes }) => bytes));
  }
  return taken;
}

/** That nothing comes: what is sent afterwards by the same way is the first that does. */
async function onlyLast(port: Port, sender: Port): Promise<void> {
  send(sender, [ether({ mark: 9999 })]);
  assert.deepEqual((await take(port, 1)).map(markIn), [9999]);
}

describe('netmap:ethN', { timeout: 300_000 }, () => {
  test('is found by index and by name, with the queues that the driver has', async () => {
    for (const name of ['netmap:eth102', 'netmap:Ethernet 2']) {
      const { txRings, rxRings, memId } = await portInfo(name);
      assert.deepEqual([txRings, rxRings, memId], [2, 2, 1]);
      await using([open(name)], async (port) => {
        assert.equal(port.txRings.length, 2);
        assert.equal((await status()).ports[0]!.name, 'Ethernet 2');
        assert.equal(port.nic!.mode, 'generic');
        assert.match(port.nic!.why, /generic mode/);
      });
    }
    await refuses(open('netmap:eth7'), 'ENXIO', /no network interface/);
    await refuses(open('netmap:eth103'), 'EINVAL', /MTU of 9000/);
    await setParameter('admode', 1);
    await refuses(open('netmap:eth101'), 'EOPNOTSUPP', /set admode to 0 or 2/);
    await setParameter('admode', 0);
  });

  test('frames of every length arrive as they were sent, in order, on the ring of the same number', async () => {
    await using([open('netmap:eth101'), open('netmap:eth102')], async (a, b) => {
      for (const ring of [0, 1]) {
        const sent = Array.from({ length: 700 }, (_, i) =>
          ether({ mark: i, length: 60 + ((i * 37) % 1455) }),
        );
        send(a, sent, ring);
        const got: Uint8Array[] = [];
        while (got.length < sent.length) {
          await b.readable({ timeoutMs: 20_000 });
          assert.equal(receive(b, 1 - ring).length, 0);
          got.push(...receive(b, ring).map(({ bytes }) => bytes));
        }
        assert.equal(got.length, sent.length);
        sent.forEach((frame, i) => {
          assert.deepEqual(got[i], frame, `frame ${i}`);
        });
      }
    });
  });

  test('both ways, many times around the rings: no buffer is lost', async () => {
    await using([open('netmap:eth101-0'), open('netmap:eth102-0')], async (a, b) => {
      for (let turn = 0; turn < 60; turn++) {
        for (const [from, to] of [
          [a, b],
          [b, a],
        ] as const) {
          const frames = Array.from({ length: 100 }, (_, i) => ether({ mark: turn * 100 + i }));
          while (from.txRings[0]!.space < frames.length) {
            poll([{ port: from, events: 'out' }], 1000);
            from.txSync();
          }
          send(from, frames);
          assert.deepEqual(
            (await take(to, 100)).map(markIn),
            frames.map((_, i) => turn * 100 + i),
          );
        }
      }
      await until(() => {
        a.txSync();
        return a.txRings[0]!.space === a.txRings[0]!.numSlots - 1;
      }, 'every slot to come back');
    });
  });

  test('poll() sleeps until a frame comes, and until there is room', async () => {
    await using([open('netmap:eth101-0'), open('netmap:eth102-0')], async (a, b) => {
      assert.equal(poll([{ port: b, events: 'in' }], 1.5), 0);
      send(a, [ether({ mark: 1 })]);
      assert.equal(poll([{ port: b, events: 'in' }], 20_000), 1);
      assert.deepEqual((await take(b, 1)).map(markIn), [1]);
      const all = a.txRings[0]!.space;
      stage(
        a,
        Array.from({ length: all }, (_, i) => ether({ mark: i })),
      );
      let sent = 0;
      while (sent < all) {
        assert.equal(poll([{ port: a, events: 'out' }], 20_000), 1);
        receive(b);
        sent = a.txRings[0]!.space;
      }
    });
  });

  test('what the driver would not send is dropped and counted, and nothing behind it waits', async () => {
    await using([open('netmap:eth101-0'), open('netmap:eth102-0')], async (a, b) => {
      send(a, [
        ether({ mark: 1 }),
        ether({ mark: 2, length: 1515 }),
        [ether({ mark: 3 }), new Uint8Array(100)],
        new Uint8Array(5),
        ether({ mark: 4, length: 1514 }),
      ]);
      assert.deepEqual((await take(b, 2)).map(markIn), [1, 4]);
      const { rings } = (await status()).ports.find(({ name }) => name === 'Ethernet')!;
      const { drops } = rings.find(({ ring }) => ring === 'tx0')!;
      assert.equal(
        Object.values(drops).reduce((sum, n) => sum + n, 0),
        3,
        JSON.stringify(drops),
      );
    });
  });

  test('what comes while no buffer is free is counted', async () => {
    await using([open('netmap:eth101-0'), open('netmap:eth102-0')], async (a, b) => {
      for (let turn = 0; turn < 3; turn++) {
        send(
          a,
          Array.from({ length: 600 }, (_, i) => ether({ mark: i })),
        );
        await until(() => {
          a.txSync();
          return a.txRings[0]!.space === a.txRings[0]!.numSlots - 1;
        }, 'all to be sent');
      }
      const { rings } = (await status()).ports.find(({ name }) => name === 'Ethernet 2')!;
      const lost = Object.values(rings.find(({ ring }) => ring === 'rx0')!.drops);
      const got = await take(b, 1023);
      assert.deepEqual([got.length, ...lost], [1023, 1800 - 1023]);
    });
  });
});

describe('the host stack', { timeout: 300_000 }, () => {
  const ask = (mark: number, queue = 0) => ether({ type: ECHO, op: REQUEST, queue, mark });
  const isReply = (bytes: Uint8Array) => bytes[12] === ECHO >> 8 && bytes[14] === REPLY;

  test('has its frames while nobody opens its interface, and again afterwards', async () => {
    await using([open('netmap:eth101')], async (a) => {
      for (let i = 0; i < 2; i++) {
        send(a, [ask(i)]);
        const [reply] = await take(a, 1);
        assert.ok(isReply(reply!));
        assert.equal(markIn(reply!), i);
        const b = await open('netmap:eth102');
        send(a, [ask(100)]);
        assert.deepEqual((await take(b, 1)).map(markIn), [100]);
        await b.close();
      }
    });
  });

  test('is cut off while all TX rings are open, and only then', async () => {
    await using([open('netmap:eth101')], async (a) => {
      await using([open('netmap:eth102-0')], async () => {
        send(a, [ask(1)], 1);
        assert.deepEqual((await take(a, 1)).map(markIn), [1]);
      });
      await using([open('netmap:eth102/T')], async (b) => {
        send(a, [ask(2)]);
        send(b, [ether({ to: 101, mark: 9999 })]);
        assert.deepEqual((await take(a, 1)).map(markIn), [9999]);
      });
    });
  });

  test('receives what its rings are given, and what it sends comes to them, from every queue', async () => {
    await using(
      [open('netmap:eth101'), open('netmap:eth102'), open('netmap:eth102^')],
      async (a, wire, host) => {
        const count = 300;
        send(
          host,
          Array.from({ length: count }, (_, i) => ask(i, i)),
        );
        const replies = await take(host, count);
        assert.ok(replies.every(isReply));
        const sorted = replies.map(markIn).sort((x, y) => x - y);
        assert.deepEqual(
          sorted,
          sorted.map((_, i) => i),
        );
        for (const parity of [0, 1]) {
          const some = replies.map(markIn).filter((mark) => mark % 2 === parity);
          assert.deepEqual(
            some,
            [...some].sort((x, y) => x - y),
            'the order of a queue',
          );
        }
        await onlyLast(wire, a);
      },
    );
  });

  test('by bridge, both ways: an echo from the other machine', async () => {
    const bridge = new Program('bridge', ['-w', '0', '-i', 'netmap:eth102', '-i', 'netmap:eth102^']);
    await bridge.says(/Ready to go/);
    await using([open('netmap:eth101')], async (a) => {
      for (let turn = 0; turn < 20; turn++) {
        send(
          a,
          Array.from({ length: 50 }, (_, i) => ask(turn * 50 + i, i)),
        );
        const marks = (await take(a, 50)).filter(isReply).map(markIn);
        assert.deepEqual(
          marks.sort((x, y) => x - y),
          marks.map((_, i) => turn * 50 + i),
        );
      }
    });
    await bridge.stop();
  });

  test('on a switch, with its interface', async () => {
    assert.equal((await run('vale-ctl', ['-h', 'vale0:eth102'])).code, 0);
    await using([open('netmap:eth101-0'), open('vale0:guest')], async (a, guest) => {
      send(a, [ask(7)]);
      assert.deepEqual((await take(a, 1)).map(markIn), [7]);
      send(guest, [ether({ to: 101, mark: 8 })]);
      assert.ok((await take(a, 1)).map(markIn).includes(8));
    });
    assert.equal((await run('vale-ctl', ['-d', 'vale0:Ethernet 2'])).code, 0);
  });
});

describe('programs', { timeout: 300_000 }, () => {
  test('pkt-gen to pkt-gen, which counts what arrives: a wire waits for nobody', async () => {
    const rx = new Program('pkt-gen', ['-i', 'netmap:eth102', '-f', 'rx', '-n', '20000', '-w', '0']);
    await until(
      async () => (await status()).ports.some(({ name }) => name === 'Ethernet 2'),
      'eth102 to be open',
    );
    const tx = new Program('pkt-gen', ['-i', 'netmap:eth101', '-f', 'tx', '-w', '0']);
    const { code, stdout, stderr } = await rx.ended;
    await tx.stop();
    assert.equal(code, 0, stderr);
    assert.match(stdout, /Received 2\d{4} packets/);
  });

  test('nm-loader interfaces: one cause and one remedy a line, as Windows wants them', async () => {
    const { code, stdout } = await run('nm-loader', ['interfaces']);
    assert.equal(code, 0);
    const lines = stdout.trim().split(/\r?\n/);
    assert.equal(
      lines[1],
      '102 Ethernet 2 02:00:00:00:00:66 mtu 1500 up queues ?/? driver Fake Ethernet Adapter mode generic',
    );
    assert.deepEqual(lines.slice(3), [
      '    it is down: netsh interface set interface "Ethernet 3" enabled',
      '    its MTU of 9000 makes frames of 9018 bytes, a buffer has 2048: netsh interface ipv4 set subinterface "Ethernet 3" mtu=2030, or nm-ctl buf_size=9024',
    ]);
  });
});

test('an interface that goes away: POLLERR, and the other one works on', { timeout: 60_000 }, async () => {
  await using([open('netmap:eth101'), open('netmap:eth102')], async (a, b) => {
    const target = { port: b, events: 'in' as const, revents: 0 };
    send(a, [ether({ type: UNPLUG })]);
    await until(() => {
      poll([target], 100);
      return (target.revents & 8) !== 0;
    }, 'POLLERR');
    assert.match(b.dead!, /queue was given up/);
    send(a, [ether({ mark: 1 })]);
    await until(() => {
      a.txSync();
      return a.txRings[0]!.space === a.txRings[0]!.numSlots - 1;
    }, 'the other to go on');
  });
  await refuses(open('netmap:eth102'), 'ENXIO');
});

test('the module is killed, and with it who serves the queues: POLLERR; the next one opens them', {
  timeout: 60_000,
}, async () => {
  const port = await open('netmap:eth101');
  process.kill((await status()).pid, 'SIGKILL');
  const target = { port, events: 'in' as const, revents: 0 };
  poll([target], 20_000);
  assert.equal(target.revents, 8);
  assert.match(port.dead!, /module .* is gone/);
  await load(); // What is open of the old one does not keep the new one from the interface.
  const next = await run('pkt-gen', ['-i', 'netmap:eth101', '-f', 'tx', '-n', '1000', '-w', '0']);
  assert.match(next.stdout, /Sent 1000 packets/, next.stderr);
  await port.close();
});
