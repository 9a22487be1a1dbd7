// The control API's own structures (spec api §3), as a C program lays them out, and the frames in which they travel
// over the control socket.  A pointer in them is an offset from the start of the request, 0 for none; an address of
// the client's memory is one within an object that the client holds: (descriptor + 1) << 32 | offset.

// ---- frames --------------------------------------------------------------------------------------------------

export const FRAME_MAGIC = 0x51524d4e; // 'NMRQ'
export const REPLY_MAGIC = 0x50524d4e; // 'NMRP'
export const FR_MAGIC = 0; //    u32
export const FR_LENGTH = 4; //   u32  of the whole frame
export const FR_REQUEST = 8; //  u32  FR_HELLO, FR_CLOSE or the ioctl's number
export const FR_FD = 12; //      u32  the client's name for what would be a descriptor of /dev/netmap
export const FR_ID = 16; //      u32  comes back in the reply
export const FR_RESULT = 20; //  i32  reply: 0 or errno
export const FR_SIZE = 24;
export const FR_LONGEST = 65536;

export const FR_HELLO = 1; //    payload: u32 pid of the client
export const FR_CLOSE = 2;
export const NIOCGINFO = 145;
export const NIOCREGIF = 146;
export const NIOCTXSYNC = 148;
export const NIOCRXSYNC = 149;
export const NIOCCTRL = 151;

/** Behind the payload of a successful registration's reply: where the region is, /proc/<pid>/fd/<fd>. */
export const MAP_SIZE = 0; //    u64
export const MAP_PID = 8; //     u32
export const MAP_FD = 12; //     u32
export const MAP_RECORD = 16;

// ---- struct nmreq_header, 88 bytes ---------------------------------------------------------------------------

export const HD_VERSION = 0; //  u16
export const HD_REQTYPE = 2; //  u16
export const HD_RESERVED = 4; // u32
export const HD_NAME = 8; //     char[64]
export const HD_OPTIONS = 72; // u64
export const HD_BODY = 80; //    u64
export const HEADER_SIZE = 88;

export const NETMAP_REQ_REGISTER = 1;
export const NETMAP_REQ_PORT_INFO_GET = 2;
export const NETMAP_REQ_VALE_ATTACH = 3;
export const NETMAP_REQ_VALE_DETACH = 4;
export const NETMAP_REQ_VALE_LIST = 5;
export const NETMAP_REQ_PORT_HDR_SET = 6;
export const NETMAP_REQ_PORT_HDR_GET = 7;
export const NETMAP_REQ_VALE_NEWIF = 8;
export const NETMAP_REQ_VALE_DELIF = 9;
export const NETMAP_REQ_VALE_POLLING_ENABLE = 10;
export const NETMAP_REQ_VALE_POLLING_DISABLE = 11;
export const NETMAP_REQ_POOLS_INFO_GET = 12;
export const NETMAP_REQ_SYNC_KLOOP_START = 13;
export const NETMAP_REQ_SYNC_KLOOP_STOP = 14;
export const NETMAP_REQ_CSB_ENABLE = 15;

/** Bytes of each request's body; what is not listed has none. */
export const BODY_SIZES: Readonly<Record<number, number>> = {
  [NETMAP_REQ_REGISTER]: 56,
  [NETMAP_REQ_PORT_INFO_GET]: 32,
  [NETMAP_REQ_VALE_ATTACH]: 64,
  [NETMAP_REQ_VALE_DETACH]: 8,
  [NETMAP_REQ_VALE_LIST]: 8,
  [NETMAP_REQ_PORT_HDR_SET]: 8,
  [NETMAP_REQ_PORT_HDR_GET]: 8,
  [NETMAP_REQ_VALE_NEWIF]: 16,
  [NETMAP_REQ_VALE_POLLING_ENABLE]: 16,
  [NETMAP_REQ_VALE_POLLING_DISABLE]: 16,
  [NETMAP_REQ_POOLS_INFO_GET]: 64,
  [NETMAP_REQ_SYNC_KLOOP_START]: 8,
};

// struct nmreq_register, 56 bytes; nmreq_vale_attach starts with one
export const RG_OFFSET = 0; //        u64
export const RG_MEMSIZE = 8; //       u64
export const RG_TX_SLOTS = 16; //     u32
export const RG_RX_SLOTS = 20; //     u32
export const RG_TX_RINGS = 24; //     u16
export const RG_RX_RINGS = 26; //     u16
export const RG_HOST_TX_RINGS = 28; // u16
export const RG_HOST_RX_RINGS = 30; // u16
export const RG_MEM_ID = 32; //       u16
export const RG_RINGID = 34; //       u16
export const RG_MODE = 36; //         u32
export const RG_EXTRA_BUFS = 40; //   u32
export const RG_FLAGS = 48; //        u64
export const VA_PORT_INDEX = 56; //   u32

// struct nmreq_port_info_get
export const PI_MEMSIZE = 0; //       u64
export const PI_TX_SLOTS = 8; //      u32
export const PI_RX_SLOTS = 12; //     u32
export const PI_TX_RINGS = 16; //     u16
export const PI_RX_RINGS = 18; //     u16
export const PI_HOST_TX_RINGS = 20; // u16
export const PI_HOST_RX_RINGS = 22; // u16
export const PI_MEM_ID = 24; //       u16

// struct nmreq_vale_list, _newif, _polling, nmreq_pools_info
export const VL_BRIDGE = 0; //        u16
export const VL_PORT = 4; //          u32
export const NI_TX_SLOTS = 0; //      u32
export const NI_RX_SLOTS = 4; //      u32
export const NI_TX_RINGS = 8; //      u16
export const NI_RX_RINGS = 10; //     u16
export const NI_MEM_ID = 12; //       u16
export const VP_MODE = 0; //          u32
export const VP_FIRST_CPU = 4; //     u32
export const VP_CPUS = 8; //          u32
export const PO_MEMSIZE = 0; //       u64
export const PO_MEM_ID = 8; //        u16
export const PO_IF = 16; //           u64 offset, u32 objects, u32 bytes of one
export const PO_RING = 32;
export const PO_BUF = 48;

/** VP_MODE: one CPU polls all rings; or each its own. */
export const NETMAP_POLLING_MODE_SINGLE_CPU = 1;
export const NETMAP_POLLING_MODE_MULTI_CPU = 2;

// ---- options -------------------------------------------------------------------------------------------------

export const OP_NEXT = 0; //          u64
export const OP_REQTYPE = 8; //       u32
export const OP_STATUS = 12; //       u32
export const OP_SIZE = 16; //         u64
export const OPTION_SIZE = 24;

export const NETMAP_REQ_OPT_EXTMEM = 1;
export const NETMAP_REQ_OPT_SYNC_KLOOP_EVENTFDS = 2;
export const NETMAP_REQ_OPT_CSB = 3;
export const NETMAP_REQ_OPT_SYNC_KLOOP_MODE = 4;
export const NETMAP_REQ_OPT_OFFSETS = 5;
export const NETMAP_REQ_OPT_MAX = 6;

/** Whole sizes of the options that have a fixed one. */
export const OPTION_SIZES: Readonly<Record<number, number>> = {
  [NETMAP_REQ_OPT_EXTMEM]: 96,
  [NETMAP_REQ_OPT_CSB]: 40,
  [NETMAP_REQ_OPT_SYNC_KLOOP_MODE]: 32,
  [NETMAP_REQ_OPT_OFFSETS]: 56,
};

export const EX_USRPTR = 24; //       u64
export const EX_INFO = 32; //         struct nmreq_pools_info
export const CS_ATOK = 24; //         u64
export const CS_KTOA = 32; //         u64
export const KM_MODE = 24; //         u32
export const OF_MAX = 24; //          u64
export const OF_INITIAL = 32; //      u64
export const OF_BITS = 40; //         u32
export const OF_TX_ALIGN = 44; //     u32
export const OF_MIN_GAP = 48; //      u64

// ---- CSB: one 64-byte entry a ring, each way (spec api §6.1) ---------------------------------------------------

export const CSB_ENTRY = 64;
export const CSB_HEAD = 0; //         atok
export const CSB_CUR = 4;
export const CSB_APPL_NEED_KICK = 8;
export const CSB_SYNC_FLAGS = 12;
export const CSB_HWCUR = 0; //        ktoa
export const CSB_HWTAIL = 4;
export const CSB_KERN_NEED_KICK = 8;

// ---- struct nmreq, the legacy request, 60 bytes ----------------------------------------------------------------

export const LG_NAME = 0; //          char[16]
export const LG_VERSION = 16; //      u32
export const LG_OFFSET = 20; //       u32
export const LG_MEMSIZE = 24; //      u32
export const LG_TX_SLOTS = 28; //     u32
export const LG_RX_SLOTS = 32; //     u32
export const LG_TX_RINGS = 36; //     u16
export const LG_RX_RINGS = 38; //     u16
export const LG_RINGID = 40; //       u16
export const LG_CMD = 42; //          u16
export const LG_ARG1 = 44; //         u16
export const LG_ARG2 = 46; //         u16
export const LG_ARG3 = 48; //         u32
export const LG_FLAGS = 52; //        u32
export const LEGACY_SIZE = 60;
