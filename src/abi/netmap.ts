// Netmap's own ABI, API version 14, as spec api §1 measures it on x86-64 and arm64 (both little endian,
// 8-byte i64): what applications in any language see in a mapped region.  Plain numbers only, because
// AssemblyScript compiles this very file too.
//
// Writers:  (c) constant once registered   (u) application   (k) whoever runs the sync

export const NETMAP_API = 14;
export const NETMAP_MIN_API = 14;
export const NETMAP_MAX_API = 15;

// struct netmap_slot, 16 bytes
export const SLOT_SIZE = 16;
export const SLOT_BUF_IDX = 0; // u32
export const SLOT_LEN = 4; //     u16
export const SLOT_FLAGS = 6; //   u16
export const SLOT_PTR = 8; //     u64

export const NS_BUF_CHANGED = 0x0001;
export const NS_REPORT = 0x0002;
export const NS_FORWARD = 0x0004;
export const NS_NO_LEARN = 0x0008;
export const NS_INDIRECT = 0x0010;
export const NS_MOREFRAG = 0x0020;
export const NS_TXMON = 0x0040;
export const NS_PORT_SHIFT = 8;
export const NS_PORT_MASK = 0xff00;
/** Longest chain of slots that makes one packet. */
export const NETMAP_MAX_FRAGS = 64;

// struct netmap_ring, 256 bytes, then the slots
export const RING_BUF_OFS = 0; //      (c) i64  bytes from this ring to buffer 0
export const RING_NUM_SLOTS = 8; //    (c) u32
export const RING_BUF_SIZE = 12; //    (c) u32  stride and capacity of buffers
export const RING_RINGID = 16; //      (c) u16
export const RING_DIR = 18; //         (c) u16  DIR_RX or DIR_TX
export const RING_HEAD = 20; //        (u) u32  first slot the application owns
export const RING_CUR = 24; //         (u) u32  wake-up point
export const RING_TAIL = 28; //        (k) u32  first slot the application does not own
export const RING_FLAGS = 32; //       (u) u32
export const RING_TS = 40; //          (k) i64 seconds, i64 microseconds: time of the last rx sync
export const RING_OFFSET_MASK = 56; // (c) u64
export const RING_BUF_ALIGN = 64; //   (c) u64
export const RING_SEM = 128; //        (u) u8[128], never touched by us
export const RING_SLOTS = 256;

/** The code's values; the reference's header comment says the opposite (spec api §1.2). */
export const DIR_RX = 0;
export const DIR_TX = 1;
export const NR_TIMESTAMP = 0x0002;
export const NR_FORWARD = 0x0004;

// struct netmap_if, 56 bytes, then one i64 per ring: tx, host tx, rx, host rx; 0 = not bound
export const IF_NAME = 0; //           char[16]
export const IF_NAME_SIZE = 16;
export const IF_VERSION = 16; //       u32
export const IF_FLAGS = 20; //         u32
export const IF_TX_RINGS = 24; //      u32
export const IF_RX_RINGS = 28; //      u32
export const IF_BUFS_HEAD = 32; //     (u) u32  first extra buffer, 0 = none
export const IF_HOST_TX_RINGS = 36; // u32
export const IF_HOST_RX_RINGS = 40; // u32
export const IF_RING_OFS = 56;
export const NI_PRIV_MEM = 1;

// Registration modes and flags (spec api §3.5.1)
export const NR_REG_DEFAULT = 0;
export const NR_REG_ALL_NIC = 1;
export const NR_REG_SW = 2;
export const NR_REG_NIC_SW = 3;
export const NR_REG_ONE_NIC = 4;
export const NR_REG_NULL = 7;
export const NR_REG_ONE_SW = 8;
export const NR_MONITOR_TX = 0x100;
export const NR_MONITOR_RX = 0x200;
export const NR_ZCOPY_MON = 0x400;
export const NR_EXCLUSIVE = 0x800;
export const NR_RX_RINGS_ONLY = 0x2000;
export const NR_TX_RINGS_ONLY = 0x4000;
export const NR_ACCEPT_VNET_HDR = 0x8000;
export const NR_DO_RX_POLL = 0x10000;
export const NR_NO_TX_POLL = 0x20000;

// Limits (spec api §0)
export const NETMAP_REQ_IFNAMSIZ = 64;
export const IFNAMSIZ = 16;
export const NETMAP_RING_MASK = 0x0fff;
export const NM_BUF_ALIGN = 64;
export const NM_BDG_MAXPORTS = 254;
export const NM_BDG_BROADCAST = 254;
export const NM_BDG_NOPORT = 255;
export const NM_BDG_MAXRINGS = 16;
export const NM_BDG_MAXSLOTS = 4096;
export const NM_PIPE_MAXRINGS = 256;
export const NM_PIPE_MAXSLOTS = 4096;
export const NM_PIPES_PER_PARENT = 64;
export const NM_MAX_EXTRA_BUFS = 524288;
/** Buffers 0 and 1 are never handed out: 0 is what a bad index stands for. */
export const NM_RESERVED_BUFS = 2;
