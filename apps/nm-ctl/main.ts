#!/usr/bin/env node
// nm-ctl: shows and sets parameters of the module, in the manner of sysctl (spec api §5).

import { parseArgs } from 'node:util';
import { NetmapError, parameters, setParameter } from '../../src/client/index.ts';

const USAGE = `usage: nm-ctl [-d] [NAME | NAME=VALUE]...
Shows or sets parameters of the module; without a name: shows all of them.
  -d   say what they mean, and what is allowed
  -h   this text
Exit status: 0 done, 1 an error, and standard error says which.
`;

async function show(name: string | undefined, describe: boolean): Promise<void> {
  const all = await parameters();
  const chosen = name === undefined ? all : all.filter((parameter) => parameter.name === name);
  if (chosen.length === 0)
    throw new NetmapError('ENOENT', `Cannot find parameter "${name}": "nm-ctl" lists all of them`);
  for (const { name, value, min, max, writable, meaning } of chosen) {
    const allowed = writable ? `${min} to ${max}` : 'cannot be set';
    console.log(`${name} = ${value}${describe ? `  # ${meaning} (${allowed})` : ''}`);
  }
}

async function change(name: string, text: string, describe: boolean): Promise<void> {
  if (!/^-?\d+$/.test(text))
    throw new NetmapError(
      'EINVAL',
      `Cannot set parameter "${name}" to "${text}": a whole number is expected`,
    );
  await setParameter(name, Number(text));
  await show(name, describe);
}

async function main(): Promise<number> {
  try {
    const { values, positionals } = parseArgs({
      allowPositionals: true,
      options: { d: { type: 'boolean', short: 'd', default: false }, h: { type: 'boolean', short: 'h' } },
    });
    if (values.h) {
      process.stdout.write(USAGE);
      return 0;
    }
    for (const word of positionals.length > 0 ? positionals : [undefined]) {
      const [name, value] = word?.split('=', 2) ?? [];
      if (value === undefined) await show(name, values.d);
      else await change(name!, value, values.d);
    }
    return 0;
  } catch (error) {
    const usage = (error as NodeJS.ErrnoException).code?.startsWith('ERR_PARSE_ARGS');
    if (!usage && !(error instanceof NetmapError)) throw error;
    process.stderr.write(`nm-ctl: ${(error as Error).message}\n`);
    return 1;
  }
}

process.exitCode = await main();
