/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A token bucket: so many tokens a second, and at most those of a second at once.
 */
#ifndef BASE_BUCKET_H
#define BASE_BUCKET_H

#include <stdint.h>

#define BUCKET_RATE_MAX (1u << 30)
#define BUCKET_SECOND   1000000000u /* nanoseconds */

struct bucket {
	uint64_t level; /* tokens that may be taken now */
	uint64_t since; /* up to when they were counted, monotonic nanoseconds */
};

static inline void bucket_init(struct bucket *bucket, uint64_t now)
{
	*bucket = (struct bucket){.since = now};
}

/* How many may be taken at `now`.  rate: a second, 1 to BUCKET_RATE_MAX; it may change. */
static inline uint64_t bucket_level(struct bucket *bucket, uint64_t rate, uint64_t now)
{
	uint64_t passed = now - bucket->since, more;

	if (passed >= BUCKET_SECOND) {
		bucket->level = rate;
		bucket->since = now;
		return rate;
	}
	more = passed * rate / BUCKET_SECOND;
	/* The part of a token that has grown is not lost. */
	bucket->since += more * BUCKET_SECOND / rate;
	bucket->level += more;
	if (bucket->level > rate)
		bucket->level = rate;
	return bucket->level;
}

/* Take num, or as many as there are. */
static inline void bucket_take(struct bucket *bucket, uint64_t num)
{
	bucket->level -= num < bucket->level ? num : bucket->level;
}

/* After bucket_level(): nanoseconds until there are `want`, at most rate. */
static inline uint64_t bucket_wait(const struct bucket *bucket, uint64_t rate, uint64_t want)
{
	if (want <= bucket->level)
		return 0;
	return ((want - bucket->level) * BUCKET_SECOND + rate - 1) / rate;
}

#endif
