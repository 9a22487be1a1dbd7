// A NIOCCTRL request as it came: checked in the order of spec api §3.3, options walked, results written back.

import { ERRNO, NetmapError } from '../../abi/errors.ts';
import { NETMAP_MAX_API, NETMAP_MIN_API, NETMAP_REQ_IFNAMSIZ } from '../../abi/netmap.ts';
import * as rq from '../../abi/requests.ts';

/** What a request's body and options may take together (netmap's figure, which conformance tests rely on). */
const LONGEST = 4096;
const BUDGET = 4208;

export interface Option {
  readonly type: number;
  /** The whole option, header included. */
  readonly view: DataView;
}

export class BinaryRequest {
  readonly type: number;
  readonly name: string;
  readonly body: DataView;
  readonly #bytes: Buffer;
  readonly #options = new Map<number, Option>();
  readonly #all: Option[] = [];

  /**
   * @param bytes  header, body and options; statuses are written into it
   * @throws NetmapError EINVAL, EFAULT, EMSGSIZE.
   */
  constructor(bytes: Buffer) {
    this.#bytes = bytes;
    const header = this.#part(0, rq.HEADER_SIZE, 'header');
    const version = header.getUint16(rq.HD_VERSION, true);
    if (version < NETMAP_MIN_API || version > NETMAP_MAX_API)
      throw refuse('EINVAL', `version ${version} is not ${NETMAP_MIN_API} to ${NETMAP_MAX_API}`);
    if (header.getUint32(rq.HD_RESERVED, true) !== 0) throw refuse('EINVAL', 'nr_reserved must be 0');
    this.type = header.getUint16(rq.HD_REQTYPE, true);
    const size = rq.BODY_SIZES[this.type] ?? 0;
    const body = pointer(header, rq.HD_BODY);
    if ((body !== 0) !== (size !== 0))
      throw refuse('EINVAL', `type ${this.type} has a body of ${size} bytes`);
    this.body = this.#part(body, size, 'body');
    this.#walk(pointer(header, rq.HD_OPTIONS), size);
    const name = bytes.subarray(rq.HD_NAME, rq.HD_NAME + NETMAP_REQ_IFNAMSIZ - 1);
    const end = name.indexOf(0);
    this.name = name.subarray(0, end < 0 ? name.length : end).toString('utf8');
  }

  /** The option of a type; its status becomes 0 when done() is told so, or the errno. */
  option(type: number): Option | undefined {
    return this.#options.get(type);
  }

  setStatus(option: Option, errno: number): void {
    option.view.setUint32(rq.OP_STATUS, errno, true);
  }

  setName(name: string): void {
    this.#bytes.fill(0, rq.HD_NAME, rq.HD_NAME + NETMAP_REQ_IFNAMSIZ);
    this.#bytes.write(name, rq.HD_NAME, NETMAP_REQ_IFNAMSIZ - 1, 'utf8');
  }

  /** True if some option was consumed by nobody: fatal for REGISTER only. */
  get unconsumed(): boolean {
    return this.#all.some(({ view }) => view.getUint32(rq.OP_STATUS, true) === ERRNO.EOPNOTSUPP);
  }

  #walk(first: number, bodySize: number): void {
    let used = 16 + bodySize + 48;
    let total = bodySize;
    for (let at = first; at !== 0; ) {
      if (used + 32 > BUDGET) throw refuse('EMSGSIZE', 'the options are more than can be taken');
      used += 32;
      total += rq.OPTION_SIZE;
      const head = this.#part(at, rq.OPTION_SIZE, 'option');
      const type = head.getUint32(rq.OP_REQTYPE, true);
      const bad = (other?: Option): NetmapError => {
        for (const option of [{ type, view: head }, ...(other ? [other] : [])])
          this.setStatus(option, ERRNO.EINVAL);
        return refuse('EINVAL', other ? `option ${type} is there twice` : 'there is no option 0');
      };
      if (type === 0) throw bad();
      const earlier = type < rq.NETMAP_REQ_OPT_MAX ? this.#options.get(type) : undefined;
      if (earlier) throw bad(earlier);
      const size = sizeOf(type, head);
      const more = size - rq.OPTION_SIZE;
      if (type < rq.NETMAP_REQ_OPT_MAX) {
        if (size > LONGEST || total + more > LONGEST || used + more > BUDGET)
          throw refuse('EMSGSIZE', `option ${type} is longer than can be taken`);
        used += more;
        total += more;
      }
      const option = { type, view: this.#part(at, size, 'option') };
      this.#all.push(option);
      if (type < rq.NETMAP_REQ_OPT_MAX) this.#options.set(type, option);
      at = pointer(head, rq.OP_NEXT);
    }
    for (const option of this.#all) this.setStatus(option, ERRNO.EOPNOTSUPP);
  }

  #part(at: number, size: number, what: string): DataView {
    if (at + size > this.#bytes.length) throw refuse('EFAULT', `its ${what} is not within the message`);
    return new DataView(this.#bytes.buffer, this.#bytes.byteOffset + at, size);
  }
}

/** A pointer field; what no message can reach reads as beyond its end. */
function pointer(view: DataView, ofs: number): number {
  return Number(view.getBigUint64(ofs, true));
}

/** Bytes of an option with its header. */
function sizeOf(type: number, head: DataView): number {
  if (type >= rq.NETMAP_REQ_OPT_MAX) return rq.OPTION_SIZE;
  const size = Number(head.getBigUint64(rq.OP_SIZE, true));
  if (size > LONGEST) throw refuse('EMSGSIZE', `option ${type} is longer than can be taken`);
  return rq.OPTION_SIZES[type] ?? Math.max(size, rq.OPTION_SIZE);
}

function refuse(code: 'EINVAL' | 'EFAULT' | 'EMSGSIZE', why: string): NetmapError {
  return new NetmapError(code, `Cannot accept the request: ${why}`);
}
