/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/defs.h"
#include "command/line.h"
#include "fail_alloc.h"

/* Words of all lines as "number: word|word\n...", to be freed; an error ends it with "error:
 * reason". */
static char *lines_of(const char *text, size_t len)
{
	FILE *in = fmemopen((char *)text, len, "r"), *out;
	struct vdpa_extack ack = {0};
	struct line line = {0};
	char *ret = NULL;
	size_t size;
	int got;

	out = open_memstream(&ret, &size);
	while ((got = line_read(&line, in, &ack)) > 0) {
		fprintf(out, "%u: ", line.number);
		for (size_t i = 0; i < line.num; i++)
			fprintf(out, "%s%s", i ? "|" : "", line.words[i]);
		fputc('\n', out);
	}
	if (got < 0)
		fprintf(out, "%u: error: %s\n", line.number, ack.msg);
	line_free(&line);
	fclose(in);
	fclose(out);
	return ret;
}

static void expect(const char *text, const char *expected)
{
	char *got = lines_of(text, strlen(text));

	assert_string_equal(got, expected);
	free(got);
}

static void test_line_words(void **state)
{
	expect("dev show\n", "1: dev|show\n");
	expect("  dev\t show  \r\n", "1: dev|show\n");
	expect("dev show", "1: dev|show\n");
	expect("\n\n# nothing\n   # nothing\ndev\n", "5: dev\n");
	expect("dev show # all\nx#y z\n", "1: dev|show\n2: x#y|z\n");
}

static void test_line_quotes(void **state)
{
	expect("file \"/a b\" 'c \"d'\n", "1: file|/a b|c \"d\n");
	expect("a\"b c\"d ''\n", "1: ab cd|\n");
	expect("a\\ b \"c\\\"d\" 'e\\f'\n", "1: a b|c\"d|e\\f\n");
	expect("'#' \"#\" \\#\n", "1: #|#|#\n");
	expect("ok\n\"open\n", "1: ok\n2: error: a quote is not closed\n");
}

static void test_line_goes_on_after_a_backslash(void **state)
{
	expect("dev add \\\n  name x\nnext\n", "1: dev|add|name|x\n3: next\n");
	expect("a \\\n", "1: a\n");
}

static void test_line_is_bounded(void **state)
{
	char *text = malloc(LINE_LEN_MAX + 3), *got;

	memset(text, 'x', LINE_LEN_MAX + 2);
	got = lines_of(text, LINE_LEN_MAX);
	assert_int_equal(strlen(got), LINE_LEN_MAX + 4);
	free(got);
	got = lines_of(text, LINE_LEN_MAX + 1);
	assert_string_equal(got, "1: error: the line is longer than 65536 bytes\n");
	free(got);
	for (int i = 0; i < 2 * LINE_WORDS_MAX + 2; i += 2)
		memcpy(text + i, "x ", 2);
	got = lines_of(text, 2 * LINE_WORDS_MAX + 2);
	assert_string_equal(got, "1: error: more than 128 words\n");
	free(got);
	free(text);
	got = lines_of("a\0b\n", 4);
	assert_string_equal(got, "1: error: a NUL byte in the text\n");
	free(got);
}

static void test_line_quote_is_undone_by_reading(void **state)
{
	static const char *const words[] = {"",     "plain",   "/srv/a.img",  "with blank",
					    "#",    "a\"b",    "back\\slash", "$x `y`",
					    "it's", "\xc3\xa4"};

	for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
		char *quoted = line_quote(words[i]), *text, *got, *expected;

		assert_true(asprintf(&text, "k %s\n", quoted) > 0);
		assert_true(asprintf(&expected, "1: k|%s\n", words[i]) > 0);
		got = lines_of(text, strlen(text));
		assert_string_equal(got, expected);
		free(quoted);
		free(text);
		free(got);
		free(expected);
	}
}

static void test_line_survives_every_failing_allocation(void **state)
{
	static const char text[] = "dev add \\\n name \"x y\"\n";

	for (unsigned int n = 1;; n++) {
		FILE *in = fmemopen((char *)text, sizeof(text) - 1, "r");
		struct vdpa_extack ack = {0};
		struct line line = {0};
		char *quoted;
		int got;

		fail_alloc_nth(n);
		got = line_read(&line, in, &ack);
		quoted = got > 0 ? line_quote(line.words[3]) : NULL;
		if (!fail_alloc_done()) {
			assert_string_equal(quoted, "\"x y\"");
			n = 0;
		} else {
			assert_true(got == -ENOMEM || !quoted);
		}
		free(quoted);
		line_free(&line);
		fclose(in);
		if (!n)
			return;
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_line_words),
		cmocka_unit_test(test_line_quotes),
		cmocka_unit_test(test_line_goes_on_after_a_backslash),
		cmocka_unit_test(test_line_is_bounded),
		cmocka_unit_test(test_line_survives_every_failing_allocation),
		cmocka_unit_test(test_line_quote_is_undone_by_reading),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
