/* Netmap pipes: slots are copied to the peer's ring and back, buffers change hands. */
#include "netmap.h"

void pipe_connect(struct kring *tx, struct kring *rx)
{
	tx->peer = rx;
	rx->peer = tx;
}

void pipe_txsync(struct kring *k)
{
	if (!enter(k))
		return;
	k->hwtail = k->ptail;
	if (tx_prologue(k)) {
		struct ring *to = k->peer->ring;
		uint32_t complete = SLOTS, packets = 0;
		uint64_t bytes = 0;
		for (uint32_t i = k->hwcur; i != k->rhead;) {
			struct slot s = k->ring->slot[i];
			if (bad_index(s.buf_idx) || s.len > BUF_SIZE)
				s = (struct slot){ .flags = s.flags };
			to->slot[i] = s;
			bytes += s.len;
			if (s.flags & NS_BUF_CHANGED)
				k->ring->slot[i].flags = s.flags & ~NS_BUF_CHANGED;
			i = next(i);
			if (!(s.flags & NS_MOREFRAG)) {
				complete = i;
				packets++;
			}
		}
		k->hwcur = k->rhead;
		k->packets += packets;
		k->bytes += bytes;
		if (complete != SLOTS) {
			k->peer->ptail = complete;
			if (sleeper(k->peer))
				k->drops[9]++;
		}
		finish(k);
	}
	k->busy = 0;
}

void pipe_rxsync(struct kring *k)
{
	if (!enter(k))
		return;
	if (rx_prologue(k)) {
		if (k->hwcur != k->rhead) {
			struct ring *to = k->peer->ring;
			for (uint32_t i = k->hwcur; i != k->rhead; i = next(i)) {
				struct slot s = k->ring->slot[i];
				to->slot[i] = s;
				if (s.flags & NS_BUF_CHANGED)
					k->ring->slot[i].flags = s.flags & ~NS_BUF_CHANGED;
			}
			k->hwcur = k->rhead;
			k->peer->ptail = k->rhead == 0 ? SLOTS - 1 : k->rhead - 1;
			if (sleeper(k->peer))
				k->drops[9]++;
		}
		k->hwtail = k->ptail;
		finish(k);
	}
	k->busy = 0;
}
