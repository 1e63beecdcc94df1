/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The forwarding database of a switch: behind which port an address is, in which VLAN.
 *
 * It is a hash of buckets of one cache line each, and never grows: beyond its bound, or beyond what
 * one port may have, nothing is learnt, so that a storm of addresses behind one port does not push
 * out those of others.  What is not there is flooded, which the switch limits.
 *
 * Lookups wait for nobody and write nothing.  Learning writes only when something changes: a new
 * address, another port, a new second; it waits for nobody either, but lets it be when another
 * thread writes to the same bucket: the next frame comes soon.
 *
 * Time is in seconds from anywhere, and given by the caller.  Threads may differ by a minute.
 */
#ifndef BACKENDS_NET_FDB_H
#define BACKENDS_NET_FDB_H

#include <stdbool.h>
#include <stdint.h>

#define FDB_PORTS_MAX  1024
#define FDB_MAX        65536   /* addresses */
#define FDB_AGEING_MAX 1000000 /* seconds */

struct fdb;

enum fdb_learnt {
	FDB_KNOWN,
	FDB_NEW,
	FDB_MOVED, /* was behind another port */
	FDB_FULL,  /* its port has as many as it may, or the table; a moving address stays */
	FDB_LATER, /* another thread is at it */
};

/*
 * An address in a VLAN as one number.  mac: the address as it is in a frame, read as a
 * little-endian number.
 */
static inline uint64_t fdb_key(uint64_t mac, uint16_t vlan)
{
	return mac | (uint64_t)vlan << 48 | UINT64_C(1) << 63;
}

/*
 * max: addresses altogether, 1 to FDB_MAX.  ageing: seconds after which one that was not seen is
 * forgotten, 1 to FDB_AGEING_MAX.  seed: what an attacker does not know.  NULL: out of memory.
 */
struct fdb *fdb_alloc(uint32_t max, uint32_t ageing, uint64_t seed);
void fdb_free(struct fdb *fdb);

/* Before the first address is learnt there: how many a port may have. */
void fdb_set_limit(struct fdb *fdb, uint16_t port, uint32_t limit);
/* The port, or -1: unknown, or forgotten.  ANY THREAD. */
int fdb_lookup(const struct fdb *fdb, uint64_t key, uint32_t now);
/* ANY THREAD. */
enum fdb_learnt fdb_learn(struct fdb *fdb, uint64_t key, uint16_t port, uint32_t now);
/*
 * Remove what is forgotten from a part of the table: all of it in FDB_SWEEPS calls.  One thread at
 * a time.
 */
#define FDB_SWEEPS 16
void fdb_sweep(struct fdb *fdb, uint32_t now);
/* Forget all that is behind a port, where nothing is learnt meanwhile.  ANY THREAD; waits for
 * writers. */
void fdb_flush_port(struct fdb *fdb, uint16_t port);

/* What is in it, forgotten or not.  ANY THREAD. */
uint32_t fdb_count(const struct fdb *fdb);
uint32_t fdb_port_count(const struct fdb *fdb, uint16_t port);

struct fdb_entry {
	uint8_t mac[6];
	uint16_t vlan;
	uint16_t port;
	uint32_t age; /* seconds since it was seen */
};
/*
 * Up to max addresses that are not forgotten, in no order.  Returns how many.  ANY THREAD: others
 * may be learnt meanwhile.
 */
uint32_t fdb_list(const struct fdb *fdb, uint32_t now, struct fdb_entry *entries, uint32_t max);

#endif
