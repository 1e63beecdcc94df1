/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <getopt.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/log.h"
#include "daemon/options.h"

#define EXIT_USAGE 2

enum {
	OPT_RUN_DIR = 256,
	OPT_CONFIG,
	OPT_LOAD,
	OPT_LOG_LEVEL,
	OPT_WORKERS,
	OPT_POLL_US,
	OPT_TIMEOUT,
	OPT_SOCKET_MODE,
	OPT_SOCKET_GROUP,
	OPT_KEEP_GOING,
	OPT_FOREGROUND,
};

static const struct option long_options[] = {
	{"run-dir", required_argument, NULL, OPT_RUN_DIR},
	{"config", required_argument, NULL, OPT_CONFIG},
	{"load", required_argument, NULL, OPT_LOAD},
	{"log-level", required_argument, NULL, OPT_LOG_LEVEL},
	{"workers", required_argument, NULL, OPT_WORKERS},
	{"poll-us", required_argument, NULL, OPT_POLL_US},
	{"timeout", required_argument, NULL, OPT_TIMEOUT},
	{"socket-mode", required_argument, NULL, OPT_SOCKET_MODE},
	{"socket-group", required_argument, NULL, OPT_SOCKET_GROUP},
	{"keep-going", no_argument, NULL, OPT_KEEP_GOING},
	{"foreground", no_argument, NULL, OPT_FOREGROUND},
	{"help", no_argument, NULL, 'h'},
	{"version", no_argument, NULL, 'V'},
	{NULL, 0, NULL, 0},
};

static const char help[] =
	"usage: uvdpad [OPTION]...\n"
	"\n"
	"  --run-dir DIR        where sockets are ($UVDPA_RUN_DIR, /run/uvdpa, or\n"
	"                       $XDG_RUNTIME_DIR/uvdpa)\n"
	"  --config FILE        commands to run first, see uvdpa.conf(5)\n"
	"  --keep-going         start although commands of the file fail\n"
	"  --load OBJECT.so     add a class or a type; may be repeated\n"
	"  --log-level LEVEL    error, warning, info or debug (info)\n"
	"  --workers N          threads that serve queues (1)\n"
	"  --poll-us N          how long they poll before they sleep, microseconds (50)\n"
	"  --timeout SECONDS    deadline of a command (10)\n"
	"  --socket-mode MODE   of the control socket, octal (600)\n"
	"  --socket-group GROUP of the control socket\n"
	"  --foreground         as it always does: uvdpad does not fork\n"
	"  -h, --help           this text\n"
	"  -V, --version        the version\n";

static int number(const char *name, const char *text, int base, unsigned long min,
		  unsigned long max, unsigned long *ret)
{
	char *end;

	errno = 0;
	*ret = strtoul(text, &end, base);
	if (text[0] >= '0' && text[0] <= '9' && !*end && !errno && *ret >= min && *ret <= max)
		return 0;
	if (base == 8)
		fprintf(stderr, "uvdpad: '%s' of --%s is no octal number up to %lo\n", text, name,
			max);
	else
		fprintf(stderr, "uvdpad: '%s' of --%s is no number from %lu to %lu\n", text, name,
			min, max);
	return -EINVAL;
}

static int group(const char *name, gid_t *ret)
{
	const struct group *entry = getgrnam(name);
	unsigned long gid;

	if (entry) {
		*ret = entry->gr_gid;
		return 0;
	}
	if (name[0] >= '0' && name[0] <= '9' &&
	    !number("socket-group", name, 10, 0, INT32_MAX, &gid)) {
		*ret = (gid_t)gid;
		return 0;
	}
	fprintf(stderr, "uvdpad: no group '%s'\n", name);
	return -ENOENT;
}

static int take_number(struct options *options, int opt, const char *arg)
{
	unsigned long value = 0;
	int err = 0;

	switch (opt) {
	case OPT_WORKERS:
		err = number("workers", arg, 10, 1, 256, &value);
		options->workers = (uint32_t)value;
		break;
	case OPT_POLL_US:
		err = number("poll-us", arg, 10, 0, 1000000, &value);
		options->poll_us = (uint32_t)value;
		break;
	case OPT_TIMEOUT:
		err = number("timeout", arg, 10, 1, 3600, &value);
		options->timeout_ms = (uint32_t)value * 1000;
		break;
	case OPT_SOCKET_MODE:
		err = number("socket-mode", arg, 8, 0, 0777, &value);
		options->socket_mode = (mode_t)value;
		break;
	}
	return err;
}

static int take_option(struct options *options, int opt, const char *arg)
{
	switch (opt) {
	case OPT_RUN_DIR:
		options->run_dir = arg;
		return 0;
	case OPT_CONFIG:
		options->config = arg;
		return 0;
	case OPT_KEEP_GOING:
		options->keep_going = true;
		return 0;
	case OPT_FOREGROUND:
		return 0;
	case OPT_SOCKET_GROUP:
		return group(arg, &options->socket_group);
	case OPT_LOAD:
		if (options->nplugins == OPTIONS_PLUGINS_MAX) {
			fprintf(stderr, "uvdpad: more than %d times --load\n", OPTIONS_PLUGINS_MAX);
			return -E2BIG;
		}
		options->plugins[options->nplugins++] = arg;
		return 0;
	case OPT_LOG_LEVEL:
		if (!log_parse_level(arg, &options->log_level))
			return 0;
		fprintf(stderr, "uvdpad: '%s' is none of error, warning, info, debug\n", arg);
		return -EINVAL;
	default:
		return take_number(options, opt, arg);
	}
}

int options_parse(struct options *options, int argc, char **argv)
{
	int opt;

	*options = (struct options){
		.poll_us = 50,
		.log_level = VDPA_LOG_INFO,
		.socket_mode = 0600,
		.socket_group = (gid_t)-1,
	};
	while ((opt = getopt_long(argc, argv, "hV", long_options, NULL)) != -1) {
		if (opt == 'h') {
			fputs(help, stdout);
			return 0;
		}
		if (opt == 'V') {
			puts("uvdpad " UVDPA_VERSION);
			return 0;
		}
		if (opt == '?' || take_option(options, opt, optarg))
			return EXIT_USAGE;
	}
	if (optind < argc) {
		fprintf(stderr, "uvdpad: '%s' is not expected; see uvdpad --help\n", argv[optind]);
		return EXIT_USAGE;
	}
	return -1;
}
