// XDP-for-Windows as its headers document it (spec windows §6.1): numbers, and the bytes that go in and come out.  Nothing
// here calls anything: xdp-driver.ts does.

/** Directions and places of a hook. All of them see Ethernet frames. */
export interface Hook {
  readonly direction: 'rx' | 'tx';
  readonly place: 'inspect' | 'inject';
}

export const BIND_RX = 1;
export const BIND_TX = 2;
export const BIND_GENERIC = 4;

export const OPTION_UMEM_REG = 1;
export const OPTION_RX_RING_SIZE = 2;
export const OPTION_RX_FILL_RING_SIZE = 3;
export const OPTION_TX_RING_SIZE = 4;
export const OPTION_TX_COMPLETION_RING_SIZE = 5;
export const OPTION_RING_INFO = 6;
export const OPTION_STATISTICS = 7;
export const OPTION_RX_HOOK_ID = 8;
export const OPTION_TX_HOOK_ID = 9;

/** XSK_STATISTICS: rx dropped, rx truncated, rx invalid, tx invalid, u64 each. */
export const STATISTICS_SIZE = 32;
export const STATISTICS_RX_DROPPED = 0;

export const RING_FLAG_ERROR = 1;
export const RING_FLAG_NEED_POKE = 2;

export const NOTIFY_POKE_TX = 2;
export const NOTIFY_WAIT_RX = 4;
export const NOTIFY_WAIT_TX = 8;

const PROGRAM_GENERIC = 1;

const MATCH_ALL = 0;
const ACTION_DROP = 0;
const ACTION_REDIRECT = 2;
const TARGET_XSK = 0;

/** What is to become of the frames that a program sees: all of them alike. */
export type Rule = 'drop' | { readonly redirect: number };

/** One of a socket's rings, as XSK_SOCKOPT_RING_INFO tells. */
export interface RingInfo {
  /** Where the driver has mapped it in this process. */
  readonly address: number;
  readonly descriptors: number;
  readonly producer: number;
  readonly consumer: number;
  readonly flags: number;
  /** Entries, a power of two. */
  readonly size: number;
  /** Bytes from one entry to the next. */
  readonly stride: number;
}

export interface RingInfos {
  readonly fill: RingInfo;
  readonly completion: RingInfo;
  readonly rx: RingInfo;
  readonly tx: RingInfo;
}

/** The driver's calls.  Sockets and programs are handles.  All of them throw NetmapError. */
export interface XdpDriver {
  /** Why there is none, and what to do; undefined if there is one. */
  missing(): { cause: string; remedy: string } | undefined;
  createSocket(): number;
  setOption(socket: number, option: number, value: Uint8Array): void;
  getOption(socket: number, option: number, size: number): Uint8Array;
  bind(socket: number, ifIndex: number, queue: number, flags: number): void;
  activate(socket: number): void;
  /** Tells the driver of what is in the rings; does not wait. */
  poke(socket: number, flags: number): void;
  /** Has `event` signalled once a ring is ready; one wait per socket at a time. */
  wait(socket: number, flags: number, event: number): void;
  /** Has a rule decide of all frames that come by a queue's hook, in generic mode. */
  createProgram(ifIndex: number, hook: Hook, queue: number, rule: Rule): number;
  /** Of a socket or a program: what it did is over. */
  close(handle: number): void;
  /** Memory of this process, such as the driver's rings. */
  memoryAt(address: number, size: number): Uint8Array;
}

export function hookId({ direction, place }: Hook): Uint8Array {
  const ethernet = 0;
  return u32s(ethernet, direction === 'rx' ? 0 : 1, place === 'inspect' ? 0 : 1);
}

export function u32s(...values: number[]): Uint8Array {
  return new Uint8Array(new Uint32Array(values).buffer);
}

/** XSK_UMEM_REG. @param chunkSize  where frames begin; none crosses the end of one */
export function umemReg(address: number, size: number, chunkSize: number): Uint8Array {
  const view = new DataView(new ArrayBuffer(24));
  view.setBigUint64(0, BigInt(size), true);
  view.setUint32(8, chunkSize, true);
  view.setUint32(12, 0, true); // Headroom: none.
  view.setBigUint64(16, BigInt(address), true);
  return new Uint8Array(view.buffer);
}

const RING_INFO_SIZE = 40;
export const RING_INFOS_SIZE = 4 * RING_INFO_SIZE;

export function ringInfos(bytes: Uint8Array): RingInfos {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const at = (ofs: number): RingInfo => ({
    address: Number(view.getBigUint64(ofs, true)),
    descriptors: view.getUint32(ofs + 8, true),
    producer: view.getUint32(ofs + 12, true),
    consumer: view.getUint32(ofs + 16, true),
    flags: view.getUint32(ofs + 20, true),
    size: view.getUint32(ofs + 24, true),
    stride: view.getUint32(ofs + 28, true),
  });
  return {
    fill: at(0),
    completion: at(RING_INFO_SIZE),
    rx: at(2 * RING_INFO_SIZE),
    tx: at(3 * RING_INFO_SIZE),
  };
}

/** XDP_RULE: match (4, padded to 8), pattern (40), action (4, padded to 8), target type (4, padded to 8), target. */
const RULE_SIZE = 72;
const RULE_ACTION = 48;
const RULE_TARGET_TYPE = 56;
const RULE_TARGET = 64;

export function programRule(rule: Rule): Uint8Array {
  const view = new DataView(new ArrayBuffer(RULE_SIZE));
  view.setUint32(0, MATCH_ALL, true);
  if (rule === 'drop') {
    view.setUint32(RULE_ACTION, ACTION_DROP, true);
  } else {
    view.setUint32(RULE_ACTION, ACTION_REDIRECT, true);
    view.setUint32(RULE_TARGET_TYPE, TARGET_XSK, true);
    view.setBigInt64(RULE_TARGET, BigInt(rule.redirect), true);
  }
  return new Uint8Array(view.buffer);
}

// ---- opening, by an extended attribute of NtCreateFile ----------------------------------------------------------

/** Takes every kind of object; newer releases have a device for each kind besides. */
export const DEVICE = '\\Device\\xdp';
export const OBJECT_PROGRAM = 0;
export const OBJECT_XSK = 1;

const EA_NAME = 'XdpOpenPacket000';
/** Of FILE_FULL_EA_INFORMATION. */
const EA_NAME_OFS = 8;
const EA_HEADER_SIZE = 12;
const OPEN_PACKET_SIZE = 12;
const PACKET_MAJOR = 1;
/** The first whose calls are these, without the driver's DLL. */
const API_VERSION = 3;

/**
 * The attribute that says what is to be opened.
 * @param parameters  of that kind of object
 */
export function openAttribute(object: number, parameters: Uint8Array = new Uint8Array()): Uint8Array {
  const name = EA_NAME.length + 1;
  const value = OPEN_PACKET_SIZE + parameters.length;
  const bytes = new Uint8Array(EA_HEADER_SIZE + name + value);
  const view = new DataView(bytes.buffer);
  view.setUint8(5, EA_NAME.length);
  view.setUint16(6, value, true);
  bytes.set(Buffer.from(EA_NAME, 'latin1'), EA_NAME_OFS);
  const packet = EA_NAME_OFS + name;
  view.setUint16(packet, PACKET_MAJOR, true);
  view.setUint32(packet + 4, API_VERSION, true);
  view.setUint32(packet + 8, object, true);
  bytes.set(parameters, packet + OPEN_PACKET_SIZE);
  return bytes;
}

/** XDP_PROGRAM_OPEN for one rule in generic mode. @param rule  its address */
export function programOpen(ifIndex: number, hook: Hook, queue: number, rule: number): Uint8Array {
  const view = new DataView(new ArrayBuffer(40));
  view.setUint32(0, ifIndex, true);
  new Uint8Array(view.buffer).set(hookId(hook), 4);
  view.setUint32(16, queue, true);
  view.setUint32(20, PROGRAM_GENERIC, true);
  view.setUint32(24, 1, true);
  view.setBigUint64(32, BigInt(rule), true);
  return new Uint8Array(view.buffer);
}

// ---- requests of a socket ---------------------------------------------------------------------------------------

export const IOCTL_BIND = 0x128000;
export const IOCTL_ACTIVATE = 0x128004;
export const IOCTL_GETSOCKOPT = 0x128008;
export const IOCTL_SETSOCKOPT = 0x12800c;
export const IOCTL_NOTIFY = 0x128013;
export const IOCTL_NOTIFY_ASYNC = 0x128017;
export const INFINITE = 0xffffffff;

/** XSK_SET_SOCKOPT_IN. @param value  address of the value */
export function setSockoptIn(option: number, value: number, length: number): Uint8Array {
  const view = new DataView(new ArrayBuffer(16));
  view.setUint32(0, option, true);
  view.setUint32(4, length, true);
  view.setBigUint64(8, BigInt(value), true);
  return new Uint8Array(view.buffer);
}
