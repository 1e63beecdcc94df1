/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/defs.h"
#include "cli/cli.h"
#include "cli/print.h"

static void print_event(const struct cli *cli, const json_t *event)
{
	const char *dev = json_string_value(json_object_get(event, "dev"));
	const char *mgmtdev = json_string_value(json_object_get(event, "mgmtdev"));
	const char *about = dev ? dev : mgmtdev;
	const char *name = json_string_value(json_object_get(event, "event"));
	const char *text = json_string_value(json_object_get(event, "text"));
	const json_t *count = json_object_get(event, "count");
	char *safe vdpa_cleanup(freep) = print_safe(text ? text : "");
	struct timespec now;
	struct tm tm;
	char clock[16];

	if (cli->json) {
		cli_dump(cli, event);
		return;
	}
	clock_gettime(CLOCK_REALTIME, &now);
	localtime_r(&now.tv_sec, &tm);
	strftime(clock, sizeof(clock), "%H:%M:%S", &tm);
	printf("%s.%03ld %s%s%s", clock, now.tv_nsec / 1000000, about ? about : "",
	       about ? " " : "", name ? name : "?");
	if (count)
		printf(" %" JSON_INTEGER_FORMAT, json_integer_value(count));
	printf("%s%s\n", text ? " " : "", safe ? safe : "");
	fflush(stdout);
}

int cli_monitor(struct cli *cli, struct vdpa_extack *ack)
{
	json_t *message, *ready;
	int ret;

	ret = cli_call(cli, "monitor", NULL, NULL, ack);
	if (ret)
		return ret;
	/* From here on nothing is missed: whoever reads us may act. */
	ready = json_pack("{s:s}", "event", "ready");
	print_event(cli, ready);
	json_decref(ready);
	while ((ret = client_receive(&cli->client, -1, &message, ack)) > 0) {
		if (json_object_get(message, "method"))
			print_event(cli, json_object_get(message, "params"));
		json_decref(message);
		if (ferror(stdout))
			return -EPIPE;
	}
	return ret;
}
