// Prints what kernel objects of netmap exist on this Windows, one a line, and which of the pipes named exist.

import koffi from 'koffi';

const ntdll = koffi.load('ntdll.dll');
const NtOpenDirectoryObject = ntdll.func(
  'int32_t NtOpenDirectoryObject(void *handle, uint32_t access, void *attributes)',
);
const NtQueryDirectoryObject = ntdll.func(
  'int32_t NtQueryDirectoryObject(int64_t directory, void *buffer, uint32_t size, bool single, bool restart, void *context, void *length)',
);
const QUERY = 1;

/** Names in a directory of the kernel's objects. */
function namesIn(directory: string): string[] {
  const text = Buffer.from(directory, 'utf16le');
  const name = new BigUint64Array([
    BigInt(text.length) | (BigInt(text.length) << 16n),
    BigInt(koffi.address(text)),
  ]);
  const attributes = new BigUint64Array([48n, 0n, BigInt(koffi.address(name)), 0n, 0n, 0n]);
  const handle = new BigInt64Array(1);
  if (NtOpenDirectoryObject(handle, QUERY, attributes) !== 0) return [];
  const names: string[] = [];
  const buffer = Buffer.alloc(4096);
  const context = new Uint32Array(1);
  // One entry a call: two UNICODE_STRINGs, name and type, then their characters.
  while (NtQueryDirectoryObject(handle[0], buffer, buffer.length, true, false, context, null) === 0) {
    const at = Number(buffer.readBigUInt64LE(8) - BigInt(koffi.address(buffer)));
    names.push(buffer.toString('utf16le', at, at + buffer.readUInt16LE(0)));
  }
  return names;
}

const objects = ['\\BaseNamedObjects', '\\Sessions\\1\\BaseNamedObjects'].flatMap(namesIn);
const WaitNamedPipeW = koffi.load('kernel32.dll').func('bool WaitNamedPipeW(str16 name, uint32_t ms)');
const found = [
  ...new Set(objects.filter((name) => name.startsWith('netmap-'))),
  ...process.argv.slice(2).filter((name) => WaitNamedPipeW(name, 1000)),
];
if (found.length > 0) process.stdout.write(`${found.sort().join('\n')}\n`);
