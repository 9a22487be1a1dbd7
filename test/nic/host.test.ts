// Objective: with bridge between an interface and its host rings the host works through our rings, as before; ended in
// whatever way, the interface is the host's again, and nothing is left (spec ports §4.1, linux-nic §4).
// Operations: two machines and a wire, in native and in emulated mode; ping, TCP, iperf3; kill -9 at any time.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { ownModule, type Program, ROOT, until } from '../harness.ts';
import { objectsOf, socketsOf, stillThere } from './kernel-objects.ts';
import { lacks, Machine, NO_NETWORK, wire } from './network.ts';

const directory = ownModule();
const KILLS = Number(process.env['NETMAP_KILLS'] ?? 50);

/** What the other machine does: takes a connection, says the digest of all that came. */
const SINK = `
const hash = require('node:crypto').createHash('sha256');
require('node:net').createServer((socket) => {
  socket.on('data', (data) => hash.update(data)).on('end', () => socket.end(hash.digest('hex')));
}).listen(7000, () => console.log('listening'));`;

/** Sends so many bytes, then tells what the other side has said. */
const SOURCE = `
const { createHash } = require('node:crypto');
const hash = createHash('sha256');
const socket = require('node:net').connect(7000, '10.7.0.2', async () => {
  let left = Number(process.argv[1]);
  let block = createHash('sha512').update('seed').digest();
  while (left > 0) {
    block = createHash('sha512').update(block).digest();
    const part = Buffer.alloc(Math.min(left, 65536), block);
    hash.update(part);
    left -= part.length;
    if (!socket.write(part)) await new Promise((resolve) => socket.once('drain', resolve));
  }
  socket.end();
});
let said = '';
socket.on('data', (data) => { said += data; }).on('end', () => console.log(said, hash.digest('hex')));`;

const here = NO_NETWORK ? undefined! : new Machine();
const there = NO_NETWORK ? undefined! : new Machine();
if (!NO_NETWORK) {
  wire([here, 'v0'], [there, 'v1']);
  here.ip('addr', 'add', '10.7.0.1/24', 'dev', 'v0');
  there.ip('addr', 'add', '10.7.0.2/24', 'dev', 'v1');
  here.enter();
}

for (const [mode, admode, kills] of [
  ['native', 1, KILLS],
  ['emulated', 3, Math.ceil(KILLS / 2)],
] as const)
  describe(`the host through its own rings, ${mode} mode`, { skip: NO_NETWORK, timeout: 600_000 }, () => {
    // By programs: a module that is killed here would take this process's connection with it.
    before(() => here.run(`${ROOT}bin/nm-ctl`, `admode=${admode}`));
    after(() => here.tries(`${ROOT}bin/nm-loader`, 'u', '-f'));
    const pings = (machine: Machine, to: string, ...more: string[]) =>
      machine.tries('ping', '-q', '-c', '1', '-W', '1', ...more, to);

    async function bridge(): Promise<Program> {
      const program = here.start(`${ROOT}bin/bridge`, ['-w', '0', '-i', 'netmap:v0', '-i', 'netmap:v0^']);
      await program.says(/Ready to go/);
      return program;
    }

    /** Helpers, sockets and, of those that some process had, BPF objects that are still there. */
    function leftovers(had: readonly string[] = []): string[] {
      const helpers = here.interfaces().filter((name) => /^nm\d+h$/.test(name));
      return [...helpers, ...socketsOf(here), ...stillThere(had)];
    }

    /** Answers to ping that this namespace's host has got. */
    function echoReplies(): number {
      const [names, values] = [
        ...fs.readFileSync('/proc/self/net/snmp', 'latin1').matchAll(/^Icmp: (.*)$/gm),
      ];
      return Number(values![1]!.split(' ')[names![1]!.split(' ').indexOf('InEchoReps')]);
    }

    /** What the kernel has of a bridge: programs, maps and links, all of them there. */
    function objectsOfBridge(program: Program): string[] {
      const had = objectsOf(program.process.pid!);
      const kinds = new Set(had.map((object) => object.split(' ')[0]));
      // Packet sockets need no map.
      assert.deepEqual([...kinds].sort(), mode === 'native' ? ['link', 'map', 'prog'] : ['link', 'prog']);
      assert.deepEqual(stillThere(had), had);
      return had;
    }

    test('H2: cut off while the rings are open and nobody forwards; as before afterwards', async () => {
      assert.ok(pings(here, '10.7.0.2'));
      const reader = here.start(`${ROOT}bin/pkt-gen`, ['-i', 'netmap:v0*', '-f', 'rx', '-w', '0']);
      await reader.says(/Ready/);
      assert.ok(!pings(here, '10.7.0.2'));
      await reader.stop();
      assert.ok(pings(here, '10.7.0.2'));
      assert.deepEqual(leftovers(), []);
    });

    test('H1: the host rings alone take nothing', async () => {
      const reader = here.start(`${ROOT}bin/pkt-gen`, ['-i', 'netmap:v0^', '-f', 'rx', '-w', '0']);
      await reader.says(/Ready/);
      assert.ok(pings(here, '10.7.0.2'));
      assert.match((await reader.stop()).stdout, /Received nothing/);
    });

    test('ping both ways, largest frames too', { skip: lacks('ping') }, async () => {
      const program = await bridge();
      await until(() => pings(here, '10.7.0.2'), 'the first answer');
      assert.ok(pings(there, '10.7.0.1'));
      assert.ok(pings(here, '10.7.0.2', '-s', '1472', '-M', 'do'));
      assert.ok(pings(there, '10.7.0.1', '-s', '1472', '-M', 'do'));
      assert.equal((await program.stop()).code, 0);
      assert.ok(pings(here, '10.7.0.2'));
      assert.deepEqual(leftovers(), []);
    });

    test('50 MB over TCP arrive whole', async (t) => {
      const program = await bridge();
      const sink = there.start(process.execPath, ['-e', SINK]);
      await sink.says(/listening/);
      const begun = performance.now();
      const source = here.start(process.execPath, ['-e', SOURCE, String(50e6)]);
      const { stdout } = await source.ended;
      const [said, sent] = stdout.trim().split(' ');
      assert.equal(said, sent);
      assert.equal(sent!.length, createHash('sha256').digest('hex').length);
      t.diagnostic(`50 MB in ${((performance.now() - begun) / 1000).toFixed(1)} s`);
      await sink.stop('SIGKILL');
      await program.stop();
    });

    test('iperf3 through it', { skip: lacks('iperf3') }, async (t) => {
      const program = await bridge();
      const server = there.start('iperf3', ['-s', '-1', '--forceflush']);
      await server.says(/listening/);
      const report = JSON.parse(here.run('iperf3', '-J', '-t', '2', '-c', '10.7.0.2')) as {
        end: { sum_received: { bits_per_second: number } };
      };
      assert.ok(report.end.sum_received.bits_per_second > 0);
      t.diagnostic(`${(report.end.sum_received.bits_per_second / 1e9).toFixed(2)} Gbit/s`);
      await server.ended;
      await program.stop();
    });

    test('a sniffer sees what is written to the host ring', { skip: lacks('tcpdump') }, async () => {
      const sniffer = here.start('tcpdump', [
        '-i',
        'v0',
        '-n',
        '-c',
        '5',
        '--immediate-mode',
        'udp port 1234',
      ]);
      await sniffer.says(/listening on/);
      const sender = here.start(`${ROOT}bin/pkt-gen`, [
        '-i',
        'netmap:v0^',
        '-f',
        'tx',
        '-n',
        '20',
        '-w',
        '0',
      ]);
      const [, mac] = /link\/ether (\S+)/.exec(here.ip('link', 'show', 'v0'))!;
      const { stdout } = await sender.ended;
      assert.ok(stdout.includes(`(${mac} -> ff:ff:ff:ff:ff:ff)`), stdout);
      assert.equal((await sniffer.ended).code, 0);
    });

    test(`kill -9 of bridge under traffic, ${kills} times: the interface is the host's again, nothing is left`, async (t) => {
      const back: number[] = [];
      const gone: number[] = [];
      for (let i = 0; i < kills; i++) {
        const program = await bridge();
        const had = objectsOfBridge(program);
        const traffic = spawn(
          'ip',
          ['netns', 'exec', here.name, 'ping', '-q', '-f', '-w', '20', '10.7.0.2'],
          {
            stdio: 'ignore',
          },
        );
        const wait = (i * 37) % 100;
        const begun = performance.now();
        await until(() => performance.now() - begun >= wait, 'some traffic');
        // The one that "ip netns exec" has become.
        program.process.kill('SIGKILL');
        const killed = performance.now();
        await program.ended;
        const before = echoReplies();
        await until(() => echoReplies() > before, 'the host to hear answers');
        back.push(performance.now() - killed);
        await until(
          () => leftovers(had).length === 0,
          'all to be gone',
          20_000,
          () => `: ${leftovers(had)}`,
        );
        gone.push(performance.now() - killed);
        traffic.kill('SIGKILL');
      }
      const worst = (times: number[]) => Math.max(...times).toFixed(0);
      t.diagnostic(
        `the host hears the wire after at most ${worst(back)} ms, all is gone after at most ${worst(gone)} ms`,
      );
    });

    test('kill -9 of the module while bridge forwards: traffic goes on; then of bridge: nothing is left', async () => {
      const program = await bridge();
      await until(() => pings(here, '10.7.0.2'), 'the first answer');
      const { stdout } = await here.start(`${ROOT}bin/nm-loader`, ['s'], { NETMAP_DIR: directory }).ended;
      process.kill(Number(/pid (\d+)/.exec(stdout)![1]), 'SIGKILL');
      for (let i = 0; i < 5; i++) assert.ok(pings(here, '10.7.0.2'));
      const had = objectsOfBridge(program);
      program.process.kill('SIGKILL');
      await program.ended;
      await until(() => leftovers(had).length === 0, 'all to be gone');
      await until(() => pings(here, '10.7.0.2'), 'the host to answer');
    });
  });
