import fs from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { ERRNO, NetmapError } from '../../abi/errors.ts';
import type { BellPipe, BellWatch, MemoryObject, ObjectRef, Os } from '../os.ts';
import { createLine, peerOf, receiveDescriptors, sendDescriptors } from './descriptors.ts';
import { admitGroups, groupId } from './groups.ts';
import { descriptorsOf, holdersOf, identityOf } from './identity.ts';
import * as libc from './libc.ts';
import { receive } from './packet-socket.ts';
import { installService, uninstallService } from './service.ts';
import { kick } from './xdp-socket.ts';

// Linux: memfds for memory, pipes for bells, /proc/<pid>/fd as the way to another process's descriptors.

const PROT_READ_WRITE = 3;
const MAP_SHARED = 1;
const MAP_FIXED = 0x10;
const MAP_ANONYMOUS = 0x20;
const MAP_NORESERVE = 0x4000;
const MADV_POPULATE_WRITE = 23;
const MFD_CLOEXEC_ALLOW_SEALING = 3;
const F_ADD_SEALS = 1033;
const SEAL_SEAL_SHRINK_GROW = 7;
const F_GET_SEALS = 1034;
const F_SEAL_SHRINK = 2;
const EFD_NONBLOCK_CLOEXEC = 0o2004000;
// The same on x86-64 and arm64.
const SYS_PIDFD_OPEN = 434;
const SYS_PIDFD_GETFD = 438;
const O_NONBLOCK_CLOEXEC = 0o2004000;
const LOCK_EX_NB = 6;

function objectAt(fd: number): MemoryObject {
  const stat = fs.fstatSync(fd);
  return { fd, size: stat.size, ino: stat.ino >>> 0 };
}

function createObject(name: string, size: number): MemoryObject {
  const fd: number = libc.memfdCreate(name, MFD_CLOEXEC_ALLOW_SEALING);
  if (fd < 0) throw libc.lastError(`create shared memory "${name}"`);
  if (libc.ftruncate(fd, size) !== 0 || libc.fcntl(fd, F_ADD_SEALS, SEAL_SEAL_SHRINK_GROW) !== 0) {
    const error = libc.lastError(`size and seal shared memory "${name}" of ${size} bytes`);
    fs.closeSync(fd);
    throw error;
  }
  return objectAt(fd);
}

function openObject(ref: ObjectRef): MemoryObject {
  const path = `/proc/${ref.pid}/fd/${ref.fd}`;
  let fd: number;
  try {
    fd = fs.openSync(path, 'r+');
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code === 'EACCES' ? 'EACCES' : 'ENOENT';
    throw new NetmapError(code, `Cannot open shared memory ${path}: ${(error as Error).message}`);
  }
  const object = objectAt(fd);
  if (object.ino !== ref.ino || object.size !== ref.size) {
    fs.closeSync(fd);
    throw new NetmapError(
      'ENOENT',
      `Cannot open shared memory ${path}: it is inode ${object.ino} of ${object.size} bytes, not ${ref.ino} of ${ref.size}`,
    );
  }
  return object;
}

function takeObject(pid: number, fd: number): MemoryObject {
  const path = `/proc/${pid}/fd/${fd}`;
  let own = -1;
  try {
    own = fs.openSync(path, 'r+');
    const seals: number = libc.fcntl(own, F_GET_SEALS, 0); // -1 for files that cannot have any.
    if (seals < 0 || (seals & F_SEAL_SHRINK) === 0) throw new Error('it is not sealed against shrinking');
    return objectAt(own);
  } catch (error) {
    if (own >= 0) fs.closeSync(own);
    throw new NetmapError(
      'EFAULT',
      `Cannot use memory at descriptor ${fd} of process ${pid}: ${(error as Error).message}; a sealed memfd is needed`,
    );
  }
}

function takeDescriptor(pid: number, fd: number): number {
  const process = Number(libc.syscall(SYS_PIDFD_OPEN, pid, 0, 0));
  if (process < 0) throw new NetmapError('EINVAL', `Cannot reach process ${pid}: it is gone, or not ours`);
  try {
    const own = Number(libc.syscall(SYS_PIDFD_GETFD, process, fd, 0));
    if (own < 0)
      throw new NetmapError(
        'EINVAL',
        `Cannot use descriptor ${fd} of process ${pid}: it has none of that number`,
      );
    return own;
  } finally {
    fs.closeSync(process);
  }
}

const ONE_EVENT = new Uint8Array(new BigUint64Array([1n]).buffer);

function mapFixed(address: number, size: number, fd: number, flags: number): boolean {
  if (libc.mmap(address, size, PROT_READ_WRITE, flags | MAP_FIXED, fd, 0) < 0) {
    throw libc.lastError(`map ${size} bytes of shared memory`);
  }
  return true;
}

function createBell(): BellPipe {
  const fds = [0, 0];
  if (libc.pipe2(fds, O_NONBLOCK_CLOEXEC) !== 0) throw libc.lastError('create a doorbell');
  const [fd, writer] = fds as [number, number];
  return {
    fd,
    ino: fs.fstatSync(fd).ino >>> 0,
    close() {
      fs.closeSync(fd);
      fs.closeSync(writer);
    },
  };
}

function openBell(pid: number, fd: number, ino: number): number {
  let writer: number;
  try {
    writer = fs.openSync(`/proc/${pid}/fd/${fd}`, fs.constants.O_WRONLY | fs.constants.O_NONBLOCK);
  } catch {
    return -1;
  }
  const stat = fs.fstatSync(writer);
  if (stat.isFIFO() && stat.ino >>> 0 === ino) return writer;
  fs.closeSync(writer);
  return -1;
}

const DING = Uint8Array.of(1);
const sink = new Uint8Array(4096);

function watchBell(fd: number, rung: () => void): BellWatch {
  const socket = new net.Socket({ fd, readable: true, writable: false });
  socket.unref();
  for (const event of ['data', 'error', 'end']) socket.on(event, rung);
  return {
    ref: () => void socket.ref(),
    unref: () => void socket.unref(),
    close: () => void socket.destroy(),
  };
}

function writeObject(fd: number, bytes: Uint8Array): void {
  for (let ofs = 0; ofs < bytes.length; ) ofs += fs.writeSync(fd, bytes, ofs, bytes.length - ofs, ofs);
}

function availableMemory(): number {
  const line = /^MemAvailable:\s+(\d+) kB/m.exec(fs.readFileSync('/proc/meminfo', 'utf8'));
  return line ? Number(line[1]) * 1024 : Number.MAX_SAFE_INTEGER;
}

function startTime(pid: number): string {
  try {
    // Field 22, counted behind the command name, which may contain anything.
    const text = fs.readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
    return fields[0] === 'Z' || fields[0] === 'X' ? '' : fields[19]!;
  } catch {
    return '';
  }
}

function pinThread(cpu: number): void {
  const mask = new Uint8Array(128);
  mask[cpu >> 3] = 1 << (cpu & 7);
  if (libc.schedSetaffinity(0, mask.length, mask) !== 0)
    throw libc.lastError(`pin this thread to CPU ${cpu}`);
}

function lockFile(path: string): number {
  for (;;) {
    const fd = fs.openSync(path, 'w', 0o600);
    if (libc.flock(fd, LOCK_EX_NB) !== 0) {
      fs.closeSync(fd);
      return -1;
    }
    // Its last owner may have removed the file between our opening and our locking it.
    const named = fs.statSync(path, { throwIfNoEntry: false });
    if (named?.ino === fs.fstatSync(fd).ino) return fd;
    fs.closeSync(fd);
  }
}

/**
 * Descriptors of `pids` that are memfds whose link satisfies `wanted`.  Anybody can give a memfd such a name, and keep it
 * where a process of ours, or of root's, has it open: what counts is who made it.
 */
function memfds(pids: readonly (number | string)[], wanted: (link: string) => boolean): ObjectRef[] {
  const makers = [0, process.getuid!()];
  const found: ObjectRef[] = [];
  for (const pid of pids) {
    for (const fd of descriptorsOf(pid)) {
      const path = `/proc/${pid}/fd/${fd}`;
      try {
        if (!wanted(fs.readlinkSync(path))) continue;
        const stat = fs.statSync(path);
        if (!makers.includes(stat.uid)) continue;
        found.push({ pid: Number(pid), fd: Number(fd), ino: stat.ino >>> 0, size: stat.size });
      } catch {
        // Closed between the listing and the look.
      }
    }
  }
  return found;
}

function findObjects(name: string): ObjectRef[] {
  const link = `/memfd:${name} (deleted)`;
  const pids = fs.readdirSync('/proc').filter((entry) => /^\d+$/.test(entry));
  return memfds(pids, (found) => found === link);
}

/** Finds shared memory by inode among all that the processes hold, and opens it here. */
function objectFinder(pids: readonly number[]) {
  const held = memfds(pids, (link) => link.startsWith('/memfd:netmap-'));
  return (ino: number, size: number) => {
    for (const ref of held) {
      if (ref.ino !== ino || ref.size !== size) continue;
      try {
        return openObject(ref);
      } catch {
        // Closed since; perhaps another process holds it too.
      }
    }
    return undefined;
  };
}

const SYSTEM_DIRECTORY = '/run/netmap';

/** One system-wide for root, one per user for everybody else. */
function defaultDirectory(env: NodeJS.ProcessEnv): string {
  const uid = process.getuid!();
  if (uid === 0) return SYSTEM_DIRECTORY;
  return env['XDG_RUNTIME_DIR']
    ? path.join(env['XDG_RUNTIME_DIR'], 'netmap')
    : path.join(tmpdir(), `netmap-${uid}`);
}

function ownDirectory(directory: string): void {
  fs.mkdirSync(directory, { recursive: true, mode: 0o700 });
  // A link of somebody else's could lead to any directory of ours.
  for (const { uid } of [fs.lstatSync(directory), fs.statSync(directory)])
    if (uid !== process.getuid!()) throw new Error(`it belongs to uid ${uid}`);
  fs.accessSync(directory, fs.constants.W_OK | fs.constants.X_OK);
}

export const linux: Os = {
  name: 'linux',
  addressOf: libc.addressOf,
  prepare: () => [], // mmap(2) maps over anything, and what is not mapped is zero.
  commit: () => {},
  createObject,
  openObject,
  mapUnit: 65536, // WebAssembly's pages; the system's divide it.
  map: (address, size, fd) => mapFixed(address, size, fd, MAP_SHARED),
  unmap: (address, size) => mapFixed(address, size, -1, 2 | MAP_ANONYMOUS | MAP_NORESERVE),
  populate(address, size) {
    if (libc.madvise(address, size, MADV_POPULATE_WRITE) !== 0)
      throw libc.lastError(`commit ${size} bytes of memory`);
  },
  closeFd: libc.closeFd,
  mapDevice: libc.mapDevice,
  kick,
  receive,
  clearError: libc.clearSocketError,
  availableMemory,
  createBell,
  openBell,
  pollElsewhere: (fds, count, timeoutMs) => libc.pollElsewhere(fds, count, Math.ceil(timeoutMs)),
  ring: (fd) => libc.write(fd, DING, 1) === 1 || libc.errorNumber() === ERRNO.EAGAIN, // Full: rung already.
  drainBell: (fd) => void libc.read(fd, sink, sink.length),
  watchBell,
  poll: libc.waitFor,
  startTime,
  pinThread,
  giveWay: () => void libc.schedYield(),
  lockFile,
  hasInterface: (name) => name !== '' && !name.includes('/') && fs.existsSync(`/sys/class/net/${name}`),
  findObjects,
  takeObject,
  takeDescriptor,
  identityOf,
  holdersOf,
  objectAt,
  sendDescriptors,
  receiveDescriptors,
  peerOf,
  createLine,
  createEvent: () => libc.eventfd(0, EFD_NONBLOCK_CLOEXEC),
  signalEvent: (fd) => libc.write(fd, ONE_EVENT, 8) === 8,
  clearEvent: (fd) => void libc.read(fd, sink, 8),
  objectPath: (fd) => `/proc/${process.pid}/fd/${fd}`,
  writeObject,
  readObject: (fd, bytes) => void fs.readSync(fd, bytes, 0, bytes.length, 0),
  objectFinder,
  installService,
  uninstallService,
  runAsService: () => {}, // systemd starts it as anybody would, and ends it by a signal.
  defaultDirectory,
  ownDirectory,
  settingsDirectory: (directory) => (directory === SYSTEM_DIRECTORY ? '/etc/netmap' : directory),
  groupId,
  admitGroups,
  socketAddress: (file) => file,
  newSocketAddress: (file) => file,
  guardSocket: () => {}, // Its directory is the owner's alone.
};
