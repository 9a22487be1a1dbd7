// Objective: input that is wrong gets one sentence (what was asked, what was found, what to do) and a non-zero
// exit, and nothing is left behind.
// Operations: the programs with one thing wrong at a time; the control socket with messages that are none.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { after, describe, test } from 'node:test';
import { open, status } from '../../src/client/index.ts';
import { frame, marks, ownModule, portNames, ROOT, refuses, run, send, until, using } from '../harness.ts';

const directory = ownModule();
const scratch = fs.mkdtempSync(path.join(os.tmpdir(), 'netmap-bad-'));
after(() => fs.rmSync(scratch, { recursive: true, force: true }));

/** The last line is the sentence; diagnostics may come before it. */
async function complains(
  command: string,
  args: string[],
  pattern: RegExp,
  env: NodeJS.ProcessEnv = {},
): Promise<void> {
  const { code, stderr } = await run(command, args, env);
  assert.equal(code, 1, stderr);
  assert.match(stderr, pattern);
  assert.match(stderr.trim().split('\n').at(-1)!, new RegExp(`^${command}: [^\\n]+$`));
}

describe('pkt-gen', { timeout: 300_000 }, () => {
  for (const [args, pattern] of [
    ['-f tx', /missing ifname: say which port/],
    ['-f foo -i vale1:a', /unrecognised function foo/],
    ['-i vale1:a -Q', /bad option/],
    ['-i vale1:a -f tx -l 10', /bad pktsize 10 \[16\.\.65535\]/],
    ['-i vale1:a -f tx -l 60 -l 100', /bad pktminsize 100 \[16\.\.60\]/],
    ['-i vale1:a -f tx -D zz:zz', /invalid MAC address 'zz:zz'/],
    ['-i vale1:a -f tx -d 300.1.1.1', /invalid address range '300\.1\.1\.1'/],
    ['-i vale1:a -f tx -b -3', /bad -b -3: 1 to 4096/],
    ['-i vale1:a -f tx -c 9999', /bad -c 9999/],
    ['-i vale1:a -f tx -p 5', /bad nthreads 5, have 1 queues/],
    ['-i vale1:a -f tx -n many', /bad -n many/],
    ['-i vale1 -f tx', /vale1: missing ':'/],
    ['-i vale_-!:x -f tx', /invalid identifier '_-!'/],
    [`-i vale1:${'a'.repeat(80)} -f tx`, /too long/],
    [`-i vale1:${'a'.repeat(20)} -f tx`, /longer than 15 characters/],
    ['-i netmap:p{ -f tx', /invalid empty pipe name/],
    ['-i vale1:a/q -f tx', /unrecognized flag: 'q'/],
    ['-i vale1:a/z -f tx', /open the port first/],
    ['-i vale1:a-7 -f tx', /Cannot bind ring 7/],
    ['-i vale1:a^ -f tx', /host rings/],
    ['-i vale1:a@42 -f tx', /there is none of that id/],
    ['-i vale1:a@conf:foo=1 -f tx', /unknown key: 'foo'/],
    ['-i nosuchif -f tx', /no network interface of that name/],
    ['-i lo -f tx', /loopback/],
    ['-i vale1:lo -f tx', /must be attached first/],
    ['-i vale1:a -f tx -P /nonexistent.pcap', /Cannot read capture "\/nonexistent\.pcap"/],
  ] as const) {
    test(args, () => complains('pkt-gen', args.split(' '), pattern));
  }

  test('a truncated capture', () => {
    const file = path.join(scratch, 'cut.pcap');
    const header = Buffer.alloc(24 + 16 + 10);
    header.writeUInt32LE(0xa1b2c3d4, 0);
    header.writeUInt32LE(1, 20);
    header.writeUInt32LE(60, 32);
    fs.writeFileSync(file, header);
    return complains(
      'pkt-gen',
      ['-i', 'vale1:a', '-f', 'tx', '-P', file],
      /cut off in record 1 at byte 24: 60 bytes are announced, 10 are there/,
    );
  });

  test('a capture that is none', () => {
    const file = path.join(scratch, 'text.pcap');
    fs.writeFileSync(file, 'this is not a capture, by any means');
    return complains('pkt-gen', ['-i', 'vale1:a', '-f', 'tx', '-P', file], /is not a pcap file/);
  });

  test('no module, and NETMAP_AUTOLOAD=0', () =>
    complains(
      'pkt-gen',
      ['-i', 'vale1:a', '-f', 'tx'],
      /no netmap module is loaded in .*; load it with "nm-loader l"/,
      {
        NETMAP_AUTOLOAD: '0',
        NETMAP_DIR: path.join(scratch, 'nobody'),
      },
    ));

  test('no permission on the runtime directory', {
    skip: process.getuid?.() === 0 ? false : 'needs root, to run as somebody else',
  }, async () => {
    const closed = path.join(scratch, 'closed');
    fs.mkdirSync(closed, { mode: 0o700 });
    fs.chmodSync(scratch, 0o755);
    const program = path.join(ROOT, 'bin/pkt-gen');
    const { code, stderr } = await run(
      'setpriv',
      ['--reuid=65534', '--regid=65534', '--clear-groups', program, '-i', 'vale1:a', '-f', 'tx'],
      { NETMAP_DIR: closed },
    );
    assert.notEqual(code, 0);
    assert.match(stderr, /EACCES|belongs to uid 0; set NETMAP_DIR to a directory of your own/);
  });
});

describe('nm-dump and nm-loader', () => {
  test('nm-dump without -w', () =>
    complains('nm-dump', ['-i', 'vale1:a'], /both -i PORT and -w FILE are needed/));
  test('nm-dump to a file that cannot be', () =>
    complains('nm-dump', ['-i', 'vale1:a', '-w', '/nonexistent/x.pcap'], /Cannot write the capture/));
  test('nm-dump -n 0', () =>
    complains('nm-dump', ['-i', 'vale1:a', '-w', '-', '-n', '0'], /-n takes a whole number from 1/));

  test('loading twice, unloading with ports open and with nothing loaded', async () => {
    const env = { NETMAP_DIR: path.join(scratch, 'loader') };
    await complains('nm-loader', ['u'], /no module is loaded/, env);
    assert.equal((await run('nm-loader', ['l'], env)).code, 0);
    await complains('nm-loader', ['l'], /it is loaded already/, env);
    const port = await open('vale0:a', { directory: env.NETMAP_DIR });
    await complains('nm-loader', ['u'], /1 port is open; close them, or force it with "nm-loader u -f"/, env);
    assert.match((await run('nm-loader', ['s'], env)).stdout, /vale0:a {2}vale, memory 2/);
    assert.equal((await run('nm-loader', ['u', '-f'], env)).code, 0);
    await complains('nm-loader', ['s'], /no module is loaded/, env);
    await port.close();
    assert.deepEqual(fs.readdirSync(env.NETMAP_DIR), []);
  });
});

describe('the library', () => {
  test('more memory than the machine has', () =>
    refuses(
      open('vale1:big@conf:rings=16,slots=4096', { extraBufs: 524288 }).then(async (port) => {
        await port.close();
        return open('valebig:a', { extraBufs: 600_000 });
      }),
      'EINVAL',
      /0 to 524288 are allowed/,
    ));

  test('memory: the sum of many ports is refused before the machine runs out', async () => {
    const ports = [];
    try {
      for (let i = 0; i < 64; i++) ports.push(await open(`valebig:p${i}`, { extraBufs: 524288 }));
      assert.fail('64 ports of a gigabyte each were opened');
    } catch (error) {
      assert.equal((error as { code?: string }).code, 'ENOMEM', String(error));
      assert.match((error as Error).message, /MiB/);
    } finally {
      await Promise.all(ports.map((port) => port.close()));
    }
    assert.deepEqual(await portNames(), []);
  });

  test("slots out of range in the program's own ring are contained", async () => {
    await using([open('vale4:a'), open('vale4:b')], (a, b) => {
      a.txRings[0]!.publish(5000);
      assert.notEqual(a.txSync(), 0);
      send(a, [frame({ mark: 3 })]);
      assert.deepEqual(marks(b), [3]);
    });
  });
});

describe('the control socket', { timeout: 120_000 }, () => {
  const socketFile = path.join(directory, 'netmapd.sock');

  /** What the module answers to raw text, until it hangs up or has said something. */
  function say(text: string): Promise<string> {
    return new Promise((resolve, reject) => {
      const socket = net.connect(socketFile, () => socket.write(text));
      let answer = '';
      socket.setEncoding('utf8').on('data', (chunk) => {
        answer += chunk;
        if (answer.includes('\n')) socket.destroy();
      });
      socket.on('close', () => resolve(answer));
      socket.on('error', reject);
    });
  }

  for (const [what, text, pattern] of [
    ['no JSON', 'hello?\n', /it is not JSON/],
    ['JSON of another kind', '[1,2]\n', /Cannot accept the request/],
    ['an unknown operation', '{"id":7,"op":"explode"}\n', /"id":7,.*Cannot accept the request/],
    ['a field of the wrong type', '{"id":8,"op":"release","registration":"x"}\n', /\\"registration\\"/],
    ['a port before hello', '{"id":9,"op":"release","registration":1}\n', /before \\"hello\\"/],
    ['a line without end', 'x'.repeat(70_000), /more than 65536 bytes/],
    [
      'a name too long',
      `{"id":1,"op":"portInfo","name":"vale0:${'a'.repeat(100)}","mode":1,"ringId":0,"flags":0,"memId":0,"txRings":0,"rxRings":0,"txSlots":0,"rxSlots":0,"extraBufs":0}\n`,
      /longer than 63/,
    ],
  ] as const) {
    test(`${what} is answered with a sentence, and nobody else notices`, async () => {
      await using([open('vale5:a')], async () => {
        assert.match(await say(text), pattern);
        assert.ok((await status()).ports.some((port) => port.name === 'vale5:a'));
      });
    });
  }

  test('a client that never ends its line is dropped', async () => {
    await using([open('vale5:a')], async () => {
      assert.match(await say('{"id":1,'), /Cannot wait longer than/);
    });
  });

  test('a client that vanishes takes its ports with it', async () => {
    await using([open('vale5:keep')], async () => {
      await run('pkt-gen', ['-i', 'vale5:gone', '-f', 'tx', '-n', '1']);
      await until(async () => (await portNames()).length === 1, 'its port to go');
    });
  });
});
