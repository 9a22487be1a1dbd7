// Objective: ports that are made, attached, detached and removed by request: spec ports §7.1 V32 to V37, §1.5.
// Operations: requests of one process, ports opened in it.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { attach, delIf, detach, listPorts, locatePort, newIf, open } from '../../src/client/index.ts';
import { frame, marks, ownModule, portNames, refuses, send, until, using } from '../harness.ts';

ownModule();

let switches = 0;
function fresh(): string {
  return `vale${switches++}`;
}

describe('spec ports §7.1, persistent ports', () => {
  test('V32 NEWIF twice: the second is EEXIST', async () => {
    await withPersistent(async (name) => {
      await refuses(newIf(name), 'EEXIST');
    });
  });

  test('V33 attached to A, to A again, to B: done, EBUSY, done', async () => {
    await withPersistent(async (name) => {
      const [one, two] = [fresh(), fresh()];
      await attach(`${one}:${name}`);
      await refuses(attach(`${one}:${name}`), 'EBUSY');
      await attach(`${two}:${name}`);
      await refuses(attach(`${fresh()}:${name}`), 'EBUSY');
      await refuses(open(`${two}:${name}`), 'EBUSY', /links two switches/);
      await using([open(`${one}:x`), open(`${two}:y`)], async (x, y) => {
        send(x, [frame({ mark: 1 })]);
        await y.readable();
        assert.deepEqual(marks(y), [1]);
        send(y, [frame({ mark: 2, src: 2 })]);
        await x.readable();
        assert.deepEqual(marks(x), [2]);
      });
    });
  });

  test('V34 DELIF while attached to A and B, detached out of order, is EBUSY until all is undone', async () => {
    const [one, two] = [fresh(), fresh()];
    await newIf('v34');
    await attach(`${one}:v34`);
    await attach(`${two}:v34`);
    await refuses(delIf('v34'), 'EBUSY');
    await refuses(detach(`${one}:v34`), 'EBUSY');
    await detach(`${two}:v34`);
    await refuses(delIf('v34'), 'EBUSY');
    await detach(`${one}:v34`);
    await delIf('v34');
    assert.deepEqual(await listPorts(), []);
  });

  test('V35 DELIF of a NIC is EINVAL, of nothing ENXIO', async () => {
    await refuses(delIf('lo'), 'EINVAL');
    await refuses(delIf('nothing'), 'ENXIO');
  });

  test('V36 an ephemeral port cannot be detached: EBUSY', async () => {
    const name = `${fresh()}:a`;
    await using([open(name)], () => refuses(detach(name), 'EBUSY'));
  });

  test('V37 an empty system lists no port', async () => {
    await until(async () => (await portNames()).length === 0, 'every port to close');
    assert.deepEqual(await listPorts(), []);
  });

  test('an attached port is opened by either name, and takes part', async () => {
    await withPersistent(async (name) => {
      const sw = fresh();
      await attach(`${sw}:${name}`);
      await using([open(`netmap:${name}`), open(`${sw}:${name}`), open(`${sw}:b`)], (one, two, b) => {
        send(b, [frame({ mark: 1 })]);
        assert.deepEqual(marks(one), [1]);
        send(two, [frame({ mark: 2, src: 2 })]);
        assert.deepEqual(marks(b), [2]);
      });
    });
  });

  test('one that is attached to no switch opens too; what it sends reaches nobody', async () => {
    await withPersistent(async (name) => {
      await using([open(`netmap:${name}`)], async (port) => {
        send(port, [frame(), frame()]);
        assert.equal(port.txRings[0]!.space, 1023);
        await refuses(attach(`${fresh()}:${name}`), 'EBUSY', /is open/);
      });
      await attach(`${fresh()}:${name}`);
    });
  });

  test('attached once, it is not attached to the same switch again; detached while open, it discards', async () => {
    await withPersistent(async (name) => {
      const sw = fresh();
      await attach(`${sw}:${name}`);
      await refuses(attach(`${sw}:${name}`), 'EBUSY');
      await using([open(`${sw}:${name}`), open(`${sw}:b`)], async (port, b) => {
        send(port, [frame({ mark: 1, src: 5 })]);
        assert.deepEqual(marks(b), [1]);
        await detach(`${sw}:${name}`);
        send(port, [frame({ mark: 2, src: 5 })]);
        assert.deepEqual(marks(b), []);
        assert.equal(port.drops['port detached from its switch'], 1);
        send(b, [frame({ dst: 5, mark: 3 }), frame({ mark: 4 })]);
        assert.deepEqual(marks(port), []);
        assert.equal((await locatePort(`${sw}:${name}`)).port, 255);
        await refuses(detach(`${sw}:${name}`), 'ENXIO');
      });
      assert.deepEqual(
        (await portNames()).filter((port) => port.endsWith(name)),
        [],
      );
      await attach(`${sw}:${name}`);
    });
  });

  test('listing: switch by switch, port by port; by name', async () => {
    const [one, two] = [fresh(), fresh()];
    await withPersistent(async (name) => {
      await attach(`${one}:${name}`);
      await using([open(`${one}:x`), open(`${two}:y`)], async () => {
        assert.deepEqual(
          (await listPorts()).map((port) => port.name),
          [`${one}:${name}`, `${one}:x`, `${two}:y`],
        );
        const located = await locatePort(`${two}:y`);
        assert.deepEqual([located.bridge, located.port], [1, 0]);
        await refuses(locatePort('vale77:y'), 'ENOENT');
        await refuses(locatePort('netmap:y'), 'EINVAL');
      });
    });
  });

  test('names, and what is not there', async () => {
    await refuses(newIf('vale0'), 'EINVAL');
    await refuses(newIf('a-name-of-16-chr'), 'EINVAL');
    await refuses(newIf('with{brace'), 'EINVAL');
    await refuses(newIf('lo'), 'EEXIST');
    await refuses(attach('vale0:nothing'), 'EINVAL');
    await refuses(attach('nothing'), 'EINVAL');
    await refuses(detach('vale0:nothing'), 'ENXIO');
    await refuses(newIf('mem', { memId: 4711 }), 'EINVAL');
    await withPersistent((name) => refuses(open(`${fresh()}:${name}`), 'EINVAL', /attached first/));
  });

  test('sizes are clamped and told; they are those of the port', async () => {
    const shape = await newIf('sized', { txRings: 20, rxRings: 2, txSlots: 512, rxSlots: 9999 });
    try {
      assert.deepEqual(
        { ...shape, memId: 0 },
        { txRings: 16, rxRings: 2, txSlots: 512, rxSlots: 4096, memId: 0 },
      );
      await using([open('netmap:sized')], (port) => {
        assert.deepEqual([port.txRings.length, port.rxRings.length], [16, 2]);
        assert.equal(port.memId, shape.memId);
      });
    } finally {
      await delIf('sized');
    }
  });
});

/** Has a persistent port of a name of its own for as long as `work` takes. */
async function withPersistent(work: (name: string) => Promise<void>): Promise<void> {
  const name = `per${persistentPorts++}`;
  await newIf(name);
  try {
    await work(name);
  } finally {
    const attached = (await listPorts()).filter((port) => port.name.endsWith(`:${name}`));
    for (const port of attached.reverse()) await detach(port.name);
    await delIf(name);
  }
}
let persistentPorts = 0;
