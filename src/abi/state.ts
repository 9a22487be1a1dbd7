// Layout of the *private* state: what netmap keeps in kernel memory.  It lives in memfds of its own that only
// trusted processes map (direct mode) or only the module does (isolated mode).  Applications never see it.
//
// Plain numbers only: AssemblyScript compiles this file too.  Offsets in a state memfd are bytes from its
// start, offsets in a region are bytes from the region's start.
//
//   state memfd of a switch                         one kring = one ring's private half
//   +--------------------+ 0                        +--------------------------+ 0
//   | header, epoch      |                          | constants      (module)  |
//   +--------------------+ SW_LISTS                 +--------------------------+ 128
//   | member lists x 8   |                          | sync state (ring's sync) |
//   +--------------------+ SW_MACS                  +--------------------------+ 256
//   | learning table     |                          | counters   (ring's sync) |
//   +--------------------+ SW_PORTS                 +--------------------------+ 512
//   | port table         |                          | journal    (ring's sync) |
//   +--------------------+ SW_HEAP                  +--------------------------+ 640
//   | krings, ready[],   |                          | claim      (any sender)  |
//   | owners[]           |                          | released   (other side)  |
//   +--------------------+                          | waiters    (both)        |
//                                                   +--------------------------+ KR_SIZE
// Writers stay on cache lines of their own (128 bytes: adjacent lines are fetched in pairs).

export const STATE_MAGIC = 0x6e6d7374; // 'nmst'
export const STATE_VERSION = 1;

// ---- kring ---------------------------------------------------------------------------------------------

export const KR_SIZE = 1024;

export const KR_KIND = 0;
export const KR_NUM_SLOTS = 4;
export const KR_RING_OFS = 8; //      netmap_ring in its region
export const KR_BUF_OFS = 12; //      buffer 0 in its region
export const KR_BUF_SIZE = 16;
export const KR_BUF_COUNT = 20; //    buffers of the region: valid indices are [NM_RESERVED_BUFS, count)
export const KR_REGION_SLOT = 24; //  index in the process's table of region addresses
export const KR_PORT = 28; //         index of the port on its switch
export const KR_RING_ID = 32;
export const KR_PEER = 36; //         pipe: the ring at the other end, offset in this state
export const KR_READY_OFS = 40; //    VALE rx: u32 per slot, see "finished blocks"
export const KR_OWNERS_OFS = 44; //   VALE rx: u64 per slot, see "who claimed"
export const KR_ID = 48; //           VALE tx: names the claimant, 1..65535, unique on the switch
export const KR_DETACHED = 52; //     u32  VALE tx: 1 once its port was taken off the switch while open

export const KR_COPY_MON = 56; //     first monitor that gets copies of this ring's frames, offset in this state
export const KR_ZCOPY_MON = 60; //    monitor that gets this ring's buffers when they are done with
export const KR_NEXT_TX = 64; //      monitor rx: the next one on the tx ring that it watches
export const KR_NEXT_RX = 68; //      and on the rx ring
export const KR_ORPHAN = 72; //       u32  why nothing moves here any more, 0: it does; ORPHAN_*

// NIC and host rings: a queue's memory, and where in it the kernel's two rings lie: that of frames (its RX or TX ring),
// and that of buffers on their way back (its fill or completion ring), RL_* words each
export const KR_QUEUE_SLOT = 76; //   index in the process's table of region addresses, of the queue's rings
export const KR_FRAMES = 80;
export const KR_BACK = 96;
export const RL_PRODUCER = 0;
export const RL_CONSUMER = 4;
export const RL_DESC = 8;
export const RL_MASK = 12;

// Option OFFSETS (spec api §3.6.5), of rings that have it: bits of a slot's `ptr` say where its packet starts
export const KR_OFFSET_MASK = 112; // u64  those bits, 0: packets start where buffers do
export const KR_OFFSET_MAX = 120; //  u32  the farthest; what a slot says beyond it counts as this
export const KR_OFFSET_GAP = 124; //  u32  most bytes of a packet in one buffer, 0: as many as fit
export const KR_BUSY = 128; //        u32  0, or token of the client that runs a sync on this ring
export const KR_BUSY_EPOCH = 132; //  u32  the switch's epoch which that sync works by
export const KR_HWCUR = 136;
export const KR_HWTAIL = 140;
export const KR_RHEAD = 144;
export const KR_RCUR = 148;
export const KR_RTAIL = 152;
export const KR_LAST_SRC = 160; //    u64  VALE tx: source address that this ring taught last
export const KR_REINITS = 168; //     u32  times the application broke the ring and it was reset
export const KR_TAIL = 176; //        u64  VALE rx: first slot not shown as finished | its lap << 32

export const KR_POSTED = 184; //      u32  NIC rx: first slot that the driver has not been given
// Of a ring whose queue is a packet socket's: RL_DESC and RL_MASK of KR_FRAMES say where its frames are, and how many
export const KR_FRAME_SIZE = 188; //  u32  (c) bytes of one
//      KR_POSTED                      u32  first frame that has not been dealt with
export const KR_HANDED = 192; //      u32  first one that is not the kernel's again

export const KR_FORWARDS = 196; //    u32  NIC rx: 1: all that is given back goes to the other side (parameter fwd)

// Of the others: what the driver goes by (FrameTerms in src/nic/nic.ts), constants, too
export const KR_BUF_ADDRESS = 200; // u32  what the driver calls buffer 0
export const KR_HEADROOM = 204; //    u32  it writes a frame so far behind the address that it was given
export const KR_CHAIN = 208; //       u32  slots of one packet, at most
export const KR_LONGEST = 212; //     u32  bytes of a packet to be sent, at most
export const KR_ASLEEP = 216; //      u32  where in the queue's memory a process that serves it says that it sleeps;
//                                         0: the kernel serves it

export const KR_PACKETS = 256; //     u64
export const KR_BYTES = 264; //       u64
export const KR_DROPS = 272; //       u64 x DROP_REASONS

export const JR_STATE = 512; //       u32  1 while the entry stands
export const JR_RING = 516; //        u32  receiving kring, offset in this state
export const JR_FROM = 520; //        u32  first slot of the claim
export const JR_GEN = 524; //         u32  lap of that slot
export const JR_COUNT = 528; //       u32

export const KR_CLAIM = 640; //       u64  next slot (16 bits) | claimant of the block before it (16) | lap (32)
export const KR_RELEASED = 768; //    u32  VALE rx: oldest slot that the receiver has not given back
export const KR_PTAIL = 772; //       u32  pipe: the hwtail that the other end publishes for this ring
export const KR_WAITERS = 896; //     u32 x WAITERS  bells of those who sleep on this ring
export const WAITERS = 4;

// KR_ORPHAN of monitors, and of NICs; in words in ORPHAN_REASONS, same order
export const ORPHAN_CLOSED = 1;
export const ORPHAN_GONE = 2;
export const ORPHAN_MTU = 3;
export const ORPHAN_QUEUES = 4;
export const ORPHAN_DETACHED = 5;
export const ORPHAN_SERVER = 6;
export const ORPHAN_REASONS = [
  '',
  'what it watched is closed',
  'its interface is gone',
  'frames of the MTU that its interface has now are longer than a buffer',
  'its interface has another number of queues now',
  'its queue was given up: the interface is gone or has another MTU now, or a program broke its rings',
  'the module that served its queues is gone',
];

export const KIND_VALE_TX = 1;
export const KIND_VALE_RX = 2;
export const KIND_PIPE_TX = 3;
export const KIND_PIPE_RX = 4;
export const KIND_MONITOR_TX = 5;
export const KIND_MONITOR_RX = 6;
export const KIND_NULL_TX = 7;
export const KIND_NULL_RX = 8;
export const KIND_NIC_TX = 9;
export const KIND_NIC_RX = 10;
export const KIND_HOST_TX = 11;
export const KIND_HOST_RX = 12;

// Why a packet was dropped, counted at the sender's ring; names in DROP_NAMES, same order.
export const DROP_FULL = 0; //      receiver's ring full
export const DROP_SHORT = 1; //     fewer than 14 bytes before the end of the first slot
export const DROP_OVERSIZE = 2; //  slot longer than a buffer, of the sender or of the receiver
export const DROP_BAD_SLOT = 3; //  buffer index that is not of the region
export const DROP_FRAGS = 4; //     more than NETMAP_MAX_FRAGS slots
export const DROP_SELF = 5; //      destination is the sending port
export const DROP_CLOSED = 6; //    destination port has no open rx ring
export const DROP_UNMAPPED = 7; //  destination's memory could not be mapped by the sender
export const DROP_DISABLED = 8; //  switch set to discard (bridge_batch <= 0)
export const DROP_INDIRECT = 9; //  NS_INDIRECT: no address of another process is followed
export const DROP_DETACHED = 10; // port was taken off its switch
export const DROP_OFFLOAD = 11; //  virtio-net header, or packet behind it, that cannot be converted
export const DROP_FILTERED = 12; //  the switch's own lookup said so
export const DROP_LOOKUP = 13; //    the switch's own lookup failed, is gone, or answered nonsense
export const DROP_TOO_LONG = 14; //  longer than the receiving port takes
export const DROP_REASONS = 15;
export const DROP_NAMES = [
  'receiver ring full',
  'frame shorter than 14 bytes',
  'slot longer than a buffer',
  'buffer index not of the region',
  'more than 64 fragments',
  'destination is the sender',
  'destination not open for receiving',
  'destination memory not mapped',
  'switch set to discard',
  'indirect buffer',
  'port detached from its switch',
  'virtio-net header that cannot be converted',
  'discarded by the lookup of its switch',
  'lookup of its switch failed',
  'frame longer than the receiver takes',
];

// ---- switch --------------------------------------------------------------------------------------------

export const SW_MAGIC = 0;
export const SW_VERSION = 4;
export const SW_EPOCH = 8; //        u32  moves on with every change of the port table
export const SW_LIST = 12; //        u32  which of the member lists is current
export const SW_BATCH = 16; //       i32  bridge_batch: most slots per flush, <= 0 discards everything
export const SW_MAC_AGE = 20; //     u32  seconds an address is remembered, 0 = for ever
export const SW_CLOCK = 24; //       u32  seconds since the switch was made, as the module counts them
export const SW_LOOKUP = 28; //       u32  names the lookup in use, see "lookup"; 0: the learning table, from the start
export const SW_LISTS = 4096;
export const SW_LIST_COUNT = 8; //        lists used in turn, so that a slow sender's stays whole
export const SW_LIST_SIZE = 512; //       u16 count, u16 port x count
export const SW_MACS = 8192; //           u64: mac 48 | port 8 | port generation 8; two ways a bucket
export const SW_MAC_BUCKET_BITS = 11;
export const SW_SEEN = 40960; //          u32 per entry of SW_MACS: SW_CLOCK when it was last seen to hold
export const SW_PORTS = 65536;
export const SW_HEAP = 131072;
/** Room for 254 ports of 16 + 16 rings of 1024 slots; nothing is committed before it is touched. */
export const SW_SIZE = 0x4000000;

// ---- lookup: what takes the place of the learning table (spec ports §1.17) --------------------------

/**
 * Two areas, used in turn, at the end of a switch's state.  SW_LOOKUP is written after its area, (SW_LOOKUP & 1)
 * says which one; the other stays whole for those who are still reading it.
 */
export const SW_LOOKUP_AREAS = 0x3e00000;
export const LOOKUP_AREA_SIZE = 0x100000;
export const LK_KIND = 0;
export const LK_PORT = 4; //         LOOKUP_BATCH: the port that gets all frames, NM_BDG_NOPORT once it is gone
export const LK_CODE_SIZE = 8; //    LOOKUP_WASM: bytes of the WebAssembly module,
export const LK_CONFIG_SIZE = 12; // and of what it is configured with, behind it
export const LK_LABEL = 64; //       char[64]  what it is listed as
export const LK_BYTES = 128;
export const LOOKUP_TABLE = 0; //    the learning table
export const LOOKUP_WASM = 1; //     a function that each sender calls
export const LOOKUP_BATCH = 2; //    a process that gets all frames, and says for each where it goes

// What a lookup answers for a frame: port | (rx ring + 1) << 8, ring 0 meaning "as the sender's", or NM_BDG_BROADCAST,
// NM_BDG_NOPORT (discard), or
export const LOOKUP_AS_LEARNED = 0x10000; // what the learning table says

// In place of such a number
export const LOOKUP_HANDED = 0xffffffff; // frames go to LK_PORT
export const LOOKUP_BROKEN = 0xfffffffd; // it could not be loaded: frames are dropped

export const PT_SIZE = 256;
export const PT_GEN = 0; //          u32  1..255 while the port exists, 0 = free
export const PT_TX_RINGS = 4;
export const PT_RX_RINGS = 8;
export const PT_TX_KRINGS = 12; //   first tx kring, the others follow at KR_SIZE
export const PT_RX_KRINGS = 16;
export const PT_RX_OPEN = 20; //     u32  bit i: rx ring i is bound by somebody
export const PT_REGION_SLOT = 24;
export const PT_REGION_SIZE = 28;
export const PT_REGION_INO = 32; //  u32  low half of the memfd's inode number
export const PT_MODULE_FD = 36; //   where to open the region: /proc/<pid>/fd/<fd>
export const PT_MODULE_PID = 40;
export const PT_OWNER_FD = 44;
export const PT_OWNER_PID = 48;
export const PT_LAST_GEN = 52; //     generation of the last port here, kept while the entry is free
export const PT_HEADER = 56; //       u32  length of the virtio-net header in front of its frames
export const PT_MFS = 60; //          u32  longest frame it takes from a port whose header differs
export const PT_NAME = 64; //        char[64]
export const PT_LONGEST = 132; //    u32  longest frame that is brought to it, 0: any
export const PT_TAGGED = 128; //     u32  1: slots brought to it say in `ptr` where they come from: port | ring << 8

/** Longest frame of a port without a virtio-net header: Ethernet's, without VLAN tag and CRC. */
export const DEFAULT_MFS = 1514;

// ---- pipe ----------------------------------------------------------------------------------------------

/** A pipe's state is laid out like a switch's, its two ends as ports; beside their krings it has so much room for monitors. */
export const PIPE_MONITOR_ROOM = 0x100000;

// ---- system: one per module, shared by all of its clients ------------------------------------------------

export const SYS_MAGIC = 0;
export const SYS_VERSION = 4;
export const SYS_MODULE_PID = 8;
export const SYS_BELLS = 4096; //    entries of BELL_SIZE; entry 0 is never used
export const SYS_BELL_COUNT = 8192;
export const BELL_SIZE = 16;
export const BELL_TOKEN = 0; //      u32  client that owns it, 0 = free
export const BELL_PID = 4;
export const BELL_FD = 8; //         reading end of the pipe, in that process
export const BELL_INO = 12; //       u32  low half of its inode number
/** The module's registry as JSON, twice, so that a death while writing leaves the other copy whole. */
export const SYS_REGISTRY = 0x40000;
export const SYS_REGISTRY_SIZE = 0x800000;
export const REG_SEQ = 0; //         u32  copies are written in turn; the higher whole one counts
export const REG_LENGTH = 4; //      u32
export const REG_CHECK = 8; //       u32  sequence again, written last
export const REG_TEXT = 64;
export const SYS_SIZE = 0x40000 + 2 * 0x800000;

// ---- process: fixed places in the private part of every arena ---------------------------------------------

export const ARENA_SIZE = 0x100000000;
export const ARENA_LOCK = 0x1000; //          u32
export const ARENA_THREADS = 0x1004; //       u32 x MAX_THREADS bitmap of scratch areas in use
export const ARENA_REGION_BASES = 0x10000; // u32 per region slot: address in this process, 0 = not mapped
export const REGION_SLOTS = 8192;
export const ARENA_EPOCHS = 0x18000; //       u32 per state slot: epoch that the addresses above are good for
export const STATE_SLOTS = 4096;
export const ARENA_MAPS = 0x20000; //         what is mapped where, see mem/arena.ts
export const ARENA_SCRATCH = 0x200000; //     one area per thread
export const SCRATCH_SIZE = 0x40000;
export const MAX_THREADS = 64;
export const ARENA_LOW = 0x2000000; //        own regions and private memory start here,
export const ARENA_HIGH = 0x80000000; //      peers' regions here

// ---- what a sync answers: bits ---------------------------------------------------------------------------

export const SYNC_RING_BELLS = 1; // bells to ring are in the scratch area
export const SYNC_REMAP = 2; //      nothing done: the switch has changed, map and call again
export const SYNC_BUSY = 4; //       nothing done: another sync of this ring is running
export const SYNC_REINIT = 8; //     the application broke the ring, it was reset
export const SYNC_ERROR = 16; //     nothing done, EIO: a monitor cannot send, or what it watched is closed
export const SYNC_LOOKUP = 32; //    nothing done: the switch has another lookup, load it and call again
export const SYNC_KICK = 64; //      whoever serves a NIC's queue is to be told that there is something for it
export const SYNC_FETCH = 128; //    the ring is still ours: a long frame is to be read from the kernel

// Scratch area of a thread
export const SC_BELL_COUNT = 0; //   u32
export const SC_BELLS = 16; //       u32 x MAX_BELLS
export const MAX_BELLS = 2040;
export const SC_QUEUES = 8192; //    per destination ring: head u16, tail u16, slots u32
export const SC_ACTIVE = 49152; //   u32 list of destination rings in use
export const SC_ENTRIES = 65536; //  u64 per slot of the batch
export const SC_TOLD = 98304; //     u64 per entry: what a process that decides has said of its packet
/** In their place, of a packet socket: a frame that is longer than the kernel's ring holds. */
export const SC_LONG = 65536;
export const LONG_SIZE = 131072;
export const SC_RUNS = 131072; //   u64 per run of entries, see assembly/runs.ts
export const SC_HEADERS = 196608; // 512 bytes for headers under conversion, see assembly/offload.ts
export const SC_ALSO = 198656; //    u32 x 256: further destinations of the packet that a lookup is looking at
export const SC_LOOKUPS = 200704; // per state slot: SW_LOOKUP u32 that is loaded, u32 its place in the function table
export const SC_FURTHER = 233472; // lists that a process which decides names by their first word, 1 or more: u32 how many
export const FURTHER_WORDS = 7168; // further destinations a packet has, u32 each of them
