/* SPDX-License-Identifier: BSD-2-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "base/defs.h"
#include "vdpa/virtqueue.h"

/* Pieces of 3, 0, 1 and 4 bytes. */
struct pieces {
	char a[3], b[1], c[4];
	struct iovec iov[4];
};

static void pieces_init(struct pieces *p)
{
	memcpy(p->a, "abc", 3);
	memcpy(p->b, "d", 1);
	memcpy(p->c, "efgh", 4);
	p->iov[0] = (struct iovec){p->a, 3};
	p->iov[1] = (struct iovec){NULL, 0};
	p->iov[2] = (struct iovec){p->b, 1};
	p->iov[3] = (struct iovec){p->c, 4};
}

static void test_iov_to_buf_from_each_offset(void **state)
{
	const char *all = "abcdefgh";
	struct pieces p;

	pieces_init(&p);
	for (size_t off = 0; off <= 9; off++) {
		for (size_t len = 0; len <= 9; len++) {
			size_t left = off < 8 ? 8 - off : 0, want = len < left ? len : left;
			char buf[9] = {0};

			assert_int_equal(vdpa_iov_to_buf(p.iov, 4, off, buf, len), want);
			assert_memory_equal(buf, off < 8 ? all + off : "", want);
			assert_int_equal(buf[want], 0);
		}
	}
}

static void test_iov_from_buf_writes_the_part_only(void **state)
{
	struct pieces p;

	pieces_init(&p);
	assert_int_equal(vdpa_iov_from_buf(p.iov, 4, 2, "XYZ", 3), 3);
	assert_memory_equal(p.a, "abX", 3);
	assert_memory_equal(p.b, "Y", 1);
	assert_memory_equal(p.c, "Zfgh", 4);
	assert_int_equal(vdpa_iov_from_buf(p.iov, 4, 7, "12", 2), 1);
	assert_memory_equal(p.c, "Zfg1", 4);
	assert_int_equal(vdpa_iov_from_buf(p.iov, 4, 8, "12", 2), 0);
}

static void test_iov_set(void **state)
{
	struct pieces p;

	pieces_init(&p);
	assert_int_equal(vdpa_iov_set(p.iov, 4, 1, 0, 4), 4);
	assert_memory_equal(p.a, "a\0\0", 3);
	assert_memory_equal(p.b, "\0", 1);
	assert_memory_equal(p.c, "\0fgh", 4);
	assert_int_equal(vdpa_iov_set(p.iov, 0, 0, 1, 4), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_iov_to_buf_from_each_offset),
		cmocka_unit_test(test_iov_from_buf_writes_the_part_only),
		cmocka_unit_test(test_iov_set),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
