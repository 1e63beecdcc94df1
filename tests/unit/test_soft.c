/* SPDX-License-Identifier: BSD-2-Clause */
#include "rig.h"

#include <endian.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <malloc.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fail_alloc.h"
#include "parents/soft/internal.h"
#include "virtqueue/inflight.h"

/* ---- a class for tests: the first byte of a request says what to do with it */

#define ECHO  'e' /* copy out to in */
#define HOLD  'h' /* the same, when release_fd[queue] says so */
#define ERROR 'x'
#define BREAK 'b'

#define HELD_MAX 256

struct test_config {
	uint64_t capacity; /* the device's */
	uint8_t flag;      /* the driver's: 0 or 1 */
	uint8_t pad[7];
};

struct test_dev {
	uint64_t kept; /* what the record carries */
	atomic_int resets;
	atomic_int starts, stops, flushes;
	atomic_int fail_start;                /* so many queues do not start */
	atomic_bool fail_alloc, failed_alloc; /* the next allocation of the worker fails, did */
};

struct test_vq {
	struct vdpa_soft_req *held[HELD_MAX];
	unsigned int num_held;
};

struct test_req {
	uint8_t command;
};

static int release_fd[RIG_VQS], held_fd[RIG_VQS];
static struct test_dev *test_dev;
static struct vdpa_soft *test_soft;

static void echo(struct vdpa_soft_req *req)
{
	uint8_t buf[4096];
	size_t len = vdpa_iov_to_buf(req->elem.iov, req->elem.out_num, 0, buf, sizeof(buf));

	len = vdpa_iov_from_buf(req->elem.iov + req->elem.out_num, req->elem.in_num, 0, buf, len);
	vdpa_soft_complete(req, (uint32_t)len);
}

/* The last first: whatever keeps order must do so itself. */
static void release(void *arg)
{
	struct test_vq *tvq = vdpa_soft_vq_priv(arg);
	eventfd_t count;

	eventfd_read(release_fd[vdpa_soft_vq_index(arg)], &count);
	while (tvq->num_held)
		echo(tvq->held[--tvq->num_held]);
}

static void test_handle(struct vdpa_soft_req *req)
{
	struct test_vq *tvq = vdpa_soft_vq_priv(req->vq);
	struct test_req *treq = vdpa_soft_req_priv(req);
	struct test_dev *dev = vdpa_soft_priv(vdpa_soft_vq_soft(req->vq));

	if (dev->fail_alloc) {
		dev->failed_alloc = fail_alloc_done();
		dev->fail_alloc = false;
	}
	treq->command = 0;
	vdpa_iov_to_buf(req->elem.iov, req->elem.out_num, 0, &treq->command, 1);
	switch (treq->command) {
	case ECHO:
		echo(req);
		break;
	case HOLD:
		tvq->held[tvq->num_held++] = req;
		eventfd_write(held_fd[vdpa_soft_vq_index(req->vq)], 1);
		break;
	case BREAK:
		vdpa_soft_broken(req, "the request is a bad one");
		break;
	default:
		vdpa_soft_complete_error(req, 0);
	}
}

static void test_flush(struct vdpa_soft_vq *vq)
{
	struct test_dev *dev = vdpa_soft_priv(vdpa_soft_vq_soft(vq));

	atomic_fetch_add(&dev->flushes, 1);
}

static void test_cancel(struct vdpa_soft_vq *vq)
{
	struct test_vq *tvq = vdpa_soft_vq_priv(vq);

	while (tvq->num_held)
		vdpa_soft_complete_error(tvq->held[--tvq->num_held], 0);
}

static int test_queue_start(struct vdpa_soft_vq *vq, struct vdpa_extack *ack)
{
	struct test_dev *dev = vdpa_soft_priv(vdpa_soft_vq_soft(vq));
	uint16_t idx = vdpa_soft_vq_index(vq);
	int err = 0;

	if (idx < RIG_VQS)
		err = vdpa_soft_vq_watch(vq, release_fd[idx], release, vq);
	if (err)
		return err;
	if (dev->fail_start) {
		dev->fail_start--;
		return vdpa_extack_set(ack, -EIO, "no start today");
	}
	dev->starts++;
	if (dev->fail_alloc)
		fail_alloc_nth(1);
	return 0;
}

static void test_queue_stop(struct vdpa_soft_vq *vq)
{
	struct test_dev *dev = vdpa_soft_priv(vdpa_soft_vq_soft(vq));
	struct test_vq *tvq = vdpa_soft_vq_priv(vq);

	assert_int_equal(tvq->num_held, 0);
	dev->stops++;
}

static int test_create(struct vdpa_soft *soft, struct vdpa_attrs *attrs, struct vdpa_extack *ack)
{
	uint64_t capacity = htole64(vdpa_attrs_u64(attrs, "capacity", 100));

	if (le64toh(capacity) == 13)
		return vdpa_extack_set(ack, -EINVAL, "13 is unlucky");
	vdpa_soft_update_config(soft, 0, &capacity, sizeof(capacity));
	test_dev = vdpa_soft_priv(soft);
	test_soft = soft;
	return 0;
}

static int test_set_attrs(struct vdpa_soft *soft, struct vdpa_attrs *attrs, struct vdpa_extack *ack)
{
	uint64_t capacity = htole64(vdpa_attrs_u64(attrs, "capacity", 100));

	vdpa_soft_update_config(soft, 0, &capacity, sizeof(capacity));
	return 0;
}

static int test_config_write(struct vdpa_soft *soft, uint32_t off, const void *buf, uint32_t len,
			     struct vdpa_extack *ack)
{
	if (off != offsetof(struct test_config, flag) || len != 1 || *(const uint8_t *)buf > 1)
		return vdpa_extack_set(ack, -EINVAL, "only 'flag' can be written");
	return 0;
}

static int test_features_ok(struct vdpa_soft *soft, uint64_t features, struct vdpa_extack *ack)
{
	if ((features & 3) == 3)
		return vdpa_extack_set(ack, -EINVAL, "bits 0 and 1 exclude each other");
	return 0;
}

static void test_reset(struct vdpa_soft *soft)
{
	((struct test_dev *)vdpa_soft_priv(soft))->resets++;
}

static int test_save(struct vdpa_soft *soft, struct vdpa_state_blob *blob, struct vdpa_extack *ack)
{
	return vdpa_state_put_u64(blob, 1, test_dev->kept);
}

static int test_load(struct vdpa_soft *soft, const struct vdpa_state_blob *blob,
		     struct vdpa_extack *ack)
{
	return vdpa_state_u64(blob, 1, &test_dev->kept);
}

/* Answers with what came in. */
static int test_cmd(struct vdpa_soft *soft, uint32_t cmd, const void *in, uint32_t in_len,
		    void *out, uint32_t *out_len, struct vdpa_extack *ack)
{
	if (cmd == VDPA_CMD_NET_RARP)
		return vdpa_extack_set(ack, -ENETDOWN, "there is no link");
	*out_len = in_len < *out_len ? in_len : *out_len;
	memcpy(out, in, *out_len);
	return 0;
}

static const struct vdpa_attr_desc test_attrs[] = {
	{.name = "capacity", .type = VDPA_ATTR_UINT, .flags = VDPA_ATTR_LIVE, .help = "a number"},
	{0},
};

#define TEST_CLASS                                                                                 \
	.size = sizeof(struct vdpa_soft_class), .help = "for tests", .device_id = VIRTIO_ID_RNG,   \
	.nvqs = 1, .max_vqs = 1024, .config_size = sizeof(struct test_config), .features = 7,      \
	.attrs = test_attrs, .priv_size = sizeof(struct test_dev),                                 \
	.vq_priv_size = sizeof(struct test_vq), .req_priv_size = sizeof(struct test_req),          \
	.create = test_create, .set_attrs = test_set_attrs, .config_write = test_config_write,     \
	.features_ok = test_features_ok, .reset = test_reset, .queue_start = test_queue_start,     \
	.queue_stop = test_queue_stop, .handle = test_handle, .flush = test_flush,                 \
	.save = test_save, .load = test_load

static const struct vdpa_soft_class test_class = {.name = "test", TEST_CLASS};
static const struct vdpa_soft_class canceling_class = {
	.name = "canceling", TEST_CLASS, .cancel = test_cancel};
static const struct vdpa_soft_class waiting_class = {
	.name = "waiting", TEST_CLASS, .cancel = test_cancel, .flags = VDPA_SOFT_F_WAITS};
static const struct vdpa_soft_class commanded_class = {.name = "commanded",
						       TEST_CLASS,
						       .cmds = BIT_ULL(VDPA_CMD_NET_CTRL) |
							       BIT_ULL(VDPA_CMD_NET_RARP),
						       .cmd = test_cmd};
static const struct vdpa_soft_class *const classes[] = {&test_class, &canceling_class,
							&waiting_class, &commanded_class, NULL};

static const char *const four_queues[] = {"queues", "4", "in-order", "on", NULL};

static void open_rig(struct rig *rig, const char *class_name, const char *const *attrs)
{
	for (int i = 0; i < RIG_VQS; i++) {
		release_fd[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		held_fd[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	}
	rig_open_bus(rig, classes);
	rig_add(rig, class_name, attrs);
}

/* A rig that runs, with another deadline for verbs. */
static void open_impatient(struct rig *rig, const char *class_name, uint32_t timeout_ms)
{
	rig_timeout_ms = timeout_ms;
	open_rig(rig, class_name, NULL);
	rig_timeout_ms = 0;
	rig_start(rig, RIG_EVENT_IDX);
}

static void close_rig(struct rig *rig)
{
	rig_close(rig);
	for (int i = 0; i < RIG_VQS; i++) {
		close(release_fd[i]);
		close(held_fd[i]);
	}
}

static void check_echo(struct rig_req *req, const char *text)
{
	assert_true(req->done);
	assert_int_equal(req->len, strlen(text));
	assert_memory_equal(req->in, text, strlen(text));
	rig_put(req);
}

static struct rig_req *send_text(struct rig *rig, uint16_t idx, const char *text)
{
	return rig_send(rig, idx, text, (uint32_t)strlen(text), 64);
}

/* A request goes through queue idx. */
static void expect_echo(struct rig *rig, uint16_t idx)
{
	struct rig_req *req = send_text(rig, idx, "echo");

	rig_wait(rig, idx, req);
	check_echo(req, "echo");
}

/* Returns when the class has it. */
static struct rig_req *send_held(struct rig *rig, uint16_t idx)
{
	struct rig_req *req = send_text(rig, idx, "hold");

	rig_wait_fd(held_fd[idx]);
	assert_false(req->done);
	return req;
}

/* ---- requests */

static const uint64_t ring_kinds[] = {
	0,
	RIG_EVENT_IDX,
	RIG_INDIRECT | RIG_EVENT_IDX,
	RIG_PACKED,
	RIG_PACKED | RIG_INDIRECT | RIG_EVENT_IDX,
	RIG_IN_ORDER | RIG_EVENT_IDX,
	RIG_PACKED | RIG_IN_ORDER | RIG_EVENT_IDX,
};

static void each_ring(void (*fn)(struct rig *rig))
{
	for (size_t i = 0; i < ARRAY_SIZE(ring_kinds); i++) {
		struct rig rig;

		open_rig(&rig, "test", four_queues);
		rig_start(&rig, ring_kinds[i]);
		fn(&rig);
		close_rig(&rig);
	}
}

static void run_requests(struct rig *rig)
{
	struct rig_req *reqs[32];
	char text[32];

	for (int round = 0; round < 20; round++) {
		uint16_t idx = (uint16_t)(round % rig->nvqs);

		for (size_t i = 0; i < ARRAY_SIZE(reqs); i++) {
			reqs[i] = rig_req(rig);
			snprintf((char *)reqs[i]->out, 64, "e%d.%zu", round, i);
			rig_offer(rig, idx, reqs[i], 16, 64);
		}
		rig_kick(rig, idx);
		for (size_t i = 0; i < ARRAY_SIZE(reqs); i++) {
			rig_wait(rig, idx, reqs[i]);
			snprintf(text, sizeof(text), "e%d.%zu", round, i);
			assert_int_equal(reqs[i]->len, 16);
			assert_string_equal((char *)reqs[i]->in, text);
			rig_put(reqs[i]);
		}
	}
	assert_int_equal(rig_stats(rig, 0).requests, 5 * 32);
	assert_int_equal(rig_stats(rig, 0).bytes_out, 5 * 32 * 16);
	assert_int_equal(rig_stats(rig, 0).bytes_in, 5 * 32 * 16);
	assert_true(test_dev->flushes >= 20);
	/* A worker that has not fallen asleep in between needs none. */
	while (!rig_stats(rig, 0).kicks)
		expect_echo(rig, 0);
}

static void test_soft_requests(void **state)
{
	each_ring(run_requests);
}

static void run_held(struct rig *rig)
{
	struct rig_req *held[3];
	uint64_t calls;

	for (int i = 0; i < 3; i++)
		held[i] = send_held(rig, 0);
	/* On another queue of the same device nothing waits. */
	expect_echo(rig, 1);
	rig_collect(rig, 0);
	calls = rig_stats(rig, 0).calls;
	eventfd_write(release_fd[0], 1);
	for (int i = 0; i < 3; i++) {
		rig_wait(rig, 0, held[i]);
		check_echo(held[i], "hold");
	}
	/* They came at once, so they are published at once. */
	assert_in_range(rig_stats(rig, 0).calls - calls, 0, 1);
}

static void test_soft_completes_later(void **state)
{
	each_ring(run_held);
}

static void test_soft_counts_errors(void **state)
{
	struct rig rig;
	struct rig_req *req;

	open_rig(&rig, "test", NULL);
	rig_start(&rig, 0);
	req = send_text(&rig, 0, "x");
	rig_wait(&rig, 0, req);
	assert_int_equal(req->len, 0);
	assert_int_equal(rig_stats(&rig, 0).errors, 1);
	assert_int_equal(rig_stats(&rig, 0).requests, 1);
	close_rig(&rig);
}

/* More at once than a batch, and than requests are allocated at once. */
static void test_soft_large_bursts(void **state)
{
	struct rig rig;
	struct rig_req *reqs[256];

	open_rig(&rig, "test", NULL);
	rig.num = 512;
	rig_start(&rig, RIG_EVENT_IDX);
	for (int i = 0; i < 256; i++) {
		reqs[i] = rig_req(&rig);
		memcpy(reqs[i]->out, "hold", 4);
		rig_offer(&rig, 0, reqs[i], 4, 64);
	}
	rig_kick(&rig, 0);
	for (uint64_t held = 0; held < 256;)
		held += rig_wait_fd(held_fd[0]);
	eventfd_write(release_fd[0], 1);
	for (int i = 0; i < 256; i++) {
		rig_wait(&rig, 0, reqs[i]);
		check_echo(reqs[i], "hold");
	}
	close_rig(&rig);
}

/* ---- start, stop, drain */

static int do_get_state(struct rig *rig, void *state)
{
	return vdpa_get_vq_state(rig->vdev, 0, state);
}

static int do_set_state(struct rig *rig, void *state)
{
	return vdpa_set_vq_state(rig->vdev, 0, state, &rig->ack);
}

static void run_stop(struct rig *rig)
{
	struct rig_req *held = send_held(rig, 0), *late;
	struct vdpa_vq_state state = {0};
	uint16_t idx = 0;
	int done;

	done = rig_lane_start(rig, rig_do_stop, &idx);
	/* The queue that waits for its request holds up nobody else. */
	for (int i = 0; i < 100; i++)
		expect_echo(rig, 1);
	assert_false(rig_fd_ready(done));
	eventfd_write(release_fd[0], 1);
	rig_wait_fd(done);
	close(done);
	rig_collect(rig, 0);
	check_echo(held, "hold");

	assert_int_equal(rig_lane(rig, do_get_state, &state), 0);
	if (rig->features & RIG_PACKED) {
		assert_true(state.packed);
		assert_int_equal(state.packed_ring.last_avail_idx, state.packed_ring.last_used_idx);
	} else {
		assert_int_equal(state.split.avail_index, 1);
	}

	/* What comes in meanwhile is served after the next start, from where it stood. */
	late = send_text(rig, 0, "echo");
	assert_int_equal(rig_lane(rig, do_set_state, &state), 0);
	assert_int_equal(rig_lane(rig, rig_do_ready, &idx), 0);
	rig_wait(rig, 0, late);
	check_echo(late, "echo");
}

static void test_soft_stop_drains(void **state)
{
	each_ring(run_stop);
}

/* Patience ends after half of the deadline of a verb. */
static void test_soft_stop_cancels_in_the_end(void **state)
{
	struct rig rig;
	struct rig_req *held;
	uint16_t idx = 0;

	open_impatient(&rig, "canceling", 200);
	held = send_held(&rig, 0);
	assert_int_equal(rig_lane(&rig, rig_do_stop, &idx), 0);
	rig_collect(&rig, 0);
	assert_true(held->done);
	assert_int_equal(held->len, 0);
	assert_int_equal(rig_stats(&rig, 0).errors, 1);
	assert_int_equal(test_dev->starts, 1);
	assert_int_equal(test_dev->stops, 1);
	close_rig(&rig);
}

/* A backend that hangs holds up its own device, which can be deleted all the same. */
static void test_soft_delete_what_hangs(void **state)
{
	struct vdpa_result res = {0};
	struct rig rig;

	open_impatient(&rig, "test", 300);
	send_held(&rig, 0);
	vdpa_dev_del(rig.bus, "dev0", VDPA_FORCE, vdpa_result_done, &res);
	assert_int_equal(vdpa_bus_wait(rig.bus, &res), 0);
	assert_null(vdpa_dev_find(rig.bus, "dev0"));

	/* The name and the worker are there for another. */
	vdpa_drvq_free(rig.vqs[0].q);
	rig.vqs[0].q = NULL;
	rig.rings = RIG_VQS * RIG_RING;
	rig_add(&rig, "canceling", NULL);
	rig_start(&rig, 0);
	expect_echo(&rig, 0);
	rig_reset(&rig);
	/* Only when the old request ends is the old device freed, and the bus can go. */
	eventfd_write(release_fd[0], 1);
	close_rig(&rig);
}

static void test_soft_what_waits_is_cancelled_at_once(void **state)
{
	struct rig rig;
	struct rig_req *held;
	uint16_t idx = 0;

	/* Longer than the test may take. */
	open_impatient(&rig, "waiting", 3600000);
	held = send_held(&rig, 0);
	assert_int_equal(rig_lane(&rig, rig_do_stop, &idx), 0);
	rig_collect(&rig, 0);
	assert_true(held->done);
	assert_int_equal(held->len, 0);
	close_rig(&rig);
}

/* Nobody hears of requests that a reset has cut off, unless the in-flight log has them. */
static void run_reset_drops(struct rig *rig)
{
	struct vdpa_inflight_region region = {.num_queues = 4, .queue_size = 64};
	uint64_t features = rig->features & ~RIG_VERSION_1;
	struct rig_req *held[3], *late;

	assert_int_equal(vdpa_mem_alloc("log", inflight_bytes(4, 64, features & RIG_PACKED),
					&region.mem, NULL),
			 0);
	for (int round = 0; round < 3; round++) {
		assert_int_equal(rig_lane(rig, rig_do_reset, NULL), 0);
		assert_int_equal(rig_lane(rig, rig_do_reconnect, &region), 0);
		assert_int_equal(rig_lane(rig, rig_do_driver_ok, NULL), 0);
		for (int i = 0; i < 3; i++)
			held[i] = send_held(rig, 0);
		assert_int_equal(rig_lane(rig, rig_do_reset, NULL), 0);
		rig_collect(rig, 0);
		assert_false(held[0]->done);
		late = send_text(rig, 0, "echo");
		/* As after a crash: oldest first, each once, then what is new. */
		assert_int_equal(rig_lane(rig, rig_do_reconnect, &region), 0);
		assert_int_equal(rig_lane(rig, rig_do_driver_ok, NULL), 0);
		for (uint64_t again = 0; again < 3;)
			again += rig_wait_fd(held_fd[0]);
		eventfd_write(release_fd[0], 1);
		for (int i = 0; i < 3; i++) {
			rig_wait(rig, 0, held[i]);
			check_echo(held[i], "hold");
		}
		rig_wait(rig, 0, late);
		check_echo(late, "echo");
		/* A stop keeps the log in step. */
		expect_echo(rig, 1);
		assert_int_equal(rig_lane(rig, rig_do_suspend, NULL), 0);
		assert_int_equal(rig_lane(rig, rig_do_resume, NULL), 0);
		expect_echo(rig, 0);
	}
	vdpa_mem_put(region.mem);
}

static void test_soft_reset_drops(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(ring_kinds); i++) {
		struct rig rig;

		open_rig(&rig, "canceling", four_queues);
		rig_start(&rig, ring_kinds[i]);
		run_reset_drops(&rig);
		close_rig(&rig);
	}
}

/* Who used the log before may have died between the used index and the call. */
static void test_soft_calls_after_a_crash(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(ring_kinds); i++) {
		struct vdpa_inflight_region region = {.num_queues = 4, .queue_size = 64};
		struct rig rig;

		open_rig(&rig, "test", four_queues);
		rig_start(&rig, ring_kinds[i]);
		assert_int_equal(vdpa_mem_alloc("log",
						inflight_bytes(4, 64, ring_kinds[i] & RIG_PACKED),
						&region.mem, NULL),
				 0);
		for (int round = 0; round < 2; round++) {
			assert_int_equal(rig_lane(&rig, rig_do_reset, NULL), 0);
			assert_int_equal(rig_lane(&rig, rig_do_reconnect, &region), 0);
			if (rig_fd_ready(rig.vqs[0].call))
				rig_wait_fd(rig.vqs[0].call);
			assert_int_equal(rig_lane(&rig, rig_do_driver_ok, NULL), 0);
			if (!round)
				expect_echo(&rig, 0);
		}
		rig_wait_fd(rig.vqs[0].call);
		vdpa_mem_put(region.mem);
		close_rig(&rig);
	}
}

static int do_set_inflight(struct rig *rig, void *region)
{
	return vdpa_set_inflight(rig->vdev, region, &rig->ack);
}

static void test_soft_inflight_log_has_to_fit(void **state)
{
	struct vdpa_inflight_region region = {.num_queues = 4, .queue_size = 32};
	uint64_t features = 0;
	struct rig rig;

	open_rig(&rig, "test", four_queues);
	assert_int_equal(vdpa_mem_alloc("log", inflight_bytes(4, 32, false), &region.mem, NULL), 0);
	rig_start(&rig, features);
	assert_int_equal(rig_lane(&rig, do_set_inflight, &region), -EBUSY);
	assert_int_equal(rig_lane(&rig, rig_do_reset, NULL), 0);
	assert_int_equal(rig_lane(&rig, rig_do_reconnect, &region), 0);
	assert_int_equal(rig_lane(&rig, rig_do_driver_ok, NULL), -EINVAL);
	assert_non_null(strstr(rig.ack.msg, "queue 0 of 64"));
	vdpa_mem_put(region.mem);
	close_rig(&rig);
}

static void test_soft_start_needs_all_queues(void **state)
{
	struct rig rig;
	uint64_t features = 0;

	open_rig(&rig, "test", four_queues);
	assert_int_equal(rig_lane(&rig, rig_do_negotiate, &features), 0);
	assert_int_equal(rig_lane(&rig, rig_do_setup, NULL), 0);
	/* Three start, the fourth does not: none runs. */
	test_dev->fail_start = 0;
	assert_int_equal(test_dev->starts, 0);
	test_dev->fail_start = 1;
	assert_int_equal(rig_lane(&rig, rig_do_driver_ok, NULL), -EIO);
	assert_string_equal(rig.ack.msg, "queue 0: no start today");
	assert_int_equal(test_dev->starts, test_dev->stops);
	assert_false(rig_status(&rig) & VIRTIO_CONFIG_S_DRIVER_OK);

	assert_int_equal(rig_lane(&rig, rig_do_driver_ok, NULL), 0);
	expect_echo(&rig, 3);
	close_rig(&rig);
}

static int do_bad_address(struct rig *rig, void *unused)
{
	uint16_t idx = 0;
	int err = rig_do_stop(rig, &idx);

	if (!err)
		err = vdpa_set_vq_address(rig->vdev, 0, 0x1000, 0x2000, 0x3000, &rig->ack);
	return err ? err : rig_do_ready(rig, &idx);
}

static void test_soft_ring_has_to_be_mapped(void **state)
{
	struct rig rig;

	open_rig(&rig, "test", NULL);
	rig_start(&rig, 0);
	assert_int_equal(rig_lane(&rig, do_bad_address, NULL), -EFAULT);
	assert_non_null(strstr(rig.ack.msg, "queue 0"));
	assert_non_null(strstr(rig.ack.msg, "is not mapped"));
	close_rig(&rig);
}

static void run_suspend(struct rig *rig)
{
	struct rig_req *reqs[16], *late;

	for (int round = 0; round < 30; round++) {
		for (int i = 0; i < 16; i++)
			reqs[i] = send_text(rig, (uint16_t)(i % rig->nvqs), "echo");
		assert_int_equal(rig_lane(rig, rig_do_suspend, NULL), 0);
		for (uint16_t idx = 0; idx < rig->nvqs; idx++)
			rig_collect(rig, idx);
		/* Nothing moves now, and nothing is forgotten. */
		late = send_text(rig, 0, "late");
		eventfd_write(rig->vqs[0].kick, 1);
		rig_collect(rig, 0);
		assert_false(late->done);
		assert_int_equal(rig_lane(rig, rig_do_resume, NULL), 0);
		for (int i = 0; i < 16; i++) {
			rig_wait(rig, (uint16_t)(i % rig->nvqs), reqs[i]);
			check_echo(reqs[i], "echo");
		}
		rig_wait(rig, 0, late);
		rig_put(late);
	}
}

static void test_soft_suspend_and_resume(void **state)
{
	each_ring(run_suspend);
}

static void test_soft_reset_in_flight(void **state)
{
	struct rig rig;

	open_rig(&rig, "canceling", four_queues);
	for (int round = 0; round < 5; round++) {
		rig_start(&rig, RIG_EVENT_IDX);
		for (uint16_t idx = 0; idx < 4; idx++) {
			send_held(&rig, idx);
			for (int i = 0; i < 10; i++)
				send_text(&rig, idx, "echo");
		}
		rig_reset(&rig);
		assert_int_equal(rig_status(&rig), 0);
		assert_int_equal(test_dev->starts, test_dev->stops);
	}
	assert_true(test_dev->resets >= 5);
	close_rig(&rig);
}

/* ---- affinity */

static void run_move(struct rig *rig)
{
	struct vdpa_worker *workers[2];
	struct rig_req *reqs[8];

	assert_int_equal(vdpa_worker_add(rig->bus, "left", -1, 0, NULL), 0);
	assert_int_equal(vdpa_worker_add(rig->bus, "right", -1, 20, NULL), 0);
	workers[0] = vdpa_worker_find(rig->bus, "left");
	workers[1] = vdpa_worker_find(rig->bus, "right");
	for (int round = 0; round < 40; round++) {
		struct rig_move move = {0, workers[round % 2]};
		int done;

		for (int i = 0; i < 4; i++)
			reqs[i] = send_text(rig, 0, "echo");
		done = rig_lane_start(rig, rig_do_move, &move);
		for (int i = 4; i < 8; i++)
			reqs[i] = send_text(rig, 0, "echo");
		rig_wait_fd(done);
		close(done);
		for (int i = 0; i < 8; i++) {
			rig_wait(rig, 0, reqs[i]);
			check_echo(reqs[i], "echo");
		}
	}
	assert_ptr_equal(vdpa_get_vq_affinity(rig->vdev, 0), workers[1]);
	assert_int_equal(vdpa_worker_del(rig->bus, "right", NULL), -EBUSY);
	assert_int_equal(vdpa_worker_del(rig->bus, "left", NULL), 0);
}

static void test_soft_moves_between_workers(void **state)
{
	each_ring(run_move);
}

static void test_soft_move_that_fails_goes_back(void **state)
{
	struct rig rig;
	struct rig_move move = {0};

	open_rig(&rig, "test", NULL);
	rig_start(&rig, 0);
	assert_int_equal(vdpa_worker_add(rig.bus, "left", -1, 0, NULL), 0);
	move.worker = vdpa_worker_find(rig.bus, "left");
	test_dev->fail_start = 1;
	assert_int_equal(rig_lane(&rig, rig_do_move, &move), -EIO);
	expect_echo(&rig, 0);
	assert_int_equal(vdpa_worker_del(rig.bus, "left", NULL), 0);
	assert_int_equal(rig_status(&rig) & VIRTIO_CONFIG_S_NEEDS_RESET, 0);
	close_rig(&rig);
}

static void test_soft_worker_attribute(void **state)
{
	const char *const attrs[] = {"worker", "mine", NULL};
	struct rig rig;

	rig_open_bus(&rig, classes);
	assert_int_equal(rig_try_add(&rig, "test", attrs), -ENOENT);
	assert_non_null(strstr(rig.ack.msg, "'mine'"));
	assert_int_equal(vdpa_worker_add(rig.bus, "mine", -1, 0, NULL), 0);
	rig_add(&rig, "test", attrs);
	assert_string_equal(vdpa_worker_name(vdpa_get_vq_affinity(rig.vdev, 0)), "mine");
	assert_int_equal(vdpa_worker_del(rig.bus, "mine", NULL), -EBUSY);
	rig_close(&rig);
}

/* ---- memory map */

static void run_maps(struct rig *rig)
{
	struct rig_req *reqs[8];

	for (int round = 0; round < 40; round++) {
		/* Every other map lacks the last slot, so the next one need not drain, but this one
		 * does. */
		struct vdpa_iotlb *map =
			rig_make_map(rig, RIG_SIZE - RIG_SLOT, round % 2 ? RIG_SLOT : 0);
		int done;

		for (int i = 0; i < 4; i++)
			reqs[i] = send_text(rig, (uint16_t)(i % rig->nvqs), "echo");
		done = rig_lane_start(rig, rig_do_set_map, map);
		for (int i = 4; i < 8; i++)
			reqs[i] = send_text(rig, (uint16_t)(i % rig->nvqs), "echo");
		rig_wait_fd(done);
		close(done);
		vdpa_iotlb_put(map);
		for (int i = 0; i < 8; i++) {
			rig_wait(rig, (uint16_t)(i % rig->nvqs), reqs[i]);
			check_echo(reqs[i], "echo");
		}
	}
	for (uint16_t idx = 0; idx < rig->nvqs; idx++)
		assert_int_equal(rig_status(rig) & VIRTIO_CONFIG_S_NEEDS_RESET, 0);
}

static void test_soft_set_map_under_load(void **state)
{
	each_ring(run_maps);
}

static void test_soft_set_map_waits_for_requests(void **state)
{
	struct rig rig;
	struct vdpa_iotlb *map;
	struct rig_req *held;
	int done;

	open_rig(&rig, "test", four_queues);
	rig_start(&rig, RIG_EVENT_IDX);
	held = send_held(&rig, 0);

	/* More than before: no need to wait for what uses the old. */
	map = rig_make_map(&rig, 0, 0);
	assert_int_equal(rig_lane(&rig, rig_do_set_map, map), 0);
	assert_false(held->done);
	vdpa_iotlb_put(map);

	map = rig_make_map(&rig, RIG_SIZE - RIG_SLOT, RIG_SLOT);
	done = rig_lane_start(&rig, rig_do_set_map, map);
	expect_echo(&rig, 1);
	assert_false(rig_fd_ready(done));
	eventfd_write(release_fd[0], 1);
	rig_wait_fd(done);
	close(done);
	rig_collect(&rig, 0);
	check_echo(held, "hold");
	vdpa_iotlb_put(map);
	expect_echo(&rig, 0);
	close_rig(&rig);
}

static void test_soft_ring_comes_back_with_map(void **state)
{
	struct rig rig;
	struct vdpa_iotlb *map;
	struct rig_req *req;

	open_rig(&rig, "test", four_queues);
	rig_start(&rig, RIG_EVENT_IDX);
	expect_echo(&rig, 0);
	map = rig_make_map(&rig, 0, RIG_RING);
	assert_int_equal(rig_lane(&rig, rig_do_set_map, map), 0);
	vdpa_iotlb_put(map);
	/* Queue 0 has lost its ring, the others have not. */
	expect_echo(&rig, 1);
	req = send_text(&rig, 0, "echo");
	expect_echo(&rig, 1);
	rig_collect(&rig, 0);
	assert_false(req->done);
	assert_int_equal(rig_lane(&rig, rig_do_set_map, rig.map), 0);
	rig_wait(&rig, 0, req);
	check_echo(req, "echo");
	close_rig(&rig);
}

static void test_soft_parks_what_is_not_mapped(void **state)
{
	struct rig rig;
	struct vdpa_iotlb *map;
	struct rig_req *req = NULL;

	open_rig(&rig, "test", NULL);
	rig_start(&rig, 0);
	req = &rig.reqs[RIG_SLOTS - 1];
	req->busy = true;
	memcpy(req->out, "echo", 4);
	map = rig_make_map(&rig, RIG_SIZE - RIG_SLOT, RIG_SLOT);
	assert_int_equal(rig_lane(&rig, rig_do_set_map, map), 0);
	vdpa_iotlb_put(map);
	rig_offer(&rig, 0, req, 4, 64);
	rig_kick(&rig, 0);
	rig_wait_fd(rig.vqs[0].err);
	/* A kick does not help, the map does. */
	eventfd_write(rig.vqs[0].kick, 1);
	assert_int_equal(rig_lane(&rig, rig_do_set_map, rig.map), 0);
	rig_wait(&rig, 0, req);
	check_echo(req, "echo");
	expect_echo(&rig, 0);
	assert_int_equal(rig_status(&rig) & VIRTIO_CONFIG_S_NEEDS_RESET, 0);
	close_rig(&rig);
}

/* ---- descriptors */

struct set_fd {
	int (*set)(struct vdpa_device *vdev, uint16_t idx, int *fd);
	int fd;
};

static int do_set_fd(struct rig *rig, void *arg)
{
	struct set_fd *set = arg;

	return set->set(rig->vdev, 0, &set->fd);
}

static void give(struct rig *rig, int (*fn)(struct vdpa_device *, uint16_t, int *), int fd)
{
	struct set_fd set = {fn, fd};

	assert_int_equal(rig_lane(rig, do_set_fd, &set), 0);
	assert_int_equal(set.fd, -1);
}

static void test_soft_kick_descriptor_changes(void **state)
{
	struct rig rig;
	struct rig_req *req;
	int kick;

	open_rig(&rig, "test", NULL);
	rig_start(&rig, 0);
	expect_echo(&rig, 0);

	/* What was offered without any kick is found when the new one is set. */
	req = rig_req(&rig);
	memcpy(req->out, "echo", 4);
	rig_offer(&rig, 0, req, 4, 64);
	vdpa_drvq_publish(rig.vqs[0].q);
	kick = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	give(&rig, vdpa_set_vq_kick, dup(kick));
	rig_wait(&rig, 0, req);
	check_echo(req, "echo");
	close(rig.vqs[0].kick);
	rig.vqs[0].kick = kick;
	expect_echo(&rig, 0);

	/* Without a descriptor the device polls. */
	give(&rig, vdpa_set_vq_kick, -1);
	for (int i = 0; i < 5; i++) {
		req = rig_req(&rig);
		memcpy(req->out, "echo", 4);
		rig_offer(&rig, 0, req, 4, 64);
		vdpa_drvq_publish(rig.vqs[0].q);
		rig_wait(&rig, 0, req);
		check_echo(req, "echo");
	}
	give(&rig, vdpa_set_vq_kick, dup(kick));
	expect_echo(&rig, 0);
	close_rig(&rig);
}

static void test_soft_refuses_files_for_notifications(void **state)
{
	struct set_fd sets[] = {
		{vdpa_set_vq_kick, -1}, {vdpa_set_vq_call, -1}, {vdpa_set_vq_err, -1}};
	FILE *file = tmpfile();
	struct rig rig;

	open_rig(&rig, "test", NULL);
	rig_start(&rig, 0);
	for (size_t i = 0; i < ARRAY_SIZE(sets); i++) {
		sets[i].fd = fileno(file);
		assert_int_equal(rig_lane(&rig, do_set_fd, &sets[i]), -EINVAL);
		assert_int_equal(sets[i].fd, fileno(file));
	}
	expect_echo(&rig, 0);
	close_rig(&rig);
	fclose(file);
}

static int do_kick(struct rig *rig, void *unused)
{
	return vdpa_kick_vq(rig->vdev, 0);
}

static void test_soft_kick_without_descriptor(void **state)
{
	struct rig rig;
	struct rig_req *req;

	open_rig(&rig, "test", NULL);
	rig_start(&rig, 0);
	for (int i = 0; i < 10; i++) {
		req = rig_req(&rig);
		memcpy(req->out, "echo", 4);
		rig_offer(&rig, 0, req, 4, 64);
		vdpa_drvq_publish(rig.vqs[0].q);
		assert_int_equal(vdpa_kick_vq(rig.vdev, 0), 0);
		rig_wait(&rig, 0, req);
		check_echo(req, "echo");
	}
	rig_reset(&rig);
	assert_int_equal(rig_lane(&rig, do_kick, NULL), 0);
	close_rig(&rig);
}

static void test_soft_call_is_not_lost(void **state)
{
	struct rig rig;
	struct rig_req *req;
	int call = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	open_rig(&rig, "test", NULL);
	rig_start(&rig, 0);
	give(&rig, vdpa_set_vq_call, -1);
	req = send_text(&rig, 0, "echo");
	while (!req->done)
		rig_collect(&rig, 0);
	check_echo(req, "echo");
	give(&rig, vdpa_set_vq_call, dup(call));
	rig_wait_fd(call);
	close(call);
	close_rig(&rig);
}

/* A peer that lets its descriptor fill up, and one that closes it. */
static void test_soft_call_never_blocks(void **state)
{
	struct rig rig;
	struct rig_req *req;
	int call = eventfd(0, EFD_CLOEXEC), pipes[2];

	open_rig(&rig, "test", NULL);
	rig_start(&rig, 0);
	assert_int_equal(eventfd_write(call, UINT64_MAX - 1), 0);
	give(&rig, vdpa_set_vq_call, call);
	req = send_text(&rig, 0, "echo");
	while (!req->done)
		rig_collect(&rig, 0);
	check_echo(req, "echo");

	assert_int_equal(pipe(pipes), 0);
	give(&rig, vdpa_set_vq_call, pipes[1]);
	req = send_text(&rig, 0, "echo");
	rig_wait_fd(pipes[0]);
	rig_collect(&rig, 0);
	check_echo(req, "echo");
	close(pipes[0]);
	req = send_text(&rig, 0, "echo");
	while (!req->done)
		rig_collect(&rig, 0);
	check_echo(req, "echo");
	close_rig(&rig);
}

/* ---- faults */

static void test_soft_broken_ring(void **state)
{
	struct rig rig;

	open_rig(&rig, "test", four_queues);
	rig_start(&rig, 0);
	expect_echo(&rig, 0);
	rig_break_ring(&rig, 0);
	rig_wait_fd(rig.vqs[0].err);
	rig_wait_fd(rig.changed);
	assert_true(rig_status(&rig) & VIRTIO_CONFIG_S_NEEDS_RESET);
	assert_int_equal(rig_stats(&rig, 0).broken, 1);
	assert_int_equal(rig.logs, 1);
	/* The others go on, and after a reset it does, too. */
	expect_echo(&rig, 1);
	rig_reset(&rig);
	assert_int_equal(rig_status(&rig), 0);
	rig_start(&rig, 0);
	expect_echo(&rig, 0);
	close_rig(&rig);
}

static void test_soft_guests_do_not_fill_the_log(void **state)
{
	struct rig rig;

	open_rig(&rig, "test", NULL);
	for (int i = 0; i < 50; i++) {
		rig_start(&rig, 0);
		rig_break_ring(&rig, 0);
		rig_wait_fd(rig.vqs[0].err);
		rig_reset(&rig);
	}
	assert_int_equal(rig_stats(&rig, 0).broken, 50);
	assert_in_range(rig.logs, 1, 8);
	close_rig(&rig);
}

static void test_soft_broken_request(void **state)
{
	struct rig rig;
	struct rig_req *good, *bad;

	open_rig(&rig, "test", four_queues);
	rig_start(&rig, 0);
	good = rig_req(&rig);
	memcpy(good->out, "echo", 4);
	rig_offer(&rig, 0, good, 4, 64);
	bad = send_text(&rig, 0, "bad");
	rig_wait(&rig, 0, good);
	check_echo(good, "echo");
	rig_wait_fd(rig.vqs[0].err);
	assert_true(rig_status(&rig) & VIRTIO_CONFIG_S_NEEDS_RESET);
	rig_collect(&rig, 0);
	assert_false(bad->done);
	assert_int_equal(rig_stats(&rig, 0).broken, 1);
	expect_echo(&rig, 1);
	close_rig(&rig);
}

/* A driver that takes its memory away ends its own device only. */
static void test_soft_memory_vanishes(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(ring_kinds); i++) {
		struct rig rig, other;

		assert_int_equal(vdpa_sigbus_install(), 0);
		open_rig(&other, "test", NULL);
		rig_start(&other, RIG_EVENT_IDX);
		rig_memfd = memfd_create("driver", MFD_CLOEXEC);
		assert_int_equal(ftruncate(rig_memfd, RIG_SIZE), 0);
		open_rig(&rig, "test", four_queues);
		rig_start(&rig, ring_kinds[i]);
		expect_echo(&rig, 0);
		expect_echo(&other, 0);
		assert_int_equal(ftruncate(rig_memfd, 0), 0);
		close(rig_memfd);
		rig_memfd = -1;
		eventfd_write(rig.vqs[0].kick, 1);
		rig_wait_fd(rig.changed);
		assert_true(rig_status(&rig) & VIRTIO_CONFIG_S_NEEDS_RESET);
		assert_true(vdpa_mem_lost(rig.mem));
		expect_echo(&other, 0);
		close_rig(&rig);
		close_rig(&other);
	}
}

static void test_soft_fail_tells_the_driver(void **state)
{
	struct rig rig;

	open_rig(&rig, "test", NULL);
	rig_start(&rig, 0);
	vdpa_soft_fail(test_soft, "the disk has gone");
	rig_wait_fd(rig.changed);
	assert_true(rig_status(&rig) & VIRTIO_CONFIG_S_NEEDS_RESET);
	assert_true(rig_status(&rig) & VIRTIO_CONFIG_S_DRIVER_OK);
	close_rig(&rig);
}

/* ---- config space, attributes, features */

static int do_get_config(struct rig *rig, void *config)
{
	return vdpa_get_config(rig->vdev, 0, config, sizeof(struct test_config));
}

static int do_set_flag(struct rig *rig, void *value)
{
	return vdpa_set_config(rig->vdev, offsetof(struct test_config, flag), value, 1, &rig->ack);
}

static int do_set_capacity(struct rig *rig, void *value)
{
	return vdpa_set_config(rig->vdev, 0, value, 8, &rig->ack);
}

static struct test_config get_config(struct rig *rig)
{
	struct test_config config = {0};

	assert_int_equal(rig_lane(rig, do_get_config, &config), 0);
	return config;
}

static void set_attr(struct rig *rig, const char *key, const char *value)
{
	struct vdpa_attrs *attrs = vdpa_attrs_alloc();
	struct vdpa_result res = {0};

	assert_int_equal(vdpa_attrs_add(attrs, key, value, NULL, NULL), 0);
	vdpa_dev_set(rig->bus, "dev0", attrs, vdpa_result_done, &res);
	assert_int_equal(vdpa_bus_wait(rig->bus, &res), 0);
}

static void test_soft_config_space(void **state)
{
	struct rig rig;
	uint8_t flag = 1;
	uint64_t capacity = 5;
	uint32_t generation;

	open_rig(&rig, "test", NULL);
	rig_start(&rig, 0);
	assert_int_equal(le64toh(get_config(&rig).capacity), 100);
	assert_int_equal(rig_lane(&rig, do_set_flag, &flag), 0);
	assert_int_equal(get_config(&rig).flag, 1);
	assert_int_equal(rig_lane(&rig, do_set_capacity, &capacity), -EINVAL);
	assert_string_equal(rig.ack.msg, "only 'flag' can be written");

	generation = rig_generation(&rig);
	set_attr(&rig, "capacity", "200");
	rig_wait_fd(rig.changed);
	assert_int_not_equal(rig_generation(&rig), generation);
	assert_int_equal(le64toh(get_config(&rig).capacity), 200);
	assert_int_equal(get_config(&rig).flag, 1);

	/* A reset forgets what the driver wrote, not what the device is. */
	rig_reset(&rig);
	assert_int_equal(le64toh(get_config(&rig).capacity), 200);
	assert_int_equal(get_config(&rig).flag, 0);
	close_rig(&rig);
}

static void test_soft_features_may_be_refused(void **state)
{
	uint64_t both = 3, more = 8;
	struct rig rig;

	open_rig(&rig, "test", NULL);
	assert_int_equal(rig_lane(&rig, rig_do_negotiate, &both), -EINVAL);
	assert_string_equal(rig.ack.msg, "bits 0 and 1 exclude each other");
	assert_false(rig_status(&rig) & VIRTIO_CONFIG_S_FEATURES_OK);
	rig_reset(&rig);
	assert_int_equal(rig_lane(&rig, rig_do_negotiate, &more), -EINVAL);
	close_rig(&rig);
}

static uint64_t offer(struct rig *rig, const char *const *attrs)
{
	uint64_t features;

	rig_open_bus(rig, classes);
	rig_add(rig, "test", attrs);
	features = vdpa_get_device_features(rig->vdev);
	return features;
}

static void test_soft_attributes(void **state)
{
	const char *const off[] = {"packed", "off",      "event-idx", "off", "indirect",
				   "off",    "in-order", "on",        NULL};
	const char *const odd[] = {"queue-size", "100", NULL};
	const char *const many[] = {"queues", "1025", NULL};
	const char *const unlucky[] = {"capacity", "13", NULL};
	const char *const small[] = {"queue-size", "32", NULL};
	struct rig rig;

	assert_int_equal(offer(&rig, NULL),
			 7 | RIG_VERSION_1 | RIG_PACKED | RIG_EVENT_IDX | RIG_INDIRECT);
	rig_close(&rig);
	assert_int_equal(offer(&rig, off), 7 | RIG_VERSION_1 | RIG_IN_ORDER);
	assert_string_equal(rig.vdev->ops->why_not(rig.vdev, 34),
			    "switched off by the attribute 'packed'");
	assert_null(rig.vdev->ops->why_not(rig.vdev, 5));
	rig_close(&rig);

	rig_open_bus(&rig, classes);
	assert_int_equal(rig_try_add(&rig, "test", odd), -EINVAL);
	assert_non_null(strstr(rig.ack.msg, "a power of two"));
	assert_int_equal(rig_try_add(&rig, "test", many), -ERANGE);
	assert_non_null(strstr(rig.ack.msg, "'queues'"));
	assert_int_equal(rig_try_add(&rig, "test", unlucky), -EINVAL);
	assert_string_equal(rig.ack.msg, "13 is unlucky");
	rig_add(&rig, "test", small);
	assert_int_equal(vdpa_get_vq_num_max(rig.vdev), 32);
	rig_close(&rig);
}

/* ---- state record */

static int do_save(struct rig *rig, void *state)
{
	return vdpa_device_save(rig->vdev, VDPA_STATE_DEVICE, state, &rig->ack);
}

static int do_load(struct rig *rig, void *state)
{
	return vdpa_device_load(rig->vdev, VDPA_STATE_DEVICE, state, &rig->ack);
}

static void test_soft_device_record(void **state)
{
	const char *const grown[] = {"capacity", "300", NULL};
	struct vdpa_state record = {0};
	struct rig rig;
	uint8_t flag = 1;

	open_rig(&rig, "test", NULL);
	rig_start(&rig, 0);
	assert_int_equal(rig_lane(&rig, do_set_flag, &flag), 0);
	set_attr(&rig, "capacity", "200");
	test_dev->kept = 4711;
	assert_int_equal(rig_lane(&rig, do_save, &record), 0);
	close_rig(&rig);

	/* Made anew, and larger: the driver's values come back, the device's stay, and it is told.
	 */
	open_rig(&rig, "test", grown);
	assert_int_equal(rig_lane(&rig, do_load, &record), 0);
	assert_int_equal(test_dev->kept, 4711);
	assert_int_equal(get_config(&rig).flag, 1);
	assert_int_equal(le64toh(get_config(&rig).capacity), 300);
	assert_true(rig_generation(&rig) >= 2);
	rig_wait_fd(rig.changed);
	close_rig(&rig);
	vdpa_state_clear(&record);
}

/* ---- commands outside the rings */

static int do_no_command(struct rig *rig, void *unused)
{
	uint32_t len = 0;

	assert_int_equal(vdpa_get_class_cmds(rig->vdev), 0);
	return vdpa_class_cmd(rig->vdev, VDPA_CMD_NET_RARP, "abcdef", 6, NULL, &len, &rig->ack);
}

static int do_commands(struct rig *rig, void *unused)
{
	uint32_t len = 0;
	char out[8];

	assert_int_equal(vdpa_get_class_cmds(rig->vdev), commanded_class.cmds);
	assert_int_equal(vdpa_class_cmd(rig->vdev, VDPA_CMD_NET_MTU, "\0\5", 2, NULL, &len, NULL),
			 -EOPNOTSUPP);
	assert_int_equal(
		vdpa_class_cmd(rig->vdev, VDPA_CMD_NET_RARP, "abcdef", 6, NULL, &len, &rig->ack),
		-ENETDOWN);
	len = sizeof(out);
	assert_int_equal(vdpa_class_cmd(rig->vdev, VDPA_CMD_NET_CTRL, "hello", 5, out, &len, NULL),
			 0);
	assert_int_equal(len, 5);
	assert_memory_equal(out, "hello", 5);
	return 0;
}

static void test_soft_commands(void **state)
{
	struct rig rig;

	open_rig(&rig, "test", NULL);
	assert_int_equal(rig_lane(&rig, do_no_command, NULL), -EOPNOTSUPP);
	close_rig(&rig);
	open_rig(&rig, "commanded", NULL);
	assert_int_equal(rig_lane(&rig, do_commands, NULL), 0);
	assert_string_equal(rig.ack.msg, "there is no link");
	close_rig(&rig);
}

/* ---- resources */

static struct vdpa_mgmtdev *test_mgmtdev;

static int find_test(struct vdpa_mgmtdev *mdev, void *arg)
{
	if (!strcmp(mdev->name, "test"))
		test_mgmtdev = mdev;
	return 0;
}

static void test_soft_add_without_memory(void **state)
{
	struct vdpa_device *vdev = NULL;
	struct rig rig;
	unsigned int n;
	int err;

	rig_open_bus(&rig, classes);
	vdpa_mgmtdev_each(rig.bus, find_test, NULL);
	for (n = 1;; n++) {
		fail_alloc_nth(n);
		err = test_mgmtdev->ops->dev_add(test_mgmtdev, "d", NULL, &vdev, NULL);
		if (!fail_alloc_done())
			break;
		assert_int_equal(err, -ENOMEM);
		assert_null(vdev);
	}
	assert_int_equal(err, 0);
	assert_true(n > 4);
	vdev->ops->free(vdev);

	for (n = 1;; n++) {
		struct vdpa_soft_class other = test_class;

		other.name = "other";
		fail_alloc_nth(n);
		err = vdpa_soft_class_register(rig.bus, &other, NULL);
		if (!fail_alloc_done())
			break;
		assert_int_equal(err, -ENOMEM);
	}
	assert_int_equal(err, 0);
	rig_close(&rig);
}

static int borrow_create(struct vdpa_soft *soft, struct vdpa_attrs *attrs, struct vdpa_extack *ack)
{
	int *backend = soft_arg(soft);

	if (!backend)
		return vdpa_extack_set(ack, -ENODEV, "nobody brings a backend");
	++*backend;
	return 0;
}

/* A parent of another kind brings the backend, and says which attributes are live. */
static void test_soft_made_by_another_parent(void **state)
{
	struct vdpa_soft_class cls = test_class;
	struct vdpa_mgmtdev other = {.name = "other"};
	struct vdpa_device *vdev = NULL;
	struct vdpa_extack ack = {0};
	int backend = 0;
	struct rig rig;

	cls.max_vqs = 0; /* as many as nvqs */
	cls.create = borrow_create;
	rig_open_bus(&rig, classes);
	assert_int_equal(
		soft_dev_make(rig.bus, &other, &cls, test_attrs, "d", NULL, NULL, &vdev, &ack),
		-ENODEV);
	assert_string_equal(ack.msg, "nobody brings a backend");
	assert_null(vdev);
	assert_int_equal(
		soft_dev_make(rig.bus, &other, &cls, test_attrs, "d", NULL, &backend, &vdev, NULL),
		0);
	assert_int_equal(backend, 1);
	assert_ptr_equal(vdev->mdev, &other);
	assert_ptr_equal(vdev->attrs, test_attrs);
	assert_int_equal(vdev->nvqs, cls.nvqs);
	vdev->ops->free(vdev);
	cls.handle = NULL;
	assert_int_equal(
		soft_dev_make(rig.bus, &other, &cls, NULL, "d", NULL, &backend, &vdev, NULL),
		-EINVAL);
	rig_close(&rig);
}

/* The worker has no memory for requests: it tries again later, and nothing is lost. */
static void test_soft_waits_for_memory(void **state)
{
	struct rig rig;

	open_rig(&rig, "test", NULL);
	test_dev->fail_alloc = true;
	rig_start(&rig, RIG_EVENT_IDX);
	expect_echo(&rig, 0);
	assert_true(test_dev->failed_alloc);
	expect_echo(&rig, 0);
	close_rig(&rig);
}

static void test_soft_idle_devices_are_small(void **state)
{
	enum { NUM = 50 };
	struct vdpa_device *vdevs[NUM];
	struct mallinfo2 before, after;
	struct rig rig;

	rig_open_bus(&rig, classes);
	vdpa_mgmtdev_each(rig.bus, find_test, NULL);
	before = mallinfo2();
	for (int i = 0; i < NUM; i++)
		assert_int_equal(
			test_mgmtdev->ops->dev_add(test_mgmtdev, "d", NULL, &vdevs[i], NULL), 0);
	after = mallinfo2();
	/* Sanitizers count differently, and then this says nothing. */
	assert_in_range((after.uordblks - before.uordblks) / NUM, 0, 16384);
	for (int i = 0; i < NUM; i++)
		vdevs[i]->ops->free(vdevs[i]);
	rig_close(&rig);
}

static void test_soft_class_has_to_be_whole(void **state)
{
	struct vdpa_soft_class cls = test_class;
	struct vdpa_extack ack = {0};
	struct rig rig;

	rig_open_bus(&rig, classes);
	cls.name = "other";
	cls.handle = NULL;
	assert_int_equal(vdpa_soft_class_register(rig.bus, &cls, &ack), -EINVAL);
	assert_non_null(strstr(ack.msg, "handle()"));
	cls = test_class;
	assert_int_equal(vdpa_soft_class_register(rig.bus, &cls, NULL), -EEXIST);
	cls.name = "other";
	cls.size = 8;
	assert_int_equal(vdpa_soft_class_register(rig.bus, &cls, NULL), -EINVAL);
	cls = test_class;
	cls.name = "other";
	cls.load = NULL;
	assert_int_equal(vdpa_soft_class_register(rig.bus, &cls, NULL), -EINVAL);
	cls = test_class;
	cls.name = "other";
	cls.cmd = test_cmd;
	assert_int_equal(vdpa_soft_class_register(rig.bus, &cls, NULL), -EINVAL);
	rig_close(&rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_soft_requests),
		cmocka_unit_test(test_soft_completes_later),
		cmocka_unit_test(test_soft_counts_errors),
		cmocka_unit_test(test_soft_large_bursts),
		cmocka_unit_test(test_soft_stop_drains),
		cmocka_unit_test(test_soft_stop_cancels_in_the_end),
		cmocka_unit_test(test_soft_what_waits_is_cancelled_at_once),
		cmocka_unit_test(test_soft_delete_what_hangs),
		cmocka_unit_test(test_soft_reset_drops),
		cmocka_unit_test(test_soft_calls_after_a_crash),
		cmocka_unit_test(test_soft_inflight_log_has_to_fit),
		cmocka_unit_test(test_soft_start_needs_all_queues),
		cmocka_unit_test(test_soft_ring_has_to_be_mapped),
		cmocka_unit_test(test_soft_suspend_and_resume),
		cmocka_unit_test(test_soft_reset_in_flight),
		cmocka_unit_test(test_soft_moves_between_workers),
		cmocka_unit_test(test_soft_move_that_fails_goes_back),
		cmocka_unit_test(test_soft_worker_attribute),
		cmocka_unit_test(test_soft_set_map_under_load),
		cmocka_unit_test(test_soft_set_map_waits_for_requests),
		cmocka_unit_test(test_soft_ring_comes_back_with_map),
		cmocka_unit_test(test_soft_parks_what_is_not_mapped),
		cmocka_unit_test(test_soft_kick_descriptor_changes),
		cmocka_unit_test(test_soft_refuses_files_for_notifications),
		cmocka_unit_test(test_soft_kick_without_descriptor),
		cmocka_unit_test(test_soft_call_is_not_lost),
		cmocka_unit_test(test_soft_call_never_blocks),
		cmocka_unit_test(test_soft_broken_ring),
		cmocka_unit_test(test_soft_guests_do_not_fill_the_log),
		cmocka_unit_test(test_soft_broken_request),
		cmocka_unit_test(test_soft_memory_vanishes),
		cmocka_unit_test(test_soft_fail_tells_the_driver),
		cmocka_unit_test(test_soft_config_space),
		cmocka_unit_test(test_soft_features_may_be_refused),
		cmocka_unit_test(test_soft_attributes),
		cmocka_unit_test(test_soft_device_record),
		cmocka_unit_test(test_soft_commands),
		cmocka_unit_test(test_soft_add_without_memory),
		cmocka_unit_test(test_soft_made_by_another_parent),
		cmocka_unit_test(test_soft_waits_for_memory),
		cmocka_unit_test(test_soft_idle_devices_are_small),
		cmocka_unit_test(test_soft_class_has_to_be_whole),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
