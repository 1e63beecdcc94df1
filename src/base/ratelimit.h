/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Keeps what a peer can provoke from flooding the log: so many lines at once, then one every
 * interval.
 */
#ifndef BASE_RATELIMIT_H
#define BASE_RATELIMIT_H

#include <stdbool.h>
#include <stdint.h>

struct ratelimit {
	uint64_t interval_ns;
	uint32_t burst;
	uint32_t left;    /* lines that may come now */
	uint64_t since;   /* when a line was last given back */
	uint32_t dropped; /* lines kept back since the last that came */
};

static inline void ratelimit_init(struct ratelimit *limit, uint32_t burst, uint64_t interval_ns)
{
	*limit = (struct ratelimit){.interval_ns = interval_ns, .burst = burst, .left = burst};
}

/* May a line come?  *dropped: how many did not since the last one.  now: monotonic nanoseconds. */
static inline bool ratelimit_ok(struct ratelimit *limit, uint64_t now, uint32_t *dropped)
{
	uint64_t more = (now - limit->since) / limit->interval_ns;

	if (more) {
		limit->since = now;
		limit->left = more < limit->burst - limit->left ? limit->left + (uint32_t)more
								: limit->burst;
	}
	if (!limit->left) {
		limit->dropped++;
		return false;
	}
	limit->left--;
	*dropped = limit->dropped;
	limit->dropped = 0;
	return true;
}

#endif
