/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <cmocka.h>

#include "block_rig.h"
#include "fail_alloc.h"

static void assert_refused(const char *words, int err, const char *text)
{
	struct block_rig rig;

	assert_int_equal(brig_open(&rig, words, false), err);
	if (!strstr(rig.ack.msg, text))
		fail_msg("'%s' does not say '%s'", rig.ack.msg, text);
}

static void test_block_open_says_what_is_missing(void **state)
{
	assert_refused("size 64M", -EINVAL, "where is the data?");
	assert_refused("backend ram", -EINVAL, "'size' is missing");
	assert_refused("backend null", -EINVAL, "'size' is missing");
	assert_refused("backend ram size 64M direct on", -EINVAL, "'direct' is for backend 'file'");
	assert_refused("backend ram size 64M zeroes on", -EINVAL, "'zeroes' is for backend 'null'");
	assert_refused("backend null size 1M file /dev/null", -EINVAL, "'file' is for backend");
	assert_refused("backend ram size 1000", -EINVAL, "not a multiple of the block size, 512");
	assert_refused("backend ram size 1M block-size 1000", -EINVAL, "block-size 1000");
	assert_refused("backend null size 16777215T", -ERANGE, "");
}

static void test_ram_stress(void **state)
{
	struct block_rig rig;

	assert_int_equal(brig_open(&rig, "backend ram size 1M", false), 0);
	brig_stress(&rig, 1, 3000, 1);
	brig_close(&rig);
}

static void test_ram_reads_zeros_and_discards(void **state)
{
	struct block_rig rig;
	uint8_t buf[8192], zeros[8192] = {0};

	assert_int_equal(brig_open(&rig, "backend ram size 1G", false), 0);
	assert_true(rig.block->info.discard);
	memset(buf, 1, sizeof(buf));
	assert_int_equal(brig_do(&rig, BLOCK_READ, 0, 512 << 20, buf, sizeof(buf)), 0);
	assert_memory_equal(buf, zeros, sizeof(buf));
	memset(buf, 1, sizeof(buf));
	assert_int_equal(brig_do(&rig, BLOCK_WRITE, 0, 1 << 20, buf, sizeof(buf)), 0);
	/* Half of the first page stays, the second goes. */
	assert_int_equal(brig_do(&rig, BLOCK_DISCARD, 0, (1 << 20) + 2048, NULL, 6144), 0);
	memset(buf, 2, sizeof(buf));
	assert_int_equal(brig_do(&rig, BLOCK_READ, 0, 1 << 20, buf, sizeof(buf)), 0);
	memset(zeros, 1, 2048);
	assert_memory_equal(buf, zeros, sizeof(buf));
	brig_close(&rig);
}

static void test_ram_refuses_what_lies_behind_the_end(void **state)
{
	struct block_rig rig;
	uint8_t buf[1024];

	assert_int_equal(brig_open(&rig, "backend ram size 1M", false), 0);
	assert_int_equal(brig_do(&rig, BLOCK_READ, 0, (1 << 20) - 512, buf, 1024), -EIO);
	assert_int_equal(brig_do(&rig, BLOCK_WRITE, 0, UINT64_MAX - 511, buf, 1024), -EIO);
	assert_int_equal(brig_do(&rig, BLOCK_DISCARD, 0, 1 << 20, NULL, 512), -EIO);
	brig_close(&rig);
}

static void test_ram_grows_and_shrinks(void **state)
{
	struct block_rig rig;
	uint8_t buf[4096], zeros[4096] = {0};

	assert_int_equal(brig_open(&rig, "backend ram size 64K", false), 0);
	memset(buf, 7, sizeof(buf));
	assert_int_equal(brig_do(&rig, BLOCK_WRITE, 0, 60 << 10, buf, 4096), 0);
	assert_int_equal(block_resize(rig.block, 1 << 20, NULL), 0);
	assert_int_equal(block_resize(rig.block, 3 << 20, NULL), 0);
	brig_stress(&rig, 2, 1000, 1);
	assert_int_equal(brig_do(&rig, BLOCK_WRITE, 0, 60 << 10, buf, 4096), 0);
	/* What was cut off does not come back. */
	assert_int_equal(block_resize(rig.block, 32 << 10, NULL), 0);
	assert_int_equal(block_resize(rig.block, 64 << 10, NULL), 0);
	assert_int_equal(rig.block->info.size, 64 << 10);
	assert_int_equal(brig_do(&rig, BLOCK_READ, 0, 60 << 10, buf, 4096), 0);
	assert_memory_equal(buf, zeros, 4096);
	assert_int_equal(block_resize(rig.block, 1000, NULL), -EINVAL);
	assert_int_equal(block_resize(rig.block, 0, NULL), -EINVAL);
	brig_close(&rig);
}

static void test_null_leaves_buffers_alone(void **state)
{
	struct block_rig rig;
	uint8_t buf[512], same[512], zeros[512] = {0};

	memset(buf, 9, sizeof(buf));
	memset(same, 9, sizeof(same));
	assert_int_equal(brig_open(&rig, "backend null size 16G", false), 0);
	assert_int_equal(brig_do(&rig, BLOCK_READ, 0, 0, buf, 512), 0);
	assert_memory_equal(buf, same, 512);
	assert_int_equal(brig_do(&rig, BLOCK_WRITE, 0, 0, buf, 512), 0);
	assert_int_equal(brig_do(&rig, BLOCK_FLUSH, 0, 0, NULL, 0), 0);
	assert_int_equal(block_resize(rig.block, 1 << 30, NULL), 0);
	assert_int_equal(rig.block->info.size, 1 << 30);
	brig_close(&rig);
	assert_int_equal(brig_open(&rig, "backend null size 16G zeroes on", false), 0);
	assert_int_equal(brig_do(&rig, BLOCK_READ, 0, 0, buf, 512), 0);
	assert_memory_equal(buf, zeros, 512);
	brig_close(&rig);
}

static void test_block_open_survives_failing_allocations(void **state)
{
	static const char *const words[] = {"backend ram size 1M", "backend null size 1M"};

	for (unsigned int i = 0; i < 2; i++) {
		for (unsigned int n = 1;; n++) {
			struct block_rig rig;
			int err;

			fail_alloc_nth(n);
			err = brig_open(&rig, words[i], false);
			if (!fail_alloc_done()) {
				assert_int_equal(err, 0);
				brig_close(&rig);
				break;
			}
			assert_int_equal(err, -ENOMEM);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_block_open_says_what_is_missing),
		cmocka_unit_test(test_ram_stress),
		cmocka_unit_test(test_ram_reads_zeros_and_discards),
		cmocka_unit_test(test_ram_refuses_what_lies_behind_the_end),
		cmocka_unit_test(test_ram_grows_and_shrinks),
		cmocka_unit_test(test_null_leaves_buffers_alone),
		cmocka_unit_test(test_block_open_survives_failing_allocations),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
