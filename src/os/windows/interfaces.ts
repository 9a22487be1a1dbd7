import koffi from 'koffi';
import type { Interface } from '../interfaces.ts';
import { bytesAt, lastError } from './win32.ts';

// Network interfaces through IP Helper: a table of MIB_IF_ROW2.

const iphlpapi = koffi.load('iphlpapi.dll');
const GetIfTable2 = iphlpapi.func('uint32_t GetIfTable2(void *table)');
const FreeMibTable = iphlpapi.func('void FreeMibTable(int64_t table)');

const TABLE_ROWS = 8;
const ROW_SIZE = 1352;
const ROW_INDEX = 8;
const ROW_ALIAS = 28;
const ROW_DESCRIPTION = 542;
const NAME_BYTES = 514;
const ROW_ADDRESS_LENGTH = 1056;
const ROW_ADDRESS = 1060;
const ROW_MTU = 1124;
const ROW_TYPE = 1128;
const ROW_OPER_STATUS = 1156;
const ROW_ADMIN_STATUS = 1160;
const TYPE_LOOPBACK = 24;
const STATUS_UP = 1;

/** Copies of the rows. */
function rows(): Buffer[] {
  const cell = new BigInt64Array(1);
  if (GetIfTable2(cell) !== 0) throw lastError('EIO', 'list network interfaces');
  const table = Number(cell[0]);
  const count = Buffer.from(bytesAt(table, 4)).readUInt32LE(0);
  const bytes = Buffer.from(bytesAt(table, TABLE_ROWS + count * ROW_SIZE));
  FreeMibTable(table);
  return Array.from({ length: count }, (_, i) =>
    bytes.subarray(TABLE_ROWS + i * ROW_SIZE, TABLE_ROWS + (i + 1) * ROW_SIZE),
  );
}

function textIn(row: Buffer, ofs: number): string {
  const text = row.toString('utf16le', ofs, ofs + NAME_BYTES);
  return text.slice(0, text.indexOf('\0'));
}

/** What `netsh interface ipv4 show interfaces` shows. */
export function listInterfaces(): Interface[] {
  return rows().map((row) => {
    const length = Math.min(row.readUInt32LE(ROW_ADDRESS_LENGTH), 32);
    const mac = [...row.subarray(ROW_ADDRESS, ROW_ADDRESS + length)];
    return {
      index: row.readUInt32LE(ROW_INDEX),
      name: textIn(row, ROW_ALIAS),
      mac: mac.map((byte) => byte.toString(16).padStart(2, '0')).join(':'),
      mtu: row.readUInt32LE(ROW_MTU),
      up: row.readUInt32LE(ROW_ADMIN_STATUS) === STATUS_UP,
      running: row.readUInt32LE(ROW_OPER_STATUS) === STATUS_UP,
      loopback: row.readUInt32LE(ROW_TYPE) === TYPE_LOOPBACK,
      txQueues: 0,
      rxQueues: 0,
    };
  });
}

/** What Windows calls the adapter itself. */
export function driverOf(name: string): string {
  const row = rows().find((found) => textIn(found, ROW_ALIAS) === name);
  return row ? textIn(row, ROW_DESCRIPTION) : '';
}
