/* Packet sockets with rings: a sender and a receiver that keeps what comes (TPACKET_V2), and a sniffer (TPACKET_V3). */
#include "netmap.h"

#ifdef __linux__
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "wire.h"

enum { BLOCK = 1 << 18, BLOCKS = 64, DATA = TPACKET_ALIGN(sizeof(struct tpacket2_hdr)) };

static uint8_t *open_packet(int *fd, const char *interface, int version, int ring, const void *request, size_t length,
			    size_t size, uint16_t protocol)
{
	*fd = socket(AF_PACKET, SOCK_RAW, 0);
	must(*fd, "open a packet socket");
	must(setsockopt(*fd, SOL_PACKET, PACKET_VERSION, &version, sizeof version), "choose a version");
	must(setsockopt(*fd, SOL_PACKET, ring, request, length), "make a ring");
	uint8_t *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, *fd, 0);
	must(p == MAP_FAILED ? -1 : 0, "map a ring");
	struct sockaddr_ll address = { .sll_family = AF_PACKET, .sll_protocol = htons(protocol),
		.sll_ifindex = if_nametoindex(interface) };
	must(bind(*fd, (void *)&address, sizeof address), "bind a packet socket");
	return p;
}

void packet_send(const char *interface, uint32_t size, uint32_t burst, int bypass)
{
	struct tpacket_req request = { .tp_block_size = SLOTS * BUF_SIZE, .tp_block_nr = 1, .tp_frame_size = BUF_SIZE,
		.tp_frame_nr = SLOTS };
	int fd;
	uint8_t *frames = open_packet(&fd, interface, TPACKET_V2, PACKET_TX_RING, &request, sizeof request,
				      SLOTS * BUF_SIZE, 0);
	if (bypass)
		must(setsockopt(fd, SOL_PACKET, PACKET_QDISC_BYPASS, &bypass, sizeof bypass), "go past the qdisc");
	for (uint32_t i = 0; i < SLOTS; i++)
		memcpy(frames + i * BUF_SIZE + DATA, wire_frame, size);
	wire_ready();
	for (uint32_t at = 0; !wire_stop;) {
		uint32_t n = 0;
		for (; n < burst; n++, at = next(at)) {
			struct tpacket2_hdr *frame = (void *)(frames + at * BUF_SIZE);
			if (__atomic_load_n(&frame->tp_status, __ATOMIC_ACQUIRE) != TP_STATUS_AVAILABLE)
				break;
			frame->tp_len = size;
			__atomic_store_n(&frame->tp_status, TP_STATUS_SEND_REQUEST, __ATOMIC_RELEASE);
		}
		if (sendto(fd, NULL, 0, MSG_DONTWAIT, NULL, 0) < 0 && errno != EAGAIN && errno != ENOBUFS)
			must(-1, "send");
		wire_packets += n;
	}
}

void packet_take(const char *interface, uint32_t burst, double ms)
{
	struct tpacket_req request = { .tp_block_size = SLOTS * BUF_SIZE, .tp_block_nr = 1, .tp_frame_size = BUF_SIZE,
		.tp_frame_nr = SLOTS };
	static uint8_t kept[SLOTS][BUF_SIZE];
	int fd;
	uint8_t *frames = open_packet(&fd, interface, TPACKET_V2, PACKET_RX_RING, &request, sizeof request,
				      SLOTS * BUF_SIZE, ETH_P_ALL);
	struct pollfd wait = { .fd = fd, .events = POLLIN };
	wire_ready();
	for (uint32_t at = 0; wire_goes_on(ms);) {
		uint32_t n = 0;
		for (; n < burst; n++, at = next(at)) {
			struct tpacket2_hdr *frame = (void *)(frames + at * BUF_SIZE);
			if (!(__atomic_load_n(&frame->tp_status, __ATOMIC_ACQUIRE) & TP_STATUS_USER))
				break;
			memcpy(kept[at], (uint8_t *)frame + frame->tp_mac, frame->tp_snaplen);
			seen_bytes += frame->tp_snaplen;
			__atomic_store_n(&frame->tp_status, TP_STATUS_KERNEL, __ATOMIC_RELEASE);
		}
		wire_packets += n;
		if (n == 0)
			poll(&wait, 1, 100);
	}
}

void packet_receive(const char *interface, double ms)
{
	struct tpacket_req3 request = { .tp_block_size = BLOCK, .tp_block_nr = BLOCKS, .tp_frame_size = BUF_SIZE,
		.tp_frame_nr = BLOCK / BUF_SIZE * BLOCKS, .tp_retire_blk_tov = 10 };
	int fd;
	uint8_t *blocks = open_packet(&fd, interface, TPACKET_V3, PACKET_RX_RING, &request, sizeof request,
				      (size_t)BLOCK * BLOCKS, ETH_P_ALL);
	struct pollfd wait = { .fd = fd, .events = POLLIN };
	wire_ready();
	for (uint32_t at = 0;;) {
		struct tpacket_block_desc *block = (void *)(blocks + (size_t)at * BLOCK);
		if (!(__atomic_load_n(&block->hdr.bh1.block_status, __ATOMIC_ACQUIRE) & TP_STATUS_USER)) {
			poll(&wait, 1, 100);
			continue;
		}
		const struct tpacket3_hdr *frame = (void *)((uint8_t *)block + block->hdr.bh1.offset_to_first_pkt);
		for (uint32_t n = block->hdr.bh1.num_pkts; n > 0; n--) {
			seen_bytes += frame->tp_len;
			frame = (void *)((const uint8_t *)frame + frame->tp_next_offset);
		}
		wire_packets += block->hdr.bh1.num_pkts;
		__atomic_store_n(&block->hdr.bh1.block_status, TP_STATUS_KERNEL, __ATOMIC_RELEASE);
		at = at + 1 == BLOCKS ? 0 : at + 1;
		if (!wire_goes_on(ms))
			return;
	}
}
#endif
