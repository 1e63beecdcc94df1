/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "daemon/json_info.h"

static void expect(struct json_info *info, const char *expected)
{
	json_t *got = json_info_take(info);
	char *text = json_dumps(got, JSON_COMPACT);

	assert_string_equal(text, expected);
	free(text);
	json_decref(got);
}

static void test_json_info_keeps_order_and_shape(void **state)
{
	struct json_info info;

	assert_int_equal(json_info_init(&info), 0);
	vdpa_info_u64(&info.info, "z", 1);
	vdpa_info_fmt(&info.info, "a", "%d B", 5);
	vdpa_info_open_list(&info.info, "list");
	vdpa_info_str(&info.info, NULL, "x");
	vdpa_info_open(&info.info, NULL);
	vdpa_info_bool(&info.info, "on", true);
	vdpa_info_close(&info.info);
	vdpa_info_close(&info.info);
	vdpa_info_open(&info.info, "group");
	vdpa_info_close(&info.info);
	vdpa_info_bool(&info.info, "off", false);
	expect(&info, "{\"z\":1,\"a\":\"5 B\",\"list\":[\"x\",{\"on\":true}],\"group\":{},"
		      "\"off\":false}");
}

static void test_json_info_takes_any_bytes(void **state)
{
	struct json_info info;

	assert_int_equal(json_info_init(&info), 0);
	vdpa_info_str(&info.info, "good", "\xc3\xa4");
	vdpa_info_str(&info.info, "bad", "a\xff\xfez");
	expect(&info, "{\"good\":\"\xc3\xa4\",\"bad\":\"a\\\\xff\\\\xfez\"}");
}

static void test_json_info_takes_any_number(void **state)
{
	struct json_info info;

	assert_int_equal(json_info_init(&info), 0);
	vdpa_info_u64(&info.info, "most", INT64_MAX);
	vdpa_info_u64(&info.info, "more", UINT64_MAX);
	expect(&info, "{\"most\":9223372036854775807,\"more\":\"18446744073709551615\"}");
}

/* A device that nests too deep is not shown; nothing else happens. */
static void test_json_info_bounds_the_depth(void **state)
{
	struct json_info info;

	for (int depth = JSON_INFO_DEPTH - 1; depth < 3 * JSON_INFO_DEPTH; depth++) {
		assert_int_equal(json_info_init(&info), 0);
		for (int i = 0; i < depth; i++)
			vdpa_info_open(&info.info, "deeper");
		vdpa_info_u64(&info.info, "n", 1);
		for (int i = 0; i < depth + 3; i++)
			vdpa_info_close(&info.info);
		vdpa_info_u64(&info.info, "after", 1);
		if (depth < JSON_INFO_DEPTH) {
			json_t *got = json_info_take(&info);

			assert_int_equal(json_object_size(got), 2);
			json_decref(got);
		} else {
			assert_null(json_info_take(&info));
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_json_info_keeps_order_and_shape),
		cmocka_unit_test(test_json_info_takes_any_bytes),
		cmocka_unit_test(test_json_info_takes_any_number),
		cmocka_unit_test(test_json_info_bounds_the_depth),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
