/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * virtio_blk: a block device on the bus as a disk of this host.  @spec virtio 1.3, 5.2
 *
 * One queue, used by the export's thread.  A request is a slot: header, zeroes segment and status
 * in shared memory, the pieces in a list that is built anew each time.
 */
#include <endian.h>
#include <errno.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_ring.h>
#include <string.h>
#include <sys/eventfd.h>

#include "base/defs.h"
#include "drivers/virtio/disk.h"
#include "drivers/virtio/virtio.h"

#define BLK_HANDLE "disk"
#define BLK_SLOTS  64u
#define BLK_RING   256u           /* entries of the queue, if the device takes so many */
#define BLK_SEGS   128u           /* pieces of data in a request at most */
#define BLK_MAX_IO (1024u * 1024) /* bytes in a request at most */

/* In shared memory.  The device writes status only; we read nothing else back. */
struct blk_meta {
	struct virtio_blk_outhdr hdr;
	struct virtio_blk_discard_write_zeroes zeroes;
	uint8_t status;
	uint8_t pad[31];
};

struct blk_slot {
	struct disk_io *io;
	struct blk_meta *meta;
	struct blk_slot *next; /* in the free list */
};

struct blk {
	struct virtio_device *dev;
	struct disk disk;
	struct disk_export *exp;
	bool broken;       /* the export's thread's */
	uint32_t size_max; /* bytes in a piece */
	uint32_t seg_max;
	struct blk_slot slots[BLK_SLOTS];
	struct blk_slot *free;
	struct vdpa_drvq_sg sg[BLK_SEGS + 3];
};

static struct blk *to_blk(struct disk *disk)
{
	return container_of(disk, struct blk, disk);
}

/* ---- requests; export's thread */

static uint32_t type_of(enum disk_op op)
{
	switch (op) {
	case DISK_READ:
		return VIRTIO_BLK_T_IN;
	case DISK_WRITE:
		return VIRTIO_BLK_T_OUT;
	case DISK_FLUSH:
		return VIRTIO_BLK_T_FLUSH;
	case DISK_WRITE_ZEROES:
		return VIRTIO_BLK_T_WRITE_ZEROES;
	}
	return UINT32_MAX;
}

static uint32_t add_data(struct blk *blk, uint32_t n, const struct disk_io *io)
{
	uint64_t iova = virtio_iova(blk->dev, io->buf);

	for (uint64_t left = io->len; left;) {
		uint32_t len = left < blk->size_max ? left : blk->size_max;

		blk->sg[n++] = (struct vdpa_drvq_sg){.iova = iova, .len = len};
		iova += len;
		left -= len;
	}
	return n;
}

static uint32_t fill(struct blk *blk, struct blk_slot *slot, const struct disk_io *io,
		     uint32_t *out)
{
	struct blk_meta *meta = slot->meta;
	uint64_t iova = virtio_iova(blk->dev, meta);
	uint32_t n = 0;

	meta->hdr = (struct virtio_blk_outhdr){.type = htole32(type_of(io->op))};
	if (io->op == DISK_READ || io->op == DISK_WRITE)
		meta->hdr.sector = htole64(io->offset / DISK_SECTOR);
	meta->status = 0xff;
	blk->sg[n++] = (struct vdpa_drvq_sg){.iova = iova, .len = sizeof(meta->hdr)};

	if (io->op == DISK_WRITE)
		n = add_data(blk, n, io);
	if (io->op == DISK_WRITE_ZEROES) {
		meta->zeroes = (struct virtio_blk_discard_write_zeroes){
			.sector = htole64(io->offset / DISK_SECTOR),
			.num_sectors = htole32(io->len / DISK_SECTOR),
			.flags = htole32(io->unmap ? VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP : 0),
		};
		blk->sg[n++] =
			(struct vdpa_drvq_sg){.iova = iova + offsetof(struct blk_meta, zeroes),
					      .len = sizeof(meta->zeroes)};
	}
	*out = n;
	if (io->op == DISK_READ)
		n = add_data(blk, n, io);
	blk->sg[n++] = (struct vdpa_drvq_sg){.iova = iova + offsetof(struct blk_meta, status),
					     .len = sizeof(meta->status)};
	return n;
}

static int blk_submit(struct disk *disk, struct disk_io *io)
{
	struct blk *blk = to_blk(disk);
	struct blk_slot *slot = blk->free;
	uint32_t out, n;
	int err;

	if (blk->broken)
		return -EIO;
	if (!slot)
		return -EAGAIN;
	n = fill(blk, slot, io, &out);
	err = vdpa_drvq_add(blk->dev->queues[0].ring, blk->sg, out, n - out, slot);
	if (err)
		return err == -ENOSPC ? -EAGAIN : err;
	slot->io = io;
	blk->free = slot->next;
	return 0;
}

static void blk_commit(struct disk *disk)
{
	virtio_queue_publish(&to_blk(disk)->dev->queues[0]);
}

static int status_to_errno(uint8_t status)
{
	switch (status) {
	case VIRTIO_BLK_S_OK:
		return 0;
	case VIRTIO_BLK_S_UNSUPP:
		return -EOPNOTSUPP;
	default:
		return -EIO;
	}
}

static void end_slot(struct blk *blk, struct blk_slot *slot, int err)
{
	struct disk_io *io = slot->io;

	io->err = err;
	slot->io = NULL;
	slot->next = blk->free;
	blk->free = slot;
	io->done(io);
}

/* What the device does with the ring now means nothing: nobody waits for it, or asks it again. */
static void blk_break(struct blk *blk, const char *why)
{
	virtio_broken(blk->dev, why);
	blk->broken = true;
	for (unsigned int i = 0; i < BLK_SLOTS; i++)
		if (blk->slots[i].io)
			end_slot(blk, &blk->slots[i], -EIO);
}

static void blk_complete(struct disk *disk)
{
	struct blk *blk = to_blk(disk);
	struct vdpa_drvq *ring = blk->dev->queues[0].ring;
	struct blk_slot *slot;
	uint32_t len;

	if (blk->broken)
		return;
	do {
		while ((slot = vdpa_drvq_get(ring, &len)))
			end_slot(blk, slot,
				 status_to_errno(*(volatile uint8_t *)&slot->meta->status));
	} while (!vdpa_drvq_broken(ring) && vdpa_drvq_enable_call(ring));
	if (vdpa_drvq_broken(ring))
		blk_break(blk, vdpa_drvq_broken(ring));
	else if (vdpa_get_status(blk->dev->vdev) & VIRTIO_CONFIG_S_NEEDS_RESET)
		blk_break(blk, "the device needs a reset");
}

/* ---- config */

static int read_field(struct blk *blk, size_t off, void *buf, uint32_t len)
{
	return virtio_config_read(blk->dev, off, buf, len);
}

#define READ_FIELD(blk, field, var)                                                                \
	read_field(blk, offsetof(struct virtio_blk_config, field), &(var), sizeof(var))

static bool has(const struct blk *blk, unsigned int bit)
{
	return blk->dev->features & BIT_ULL(bit);
}

static int read_size(struct blk *blk)
{
	uint64_t sectors;
	int err = READ_FIELD(blk, capacity, sectors);

	if (err)
		return err;
	disk_set_size(&blk->disk, le64toh(sectors), DISK_SECTOR);
	return 0;
}

static int read_limits(struct blk *blk)
{
	uint32_t ring = vdpa_get_vq_num_max(blk->dev->vdev);
	uint32_t v;
	int err = 0;

	if (ring > BLK_RING)
		ring = BLK_RING;
	blk->size_max = BLK_MAX_IO;
	blk->seg_max = 1;
	if (has(blk, VIRTIO_BLK_F_SIZE_MAX)) {
		err = READ_FIELD(blk, size_max, v);
		if (!err && le32toh(v) && le32toh(v) < blk->size_max)
			blk->size_max = le32toh(v);
	}
	if (!err && has(blk, VIRTIO_BLK_F_SEG_MAX)) {
		err = READ_FIELD(blk, seg_max, v);
		if (!err && le32toh(v))
			blk->seg_max = le32toh(v) < BLK_SEGS ? le32toh(v) : BLK_SEGS;
	}
	/* Without indirect tables a request takes a place in the ring for each piece. */
	if (!has(blk, VIRTIO_RING_F_INDIRECT_DESC) && ring < blk->seg_max + 2)
		blk->seg_max = ring > 2 ? ring - 2 : 0;
	return err;
}

static int read_config(struct blk *blk, struct vdpa_extack *ack)
{
	struct disk *disk = &blk->disk;
	uint32_t v;
	int err = read_limits(blk);

	disk->block_size = DISK_SECTOR;
	if (!err && has(blk, VIRTIO_BLK_F_BLK_SIZE)) {
		err = READ_FIELD(blk, blk_size, v);
		if (!err)
			disk->block_size = le32toh(v);
	}
	if (!err && has(blk, VIRTIO_BLK_F_WRITE_ZEROES)) {
		err = READ_FIELD(blk, max_write_zeroes_sectors, v);
		if (!err)
			disk->max_zeroes = (uint64_t)le32toh(v) * DISK_SECTOR;
	}
	if (!err)
		err = read_size(blk);
	if (err)
		return vdpa_extack_set(ack, err, "cannot read the config space of the disk");

	err = disk_check_block_size(disk->block_size, ack);
	if (err)
		return err;
	disk->max_zeroes -= disk->max_zeroes % disk->block_size;
	disk->read_only = has(blk, VIRTIO_BLK_F_RO);
	disk->flush = has(blk, VIRTIO_BLK_F_FLUSH);
	disk->max_io = BLK_MAX_IO;
	if ((uint64_t)blk->size_max * blk->seg_max < disk->max_io)
		disk->max_io = blk->size_max * blk->seg_max;
	disk->max_io -= disk->max_io % disk->block_size;
	if (!disk->max_io)
		return vdpa_extack_set(ack, -EPROTO,
				       "the largest request of the disk is less than a block: its "
				       "queue or its pieces are too small");
	return 0;
}

/* ---- the driver */

static const struct disk_ops blk_disk_ops = {
	.submit = blk_submit,
	.commit = blk_commit,
	.complete = blk_complete,
};

static int start_device(struct blk *blk, struct vdpa_extack *ack)
{
	size_t meta_bytes = sizeof(struct blk_meta) * BLK_SLOTS;
	struct virtio_queue_setup queue = {.num = BLK_RING};
	struct virtio_setup setup = {
		.queues = &queue,
		.num_queues = 1,
		.buffer_bytes = meta_bytes + disk_export_buffer_bytes(),
	};
	struct blk_meta *meta;
	int err;

	err = virtio_negotiate(blk->dev, virtio_blk_driver.features, ack);
	if (!err)
		err = read_config(blk, ack);
	if (err)
		return err;

	queue.indirect = blk->seg_max + 3;
	err = virtio_setup(blk->dev, &setup, ack);
	if (err)
		return err;

	meta = (struct blk_meta *)(void *)blk->dev->buffers;
	for (unsigned int i = 0; i < BLK_SLOTS; i++) {
		blk->slots[i] = (struct blk_slot){.meta = &meta[i], .next = blk->free};
		blk->free = &blk->slots[i];
	}
	blk->disk.call = blk->dev->queues[0].call;
	blk->disk.buffers = blk->dev->buffers + meta_bytes;
	blk->disk.buffer_bytes = disk_export_buffer_bytes();
	vdpa_drvq_enable_call(blk->dev->queues[0].ring);
	return 0;
}

static int blk_probe(struct virtio_device *dev, struct vdpa_attrs *attrs, struct vdpa_extack *ack)
{
	struct disk_export_config cfg;
	struct blk *blk;
	int err;

	err = disk_read_attrs(attrs, &cfg, ack);
	if (err)
		return err;
	blk = calloc(1, sizeof(*blk));
	if (!blk)
		return -ENOMEM;
	blk->dev = dev;
	blk->disk.ops = &blk_disk_ops;
	blk->disk.name = dev->vdev->name;
	dev->priv = blk;

	err = start_device(blk, ack);
	if (!err)
		err = disk_share(&blk->disk, dev->vdev, BLK_HANDLE, &cfg, &blk->exp, ack);
	if (err) {
		virtio_teardown(dev);
		free(blk);
		dev->priv = NULL;
	}
	return err;
}

static int blk_remove(struct virtio_device *dev, bool force, struct vdpa_extack *ack)
{
	struct blk *blk = dev->priv;
	int err;

	err = disk_export_stop(blk->exp, force, ack);
	if (err)
		return err;
	virtio_teardown(dev);
	free(blk);
	dev->priv = NULL;
	return 0;
}

static void blk_config_changed(struct virtio_device *dev)
{
	struct blk *blk = dev->priv;

	read_size(blk);
	/* It may have failed: have its thread look. */
	eventfd_write(blk->disk.call, 1);
}

static void blk_show(struct virtio_device *dev, struct vdpa_info *info)
{
	struct blk *blk = dev->priv;

	disk_show(&blk->disk, dev->vdev, BLK_HANDLE, blk->exp, info);
}

static int blk_in_use(struct virtio_device *dev, struct vdpa_extack *ack)
{
	struct blk *blk = dev->priv;

	return disk_in_use(blk->exp, ack);
}

const struct virtio_driver virtio_blk_driver = {
	.name = "virtio_blk",
	.device_id = VIRTIO_ID_BLOCK,
	.features = BIT_ULL(VIRTIO_BLK_F_SIZE_MAX) | BIT_ULL(VIRTIO_BLK_F_SEG_MAX) |
		    BIT_ULL(VIRTIO_BLK_F_RO) | BIT_ULL(VIRTIO_BLK_F_BLK_SIZE) |
		    BIT_ULL(VIRTIO_BLK_F_FLUSH) | BIT_ULL(VIRTIO_BLK_F_WRITE_ZEROES),
	.attrs = disk_attrs,
	.probe = blk_probe,
	.remove = blk_remove,
	.config_changed = blk_config_changed,
	.show = blk_show,
	.in_use = blk_in_use,
};
