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
#include "command/command.h"
#include "daemon/daemon.h"
#include "fail_alloc.h"

static size_t split(char *text, char **words)
{
	char *save = NULL, *word;
	size_t num = 0;

	for (word = strtok_r(text, " ", &save); word; word = strtok_r(NULL, " ", &save))
		words[num++] = word;
	return num;
}

/* Parses a line; returns "method {parameters}" or "error: reason", to be freed. */
static char *parsed(const char *line)
{
	char *copy = strdup(line), *words[32], *text, *ret, method[COMMAND_METHOD_LEN];
	struct vdpa_extack ack = {0};
	const struct command *cmd;
	json_t *params = NULL;
	size_t num = split(copy, words), used;

	if (command_find(words, num, &cmd, &used, &ack) ||
	    command_parse(cmd, words + used, num - used, &params, &ack)) {
		assert_true(asprintf(&ret, "error: %s", ack.msg) > 0);
	} else {
		command_method(cmd, method);
		text = json_dumps(params, JSON_COMPACT);
		/* What the tool makes, the daemon takes. */
		assert_int_equal(command_check(cmd, params, NULL), 0);
		assert_true(asprintf(&ret, "%s %s", method, text) > 0);
		free(text);
	}
	json_decref(params);
	free(copy);
	return ret;
}

static void expect(const char *line, const char *expected)
{
	char *got = parsed(line);

	assert_string_equal(got, expected);
	free(got);
}

/* The reason begins so; what follows is the usage. */
static void expect_error(const char *line, const char *expected)
{
	char *got = parsed(line);

	assert_int_equal(strncmp(got, "error: ", 7), 0);
	got[7 + strlen(expected)] = '\0';
	assert_string_equal(got + 7, expected);
	free(got);
}

static void test_command_words_become_parameters(void **state)
{
	expect("dev add name disk0 mgmtdev blk file /srv/a.img queues 2",
	       "dev.add {\"name\":\"disk0\",\"mgmtdev\":\"blk\","
	       "\"attrs\":{\"file\":\"/srv/a.img\",\"queues\":\"2\"}}");
	expect("dev add mgmtdev blk size 1G name d", "dev.add {\"mgmtdev\":\"blk\","
						     "\"attrs\":{\"size\":\"1G\"},\"name\":\"d\"}");
	expect("dev bind disk0 driver vhost-user force mode 660",
	       "dev.bind {\"name\":\"disk0\",\"driver\":\"vhost-user\",\"force\":true,"
	       "\"attrs\":{\"mode\":\"660\"}}");
	expect("dev vstats show d qidx 1", "dev.vstats.show {\"name\":\"d\",\"qidx\":1}");
	expect("driver default blk none", "driver.default {\"class\":\"blk\",\"driver\":\"none\"}");
	expect("worker add w cpu any poll-us 50",
	       "worker.add {\"name\":\"w\",\"cpu\":-1,\"poll-us\":50}");
	expect("stop", "stop {}");
	expect("top count 2", "top {\"count\":2}");
	expect("top d interval 3", "top {\"name\":\"d\",\"interval\":3}");
}

static void test_command_takes_the_name_as_iproute2_has_it(void **state)
{
	expect("dev set name d mac 1", "dev.set {\"name\":\"d\",\"attrs\":{\"mac\":\"1\"}}");
	expect("dev set d mac 1", "dev.set {\"name\":\"d\",\"attrs\":{\"mac\":\"1\"}}");
	expect("dev show name", "dev.show {\"name\":\"name\"}");
}

static void test_command_words_may_be_cut_short(void **state)
{
	expect("d sh", "error: 'd' could be 'dev' or 'driver'");
	expect("dev sh", "dev.show {}");
	expect("dev c", "dev.config.show {}");
	expect("dev v s x", "dev.vstats.show {\"name\":\"x\"}");
	expect("dev", "dev.show {}");
	expect("m", "error: 'm' could be 'mgmtdev' or 'monitor'");
	expect("mg", "mgmtdev.show {}");
	expect("dev s", "error: 's' could be 'show' or 'set'");
	expect("dev se d k v", "dev.set {\"name\":\"d\",\"attrs\":{\"k\":\"v\"}}");
}

static void test_command_refuses_with_the_word_that_is_wrong(void **state)
{
	expect_error("", "a command is missing");
	expect_error("frob", "'frob' is no command; try 'mgmtdev', 'dev'");
	expect_error("dev show a b", "'b' is not expected; usage: dev show [NAME]");
	expect_error("dev add name d", "'mgmtdev' is missing; usage: dev add name NAME");
	expect_error("dev add name d name e", "'name' is given twice");
	expect_error("dev add name d mgmtdev blk size", "'size' has no value");
	expect_error("dev add name d mgmtdev blk size 1 size 2", "'size' is given twice");
	expect_error("dev del d force force", "'force' is given twice");
	expect_error("dev set d", "'KEY VALUE' is missing");
	expect_error("dev vstats show d qidx x", "'x' of 'qidx' is no number from 0 to 2147483647");
	expect_error("worker set w cpu -1",
		     "'-1' of 'cpu' is no number from 0 to 2147483647, nor 'any'");
	expect_error("dev set d key a\033b", "the value of 'key' has a control character");
	expect_error("dev set d a\033b c", "an attribute's name has a control character");
	expect_error("dev set d key \xff", "the value of 'key' is not UTF-8");
}

/* Each row: reachable by its words and by its method, carried out by the daemon, fit for 80
 * columns. */
static void test_command_table_is_sound(void **state)
{
	for (const struct command *cmd = command_table; cmd->words[0]; cmd++) {
		char method[COMMAND_METHOD_LEN], usage[COMMAND_USAGE_LEN];
		const struct command *found;
		size_t num = 0, used;
		bool optional = false;

		while (cmd->words[num])
			num++;
		assert_int_equal(command_find((char *const *)cmd->words, num, &found, &used, NULL),
				 0);
		assert_ptr_equal(found, cmd);
		assert_int_equal(used, num);
		command_method(cmd, method);
		if (!(cmd->flags & COMMAND_LOCAL)) {
			assert_ptr_equal(command_by_method(method), cmd);
			assert_true(methods_known(method));
		}
		command_usage(cmd, usage);
		assert_in_range(strlen(usage), strlen(cmd->words[0]), 72);
		assert_in_range(strlen(cmd->help), 1, 72);
		/* Attributes take all that is left, and an optional word before a required one is
		 * never reached. */
		for (const struct command_arg *arg = cmd->args; arg->name; arg++) {
			if (arg->type == COMMAND_ATTRS)
				assert_null(arg[1].name);
			if (arg->flags & COMMAND_POSITIONAL) {
				assert_false(optional && (arg->flags & COMMAND_REQUIRED));
				optional |= !(arg->flags & COMMAND_REQUIRED);
			}
		}
	}
	assert_null(command_by_method("top"));
	assert_null(command_by_method("dev"));
	assert_null(command_by_method(""));
}

static int check(const char *method, const char *json, struct vdpa_extack *ack)
{
	json_t *params = json_loads(json, 0, NULL);
	int err;

	assert_non_null(params);
	memset(ack, 0, sizeof(*ack));
	err = command_check(command_by_method(method), params, ack);
	json_decref(params);
	return err;
}

static void test_command_check_takes_what_the_table_says(void **state)
{
	struct vdpa_extack ack;

	assert_int_equal(command_check(command_by_method("dev.show"), NULL, &ack), 0);
	assert_int_equal(check("dev.show", "{\"statistics\": true}", &ack), 0);
	assert_int_equal(
		check("dev.add",
		      "{\"name\": \"a\", \"mgmtdev\": \"blk\", \"attrs\": {\"file\": \"a\", "
		      "\"queues\": 2, \"direct\": true}, \"fds\": {\"file\": 0}}",
		      &ack),
		0);
}

static void test_command_check_refuses_the_rest(void **state)
{
	static const struct {
		const char *method, *json, *text;
	} cases[] = {
		{"dev.show", "[]", "parameters must be an object"},
		{"dev.show", "{\"name\": 1}", "'name' must be a string"},
		{"dev.show", "{\"force\": true}", "unknown parameter 'force'"},
		{"dev.show", "{\"fds\": {}}", "unknown parameter 'fds'"},
		{"dev.show", "{\"name\": \"\\u001b\"}", "'name' has a control character"},
		{"dev.del", "{}", "parameter 'name' is missing"},
		{"dev.del", "{\"name\": \"a\", \"force\": 1}", "'force' must be a boolean"},
		{"dev.vstats.show", "{\"name\": \"a\", \"qidx\": -1}",
		 "'qidx' must be a number from 0 to 2147483647"},
		{"worker.add", "{\"name\": \"a\", \"cpu\": -2}",
		 "'cpu' must be a number from -1 to 2147483647"},
		{"worker.add", "{\"name\": \"a\", \"cpu\": 4294967296}",
		 "'cpu' must be a number from -1 to 2147483647"},
		{"dev.set", "{\"name\": \"a\", \"attrs\": []}", "'attrs' must be an object"},
		{"dev.set", "{\"name\": \"a\", \"attrs\": {\"k\": null}}",
		 "attribute 'k' must be a string, an integer or a boolean"},
		{"dev.set", "{\"name\": \"a\", \"attrs\": {\"k\": \"\\n\"}}",
		 "an attribute has a control character"},
		{"dev.set", "{\"name\": \"a\", \"attrs\": {\"k\": 1}, \"fds\": {\"l\": 0}}",
		 "'fds': no attribute 'l'"},
		{"dev.set", "{\"name\": \"a\", \"attrs\": {\"k\": 1}, \"fds\": {\"k\": -1}}",
		 "'fds': 'k' must be an index"},
	};
	struct vdpa_extack ack;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		assert_int_equal(check(cases[i].method, cases[i].json, &ack), -EINVAL);
		assert_string_equal(ack.msg, cases[i].text);
	}
}

static void test_command_next_offers_words(void **state)
{
	char *none[] = {"dev"}, *config[] = {"dev", "con"}, *done[] = {"dev", "show"};
	const char *next[24];

	assert_in_range(command_next(NULL, 0, next, ARRAY_SIZE(next)), 5, 23);
	assert_string_equal(next[0], "mgmtdev");
	assert_true(command_next(none, 1, next, ARRAY_SIZE(next)) > 5);
	assert_int_equal(command_next(config, 2, next, ARRAY_SIZE(next)), 1);
	assert_string_equal(next[0], "show");
	assert_int_equal(command_next(done, 2, next, ARRAY_SIZE(next)), 0);
}

static void *json_alloc(size_t size)
{
	return malloc(size);
}

static void test_command_parse_survives_every_failing_allocation(void **state)
{
	char text[] = "dev add name d mgmtdev blk file a direct on", *words[16];
	size_t num = split(text, words), used;
	const struct command *cmd;
	json_t *params = NULL;
	unsigned int n = 0;
	int err;

	json_set_alloc_funcs(json_alloc, free);
	assert_int_equal(command_find(words, num, &cmd, &used, NULL), 0);
	do {
		fail_alloc_nth(++n);
		err = command_parse(cmd, words + used, num - used, &params, NULL);
		assert_true(!err == !fail_alloc_done());
	} while (err);
	assert_true(n > 5);
	assert_string_equal(
		json_string_value(json_object_get(json_object_get(params, "attrs"), "direct")),
		"on");
	json_decref(params);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_command_words_become_parameters),
		cmocka_unit_test(test_command_takes_the_name_as_iproute2_has_it),
		cmocka_unit_test(test_command_words_may_be_cut_short),
		cmocka_unit_test(test_command_refuses_with_the_word_that_is_wrong),
		cmocka_unit_test(test_command_table_is_sound),
		cmocka_unit_test(test_command_check_takes_what_the_table_says),
		cmocka_unit_test(test_command_check_refuses_the_rest),
		cmocka_unit_test(test_command_next_offers_words),
		cmocka_unit_test(test_command_parse_survives_every_failing_allocation),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
