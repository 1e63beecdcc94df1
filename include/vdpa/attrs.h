/* SPDX-License-Identifier: BSD-2-Clause */
/**
 * @file
 * Attributes: the KEY VALUE pairs of `dev add`, `dev set` and `dev bind`, and the tables that say
 * which keys there are.  A table is at once the check, the help text and the completion.
 *
 * A value may come with a file descriptor: the command-line tool opens the files that a user names
 * with the user's own rights.
 */
#ifndef VDPA_ATTRS_H
#define VDPA_ATTRS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <vdpa/extack.h>

#ifdef __cplusplus
extern "C" {
#endif

enum vdpa_attr_type {
	VDPA_ATTR_STRING,
	VDPA_ATTR_PATH,     /**< a file; may come with a descriptor */
	VDPA_ATTR_BOOL,     /**< on, off */
	VDPA_ATTR_UINT,     /**< decimal or 0x; min and max hold */
	VDPA_ATTR_SIZE,     /**< bytes, with K, M, G, T (powers of 1024); min and max hold */
	VDPA_ATTR_OCTAL,    /**< file mode */
	VDPA_ATTR_ENUM,     /**< one of `values` */
	VDPA_ATTR_HEX64,    /**< a feature mask */
	VDPA_ATTR_LISTENER, /**< where to listen; may come with a listening socket */
};

#define VDPA_ATTR_LIVE     1u /**< may be set on a device in use (dev set) */
#define VDPA_ATTR_REQUIRED 2u
#define VDPA_ATTR_NOADD    4u /**< dev set only */

/** One row; a table ends with a row without a name. */
struct vdpa_attr_desc {
	const char *name;
	enum vdpa_attr_type type;
	uint32_t flags;            /**< VDPA_ATTR_LIVE ... */
	uint64_t min, max;         /**< UINT, SIZE; both 0: no limits */
	const char *const *values; /**< ENUM: ends with NULL */
	const char *help;          /**< one line: meaning, default */
};

struct vdpa_attrs;

struct vdpa_attrs *vdpa_attrs_alloc(void);
/** NULL is allowed.  Closes descriptors that nobody took. */
void vdpa_attrs_free(struct vdpa_attrs *attrs);
/** @param fd  NULL or consumed on success.
 *  @return 0, -EEXIST when the key is there, -E2BIG beyond 256 of them, -ENOMEM */
int vdpa_attrs_add(struct vdpa_attrs *attrs, const char *key, const char *value, int *fd,
		   struct vdpa_extack *ack);
/** Whoever gave these has less rights than this process: it opens no files for him by name, and
 * uses the descriptors that came along. */
void vdpa_attrs_forbid_names(struct vdpa_attrs *attrs);
bool vdpa_attrs_names_forbidden(const struct vdpa_attrs *attrs);
size_t vdpa_attrs_num(const struct vdpa_attrs *attrs);
const char *vdpa_attrs_key(const struct vdpa_attrs *attrs, size_t i);
const char *vdpa_attrs_value(const struct vdpa_attrs *attrs, size_t i);

/**
 * Check keys and values against tables (`more` may be NULL).  The text of a refusal names the key,
 * what it is for and what would be right; an unknown key lists the known ones.
 *
 * @param live  true: only LIVE keys are allowed (dev set); false: REQUIRED ones must be there
 * @return 0, -EINVAL, -ERANGE
 */
int vdpa_attrs_check(const struct vdpa_attrs *attrs, const struct vdpa_attr_desc *table,
		     const struct vdpa_attr_desc *more, bool live, struct vdpa_extack *ack);

/** Checked values; the default when the key is not there.  NULL attrs count as empty. */
bool vdpa_attrs_has(const struct vdpa_attrs *attrs, const char *key);
const char *vdpa_attrs_str(const struct vdpa_attrs *attrs, const char *key, const char *def);
bool vdpa_attrs_bool(const struct vdpa_attrs *attrs, const char *key, bool def);
/** Of BOOL and ENUM: 0 or 1, the position in `values`.  Only after vdpa_attrs_check(). */
uint64_t vdpa_attrs_u64(const struct vdpa_attrs *attrs, const char *key, uint64_t def);
/** @return the descriptor that came with the value, now the caller's; -1 when there is none */
int vdpa_attrs_take_fd(struct vdpa_attrs *attrs, const char *key);
/** Duplicate each descriptor that is there, so that it outlives its taking.  The bus does, before a
 * device is added or bound.  @return 0, -EMFILE */
int vdpa_attrs_keep_fds(struct vdpa_attrs *attrs, struct vdpa_extack *ack);
/** Close those that nobody took, and their duplicates. */
void vdpa_attrs_drop_fds(struct vdpa_attrs *attrs);
/** @return the duplicate of the descriptor of entry i, borrowed; -1 when there is none */
int vdpa_attrs_kept_fd(const struct vdpa_attrs *attrs, size_t i);

/** "64M" to 67108864.  @return 0, -EINVAL, -ERANGE */
int vdpa_parse_size(const char *text, uint64_t *ret);
/** 67108864 to "64M": the largest unit that divides. */
void vdpa_format_size(uint64_t size, char *buf, size_t len);

#ifdef __cplusplus
}
#endif

#endif
