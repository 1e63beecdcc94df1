/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What each parent owes its drivers, whatever it is: driven through the config ops only.
 *
 *	test_parent NAME
 *
 * A new parent needs one row in parents[]: how to make the device, and a request that it answers.
 */
#include "../unit/rig.h"

#include <endian.h>
#include <fcntl.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_crypto.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_scsi.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "virtqueue/inflight.h"

struct parent {
	const char *name;
	const struct vdpa_soft_class *const *classes; /* NULL: those of the library */
	const char *mgmtdev;
	const char *attrs[9];
	/* Fill a request for queue idx in; say how long its parts are. */
	void (*fill)(uint16_t idx, struct rig_req *req, uint32_t *out_len, uint32_t *in_len);
	/* The answer is right. */
	void (*check)(uint16_t idx, const struct rig_req *req);
	bool in_fd;     /* "FILE" in attrs stands for a file of 1 MiB */
	bool on_stdio;  /* zeros come from the standard input for ever */
	bool refused;   /* the answer is no, and counts as an error */
	uint16_t first; /* queue that takes such requests; the later ones do, too */
};

/* ---- the least that is a device */

static void echo_handle(struct vdpa_soft_req *req)
{
	uint8_t byte = 0;

	vdpa_iov_to_buf(req->elem.iov, req->elem.out_num, 0, &byte, 1);
	byte++;
	vdpa_soft_complete(req, (uint32_t)vdpa_iov_from_buf(req->elem.iov + req->elem.out_num,
							    req->elem.in_num, 0, &byte, 1));
}

static const struct vdpa_soft_class echo_class = {
	.size = sizeof(echo_class),
	.name = "echo",
	.device_id = VIRTIO_ID_RNG,
	.nvqs = 1,
	.max_vqs = 16,
	.handle = echo_handle,
};
static const struct vdpa_soft_class *const echo_classes[] = {&echo_class, NULL};

static void echo_fill(uint16_t idx, struct rig_req *req, uint32_t *out_len, uint32_t *in_len)
{
	req->out[0] = (uint8_t)(req->out_iova / RIG_SLOT);
	req->in[0] = 0;
	*out_len = 1;
	*in_len = 1;
}

static void echo_check(uint16_t idx, const struct rig_req *req)
{
	assert_int_equal(req->len, 1);
	assert_int_equal(req->in[0], (uint8_t)(req->out[0] + 1));
}

/* ---- disks: a read of the first sector */

static void blk_fill(uint16_t idx, struct rig_req *req, uint32_t *out_len, uint32_t *in_len)
{
	const struct virtio_blk_outhdr hdr = {.type = htole32(VIRTIO_BLK_T_IN)};

	memcpy(req->out, &hdr, sizeof(hdr));
	memset(req->in, 0xff, 513);
	*out_len = sizeof(hdr);
	*in_len = 513;
}

static void blk_check(uint16_t idx, const struct rig_req *req)
{
	assert_int_equal(req->len, 513);
	assert_int_equal(req->in[512], VIRTIO_BLK_S_OK);
}

/* ---- consoles: zeros come in, text goes out */

#define CONSOLE_IN 48

static void console_fill(uint16_t idx, struct rig_req *req, uint32_t *out_len, uint32_t *in_len)
{
	bool receives = idx % 2 == 0;

	memcpy(req->out, "text", 4);
	memset(req->in, 0xff, CONSOLE_IN);
	*out_len = receives ? 0 : 4;
	*in_len = receives ? CONSOLE_IN : 0;
}

static void console_check(uint16_t idx, const struct rig_req *req)
{
	static const uint8_t zeros[CONSOLE_IN];

	if (idx % 2)
		assert_int_equal(req->len, 0);
	else
		assert_in_range(req->len, 1, CONSOLE_IN);
	assert_memory_equal(req->in, zeros, req->len);
}

/* ---- random bytes */

static void rng_fill(uint16_t idx, struct rig_req *req, uint32_t *out_len, uint32_t *in_len)
{
	memset(req->in, 0, 64);
	*out_len = 0;
	*in_len = 64;
}

static void rng_check(uint16_t idx, const struct rig_req *req)
{
	assert_int_equal(req->len, 64);
	assert_memory_not_equal(req->in, (uint8_t[64]){0}, 64);
}

/* ---- crypto: a hash without a session; the control queue takes it for a command, and says so */

#ifdef HAVE_LIBCRYPTO

static void crypto_fill(uint16_t idx, struct rig_req *req, uint32_t *out_len, uint32_t *in_len)
{
	const struct virtio_crypto_op_header hdr = {.opcode = htole32(VIRTIO_CRYPTO_HASH)};

	memset(req->out, 0, 72);
	memcpy(req->out, &hdr, sizeof(hdr));
	memset(req->in, 0xff, 33);
	*out_len = 72;
	*in_len = 33;
}

static void crypto_check(uint16_t idx, const struct rig_req *req)
{
	assert_in_range(req->len, 16, 33);
	assert_true(req->in[32] == VIRTIO_CRYPTO_INVSESS || req->in[8] == VIRTIO_CRYPTO_NOTSUPP);
}

#endif

/* ---- SCSI hosts: what is unit 0? */

static void scsi_fill(uint16_t idx, struct rig_req *req, uint32_t *out_len, uint32_t *in_len)
{
	const struct virtio_scsi_cmd_req cmd = {.lun = {1}, .cdb = {0x12, [4] = 36}};

	memcpy(req->out, &cmd, sizeof(cmd));
	*out_len = sizeof(cmd);
	*in_len = sizeof(struct virtio_scsi_cmd_resp) + 36;
	memset(req->in, 0xff, *in_len);
}

static void scsi_check(uint16_t idx, const struct rig_req *req)
{
	struct virtio_scsi_cmd_resp resp;

	memcpy(&resp, req->in, sizeof(resp));
	assert_int_equal(req->len, sizeof(resp) + 36);
	assert_int_equal(resp.response, VIRTIO_SCSI_S_OK);
	assert_int_equal(resp.status, 0);
	assert_memory_equal(req->in + sizeof(resp) + 8, "uvdpa   ", 8);
}

static const struct parent parents[] = {
	{"echo", echo_classes, "echo", {"queues", "3"}, echo_fill, echo_check},
	{"echo-in-order",
	 echo_classes,
	 "echo",
	 {"queues", "3", "in-order", "on"},
	 echo_fill,
	 echo_check},
	{"blk-null",
	 NULL,
	 "blk",
	 {"backend", "null", "size", "1M", "queues", "3"},
	 blk_fill,
	 blk_check},
	{"blk-ram",
	 NULL,
	 "blk",
	 {"backend", "ram", "size", "1M", "queues", "3"},
	 blk_fill,
	 blk_check},
	{"blk-file", NULL, "blk", {"file", "FILE", "queues", "3"}, blk_fill, blk_check, true},
	{"console",
	 NULL,
	 "console",
	 {"backend", "stdio"},
	 console_fill,
	 console_check,
	 .on_stdio = true},
	{"rng", NULL, "rng", {NULL}, rng_fill, rng_check},
#ifdef HAVE_LIBCRYPTO
	{"crypto", NULL, "crypto", {"queues", "3"}, crypto_fill, crypto_check, .refused = true},
#endif
	{"scsi-ram",
	 NULL,
	 "scsi",
	 {"lun0-backend", "ram", "lun0-size", "1M", "request-queues", "2"},
	 scsi_fill,
	 scsi_check,
	 .first = 2},
	{"scsi-file",
	 NULL,
	 "scsi",
	 {"lun0", "FILE", "request-queues", "2", "in-order", "on"},
	 scsi_fill,
	 scsi_check,
	 true,
	 .first = 2},
};

static const struct parent *parent;

/* fd is another file from now on.  Returns what it was. */
static int replace(int fd, const char *path)
{
	int was = dup(fd), now = open(path, O_RDWR | O_CLOEXEC);

	assert_true(was >= 0 && now >= 0 && dup2(now, fd) == fd);
	close(now);
	return was;
}

static void put_back(int fd, int was)
{
	assert_int_equal(dup2(was, fd), fd);
	close(was);
}

static void add_on_stdio(struct rig *rig)
{
	int in, out;

	fflush(stdout);
	in = replace(STDIN_FILENO, "/dev/zero");
	out = replace(STDOUT_FILENO, "/dev/null");
	rig_add(rig, parent->mgmtdev, parent->attrs);
	put_back(STDIN_FILENO, in);
	put_back(STDOUT_FILENO, out);
}

static void open_rig(struct rig *rig)
{
	const char *attrs[ARRAY_SIZE(parent->attrs)];
	char path[] = "/tmp/uvdpa-contract-XXXXXX";
	int fd = -1;

	memcpy(attrs, parent->attrs, sizeof(attrs));
	if (parent->in_fd) {
		fd = mkstemp(path);
		assert_int_equal(ftruncate(fd, 1 << 20), 0);
		for (size_t i = 0; i < ARRAY_SIZE(attrs); i++)
			attrs[i] = attrs[i] && !strcmp(attrs[i], "FILE") ? path : attrs[i];
	}
	rig_open_bus(rig, parent->classes);
	if (parent->on_stdio)
		add_on_stdio(rig);
	else
		rig_add(rig, parent->mgmtdev, attrs);
	if (fd >= 0) {
		unlink(path);
		close(fd);
	}
}

/* Queues that take requests, in turn. */
static uint16_t queue_of(const struct rig *rig, int i)
{
	return (uint16_t)(parent->first + i % (rig->nvqs - parent->first));
}

static struct rig_req *offer(struct rig *rig, uint16_t idx)
{
	struct rig_req *req = rig_req(rig);
	uint32_t out_len, in_len;

	parent->fill(idx, req, &out_len, &in_len);
	rig_offer(rig, idx, req, out_len, in_len);
	return req;
}

static void finish(struct rig *rig, uint16_t idx, struct rig_req *req)
{
	rig_wait(rig, idx, req);
	parent->check(idx, req);
	rig_put(req);
}

/* Queue idx serves `num` requests. */
static void serve(struct rig *rig, uint16_t idx, int num)
{
	struct rig_req *reqs[32];

	assert_true(num <= 32);
	for (int i = 0; i < num; i++)
		reqs[i] = offer(rig, idx);
	rig_kick(rig, idx);
	for (int i = 0; i < num; i++)
		finish(rig, idx, reqs[i]);
}

static void serve_all(struct rig *rig)
{
	for (uint16_t idx = parent->first; idx < rig->nvqs; idx++)
		serve(rig, idx, 4);
}

/* Each kind of ring that is offered. */
static void each_ring(void (*fn)(struct rig *rig))
{
	static const uint64_t kinds[] = {
		0,
		RIG_EVENT_IDX | RIG_INDIRECT,
		RIG_IN_ORDER | RIG_EVENT_IDX,
		RIG_PACKED,
		RIG_PACKED | RIG_EVENT_IDX | RIG_INDIRECT,
		RIG_PACKED | RIG_IN_ORDER,
	};

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		struct rig rig;

		open_rig(&rig);
		if (!(kinds[i] & ~vdpa_get_device_features(rig.vdev))) {
			rig_start(&rig, kinds[i]);
			fn(&rig);
		}
		rig_close(&rig);
	}
}

/* ---- what a device says of itself */

static int do_identity(struct rig *rig, void *unused)
{
	uint32_t generation = vdpa_get_generation(rig->vdev);
	size_t size = vdpa_get_config_size(rig->vdev);
	uint8_t *config = malloc(size + 1);
	uint64_t first, last;

	assert_true(vdpa_get_device_features(rig->vdev) & RIG_VERSION_1);
	assert_int_not_equal(vdpa_get_device_id(rig->vdev), 0);
	assert_true(vdpa_get_vq_num_min(rig->vdev) <= vdpa_get_vq_num_max(rig->vdev));
	assert_true(vdpa_get_vq_num_max(rig->vdev) <= VDPA_VQ_NUM_MAX);
	vdpa_get_iova_range(rig->vdev, &first, &last);
	assert_true(first < last);
	assert_int_equal(vdpa_get_config(rig->vdev, 0, config, (uint32_t)size), 0);
	assert_int_equal(vdpa_get_config(rig->vdev, 1, config, (uint32_t)size), -EINVAL);
	assert_int_equal(vdpa_get_config(rig->vdev, UINT32_MAX, config, 2), -EINVAL);
	assert_int_equal(vdpa_get_generation(rig->vdev), generation);
	free(config);
	return 0;
}

static void test_parent_identity(void **state)
{
	struct rig rig;

	open_rig(&rig);
	assert_true(rig.vdev->nvqs >= 1);
	assert_int_equal(rig_lane(&rig, do_identity, NULL), 0);
	rig_close(&rig);
}

static int do_as_new(struct rig *rig, void *unused)
{
	struct vdpa_vq_state state;

	if (vdpa_get_status(rig->vdev) || vdpa_get_driver_features(rig->vdev))
		return -EPROTO;
	for (uint16_t idx = 0; idx < rig->vdev->nvqs; idx++) {
		if (vdpa_get_vq_ready(rig->vdev, idx))
			return -EPROTO;
		if (vdpa_get_vq_state(rig->vdev, idx, &state) || state.packed ||
		    state.split.avail_index)
			return -EPROTO;
	}
	return 0;
}

static void test_parent_reset_makes_new(void **state)
{
	struct rig rig;

	open_rig(&rig);
	assert_int_equal(rig_lane(&rig, do_as_new, NULL), 0);
	for (int round = 0; round < 3; round++) {
		rig_start(&rig, round % 2 ? RIG_EVENT_IDX : 0);
		assert_true(rig_status(&rig) & VIRTIO_CONFIG_S_DRIVER_OK);
		serve_all(&rig);
		rig_reset(&rig);
		assert_int_equal(rig_lane(&rig, do_as_new, NULL), 0);
	}
	rig_close(&rig);
}

static int do_bad_sizes(struct rig *rig, void *unused)
{
	uint32_t max = vdpa_get_vq_num_max(rig->vdev);

	if (vdpa_set_vq_num(rig->vdev, 0, 0, NULL) != -EINVAL)
		return -EPROTO;
	if (vdpa_set_vq_num(rig->vdev, 0, max * 2, NULL) != -EINVAL)
		return -EPROTO;
	if (vdpa_set_vq_num(rig->vdev, rig->vdev->nvqs, 16, NULL) != -EINVAL)
		return -EPROTO;
	if (vdpa_set_vq_address(rig->vdev, rig->vdev->nvqs, 0, 0, 0, NULL) != -EINVAL)
		return -EPROTO;
	if (vdpa_set_driver_features(rig->vdev, RIG_VERSION_1 | 1ull << 63, NULL) != -EINVAL)
		return -EPROTO;
	return vdpa_set_driver_features(rig->vdev, 0, NULL) == -EINVAL ? 0 : -EPROTO;
}

static void test_parent_refuses_nonsense(void **state)
{
	struct rig rig;

	open_rig(&rig);
	assert_int_equal(rig_lane(&rig, do_bad_sizes, NULL), 0);
	rig_start(&rig, 0);
	serve_all(&rig);
	rig_close(&rig);
}

/* ---- queues */

static void test_parent_serves(void **state)
{
	each_ring(serve_all);
}

/* Over the end of the ring several times, at different depths. */
static void run_long(struct rig *rig)
{
	for (int round = 0; round < 60; round++)
		serve(rig, queue_of(rig, round), 1 + round % 32);
}

static void test_parent_serves_long(void **state)
{
	each_ring(run_long);
}

static void test_parent_waits_for_driver_ok(void **state)
{
	uint64_t features = 0;
	struct rig_req *req;
	struct rig rig;

	open_rig(&rig);
	assert_int_equal(rig_lane(&rig, rig_do_negotiate, &features), 0);
	assert_int_equal(rig_lane(&rig, rig_do_setup, NULL), 0);
	req = offer(&rig, parent->first);
	rig_kick(&rig, parent->first);
	rig_collect(&rig, parent->first);
	assert_false(req->done);
	assert_int_equal(rig_lane(&rig, rig_do_driver_ok, NULL), 0);
	finish(&rig, parent->first, req);
	rig_close(&rig);
}

static int do_state(struct rig *rig, void *state)
{
	return vdpa_get_vq_state(rig->vdev, parent->first, state);
}

static int do_set_state(struct rig *rig, void *state)
{
	return vdpa_set_vq_state(rig->vdev, parent->first, state, &rig->ack);
}

static int do_address(struct rig *rig, void *unused)
{
	return vdpa_set_vq_address(rig->vdev, parent->first, 0, 0x1000, 0x2000, &rig->ack);
}

static void run_stop_start(struct rig *rig)
{
	uint16_t idx = parent->first;

	for (int round = 0; round < 10; round++) {
		struct vdpa_vq_state state = {0};
		struct rig_req *reqs[6];

		for (int i = 0; i < 3; i++)
			reqs[i] = offer(rig, parent->first);
		rig_kick(rig, parent->first);
		assert_int_equal(rig_lane(rig, do_address, NULL), -EBUSY);
		assert_int_equal(rig_lane(rig, rig_do_stop, &idx), 0);
		assert_int_equal(rig_lane(rig, do_state, &state), 0);
		assert_int_equal(state.packed, !!(rig->features & RIG_PACKED));
		for (int i = 3; i < 6; i++)
			reqs[i] = offer(rig, parent->first);
		rig_kick(rig, parent->first);
		assert_int_equal(rig_lane(rig, do_set_state, &state), 0);
		assert_int_equal(rig_lane(rig, rig_do_ready, &idx), 0);
		for (int i = 0; i < 6; i++)
			finish(rig, parent->first, reqs[i]);
	}
}

static void test_parent_stops_and_starts_a_queue(void **state)
{
	each_ring(run_stop_start);
}

static int do_bad_ring(struct rig *rig, void *unused)
{
	uint16_t idx = parent->first;
	int err = rig_do_stop(rig, &idx);

	if (!err)
		err = vdpa_set_vq_address(rig->vdev, parent->first, UINT64_MAX - 15, 0x1000, 0x2000,
					  NULL);
	return err ? err : rig_do_ready(rig, &idx);
}

static void test_parent_ring_at_a_bad_place(void **state)
{
	struct rig rig;

	open_rig(&rig);
	rig_start(&rig, 0);
	assert_int_not_equal(rig_lane(&rig, do_bad_ring, NULL), 0);
	for (uint16_t idx = parent->first + 1; idx < rig.nvqs; idx++)
		serve(&rig, idx, 2);
	rig_reset(&rig);
	rig_start(&rig, 0);
	serve_all(&rig);
	rig_close(&rig);
}

static void test_parent_survives_a_broken_ring(void **state)
{
	struct rig rig;

	open_rig(&rig);
	rig_start(&rig, 0);
	rig_break_ring(&rig, parent->first);
	rig_wait_fd(rig.changed);
	assert_true(rig_status(&rig) & VIRTIO_CONFIG_S_NEEDS_RESET);
	for (uint16_t idx = parent->first + 1; idx < rig.nvqs; idx++)
		serve(&rig, idx, 2);
	rig_reset(&rig);
	assert_int_equal(rig_lane(&rig, do_as_new, NULL), 0);
	rig_start(&rig, 0);
	serve_all(&rig);
	rig_close(&rig);
}

/* ---- notifications */

static int do_no_call(struct rig *rig, void *unused)
{
	int none = -1;

	return vdpa_set_vq_call(rig->vdev, parent->first, &none);
}

static int do_call(struct rig *rig, void *fd)
{
	return vdpa_set_vq_call(rig->vdev, parent->first, fd);
}

static int do_kick_fd(struct rig *rig, void *fd)
{
	return vdpa_set_vq_kick(rig->vdev, parent->first, fd);
}

static void run_new_descriptors(struct rig *rig)
{
	struct rig_vq *vq = &rig->vqs[parent->first];

	for (int round = 0; round < 5; round++) {
		int call = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), given = dup(call);
		struct rig_req *req = offer(rig, parent->first);

		rig_kick(rig, parent->first);
		assert_int_equal(rig_lane(rig, do_no_call, NULL), 0);
		assert_int_equal(rig_lane(rig, do_call, &given), 0);
		assert_int_equal(given, -1);
		close(vq->call);
		vq->call = call;
		finish(rig, parent->first, req);

		close(vq->kick);
		vq->kick = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		/* What was offered before a kick was possible is found all the same. */
		req = offer(rig, parent->first);
		vdpa_drvq_publish(vq->q);
		given = dup(vq->kick);
		assert_int_equal(rig_lane(rig, do_kick_fd, &given), 0);
		assert_int_equal(given, -1);
		finish(rig, parent->first, req);
		serve(rig, parent->first, 4);
	}
}

static void test_parent_takes_new_descriptors(void **state)
{
	each_ring(run_new_descriptors);
}

static void test_parent_kick_without_descriptor(void **state)
{
	struct rig rig;

	open_rig(&rig);
	rig_start(&rig, 0);
	for (int i = 0; i < 10; i++) {
		struct rig_req *req = offer(&rig, parent->first);
		int err;

		vdpa_drvq_publish(rig.vqs[parent->first].q);
		err = vdpa_kick_vq(rig.vdev, parent->first);
		if (err == -EOPNOTSUPP)
			eventfd_write(rig.vqs[parent->first].kick, 1);
		else
			assert_int_equal(err, 0);
		finish(&rig, parent->first, req);
	}
	assert_int_equal(vdpa_kick_vq(rig.vdev, rig.vdev->nvqs), -EINVAL);
	rig_close(&rig);
}

/* ---- while it runs */

static void run_suspend(struct rig *rig)
{
	for (int round = 0; round < 10; round++) {
		struct rig_req *before = offer(rig, parent->first), *after;
		int err;

		rig_kick(rig, parent->first);
		err = rig_lane(rig, rig_do_suspend, NULL);
		if (err == -EOPNOTSUPP) {
			finish(rig, parent->first, before);
			return;
		}
		assert_int_equal(err, 0);
		rig_collect(rig, parent->first);
		after = offer(rig, parent->first);
		rig_kick(rig, parent->first);
		rig_collect(rig, parent->first);
		assert_false(after->done);
		assert_int_equal(rig_lane(rig, rig_do_resume, NULL), 0);
		finish(rig, parent->first, before);
		finish(rig, parent->first, after);
	}
	serve_all(rig);
}

static void test_parent_suspends(void **state)
{
	each_ring(run_suspend);
}

static void run_reset(struct rig *rig)
{
	uint64_t features = rig->features & ~RIG_VERSION_1;

	for (int round = 0; round < 10; round++) {
		for (uint16_t idx = parent->first; idx < rig->nvqs; idx++) {
			for (int i = 0; i < 16; i++)
				offer(rig, idx);
			rig_kick(rig, idx);
		}
		rig_reset(rig);
		assert_int_equal(rig_lane(rig, do_as_new, NULL), 0);
		rig_start(rig, features);
		serve_all(rig);
	}
}

static void test_parent_reset_in_flight(void **state)
{
	each_ring(run_reset);
}

static void run_maps(struct rig *rig)
{
	for (int round = 0; round < 10; round++) {
		struct vdpa_iotlb *map =
			rig_make_map(rig, RIG_SIZE - RIG_SLOT, round % 2 ? RIG_SLOT : 0);
		struct rig_req *reqs[4];

		for (int i = 0; i < 4; i++)
			reqs[i] = offer(rig, queue_of(rig, i));
		for (uint16_t idx = 0; idx < rig->nvqs; idx++)
			rig_kick(rig, idx);
		assert_int_equal(rig_lane(rig, rig_do_set_map, map), 0);
		vdpa_iotlb_put(map);
		for (int i = 0; i < 4; i++)
			finish(rig, queue_of(rig, i), reqs[i]);
		serve_all(rig);
	}
}

static void test_parent_takes_new_maps(void **state)
{
	each_ring(run_maps);
}

static void run_moves(struct rig *rig)
{
	struct vdpa_worker *workers[2];

	assert_int_equal(vdpa_worker_add(rig->bus, "a", -1, 0, NULL), 0);
	assert_int_equal(vdpa_worker_add(rig->bus, "b", -1, 0, NULL), 0);
	workers[0] = vdpa_worker_find(rig->bus, "a");
	workers[1] = vdpa_worker_find(rig->bus, "b");
	for (int round = 0; round < 20; round++) {
		struct rig_move move = {queue_of(rig, round), workers[round / 4 % 2]};
		struct rig_req *reqs[4];
		int done, err;

		for (int i = 0; i < 2; i++)
			reqs[i] = offer(rig, move.idx);
		rig_kick(rig, move.idx);
		done = rig_lane_start(rig, rig_do_move, &move);
		for (int i = 2; i < 4; i++)
			reqs[i] = offer(rig, move.idx);
		rig_kick(rig, move.idx);
		rig_wait_fd(done);
		close(done);
		for (int i = 0; i < 4; i++)
			finish(rig, move.idx, reqs[i]);
		err = rig_lane(rig, rig_do_move, &move);
		assert_true(!err || err == -EOPNOTSUPP);
	}
}

static void test_parent_moves_queues(void **state)
{
	each_ring(run_moves);
}

/* ---- counts, logs, record */

static void test_parent_counts(void **state)
{
	struct vdpa_vq_stats stats;
	uint64_t served = 10;
	struct rig rig;

	open_rig(&rig);
	if (rig.vdev->ops->get_vq_stats) {
		rig_start(&rig, 0);
		serve(&rig, parent->first, 10);
		/* A device that still looks at its ring needs no kick. */
		while (!rig_stats(&rig, parent->first).kicks && served++ < 1000)
			serve(&rig, parent->first, 1);
		stats = rig_stats(&rig, parent->first);
		assert_int_equal(stats.requests, served);
		assert_true(stats.bytes_in >= 10);
		assert_int_equal(stats.errors, parent->refused ? served : 0);
		/* What is served before it asks for kicks may do without. */
		assert_true(stats.kicks >= 1 || parent->on_stdio);
		assert_true(stats.calls >= 1);
		/* They outlive a reset. */
		rig_reset(&rig);
		assert_int_equal(rig_stats(&rig, parent->first).requests, served);
	}
	rig_close(&rig);
}

static int do_dirty_log(struct rig *rig, void *log)
{
	return vdpa_set_dirty_log(rig->vdev, log);
}

static void run_dirty_log(struct rig *rig)
{
	uint64_t pages = (RIG_IOVA + RIG_SIZE) / 4096;
	struct vdpa_dirty_log *log;
	struct rig_req *req;
	struct vdpa_mem *mem;
	const uint8_t *bits;
	uint64_t page;
	int err;

	serve(rig, parent->first, 4);
	assert_int_equal(vdpa_mem_alloc("log", pages / 8, &mem, NULL), 0);
	bits = vdpa_mem_hva(mem);
	assert_int_equal(vdpa_dirty_log_alloc(mem, &log, NULL), 0);
	err = rig_lane(rig, do_dirty_log, log);
	if (err != -EOPNOTSUPP) {
		assert_int_equal(err, 0);
		req = offer(rig, parent->first);
		page = req->in_iova / 4096;
		assert_false(bits[page / 8] & 1 << page % 8);
		rig_kick(rig, parent->first);
		finish(rig, parent->first, req);
		assert_true(__atomic_load_n(&bits[page / 8], __ATOMIC_RELAXED) & 1 << page % 8);
		/* What is only read does not count. */
		page = req->out_iova / 4096;
		assert_false(bits[page / 8] & 1 << page % 8);
		assert_int_equal(rig_lane(rig, do_dirty_log, NULL), 0);
	}
	serve(rig, parent->first, 4);
	vdpa_dirty_log_put(log);
}

static void test_parent_logs_what_it_writes(void **state)
{
	each_ring(run_dirty_log);
}

/* The log outlives the device's state: with nothing under way, all goes on where it stood. */
static void run_inflight(struct rig *rig)
{
	struct vdpa_inflight_region region = {.num_queues = rig->nvqs,
					      .queue_size = (uint16_t)rig->num};
	bool packed = rig->features & RIG_PACKED;

	if (!rig->vdev->ops->set_inflight)
		return;
	assert_int_equal(vdpa_mem_alloc("log", inflight_bytes(rig->nvqs, rig->num, packed),
					&region.mem, NULL),
			 0);
	for (int round = 0; round < 5; round++) {
		assert_int_equal(rig_lane(rig, rig_do_reset, NULL), 0);
		assert_int_equal(rig_lane(rig, rig_do_reconnect, &region), 0);
		assert_int_equal(rig_lane(rig, rig_do_driver_ok, NULL), 0);
		serve(rig, parent->first, 32);
		serve_all(rig);
		assert_int_equal(rig_lane(rig, rig_do_suspend, NULL), 0);
		assert_int_equal(rig_lane(rig, rig_do_resume, NULL), 0);
		serve_all(rig);
	}
	vdpa_mem_put(region.mem);
}

static void test_parent_goes_on_from_its_log(void **state)
{
	each_ring(run_inflight);
}

static int do_save(struct rig *rig, void *record)
{
	return vdpa_device_save(rig->vdev, VDPA_STATE_DEVICE | VDPA_STATE_SESSION, record,
				&rig->ack);
}

static int do_load(struct rig *rig, void *record)
{
	return vdpa_device_load(rig->vdev, VDPA_STATE_DEVICE | VDPA_STATE_SESSION, record,
				&rig->ack);
}

static int give_descriptors(struct rig *rig, void *unused)
{
	int err = 0;

	for (uint16_t idx = 0; idx < rig->nvqs && !err; idx++) {
		int kick = dup(rig->vqs[idx].kick), call = dup(rig->vqs[idx].call);

		err = vdpa_set_vq_kick(rig->vdev, idx, &kick);
		if (!err)
			err = vdpa_set_vq_call(rig->vdev, idx, &call);
	}
	return err;
}

/* All of it through bytes, as over an upgrade: the driver notices nothing. */
static void run_record(struct rig *rig)
{
	struct vdpa_state record = {0}, copy = {0};
	struct rig_req *req;
	void *bytes;
	size_t len;

	serve_all(rig);
	if (rig_lane(rig, rig_do_suspend, NULL) == -EOPNOTSUPP)
		return;
	req = offer(rig, parent->first);
	rig_kick(rig, parent->first);
	assert_int_equal(rig_lane(rig, do_save, &record), 0);
	assert_int_equal(vdpa_state_encode(&record, &bytes, &len), 0);
	assert_int_equal(vdpa_state_decode(bytes, len, &copy, NULL), 0);
	rig_lane(rig, rig_do_reset, NULL);
	assert_int_equal(rig_lane(rig, do_load, &copy), 0);
	assert_int_equal(rig_lane(rig, give_descriptors, NULL), 0);
	finish(rig, parent->first, req);
	serve_all(rig);
	free(bytes);
	vdpa_state_clear(&record);
	vdpa_state_clear(&copy);
}

static void test_parent_state_record(void **state)
{
	each_ring(run_record);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parent_identity),
		cmocka_unit_test(test_parent_reset_makes_new),
		cmocka_unit_test(test_parent_refuses_nonsense),
		cmocka_unit_test(test_parent_serves),
		cmocka_unit_test(test_parent_serves_long),
		cmocka_unit_test(test_parent_waits_for_driver_ok),
		cmocka_unit_test(test_parent_stops_and_starts_a_queue),
		cmocka_unit_test(test_parent_ring_at_a_bad_place),
		cmocka_unit_test(test_parent_survives_a_broken_ring),
		cmocka_unit_test(test_parent_takes_new_descriptors),
		cmocka_unit_test(test_parent_kick_without_descriptor),
		cmocka_unit_test(test_parent_suspends),
		cmocka_unit_test(test_parent_reset_in_flight),
		cmocka_unit_test(test_parent_takes_new_maps),
		cmocka_unit_test(test_parent_moves_queues),
		cmocka_unit_test(test_parent_counts),
		cmocka_unit_test(test_parent_logs_what_it_writes),
		cmocka_unit_test(test_parent_goes_on_from_its_log),
		cmocka_unit_test(test_parent_state_record),
	};

	for (size_t i = 0; argc == 2 && i < ARRAY_SIZE(parents); i++) {
		if (!strcmp(argv[1], parents[i].name))
			parent = &parents[i];
	}
	if (!parent) {
		fprintf(stderr, "usage: test_parent NAME\n");
		return 2;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
