// Network interfaces: what there is, and the helpers of our own making (spec linux-nic §2.4, §2.5).

import fs from 'node:fs';
import type { Interface } from '../interfaces.ts';
import * as libc from './libc.ts';
import * as nl from './netlink.ts';

export type { Interface };

export const IFF_UP = 1;
const IFF_LOOPBACK = 8;
const IFF_NOARP = 0x80;
const CLONE_NEWNET = 0x40000000;
const AF_INET = 2;
const SOCK_DGRAM_CLOEXEC = 0x80002;
const SIOCETHTOOL = 0x8946;
const ETHTOOL_GDRVINFO = 0x03;
const ETHTOOL_GCHANNELS = 0x3c;
const IFNAMSIZ = 16;
const OPER_DOWN = 2;
const OPER_LOWER_DOWN = 3;

/** Every interface of this thread's network namespace. */
export function listInterfaces(): Interface[] {
  const netlink = new nl.Netlink();
  try {
    return netlink
      .dump('list network interfaces', nl.RTM_GETLINK, nl.interfaceInfo())
      .map(({ body }) => parseLink(body));
  } finally {
    netlink.close();
  }
}

/** What a message about a link says. */
export function parseLink(body: Buffer): Interface {
  const found = nl.attributes(body.subarray(nl.INTERFACE_INFO_SIZE));
  const name = text(found.get(nl.IFLA_IFNAME));
  const flags = body.readUInt32LE(8);
  const state = found.get(nl.IFLA_OPERSTATE)?.readUInt8(0) ?? 0;
  const number = (type: number) => found.get(type)?.readUInt32LE(0) ?? 1;
  const channels = channelsOf(name);
  return {
    index: body.readInt32LE(4),
    name,
    mac: [...(found.get(nl.IFLA_ADDRESS) ?? [])].map((byte) => byte.toString(16).padStart(2, '0')).join(':'),
    mtu: number(nl.IFLA_MTU),
    up: (flags & IFF_UP) !== 0,
    running: state !== OPER_DOWN && state !== OPER_LOWER_DOWN,
    loopback: (flags & IFF_LOOPBACK) !== 0,
    txQueues: channels?.tx ?? number(nl.IFLA_NUM_TX_QUEUES),
    rxQueues: channels?.rx ?? number(nl.IFLA_NUM_RX_QUEUES),
  };
}

function text(bytes: Buffer | undefined): string {
  return (bytes ?? Buffer.alloc(0)).toString('utf8').replace(/\0.*$/s, '');
}

/** Queues that the driver uses, of those that it has; undefined where it does not say. */
function channelsOf(name: string): { tx: number; rx: number } | undefined {
  const channels = Buffer.alloc(36);
  channels.writeUInt32LE(ETHTOOL_GCHANNELS, 0);
  if (!ethtool(name, channels)) return undefined;
  const [rx, tx, , combined] = [20, 24, 28, 32].map((at) => channels.readUInt32LE(at)) as [
    number,
    number,
    number,
    number,
  ];
  return rx + combined > 0 && tx + combined > 0 ? { rx: rx + combined, tx: tx + combined } : undefined;
}

/** Name of an interface's driver, '' where it has none. */
export function driverOf(name: string): string {
  const info = Buffer.alloc(196);
  info.writeUInt32LE(ETHTOOL_GDRVINFO, 0);
  return ethtool(name, info) ? text(info.subarray(4, 36)) : '';
}

/** One request of ethtool's; what is asked and answered shares `data`. False where the driver does not know it. */
export function ethtool(name: string, data: Buffer): boolean {
  const still = new Uint8Array(new ArrayBuffer(data.length));
  still.set(data);
  const request = Buffer.alloc(40);
  request.write(name.slice(0, IFNAMSIZ - 1), 0);
  request.writeBigUInt64LE(BigInt(libc.addressOf(still)), 16);
  const fd = libc.socket(AF_INET, SOCK_DGRAM_CLOEXEC, 0);
  if (fd < 0) return false;
  const done = libc.ioctl(fd, SIOCETHTOOL, request) === 0;
  libc.closeFd(fd);
  data.set(still);
  return done;
}

/** A network namespace that exists as long as somebody holds its descriptor. */
export class Namespace {
  readonly fd: number;

  constructor(fd: number) {
    this.fd = fd;
  }

  /** @throws NetmapError EPERM: CAP_SYS_ADMIN is missing. */
  static create(): Namespace {
    const here = openOwn();
    try {
      if (libc.unshare(CLONE_NEWNET) !== 0) throw libc.lastError('make a network namespace');
      try {
        return new Namespace(openOwn());
      } finally {
        libc.setns(here, CLONE_NEWNET);
      }
    } finally {
      fs.closeSync(here);
    }
  }

  /** Runs `work` inside, for this thread alone; it must not wait. */
  run<T>(work: () => T): T {
    const here = openOwn();
    try {
      if (libc.setns(this.fd, CLONE_NEWNET) !== 0) throw libc.lastError('enter a network namespace');
      try {
        return work();
      } finally {
        libc.setns(here, CLONE_NEWNET);
      }
    } finally {
      fs.closeSync(here);
    }
  }

  close(): void {
    fs.closeSync(this.fd);
  }
}

function openOwn(): number {
  return fs.openSync('/proc/thread-self/ns/net', 'r');
}

export interface PairPlan {
  /** End in this namespace. */
  name: string;
  /** End in the other. */
  peerName: string;
  peer: Namespace;
  mtu: number;
  /** The end here takes part in no protocol of its own. */
  silent: boolean;
  /** Queues of the other end, each way. */
  rings: { tx: number; rx: number };
}

/** Makes two interfaces joined by a wire, both up. @throws NetmapError EEXIST, EPERM. */
export function createPair({ name, peerName, peer, mtu, silent, rings }: PairPlan): void {
  const netlink = new nl.Netlink();
  try {
    const other = Buffer.concat([
      nl.interfaceInfo(),
      nl.attribute(nl.IFLA_IFNAME, peerName),
      nl.attribute(nl.IFLA_MTU, mtu),
      ...queues(rings.tx, rings.rx),
      nl.attribute(nl.IFLA_NET_NS_FD, peer.fd),
    ]);
    const kind = Buffer.concat([nl.attribute(1, 'veth'), nl.attribute(2, nl.attribute(1, other))]);
    const body = Buffer.concat([
      nl.interfaceInfo(),
      nl.attribute(nl.IFLA_IFNAME, name),
      nl.attribute(nl.IFLA_MTU, mtu),
      ...queues(rings.rx, rings.tx),
      nl.attribute(nl.IFLA_LINKINFO, kind),
    ]);
    netlink.request(`make interface "${name}"`, nl.RTM_NEWLINK, nl.NLM_CREATE_EXCL, body);
  } finally {
    netlink.close();
  }
  setUp(name, silent);
  peer.run(() => setUp(peerName, true));
}

function queues(tx: number, rx: number): Buffer[] {
  return [nl.attribute(nl.IFLA_NUM_TX_QUEUES, tx), nl.attribute(nl.IFLA_NUM_RX_QUEUES, rx)];
}

/** @param silent  no ARP, no addresses of its own */
function setUp(name: string, silent: boolean): void {
  const index = listInterfaces().find((found) => found.name === name)!.index;
  const flags = IFF_UP | (silent ? IFF_NOARP : 0);
  const noAddresses = nl.attribute(nl.IFLA_AF_SPEC, nl.attribute(10, nl.attribute(8, Buffer.from([1]))));
  const netlink = new nl.Netlink();
  try {
    // Without IPv6 there is nothing to switch off.
    if (silent)
      tryTo(() =>
        netlink.request(
          `quiet "${name}"`,
          nl.RTM_NEWLINK,
          0,
          Buffer.concat([nl.interfaceInfo(index), noAddresses]),
        ),
      );
    netlink.request(`set "${name}" up`, nl.RTM_NEWLINK, 0, nl.interfaceInfo(index, flags, flags));
  } finally {
    netlink.close();
  }
}

/** Changes an interface's MTU. */
export function setMtu(index: number, mtu: number): void {
  const netlink = new nl.Netlink();
  try {
    const body = Buffer.concat([nl.interfaceInfo(index), nl.attribute(nl.IFLA_MTU, mtu)]);
    netlink.request(`set the MTU of interface ${index}`, nl.RTM_NEWLINK, 0, body);
  } finally {
    netlink.close();
  }
}

/** Removes an interface of our own making; one that is gone already is fine. */
export function removeInterface(index: number): void {
  const netlink = new nl.Netlink();
  tryTo(() => netlink.request(`remove interface ${index}`, nl.RTM_DELLINK, 0, nl.interfaceInfo(index)));
  netlink.close();
}

function tryTo(work: () => void): void {
  try {
    work();
  } catch {
    // What it is for has been said where it is called.
  }
}
