/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The uplink of a switch: a port and a backend of the host's (a TAP), joined as if by a cable.
 *
 * What the host sends is read on workers of the bus, one for each queue pair, and forwarded frame
 * by frame, keeping the last receiver until there are no more.  What the ports send is handed to
 * the host by the sender's worker, which holds the pair's token meanwhile: it makes the system
 * calls that its own frames cost.
 */
#ifndef SWITCH_UPLINK_H
#define SWITCH_UPLINK_H

#include "backends/net/net.h"

struct uplink;

/*
 * Consumes both backends, also on failure.  They have the same number of pairs.
 * 0, -ENOMEM, -EAGAIN: no workers; what attaching says.  Lane; may block.
 */
int uplink_open(struct vdpa_bus *bus, struct net_backend *port, struct net_backend *host,
		struct uplink **ret, struct vdpa_extack *ack);
/* Closes both.  NULL is allowed.  Lane; may block. */
void uplink_close(struct uplink *uplink);
/* What the backend of the host's says of itself.  Control thread. */
void uplink_show(struct uplink *uplink, struct vdpa_info *info);

#endif
