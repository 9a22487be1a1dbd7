/* Layout and helpers of the C reference: the same rings, krings and learning table as the data plane's
 * (src/abi/netmap.ts, src/abi/state.ts), written as C structs. */
#pragma once
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { SLOTS = 1024, BUF_SIZE = 2048, MAX_PORTS = 32, MAX_BATCH = 1024, RESERVED_BUFS = 2 };
enum { NS_BUF_CHANGED = 1, NS_NO_LEARN = 8, NS_INDIRECT = 16, NS_MOREFRAG = 32 };

struct slot {
	uint32_t buf_idx;
	uint16_t len, flags;
	uint64_t ptr;
};

struct ring {
	int64_t buf_ofs;
	uint32_t num_slots, buf_size;
	uint16_t ringid, dir;
	_Atomic uint32_t head;
	uint32_t cur;
	_Atomic uint32_t tail;
	uint32_t flags;
	uint8_t pad[256 - 36];
	struct slot slot[SLOTS];
};
_Static_assert(offsetof(struct ring, head) == 20 && offsetof(struct ring, slot) == 256, "netmap_ring");

/* A port's memory: rings, then buffers. */
struct region {
	struct ring tx, rx;
	_Alignas(4096) uint8_t buf[2 * SLOTS + RESERVED_BUFS][BUF_SIZE];
};

struct kring {
	_Alignas(128) struct region *region;
	struct ring *ring;
	struct kring *peer; /* pipe */
	uint32_t id, port;
	_Alignas(128) _Atomic uint32_t busy;
	uint32_t hwcur, hwtail, rhead, rcur, rtail;
	uint64_t last_src, tail; /* tail: slot | lap << 32 */
	uint64_t packets, bytes, drops[10];
	_Alignas(128) struct { uint32_t state, from, lap, count; struct kring *to; } journal;
	_Alignas(128) _Atomic uint64_t claim; /* slot | claimant << 16 | lap << 32 */
	_Alignas(128) _Atomic uint32_t released;
	_Atomic uint32_t ptail;
	_Alignas(128) _Atomic uint64_t waiters[2];
	_Alignas(128) _Atomic uint32_t ready[SLOTS];
	uint64_t owners[SLOTS];
};

struct port {
	uint32_t generation;
	struct kring tx, rx;
};

struct vale {
	_Atomic uint32_t epoch;
	uint32_t ports;
	uint64_t mac[2048][2]; /* mac 48 | port 8 | generation 8 */
	struct port port[MAX_PORTS];
};

static inline uint32_t dist(uint32_t a, uint32_t b) { return b >= a ? b - a : b + SLOTS - a; }
static inline uint32_t next(uint32_t slot) { return slot + 1 == SLOTS ? 0 : slot + 1; }
static inline uint32_t after(uint32_t slot, uint32_t count) { return (slot + count) % SLOTS; }
static inline bool bad_index(uint32_t i) { return i - RESERVED_BUFS >= 2 * SLOTS; }
static inline bool sleeper(struct kring *k) { return (k->waiters[0] | k->waiters[1]) != 0; }

void *shared(size_t size);
void port_init(struct kring *tx, struct kring *rx, struct region *region, uint32_t port);
bool enter(struct kring *k);
bool tx_prologue(struct kring *k);
bool rx_prologue(struct kring *k);
void finish(struct kring *k);

void vale_txsync(struct vale *v, struct kring *k);
void vale_rxsync(struct kring *k);
void pipe_connect(struct kring *tx, struct kring *rx);
void pipe_txsync(struct kring *k);
void pipe_rxsync(struct kring *k);
double calibrate(uint32_t size, double ms);

void fill(struct kring *tx, uint32_t count, const uint8_t *template, uint32_t len, bool copy);
uint32_t drain(struct kring *rx, bool touch);

double now_ms(void);
extern uint64_t seen_packets, seen_bytes, seen_sum;
