// What can be asked and said of switches and their ports: VALE_LIST, PORT_HDR_SET and _GET, lengths, learning table,
// lookup.

import { NetmapError } from '../abi/errors.ts';
import { NM_BDG_MAXPORTS, NM_BDG_NOPORT } from '../abi/netmap.ts';
import { LOOKUP_BATCH, LOOKUP_TABLE, LOOKUP_WASM } from '../abi/state.ts';
import type { Reply } from '../protocol/messages.ts';
import type { ValePort } from './adapter.ts';
import { meter } from './lookup/code.ts';
import type { Ports } from './ports.ts';
import type { Switch } from './switch.ts';

/** What VALE_LIST tells. */
export interface Listed {
  name: string;
  bridge: number;
  port: number;
}

/** An Ethernet header and no more. */
const SHORTEST_LIMIT = 14;

export class Switchboard {
  readonly #ports: Ports;

  constructor(ports: Ports) {
    this.#ports = ports;
  }

  /** VALE_LIST by name: the port's indices, 255 for a port that the switch has not. @throws NetmapError EINVAL, ENOENT. */
  locate(name: string): Listed {
    if (!name.startsWith('vale')) {
      throw new NetmapError('EINVAL', `Cannot look "${name}" up: a VALE name is needed, as in vale0:a`);
    }
    const sw = this.#ports.vale.switches.get(name.split(':', 1)[0]!);
    if (!sw || sw.index < 0) {
      throw new NetmapError('ENOENT', `Cannot look "${name}" up: there is no such switch`);
    }
    const adapter = this.#ports.adapters.get(name);
    const port = adapter?.kind === 'vale' ? adapter.port.index : NM_BDG_NOPORT;
    return { name, bridge: sw.index, port };
  }

  /** VALE_LIST: the first port at or after a place. @throws NetmapError ENOENT: there is none. */
  firstFrom(bridge: number, port: number): Listed {
    const place = ({ bridge, port }: { bridge: number; port: number }) => bridge * NM_BDG_MAXPORTS + port;
    const from = place({ bridge, port: Math.min(port, NM_BDG_MAXPORTS) });
    const [first] = this.list()
      .filter((listed) => place(listed) >= from)
      .sort((a, b) => place(a) - place(b));
    if (first) return first;
    throw new NetmapError(
      'ENOENT',
      `Cannot list further: no port at or after switch ${bridge}, port ${port}`,
    );
  }

  /** Every port of every switch. */
  list(): Listed[] {
    return [...this.#ports.adapters.values()].flatMap((adapter) =>
      adapter.kind === 'vale' && adapter.sw.index >= 0 && !adapter.port.hidden
        ? [{ name: adapter.name, bridge: adapter.sw.index, port: adapter.port.index }]
        : [],
    );
  }

  /** PORT_HDR_SET. @throws NetmapError EINVAL, ENXIO. */
  setHeader(name: string, length: number): void {
    if (![0, 10, 12].includes(length)) {
      throw new NetmapError(
        'EINVAL',
        `Cannot put virtio-net headers of ${length} bytes on "${name}": 0, 10 or 12 are possible`,
      );
    }
    const adapter = this.#ports.find(name);
    if (adapter?.kind !== 'vale' || adapter.sw.index < 0 || adapter.port.hidden) {
      throw new NetmapError('ENXIO', `Cannot set the header length of "${name}": no switch has such a port`);
    }
    this.#ports.vale.setHeader(adapter, length);
  }

  /** PORT_HDR_GET. @throws NetmapError ENXIO. */
  header(name: string): number {
    const adapter = this.#ports.find(name);
    if (adapter) return adapter.kind === 'vale' ? adapter.headerLength : 0;
    const persistent = this.#ports.vale.persistent.get(name);
    if (persistent) return persistent.headerLength;
    throw new NetmapError('ENXIO', `Cannot tell the header length of "${name}": there is no such port`);
  }

  /**
   * Longest frame that is brought to a port of a switch, without its virtio-net header; 0: any.
   * @throws NetmapError ENXIO
   */
  setLongest(name: string, bytes: number): void {
    const port = this.#switchPort(name, 'limit the frames of');
    if (bytes !== 0 && bytes < SHORTEST_LIMIT)
      throw new NetmapError(
        'EINVAL',
        `Cannot limit the frames of "${name}" to ${bytes} bytes: ${SHORTEST_LIMIT} or more are possible, or 0 for any`,
      );
    port.sw.setLongest(port.port, bytes);
  }

  /** @throws NetmapError ENXIO. */
  longest(name: string): number {
    const { sw, port } = this.#switchPort(name, 'tell the longest frame of');
    return sw.longest(port);
  }

  #switchPort(name: string, what: string): ValePort {
    const adapter = this.#ports.find(name);
    if (adapter?.kind === 'vale' && adapter.sw.index >= 0 && !adapter.port.hidden) return adapter;
    throw new NetmapError('ENXIO', `Cannot ${what} "${name}": no switch has such a port`);
  }

  /** A switch's learning table, ports by name. @throws NetmapError ENOENT. */
  addresses(switchName: string): { mac: string; port: string; age: number }[] {
    const sw = this.#existing(switchName, 'list the addresses of', 'ENOENT');
    const names = new Map(
      [...this.#ports.adapters.values()].flatMap((adapter) =>
        adapter.kind === 'vale' && adapter.sw === sw ? [[adapter.port.index, adapter.name] as const] : [],
      ),
    );
    return sw.addresses().map(({ mac, port, age }) => ({ mac, age, port: names.get(port) ?? '?' }));
  }

  /** Gives a switch a lookup in WebAssembly. @throws NetmapError ENXIO, EINVAL, ENOMEM. */
  setLookup(switchName: string, label: string, code: Uint8Array, config: Uint8Array): void {
    const sw = this.#existing(switchName, 'set the lookup of', 'ENXIO');
    sw.setLookup({ kind: LOOKUP_WASM, label, code: meter(code, label, config.length > 0), config });
  }

  /** Gives a switch its learning table back. @throws NetmapError ENXIO. */
  clearLookup(switchName: string): void {
    this.#existing(switchName, 'clear the lookup of', 'ENXIO').setLookup({ kind: LOOKUP_TABLE });
  }

  /** What decides where a switch's frames go. @throws NetmapError ENXIO. */
  lookup(switchName: string): Reply<'valeLookupGet'> {
    const { kind, label, port } = this.#existing(switchName, 'tell the lookup of', 'ENXIO').lookup;
    const kinds = { [LOOKUP_TABLE]: 'table', [LOOKUP_WASM]: 'wasm', [LOOKUP_BATCH]: 'batch' } as const;
    const name = kinds[kind as keyof typeof kinds];
    return { kind: name, label, alive: name !== 'batch' || port !== NM_BDG_NOPORT };
  }

  #existing(switchName: string, purpose: string, code: 'ENOENT' | 'ENXIO'): Switch {
    const sw = this.#ports.vale.switches.get(switchName);
    if (sw && sw.index >= 0) return sw;
    throw new NetmapError(
      code,
      `Cannot ${purpose} "${switchName}": there is no such switch; open a port on it first`,
    );
  }
}
