// The library: `import { open } from 'netmap'`.

export { ERRNO, type ErrnoName, NetmapError } from '../abi/errors.ts';
export * from '../abi/netmap.ts';
export { runtimeDirectory } from '../protocol/directory.ts';
export { Bridge, type BridgeOptions, type BridgeTurn } from './bridge.ts';
export {
  type InterfaceInfo,
  installInterface,
  interfaces,
  load,
  type ModuleStatus,
  status,
  uninstallInterface,
  unload,
} from './control.ts';
export { Counters, openCounters, type PortCounters, type RingCounters } from './counters.ts';
export {
  bounce,
  type Digit,
  type FrameSteps,
  FrameTable,
  FrameTemplate,
  fillLengths,
  type PlacedDigit,
  ReceiveTotals,
} from './frames.ts';
export { install, uninstall } from './install.ts';
export { connectLocally, listenLocally } from './local-socket.ts';
export {
  answerFor,
  BatchLookup,
  clearLookup,
  getLookup,
  LOOKUP_AS_LEARNED,
  type Lookup,
  LookupBatch,
  type LookupFunction,
  type LookupOptions,
  openLookup,
  setLookup,
} from './lookup.ts';
export { createMemory, OwnMemory } from './memory.ts';
export {
  type Offsets,
  type OpenOptions,
  open,
  parameters,
  poolsInfo,
  portInfo,
  setParameter,
} from './open.ts';
export {
  type FdTarget,
  POLLERR,
  POLLIN,
  POLLOUT,
  type PollOptions,
  type PollTarget,
  type PortTarget,
  poll,
  pollAsync,
} from './poll.ts';
export { Port, type SharedPort } from './port.ts';
export {
  type Extmem,
  formatPortName,
  type PortName,
  type PortOptions,
  type PortWishes,
  parsePortName,
  type RingConf,
} from './port-name.ts';
export { Ring } from './ring.ts';
export { pinThread } from './threads.ts';
export {
  attach,
  attachHost,
  delIf,
  detach,
  headerLength,
  type ListedPort,
  listAddresses,
  listPorts,
  locatePort,
  longestFrame,
  newIf,
  type PortShape,
  setHeaderLength,
  setLongestFrame,
  setPolling,
} from './vale.ts';
