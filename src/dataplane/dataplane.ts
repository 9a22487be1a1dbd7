import fs from 'node:fs';
import { NetmapError } from '../abi/errors.ts';
import type { Arena } from '../mem/arena.ts';

/** The data plane's exports (assembly/index.ts).  Addresses are of the arena; answers are SYNC_* bits. */
export interface DataPlane {
  useScratch(address: number): void;
  valeTxSync(state: number, kring: number, token: number, stateSlot: number): number;
  valeRxSync(state: number, kring: number, token: number): number;
  /** Of the port of a process that decides where a switch's frames go. */
  lookupTxSync(state: number, kring: number, token: number, stateSlot: number): number;
  /** After a switch's own lookup has thrown out of a txSync: 0 drops the packet, 1 asks again, 2 drops the rest. */
  resumeTxSync(what: number): number;
  /** Slot of the packet that was looked up last. */
  lookedUp(): number;
  /** What lookups may call. */
  sendAlso(answer: number): void;
  /** Functions that the data plane calls: lookups are entered here. */
  readonly table: WebAssembly.Table;
  nicTxSync(state: number, kring: number, token: number, stateSlot: number): number;
  nicRxSync(state: number, kring: number, token: number): number;
  packetTxSync(state: number, kring: number, token: number, stateSlot: number): number;
  packetRxSync(state: number, kring: number, token: number): number;
  /** After SYNC_FETCH. @param length  of what has been read to SC_LONG of the scratch area, -1 if nothing has */
  packetFetched(kring: number, length: number): number;
  /** @returns slots of the TX ring filled with what an RX ring gives back, all or what is marked NS_FORWARD */
  forwardSlots(
    rxKring: number,
    head: number,
    txKring: number,
    txHead: number,
    space: number,
    all: boolean,
  ): number;
  pipeTxSync(state: number, kring: number, token: number, stateSlot: number): number;
  pipeRxSync(state: number, kring: number, token: number): number;
  repairSender(state: number, source: number): number;
  repairPipe(state: number, kring: number, transmits: boolean): number;
  wake(kring: number): number;
  forgetSilent(state: number, age: number): number;
  armBell(kring: number, bell: number): number;

  fillTemplate(
    ring: number,
    head: number,
    count: number,
    bufs: number,
    template: number,
    length: number,
    copy: boolean,
  ): void;
  fillLengths(ring: number, head: number, count: number, length: number): void;
  fillFrames(
    ring: number,
    head: number,
    space: number,
    bufs: number,
    table: number,
    frames: number,
    flags: number,
  ): number;
  fillPackets(
    ring: number,
    head: number,
    space: number,
    bufs: number,
    template: number,
    length: number,
    part: number,
    slots: number,
    count: number,
    steps: number,
  ): number;
  fillSequence(
    ring: number,
    head: number,
    count: number,
    bufs: number,
    template: number,
    length: number,
    first: number,
    payload: number,
    udpSum: number,
    group: number,
    steps: number,
  ): void;
  drain(ring: number, head: number, count: number, totals: number): void;
  drainSequence(
    ring: number,
    head: number,
    count: number,
    bufs: number,
    totals: number,
    header: number,
  ): void;
  readPayload(ring: number, head: number, count: number, bufs: number): bigint;
  moveSlots(
    rx: number,
    rxHead: number,
    rxBufs: number,
    tx: number,
    txHead: number,
    txBufs: number,
    count: number,
    swap: boolean,
  ): void;
  bounce(
    rx: number,
    rxHead: number,
    count: number,
    tx: number,
    txHead: number,
    bufs: number,
    header: number,
  ): void;
}

const WASM_FILE = new URL('../../../dataplane.wasm', import.meta.url);
let compiled: WebAssembly.Module | undefined;

/** An instance of the data plane for this thread, on its arena. */
export function instantiate(arena: Arena): DataPlane {
  compiled ??= compile();
  const { exports } = new WebAssembly.Instance(compiled, { env: { memory: arena.memory } });
  const dataPlane = exports as unknown as DataPlane;
  dataPlane.useScratch(arena.scratch);
  return dataPlane;
}

function compile(): WebAssembly.Module {
  let bytes: Buffer;
  try {
    bytes = fs.readFileSync(WASM_FILE);
  } catch (error) {
    throw new NetmapError(
      'ENOENT',
      `Cannot load the data plane ${WASM_FILE.pathname}: ${(error as Error).message}; run "make"`,
    );
  }
  return new WebAssembly.Module(bytes);
}
