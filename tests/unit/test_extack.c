/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "vdpa/extack.h"

static void test_extack_keeps_the_first_text(void **state)
{
	struct vdpa_extack ack = {0};

	assert_int_equal(vdpa_extack_set(&ack, -EINVAL, "size '%d' is odd", 3), -EINVAL);
	assert_int_equal(vdpa_extack_set(&ack, -EIO, "later"), -EIO);
	assert_string_equal(vdpa_extack_text(&ack, -EIO), "size '3' is odd");
}

static void test_extack_prefix_needs_a_text(void **state)
{
	struct vdpa_extack ack = {0};

	vdpa_extack_prefix(&ack, -EINVAL, "disk0");
	assert_string_equal(ack.msg, "");
	vdpa_extack_set(&ack, -EINVAL, "no such file");
	vdpa_extack_prefix(&ack, -EINVAL, "disk0");
	assert_string_equal(ack.msg, "disk0: no such file");
}

static void test_extack_cuts_long_text(void **state)
{
	char text[2 * VDPA_EXTACK_LEN];
	struct vdpa_extack ack = {0};

	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	vdpa_extack_set(&ack, -EINVAL, "%s", text);
	assert_int_equal(strlen(ack.msg), VDPA_EXTACK_LEN - 1);
	vdpa_extack_prefix(&ack, -EINVAL, "disk0");
	assert_int_equal(strlen(ack.msg), VDPA_EXTACK_LEN - 1);
	assert_memory_equal(ack.msg, "disk0: xxx", 10);
}

static void test_extack_without_text_names_the_error(void **state)
{
	struct vdpa_extack ack = {0};

	assert_int_equal(vdpa_extack_set(NULL, -EBUSY, "nobody reads this"), -EBUSY);
	assert_string_equal(vdpa_extack_text(NULL, -ENOENT), "No such file or directory");
	assert_string_equal(vdpa_extack_text(&ack, ENOENT), "No such file or directory");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_extack_keeps_the_first_text),
		cmocka_unit_test(test_extack_prefix_needs_a_text),
		cmocka_unit_test(test_extack_cuts_long_text),
		cmocka_unit_test(test_extack_without_text_names_the_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
