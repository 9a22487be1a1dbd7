// The registry as it stands in shared memory, so that a module started after a crash finds every port as it
// was.  Written after each change, in two copies in turn; read once, at the start.

import * as v from 'valibot';
import * as st from '../abi/state.ts';
import type { Arena } from '../mem/arena.ts';

const n = v.pipe(v.number(), v.integer(), v.minValue(0));
const object = v.object({ pid: n, fd: n, ino: n, size: n });
const pool = v.object({ ofs: n, count: n, size: n });
const ring = v.object({
  kind: n,
  index: n,
  slots: n,
  ringOfs: n,
  kringOfs: n,
  users: n,
  exclusive: v.boolean(),
});
const rings = v.array(ring);
const sizes = v.object({ txRings: n, rxRings: n, txSlots: n, rxSlots: n });
const port = v.object({ index: n, hidden: v.boolean(), krings: v.object({ ofs: n, size: n }) });
const adapter = { name: v.string(), region: n, state: n, tx: rings, rx: rings, port };

const names = v.record(v.string(), v.string());
const ringLayout = v.object({ producer: n, consumer: n, desc: n, entries: n });
const queueLayout = v.object({
  size: n,
  parts: v.pipe(v.array(v.object({ at: n, size: n, pageOffset: n })), v.readonly()),
  rx: ringLayout,
  tx: ringLayout,
  fill: v.exactOptional(ringLayout),
  completion: v.exactOptional(ringLayout),
  frameSize: v.exactOptional(n),
  terms: v.exactOptional(v.object({ bufAddress: n, headroom: n, chain: n, longest: n })),
});
const nic = v.object({
  ...adapter,
  ifindex: n,
  txQueues: n,
  rxQueues: n,
  admode: n,
  queues: v.array(v.object({ index: n, slot: n })),
  kept: v.object({ fds: names, layouts: v.record(v.string(), queueLayout), texts: names }),
});
export type NicRecord = v.InferOutput<typeof nic>;

const recordSchema = v.object({
  nics: v.array(nic),
  lookups: v.array(v.object({ ...adapter, sw: v.string() })),
  nextToken: n,
  nextRegistration: n,
  clients: v.array(
    v.object({ token: n, pid: n, startTime: v.string(), isolated: v.optional(v.boolean(), false) }),
  ),
  regions: v.array(
    v.object({
      slot: n,
      memId: n,
      object,
      geometry: v.object({ ifs: pool, rings: pool, bufs: pool, size: n }),
    }),
  ),
  states: v.array(v.object({ slot: n, object })),
  switches: v.array(v.object({ name: v.string(), index: v.pipe(v.number(), v.integer()), state: n })),
  persistent: v.array(
    v.object({
      name: v.string(),
      region: n,
      sizes,
      headerLength: n,
      attached: v.nullable(v.string()),
    }),
  ),
  valePorts: v.array(
    v.object({
      ...adapter,
      sw: v.string(),
      headerLength: n,
      persistent: v.nullable(v.string()),
      link: v.nullable(v.string()),
      nic: v.nullable(v.object({ name: v.string(), host: v.boolean() })),
    }),
  ),
  pipes: v.array(v.object({ parent: v.string(), id: v.string(), ends: v.array(v.object(adapter)) })),
  monitors: v.array(
    v.object({ ...adapter, zeroCopy: v.boolean(), watched: v.array(n), parent: v.nullable(v.string()) }),
  ),
  nulls: v.array(v.object({ ...adapter, sizes })),
  parameters: v.array(v.object({ name: v.string(), value: v.pipe(v.number(), v.integer()) })),
  parents: v.array(v.object({ name: v.string(), region: n })),
  registrations: v.array(
    v.object({ id: n, token: n, adapter: v.string(), tx: v.array(n), rx: v.array(n), ifOfs: n }),
  ),
});
export type RegistryRecord = v.InferOutput<typeof recordSchema>;

/** Writes the copy that is older. */
export function writeRecord(arena: Arena, system: number, record: RegistryRecord): void {
  const bytes = new TextEncoder().encode(JSON.stringify(record));
  const newest = copies(arena, system)[0];
  const at = system + st.SYS_REGISTRY + (newest?.which === 0 ? st.SYS_REGISTRY_SIZE : 0);
  if (bytes.length > st.SYS_REGISTRY_SIZE - st.REG_TEXT) return; // Too much to keep: ports live on, adoption does not.
  const sequence = (newest?.sequence ?? 0) + 1;
  arena.view.setUint32(at + st.REG_CHECK, 0, true);
  arena.view.setUint32(at + st.REG_SEQ, sequence, true);
  arena.view.setUint32(at + st.REG_LENGTH, bytes.length, true);
  arena.bytes.set(bytes, at + st.REG_TEXT);
  Atomics.store(arena.words, (at + st.REG_CHECK) >> 2, sequence);
}

/** The newest copy that is whole and makes sense. */
export function readRecord(arena: Arena, system: number): RegistryRecord | undefined {
  for (const { at } of copies(arena, system)) {
    const length = Math.min(
      arena.view.getUint32(at + st.REG_LENGTH, true),
      st.SYS_REGISTRY_SIZE - st.REG_TEXT,
    );
    const bytes = arena.bytes.slice(at + st.REG_TEXT, at + st.REG_TEXT + length);
    try {
      return v.parse(recordSchema, JSON.parse(new TextDecoder().decode(bytes)));
    } catch {
      // The other copy, then.
    }
  }
  return undefined;
}

function copies(arena: Arena, system: number): { which: number; at: number; sequence: number }[] {
  return [0, 1]
    .map((which) => {
      const at = system + st.SYS_REGISTRY + which * st.SYS_REGISTRY_SIZE;
      const sequence = arena.view.getUint32(at + st.REG_SEQ, true);
      return {
        which,
        at,
        sequence: arena.view.getUint32(at + st.REG_CHECK, true) === sequence ? sequence : 0,
      };
    })
    .filter(({ sequence }) => sequence > 0)
    .sort((a, b) => b.sequence - a.sequence);
}
