/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A choice among several, by name, each with attributes that the others have no use for: the
 * backends of a class.
 */
#ifndef BASE_CHOICE_H
#define BASE_CHOICE_H

#include <stddef.h>

#include "vdpa/attrs.h"

#define CHOICE_ONLY_MAX 16

struct choice {
	const char *name;
	const char *only[CHOICE_ONLY_MAX]; /* attributes that not all have a use for */
};

/*
 * The index of the one that is called so.  -EINVAL when there is none, or when there are attributes
 * for others only: one that would have no effect is a mistake, and said to be one.
 */
int choice_find(const struct choice *choices, size_t num, const char *name,
		const struct vdpa_attrs *attrs, struct vdpa_extack *ack);
/* The same of what is not called a backend. */
int choice_find_kind(const struct choice *choices, size_t num, const char *kind, const char *name,
		     const struct vdpa_attrs *attrs, struct vdpa_extack *ack);

#endif
