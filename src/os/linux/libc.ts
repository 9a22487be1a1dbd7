import fs from 'node:fs';
import koffi from 'koffi';
import { ERRNO, type ErrnoName, NetmapError } from '../../abi/errors.ts';

// The C library through the FFI.  A call costs about 60 ns plus its system call: per batch or per sleep,
// never per packet.

const PROT_READ_WRITE = 3;
const MAP_SHARED_FIXED_POPULATE = 0x8011;

const lib = koffi.load('libc.so.6');

export const mmap = lib.func(
  'int64_t mmap(int64_t address, int64_t length, int prot, int flags, int fd, int64_t offset)',
);
export const madvise = lib.func('int madvise(int64_t address, int64_t length, int advice)');
export const memfdCreate = lib.func('int memfd_create(const char *name, unsigned int flags)');
export const ftruncate = lib.func('int ftruncate(int fd, int64_t length)');
export const fcntl = lib.func('int fcntl(int fd, int command, int64_t argument)');
export const pipe2 = lib.func('int pipe2(_Out_ int *fds, int flags)');
export const write = lib.func('int64_t write(int fd, const void *bytes, size_t count)');
export const read = lib.func('int64_t read(int fd, void *bytes, size_t count)');
export const ppoll = lib.func('int ppoll(void *fds, uint64_t count, const void *timeout, void *mask)');
export const flock = lib.func('int flock(int fd, int operation)');
export const schedSetaffinity = lib.func('int sched_setaffinity(int pid, size_t size, const void *mask)');
export const schedYield = lib.func('int sched_yield()');
export const eventfd = lib.func('int eventfd(unsigned int initial, int flags)');
export const socket = lib.func('int socket(int domain, int type, int protocol)');
export const connect = lib.func('int connect(int fd, const void *address, unsigned int size)');
export const socketpair = lib.func('int socketpair(int domain, int type, int protocol, _Out_ int *fds)');
export const sendmsg = lib.func('int64_t sendmsg(int fd, const void *message, int flags)');
export const recvmsg = lib.func('int64_t recvmsg(int fd, void *message, int flags)');
export const getsockopt = lib.func('int getsockopt(int fd, int level, int name, void *value, void *size)');
/** For calls that the C library has no function for; three arguments each. */
export const syscall = lib.func('int64_t syscall(int64_t number, int64_t a, int64_t b, int64_t c)');
export const bpfCall = lib.func('syscall', 'int64_t', ['int64_t', 'int64_t', 'void *', 'int64_t']);
export const bindSocket = lib.func('int bind(int fd, const void *address, uint32_t length)');
export const setsockopt = lib.func(
  'int setsockopt(int fd, int level, int option, const void *value, uint32_t length)',
);
export const sendto = lib.func(
  'int64_t sendto(int fd, const void *bytes, size_t count, int flags, const void *address, uint32_t length)',
);
export const recv = lib.func('int64_t recv(int fd, void *bytes, size_t count, int flags)');
/** The same to an address. */
export const recvAt = lib.func('recv', 'int64_t', ['int', 'int64_t', 'size_t', 'int']);
export const ioctl = lib.func('int ioctl(int fd, uint64_t request, void *argument)');
export const unshare = lib.func('int unshare(int flags)');
export const setns = lib.func('int setns(int fd, int type)');
const strerror = lib.func('const char *strerror(int number)');

const NAMES = new Map<number, ErrnoName>(
  Object.entries(ERRNO).map(([name, number]) => [number, name as ErrnoName]),
);

/** The error of the call that just failed, as ours: "Cannot <action>: <system's words>". */
export function lastError(action: string): NetmapError {
  return errorOf(koffi.errno(), action);
}

const classicPoll = lib.func('int poll(void *fds, uint64_t count, int timeout)');

/** poll(2) on a thread of the pool. */
export function pollElsewhere(fds: Uint8Array, count: number, timeoutMs: number): Promise<void> {
  return new Promise((resolve) => classicPoll.async(fds, count, timeoutMs, () => resolve()));
}

/** The same for a number that came in another way, as in an answer of the kernel's. */
export function errorOf(number: number, action: string): NetmapError {
  return new NetmapError(NAMES.get(number) ?? 'EIO', `Cannot ${action}: ${strerror(number)}`);
}

export function closeFd(fd: number): void {
  fs.closeSync(fd);
}

/** Puts what a device's descriptor has to be mapped over [address, address + size). */
export function mapDevice(fd: number, address: number, size: number, offset: number): true {
  if (mmap(address, size, PROT_READ_WRITE, MAP_SHARED_FIXED_POPULATE, fd, offset) < 0)
    throw lastError(`map ${size} bytes of a device`);
  return true;
}

export function addressOf(bytes: Uint8Array): number {
  return Number(koffi.address(bytes));
}

/** Number of the error of the call that just failed. */
export function errorNumber(): number {
  return koffi.errno();
}

const SOL_SOCKET = 1;
const SO_ERROR = 4;
const pending = new Int32Array(1);
const pendingSize = new Uint32Array([4]);

/** Takes what a socket has to say about its interface, which poll(2) would show for ever. */
export function clearSocketError(fd: number): void {
  pendingSize[0] = 4;
  getsockopt(fd, SOL_SOCKET, SO_ERROR, pending, pendingSize);
}

const timespec = new BigInt64Array(2);

/** poll(2) with fractions of milliseconds, negative for ever. @returns how many are ready, 0 on interruption */
export function waitFor(fds: Uint8Array, count: number, timeoutMs: number): number {
  if (timeoutMs >= 0) {
    timespec[0] = BigInt(Math.floor(timeoutMs / 1000));
    timespec[1] = BigInt(Math.round((timeoutMs % 1000) * 1e6));
  }
  const ready: number = ppoll(fds, count, timeoutMs >= 0 ? timespec : null, null);
  return Math.max(ready, 0);
}
