/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "command/line.h"

static const struct option long_options[] = {
	{"json", no_argument, NULL, 'j'},
	{"pretty", no_argument, NULL, 'p'},
	{"statistics", no_argument, NULL, 's'},
	{"batch", required_argument, NULL, 'b'},
	{"force", no_argument, NULL, 'f'},
	{"count", required_argument, NULL, 'n'},
	{"run-dir", required_argument, NULL, 'r'},
	{"help", no_argument, NULL, 'h'},
	{"Version", no_argument, NULL, 'V'},
	{"version", no_argument, NULL, 'V'},
	/* What bash asks when somebody presses the tab key. */
	{"complete", no_argument, NULL, 'C'},
	{NULL, 0, NULL, 0},
};

static int take_count(struct cli *cli, const char *text)
{
	unsigned long value;
	char *end;

	errno = 0;
	value = strtoul(text, &end, 10);
	if (text[0] < '0' || text[0] > '9' || *end || errno || value > INT32_MAX) {
		fprintf(stderr, "uvdpa: '%s' of -n is no number\n", text);
		return CLI_USAGE;
	}
	cli->count = (unsigned int)value;
	return -1;
}

/* -1: go on; else the exit status. */
static int take_option(struct cli *cli, int opt, bool *complete)
{
	switch (opt) {
	case 'j':
		cli->json = true;
		return -1;
	case 'p':
		cli->pretty = true;
		return -1;
	case 's':
		cli->statistics = true;
		return -1;
	case 'b':
		cli->batch = optarg;
		return -1;
	case 'f':
		cli->force = true;
		return -1;
	case 'n':
		return take_count(cli, optarg);
	case 'r':
		cli->run_dir = optarg;
		return -1;
	case 'C':
		*complete = true;
		return -1;
	case 'V':
		puts("uvdpa " UVDPA_VERSION);
		return 0;
	case 'h':
		return cli_help(NULL);
	default:
		return CLI_USAGE;
	}
}

static int run_batch(struct cli *cli)
{
	bool is_stdin = !strcmp(cli->batch, "-");
	FILE *file = is_stdin ? stdin : fopen(cli->batch, "re");
	struct line line = {0};
	int status = 0, failed, ret = 1;

	if (!file) {
		fprintf(stderr, "uvdpa: cannot open '%s': %s\n", cli->batch,
			strerrordesc_np(errno));
		return CLI_REFUSED;
	}
	while (ret > 0 && (!status || cli->force)) {
		struct vdpa_extack ack = {0};

		ret = line_read(&line, file, &ack);
		failed = ret > 0   ? cli_run(cli, line.words, line.num, &ack)
			 : ret < 0 ? CLI_USAGE
				   : 0;
		if (!failed)
			continue;
		fprintf(stderr, "uvdpa: %s:%u: %s\n", cli->batch, line.number,
			vdpa_extack_text(&ack, ret < 0 ? ret : EINVAL));
		status = failed;
	}
	line_free(&line);
	if (!is_stdin)
		fclose(file);
	return status;
}

static int run_words(struct cli *cli, char *const *words, size_t num)
{
	struct vdpa_extack ack = {0};
	int status = cli_run(cli, words, num, &ack);

	/* Help has said it all. */
	if (status && ack.msg[0])
		fprintf(stderr, "uvdpa: %s\n", ack.msg);
	return status;
}

int main(int argc, char **argv)
{
	struct cli cli = {.client = {.fd = -1}};
	bool complete = false;
	int opt, status;

	signal(SIGPIPE, SIG_IGN);
	/* "+": options end where the words begin. */
	while ((opt = getopt_long_only(argc, argv, "+jpsb:fn:r:hV", long_options, NULL)) != -1) {
		status = take_option(&cli, opt, &complete);
		if (status >= 0)
			return status;
	}
	argv += optind;
	argc -= optind;
	if (complete) {
		cli_complete(&cli, argv, (size_t)argc);
		status = 0;
	} else if (cli.batch && argc) {
		fprintf(stderr, "uvdpa: '%s' is not expected beside -batch\n", argv[0]);
		status = CLI_USAGE;
	} else if (cli.batch) {
		status = run_batch(&cli);
	} else {
		status = run_words(&cli, argv, (size_t)argc);
	}
	if (cli.connected)
		client_close(&cli.client);
	if (fflush(stdout) && !status)
		status = CLI_REFUSED;
	return status;
}
