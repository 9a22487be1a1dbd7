// An XDP socket on one queue of an interface: how it is opened, and its rings (spec windows §6.1).

import { os } from '../../os/index.ts';
import * as api from '../../os/windows/xdp-api.ts';
import { SharedRing } from './shared-ring.ts';

/** What a socket is to see and to send, and where its frames lie. */
export interface SocketPlan {
  readonly ifIndex: number;
  readonly queue: number;
  /** The host's side of the interface rather than the wire's. */
  readonly host: boolean;
  /** Whether it sends, too. */
  readonly sends: boolean;
  readonly entries: number;
  readonly buffers: { readonly address: number; readonly size: number; readonly bufSize: number };
}

/** The four hooks that there are in generic mode. */
const HOOKS = {
  wire: { rx: { direction: 'rx', place: 'inspect' }, tx: { direction: 'tx', place: 'inject' } },
  host: { rx: { direction: 'tx', place: 'inspect' }, tx: { direction: 'rx', place: 'inject' } },
} as const;

/** Where what a socket receives comes by: there programs are hung that bring it. */
export const receivingHook = (host: boolean): api.Hook => HOOKS[host ? 'host' : 'wire'].rx;

export class XdpSocket {
  readonly handle: number;
  readonly rx: SharedRing;
  readonly fill: SharedRing;
  readonly tx: SharedRing | undefined;
  readonly completion: SharedRing | undefined;
  /** Signalled once there is something in `rx` or `completion`, after wait(). */
  readonly event: number;
  readonly #driver: api.XdpDriver;
  readonly #flags: readonly { words: Int32Array; at: number }[];
  readonly #txFlags: { words: Int32Array; at: number } | undefined;
  #waits = false;

  /** @throws NetmapError ENXIO: no such queue; EBUSY, EPERM, ENOMEM. */
  constructor(driver: api.XdpDriver, plan: SocketPlan) {
    this.#driver = driver;
    this.event = os.createEvent();
    this.handle = driver.createSocket();
    try {
      const infos = open(driver, this.handle, plan);
      const ring = (info: api.RingInfo) => sharedRing(driver, info);
      const [rx, fill] = [ring(infos.rx), ring(infos.fill)];
      const [tx, completion] = plan.sends ? [ring(infos.tx), ring(infos.completion)] : [];
      this.rx = rx.ring;
      this.fill = fill.ring;
      this.tx = tx?.ring;
      this.completion = completion?.ring;
      this.#txFlags = tx?.flags;
      this.#flags = [rx, fill, tx, completion].flatMap((one) => (one ? [one.flags] : []));
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /** Whether the driver has given a ring up: its interface is gone, or is another now. */
  get failed(): boolean {
    return this.#flags.some(({ words, at }) => (Atomics.load(words, at) & api.RING_FLAG_ERROR) !== 0);
  }

  /** Frames that came and found no buffer. */
  get lost(): number {
    const { buffer } = this.#driver.getOption(this.handle, api.OPTION_STATISTICS, api.STATISTICS_SIZE);
    return Number(new DataView(buffer).getBigUint64(api.STATISTICS_RX_DROPPED, true));
  }

  /** Tells the driver of frames to be sent, where it wants to be told. @returns whether it was */
  poke(): boolean {
    const { tx } = this;
    const flags = this.#txFlags;
    if (!tx || !flags || tx.filled === 0) return false;
    if ((Atomics.load(flags.words, flags.at) & api.RING_FLAG_NEED_POKE) === 0) return false;
    this.#driver.poke(this.handle, api.NOTIFY_POKE_TX);
    return true;
  }

  /** Has `event` signalled once there is something for us; nothing to do if that is so already. */
  wait(): void {
    if (this.#waits) return;
    this.#waits = true;
    this.#driver.wait(this.handle, api.NOTIFY_WAIT_RX | (this.tx ? api.NOTIFY_WAIT_TX : 0), this.event);
  }

  /** The wait is over: `event` was signalled. */
  wake(): void {
    this.#waits = false;
    os.clearEvent(this.event);
  }

  close(): void {
    this.#driver.close(this.handle);
    os.closeFd(this.event);
  }
}

/** Unbound, bound, active: what may be set when, as the driver wants it. */
function open(driver: api.XdpDriver, socket: number, plan: SocketPlan): api.RingInfos {
  const { address, size, bufSize } = plan.buffers;
  const hooks = HOOKS[plan.host ? 'host' : 'wire'];
  driver.setOption(socket, api.OPTION_UMEM_REG, api.umemReg(address, size, bufSize));
  driver.setOption(socket, api.OPTION_RX_HOOK_ID, api.hookId(hooks.rx));
  driver.setOption(socket, api.OPTION_TX_HOOK_ID, api.hookId(hooks.tx));
  const directions = api.BIND_RX | (plan.sends ? api.BIND_TX : 0);
  driver.bind(socket, plan.ifIndex, plan.queue, directions | api.BIND_GENERIC);
  const sizes = [api.OPTION_RX_RING_SIZE, api.OPTION_RX_FILL_RING_SIZE];
  if (plan.sends) sizes.push(api.OPTION_TX_RING_SIZE, api.OPTION_TX_COMPLETION_RING_SIZE);
  for (const option of sizes) driver.setOption(socket, option, api.u32s(plan.entries));
  driver.activate(socket);
  return api.ringInfos(driver.getOption(socket, api.OPTION_RING_INFO, api.RING_INFOS_SIZE));
}

/** One of the driver's rings, where it has mapped it. */
function sharedRing(driver: api.XdpDriver, info: api.RingInfo) {
  const { address, descriptors, producer, consumer, flags, size, stride } = info;
  const end = Math.max(descriptors + size * stride, producer + 4, consumer + 4, flags + 4);
  const memory = driver.memoryAt(address, end);
  const ring = new SharedRing(memory, { producer, consumer, desc: descriptors, entries: size, stride });
  const words = new Int32Array(memory.buffer, memory.byteOffset, memory.byteLength >> 2);
  return { ring, flags: { words, at: flags >> 2 } };
}
