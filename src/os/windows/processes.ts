import { NetmapError } from '../../abi/errors.ts';
import * as w from './win32.ts';

export const PROCESS_DUP_HANDLE = 0x40;
const PROCESS_QUERY_LIMITED_INFORMATION = 0x1000;
const SYNCHRONIZE = 0x100000;
const WAIT_TIMEOUT = 258;

/** A handle of a process, 0 if there is none or it is not ours. */
export function openProcess(pid: number, access: number): number {
  return w.OpenProcess(access, false, pid);
}

/** When a process was started, in units of 100 ns; '' if there is none, or it has ended and only handles keep it. */
export function startTime(pid: number): string {
  const handle = openProcess(pid, PROCESS_QUERY_LIMITED_INFORMATION | SYNCHRONIZE);
  if (handle === 0) return '';
  try {
    if (w.WaitForSingleObject(handle, 0) !== WAIT_TIMEOUT) return '';
    const times = new BigUint64Array(4);
    const at = (i: number) => times.subarray(i, i + 1);
    return w.GetProcessTimes(handle, at(0), at(1), at(2), at(3)) ? String(times[0]) : '';
  } finally {
    w.CloseHandle(handle);
  }
}

export function pinThread(cpu: number): void {
  // More than 64 CPUs are in groups; a thread stays in its own.
  if (cpu < 64 && Number(w.SetThreadAffinityMask(w.CURRENT_THREAD, 1n << BigInt(cpu))) !== 0) return;
  throw new NetmapError('EINVAL', `Cannot pin this thread to CPU ${cpu}: Windows error ${w.errorNumber()}`);
}

/** Bytes that can still be committed: memory and page file together. */
export function availableMemory(): number {
  const status = new Uint8Array(64);
  const view = new DataView(status.buffer);
  view.setUint32(0, status.length, true);
  return w.GlobalMemoryStatusEx(status) ? Number(view.getBigUint64(32, true)) : Number.MAX_SAFE_INTEGER;
}
