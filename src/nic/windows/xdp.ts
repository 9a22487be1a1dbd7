// A NIC by XDP-for-Windows in generic mode: its four hooks are those of netmap's own filter driver.
//
//   wire  --RX inspect, redirect-->  socket of the queue = RX ring       TX ring  --TX inject-->  wire
//   host  --TX inspect, redirect-->  host socket = host RX ring     host TX ring  --RX inject-->  host
//
// The driver puts its rings where this process can reach them, WebAssembly and other processes cannot: a thread of the
// module copies descriptors to and from memory where they can (mirror.ts).  Sockets and programs go with the process.

import { NetmapError } from '../../abi/errors.ts';
import { os } from '../../os/index.ts';
import { listInterfaces } from '../../os/interfaces.ts';
import * as api from '../../os/windows/xdp-api.ts';
import { driver } from '../../os/windows/xdp-driver.ts';
import type {
  BufferMemory,
  Device,
  DevicePlan,
  Egress,
  Interface,
  Krings,
  LinkNews,
  NicMode,
  NicSystem,
  OpenDevice,
  Obstacle,
  Queue,
} from '../nic.ts';
import { mirrorLayout } from './mirror.ts';
import { Server } from './server.ts';

const ETHERNET_HEADER = 14;
/** More than any machine has. */
const MOST_QUEUES = 64;
const LOOK_MS = 500;

let server: Server | undefined;

interface Opened {
  readonly number: number;
  readonly queue: Queue;
  readonly release: () => void;
}

class XdpDevice implements Device {
  readonly mode = 'generic';
  readonly why = 'XDP-for-Windows takes what the host sends in its generic mode only';
  readonly descriptors: readonly number[] = [];
  readonly #interface: Interface;
  readonly #memory: BufferMemory;
  readonly #entries: number;
  readonly #server: Server;
  readonly #all: readonly number[];
  readonly #queues = new Map<number, Opened>();
  readonly #receiving = new Set<number>();
  readonly rings: number;
  /** The host's side is one queue, whatever the driver has. */
  readonly hostRings = { tx: 1, rx: 1 };
  #host: Opened | undefined;
  #egress: Egress = 'wire';
  /** What the host sends: goes nowhere, or comes to its queue. */
  #cut = false;
  #taken = false;

  constructor(nic: Interface, { memory, entries }: DevicePlan) {
    this.#interface = nic;
    this.#memory = memory;
    this.#entries = entries;
    server ??= new Server(memory.lent);
    this.#server = server;
    this.rings = ringsOf(nic);
    this.#all = Array.from({ length: this.rings }, (_, i) => i);
  }

  openQueue(index: number, krings: Krings): Queue {
    let opened = this.#queues.get(index);
    if (!opened) {
      opened = this.#open([index], false, krings);
      this.#queues.set(index, opened);
    }
    return opened.queue;
  }

  closeQueue(index: number): void {
    const opened = this.#queues.get(index);
    if (!opened) return;
    this.#queues.delete(index);
    this.#receiving.delete(index);
    this.#close(opened);
  }

  setReceive(index: number, on: boolean): void {
    if (on === this.#receiving.has(index)) return;
    this.#server.order({ do: 'receive', queue: this.#queues.get(index)!.number, on });
    if (on) this.#receiving.add(index);
    else this.#receiving.delete(index);
  }

  openHost(_index: number, krings: Krings): Queue {
    this.#host ??= this.#open(this.#all, true, krings);
    return this.#host.queue;
  }

  closeHost(): void {
    const host = this.#host;
    if (!host) return;
    this.#host = undefined;
    this.#taken = false;
    this.#close(host);
    this.setEgress(this.#egress);
  }

  setEgress(egress: Egress): void {
    this.#egress = egress;
    const taken = egress === 'ring' && this.#host !== undefined;
    const cut = egress !== 'wire' && !taken;
    // A hook has one program at a time: the old one goes first.
    if (this.#taken && !taken) this.#take(false);
    if (this.#cut !== cut) {
      const { index: ifIndex } = this.#interface;
      this.#server.order({ do: 'cut', ifIndex, queues: this.#all, on: cut });
      this.#cut = cut;
    }
    if (!this.#taken && taken) this.#take(true);
  }

  /** The driver detaches sockets whose interface has another MTU: their users are told, and open it anew. */
  follow(): void {}

  close(): void {
    for (const index of [...this.#queues.keys()]) this.closeQueue(index);
    this.#egress = 'wire';
    this.closeHost();
    this.setEgress('wire');
  }

  #take(on: boolean): void {
    this.#server.order({ do: 'receive', queue: this.#host!.number, on });
    this.#taken = on;
  }

  /** @param queues  the driver's, all of which are one to us */
  #open(queues: readonly number[], host: boolean, krings: Krings): Opened {
    const { bufOfs, bufSize, bufCount, pinned } = this.#memory;
    const { index: ifIndex, mtu } = this.#interface;
    const entries = this.#entries;
    const { asleep, ...layout } = mirrorLayout(entries);
    const mirror = os.createObject('netmap-queue', layout.size);
    const { address, release } = pinned();
    // Buffers alone: the driver has no business with rings, and its chunks begin where buffers do.
    const buffers = { address: address + bufOfs, size: bufCount * bufSize, bufSize };
    const number = this.#server.newQueue();
    const opened: Opened = {
      number,
      queue: {
        fd: mirror.fd,
        ...layout,
        parts: [{ at: 0, size: layout.size, pageOffset: 0 }],
        terms: { bufAddress: 0, headroom: 0, chain: 1, longest: mtu + ETHERNET_HEADER },
        server: { bell: this.#server.bell, asleep },
        lost: () => this.#lost(number),
      },
      release() {
        release();
        os.closeFd(mirror.fd);
      },
    };
    try {
      const plan = { ifIndex, queues, host, entries, buffers };
      this.#server.order({ do: 'open', queue: number, plan, mirror, krings });
      return opened;
    } catch (error) {
      opened.release();
      throw error;
    }
  }

  /** Asked for by the clock: whoever has stopped answering is not asked again. */
  #lost(queue: number): number {
    return this.#server.dead ? 0 : this.#server.order({ do: 'count', queue });
  }

  #close({ number, release }: Opened): void {
    this.#server.order({ do: 'close', queue: number });
    release();
  }
}

const REFUSED: Readonly<Partial<Record<NicMode, string>>> = {
  native: "by its driver, as admode=1 wants: XDP-for-Windows does not have the host's frames there",
  emulated: 'in emulated mode, as admode=3 wants: Windows has no packet sockets',
};

export const openDevice: OpenDevice = (nic, plan) => {
  const refused = plan.mode && REFUSED[plan.mode];
  if (refused === undefined) return new XdpDevice(nic, plan);
  throw new NetmapError('EOPNOTSUPP', `Cannot open "${nic.name}" ${refused}; set admode to 0 or 2`);
};

export function openEndpoint(name: string): never {
  throw new NetmapError(
    'EOPNOTSUPP',
    `Cannot make interface "${name}" for the host: Windows lets drivers only make them; attach one that there is with its host stack (vale-ctl -h)`,
  );
}

export const missing = (): Obstacle | undefined => {
  const found = driver.missing();
  return found && { ...found, code: 'EOPNOTSUPP' };
};

/** Nobody tells how many queues there are, but a socket can be bound to each of them, and to no more. */
export function ringsOf({ index }: Interface): number {
  if (driver.missing()) return 1;
  let count = 0;
  while (count < MOST_QUEUES && hasQueue(index, count)) count++;
  return Math.max(1, count);
}

function hasQueue(ifIndex: number, queue: number): boolean {
  const socket = driver.createSocket();
  try {
    driver.bind(socket, ifIndex, queue, api.BIND_RX | api.BIND_GENERIC);
    return true;
  } catch {
    return false;
  } finally {
    driver.close(socket);
  }
}

export const remedies: NicSystem['remedies'] = {
  up: (name) => `netsh interface set interface "${name}" enabled`,
  mtu: (name, mtu) => `netsh interface ipv4 set subinterface "${name}" mtu=${mtu}`,
};

/** Frames are taken by the driver, or not at all. */
export const whyEmulated = () => undefined;

export const offloadsOn = () => [];
export const isNative = () => false;

/** Tells of interfaces that are gone or have another MTU, by looking. @returns what ends it */
export function watchLinks(tell: (news: LinkNews) => void): () => void {
  let known = listInterfaces();
  const timer = setInterval(() => {
    const now = new Map(listInterfaces().map((nic) => [nic.index, nic]));
    for (const before of known) {
      const nic = now.get(before.index);
      if (nic?.mtu !== before.mtu) tell({ gone: nic === undefined, nic: nic ?? before });
    }
    known = [...now.values()];
  }, LOOK_MS);
  timer.unref();
  return () => clearInterval(timer);
}
