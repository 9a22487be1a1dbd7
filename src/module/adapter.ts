import type { Keepsakes } from '../nic/keepsakes.ts';
import type { Device, Interface, Queue } from '../nic/nic.ts';
import type { Region, State } from './memory.ts';
import type { PortSizes } from './plan.ts';
import type { PortTable, SwitchPort } from './port-table.ts';
import type { Ring } from './rings.ts';
import type { Switch } from './switch.ts';

// What is behind a port's name.  One adapter, any number of registrations.

interface Common {
  /** What it is opened by: `vale0:a`, `vale0:a{1`.  Changes when a persistent port is detached while open. */
  name: string;
  readonly region: Region;
  readonly state: State;
  readonly tx: readonly Ring[];
  readonly rx: readonly Ring[];
  /** Its place in the table that senders look at. */
  readonly port: SwitchPort;
}

export interface ValePort extends Common {
  readonly kind: 'vale';
  readonly sw: Switch;
  /** Bytes of virtio-net header in front of each frame: 0, 10 or 12. */
  headerLength: number;
  /** The port made by VALE_NEWIF that this is the attached or open form of. */
  readonly persistent: PersistentPort | undefined;
  /** The interface whose frames come and go here: those of its NIC rings, or of its host rings. */
  readonly nic: AttachedNic | undefined;
  /** The persistent port, attached to another switch, whose frames come and go here. */
  readonly link: PersistentPort | undefined;
}

export interface AttachedNic {
  readonly name: string;
  readonly host: boolean;
}

/** A port made by VALE_NEWIF: memory and a name of its own; rings only while it is attached or open. */
export interface PersistentPort {
  readonly name: string;
  readonly region: Region;
  readonly sizes: PortSizes;
  headerLength: number;
  placed: ValePort | undefined;
  /** Switch that it is attached to. */
  attached: string | undefined;
  /** Its port on a second switch: frames go between the two. */
  link: ValePort | undefined;
}

export interface PipeEnd extends Common {
  readonly kind: 'pipe';
  readonly pipe: Pipe;
}

/** Sees the frames of another port's rings (spec ports §3). */
export interface Monitor extends Common {
  readonly kind: 'monitor';
  readonly table: PortTable;
  readonly zeroCopy: boolean;
  /** Rings that it watches, by the offsets of their krings. */
  readonly watched: readonly number[];
  /** Undefined once what it watched is closed. */
  parent: ValePort | PipeEnd | undefined;
}

/** Gets the frames of a switch's ports, and says for each where it goes (spec ports §1.17). */
export interface LookupPort extends Common {
  readonly kind: 'lookup';
  readonly sw: Switch;
}

/** Rings on which nothing moves. */
export interface NullPort extends Common {
  readonly kind: 'null';
  readonly table: PortTable;
  readonly sizes: PortSizes;
}

/** A network interface: its queues' rings, then one each way for the host stack. */
export interface NicPort extends Common {
  readonly kind: 'nic';
  readonly table: PortTable;
  /** As it is now. */
  interface: Interface;
  /** Nothing moves on its rings any more: ORPHAN_*; 0: it does. */
  retired: number;
  readonly device: Device;
  /** What a module started later finds the device by, */
  readonly keep: Keepsakes;
  /** and the parameter admode that it was opened with, 3 if it is emulated whatever that was. */
  readonly admode: number;
  /** Open queues: those of the NIC by number, then the host's. */
  readonly queues: Map<number, OpenQueue>;
}

/** A queue, and the slot that its rings' memory has in every process's table of addresses. */
export interface OpenQueue {
  readonly queue: Queue;
  readonly slot: number;
}

export type Adapter = ValePort | PipeEnd | Monitor | NullPort | LookupPort | NicPort;

/** Where an adapter's krings lie. */
export function tableOf(adapter: Adapter): PortTable {
  switch (adapter.kind) {
    case 'vale':
    case 'lookup':
      return adapter.sw;
    case 'pipe':
      return adapter.pipe.table;
    case 'monitor':
    case 'null':
    case 'nic':
      return adapter.table;
  }
}

/** Both ends of a pipe exist together, whichever is opened first. */
export interface Pipe {
  /** Name of the port that it hangs on. */
  readonly parent: string;
  readonly id: string;
  readonly table: PortTable;
  readonly ends: readonly [PipeEnd, PipeEnd];
}

/** Stands for a parent that is no port itself: `foo` in `netmap:foo{1`. Holds the memory of its pipes. */
export interface PipeParent {
  readonly kind: 'parent';
  readonly name: string;
  readonly region: Region;
}

/** One opening of an adapter by a client: what a descriptor of /dev/netmap is elsewhere. */
export interface Registration {
  readonly id: number;
  readonly token: number;
  readonly adapter: Adapter;
  readonly tx: readonly Ring[];
  readonly rx: readonly Ring[];
  readonly ifOfs: number;
}
