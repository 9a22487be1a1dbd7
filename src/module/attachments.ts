// Requests that make ports which stay, and put them, and interfaces, on switches: VALE_NEWIF, _DELIF, _ATTACH, _DETACH
// (spec api §3.5.4-9).

import { NetmapError } from '../abi/errors.ts';
import { findInterface } from '../nic/index.ts';
import { os } from '../os/index.ts';
import type { RegisterRequest } from '../protocol/messages.ts';
import type { Adapter, PersistentPort, ValePort } from './adapter.ts';
import type { Ports } from './ports.ts';
import { splitAttachName } from './vale-ports.ts';

type IsOpen = (adapter: Adapter) => boolean;

export class Attachments {
  readonly #ports: Ports;

  constructor(ports: Ports) {
    this.#ports = ports;
  }

  /** VALE_NEWIF. @throws NetmapError EINVAL, EEXIST, ENOMEM. */
  newIf(request: RegisterRequest): PersistentPort {
    const { name } = request;
    const { vale, pipes } = this.#ports;
    const taken = vale.persistent.has(name) || pipes.parents.has(name) || os.hasInterface(name);
    return vale.newIf(request, taken);
  }

  /** VALE_DELIF. @throws NetmapError ENXIO, EINVAL, EBUSY. */
  delIf(name: string, isOpen: IsOpen): void {
    const port = this.#ports.vale.persistent.get(name);
    if (!port) {
      const exists = this.#ports.pipes.parents.has(name) || os.hasInterface(name);
      throw new NetmapError(
        exists ? 'EINVAL' : 'ENXIO',
        `Cannot remove "${name}": ${exists ? 'it was not made as a persistent port' : 'there is no port of that name'}; "vale-ctl" lists those that are attached`,
      );
    }
    const hasPipes = this.#ports.pipes.parentsInUse().has(name);
    if (hasPipes || (port.placed && isOpen(port.placed))) {
      throw new NetmapError('EBUSY', `Cannot remove "${name}": it is open; close it first`);
    }
    this.#ports.vale.delIf(port);
  }

  /**
   * VALE_ATTACH.  An interface gets a port, and with `host` one for its host stack, too.  A persistent port that is on
   * a switch already gets a port on the second one, for a link between the two.
   * @returns the ports, that of the name first
   * @throws NetmapError EINVAL, EBUSY, ENOMEM, EOPNOTSUPP.
   */
  attach(name: string, host: boolean, memId: number, isOpen: IsOpen): ValePort[] {
    const { switchName, port: portName } = splitAttachName(name);
    const refuse = (code: 'EBUSY' | 'EINVAL' | 'EOPNOTSUPP', why: string) =>
      new NetmapError(code, `Cannot attach "${name}": ${why}`);
    const nic = this.#ports.vale.persistent.has(portName) ? undefined : findInterface(portName);
    if (this.#ports.adapters.has(name))
      throw refuse('EBUSY', `${switchName} has a port of that name already`);
    const port = this.#ports.vale.persistent.get(portName);
    if (!port) {
      if (nic) return this.#attachNic(nic.name, switchName, host, memId, refuse, isOpen);
      throw refuse(
        'EINVAL',
        `there is no interface or persistent port "${portName}"; make one with "vale-ctl -n ${portName}"`,
      );
    }
    if (port.placed && isOpen(port.placed)) throw refuse('EBUSY', `"${portName}" is open; close it first`);
    if (port.link)
      throw refuse('EBUSY', `"${portName}" links ${port.attached} and ${port.link.sw.name} already`);
    if (port.attached !== undefined) return [this.#ports.vale.createLink(port, switchName, name)];
    if (port.placed) this.#ports.vale.destroy(port.placed);
    return [this.#ports.vale.attach(port, switchName, name)];
  }

  #attachNic(
    nic: string,
    switchName: string,
    host: boolean,
    memId: number,
    refuse: (code: 'EBUSY', why: string) => NetmapError,
    isOpen: IsOpen,
  ): ValePort[] {
    if (this.nicPorts(nic).length > 0) throw refuse('EBUSY', `"${nic}" is attached already; detach it first`);
    const known = this.#ports.nics.named(nic);
    if (known && isOpen(known)) throw refuse('EBUSY', `"${nic}" is open; close it first`);
    const { sizes, region } = this.#ports.nics.describe(nic, memId);
    const one = { ...sizes, txRings: 1, rxRings: 1 };
    const name = `${switchName}:${nic}`;
    const ports = [
      this.#ports.vale.createForNic({ name: nic, host: false }, sizes, region, switchName, name),
    ];
    if (host)
      ports.push(
        this.#ports.vale.createForNic({ name: nic, host: true }, one, region, switchName, `${name}^`),
      );
    return ports;
  }

  /**
   * Puts the host on a switch by an interface that is made for it and lives until it is detached.
   * @throws NetmapError EEXIST, EBUSY, EINVAL, ENOMEM.
   */
  attachHost(name: string, isOpen: IsOpen): ValePort[] {
    const { switchName, port } = splitAttachName(name);
    if (findInterface(port) || this.#ports.vale.persistent.has(port) || this.#ports.nics.endpoints.has(port))
      throw new NetmapError(
        'EEXIST',
        `Cannot make interface "${port}" for the host: there is one of that name; choose another`,
      );
    const refuse = (code: 'EBUSY', why: string) => new NetmapError(code, `Cannot attach "${name}": ${why}`);
    this.#ports.nics.endpoints.add(port);
    try {
      return this.#attachNic(port, switchName, false, 0, refuse, isOpen);
    } catch (error) {
      this.#ports.nics.endpoints.delete(port);
      throw error;
    }
  }

  /** Switch ports that an interface is attached by. */
  nicPorts(nic: string): ValePort[] {
    return [...this.#ports.adapters.values()].filter(
      (adapter): adapter is ValePort => adapter.kind === 'vale' && adapter.nic?.name === nic,
    );
  }

  /**
   * The port that a request to detach is about.
   * @throws NetmapError EINVAL, ENXIO; EBUSY: its interface's port has to be named, it was opened and not attached, or
   *   something else is to be detached first.
   */
  detachable(name: string): ValePort {
    splitAttachName(name);
    const adapter = this.#ports.adapters.get(name);
    if (adapter?.kind !== 'vale') {
      throw new NetmapError('ENXIO', `Cannot detach "${name}": there is no such port; "vale-ctl" lists all`);
    }
    const busy = (why: string) => new NetmapError('EBUSY', `Cannot detach "${name}": ${why}`);
    const { nic, link, persistent, sw } = adapter;
    if (nic?.host)
      throw busy(`it is the host's side of an interface; detach "${sw.name}:${nic.name}", and it goes, too`);
    if (nic || link) return adapter;
    if (!persistent) throw busy('it was opened, not attached, and goes with its last user');
    if (persistent.link) throw busy(`it links two switches; detach "${persistent.link.name}" first`);
    return adapter;
  }

  /** VALE_DETACH. @returns the index that the port had. @throws as detachable() */
  detach(name: string, isOpen: IsOpen): number {
    const adapter = this.detachable(name);
    const { index } = adapter.port;
    if (adapter.nic) {
      for (const port of this.nicPorts(adapter.nic.name)) this.#ports.vale.destroy(port);
      this.#ports.nics.endpoints.delete(adapter.nic.name);
    } else if (adapter.link) {
      this.#ports.vale.destroy(adapter);
    } else {
      const inUse = isOpen(adapter) || this.#ports.pipes.parentsInUse().has(name);
      this.#ports.vale.detach(adapter.persistent!, inUse);
    }
    return index;
  }

  /** The port by which an interface is attached, not its host's. @throws NetmapError EINVAL, ENXIO, EOPNOTSUPP. */
  attachedNic(name: string): ValePort {
    splitAttachName(name);
    const adapter = this.#ports.adapters.get(name);
    if (adapter?.kind !== 'vale')
      throw new NetmapError(
        'ENXIO',
        `Cannot poll "${name}": no switch has such a port; "vale-ctl" lists all`,
      );
    if (adapter.nic && !adapter.nic.host) return adapter;
    throw new NetmapError('EOPNOTSUPP', `Cannot poll "${name}": it is no network interface`);
  }
}
