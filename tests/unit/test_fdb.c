/* SPDX-License-Identifier: BSD-2-Clause */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "backends/net/fdb.h"
#include "fail_alloc.h"

#define SEED   UINT64_C(0x9e3779b97f4a7c15)
#define AGEING 300
#define NOW    1000

static struct fdb *make(uint32_t max, uint32_t limit)
{
	struct fdb *fdb = fdb_alloc(max, AGEING, SEED);

	assert_non_null(fdb);
	for (uint16_t port = 0; port < FDB_PORTS_MAX; port++)
		fdb_set_limit(fdb, port, limit);
	return fdb;
}

static uint64_t mac(uint32_t i)
{
	return UINT64_C(0x000000005452) | (uint64_t)i << 16;
}

static void test_fdb_learns_and_finds(void **state)
{
	struct fdb *fdb = make(100, 100);

	assert_int_equal(fdb_lookup(fdb, fdb_key(mac(1), 1), NOW), -1);
	assert_int_equal(fdb_learn(fdb, fdb_key(mac(1), 1), 7, NOW), FDB_NEW);
	assert_int_equal(fdb_learn(fdb, fdb_key(mac(1), 1), 7, NOW), FDB_KNOWN);
	assert_int_equal(fdb_lookup(fdb, fdb_key(mac(1), 1), NOW), 7);
	assert_int_equal(fdb_lookup(fdb, fdb_key(mac(2), 1), NOW), -1);
	assert_int_equal(fdb_count(fdb), 1);
	assert_int_equal(fdb_port_count(fdb, 7), 1);
	/* The address of no station at all is one like any other here. */
	assert_int_equal(fdb_lookup(fdb, fdb_key(0, 0), NOW), -1);
	assert_int_equal(fdb_learn(fdb, fdb_key(0, 0), 0, NOW), FDB_NEW);
	assert_int_equal(fdb_lookup(fdb, fdb_key(0, 0), NOW), 0);
	fdb_free(fdb);
	fdb_free(NULL);
}

static void test_fdb_keeps_vlans_apart(void **state)
{
	struct fdb *fdb = make(100, 100);

	assert_int_equal(fdb_learn(fdb, fdb_key(mac(1), 1), 1, NOW), FDB_NEW);
	assert_int_equal(fdb_learn(fdb, fdb_key(mac(1), 4094), 2, NOW), FDB_NEW);
	assert_int_equal(fdb_lookup(fdb, fdb_key(mac(1), 1), NOW), 1);
	assert_int_equal(fdb_lookup(fdb, fdb_key(mac(1), 4094), NOW), 2);
	assert_int_equal(fdb_lookup(fdb, fdb_key(mac(1), 2), NOW), -1);
	fdb_free(fdb);
}

static void test_fdb_follows_a_moving_station(void **state)
{
	struct fdb *fdb = make(100, 100);

	fdb_learn(fdb, fdb_key(mac(1), 1), 1, NOW);
	assert_int_equal(fdb_learn(fdb, fdb_key(mac(1), 1), 2, NOW), FDB_MOVED);
	assert_int_equal(fdb_lookup(fdb, fdb_key(mac(1), 1), NOW), 2);
	assert_int_equal(fdb_port_count(fdb, 1), 0);
	assert_int_equal(fdb_port_count(fdb, 2), 1);
	assert_int_equal(fdb_count(fdb), 1);
	fdb_free(fdb);
}

static void test_fdb_forgets(void **state)
{
	struct fdb *fdb = make(100, 100);
	uint64_t key = fdb_key(mac(1), 1);

	fdb_learn(fdb, key, 1, NOW);
	assert_int_equal(fdb_lookup(fdb, key, NOW + AGEING), 1);
	assert_int_equal(fdb_lookup(fdb, key, NOW + AGEING + 1), -1);
	/* Seen again in time, it lasts as long again. */
	assert_int_equal(fdb_learn(fdb, key, 1, NOW + AGEING), FDB_KNOWN);
	assert_int_equal(fdb_lookup(fdb, key, NOW + 2 * AGEING), 1);
	/* Seen too late, it is new. */
	assert_int_equal(fdb_learn(fdb, key, 1, NOW + 2 * AGEING + 1), FDB_NEW);
	assert_int_equal(fdb_count(fdb), 1);
	for (unsigned i = 0; i < FDB_SWEEPS; i++)
		fdb_sweep(fdb, NOW + 3 * AGEING + 1);
	assert_int_equal(fdb_count(fdb), 1);
	for (unsigned i = 0; i < FDB_SWEEPS; i++)
		fdb_sweep(fdb, NOW + 3 * AGEING + 2);
	assert_int_equal(fdb_count(fdb), 0);
	assert_int_equal(fdb_port_count(fdb, 1), 0);
	fdb_free(fdb);
}

/* Another thread's clock may be ahead; and all clocks begin again one day. */
static void test_fdb_clocks(void **state)
{
	struct fdb *fdb = make(100, 100);
	uint64_t key = fdb_key(mac(1), 1);
	uint32_t end = (1u << 22) - 1;

	fdb_learn(fdb, key, 1, NOW + 5);
	assert_int_equal(fdb_lookup(fdb, key, NOW), 1);
	assert_int_equal(fdb_learn(fdb, key, 1, NOW), FDB_KNOWN);
	assert_int_equal(fdb_lookup(fdb, key, NOW + 5 + AGEING), 1);
	key = fdb_key(mac(2), 1);
	fdb_learn(fdb, key, 1, end);
	assert_int_equal(fdb_lookup(fdb, key, end + AGEING), 1);
	assert_int_equal(fdb_lookup(fdb, key, end + AGEING + 1), -1);
	fdb_free(fdb);
}

/* A storm behind one port leaves the others what they have and may have. */
static void test_fdb_storm_is_bounded(void **state)
{
	struct fdb *fdb = make(1000, 1000);
	uint32_t full = 0;

	fdb_set_limit(fdb, 1, 100);
	for (uint32_t i = 0; i < 50; i++)
		assert_int_equal(fdb_learn(fdb, fdb_key(mac(i), 1), 2, NOW), FDB_NEW);
	for (uint32_t i = 0; i < 100000; i++)
		full += fdb_learn(fdb, fdb_key(mac(1000 + i), 1), 1, NOW) == FDB_FULL;
	assert_int_equal(fdb_port_count(fdb, 1), 100);
	assert_int_equal(full, 100000 - 100);
	/* It may not take more by other people's addresses either. */
	assert_int_equal(fdb_learn(fdb, fdb_key(mac(0), 1), 1, NOW), FDB_FULL);
	for (uint32_t i = 0; i < 50; i++)
		assert_int_equal(fdb_lookup(fdb, fdb_key(mac(i), 1), NOW), 2);
	assert_int_equal(fdb_learn(fdb, fdb_key(mac(50), 1), 2, NOW), FDB_NEW);
	/* What is forgotten makes room. */
	for (unsigned i = 0; i < FDB_SWEEPS; i++)
		fdb_sweep(fdb, NOW + AGEING + 1);
	assert_int_equal(fdb_count(fdb), 0);
	assert_int_equal(fdb_learn(fdb, fdb_key(mac(99999), 1), 1, NOW + AGEING + 1), FDB_NEW);
	fdb_free(fdb);
}

static void test_fdb_never_has_more_than_its_bound(void **state)
{
	struct fdb *fdb = make(1000, 1000);
	uint32_t missed = 0;

	for (uint32_t i = 0; i < 900; i++)
		missed += fdb_learn(fdb, fdb_key(mac(i), 1), 1, NOW) != FDB_NEW;
	/* Buckets fill up unevenly, but few of them before the whole. */
	assert_in_range(missed, 0, 5);
	for (uint32_t i = 0; i < 100000; i++)
		fdb_learn(fdb, fdb_key(mac(1000 + i), 1), (uint16_t)(i % FDB_PORTS_MAX), NOW);
	assert_int_equal(fdb_count(fdb), 1000);
	fdb_free(fdb);
	fdb = make(1, 1000);
	assert_int_equal(fdb_learn(fdb, fdb_key(mac(1), 1), 1, NOW), FDB_NEW);
	assert_int_equal(fdb_learn(fdb, fdb_key(mac(2), 1), 1, NOW), FDB_FULL);
	fdb_free(fdb);
	fdb = make(FDB_MAX, FDB_MAX);
	assert_int_equal(fdb_learn(fdb, fdb_key(mac(1), 1), 1, NOW), FDB_NEW);
	fdb_free(fdb);
}

static void test_fdb_full_bucket_gives_up_what_is_forgotten(void **state)
{
	struct fdb *fdb = make(16, 16);
	uint32_t num = 0;

	/* More than fit: some bucket is full. */
	for (uint32_t i = 0; i < 1000; i++)
		num += fdb_learn(fdb, fdb_key(mac(i), 1), 1, NOW) == FDB_NEW;
	assert_int_equal(num, 16);
	for (uint32_t i = 1000; i < 1016; i++)
		fdb_learn(fdb, fdb_key(mac(i), 1), 2, NOW + AGEING + 1);
	assert_in_range(fdb_port_count(fdb, 2), 1, 16);
	assert_in_range(fdb_count(fdb), fdb_port_count(fdb, 2), 16);
	fdb_free(fdb);
}

static void test_fdb_flush_of_one_port(void **state)
{
	struct fdb *fdb = make(1000, 1000);

	for (uint32_t i = 0; i < 200; i++)
		fdb_learn(fdb, fdb_key(mac(i), 1), (uint16_t)(i % 2), NOW);
	fdb_flush_port(fdb, 1);
	assert_int_equal(fdb_port_count(fdb, 1), 0);
	assert_int_equal(fdb_count(fdb), fdb_port_count(fdb, 0));
	for (uint32_t i = 0; i < 200; i++) {
		if (i % 2)
			assert_int_equal(fdb_lookup(fdb, fdb_key(mac(i), 1), NOW), -1);
	}
	fdb_free(fdb);
}

static void test_fdb_list(void **state)
{
	struct fdb *fdb = make(100, 100);
	struct fdb_entry entries[4];

	assert_int_equal(fdb_list(fdb, NOW, entries, 4), 0);
	fdb_learn(fdb, fdb_key(UINT64_C(0x665544332200), 4094), 1023, NOW);
	assert_int_equal(fdb_list(fdb, NOW + 9, entries, 4), 1);
	assert_memory_equal(entries[0].mac, "\x00\x22\x33\x44\x55\x66", 6);
	assert_int_equal(entries[0].vlan, 4094);
	assert_int_equal(entries[0].port, 1023);
	assert_int_equal(entries[0].age, 9);
	assert_int_equal(fdb_list(fdb, NOW + AGEING + 1, entries, 4), 0);
	for (uint32_t i = 0; i < 20; i++)
		fdb_learn(fdb, fdb_key(mac(i), 1), 1, NOW);
	assert_int_equal(fdb_list(fdb, NOW, entries, 4), 4);
	fdb_free(fdb);
}

static void test_fdb_without_memory(void **state)
{
	for (unsigned n = 1;; n++) {
		struct fdb *fdb;

		fail_alloc_nth(n);
		fdb = fdb_alloc(100, AGEING, SEED);
		if (!fail_alloc_done()) {
			assert_non_null(fdb);
			fdb_free(fdb);
			break;
		}
		assert_null(fdb);
	}
}

/* ---- threads */

#define ROUNDS  20000u
#define SHARED  8u
#define STORM   64u
#define THREADS 3u

struct user {
	struct fdb *fdb;
	uint16_t port;
	uint32_t wrong;
};

/*
 * Each has addresses of its own, which must never be found elsewhere, and all fight for some.  A
 * storm makes slots change hands.
 */
static void *use(void *arg)
{
	struct user *user = arg;

	for (uint32_t i = 0; i < ROUNDS; i++) {
		uint32_t now = NOW + i / 10;
		int port;

		fdb_learn(user->fdb, fdb_key(mac(i % SHARED), 1), user->port, now);
		fdb_learn(user->fdb, fdb_key(mac(i % STORM), 10 + user->port), user->port, now);
		for (uint16_t other = 1; other <= THREADS; other++) {
			port = fdb_lookup(user->fdb, fdb_key(mac(i % STORM), 10 + other), now);
			user->wrong += port >= 0 && port != other;
		}
		port = fdb_lookup(user->fdb, fdb_key(mac(i % SHARED), 1), now);
		user->wrong += port > (int)THREADS || port == 0;
		if (user->port == 1)
			fdb_sweep(user->fdb, now + (i % 100 ? 0 : AGEING + 1));
	}
	return NULL;
}

static void test_fdb_threads(void **state)
{
	struct fdb *fdb = make(32, 32);
	struct user users[THREADS];
	pthread_t threads[THREADS];

	for (uint16_t i = 0; i < THREADS; i++) {
		users[i] = (struct user){fdb, (uint16_t)(i + 1), 0};
		assert_int_equal(pthread_create(&threads[i], NULL, use, &users[i]), 0);
	}
	for (unsigned i = 0; i < 100; i++) {
		struct fdb_entry entries[64];
		uint32_t num = fdb_list(fdb, NOW, entries, 64);

		for (uint32_t k = 0; k < num; k++)
			assert_in_range(entries[k].port, 1, THREADS);
	}
	for (unsigned i = 0; i < THREADS; i++) {
		pthread_join(threads[i], NULL);
		assert_int_equal(users[i].wrong, 0);
	}
	/* The counts have come out even. */
	for (uint16_t i = 1; i <= THREADS; i++) {
		fdb_flush_port(fdb, i);
		assert_int_equal(fdb_port_count(fdb, i), 0);
	}
	assert_int_equal(fdb_count(fdb), 0);
	fdb_free(fdb);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fdb_learns_and_finds),
		cmocka_unit_test(test_fdb_keeps_vlans_apart),
		cmocka_unit_test(test_fdb_follows_a_moving_station),
		cmocka_unit_test(test_fdb_forgets),
		cmocka_unit_test(test_fdb_clocks),
		cmocka_unit_test(test_fdb_storm_is_bounded),
		cmocka_unit_test(test_fdb_never_has_more_than_its_bound),
		cmocka_unit_test(test_fdb_full_bucket_gives_up_what_is_forgotten),
		cmocka_unit_test(test_fdb_flush_of_one_port),
		cmocka_unit_test(test_fdb_list),
		cmocka_unit_test(test_fdb_without_memory),
		cmocka_unit_test(test_fdb_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
