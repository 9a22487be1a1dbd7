// Who may touch what we make: its owner, the system, administrators.

import { NetmapError } from '../../abi/errors.ts';
import * as w from './win32.ts';

const TOKEN_QUERY = 8;
const TOKEN_USER = 1;
const DACL_SECURITY_INFORMATION = 4;
const SDDL_REVISION = 1;

/** The user of this process, as S-1-5-... */
function userSid(): string {
  const token = w.out((cell) => w.OpenProcessToken(w.CURRENT_PROCESS, TOKEN_QUERY, cell));
  if (token === undefined) throw w.lastError('EACCES', "look at this process's token");
  const info = new Uint8Array(256);
  const ok = w.GetTokenInformation(token, TOKEN_USER, info, info.length, new Uint32Array(1));
  w.CloseHandle(token);
  if (!ok) throw w.lastError('EACCES', 'learn the user of this process');
  // A pointer to the SID behind the structure of 16 bytes: revision, count, authority (big endian), count words.
  const view = new DataView(info.buffer);
  const sid = Number(view.getBigUint64(0, true)) - w.addressOf(info);
  const authority = view.getUint16(sid + 2) * 2 ** 32 + view.getUint32(sid + 4);
  const rest = Array.from({ length: info[sid + 1]! }, (_, i) => view.getUint32(sid + 8 + 4 * i, true));
  return ['S', info[sid], authority, ...rest].join('-');
}

let descriptor: number | undefined;

/** A security descriptor for the life of this thread. */
function ownersAlone(): number {
  if (descriptor !== undefined) return descriptor;
  const text = `D:P(A;;GA;;;SY)(A;;GA;;;BA)(A;;GA;;;${userSid()})`;
  descriptor = w.out((cell) =>
    w.ConvertStringSecurityDescriptorToSecurityDescriptorW(text, SDDL_REVISION, cell, null),
  );
  if (descriptor === undefined) throw new NetmapError('EACCES', `Cannot use the access list ${text}`);
  return descriptor;
}

let attributes: Uint8Array | undefined;

/** SECURITY_ATTRIBUTES for what this thread creates. */
export function ownerAttributes(): Uint8Array {
  if (attributes) return attributes;
  attributes = new Uint8Array(24);
  const view = new DataView(attributes.buffer);
  view.setUint32(0, attributes.length, true);
  view.setBigUint64(8, BigInt(ownersAlone()), true);
  return attributes;
}

/** Keeps everybody else off an object that exists. False if it may not be changed. */
export function guard(handle: number): boolean {
  return w.SetKernelObjectSecurity(handle, DACL_SECURITY_INFORMATION, ownersAlone());
}
