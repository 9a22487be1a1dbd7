// VALE_POLLING_ENABLE: which threads are to poll the rings of an attached interface (spec ports §1.16, api §3.5.9).

import { cpus as allCpus } from 'node:os';
import { NetmapError } from '../abi/errors.ts';
import { NETMAP_POLLING_MODE_MULTI_CPU, NETMAP_POLLING_MODE_SINGLE_CPU } from '../abi/requests.ts';

/** nr_mode, nr_first_cpu_id, nr_num_polling_cpus. */
export interface PollingRequest {
  mode: number;
  firstCpu: number;
  cpus: number;
}

/** A thread that never sleeps: its CPU, and the rings that it serves, both directions of each. */
export interface Poller {
  cpu: number;
  pairs: readonly number[];
}

/** @param rings  of the interface, each way @throws NetmapError EINVAL. */
export function pollersFor(name: string, rings: number, { mode, firstCpu, cpus }: PollingRequest): Poller[] {
  const refuse = (why: string) => new NetmapError('EINVAL', `Cannot poll "${name}": ${why}`);
  const machine = allCpus().length;
  if (cpus === 0 || cpus >= machine)
    throw refuse(`${cpus} CPUs were asked for, of the ${machine} here 1 to ${machine - 1} may poll`);
  const numbers = (count: number) => Array.from({ length: count }, (_, i) => i);
  switch (mode) {
    case NETMAP_POLLING_MODE_SINGLE_CPU:
      if (cpus !== 1) throw refuse(`one CPU serves all rings in mode ${mode}, ${cpus} were asked for`);
      return [{ cpu: firstCpu, pairs: numbers(rings) }];
    case NETMAP_POLLING_MODE_MULTI_CPU:
      if (firstCpu + cpus > rings)
        throw refuse(
          `rings ${firstCpu} to ${firstCpu + cpus - 1} were asked for, it has ${rings} (from 0 on)`,
        );
      return numbers(cpus).map((i) => ({ cpu: firstCpu + i, pairs: [firstCpu + i] }));
    default:
      throw refuse(`mode ${mode} is neither 1 (one CPU for all rings) nor 2 (a CPU for each ring)`);
  }
}
