/* A raw AF_XDP program: one socket on queue 0, rings and buffers as a netmap port's NIC rings have them, copy mode,
 * plain system calls.  Beside it the kernel's older way, packet sockets with rings (packet.c). */
#include "netmap.h"

#ifdef __linux__
#include <errno.h>
#include <linux/bpf.h>
#include <linux/if_xdp.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "wire.h"

#ifndef XDP_UMEM_UNALIGNED_CHUNK_FLAG
#define XDP_UMEM_UNALIGNED_CHUNK_FLAG 1
#endif
#define USE_SG 16
#define MAX_TX_SKB_BUDGET 9

enum { HEADROOM = 256, FIRST_BUF = 4096, UMEM_SIZE = FIRST_BUF + 2 * SLOTS * BUF_SIZE };

struct xdp_ring {
	_Atomic uint32_t *producer, *consumer;
	void *entries;
};

struct xsk {
	int fd, map, link;
	uint8_t *umem;
	struct xdp_ring rx, tx, fill, completion;
};

static int bpf(int command, union bpf_attr *attr)
{
	return syscall(SYS_bpf, command, attr, sizeof *attr);
}

/* redirect_map(map, rx_queue_index, XDP_PASS), as src/nic/linux/programs.ts has it. */
static void attach(struct xsk *x, unsigned ifindex)
{
	union bpf_attr make = { .map_type = BPF_MAP_TYPE_XSKMAP, .key_size = 4, .value_size = 4, .max_entries = 1 };
	x->map = bpf(BPF_MAP_CREATE, &make);
	must(x->map, "make a socket map");
	struct bpf_insn program[] = {
		{ .code = BPF_LDX | BPF_MEM | BPF_W, .dst_reg = 2, .src_reg = 1, .off = 16 },
		{ .code = BPF_LD | BPF_DW | BPF_IMM, .dst_reg = 1, .src_reg = BPF_PSEUDO_MAP_FD, .imm = x->map },
		{ .code = 0 },
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 3, .imm = XDP_PASS },
		{ .code = BPF_JMP | BPF_CALL, .imm = BPF_FUNC_redirect_map },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	union bpf_attr load = { .prog_type = BPF_PROG_TYPE_XDP, .insns = (uintptr_t)program,
		.insn_cnt = sizeof program / sizeof *program, .license = (uintptr_t)"GPL",
		.prog_flags = 1 << 5 /* BPF_F_XDP_HAS_FRAGS */, .expected_attach_type = BPF_XDP };
	int loaded = bpf(BPF_PROG_LOAD, &load);
	must(loaded, "load an XDP program");
	union bpf_attr link = { .link_create = { .prog_fd = loaded, .target_ifindex = ifindex, .attach_type = BPF_XDP } };
	x->link = bpf(BPF_LINK_CREATE, &link);
	must(x->link, "attach an XDP program");
	uint32_t queue = 0, socket = x->fd;
	union bpf_attr put = { .map_fd = x->map, .key = (uintptr_t)&queue, .value = (uintptr_t)&socket };
	must(bpf(BPF_MAP_UPDATE_ELEM, &put), "put the socket into its map");
}

static struct xdp_ring ring(int fd, int option, uint64_t at, const struct xdp_ring_offset *o, size_t entry)
{
	uint32_t entries = SLOTS;
	must(setsockopt(fd, SOL_XDP, option, &entries, sizeof entries), "make a ring");
	uint8_t *p = mmap(NULL, o->desc + SLOTS * entry, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, at);
	must(p == MAP_FAILED ? -1 : 0, "map a ring");
	return (struct xdp_ring){ (void *)(p + o->producer), (void *)(p + o->consumer), p + o->desc };
}

static uint64_t buffer(uint32_t i) { return FIRST_BUF + (uint64_t)i * BUF_SIZE; }

static void open_xsk(struct xsk *x, const char *interface)
{
	unsigned ifindex = if_nametoindex(interface);
	must(ifindex == 0 ? -1 : 0, "find the interface");
	x->fd = socket(AF_XDP, SOCK_RAW, 0);
	must(x->fd, "open an AF_XDP socket");
	x->umem = shared(UMEM_SIZE);
	struct xdp_umem_reg reg = { .addr = (uintptr_t)x->umem, .len = UMEM_SIZE, .chunk_size = BUF_SIZE + HEADROOM,
		.flags = XDP_UMEM_UNALIGNED_CHUNK_FLAG };
	must(setsockopt(x->fd, SOL_XDP, XDP_UMEM_REG, &reg, sizeof reg), "register the buffers");
	struct xdp_mmap_offsets o;
	socklen_t length = sizeof o;
	must(getsockopt(x->fd, SOL_XDP, XDP_MMAP_OFFSETS, &o, &length), "find the rings");
	x->rx = ring(x->fd, XDP_RX_RING, XDP_PGOFF_RX_RING, &o.rx, sizeof(struct xdp_desc));
	x->tx = ring(x->fd, XDP_TX_RING, XDP_PGOFF_TX_RING, &o.tx, sizeof(struct xdp_desc));
	x->fill = ring(x->fd, XDP_UMEM_FILL_RING, XDP_UMEM_PGOFF_FILL_RING, &o.fr, 8);
	x->completion = ring(x->fd, XDP_UMEM_COMPLETION_RING, XDP_UMEM_PGOFF_COMPLETION_RING, &o.cr, 8);
	struct sockaddr_xdp address = { .sxdp_family = AF_XDP, .sxdp_flags = XDP_COPY | USE_SG, .sxdp_ifindex = ifindex };
	int bound;
	/* The last user of a queue gives it up some milliseconds after its end. */
	for (int i = 0; (bound = bind(x->fd, (void *)&address, sizeof address)) && errno == EBUSY && i < 500; i++)
		usleep(2000);
	must(bound, "bind to queue 0");
	uint32_t budget = 2048;
	setsockopt(x->fd, SOL_XDP, MAX_TX_SKB_BUDGET, &budget, sizeof budget);
	for (uint32_t i = 0; i < SLOTS - 1; i++)
		((uint64_t *)x->fill.entries)[i] = buffer(i) - HEADROOM;
	atomic_store(x->fill.producer, SLOTS - 1);
	attach(x, ifindex);
}

static void send_xsk(struct xsk *x, uint32_t size, uint32_t burst)
{
	for (uint32_t i = 0; i < SLOTS; i++)
		memcpy(x->umem + buffer(SLOTS + i), wire_frame, size);
	struct xdp_desc *to = x->tx.entries;
	const uint64_t *back = x->completion.entries;
	uint32_t producer = 0, done = 0, count = SLOTS;
	uint64_t have[SLOTS];
	for (uint32_t i = 0; i < SLOTS; i++)
		have[i] = buffer(SLOTS + i);
	while (!wire_stop) {
		uint32_t returned = atomic_load_explicit(x->completion.producer, memory_order_acquire);
		for (; done != returned; done++)
			have[count++] = back[done % SLOTS];
		atomic_store_explicit(x->completion.consumer, done, memory_order_release);
		for (uint32_t n = count < burst ? count : burst; n > 0; n--)
			to[producer++ % SLOTS] = (struct xdp_desc){ .addr = have[--count], .len = size };
		atomic_store_explicit(x->tx.producer, producer, memory_order_release);
		while (atomic_load_explicit(x->tx.consumer, memory_order_acquire) != producer && !wire_stop)
			if (sendto(x->fd, NULL, 0, MSG_DONTWAIT, NULL, 0) < 0 && errno != EAGAIN && errno != EBUSY)
				must(-1, "send");
		wire_packets = producer;
	}
}

static void receive_xsk(struct xsk *x, uint32_t burst, double ms)
{
	const struct xdp_desc *from = x->rx.entries;
	uint64_t *fill = x->fill.entries;
	uint32_t consumer = 0, filled = SLOTS - 1;
	struct pollfd wait = { .fd = x->fd, .events = POLLIN };
	do {
		uint32_t n = atomic_load_explicit(x->rx.producer, memory_order_acquire) - consumer;
		if (n == 0) {
			poll(&wait, 1, 100);
			continue;
		}
		if (n > burst)
			n = burst;
		for (uint32_t i = 0; i < n; i++, consumer++) {
			const struct xdp_desc *d = &from[consumer % SLOTS];
			seen_bytes += d->len;
			fill[filled++ % SLOTS] = d->addr & 0xffffffffffff;
		}
		atomic_store_explicit(x->rx.consumer, consumer, memory_order_release);
		atomic_store_explicit(x->fill.producer, filled, memory_order_release);
		wire_packets += n;
	} while (wire_goes_on(ms));
}

void xdp_send(const char *interface, uint32_t size, uint32_t burst)
{
	struct xsk x;
	open_xsk(&x, interface);
	wire_ready();
	send_xsk(&x, size, burst);
}

void xdp_receive(const char *interface, uint32_t burst, double ms)
{
	struct xsk x;
	open_xsk(&x, interface);
	wire_ready();
	receive_xsk(&x, burst, ms);
}

/* One socket, two processes: the one sends, the other receives and counts. */
void xdp_both(const char *interface, uint32_t size, uint32_t burst, double ms)
{
	struct xsk x;
	open_xsk(&x, interface);
	wire_ready();
	pid_t child = fork();
	if (child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		send_xsk(&x, size, burst);
		_exit(0);
	}
	receive_xsk(&x, burst, ms);
	/* The other end measures as long as this one: what it is to receive must not end early. */
	while (!wire_stop)
		poll(NULL, 0, 10);
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
}
#endif
