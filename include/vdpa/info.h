/* SPDX-License-Identifier: BSD-2-Clause */
/**
 * @file
 * How devices, drivers and classes describe themselves: a sink for named values, so that each
 * says what it is once and the reader (JSON, text, a test) chooses the form.
 */
#ifndef VDPA_INFO_H
#define VDPA_INFO_H

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct vdpa_info;

/** Implemented by the reader.  key is NULL inside a list.  All required. */
struct vdpa_info_ops {
	/** One named value. */
	void (*str)(struct vdpa_info *info, const char *key, const char *value);
	void (*u64)(struct vdpa_info *info, const char *key, uint64_t value);
	void (*boolean)(struct vdpa_info *info, const char *key, bool value);
	/** A group or a list begins / ends. */
	void (*open)(struct vdpa_info *info, const char *key, bool list);
	void (*close)(struct vdpa_info *info);
};

/** Embedded by the reader. */
struct vdpa_info {
	const struct vdpa_info_ops *ops;
};

void vdpa_info_str(struct vdpa_info *info, const char *key, const char *value);
void vdpa_info_fmt(struct vdpa_info *info, const char *key, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
void vdpa_info_u64(struct vdpa_info *info, const char *key, uint64_t value);
void vdpa_info_bool(struct vdpa_info *info, const char *key, bool value);
/** A group of named values; ends with vdpa_info_close(). */
void vdpa_info_open(struct vdpa_info *info, const char *key);
/** A list of values or groups without names; ends with vdpa_info_close(). */
void vdpa_info_open_list(struct vdpa_info *info, const char *key);
void vdpa_info_close(struct vdpa_info *info);

#ifdef __cplusplus
}
#endif

#endif
