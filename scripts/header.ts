// Writes build/include/netmap_abi.h from src/abi/netmap.ts: what a C program needs to use a mapped region.
//
//   node build/js/scripts/header.js [FILE]

import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import * as abi from '../src/abi/netmap.ts';

interface Field {
  name: string;
  /** C type; an array's length follows in brackets. */
  type: string;
  ofs: number;
}

interface Struct {
  name: string;
  fields: readonly Field[];
  size: number;
}

const SIZES: Readonly<Record<string, number>> = {
  uint16_t: 2,
  uint32_t: 4,
  uint64_t: 8,
  int64_t: 8,
  char: 1,
  uint8_t: 1,
};

const STRUCTS: readonly Struct[] = [
  {
    name: 'netmap_slot',
    size: abi.SLOT_SIZE,
    fields: [
      { name: 'buf_idx', type: 'uint32_t', ofs: abi.SLOT_BUF_IDX },
      { name: 'len', type: 'uint16_t', ofs: abi.SLOT_LEN },
      { name: 'flags', type: 'uint16_t', ofs: abi.SLOT_FLAGS },
      { name: 'ptr', type: 'uint64_t', ofs: abi.SLOT_PTR },
    ],
  },
  {
    name: 'netmap_ring',
    size: abi.RING_SLOTS,
    fields: [
      { name: 'buf_ofs', type: 'int64_t', ofs: abi.RING_BUF_OFS },
      { name: 'num_slots', type: 'uint32_t', ofs: abi.RING_NUM_SLOTS },
      { name: 'nr_buf_size', type: 'uint32_t', ofs: abi.RING_BUF_SIZE },
      { name: 'ringid', type: 'uint16_t', ofs: abi.RING_RINGID },
      { name: 'dir', type: 'uint16_t', ofs: abi.RING_DIR },
      { name: 'head', type: 'uint32_t', ofs: abi.RING_HEAD },
      { name: 'cur', type: 'uint32_t', ofs: abi.RING_CUR },
      { name: 'tail', type: 'uint32_t', ofs: abi.RING_TAIL },
      { name: 'flags', type: 'uint32_t', ofs: abi.RING_FLAGS },
      { name: 'ts_sec', type: 'int64_t', ofs: abi.RING_TS },
      { name: 'ts_usec', type: 'int64_t', ofs: abi.RING_TS + 8 },
      { name: 'offset_mask', type: 'uint64_t', ofs: abi.RING_OFFSET_MASK },
      { name: 'buf_align', type: 'uint64_t', ofs: abi.RING_BUF_ALIGN },
      { name: 'sem', type: 'uint8_t[128]', ofs: abi.RING_SEM },
    ],
  },
  {
    name: 'netmap_if',
    size: abi.IF_RING_OFS,
    fields: [
      { name: 'ni_name', type: `char[${abi.IF_NAME_SIZE}]`, ofs: abi.IF_NAME },
      { name: 'ni_version', type: 'uint32_t', ofs: abi.IF_VERSION },
      { name: 'ni_flags', type: 'uint32_t', ofs: abi.IF_FLAGS },
      { name: 'ni_tx_rings', type: 'uint32_t', ofs: abi.IF_TX_RINGS },
      { name: 'ni_rx_rings', type: 'uint32_t', ofs: abi.IF_RX_RINGS },
      { name: 'ni_bufs_head', type: 'uint32_t', ofs: abi.IF_BUFS_HEAD },
      { name: 'ni_host_tx_rings', type: 'uint32_t', ofs: abi.IF_HOST_TX_RINGS },
      { name: 'ni_host_rx_rings', type: 'uint32_t', ofs: abi.IF_HOST_RX_RINGS },
    ],
  },
];

/** Constants of the API; offsets go into the structs instead. */
const DEFINES = Object.entries(abi).filter(([name]) => /^(NS_|NR_|NI_|NM_|NETMAP_|DIR_)/.test(name));

/** A structure with its gaps filled, and the compiler's word that every field is where it should be. */
function structText({ name, fields, size }: Struct): string {
  const lines: string[] = [];
  let at = 0;
  const fillTo = (ofs: number) => {
    if (ofs > at) lines.push(`\tuint8_t pad${at}[${ofs - at}];`);
    at = ofs;
  };
  for (const field of fields) {
    fillTo(field.ofs);
    const [, type, length] = /^(\w+)(?:\[(\d+)\])?$/.exec(field.type)!;
    lines.push(`\t${type} ${field.name}${length ? `[${length}]` : ''};`);
    at += SIZES[type!]! * Number(length ?? 1);
  }
  fillTo(size);
  const checks = fields.map(
    (field) =>
      `_Static_assert(offsetof(struct ${name}, ${field.name}) == ${field.ofs}, "${name}.${field.name}");`,
  );
  checks.push(`_Static_assert(sizeof(struct ${name}) == ${size}, "${name}");`);
  return `struct ${name} {\n${lines.join('\n')}\n};\n${checks.join('\n')}\n`;
}

export function headerText(): string {
  return `/* Written by scripts/header.ts from src/abi/netmap.ts; do not edit. */
#ifndef NETMAP_ABI_H
#define NETMAP_ABI_H

#include <stddef.h>
#include <stdint.h>

${DEFINES.map(([name, value]) => `#define ${name} ${value}`).join('\n')}

${STRUCTS.map(structText).join('\n')}
/* The slots follow their ring, the rings' offsets (from the netmap_if) follow the netmap_if. */
#define NETMAP_RING_SLOT(ring, i) ((struct netmap_slot *)((char *)(ring) + sizeof(struct netmap_ring)) + (i))
#define NETMAP_IF_RING_OFS(nifp, i) (((int64_t *)((char *)(nifp) + sizeof(struct netmap_if)))[i])
#define NETMAP_BUF(ring, idx) ((char *)(ring) + (ring)->buf_ofs + (size_t)(idx) * (ring)->nr_buf_size)

#endif
`;
}

const [file] = process.argv[1] === fileURLToPath(import.meta.url) ? process.argv.slice(2) : [];
if (file) {
  fs.mkdirSync(path.dirname(file), { recursive: true });
  fs.writeFileSync(file, headerText());
}
