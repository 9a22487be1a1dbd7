/* The VALE switch: classify a batch, then deliver per destination with a lock-free claim and a journal. */
#include "netmap.h"

#define MAC_MASK 0xffffffffffffull
enum { FLOOD = MAX_PORTS, DROPPED = MAX_PORTS + 1, END = 0xffff };
enum { DROP_FULL, DROP_SHORT, DROP_OVERSIZE, DROP_BAD_SLOT, DROP_SELF = 5 };

struct entry {
	const uint8_t *frame;
	uint32_t len;
};

struct queue {
	uint16_t head, tail, slots;
};

static struct entry entries[MAX_BATCH];
static uint16_t links[MAX_BATCH];
static struct queue queues[MAX_PORTS + 1];
static uint32_t used, active[MAX_PORTS], actives;

static uint64_t *bucket(struct vale *v, uint64_t mac)
{
	return v->mac[(mac * 0x9e3779b97f4a7c15ull) >> 53];
}

static int lookup(struct vale *v, uint64_t mac)
{
	uint64_t *b = bucket(v, mac), e = b[0];
	if ((e ^ mac) & MAC_MASK) {
		e = b[1];
		if ((e ^ mac) & MAC_MASK)
			return -1;
	}
	uint32_t port = (e >> 48) & 0xff;
	return e >> 56 && port < v->ports && v->port[port].generation == e >> 56 ? (int)port : -1;
}

static void learn(struct vale *v, uint64_t mac, uint32_t port)
{
	uint64_t *b = bucket(v, mac);
	uint64_t e = mac | (uint64_t)port << 48 | (uint64_t)v->port[port].generation << 56;
	b[!((b[0] ^ mac) & MAC_MASK) || b[0] == 0 ? 0 : 1] = e;
}

static uint32_t classify(struct vale *v, uint64_t dst, uint32_t from)
{
	if (dst & 1)
		return FLOOD;
	int port = lookup(v, dst);
	return port < 0 ? FLOOD : (uint32_t)port == from ? DROPPED : (uint32_t)port;
}

static void append(uint32_t to, uint32_t entry)
{
	struct queue *q = &queues[to];
	if (q->slots == 0) {
		q->head = entry;
		if (to != FLOOD)
			active[actives++] = to;
	} else {
		links[q->tail] = entry;
	}
	links[entry] = END;
	q->tail = entry;
	q->slots++;
}

static void deliver(struct vale *v, struct kring *from, uint32_t to, struct queue *own, struct queue *flood)
{
	uint32_t need = own->slots + (flood ? flood->slots : 0);
	uint32_t a = own->slots ? own->head : END, b = flood ? flood->head : END;
	*own = (struct queue){ 0 };
	struct kring *k = &v->port[to].rx;
	uint32_t start, lap, granted;
	for (;;) {
		uint64_t word = k->claim;
		start = word & 0xffff;
		lap = word >> 32;
		uint32_t space = SLOTS - 1 - dist(k->released, start);
		granted = need < space ? need : space;
		if (granted == 0) {
			from->drops[DROP_FULL] += need;
			return;
		}
		from->journal.to = k;
		from->journal.from = start;
		from->journal.lap = lap;
		from->journal.count = granted;
		from->journal.state = 1;
		k->owners[start] = ((uint32_t)word >> 16) | (uint64_t)lap << 32;
		uint32_t end = start + granted;
		uint64_t moved = end >= SLOTS ? (end - SLOTS) | (uint64_t)(lap + 1) << 32 : end | (uint64_t)lap << 32;
		if (atomic_compare_exchange_strong(&k->claim, &word, moved | (uint64_t)from->id << 16))
			break;
	}
	struct ring *r = k->ring;
	for (uint32_t left = granted, j = start; left; left--, j = next(j)) {
		uint32_t i;
		if (a < b) {
			i = a;
			a = links[a];
		} else {
			i = b;
			b = links[b];
		}
		struct slot *s = &r->slot[j];
		uint32_t len = entries[i].len;
		if (bad_index(s->buf_idx)) {
			from->drops[DROP_BAD_SLOT]++;
			len = 0;
		} else {
			memcpy(k->region->buf[s->buf_idx], entries[i].frame, len);
		}
		s->len = len;
		s->flags = 1 << 8;
	}
	k->ready[start] = lap << 12 | granted;
	from->journal.state = 0;
	if (sleeper(k))
		from->drops[9]++; /* Nobody sleeps here; a bell would be rung. */
	from->drops[DROP_FULL] += need - granted;
}

static void flush(struct vale *v, struct kring *from)
{
	struct queue *flood = &queues[FLOOD];
	if (flood->slots) {
		for (uint32_t p = 0; p < v->ports; p++)
			if (p != from->port)
				deliver(v, from, p, &queues[p], flood);
		*flood = (struct queue){ 0 };
	}
	for (uint32_t i = 0; i < actives; i++)
		if (queues[active[i]].slots)
			deliver(v, from, active[i], &queues[active[i]], NULL);
	used = actives = 0;
}

void vale_txsync(struct vale *v, struct kring *k)
{
	if (!enter(k))
		return;
	(void)v->epoch;
	if (tx_prologue(k) && k->rhead != k->hwcur) {
		uint64_t last_src = k->last_src, last_dst = 0;
		uint32_t last_queue = FLOOD;
		if (last_src != ~0ull && lookup(v, last_src) != (int)k->port)
			last_src = ~0ull;
		for (uint32_t i = k->hwcur; i != k->rhead; i = next(i)) {
			if (used == MAX_BATCH)
				flush(v, k);
			struct slot s = k->ring->slot[i];
			k->packets++;
			k->bytes += s.len;
			if (bad_index(s.buf_idx)) {
				k->drops[DROP_BAD_SLOT]++;
				continue;
			}
			if (s.len < 14 || s.len > BUF_SIZE) {
				k->drops[s.len < 14 ? DROP_SHORT : DROP_OVERSIZE]++;
				continue;
			}
			const uint8_t *frame = k->region->buf[s.buf_idx];
			uint64_t dst, src;
			memcpy(&dst, frame, 8);
			memcpy(&src, frame + 6, 8);
			dst &= MAC_MASK;
			src &= MAC_MASK;
			if (src != last_src && !(src & 1)) {
				learn(v, src, k->port);
				last_src = src;
			}
			if (dst != last_dst) {
				last_dst = dst;
				last_queue = classify(v, dst, k->port);
			}
			if (last_queue == DROPPED) {
				k->drops[DROP_SELF]++;
				continue;
			}
			entries[used] = (struct entry){ frame, s.len };
			append(last_queue, used++);
		}
		flush(v, k);
		k->last_src = last_src;
		k->hwcur = k->rhead;
	}
	k->hwtail = k->rhead == 0 ? SLOTS - 1 : k->rhead - 1;
	finish(k);
	k->busy = 0;
}

void vale_rxsync(struct kring *k)
{
	if (!enter(k))
		return;
	if (rx_prologue(k)) {
		if (k->rhead != k->hwcur) {
			k->hwcur = k->rhead;
			k->released = k->rhead;
		}
		uint32_t tail = (uint32_t)k->tail, lap = k->tail >> 32;
		for (;;) {
			uint32_t word = k->ready[tail], block = word & 0xfff;
			if (block == 0 || word != (lap << 12 | block))
				break;
			k->packets += block;
			uint32_t was = tail;
			tail += block;
			if (tail >= SLOTS) {
				tail -= SLOTS;
				lap++;
			}
			k->tail = tail | (uint64_t)lap << 32;
			atomic_store_explicit(&k->ready[was], 0, memory_order_relaxed);
		}
		k->hwtail = tail;
		finish(k);
	}
	k->busy = 0;
}
