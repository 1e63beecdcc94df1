/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/defs.h"
#include "fail_alloc.h"
#include "vdpa/iotlb.h"

#define PAGE 4096u

static struct vdpa_mem *mem_of(uint64_t len)
{
	struct vdpa_mem *mem;

	assert_int_equal(vdpa_mem_alloc("test", len, &mem, NULL), 0);
	return mem;
}

static struct vdpa_iotlb_range range_of(uint64_t iova, struct vdpa_mem *mem, uint64_t off,
					uint64_t len, uint32_t perm)
{
	return (struct vdpa_iotlb_range){
		.iova = iova,
		.len = len,
		.hva = (uint8_t *)vdpa_mem_hva(mem) + off,
		.mem = mem,
		.perm = perm,
	};
}

static void expect_refused(const struct vdpa_iotlb_range *ranges, size_t num, const char *why)
{
	struct vdpa_iotlb *iotlb = (void *)1;
	struct vdpa_extack ack = {0};

	assert_int_equal(vdpa_iotlb_alloc(ranges, num, &iotlb, &ack), -EINVAL);
	assert_ptr_equal(iotlb, (void *)1);
	assert_non_null(strstr(ack.msg, why));
}

static void test_mem_map_of_any_alignment(void **state)
{
	struct vdpa_mem *all = mem_of(3 * PAGE), *part;

	memcpy((char *)vdpa_mem_hva(all) + PAGE + 5, "here", 4);
	assert_int_equal(vdpa_mem_map(vdpa_mem_fd(all), PAGE + 5, PAGE, VDPA_PERM_RW, &part, NULL),
			 0);
	assert_int_equal(vdpa_mem_offset(part), PAGE + 5);
	assert_int_equal(vdpa_mem_len(part), PAGE);
	assert_int_not_equal(vdpa_mem_fd(part), vdpa_mem_fd(all));
	assert_memory_equal(vdpa_mem_hva(part), "here", 4);
	((char *)vdpa_mem_hva(part))[PAGE - 1] = 'x';
	assert_int_equal(((char *)vdpa_mem_hva(all))[2 * PAGE + 4], 'x');
	vdpa_mem_put(all);
	assert_memory_equal(vdpa_mem_hva(part), "here", 4);
	vdpa_mem_put(part);
	vdpa_mem_put(NULL);
}

static void test_mem_map_rejects_what_the_file_has_not(void **state)
{
	struct vdpa_mem *all = mem_of(2 * PAGE), *part = NULL;
	const struct {
		uint64_t offset, len;
	} bad[] = {
		{0, 0},
		{0, 2 * PAGE + 1},
		{2 * PAGE, 1},
		{2 * PAGE + 1, 1},
		{UINT64_MAX, 1},
		{1, UINT64_MAX},
		{UINT64_MAX - PAGE, PAGE},
		{PAGE, PAGE + 1},
		{UINT64_MAX, UINT64_MAX},
	};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct vdpa_extack ack = {0};

		assert_int_equal(vdpa_mem_map(vdpa_mem_fd(all), bad[i].offset, bad[i].len,
					      VDPA_PERM_RW, &part, &ack),
				 -EINVAL);
		assert_string_not_equal(ack.msg, "");
		assert_null(part);
	}
	assert_int_equal(vdpa_mem_map(-1, 0, PAGE, VDPA_PERM_RW, &part, NULL), -EBADF);
	assert_int_equal(vdpa_mem_map(vdpa_mem_fd(all), PAGE, PAGE, VDPA_PERM_RW, &part, NULL), 0);
	vdpa_mem_put(part);
	vdpa_mem_put(all);
}

static void test_mem_alloc_cannot_shrink(void **state)
{
	struct vdpa_mem *mem = mem_of(PAGE), *bad = NULL;

	assert_int_equal(ftruncate(vdpa_mem_fd(mem), 0), -1);
	assert_int_equal(errno, EPERM);
	assert_int_equal(vdpa_mem_alloc("test", 0, &bad, NULL), -EINVAL);
	assert_int_equal(vdpa_mem_alloc("test", UINT64_MAX, &bad, NULL), -EINVAL);
	assert_null(bad);
	vdpa_mem_put(mem);
}

/* A descriptor opened for reading gives memory for reading. */
static void test_mem_map_needs_the_right(void **state)
{
	struct vdpa_mem *mem = mem_of(PAGE), *part = NULL;
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", vdpa_mem_fd(mem));
	fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_int_not_equal(fd, -1);
	assert_int_equal(vdpa_mem_map(fd, 0, PAGE, VDPA_PERM_RW, &part, NULL), -EACCES);
	assert_null(part);
	assert_int_equal(vdpa_mem_map(fd, 0, PAGE, VDPA_PERM_READ, &part, NULL), 0);
	assert_int_equal(*(char *)vdpa_mem_hva(part), 0);
	vdpa_mem_put(part);
	close(fd);
	vdpa_mem_put(mem);
}

static void test_mem_survives_lack_of_descriptors(void **state)
{
	struct vdpa_mem *mem = mem_of(PAGE), *more = NULL;
	struct vdpa_extack ack = {0};
	struct rlimit old, none;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	none = old;
	none.rlim_cur = 0;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	assert_int_equal(vdpa_mem_map(vdpa_mem_fd(mem), 0, PAGE, VDPA_PERM_RW, &more, &ack),
			 -EINVAL); /* what F_DUPFD says when even 0 is over the limit */
	assert_non_null(strstr(ack.msg, "cannot duplicate"));
	assert_int_equal(vdpa_mem_alloc("test", PAGE, &more, NULL), -EMFILE);
	assert_null(more);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	vdpa_mem_put(mem);
}

static void test_mem_counts_references(void **state)
{
	struct vdpa_mem *mem = mem_of(PAGE);
	int fd = vdpa_mem_fd(mem);

	assert_ptr_equal(vdpa_mem_get(mem), mem);
	vdpa_mem_put(mem);
	assert_int_not_equal(lseek(fd, 0, SEEK_CUR), -1);
	vdpa_mem_put(mem);
	assert_int_equal(lseek(fd, 0, SEEK_CUR), -1);
}

static void test_iotlb_sorts_and_finds(void **state)
{
	struct vdpa_mem *mem = mem_of(4 * PAGE);
	const struct vdpa_iotlb_range ranges[] = {
		range_of(0x9000, mem, 2 * PAGE, PAGE, VDPA_PERM_RW),
		range_of(0x1000, mem, 0, PAGE, VDPA_PERM_RW),
		range_of(0x4000, mem, PAGE, 1, VDPA_PERM_READ),
	};
	struct vdpa_iotlb *iotlb;
	const struct vdpa_iotlb_range *sorted;
	size_t num;

	assert_int_equal(vdpa_iotlb_alloc(ranges, 3, &iotlb, NULL), 0);
	vdpa_mem_put(mem); /* the map has its own references */
	sorted = vdpa_iotlb_ranges(iotlb, &num);
	assert_int_equal(num, 3);
	assert_int_equal(sorted[0].iova, 0x1000);
	assert_int_equal(sorted[1].iova, 0x4000);
	assert_int_equal(sorted[2].iova, 0x9000);

	assert_null(vdpa_iotlb_find(iotlb, 0));
	assert_null(vdpa_iotlb_find(iotlb, 0xfff));
	assert_ptr_equal(vdpa_iotlb_find(iotlb, 0x1000), &sorted[0]);
	assert_ptr_equal(vdpa_iotlb_find(iotlb, 0x1fff), &sorted[0]);
	assert_null(vdpa_iotlb_find(iotlb, 0x2000));
	assert_ptr_equal(vdpa_iotlb_find(iotlb, 0x4000), &sorted[1]);
	assert_null(vdpa_iotlb_find(iotlb, 0x4001));
	assert_ptr_equal(vdpa_iotlb_find(iotlb, 0x9fff), &sorted[2]);
	assert_null(vdpa_iotlb_find(iotlb, 0xa000));
	assert_null(vdpa_iotlb_find(iotlb, UINT64_MAX));

	assert_ptr_equal(vdpa_iotlb_find_hva(iotlb, sorted[2].hva + 7), &sorted[2]);
	assert_null(vdpa_iotlb_find_hva(iotlb, sorted[1].hva + 1));
	vdpa_iotlb_put(iotlb);
}

static void test_iotlb_rejects_wrap(void **state)
{
	struct vdpa_mem *mem = mem_of(2 * PAGE);
	struct vdpa_iotlb_range range = range_of(UINT64_MAX - PAGE + 2, mem, 0, PAGE, VDPA_PERM_RW);

	expect_refused(&range, 1, "wraps");
	range.iova--; /* ends at 2^64: the length is right, but iova + len wraps to 0 */
	expect_refused(&range, 1, "wraps");
	range.iova = 0;
	range.len = 0;
	expect_refused(&range, 1, "empty");
	vdpa_mem_put(mem);
}

static void test_iotlb_rejects_what_lies_outside_its_memory(void **state)
{
	struct vdpa_mem *mem = mem_of(2 * PAGE);
	struct vdpa_iotlb_range range = range_of(0, mem, PAGE, PAGE + 1, VDPA_PERM_RW);

	expect_refused(&range, 1, "outside");
	range = range_of(0, mem, 0, PAGE, VDPA_PERM_RW);
	range.hva--;
	expect_refused(&range, 1, "outside");
	range.hva = (uint8_t *)vdpa_mem_hva(mem) + 2 * PAGE;
	expect_refused(&range, 1, "outside");
	range.hva = NULL;
	range.len = UINT64_MAX;
	expect_refused(&range, 1, "outside");
	range.mem = NULL;
	expect_refused(&range, 1, "no memory");
	vdpa_mem_put(mem);
}

static void test_iotlb_rejects_overlap(void **state)
{
	struct vdpa_mem *mem = mem_of(4 * PAGE);
	struct vdpa_iotlb_range ranges[] = {
		range_of(0x2000, mem, 0, 2 * PAGE, VDPA_PERM_RW),
		range_of(0x1000, mem, 2 * PAGE, PAGE + 1, VDPA_PERM_RW),
	};

	expect_refused(ranges, 2, "overlap");
	ranges[1].iova = 0x2000;
	expect_refused(ranges, 2, "overlap");
	ranges[1].iova = 0x3fff;
	expect_refused(ranges, 2, "overlap");
	vdpa_mem_put(mem);
}

static void test_iotlb_empty_translates_nothing(void **state)
{
	struct vdpa_iotlb *iotlb;
	size_t num = 1;

	assert_int_equal(vdpa_iotlb_alloc(NULL, 0, &iotlb, NULL), 0);
	vdpa_iotlb_ranges(iotlb, &num);
	assert_int_equal(num, 0);
	assert_null(vdpa_iotlb_find(iotlb, 0));
	assert_null(vdpa_iotlb_find_hva(iotlb, NULL));
	assert_null(vdpa_iotlb_translate(iotlb, 0, 1, VDPA_PERM_READ));
	vdpa_iotlb_put(iotlb);
	vdpa_iotlb_put(NULL);
}

static void test_iotlb_translate_within_bounds(void **state)
{
	struct vdpa_mem *mem = mem_of(4 * PAGE);
	const struct vdpa_iotlb_range ranges[] = {
		range_of(0x1000, mem, 0, PAGE, VDPA_PERM_RW),
		range_of(0x2000, mem, PAGE, PAGE, VDPA_PERM_READ),   /* adjoins here and there */
		range_of(0x3000, mem, 3 * PAGE, PAGE, VDPA_PERM_RW), /* adjoins there only */
		range_of(0x5000, mem, 2 * PAGE, PAGE, VDPA_PERM_WRITE),
	};
	uint8_t *hva = vdpa_mem_hva(mem);
	struct vdpa_iotlb *iotlb;

	assert_int_equal(vdpa_iotlb_alloc(ranges, 4, &iotlb, NULL), 0);
	assert_ptr_equal(vdpa_iotlb_translate(iotlb, 0x1001, PAGE - 1, VDPA_PERM_RW), hva + 1);
	assert_null(vdpa_iotlb_translate(iotlb, 0x1001, PAGE, VDPA_PERM_RW));
	assert_ptr_equal(vdpa_iotlb_translate(iotlb, 0x1001, PAGE, VDPA_PERM_READ), hva + 1);
	assert_ptr_equal(vdpa_iotlb_translate(iotlb, 0x1000, 2 * PAGE, VDPA_PERM_READ), hva);
	assert_null(vdpa_iotlb_translate(iotlb, 0x1000, 2 * PAGE + 1, VDPA_PERM_READ));
	assert_null(vdpa_iotlb_translate(iotlb, 0x3fff, 2, VDPA_PERM_READ));
	assert_null(vdpa_iotlb_translate(iotlb, 0x5000, 1, VDPA_PERM_READ));
	assert_non_null(vdpa_iotlb_translate(iotlb, 0x5000, 1, VDPA_PERM_WRITE));
	assert_null(vdpa_iotlb_translate(iotlb, 0x5fff, 2, VDPA_PERM_WRITE));
	assert_null(vdpa_iotlb_translate(iotlb, 0x5000, UINT64_MAX, VDPA_PERM_WRITE));
	assert_null(vdpa_iotlb_translate(iotlb, 0x5000, UINT64_MAX - 0x5000, VDPA_PERM_WRITE));
	vdpa_iotlb_put(iotlb);
	vdpa_mem_put(mem);
}

static void test_iotlb_covers_needs_the_same_place(void **state)
{
	struct vdpa_mem *mem = mem_of(4 * PAGE), *other = mem_of(PAGE);
	struct vdpa_iotlb_range ranges[] = {
		range_of(0x1000, mem, 0, PAGE, VDPA_PERM_RW),
		range_of(0x4000, mem, PAGE, PAGE, VDPA_PERM_RW),
	};
	struct vdpa_iotlb *one, *two, *less, *moved;

	assert_int_equal(vdpa_iotlb_alloc(ranges, 1, &one, NULL), 0);
	assert_int_equal(vdpa_iotlb_alloc(ranges, 2, &two, NULL), 0);
	ranges[0].perm = VDPA_PERM_READ;
	assert_int_equal(vdpa_iotlb_alloc(ranges, 2, &less, NULL), 0);
	ranges[0] = range_of(0x1000, other, 0, PAGE, VDPA_PERM_RW);
	assert_int_equal(vdpa_iotlb_alloc(ranges, 2, &moved, NULL), 0);

	assert_true(vdpa_iotlb_covers(one, one));
	assert_true(vdpa_iotlb_covers(two, one));
	assert_false(vdpa_iotlb_covers(one, two));
	assert_false(vdpa_iotlb_covers(less, one));
	assert_false(vdpa_iotlb_covers(one, less));
	assert_true(vdpa_iotlb_covers(two, less));
	assert_false(vdpa_iotlb_covers(moved, one));
	vdpa_iotlb_put(one);
	vdpa_iotlb_put(two);
	vdpa_iotlb_put(less);
	vdpa_iotlb_put(moved);
	vdpa_mem_put(other);
	vdpa_mem_put(mem);
}

static void test_iotlb_finds_each_of_many(void **state)
{
	enum { NUM = 600 };
	struct vdpa_mem *mem = mem_of(NUM * PAGE);
	struct vdpa_iotlb_range *ranges = calloc(NUM, sizeof(*ranges));
	struct vdpa_iotlb *iotlb;

	assert_non_null(ranges);
	for (unsigned i = 0; i < NUM; i++) {
		unsigned at = i * 7 % NUM; /* a permutation: 7 and 600 have no common factor */

		ranges[i] = range_of(at * 0x10000ull, mem, at * PAGE, PAGE, VDPA_PERM_RW);
	}
	assert_int_equal(vdpa_iotlb_alloc(ranges, NUM, &iotlb, NULL), 0);
	for (unsigned i = 0; i < NUM; i++) {
		assert_ptr_equal(vdpa_iotlb_translate(iotlb, i * 0x10000ull + 9, 1, VDPA_PERM_READ),
				 (uint8_t *)vdpa_mem_hva(mem) + i * PAGE + 9);
		assert_null(vdpa_iotlb_find(iotlb, i * 0x10000ull + PAGE));
	}
	vdpa_iotlb_put(iotlb);
	vdpa_mem_put(mem);
	free(ranges);
}

static int make_all(struct vdpa_mem **mem, struct vdpa_iotlb **iotlb)
{
	struct vdpa_iotlb_range range;
	int err = vdpa_mem_alloc("test", PAGE, mem, NULL);

	if (err)
		return err;
	range = range_of(0, *mem, 0, PAGE, VDPA_PERM_RW);
	err = vdpa_iotlb_alloc(&range, 1, iotlb, NULL);
	if (err)
		vdpa_mem_put(*mem);
	return err;
}

static void test_iotlb_survives_lack_of_memory(void **state)
{
	struct vdpa_mem *mem = NULL;
	struct vdpa_iotlb *iotlb = NULL;
	unsigned n;
	int err;

	for (n = 1;; n++) {
		fail_alloc_nth(n);
		err = make_all(&mem, &iotlb);
		if (!fail_alloc_done())
			break;
		assert_int_equal(err, -ENOMEM);
		assert_null(iotlb);
	}
	assert_int_equal(err, 0);
	assert_int_equal(n, 3);
	vdpa_iotlb_put(iotlb);
	vdpa_mem_put(mem);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_mem_map_of_any_alignment),
		cmocka_unit_test(test_mem_map_rejects_what_the_file_has_not),
		cmocka_unit_test(test_mem_alloc_cannot_shrink),
		cmocka_unit_test(test_mem_counts_references),
		cmocka_unit_test(test_mem_map_needs_the_right),
		cmocka_unit_test(test_mem_survives_lack_of_descriptors),
		cmocka_unit_test(test_iotlb_sorts_and_finds),
		cmocka_unit_test(test_iotlb_rejects_wrap),
		cmocka_unit_test(test_iotlb_rejects_what_lies_outside_its_memory),
		cmocka_unit_test(test_iotlb_rejects_overlap),
		cmocka_unit_test(test_iotlb_empty_translates_nothing),
		cmocka_unit_test(test_iotlb_translate_within_bounds),
		cmocka_unit_test(test_iotlb_covers_needs_the_same_place),
		cmocka_unit_test(test_iotlb_finds_each_of_many),
		cmocka_unit_test(test_iotlb_survives_lack_of_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
