/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * virtio_scsi: a SCSI host on the bus; each of its units that is a disk is a disk of this host, the
 * file lunN.
 *
 * The lane looks which units there are, at first and whenever the device says that something has
 * changed.  A unit's requests are made on its export's thread, and end on the host's, which hands
 * them back.
 */
#include <errno.h>
#include <linux/virtio_ids.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>

#include "base/be.h"
#include "base/defs.h"
#include "drivers/virtio/disk.h"
#include "drivers/virtio/scsi_host.h"

#define UNIT_WAIT_S 5 /* for commands to a unit that is gone */

struct unit {
	struct scsi *scsi;
	struct disk disk;
	struct disk_export *exp;
	char handle[16];
	char name[VDPA_NAME_MAX + 16];
	uint16_t lun;
	bool unmap; /* WRITE SAME may give room back */

	struct scsi_cmd cmds[SCSI_DEPTH];
	struct disk_io *ios[SCSI_DEPTH]; /* of each command */
	struct scsi_cmd_list free;       /* the export's thread's */

	pthread_mutex_t lock;
	pthread_cond_t idle;
	struct scsi_cmd_list done;
	unsigned int sent; /* commands that the host has */
};

struct scsi {
	struct scsi_host host;
	struct virtio_device *dev;
	struct disk_export_config cfg;
	pthread_mutex_t lock; /* of the table, which the lane writes */
	struct unit *units[SCSI_UNITS];
};

static struct unit *to_unit(struct disk *disk)
{
	return container_of(disk, struct unit, disk);
}

/* ---- requests; export's thread */

static void put_range(const struct unit *unit, const struct disk_io *io, uint8_t *cdb)
{
	put_be64(cdb + 2, io->offset / unit->disk.block_size);
	put_be32(cdb + 10, (uint32_t)(io->len / unit->disk.block_size));
}

static void fill(const struct unit *unit, const struct disk_io *io, struct scsi_cmd *cmd)
{
	memset(cmd->cdb, 0, sizeof(cmd->cdb));
	cmd->buf = io->buf;
	cmd->len = (uint32_t)io->len;
	cmd->out = io->op != DISK_READ;
	switch (io->op) {
	case DISK_READ:
		cmd->cdb[0] = 0x88;
		put_range(unit, io, cmd->cdb);
		break;
	case DISK_WRITE:
		cmd->cdb[0] = 0x8a;
		put_range(unit, io, cmd->cdb);
		break;
	case DISK_WRITE_ZEROES:
		cmd->cdb[0] = 0x93;
		cmd->cdb[1] = io->unmap && unit->unmap ? 8 : 0;
		put_range(unit, io, cmd->cdb);
		cmd->buf = unit->scsi->host.zeroes;
		cmd->len = unit->disk.block_size;
		break;
	case DISK_FLUSH:
		cmd->cdb[0] = 0x35;
		cmd->len = 0;
		break;
	}
}

static void count_sent(struct unit *unit, int more)
{
	pthread_mutex_lock(&unit->lock);
	unit->sent += (unsigned int)more;
	pthread_mutex_unlock(&unit->lock);
}

static int unit_submit(struct disk *disk, struct disk_io *io)
{
	struct unit *unit = to_unit(disk);
	struct scsi_cmd *cmd = STAILQ_FIRST(&unit->free);
	int err;

	if (!cmd)
		return -EAGAIN;
	fill(unit, io, cmd);
	STAILQ_REMOVE_HEAD(&unit->free, entry);
	unit->ios[cmd - unit->cmds] = io;
	count_sent(unit, 1);
	err = scsi_host_send(&unit->scsi->host, cmd);
	if (err) {
		count_sent(unit, -1);
		STAILQ_INSERT_HEAD(&unit->free, cmd, entry);
	}
	return err;
}

static void unit_commit(struct disk *disk)
{
	scsi_host_publish(&to_unit(disk)->scsi->host);
}

static void unit_complete(struct disk *disk)
{
	struct scsi_cmd_list list = STAILQ_HEAD_INITIALIZER(list);
	struct unit *unit = to_unit(disk);
	struct scsi_cmd *cmd;

	pthread_mutex_lock(&unit->lock);
	STAILQ_CONCAT(&list, &unit->done);
	pthread_mutex_unlock(&unit->lock);
	while ((cmd = STAILQ_FIRST(&list))) {
		struct disk_io *io = unit->ios[cmd - unit->cmds];

		STAILQ_REMOVE_HEAD(&list, entry);
		STAILQ_INSERT_HEAD(&unit->free, cmd, entry);
		/* Less than all is nothing. */
		io->err = cmd->err ? cmd->err : cmd->left ? -EIO : 0;
		io->done(io);
	}
}

static const struct disk_ops unit_ops = {
	.submit = unit_submit,
	.commit = unit_commit,
	.complete = unit_complete,
};

/* On the host's thread.  Inside the lock: then the unit may go. */
static void cmd_done(struct scsi_cmd *cmd)
{
	struct unit *unit = cmd->owner;

	pthread_mutex_lock(&unit->lock);
	STAILQ_INSERT_TAIL(&unit->done, cmd, entry);
	unit->sent--;
	eventfd_write(unit->disk.call, 1);
	pthread_cond_signal(&unit->idle);
	pthread_mutex_unlock(&unit->lock);
}

/* ---- a unit; lane */

static int set_disk(struct unit *unit, const struct scsi_unit_info *info, struct vdpa_extack *ack)
{
	uint64_t max = unit->scsi->host.max_bytes;
	struct disk *disk = &unit->disk;
	int err = disk_check_block_size(info->block_size, ack);

	if (err)
		return err;
	if (max > info->max_bytes)
		max = info->max_bytes;
	disk->ops = &unit_ops;
	disk->name = unit->name;
	disk->block_size = info->block_size;
	disk->max_io = (uint32_t)(max - max % info->block_size);
	disk->max_zeroes = info->max_zeroes;
	disk->read_only = info->read_only;
	disk->flush = true;
	unit->unmap = info->unmap;
	disk_set_size(disk, info->blocks, info->block_size);
	if (!disk->max_io)
		return vdpa_extack_set(
			ack, -EPROTO, "lun%u: its largest command is less than a block", unit->lun);
	return 0;
}

static void unit_free(struct unit *unit)
{
	if (!unit)
		return;
	fd_closep(&unit->disk.call);
	pthread_cond_destroy(&unit->idle);
	pthread_mutex_destroy(&unit->lock);
	free(unit);
}

static struct unit *unit_alloc(struct scsi *scsi, unsigned int slot, uint16_t lun)
{
	struct unit *unit = calloc(1, sizeof(*unit));
	pthread_condattr_t attr;

	if (!unit)
		return NULL;
	unit->scsi = scsi;
	unit->lun = lun;
	snprintf(unit->handle, sizeof(unit->handle), "lun%u", lun);
	snprintf(unit->name, sizeof(unit->name), "%s-%s", scsi->dev->vdev->name, unit->handle);
	pthread_mutex_init(&unit->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&unit->idle, &attr);
	pthread_condattr_destroy(&attr);
	STAILQ_INIT(&unit->done);
	STAILQ_INIT(&unit->free);
	for (unsigned int i = 0; i < scsi->host.depth; i++) {
		struct scsi_cmd *cmd = &unit->cmds[i];

		cmd->lun = lun;
		cmd->owner = unit;
		cmd->done = cmd_done;
		cmd->meta = scsi_host_meta(&scsi->host, slot, i);
		STAILQ_INSERT_TAIL(&unit->free, cmd, entry);
	}
	unit->disk.buffers = scsi->host.buffers + slot * scsi->host.unit_bytes;
	unit->disk.buffer_bytes = scsi->host.unit_bytes;
	unit->disk.call = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (unit->disk.call < 0) {
		unit_free(unit);
		return NULL;
	}
	return unit;
}

static void put_unit(struct scsi *scsi, unsigned int slot, struct unit *unit)
{
	pthread_mutex_lock(&scsi->lock);
	scsi->units[slot] = unit;
	pthread_mutex_unlock(&scsi->lock);
}

static int share(struct unit *unit, struct vdpa_extack *ack)
{
	struct scsi *scsi = unit->scsi;

	return disk_share(&unit->disk, scsi->dev->vdev, unit->handle, &scsi->cfg, &unit->exp, ack);
}

static int unit_add(struct scsi *scsi, unsigned int slot, uint16_t lun, struct vdpa_extack *ack)
{
	struct scsi_unit_info info;
	struct unit *unit;
	int err = scsi_ask_unit(&scsi->host, lun, &info);

	if (err == -ENODEV)
		return 0;
	if (err)
		return vdpa_extack_set(ack, err, "lun%u does not say what it is: %s", lun,
				       strerrordesc_np(-err));
	unit = unit_alloc(scsi, slot, lun);
	if (!unit)
		return -ENOMEM;
	err = set_disk(unit, &info, ack);
	if (!err)
		err = share(unit, ack);
	if (err) {
		unit_free(unit);
		return err;
	}
	put_unit(scsi, slot, unit);
	return 0;
}

/* Its buffers may be another's when its commands have come back. */
static void wait_idle(struct unit *unit)
{
	struct timespec until;
	int err = 0;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += UNIT_WAIT_S;
	pthread_mutex_lock(&unit->lock);
	while (unit->sent && !err)
		err = -pthread_cond_timedwait(&unit->idle, &unit->lock, &until);
	pthread_mutex_unlock(&unit->lock);
	if (!err)
		return;
	/* Then they all end. */
	scsi_host_break(&unit->scsi->host, "a command to a unit that is gone does not end");
	pthread_mutex_lock(&unit->lock);
	while (unit->sent)
		pthread_cond_wait(&unit->idle, &unit->lock);
	pthread_mutex_unlock(&unit->lock);
}

static void unit_del(struct scsi *scsi, unsigned int slot)
{
	struct unit *unit = scsi->units[slot];

	put_unit(scsi, slot, NULL);
	disk_export_stop(unit->exp, true, NULL);
	wait_idle(unit);
	unit_free(unit);
}

/* ---- all units; lane */

static bool is_listed(uint16_t lun, const uint16_t *luns, unsigned int num)
{
	for (unsigned int i = 0; i < num; i++)
		if (luns[i] == lun)
			return true;
	return false;
}

/* The slot of a unit that is there, else a free one: no more units are listed than there are slots.
 */
static unsigned int find_slot(const struct scsi *scsi, uint16_t lun)
{
	unsigned int empty = SCSI_UNITS;

	for (unsigned int i = 0; i < SCSI_UNITS; i++) {
		if (scsi->units[i] && scsi->units[i]->lun == lun)
			return i;
		if (!scsi->units[i])
			empty = i;
	}
	return empty;
}

/* It may have come, or have another size.  With other blocks it is another disk. */
static int look_at(struct scsi *scsi, uint16_t lun, struct vdpa_extack *ack)
{
	unsigned int slot = find_slot(scsi, lun);
	struct unit *unit = scsi->units[slot];
	struct scsi_unit_info info;
	int err;

	if (!unit)
		return unit_add(scsi, slot, lun, ack);
	err = scsi_ask_capacity(&scsi->host, lun, &info);
	if (err)
		return vdpa_extack_set(ack, err, "lun%u does not say how large it is: %s", lun,
				       strerrordesc_np(-err));
	if (info.block_size == unit->disk.block_size) {
		disk_set_size(&unit->disk, info.blocks, info.block_size);
		return 0;
	}
	unit_del(scsi, slot);
	return unit_add(scsi, slot, lun, ack);
}

/* Make the table what the device says.  The first failure; the others are seen to all the same. */
static int look(struct scsi *scsi, struct vdpa_extack *ack)
{
	uint16_t luns[SCSI_UNITS];
	unsigned int num;
	int err = scsi_list_units(&scsi->host, luns, &num), failed = 0;

	if (err)
		return vdpa_extack_set(ack, err, "the SCSI host does not list its units: %s",
				       strerrordesc_np(-err));
	for (unsigned int i = 0; i < SCSI_UNITS; i++)
		if (scsi->units[i] && !is_listed(scsi->units[i]->lun, luns, num))
			unit_del(scsi, i);
	for (unsigned int i = 0; i < num; i++) {
		err = look_at(scsi, luns[i], failed ? NULL : ack);
		if (!failed)
			failed = err;
	}
	return failed;
}

static void free_units(struct scsi *scsi)
{
	for (unsigned int i = 0; i < SCSI_UNITS; i++)
		unit_free(scsi->units[i]);
}

static void share_again(struct scsi *scsi, unsigned int slot)
{
	struct unit *unit = scsi->units[slot];

	if (!share(unit, NULL))
		return;
	virtio_broken(scsi->dev, "the file of a unit could not be made again");
	put_unit(scsi, slot, NULL);
	wait_idle(unit);
	unit_free(unit);
}

/* All or none, unless it is by force. */
static int unshare_all(struct scsi *scsi, bool force, struct vdpa_extack *ack)
{
	int err = 0;
	unsigned int i;

	for (i = 0; i < SCSI_UNITS && !err; i++)
		if (scsi->units[i])
			err = disk_export_stop(scsi->units[i]->exp, force, ack);
	if (!err)
		return 0;
	/* Somebody has opened one since we looked. */
	while (--i)
		if (scsi->units[i - 1])
			share_again(scsi, i - 1);
	return err;
}

/* ---- the driver */

static void scsi_free(struct scsi *scsi)
{
	scsi_host_stop(&scsi->host);
	free_units(scsi);
	pthread_mutex_destroy(&scsi->lock);
	free(scsi);
}

static int start(struct scsi *scsi, struct vdpa_extack *ack)
{
	int err = scsi_host_start(&scsi->host, ack);

	if (!err)
		err = look(scsi, ack);
	if (err)
		unshare_all(scsi, true, NULL);
	return err;
}

static int scsi_probe(struct virtio_device *dev, struct vdpa_attrs *attrs, struct vdpa_extack *ack)
{
	struct scsi *scsi = calloc(1, sizeof(*scsi));
	int err;

	if (!scsi)
		return -ENOMEM;
	err = disk_read_attrs(attrs, &scsi->cfg, ack);
	if (!err)
		err = virtio_negotiate(dev, virtio_scsi_driver.features, ack);
	if (err) {
		virtio_teardown(dev);
		free(scsi);
		return err;
	}
	scsi->dev = scsi->host.dev = dev;
	scsi->host.unit_bytes = disk_export_buffer_bytes();
	pthread_mutex_init(&scsi->lock, NULL);
	err = start(scsi, ack);
	if (err) {
		scsi_free(scsi);
		return err;
	}
	dev->priv = scsi;
	return 0;
}

static int scsi_in_use(struct virtio_device *dev, struct vdpa_extack *ack)
{
	struct scsi *scsi = dev->priv;
	int err = 0;

	for (unsigned int i = 0; i < SCSI_UNITS && !err; i++) {
		struct unit *unit = scsi->units[i];

		if (unit)
			err = disk_in_use(unit->exp, ack);
		if (err)
			vdpa_extack_prefix(ack, err, "%s", unit->handle);
	}
	return err;
}

static int scsi_remove(struct virtio_device *dev, bool force, struct vdpa_extack *ack)
{
	struct scsi *scsi = dev->priv;
	int err = force ? 0 : scsi_in_use(dev, ack);

	if (!err)
		err = unshare_all(scsi, force, ack);
	if (err)
		return err;
	scsi_free(scsi);
	dev->priv = NULL;
	return 0;
}

static void scsi_config_changed(struct virtio_device *dev)
{
	struct scsi *scsi = dev->priv;
	struct vdpa_extack ack = {0};
	int err;

	scsi_host_check(&scsi->host);
	if (scsi_host_broken(&scsi->host))
		return;
	err = look(scsi, &ack);
	if (err)
		vdpa_log(vdpa_device_bus(dev->vdev), dev->vdev, VDPA_LOG_WARN, "%s",
			 vdpa_extack_text(&ack, err));
}

static void scsi_show(struct virtio_device *dev, struct vdpa_info *info)
{
	struct scsi *scsi = dev->priv;

	pthread_mutex_lock(&scsi->lock);
	vdpa_info_open_list(info, "disks");
	for (unsigned int i = 0; i < SCSI_UNITS; i++) {
		struct unit *unit = scsi->units[i];

		if (!unit)
			continue;
		vdpa_info_open(info, NULL);
		vdpa_info_u64(info, "lun", unit->lun);
		disk_show(&unit->disk, dev->vdev, unit->handle, unit->exp, info);
		vdpa_info_close(info);
	}
	vdpa_info_close(info);
	pthread_mutex_unlock(&scsi->lock);
}

const struct virtio_driver virtio_scsi_driver = {
	.name = "virtio_scsi",
	.device_id = VIRTIO_ID_SCSI,
	.features = BIT_ULL(VIRTIO_SCSI_F_HOTPLUG) | BIT_ULL(VIRTIO_SCSI_F_CHANGE),
	.attrs = disk_attrs,
	.probe = scsi_probe,
	.remove = scsi_remove,
	.config_changed = scsi_config_changed,
	.show = scsi_show,
	.in_use = scsi_in_use,
};
