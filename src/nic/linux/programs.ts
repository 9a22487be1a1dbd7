// The BPF programs that stand between an interface, the host stack and our sockets, instruction by instruction (spec
// linux-nic §2.2, §3.2, §4).

const R0 = 0;
const R1 = 1;
const R2 = 2;
const R3 = 3;
const R4 = 4;
const R5 = 5;
const R6 = 6;
const R7 = 7;
const R8 = 8;
const R10 = 10;

const HELPER_SKB_STORE_BYTES = 9;
const HELPER_REDIRECT = 23;
const HELPER_SKB_CHANGE_HEAD = 43;
const HELPER_XDP_ADJUST_HEAD = 44;
const HELPER_REDIRECT_MAP = 51;

const XDP_DROP = 1;
const XDP_PASS = 2;
const TCX_NEXT = -1;
const TCX_PASS = 0;
const TCX_DROP = 2;
const INGRESS = 1;

const MD_DATA = 0;
const MD_DATA_END = 4;
const MD_RX_QUEUE = 16;
const SKB_MARK = 8;

/** Header in front of frames that go up to the host where XDP would catch them again: 12 secret bytes, a type. */
export const SECRET_SIZE = 12;
const PSEUDO_HEADER = 14;
const PSEUDO_TYPE = 0xb588; // 0x88b5, for local experiments, as it lies in memory

/** What marks frames of the host stack's own on their way to us. */
const MARK = 0x6e6d6170; // 'nmap'
/** What marks frames on their way up to the host, where nothing but a mark tells them from those of the wire. */
export const UP_MARK = 0x6e6d7570; // 'nmup'

class Assembler {
  readonly #words: number[][] = [];

  raw(code: number, dst: number, src: number, offset: number, immediate: number): this {
    this.#words.push([code, dst | (src << 4), offset, immediate]);
    return this;
  }

  set = (dst: number, value: number) => this.raw(0xb7, dst, 0, 0, value);
  copy = (dst: number, src: number) => this.raw(0xbf, dst, src, 0, 0);
  add = (dst: number, value: number) => this.raw(0x07, dst, 0, 0, value);
  load32 = (dst: number, src: number, offset: number) => this.raw(0x61, dst, src, offset, 0);
  store32 = (dst: number, offset: number, value: number) => this.raw(0x62, dst, 0, offset, value);
  /** Jumps so many instructions further if dst > src. */
  ifAbove = (dst: number, src: number, further: number) => this.raw(0x2d, dst, src, further, 0);
  /** The same if the low half of dst is not, or is, a value. */
  ifNot32 = (dst: number, value: number, further: number) => this.raw(0x56, dst, 0, further, value);
  if32 = (dst: number, value: number, further: number) => this.raw(0x16, dst, 0, further, value);
  call = (helper: number) => this.raw(0x85, 0, 0, 0, helper);
  map = (dst: number, fd: number) => this.raw(0x18, dst, 1, 0, fd).raw(0, 0, 0, 0, 0);
  exit = () => this.raw(0x95, 0, 0, 0, 0);
  answer = (value: number) => this.set(R0, value).exit();

  bytes(): Uint8Array {
    const out = Buffer.alloc(this.#words.length * 8);
    this.#words.forEach(([code, registers, offset, immediate], i) => {
      out.writeUInt8(code!, i * 8);
      out.writeUInt8(registers!, i * 8 + 1);
      out.writeInt16LE(offset!, i * 8 + 2);
      out.writeInt32LE(immediate! | 0, i * 8 + 4);
    });
    return out;
  }
}

/** XDP: to the socket of the packet's queue; queues without one stay with `otherwise`. */
function toSockets(program: Assembler, context: number, map: number, otherwise: number): Assembler {
  return program
    .load32(R2, context, MD_RX_QUEUE)
    .map(R1, map)
    .set(R3, otherwise)
    .call(HELPER_REDIRECT_MAP)
    .exit();
}

export function receive(map: number): Uint8Array {
  return toSockets(new Assembler(), R1, map, XDP_PASS).bytes();
}

/** At the far end of a helper: what no socket takes is for nobody. */
export function receiveOrDrop(map: number): Uint8Array {
  return toSockets(new Assembler(), R1, map, XDP_DROP).bytes();
}

/**
 * The same for generic XDP, which sees what we send up to the host, too: those frames are known by the secret in
 * front of them.
 */
export function receiveButSecret(map: number, secret: Uint8Array): Uint8Array {
  const [a, b, c] = secretWords(secret);
  return toSockets(
    new Assembler()
      .copy(R6, R1)
      .load32(R7, R6, MD_DATA)
      .load32(R8, R6, MD_DATA_END)
      .copy(R2, R7)
      .add(R2, PSEUDO_HEADER)
      .ifAbove(R2, R8, 11)
      .load32(R3, R7, 0)
      .ifNot32(R3, a, 9)
      .load32(R3, R7, 4)
      .ifNot32(R3, b, 7)
      .load32(R3, R7, 8)
      .ifNot32(R3, c, 5)
      .copy(R1, R6)
      .set(R2, PSEUDO_HEADER)
      .call(HELPER_XDP_ADJUST_HEAD)
      .answer(XDP_PASS),
    R6,
    map,
    XDP_PASS,
  ).bytes();
}

/** tcx of an interface whose frames are for nobody. */
export function dropAll(): Uint8Array {
  return new Assembler().answer(TCX_DROP).bytes();
}

/** tcx egress of an interface whose host rings are open: to the helper. */
export function toHelper(helper: number): Uint8Array {
  return new Assembler()
    .store32(R1, SKB_MARK, MARK)
    .set(R1, helper)
    .set(R2, 0)
    .call(HELPER_REDIRECT)
    .exit()
    .bytes();
}

/** tcx egress of the helper: what its own stack says is nobody's business. */
export function onlyMarked(): Uint8Array {
  return new Assembler().load32(R2, R1, SKB_MARK).if32(R2, MARK, 2).answer(TCX_DROP).answer(TCX_PASS).bytes();
}

/** tcx ingress of the helper: up to the host, as if received on the interface. */
export function toHost(ifindex: number): Uint8Array {
  return new Assembler().set(R1, ifindex).set(R2, INGRESS).call(HELPER_REDIRECT).exit().bytes();
}

/** The same with a mark, for an interface whose frames are taken by packet sockets. */
export function toHostMarked(ifindex: number): Uint8Array {
  return new Assembler()
    .store32(R1, SKB_MARK, UP_MARK)
    .set(R1, ifindex)
    .set(R2, INGRESS)
    .call(HELPER_REDIRECT)
    .exit()
    .bytes();
}

/** tcx ingress of an interface whose frames packet sockets have had: only what we send up goes on to the host. */
export function onlyUp(): Uint8Array {
  return new Assembler()
    .load32(R2, R1, SKB_MARK)
    .if32(R2, UP_MARK, 2)
    .answer(TCX_DROP)
    .store32(R1, SKB_MARK, 0)
    .answer(TCX_NEXT)
    .bytes();
}

/** The same with the secret in front, for an interface with generic XDP. */
export function toHostBehindSecret(ifindex: number, secret: Uint8Array): Uint8Array {
  const [a, b, c] = secretWords(secret);
  return new Assembler()
    .copy(R6, R1)
    .set(R2, PSEUDO_HEADER)
    .set(R3, 0)
    .call(HELPER_SKB_CHANGE_HEAD)
    .if32(R0, 0, 2)
    .answer(TCX_DROP)
    .store32(R10, -16, a)
    .store32(R10, -12, b)
    .store32(R10, -8, c)
    .store32(R10, -4, PSEUDO_TYPE)
    .copy(R1, R6)
    .set(R2, 0)
    .copy(R3, R10)
    .add(R3, -16)
    .set(R4, PSEUDO_HEADER)
    .set(R5, 0)
    .call(HELPER_SKB_STORE_BYTES)
    .set(R1, ifindex)
    .set(R2, INGRESS)
    .call(HELPER_REDIRECT)
    .exit()
    .bytes();
}

/** 12 random bytes that read as a unicast, locally administered destination and some source. */
function secretWords(secret: Uint8Array): [number, number, number] {
  const view = new DataView(secret.buffer, secret.byteOffset, SECRET_SIZE);
  return [view.getInt32(0, true), view.getInt32(4, true), view.getInt32(8, true)];
}
