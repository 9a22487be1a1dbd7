import { os } from '../os/index.ts';

/** Keeps the calling thread on one CPU. @throws NetmapError EINVAL for a CPU that is not there. */
export function pinThread(cpu: number): void {
  os.pinThread(cpu);
}
