/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A histogram of times: buckets grow with the value, so that each is exact to 1/32.
 */
#ifndef BENCH_BLK_HIST_H
#define BENCH_BLK_HIST_H

#include <stdint.h>

#define HIST_SUB     5
#define HIST_BUCKETS ((65 - HIST_SUB) << HIST_SUB)

struct hist {
	uint64_t num[HIST_BUCKETS];
	uint64_t total;
};

static inline unsigned int hist_bucket(uint64_t value)
{
	unsigned int shift;

	if (value < 1u << HIST_SUB)
		return (unsigned int)value;
	shift = 63 - (unsigned int)__builtin_clzll(value) - HIST_SUB;
	return (shift << HIST_SUB) + (unsigned int)(value >> shift);
}

static inline void hist_add(struct hist *h, uint64_t value, uint64_t num)
{
	h->num[hist_bucket(value)] += num;
	h->total += num;
}

/* The smallest value of bucket i. */
static inline uint64_t hist_value(unsigned int i)
{
	unsigned int shift = i >> HIST_SUB;

	if (shift < 1)
		return i;
	return (uint64_t)((i & ((1u << HIST_SUB) - 1)) + (1u << HIST_SUB)) << (shift - 1);
}

/* The value that `part` (0 to 1) of all do not exceed. */
static inline uint64_t hist_quantile(const struct hist *h, double part)
{
	uint64_t want = (uint64_t)((double)h->total * part), seen = 0;

	for (unsigned int i = 0; i < HIST_BUCKETS; i++) {
		seen += h->num[i];
		if (seen > want)
			return hist_value(i);
	}
	return 0;
}

#endif
