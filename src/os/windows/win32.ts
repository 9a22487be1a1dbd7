import koffi from 'koffi';
import { type ErrnoName, NetmapError } from '../../abi/errors.ts';

// Windows through the FFI: functions under their own names, handles and addresses as numbers (user addresses are
// below 2^47).  A call costs some 60 ns plus what it does: per batch or per sleep, never per packet.

const kernel32 = koffi.load('kernel32.dll');
const advapi32 = koffi.load('advapi32.dll');
const ntdll = koffi.load('ntdll.dll');
const ws2 = koffi.load('ws2_32.dll');

export const CURRENT_PROCESS = -1;
export const CURRENT_THREAD = -2;
export const ERROR_ALREADY_EXISTS = 183;

// ---- memory ----
export const VirtualAlloc = kernel32.func(
  'int64_t VirtualAlloc(int64_t address, int64_t size, uint32_t type, uint32_t protect)',
);
export const VirtualFree = kernel32.func('bool VirtualFree(int64_t address, int64_t size, uint32_t type)');
export const VirtualQuery = kernel32.func('size_t VirtualQuery(int64_t address, void *info, size_t size)');
export const CreateFileMappingW = kernel32.func(
  'int64_t CreateFileMappingW(int64_t file, void *attributes, uint32_t protect, uint32_t high, uint32_t low, str16 name)',
);
export const OpenFileMappingW = kernel32.func(
  'int64_t OpenFileMappingW(uint32_t access, bool inherit, str16 name)',
);
export const MapViewOfFileEx = kernel32.func(
  'int64_t MapViewOfFileEx(int64_t section, uint32_t access, uint32_t high, uint32_t low, size_t size, int64_t address)',
);
export const UnmapViewOfFile = kernel32.func('bool UnmapViewOfFile(int64_t address)');
export const NtQuerySection = ntdll.func(
  'int32_t NtQuerySection(int64_t section, int32_t kind, void *info, size_t size, void *length)',
);
export const GlobalMemoryStatusEx = kernel32.func('bool GlobalMemoryStatusEx(void *status)');

// ---- waiting ----
export const CreateEventW = kernel32.func(
  'int64_t CreateEventW(void *attributes, bool manual, bool signalled, str16 name)',
);
export const OpenEventW = kernel32.func('int64_t OpenEventW(uint32_t access, bool inherit, str16 name)');
export const SetEvent = kernel32.func('bool SetEvent(int64_t event)');
export const ResetEvent = kernel32.func('bool ResetEvent(int64_t event)');
export const WaitForSingleObject = kernel32.func('uint32_t WaitForSingleObject(int64_t object, uint32_t ms)');
export const WaitForMultipleObjects = kernel32.func(
  'uint32_t WaitForMultipleObjects(uint32_t count, const void *objects, bool all, uint32_t ms)',
);
export const CreateWaitableTimerExW = kernel32.func(
  'int64_t CreateWaitableTimerExW(void *attributes, str16 name, uint32_t flags, uint32_t access)',
);
export const SetWaitableTimer = kernel32.func(
  'bool SetWaitableTimer(int64_t timer, const void *due, int32_t period, void *routine, void *argument, bool resume)',
);
export const RegisterWaitForSingleObject = kernel32.func(
  'bool RegisterWaitForSingleObject(void *wait, int64_t object, int64_t callback, int64_t context, uint32_t ms, uint32_t flags)',
);
export const UnregisterWaitEx = kernel32.func('bool UnregisterWaitEx(int64_t wait, int64_t event)');
const GetModuleHandleW = kernel32.func('int64_t GetModuleHandleW(str16 name)');
const GetProcAddress = kernel32.func('int64_t GetProcAddress(int64_t module, str name)');

// ---- sockets ----
export const getsockopt = ws2.func(
  'int getsockopt(int64_t socket, int level, int option, void *value, void *length)',
);
export const WSAPoll = ws2.func('int WSAPoll(void *fds, uint32_t count, int timeout)');
export const WSAEventSelect = ws2.func('int WSAEventSelect(int64_t socket, int64_t event, int32_t events)');

// ---- handles, processes, rights ----
export const CloseHandle = kernel32.func('bool CloseHandle(int64_t handle)');
export const DuplicateHandle = kernel32.func(
  'bool DuplicateHandle(int64_t from, int64_t handle, int64_t to, void *result, uint32_t access, bool inherit, uint32_t options)',
);
export const OpenProcess = kernel32.func('int64_t OpenProcess(uint32_t access, bool inherit, uint32_t pid)');
export const GetProcessTimes = kernel32.func(
  'bool GetProcessTimes(int64_t process, void *creation, void *exit, void *kernel, void *user)',
);
export const SetThreadAffinityMask = kernel32.func(
  'uint64_t SetThreadAffinityMask(int64_t thread, uint64_t mask)',
);
export const SwitchToThread = kernel32.func('bool SwitchToThread()');
export const CreateFileW = kernel32.func(
  'int64_t CreateFileW(str16 path, uint32_t access, uint32_t share, void *attributes, uint32_t disposition, uint32_t flags, int64_t template)',
);
export const NtQueryObject = ntdll.func(
  'int32_t NtQueryObject(int64_t handle, int32_t kind, void *info, uint32_t size, void *length)',
);
export const OpenProcessToken = advapi32.func(
  'bool OpenProcessToken(int64_t process, uint32_t access, void *token)',
);
export const GetTokenInformation = advapi32.func(
  'bool GetTokenInformation(int64_t token, int32_t kind, void *info, uint32_t size, void *length)',
);
export const ConvertStringSecurityDescriptorToSecurityDescriptorW = advapi32.func(
  'bool ConvertStringSecurityDescriptorToSecurityDescriptorW(str16 text, uint32_t revision, void *descriptor, void *size)',
);
export const SetKernelObjectSecurity = advapi32.func(
  'bool SetKernelObjectSecurity(int64_t handle, uint32_t what, int64_t descriptor)',
);

const GetLastError = kernel32.func('uint32_t GetLastError()');

/** Number of the error of the call that just failed.  Right in practice, promised by nobody: for messages. */
export const errorNumber = (): number => GetLastError();

export function lastError(code: ErrnoName, action: string): NetmapError {
  return new NetmapError(code, `Cannot ${action}: Windows error ${errorNumber()}`);
}

/** Where a function of kernel32 begins, for calls by which Windows calls back. */
export const addressOfFunction = (name: string): number =>
  GetProcAddress(GetModuleHandleW('kernel32.dll'), name);

export function addressOf(bytes: Uint8Array): number {
  return Number(koffi.address(bytes));
}

/** Memory of this process as bytes. */
export function bytesAt(address: number, size: number): Uint8Array {
  return new Uint8Array(koffi.view(address, size));
}

/** The number that a call has put into memory of ours. */
const cell = new BigInt64Array(1);
export function out(call: (cell: BigInt64Array) => boolean): number | undefined {
  cell[0] = 0n;
  return call(cell) ? Number(cell[0]) : undefined;
}
