// Tests the Windows side, elsewhere under Wine: the experiments, between Windows processes that this one starts; then the suites
// that need no network interface of the system's, the same compiled files run by Windows' Node.

import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { prepareWine, stopWine, WindowsProgram } from './wine.ts';

/** The longest first. */
const SUITES = [
  'property/rings',
  'xdp/ports',
  'conformance/lookup',
  'fault/fuzz',
  'conformance/requests',
  'conformance/layout',
  'conformance/port-name',
  'conformance/vale',
  'conformance/pipe',
  'conformance/monitor',
  'conformance/persistent',
  'conformance/offload',
  'conformance/control-api',
  'e2e/library',
  'e2e/bridge',
  'windows/system',
  'xdp/driver',
];
/** Only by name: it starts hundreds of programs, which takes Wine ten minutes. */
const ON_REQUEST = ['conformance/integration'];
const LIMIT_MS = 180_000;
const LIMIT_ON_REQUEST_MS = 1_800_000;
/** Wine is slow at starting things, not at running them; noise of the same kind, less of it. */
const ENVIRONMENT = { NETMAP_RUNS: process.env['NETMAP_RUNS'] ?? '3000' };

const fileOf = (name: string) => (name.startsWith('windows/') ? `test/${name}.js` : `test/${name}.test.js`);

/** On Windows itself: the suites, without the experiments, whose programs get Unix' signals. */
function here(names: readonly string[]): boolean {
  const files = names.map((name) => fileURLToPath(new URL(`../${fileOf(name)}`, import.meta.url)));
  const { status } = spawnSync(process.execPath, ['--test', '--test-concurrency=1', ...files], {
    stdio: 'inherit',
    env: { ...process.env, ...ENVIRONMENT },
  });
  return status === 0;
}

async function suite(name: string): Promise<boolean> {
  const file = fileOf(name);
  const started = Date.now();
  const program = new WindowsProgram(file, [], ENVIRONMENT);
  const limitMs = ON_REQUEST.includes(name) ? LIMIT_ON_REQUEST_MS : LIMIT_MS;
  const timer = setTimeout(() => program.stop('SIGKILL'), limitMs);
  const code = await program.ended;
  clearTimeout(timer);
  const count = (what: string) => new RegExp(`^# ${what} (\\d+)`, 'm').exec(program.stdout)?.[1] ?? '?';
  console.log(
    `${code === 0 ? '✔' : '✖'} ${name}: ${count('pass')} passed, ${count('fail')} failed, ${count('skipped')} skipped (${((Date.now() - started) / 1000).toFixed(0)} s)`,
  );
  if (code !== 0) console.log(program.stdout, program.stderr);
  program.forget();
  return code === 0;
}

/** Two at a time: most of the time one of them waits for Wine to start something. */
async function suites(names: readonly string[]): Promise<boolean> {
  const left = [...names];
  const results: boolean[] = [];
  const work = async () => {
    for (let name = left.shift(); name; name = left.shift()) results.push(await suite(name));
  };
  await Promise.all([work(), work()]);
  return results.every(Boolean);
}

async function main(wanted: readonly string[]): Promise<boolean> {
  const chosen = (name: string) => wanted.every((part) => name.includes(part));
  const names = [...SUITES.filter(chosen), ...ON_REQUEST.filter((name) => wanted.includes(name))];
  if (process.platform === 'win32') return here(names);
  const reason = prepareWine();
  if (reason) {
    console.log(`Windows tests are skipped: Wine ${reason}`);
    return true;
  }
  let good = true;
  try {
    if (chosen('windows/experiments')) {
      const experiments = fileURLToPath(new URL('../test/windows/experiments.js', import.meta.url));
      const { status } = spawnSync(process.execPath, ['--test', '--test-reporter=spec', experiments], {
        stdio: 'inherit',
      });
      good = status === 0;
    }
    good = (await suites(names)) && good;
  } finally {
    stopWine();
  }
  return good;
}

process.exitCode = (await main(process.argv.slice(2))) ? 0 : 1;
