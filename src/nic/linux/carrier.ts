// Ways by which frames that come at the far end of a wire of ours get to sockets there: an XDP program brings them to
// AF_XDP sockets, or packet sockets are given copies.

import * as bpf from '../../os/linux/bpf.ts';
import * as libc from '../../os/linux/libc.ts';
import type { Keepsakes } from '../keepsakes.ts';
import type { Interface, Queue } from '../nic.ts';
import { drop, hang } from './hang.ts';
import * as programs from './programs.ts';

export interface Carrier {
  /** A socket on a queue of an interface. */
  socket(nic: Interface, queue: number): Queue;
  /** Has what comes on an interface go to its sockets, and to nobody else. */
  receive(nic: Interface, keep: Keepsakes): Receiver;
}

export interface Receiver {
  /** The socket that a queue's frames go to; -1: none. */
  setSocket(queue: number, fd: number): void;
  /** What keeps it alive. */
  readonly descriptors: readonly number[];
  close(): void;
}

const PURPOSE = 'take what the host sends';

export function receiveByXdp({ index, rxQueues }: Interface, keep: Keepsakes): Receiver {
  const map = keep.fd('far map', () => bpf.createSocketMap(rxQueues));
  try {
    const code = programs.receiveOrDrop(map);
    const link = keep.fd('far receive', () =>
      hang(PURPOSE, bpf.PROG_XDP, bpf.ATTACH_XDP, index, code, bpf.XDP_DRV_MODE),
    );
    return {
      setSocket: (queue, fd) => bpf.setSocket(map, queue, fd),
      descriptors: [map, link],
      close() {
        drop(link);
        libc.closeFd(map);
      },
    };
  } catch (error) {
    libc.closeFd(map);
    throw error;
  }
}

/** Packet sockets hear what comes before it is dropped. */
export function receiveByPackets({ index }: Interface, keep: Keepsakes): Receiver {
  const link = keep.fd('far receive', () =>
    hang(PURPOSE, bpf.PROG_SCHED_CLS, bpf.ATTACH_TCX_INGRESS, index, programs.dropAll()),
  );
  return { setSocket() {}, descriptors: [link], close: () => void drop(link) };
}
