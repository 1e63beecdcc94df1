/* SPDX-License-Identifier: BSD-2-Clause */
#include "rig.h"

#include <endian.h>
#include <fcntl.h>
#include <linux/virtio_config.h>
#include <poll.h>
#include <stdio.h>
#include <sys/eventfd.h>

#define PATIENCE_MS 20000

uint32_t rig_timeout_ms;
int rig_memfd = -1;

uint64_t rig_wait_fd(int fd)
{
	struct pollfd pfd = {.fd = fd, .events = POLLIN};
	uint64_t count = 0;

	if (poll(&pfd, 1, PATIENCE_MS) != 1)
		fail_msg("nothing came for %d s", PATIENCE_MS / 1000);
	assert_int_equal(read(fd, &count, sizeof(count)), sizeof(count));
	return count;
}

bool rig_fd_ready(int fd)
{
	struct pollfd pfd = {.fd = fd, .events = POLLIN};

	return poll(&pfd, 1, 0) == 1;
}

/* ---- bus and device */

static void log_line(void *arg, enum vdpa_log_level level, const char *dev, const char *text)
{
	struct rig *rig = arg;

	if (level <= VDPA_LOG_WARN)
		atomic_fetch_add(&rig->logs, 1);
}

void rig_open_bus(struct rig *rig, const struct vdpa_soft_class *const *classes)
{
	struct vdpa_bus_config cfg = {
		.log = log_line, .log_arg = rig, .workers = 2, .timeout_ms = rig_timeout_ms};

	memset(rig, 0, sizeof(*rig));
	rig->num = 64;
	assert_int_equal(vdpa_bus_alloc(&cfg, &rig->bus, NULL), 0);
	if (!classes)
		assert_int_equal(vdpa_soft_register_builtin(rig->bus, NULL), 0);
	for (; classes && *classes; classes++)
		assert_int_equal(vdpa_soft_class_register(rig->bus, *classes, NULL), 0);
	if (rig_memfd >= 0)
		assert_int_equal(
			vdpa_mem_map(rig_memfd, 0, RIG_SIZE, VDPA_PERM_RW, &rig->mem, NULL), 0);
	else
		assert_int_equal(vdpa_mem_alloc("rig", RIG_SIZE, &rig->mem, NULL), 0);
	rig->map = rig_make_map(rig, 0, 0);
	rig->changed = eventfd(0, EFD_CLOEXEC);
	for (int i = 0; i < RIG_VQS; i++)
		rig->vqs[i] = (struct rig_vq){NULL, -1, -1, -1};
	for (size_t i = 0; i < RIG_SLOTS; i++) {
		struct rig_req *req = &rig->reqs[i];
		uint64_t off = RIG_DATA + i * RIG_SLOT;

		req->out = (uint8_t *)vdpa_mem_hva(rig->mem) + off;
		req->in = req->out + RIG_SLOT / 2;
		req->out_iova = RIG_IOVA + off;
		req->in_iova = req->out_iova + RIG_SLOT / 2;
	}
}

struct vdpa_attrs *rig_attrs(const char *const *words)
{
	struct vdpa_attrs *attrs = vdpa_attrs_alloc();

	assert_non_null(attrs);
	for (; words && *words; words += 2)
		assert_int_equal(vdpa_attrs_add(attrs, words[0], words[1], NULL, NULL), 0);
	return attrs;
}

int rig_verb(struct rig *rig, const struct vdpa_result *res)
{
	int err = vdpa_bus_wait(rig->bus, res);

	rig->ack = res->ack;
	return err;
}

int rig_mgmtdev_add(struct rig *rig, const char *type, const char *name, const char *const *words)
{
	struct vdpa_result res = {0};

	vdpa_mgmtdev_add(rig->bus, type, name, rig_attrs(words), vdpa_result_done, &res);
	return rig_verb(rig, &res);
}

int rig_mgmtdev_del(struct rig *rig, const char *name)
{
	struct vdpa_result res = {0};

	vdpa_mgmtdev_del(rig->bus, name, vdpa_result_done, &res);
	return rig_verb(rig, &res);
}

int rig_del(struct rig *rig, const char *name)
{
	struct vdpa_result res = {0};

	vdpa_dev_del(rig->bus, name, 0, vdpa_result_done, &res);
	return rig_verb(rig, &res);
}

int rig_try_add(struct rig *rig, const char *mgmtdev, const char *const *attrs)
{
	struct vdpa_result res = {0};
	int err;

	vdpa_dev_add(rig->bus, "dev0", mgmtdev, rig_attrs(attrs), vdpa_result_done, &res);
	err = rig_verb(rig, &res);
	rig->vdev = err ? NULL : vdpa_dev_find(rig->bus, "dev0");
	return err;
}

static void config_changed(void *arg)
{
	eventfd_write(((struct rig *)arg)->changed, 1);
}

static int do_watch_config(struct rig *rig, void *unused)
{
	struct vdpa_config_cb cb = {config_changed, rig};

	vdpa_set_config_cb(rig->vdev, &cb);
	return 0;
}

void rig_add(struct rig *rig, const char *mgmtdev, const char *const *attrs)
{
	int err = rig_try_add(rig, mgmtdev, attrs);

	if (err)
		fail_msg("cannot add: %s", vdpa_extack_text(&rig->ack, err));
	rig->nvqs = rig->vdev->nvqs < RIG_VQS ? rig->vdev->nvqs : RIG_VQS;
	rig_lane(rig, do_watch_config, NULL);
}

static void close_vqs(struct rig *rig)
{
	for (int i = 0; i < RIG_VQS; i++) {
		struct rig_vq *vq = &rig->vqs[i];

		vdpa_drvq_free(vq->q);
		vq->q = NULL;
		fd_closep(&vq->kick);
		fd_closep(&vq->call);
		fd_closep(&vq->err);
	}
	for (int i = 0; i < RIG_SLOTS; i++)
		rig->reqs[i].busy = false;
}

void rig_close(struct rig *rig)
{
	assert_int_equal(vdpa_bus_free(rig->bus), 0);
	close_vqs(rig);
	vdpa_iotlb_put(rig->map);
	vdpa_mem_put(rig->mem);
	close(rig->changed);
}

/* ---- the lane */

struct lane_op {
	struct rig *rig;
	int (*fn)(struct rig *rig, void *arg);
	void *arg;
	int err;
	int done;
};

static void lane_run(struct vdpa_device *vdev, void *arg)
{
	struct lane_op *op = arg;
	int done = op->done;

	op->err = op->fn(op->rig, op->arg);
	eventfd_write(done, 1);
}

int rig_lane(struct rig *rig, int (*fn)(struct rig *rig, void *arg), void *arg)
{
	struct lane_op op = {rig, fn, arg, 0, eventfd(0, EFD_CLOEXEC)};

	rig->ack = (struct vdpa_extack){0};
	assert_int_equal(vdpa_device_run(rig->vdev, lane_run, &op), 0);
	rig_wait_fd(op.done);
	close(op.done);
	return op.err;
}

static void lane_run_and_free(struct vdpa_device *vdev, void *arg)
{
	lane_run(vdev, arg);
	free(arg);
}

int rig_lane_start(struct rig *rig, int (*fn)(struct rig *rig, void *arg), void *arg)
{
	struct lane_op *op = malloc(sizeof(*op));
	int done = eventfd(0, EFD_CLOEXEC);

	assert_non_null(op);
	*op = (struct lane_op){rig, fn, arg, 0, done};
	assert_int_equal(vdpa_device_run(rig->vdev, lane_run_and_free, op), 0);
	return done;
}

/* ---- set-up */

struct vdpa_iotlb *rig_make_map(struct rig *rig, uint64_t from, uint64_t len)
{
	uint8_t *hva = vdpa_mem_hva(rig->mem);
	struct vdpa_iotlb_range ranges[2];
	struct vdpa_iotlb *map;
	size_t num = 0;

	if (from)
		ranges[num++] =
			(struct vdpa_iotlb_range){RIG_IOVA, from, hva, rig->mem, VDPA_PERM_RW};
	from += len;
	if (from < RIG_SIZE)
		ranges[num++] = (struct vdpa_iotlb_range){RIG_IOVA + from, RIG_SIZE - from,
							  hva + from, rig->mem, VDPA_PERM_RW};
	assert_int_equal(vdpa_iotlb_alloc(ranges, num, &map, NULL), 0);
	return map;
}

int rig_do_negotiate(struct rig *rig, void *features)
{
	rig->features = *(uint64_t *)features | RIG_VERSION_1;
	return vdpa_negotiate(rig->vdev, rig->features, &rig->ack);
}

static int give_fd(struct rig *rig, uint16_t idx, int fd,
		   int (*set)(struct vdpa_device *vdev, uint16_t idx, int *fd))
{
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	int err = set(rig->vdev, idx, &copy);

	fd_closep(&copy);
	return err;
}

/* Give the device a queue that is there. */
static int connect_vq(struct rig *rig, uint16_t idx)
{
	struct rig_vq *vq = &rig->vqs[idx];
	uint64_t desc, driver, device;
	int err;

	vdpa_drvq_areas(vq->q, &desc, &driver, &device);
	err = vdpa_set_vq_num(rig->vdev, idx, rig->num, &rig->ack);
	if (!err)
		err = vdpa_set_vq_address(rig->vdev, idx, desc, driver, device, &rig->ack);
	if (!err)
		err = give_fd(rig, idx, vq->kick, vdpa_set_vq_kick);
	if (!err)
		err = give_fd(rig, idx, vq->call, vdpa_set_vq_call);
	if (!err)
		err = give_fd(rig, idx, vq->err, vdpa_set_vq_err);
	if (!err)
		err = vdpa_set_vq_ready(rig->vdev, idx, true, &rig->ack);
	return err;
}

static int setup_vq(struct rig *rig, uint16_t idx)
{
	struct rig_vq *vq = &rig->vqs[idx];
	struct vdpa_drvq_config cfg = {
		.num = rig->num,
		.features = rig->features,
		.hva = (uint8_t *)vdpa_mem_hva(rig->mem) + rig->rings + idx * RIG_RING,
		.iova = RIG_IOVA + rig->rings + idx * RIG_RING,
		.indirect = rig->features & RIG_INDIRECT ? 4 : 0,
	};
	int err;

	err = vdpa_drvq_alloc(&cfg, &vq->q, &rig->ack);
	if (err)
		return err;
	vq->kick = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	vq->call = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	vq->err = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return connect_vq(rig, idx);
}

int rig_do_setup(struct rig *rig, void *unused)
{
	int err = vdpa_set_map(rig->vdev, 0, rig->map, &rig->ack);

	for (uint16_t i = 0; i < rig->nvqs && !err; i++)
		err = setup_vq(rig, i);
	return err;
}

int rig_do_reconnect(struct rig *rig, void *inflight_region)
{
	uint64_t features = rig->features;
	int err = rig_do_negotiate(rig, &features);

	if (!err && inflight_region)
		err = vdpa_set_inflight(rig->vdev, inflight_region, &rig->ack);
	if (!err)
		err = vdpa_set_map(rig->vdev, 0, rig->map, &rig->ack);
	for (uint16_t i = 0; i < rig->nvqs && !err; i++)
		err = connect_vq(rig, i);
	return err;
}

int rig_do_driver_ok(struct rig *rig, void *unused)
{
	return vdpa_set_status(rig->vdev, vdpa_get_status(rig->vdev) | VIRTIO_CONFIG_S_DRIVER_OK,
			       &rig->ack);
}

int rig_do_reset(struct rig *rig, void *unused)
{
	vdpa_reset(rig->vdev);
	return 0;
}

int rig_do_suspend(struct rig *rig, void *unused)
{
	return vdpa_suspend(rig->vdev, &rig->ack);
}

int rig_do_resume(struct rig *rig, void *unused)
{
	return vdpa_resume(rig->vdev, &rig->ack);
}

int rig_do_stop(struct rig *rig, void *idx)
{
	return vdpa_set_vq_ready(rig->vdev, *(uint16_t *)idx, false, &rig->ack);
}

int rig_do_ready(struct rig *rig, void *idx)
{
	return vdpa_set_vq_ready(rig->vdev, *(uint16_t *)idx, true, &rig->ack);
}

int rig_do_set_map(struct rig *rig, void *iotlb)
{
	return vdpa_set_map(rig->vdev, 0, iotlb, &rig->ack);
}

int rig_do_move(struct rig *rig, void *arg)
{
	struct rig_move *move = arg;

	return vdpa_set_vq_affinity(rig->vdev, move->idx, move->worker);
}

static void must(struct rig *rig, const char *what, int err)
{
	if (err)
		fail_msg("%s: %s", what, vdpa_extack_text(&rig->ack, err));
}

void rig_start(struct rig *rig, uint64_t features)
{
	must(rig, "features", rig_lane(rig, rig_do_negotiate, &features));
	must(rig, "queues", rig_lane(rig, rig_do_setup, NULL));
	must(rig, "driver ok", rig_lane(rig, rig_do_driver_ok, NULL));
}

void rig_reset(struct rig *rig)
{
	rig_lane(rig, rig_do_reset, NULL);
	close_vqs(rig);
}

static int do_status(struct rig *rig, void *arg)
{
	return vdpa_get_status(rig->vdev);
}

uint8_t rig_status(struct rig *rig)
{
	return (uint8_t)rig_lane(rig, do_status, NULL);
}

static int do_generation(struct rig *rig, void *arg)
{
	return (int)vdpa_get_generation(rig->vdev);
}

uint32_t rig_generation(struct rig *rig)
{
	return (uint32_t)rig_lane(rig, do_generation, NULL);
}

struct vdpa_vq_stats rig_stats(struct rig *rig, uint16_t idx)
{
	struct vdpa_vq_stats stats = {0};

	assert_int_equal(vdpa_get_vq_stats(rig->vdev, idx, &stats), 0);
	return stats;
}

/* ---- requests */

struct rig_req *rig_req(struct rig *rig)
{
	for (int i = 0; i < RIG_SLOTS; i++) {
		if (!rig->reqs[i].busy) {
			rig->reqs[i].busy = true;
			rig->reqs[i].done = false;
			return &rig->reqs[i];
		}
	}
	fail_msg("no free slot");
	return NULL;
}

void rig_put(struct rig_req *req)
{
	assert_true(req->busy);
	req->busy = false;
}

void rig_offer(struct rig *rig, uint16_t idx, struct rig_req *req, uint32_t out_len,
	       uint32_t in_len)
{
	struct vdpa_drvq_sg sg[2] = {{req->out_iova, out_len}, {req->in_iova, in_len}};

	req->in_len = in_len;
	assert_int_equal(
		vdpa_drvq_add(rig->vqs[idx].q, out_len ? sg : sg + 1, !!out_len, !!in_len, req), 0);
}

void rig_kick(struct rig *rig, uint16_t idx)
{
	if (vdpa_drvq_publish(rig->vqs[idx].q))
		eventfd_write(rig->vqs[idx].kick, 1);
}

struct rig_req *rig_send(struct rig *rig, uint16_t idx, const void *out, uint32_t out_len,
			 uint32_t in_len)
{
	struct rig_req *req = rig_req(rig);

	memcpy(req->out, out, out_len);
	rig_offer(rig, idx, req, out_len, in_len);
	rig_kick(rig, idx);
	return req;
}

void rig_collect(struct rig *rig, uint16_t idx)
{
	struct rig_req *req;
	uint32_t len;

	while ((req = vdpa_drvq_get(rig->vqs[idx].q, &len))) {
		assert_true(req->busy);
		assert_false(req->done);
		assert_true(len <= req->in_len);
		req->done = true;
		req->len = len;
	}
	assert_null(vdpa_drvq_broken(rig->vqs[idx].q));
}

void rig_wait(struct rig *rig, uint16_t idx, struct rig_req *req)
{
	for (;;) {
		rig_collect(rig, idx);
		if (req->done)
			return;
		if (!vdpa_drvq_enable_call(rig->vqs[idx].q))
			rig_wait_fd(rig->vqs[idx].call);
	}
}

void rig_break_ring(struct rig *rig, uint16_t idx)
{
	uint64_t desc, driver, device;
	uint16_t *avail;

	vdpa_drvq_areas(rig->vqs[idx].q, &desc, &driver, &device);
	avail = (uint16_t *)((uint8_t *)vdpa_mem_hva(rig->mem) + (driver - RIG_IOVA));
	__atomic_store_n(&avail[1], htole16(0x7777), __ATOMIC_RELEASE);
	eventfd_write(rig->vqs[idx].kick, 1);
}
