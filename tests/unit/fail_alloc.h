/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Makes the n-th allocation fail, so that a test can walk through all of them:
 *
 *	for (unsigned n = 1;; n++) {
 *		fail_alloc_nth(n);
 *		err = thing_alloc(&thing);
 *		if (!fail_alloc_done())
 *			break;
 *		assert_int_equal(err, -ENOMEM);
 *	}
 *	assert_int_equal(err, 0);
 *
 * Every unit test is linked with it; it does nothing until armed.  It sees the calls to malloc(),
 * calloc(), realloc(), aligned_alloc(), posix_memalign(), strdup(), strndup(), asprintf() and
 * vasprintf() of the library and of the test, by the arming thread only.
 */
#ifndef UNIT_FAIL_ALLOC_H
#define UNIT_FAIL_ALLOC_H

#include <stdbool.h>

/* The n-th allocation from now on fails, once; 0 disarms. */
void fail_alloc_nth(unsigned n);

/* Disarms.  Returns whether an allocation has failed since it was armed. */
bool fail_alloc_done(void);

#endif
