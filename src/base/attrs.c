/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/defs.h"
#include "vdpa/attrs.h"

#define ATTRS_MAX 256
#define KEY_MAX   48 /* longer ones are not compared for typos */

struct attr {
	char *key;
	char *value;
	int fd;
	int kept;    /* a duplicate of fd, whoever takes that */
	bool parsed; /* num is value, as the table's type reads it */
	uint64_t num;
};

struct vdpa_attrs {
	struct attr *list;
	size_t num, cap;
	bool names_forbidden;
};

/* ---- the list */

VDPA_API struct vdpa_attrs *vdpa_attrs_alloc(void)
{
	return calloc(1, sizeof(struct vdpa_attrs));
}

VDPA_API void vdpa_attrs_free(struct vdpa_attrs *attrs)
{
	if (!attrs)
		return;
	for (size_t i = 0; i < attrs->num; i++) {
		free(attrs->list[i].key);
		free(attrs->list[i].value);
		fd_closep(&attrs->list[i].fd);
		fd_closep(&attrs->list[i].kept);
	}
	free(attrs->list);
	free(attrs);
}

static struct attr *attr_find(const struct vdpa_attrs *attrs, const char *key)
{
	for (size_t i = 0; attrs && i < attrs->num; i++) {
		if (!strcmp(attrs->list[i].key, key))
			return &attrs->list[i];
	}
	return NULL;
}

static int attrs_grow(struct vdpa_attrs *attrs)
{
	size_t cap = attrs->cap ? 2 * attrs->cap : 8;
	struct attr *list;

	if (attrs->num < attrs->cap)
		return 0;
	list = realloc(attrs->list, cap * sizeof(*list));
	if (!list)
		return -ENOMEM;
	attrs->list = list;
	attrs->cap = cap;
	return 0;
}

VDPA_API int vdpa_attrs_add(struct vdpa_attrs *attrs, const char *key, const char *value, int *fd,
			    struct vdpa_extack *ack)
{
	struct attr attr = {.fd = -1, .kept = -1};

	if (attr_find(attrs, key))
		return vdpa_extack_set(ack, -EEXIST, "attribute '%.64s' is given twice", key);
	if (attrs->num == ATTRS_MAX)
		return vdpa_extack_set(ack, -E2BIG, "more than %d attributes", ATTRS_MAX);
	if (attrs_grow(attrs))
		return -ENOMEM;

	attr.key = strdup(key);
	attr.value = strdup(value);
	if (!attr.key || !attr.value) {
		free(attr.key);
		free(attr.value);
		return -ENOMEM;
	}
	if (fd)
		attr.fd = fd_take(fd);
	attrs->list[attrs->num++] = attr;
	return 0;
}

VDPA_API void vdpa_attrs_forbid_names(struct vdpa_attrs *attrs)
{
	attrs->names_forbidden = true;
}

VDPA_API bool vdpa_attrs_names_forbidden(const struct vdpa_attrs *attrs)
{
	return attrs && attrs->names_forbidden;
}

VDPA_API size_t vdpa_attrs_num(const struct vdpa_attrs *attrs)
{
	return attrs ? attrs->num : 0;
}

VDPA_API const char *vdpa_attrs_key(const struct vdpa_attrs *attrs, size_t i)
{
	return i < vdpa_attrs_num(attrs) ? attrs->list[i].key : NULL;
}

VDPA_API const char *vdpa_attrs_value(const struct vdpa_attrs *attrs, size_t i)
{
	return i < vdpa_attrs_num(attrs) ? attrs->list[i].value : NULL;
}

/* ---- numbers */

static int digit_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return 99;
}

/* At least one digit; *end is behind the last.  Unlike strtoull(): no sign, no blanks, no locale.
 */
static int parse_digits(const char *text, int base, const char **end, uint64_t *ret)
{
	uint64_t num = 0;
	const char *p;

	for (p = text; digit_value(*p) < base; p++) {
		if (__builtin_mul_overflow(num, (uint64_t)base, &num) ||
		    __builtin_add_overflow(num, (uint64_t)digit_value(*p), &num))
			return -ERANGE;
	}
	if (p == text)
		return -EINVAL;
	*end = p;
	*ret = num;
	return 0;
}

static bool has_hex_prefix(const char *text)
{
	return text[0] == '0' && (text[1] == 'x' || text[1] == 'X');
}

static int parse_number(const char *text, int base, uint64_t *ret)
{
	const char *end;
	uint64_t num;
	int err;

	if (base != 8 && has_hex_prefix(text)) {
		base = 16;
		text += 2;
	}
	err = parse_digits(text, base, &end, &num);
	if (err)
		return err;
	if (*end)
		return -EINVAL;
	*ret = num;
	return 0;
}

static int unit_shift(const char *unit)
{
	static const char letters[] = "KMGTkmgt";
	const char *at;

	if (!*unit)
		return 0;
	at = strchr(letters, *unit);
	if (!at || unit[1])
		return -EINVAL;
	return (int)((at - letters) % 4 + 1) * 10;
}

VDPA_API int vdpa_parse_size(const char *text, uint64_t *ret)
{
	const char *unit;
	uint64_t num;
	int err, shift;

	err = parse_digits(text, 10, &unit, &num);
	if (err)
		return err;
	shift = unit_shift(unit);
	if (shift < 0)
		return shift;
	if (num > UINT64_MAX >> shift)
		return -ERANGE;
	*ret = num << shift;
	return 0;
}

VDPA_API void vdpa_format_size(uint64_t size, char *buf, size_t len)
{
	static const char units[] = "KMGT";
	int i = 0;

	while (size && size % 1024 == 0 && units[i]) {
		size /= 1024;
		i++;
	}
	if (i)
		snprintf(buf, len, "%" PRIu64 "%c", size, units[i - 1]);
	else
		snprintf(buf, len, "%" PRIu64, size);
}

/* ---- texts of refusals */

struct text {
	char buf[VDPA_EXTACK_LEN];
	size_t len;
};

static void __attribute__((format(printf, 2, 3))) text_add(struct text *text, const char *fmt, ...)
{
	size_t room = sizeof(text->buf) - text->len;
	va_list ap;
	int len;

	va_start(ap, fmt);
	len = vsnprintf(text->buf + text->len, room, fmt, ap);
	va_end(ap);
	if (len > 0)
		text->len += (size_t)len < room ? (size_t)len : room - 1;
}

/* Edit distance of two short words, by the rows of the usual table. */
static size_t distance(const char *a, const char *b)
{
	size_t alen = strlen(a), blen = strlen(b), row[KEY_MAX + 1];

	if (alen > KEY_MAX || blen > KEY_MAX)
		return SIZE_MAX;
	for (size_t j = 0; j <= blen; j++)
		row[j] = j;
	for (size_t i = 1; i <= alen; i++) {
		size_t diag = row[0];

		row[0] = i;
		for (size_t j = 1; j <= blen; j++) {
			size_t cost = diag + (a[i - 1] != b[j - 1]);

			diag = row[j];
			if (row[j] + 1 < cost)
				cost = row[j] + 1;
			if (row[j - 1] + 1 < cost)
				cost = row[j - 1] + 1;
			row[j] = cost;
		}
	}
	return row[blen];
}

static bool is_allowed(const struct vdpa_attr_desc *desc, bool live)
{
	return live ? desc->flags & VDPA_ATTR_LIVE : !(desc->flags & VDPA_ATTR_NOADD);
}

/* The rows of two tables, one after the other. */
struct rows {
	const struct vdpa_attr_desc *at, *more;
};

static const struct vdpa_attr_desc *rows_next(struct rows *rows)
{
	if (rows->at && !rows->at->name) {
		rows->at = rows->more;
		rows->more = NULL;
	}
	return rows->at && rows->at->name ? rows->at++ : NULL;
}

static const char *nearest(struct rows rows, const char *key)
{
	const struct vdpa_attr_desc *desc;
	const char *best = NULL;
	size_t best_distance = strlen(key) < 4 ? 2 : 3;

	while ((desc = rows_next(&rows)) != NULL) {
		size_t d = distance(desc->name, key);

		if (d < best_distance) {
			best_distance = d;
			best = desc->name;
		}
	}
	return best;
}

static void text_add_known(struct text *text, struct rows rows, bool live)
{
	const struct vdpa_attr_desc *desc;
	const char *sep = "";

	while ((desc = rows_next(&rows)) != NULL) {
		if (!is_allowed(desc, live))
			continue;
		text_add(text, "%s'%s'", sep, desc->name);
		sep = ", ";
	}
	if (!*sep)
		text_add(text, "none");
}

static int refuse_unknown(struct rows rows, const char *key, bool live, struct vdpa_extack *ack)
{
	const char *near = nearest(rows, key);
	struct text text = {0};

	text_add(&text, "unknown attribute '%.64s'", key);
	if (near)
		text_add(&text, ", did you mean '%s'?", near);
	else
		text_add(&text, ";");
	text_add(&text, " known here: ");
	text_add_known(&text, rows, live);
	return vdpa_extack_set(ack, -EINVAL, "%s", text.buf);
}

static int refuse_now(struct rows rows, const char *key, bool live, struct vdpa_extack *ack)
{
	struct text text = {0};

	if (!live)
		return vdpa_extack_set(ack, -EINVAL, "'%s' cannot be given here, only set later",
				       key);
	text_add(&text, "'%s' cannot be changed later; what can: ", key);
	text_add_known(&text, rows, true);
	return vdpa_extack_set(ack, -EINVAL, "%s", text.buf);
}

static void text_add_number(struct text *text, const struct vdpa_attr_desc *desc, uint64_t num)
{
	char size[24];

	vdpa_format_size(num, size, sizeof(size));
	if (desc->type == VDPA_ATTR_SIZE)
		text_add(text, "%s", size);
	else
		text_add(text, "%" PRIu64, num);
}

static void text_add_limits(struct text *text, const struct vdpa_attr_desc *desc)
{
	if (!desc->min && !desc->max)
		return;
	if (!desc->max) {
		text_add(text, ", at least ");
		text_add_number(text, desc, desc->min);
		return;
	}
	text_add(text, " from ");
	text_add_number(text, desc, desc->min);
	text_add(text, " to ");
	text_add_number(text, desc, desc->max);
}

static void text_add_values(struct text *text, const char *const *values)
{
	for (size_t i = 0; values[i]; i++) {
		if (i)
			text_add(text, values[i + 1] ? ", " : " or ");
		text_add(text, "'%s'", values[i]);
	}
}

static void text_add_wanted(struct text *text, const struct vdpa_attr_desc *desc)
{
	switch (desc->type) {
	case VDPA_ATTR_STRING:
		text_add(text, "a word");
		break;
	case VDPA_ATTR_PATH:
		text_add(text, "the path of a file");
		break;
	case VDPA_ATTR_LISTENER:
		text_add(text, "the path of a socket");
		break;
	case VDPA_ATTR_BOOL:
		text_add(text, "'on' or 'off'");
		break;
	case VDPA_ATTR_UINT:
		text_add(text, "a number");
		break;
	case VDPA_ATTR_SIZE:
		text_add(text, "a size (bytes, or with K, M, G, T)");
		break;
	case VDPA_ATTR_OCTAL:
		text_add(text, "a file mode in octal, up to 7777");
		break;
	case VDPA_ATTR_ENUM:
		text_add_values(text, desc->values);
		break;
	case VDPA_ATTR_HEX64:
		text_add(text, "a mask of 64 bits in hex");
		break;
	}
	text_add_limits(text, desc);
}

static int refuse_value(const struct vdpa_attr_desc *desc, const char *value, int err,
			struct vdpa_extack *ack)
{
	struct text text = {0};

	text_add(&text, "'%s' must be ", desc->name);
	text_add_wanted(&text, desc);
	text_add(&text, ", not '%.40s'", value);
	if (desc->help)
		text_add(&text, " (%s)", desc->help);
	return vdpa_extack_set(ack, err, "%s", text.buf);
}

/* ---- the check */

static int parse_word(const char *value, const char *const *values, uint64_t *ret)
{
	for (size_t i = 0; values[i]; i++) {
		if (!strcmp(value, values[i])) {
			*ret = i;
			return 0;
		}
	}
	return -EINVAL;
}

static int parse_value(const struct vdpa_attr_desc *desc, const char *value, uint64_t *ret)
{
	static const char *const off_on[] = {"off", "on", NULL};
	int err;

	switch (desc->type) {
	case VDPA_ATTR_STRING:
		return 0;
	case VDPA_ATTR_PATH:
	case VDPA_ATTR_LISTENER:
		return *value ? 0 : -EINVAL;
	case VDPA_ATTR_BOOL:
		return parse_word(value, off_on, ret);
	case VDPA_ATTR_UINT:
		return parse_number(value, 10, ret);
	case VDPA_ATTR_SIZE:
		return vdpa_parse_size(value, ret);
	case VDPA_ATTR_OCTAL:
		err = parse_number(value, 8, ret);
		return err ? err : *ret > 07777 ? -ERANGE : 0;
	case VDPA_ATTR_ENUM:
		return parse_word(value, desc->values, ret);
	case VDPA_ATTR_HEX64:
		return parse_number(value, 16, ret);
	}
	return -EINVAL;
}

static bool in_limits(const struct vdpa_attr_desc *desc, uint64_t num)
{
	if (desc->type != VDPA_ATTR_UINT && desc->type != VDPA_ATTR_SIZE)
		return true;
	return num >= desc->min && (!desc->max || num <= desc->max);
}

static int check_one(struct attr *attr, struct rows rows, bool live, struct vdpa_extack *ack)
{
	const struct vdpa_attr_desc *desc;
	struct rows all = rows;
	uint64_t num = 0;
	int err;

	do
		desc = rows_next(&rows);
	while (desc && strcmp(desc->name, attr->key));
	if (!desc)
		return refuse_unknown(all, attr->key, live, ack);
	if (!is_allowed(desc, live))
		return refuse_now(all, attr->key, live, ack);

	err = parse_value(desc, attr->value, &num);
	if (!err && !in_limits(desc, num))
		err = -ERANGE;
	if (err)
		return refuse_value(desc, attr->value, err, ack);
	attr->num = num;
	attr->parsed = desc->type != VDPA_ATTR_STRING && desc->type != VDPA_ATTR_PATH &&
		       desc->type != VDPA_ATTR_LISTENER;
	return 0;
}

VDPA_API int vdpa_attrs_check(const struct vdpa_attrs *attrs, const struct vdpa_attr_desc *table,
			      const struct vdpa_attr_desc *more, bool live, struct vdpa_extack *ack)
{
	struct rows rows = {table ? table : more, table ? more : NULL};
	const struct vdpa_attr_desc *desc;
	int err;

	for (size_t i = 0; i < vdpa_attrs_num(attrs); i++) {
		err = check_one(&attrs->list[i], rows, live, ack);
		if (err)
			return err;
	}
	while (!live && (desc = rows_next(&rows)) != NULL) {
		if ((desc->flags & VDPA_ATTR_REQUIRED) && !attr_find(attrs, desc->name))
			return vdpa_extack_set(ack, -EINVAL, "attribute '%s' is missing (%s)",
					       desc->name, desc->help ? desc->help : "required");
	}
	return 0;
}

/* ---- values */

VDPA_API bool vdpa_attrs_has(const struct vdpa_attrs *attrs, const char *key)
{
	return attr_find(attrs, key);
}

VDPA_API const char *vdpa_attrs_str(const struct vdpa_attrs *attrs, const char *key,
				    const char *def)
{
	const struct attr *attr = attr_find(attrs, key);

	return attr ? attr->value : def;
}

VDPA_API bool vdpa_attrs_bool(const struct vdpa_attrs *attrs, const char *key, bool def)
{
	const struct attr *attr = attr_find(attrs, key);

	return attr ? !strcmp(attr->value, "on") : def;
}

VDPA_API uint64_t vdpa_attrs_u64(const struct vdpa_attrs *attrs, const char *key, uint64_t def)
{
	const struct attr *attr = attr_find(attrs, key);

	return attr && attr->parsed ? attr->num : def;
}

VDPA_API int vdpa_attrs_take_fd(struct vdpa_attrs *attrs, const char *key)
{
	struct attr *attr = attr_find(attrs, key);

	return attr ? fd_take(&attr->fd) : -1;
}

VDPA_API int vdpa_attrs_keep_fds(struct vdpa_attrs *attrs, struct vdpa_extack *ack)
{
	for (size_t i = 0; i < vdpa_attrs_num(attrs); i++) {
		struct attr *attr = &attrs->list[i];

		if (attr->fd < 0 || attr->kept >= 0)
			continue;
		attr->kept = fcntl(attr->fd, F_DUPFD_CLOEXEC, 0);
		if (attr->kept < 0)
			return vdpa_extack_set(ack, -errno, "no descriptor left for '%s'",
					       attr->key);
	}
	return 0;
}

VDPA_API void vdpa_attrs_drop_fds(struct vdpa_attrs *attrs)
{
	for (size_t i = 0; i < vdpa_attrs_num(attrs); i++) {
		struct attr *attr = &attrs->list[i];

		if (attr->fd < 0)
			continue;
		fd_closep(&attr->fd);
		fd_closep(&attr->kept);
	}
}

VDPA_API int vdpa_attrs_kept_fd(const struct vdpa_attrs *attrs, size_t i)
{
	return i < vdpa_attrs_num(attrs) ? attrs->list[i].kept : -1;
}
