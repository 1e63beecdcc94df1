/* SPDX-License-Identifier: BSD-2-Clause */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "cli/print.h"

static void expect(const char *json, bool brief, const char *expected)
{
	json_t *result = json_loads(json, 0, NULL);
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	assert_non_null(result);
	print_result(out, result, brief);
	fclose(out);
	assert_string_equal(text, expected);
	free(text);
	json_decref(result);
}

static void test_print_safe_escapes_control_characters(void **state)
{
	char *text = print_safe("a\x1b[2J\x7f\xc2\x9b\n\xc3\xa4");

	assert_string_equal(text, "a\\x1b[2J\\x7f\\x9b\\x0a\xc3\xa4");
	assert_int_equal(print_width("a\xc3\xa4"), 2);
	free(text);
}

static void test_print_members_then_groups(void **state)
{
	expect("{\"dev\":{\"d\":{\"list\":[1,2],\"type\":\"block\",\"none\":[],\"empty\":\"\","
	       "\"device\":{\"on\":true},\"gone\":{}}}}",
	       false, "d: type block empty \"\"\n  list 1 2\n  device: on true\n");
	expect("{\"vstats\":{\"d\":{\"queues\":[{\"qidx\":0},{\"qidx\":1}]}}}", false,
	       "d:\n  queues:\n    qidx 0\n    qidx 1\n");
	expect("{\"dev\":{}}", false, "");
}

static void test_print_leaves_features_out_where_it_is_brief(void **state)
{
	static const char json[] = "{\"dev\":{\"d\":{\"type\":\"x\",\"device_features\":[\"A\"],"
				   "\"negotiated_features\":[\"A\"]}}}";

	expect(json, true, "d: type x\n");
	expect(json, false, "d: type x\n  device_features A\n  negotiated_features A\n");
}

static void test_print_breaks_lines_between_words(void **state)
{
	expect("{\"dev\":{\"d\":{\"aaaaaaaaaaaaaaaaaaa\":\"bbbbbbbbbbbbbbbbbbb\","
	       "\"ccccccccccccccccccc\":\"ddddddddddddddddddd\",\"key\":\"value\"}}}",
	       false,
	       "d: aaaaaaaaaaaaaaaaaaa bbbbbbbbbbbbbbbbbbb\n"
	       "    ccccccccccccccccccc ddddddddddddddddddd key value\n");
}

static void test_print_attributes_as_a_table(void **state)
{
	expect("{\"driver\":{\"x\":{\"devices\":1,\"attributes\":["
	       "{\"name\":\"mode\",\"type\":\"octal\",\"help\":\"rights\"},"
	       "{\"name\":\"kind\",\"type\":\"enum\",\"live\":true,\"help\":\"which\","
	       "\"values\":[\"one\",\"two\"]}]}}}",
	       false,
	       "x:\n  devices 1\n  attributes:\n"
	       "    mode          octal         rights\n"
	       "    kind          one|two, live which\n");
}

/* What a hostile daemon may say does no harm either. */
static void test_print_takes_any_shape(void **state)
{
	expect("{\"dev\":{\"d\":5,\"e\":[1],\"f\\u001b\":{\"a\\u001b\":[[[]]],\"attributes\":[1]}}"
	       "}",
	       false, "d:\ne:\nf\\x1b:\n  a\\x1b:\n    \n  attributes 1\n");
	expect("{\"driver\":{\"x\":{\"attributes\":[{},{\"name\":[],\"values\":[1]}],"
	       "\"features\":[{},{\"bit\":\"a\"}]}}}",
	       false,
	       "x:\n  attributes:\n                  "
	       "              \n"
	       "    -             ?             \n  features:\n     0\n     0\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_print_safe_escapes_control_characters),
		cmocka_unit_test(test_print_members_then_groups),
		cmocka_unit_test(test_print_leaves_features_out_where_it_is_brief),
		cmocka_unit_test(test_print_breaks_lines_between_words),
		cmocka_unit_test(test_print_attributes_as_a_table),
		cmocka_unit_test(test_print_takes_any_shape),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
