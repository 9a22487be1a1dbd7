// Layouts that the frame loops of the data plane (assembly/frames.ts) share with TypeScript.

/** Where a frame's payload, and so the number of txseq and ping, starts: Ethernet + IPv4 + UDP. */
export const SEQUENCE_OFS = 42;

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
export const TOTALS_SIZE = 64;

// Address ranges: per digit of the odometer low, high, now (u32 each), fastest first
export const RA_SPORT = 0;
export const RA_SRC = 12;
export const RA_DPORT = 24;
export const RA_DST = 36;
export const RANGE_SIZE = 48;
