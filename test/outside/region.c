/*
 * Reads a region from outside: maps the file given, walks interface, rings and slots with nothing but the header
 * written by our build, and prints what it finds, one fact a line.
 *
 *   region FILE SIZE NIFP_OFS
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include "netmap_abi.h"

static void show_ring(struct netmap_if *nifp, uint32_t nth)
{
	int64_t ofs = NETMAP_IF_RING_OFS(nifp, nth);
	if (ofs == 0) {
		printf("ring %u none\n", nth);
		return;
	}
	struct netmap_ring *ring = (struct netmap_ring *)((char *)nifp + ofs);
	printf("ring %u slots %u bufsize %u id %u dir %u head %u cur %u tail %u\n", nth, ring->num_slots,
	    ring->nr_buf_size, ring->ringid, ring->dir, ring->head, ring->cur, ring->tail);
	for (uint32_t i = ring->head; i != ring->tail && ring->dir == DIR_RX; i = i + 1 == ring->num_slots ? 0 : i + 1) {
		struct netmap_slot *slot = NETMAP_RING_SLOT(ring, i);
		unsigned char *bytes = (unsigned char *)NETMAP_BUF(ring, slot->buf_idx);
		printf("slot %u idx %u len %u flags %u bytes", i, slot->buf_idx, slot->len, slot->flags);
		for (int b = 0; b < 20; b++)
			printf(" %02x", bytes[b]);
		printf("\n");
	}
}

int main(int argc, char **argv)
{
	if (argc != 4)
		return 2;
	int fd = open(argv[1], O_RDWR);
	size_t size = strtoull(argv[2], NULL, 0);
	char *base = fd < 0 ? MAP_FAILED : mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (base == MAP_FAILED) {
		perror(argv[1]);
		return 1;
	}
	struct netmap_if *nifp = (struct netmap_if *)(base + strtoull(argv[3], NULL, 0));
	printf("if %s tx %u rx %u extra %u\n", nifp->ni_name, nifp->ni_tx_rings, nifp->ni_rx_rings, nifp->ni_bufs_head);
	uint32_t rings = nifp->ni_tx_rings + nifp->ni_host_tx_rings + nifp->ni_rx_rings + nifp->ni_host_rx_rings;
	for (uint32_t i = 0; i < rings; i++)
		show_ring(nifp, i);
	/* And the other way: what is written here is seen by the library. */
	if (nifp->ni_tx_rings > 0) {
		struct netmap_ring *tx = (struct netmap_ring *)((char *)nifp + NETMAP_IF_RING_OFS(nifp, 0));
		struct netmap_slot *slot = NETMAP_RING_SLOT(tx, tx->head);
		for (int b = 0; b < 60; b++)
			NETMAP_BUF(tx, slot->buf_idx)[b] = b < 6 ? (char)0xff : b;
		slot->len = 60;
		slot->flags = 0;
		tx->head = tx->cur = tx->head + 1;
	}
	return 0;
}
