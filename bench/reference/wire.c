/* reference wire xdp-tx INTERFACE SIZE BURST              until it is told to stop
 * reference wire xdp-rx INTERFACE SIZE BURST MS
 * reference wire xdp-both INTERFACE SIZE BURST MS         receives, and sends until it is told to stop
 * reference wire packet-tx INTERFACE SIZE BURST           a packet socket with a ring, past the queueing discipline
 * reference wire host-tx INTERFACE SIZE BURST             the same as the host stack sends: through it, and its hooks
 * reference wire packet-take INTERFACE SIZE BURST MS      a packet socket with a ring, every frame copied out of it
 * reference wire packet-rx INTERFACE SIZE BURST MS        a sniffer
 *
 * Prints "ready", then {"ns": ..., "kernelNs": ...}: per packet, in all and of system time. */
#include "netmap.h"

#ifdef __linux__
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "wire.h"

uint8_t wire_frame[2048] = { 2, 0, 0, 0, 0, 0x77, 2, 0, 0, 0, 0, 1, 0x88, 0xb5 };
volatile sig_atomic_t wire_stop;
uint64_t wire_packets;

static uint64_t before;
static double start, system_before, end;

void must(int result, const char *action)
{
	if (result >= 0)
		return;
	perror(action);
	exit(1);
}

static void on_signal(int number)
{
	(void)number;
	wire_stop = 1;
}

/* Milliseconds that the kernel has worked for this process. */
static double system_ms(void)
{
	struct rusage used;
	getrusage(RUSAGE_SELF, &used);
	return used.ru_stime.tv_sec * 1e3 + used.ru_stime.tv_usec / 1e3;
}

static void begin(void)
{
	start = now_ms();
	system_before = system_ms();
	before = wire_packets;
}

void wire_ready(void)
{
	printf("ready\n");
	fflush(stdout);
	begin();
}

static void report(void)
{
	uint64_t packets = wire_packets - before;
	printf("{\"ns\": %.3f, \"kernelNs\": %.3f, \"checksum\": %llu}\n", (end - start) * 1e6 / packets,
	       (system_ms() - system_before) * 1e6 / packets, (unsigned long long)seen_bytes);
	fflush(stdout);
}

int wire_goes_on(double ms)
{
	static enum { WAITING, WARMING, MEASURING } phase;
	if (wire_stop)
		exit(1);
	double now = now_ms();
	if (phase == WAITING && wire_packets > 0) {
		begin();
		phase = WARMING;
	} else if (phase == WARMING && now - start > ms / 2) {
		begin();
		phase = MEASURING;
	} else if (phase == MEASURING && now - start > ms) {
		end = now;
		report();
		return 0;
	}
	return 1;
}

int wire_main(int argc, char **argv)
{
	if (argc < 5)
		return 1;
	const char *what = argv[1], *interface = argv[2];
	uint32_t size = atoi(argv[3]), burst = atoi(argv[4]);
	double ms = argc > 5 ? atof(argv[5]) : 0;
	signal(SIGTERM, on_signal);
	signal(SIGINT, on_signal);
	if (!strcmp(what, "xdp-rx"))
		xdp_receive(interface, burst, ms);
	else if (!strcmp(what, "xdp-both"))
		xdp_both(interface, size, burst, ms);
	else if (!strcmp(what, "packet-take"))
		packet_take(interface, burst, ms);
	else if (!strcmp(what, "packet-rx"))
		packet_receive(interface, ms);
	else {
		if (!strcmp(what, "xdp-tx"))
			xdp_send(interface, size, burst);
		else
			packet_send(interface, size, burst, !strcmp(what, "packet-tx"));
		end = now_ms();
		report();
	}
	return 0;
}
#else
int wire_main(int argc, char **argv)
{
	(void)argc, (void)argv;
	return 1;
}
#endif
