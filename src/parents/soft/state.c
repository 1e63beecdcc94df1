/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The core's part of the device record: what the driver wrote into the config space, and the
 * generation. What the device itself has in the config space comes from the device, which may have
 * been made anew since (a disk that has grown): the driver is told of the difference.
 */
#include <errno.h>
#include <string.h>

#include "parents/soft/internal.h"

enum {
	TAG_GENERATION = VDPA_SOFT_STATE_TAGS,
	TAG_CONFIG,     /* as the driver saw it */
	TAG_OWN_CONFIG, /* without what the driver wrote */
};

int soft_save(struct vdpa_device *vdev, struct vdpa_state_blob *blob, struct vdpa_extack *ack)
{
	struct vdpa_soft *soft = to_soft(vdev);
	uint32_t size = soft->cls.config_size;
	int err;

	pthread_mutex_lock(&soft->lock);
	err = vdpa_state_put_u64(blob, TAG_GENERATION, soft->generation);
	if (!err)
		err = vdpa_state_put(blob, TAG_CONFIG, soft->config, size);
	if (!err)
		err = vdpa_state_put(blob, TAG_OWN_CONFIG, soft->own_config, size);
	pthread_mutex_unlock(&soft->lock);
	if (!err && soft->cls.save)
		err = soft->cls.save(soft, blob, ack);
	return err;
}

static int find_config(const struct vdpa_soft *soft, const struct vdpa_state_blob *blob,
		       uint32_t tag, const uint8_t **ret, struct vdpa_extack *ack)
{
	uint32_t len;

	*ret = vdpa_state_find(blob, tag, &len);
	if (!*ret)
		return vdpa_extack_set(ack, -EINVAL, "the record is not one of a software device");
	if (len != soft->cls.config_size)
		return vdpa_extack_set(
			ack, -EINVAL,
			"the record has a config space of %u bytes, the device one of %u", len,
			soft->cls.config_size);
	return 0;
}

/* Write again what the driver wrote: the bytes where the two differ. */
static int replay(struct vdpa_soft *soft, const uint8_t *seen, const uint8_t *own,
		  struct vdpa_extack *ack)
{
	uint32_t end, size = soft->cls.config_size;

	for (uint32_t off = 0; off < size; off = end + 1) {
		int err = 0;

		for (end = off; end < size && seen[end] != own[end]; end++)
			;
		if (end > off)
			err = soft_set_config(&soft->vdev, off, seen + off, end - off, ack);
		if (err)
			return vdpa_extack_prefix(ack, err, "config space at byte %u", off);
	}
	return 0;
}

int soft_load(struct vdpa_device *vdev, const struct vdpa_state_blob *blob, struct vdpa_extack *ack)
{
	struct vdpa_soft *soft = to_soft(vdev);
	const uint8_t *seen, *own;
	uint64_t generation;
	bool changed;
	int err;

	err = find_config(soft, blob, TAG_CONFIG, &seen, ack);
	if (!err)
		err = find_config(soft, blob, TAG_OWN_CONFIG, &own, ack);
	if (err)
		return err;
	if (vdpa_state_u64(blob, TAG_GENERATION, &generation))
		return vdpa_extack_set(ack, -EINVAL, "the record lacks the config generation");
	if (soft->cls.load)
		err = soft->cls.load(soft, blob, ack);
	if (!err)
		err = replay(soft, seen, own, ack);
	if (err)
		return err;

	pthread_mutex_lock(&soft->lock);
	changed = memcmp(soft->config, seen, soft->cls.config_size);
	soft->generation = (uint32_t)generation + changed;
	pthread_mutex_unlock(&soft->lock);
	if (changed)
		soft_notify(soft);
	return 0;
}
