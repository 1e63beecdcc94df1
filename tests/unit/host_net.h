/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The network of this host, as programs on it see it: in a network namespace of the test's own, so
 * names cannot clash and nobody else sends anything.
 */
#ifndef UNIT_HOST_NET_H
#define UNIT_HOST_NET_H

#include <linux/virtio_net.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HOST_MTU_FRAME 1514
#define HOST_MAX_FRAME 65549 /* what a packet may have at most, with its Ethernet header */

/* Before any thread is there.  false, and why on standard output: not permitted. */
bool host_net_enter(void);

/* Make the interface go up, and see all frames that it receives.  Fails the test. */
int host_net_open(const char *ifname);
/* hdr NULL: nothing special. */
void host_net_send(int fd, const struct virtio_net_hdr *hdr, const void *frame, size_t len);
/* The next frame, waited for; fails the test after a while.  hdr may be NULL. */
size_t host_net_recv(int fd, struct virtio_net_hdr *hdr, void *frame, size_t len);
/* Is there none now? */
bool host_net_quiet(int fd);

/* Make a TAP as `ip tuntap add` does / as `ip tuntap del`. */
void host_net_persist(const char *ifname, bool multi_queue, bool on);
/* Make two interfaces that a cable joins, the first with so many queues, and set both up.  What the
 * second one sends comes by queue 0. */
void host_net_veth(const char *ifname, const char *peer, uint32_t queues);
void host_net_set_up(const char *ifname, bool up);
/*
 * Whoever sends by an interface just after its other end went up may lose the frame: the kernel
 * goes by the cable a moment later.  Returns a descriptor to begin before, and wait by after.
 */
int host_net_watch(void);
void host_net_wait_carrier(int watch, const char *ifname);
/* As `ip link del` does. */
void host_net_delete(const char *ifname);
bool host_net_exists(const char *ifname);
bool host_net_carrier(const char *ifname);
uint32_t host_net_mtu(const char *ifname);
void host_net_mac(const char *ifname, uint8_t mac[6]);

/* A frame of len bytes with a pattern that depends on seed, of a protocol that no stack knows. */
void host_net_fill(uint8_t *frame, size_t len, unsigned int seed);
/* A TCP segment in IPv4 of len bytes altogether, its checksum left to the card.  Returns the header
 * that says so, with gso_size (0: no GSO). */
struct virtio_net_hdr host_net_fill_tcp(uint8_t *frame, size_t len, uint16_t gso_size);

#endif
