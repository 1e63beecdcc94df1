/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <linux/virtio_config.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "bus/blob.h"
#include "bus/bus.h"
#include "bus_env.h"
#include "fail_alloc.h"

#define HEAD_LEN 12 /* magic and version */

#define STATUS_OK                                                                                  \
	(VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_FEATURES_OK |      \
	 VIRTIO_CONFIG_S_DRIVER_OK)

/* A record with something in each place. */
static void fill(struct vdpa_state *state)
{
	memset(state, 0, sizeof(*state));
	state->parts = VDPA_STATE_DEVICE | VDPA_STATE_SESSION;
	state->device_id = 2;
	state->generation = 9;
	state->config_len = 5;
	state->config = malloc(5);
	assert_non_null(state->config);
	memcpy(state->config, "confi", 5);
	state->blob = blob_alloc();
	assert_non_null(state->blob);
	assert_int_equal(vdpa_state_put(state->blob, 100, "class", 5), 0);
	assert_int_equal(vdpa_state_put_u64(state->blob, 101, 1ULL << 63), 0);
	state->features = 1ULL << 34 | 1ULL << 32;
	state->status = STATUS_OK;
	state->nvqs = 2;
	state->vqs = calloc(2, sizeof(*state->vqs));
	assert_non_null(state->vqs);
	state->vqs[1] = (struct vdpa_state_vq){
		.num = 256,
		.desc = 1,
		.driver = 2,
		.device = UINT64_MAX,
		.ready = true,
		.state = {.packed = true,
			  .packed_ring = {.last_avail_idx = 200,
					  .last_used_idx = 199,
					  .last_avail_counter = true}},
	};
	state->nregions = 1;
	state->regions = calloc(1, sizeof(*state->regions));
	assert_non_null(state->regions);
	state->regions[0] = (struct vdpa_state_region){.iova = 0x1000,
						       .len = 0x2000,
						       .offset = 0x3000,
						       .perm = VDPA_PERM_RW,
						       .fd_slot = 0};
}

static void assert_same(const struct vdpa_state *a, const struct vdpa_state *b)
{
	assert_int_equal(a->parts, b->parts);
	assert_int_equal(a->device_id, b->device_id);
	assert_int_equal(a->generation, b->generation);
	assert_int_equal(a->config_len, b->config_len);
	assert_memory_equal(a->config, b->config, a->config_len);
	assert_int_equal(a->blob->len, b->blob->len);
	assert_memory_equal(a->blob->data, b->blob->data, a->blob->len);
	assert_true(a->features == b->features);
	assert_int_equal(a->status, b->status);
	assert_int_equal(a->nvqs, b->nvqs);
	for (int i = 0; i < a->nvqs; i++) {
		const struct vdpa_state_vq *v = &a->vqs[i], *w = &b->vqs[i];

		assert_int_equal(v->num, w->num);
		assert_true(v->desc == w->desc && v->driver == w->driver && v->device == w->device);
		assert_int_equal(v->ready, w->ready);
		assert_int_equal(v->state.packed, w->state.packed);
		assert_int_equal(v->state.packed_ring.last_avail_idx,
				 w->state.packed_ring.last_avail_idx);
		assert_int_equal(v->state.packed_ring.last_used_idx,
				 w->state.packed_ring.last_used_idx);
		assert_int_equal(v->state.packed_ring.last_avail_counter,
				 w->state.packed_ring.last_avail_counter);
		assert_int_equal(v->state.packed_ring.last_used_counter,
				 w->state.packed_ring.last_used_counter);
	}
	assert_int_equal(a->nregions, b->nregions);
	for (uint32_t i = 0; i < a->nregions; i++) {
		const struct vdpa_state_region *r = &a->regions[i], *q = &b->regions[i];

		assert_true(r->iova == q->iova && r->len == q->len && r->offset == q->offset);
		assert_true(r->perm == q->perm && r->fd_slot == q->fd_slot && r->asid == q->asid);
	}
}

static void test_state_encode_decode(void **state)
{
	struct vdpa_state a, b;
	void *data;
	size_t len;

	fill(&a);
	assert_int_equal(vdpa_state_encode(&a, &data, &len), 0);
	assert_int_equal(vdpa_state_decode(data, len, &b, NULL), 0);
	assert_same(&a, &b);
	vdpa_state_clear(&a);
	vdpa_state_clear(&b);
	assert_null(b.vqs);
	free(data);
}

static void test_state_blob(void **state)
{
	struct vdpa_state_blob *blob = blob_alloc();
	uint64_t value;
	uint32_t len;

	assert_non_null(blob);
	for (uint32_t i = 0; i < 1000; i++)
		assert_int_equal(vdpa_state_put_u64(blob, i, i * i), 0);
	assert_int_equal(vdpa_state_put(blob, 2000, "", 0), 0);
	assert_int_equal(vdpa_state_u64(blob, 999, &value), 0);
	assert_int_equal(value, 999 * 999);
	assert_int_equal(vdpa_state_u64(blob, 1000, &value), -ENOENT);
	assert_int_equal(vdpa_state_u64(blob, 2000, &value), -EPROTO);
	assert_non_null(vdpa_state_find(blob, 2000, &len));
	assert_int_equal(len, 0);
	assert_null(vdpa_state_find(NULL, 1, &len));
	blob_free(blob);
}

/* Cut anywhere, a record is refused or is one that ends between two values: it never runs off its
 * end. */
static void test_state_decode_cut_short(void **state)
{
	struct vdpa_state a, b;
	uint8_t *data, *copy;
	void *all;
	size_t len;

	fill(&a);
	assert_int_equal(vdpa_state_encode(&a, &all, &len), 0);
	data = all;
	for (size_t cut = 0; cut < len; cut++) {
		copy = malloc(cut ? cut : 1);
		assert_non_null(copy);
		memcpy(copy, data, cut);
		if (!vdpa_state_decode(copy, cut, &b, NULL))
			vdpa_state_clear(&b);
		free(copy);
	}
	vdpa_state_clear(&a);
	free(data);
}

/* One value in a row behind the head. */
static int decode_one(uint32_t tag, const void *value, uint32_t len, struct vdpa_extack *ack)
{
	struct vdpa_state_blob row = {0};
	uint8_t data[512] = "uvdpast\n\1";
	struct vdpa_state state;
	int err;

	assert_int_equal(vdpa_state_put_u64(&row, 1, 3), 0);
	assert_int_equal(vdpa_state_put(&row, tag, value, len), 0);
	memcpy(data + HEAD_LEN, row.data, row.len);
	err = vdpa_state_decode(data, HEAD_LEN + row.len, &state, ack);
	if (!err)
		vdpa_state_clear(&state);
	free(row.data);
	return err;
}

static void test_state_decode_refuses_nonsense(void **state)
{
	uint64_t vq[7] = {256, 1, 2, 3, 1, 0, 7}, region[6] = {0, 4096, 0, 3, 0, 0}, n = 1 << 8;
	uint32_t inner[2] = {1, 100};
	struct vdpa_extack ack = {0};
	struct vdpa_state st;

	assert_int_equal(vdpa_state_decode("x", 1, &st, &ack), -EPROTO);
	assert_string_equal(ack.msg, "this is no state record");
	ack.msg[0] = '\0';
	assert_int_equal(vdpa_state_decode("uvdpast\n\7\0\0", 12, &st, &ack), -EPROTO);
	assert_string_equal(ack.msg, "the state record is of version 7, version 1 is known");
	assert_int_equal(vdpa_state_decode("uvdpast\n\1\0\0", 12, &st, NULL), -EPROTO);

	assert_int_equal(decode_one(17, &n, 8, NULL), -EPROTO); /* a status of nine bits */
	assert_int_equal(decode_one(17, &n, 7, NULL), -EPROTO);
	assert_int_equal(decode_one(5, inner, sizeof(inner), NULL), -EPROTO);
	assert_int_equal(decode_one(5, "", 0, NULL), 0);
	assert_int_equal(decode_one(4000, "unknown", 7, NULL), 0);

	assert_int_equal(decode_one(18, vq, sizeof(vq), NULL), 0);
	assert_int_equal(decode_one(18, vq, sizeof(vq) - 1, NULL), -EPROTO);
	vq[0] = 32769;
	assert_int_equal(decode_one(18, vq, sizeof(vq), NULL), -EPROTO);
	vq[0] = 256;
	vq[6] = 65536; /* more than a split ring's index */
	assert_int_equal(decode_one(18, vq, sizeof(vq), NULL), -EPROTO);
	vq[5] = 1;
	assert_int_equal(decode_one(18, vq, sizeof(vq), NULL), 0);

	assert_int_equal(decode_one(19, region, sizeof(region), NULL), 0);
	region[1] = 0;
	assert_int_equal(decode_one(19, region, sizeof(region), NULL), -EPROTO);
	region[0] = UINT64_MAX - 4095;
	region[1] = 4096;
	assert_int_equal(decode_one(19, region, sizeof(region), NULL), 0);
	region[1] = 4097;
	assert_int_equal(decode_one(19, region, sizeof(region), NULL), -EPROTO);
	region[0] = 0;
	region[2] = INT64_MAX;
	assert_int_equal(decode_one(19, region, sizeof(region), NULL), -EPROTO);
	region[2] = 0;
	region[3] = 4;
	assert_int_equal(decode_one(19, region, sizeof(region), NULL), -EPROTO);
}

static void test_state_out_of_memory(void **state)
{
	struct vdpa_state a, b;
	void *data = NULL;
	size_t len;
	int err;

	fill(&a);
	for (unsigned int n = 1;; n++) {
		fail_alloc_nth(n);
		err = vdpa_state_encode(&a, &data, &len);
		if (!fail_alloc_done())
			break;
		assert_int_equal(err, -ENOMEM);
	}
	assert_int_equal(err, 0);
	for (unsigned int n = 1;; n++) {
		fail_alloc_nth(n);
		err = vdpa_state_decode(data, len, &b, NULL);
		if (!fail_alloc_done())
			break;
		assert_int_equal(err, -ENOMEM);
	}
	assert_int_equal(err, 0);
	vdpa_state_clear(&a);
	vdpa_state_clear(&b);
	free(data);
}

/* ---- of a device */

#define FEATURES (1ULL << 32 | 1ULL << 9)

struct session {
	struct env *env;
	struct vdpa_state state;
	struct vdpa_mem *mem;
	struct vdpa_iotlb *map;
};

static void lane_start(struct vdpa_device *vdev, void *arg)
{
	const struct vdpa_vq_state pos = {.split.avail_index = 77};
	struct session *s = arg;

	assert_int_equal(vdpa_set_map(vdev, 0, s->map, NULL), 0);
	assert_int_equal(vdpa_set_status(vdev, STATUS_OK & 3, NULL), 0);
	assert_int_equal(vdpa_set_driver_features(vdev, FEATURES, NULL), 0);
	assert_int_equal(vdpa_set_status(vdev, STATUS_OK & ~VIRTIO_CONFIG_S_DRIVER_OK, NULL), 0);
	assert_int_equal(vdpa_set_vq_num(vdev, 1, 64, NULL), 0);
	assert_int_equal(vdpa_set_vq_address(vdev, 1, 0x1000, 0x2000, 0x3000, NULL), 0);
	assert_int_equal(vdpa_set_vq_state(vdev, 1, &pos, NULL), 0);
	assert_int_equal(vdpa_set_vq_ready(vdev, 1, true, NULL), 0);
	assert_int_equal(vdpa_set_status(vdev, STATUS_OK, NULL), 0);
	fake_of(vdev)->learned = 5;
}

static void lane_save(struct vdpa_device *vdev, void *arg)
{
	struct session *s = arg;

	assert_int_equal(
		vdpa_device_save(vdev, VDPA_STATE_DEVICE | VDPA_STATE_SESSION, &s->state, NULL), 0);
	assert_int_equal(vdpa_device_state_fd(vdev, 0), vdpa_mem_fd(s->mem));
	assert_int_equal(vdpa_device_state_fd(vdev, 2), -1);
}

static void lane_load(struct vdpa_device *vdev, void *arg)
{
	struct fake_vdev *fake = fake_of(vdev);
	struct session *s = arg;

	fake_forget(fake->world);
	assert_int_equal(
		vdpa_device_load(vdev, VDPA_STATE_DEVICE | VDPA_STATE_SESSION, &s->state, NULL), 0);
	assert_true(FAKE_SAW(fake->world, "reset", "load", "set_driver_features", "set_vq_num",
			     "set_vq_address", "set_vq_state", "set_vq_ready", "set_status"));
	assert_int_equal(fake->status, STATUS_OK);
	assert_true(fake->acked == FEATURES);
	assert_false(fake->vqs[0].ready);
	assert_true(fake->vqs[1].ready);
	assert_int_equal(fake->vqs[1].num, 64);
	assert_true(fake->vqs[1].device == 0x3000);
	assert_int_equal(fake->vqs[1].state.split.avail_index, 77);
}

static void lane_load_refused(struct vdpa_device *vdev, void *arg)
{
	struct fake_vdev *fake = fake_of(vdev);
	struct session *s = arg;
	struct vdpa_extack ack = {0};

	s->state.device_id = 1;
	assert_int_equal(vdpa_device_load(vdev, VDPA_STATE_SESSION, &s->state, &ack), -EINVAL);
	assert_string_equal(ack.msg, "the record is of a device with id 1, this one has id 2");
	s->state.device_id = 2;
	s->state.features |= 1ULL << 5;
	ack.msg[0] = '\0';
	assert_int_equal(vdpa_device_load(vdev, VDPA_STATE_SESSION, &s->state, &ack), -EINVAL);
	assert_string_equal(ack.msg, "the record has feature RO, the device has not");
	s->state.features = FEATURES;
	s->state.parts = VDPA_STATE_SESSION;
	assert_int_equal(vdpa_device_load(vdev, VDPA_STATE_DEVICE, &s->state, NULL), -EINVAL);
	assert_int_equal(fake->status, STATUS_OK);
	/* Half way: nothing is left of it. */
	s->env->world.fail_err = -EFAULT;
	s->env->world.fail = "set_vq_address";
	assert_int_equal(vdpa_device_load(vdev, VDPA_STATE_SESSION, &s->state, NULL), -EFAULT);
	s->env->world.fail = NULL;
	assert_int_equal(fake->status, 0);
	assert_false(vdpa_get_vq_ready(vdev, 1));
}

/* Each allocation fails once; what was saved or loaded half is given back. */
static void lane_out_of_memory(struct vdpa_device *vdev, void *arg)
{
	const uint32_t both = VDPA_STATE_DEVICE | VDPA_STATE_SESSION;
	struct vdpa_state now;
	struct session *s = arg;
	bool failed = true;
	int err;

	for (unsigned int n = 1; failed; n++) {
		fail_alloc_nth(n);
		err = vdpa_device_save(vdev, both, &now, NULL);
		failed = fail_alloc_done();
		assert_int_equal(err, failed ? -ENOMEM : 0);
	}
	failed = true;
	for (unsigned int n = 1; failed; n++) {
		fail_alloc_nth(n);
		err = vdpa_device_load(vdev, both, &now, NULL);
		failed = fail_alloc_done();
		/* An event that finds no memory is lost, no more. */
		assert_true(!err || (failed && err == -ENOMEM));
	}
	assert_int_equal(fake_of(vdev)->status, STATUS_OK);
	vdpa_state_clear(&now);
	/* The device is reset all the same when there is no memory to keep anything in. */
	failed = true;
	for (unsigned int n = 1; failed; n++) {
		fail_alloc_nth(n);
		bus_end_session(vdev);
		failed = fail_alloc_done();
		assert_int_equal(fake_of(vdev)->status, 0);
		assert_true(fake_of(vdev)->learned == 5 || (failed && !fake_of(vdev)->learned));
		fake_of(vdev)->learned = 5;
	}
	assert_non_null(strstr(s->env->log, "disk0: the state of the device is not saved: "));
}

static void test_state_of_a_session(void **state)
{
	struct session s = {.env = *state};
	struct vdpa_iotlb_range ranges[2];
	struct vdpa_device *vdev;
	struct vdpa_result res;

	assert_int_equal(vdpa_mem_alloc("test", 8192, &s.mem, NULL), 0);
	for (int i = 0; i < 2; i++)
		ranges[i] = (struct vdpa_iotlb_range){
			.iova = 0x10000u * (unsigned)i,
			.len = 4096,
			.hva = (uint8_t *)vdpa_mem_hva(s.mem) + 4096 * i,
			.mem = s.mem,
			.perm = VDPA_PERM_RW,
		};
	assert_int_equal(vdpa_iotlb_alloc(ranges, 2, &s.map, NULL), 0);
	assert_int_equal(env_add(s.env, "disk0", &res), 0);
	vdev = s.env->world.last;
	env_on_lane(vdev, lane_start, &s);
	env_on_lane(vdev, lane_save, &s);
	assert_int_equal(s.state.nvqs, FAKE_NVQS);
	assert_int_equal(s.state.nregions, 2);
	assert_true(s.state.regions[1].iova == 0x10000);
	assert_true(s.state.regions[1].offset == s.state.regions[0].offset + 4096);
	assert_int_equal(s.state.regions[1].fd_slot, 0);

	env_on_lane(vdev, lane_load, &s);
	env_on_lane(vdev, lane_out_of_memory, &s);
	env_on_lane(vdev, lane_load, &s);
	env_on_lane(vdev, lane_load_refused, &s);
	vdpa_state_clear(&s.state);
	vdpa_iotlb_put(s.map);
	vdpa_mem_put(s.mem);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_state_encode_decode),
		cmocka_unit_test(test_state_blob),
		cmocka_unit_test(test_state_decode_cut_short),
		cmocka_unit_test(test_state_decode_refuses_nonsense),
		cmocka_unit_test(test_state_out_of_memory),
		cmocka_unit_test_setup_teardown(test_state_of_a_session, env_setup, env_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
