// Objective: what README and docs show works.
// Operations: every shell line and every TypeScript example in them is run as it stands; a line that would run
// for ever is interrupted once it has said that it runs.

import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { after, before, describe, test } from 'node:test';
import { open, unload } from '../../src/client/index.ts';
import { CAPTURES, frame, NO_CAPTURES, ownModule, Program, ROOT, send, until } from '../harness.ts';

ownModule();
/** Inside the project, so that `import 'netmap'` finds it by its name. */
const scratch = fs.mkdtempSync(path.join(ROOT, 'build/docs-'));
after(() => fs.rmSync(scratch, { recursive: true, force: true }));
fs.chmodSync(scratch, 0o755); // Other users run programs there, too.
fs.symlinkSync(path.join(ROOT, 'bin'), path.join(scratch, 'bin'));
fs.mkdirSync(path.join(scratch, 'build'));
fs.symlinkSync(path.join(ROOT, 'build/lookup'), path.join(scratch, 'build/lookup'));
if (!NO_CAPTURES) fs.copyFileSync(path.join(CAPTURES, 'mixed-4k.pcap'), path.join(scratch, 'capture.pcap'));

const DOCS = fs.readdirSync(path.join(ROOT, 'docs')).filter((file) => file.endsWith('.md'));
const FILES = ['README.md', ...DOCS.map((file) => `docs/${file}`)];

/** Blocks of a language in a document, in order. */
function blocks(file: string, language: string): string[] {
  const text = fs.readFileSync(path.join(ROOT, file), 'utf8');
  return [...text.matchAll(new RegExp(`^\`\`\`${language}\\n(.*?)^\`\`\``, 'gms'))].map(
    ([, block]) => block!,
  );
}

/** These set up or test the project: CI has run them to get here. */
const MAKE = /^make( |$)/;
const NEEDS: readonly (readonly [RegExp, string | false])[] = [
  [/tcpdump/, spawnSync('tcpdump', ['--version']).error ? 'needs tcpdump' : false],
  [/capture\.pcap/, NO_CAPTURES],
  [/ip -?n|netns/, process.getuid?.() === 0 ? false : 'needs root, to make network namespaces'],
];

/** Runs a line in a shell; one that says that it runs, and goes on, is interrupted as by control-C. */
async function runLine(line: string): Promise<{ ok: boolean; stderr: string }> {
  const shell = spawn('bash', ['-c', line], {
    cwd: scratch,
    detached: true,
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let stderr = '';
  shell.stderr.on('data', (text) => {
    stderr += text;
  });
  const ended = new Promise<number | null>((resolve) => shell.once('close', resolve));
  const isOver = () => shell.exitCode !== null || shell.signalCode !== null;
  const runs = /main_thread|waiting for initial|reading from|Ready to go/;
  await until(() => isOver() || runs.test(stderr), line).catch((error) => {
    process.kill(-shell.pid!, 'SIGKILL');
    throw error;
  });
  const interrupted = !isOver();
  if (interrupted) process.kill(-shell.pid!, 'SIGINT');
  const code = await ended;
  return { ok: interrupted ? !/Cannot/.test(stderr) : code === 0, stderr };
}

for (const file of FILES) {
  const lines = blocks(file, 'sh')
    .flatMap((block) => block.split('\n'))
    .map((line) => line.replace(/ # .*/, '').trim())
    .filter((line) => line !== '' && !MAKE.test(line));
  if (lines.length === 0) continue;
  describe(`commands of ${file}`, { timeout: 300_000 }, () => {
    before(() => unload({ force: true }).catch(() => {})); // As on a fresh machine.
    for (const line of lines) {
      const skip = NEEDS.find(([pattern, reason]) => pattern.test(line) && reason)?.[1] ?? false;
      test(line, { skip }, async () => {
        const { ok, stderr } = await runLine(line);
        assert.ok(ok, stderr);
      });
    }
  });
}

describe('TypeScript of README and guide', { timeout: 300_000 }, () => {
  const examples = FILES.flatMap((file) =>
    blocks(file, 'ts').map((text, nth) => ({
      text,
      file: /^\/\/ (\S+\.ts)\n/.exec(text)?.[1] ?? `${path.basename(file, '.md').toLowerCase()}-${nth}.ts`,
    })),
  );
  for (const { text, file } of examples) fs.writeFileSync(path.join(scratch, file), text);

  test('every example is well typed', () => {
    fs.writeFileSync(
      path.join(scratch, 'tsconfig.json'),
      JSON.stringify({
        extends: '../../tsconfig.json',
        compilerOptions: { rootDir: '.', outDir: 'js', declaration: false },
        include: ['*.ts'],
      }),
    );
    const { status, stdout } = spawnSync('npx', ['--no-install', 'tsc', '-p', scratch], {
      cwd: ROOT,
      encoding: 'utf8',
    });
    assert.equal(status, 0, stdout);
  });

  test('README: batches of a port', async () => {
    const program = new Program(process.execPath, [path.join(scratch, 'js/readme-0.js')]);
    using sender = await open('vale1:a');
    await until(() => {
      send(sender, [frame()]);
      return /60 Uint8Array/.test(program.stdout) || program.process.exitCode !== null;
    }, 'the example to print a frame');
    await program.stop();
    assert.match(program.stdout, /^60 Uint8Array\(60\)/, program.stderr);
  });

  test('guide: sending and receiving', async () => {
    const program = new Program(process.execPath, [path.join(scratch, 'js/guide-2.js')]);
    const { code, stdout, stderr } = await program.ended;
    assert.deepEqual([code, stdout], [0, '60\n'], stderr);
  });

  test('guide: counters', async () => {
    const program = new Program(process.execPath, [path.join(scratch, 'js/counters.js')]);
    const { code, stdout, stderr } = await program.ended;
    assert.equal(code, 0, stderr);
    assert.match(stdout, /^vale3:a tx0 0 \{\}$/m);
  });

  test('guide: memory and offsets', async () => {
    const program = new Program(process.execPath, [path.join(scratch, 'js/memory.js')]);
    const { code, stdout, stderr } = await program.ended;
    assert.deepEqual([code, stdout], [0, '64 60 true\n'], stderr);
  });

  test('guide: a worker', async () => {
    const program = new Program(process.execPath, [path.join(scratch, 'js/main.js')]);
    const { code, stdout, stderr } = await program.ended;
    assert.deepEqual([code, stdout], [0, 'sent on ring 1\n'], stderr);
  });

  test("guide: a switch's own lookup", async () => {
    const program = new Program(process.execPath, [path.join(scratch, 'js/lookup.js')]);
    const { code, stdout, stderr } = await program.ended;
    assert.deepEqual([code, stdout], [0, '1 frame\n'], stderr);
  });
});
