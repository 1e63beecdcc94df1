/* SPDX-License-Identifier: BSD-2-Clause */
#include <string.h>

#include "backends/net/csum.h"

/*
 * Two 64-bit lanes, each the sum of 32-bit halves: carries need no care for the first 2^32 of them,
 * and the compiler has vector instructions for it on each machine that has any.
 */
typedef uint64_t lanes __attribute__((vector_size(16)));

static lanes load_lanes(const uint8_t *p)
{
	lanes v;

	memcpy(&v, p, sizeof(v));
	return v;
}

/* The halves of both lanes. */
static lanes halves(lanes v)
{
	return (v & 0xffffffff) + (v >> 32);
}

/* Less than 64 bytes. */
static uint64_t sum_short(const uint8_t *p, size_t len)
{
	uint64_t sum = 0, word;
	uint32_t half;
	uint16_t quarter;

	for (; len >= 8; len -= 8, p += 8) {
		memcpy(&word, p, 8);
		sum += (word & 0xffffffff) + (word >> 32);
	}
	if (len & 4) {
		memcpy(&half, p, 4);
		sum += half;
		p += 4;
	}
	if (len & 2) {
		memcpy(&quarter, p, 2);
		sum += quarter;
		p += 2;
	}
	if (len & 1) {
		quarter = 0;
		memcpy(&quarter, p, 1);
		sum += quarter;
	}
	return sum;
}

uint64_t csum_bytes(const void *buf, size_t len)
{
	const uint8_t *p = buf;
	uint64_t sum = 0;

	if (len >= 64) {
		lanes a = {0}, b = {0}, c = {0}, d = {0};

		for (; len >= 64; len -= 64, p += 64) {
			a += halves(load_lanes(p));
			b += halves(load_lanes(p + 16));
			c += halves(load_lanes(p + 32));
			d += halves(load_lanes(p + 48));
		}
		a += b + c + d;
		sum = a[0] + a[1];
	}
	return sum + sum_short(p, len);
}
