/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/defs.h"
#include "command/line.h"
#include "daemon/daemon.h"
#include "daemon/json_info.h"

struct save {
	struct daemon *daemon;
	json_t *lines;
	json_t *given;
	bool failed;
};

/* A command being put together. */
struct text {
	char *text;
	size_t len;
	FILE *file;
	json_t *fds;   /* that go with it */
	bool stranger; /* gave them */
};

static void text_begin(struct text *text, const char *words)
{
	*text = (struct text){.fds = json_object()};
	text->file = open_memstream(&text->text, &text->len);
	if (text->file)
		fputs(words, text->file);
}

static void text_word(struct text *text, const char *word)
{
	char *quoted = text->file ? line_quote(word) : NULL;

	if (quoted)
		fprintf(text->file, " %s", quoted);
	else if (text->file)
		fputs(" ''", text->file);
	free(quoted);
}

static void text_attrs(struct text *text, const struct vdpa_attrs *attrs)
{
	int fd;

	text->stranger |= vdpa_attrs_names_forbidden(attrs);
	for (size_t i = 0; i < vdpa_attrs_num(attrs); i++) {
		text_word(text, vdpa_attrs_key(attrs, i));
		text_word(text, vdpa_attrs_value(attrs, i));
		fd = vdpa_attrs_kept_fd(attrs, i);
		if (fd >= 0)
			json_object_set_new(text->fds, vdpa_attrs_key(attrs, i), json_integer(fd));
	}
}

static void text_end(struct text *text, struct save *save)
{
	bool good = text->file && !fclose(text->file);

	if (!good || json_array_append_new(save->lines, json_text(text->text)) ||
	    json_array_append_new(save->given, json_pack("{s:o,s:b}", "fds", text->fds, "trusted",
							 !text->stranger)))
		save->failed = true;
	free(text->text);
}

/* Where `dev set` moved the queues; a worker that is gone serves none of them. */
static void save_queues(struct vdpa_device *vdev, struct save *save)
{
	const char *worker;
	struct text text;
	char number[8];

	for (uint16_t idx = 0; idx < vdev->nvqs; idx++) {
		worker = vdpa_device_placed(vdev, idx);
		if (!worker || !vdpa_worker_find(save->daemon->bus, worker))
			continue;
		snprintf(number, sizeof(number), "%u", idx);
		text_begin(&text, "dev set");
		text_word(&text, vdev->name);
		text_word(&text, "worker");
		text_word(&text, worker);
		text_word(&text, "queue");
		text_word(&text, number);
		text_end(&text, save);
	}
}

static int save_device(struct vdpa_device *vdev, void *arg)
{
	const struct vdpa_driver *driver = vdpa_device_driver(vdev);
	struct save *save = arg;
	struct text text;

	/* What the embedding program made itself has no command. */
	if (!vdev->mdev)
		return 0;
	text_begin(&text, "dev add name");
	text_word(&text, vdev->name);
	text_word(&text, "mgmtdev");
	text_word(&text, vdev->mdev->name);
	text_attrs(&text, vdpa_device_add_attrs(vdev));
	text_end(&text, save);
	save_queues(vdev, save);
	if (!driver)
		return save->failed;
	text_begin(&text, "dev bind");
	text_word(&text, vdev->name);
	text_word(&text, "driver");
	text_word(&text, driver->name);
	if (vdpa_device_bind_attrs(vdev))
		text_attrs(&text, vdpa_device_bind_attrs(vdev));
	text_end(&text, save);
	return save->failed;
}

static int save_mgmtdev(struct vdpa_mgmtdev *mdev, void *arg)
{
	struct save *save = arg;
	const struct vdpa_mgmtdev_type *type = vdpa_mgmtdev_type_of(save->daemon->bus, mdev);
	struct text text;

	/* What is built in is there from the start. */
	if (!type)
		return 0;
	text_begin(&text, "mgmtdev add");
	text_word(&text, mdev->name);
	text_word(&text, "type");
	text_word(&text, type->name);
	text_attrs(&text, vdpa_mgmtdev_add_attrs(save->daemon->bus, mdev));
	text_end(&text, save);
	return save->failed;
}

/* Also those that the bus made itself: it makes none where there are some. */
static int save_worker(struct vdpa_worker *worker, void *arg)
{
	struct save *save = arg;
	struct json_info info;
	struct text text;
	const json_t *cpu, *poll;
	char number[32];

	if (json_info_init(&info)) {
		save->failed = true;
		return -1;
	}
	vdpa_worker_show(worker, &info.info);
	text_begin(&text, "worker add");
	text_word(&text, vdpa_worker_name(worker));
	cpu = json_object_get(info.stack[0], "cpu");
	if (cpu) {
		snprintf(number, sizeof(number), "%lld", (long long)json_integer_value(cpu));
		text_word(&text, "cpu");
		text_word(&text, number);
	}
	poll = json_object_get(info.stack[0], "poll_us");
	snprintf(number, sizeof(number), "%lld", (long long)json_integer_value(poll));
	text_word(&text, "poll-us");
	text_word(&text, number);
	text_end(&text, save);
	json_info_clear(&info);
	return save->failed;
}

/* Last in the file: the devices above are bound as they are, not by rule. */
static int save_defaults(const struct vdpa_driver *driver, void *arg)
{
	struct save *save = arg;
	struct json_info info;
	const json_t *name;
	struct text text;
	size_t i;

	if (json_info_init(&info)) {
		save->failed = true;
		return -1;
	}
	vdpa_driver_show(save->daemon->bus, driver, &info.info);
	json_array_foreach(json_object_get(info.stack[0], "default_of"), i, name)
	{
		text_begin(&text, "driver default");
		text_word(&text, json_string_value(name));
		text_word(&text, driver->name);
		text_end(&text, save);
	}
	json_info_clear(&info);
	return save->failed;
}

json_t *save_commands(struct daemon *daemon, json_t **given)
{
	struct save save = {.daemon = daemon, .lines = json_array(), .given = json_array()};

	vdpa_worker_each(daemon->bus, save_worker, &save);
	vdpa_mgmtdev_each(daemon->bus, save_mgmtdev, &save);
	vdpa_dev_each(daemon->bus, save_device, &save);
	vdpa_driver_each(daemon->bus, save_defaults, &save);
	if (save.failed || !given) {
		json_decref(save.given);
		save.given = NULL;
	}
	if (save.failed) {
		json_decref(save.lines);
		return NULL;
	}
	if (given)
		*given = save.given;
	return save.lines;
}
