import * as st from '../../abi/state.ts';
import type { LookupPort } from '../adapter.ts';
import { portGeometry } from '../plan.ts';
import { type Stock, Undo } from '../stock.ts';
import type { ValePorts } from '../vale-ports.ts';

const SIZES = { txRings: 1, rxRings: 1, txSlots: 2048, rxSlots: 2048 };

/** Ports of processes that decide where a switch's frames go; the last one opened on a switch decides. */
export class LookupPorts {
  readonly all = new Set<LookupPort>();
  readonly #stock: Stock;
  readonly #vale: ValePorts;

  constructor(stock: Stock, vale: ValePorts) {
    this.#stock = stock;
    this.#vale = vale;
  }

  /** @throws NetmapError ENOMEM: no room on the switch, or for another switch. */
  create(switchName: string, label: string): LookupPort {
    return Undo.around((undo) => {
      const sw = this.#vale.switchFor(switchName, label, undo);
      const name = `${switchName}:lookup "${label}"`;
      const region = this.#stock.region(
        { memId: 0, name },
        portGeometry(SIZES, 0, this.#stock.bufSize),
        undo,
      );
      const { txRings, rxRings, rxSlots } = SIZES;
      const plan = { name, txRings, rxRings, rxSlots, hidden: true, open: 1, tagged: true };
      const port = sw.reserve(plan);
      undo.push(() => sw.remove(port));
      const kinds = { tx: st.KIND_VALE_TX, rx: st.KIND_VALE_RX };
      const { tx, rx } = this.#stock.rings(kinds, region, sw, port, SIZES, undo);
      sw.show(port, plan, region);
      // No port can be opened by so long a name.
      const adapter: LookupPort = {
        kind: 'lookup',
        name: `${switchName}:lookup on port ${port.index}`,
        region,
        state: sw.state,
        tx,
        rx,
        port,
        sw,
      };
      this.all.add(adapter);
      sw.setLookup({ kind: st.LOOKUP_BATCH, label, port: port.index });
      return adapter;
    });
  }

  destroy(adapter: LookupPort): void {
    this.all.delete(adapter);
    adapter.sw.orphanLookup(adapter.port.index);
    adapter.sw.remove(adapter.port);
    this.#stock.releaseRings(adapter.region, [...adapter.tx, ...adapter.rx]);
    this.#stock.memory.releaseRegion(adapter.region);
    this.#vale.dropIfEmpty(adapter.sw);
  }
}
