// The page between an isolated client and the thread of the module that runs its syncs.  The client asks by moving
// a number on, the thread answers by making another equal to it.  Rings are where they always are, in the region;
// nothing of what the client writes here is taken for anything but a wish.
//
//   0            64                    64 + LANE_SIZE
//   | who sleeps | lane 0: first tx    | lane 1 ...            TX rings before RX rings
//
// (c) the client writes, (m) the module does.

export const PAGE_MODULE_SLEEPS = 0; // (both) u32  1: whoever asks rings the line, and takes it back
export const PAGE_LANES = 64;

export const LANE_SIZE = 256;
export const LANE_ASKED = 0; //   (c) u32  moves on with every wish
export const LANE_WISH = 4; //    (c) u32  one of the below
export const LANE_WAITS = 8; //   (c) u32  1: the client blocks until the line is rung
export const LANE_DONE = 64; //   (m) u32  equals LANE_ASKED once it is done
export const LANE_ANSWER = 68; // (m) u32  SYNC_* bits, or WISH_ARM's answer
export const LANE_DROPS = 128; // (m) u64 x DROP_REASONS, as WISH_DROPS found them

export const WISH_SYNC = 0;
export const WISH_ARM = 1; //   ring the bell at the next change; answer: 0 if the ring has no place for another sleeper
export const WISH_DROPS = 2; // copy the counters
