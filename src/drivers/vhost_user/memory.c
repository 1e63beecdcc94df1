/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Memory that the front-end shares: its guest's, the dirty log, the in-flight log.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <string.h>
#include <sys/stat.h>

#include "base/defs.h"
#include "drivers/vhost_user/session.h"
#include "virtqueue/inflight.h"

static bool same_region(const struct vu_region *a, const struct vu_region *b)
{
	return a->gpa == b->gpa && a->size == b->size && a->uaddr == b->uaddr;
}

static bool same_file(int a, int b)
{
	struct stat sa, sb;

	return !fstat(a, &sa) && !fstat(b, &sb) && sa.st_dev == sb.st_dev && sa.st_ino == sb.st_ino;
}

static bool overlap(uint64_t a, uint64_t b, uint64_t a_len, uint64_t b_len)
{
	return a < b ? b - a < a_len : a - b < b_len;
}

/* Is the region sound in itself, and apart from the `num` before it? */
static int check_region(const struct vhu_region *regions, uint32_t num, const struct vu_region *r,
			struct vdpa_extack *ack)
{
	uint64_t total = 0;

	if (!r->size || r->gpa + r->size < r->gpa || r->uaddr + r->size < r->uaddr ||
	    r->offset + r->size < r->offset)
		return vdpa_extack_set(ack, -EPROTO,
				       "a region at 0x%llx of 0x%llx bytes is empty or wraps",
				       (unsigned long long)r->gpa, (unsigned long long)r->size);
	for (uint32_t i = 0; i < num; i++) {
		const struct vu_region *o = &regions[i].region;

		total += o->size;
		if (overlap(o->gpa, r->gpa, o->size, r->size) ||
		    overlap(o->uaddr, r->uaddr, o->size, r->size))
			return vdpa_extack_set(
				ack, -EPROTO, "the region at 0x%llx overlaps the one at 0x%llx",
				(unsigned long long)r->gpa, (unsigned long long)o->gpa);
	}
	/* Those before have passed, so their sum does not wrap. */
	if (!range_fits(total, r->size, VHU_MEMORY_MAX))
		return vdpa_extack_set(ack, -EPROTO,
				       "the region at 0x%llx of 0x%llx bytes makes the memory "
				       "larger than 0x%llx",
				       (unsigned long long)r->gpa, (unsigned long long)r->size,
				       VHU_MEMORY_MAX);
	return 0;
}

/*
 * Map a region.  One that the session has already is not mapped again: the device then sees that
 * nothing has moved, and need not drain.
 */
static int map_region(const struct vhu_session *s, const struct vu_region *r, int fd,
		      struct vdpa_mem **ret, struct vdpa_extack *ack)
{
	for (uint32_t i = 0; i < s->num_regions; i++) {
		const struct vhu_region *o = &s->regions[i];

		if (same_region(&o->region, r) && o->region.offset == r->offset &&
		    same_file(vdpa_mem_fd(o->mem), fd)) {
			*ret = vdpa_mem_get(o->mem);
			return 0;
		}
	}
	return vdpa_mem_map(fd, r->offset, r->size, VDPA_PERM_RW, ret, ack);
}

bool vhu_memory_lost(const struct vhu_session *s, struct vdpa_extack *ack)
{
	for (uint32_t i = 0; i < s->num_regions; i++) {
		const struct vhu_region *r = &s->regions[i];

		if (!vdpa_mem_lost(r->mem))
			continue;
		vdpa_extack_set(ack, -EFAULT,
				"the file behind its memory at 0x%llx has become shorter",
				(unsigned long long)r->region.gpa);
		return true;
	}
	return false;
}

static int publish(struct vhu_session *s, const struct vhu_region *regions, uint32_t num,
		   struct vdpa_extack *ack)
{
	struct vdpa_iotlb_range *ranges vdpa_cleanup(freep) = calloc(num + 1, sizeof(*ranges));
	struct vdpa_iotlb *iotlb;
	int err;

	if (!ranges)
		return -ENOMEM;
	for (uint32_t i = 0; i < num; i++)
		ranges[i] = (struct vdpa_iotlb_range){.iova = regions[i].region.gpa,
						      .len = regions[i].region.size,
						      .hva = vdpa_mem_hva(regions[i].mem),
						      .mem = regions[i].mem,
						      .perm = VDPA_PERM_RW};
	err = vdpa_iotlb_alloc(ranges, num, &iotlb, ack);
	if (err)
		return err;
	err = vdpa_set_map(s->vdev, 0, iotlb, ack);
	vdpa_iotlb_put(iotlb);
	if (!err)
		s->map_published = true;
	return err;
}

int vhu_memory_publish(struct vhu_session *s, struct vdpa_extack *ack)
{
	return s->map_published ? 0 : publish(s, s->regions, s->num_regions, ack);
}

static void put_regions(struct vhu_region *regions, uint32_t num)
{
	for (uint32_t i = 0; i < num; i++)
		vdpa_mem_put(regions[i].mem);
	free(regions);
}

/* Take a new set of regions (consumed in every case); on failure the old one stays. */
static int replace_regions(struct vhu_session *s, struct vhu_region *regions, uint32_t num,
			   struct vdpa_extack *ack)
{
	/* A device that has no map yet gets it with its first ring. */
	int err = s->map_published ? publish(s, regions, num, ack) : 0;

	if (err) {
		put_regions(regions, num);
		return err;
	}
	put_regions(s->regions, s->num_regions);
	s->regions = regions;
	s->num_regions = num;
	return 0;
}

const struct vhu_region *vhu_memory_find(const struct vhu_session *s, uint64_t uaddr, uint64_t len)
{
	for (uint32_t i = 0; i < s->num_regions; i++) {
		const struct vu_region *r = &s->regions[i].region;

		if (uaddr >= r->uaddr && range_fits(uaddr - r->uaddr, len, r->size))
			return &s->regions[i];
	}
	return NULL;
}

int vhu_set_mem_table(struct vhu_session *s, struct vu_msg *msg, struct vhu_reply *reply,
		      struct vdpa_extack *ack)
{
	const struct vu_mem_table *table = &msg->payload.table;
	struct vhu_region *regions;
	uint32_t num = table->num;
	int err = 0;

	if (num > VU_TABLE_MAX || msg->hdr.size < VU_TABLE_HDR + num * sizeof(table->regions[0]))
		return vdpa_extack_set(ack, -EPROTO, "%u regions in %u bytes, at most %u fit", num,
				       msg->hdr.size, VU_TABLE_MAX);
	if (num != msg->num_fds)
		return vdpa_extack_set(ack, -EPROTO, "%u descriptors for %u regions", msg->num_fds,
				       num);
	regions = calloc(num + 1, sizeof(*regions));
	if (!regions)
		return -ENOMEM;
	for (uint32_t i = 0; i < num; i++) {
		regions[i].region = table->regions[i];
		err = check_region(regions, i, &table->regions[i], ack);
		if (!err)
			err = map_region(s, &table->regions[i], msg->fds[i], &regions[i].mem, ack);
		if (err) {
			put_regions(regions, i);
			return err;
		}
	}
	return replace_regions(s, regions, num, ack);
}

int vhu_get_max_mem_slots(struct vhu_session *s, struct vu_msg *msg, struct vhu_reply *reply,
			  struct vdpa_extack *ack)
{
	reply->payload.u64 = VHU_SLOTS_MAX;
	reply->size = sizeof(reply->payload.u64);
	return 0;
}

/* The present regions less the one at `skip`, with room for one more. */
static struct vhu_region *copy_regions(const struct vhu_session *s, uint32_t skip)
{
	struct vhu_region *regions = calloc(s->num_regions + 1, sizeof(*regions));
	uint32_t num = 0;

	for (uint32_t i = 0; regions && i < s->num_regions; i++) {
		if (i == skip)
			continue;
		regions[num] = s->regions[i];
		vdpa_mem_get(regions[num++].mem);
	}
	return regions;
}

int vhu_add_mem_reg(struct vhu_session *s, struct vu_msg *msg, struct vhu_reply *reply,
		    struct vdpa_extack *ack)
{
	const struct vu_region *r = &msg->payload.reg.region;
	struct vhu_region *regions;
	struct vdpa_mem *mem;
	int err;

	if (s->num_regions == VHU_SLOTS_MAX)
		return vdpa_extack_set(ack, -EPROTO, "there are %u regions, at most %u fit",
				       s->num_regions, VHU_SLOTS_MAX);
	err = check_region(s->regions, s->num_regions, r, ack);
	if (!err)
		err = map_region(s, r, msg->fds[0], &mem, ack);
	if (err)
		return err;
	regions = copy_regions(s, UINT32_MAX);
	if (!regions) {
		vdpa_mem_put(mem);
		return -ENOMEM;
	}
	regions[s->num_regions] = (struct vhu_region){.region = *r, .mem = mem};
	return replace_regions(s, regions, s->num_regions + 1, ack);
}

int vhu_rem_mem_reg(struct vhu_session *s, struct vu_msg *msg, struct vhu_reply *reply,
		    struct vdpa_extack *ack)
{
	const struct vu_region *r = &msg->payload.reg.region;
	struct vhu_region *regions;
	uint32_t i;

	for (i = 0; i < s->num_regions; i++)
		if (same_region(&s->regions[i].region, r))
			break;
	if (i == s->num_regions)
		return vdpa_extack_set(ack, -EPROTO, "there is no region at 0x%llx of 0x%llx bytes",
				       (unsigned long long)r->gpa, (unsigned long long)r->size);
	regions = copy_regions(s, i);
	if (!regions)
		return -ENOMEM;
	return replace_regions(s, regions, s->num_regions - 1, ack);
}

/* ---- the dirty log */

int vhu_log_apply(struct vhu_session *s, struct vdpa_extack *ack)
{
	bool on = s->log && s->features & BIT_ULL(VU_F_LOG_ALL);
	int err = vdpa_set_dirty_log(s->vdev, on ? s->log : NULL);

	/* A device without a log was not offered as one. */
	if (err == -EOPNOTSUPP && !on)
		return 0;
	return err ? vdpa_extack_set(ack, err, "the device cannot log what it writes") : 0;
}

int vhu_set_log_base(struct vhu_session *s, struct vu_msg *msg, struct vhu_reply *reply,
		     struct vdpa_extack *ack)
{
	struct vdpa_dirty_log *log;
	struct vdpa_mem *mem;
	int err;

	err = vdpa_mem_map(msg->fds[0], msg->payload.log.offset, msg->payload.log.size,
			   VDPA_PERM_RW, &mem, ack);
	if (err)
		return err;
	err = vdpa_dirty_log_alloc(mem, &log, ack);
	if (err) {
		vdpa_mem_put(mem);
		return err;
	}
	vdpa_dirty_log_put(s->log);
	s->log = log;
	reply->payload.u64 = 0;
	reply->size = sizeof(reply->payload.u64);
	return s->up ? vhu_log_apply(s, ack) : 0;
}

/*
 * Taken and closed.  The specification says that a descriptor comes, not what for; the kernel's
 * vhost signals its own at each mark in the log.  No front-end is known that sends one: who
 * migrates reads the log when a round of copying begins, not when a page becomes dirty.  Signals
 * for nobody would cost a system call for each request of a guest that is being migrated.
 */
int vhu_set_log_fd(struct vhu_session *s, struct vu_msg *msg, struct vhu_reply *reply,
		   struct vdpa_extack *ack)
{
	return 0;
}

/* ---- the in-flight log */

static void set_inflight(struct vhu_session *s, struct vdpa_mem *mem, const struct vu_inflight *in)
{
	vdpa_mem_put(s->inflight.mem);
	s->inflight = (struct vdpa_inflight_region){
		.mem = mem, .num_queues = in->num_queues, .queue_size = in->queue_size};
}

static int check_inflight(struct vhu_session *s, const struct vu_inflight *in,
			  struct vdpa_extack *ack)
{
	uint32_t max = vdpa_get_vq_num_max(s->vdev);

	if (!in->num_queues || in->num_queues > s->num_rings || !in->queue_size ||
	    in->queue_size > max)
		return vdpa_extack_set(ack, -EPROTO,
				       "%u queues of %u entries, the device has %u of %u",
				       in->num_queues, in->queue_size, s->num_rings, max);
	if (vhu_rings_running(s))
		return vdpa_extack_set(ack, -EBUSY, "rings are running");
	/* The device takes a log before it runs only. */
	vhu_device_down(s);
	return 0;
}

/* Bytes for the log.  Before features are acked the kind of the rings is not known: room for both.
 */
static uint64_t inflight_size(const struct vhu_session *s, const struct vu_inflight *in)
{
	uint64_t split = inflight_bytes(in->num_queues, in->queue_size, false);
	uint64_t packed = inflight_bytes(in->num_queues, in->queue_size, true);

	if (s->features_set)
		return s->features & BIT_ULL(VIRTIO_F_RING_PACKED) ? packed : split;
	return packed > split ? packed : split;
}

int vhu_get_inflight_fd(struct vhu_session *s, struct vu_msg *msg, struct vhu_reply *reply,
			struct vdpa_extack *ack)
{
	struct vu_inflight in = {.num_queues = msg->payload.inflight.num_queues,
				 .queue_size = msg->payload.inflight.queue_size};
	struct vdpa_mem *mem;
	int err;

	err = check_inflight(s, &in, ack);
	if (err)
		return err;
	in.mmap_size = inflight_size(s, &in);
	err = vdpa_mem_alloc("uvdpa-inflight", in.mmap_size, &mem, ack);
	if (err)
		return err;
	reply->fd = fcntl(vdpa_mem_fd(mem), F_DUPFD_CLOEXEC, 0);
	if (reply->fd < 0) {
		vdpa_mem_put(mem);
		return vdpa_extack_set(ack, -errno, "no descriptor left");
	}
	set_inflight(s, mem, &in);
	reply->payload.inflight = in;
	/* Some front-ends count the padding, and read as much as they have sent. */
	reply->size = msg->hdr.size;
	return 0;
}

int vhu_set_inflight_fd(struct vhu_session *s, struct vu_msg *msg, struct vhu_reply *reply,
			struct vdpa_extack *ack)
{
	const struct vu_inflight *in = &msg->payload.inflight;
	struct vdpa_mem *mem;
	int err;

	err = check_inflight(s, in, ack);
	if (err)
		return err;
	if (in->mmap_size < inflight_size(s, in))
		return vdpa_extack_set(ack, -EPROTO,
				       "0x%llx bytes, %u queues of %u entries take 0x%llx",
				       (unsigned long long)in->mmap_size, in->num_queues,
				       in->queue_size, (unsigned long long)inflight_size(s, in));
	err = vdpa_mem_map(msg->fds[0], in->mmap_offset, in->mmap_size, VDPA_PERM_RW, &mem, ack);
	if (err)
		return err;
	set_inflight(s, mem, in);
	return 0;
}

void vhu_memory_forget(struct vhu_session *s)
{
	if (s->map_published)
		vdpa_reset_map(s->vdev, 0);
	s->map_published = false;
	put_regions(s->regions, s->num_regions);
	s->regions = NULL;
	s->num_regions = 0;
	vdpa_dirty_log_put(s->log);
	s->log = NULL;
	vdpa_mem_put(s->inflight.mem);
	s->inflight = (struct vdpa_inflight_region){0};
}
