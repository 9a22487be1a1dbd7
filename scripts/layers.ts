// Arrows go one way: which folder may import which.  `npm run check` fails when one goes back.

import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));

/** Folder by folder, what it may import besides itself. */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  'src/abi': [],
  'src/os': ['src/abi'],
  'src/mem': ['src/abi', 'src/os'],
  'src/dataplane': ['src/abi', 'src/os', 'src/mem'],
  'src/protocol': ['src/abi', 'src/os'],
  'src/module/binary': ['src/abi', 'src/os', 'src/protocol', 'src/module'],
  'src/nic/linux': ['src/abi', 'src/os', 'src/nic'],
  'src/nic/windows': ['src/abi', 'src/os', 'src/nic'],
  'src/nic': ['src/abi', 'src/os', 'src/nic/linux', 'src/nic/windows'],
  'src/module': [
    'src/abi',
    'src/os',
    'src/mem',
    'src/dataplane',
    'src/protocol',
    'src/nic',
    'src/module/binary',
  ],
  'src/client': ['src/abi', 'src/os', 'src/mem', 'src/dataplane', 'src/protocol'],
  // Run by the module as threads of its own; of the module they know what they are started with.
  'src/forward': ['src/abi', 'src/os', 'src/client', 'src/module', 'src/nic/windows'],
  assembly: ['src/abi'],
  'apps/pcap': ['src/client'],
  'apps/pkt-gen': ['src/client', 'apps/pcap'],
  'apps/nm-dump': ['src/client', 'apps/pcap'],
  'apps/nm-loader': ['src/client'],
  'apps/vale-ctl': ['src/client'],
  'apps/nm-ctl': ['src/client'],
  'apps/bridge': ['src/client'],
  'apps/functional': ['src/client', 'apps/pkt-gen'],
};

/** Only here is anything called through the FFI. */
const FFI = { module: 'koffi', folder: 'src/os' };

function folderOf(file: string): string {
  return Object.keys(MAY_IMPORT).find((folder) => file.startsWith(`${folder}/`)) ?? path.dirname(file);
}

const complaints: string[] = [];
let arrows = 0;
for (const top of ['src', 'apps', 'assembly']) {
  for (const name of fs.readdirSync(path.join(ROOT, top), { recursive: true, encoding: 'utf8' })) {
    if (!name.endsWith('.ts') || name.endsWith('.test.ts')) continue;
    const file = path.join(top, name);
    const folder = folderOf(file);
    if (!(folder in MAY_IMPORT))
      complaints.push(`${file}: folder ${folder} has no place in scripts/layers.ts`);
    const text = fs.readFileSync(path.join(ROOT, file), 'utf8');
    for (const [, target] of text.matchAll(/\bfrom '([^']+)'/g)) {
      if (target === FFI.module && folder !== FFI.folder)
        complaints.push(`${file}: only ${FFI.folder} may import ${FFI.module}`);
      if (!target!.startsWith('.')) continue;
      arrows++;
      const imported = folderOf(path.join(path.dirname(file), target!));
      if (imported !== folder && !MAY_IMPORT[folder]?.includes(imported))
        complaints.push(`${file} must not import ${target} (${folder} -> ${imported})`);
    }
  }
}
for (const complaint of complaints) console.error(complaint);
console.log(`${arrows} imports, ${complaints.length} against the layers`);
process.exitCode = complaints.length > 0 ? 1 : 0;
