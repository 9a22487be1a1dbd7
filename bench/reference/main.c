/* reference calibrate SIZE MS
 * reference vale unicast|unknown|broadcast|full-unicast|full-broadcast RECEIVERS SIZE BURST MS
 * reference pipe SIZE BURST MS TOUCH
 * reference vale2 unicast|broadcast SIZE BURST MS         two processes
 * reference pipe2 SIZE BURST MS TOUCH                     two processes
 * reference wire ...                                      on a network interface: see wire.c
 *
 * Prints {"ns": ...}: nanoseconds per packet sent (one thread) or received (two processes). */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "netmap.h"
#include "wire.h"

static uint8_t template[BUF_SIZE];

static void make_template(const char *traffic, uint32_t sender)
{
	memset(template, 0xff, 6);
	if (strstr(traffic, "unicast"))
		memcpy(template, "\2\0\0\0\0\2", 6);
	if (strstr(traffic, "unknown"))
		memcpy(template, "\2\0\0\0\0\x77", 6);
	memcpy(template + 6, "\2\0\0\0\0", 5);
	template[11] = sender;
}

static struct vale *make_vale(uint32_t receivers)
{
	struct vale *v = shared(sizeof *v);
	v->ports = receivers + 1;
	for (uint32_t i = 0; i < v->ports; i++) {
		v->port[i].generation = 1;
		port_init(&v->port[i].tx, &v->port[i].rx, shared(sizeof(struct region)), i);
	}
	return v;
}

/* Receiver 1 teaches its address, 02:..:02. */
static void introduce(struct vale *v)
{
	make_template("broadcast", 2);
	fill(&v->port[1].tx, 1, template, 60, true);
	vale_txsync(v, &v->port[1].tx);
}

static void prefill(struct kring *tx, uint32_t size)
{
	for (uint32_t i = 0; i < SLOTS; i++)
		memcpy(tx->region->buf[tx->ring->slot[i].buf_idx], template, size);
}

static uint32_t burst_of(struct kring *tx, uint32_t burst)
{
	uint32_t space = dist(tx->ring->head, tx->ring->tail);
	return burst < space ? burst : space;
}

static double vale(const char *traffic, uint32_t receivers, uint32_t size, uint32_t burst, double ms)
{
	bool full = !strncmp(traffic, "full", 4);
	struct vale *v = make_vale(receivers);
	if (strstr(traffic, "unicast"))
		introduce(v);
	make_template(traffic, 1);
	struct kring *tx = &v->port[0].tx;
	prefill(tx, size);
	uint64_t sent = 0;
	double start = now_ms(), end = start, warm = start + ms / 5;
	while (end - start < ms) {
		for (int i = 0; i < 64; i++) {
			uint32_t n = burst_of(tx, burst);
			fill(tx, n, template, size, false);
			vale_txsync(v, tx);
			sent += n;
			for (uint32_t p = 1; !full && p <= receivers; p++) {
				vale_rxsync(&v->port[p].rx);
				drain(&v->port[p].rx, false);
			}
		}
		end = now_ms();
		if (warm && end > warm) {
			start = end;
			sent = 0;
			warm = 0;
		}
	}
	return (end - start) * 1e6 / sent;
}

/* One region for both ends: TX ring of the one and RX ring of the other share buffers. */
static void make_pipe(struct kring **tx, struct kring **rx)
{
	struct kring *k = shared(4 * sizeof *k);
	struct region *region = shared(sizeof *region);
	port_init(&k[0], &k[1], region, 0);
	pipe_connect(&k[0], &k[1]);
	memcpy(region->rx.slot, region->tx.slot, sizeof region->rx.slot);
	*tx = &k[0];
	*rx = &k[1];
}

static double pipe_(uint32_t size, uint32_t burst, double ms, bool touch)
{
	struct kring *tx, *rx;
	make_pipe(&tx, &rx);
	make_template("broadcast", 1);
	prefill(tx, size);
	uint64_t sent = 0;
	double start = now_ms(), end = start, warm = start + ms / 5;
	while (end - start < ms) {
		for (int i = 0; i < 64; i++) {
			uint32_t n = burst_of(tx, burst);
			fill(tx, n, template, size, touch);
			pipe_txsync(tx);
			sent += n;
			pipe_rxsync(rx);
			drain(rx, touch);
		}
		end = now_ms();
		if (warm && end > warm) {
			start = end;
			sent = 0;
			warm = 0;
		}
	}
	return (end - start) * 1e6 / sent;
}

static double receive(struct kring *rx, void (*sync)(struct kring *), bool touch, double ms)
{
	for (;;) {
		sync(rx);
		if (drain(rx, touch))
			break;
	}
	uint64_t before = 0;
	double start = now_ms(), end = start, warm = start + ms / 2;
	while (warm || end - start < ms) {
		for (int i = 0; i < 256; i++) {
			sync(rx);
			drain(rx, touch);
		}
		end = now_ms();
		if (warm && end > warm) {
			start = end;
			before = seen_packets;
			warm = 0;
		}
	}
	return (end - start) * 1e6 / (seen_packets - before);
}

static double vale2(const char *traffic, uint32_t size, uint32_t burst, double ms)
{
	struct vale *v = make_vale(1);
	introduce(v);
	make_template(traffic, 1);
	struct kring *tx = &v->port[0].tx;
	prefill(tx, size);
	pid_t child = fork();
	if (child == 0)
		for (;;) {
			fill(tx, burst_of(tx, burst), template, size, false);
			vale_txsync(v, tx);
		}
	double ns = receive(&v->port[1].rx, vale_rxsync, false, ms);
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	return ns;
}

static double pipe2_(uint32_t size, uint32_t burst, double ms, bool touch)
{
	struct kring *tx, *rx;
	make_pipe(&tx, &rx);
	make_template("broadcast", 1);
	prefill(tx, size);
	pid_t child = fork();
	if (child == 0)
		for (;;) {
			fill(tx, burst_of(tx, burst), template, size, touch);
			pipe_txsync(tx);
		}
	double ns = receive(rx, pipe_rxsync, touch, ms);
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	return ns;
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";
	double ns;
	if (!strcmp(what, "wire"))
		return wire_main(argc - 1, argv + 1);
	if (!strcmp(what, "calibrate") && argc == 4)
		ns = calibrate(atoi(argv[2]), atof(argv[3]));
	else if (!strcmp(what, "vale") && argc == 7 && atoi(argv[3]) < MAX_PORTS)
		ns = vale(argv[2], atoi(argv[3]), atoi(argv[4]), atoi(argv[5]), atof(argv[6]));
	else if (!strcmp(what, "pipe") && argc == 6)
		ns = pipe_(atoi(argv[2]), atoi(argv[3]), atof(argv[4]), atoi(argv[5]));
	else if (!strcmp(what, "vale2") && argc == 6)
		ns = vale2(argv[2], atoi(argv[3]), atoi(argv[4]), atof(argv[5]));
	else if (!strcmp(what, "pipe2") && argc == 6)
		ns = pipe2_(atoi(argv[2]), atoi(argv[3]), atof(argv[4]), atoi(argv[5]));
	else {
		fprintf(stderr, "reference: see the head of main.c for its command lines\n");
		return 1;
	}
	printf("{\"ns\": %.3f, \"checksum\": %llu}\n", ns, (unsigned long long)(seen_bytes + seen_sum));
	return 0;
}
