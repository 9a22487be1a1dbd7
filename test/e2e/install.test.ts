// Objective: nm-loader install and uninstall: a unit that systemd can read, nothing left of it afterwards, truth in
// messages and exit codes.
// Operations: by a user whose configuration is a directory of the test's; root becomes nobody for it.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { after, describe, test } from 'node:test';
import { ROOT, run } from '../harness.ts';

const home = fs.mkdtempSync(path.join(os.tmpdir(), 'netmap-install-'));
after(() => fs.rmSync(home, { recursive: true, force: true }));
const ROOT_USER = process.getuid?.() === 0;
if (ROOT_USER) fs.chownSync(home, 65534, 65534);

function loader(command: string) {
  const program = path.join(ROOT, 'bin/nm-loader');
  const environment = { XDG_CONFIG_HOME: home, NETMAP_DIR: path.join(home, 'run "time" $x') };
  return ROOT_USER
    ? run('setpriv', ['--reuid=65534', '--regid=65534', '--clear-groups', program, command], environment)
    : run(program, [command], environment);
}

const skip = process.platform === 'linux' ? false : 'is about systemd';

describe('nm-loader install', { skip, timeout: 120_000 }, () => {
  const unit = path.join(home, 'systemd/user/netmapd.service');

  test('writes a unit and enables it; a second time is refused', async () => {
    const { code, stdout, stderr } = await loader('install');
    assert.equal(code, 0, stderr);
    assert.match(
      stdout,
      /^netmap installed as .*netmapd\.service, (and started|but not started now \(.+\));/,
    );
    const text = fs.readFileSync(unit, 'utf8');
    assert.match(text, /^ExecStart=".*node.*" ".*src\/module\/main\.js"$/m);
    assert.match(text, /^Environment="NETMAP_DIR=.*run \\"time\\" \$x"$/m);
    assert.equal(fs.readlinkSync(path.join(home, 'systemd/user/default.target.wants/netmapd.service')), unit);
    const again = await loader('install');
    assert.equal(again.code, 1);
    assert.match(again.stderr, /netmapd\.service exists; remove it with "nm-loader uninstall"/);
  });

  test('uninstall removes all of it; a second time is refused', async () => {
    assert.equal((await loader('uninstall')).code, 0);
    assert.deepEqual(fs.readdirSync(path.join(home, 'systemd/user')), []);
    const again = await loader('uninstall');
    assert.equal(again.code, 1);
    assert.match(again.stderr, /^nm-loader: Cannot uninstall netmap: there is no /);
  });
});
