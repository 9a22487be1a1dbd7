import { execFileSync, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Case, referenceArgs } from './cases.ts';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));

/** The C programs of bench/reference: the same work on the same layout. */
export class Reference {
  readonly #binary: string;

  private constructor(binary: string) {
    this.#binary = binary;
  }

  /** Builds them; undefined, with a note, where there is no C compiler. */
  static build(): Reference | undefined {
    const cc = process.env['CC'] ?? 'cc';
    if (spawnSync(cc, ['--version']).status !== 0) {
      console.log(`No C compiler ("${cc}"): the C reference and the calibration are left out.`);
      return undefined;
    }
    const folder = path.join(ROOT, 'bench/reference');
    const sources = fs.readdirSync(folder).filter((file) => file.endsWith('.c'));
    const binary = path.join(ROOT, 'build/reference');
    execFileSync(cc, [
      '-O3',
      '-std=gnu11',
      '-pthread',
      '-o',
      binary,
      ...sources.map((file) => path.join(folder, file)),
    ]);
    return new Reference(binary);
  }

  /** Nanoseconds per packet of the same case. */
  measure(work: Case, ms: number): number {
    return this.#run(referenceArgs(work, ms));
  }

  /** Nanoseconds to copy `size` bytes between two rings, in plain C. */
  calibrate(size: number, ms: number): number {
    return this.#run(['calibrate', String(size), String(ms)]);
  }

  #run(args: string[]): number {
    for (;;) {
      // A window in which nothing has come says nothing: once more.
      const said = execFileSync(this.#binary, args, { encoding: 'utf8' });
      if (!/inf|nan/.test(said)) return (JSON.parse(said) as { ns: number }).ns;
    }
  }
}
