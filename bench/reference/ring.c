/* Rings: what every sync does first and last, and what an application does with slots. */
#define _GNU_SOURCE
#include <sys/mman.h>
#include <time.h>

#include "netmap.h"

uint64_t seen_packets, seen_bytes, seen_sum;

double now_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}

void *shared(size_t size)
{
	return mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
}

static void ring_init(struct kring *k, struct ring *r, struct region *region, bool tx, uint32_t first_buf)
{
	r->buf_ofs = (uint8_t *)region->buf - (uint8_t *)r;
	r->num_slots = SLOTS;
	r->buf_size = BUF_SIZE;
	r->tail = tx ? SLOTS - 1 : 0;
	for (uint32_t i = 0; i < SLOTS; i++)
		r->slot[i] = (struct slot){ .buf_idx = first_buf + i, .len = BUF_SIZE };
	k->region = region;
	k->ring = r;
	k->last_src = ~0ull;
	if (tx)
		k->hwtail = k->rtail = k->ptail = SLOTS - 1;
}

void port_init(struct kring *tx, struct kring *rx, struct region *region, uint32_t port)
{
	ring_init(rx, &region->rx, region, false, RESERVED_BUFS);
	ring_init(tx, &region->tx, region, true, RESERVED_BUFS + SLOTS);
	tx->port = rx->port = port;
	tx->id = port * 16 + 1;
}

bool enter(struct kring *k)
{
	uint32_t idle = 0;
	return atomic_compare_exchange_strong(&k->busy, &idle, 1);
}

bool tx_prologue(struct kring *k)
{
	uint32_t head = k->ring->head, cur = k->ring->cur;
	if (head >= SLOTS || cur >= SLOTS || dist(k->rhead, head) > dist(k->rhead, k->rtail) ||
	    dist(head, cur) > dist(head, k->rtail))
		return false;
	k->rhead = head;
	k->rcur = cur;
	return true;
}

bool rx_prologue(struct kring *k)
{
	uint32_t head = k->ring->head, cur = k->ring->cur;
	if (head >= SLOTS || cur >= SLOTS || dist(k->hwcur, head) > dist(k->hwcur, k->hwtail) ||
	    dist(head, cur) > dist(head, k->hwtail))
		return false;
	k->rhead = head;
	k->rcur = cur;
	return true;
}

void finish(struct kring *k)
{
	k->rtail = k->hwtail;
	k->ring->tail = k->hwtail;
}

void fill(struct kring *tx, uint32_t count, const uint8_t *template, uint32_t len, bool copy)
{
	struct ring *r = tx->ring;
	uint32_t head = r->head;
	for (uint32_t i = 0; i < count; i++, head = next(head)) {
		struct slot *s = &r->slot[head];
		if (copy || (s->flags & NS_BUF_CHANGED))
			memcpy(tx->region->buf[s->buf_idx], template, len);
		s->len = len;
		s->flags = 0;
	}
	r->cur = head;
	r->head = head;
}

uint32_t drain(struct kring *rx, bool touch)
{
	struct ring *r = rx->ring;
	uint32_t head = r->head, tail = r->tail, count = dist(head, tail);
	for (uint32_t k = head; k != tail; k = next(k)) {
		const struct slot *s = &r->slot[k];
		seen_bytes += s->len;
		seen_packets += s->len != 0 && !(s->flags & NS_MOREFRAG);
		if (touch) {
			const uint8_t *frame = rx->region->buf[s->buf_idx];
			for (uint32_t i = 0; i + 8 <= s->len; i += 8) {
				uint64_t word;
				memcpy(&word, frame + i, 8);
				seen_sum += word;
			}
		}
	}
	if (count) {
		r->cur = tail;
		r->head = tail;
	}
	return count;
}
