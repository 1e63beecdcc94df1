/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The block device: attributes, features and config space.  Requests are in blk_request.c, the data
 * is in a backend of src/backends/block/.
 *
 * @spec virtio 1.3, 5.2
 */
#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_ring.h>
#include <string.h>
#include <time.h>

#include "base/defs.h"
#include "base/ratelimit.h"
#include "bus/bus.h"
#include "parents/soft/blk_request.h"
#include "parents/soft/internal.h"

/* Up to here the config space has fields of features that we have. */
#define BLK_CONFIG_LEN offsetof(struct virtio_blk_config, max_secure_erase_sectors)
#define BLK_MAX_VQS    256
/* Longest piece of a request: a promise to the driver, and no more than what one system call does
 * in a while. */
#define BLK_SIZE_MAX   (4u << 20)
#define BLK_FEATURES                                                                               \
	(BIT_ULL(VIRTIO_BLK_F_SIZE_MAX) | BIT_ULL(VIRTIO_BLK_F_SEG_MAX) |                          \
	 BIT_ULL(VIRTIO_BLK_F_RO) | BIT_ULL(VIRTIO_BLK_F_BLK_SIZE) | BIT_ULL(VIRTIO_BLK_F_FLUSH) | \
	 BIT_ULL(VIRTIO_BLK_F_TOPOLOGY) | BIT_ULL(VIRTIO_BLK_F_CONFIG_WCE) |                       \
	 BIT_ULL(VIRTIO_BLK_F_MQ) | BIT_ULL(VIRTIO_BLK_F_DISCARD) |                                \
	 BIT_ULL(VIRTIO_BLK_F_WRITE_ZEROES))

struct blk {
	struct blk_disk disk;
	struct block *block;
	uint64_t features; /* negotiated */
	bool writeback;    /* the field of the config space */
};

struct blk_vq {
	struct block_queue *queue;
	struct ratelimit errors;
};

/* ---- requests */

static void log_error(struct vdpa_soft_req *req, const struct blk_request *r)
{
	struct vdpa_device *vdev = vdpa_soft_vdev(vdpa_soft_vq_soft(req->vq));
	struct blk_vq *bvq = vdpa_soft_vq_priv(req->vq);
	struct timespec ts;
	uint32_t dropped;

	if (!r->err)
		return;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	if (!ratelimit_ok(&bvq->errors, (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec,
			  &dropped))
		return;
	vdpa_log(vdpa_device_bus(vdev), vdev, VDPA_LOG_WARN,
		 "I/O error at byte %" PRIu64 ": %s (%" PRIu32 " more since the last message)",
		 r->io.off, strerror(-r->err), dropped);
}

static void finish(struct vdpa_soft_req *req, const struct blk_request *r, enum blk_result result)
{
	if (likely(result == BLK_OK)) {
		vdpa_soft_complete(req, req->elem.in_len);
	} else {
		log_error(req, r);
		vdpa_soft_complete_error(req, req->elem.in_len);
	}
}

/* A blk_request and the request that it is for. */
struct blk_req {
	struct blk_request r;
	struct vdpa_soft_req *req;
};

static void blk_done(struct blk_request *r, enum blk_result result)
{
	finish(container_of(r, struct blk_req, r)->req, r, result);
}

static void blk_handle(struct vdpa_soft_req *req)
{
	struct blk *blk = vdpa_soft_priv(vdpa_soft_vq_soft(req->vq));
	struct blk_vq *bvq = vdpa_soft_vq_priv(req->vq);
	struct blk_req *breq = vdpa_soft_req_priv(req);
	enum blk_result result;

	breq->req = req;
	breq->r.disk = &blk->disk;
	breq->r.queue = bvq->queue;
	breq->r.elem = &req->elem;
	breq->r.done = blk_done;
	result = blk_request_start(&breq->r);
	if (result == BLK_BROKEN)
		vdpa_soft_broken(req, "block request without header, or without room for a status");
	else if (result != BLK_PENDING)
		finish(req, &breq->r, result);
}

static void blk_flush(struct vdpa_soft_vq *vq)
{
	struct blk_vq *bvq = vdpa_soft_vq_priv(vq);

	block_kick(bvq->queue);
}

static int blk_queue_start(struct vdpa_soft_vq *vq, struct vdpa_extack *ack)
{
	struct vdpa_soft *soft = vdpa_soft_vq_soft(vq);
	struct blk *blk = vdpa_soft_priv(soft);
	struct blk_vq *bvq = vdpa_soft_vq_priv(vq);

	ratelimit_init(&bvq->errors, 4, 10000000000u);
	return block_attach(blk->block, soft_vq_worker(vq),
			    bus_lane_pool(vdpa_device_bus(vdpa_soft_vdev(soft))), &bvq->queue, ack);
}

static void blk_queue_stop(struct vdpa_soft_vq *vq)
{
	struct blk_vq *bvq = vdpa_soft_vq_priv(vq);

	block_detach(bvq->queue);
	bvq->queue = NULL;
}

/* ---- cache mode */

/*
 * A driver that cannot flush gets writes that need none; one that cannot choose gets what the user
 * chose.
 * @spec virtio 1.3, 5.2.6.2
 */
static void update_mode(struct blk *blk)
{
	bool through = !(blk->features & BIT_ULL(VIRTIO_BLK_F_FLUSH)) || !blk->writeback;

	__atomic_store_n(&blk->disk.writethrough, through, __ATOMIC_RELAXED);
}

static int blk_features_ok(struct vdpa_soft *soft, uint64_t features, struct vdpa_extack *ack)
{
	struct blk *blk = vdpa_soft_priv(soft);

	blk->features = features;
	blk->disk.discard = features & BIT_ULL(VIRTIO_BLK_F_DISCARD);
	blk->disk.write_zeroes = features & BIT_ULL(VIRTIO_BLK_F_WRITE_ZEROES);
	update_mode(blk);
	return 0;
}

/* The core takes back what the driver wrote into the config space. */
static void blk_reset(struct vdpa_soft *soft)
{
	struct blk *blk = vdpa_soft_priv(soft);

	blk->writeback = blk->block->info.writeback;
	blk_features_ok(soft, 0, NULL);
}

static int blk_config_write(struct vdpa_soft *soft, uint32_t off, const void *buf, uint32_t len,
			    struct vdpa_extack *ack)
{
	struct blk *blk = vdpa_soft_priv(soft);
	uint8_t writeback;

	/* Before features are known a state record is being loaded. */
	if (off != offsetof(struct virtio_blk_config, wce) || len != 1 ||
	    (blk->features && !(blk->features & BIT_ULL(VIRTIO_BLK_F_CONFIG_WCE))))
		return vdpa_extack_set(ack, -EINVAL,
				       "config space: only 'writeback' can be written, and only "
				       "with feature CONFIG_WCE; not %u bytes at %u",
				       len, off);
	writeback = *(const uint8_t *)buf;
	if (writeback > 1)
		return vdpa_extack_set(ack, -EINVAL, "writeback is 0 or 1, not %u", writeback);
	blk->writeback = writeback;
	update_mode(blk);
	/* From now on completed writes are on the medium: so are those of before. */
	return writeback ? 0 : block_sync(blk->block);
}

/* ---- set-up */

static uint64_t blk_offer(const struct blk *blk, uint16_t nvqs)
{
	uint64_t features = BLK_FEATURES;

	if (nvqs < 2)
		features &= ~BIT_ULL(VIRTIO_BLK_F_MQ);
	if (!blk->disk.readonly)
		features &= ~BIT_ULL(VIRTIO_BLK_F_RO);
	if (blk->disk.readonly || !blk->block->info.discard)
		features &= ~BIT_ULL(VIRTIO_BLK_F_DISCARD);
	if (blk->disk.readonly)
		features &= ~BIT_ULL(VIRTIO_BLK_F_WRITE_ZEROES);
	return features;
}

static const char *blk_why_not(struct vdpa_soft *soft, unsigned int bit)
{
	const struct blk *blk = vdpa_soft_priv(soft);

	switch (bit) {
	case VIRTIO_BLK_F_MQ:
		return "it has one queue";
	case VIRTIO_BLK_F_RO:
		return "it can be written";
	case VIRTIO_BLK_F_DISCARD:
		return blk->disk.readonly ? "it is read-only"
					  : "the backend cannot discard, or 'discard' is off";
	case VIRTIO_BLK_F_WRITE_ZEROES:
		return "it is read-only";
	case VIRTIO_BLK_F_GEOMETRY:
	case VIRTIO_BLK_F_BARRIER:
	case VIRTIO_BLK_F_SCSI:
		return "only legacy drivers have a use for it";
	default:
		return NULL;
	}
}

/* Bytes to sectors of a 32-bit field. */
static uint32_t sectors(uint64_t bytes)
{
	return bytes / BLK_SECTOR > UINT32_MAX ? UINT32_MAX : (uint32_t)(bytes / BLK_SECTOR);
}

static void write_config(struct vdpa_soft *soft, const struct blk *blk)
{
	const struct block_info *info = &blk->block->info;
	uint32_t exp = (uint32_t)__builtin_ctz(info->physical_size / info->block_size);
	struct virtio_blk_config cfg = {
		.capacity = htole64(info->size / BLK_SECTOR),
		.size_max = htole32(BLK_SIZE_MAX),
		.seg_max = htole32(soft_seg_max(soft)),
		.blk_size = htole32(info->block_size),
		.physical_block_exp = (uint8_t)exp,
		.min_io_size = htole16((uint16_t)(info->min_io / info->block_size)),
		.opt_io_size = htole32(info->opt_io / info->block_size),
		.wce = blk->writeback,
		.num_queues = htole16(vdpa_soft_nvqs(soft)),
		.max_discard_sectors = htole32(blk->disk.max_discard),
		.max_discard_seg = htole32(BLK_MAX_RANGES),
		.discard_sector_alignment = htole32(info->discard_align / BLK_SECTOR),
		.max_write_zeroes_sectors = htole32(blk->disk.max_write_zeroes),
		.max_write_zeroes_seg = htole32(BLK_MAX_RANGES),
		.write_zeroes_may_unmap = info->unmap,
	};

	vdpa_soft_update_config(soft, 0, &cfg, BLK_CONFIG_LEN);
}

static int set_serial(struct vdpa_soft *soft, struct blk *blk, struct vdpa_attrs *attrs,
		      struct vdpa_extack *ack)
{
	const char *serial = vdpa_attrs_str(attrs, "serial", NULL);
	size_t len;

	if (serial && strlen(serial) > VIRTIO_BLK_ID_BYTES)
		return vdpa_extack_set(ack, -EINVAL, "serial '%s' is longer than %d characters",
				       serial, VIRTIO_BLK_ID_BYTES);
	if (!serial)
		serial = vdpa_soft_vdev(soft)->name;
	len = strlen(serial);
	memcpy(blk->disk.serial, serial, len < VIRTIO_BLK_ID_BYTES ? len : VIRTIO_BLK_ID_BYTES);
	return 0;
}

static int blk_create(struct vdpa_soft *soft, struct vdpa_attrs *attrs, struct vdpa_extack *ack)
{
	struct blk *blk = vdpa_soft_priv(soft);
	const struct block_info *info;
	int err;

	err = set_serial(soft, blk, attrs, ack);
	if (!err)
		err = block_open(attrs, &blk->block, ack);
	if (err)
		return err;
	info = &blk->block->info;
	blk->disk.capacity = info->size;
	blk->disk.readonly = info->readonly;
	blk->disk.unmap = info->unmap;
	blk->disk.block_size = info->block_size;
	blk->disk.max_discard = sectors(info->max_discard);
	blk->disk.max_write_zeroes = sectors(info->max_write_zeroes);
	blk->writeback = info->writeback;
	update_mode(blk);
	vdpa_soft_set_features(soft, blk_offer(blk, vdpa_soft_nvqs(soft)));
	write_config(soft, blk);
	return 0;
}

static void blk_destroy(struct vdpa_soft *soft)
{
	struct blk *blk = vdpa_soft_priv(soft);

	block_close(blk->block);
}

static int blk_set_attrs(struct vdpa_soft *soft, struct vdpa_attrs *attrs, struct vdpa_extack *ack)
{
	struct blk *blk = vdpa_soft_priv(soft);
	uint64_t old = blk->disk.capacity, capacity;
	int err;

	if (!vdpa_attrs_has(attrs, "size"))
		return 0;
	err = block_resize_shared(blk->block, vdpa_attrs_u64(attrs, "size", 0), &blk->disk.capacity,
				  ack);
	if (err || blk->disk.capacity == old)
		return err;
	capacity = htole64(blk->disk.capacity / BLK_SECTOR);
	vdpa_soft_update_config(soft, offsetof(struct virtio_blk_config, capacity), &capacity,
				sizeof(capacity));
	return 0;
}

static void blk_show(struct vdpa_soft *soft, struct vdpa_info *info)
{
	struct blk *blk = vdpa_soft_priv(soft);

	block_show(blk->block, info);
}

static const struct vdpa_attr_desc blk_attrs[] = {
	BLOCK_ATTRS,
	{.name = "serial",
	 .type = VDPA_ATTR_STRING,
	 .help = "what the guest sees as serial number, 20 characters at most; default: the name"},
	{0},
};

const struct vdpa_soft_class soft_blk_class = {
	.size = sizeof(soft_blk_class),
	.name = "blk",
	.help = "block device on a file, a block device, in memory or on nothing",
	.device_id = VIRTIO_ID_BLOCK,
	.nvqs = 1,
	.max_vqs = BLK_MAX_VQS,
	.config_size = BLK_CONFIG_LEN,
	.features = BLK_FEATURES,
	.attrs = blk_attrs,
	.priv_size = sizeof(struct blk),
	.vq_priv_size = sizeof(struct blk_vq),
	.req_priv_size = sizeof(struct blk_req),
	.create = blk_create,
	.destroy = blk_destroy,
	.set_attrs = blk_set_attrs,
	.config_write = blk_config_write,
	.features_ok = blk_features_ok,
	.reset = blk_reset,
	.queue_start = blk_queue_start,
	.queue_stop = blk_queue_stop,
	.handle = blk_handle,
	.flush = blk_flush,
	.show = blk_show,
	.why_not = blk_why_not,
};
