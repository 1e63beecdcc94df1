/* SPDX-License-Identifier: BSD-2-Clause */
/* A device to a state record, and back. */
#include <errno.h>
#include <linux/virtio_config.h>
#include <stdlib.h>
#include <string.h>

#include "bus/blob.h"
#include "bus/priv.h"

#define CONFIG_MAX 65536

/* ---- save */

static int save_device(struct vdpa_device *vdev, struct vdpa_state *state, struct vdpa_extack *ack)
{
	const struct vdpa_config_ops *ops = &priv_of(vdev)->ops;
	size_t size = vdpa_get_config_size(vdev);
	int err;

	if (size > CONFIG_MAX)
		return vdpa_extack_set(ack, -E2BIG, "a config space of %zu bytes is too large",
				       size);
	state->generation = vdpa_get_generation(vdev);
	state->config = calloc(1, size ? size : 1);
	state->blob = blob_alloc();
	if (!state->config || !state->blob)
		return -ENOMEM;
	state->config_len = (uint32_t)size;
	err = vdpa_get_config(vdev, 0, state->config, state->config_len);
	if (!err && ops->save)
		err = ops->save(vdev, state->blob, ack);
	return err ? vdpa_extack_set(ack, err, "the device cannot be saved: %s",
				     vdpa_extack_text(NULL, err))
		   : 0;
}

static int save_queues(struct vdpa_device *vdev, struct vdpa_state *state, struct vdpa_extack *ack)
{
	int err;

	state->vqs = calloc(vdev->nvqs, sizeof(*state->vqs));
	if (!state->vqs)
		return -ENOMEM;
	state->nvqs = vdev->nvqs;
	for (uint16_t i = 0; i < vdev->nvqs; i++) {
		state->vqs[i] = priv_of(vdev)->vqs[i];
		state->vqs[i].ready = vdpa_get_vq_ready(vdev, i);
		err = vdpa_get_vq_state(vdev, i, &state->vqs[i].state);
		if (err)
			return vdpa_extack_set(ack, err,
					       "queue %u does not say where it stands: %s", i,
					       vdpa_extack_text(NULL, err));
	}
	return 0;
}

/* The regions of all address spaces in one row; NULL behind the last. */
static const struct vdpa_iotlb_range *region_at(const struct vdpa_device_priv *priv, uint32_t i,
						uint32_t *asid)
{
	const struct vdpa_iotlb_range *range;
	size_t num;

	for (*asid = 0; *asid < priv->nas; (*asid)++) {
		if (!priv->maps[*asid])
			continue;
		range = vdpa_iotlb_ranges(priv->maps[*asid], &num);
		if (i < num)
			return &range[i];
		i -= (uint32_t)num;
	}
	return NULL;
}

/* A slot has the number of the first region with its descriptor. */
static uint32_t slot_of(const struct vdpa_device_priv *priv, const struct vdpa_mem *mem)
{
	uint32_t asid, i = 0;

	while (region_at(priv, i, &asid)->mem != mem)
		i++;
	return i;
}

static int save_regions(const struct vdpa_device_priv *priv, struct vdpa_state *state)
{
	const struct vdpa_iotlb_range *range;
	uint32_t asid, num = 0;

	while (region_at(priv, num, &asid))
		num++;
	state->regions = calloc(num ? num : 1, sizeof(*state->regions));
	if (!state->regions)
		return -ENOMEM;
	state->nregions = num;
	for (uint32_t i = 0; i < num; i++) {
		range = region_at(priv, i, &asid);
		state->regions[i] = (struct vdpa_state_region){
			.iova = range->iova,
			.len = range->len,
			.offset = vdpa_mem_offset(range->mem) +
				  (uint64_t)(range->hva - (uint8_t *)vdpa_mem_hva(range->mem)),
			.perm = range->perm,
			.fd_slot = slot_of(priv, range->mem),
			.asid = asid,
		};
	}
	return 0;
}

VDPA_API int vdpa_device_state_fd(struct vdpa_device *vdev, uint32_t slot)
{
	uint32_t asid;
	const struct vdpa_iotlb_range *range = region_at(priv_of(vdev), slot, &asid);

	return range ? vdpa_mem_fd(range->mem) : -1;
}

static int save_session(struct vdpa_device *vdev, struct vdpa_state *state, struct vdpa_extack *ack)
{
	int err = save_queues(vdev, state, ack);

	state->features = vdpa_get_driver_features(vdev);
	state->status = vdpa_get_status(vdev);
	return err ? err : save_regions(priv_of(vdev), state);
}

VDPA_API int vdpa_device_save(struct vdpa_device *vdev, uint32_t parts, struct vdpa_state *state,
			      struct vdpa_extack *ack)
{
	struct vdpa_state now = {.parts = parts, .device_id = vdpa_get_device_id(vdev)};
	int err = 0;

	if (parts & VDPA_STATE_DEVICE)
		err = save_device(vdev, &now, ack);
	if (!err && (parts & VDPA_STATE_SESSION))
		err = save_session(vdev, &now, ack);
	if (err)
		vdpa_state_clear(&now);
	else
		*state = now;
	return err;
}

/* ---- load */

/* Only where it differs: what is read-only is equal, or the device's own business. */
static int load_config(struct vdpa_device *vdev, const struct vdpa_state *state)
{
	uint32_t i = 0, end, len = state->config_len;
	uint8_t *now vdpa_cleanup(freep) = calloc(1, len ? len : 1);
	int err;

	if (!now)
		return -ENOMEM;
	err = vdpa_get_config(vdev, 0, now, len);
	while (!err && i < len) {
		for (end = i; end < len && now[end] != state->config[end]; end++)
			;
		if (end > i)
			vdpa_set_config(vdev, i, state->config + i, end - i, NULL);
		i = end + 1;
	}
	return err;
}

static int load_device(struct vdpa_device *vdev, const struct vdpa_state *state,
		       struct vdpa_extack *ack)
{
	const struct vdpa_config_ops *ops = &priv_of(vdev)->ops;
	int err;

	if (state->config_len != vdpa_get_config_size(vdev))
		return vdpa_extack_set(
			ack, -EINVAL,
			"the record has a config space of %u bytes, the device one of %zu",
			state->config_len, vdpa_get_config_size(vdev));
	if (!ops->load || !state->blob)
		return ops->set_config ? load_config(vdev, state) : 0;
	err = ops->load(vdev, state->blob, ack);
	return err ? vdpa_extack_set(ack, err, "the device refuses its part of the record: %s",
				     vdpa_extack_text(NULL, err))
		   : 0;
}

static int check_session(struct vdpa_device *vdev, const struct vdpa_state *state,
			 struct vdpa_extack *ack)
{
	uint64_t odd = state->features & ~vdpa_get_device_features(vdev);
	char buf[16];

	if (state->nvqs > vdev->nvqs)
		return vdpa_extack_set(ack, -EINVAL, "the record has %u queues, the device %u",
				       state->nvqs, vdev->nvqs);
	if (odd)
		return vdpa_extack_set(ack, -EINVAL,
				       "the record has feature %s, the device has not",
				       vdpa_feature_name(state->device_id,
							 (unsigned int)__builtin_ctzll(odd), buf));
	return 0;
}

static int load_features(struct vdpa_device *vdev, const struct vdpa_state *state,
			 struct vdpa_extack *ack)
{
	static const uint8_t steps[] = {
		VIRTIO_CONFIG_S_ACKNOWLEDGE,
		VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER,
		VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_FEATURES_OK,
	};
	int err = 0;

	for (size_t i = 0; i < ARRAY_SIZE(steps) && !err; i++) {
		if ((steps[i] & VIRTIO_CONFIG_S_FEATURES_OK) && state->features)
			err = vdpa_set_driver_features(vdev, state->features, ack);
		if (!err && !(steps[i] & ~state->status))
			err = vdpa_set_status(vdev, steps[i], ack);
	}
	return err;
}

static int load_queue(struct vdpa_device *vdev, uint16_t idx, const struct vdpa_state_vq *vq,
		      struct vdpa_extack *ack)
{
	int err;

	/* Never set up. */
	if (!vq->num)
		return 0;
	err = vdpa_set_vq_num(vdev, idx, vq->num, ack);
	if (!err)
		err = vdpa_set_vq_address(vdev, idx, vq->desc, vq->driver, vq->device, ack);
	if (!err)
		err = vdpa_set_vq_state(vdev, idx, &vq->state, ack);
	if (!err && vq->ready)
		err = vdpa_set_vq_ready(vdev, idx, true, ack);
	return err;
}

static int load_session(struct vdpa_device *vdev, const struct vdpa_state *state,
			struct vdpa_extack *ack)
{
	/* Whether it needs a reset is for the device to say again. */
	uint8_t status = state->status & ~VIRTIO_CONFIG_S_NEEDS_RESET;
	int err = load_features(vdev, state, ack);

	for (uint16_t i = 0; i < state->nvqs && !err; i++)
		err = load_queue(vdev, i, &state->vqs[i], ack);
	if (!err && status)
		err = vdpa_set_status(vdev, status, ack);
	if (err)
		vdpa_reset(vdev);
	return err;
}

VDPA_API int vdpa_device_load(struct vdpa_device *vdev, uint32_t parts,
			      const struct vdpa_state *state, struct vdpa_extack *ack)
{
	uint32_t missing = parts & ~state->parts;
	int err = 0;

	if (missing)
		return vdpa_extack_set(ack, -EINVAL, "the record has no %s part",
				       missing & VDPA_STATE_DEVICE ? "device" : "session");
	if (state->device_id != vdpa_get_device_id(vdev))
		return vdpa_extack_set(ack, -EINVAL,
				       "the record is of a device with id %u, this one has id %u",
				       state->device_id, vdpa_get_device_id(vdev));
	if (parts & VDPA_STATE_SESSION)
		err = check_session(vdev, state, ack);
	/* First: a reset takes back what the driver wrote into the config space. */
	if (!err && (parts & VDPA_STATE_SESSION))
		session_reset(priv_of(vdev));
	if (!err && (parts & VDPA_STATE_DEVICE))
		err = load_device(vdev, state, ack);
	if (!err && (parts & VDPA_STATE_SESSION))
		err = load_session(vdev, state, ack);
	return err;
}
