/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Config space, generation, and what the driver is told of changes.
 */
#include <errno.h>
#include <linux/virtio_config.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "parents/soft/internal.h"

/* ---- telling the driver */

void soft_notify(struct vdpa_soft *soft)
{
	struct vdpa_config_cb cb;

	pthread_mutex_lock(&soft->lock);
	cb = soft->cb;
	soft->cb_users++;
	pthread_mutex_unlock(&soft->lock);
	if (cb.changed)
		cb.changed(cb.arg);
	pthread_mutex_lock(&soft->lock);
	if (!--soft->cb_users)
		pthread_cond_broadcast(&soft->cond);
	pthread_mutex_unlock(&soft->lock);
}

void soft_set_config_cb(struct vdpa_device *vdev, const struct vdpa_config_cb *cb)
{
	struct vdpa_soft *soft = to_soft(vdev);

	pthread_mutex_lock(&soft->lock);
	soft->cb = cb ? *cb : (struct vdpa_config_cb){0};
	while (soft->cb_users)
		pthread_cond_wait(&soft->cond, &soft->lock);
	pthread_mutex_unlock(&soft->lock);
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

/* What guests do can fill a log: the bucket is the device's, for all its queues.  May the line
 * come? */
static bool format_fault(struct vdpa_soft *soft, int idx, const char *what, char *text, size_t len)
{
	uint32_t dropped = 0;
	int used = 0;
	bool ok;

	pthread_mutex_lock(&soft->lock);
	ok = ratelimit_ok(&soft->faults, now_ns(), &dropped);
	pthread_mutex_unlock(&soft->lock);
	if (!ok)
		return false;
	if (idx >= 0)
		used = snprintf(text, len, "queue %d: ", idx);
	used += snprintf(text + used, len - (size_t)used, "%s", what);
	if (dropped && (size_t)used < len)
		snprintf(text + used, len - (size_t)used, " (%u more not shown)", dropped);
	return true;
}

void soft_complain(struct vdpa_soft *soft, int idx, const char *what)
{
	char text[VDPA_EXTACK_LEN + 64];

	if (format_fault(soft, idx, what, text, sizeof(text)))
		vdpa_log(soft->bus, &soft->vdev, VDPA_LOG_WARN, "%s", text);
}

void soft_fault(struct vdpa_soft *soft, int idx, const char *why)
{
	char text[VDPA_EXTACK_LEN + 64];

	__atomic_fetch_or(&soft->status, VIRTIO_CONFIG_S_NEEDS_RESET, __ATOMIC_RELAXED);
	if (format_fault(soft, idx, why, text, sizeof(text))) {
		vdpa_log(soft->bus, &soft->vdev, VDPA_LOG_ERROR, "%s", text);
		if (soft->vdev.priv)
			vdpa_device_event(&soft->vdev, VDPA_EVENT_BROKEN, text);
	}
	soft_notify(soft);
}

VDPA_API void vdpa_soft_fail(struct vdpa_soft *soft, const char *why)
{
	soft_fault(soft, -1, why);
}

/* ---- the space itself */

size_t soft_get_config_size(struct vdpa_device *vdev)
{
	return to_soft(vdev)->cls.config_size;
}

int soft_get_config(struct vdpa_device *vdev, uint32_t off, void *buf, uint32_t len)
{
	struct vdpa_soft *soft = to_soft(vdev);

	if (!range_fits(off, len, soft->cls.config_size))
		return -EINVAL;
	pthread_mutex_lock(&soft->lock);
	memcpy(buf, soft->config + off, len);
	pthread_mutex_unlock(&soft->lock);
	return 0;
}

int soft_set_config(struct vdpa_device *vdev, uint32_t off, const void *buf, uint32_t len,
		    struct vdpa_extack *ack)
{
	struct vdpa_soft *soft = to_soft(vdev);
	int err;

	if (!range_fits(off, len, soft->cls.config_size))
		return vdpa_extack_set(ack, -EINVAL, "config space ends at byte %u",
				       soft->cls.config_size);
	if (!soft->cls.config_write)
		return vdpa_extack_set(ack, -EOPNOTSUPP, "the config space of '%s' is read-only",
				       soft->cls.name);
	err = soft->cls.config_write(soft, off, buf, len, ack);
	if (err)
		return err;
	pthread_mutex_lock(&soft->lock);
	memcpy(soft->config + off, buf, len);
	pthread_mutex_unlock(&soft->lock);
	return 0;
}

uint32_t soft_get_generation(struct vdpa_device *vdev)
{
	struct vdpa_soft *soft = to_soft(vdev);
	uint32_t generation;

	pthread_mutex_lock(&soft->lock);
	generation = soft->generation;
	pthread_mutex_unlock(&soft->lock);
	return generation;
}

void soft_config_reset(struct vdpa_soft *soft)
{
	pthread_mutex_lock(&soft->lock);
	memcpy(soft->config, soft->own_config, soft->cls.config_size);
	pthread_mutex_unlock(&soft->lock);
}

void soft_write_config(struct vdpa_soft *soft, uint32_t off, const void *buf, uint32_t len)
{
	pthread_mutex_lock(&soft->lock);
	memcpy(soft->config + off, buf, len);
	memcpy(soft->own_config + off, buf, len);
	soft->generation += soft->created;
	pthread_mutex_unlock(&soft->lock);
}

VDPA_API void vdpa_soft_update_config(struct vdpa_soft *soft, uint32_t off, const void *buf,
				      uint32_t len)
{
	if (!range_fits(off, len, soft->cls.config_size))
		return;
	soft_write_config(soft, off, buf, len);
	if (soft->created)
		soft_notify(soft);
}
