/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "fail_alloc.h"

static int three_allocations(void)
{
	char *a = malloc(3);
	char *b = a ? calloc(1, 3) : NULL;
	char *c = b ? strdup("x") : NULL;

	free(a);
	free(b);
	free(c);
	return c ? 0 : -ENOMEM;
}

static void test_fail_alloc_walks_through_all(void **state)
{
	unsigned n;

	for (n = 1;; n++) {
		int err;

		fail_alloc_nth(n);
		err = three_allocations();
		if (!fail_alloc_done()) {
			assert_int_equal(err, 0);
			break;
		}
		assert_int_equal(err, -ENOMEM);
	}
	assert_int_equal(n, 4);
}

static void test_fail_alloc_fails_once(void **state)
{
	void *p;

	fail_alloc_nth(1);
	errno = 0;
	assert_null(malloc(1));
	assert_int_equal(errno, ENOMEM);
	p = malloc(1);
	assert_non_null(p);
	assert_true(fail_alloc_done());
	free(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fail_alloc_walks_through_all),
		cmocka_unit_test(test_fail_alloc_fails_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
