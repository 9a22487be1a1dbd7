import * as abi from '../abi/netmap.ts';
import { type Geometry, ifSize, layOut, ringSize } from '../mem/geometry.ts';
import type { RegisterRequest } from '../protocol/messages.ts';

/** Sizes of a port, defaults and clamps applied (spec api §3.5.1). */
export interface PortSizes {
  txRings: number;
  rxRings: number;
  txSlots: number;
  rxSlots: number;
}

const DEFAULT_SLOTS = 1024;
/** Openings of one port that its region has room for. */
const OPENINGS = 64;
/** Pipes of the parent's size that a region made for pipes has room for, as in netmap. */
const PIPES = 2;
/** Zero-copy monitors, of half the port's slots, that a region has room for. */
const ZEROCOPY_MONITORS = 2;

export function valeSizes(request: RegisterRequest): PortSizes {
  return sizes(request, abi.NM_BDG_MAXRINGS, abi.NM_BDG_MAXSLOTS, DEFAULT_SLOTS, DEFAULT_SLOTS);
}

/** @param parent  sizes that stand in for what the request leaves open */
export function pipeSizes(request: RegisterRequest, parent?: PortSizes): PortSizes {
  const { txSlots = DEFAULT_SLOTS, rxSlots = DEFAULT_SLOTS } = parent ?? {};
  return sizes(request, abi.NM_PIPE_MAXRINGS, abi.NM_PIPE_MAXSLOTS, txSlots, rxSlots);
}

function sizes(
  request: RegisterRequest,
  rings: number,
  slots: number,
  txSlots: number,
  rxSlots: number,
): PortSizes {
  return {
    txRings: Math.min(request.txRings || 1, rings),
    rxRings: Math.min(request.rxRings || 1, rings),
    txSlots: Math.min(request.txSlots || txSlots, slots),
    rxSlots: Math.min(request.rxSlots || rxSlots, slots),
  };
}

/**
 * A monitor's sizes follow those of what it watches.  A zero-copy one has half the slots unless told otherwise:
 * it lives in the port's region, and room for two of them costs every port no more than one ring.
 */
export function monitorSizes(request: RegisterRequest, parent: PortSizes, zeroCopy: boolean): PortSizes {
  const slots = Math.max(parent.txSlots, parent.rxSlots);
  const otherwise = zeroCopy ? Math.max(1, Math.floor(slots / 2)) : slots;
  return {
    txRings: 1,
    rxRings: Math.max(parent.txRings, parent.rxRings),
    txSlots: Math.min(request.txSlots || otherwise, abi.NM_BDG_MAXSLOTS),
    rxSlots: Math.min(request.rxSlots || otherwise, abi.NM_BDG_MAXSLOTS),
  };
}

/** Memory of a copy monitor. */
export function monitorGeometry(monitor: PortSizes, extraBufs: number, bufSize: number): Geometry {
  return layOut({
    ifs: { count: OPENINGS, size: ifSize(monitor.txRings, monitor.rxRings) },
    rings: {
      count: monitor.txRings + monitor.rxRings,
      size: ringSize(Math.max(monitor.txSlots, monitor.rxSlots)),
    },
    bufs: {
      count: Math.max(abi.NM_RESERVED_BUFS + monitor.rxRings * monitor.rxSlots + extraBufs, 4),
      size: bufSize,
    },
  });
}

/** Region of a port: its rings and buffers, no more (netmap's would be 42 MB). */
export function portGeometry(port: PortSizes, extraBufs: number, bufSize: number): Geometry {
  return geometry([port], 0, extraBufs, bufSize);
}

/** Region of a port that pipes hang on: room for netmap's two pipes beside the port's own rings. */
export function parentGeometry(
  port: PortSizes | undefined,
  pipe: PortSizes,
  extraBufs: number,
  bufSize: number,
): Geometry {
  return geometry(port ? [port] : [], PIPES, extraBufs, bufSize, pipe);
}

/** Region for one pipe alone. */
export function pipeGeometry(pipe: PortSizes, extraBufs: number, bufSize: number): Geometry {
  return geometry([], 1, extraBufs, bufSize, pipe);
}

/** Region of one network interface, with its host rings, where it does not share the global one. */
export function nicGeometry(
  txRings: number,
  rxRings: number,
  slots: number,
  extraBufs: number,
  bufSize: number,
): Geometry {
  const rings = txRings + rxRings;
  return layOut({
    ifs: { count: OPENINGS, size: ifSize(txRings, rxRings) },
    rings: { count: rings, size: ringSize(slots) },
    bufs: { count: abi.NM_RESERVED_BUFS + rings * slots + extraBufs, size: bufSize },
  });
}

function geometry(
  ports: readonly PortSizes[],
  pipes: number,
  extraBufs: number,
  bufSize: number,
  pipe?: PortSizes,
): Geometry {
  let rings = 0;
  let bufs = abi.NM_RESERVED_BUFS + extraBufs;
  let slots = 0;
  let ringsShown = 0;
  for (const port of ports) {
    rings += port.txRings + port.rxRings;
    bufs += port.txRings * port.txSlots + port.rxRings * port.rxSlots;
    slots = Math.max(slots, port.txSlots, port.rxSlots);
    ringsShown = Math.max(ringsShown, port.txRings, port.rxRings);
  }
  if (pipe) {
    rings += pipes * 2 * (pipe.txRings + pipe.rxRings);
    bufs += pipes * (pipe.txRings * pipe.txSlots + pipe.rxRings * pipe.rxSlots);
    slots = Math.max(slots, pipe.txSlots, pipe.rxSlots);
    ringsShown = Math.max(ringsShown, pipe.txRings, pipe.rxRings);
  }
  rings += ZEROCOPY_MONITORS * (1 + ringsShown);
  bufs += ZEROCOPY_MONITORS * ringsShown * Math.ceil(slots / 2);
  return layOut({
    ifs: { count: OPENINGS, size: ifSize(ringsShown, ringsShown) },
    rings: { count: rings, size: ringSize(slots) },
    bufs: { count: Math.max(bufs, 4), size: bufSize },
  });
}
