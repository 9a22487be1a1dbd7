// What the module exports.  One instance per thread, all on the process's one arena.

export { armBell, useScratch, wake } from './ring';
export { pipeRxSync, pipeTxSync, repairPipe } from './pipe';
export { forwardSlots } from './forward';
export { nicRxSync, nicTxSync } from './nic';
export { packetFetched, packetRxSync, packetTxSync } from './packet';
export { lookupTxSync, resumeTxSync, valeRxSync, valeTxSync } from './vale';
export { lookedUp, sendAlso } from './lookup';
export { repairSender } from './claim';
export { forgetSilent } from './mac-table';
export {
  bounce,
  drain,
  drainSequence,
  fillFrames,
  fillLengths,
  fillPackets,
  fillSequence,
  fillTemplate,
  moveSlots,
  readPayload,
} from './frames';
