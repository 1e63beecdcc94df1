/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Tagged values in a row: tag and length, 32 bits each, little-endian, then the value.  Both a
 * state record and what a class keeps in it are such rows.
 */
#ifndef BUS_BLOB_H
#define BUS_BLOB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct vdpa_state_blob {
	uint8_t *data;
	size_t len, size;
};

/* One value of a row; value points into it. */
struct blob_item {
	uint32_t tag, len;
	const uint8_t *value;
};

/* The next value at *pos.  Returns 1, 0 at the end, -EPROTO when the row ends inside a value. */
int blob_next(const struct vdpa_state_blob *blob, size_t *pos, struct blob_item *item);
struct vdpa_state_blob *blob_alloc(void);
void blob_free(struct vdpa_state_blob *blob);

#endif
