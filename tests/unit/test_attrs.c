/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "fail_alloc.h"
#include "vdpa/attrs.h"

static const char *const caches[] = {"writeback", "writethrough", "none", NULL};

static const struct vdpa_attr_desc table[] = {
	{"file", VDPA_ATTR_PATH, VDPA_ATTR_REQUIRED, 0, 0, NULL, "the image"},
	{"size", VDPA_ATTR_SIZE, VDPA_ATTR_LIVE, 512, 1ULL << 40, NULL, "capacity"},
	{"queues", VDPA_ATTR_UINT, 0, 1, 64, NULL, "number of queues, default 1"},
	{"readonly", VDPA_ATTR_BOOL, 0, 0, 0, NULL, "default off"},
	{"cache", VDPA_ATTR_ENUM, 0, 0, 0, caches, "default writeback"},
	{"mtu", VDPA_ATTR_UINT, 0, 68, 0, NULL, "largest frame"},
	{"link", VDPA_ATTR_BOOL, VDPA_ATTR_LIVE | VDPA_ATTR_NOADD, 0, 0, NULL, "carrier"},
	{NULL},
};

static const struct vdpa_attr_desc more[] = {
	{"mode", VDPA_ATTR_OCTAL, 0, 0, 0, NULL, "of the socket"},
	{"features", VDPA_ATTR_HEX64, 0, 0, 0, NULL, "mask"},
	{"serial", VDPA_ATTR_STRING, 0, 0, 0, NULL, "up to 20 characters"},
	{NULL},
};

/* Checks `key value` beside a valid file; the text is left in ack. */
static int check_as(const char *key, const char *value, bool live, uint64_t *num,
		    struct vdpa_extack *ack)
{
	struct vdpa_attrs *attrs = vdpa_attrs_alloc();
	int err;

	assert_non_null(attrs);
	memset(ack, 0, sizeof(*ack));
	if (!live)
		assert_int_equal(vdpa_attrs_add(attrs, "file", "/srv/a.img", NULL, ack), 0);
	err = vdpa_attrs_add(attrs, key, value, NULL, ack);
	if (!err)
		err = vdpa_attrs_check(attrs, table, more, live, ack);
	if (num)
		*num = vdpa_attrs_u64(attrs, key, UINT64_MAX);
	vdpa_attrs_free(attrs);
	return err;
}

static void expect_num(const char *key, const char *value, uint64_t want)
{
	struct vdpa_extack ack;
	uint64_t num;

	assert_int_equal(check_as(key, value, false, &num, &ack), 0);
	assert_int_equal(num, want);
}

static void expect_text(const char *key, const char *value, bool live, int err, const char *text)
{
	struct vdpa_extack ack;

	assert_int_equal(check_as(key, value, live, NULL, &ack), err);
	assert_string_equal(ack.msg, text);
}

static void test_attrs_reads_values_by_type(void **state)
{
	expect_num("size", "64M", 64ULL << 20);
	expect_num("size", "512", 512);
	expect_num("queues", "64", 64);
	expect_num("queues", "0x10", 16);
	expect_num("queues", "010", 10);
	expect_num("mtu", "18446744073709551615", UINT64_MAX);
	expect_num("mode", "0660", 0660);
	expect_num("mode", "7777", 07777);
	expect_num("features", "0x100000000", 1ULL << 32);
	expect_num("features", "ffffffffffffffff", UINT64_MAX);
	expect_num("cache", "none", 2);
	expect_num("readonly", "on", 1);
}

static void test_attrs_refuses_bad_numbers(void **state)
{
	static const char *const bad[] = {"",    "-1", "+1", " 1", "1 ",  "0x",
					  "0xg", "1e", "x",  "1K", "1.0", "٣"};
	struct vdpa_extack ack;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(check_as("queues", bad[i], false, NULL, &ack), -EINVAL);
	assert_int_equal(check_as("queues", "18446744073709551616", false, NULL, &ack), -ERANGE);
	assert_int_equal(check_as("features", "10000000000000000", false, NULL, &ack), -ERANGE);
	assert_int_equal(check_as("mode", "08", false, NULL, &ack), -EINVAL);
	assert_int_equal(check_as("mode", "10000", false, NULL, &ack), -ERANGE);
	assert_int_equal(check_as("file2", "", false, NULL, &ack), -EINVAL);
}

static void test_attrs_text_says_what_would_be_right(void **state)
{
	expect_text(
		"queues", "65", false, -ERANGE,
		"'queues' must be a number from 1 to 64, not '65' (number of queues, default 1)");
	expect_text("size", "2T", false, -ERANGE,
		    "'size' must be a size (bytes, or with K, M, G, T) from 512 to 1T, not '2T' "
		    "(capacity)");
	expect_text("mtu", "67", false, -ERANGE,
		    "'mtu' must be a number, at least 68, not '67' (largest frame)");
	expect_text("readonly", "yes", false, -EINVAL,
		    "'readonly' must be 'on' or 'off', not 'yes' (default off)");
	expect_text("cache", "off", false, -EINVAL,
		    "'cache' must be 'writeback', 'writethrough' or 'none', not 'off' "
		    "(default writeback)");
	expect_text("link", "on", false, -EINVAL, "'link' cannot be given here, only set later");
	expect_text("queues", "2", true, -EINVAL,
		    "'queues' cannot be changed later; what can: 'size', 'link'");
}

static void test_attrs_unknown_key_lists_the_known(void **state)
{
	expect_text("fil", "x", false, -EINVAL,
		    "unknown attribute 'fil', did you mean 'file'? known here: 'file', 'size', "
		    "'queues', 'readonly', 'cache', 'mtu', 'mode', 'features', 'serial'");
	expect_text("color", "x", true, -EINVAL,
		    "unknown attribute 'color'; known here: 'size', 'link'");
	expect_text("seriall", "x", true, -EINVAL,
		    "unknown attribute 'seriall', did you mean 'serial'? known here: 'size', "
		    "'link'");
}

static void test_attrs_long_keys_and_values_are_cut(void **state)
{
	struct vdpa_extack ack;
	char text[4096];

	memset(text, 'a', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	assert_int_equal(check_as(text, "1", false, NULL, &ack), -EINVAL);
	assert_non_null(strstr(ack.msg, "known here: 'file'"));
	assert_int_equal(check_as("cache", text, false, NULL, &ack), -EINVAL);
	assert_non_null(strstr(ack.msg, "(default writeback)"));
}

static void test_attrs_required_ones_must_be_there(void **state)
{
	struct vdpa_attrs *attrs = vdpa_attrs_alloc();
	struct vdpa_extack ack = {0};

	assert_int_equal(vdpa_attrs_check(attrs, table, more, false, &ack), -EINVAL);
	assert_string_equal(ack.msg, "attribute 'file' is missing (the image)");
	assert_int_equal(vdpa_attrs_check(attrs, table, more, true, NULL), 0);
	assert_int_equal(vdpa_attrs_check(attrs, more, table, false, NULL), -EINVAL);
	assert_int_equal(vdpa_attrs_check(attrs, NULL, more, false, NULL), 0);
	assert_int_equal(vdpa_attrs_check(NULL, NULL, NULL, false, NULL), 0);
	vdpa_attrs_free(attrs);
}

static void test_attrs_refuses_a_key_twice(void **state)
{
	struct vdpa_attrs *attrs = vdpa_attrs_alloc();
	struct vdpa_extack ack = {0};

	assert_int_equal(vdpa_attrs_add(attrs, "file", "a", NULL, &ack), 0);
	assert_int_equal(vdpa_attrs_add(attrs, "file", "b", NULL, &ack), -EEXIST);
	assert_string_equal(ack.msg, "attribute 'file' is given twice");
	assert_string_equal(vdpa_attrs_str(attrs, "file", NULL), "a");
	vdpa_attrs_free(attrs);
}

static void test_attrs_number_is_bounded(void **state)
{
	struct vdpa_attrs *attrs = vdpa_attrs_alloc();
	char key[16];
	int i, err;

	for (i = 0; i < 1000; i++) {
		snprintf(key, sizeof(key), "key%d", i);
		err = vdpa_attrs_add(attrs, key, "", NULL, NULL);
		if (err)
			break;
	}
	assert_int_equal(err, -E2BIG);
	assert_int_equal(i, 256);
	assert_int_equal(vdpa_attrs_num(attrs), 256);
	assert_string_equal(vdpa_attrs_key(attrs, 255), "key255");
	assert_string_equal(vdpa_attrs_value(attrs, 255), "");
	assert_null(vdpa_attrs_key(attrs, 256));
	vdpa_attrs_free(attrs);
}

static void test_attrs_descriptors_move(void **state)
{
	struct vdpa_attrs *attrs = vdpa_attrs_alloc();
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC), left = dup(fd), kept = dup(fd);
	int taken = fd, closed = left;

	assert_int_equal(vdpa_attrs_add(attrs, "file", "/dev/null", &fd, NULL), 0);
	assert_int_equal(fd, -1);
	assert_int_equal(vdpa_attrs_add(attrs, "file", "/dev/null", &kept, NULL), -EEXIST);
	assert_true(kept >= 0);
	assert_int_equal(vdpa_attrs_add(attrs, "other", "/dev/null", &left, NULL), 0);

	assert_int_equal(vdpa_attrs_take_fd(attrs, "file"), taken);
	assert_int_equal(vdpa_attrs_take_fd(attrs, "file"), -1);
	assert_int_equal(vdpa_attrs_take_fd(attrs, "none"), -1);
	vdpa_attrs_free(attrs);
	assert_int_equal(fcntl(closed, F_GETFD), -1);
	assert_int_equal(close(taken), 0);
	assert_int_equal(close(kept), 0);
}

static void test_attrs_descriptors_are_kept(void **state)
{
	struct vdpa_attrs *attrs = vdpa_attrs_alloc();
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC), kept;
	struct rlimit limit, none;
	struct vdpa_extack ack = {0};

	assert_int_equal(vdpa_attrs_add(attrs, "size", "1M", NULL, NULL), 0);
	assert_int_equal(vdpa_attrs_add(attrs, "file", "/dev/null", &fd, NULL), 0);
	assert_int_equal(vdpa_attrs_kept_fd(attrs, 1), -1);
	getrlimit(RLIMIT_NOFILE, &limit);
	none = limit;
	none.rlim_cur = 0;
	setrlimit(RLIMIT_NOFILE, &none);
	assert_int_equal(vdpa_attrs_keep_fds(attrs, &ack), -EINVAL);
	setrlimit(RLIMIT_NOFILE, &limit);
	assert_string_equal(ack.msg, "no descriptor left for 'file'");
	assert_int_equal(vdpa_attrs_keep_fds(attrs, NULL), 0);
	kept = vdpa_attrs_kept_fd(attrs, 1);
	assert_true(fcntl(kept, F_GETFD) & FD_CLOEXEC);
	assert_int_equal(vdpa_attrs_keep_fds(attrs, NULL), 0);
	assert_int_equal(vdpa_attrs_kept_fd(attrs, 1), kept);
	assert_int_equal(vdpa_attrs_kept_fd(attrs, 0), -1);
	assert_int_equal(vdpa_attrs_kept_fd(attrs, 2), -1);
	assert_int_equal(close(vdpa_attrs_take_fd(attrs, "file")), 0);
	vdpa_attrs_drop_fds(attrs);
	assert_int_equal(vdpa_attrs_kept_fd(attrs, 1), kept);
	vdpa_attrs_free(attrs);
	assert_int_equal(fcntl(kept, F_GETFD), -1);
}

static void test_attrs_defaults(void **state)
{
	struct vdpa_attrs *attrs = vdpa_attrs_alloc();

	assert_int_equal(vdpa_attrs_u64(NULL, "queues", 7), 7);
	assert_true(vdpa_attrs_bool(NULL, "readonly", true));
	assert_false(vdpa_attrs_has(NULL, "readonly"));
	assert_int_equal(vdpa_attrs_num(NULL), 0);
	vdpa_attrs_free(NULL);

	assert_int_equal(vdpa_attrs_add(attrs, "readonly", "off", NULL, NULL), 0);
	assert_int_equal(vdpa_attrs_add(attrs, "serial", "12", NULL, NULL), 0);
	assert_int_equal(vdpa_attrs_check(attrs, more, table, true, NULL), -EINVAL);
	assert_false(vdpa_attrs_bool(attrs, "readonly", true));
	assert_true(vdpa_attrs_has(attrs, "readonly"));
	assert_int_equal(vdpa_attrs_u64(attrs, "serial", 5), 5);
	assert_string_equal(vdpa_attrs_str(attrs, "serial", "x"), "12");
	assert_string_equal(vdpa_attrs_str(attrs, "file", "x"), "x");
	vdpa_attrs_free(attrs);
}

static void test_attrs_parse_size(void **state)
{
	uint64_t num = 1;

	assert_int_equal(vdpa_parse_size("0", &num), 0);
	assert_int_equal(num, 0);
	assert_int_equal(vdpa_parse_size("3k", &num), 0);
	assert_int_equal(num, 3072);
	assert_int_equal(vdpa_parse_size("16777215T", &num), 0);
	assert_int_equal(num, 16777215ULL << 40);
	num = 42;
	assert_int_equal(vdpa_parse_size("16777216T", &num), -ERANGE);
	assert_int_equal(vdpa_parse_size("99999999999999999999", &num), -ERANGE);
	assert_int_equal(vdpa_parse_size("", &num), -EINVAL);
	assert_int_equal(vdpa_parse_size("K", &num), -EINVAL);
	assert_int_equal(vdpa_parse_size("1KB", &num), -EINVAL);
	assert_int_equal(vdpa_parse_size("-1", &num), -EINVAL);
	assert_int_equal(vdpa_parse_size("1 K", &num), -EINVAL);
	assert_int_equal(num, 42);
}

static void test_attrs_format_size(void **state)
{
	static const struct {
		uint64_t size;
		const char *text;
	} rows[] = {
		{0, "0"},
		{1000, "1000"},
		{1024, "1K"},
		{1536, "1536"},
		{64 << 20, "64M"},
		{3ULL << 30, "3G"},
		{5ULL << 50, "5120T"},
		{UINT64_MAX, "18446744073709551615"},
	};
	char buf[24];

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		vdpa_format_size(rows[i].size, buf, sizeof(buf));
		assert_string_equal(buf, rows[i].text);
	}
	vdpa_format_size(UINT64_MAX, buf, 4);
	assert_string_equal(buf, "184");
}

static void test_attrs_survive_no_memory(void **state)
{
	struct vdpa_attrs *attrs;
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC), err;
	char key[16];

	assert_true(fd >= 0);
	fail_alloc_nth(1);
	assert_null(vdpa_attrs_alloc());
	assert_true(fail_alloc_done());

	attrs = vdpa_attrs_alloc();
	for (int i = 0; i < 20; i++) {
		snprintf(key, sizeof(key), "key%d", i);
		for (unsigned n = 1;; n++) {
			fail_alloc_nth(n);
			err = vdpa_attrs_add(attrs, key, "value", i ? NULL : &fd, NULL);
			if (!fail_alloc_done())
				break;
			assert_int_equal(err, -ENOMEM);
			assert_int_equal(vdpa_attrs_num(attrs), i);
			assert_true(i || fd >= 0);
		}
		assert_int_equal(err, 0);
		assert_int_equal(fd, -1);
	}
	vdpa_attrs_free(attrs);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_attrs_reads_values_by_type),
		cmocka_unit_test(test_attrs_refuses_bad_numbers),
		cmocka_unit_test(test_attrs_text_says_what_would_be_right),
		cmocka_unit_test(test_attrs_unknown_key_lists_the_known),
		cmocka_unit_test(test_attrs_long_keys_and_values_are_cut),
		cmocka_unit_test(test_attrs_required_ones_must_be_there),
		cmocka_unit_test(test_attrs_refuses_a_key_twice),
		cmocka_unit_test(test_attrs_number_is_bounded),
		cmocka_unit_test(test_attrs_descriptors_move),
		cmocka_unit_test(test_attrs_descriptors_are_kept),
		cmocka_unit_test(test_attrs_defaults),
		cmocka_unit_test(test_attrs_survive_no_memory),
		cmocka_unit_test(test_attrs_parse_size),
		cmocka_unit_test(test_attrs_format_size),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
