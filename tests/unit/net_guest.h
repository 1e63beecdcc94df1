/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A guest's network stack by hand, as little of it as shows that a backend works: ARP, DHCP, UDP,
 * and one TCP connection at a time.  Whatever does not go as it should fails the test.
 */
#ifndef UNIT_NET_GUEST_H
#define UNIT_NET_GUEST_H

#include "net_rig.h"

#define GUEST_IP(a, b, c, d)                                                                       \
	((uint32_t)(a) << 24 | (uint32_t)(b) << 16 | (uint32_t)(c) << 8 | (uint32_t)(d))

/* Addresses and ports are numbers here. */
struct guest {
	struct net_rig *rig;
	uint8_t mac[NET_MAC_LEN], peer_mac[NET_MAC_LEN];
	uint32_t ip;
	uint16_t ident;
};

struct guest_dhcp {
	uint8_t type;
	uint32_t ip, server, router, dns, mask;
	char hostname[64];
};

/* The connection, from the guest's side. */
struct guest_tcp {
	struct guest *guest;
	uint32_t peer;
	uint16_t port, peer_port;
	uint32_t seq;   /* next that we send */
	uint32_t ack;   /* next that we expect */
	bool peer_done; /* the other side has sent FIN */
};

void guest_init(struct guest *guest, struct net_rig *rig, uint32_t ip);

/* Who has ip?  The answer's address goes to mac. */
void guest_arp(struct guest *guest, uint32_t ip, uint8_t mac[NET_MAC_LEN]);

/* Send a message of a type (1: discover, 3: request) and wait for the answer. */
void guest_dhcp(struct guest *guest, uint8_t type, struct guest_dhcp *ret);

void guest_udp_send(struct guest *guest, uint32_t dst, uint16_t sport, uint16_t dport,
		    const void *data, uint32_t len);
/* Wait for a datagram to a port of ours.  Returns the length of its data. */
uint32_t guest_udp_recv(struct guest *guest, uint16_t dport, uint32_t *src, uint16_t *sport,
			void *data, uint32_t max);

/* An ICMPv6 echo request from fe80::1. */
void guest_ping6(struct guest *guest, const char *dst);

/* Connect / wait for somebody who connects to a port of ours. */
void guest_tcp_connect(struct guest *guest, uint32_t dst, uint16_t dport, uint16_t sport,
		       struct guest_tcp *tcp);
void guest_tcp_accept(struct guest *guest, uint16_t port, struct guest_tcp *tcp);
/* Send, and wait for the acknowledgement. */
void guest_tcp_write(struct guest_tcp *tcp, const void *data, uint32_t len);
/* Wait for data, and acknowledge it.  Returns how much, 0: the other side has no more. */
uint32_t guest_tcp_read(struct guest_tcp *tcp, void *data, uint32_t max);
/* Send FIN, and wait until both sides have ended. */
void guest_tcp_close(struct guest_tcp *tcp);

#endif
