import { NetmapError } from '../abi/errors.ts';
import { IFNAMSIZ } from '../abi/netmap.ts';

// The core's own rules for names (spec api §3.5.1 "Type resolution", ports §1.2), after the library has
// taken the `netmap:` prefix and the suffixes away.

export interface PipeName {
  kind: 'pipe';
  parent: string;
  id: string;
  master: boolean;
  name: string;
}

export type ResolvedName =
  | { kind: 'vale'; switchName: string; name: string }
  | PipeName
  | { kind: 'interface'; name: string };

/** @throws NetmapError EINVAL for names that no port can have. */
export function resolveName(name: string): ResolvedName {
  const brace = braceOf(name);
  if (brace >= 0) return resolvePipe(name, brace);
  if (name.startsWith('vale')) return { kind: 'vale', switchName: resolveValeName(name), name };
  return { kind: 'interface', name };
}

/** Name of the port that a pipe of that name hangs on; undefined for names that are no pipes'. */
export function parentOf(name: string): string | undefined {
  const brace = braceOf(name);
  return brace >= 0 ? name.slice(0, brace) : undefined;
}

function braceOf(name: string): number {
  return name.includes('{') ? name.lastIndexOf('{') : name.lastIndexOf('}');
}

function resolvePipe(name: string, brace: number): ResolvedName {
  const parent = name.slice(0, brace);
  const id = name.slice(brace + 1);
  if (parent === '' || id === '') {
    throw new NetmapError(
      'EINVAL',
      `Cannot open pipe "${name}": it needs a port before the brace and an id behind it, as in vale0:a{1`,
    );
  }
  if (parent.startsWith('vale')) resolveValeName(parent);
  return { kind: 'pipe', parent, id, master: name[brace] === '{', name };
}

/** Switch part of a VALE port's name. @throws NetmapError EINVAL. */
export function resolveValeName(name: string): string {
  const colon = name.indexOf(':');
  const switchName = name.slice(0, colon);
  const port = name.slice(colon + 1);
  const refuse = (why: string) => new NetmapError('EINVAL', `Cannot open VALE port "${name}": ${why}`);
  if (colon < 0) throw refuse('a colon must part switch and port, as in vale0:a');
  if (!/^vale[0-9A-Za-z_]*$/.test(switchName))
    throw refuse(`switch name "${switchName}" may have only letters, digits and "_"`);
  if (switchName.length >= IFNAMSIZ)
    throw refuse(`switch name "${switchName}" is longer than ${IFNAMSIZ - 1} characters`);
  if (port === '') throw refuse('the port part behind the colon is empty');
  if (port.length >= IFNAMSIZ) throw refuse(`port name "${port}" is longer than ${IFNAMSIZ - 1} characters`);
  return switchName;
}
