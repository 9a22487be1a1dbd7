// Parameters of the module, in the manner of sysctl (spec api §5): those that have an effect here.

import { NetmapError } from '../abi/errors.ts';
import type { PoolRequest } from '../mem/geometry.ts';

interface Parameter {
  readonly meaning: string;
  readonly min: number;
  readonly max: number;
  readonly writable: boolean;
  value: number;
}

export interface ParameterInfo {
  name: string;
  value: number;
  min: number;
  max: number;
  writable: boolean;
  meaning: string;
}

export class Parameters {
  readonly #all = new Map<string, Parameter>();
  readonly #watchers = new Map<string, (value: number) => void>();

  constructor() {
    this.#add(
      'bridge_batch',
      1024,
      -1,
      1024,
      'most slots a sender flushes at a time; 0 or less discards everything',
    );
    this.#add('max_bridges', 8, 8, 8, 'switches at a time', false);
    this.#add(
      'mac_age',
      300,
      0,
      86_400,
      'seconds after which a switch forgets an address that was silent; 0: never',
    );
    this.#add(
      'admode',
      0,
      0,
      3,
      'NICs are taken by 0: the best there is; 1: their driver only; 2: the stack on its behalf; 3: packet sockets',
    );
    this.#add(
      'fwd',
      0,
      0,
      1,
      'what RX rings of NICs and hosts give back goes to the other side 0: if it is marked and the ring says NR_FORWARD; 1: always',
    );
    this.#add('generic_ringsize', 1024, 64, 4096, 'slots of a ring of a NIC');
    this.#add('guest_mem', 256, 0, 1_048_576, 'MiB of memory that the ports of another user may have');
    this.#add('guest_mem_total', 1024, 0, 1_048_576, 'MiB that those of all other users may have together');
    this.#add('guest_ports', 64, 0, 1024, 'openings of ports that another user may have');
    this.#add('guest_ports_total', 192, 0, 4096, 'openings that all other users may have together');
    this.#add('guest_bridges', 4, 0, 8, 'switches at a time that are there because other users opened ports');
    this.#pool('', 'the global region (id 1)', {
      if: [1024, 100],
      ring: [36_864, 200],
      buf: [2048, 16_384],
    });
    this.#pool('priv_', 'regions of ports and, for what they leave open, of users', {
      if: [1024, 2],
      ring: [20_480, 4],
      buf: [2048, 4098],
    });
  }

  /** @throws NetmapError ENOENT. */
  get(name: string): number {
    return this.#find(name).value;
  }

  /** @throws NetmapError ENOENT, EACCES: it cannot be changed, EINVAL: out of range. */
  set(name: string, value: number): void {
    const parameter = this.#find(name);
    const refuse = (code: 'EACCES' | 'EINVAL', why: string) =>
      new NetmapError(code, `Cannot set parameter "${name}" to ${value}: ${why}`);
    if (!parameter.writable) throw refuse('EACCES', `it is ${parameter.value} and cannot be changed`);
    // Larger batches act as the largest, as in netmap.
    const clamped = name === 'bridge_batch' ? Math.max(-1, Math.min(value, parameter.max)) : value;
    if (clamped < parameter.min || clamped > parameter.max)
      throw refuse('EINVAL', `${parameter.min} to ${parameter.max} is allowed`);
    parameter.value = clamped;
    this.#watchers.get(name)?.(clamped);
  }

  /** Takes a value over from a module before this one. */
  restore(name: string, value: number): void {
    const parameter = this.#all.get(name);
    if (!parameter) return;
    parameter.value = value;
    this.#watchers.get(name)?.(value);
  }

  list(): ParameterInfo[] {
    return [...this.#all].map(([name, parameter]) => ({ name, ...parameter }));
  }

  /** Has `changed` called with every new value, and with the present one. */
  watch(name: string, changed: (value: number) => void): void {
    this.#watchers.set(name, changed);
    changed(this.get(name));
  }

  /** What the parameters say about a region's three pools. @param prefix  '' or 'priv_' */
  pools(prefix: '' | 'priv_'): Record<'ifs' | 'rings' | 'bufs', PoolRequest> {
    const pool = (kind: string) => ({
      count: this.get(`${prefix}${kind}_num`),
      size: this.get(`${prefix}${kind}_size`),
    });
    return { ifs: pool('if'), rings: pool('ring'), bufs: pool('buf') };
  }

  #find(name: string): Parameter {
    const parameter = this.#all.get(name);
    if (parameter) return parameter;
    throw new NetmapError('ENOENT', `Cannot find parameter "${name}": "nm-ctl" lists all of them`);
  }

  #add(name: string, value: number, min: number, max: number, meaning: string, writable = true): void {
    this.#all.set(name, { value, min, max, meaning, writable });
  }

  #pool(prefix: string, what: string, sizes: Record<'if' | 'ring' | 'buf', [number, number]>): void {
    const limits = {
      if: [56, 8192, 1, 10_000],
      ring: [256, 131_072, 1, 65_536],
      buf: [64, 65_536, 4, 1_000_000],
    };
    for (const kind of ['if', 'ring', 'buf'] as const) {
      const [minSize, maxSize, minCount, maxCount] = limits[kind] as [number, number, number, number];
      const [size, count] = sizes[kind];
      this.#add(`${prefix}${kind}_size`, size, minSize, maxSize, `bytes of a ${kind} object of ${what}`);
      this.#add(`${prefix}${kind}_num`, count, minCount, maxCount, `${kind} objects of ${what}`);
    }
  }
}
