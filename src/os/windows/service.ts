// Permanent installation on Windows: a service that the system starts at boot, as LocalSystem.

import koffi from 'koffi';
import { NetmapError } from '../../abi/errors.ts';
import { errorNumber } from './win32.ts';

const advapi32 = koffi.load('advapi32.dll');
const OpenSCManagerW = advapi32.func(
  'int64_t OpenSCManagerW(str16 machine, str16 database, uint32_t access)',
);
const CreateServiceW = advapi32.func(
  'int64_t CreateServiceW(int64_t manager, str16 name, str16 display, uint32_t access, uint32_t type, uint32_t start, uint32_t errors, str16 path, str16 group, void *tag, str16 dependencies, str16 account, str16 password)',
);
const OpenServiceW = advapi32.func('int64_t OpenServiceW(int64_t manager, str16 name, uint32_t access)');
const StartServiceW = advapi32.func('bool StartServiceW(int64_t service, uint32_t count, void *args)');
const ControlService = advapi32.func('bool ControlService(int64_t service, uint32_t control, void *status)');
const DeleteService = advapi32.func('bool DeleteService(int64_t service)');
const CloseServiceHandle = advapi32.func('bool CloseServiceHandle(int64_t handle)');
const SetServiceStatus = advapi32.func('bool SetServiceStatus(int64_t handle, const void *status)');
const ServiceMain = koffi.proto('void ServiceMain(uint32_t count, int64_t args)');
const Handler = koffi.proto('void ServiceHandler(uint32_t control)');
const StartServiceCtrlDispatcherW = advapi32.func('bool StartServiceCtrlDispatcherW(const void *table)');
const RegisterServiceCtrlHandlerW = advapi32.func(
  'int64_t RegisterServiceCtrlHandlerW(str16 name, ServiceHandler *handler)',
);

const NAME = 'netmapd';
const ALL_ACCESS_MANAGER = 0xf003f;
const ALL_ACCESS = 0xf01ff;
const OWN_PROCESS = 0x10;
const AUTO_START = 2;
const ERROR_NORMAL = 1;
const CONTROL_STOP = 1;
const CONTROL_SHUTDOWN = 5;
const ACCEPT_STOP_SHUTDOWN = 5;
const ERROR_SERVICE_EXISTS = 1073;
const STOPPED = 1;
const STOP_PENDING = 3;
const RUNNING = 4;

const quoted = (word: string) => `"${word}"`;

function failed(what: string): NetmapError {
  return new NetmapError(
    'EACCES',
    `Cannot ${what}: Windows error ${errorNumber()}; run it as an administrator`,
  );
}

/** Lets `work` talk to the service manager. */
function withManager<T>(what: string, work: (manager: number) => T): T {
  const manager: number = OpenSCManagerW(null, null, ALL_ACCESS_MANAGER);
  if (manager === 0) throw failed(what);
  try {
    return work(manager);
  } finally {
    CloseServiceHandle(manager);
  }
}

export function installService(command: readonly string[], directory: string): string {
  return withManager('install netmap', (manager) => {
    const path = [...command, '-s', '-d', directory].map(quoted).join(' ');
    const service: number = CreateServiceW(
      manager,
      NAME,
      "netmap's module",
      ALL_ACCESS,
      OWN_PROCESS,
      AUTO_START,
      ERROR_NORMAL,
      path,
      null,
      null,
      null,
      null,
      null,
    );
    if (service === 0) {
      if (errorNumber() !== ERROR_SERVICE_EXISTS) throw failed(`install netmap as service "${NAME}"`);
      throw new NetmapError(
        'EEXIST',
        `Cannot install netmap as service "${NAME}": it is installed; remove it with "nm-loader uninstall"`,
      );
    }
    const started = StartServiceW(service, 0, null);
    const error = errorNumber();
    CloseServiceHandle(service);
    return `netmap installed as service "${NAME}", ${started ? 'and started' : `but not started now (Windows error ${error})`}; the system starts it from the next boot on`;
  });
}

export function uninstallService(): string {
  return withManager('uninstall netmap', (manager) => {
    const service: number = OpenServiceW(manager, NAME, ALL_ACCESS);
    if (service === 0)
      throw new NetmapError(
        'ENOENT',
        `Cannot uninstall netmap: there is no service "${NAME}" (Windows error ${errorNumber()})`,
      );
    const stopped = ControlService(service, CONTROL_STOP, new Uint8Array(28));
    const deleted = DeleteService(service);
    const error = errorNumber();
    CloseServiceHandle(service);
    if (!deleted) throw new NetmapError('EACCES', `Cannot remove service "${NAME}": Windows error ${error}`);
    return `netmap uninstalled: service "${NAME}" removed, ${stopped ? 'module stopped' : 'it was not running'}`;
  });
}

/**
 * Tells the service manager that we run, and when it wants us to stop.
 * @param stop  ends the module
 */
export function runAsService(stop: () => void): void {
  let handle = 0;
  const report = (state: number) => {
    SetServiceStatus(handle, Uint32Array.of(OWN_PROCESS, state, ACCEPT_STOP_SHUTDOWN, 0, 0, 0, 0));
  };
  const control = koffi.register((code: number) => {
    if (code !== CONTROL_STOP && code !== CONTROL_SHUTDOWN) return;
    report(STOP_PENDING);
    stop();
  }, koffi.pointer(Handler));
  const main = koffi.register(() => {
    handle = RegisterServiceCtrlHandlerW(NAME, control);
    report(RUNNING);
  }, koffi.pointer(ServiceMain));
  process.once('exit', () => report(STOPPED));
  const name = Buffer.from(`${NAME}\0`, 'utf16le');
  const table = BigInt64Array.of(BigInt(koffi.address(name)), BigInt(koffi.address(main)), 0n, 0n);
  // A thread of the pool, for as long as the service runs; its buffers live as long.
  StartServiceCtrlDispatcherW.async(table, () => void name);
}
