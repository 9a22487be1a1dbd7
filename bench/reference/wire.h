/* What programs on a network interface share: xdp.c, packet.c, and wire.c, which is their main(). */
#pragma once
#include <signal.h>
#include <stdint.h>

extern uint8_t wire_frame[2048];
extern volatile sig_atomic_t wire_stop;
extern uint64_t wire_packets;

/* Says why and ends if a call has failed. */
void must(int result, const char *action);
/* Says that frames may come. */
void wire_ready(void);
/* Whether a receiver, who counts in wire_packets, is to go on: half of MS for both sides to be warm, then MS. */
int wire_goes_on(double ms);

void xdp_send(const char *interface, uint32_t size, uint32_t burst);
void xdp_receive(const char *interface, uint32_t burst, double ms);
void xdp_both(const char *interface, uint32_t size, uint32_t burst, double ms);
void packet_send(const char *interface, uint32_t size, uint32_t burst, int bypass);
void packet_take(const char *interface, uint32_t burst, double ms);
void packet_receive(const char *interface, double ms);

int wire_main(int argc, char **argv);
