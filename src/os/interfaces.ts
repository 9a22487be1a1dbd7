// Network interfaces, as every system has them.

export interface Interface {
  readonly index: number;
  readonly name: string;
  readonly mac: string;
  readonly mtu: number;
  /** Administratively up. */
  readonly up: boolean;
  /** With a carrier. */
  readonly running: boolean;
  readonly loopback: boolean;
  /** Queues in use, each way; 0 where the system does not tell. */
  readonly txQueues: number;
  readonly rxQueues: number;
}

interface Interfaces {
  /** Every interface that this thread can see. */
  listInterfaces(): Interface[];
  /** The name of an interface's driver; '' where it has none. */
  driverOf(name: string): string;
}

const system: Interfaces =
  process.platform === 'win32'
    ? await import('./windows/interfaces.ts')
    : await import('./linux/interfaces.ts');

export const { listInterfaces, driverOf } = system;
