import { fileURLToPath } from 'node:url';
import { os } from '../os/index.ts';
import { runtimeDirectory } from '../protocol/directory.ts';

const MAIN = fileURLToPath(new URL('../module/main.js', import.meta.url));

/**
 * Has the system load the module from boot on, for the runtime directory of this environment.
 * @returns a sentence that says what was done
 * @throws NetmapError EEXIST: installed already; EACCES.
 */
export function install(): string {
  return os.installService([process.execPath, MAIN], runtimeDirectory());
}

/** Undoes install(). @throws NetmapError ENOENT: nothing is installed; EACCES. */
export function uninstall(): string {
  return os.uninstallService();
}
