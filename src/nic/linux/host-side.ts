// The host stack's side of an interface: whether what the host sends leaves by the wire, is for nobody, or comes to the
// host rings, by a helper interface whose far end is ours (spec linux-nic §4).
//
//   host  --tcx egress-->  helper ==wire== far end  -->  host socket = host RX ring
//   host  <--redirect--    helper ==wire== far end  <--  host socket = host TX ring
//
// The far end lies in a namespace that only descriptors of ours keep alive: when the last is closed, in whatever way,
// the helper is gone, and so is every program.

import * as bpf from '../../os/linux/bpf.ts';
import type { Keepsakes } from '../keepsakes.ts';
import type { Egress, HostRings, Interface, Queue } from '../nic.ts';
import type { Carrier } from './carrier.ts';
import { FarEnd } from './far-end.ts';
import { drop, hang } from './hang.ts';
import * as programs from './programs.ts';

export interface HostPlan {
  readonly rings: HostRings;
  readonly carrier: Carrier;
  readonly keep: Keepsakes;
  /** The program that brings frames from the helper up to the host; asked for once the helper is there. */
  toHost(): Uint8Array;
}

export class HostSide {
  #interface: Interface;
  readonly #plan: HostPlan;
  #far: FarEnd | undefined;
  #held: number[] = [];
  /** tcx links that take what the host sends to the helper, or drop it. */
  #toRing = -1;
  #cut = -1;
  #egress: Egress = 'wire';

  constructor(nic: Interface, plan: HostPlan) {
    this.#interface = nic;
    this.#plan = plan;
  }

  openQueue(index: number): Queue {
    this.#far ??= this.#makeFarEnd();
    return this.#far.openQueue(index);
  }

  closeQueue(index: number): void {
    const far = this.#far;
    if (!far) return;
    far.closeQueue(index);
    if (far.queues.size > 0) return;
    this.#toRing = this.#drop('to ring', this.#toRing);
    this.#far = undefined;
    for (const link of this.#held.splice(0)) drop(link);
    far.close();
    this.setEgress(this.#egress);
  }

  get queues(): Queue[] {
    return [...(this.#far?.queues.values() ?? [])];
  }

  setEgress(egress: Egress): void {
    this.#egress = egress;
    const { index, name } = this.#interface;
    const far = this.#far;
    const attach = (keptAs: string, code: Uint8Array) =>
      this.#plan.keep.fd(keptAs, () =>
        hang(`take what the host sends on "${name}"`, bpf.PROG_SCHED_CLS, bpf.ATTACH_TCX_EGRESS, index, code),
      );
    const wanted = egress === 'ring' && !far ? 'nowhere' : egress;
    if (wanted === 'ring' && far && this.#toRing < 0)
      this.#toRing = attach('to ring', programs.toHelper(far.near.index));
    if (wanted === 'nowhere' && this.#cut < 0) this.#cut = attach('cut', programs.dropAll());
    if (wanted !== 'ring') this.#toRing = this.#drop('to ring', this.#toRing);
    if (wanted !== 'nowhere') this.#cut = this.#drop('cut', this.#cut);
  }

  follow(nic: Interface): void {
    if (nic.mtu !== this.#interface.mtu) this.#far?.setMtu(nic.mtu);
    this.#interface = nic;
  }

  /** What keeps it as it is. */
  get descriptors(): number[] {
    const links = [this.#cut, this.#toRing].filter((fd) => fd >= 0);
    return [...links, ...this.#held, ...(this.#far?.descriptors ?? [])];
  }

  close(): void {
    this.#egress = 'wire';
    for (const index of [...(this.#far?.queues.keys() ?? [])]) this.closeQueue(index);
    this.setEgress('wire');
  }

  #drop(keptAs: string, link: number): -1 {
    this.#plan.keep.gone(keptAs);
    return drop(link);
  }

  #makeFarEnd(): FarEnd {
    const { index, mtu } = this.#interface;
    const { rings, carrier, keep } = this.#plan;
    const names = { name: `nm${index}h`, peerName: `nm${index}n` };
    const far = new FarEnd({ ...names, mtu, silent: true, rings, carrier, keep });
    try {
      const tcx = (keptAs: string, attach: number, code: () => Uint8Array) => {
        const make = () => hang('reach the host stack', bpf.PROG_SCHED_CLS, attach, far.near.index, code());
        this.#held.push(keep.fd(keptAs, make));
      };
      tcx('from host', bpf.ATTACH_TCX_EGRESS, programs.onlyMarked);
      tcx('to host', bpf.ATTACH_TCX_INGRESS, this.#plan.toHost);
      return far;
    } catch (error) {
      for (const link of this.#held.splice(0)) drop(link);
      far.close();
      throw error;
    }
  }
}
