/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bus/priv.h"

VDPA_API void vdpa_info_str(struct vdpa_info *info, const char *key, const char *value)
{
	info->ops->str(info, key, value ? value : "");
}

VDPA_API void vdpa_info_fmt(struct vdpa_info *info, const char *key, const char *fmt, ...)
{
	char value[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(value, sizeof(value), fmt, ap);
	va_end(ap);
	info->ops->str(info, key, value);
}

VDPA_API void vdpa_info_u64(struct vdpa_info *info, const char *key, uint64_t value)
{
	info->ops->u64(info, key, value);
}

VDPA_API void vdpa_info_bool(struct vdpa_info *info, const char *key, bool value)
{
	info->ops->boolean(info, key, value);
}

VDPA_API void vdpa_info_open(struct vdpa_info *info, const char *key)
{
	info->ops->open(info, key, false);
}

VDPA_API void vdpa_info_open_list(struct vdpa_info *info, const char *key)
{
	info->ops->open(info, key, true);
}

VDPA_API void vdpa_info_close(struct vdpa_info *info)
{
	info->ops->close(info);
}

static void info_attr(struct vdpa_info *info, const struct vdpa_attr_desc *attr)
{
	static const char *const types[] = {
		[VDPA_ATTR_STRING] = "string",     [VDPA_ATTR_PATH] = "path",
		[VDPA_ATTR_BOOL] = "bool",         [VDPA_ATTR_UINT] = "uint",
		[VDPA_ATTR_SIZE] = "size",         [VDPA_ATTR_OCTAL] = "octal",
		[VDPA_ATTR_ENUM] = "enum",         [VDPA_ATTR_HEX64] = "hex64",
		[VDPA_ATTR_LISTENER] = "listener",
	};

	vdpa_info_open(info, NULL);
	vdpa_info_str(info, "name", attr->name);
	vdpa_info_str(info, "type", types[attr->type]);
	if (attr->min || attr->max) {
		vdpa_info_u64(info, "min", attr->min);
		vdpa_info_u64(info, "max", attr->max);
	}
	if (attr->flags & VDPA_ATTR_LIVE)
		vdpa_info_bool(info, "live", true);
	if (attr->flags & VDPA_ATTR_REQUIRED)
		vdpa_info_bool(info, "required", true);
	if (attr->flags & VDPA_ATTR_NOADD)
		vdpa_info_bool(info, "only_live", true);
	if (attr->help)
		vdpa_info_str(info, "help", attr->help);
	if (attr->values) {
		vdpa_info_open_list(info, "values");
		for (size_t i = 0; attr->values[i]; i++)
			vdpa_info_str(info, NULL, attr->values[i]);
		vdpa_info_close(info);
	}
	vdpa_info_close(info);
}

void info_attrs(struct vdpa_info *info, const struct vdpa_attr_desc *attrs)
{
	for (; attrs && attrs->name; attrs++)
		info_attr(info, attrs);
}

void info_features(struct vdpa_info *info, const char *key, uint32_t device_id, uint64_t features)
{
	char buf[16];

	vdpa_info_open_list(info, key);
	for (unsigned int bit = 0; bit < 64; bit++)
		if (features & BIT_ULL(bit))
			vdpa_info_str(info, NULL, vdpa_feature_name(device_id, bit, buf));
	vdpa_info_close(info);
}

/* ---- the record */

enum info_kind { INFO_STR, INFO_U64, INFO_BOOL, INFO_OPEN, INFO_OPEN_LIST, INFO_CLOSE };

struct info_item {
	STAILQ_ENTRY(info_item) entry;
	enum info_kind kind;
	uint64_t value;
	const char *key; /* behind the item, as is str */
	const char *str;
};

static void record_add(struct vdpa_info *info, enum info_kind kind, const char *key,
		       const char *str, uint64_t value)
{
	struct info_record *record = container_of(info, struct info_record, info);
	size_t key_len = key ? strlen(key) + 1 : 0, str_len = str ? strlen(str) + 1 : 0;
	struct info_item *item = malloc(sizeof(*item) + key_len + str_len);
	char *text = (char *)(item + 1);

	if (!item) {
		record->failed = true;
		return;
	}
	item->kind = kind;
	item->value = value;
	item->key = key ? memcpy(text, key, key_len) : NULL;
	item->str = str ? memcpy(text + key_len, str, str_len) : NULL;
	STAILQ_INSERT_TAIL(&record->items, item, entry);
}

static void record_str(struct vdpa_info *info, const char *key, const char *value)
{
	record_add(info, INFO_STR, key, value, 0);
}

static void record_u64(struct vdpa_info *info, const char *key, uint64_t value)
{
	record_add(info, INFO_U64, key, NULL, value);
}

static void record_bool(struct vdpa_info *info, const char *key, bool value)
{
	record_add(info, INFO_BOOL, key, NULL, value);
}

static void record_open(struct vdpa_info *info, const char *key, bool list)
{
	record_add(info, list ? INFO_OPEN_LIST : INFO_OPEN, key, NULL, 0);
}

static void record_close(struct vdpa_info *info)
{
	record_add(info, INFO_CLOSE, NULL, NULL, 0);
}

static const struct vdpa_info_ops record_ops = {
	.str = record_str,
	.u64 = record_u64,
	.boolean = record_bool,
	.open = record_open,
	.close = record_close,
};

void info_record_init(struct info_record *record)
{
	record->info.ops = &record_ops;
	STAILQ_INIT(&record->items);
	record->failed = false;
}

void info_record_replay(const struct info_record *record, struct vdpa_info *info)
{
	const struct info_item *item;

	STAILQ_FOREACH (item, &record->items, entry) {
		switch (item->kind) {
		case INFO_STR:
			vdpa_info_str(info, item->key, item->str);
			break;
		case INFO_U64:
			vdpa_info_u64(info, item->key, item->value);
			break;
		case INFO_BOOL:
			vdpa_info_bool(info, item->key, item->value);
			break;
		case INFO_OPEN:
			vdpa_info_open(info, item->key);
			break;
		case INFO_OPEN_LIST:
			vdpa_info_open_list(info, item->key);
			break;
		case INFO_CLOSE:
			vdpa_info_close(info);
			break;
		}
	}
}

void info_record_release(struct info_record *record)
{
	struct info_item *item;

	while ((item = STAILQ_FIRST(&record->items))) {
		STAILQ_REMOVE_HEAD(&record->items, entry);
		free(item);
	}
}
