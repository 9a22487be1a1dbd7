import { NetmapError } from '../abi/errors.ts';
import * as st from '../abi/state.ts';
import type { RegisterRequest } from '../protocol/messages.ts';
import type { NullPort } from './adapter.ts';
import { PortTable } from './port-table.ts';
import { type Stock, Undo } from './stock.ts';

/** Null ports (spec ports §4.4): rings and buffers of a region for one opening's own use; nothing moves on them. */
export class NullPorts {
  readonly all = new Set<NullPort>();
  readonly #stock: Stock;

  constructor(stock: Stock) {
    this.#stock = stock;
  }

  /** Counts are taken as they are, zero too. @throws NetmapError EINVAL without a region, ENOMEM. */
  create(request: RegisterRequest): NullPort {
    const { name, memId, txRings, rxRings, txSlots, rxSlots } = request;
    if (memId === 0) {
      throw new NetmapError(
        'EINVAL',
        `Cannot open null port "${name}" without memory: give the id of a region, 1 for the global one`,
      );
    }
    return Undo.around((undo) => {
      const region = this.#stock.byId(memId);
      this.#stock.share(region, undo);
      const rings = txRings + rxRings;
      const bytes = Math.ceil((st.SW_HEAP + (rings + 1) * st.KR_SIZE) / 65536) * 65536;
      const table = new PortTable(this.#stock.memory, 'null', bytes);
      undo.push(() => this.#stock.memory.releaseState(table.state));
      const plan = { name, txRings, rxRings, rxSlots: 0, hidden: true };
      const place = table.reserve(plan);
      table.show(place, plan, region);
      const sizes = { txRings, rxRings, txSlots, rxSlots };
      const kinds = { tx: st.KIND_NULL_TX, rx: st.KIND_NULL_RX };
      const { tx, rx } = this.#stock.rings(kinds, region, table, place, sizes, undo);
      const port: NullPort = {
        kind: 'null',
        name,
        region,
        state: table.state,
        tx,
        rx,
        port: place,
        table,
        sizes,
      };
      this.all.add(port);
      return port;
    });
  }

  destroy(port: NullPort): void {
    this.all.delete(port);
    this.#stock.releaseRings(port.region, [...port.tx, ...port.rx]);
    this.#stock.memory.releaseRegion(port.region);
    this.#stock.memory.releaseState(port.state);
  }
}
