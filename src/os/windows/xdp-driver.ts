// XDP-for-Windows through the FFI, without its DLL: the driver's device, opened with an attribute that says what for, and
// requests to what was opened (xdp-api.ts).  Written from the headers; never run on a system that has the driver.

import koffi from 'koffi';
import { type ErrnoName, NetmapError } from '../../abi/errors.ts';
import * as w from './win32.ts';
import * as api from './xdp-api.ts';

const ntdll = koffi.load('ntdll.dll');
const NtCreateFile = ntdll.func(
  'int32_t NtCreateFile(void *handle, uint32_t access, void *attributes, void *status, void *allocation, uint32_t fileAttributes, uint32_t share, uint32_t disposition, uint32_t options, void *ea, uint32_t eaLength)',
);
const NtDeviceIoControlFile = ntdll.func(
  'int32_t NtDeviceIoControlFile(int64_t file, int64_t event, int64_t routine, int64_t context, int64_t status, uint32_t code, void *input, uint32_t inputLength, void *output, uint32_t outputLength)',
);

const GENERIC_READ_WRITE_SYNCHRONIZE = 0xc0100000;
const FILE_SHARE_READ_WRITE = 3;
const FILE_CREATE = 2;
const OBJ_CASE_INSENSITIVE = 0x40;
const STATUS_PENDING = 0x103;

/** What the driver's answers mean, by NTSTATUS. */
const ERRNO: ReadonlyMap<number, ErrnoName> = new Map([
  [0xc0000022, 'EPERM'], //       access denied
  [0xc0000225, 'ENXIO'], //       not found
  [0xc00002b6, 'ENXIO'], //       device removed
  [0xc0000056, 'ENXIO'], //       delete pending
  [0xc0000035, 'EBUSY'], //       name collision
  [0xc0000043, 'EBUSY'], //       sharing violation
  [0x80000011, 'EBUSY'], //       device busy
  [0xc000009a, 'ENOMEM'], //      insufficient resources
  [0xc0000017, 'ENOMEM'], //      no memory
  [0xc00000bb, 'EOPNOTSUPP'], //  not supported
]);

/** Blocks whose addresses go to the driver must not move: a small array may, this does not. */
const block = new Uint8Array(new ArrayBuffer(4096));
const blockAddress = w.addressOf(block);
const blockView = new DataView(block.buffer);
const STATUS = 0;
const ATTRIBUTES = 64;
const NAME = 128;
const TEXT = 192;
const VALUE = 1024;

function failed(status: number, action: string): NetmapError {
  const number = status >>> 0;
  return new NetmapError(
    ERRNO.get(number) ?? 'EINVAL',
    `Cannot ${action}: XDP-for-Windows answered status 0x${number.toString(16)}`,
  );
}

/** OBJECT_ATTRIBUTES of the driver's device, in the block. */
function deviceAttributes(): Uint8Array {
  const text = Buffer.from(api.DEVICE, 'utf16le');
  block.fill(0, ATTRIBUTES, TEXT);
  block.set(text, TEXT);
  blockView.setUint16(NAME, text.length, true);
  blockView.setUint16(NAME + 2, text.length, true);
  blockView.setBigUint64(NAME + 8, BigInt(blockAddress + TEXT), true);
  blockView.setUint32(ATTRIBUTES, 48, true);
  blockView.setBigUint64(ATTRIBUTES + 16, BigInt(blockAddress + NAME), true);
  blockView.setUint32(ATTRIBUTES + 24, OBJ_CASE_INSENSITIVE, true);
  return block.subarray(ATTRIBUTES);
}

/** Opens an object of the driver's: its handle, or the status. */
function tryOpen(attribute: Uint8Array): { handle: number; status: number } {
  const handle = new BigInt64Array(1);
  const status: number = NtCreateFile(
    handle,
    GENERIC_READ_WRITE_SYNCHRONIZE,
    deviceAttributes(),
    block.subarray(STATUS),
    null,
    0,
    FILE_SHARE_READ_WRITE,
    FILE_CREATE,
    0,
    attribute,
    attribute.length,
  );
  return { handle: Number(handle[0]), status };
}

function open(attribute: Uint8Array, action: string): number {
  const { handle, status } = tryOpen(attribute);
  if (status !== 0) throw failed(status, action);
  return handle;
}

/** A request that is done when this returns: bytes that it answered. */
function request(
  handle: number,
  code: number,
  input: Uint8Array,
  action: string,
  output?: Uint8Array,
): number {
  const event: number = w.CreateEventW(null, true, false, null);
  try {
    const at = blockAddress + STATUS;
    let status: number = NtDeviceIoControlFile(
      handle,
      event,
      0,
      0,
      at,
      code,
      input,
      input.length,
      output ?? null,
      output?.length ?? 0,
    );
    if (status === STATUS_PENDING) {
      w.WaitForSingleObject(event, api.INFINITE);
      status = blockView.getInt32(STATUS, true);
    }
    if (status !== 0) throw failed(status, action);
    return Number(blockView.getBigUint64(STATUS + 8, true));
  } finally {
    w.CloseHandle(event);
  }
}

/** Where the driver writes the outcome of a wait, by socket; kept for the next of that number: it may write late. */
const outcomes = new Map<number, Uint8Array>();

function outcomeOf(socket: number): number {
  let outcome = outcomes.get(socket);
  if (!outcome) {
    outcome = new Uint8Array(new ArrayBuffer(64));
    outcomes.set(socket, outcome);
  }
  return w.addressOf(outcome);
}

/** No device, path or driver of that name. */
const NOT_THERE: ReadonlySet<number> = new Set([0xc0000034, 0xc000003a, 0xc000000e]);
const INSTALL =
  'take the package XDP-for-Windows.Runtime (1.3 or later) from nuget.org and, as administrator, run its "xdp-setup.ps1 -Install xdp"';

export const driver: api.XdpDriver = {
  missing() {
    const opened = tryOpen(api.openAttribute(api.OBJECT_XSK));
    const status = opened.status >>> 0;
    if (status === 0) {
      w.CloseHandle(opened.handle);
      return undefined;
    }
    if (NOT_THERE.has(status)) return { cause: 'XDP-for-Windows is not installed', remedy: INSTALL };
    if (ERRNO.get(status) === 'EPERM')
      return {
        cause: 'XDP-for-Windows lets administrators in only',
        remedy: 'run netmapd as one, or have one run "xdpcfg.exe SetDeviceSddl" for this user',
      };
    const found = `XDP-for-Windows refuses a socket with status 0x${status.toString(16)}`;
    return { cause: found, remedy: INSTALL };
  },

  createSocket: () => open(api.openAttribute(api.OBJECT_XSK), 'make an XDP socket'),

  setOption(socket, option, value) {
    block.set(value, VALUE);
    const input = api.setSockoptIn(option, blockAddress + VALUE, value.length);
    request(socket, api.IOCTL_SETSOCKOPT, input, `set option ${option} of an XDP socket`);
  },

  getOption(socket, option, size) {
    const output = new Uint8Array(size);
    const action = `read option ${option} of an XDP socket`;
    const length = request(socket, api.IOCTL_GETSOCKOPT, api.u32s(option), action, output);
    return output.subarray(0, length);
  },

  bind(socket, ifIndex, queue, flags) {
    const action = `bind an XDP socket to queue ${queue} of interface ${ifIndex}`;
    request(socket, api.IOCTL_BIND, api.u32s(ifIndex, queue, flags), action);
  },

  activate(socket) {
    request(socket, api.IOCTL_ACTIVATE, api.u32s(0), 'activate an XDP socket');
  },

  poke(socket, flags) {
    request(socket, api.IOCTL_NOTIFY, api.u32s(flags, 0), 'tell XDP-for-Windows of frames');
  },

  wait(socket, flags, event) {
    const input = api.u32s(flags, api.INFINITE);
    const outcome = outcomeOf(socket);
    const status: number = NtDeviceIoControlFile(
      socket,
      event,
      0,
      0,
      outcome,
      api.IOCTL_NOTIFY_ASYNC,
      input,
      input.length,
      null,
      0,
    );
    if (status !== 0 && status !== STATUS_PENDING) throw failed(status, 'wait for XDP-for-Windows');
  },

  createProgram(ifIndex, hook, queue, rule) {
    block.set(api.programRule(rule), VALUE);
    const plan = api.programOpen(ifIndex, hook, queue, blockAddress + VALUE);
    return open(api.openAttribute(api.OBJECT_PROGRAM, plan), `hang a program on interface ${ifIndex}`);
  },

  close: (handle) => void w.CloseHandle(handle),

  memoryAt: w.bytesAt,
};
