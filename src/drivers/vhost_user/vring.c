/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Rings.  A ring starts when all that it needs has come, in whatever order, and the front-end has
 * enabled and kicked it off (SET_VRING_KICK stands for the first kick: a ring with nothing in it
 * does nothing).  It stops on GET_VRING_BASE, on SET_VRING_ENABLE 0, and when its size, base or
 * addresses change under it; in the last case it waits for the next SET_VRING_KICK.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>

#include "base/defs.h"
#include "drivers/vhost_user/session.h"

static struct vhu_ring *find_ring(struct vhu_session *s, uint64_t idx, struct vdpa_extack *ack)
{
	if (idx < s->num_rings)
		return &s->rings[idx];
	vdpa_extack_set(ack, -EPROTO, "ring %llu, the device has %u", (unsigned long long)idx,
			s->num_rings);
	return NULL;
}

static uint16_t ring_idx(const struct vhu_session *s, const struct vhu_ring *r)
{
	return (uint16_t)(r - s->rings);
}

static bool packed(const struct vhu_session *s)
{
	return s->features & BIT_ULL(VIRTIO_F_RING_PACKED);
}

bool vhu_rings_running(const struct vhu_session *s)
{
	for (uint16_t i = 0; i < s->num_rings; i++)
		if (s->rings[i].running)
			return true;
	return false;
}

/* ---- SET_VRING_BASE's number */

static uint32_t encode_base(const struct vdpa_vq_state *state)
{
	if (!state->packed)
		return state->split.avail_index;
	return state->packed_ring.last_avail_idx |
	       (uint32_t)state->packed_ring.last_avail_counter << 15 |
	       (uint32_t)state->packed_ring.last_used_idx << 16 |
	       (uint32_t)state->packed_ring.last_used_counter << 31;
}

/* Ring memory that nobody has checked yet, or NULL. */
static const uint8_t *ring_memory(const struct vhu_session *s, uint64_t uaddr, uint64_t len)
{
	const struct vhu_region *region = vhu_memory_find(s, uaddr, len);

	return region ? (const uint8_t *)vdpa_mem_hva(region->mem) + uaddr - region->region.uaddr
		      : NULL;
}

/*
 * Has the device been round a packed ring?  Base 0 says that both wrap counters are 0, as they are
 * in every second lap; but there are front-ends that send 0 for a new ring, whose counters are 1.
 * The first descriptor tells: its USED flag is set from its first use in the first lap to its
 * second use.
 */
static bool ring_was_used(const struct vhu_session *s, const struct vhu_ring *r)
{
	const uint8_t *desc = ring_memory(s, r->addr.desc, 16);

	/* The upper byte of the flags; the address may be odd, as nobody has checked it yet. */
	return desc &&
	       __atomic_load_n(&desc[15], __ATOMIC_RELAXED) & 1u << (VRING_PACKED_DESC_F_USED - 8);
}

/*
 * Where a split ring goes on.  After a back-end has died there are front-ends that begin at 0
 * again, though their rings go on (DPDK's virtio-user that listens): what is known then is how far
 * requests were completed.  A base that is further from there than the ring is long cannot be meant
 * either.
 */
static uint16_t split_base(const struct vhu_session *s, const struct vhu_ring *r)
{
	const uint8_t *used = ring_memory(s, r->addr.used, 4);
	uint16_t base = (uint16_t)r->base, idx;

	if (!used)
		return base;
	idx = (uint16_t)(__atomic_load_n(&used[2], __ATOMIC_RELAXED) |
			 __atomic_load_n(&used[3], __ATOMIC_RELAXED) << 8);
	return !base || (uint16_t)(base - idx) > r->num ? idx : base;
}

static int decode_base(const struct vhu_session *s, const struct vhu_ring *r,
		       struct vdpa_vq_state *state, struct vdpa_extack *ack)
{
	uint32_t base = r->base;

	*state = (struct vdpa_vq_state){.packed = packed(s)};
	if (!state->packed) {
		if (base > UINT16_MAX)
			return vdpa_extack_set(ack, -EPROTO,
					       "base 0x%x of a split ring has 16 bits", base);
		state->split.avail_index = split_base(s, r);
		return 0;
	}
	if (!base && !ring_was_used(s, r))
		base = 0x80008000;
	/* Older front-ends send the first half only: both are the same unless requests are in
	 * flight, and then the log tells. */
	if (!(base >> 16))
		base |= base << 16;
	state->packed_ring.last_avail_idx = base & 0x7fff;
	state->packed_ring.last_avail_counter = base >> 15 & 1;
	state->packed_ring.last_used_idx = base >> 16 & 0x7fff;
	state->packed_ring.last_used_counter = base >> 31;
	return 0;
}

/* ---- start and stop */

/* How many run, for the channel to the front-end. */
static void count_running(struct vhu_session *s, bool start)
{
	bool tell;

	pthread_mutex_lock(&s->channel.lock);
	s->channel.running += start ? 1 : -1u;
	tell = start && s->channel.pending;
	pthread_mutex_unlock(&s->channel.lock);
	if (tell)
		vhu_session_config_changed(s);
}

static void stop_ring(struct vhu_session *s, struct vhu_ring *r)
{
	uint16_t idx = ring_idx(s, r);

	if (!r->running)
		return;
	count_running(s, false);
	vdpa_set_vq_ready(s->vdev, idx, false, NULL);
	r->running = false;
	r->resume = !vdpa_get_vq_state(s->vdev, idx, &r->state);
}

/* As stop_ring(), because of a change that is not the last of its kind. */
static void stop_ring_for_change(struct vhu_session *s, struct vhu_ring *r)
{
	if (r->running)
		r->kicked = false;
	stop_ring(s, r);
}

void vhu_rings_stop(struct vhu_session *s)
{
	for (uint16_t i = 0; i < s->num_rings; i++)
		stop_ring(s, &s->rings[i]);
}

void vhu_rings_leave(struct vhu_session *s)
{
	for (uint16_t i = 0; i < s->num_rings; i++) {
		if (s->rings[i].running)
			count_running(s, false);
		s->rings[i].running = false;
	}
}

/* Hands a duplicate of a descriptor to the device. */
static int give_fd(struct vhu_session *s, struct vhu_ring *r, int fd,
		   int (*give)(struct vdpa_device *vdev, uint16_t idx, int *fd))
{
	int copy vdpa_cleanup(fd_closep) = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 0);

	if (copy < 0 && fd >= 0)
		return -errno;
	return give(s->vdev, ring_idx(s, r), &copy);
}

static int give_fds(struct vhu_session *s, struct vhu_ring *r)
{
	int err;

	err = give_fd(s, r, r->call, vdpa_set_vq_call);
	if (err)
		return err;
	err = give_fd(s, r, r->err, vdpa_set_vq_err);
	/* Only to be told of broken rings: the device may do without. */
	if (err && err != -EOPNOTSUPP)
		return err;
	return give_fd(s, r, r->kick, vdpa_set_vq_kick);
}

static int set_areas(struct vhu_session *s, struct vhu_ring *r, struct vdpa_extack *ack)
{
	const uint64_t uaddr[] = {r->addr.desc, r->addr.avail, r->addr.used};
	static const char *const names[] = {"descriptor", "available", "used"};
	uint64_t gpa[3];

	for (int i = 0; i < 3; i++) {
		const struct vhu_region *region = vhu_memory_find(s, uaddr[i], 1);

		if (!region)
			return vdpa_extack_set(
				ack, -EFAULT, "ring %u: no region holds its %s area at 0x%llx",
				ring_idx(s, r), names[i], (unsigned long long)uaddr[i]);
		gpa[i] = uaddr[i] - region->region.uaddr + region->region.gpa;
	}
	return vdpa_set_vq_address(s->vdev, ring_idx(s, r), gpa[0], gpa[1], gpa[2], ack);
}

static int set_log(struct vhu_session *s, struct vhu_ring *r)
{
	bool on = r->addr.flags & VU_VRING_F_LOG;
	int err = vdpa_set_vq_log(s->vdev, ring_idx(s, r), on, r->addr.log);

	return err == -EOPNOTSUPP && !on ? 0 : err;
}

static int start_ring(struct vhu_session *s, struct vhu_ring *r, struct vdpa_extack *ack)
{
	uint16_t idx = ring_idx(s, r);
	struct vdpa_vq_state state = r->state;
	int err;

	err = vhu_device_up(s, ack);
	if (err)
		return err;
	err = vdpa_set_vq_num(s->vdev, idx, r->num, ack);
	if (err)
		return err;
	err = set_areas(s, r, ack);
	if (err)
		return err;
	if (!r->resume || state.packed != packed(s)) {
		err = decode_base(s, r, &state, ack);
		if (err)
			return err;
	}
	err = vdpa_set_vq_state(s->vdev, idx, &state, ack);
	if (err)
		return err;
	err = give_fds(s, r);
	if (err)
		return vdpa_extack_set(ack, err,
				       "ring %u: the device does not take the descriptors", idx);
	err = set_log(s, r);
	if (err)
		return vdpa_extack_set(ack, err, "ring %u: the device cannot log its used area",
				       idx);
	err = vdpa_set_vq_ready(s->vdev, idx, true, ack);
	if (err)
		return err;
	r->running = true;
	count_running(s, true);
	return 0;
}

static bool may_run(const struct vhu_session *s, const struct vhu_ring *r)
{
	if (!r->enabled || !r->kicked || !r->num || !r->addr_set || !r->base_set)
		return false;
	if (!s->features_set || !s->num_regions)
		return false;
	/*
	 * Who acks STATUS and never speaks of it is taken to mean DRIVER_OK by starting a ring; so
	 * is who says FEATURES_OK without there being a driver.  That is QEMU by itself, and for
	 * some of its devices (rng) it says no more than that.
	 */
	return !s->uses_status || !(s->status & VIRTIO_CONFIG_S_DRIVER) ||
	       s->status & VIRTIO_CONFIG_S_DRIVER_OK;
}

int vhu_rings_update(struct vhu_session *s, struct vdpa_extack *ack)
{
	for (uint16_t i = 0; i < s->num_rings; i++) {
		struct vhu_ring *r = &s->rings[i];
		bool may = may_run(s, r);
		int err;

		if (!may) {
			stop_ring(s, r);
		} else if (!r->running) {
			err = start_ring(s, r, ack);
			if (err) {
				/* Once: the front-end must say anew that it is to run. */
				r->kicked = false;
				return err;
			}
		}
	}
	return 0;
}

void vhu_rings_forget(struct vhu_session *s)
{
	vhu_rings_stop(s);
	for (uint16_t i = 0; i < s->num_rings; i++) {
		struct vhu_ring *r = &s->rings[i];

		fd_closep(&r->kick);
		fd_closep(&r->call);
		fd_closep(&r->err);
		*r = (struct vhu_ring){.kick = -1, .call = -1, .err = -1};
	}
}

/* ---- messages */

int vhu_set_vring_num(struct vhu_session *s, struct vu_msg *msg, struct vhu_reply *reply,
		      struct vdpa_extack *ack)
{
	struct vhu_ring *r = find_ring(s, msg->payload.state.index, ack);
	uint32_t num = msg->payload.state.num, max;

	if (!r)
		return -EPROTO;
	max = vdpa_get_vq_size(s->vdev, ring_idx(s, r));
	if (!num || num > max)
		return vdpa_extack_set(ack, -EPROTO, "ring %u: %u entries, it takes 1 to %u",
				       ring_idx(s, r), num, max);
	if (num == r->num)
		return 0;
	stop_ring_for_change(s, r);
	r->num = num;
	return 0;
}

int vhu_set_vring_addr(struct vhu_session *s, struct vu_msg *msg, struct vhu_reply *reply,
		       struct vdpa_extack *ack)
{
	const struct vu_vring_addr *addr = &msg->payload.addr;
	struct vhu_ring *r = find_ring(s, addr->index, ack);

	if (!r)
		return -EPROTO;
	if (r->addr_set && addr->desc == r->addr.desc && addr->avail == r->addr.avail &&
	    addr->used == r->addr.used) {
		/* Only about the log, then, and that goes while the ring runs. */
		r->addr = *addr;
		return r->running ? set_log(s, r) : 0;
	}
	stop_ring_for_change(s, r);
	r->addr = *addr;
	r->addr_set = true;
	return 0;
}

int vhu_set_vring_base(struct vhu_session *s, struct vu_msg *msg, struct vhu_reply *reply,
		       struct vdpa_extack *ack)
{
	struct vhu_ring *r = find_ring(s, msg->payload.state.index, ack);

	if (!r)
		return -EPROTO;
	stop_ring_for_change(s, r);
	r->base = msg->payload.state.num;
	r->base_set = true;
	r->resume = false;
	return 0;
}

int vhu_get_vring_base(struct vhu_session *s, struct vu_msg *msg, struct vhu_reply *reply,
		       struct vdpa_extack *ack)
{
	struct vhu_ring *r = find_ring(s, msg->payload.state.index, ack);

	if (!r)
		return -EPROTO;
	stop_ring(s, r);
	r->kicked = false;
	fd_closep(&r->kick);
	reply->payload.state.index = msg->payload.state.index;
	reply->payload.state.num = r->resume ? encode_base(&r->state) : r->base;
	reply->size = sizeof(reply->payload.state);
	return 0;
}

/* The ring of KICK, CALL and ERR, whose descriptor is there unless the front-end says that there is
 * none. */
static struct vhu_ring *find_fd_ring(struct vhu_session *s, const struct vu_msg *msg,
				     struct vdpa_extack *ack)
{
	struct vhu_ring *r = find_ring(s, msg->payload.u64 & VU_VRING_FD_INDEX, ack);

	if (!r || msg->payload.u64 & VU_VRING_FD_NONE || msg->num_fds)
		return r;
	vdpa_extack_set(ack, -EPROTO, "ring %u: no descriptor came", ring_idx(s, r));
	return NULL;
}

static int set_ring_fd(struct vhu_session *s, struct vhu_ring *r, int *slot, struct vu_msg *msg,
		       int (*give)(struct vdpa_device *vdev, uint16_t idx, int *fd))
{
	fd_closep(slot);
	*slot = msg->payload.u64 & VU_VRING_FD_NONE ? -1 : vu_msg_take_fd(msg, 0);
	return r->running ? give_fd(s, r, *slot, give) : 0;
}

int vhu_set_vring_kick(struct vhu_session *s, struct vu_msg *msg, struct vhu_reply *reply,
		       struct vdpa_extack *ack)
{
	struct vhu_ring *r = find_fd_ring(s, msg, ack);

	if (!r)
		return -EPROTO;
	r->kicked = true;
	return set_ring_fd(s, r, &r->kick, msg, vdpa_set_vq_kick);
}

int vhu_set_vring_call(struct vhu_session *s, struct vu_msg *msg, struct vhu_reply *reply,
		       struct vdpa_extack *ack)
{
	struct vhu_ring *r = find_fd_ring(s, msg, ack);

	return r ? set_ring_fd(s, r, &r->call, msg, vdpa_set_vq_call) : -EPROTO;
}

int vhu_set_vring_err(struct vhu_session *s, struct vu_msg *msg, struct vhu_reply *reply,
		      struct vdpa_extack *ack)
{
	struct vhu_ring *r = find_fd_ring(s, msg, ack);
	int err = r ? set_ring_fd(s, r, &r->err, msg, vdpa_set_vq_err) : -EPROTO;

	return err == -EOPNOTSUPP ? 0 : err;
}

int vhu_set_vring_enable(struct vhu_session *s, struct vu_msg *msg, struct vhu_reply *reply,
			 struct vdpa_extack *ack)
{
	struct vhu_ring *r = find_ring(s, msg->payload.state.index, ack);

	if (!r)
		return -EPROTO;
	if (msg->payload.state.num > 1)
		return vdpa_extack_set(ack, -EPROTO, "ring %u: %u is neither 0 nor 1",
				       ring_idx(s, r), msg->payload.state.num);
	r->enabled = msg->payload.state.num;
	return 0;
}
