/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Packed rings: what differs from split ones.  The rules of the walker that do not are in
 * test_vq_split.c.
 */
#include "fail_alloc.h"
#include "vq_env.h"

#define NEXT     VRING_DESC_F_NEXT
#define WRITE    VRING_DESC_F_WRITE
#define INDIRECT VRING_DESC_F_INDIRECT

static void begin(struct vq_env *env, uint32_t num, uint64_t features)
{
	env_init(env, num, features | RING_F_PACKED);
	env_start(env);
}

static struct vring_packed_desc *slot_of(struct vq_env *env, uint32_t slot)
{
	return (struct vring_packed_desc *)env_hva(env, env->cfg.desc) + slot;
}

static uint16_t marks_of(struct vq_env *env, uint32_t slot)
{
	return ring_load16(&slot_of(env, slot)->flags) & RING_DESC_F_MARKS;
}

static void pop_complete(struct vq_env *env, uint32_t len)
{
	assert_int_equal(vdpa_vq_pop(env->vq, &env->elem), 1);
	assert_true(vdpa_vq_complete(env->vq, &env->elem, len));
}

static void refuse_start(struct vq_env *env, int err, const char *why)
{
	struct vdpa_extack ack = {0};

	assert_int_equal(vdpa_vq_start(env->vq, &env->cfg, &ack), err);
	if (!strstr(ack.msg, why))
		fail_msg("refused because '%s', not '%s'", ack.msg, why);
}

static void test_packed_start_checks_the_set_up(void **state)
{
	struct vq_env env;

	env_init(&env, 7, RING_F_PACKED);
	env.cfg.num = 0;
	refuse_start(&env, -EINVAL, "queue size");
	env.cfg.num = 32769;
	refuse_start(&env, -EINVAL, "queue size");
	env.cfg.num = 7;
	env.cfg.desc += 8;
	refuse_start(&env, -EINVAL, "descriptor area");
	env.cfg.desc -= 8;
	env.cfg.driver += 2;
	refuse_start(&env, -EINVAL, "driver area");
	env.cfg.driver -= 2;
	env.cfg.device += 2;
	refuse_start(&env, -EINVAL, "device area");
	env.cfg.device = ENV_IOVA + ENV_SIZE;
	refuse_start(&env, -EFAULT, "device area");
	env.cfg.device = ENV_IOVA + ENV_SIZE - 4;
	env_start(&env);
	env_free(&env);
}

static void test_packed_start_needs_a_writable_ring(void **state)
{
	struct vdpa_iotlb_range range;
	struct vq_env env;

	env_init(&env, 7, RING_F_PACKED);
	range = *vdpa_iotlb_find(env.iotlb, ENV_IOVA);
	range.perm = VDPA_PERM_READ;
	vdpa_iotlb_put(env.iotlb);
	assert_int_equal(vdpa_iotlb_alloc(&range, 1, &env.iotlb, NULL), 0);
	env.cfg.iotlb = env.iotlb;
	refuse_start(&env, -EFAULT, "descriptor area");
	env_free(&env);
}

static void test_packed_start_checks_the_state(void **state)
{
	struct vdpa_vq_state *where;
	struct vq_env env;

	env_init(&env, 7, RING_F_PACKED);
	where = &env.cfg.state;
	where->packed_ring.last_avail_idx = 7;
	refuse_start(&env, -EINVAL, "packed ring of 7");
	where->packed_ring.last_avail_idx = 3;
	where->packed_ring.last_used_idx = 4; /* ahead of what was taken */
	refuse_start(&env, -EINVAL, "packed ring of 7");
	where->packed_ring.last_avail_counter = false; /* more than a lap behind */
	where->packed_ring.last_used_idx = 2;
	refuse_start(&env, -EINVAL, "packed ring of 7");
	where->packed_ring.last_used_idx = 3; /* a whole lap is under way */
	env_start(&env);
	vdpa_vq_stop(env.vq, NULL);
	where->packed = false;
	refuse_start(&env, -EINVAL, "state");
	env_free(&env);
}

static void test_packed_pop_takes_a_chain(void **state)
{
	struct vq_env env;

	begin(&env, 5, 0);
	assert_int_equal(vdpa_vq_pop(env.vq, &env.elem), 0);
	assert_false(vdpa_vq_pending(env.vq));
	env_packed(&env, ENV_DATA, 16, NEXT, 1);
	env_packed(&env, ENV_DATA + 0x1000, 4096, NEXT | WRITE, 2);
	env_packed(&env, ENV_DATA + 0x3000, 1, WRITE, 77); /* the last id counts */
	assert_true(vdpa_vq_pending(env.vq));
	assert_int_equal(vdpa_vq_pop(env.vq, &env.elem), 1);
	assert_int_equal(env.elem.out_num, 1);
	assert_int_equal(env.elem.in_num, 2);
	assert_int_equal(env.elem.in_len, 4097);
	assert_int_equal(env.elem.num_desc, 3);
	assert_ptr_equal(env.elem.iov[2].iov_base, env_hva(&env, ENV_DATA + 0x3000));
	assert_false(vdpa_vq_pending(env.vq));

	assert_true(vdpa_vq_complete(env.vq, &env.elem, 20));
	assert_int_equal(marks_of(&env, 0), RING_DESC_F_AVAIL); /* not published */
	assert_true(vdpa_vq_publish(env.vq));
	assert_int_equal(marks_of(&env, 0), RING_DESC_F_MARKS);
	assert_int_equal(ring_load16(&slot_of(&env, 0)->flags) & WRITE, WRITE);
	assert_int_equal(le16toh(slot_of(&env, 0)->id), 77);
	assert_int_equal(le32toh(slot_of(&env, 0)->len), 20);
	assert_false(vdpa_vq_publish(env.vq));
	env_free(&env);
}

static void test_packed_write_flag_says_whether_something_was_written(void **state)
{
	struct vq_env env;

	begin(&env, 5, 0);
	env_packed(&env, ENV_DATA, 16, WRITE, 0);
	pop_complete(&env, 0);
	vdpa_vq_publish(env.vq);
	assert_int_equal(ring_load16(&slot_of(&env, 0)->flags), RING_DESC_F_MARKS);
	env_free(&env);
}

/* A batch is seen as a whole: its first slot is marked last. */
static void test_packed_batch_is_published_at_once(void **state)
{
	struct vdpa_vq_elem elems[3];
	const int order[] = {2, 0, 1};
	struct vq_env env;

	begin(&env, 7, 0);
	env_packed(&env, ENV_DATA, 8, NEXT, 0);
	env_packed(&env, ENV_DATA, 8, 0, 10);
	env_packed(&env, ENV_DATA, 8, 0, 11);
	env_packed(&env, ENV_DATA, 8, NEXT, 0);
	env_packed(&env, ENV_DATA, 8, NEXT, 0);
	env_packed(&env, ENV_DATA, 8, 0, 12);
	for (int i = 0; i < 3; i++) {
		vdpa_vq_elem_init(&elems[i]);
		assert_int_equal(vdpa_vq_pop(env.vq, &elems[i]), 1);
	}
	for (int i = 0; i < 3; i++)
		assert_true(vdpa_vq_complete(env.vq, &elems[order[i]], 0));
	assert_int_equal(marks_of(&env, 0), RING_DESC_F_AVAIL);
	assert_true(vdpa_vq_publish(env.vq));
	/* Chains of 3, 2 and 1 slots: used entries at 0, 3, 5. */
	assert_int_equal(marks_of(&env, 0), RING_DESC_F_MARKS);
	assert_int_equal(marks_of(&env, 1), RING_DESC_F_AVAIL);
	assert_int_equal(marks_of(&env, 3), RING_DESC_F_MARKS);
	assert_int_equal(marks_of(&env, 5), RING_DESC_F_MARKS);
	assert_int_equal(le16toh(slot_of(&env, 0)->id), 12);
	assert_int_equal(le16toh(slot_of(&env, 3)->id), 10);
	assert_int_equal(le16toh(slot_of(&env, 5)->id), 11);
	env_free(&env);
}

static void test_packed_laps(void **state)
{
	struct vdpa_vq_state where;
	struct vq_env env;

	begin(&env, 5, 0);
	for (uint16_t i = 0; i < 23; i++) {
		env_packed(&env, ENV_DATA, 16, NEXT, 0);
		env_packed(&env, ENV_DATA, 16, WRITE, i);
		assert_int_equal(vdpa_vq_pop(env.vq, &env.elem), 1);
		assert_int_equal(env.elem.id, i);
		assert_int_equal(env.elem.num_desc, 2);
		assert_true(vdpa_vq_complete(env.vq, &env.elem, 0));
		assert_true(vdpa_vq_publish(env.vq));
		assert_int_equal(marks_of(&env, i * 2 % 5), i * 2 / 5 % 2 ? 0 : RING_DESC_F_MARKS);
	}
	/* 46 slots: nine laps of five, and one. */
	vdpa_vq_stop(env.vq, &where);
	assert_true(where.packed);
	assert_int_equal(where.packed_ring.last_avail_idx, 1);
	assert_int_equal(where.packed_ring.last_used_idx, 1);
	assert_false(where.packed_ring.last_avail_counter);
	assert_false(where.packed_ring.last_used_counter);
	env.cfg.state = where;
	env_start(&env);
	env_packed(&env, ENV_DATA, 16, WRITE, 9);
	pop_complete(&env, 3);
	assert_true(vdpa_vq_publish(env.vq));
	assert_int_equal(marks_of(&env, 1), 0);
	env_free(&env);
}

static void test_packed_takes_a_full_ring(void **state)
{
	struct vdpa_vq_elem elems[3];
	struct vq_env env;

	begin(&env, 3, 0);
	for (uint16_t i = 0; i < 3; i++) {
		env_packed(&env, ENV_DATA, 8, 0, i);
		vdpa_vq_elem_init(&elems[i]);
		assert_int_equal(vdpa_vq_pop(env.vq, &elems[i]), 1);
	}
	assert_int_equal(vdpa_vq_pop(env.vq, &env.elem), 0);
	/* The driver takes a slot back that it has not got. */
	env_packed(&env, ENV_DATA, 8, 0, 0);
	env_expect_broken(&env, "more descriptors are available");
	env_free(&env);
}

static void test_packed_rejects_a_chain_over_slots_under_way(void **state)
{
	struct vdpa_vq_elem held;
	struct vq_env env;

	begin(&env, 4, 0);
	env_packed(&env, ENV_DATA, 8, 0, 0);
	vdpa_vq_elem_init(&held);
	assert_int_equal(vdpa_vq_pop(env.vq, &held), 1);
	for (int i = 0; i < 3; i++)
		env_packed(&env, ENV_DATA, 8, NEXT, 0);
	env_packed(&env, ENV_DATA, 8, 0, 1);
	env_expect_broken(&env, "more descriptors are available");
	env_free(&env);
}

static void test_packed_rejects_loops(void **state)
{
	struct vq_env env;

	begin(&env, 4, 0);
	for (int i = 0; i < 4; i++)
		env_packed(&env, ENV_DATA, 8, NEXT, 0);
	env_expect_broken(
		&env, "not available"); /* the lap is over, the marks are not those of the next */
	env_free(&env);

	begin(&env, 8, 0);
	env.cfg.max_segs = 4;
	vdpa_vq_stop(env.vq, NULL);
	env_start(&env);
	for (int i = 0; i < 5; i++)
		env_packed(&env, ENV_DATA, 0, i < 4 ? NEXT : 0, 0);
	env_expect_broken(&env, "too long");
	env_free(&env);
}

static void test_packed_rejects_a_chain_that_is_not_all_available(void **state)
{
	struct vq_env env;

	begin(&env, 4, 0);
	env_packed(&env, ENV_DATA, 8, NEXT, 0);
	env_packed(&env, ENV_DATA, 8, NEXT, 0);
	env_expect_broken(&env, "goes on at slot 2, which is not available");
	env_free(&env);
}

static void test_packed_rejects_a_readable_behind_a_writable(void **state)
{
	struct vq_env env;

	begin(&env, 4, 0);
	env_packed(&env, ENV_DATA, 8, NEXT | WRITE, 0);
	env_packed(&env, ENV_DATA, 8, 0, 0);
	env_expect_broken(&env, "readable descriptor behind");
	env_free(&env);
}

static void test_packed_miss_consumes_nothing(void **state)
{
	struct vdpa_vq_state where;
	uint64_t iova;
	struct vq_env env;
	uint32_t perm;

	begin(&env, 4, 0);
	env_packed(&env, ENV_DATA, 8, NEXT, 0);
	env_packed(&env, ENV_IOVA + ENV_SIZE, 8, WRITE, 0);
	assert_int_equal(vdpa_vq_pop(env.vq, &env.elem), -EFAULT);
	vdpa_vq_miss(env.vq, &iova, &perm);
	assert_int_equal(iova, ENV_IOVA + ENV_SIZE);
	assert_int_equal(perm, VDPA_PERM_WRITE);
	assert_true(vdpa_vq_pending(env.vq));
	vdpa_vq_stop(env.vq, &where);
	assert_int_equal(where.packed_ring.last_avail_idx, 0);
	env_free(&env);
}

static void test_packed_lack_of_memory_consumes_nothing(void **state)
{
	struct vq_env env;

	begin(&env, 16, 0);
	for (uint16_t i = 0; i < 16; i++)
		env_packed(&env, ENV_DATA + 8 * i, 8, i < 15 ? NEXT : 0, 5);
	fail_alloc_nth(1);
	assert_int_equal(vdpa_vq_pop(env.vq, &env.elem), -ENOMEM);
	assert_true(fail_alloc_done());
	assert_int_equal(vdpa_vq_pop(env.vq, &env.elem), 1);
	assert_int_equal(env.elem.num_desc, 16);
	assert_int_equal(env.elem.id, 5);
	env_free(&env);
}

/* ------------------------------------------------------------------ indirect tables */

static void test_packed_takes_a_table(void **state)
{
	struct vq_env env;

	begin(&env, 3, RING_F_INDIRECT_DESC);
	env_packed(&env, ENV_TABLE + 8, 3 * 16, INDIRECT | WRITE, 6); /* WRITE is ignored */
	env_packed_entry(&env, ENV_TABLE + 8, 0, ENV_DATA, 16, NEXT); /* and NEXT in here */
	env_packed_entry(&env, ENV_TABLE + 8, 1, ENV_DATA + 100, 200, WRITE);
	env_packed_entry(&env, ENV_TABLE + 8, 2, ENV_DATA + 300, 1, WRITE | NEXT);
	assert_int_equal(vdpa_vq_pop(env.vq, &env.elem), 1);
	assert_int_equal(env.elem.out_num, 1);
	assert_int_equal(env.elem.in_num, 2);
	assert_int_equal(env.elem.in_len, 201);
	assert_int_equal(env.elem.num_desc, 1);
	assert_int_equal(env.elem.id, 6);
	env_free(&env);
}

static void test_packed_rejects_a_table_in_a_chain(void **state)
{
	struct vq_env env;

	begin(&env, 3, RING_F_INDIRECT_DESC);
	env_packed(&env, ENV_DATA, 16, NEXT, 6);
	env_packed(&env, ENV_TABLE, 16, INDIRECT, 6);
	env_packed_entry(&env, ENV_TABLE, 0, ENV_DATA, 16, 0);
	env_expect_broken(&env, "inside a chain");
	env_free(&env);
}

static void test_packed_rejects_a_table_with_next(void **state)
{
	struct vq_env env;

	begin(&env, 3, RING_F_INDIRECT_DESC);
	env_packed(&env, ENV_TABLE, 16, INDIRECT | NEXT, 6);
	env_packed_entry(&env, ENV_TABLE, 0, ENV_DATA, 16, 0);
	env_expect_broken(&env, "followed by another");
	env_free(&env);
}

static void test_packed_rejects_a_table_in_a_table(void **state)
{
	struct vq_env env;

	begin(&env, 3, RING_F_INDIRECT_DESC);
	env_packed(&env, ENV_TABLE, 16, INDIRECT, 6);
	env_packed_entry(&env, ENV_TABLE, 0, ENV_TABLE, 16, INDIRECT);
	env_expect_broken(&env, "inside a table");
	env_free(&env);
}

static void test_packed_rejects_tables_of_bad_size(void **state)
{
	const uint32_t bad[] = {0, 15, 17, 16 * (VDPA_VQ_NUM_MAX + 1)};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct vq_env env;

		begin(&env, 3, RING_F_INDIRECT_DESC);
		env_packed(&env, ENV_TABLE, bad[i], INDIRECT, 6);
		env_expect_broken(&env, "indirect table of");
		env_free(&env);
	}
}

static void test_packed_limits_the_pieces_of_a_table(void **state)
{
	struct vq_env env;

	begin(&env, 3, RING_F_INDIRECT_DESC);
	for (uint32_t i = 0; i <= VDPA_VQ_SEGS_MAX; i++)
		env_packed_entry(&env, ENV_TABLE, i, ENV_DATA, 1, 0);
	env_packed(&env, ENV_TABLE, 16 * VDPA_VQ_SEGS_MAX, INDIRECT, 6);
	pop_complete(&env, 0);
	assert_int_equal(env.elem.out_num, VDPA_VQ_SEGS_MAX);
	env_packed(&env, ENV_TABLE, 16 * (VDPA_VQ_SEGS_MAX + 1), INDIRECT, 6);
	env_expect_broken(&env, "too long");
	env_free(&env);
}

/* ------------------------------------------------------------------ notifications */

static void set_event(struct vq_env *env, uint16_t off, bool wrap, uint16_t flags)
{
	struct vring_packed_desc_event *event = env_hva(env, env->cfg.driver);

	ring_store16(&event->off_wrap, (uint16_t)(off | (uint16_t)wrap << 15));
	ring_store16(&event->flags, flags);
}

static bool round_trip(struct vq_env *env)
{
	env_packed(env, ENV_DATA, 8, 0, 0);
	pop_complete(env, 0);
	return vdpa_vq_publish(env->vq);
}

static void test_packed_call_flags(void **state)
{
	struct vq_env env;

	begin(&env, 5, RING_F_EVENT_IDX);
	assert_true(round_trip(&env));
	set_event(&env, 0, true, VRING_PACKED_EVENT_FLAG_DISABLE);
	assert_false(round_trip(&env));
	set_event(&env, 0, true, VRING_PACKED_EVENT_FLAG_ENABLE);
	assert_true(round_trip(&env));
	env_free(&env);

	/* A slot has no meaning where event index was not negotiated. */
	begin(&env, 5, 0);
	set_event(&env, 3, true, VRING_PACKED_EVENT_FLAG_DESC);
	assert_true(round_trip(&env));
	env_free(&env);
}

/* For each slot of two laps: single requests call exactly when that slot is used. */
static void test_packed_calls_at_the_event_slot(void **state)
{
	for (int want = 0; want < 10; want++) {
		struct vq_env env;

		begin(&env, 5, RING_F_EVENT_IDX);
		set_event(&env, (uint16_t)(want % 5), want < 5, VRING_PACKED_EVENT_FLAG_DESC);
		for (int i = 0; i < 10; i++)
			assert_int_equal(round_trip(&env), i == want);
		env_free(&env);
	}
}

/* For each batch of slots [first, first + num): it calls exactly when the slot lies in it. */
static void test_packed_calls_within_a_batch(void **state)
{
	for (int first = 0; first < 10; first++) {
		for (int num = 1; num <= 5; num++) {
			for (int want = first; want < first + 5; want++) {
				struct vq_env env;

				begin(&env, 5, RING_F_EVENT_IDX);
				for (int i = 0; i < first; i++)
					round_trip(&env);
				set_event(&env, (uint16_t)(want % 5), want / 5 % 2 == 0,
					  VRING_PACKED_EVENT_FLAG_DESC);
				for (int i = 0; i < num; i++) {
					env_packed(&env, ENV_DATA, 8, 0, 0);
					pop_complete(&env, 0);
				}
				assert_int_equal(vdpa_vq_publish(env.vq), want < first + num);
				env_free(&env);
			}
		}
	}
}

static void test_packed_enable_kick_looks_again(void **state)
{
	const struct vring_packed_desc_event *event;
	struct vq_env env;

	begin(&env, 5, 0);
	event = env_hva(&env, env.cfg.device);
	vdpa_vq_disable_kick(env.vq);
	assert_int_equal(ring_load16(&event->flags), VRING_PACKED_EVENT_FLAG_DISABLE);
	assert_false(vdpa_vq_enable_kick(env.vq));
	assert_int_equal(ring_load16(&event->flags), VRING_PACKED_EVENT_FLAG_ENABLE);
	env_packed(&env, ENV_DATA, 8, 0, 0);
	assert_true(vdpa_vq_enable_kick(env.vq));
	env_free(&env);
}

static void test_packed_enable_kick_sets_the_slot(void **state)
{
	const struct vring_packed_desc_event *event;
	struct vq_env env;

	begin(&env, 5, RING_F_EVENT_IDX);
	event = env_hva(&env, env.cfg.device);
	for (unsigned i = 0; i < 12; i++) {
		assert_false(vdpa_vq_enable_kick(env.vq));
		assert_int_equal(ring_load16(&event->flags), VRING_PACKED_EVENT_FLAG_DESC);
		assert_int_equal(ring_load16(&event->off_wrap), i % 5 | (i / 5 % 2 ? 0 : 0x8000));
		round_trip(&env);
	}
	env_free(&env);
}

static void test_packed_in_order_holds_back(void **state)
{
	struct vdpa_vq_elem elems[3];
	struct vq_env env;

	begin(&env, 5, RING_F_IN_ORDER);
	for (uint16_t i = 0; i < 3; i++) {
		env_packed(&env, ENV_DATA, 8, WRITE, i + 40);
		vdpa_vq_elem_init(&elems[i]);
		assert_int_equal(vdpa_vq_pop(env.vq, &elems[i]), 1);
	}
	assert_false(vdpa_vq_complete(env.vq, &elems[2], 2));
	assert_false(vdpa_vq_complete(env.vq, &elems[1], 1));
	assert_false(vdpa_vq_publish(env.vq));
	assert_true(vdpa_vq_complete(env.vq, &elems[0], 3));
	assert_ptr_equal(vdpa_vq_reap(env.vq), &elems[1]);
	assert_ptr_equal(vdpa_vq_reap(env.vq), &elems[2]);
	assert_null(vdpa_vq_reap(env.vq));
	assert_true(vdpa_vq_publish(env.vq));
	for (uint16_t i = 0; i < 3; i++) {
		assert_int_equal(le16toh(slot_of(&env, i)->id), i + 40);
		assert_int_equal(le32toh(slot_of(&env, i)->len), i ? i : 3);
	}
	env_free(&env);
}

static void test_packed_in_order_stop_takes_nothing_away(void **state)
{
	struct vdpa_vq_elem elems[4];
	struct vq_env env;

	begin(&env, 3, RING_F_IN_ORDER);
	for (uint16_t i = 0; i < 4; i++) {
		vdpa_vq_elem_init(&elems[i]);
		env_packed(&env, ENV_DATA, 8, WRITE, i + 40);
		assert_int_equal(vdpa_vq_pop(env.vq, &elems[i]), 1);
		if (i)
			continue;
		assert_true(vdpa_vq_complete(env.vq, &elems[0], 1));
		vdpa_vq_publish(env.vq);
	}
	vdpa_vq_stop(env.vq, &env.cfg.state);
	assert_int_equal(env.cfg.state.packed_ring.last_avail_idx, 1);
	assert_true(env.cfg.state.packed_ring.last_avail_counter);
	env_start(&env);
	for (uint16_t i = 1; i < 4; i++) {
		assert_int_equal(vdpa_vq_pop(env.vq, &elems[i]), 1);
		assert_int_equal(elems[i].id, i + 40);
		assert_true(vdpa_vq_complete(env.vq, &elems[i], 1));
	}
	vdpa_vq_publish(env.vq);
	assert_int_equal(marks_of(&env, 1), RING_DESC_F_MARKS);
	assert_int_equal(marks_of(&env, 2), RING_DESC_F_MARKS);
	assert_int_equal(marks_of(&env, 0), 0);
	env_free(&env);
}

/* Over the end of the ring: what is put back is found again, with its marks. */
static void test_packed_unpop_over_the_end(void **state)
{
	struct vdpa_vq_elem elems[2];
	struct vq_env env;

	begin(&env, 5, 0);
	for (int i = 0; i < 2; i++)
		vdpa_vq_elem_init(&elems[i]);
	for (uint16_t round = 0; round < 12; round++) {
		env_packed(&env, ENV_DATA, 16, NEXT, 0);
		env_packed(&env, ENV_DATA, 16, WRITE, round);
		env_packed(&env, ENV_DATA, 16, WRITE, 100);
		for (int again = 0; again < 2; again++) {
			assert_int_equal(vdpa_vq_pop(env.vq, &elems[0]), 1);
			assert_int_equal(vdpa_vq_pop(env.vq, &elems[1]), 1);
			assert_int_equal(elems[0].id, round);
			assert_int_equal(elems[1].id, 100);
			assert_int_equal(vdpa_vq_pop(env.vq, &env.elem), 0);
			if (again)
				break;
			assert_true(vdpa_vq_unpop(env.vq, &elems[1]));
			assert_true(vdpa_vq_unpop(env.vq, &elems[0]));
			assert_int_equal(vdpa_vq_outstanding(env.vq), 0);
		}
		assert_true(vdpa_vq_complete(env.vq, &elems[0], 1));
		assert_true(vdpa_vq_complete(env.vq, &elems[1], 1));
		vdpa_vq_publish(env.vq);
	}
	assert_int_equal(vdpa_vq_stats(env.vq)->requests, 24);
	env_free(&env);
}

/* Many at once, over the end of the ring; what is not simple is left for vdpa_vq_pop(). */
static void test_packed_takes_singles_at_once(void **state)
{
	struct vdpa_vq_elem elems[5], *all[5];
	const uint32_t lens[] = {1, 0, 100};
	struct vq_env env;

	begin(&env, 5, 0);
	for (int i = 0; i < 5; i++) {
		vdpa_vq_elem_init(&elems[i]);
		all[i] = &elems[i];
	}
	/* It is not known yet where the memory is. */
	env_packed(&env, ENV_DATA, 16, WRITE, 50);
	assert_int_equal(vdpa_vq_pop_singles(env.vq, all, 5), 0);
	pop_complete(&env, 16);
	vdpa_vq_publish(env.vq);
	for (uint16_t round = 0; round < 12; round++) {
		uint16_t at = env.slot, marks = env.wrap ? RING_DESC_F_MARKS : 0;

		for (uint16_t i = 0; i < 3; i++)
			env_packed(&env, ENV_DATA + 64 * i, 16, WRITE, round + i);
		env_packed(&env, ENV_DATA, 16, NEXT, 0);
		env_packed(&env, ENV_DATA, 16, WRITE, 100);
		assert_int_equal(vdpa_vq_pop_singles(env.vq, all, 2), 2);
		assert_int_equal(vdpa_vq_pop_singles(env.vq, all + 2, 3), 1);
		assert_int_equal(vdpa_vq_pop_singles(env.vq, all + 3, 2), 0);
		assert_int_equal(vdpa_vq_outstanding(env.vq), 3);
		assert_int_equal(vdpa_vq_pop(env.vq, all[3]), 1);
		assert_int_equal(all[3]->id, 100);
		assert_int_equal(all[3]->num_desc, 2);
		assert_int_equal(all[2]->id, round + 2);
		assert_int_equal(all[2]->in_len, 16);
		assert_ptr_equal(all[2]->iov[0].iov_base, env_hva(&env, ENV_DATA + 128));
		vdpa_vq_complete_many(env.vq, all, lens, 3);
		assert_int_equal(marks_of(&env, at) == marks, false);
		assert_true(vdpa_vq_complete(env.vq, all[3], 1));
		vdpa_vq_publish(env.vq);
		for (uint16_t i = 0; i < 3; i++) {
			uint16_t slot = (at + i) % 5;

			assert_int_equal(marks_of(&env, slot),
					 at + i < 5 ? marks : marks ^ RING_DESC_F_MARKS);
			assert_int_equal(le16toh(slot_of(&env, slot)->id), round + i);
			assert_int_equal(le32toh(slot_of(&env, slot)->len), i == 2 ? 16 : lens[i]);
			assert_int_equal(!!(ring_load16(&slot_of(&env, slot)->flags) & WRITE),
					 i != 1);
		}
	}
	assert_int_equal(vdpa_vq_stats(env.vq)->requests, 49);
	assert_int_equal(vdpa_vq_stats(env.vq)->bytes_in, 16 + 12 * 18);
	env_free(&env);
}

static void test_packed_singles_are_no_more_than_the_ring(void **state)
{
	struct vdpa_vq_elem elems[4], *all[4];
	struct vq_env env;

	begin(&env, 3, 0);
	env_packed(&env, ENV_DATA, 8, 0, 0);
	pop_complete(&env, 0);
	vdpa_vq_publish(env.vq);
	for (uint16_t i = 0; i < 4; i++) {
		vdpa_vq_elem_init(&elems[i]);
		all[i] = &elems[i];
	}
	for (uint16_t i = 0; i < 3; i++)
		env_packed(&env, ENV_DATA, 8, 0, i);
	assert_int_equal(vdpa_vq_pop_singles(env.vq, all, 3), 3);
	env_packed(&env, ENV_DATA, 8, 0, 0);
	assert_int_equal(vdpa_vq_pop_singles(env.vq, all + 3, 1), 0);
	env_expect_broken(&env, "more descriptors are available");
	assert_int_equal(vdpa_vq_pop_singles(env.vq, all + 3, 1), 0);
	env_free(&env);
}

/* Marks of a driver that errs do not matter where the device only reads. */
static void test_packed_read_all_takes_no_notice_of_marks(void **state)
{
	struct vq_env env;

	begin(&env, 4, RING_F_INDIRECT_DESC);
	vdpa_vq_read_all(env.vq);
	env_packed_entry(&env, ENV_TABLE, 0, ENV_DATA, 12, WRITE);
	env_packed_entry(&env, ENV_TABLE, 1, ENV_DATA + 0x1000, 100, 0);
	env_packed(&env, ENV_TABLE, 32, INDIRECT, 7);
	assert_int_equal(vdpa_vq_pop(env.vq, &env.elem), 1);
	assert_int_equal(env.elem.out_num, 2);
	assert_int_equal(env.elem.out_len, 112);
	assert_int_equal(env.elem.in_len, 0);
	assert_true(vdpa_vq_complete(env.vq, &env.elem, 0));
	env_free(&env);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_packed_start_checks_the_set_up),
		cmocka_unit_test(test_packed_start_needs_a_writable_ring),
		cmocka_unit_test(test_packed_start_checks_the_state),
		cmocka_unit_test(test_packed_pop_takes_a_chain),
		cmocka_unit_test(test_packed_write_flag_says_whether_something_was_written),
		cmocka_unit_test(test_packed_batch_is_published_at_once),
		cmocka_unit_test(test_packed_laps),
		cmocka_unit_test(test_packed_takes_a_full_ring),
		cmocka_unit_test(test_packed_takes_singles_at_once),
		cmocka_unit_test(test_packed_singles_are_no_more_than_the_ring),
		cmocka_unit_test(test_packed_rejects_a_chain_over_slots_under_way),
		cmocka_unit_test(test_packed_rejects_loops),
		cmocka_unit_test(test_packed_rejects_a_chain_that_is_not_all_available),
		cmocka_unit_test(test_packed_rejects_a_readable_behind_a_writable),
		cmocka_unit_test(test_packed_miss_consumes_nothing),
		cmocka_unit_test(test_packed_lack_of_memory_consumes_nothing),
		cmocka_unit_test(test_packed_takes_a_table),
		cmocka_unit_test(test_packed_rejects_a_table_in_a_chain),
		cmocka_unit_test(test_packed_rejects_a_table_with_next),
		cmocka_unit_test(test_packed_rejects_a_table_in_a_table),
		cmocka_unit_test(test_packed_rejects_tables_of_bad_size),
		cmocka_unit_test(test_packed_limits_the_pieces_of_a_table),
		cmocka_unit_test(test_packed_call_flags),
		cmocka_unit_test(test_packed_calls_at_the_event_slot),
		cmocka_unit_test(test_packed_calls_within_a_batch),
		cmocka_unit_test(test_packed_enable_kick_looks_again),
		cmocka_unit_test(test_packed_enable_kick_sets_the_slot),
		cmocka_unit_test(test_packed_in_order_holds_back),
		cmocka_unit_test(test_packed_in_order_stop_takes_nothing_away),
		cmocka_unit_test(test_packed_unpop_over_the_end),
		cmocka_unit_test(test_packed_read_all_takes_no_notice_of_marks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
