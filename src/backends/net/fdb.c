/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * An entry is two words, the key and the value.  Who writes has the bucket's lock.  Who reads has
 * not: it reads key, value and key again.  A slot that changes hands is empty before its value
 * changes, so a value between two equal keys is of that key.
 */
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "backends/net/fdb.h"
#include "base/defs.h"

#define WAYS       5
#define CACHE_LINE 64

/* A value: when the address was seen last, and where. */
#define PORT_BITS 10
#define TIME_MASK ((1u << (32 - PORT_BITS)) - 1)
/* What another thread saw is at most so many seconds ahead of one's own clock. */
#define AHEAD     64

struct bucket {
	uint64_t keys[WAYS]; /* 0: empty */
	uint32_t values[WAYS];
	uint32_t lock;
} __attribute__((aligned(CACHE_LINE)));

_Static_assert(sizeof(struct bucket) == CACHE_LINE, "a lookup touches one cache line");
_Static_assert(1u << PORT_BITS == FDB_PORTS_MAX, "a port fits into a value");
_Static_assert(FDB_AGEING_MAX < TIME_MASK - AHEAD, "an age fits into a value");

struct fdb {
	struct bucket *buckets;
	uint64_t factor;
	unsigned int shift;
	uint32_t num_buckets;
	uint32_t max;
	uint32_t ageing;
	uint32_t swept; /* the sweeper's: the bucket that is next */
	uint32_t limits[FDB_PORTS_MAX];

	/* Atomic. */
	uint32_t count;
	uint32_t counts[FDB_PORTS_MAX];
};

/* ---- entries */

static inline uint32_t make_value(uint16_t port, uint32_t now)
{
	return (now & TIME_MASK) << PORT_BITS | port;
}

static inline uint16_t value_port(uint32_t value)
{
	return value & (FDB_PORTS_MAX - 1);
}

/* Seconds since the address was seen; none when it was seen by a clock ahead of ours. */
static inline uint32_t value_age(uint32_t value, uint32_t now)
{
	uint32_t age = (now - (value >> PORT_BITS)) & TIME_MASK;

	return age > TIME_MASK - AHEAD ? 0 : age;
}

static inline struct bucket *find_bucket(const struct fdb *fdb, uint64_t key)
{
	return &fdb->buckets[key * fdb->factor >> fdb->shift];
}

static inline uint64_t load_key(const struct bucket *bucket, unsigned int way)
{
	return __atomic_load_n(&bucket->keys[way], __ATOMIC_ACQUIRE);
}

static inline uint32_t load_value(const struct bucket *bucket, unsigned int way)
{
	return __atomic_load_n(&bucket->values[way], __ATOMIC_ACQUIRE);
}

static inline bool try_lock(struct bucket *bucket)
{
	return !__atomic_exchange_n(&bucket->lock, 1, __ATOMIC_ACQUIRE);
}

static inline void unlock(struct bucket *bucket)
{
	__atomic_store_n(&bucket->lock, 0, __ATOMIC_RELEASE);
}

/* The other one is done in nanoseconds, or does not have its processor. */
static void lock(struct bucket *bucket)
{
	while (!try_lock(bucket))
		sched_yield();
}

/* The lock is held for those that write. */
static inline void set_value(struct bucket *bucket, unsigned int way, uint32_t value)
{
	/* Who sees it sees what was written before: that the slot was emptied. */
	__atomic_store_n(&bucket->values[way], value, __ATOMIC_RELEASE);
}

static inline void set_key(struct bucket *bucket, unsigned int way, uint64_t key)
{
	__atomic_store_n(&bucket->keys[way], key, __ATOMIC_RELEASE);
}

/* ---- bounds */

static bool take_one(uint32_t *count, uint32_t limit)
{
	if (__atomic_fetch_add(count, 1, __ATOMIC_RELAXED) < limit)
		return true;
	__atomic_fetch_sub(count, 1, __ATOMIC_RELAXED);
	return false;
}

static void give_one(uint32_t *count)
{
	__atomic_fetch_sub(count, 1, __ATOMIC_RELAXED);
}

static bool reserve(struct fdb *fdb, uint16_t port)
{
	if (!take_one(&fdb->counts[port], fdb->limits[port]))
		return false;
	if (take_one(&fdb->count, fdb->max))
		return true;
	give_one(&fdb->counts[port]);
	return false;
}

/* Locked. */
static void remove_entry(struct fdb *fdb, struct bucket *bucket, unsigned int way)
{
	give_one(&fdb->counts[value_port(bucket->values[way])]);
	give_one(&fdb->count);
	set_key(bucket, way, 0);
}

/* ---- the table */

struct fdb *fdb_alloc(uint32_t max, uint32_t ageing, uint64_t seed)
{
	struct fdb *fdb = calloc(1, sizeof(*fdb));
	unsigned int bits = 0;

	if (!fdb)
		return NULL;
	/* One address a bucket on average leaves room for all but one of a thousand. */
	while (1u << bits < max || 1u << bits < FDB_SWEEPS)
		bits++;
	fdb->num_buckets = 1u << bits;
	fdb->shift = 64 - bits;
	fdb->factor = seed | 1;
	fdb->max = max;
	fdb->ageing = ageing;
	fdb->buckets = aligned_alloc(CACHE_LINE, fdb->num_buckets * sizeof(struct bucket));
	if (!fdb->buckets) {
		free(fdb);
		return NULL;
	}
	memset(fdb->buckets, 0, fdb->num_buckets * sizeof(struct bucket));
	return fdb;
}

void fdb_free(struct fdb *fdb)
{
	if (!fdb)
		return;
	free(fdb->buckets);
	free(fdb);
}

void fdb_set_limit(struct fdb *fdb, uint16_t port, uint32_t limit)
{
	fdb->limits[port] = limit;
}

int fdb_lookup(const struct fdb *fdb, uint64_t key, uint32_t now)
{
	const struct bucket *bucket = find_bucket(fdb, key);

	for (unsigned int way = 0; way < WAYS; way++) {
		uint32_t value;

		if (load_key(bucket, way) != key)
			continue;
		value = load_value(bucket, way);
		if (unlikely(load_key(bucket, way) != key))
			continue;
		return likely(value_age(value, now) <= fdb->ageing) ? value_port(value) : -1;
	}
	return -1;
}

static int find_way(const struct bucket *bucket, uint64_t key)
{
	for (unsigned int way = 0; way < WAYS; way++) {
		if (load_key(bucket, way) == key)
			return (int)way;
	}
	return -1;
}

/* Locked, as are those below. */
static enum fdb_learnt insert(struct fdb *fdb, struct bucket *bucket, uint64_t key, uint16_t port,
			      uint32_t now)
{
	int way = -1;

	for (unsigned int i = 0; i < WAYS; i++) {
		if (bucket->keys[i] && value_age(bucket->values[i], now) > fdb->ageing)
			remove_entry(fdb, bucket, i);
		if (!bucket->keys[i])
			way = (int)i;
	}
	if (way < 0 || !reserve(fdb, port))
		return FDB_FULL;
	set_value(bucket, (unsigned int)way, make_value(port, now));
	set_key(bucket, (unsigned int)way, key);
	return FDB_NEW;
}

static enum fdb_learnt refresh(struct fdb *fdb, struct bucket *bucket, unsigned int way,
			       uint16_t port, uint32_t now)
{
	uint16_t old = value_port(bucket->values[way]);

	if (old != port && !take_one(&fdb->counts[port], fdb->limits[port]))
		return FDB_FULL;
	set_value(bucket, way, make_value(port, now));
	if (old == port)
		return FDB_KNOWN;
	give_one(&fdb->counts[old]);
	return FDB_MOVED;
}

/* A storm finds this out without writing anything that others look at. */
static bool is_full(const struct fdb *fdb, const struct bucket *bucket, uint16_t port, uint32_t now)
{
	if (likely(fdb_port_count(fdb, port) < fdb->limits[port] && fdb_count(fdb) < fdb->max))
		return false;
	for (unsigned int way = 0; way < WAYS; way++) {
		if (load_key(bucket, way) && value_age(load_value(bucket, way), now) > fdb->ageing)
			return false;
	}
	return true;
}

enum fdb_learnt fdb_learn(struct fdb *fdb, uint64_t key, uint16_t port, uint32_t now)
{
	struct bucket *bucket = find_bucket(fdb, key);
	int way = find_way(bucket, key);
	enum fdb_learnt ret;
	uint32_t value;

	if (likely(way >= 0)) {
		value = load_value(bucket, (unsigned int)way);
		if (likely(value_port(value) == port && !value_age(value, now)))
			return FDB_KNOWN;
	} else if (is_full(fdb, bucket, port, now)) {
		return FDB_FULL;
	}
	if (!try_lock(bucket))
		return FDB_LATER;
	way = find_way(bucket, key);
	/* What is forgotten makes room first, this address, too. */
	if (way < 0 || value_age(bucket->values[way], now) > fdb->ageing)
		ret = insert(fdb, bucket, key, port, now);
	else
		ret = refresh(fdb, bucket, (unsigned int)way, port, now);
	unlock(bucket);
	return ret;
}

void fdb_sweep(struct fdb *fdb, uint32_t now)
{
	uint32_t end = fdb->swept + fdb->num_buckets / FDB_SWEEPS;

	for (; fdb->swept < end; fdb->swept++) {
		struct bucket *bucket = &fdb->buckets[fdb->swept];

		if (!try_lock(bucket))
			continue;
		for (unsigned int way = 0; way < WAYS; way++) {
			if (bucket->keys[way] && value_age(bucket->values[way], now) > fdb->ageing)
				remove_entry(fdb, bucket, way);
		}
		unlock(bucket);
	}
	fdb->swept &= fdb->num_buckets - 1;
}

void fdb_flush_port(struct fdb *fdb, uint16_t port)
{
	for (uint32_t i = 0; i < fdb->num_buckets && fdb_port_count(fdb, port); i++) {
		struct bucket *bucket = &fdb->buckets[i];

		lock(bucket);
		for (unsigned int way = 0; way < WAYS; way++) {
			if (bucket->keys[way] && value_port(bucket->values[way]) == port)
				remove_entry(fdb, bucket, way);
		}
		unlock(bucket);
	}
}

/* ---- show */

uint32_t fdb_count(const struct fdb *fdb)
{
	return __atomic_load_n(&fdb->count, __ATOMIC_RELAXED);
}

uint32_t fdb_port_count(const struct fdb *fdb, uint16_t port)
{
	return __atomic_load_n(&fdb->counts[port], __ATOMIC_RELAXED);
}

static bool read_entry(const struct fdb *fdb, const struct bucket *bucket, unsigned int way,
		       uint32_t now, struct fdb_entry *entry)
{
	uint64_t key = load_key(bucket, way);
	uint32_t value = load_value(bucket, way);

	entry->age = value_age(value, now);
	if (!key || load_key(bucket, way) != key || entry->age > fdb->ageing)
		return false;
	for (unsigned int i = 0; i < sizeof(entry->mac); i++)
		entry->mac[i] = (uint8_t)(key >> 8 * i);
	entry->vlan = key >> 48 & 0xfff;
	entry->port = value_port(value);
	return true;
}

uint32_t fdb_list(const struct fdb *fdb, uint32_t now, struct fdb_entry *entries, uint32_t max)
{
	uint32_t num = 0;

	for (uint32_t i = 0; i < fdb->num_buckets && num < max; i++) {
		for (unsigned int way = 0; way < WAYS && num < max; way++) {
			if (read_entry(fdb, &fdb->buckets[i], way, now, &entries[num]))
				num++;
		}
	}
	return num;
}
