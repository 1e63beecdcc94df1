/* SPDX-License-Identifier: BSD-2-Clause */
/* Units come, go and grow while queues run. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "bus/bus.h"
#include "parents/soft/scsi.h"

const char *const scsi_lun_backends[] = {"file", "ram", "null", "none", NULL};

/* ---- attributes */

enum { LUN_FILE, LUN_BACKEND, LUN_SIZE, LUN_READONLY, LUN_KEYS };

/* Of a unit, and what the backend calls them. */
static const char *const suffixes[LUN_KEYS] = {"", "-backend", "-size", "-readonly"};
static const char *const backend_keys[LUN_KEYS] = {"file", "backend", "size", "readonly"};

/* Those that units have in common.  Some are for files only: other units do not mind. */
static const char *const common_keys[] = {"block-size", "cache", "discard",
					  "direct",     "aio",   "lock"};
#define COMMON_FOR_ALL 3

struct key {
	char text[24];
};

static struct key lun_key(unsigned int lun, unsigned int which)
{
	struct key key;

	snprintf(key.text, sizeof(key.text), "lun%u%s", lun, suffixes[which]);
	return key;
}

static bool has_key(const struct vdpa_attrs *attrs, unsigned int lun, unsigned int which)
{
	return vdpa_attrs_has(attrs, lun_key(lun, which).text);
}

static bool is_named(const struct vdpa_attrs *attrs, unsigned int lun)
{
	for (unsigned int i = 0; i < LUN_KEYS; i++)
		if (has_key(attrs, lun, i))
			return true;
	return false;
}

static bool is_none(const struct vdpa_attrs *attrs, unsigned int lun)
{
	const char *name = vdpa_attrs_str(attrs, lun_key(lun, LUN_BACKEND).text, "");

	return !strcmp(name, "none");
}

static int copy_key(struct vdpa_attrs *to, const char *to_key, struct vdpa_attrs *from,
		    const char *from_key, struct vdpa_extack *ack)
{
	int fd vdpa_cleanup(fd_closep) = -1;

	if (!vdpa_attrs_has(from, from_key))
		return 0;
	fd = vdpa_attrs_take_fd(from, from_key);
	return vdpa_attrs_add(to, to_key, vdpa_attrs_str(from, from_key, ""), &fd, ack);
}

/* What the backend is to be told of a unit. */
static int gather(struct vdpa_attrs *to, struct scsi *scsi, unsigned int lun,
		  struct vdpa_attrs *attrs, struct vdpa_extack *ack)
{
	static const struct vdpa_attr_desc table[] = {BLOCK_ATTRS, {0}};
	const char *backend = vdpa_attrs_str(attrs, lun_key(lun, LUN_BACKEND).text, "file");
	size_t num = strcmp(backend, "file") ? COMMON_FOR_ALL : ARRAY_SIZE(common_keys);
	int err = 0;

	for (unsigned int i = 0; i < LUN_KEYS && !err; i++)
		err = copy_key(to, backend_keys[i], attrs, lun_key(lun, i).text, ack);
	for (size_t i = 0; i < num && !err; i++)
		if (strcmp(backend, "null") || strcmp(common_keys[i], "discard"))
			err = copy_key(to, common_keys[i], scsi->common, common_keys[i], ack);
	return err ? err : vdpa_attrs_check(to, table, NULL, false, ack);
}

static int open_backend(struct scsi *scsi, unsigned int lun, struct vdpa_attrs *attrs,
			struct block **ret, struct vdpa_extack *ack)
{
	struct vdpa_attrs *to = vdpa_attrs_alloc();
	int err = to ? gather(to, scsi, lun, attrs, ack) : -ENOMEM;

	if (!err)
		err = block_open(to, ret, ack);
	vdpa_attrs_free(to);
	return err ? vdpa_extack_prefix(ack, err, "lun%u", lun) : 0;
}

/* ---- ports */

static int port_join(struct vdpa_soft_vq *vq, struct scsi_unit *unit, struct vdpa_extack *ack)
{
	struct vdpa_device *vdev = vdpa_soft_vdev(vdpa_soft_vq_soft(vq));
	struct scsi_vq *svq = scsi_vq(vq);
	int err =
		block_attach(unit->block, soft_vq_worker(vq), bus_lane_pool(vdpa_device_bus(vdev)),
			     &svq->port.units[unit->idx].queue, ack);

	if (!err)
		svq->port.units[unit->idx].unit = unit;
	return err;
}

static void port_detach(struct scsi_vq *svq, unsigned int lun)
{
	block_detach(svq->port.units[lun].queue);
	svq->port.units[lun].queue = NULL;
}

int scsi_port_open(struct vdpa_soft_vq *vq, struct vdpa_extack *ack)
{
	struct scsi *scsi = scsi_of(vq);
	int err = 0;

	for (unsigned int i = 0; i < SCSI_LUNS && !err; i++)
		if (scsi->units[i])
			err = port_join(vq, scsi->units[i], ack);
	if (err)
		scsi_port_close(vq);
	return err;
}

void scsi_port_close(struct vdpa_soft_vq *vq)
{
	struct scsi_vq *svq = scsi_vq(vq);

	for (unsigned int i = 0; i < SCSI_LUNS; i++) {
		svq->port.units[i].unit = NULL;
		if (svq->port.units[i].queue)
			port_detach(svq, i);
	}
}

void scsi_port_leave(struct vdpa_soft_vq *vq)
{
	struct scsi *scsi = scsi_of(vq);
	struct scsi_vq *svq = scsi_vq(vq);

	for (unsigned int i = 0; i < SCSI_LUNS; i++) {
		if (!(svq->leaving & 1u << i) || svq->port.units[i].tasks)
			continue;
		svq->leaving &= ~(1u << i);
		port_detach(svq, i);
		pthread_mutex_lock(&scsi->lock);
		scsi->leaving--;
		pthread_cond_signal(&scsi->left);
		pthread_mutex_unlock(&scsi->lock);
	}
}

/* ---- plug, unplug: on the queue's worker, while the lane waits */

struct change {
	struct vdpa_soft_vq *vq;
	struct scsi_unit *unit;
	struct vdpa_extack *ack;
	int err;
};

static void join_call(void *arg)
{
	struct change *c = arg;

	c->err = port_join(c->vq, c->unit, c->ack);
}

/* New commands find no unit from now on; those under way are waited for. */
static void leave_call(void *arg)
{
	struct change *c = arg;
	struct scsi *scsi = scsi_of(c->vq);
	struct scsi_vq *svq = scsi_vq(c->vq);
	unsigned int idx = c->unit->idx;

	if (!svq->port.units[idx].queue)
		return;
	svq->port.units[idx].unit = NULL;
	svq->leaving |= 1u << idx;
	pthread_mutex_lock(&scsi->lock);
	scsi->leaving++;
	pthread_mutex_unlock(&scsi->lock);
	scsi_port_leave(c->vq);
}

static void leave_all(struct scsi *scsi, struct scsi_unit *unit)
{
	struct change c = {.unit = unit};

	for (uint16_t i = SCSI_VQ_REQUEST; i < vdpa_soft_nvqs(scsi->soft); i++) {
		c.vq = scsi->soft->vqs[i];
		soft_vq_run(c.vq, leave_call, &c);
	}
	pthread_mutex_lock(&scsi->lock);
	while (scsi->leaving)
		pthread_cond_wait(&scsi->left, &scsi->lock);
	pthread_mutex_unlock(&scsi->lock);
}

static int join_all(struct scsi *scsi, struct scsi_unit *unit, struct vdpa_extack *ack)
{
	struct change c = {.unit = unit, .ack = ack};

	for (uint16_t i = SCSI_VQ_REQUEST; i < vdpa_soft_nvqs(scsi->soft) && !c.err; i++) {
		c.vq = scsi->soft->vqs[i];
		if (c.vq->running)
			soft_vq_run(c.vq, join_call, &c);
	}
	if (c.err)
		leave_all(scsi, unit);
	return c.err;
}

/* ---- units */

static void unit_free(struct scsi_unit *unit)
{
	if (!unit)
		return;
	block_close(unit->block);
	scsi_unit_destroy(unit);
	free(unit);
}

static int unit_alloc(struct scsi *scsi, unsigned int lun, struct vdpa_attrs *attrs,
		      struct scsi_unit **ret, struct vdpa_extack *ack)
{
	const char *name = vdpa_attrs_str(scsi->common, "serial", vdpa_soft_vdev(scsi->soft)->name);
	struct scsi_unit *unit = calloc(1, sizeof(*unit));
	char serial[64];
	struct block *block;
	int err;

	if (!unit)
		return -ENOMEM;
	err = open_backend(scsi, lun, attrs, &block, ack);
	if (err) {
		free(unit);
		return err;
	}
	snprintf(serial, sizeof(serial), "%.20s-%u", name, lun);
	err = scsi_unit_init(unit, block, lun, serial);
	if (err) {
		block_close(block);
		free(unit);
		return err;
	}
	*ret = unit;
	return 0;
}

static void set_unit(struct scsi *scsi, unsigned int lun, struct scsi_unit *unit)
{
	pthread_mutex_lock(&scsi->lock);
	scsi->units[lun] = unit;
	pthread_mutex_unlock(&scsi->lock);
}

static void tell_others(struct scsi *scsi, unsigned int lun)
{
	for (unsigned int i = 0; i < SCSI_LUNS; i++)
		if (scsi->units[i] && i != lun)
			scsi_unit_attention(scsi->units[i], SCSI_UA_LUNS);
}

static int plug(struct scsi *scsi, unsigned int lun, struct vdpa_attrs *attrs,
		struct vdpa_extack *ack)
{
	struct scsi_unit *unit;
	int err = unit_alloc(scsi, lun, attrs, &unit, ack);

	if (err)
		return err;
	err = join_all(scsi, unit, ack);
	if (err) {
		unit_free(unit);
		return err;
	}
	set_unit(scsi, lun, unit);
	tell_others(scsi, lun);
	scsi_event(scsi, VIRTIO_SCSI_T_TRANSPORT_RESET, lun, VIRTIO_SCSI_EVT_RESET_RESCAN);
	return 0;
}

static int unplug(struct scsi *scsi, unsigned int lun, struct vdpa_extack *ack)
{
	struct scsi_unit *unit = scsi->units[lun];

	if (!unit)
		return vdpa_extack_set(ack, -ENODEV, "there is no lun%u to unplug", lun);
	set_unit(scsi, lun, NULL);
	leave_all(scsi, unit);
	unit_free(unit);
	tell_others(scsi, lun);
	scsi_event(scsi, VIRTIO_SCSI_T_TRANSPORT_RESET, lun, VIRTIO_SCSI_EVT_RESET_REMOVED);
	return 0;
}

static int resize(struct scsi *scsi, unsigned int lun, uint64_t size, struct vdpa_extack *ack)
{
	struct scsi_unit *unit = scsi->units[lun];
	uint64_t old = unit->capacity;
	int err = block_resize_shared(unit->block, size, &unit->capacity, ack);

	if (err)
		return vdpa_extack_prefix(ack, err, "lun%u", lun);
	if (unit->capacity == old)
		return 0;
	scsi_unit_attention(unit, SCSI_UA_CAPACITY);
	scsi_event_capacity(scsi, lun);
	return 0;
}

int scsi_add_units(struct scsi *scsi, struct vdpa_attrs *attrs, struct vdpa_extack *ack)
{
	int err = 0;

	for (size_t i = 0; i < ARRAY_SIZE(common_keys) && !err; i++)
		err = copy_key(scsi->common, common_keys[i], attrs, common_keys[i], ack);
	if (!err)
		err = copy_key(scsi->common, "serial", attrs, "serial", ack);
	for (unsigned int i = 0; i < SCSI_LUNS && !err; i++)
		if (is_named(attrs, i) && !is_none(attrs, i))
			err = unit_alloc(scsi, i, attrs, &scsi->units[i], ack);
	if (err)
		scsi_free_units(scsi);
	return err;
}

int scsi_set_unit(struct scsi *scsi, struct vdpa_attrs *attrs, struct vdpa_extack *ack)
{
	unsigned int lun = SCSI_LUNS;

	for (unsigned int i = 0; i < SCSI_LUNS; i++) {
		if (!is_named(attrs, i))
			continue;
		if (lun != SCSI_LUNS)
			return vdpa_extack_set(ack, -EINVAL, "one unit at a time: lun%u or lun%u",
					       lun, i);
		lun = i;
	}
	if (lun == SCSI_LUNS)
		return 0;
	if (is_none(attrs, lun))
		return unplug(scsi, lun, ack);
	if (!scsi->units[lun])
		/* The backend is named, so that `save` does not find the `none` of before. */
		return has_key(attrs, lun, LUN_BACKEND)
			       ? plug(scsi, lun, attrs, ack)
			       : vdpa_extack_set(ack, -EINVAL,
						 "there is no lun%u: to plug it in, say "
						 "'lun%u-backend' (file, ram ...), too",
						 lun, lun);
	if (has_key(attrs, lun, LUN_FILE) || has_key(attrs, lun, LUN_BACKEND) ||
	    has_key(attrs, lun, LUN_READONLY))
		return vdpa_extack_set(ack, -EBUSY,
				       "lun%u is there: unplug it first, by 'lun%u-backend none'",
				       lun, lun);
	return resize(scsi, lun, vdpa_attrs_u64(attrs, lun_key(lun, LUN_SIZE).text, 0), ack);
}

void scsi_free_units(struct scsi *scsi)
{
	for (unsigned int i = 0; i < SCSI_LUNS; i++) {
		unit_free(scsi->units[i]);
		scsi->units[i] = NULL;
	}
}
