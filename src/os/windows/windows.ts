import { NetmapError } from '../../abi/errors.ts';
import type { ObjectRef, Os } from '../os.ts';
import * as control from './control.ts';
import { listInterfaces } from './interfaces.ts';
import * as objects from './objects.ts';
import * as placeholders from './placeholders.ts';
import { availableMemory, pinThread, startTime } from './processes.ts';
import { installService, runAsService, uninstallService } from './service.ts';
import * as gaps from './space.ts';
import * as waiting from './waiting.ts';
import { watchBell } from './watch.ts';
import * as w from './win32.ts';

// Windows: named sections for memory, events for bells, a named pipe for control.  Descriptors are handles.

/** Handles are taken from the process that has them; isolated clients, who are sent theirs, are not there yet. */
function refuse(what: string): never {
  throw new NetmapError('EOPNOTSUPP', `Cannot ${what}: not supported on Windows`);
}

const space = placeholders.available() ? placeholders : gaps;

export const windows: Os = {
  name: 'windows',
  addressOf: w.addressOf,
  prepare: space.prepare,
  commit: space.commit,
  mapUnit: gaps.MAP_UNIT,
  map: space.map,
  unmap: space.unmap,
  populate: () => {}, // A section was charged when it was made; its pages come at first touch.
  createObject: objects.createObject,
  openObject: objects.openObject,
  takeObject: objects.takeObject,
  writeObject: objects.writeObject,
  readObject: objects.readObject,
  takeDescriptor: objects.takeDescriptor,
  identityOf: () => '',
  holdersOf: () => new Map(),
  objectPath: objects.objectPath,
  findObjects: objects.findObjects,
  objectFinder: () => (ino, size) => {
    try {
      return objects.openObject({ pid: 0, fd: 0, ino, size } satisfies ObjectRef);
    } catch {
      return undefined;
    }
  },
  closeFd: (fd) => void w.CloseHandle(fd),
  availableMemory,
  pollElsewhere: () => refuse('wait for a device'),
  mapDevice: (fd, address, size) => space.map(address, size, fd), // Of a queue's server, who has a section for it.
  kick: () => refuse('send by a device'),
  receive: () => refuse('receive by a device'),
  clearError: () => {},
  objectAt: objects.objectAt,
  sendDescriptors: () => refuse('send handles over a socket'),
  receiveDescriptors: () => refuse('receive handles over a socket'),
  // The pipe lets nobody but its owner in, the system and administrators aside.
  peerOf: () => ({ pid: 0, uid: 0, gid: 0, groups: [] }),
  createLine: () => refuse('make a line of descriptors'),
  createBell: waiting.createBell,
  openBell: (_pid, _fd, ino) => waiting.openBell(ino),
  ring: (fd) => w.SetEvent(fd),
  drainBell: (fd) => void w.ResetEvent(fd),
  watchBell,
  poll: waiting.poll,
  createEvent: waiting.createEvent,
  signalEvent: (fd) => w.SetEvent(fd),
  clearEvent: (fd) => void w.ResetEvent(fd),
  giveWay: () => void w.SwitchToThread(),
  startTime,
  pinThread,
  lockFile: control.lockFile,
  installService,
  uninstallService,
  runAsService,
  defaultDirectory: control.defaultDirectory,
  ownDirectory: control.ownDirectory,
  settingsDirectory: (directory) => directory,
  groupId: () => refuse('let users of a group in'),
  admitGroups: () => {},
  socketAddress: control.socketAddress,
  newSocketAddress: control.newSocketAddress,
  guardSocket: control.guardSocket,
  hasInterface: (name) => listInterfaces().some((nic) => nic.name === name),
};
