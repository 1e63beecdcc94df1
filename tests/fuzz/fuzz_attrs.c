/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Attributes as they come over the control socket: the input is lines of KEY VALUE; a line without
 * a value is looked up and its descriptor taken.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/defs.h"
#include "vdpa/attrs.h"

static const char *const words[] = {"writeback", "writethrough", "none", NULL};

static const struct vdpa_attr_desc table[] = {
	{"file", VDPA_ATTR_PATH, 0, 0, 0, NULL, "the image"},
	{"size", VDPA_ATTR_SIZE, VDPA_ATTR_LIVE, 512, 1ULL << 50, NULL, "capacity"},
	{"queues", VDPA_ATTR_UINT, 0, 1, 64, NULL, "number of queues"},
	{"cache", VDPA_ATTR_ENUM, VDPA_ATTR_LIVE, 0, 0, words, NULL},
	{NULL},
};

static const struct vdpa_attr_desc more[] = {
	{"readonly", VDPA_ATTR_BOOL, VDPA_ATTR_LIVE | VDPA_ATTR_NOADD, 0, 0, NULL, "default off"},
	{"mode", VDPA_ATTR_OCTAL, VDPA_ATTR_REQUIRED, 0, 0, NULL, "of the socket"},
	{"features", VDPA_ATTR_HEX64, 0, 0, 0, NULL, "mask"},
	{"serial", VDPA_ATTR_STRING, 0, 0, 0, NULL, "up to 20 characters"},
	{NULL},
};

static void expect(bool ok)
{
	if (!ok)
		abort();
}

/* What the check lets through keeps the table's promises. */
static void look(const struct vdpa_attrs *attrs, const struct vdpa_extack *ack, int err)
{
	uint64_t num;
	char text[32];

	expect((err == 0) == (ack->msg[0] == '\0'));
	if (err)
		return;
	num = vdpa_attrs_u64(attrs, "queues", 1);
	expect(num >= 1 && num <= 64);
	expect(vdpa_attrs_u64(attrs, "cache", 0) < ARRAY_SIZE(words) - 1);
	expect(vdpa_attrs_u64(attrs, "mode", 0) <= 07777);
	expect(*vdpa_attrs_str(attrs, "file", "x"));
	num = vdpa_attrs_u64(attrs, "size", 512);
	expect(num >= 512 && num <= 1ULL << 50);
	vdpa_format_size(num, text, sizeof(text));
	expect(!vdpa_parse_size(text, &num) && num == vdpa_attrs_u64(attrs, "size", 512));
}

static void add_line(struct vdpa_attrs *attrs, char *line)
{
	char *value = strchr(line, ' ');
	size_t before = vdpa_attrs_num(attrs);
	struct vdpa_extack ack = {0};
	int err;

	if (!value) {
		expect(vdpa_attrs_take_fd(attrs, line) == -1);
		return;
	}
	*value++ = '\0';
	err = vdpa_attrs_add(attrs, line, value, NULL, &ack);
	expect(vdpa_attrs_num(attrs) == before + !err);
	expect(err || vdpa_attrs_has(attrs, line));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct vdpa_attrs *attrs = vdpa_attrs_alloc();
	char *text = strndup((const char *)data, len), *rest = text, *line;
	struct vdpa_extack add_ack = {0}, set_ack = {0};
	int err;

	if (attrs && text) {
		while ((line = strsep(&rest, "\n")) != NULL)
			add_line(attrs, line);
		err = vdpa_attrs_check(attrs, table, more, false, &add_ack);
		look(attrs, &add_ack, err);
		err = vdpa_attrs_check(attrs, table, more, true, &set_ack);
		look(attrs, &set_ack, err);
	}
	free(text);
	vdpa_attrs_free(attrs);
	return 0;
}
