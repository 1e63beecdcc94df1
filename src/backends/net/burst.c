/* SPDX-License-Identifier: BSD-2-Clause */
#include "backends/net/burst.h"

void net_burst_init(struct net_burst *burst)
{
	*burst = (struct net_burst){.sink = NULL};
	pthread_mutex_init(&burst->lock, NULL);
}

void net_burst_release(struct net_burst *burst)
{
	pthread_mutex_destroy(&burst->lock);
}

void net_burst_set_sink(struct net_burst *burst, struct net_sink *sink)
{
	pthread_mutex_lock(&burst->lock);
	burst->sink = sink;
	pthread_mutex_unlock(&burst->lock);
}

bool net_burst_begin_first(struct net_burst *burst)
{
	pthread_mutex_lock(&burst->lock);
	burst->begun = burst->sink && burst->sink->ops->begin(burst->sink);
	if (!burst->begun)
		pthread_mutex_unlock(&burst->lock);
	return burst->begun;
}

void net_burst_end(struct net_burst *burst)
{
	if (!burst->begun)
		return;
	burst->begun = false;
	burst->sink->ops->end(burst->sink);
	pthread_mutex_unlock(&burst->lock);
}
