/* SPDX-License-Identifier: BSD-2-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/bucket.h"

#define MS 1000000ull

static void test_bucket_begins_empty_and_fills(void **state)
{
	struct bucket b;

	bucket_init(&b, 5);
	assert_int_equal(bucket_level(&b, 1000, 5), 0);
	assert_int_equal(bucket_level(&b, 1000, 5 + 250 * MS), 250);
	assert_int_equal(bucket_level(&b, 1000, 5 + 1000 * MS), 1000);
	/* No more than those of a second. */
	assert_int_equal(bucket_level(&b, 1000, 5 + 100000 * MS), 1000);
	assert_int_equal(bucket_level(&b, 10, 5 + 100000 * MS), 10);
}

/* Looked at a thousand times a second it gives no less than looked at once. */
static void test_bucket_loses_no_part_of_a_token(void **state)
{
	uint64_t now = 0, taken = 0;
	struct bucket b;

	bucket_init(&b, 0);
	for (int i = 0; i < 10000; i++) {
		uint64_t level = bucket_level(&b, 7, now += MS);

		bucket_take(&b, level);
		taken += level;
	}
	assert_int_equal(taken, 70);
}

static void test_bucket_takes_what_is_there_at_most(void **state)
{
	struct bucket b;

	bucket_init(&b, 0);
	bucket_level(&b, 100, 500 * MS);
	bucket_take(&b, 1000);
	assert_int_equal(bucket_level(&b, 100, 500 * MS), 0);
}

static void test_bucket_says_how_long_to_wait(void **state)
{
	static const uint64_t rates[] = {1, 3, 999, 1000003, BUCKET_RATE_MAX};

	for (size_t i = 0; i < sizeof(rates) / sizeof(rates[0]); i++) {
		uint64_t want = rates[i] / 2 + 1, ns;
		struct bucket b;

		bucket_init(&b, 0);
		bucket_level(&b, rates[i], 0);
		ns = bucket_wait(&b, rates[i], want);
		assert_true(bucket_level(&b, rates[i], ns - 1) < want);
		assert_true(bucket_level(&b, rates[i], ns) >= want);
		assert_int_equal(bucket_wait(&b, rates[i], want), 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bucket_begins_empty_and_fills),
		cmocka_unit_test(test_bucket_loses_no_part_of_a_token),
		cmocka_unit_test(test_bucket_takes_what_is_there_at_most),
		cmocka_unit_test(test_bucket_says_how_long_to_wait),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
