// Layouts that the frame loops of the data plane (assembly/frames.ts) share with TypeScript.

// Totals of a receiver
export const DT_PACKETS = 0; //    u64
export const DT_BYTES = 8; //      u64
export const DT_EXPECTED = 16; //  u32  next number
export const DT_STARTED = 20; //   u32  1 once a number was seen
export const DT_GAPS = 24; //      u32  times a later number than expected came
export const DT_UNORDERED = 28; // u32  times an earlier one came
export const DT_WANTED = 32; //    u32  the last mismatch: expected
export const DT_FOUND = 36; //     u32  and found
export const DT_SHORT = 40; //     u32  frames too short to carry a number
export const DT_UNEVEN = 44; //    u32  times a packet had another number of slots than the one before:
export const DT_BEFORE = 48; //    u32  that many before,
export const DT_SLOTS = 52; //     u32  that many slots of the packet in hand so far,
export const DT_ODD = 56; //       u32  and of the last one that differed
export const DT_USUAL = 60; //     u32  from so many
export const TOTALS_SIZE = 64;

// How a template changes from frame to frame: an odometer of four digits, fastest first (source port and address,
// destination port and address), and where the checksums are that change with them.
export const ST_DIGITS = 0;
export const ST_IP_SUM = 64; //   u32  offset in the frame of IPv4's header checksum, 0: there is none
export const ST_UDP_SUM = 68; //  u32  and of UDP's
export const ST_RANDOM = 72; //   u32  1: random source, 2: random destination
export const ST_SEED = 80; //     u64
export const STEPS_SIZE = 88;

// A digit
export const DG_LOW = 0; //    u32
export const DG_HIGH = 4; //   u32
export const DG_NOW = 8; //    u32
export const DG_AT = 12; //    u16  offset in the frame
export const DG_WORDS = 14; // u16  1 or 2, of 16 bits
export const DIGIT_SIZE = 16;
