/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Bursts of frames for a sink, from a backend that brings them by another worker than the sink's.
 */
#ifndef BACKENDS_NET_BURST_H
#define BACKENDS_NET_BURST_H

#include <pthread.h>

#include "backends/net/net.h"

struct net_burst {
	pthread_mutex_t lock; /* of sink; held as long as a burst lasts */
	struct net_sink *sink;
	bool begun; /* of who brings the frames */
};

void net_burst_init(struct net_burst *burst);
void net_burst_release(struct net_burst *burst);
/* For rx_attach() and, with NULL, rx_detach(), which waits for the end of a burst. */
void net_burst_set_sink(struct net_burst *burst, struct net_sink *sink);
bool net_burst_begin_first(struct net_burst *burst);
/* Begin one, unless it has begun.  false: nobody takes frames now. */
static inline bool net_burst_begin(struct net_burst *burst)
{
	return likely(burst->begun) || net_burst_begin_first(burst);
}
/* End it, if it has begun. */
void net_burst_end(struct net_burst *burst);

#endif
