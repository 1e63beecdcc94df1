/* SPDX-License-Identifier: BSD-2-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "backends/net/csum.h"

/* As RFC 1071 tells it: words in network order, carries added at once. */
static uint16_t naive_sum(const uint8_t *buf, size_t len)
{
	uint32_t sum = 0;

	for (size_t i = 0; i < len; i++) {
		sum += i % 2 ? buf[i] : (uint32_t)buf[i] << 8;
		sum = (sum & 0xffff) + (sum >> 16);
	}
	return (uint16_t)sum;
}

static void assert_sum(uint64_t sum, const uint8_t *buf, size_t len)
{
	uint16_t folded = csum_fold(sum);
	uint8_t stored[2];

	memcpy(stored, &folded, 2);
	assert_int_equal(stored[0] << 8 | stored[1], naive_sum(buf, len));
}

/* The last len bytes of a heap block: an address checker sees the first byte behind them. */
static uint8_t *random_bytes(size_t skip, size_t len, uint8_t **block)
{
	*block = malloc(skip + len ? skip + len : 1);
	assert_non_null(*block);
	for (size_t i = 0; i < skip + len; i++)
		(*block)[i] = (uint8_t)(rand() >> 7);
	return *block + skip;
}

static void test_csum_of_the_example_in_rfc_1071(void **state)
{
	static const uint8_t bytes[] = {0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7};
	static const uint8_t want[] = {0x22, 0x0d};
	uint16_t sum = csum_finish(csum_bytes(bytes, sizeof(bytes)));

	assert_memory_equal(&sum, want, 2);
}

static void test_csum_bytes_of_each_length_and_alignment(void **state)
{
	srand(1);
	for (size_t len = 0; len <= 300; len++) {
		for (size_t skip = 0; skip < 17; skip++) {
			uint8_t *block, *p = random_bytes(skip, len, &block);

			assert_sum(csum_bytes(p, len), p, len);
			free(block);
		}
	}
}

static void test_csum_bytes_carries(void **state)
{
	static uint8_t ones[1 << 20];
	uint16_t sum;

	memset(ones, 0xff, sizeof(ones));
	for (size_t len = 1; len <= sizeof(ones); len = len * 2 + 1)
		assert_sum(csum_bytes(ones, len), ones, len);
	assert_int_equal(csum_fold(csum_bytes(ones, sizeof(ones))), 0xffff);
	assert_int_equal(csum_fold(UINT64_MAX), 0xffff);
	assert_int_equal(csum_fold(0x1fffffffeffffULL), naive_sum(ones, 2));
	memset(ones, 0, sizeof(ones));
	sum = csum_finish(csum_bytes(ones, sizeof(ones)));
	assert_int_equal(sum, 0xffff);
}

static void test_csum_add_of_pieces_of_any_length(void **state)
{
	srand(2);
	for (int round = 0; round < 2000; round++) {
		size_t len = (size_t)rand() % 3000, done = 0;
		uint8_t *block, *p = random_bytes(0, len, &block);
		struct csum csum = {0};

		while (done < len) {
			size_t part = (size_t)rand() % (rand() % 4 ? 8 : 2000);

			if (part > len - done)
				part = len - done;
			csum_add(&csum, p + done, part);
			done += part;
		}
		assert_int_equal(csum.odd, len % 2);
		assert_sum(csum.sum, p, len);
		free(block);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_csum_of_the_example_in_rfc_1071),
		cmocka_unit_test(test_csum_bytes_of_each_length_and_alignment),
		cmocka_unit_test(test_csum_bytes_carries),
		cmocka_unit_test(test_csum_add_of_pieces_of_any_length),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
