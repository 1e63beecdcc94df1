/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/defs.h"
#include "cli/cli.h"
#include "cli/print.h"

int cli_connect(struct cli *cli, struct vdpa_extack *ack)
{
	int err;

	if (cli->connected)
		return 0;
	err = client_open(&cli->client, cli->run_dir, ack);
	cli->connected = !err;
	return err;
}

int cli_call(struct cli *cli, const char *method, json_t *params, json_t **ret,
	     struct vdpa_extack *ack)
{
	int err = cli_connect(cli, ack);

	return err ? err : client_call(&cli->client, method, params, NULL, 0, ret, ack);
}

void cli_dump(const struct cli *cli, const json_t *value)
{
	size_t flags = cli->pretty ? JSON_INDENT(4) : JSON_COMPACT;

	/* What devices say must not steer a terminal. */
	if (isatty(STDOUT_FILENO))
		flags |= JSON_ENSURE_ASCII;
	json_dumpf(value, stdout, flags);
	putchar('\n');
	fflush(stdout);
}

static void print_commands(const json_t *commands)
{
	const json_t *line;
	size_t i;

	json_array_foreach(commands, i, line) puts(json_string_value(line));
}

static void show(struct cli *cli, const struct command *cmd, const json_t *params, json_t *result)
{
	if (!json_object_size(result))
		return;
	if (cli->json)
		cli_dump(cli, result);
	else if (!strcmp(cmd->words[0], "save"))
		print_commands(json_object_get(result, "commands"));
	else
		print_result(stdout, result, !json_object_get(params, "name"));
}

static int remote(struct cli *cli, const struct command *cmd, json_t *params,
		  struct vdpa_extack *ack)
{
	struct cli_files files = {.num = 0};
	char method[COMMAND_METHOD_LEN];
	json_t *result = NULL;
	int err;

	command_method(cmd, method);
	if (cli->statistics && !strcmp(method, "dev.show"))
		json_object_set_new(params, "statistics", json_true());
	err = cli_connect(cli, ack);
	if (!err)
		err = cli_files_open(cli, cmd, params, &files, ack);
	if (!err)
		err = client_call(&cli->client, method, params, files.fds, files.num, &result, ack);
	cli_files_close(&files, err);
	if (!err && !strcmp(method, "stop"))
		client_wait_exit(&cli->client);
	if (!err)
		show(cli, cmd, params, result);
	json_decref(result);
	return err;
}

static bool is_help(const char *word)
{
	return !strcmp(word, "help");
}

int cli_run(struct cli *cli, char *const *words, size_t num, struct vdpa_extack *ack)
{
	const struct command *cmd;
	json_t *params = NULL;
	size_t used;
	int err;

	if (num && is_help(words[0]))
		return cli_help(num > 1 ? words[1] : NULL);
	if (num == 2 && is_help(words[1]))
		return cli_help(words[0]);
	err = command_find(words, num, &cmd, &used, ack);
	if (!err)
		err = command_parse(cmd, words + used, num - used, &params, ack);
	if (err)
		return CLI_USAGE;
	if (!strcmp(cmd->words[0], "monitor"))
		err = cli_monitor(cli, ack);
	else if (!strcmp(cmd->words[0], "top"))
		err = cli_top(cli, params, ack);
	else
		err = remote(cli, cmd, params, ack);
	json_decref(params);
	/* A connection that broke is of no use to the next command. */
	if (err && err != -EREMOTEIO && cli->connected) {
		client_close(&cli->client);
		cli->connected = false;
	}
	if (err)
		vdpa_extack_set(ack, err, "%s", strerrordesc_np(-err));
	return err ? CLI_REFUSED : 0;
}
