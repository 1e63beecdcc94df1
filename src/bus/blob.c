/* SPDX-License-Identifier: BSD-2-Clause */
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/defs.h"
#include "bus/blob.h"
#include "vdpa/state.h"

#define HEAD 8 /* tag and length */

struct vdpa_state_blob *blob_alloc(void)
{
	return calloc(1, sizeof(struct vdpa_state_blob));
}

void blob_free(struct vdpa_state_blob *blob)
{
	if (!blob)
		return;
	free(blob->data);
	free(blob);
}

static int blob_grow(struct vdpa_state_blob *blob, size_t more)
{
	size_t size = blob->size ? blob->size : 256;
	uint8_t *data;

	while (size - blob->len < more)
		size *= 2;
	if (size == blob->size)
		return 0;
	data = realloc(blob->data, size);
	if (!data)
		return -ENOMEM;
	blob->data = data;
	blob->size = size;
	return 0;
}

VDPA_API int vdpa_state_put(struct vdpa_state_blob *blob, uint32_t tag, const void *data,
			    uint32_t len)
{
	uint32_t head[2] = {htole32(tag), htole32(len)};
	int err = blob_grow(blob, HEAD + (size_t)len);

	if (err)
		return err;
	memcpy(blob->data + blob->len, head, HEAD);
	if (len)
		memcpy(blob->data + blob->len + HEAD, data, len);
	blob->len += HEAD + (size_t)len;
	return 0;
}

VDPA_API int vdpa_state_put_u64(struct vdpa_state_blob *blob, uint32_t tag, uint64_t value)
{
	uint64_t le = htole64(value);

	return vdpa_state_put(blob, tag, &le, sizeof(le));
}

int blob_next(const struct vdpa_state_blob *blob, size_t *pos, struct blob_item *item)
{
	uint32_t head[2];

	if (*pos == blob->len)
		return 0;
	if (!range_fits(*pos, HEAD, blob->len))
		return -EPROTO;
	memcpy(head, blob->data + *pos, HEAD);
	item->tag = le32toh(head[0]);
	item->len = le32toh(head[1]);
	item->value = blob->data + *pos + HEAD;
	if (!range_fits(*pos + HEAD, item->len, blob->len))
		return -EPROTO;
	*pos += HEAD + (size_t)item->len;
	return 1;
}

VDPA_API const void *vdpa_state_find(const struct vdpa_state_blob *blob, uint32_t tag,
				     uint32_t *len)
{
	struct blob_item item;
	size_t pos = 0;

	while (blob && blob_next(blob, &pos, &item) > 0)
		if (item.tag == tag) {
			*len = item.len;
			return item.value;
		}
	return NULL;
}

VDPA_API int vdpa_state_u64(const struct vdpa_state_blob *blob, uint32_t tag, uint64_t *ret)
{
	uint64_t value;
	uint32_t len;
	const void *data = vdpa_state_find(blob, tag, &len);

	if (!data)
		return -ENOENT;
	if (len != sizeof(value))
		return -EPROTO;
	memcpy(&value, data, sizeof(value));
	*ret = le64toh(value);
	return 0;
}
