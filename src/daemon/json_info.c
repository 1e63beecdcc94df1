/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/defs.h"
#include "daemon/json_info.h"

json_t *json_text(const char *text)
{
	json_t *ret = json_string(text);
	char *escaped, *out;

	if (ret)
		return ret;
	escaped = malloc(4 * strlen(text) + 1);
	if (!escaped)
		return NULL;
	for (out = escaped; *text; text++) {
		if ((unsigned char)*text < 0x80)
			*out++ = *text;
		else
			out += sprintf(out, "\\x%02x", (unsigned char)*text);
	}
	*out = '\0';
	ret = json_string(escaped);
	free(escaped);
	return ret;
}

/* Takes value over. */
static void put(struct vdpa_info *vinfo, const char *key, json_t *value)
{
	struct json_info *info = container_of(vinfo, struct json_info, info);
	json_t *top;

	if (info->depth > JSON_INFO_DEPTH || !value) {
		info->failed = true;
		json_decref(value);
		return;
	}
	top = info->stack[info->depth - 1];
	if (json_is_array(top) ? json_array_append_new(top, value)
			       : json_object_set_new(top, key ? key : "", value))
		info->failed = true;
}

static void put_str(struct vdpa_info *info, const char *key, const char *value)
{
	put(info, key, value ? json_text(value) : json_null());
}

static void put_u64(struct vdpa_info *info, const char *key, uint64_t value)
{
	char text[24];

	/* JSON integers end at 63 bits here. */
	if (value <= INT64_MAX) {
		put(info, key, json_integer((json_int_t)value));
		return;
	}
	snprintf(text, sizeof(text), "%" PRIu64, value);
	put(info, key, json_string(text));
}

static void put_bool(struct vdpa_info *info, const char *key, bool value)
{
	put(info, key, json_boolean(value));
}

static void open_group(struct vdpa_info *vinfo, const char *key, bool list)
{
	struct json_info *info = container_of(vinfo, struct json_info, info);
	json_t *value = list ? json_array() : json_object();

	put(vinfo, key, value);
	/* A group that found no place is counted, so that its close finds its open. */
	if (info->failed && info->depth < JSON_INFO_DEPTH)
		value = NULL;
	if (info->depth < JSON_INFO_DEPTH)
		info->stack[info->depth] = value;
	info->depth++;
}

static void close_group(struct vdpa_info *vinfo)
{
	struct json_info *info = container_of(vinfo, struct json_info, info);

	if (info->depth > 1)
		info->depth--;
}

static const struct vdpa_info_ops json_info_ops = {
	.str = put_str,
	.u64 = put_u64,
	.boolean = put_bool,
	.open = open_group,
	.close = close_group,
};

int json_info_init(struct json_info *info)
{
	*info = (struct json_info){.info.ops = &json_info_ops, .depth = 1};
	info->stack[0] = json_object();
	return info->stack[0] ? 0 : -ENOMEM;
}

json_t *json_info_take(struct json_info *info)
{
	json_t *ret = info->stack[0];

	info->stack[0] = NULL;
	if (info->failed) {
		json_decref(ret);
		return NULL;
	}
	return ret;
}

void json_info_clear(struct json_info *info)
{
	json_decref(info->stack[0]);
	info->stack[0] = NULL;
}
