/* SPDX-License-Identifier: BSD-2-Clause */
/**
 * @file
 * The state record of a device: plain, versioned, without pointers.  Two parts:
 *
 * - the **device part** (config space, generation, what the class keeps: a tagged blob) belongs to
 * the device and survives re-bind;
 * - the **session part** (features, status, queues, memory regions) belongs to one client and is
 * loaded only on reconnect, upgrade and migration.  It names descriptors by slot; they travel
 * beside it.
 *
 * Encoded: little-endian tag, length, value; unknown tags are skipped.  A record that is decoded is
 * as hostile as any message.
 */
#ifndef VDPA_STATE_H
#define VDPA_STATE_H

#include <vdpa/device.h>

#ifdef __cplusplus
extern "C" {
#endif

#define VDPA_STATE_VERSION 1
#define VDPA_STATE_DEVICE  1u
#define VDPA_STATE_SESSION 2u

/** A growing row of tagged values; a class writes and reads its own with these. */
struct vdpa_state_blob;
int vdpa_state_put(struct vdpa_state_blob *blob, uint32_t tag, const void *data, uint32_t len);
int vdpa_state_put_u64(struct vdpa_state_blob *blob, uint32_t tag, uint64_t value);
/** @return the value, borrowed; NULL when the tag is not there */
const void *vdpa_state_find(const struct vdpa_state_blob *blob, uint32_t tag, uint32_t *len);
/** @return 0, -ENOENT, -EPROTO when it has another length */
int vdpa_state_u64(const struct vdpa_state_blob *blob, uint32_t tag, uint64_t *ret);

struct vdpa_state_vq {
	uint32_t num;
	uint64_t desc, driver, device;
	struct vdpa_vq_state state;
	bool ready;
};

struct vdpa_state_region {
	uint64_t iova, len, offset;
	uint32_t perm;
	uint32_t fd_slot; /**< regions of one descriptor have the same */
	uint32_t asid;
};

struct vdpa_state {
	uint32_t parts; /**< VDPA_STATE_DEVICE, VDPA_STATE_SESSION */
	uint32_t device_id;
	/* device part */
	uint32_t generation;
	uint32_t config_len;
	uint8_t *config;
	struct vdpa_state_blob *blob;
	/* session part */
	uint64_t features;
	uint8_t status;
	uint16_t nvqs;
	struct vdpa_state_vq *vqs;
	uint32_t nregions;
	struct vdpa_state_region *regions;
};

/** Free what a record holds, and zero it. */
void vdpa_state_clear(struct vdpa_state *state);

/**
 * Take a record of a device.  With the session part the queues should be stopped or suspended.
 * @param state  filled in on success: clear it after use
 * @context lane
 */
int vdpa_device_save(struct vdpa_device *vdev, uint32_t parts, struct vdpa_state *state,
		     struct vdpa_extack *ack);
/** The descriptor of a slot of the record that was just saved: borrowed from the map, -1 when there
 * is none.  Lane. */
int vdpa_device_state_fd(struct vdpa_device *vdev, uint32_t slot);
/**
 * Bring a device into the state of a record.
 *
 * Device part: the parent's load() sees to it.  For a parent without one the config bytes that
 * differ are written as a driver would write them (those that are read-only are the device's own,
 * and stay).
 *
 * Session part: the device is reset first, then gets features, queues and status; it runs when the
 * status says DRIVER_OK.  The memory map (kept over the reset) is set by the caller before, from
 * the regions.
 *
 * @return 0, -EINVAL when the record does not fit the device; the device is as before (device part)
 * or reset
 * @context lane
 */
int vdpa_device_load(struct vdpa_device *vdev, uint32_t parts, const struct vdpa_state *state,
		     struct vdpa_extack *ack);

/** @param ret  to be freed by the caller */
int vdpa_state_encode(const struct vdpa_state *state, void **ret, size_t *len);
/** @return 0, -EPROTO with what is wrong, -ENOMEM */
int vdpa_state_decode(const void *data, size_t len, struct vdpa_state *state,
		      struct vdpa_extack *ack);

#ifdef __cplusplus
}
#endif

#endif
