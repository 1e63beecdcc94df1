/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The Internet checksum (RFC 1071): the ones' complement sum of 16-bit words, as IP, TCP and UDP
 * use it.
 *
 * Sums are those of the words as they lie in memory, whatever the byte order of the machine: what
 * csum_finish() returns is stored by memcpy(), and numbers enter a sum through htobe16().
 */
#ifndef BACKENDS_NET_CSUM_H
#define BACKENDS_NET_CSUM_H

#include <byteswap.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The sum of bytes that come in pieces of any length; starts as zeroes. */
struct csum {
	uint64_t sum; /* of whole words, not folded */
	bool odd;     /* the next byte is the second one of its word */
};

/* The sum of len bytes, below 4 GiB; a last single byte counts as if a zero followed. */
uint64_t csum_bytes(const void *buf, size_t len);

/* Add the carries until 16 bits are left.  Zero only if all that was added is. */
static inline uint16_t csum_fold(uint64_t sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

/* Add what follows the bytes added so far. */
static inline void csum_add(struct csum *csum, const void *buf, size_t len)
{
	uint16_t part = csum_fold(csum_bytes(buf, len));

	csum->sum += csum->odd ? bswap_16(part) : part;
	csum->odd ^= len & 1;
}

/* The checksum as it stands in a header. */
static inline uint16_t csum_finish(uint64_t sum)
{
	return (uint16_t)~csum_fold(sum);
}

#endif
