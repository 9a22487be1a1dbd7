import type { Region, State } from './memory.ts';
import type { Ring } from './rings.ts';
import type { Switch, SwitchPort } from './switch.ts';

// What is behind a port's name.  One adapter, any number of registrations.

interface Common {
  /** As the core knows it: `vale0:a`, `vale0:a{1`. */
  readonly name: string;
  readonly region: Region;
  readonly state: State;
  readonly tx: readonly Ring[];
  readonly rx: readonly Ring[];
}

export interface ValePort extends Common {
  readonly kind: 'vale';
  readonly sw: Switch;
  readonly port: SwitchPort;
}

export interface PipeEnd extends Common {
  readonly kind: 'pipe';
  readonly pipe: Pipe;
}

export type Adapter = ValePort | PipeEnd;

/** Both ends of a pipe exist together, whichever is opened first. */
export interface Pipe {
  /** Name of the port that it hangs on. */
  readonly parent: string;
  readonly id: string;
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
