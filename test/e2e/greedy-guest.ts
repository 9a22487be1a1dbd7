// What a process of another user does in guest-memory.test.ts: `greedy-guest.js NAME` opens NAME0, NAME1, ... until it is
// refused, tells what it has got, and does as it is told from then on.

import * as nm from '../../src/client/index.ts';

export interface Greed {
  opened: number;
  code: string;
  message: string;
}

const [name] = process.argv.slice(2);
const ports: nm.Port[] = [];

/** Opens another port. @returns why it was refused */
async function attempt(options: nm.OpenOptions = {}): Promise<nm.NetmapError | undefined> {
  try {
    ports.push(await nm.open(`${name}${ports.length}`, options));
    return undefined;
  } catch (error) {
    return error as nm.NetmapError;
  }
}

function tell(error: nm.NetmapError | undefined): void {
  const { code = '', message = '' } = error ?? {};
  process.send!({ opened: ports.length, code, message } satisfies Greed);
}

const ORDERS: Readonly<Record<string, () => Promise<nm.NetmapError | undefined>>> = {
  open: () => attempt(),
  huge: () => attempt({ extraBufs: 524_288 }),
  async close() {
    await ports.pop()!.close();
    return undefined;
  },
  pipe: () =>
    nm.open(`${name}parent{1`).then(
      () => undefined,
      (error) => error,
    ),
};

process.on('message', async (order: string) => tell(await ORDERS[order]!()));

let refused: nm.NetmapError | undefined;
while (!refused) refused = await attempt();
tell(refused);
