// Objective: the 27 integration scenarios of spec apps §8.5, as rows: real programs, each event checked byte by byte.
// Operations: functional holds ports between runs, vale-ctl makes and attaches persistent ones; each scenario runs
// with one small frame and with frames of several slots, length, fill and number drawn from a seed.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { listPorts, open, status } from '../../src/client/index.ts';
import { type Finished, ownModule, run, until } from '../harness.ts';

// Before the module's directory is removed: it has the socket by which the holder is told.
after(() => run('functional', ['-c']));
ownModule();
before(() => run('functional', ['-o']));

const SEED = Number(process.env['NETMAP_SEED'] ?? Date.now() % 1_000_000);
let state = SEED;
function random(low: number, high: number): number {
  state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff;
  return low + (state % (high - low + 1));
}

/** What `-t` and `-r` take. */
interface Frames {
  length: number;
  fill: string;
  count: number;
}

const VARIANTS: readonly (readonly [string, (length: number, fill: string) => Frames])[] = [
  ['one frame', (length, fill) => ({ length, fill, count: 1 })],
  [
    `frames of several slots (NETMAP_SEED=${SEED})`,
    () => ({
      length: random(50, 10049),
      fill: String.fromCharCode(random(65, 90)),
      count: random(1, 100),
    }),
  ],
];

function spec({ length, fill, count }: Frames): string {
  return `${length}:${fill}:${count}`;
}

async function functional(...args: string[]): Promise<number | null> {
  const { code } = await run('functional', args);
  return code;
}

/** Has the holder open a port, and keep it. */
async function hold(...ports: string[]): Promise<void> {
  for (const port of ports) assert.equal(await functional('-i', port), 0, `holding ${port}`);
}
/** Seconds in which the other program starts. */
const START = '30';
const rx = (port: string, frames: Frames, ...more: string[]) =>
  functional('-i', port, '-r', spec(frames), '-q', '-T', START, ...more);
const tx = (port: string, frames: Frames, ...more: string[]) =>
  functional('-i', port, '-t', spec(frames), '-q', ...more);

/** At once; all must succeed. */
async function together(...runs: Promise<number | null>[]): Promise<void> {
  assert.deepEqual(
    await Promise.all(runs),
    runs.map(() => 0),
  );
}

function ctl(...args: string[]): Promise<Finished> {
  return run('vale-ctl', args);
}
async function ctlSucceeds(...args: string[]): Promise<void> {
  const { code, stderr } = await ctl(...args);
  assert.equal(code, 0, `vale-ctl ${args.join(' ')}: ${stderr}`);
}
async function ctlFails(...args: string[]): Promise<void> {
  const { code, stderr } = await ctl(...args);
  assert.equal(code, 1, `vale-ctl ${args.join(' ')} is to fail`);
  assert.match(stderr, /^vale-ctl: Cannot .*\n$/);
}

/** Makes persistent ports and attaches them to vale0. */
async function persistent(...names: string[]): Promise<void> {
  for (const name of names) {
    await ctlSucceeds('-n', name);
    await ctlSucceeds('-a', `vale0:${name}`);
  }
}

/** Ends the holder, removes what is left, starts a new one. */
async function clean(): Promise<void> {
  await run('functional', ['-c']);
  for (const { name } of (await listPorts()).reverse()) await ctlSucceeds('-d', name);
  await until(async () => (await status()).clients.length <= 1, 'the holder to be gone'); // One is this process.
  for (const name of ['v0', 'v1', 'v2']) await ctl('-r', name);
  assert.deepEqual((await status()).ports, []);
  await run('functional', ['-o']);
}

function scenario(
  name: string,
  frames: { length: number; fill: string } | undefined,
  work: (frames: Frames) => Promise<void>,
): void {
  const variants = frames ? VARIANTS : VARIANTS.slice(0, 1);
  for (const [what, draw] of variants) {
    test(frames ? `${name}: ${what}` : name, async () => {
      try {
        await work(draw(frames?.length ?? 60, frames?.fill ?? 'a'));
      } finally {
        await clean();
      }
    });
  }
}

async function exclusive(name: string): Promise<void> {
  await hold(`${name}/x`);
  assert.equal(await functional('-I', name), 1);
  assert.equal(await functional('-I', `${name}/x`), 1);
}

describe('spec apps §8.5', { timeout: 1_800_000 }, () => {
  scenario('001 exclusive open, ephemeral', undefined, () => exclusive('vale0:v0'));
  scenario('002 exclusive open, persistent', undefined, async () => {
    await persistent('v0');
    await exclusive('vale0:v0');
  });
  scenario('003 exclusive open, pipe', undefined, () => exclusive('netmap:pipeA{1'));

  scenario('004 extra buffers, ephemeral', { length: 274, fill: 'c' }, async (f) => {
    await hold('vale0:v1', 'vale0:v2');
    const sent = functional('-I', 'vale0:v0', '-e', '12', '-t', spec(f), '-q');
    await together(rx('vale0:v1', f), rx('vale0:v2', f), sent);
  });
  scenario('005 extra buffers, persistent', { length: 274, fill: 'c' }, async (f) => {
    await persistent('v0', 'v1', 'v2');
    await hold('vale0:v0', 'vale0:v1');
    const sent = functional('-I', 'vale0:v2', '-e', '12', '-t', spec(f), '-q');
    await together(rx('vale0:v0', f), rx('vale0:v1', f), sent);
  });
  scenario('006 extra buffers, pipe', { length: 274, fill: 'c' }, async (f) => {
    await hold('netmap:pipeA{1');
    await together(
      rx('netmap:pipeA{1', f),
      functional('-I', 'netmap:pipeA}1', '-e', '12', '-t', spec(f), '-q'),
    );
  });

  scenario('007 learning bridge', { length: 150, fill: 'd' }, async (f) => {
    await hold('vale0:v0', 'vale0:v1', 'vale0:v2');
    const mac = '02:12:34:56:78:9a';
    const broadcast = 'ff:ff:ff:ff:ff:ff';
    await together(
      rx('vale0:v0', f, '-s', mac, '-d', broadcast),
      rx('vale0:v1', f, '-s', mac, '-d', broadcast),
      tx('vale0:v2', f, '-s', mac, '-d', broadcast),
    );
    await together(
      rx('vale0:v2', f, '-d', mac),
      rx('vale0:v1', f, '-d', mac, '-n', '-T', '0.3'),
      tx('vale0:v0', f, '-d', mac),
    );
  });

  scenario('008 partial read of a pipe', { length: 274, fill: 'h' }, async ({ length, fill }) => {
    const seven = { length, fill, count: 7 };
    await hold('netmap:pipeA{1', 'netmap:pipeA}1');
    await together(rx('netmap:pipeA{1', seven), tx('netmap:pipeA}1', { ...seven, count: 10 }));
    using port = await open('netmap:pipeA}1');
    const ring = port.txRings[0]!;
    port.txSync();
    const slots = Math.ceil(length / ring.bufSize);
    assert.equal(ring.numSlots - 1 - ring.space, 3 * slots);
    const tooMany = { length, fill, count: Math.floor(ring.space / slots) + 1 };
    assert.equal(await tx('netmap:pipeA}1', tooMany, '-T', '0.2'), 1);
  });

  scenario('009 destroying a persistent port', undefined, async () => {
    await ctlSucceeds('-n', 'v0');
    await ctlSucceeds('-r', 'v0');
    await ctlSucceeds('-n', 'v0');
    await ctlSucceeds('-a', 'vale0A:v0');
    await ctlFails('-r', 'v0');
    await ctlSucceeds('-a', 'vale0B:v0');
    await ctlFails('-r', 'v0');
    await ctlSucceeds('-d', 'vale0B:v0');
    await ctlFails('-r', 'v0');
    await ctlSucceeds('-d', 'vale0A:v0');
    await ctlSucceeds('-r', 'v0');
  });
  scenario('010 attaching twice', undefined, async () => {
    await ctlSucceeds('-n', 'v0');
    await ctlSucceeds('-a', 'vale0A:v0');
    await ctlFails('-a', 'vale0A:v0');
    await ctlSucceeds('-a', 'vale0B:v0');
  });
  scenario('011 creating twice', undefined, async () => {
    await ctlSucceeds('-n', 'v0');
    await ctlFails('-n', 'v0');
    await ctlSucceeds('-a', 'vale0A:v0');
    await ctlFails('-n', 'v0');
    await ctlSucceeds('-a', 'vale0B:v0');
    await ctlFails('-n', 'v0');
  });

  /** Port, monitor, the other side; what makes them. */
  const TOPOLOGIES = [
    { kind: 'ephemeral', port: 'vale0:v0', monitored: 'vale0:v0', other: 'vale0:v1', made: [] },
    { kind: 'persistent', port: 'vale0:v0', monitored: 'netmap:v0', other: 'vale0:v1', made: ['v0', 'v1'] },
    { kind: 'pipe', port: 'netmap:pipe{1', monitored: 'netmap:pipe{1', other: 'netmap:pipe}1', made: [] },
  ] as const;

  TOPOLOGIES.forEach(({ kind, port, monitored, other, made }, i) => {
    const number = (first: number) => String(first + i).padStart(3, '0');

    scenario(`${number(12)} rx copy monitor, ${kind}`, { length: 150, fill: 'd' }, async (f) => {
      await persistent(...made);
      await hold(port, `${monitored}/r`, other);
      await together(rx(`${monitored}/r`, f), tx(other, f));
      await together(rx(port, f));
    });

    scenario(`${number(15)} rx zero-copy monitor, ${kind}`, { length: 150, fill: 'd' }, async (f) => {
      await persistent(...made);
      await hold(port, `${monitored}/z`, other);
      await together(rx(`${monitored}/z`, f, '-n', '-T', '0.3'), tx(other, f));
      await together(rx(port, f), rx(`${monitored}/z`, f));
    });

    scenario(`${number(18)} tx copy monitor, ${kind}`, { length: 150, fill: 'd' }, async (f) => {
      await persistent(...made);
      await hold(port, `${monitored}/t`, other);
      await together(rx(`${monitored}/t`, f), tx(port, f));
      await together(rx(other, f));
    });
  });

  scenario('021 sending and receiving, ephemeral', { length: 274, fill: 'c' }, async (f) => {
    await hold('vale0:v0', 'vale0:v1', 'vale0:v2');
    await together(rx('vale0:v0', f), rx('vale0:v1', f), tx('vale0:v2', f));
    await together(rx('vale0:v1', f), rx('vale0:v2', f), tx('vale0:v0', f));
  });
  scenario('022 sending and receiving, persistent', { length: 274, fill: 'c' }, async (f) => {
    await persistent('v0', 'v1', 'v2');
    await hold('vale0:v0', 'vale0:v1', 'vale0:v2');
    await together(rx('vale0:v0', f), rx('vale0:v1', f), tx('vale0:v2', f));
    await together(rx('vale0:v1', f), rx('vale0:v2', f), tx('vale0:v0', f));
  });
  scenario('023 sending and receiving, pipe', { length: 274, fill: 'c' }, async (f) => {
    await hold('netmap:pipeA{1', 'netmap:pipeA}1');
    await together(rx('netmap:pipeA{1', f), tx('netmap:pipeA}1', f));
    await together(rx('netmap:pipeA}1', f), tx('netmap:pipeA{1', f));
  });
  test('024 sending and receiving, veth', {
    skip: 'needs network interfaces: in test/nic/control-api.test.ts',
  });

  for (const [number, { kind, port, monitored, other, made }] of [
    ['025', TOPOLOGIES[0]],
    ['026', TOPOLOGIES[1]],
  ] as const) {
    scenario(`${number} tx zero-copy monitor, ${kind}`, { length: 150, fill: 'd' }, async (f) => {
      await persistent(...made);
      await hold(port, `${monitored}/z`, other);
      await together(rx(`${monitored}/z`, f), tx(port, f));
      await together(rx(other, f));
    });
  }
  scenario('027 tx zero-copy monitor, pipe', { length: 150, fill: 'd' }, async (f) => {
    await hold('netmap:pipe{1', 'netmap:pipe{1/z', 'netmap:pipe}1');
    await together(rx('netmap:pipe{1/z', f, '-n', '-T', '0.3'), tx('netmap:pipe{1', f));
    await together(
      rx('netmap:pipe{1/z', f),
      rx('netmap:pipe}1', f).then(async (code) => code || tx('netmap:pipe{1', f)),
    );
  });
});
