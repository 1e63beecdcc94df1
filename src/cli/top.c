/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/defs.h"
#include "cli/cli.h"

#define CLEAR_SCREEN "\033[H\033[J"

static const char *const counters[] = {"requests", "bytes_out", "bytes_in", "kicks",
				       "calls",    "errors",    "drops"};

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* 1234567 to "1.23M", bytes to "1.18M": four digits at most. */
static void human(double value, bool bytes, char buf[16])
{
	static const char units[] = " KMGTP";
	size_t unit = 0;

	while (value >= 1000 && units[unit + 1]) {
		value /= bytes ? 1024 : 1000;
		unit++;
	}
	if (!unit)
		snprintf(buf, 16, "%.0f", value);
	else
		snprintf(buf, 16, "%.*f%c",
			 value < 10    ? 2
			 : value < 100 ? 1
				       : 0,
			 value, units[unit]);
}

/* The queue of the last table that this one is to be compared with. */
static const json_t *find_queue(const json_t *devs, const char *name, json_int_t qidx)
{
	const json_t *queues = json_object_get(json_object_get(devs, name), "queues"), *queue;
	size_t i;

	json_array_foreach(queues, i, queue)
	{
		if (json_integer_value(json_object_get(queue, "qidx")) == qidx)
			return queue;
	}
	return NULL;
}

/* {"qidx": 0, "requests": 12.5, ...}: by second. */
static json_t *rates(const json_t *queue, const json_t *before, double seconds)
{
	json_t *row = json_object();
	size_t i;

	json_object_set(row, "qidx", json_object_get(queue, "qidx"));
	for (i = 0; i < ARRAY_SIZE(counters); i++) {
		json_int_t new = json_integer_value(json_object_get(queue, counters[i]));
		json_int_t old = json_integer_value(json_object_get(before, counters[i]));

		/* A device of the same name may be another by now. */
		json_object_set_new(row, counters[i],
				    json_real(new >= old ? (double)(new - old) / seconds : 0));
	}
	return row;
}

static json_t *compare(const json_t *devs, const json_t *before, double seconds)
{
	json_t *table = json_object(), *dev, *queue, *rows;
	const char *name;
	size_t i;

	json_object_foreach((json_t *)devs, name, dev)
	{
		rows = json_array();
		json_array_foreach(json_object_get(dev, "queues"), i, queue)
		{
			const json_t *old = find_queue(
				before, name, json_integer_value(json_object_get(queue, "qidx")));

			if (old)
				json_array_append_new(rows, rates(queue, old, seconds));
		}
		json_object_set_new(table, name, rows);
	}
	return table;
}

static void print_table(const json_t *table, bool tty, bool first)
{
	const char *name;
	json_t *rows, *row;
	char text[16];
	size_t i, c;

	if (tty)
		fputs(CLEAR_SCREEN, stdout);
	else if (!first)
		putchar('\n');
	printf("%-17s %5s %7s %7s %7s %7s %7s %7s %7s\n", "DEVICE", "QUEUE", "REQ/s", "OUT B/s",
	       "IN B/s", "KICKS/s", "CALLS/s", "ERR/s", "DROPS/s");
	json_object_foreach((json_t *)table, name, rows)
	{
		json_array_foreach(rows, i, row)
		{
			printf("%-17.17s %5" JSON_INTEGER_FORMAT, name,
			       json_integer_value(json_object_get(row, "qidx")));
			for (c = 0; c < ARRAY_SIZE(counters); c++) {
				human(json_real_value(json_object_get(row, counters[c])),
				      !strncmp(counters[c], "bytes", 5), text);
				printf(" %7s", text);
			}
			putchar('\n');
		}
	}
	fflush(stdout);
}

static int sample(struct cli *cli, const json_t *params, json_t **ret, struct vdpa_extack *ack)
{
	const json_t *name = json_object_get(params, "name");
	json_t *ask = json_pack("{s:b,s:O*}", "statistics", 1, "name", name), *result = NULL;
	int err = ask ? cli_call(cli, "dev.show", ask, &result, ack) : -ENOMEM;

	json_decref(ask);
	if (!err)
		*ret = json_incref(json_object_get(result, "dev"));
	json_decref(result);
	return err;
}

/* Until the next table is due, or the daemon leaves. */
static int wait_ms(struct cli *cli, int timeout_ms, struct vdpa_extack *ack)
{
	json_t *message;
	int ret = client_receive(&cli->client, timeout_ms, &message, ack);

	if (ret > 0)
		json_decref(message);
	return ret < 0 ? ret : 0;
}

static json_int_t number(const json_t *params, const char *name, json_int_t def)
{
	const json_t *value = json_object_get(params, name);

	return value ? json_integer_value(value) : def;
}

int cli_top(struct cli *cli, const json_t *params, struct vdpa_extack *ack)
{
	json_int_t interval = number(params, "interval", 1),
		   count = number(params, "count", cli->count);
	json_t *before = NULL, *devs = NULL, *table;
	uint64_t then, now;
	int err;

	if (interval < 1 || interval > 3600)
		return vdpa_extack_set(ack, -EINVAL, "'interval' is 1 to 3600 seconds");
	err = sample(cli, params, &before, ack);
	then = now_ns();
	for (json_int_t i = 0; !err && (!count || i < count); i++) {
		err = wait_ms(cli, (int)interval * 1000, ack);
		if (!err)
			err = sample(cli, params, &devs, ack);
		if (err)
			break;
		now = now_ns();
		table = compare(devs, before, (double)(now - then) / 1e9);
		if (cli->json)
			cli_dump(cli, table);
		else
			print_table(table, isatty(STDOUT_FILENO), !i);
		json_decref(table);
		json_decref(before);
		before = devs;
		then = now;
		if (ferror(stdout))
			err = -EPIPE;
	}
	json_decref(before);
	return err;
}
