/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/defs.h"
#include "cli/cli.h"
#include "vhost_user/socket.h"

/* The attributes that the management device, its type or the driver of the command knows; NULL: it
 * is not known. */
static json_t *fetch_attributes(struct cli *cli, const char *method, const char *group,
				const json_t *params, const char *member)
{
	const json_t *name = json_object_get(params, member);
	json_t *ask = json_pack("{s:O}", "name", name), *result = NULL, *ret = NULL;

	/* Unknown names are refused by the command itself. */
	if (ask && !cli_call(cli, method, ask, &result, NULL))
		ret = json_incref(json_object_get(
			json_object_get(json_object_get(result, group), json_string_value(name)),
			"attributes"));
	json_decref(result);
	json_decref(ask);
	return ret;
}

static int absolute(json_t *attrs, const char *key, struct vdpa_extack *ack)
{
	const char *value = json_string_value(json_object_get(attrs, key));
	char dir[PATH_MAX], *path;
	int err = 0;

	if (!value || value[0] == '/')
		return 0;
	if (!getcwd(dir, sizeof(dir)))
		return vdpa_extack_set(ack, -errno, "'%s' is relative to a folder without a name",
				       value);
	if (asprintf(&path, "%s/%s", strcmp(dir, "/") ? dir : "", value) < 0)
		return -ENOMEM;
	if (json_object_set_new(attrs, key, json_string(path)))
		err = vdpa_extack_set(ack, -EINVAL, "the name of the folder is not UTF-8");
	free(path);
	return err;
}

static int open_file(const char *path, bool readonly)
{
	int fd = open(path, (readonly ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NONBLOCK);

	/* It may be there for reading only; the device class judges whether that will do. */
	if (fd < 0 && !readonly && (errno == EACCES || errno == EROFS || errno == EPERM))
		fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd >= 0)
		fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
	return fd;
}

static bool is_on(const json_t *attrs, const char *key)
{
	const char *value = json_string_value(json_object_get(attrs, key));

	return value && !strcmp(value, "on");
}

/* Room for one more is there. */
static void pass_fd(json_t *params, const char *key, struct cli_files *files, int fd)
{
	json_t *fds = json_object_get(params, "fds");

	if (!fds) {
		fds = json_object();
		json_object_set_new(params, "fds", fds);
	}
	json_object_set_new(fds, key, json_integer((json_int_t)files->num));
	files->fds[files->num++] = fd;
}

static int pass_file(json_t *params, const char *key, struct cli_files *files,
		     struct vdpa_extack *ack)
{
	json_t *attrs = json_object_get(params, "attrs");
	const char *path = json_string_value(json_object_get(attrs, key));
	int fd = open_file(path, is_on(attrs, "readonly"));

	if (fd >= 0)
		pass_fd(params, key, files, fd);
	/* The class says what a file that is not there means. */
	if (fd >= 0 || errno == ENOENT)
		return 0;
	return vdpa_extack_set(ack, -errno, "cannot open '%s': %s", path, strerrordesc_np(errno));
}

static int socket_config(const json_t *attrs, struct vu_socket_config *cfg, struct vdpa_extack *ack)
{
	const char *mode = json_string_value(json_object_get(attrs, "mode"));
	const char *owner = json_string_value(json_object_get(attrs, "owner"));
	const char *group = json_string_value(json_object_get(attrs, "group"));
	int err = 0;

	*cfg = (struct vu_socket_config){.mode = 0600, .uid = (uid_t)-1, .gid = (gid_t)-1};
	/* The daemon checks how it is written. */
	if (mode)
		cfg->mode = (mode_t)strtoul(mode, NULL, 8) & 0777;
	if (owner)
		err = vu_parse_owner(owner, &cfg->uid, ack);
	if (!err && group)
		err = vu_parse_group(group, &cfg->gid, ack);
	return err;
}

/* A socket of the user's own; the file stays when the daemon has done with it. */
static int pass_listener(json_t *params, const char *key, struct cli_files *files,
			 struct vdpa_extack *ack)
{
	json_t *attrs = json_object_get(params, "attrs");
	const char *path = json_string_value(json_object_get(attrs, key));
	struct vu_socket_config cfg;
	int err, fd;

	err = socket_config(attrs, &cfg, ack);
	if (err)
		return err;
	fd = vu_socket_listen(path, &cfg, ack);
	if (fd < 0)
		return fd;
	pass_fd(params, key, files, fd);
	files->socket = strdup(path);
	return 0;
}

/* One attribute that the command gives, of this type. */
static int take_attribute(struct cli *cli, json_t *params, const char *key, const char *type,
			  struct cli_files *files, struct vdpa_extack *ack)
{
	json_t *attrs = json_object_get(params, "attrs");
	bool file = !strcmp(type, "path"), listener = !strcmp(type, "listener");
	bool bind = json_object_get(params, "driver");
	int err;

	if (!file && !listener)
		return 0;
	err = absolute(attrs, key, ack);
	if (err)
		return err;
	if (files->num == CLI_FILES_MAX)
		return vdpa_extack_set(ack, -E2BIG, "more than %d files", CLI_FILES_MAX);
	if (file && !bind)
		return pass_file(params, key, files, ack);
	if (listener && !client_trusted(&cli->client) && !is_on(attrs, "client"))
		return pass_listener(params, key, files, ack);
	return 0;
}

int cli_files_open(struct cli *cli, const struct command *cmd, json_t *params,
		   struct cli_files *files, struct vdpa_extack *ack)
{
	json_t *attrs = json_object_get(params, "attrs"), *known = NULL, *attr;
	bool of_mgmtdev = json_object_get(params, "mgmtdev");
	bool of_type = json_object_get(params, "type");
	size_t i;
	int err = 0;

	if (!attrs)
		return 0;
	if (of_mgmtdev)
		known = fetch_attributes(cli, "mgmtdev.show", "mgmtdev", params, "mgmtdev");
	else if (of_type)
		known = fetch_attributes(cli, "mgmtdev.show", "type", params, "type");
	else if (json_object_get(params, "driver"))
		known = fetch_attributes(cli, "driver.show", "driver", params, "driver");
	json_array_foreach(known, i, attr)
	{
		const char *key = json_string_value(json_object_get(attr, "name"));
		const char *type = json_string_value(json_object_get(attr, "type"));

		if (!err && key && type && json_object_get(attrs, key))
			err = take_attribute(cli, params, key, type, files, ack);
	}
	json_decref(known);
	return err;
}

void cli_files_close(struct cli_files *files, int err)
{
	for (size_t i = 0; i < files->num; i++)
		close(files->fds[i]);
	files->num = 0;
	if (files->socket && err)
		unlink(files->socket);
	free(files->socket);
	files->socket = NULL;
}
