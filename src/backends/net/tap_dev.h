/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A TAP interface of this host: one descriptor for each queue, which reads and writes frames with
 * the header of virtio-net before them (NET_HDR_LEN bytes, little-endian).
 *
 * What is written to it this host receives, what this host sends is read.  A descriptor does not
 * block, and belongs to whoever uses the queue; everything else here is for a thread that may
 * block.
 */
#ifndef BACKENDS_NET_TAP_DEV_H
#define BACKENDS_NET_TAP_DEV_H

#include <net/if.h>

#include "backends/net/net.h"

#define TAP_MTU_MIN 68
#define TAP_MTU_MAX 65521 /* the largest that the kernel gives a TAP */

struct tap_dev {
	int fds[NET_PAIRS_MAX];
	uint16_t queues;
	char name[IF_NAMESIZE]; /* when it was opened; somebody may rename it */
	unsigned int index;     /* of the interface */
	bool created;           /* by us: it goes when the last descriptor does */
	bool multi_queue;
	unsigned int caps; /* NET_CAP_* that frames may need, both ways */
};

struct tap_dev_config {
	const char *name;   /* NULL: that of the device, cut to what an interface may have */
	const char *device; /* all characters that it may have an interface may have, too */
	uint16_t queues;    /* at most so many: an existing TAP may have one only */
	bool multi_queue;   /* make one that tap_dev_open_queues() can give more queues */
	bool exclusive;     /* make it; one that exists is refused */
};

/*
 * Open an existing TAP that nobody uses, or make one.  Offloads are off.  On failure there is
 * nothing to close.  0 or -errno: -EINVAL (no name for an interface, not a TAP), -EPERM, -EBUSY
 * (it exists, or is in use), -EMFILE, ...
 */
int tap_dev_open(const struct tap_dev_config *cfg, struct tap_dev *tap, struct vdpa_extack *ack);
/* A zeroed one is allowed. */
void tap_dev_close(struct tap_dev *tap);
/* Have so many queues altogether, where the TAP can have more than one. */
int tap_dev_open_queues(struct tap_dev *tap, uint16_t queues, struct vdpa_extack *ack);

/* What the reader of the descriptors takes, NET_CAP_*: the kernel does the rest. */
int tap_dev_set_caps(struct tap_dev *tap, unsigned int caps);
/* Queue 0 is always used.  Frames that wait in one that is switched off are lost. */
int tap_dev_use_queue(struct tap_dev *tap, uint16_t queue, bool on);
/* Has the interface a carrier, as if a cable were plugged in? */
int tap_dev_set_carrier(struct tap_dev *tap, bool on);
int tap_dev_set_mac(struct tap_dev *tap, const uint8_t mac[NET_MAC_LEN]);
/*
 * The rest needs CAP_NET_ADMIN to change something, and finds the interface by its name: -ENODEV
 * when it has been moved into another network namespace.
 */
int tap_dev_get_mtu(struct tap_dev *tap, uint32_t *mtu);
int tap_dev_set_mtu(struct tap_dev *tap, uint32_t mtu);
int tap_dev_set_up(struct tap_dev *tap);

#endif
