/* SPDX-License-Identifier: BSD-2-Clause */
#include "fail_alloc.h"
#include "vq_env.h"

#define NEXT     VRING_DESC_F_NEXT
#define WRITE    VRING_DESC_F_WRITE
#define INDIRECT VRING_DESC_F_INDIRECT

static struct vring_used *used_of(struct vq_env *env)
{
	return env_hva(env, env->cfg.device);
}

static struct vring_avail *avail_of(struct vq_env *env)
{
	return env_hva(env, env->cfg.driver);
}

static void begin(struct vq_env *env, uint32_t num, uint64_t features)
{
	env_init(env, num, features);
	env_start(env);
}

/* Take a chain that must be there, and give it back. */
static void pop_complete(struct vq_env *env, uint32_t len)
{
	assert_int_equal(vdpa_vq_pop(env->vq, &env->elem), 1);
	assert_true(vdpa_vq_complete(env->vq, &env->elem, len));
}

/* ------------------------------------------------------------------ start and stop */

static void refuse_start(struct vq_env *env, int err, const char *why)
{
	struct vdpa_extack ack = {0};

	assert_int_equal(vdpa_vq_start(env->vq, &env->cfg, &ack), err);
	assert_false(vdpa_vq_started(env->vq));
	if (!strstr(ack.msg, why))
		fail_msg("refused because '%s', not '%s'", ack.msg, why);
}

static void test_split_start_checks_the_size(void **state)
{
	const uint32_t bad[] = {0, 3, 255, 65536, 32769, UINT32_MAX};
	struct vq_env env;

	env_init(&env, 16, 0);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		env.cfg.num = bad[i];
		refuse_start(&env, -EINVAL, "queue size");
	}
	for (env.cfg.num = 1; env.cfg.num <= VDPA_VQ_NUM_MAX; env.cfg.num *= 2) {
		env.cfg.driver = align_up(ENV_IOVA + 16 * env.cfg.num, 2);
		env.cfg.device = align_up(env.cfg.driver + 6 + 2 * env.cfg.num, 4);
		env_start(&env);
		vdpa_vq_stop(env.vq, NULL);
	}
	env_free(&env);
}

static void test_split_start_checks_alignment(void **state)
{
	struct vq_env env;

	env_init(&env, 16, 0);
	env.cfg.desc += 8;
	refuse_start(&env, -EINVAL, "descriptor area");
	env.cfg.desc -= 8;
	env.cfg.driver += 1;
	refuse_start(&env, -EINVAL, "driver area");
	env.cfg.driver += 1;
	env.cfg.device += 2;
	refuse_start(&env, -EINVAL, "device area");
	env.cfg.device += 2;
	env_start(&env);
	env_free(&env);
}

static void test_split_start_checks_the_mapping(void **state)
{
	struct vq_env env;

	env_init(&env, 16, 0);
	env.cfg.desc = ENV_IOVA + ENV_SIZE - 240; /* one descriptor too few */
	refuse_start(&env, -EFAULT, "not mapped");
	env.cfg.desc = ENV_IOVA;
	env.cfg.iotlb = NULL;
	refuse_start(&env, -EFAULT, "no memory map");
	env.cfg.iotlb = env.iotlb;
	env.cfg.driver = 0;
	refuse_start(&env, -EFAULT, "not mapped");
	env.cfg.driver = ENV_DRIVER;
	env.cfg.device = UINT64_MAX - 3;
	refuse_start(&env, -EFAULT, "not mapped");
	/* The event index is part of the area only where it is used. */
	env.cfg.device = ENV_IOVA + ENV_SIZE - 4 - 8 * 16;
	env_start(&env);
	vdpa_vq_stop(env.vq, NULL);
	env.cfg.features = RING_F_EVENT_IDX;
	refuse_start(&env, -EFAULT, "not mapped");
	env_free(&env);
}

static void test_split_start_rejects_a_crooked_mapping(void **state)
{
	struct vdpa_iotlb_range range;
	struct vdpa_iotlb *crooked;
	struct vq_env env;

	env_init(&env, 16, 0);
	range = (struct vdpa_iotlb_range){ENV_IOVA, ENV_SIZE - 8,
					  (uint8_t *)vdpa_mem_hva(env.mem) + 8, env.mem,
					  VDPA_PERM_RW};
	assert_int_equal(vdpa_iotlb_alloc(&range, 1, &crooked, NULL), 0);
	env.cfg.iotlb = crooked;
	refuse_start(&env, -EINVAL, "without alignment");
	vdpa_iotlb_put(crooked);
	env_free(&env);
}

static void test_split_start_twice_is_busy(void **state)
{
	struct vq_env env;

	begin(&env, 16, 0);
	assert_int_equal(vdpa_vq_start(env.vq, &env.cfg, NULL), -EBUSY);
	assert_true(vdpa_vq_started(env.vq));
	env_free(&env);
}

static void test_split_start_needs_a_split_state(void **state)
{
	struct vq_env env;

	env_init(&env, 16, 0);
	env.cfg.state.packed = true;
	refuse_start(&env, -EINVAL, "state");
	env.cfg.state.packed = false;
	env.cfg.max_segs = VDPA_VQ_SEGS_MAX + 1;
	refuse_start(&env, -EINVAL, "pieces");
	env_free(&env);
}

static void test_split_stop_and_start_again(void **state)
{
	struct vdpa_vq_state where;
	struct vq_env env;

	begin(&env, 4, 0);
	env_desc(&env, ENV_IOVA, 2, ENV_DATA, 10, 0, 0);
	for (int i = 0; i < 3; i++) {
		env_offer(&env, 2);
		pop_complete(&env, 0);
	}
	env_offer(&env, 2);
	assert_true(vdpa_vq_publish(env.vq));
	vdpa_vq_stop(env.vq, &where);
	assert_false(vdpa_vq_started(env.vq));
	assert_false(where.packed);
	assert_int_equal(where.split.avail_index, 3);
	assert_int_equal(vdpa_vq_pop(env.vq, &env.elem), 0);
	assert_false(vdpa_vq_publish(env.vq));

	env.cfg.state = where;
	env_start(&env);
	pop_complete(&env, 0);
	vdpa_vq_publish(env.vq);
	assert_int_equal(ring_load16(&used_of(&env)->idx), 4);
	assert_int_equal(vdpa_vq_pop(env.vq, &env.elem), 0);
	assert_int_equal(vdpa_vq_stats(env.vq)->requests, 4);
	env_free(&env);
}

static void test_split_idle_queue_yields_nothing(void **state)
{
	struct vq_env env;

	env_init(&env, 4, 0);
	assert_int_equal(vdpa_vq_pop(env.vq, &env.elem), 0);
	assert_false(vdpa_vq_pending(env.vq));
	env_start(&env);
	assert_int_equal(vdpa_vq_pop(env.vq, &env.elem), 0);
	assert_false(vdpa_vq_pending(env.vq));
	assert_false(vdpa_vq_publish(env.vq));
	assert_null(vdpa_vq_broken(env.vq));
	env_free(&env);
}

/* ------------------------------------------------------------------ chains */

static void test_split_pop_takes_a_chain(void **state)
{
	struct vq_env env;

	begin(&env, 8, 0);
	env_desc(&env, ENV_IOVA, 5, ENV_DATA, 16, NEXT, 1);
	env_desc(&env, ENV_IOVA, 1, ENV_DATA + 0x1000, 4096, NEXT | WRITE, 7);
	env_desc(&env, ENV_IOVA, 7, ENV_DATA + 0x3000, 1, WRITE, 0);
	env_offer(&env, 5);
	assert_true(vdpa_vq_pending(env.vq));
	assert_int_equal(vdpa_vq_pop(env.vq, &env.elem), 1);
	assert_int_equal(vdpa_vq_outstanding(env.vq), 1);
	assert_int_equal(env.elem.out_num, 1);
	assert_int_equal(env.elem.in_num, 2);
	assert_int_equal(env.elem.out_len, 16);
	assert_int_equal(env.elem.in_len, 4097);
	assert_ptr_equal(env.elem.iov[0].iov_base, env_hva(&env, ENV_DATA));
	assert_ptr_equal(env.elem.iov[1].iov_base, env_hva(&env, ENV_DATA + 0x1000));
	assert_int_equal(env.elem.iov[1].iov_len, 4096);
	assert_ptr_equal(env.elem.iov[2].iov_base, env_hva(&env, ENV_DATA + 0x3000));
	assert_int_equal(env.elem.iov[2].iov_len, 1);
	assert_false(vdpa_vq_pending(env.vq));

	assert_true(vdpa_vq_complete(env.vq, &env.elem, 4097));
	assert_int_equal(ring_load16(&used_of(&env)->idx), 0);
	assert_true(vdpa_vq_publish(env.vq));
	assert_int_equal(ring_load16(&used_of(&env)->idx), 1);
	assert_int_equal(le32toh(used_of(&env)->ring[0].id), 5);
	assert_int_equal(le32toh(used_of(&env)->ring[0].len), 4097);
	assert_int_equal(vdpa_vq_outstanding(env.vq), 0);
	env_free(&env);
}

static void test_split_complete_cuts_the_length(void **state)
{
	struct vq_env env;

	begin(&env, 2, 0);
	env_desc(&env, ENV_IOVA, 0, ENV_DATA, 16, WRITE, 0);
	env_offer(&env, 0);
	pop_complete(&env, UINT32_MAX);
	assert_int_equal(le32toh(used_of(&env)->ring[0].len), 16);
	env_free(&env);
}

static void test_split_completes_in_any_order(void **state)
{
	struct vdpa_vq_elem elems[3];
	const uint16_t order[] = {1, 2, 0};
	struct vq_env env;

	begin(&env, 4, 0);
	for (uint16_t i = 0; i < 3; i++) {
		env_desc(&env, ENV_IOVA, i, ENV_DATA, 8, WRITE, 0);
		env_offer(&env, i);
		vdpa_vq_elem_init(&elems[i]);
		assert_int_equal(vdpa_vq_pop(env.vq, &elems[i]), 1);
	}
	for (int i = 0; i < 3; i++)
		assert_true(vdpa_vq_complete(env.vq, &elems[order[i]], order[i]));
	assert_null(vdpa_vq_reap(env.vq));
	assert_true(vdpa_vq_publish(env.vq));
	for (int i = 0; i < 3; i++) {
		assert_int_equal(le32toh(used_of(&env)->ring[i].id), order[i]);
		assert_int_equal(le32toh(used_of(&env)->ring[i].len), order[i]);
	}
	env_free(&env);
}

static void test_split_counts(void **state)
{
	const struct vdpa_vq_stats *stats;
	struct vq_env env;

	begin(&env, 4, 0);
	stats = vdpa_vq_stats(env.vq);
	env_desc(&env, ENV_IOVA, 0, ENV_DATA, 100, NEXT, 1);
	env_desc(&env, ENV_IOVA, 1, ENV_DATA, 50, WRITE, 0);
	for (int i = 0; i < 10; i++) {
		env_offer(&env, 0);
		pop_complete(&env, 20);
		assert_true(vdpa_vq_publish(env.vq));
	}
	assert_int_equal(stats->requests, 10);
	assert_int_equal(stats->bytes_out, 1000);
	assert_int_equal(stats->bytes_in, 200);
	assert_int_equal(stats->calls, 10);
	assert_int_equal(stats->broken, 0);
	env_free(&env);
}

static void test_split_skips_empty_pieces(void **state)
{
	struct vq_env env;

	begin(&env, 4, 0);
	env_desc(&env, ENV_IOVA, 0, 0xdead0000, 0, NEXT,
		 1); /* mapped nowhere, but nothing is there */
	env_desc(&env, ENV_IOVA, 1, ENV_DATA, 8, NEXT, 2);
	env_desc(&env, ENV_IOVA, 2, ENV_DATA, 0, WRITE, 0);
	env_offer(&env, 0);
	assert_int_equal(vdpa_vq_pop(env.vq, &env.elem), 1);
	assert_int_equal(env.elem.out_num, 1);
	assert_int_equal(env.elem.in_num, 0);
	assert_int_equal(env.elem.out_len, 8);
	env_free(&env);
}

static void test_split_rejects_a_readable_behind_an_empty_writable(void **state)
{
	struct vq_env env;

	begin(&env, 4, 0);
	env_desc(&env, ENV_IOVA, 0, ENV_DATA, 0, NEXT | WRITE, 1);
	env_desc(&env, ENV_IOVA, 1, ENV_DATA, 8, 0, 0);
	env_offer(&env, 0);
	env_expect_broken(&env, "readable descriptor behind");
	env_free(&env);
}

static void test_split_rejects_a_readable_behind_a_writable(void **state)
{
	struct vq_env env;

	begin(&env, 4, 0);
	env_desc(&env, ENV_IOVA, 0, ENV_DATA, 8, NEXT | WRITE, 1);
	env_desc(&env, ENV_IOVA, 1, ENV_DATA, 8, NEXT, 2);
	env_desc(&env, ENV_IOVA, 2, ENV_DATA, 8, WRITE, 0);
	env_offer(&env, 0);
	env_expect_broken(&env, "readable descriptor behind");
	env_free(&env);
}

static void test_split_rejects_an_index_that_jumps(void **state)
{
	struct vq_env env;

	begin(&env, 8, 0);
	env_desc(&env, ENV_IOVA, 0, ENV_DATA, 8, 0, 0);
	ring_store16(&avail_of(&env)->idx, 9);
	env_expect_broken(&env, "avail index jumps from 0 to 9");
	env_free(&env);

	begin(&env, 8, 0);
	ring_store16(&avail_of(&env)->idx, UINT16_MAX); /* backwards */
	env_expect_broken(&env, "avail index jumps");
	env_free(&env);
}

static void test_split_takes_a_full_ring(void **state)
{
	struct vdpa_vq_elem elems[8];
	struct vq_env env;

	begin(&env, 8, 0);
	for (uint16_t i = 0; i < 8; i++) {
		env_desc(&env, ENV_IOVA, i, ENV_DATA, 8, 0, 0);
		env_offer(&env, i);
	}
	for (int i = 0; i < 8; i++) {
		vdpa_vq_elem_init(&elems[i]);
		assert_int_equal(vdpa_vq_pop(env.vq, &elems[i]), 1);
	}
	/* Each head is under way; a ninth chain cannot be. */
	env_offer(&env, 0);
	env_expect_broken(&env, "more chains");
	/* What is under way can still be given back. */
	assert_true(vdpa_vq_complete(env.vq, &elems[3], 0));
	assert_true(vdpa_vq_publish(env.vq));
	env_free(&env);
}

/* Many at once; what is not simple is left for vdpa_vq_pop(). */
static void test_split_takes_singles_at_once(void **state)
{
	struct vdpa_vq_elem elems[4], *all[4];
	const uint32_t lens[] = {1, 0, 100};
	struct vq_env env;

	begin(&env, 8, 0);
	for (int i = 0; i < 4; i++) {
		vdpa_vq_elem_init(&elems[i]);
		all[i] = &elems[i];
	}
	for (uint16_t i = 0; i < 6; i++)
		env_desc(&env, ENV_IOVA, i, ENV_DATA + 64 * i, 16, i == 4 ? WRITE | NEXT : WRITE,
			 5);
	/* It is not known yet where the memory is. */
	env_offer(&env, 0);
	assert_int_equal(vdpa_vq_pop_singles(env.vq, all, 4), 0);
	pop_complete(&env, 16);
	assert_true(vdpa_vq_publish(env.vq));
	for (uint16_t round = 0; round < 12; round++) {
		const struct vring_used *used = env_hva(&env, ENV_DEVICE);
		uint16_t at = le16toh(used->idx);

		for (uint16_t head = 1; head < 5; head++)
			env_offer(&env, head);
		assert_int_equal(vdpa_vq_pop_singles(env.vq, all, 2), 2);
		assert_int_equal(vdpa_vq_pop_singles(env.vq, all + 2, 2), 1);
		assert_int_equal(vdpa_vq_pop_singles(env.vq, all + 3, 1), 0);
		assert_int_equal(vdpa_vq_outstanding(env.vq), 3);
		assert_int_equal(vdpa_vq_pop(env.vq, all[3]), 1);
		assert_int_equal(all[3]->id, 4);
		assert_int_equal(all[2]->id, 3);
		assert_int_equal(all[2]->in_len, 16);
		assert_ptr_equal(all[2]->iov[0].iov_base, env_hva(&env, ENV_DATA + 192));
		vdpa_vq_complete_many(env.vq, all, lens, 3);
		assert_true(vdpa_vq_complete(env.vq, all[3], 1));
		assert_int_equal(le16toh(used->idx), at);
		assert_true(vdpa_vq_publish(env.vq));
		assert_int_equal(le16toh(used->idx), (uint16_t)(at + 4));
		for (uint16_t i = 0; i < 3; i++) {
			const vring_used_elem_t *entry = &used->ring[(at + i) % 8];

			assert_int_equal(le32toh(entry->id), i + 1);
			assert_int_equal(le32toh(entry->len), i == 2 ? 16 : lens[i]);
		}
	}
	assert_int_equal(vdpa_vq_stats(env.vq)->requests, 49);
	assert_int_equal(vdpa_vq_stats(env.vq)->bytes_in, 16 + 12 * 18);
	env_free(&env);
}

static void test_split_singles_are_checked_as_all(void **state)
{
	struct vdpa_vq_elem elems[5], *all[5];
	struct vq_env env;

	begin(&env, 4, 0);
	for (uint16_t i = 0; i < 5; i++) {
		vdpa_vq_elem_init(&elems[i]);
		all[i] = &elems[i];
		env_desc(&env, ENV_IOVA, i % 4, ENV_DATA, 16, 0, 0);
	}
	env_offer(&env, 0);
	pop_complete(&env, 0);
	for (uint16_t i = 0; i < 4; i++)
		env_offer(&env, i);
	assert_int_equal(vdpa_vq_pop_singles(env.vq, all, 4), 4);
	/* Each head is under way; a fifth chain cannot be. */
	env_offer(&env, 0);
	assert_int_equal(vdpa_vq_pop_singles(env.vq, all + 4, 1), 0);
	env_expect_broken(&env, "more chains");
	env_free(&env);

	begin(&env, 4, 0);
	env_desc(&env, ENV_IOVA, 0, ENV_DATA, 16, 0, 0);
	env_offer(&env, 0);
	pop_complete(&env, 0);
	env_offer(&env, 4);
	assert_int_equal(vdpa_vq_pop_singles(env.vq, all, 1), 0);
	env_expect_broken(&env, "descriptor 4");
	env_free(&env);
}

static void test_split_rejects_a_head_out_of_range(void **state)
{
	struct vq_env env;

	begin(&env, 8, 0);
	env_offer(&env, 8);
	env_expect_broken(&env, "descriptor 8 is linked");
	env_free(&env);
}

static void test_split_rejects_a_next_out_of_range(void **state)
{
	struct vq_env env;

	begin(&env, 8, 0);
	env_desc(&env, ENV_IOVA, 0, ENV_DATA, 8, NEXT, 8);
	env_offer(&env, 0);
	env_expect_broken(&env, "descriptor 8 is linked");
	env_free(&env);
}

static void test_split_rejects_loops(void **state)
{
	struct vq_env env;

	begin(&env, 8, 0);
	env_desc(&env, ENV_IOVA, 0, ENV_DATA, 8, NEXT, 0);
	env_offer(&env, 0);
	env_expect_broken(&env, "loop");
	env_free(&env);

	begin(&env, 8, 0);
	for (uint16_t i = 0; i < 8; i++) /* of empty pieces */
		env_desc(&env, ENV_IOVA, i, ENV_DATA, 0, NEXT, (i + 1) % 8);
	env_offer(&env, 3);
	env_expect_broken(&env, "loop");
	env_free(&env);
}

static void test_split_takes_a_chain_of_all_descriptors(void **state)
{
	struct vq_env env;

	begin(&env, 64, 0);
	for (uint16_t i = 0; i < 64; i++)
		env_desc(&env, ENV_IOVA, i, ENV_DATA + 64 * i, 64, i < 63 ? NEXT : 0, i + 1);
	env_offer(&env, 0);
	assert_int_equal(vdpa_vq_pop(env.vq, &env.elem), 1);
	assert_int_equal(env.elem.out_num, 64);
	assert_int_equal(env.elem.num_desc, 64);
	for (int i = 0; i < 64; i++)
		assert_ptr_equal(env.elem.iov[i].iov_base, env_hva(&env, ENV_DATA + 64 * i));
	env_free(&env);
}

static void test_split_limits_the_pieces(void **state)
{
	struct vq_env env;

	env_init(&env, 16, 0);
	env.cfg.max_segs = 4;
	env_start(&env);
	for (uint16_t i = 0; i < 5; i++)
		env_desc(&env, ENV_IOVA, i, ENV_DATA, 8, i < 4 ? NEXT : 0, i + 1);
	env_offer(&env, 1);
	assert_int_equal(vdpa_vq_pop(env.vq, &env.elem), 1);
	assert_int_equal(env.elem.out_num, 4);
	env_offer(&env, 0);
	env_expect_broken(&env, "too long");
	env_free(&env);
}

static void test_split_limits_the_pieces_of_a_divided_descriptor(void **state)
{
	struct vdpa_iotlb_range ranges[6];
	struct vq_env env;

	env_init(&env, 16, 0);
	env.cfg.max_segs = 4;
	/* Ring memory, then five pages that adjoin in iova but not here. */
	for (int i = 0; i < 6; i++)
		ranges[i] = (struct vdpa_iotlb_range){
			.iova = i ? ENV_DATA + (uint64_t)(i - 1) * 4096 : ENV_IOVA,
			.len = i ? 4096 : ENV_TABLE - ENV_IOVA,
			.hva = env_hva(&env, i ? ENV_DATA + (uint64_t)(i - 1) * 8192 : ENV_IOVA),
			.mem = env.mem,
			.perm = VDPA_PERM_RW,
		};
	vdpa_iotlb_put(env.iotlb);
	assert_int_equal(vdpa_iotlb_alloc(ranges, 6, &env.iotlb, NULL), 0);
	env.cfg.iotlb = env.iotlb;
	env_start(&env);
	env_desc(&env, ENV_IOVA, 0, ENV_DATA, 4 * 4096, 0, 0);
	env_desc(&env, ENV_IOVA, 1, ENV_DATA, 4 * 4096 + 1, 0, 0);
	env_offer(&env, 0);
	assert_int_equal(vdpa_vq_pop(env.vq, &env.elem), 1);
	assert_int_equal(env.elem.out_num, 4);
	env_offer(&env, 1);
	env_expect_broken(&env, "more than 4 pieces");
	env_free(&env);
}

static void test_split_rejects_sums_over_4_gib(void **state)
{
	struct vdpa_iotlb_range range;
	struct vdpa_mem *big;
	struct vq_env env;

	/* Sparse memory: it is mapped, never touched. */
	env_init(&env, 8, 0);
	assert_int_equal(vdpa_mem_alloc("big", 3ull << 30, &big, NULL), 0);
	range = (struct vdpa_iotlb_range){ENV_IOVA, 3ull << 30, vdpa_mem_hva(big), big,
					  VDPA_PERM_RW};
	vdpa_iotlb_put(env.iotlb);
	assert_int_equal(vdpa_iotlb_alloc(&range, 1, &env.iotlb, NULL), 0);
	vdpa_mem_put(env.mem);
	env.mem = big;
	env.cfg.iotlb = env.iotlb;
	env_start(&env);

	/* 4 GiB in both directions together, then one byte more. */
	env_desc(&env, ENV_IOVA, 0, ENV_IOVA, 1u << 31, NEXT, 1);
	env_desc(&env, ENV_IOVA, 1, ENV_IOVA, 1u << 31, WRITE, 0);
	env_offer(&env, 0);
	assert_int_equal(vdpa_vq_pop(env.vq, &env.elem), 1);
	assert_int_equal(env.elem.out_len, 1u << 31);
	assert_int_equal(env.elem.in_len, 1u << 31);
	env_desc(&env, ENV_IOVA, 1, ENV_IOVA, (1u << 31) + 1, WRITE, 0);
	env_offer(&env, 0);
	env_expect_broken(&env, "4 GiB");
	vdpa_vq_stop(env.vq, NULL);

	/* Both in one direction: the sum would be 0 in 32 bits. */
	env.cfg.state.split.avail_index = env.avail;
	env_desc(&env, ENV_IOVA, 1, ENV_IOVA, 1u << 31, 0, 0);
	env_start(&env);
	env_offer(&env, 0);
	assert_int_equal(vdpa_vq_pop(env.vq, &env.elem), -EPROTO);
	assert_non_null(strstr(vdpa_vq_broken(env.vq), "4 GiB"));
	env_free(&env);
}

/* ------------------------------------------------------------------ translation */

static void test_split_rejects_a_piece_that_wraps(void **state)
{
	struct vq_env env;

	begin(&env, 8, 0);
	env_desc(&env, ENV_IOVA, 0, UINT64_MAX - 3, 8, 0, 0);
	env_offer(&env, 0);
	env_expect_broken(&env, "wraps");
	env_free(&env);
}

static void expect_miss(struct vq_env *env, uint64_t iova, uint32_t perm)
{
	uint64_t miss = 0;
	uint32_t want = 0;

	assert_int_equal(vdpa_vq_pop(env->vq, &env->elem), -EFAULT);
	vdpa_vq_miss(env->vq, &miss, &want);
	assert_int_equal(miss, iova);
	assert_int_equal(want, perm);
	assert_int_equal(vdpa_vq_outstanding(env->vq), 0);
	assert_true(vdpa_vq_pending(env->vq));
	assert_null(vdpa_vq_broken(env->vq));
}

static void test_split_parks_on_a_miss(void **state)
{
	struct vdpa_iotlb_range ranges[2];
	struct vdpa_iotlb *more;
	struct vdpa_mem *mem;
	struct vq_env env;

	begin(&env, 8, 0);
	env_desc(&env, ENV_IOVA, 0, ENV_DATA, 8, NEXT, 1);
	env_desc(&env, ENV_IOVA, 1, ENV_IOVA + ENV_SIZE - 4, 8, WRITE, 0); /* crosses the end */
	env_offer(&env, 0);
	expect_miss(&env, ENV_IOVA + ENV_SIZE, VDPA_PERM_WRITE);
	expect_miss(&env, ENV_IOVA + ENV_SIZE, VDPA_PERM_WRITE);

	/* The driver maps it; the same chain goes through. */
	assert_int_equal(vdpa_mem_alloc("more", 4096, &mem, NULL), 0);
	ranges[0] = *vdpa_iotlb_find(env.iotlb, ENV_IOVA);
	ranges[1] = (struct vdpa_iotlb_range){ENV_IOVA + ENV_SIZE, 4096, vdpa_mem_hva(mem), mem,
					      VDPA_PERM_WRITE};
	assert_int_equal(vdpa_iotlb_alloc(ranges, 2, &more, NULL), 0);
	vdpa_mem_put(mem);
	assert_int_equal(vdpa_vq_set_map(env.vq, more, NULL), 0);
	vdpa_iotlb_put(more);
	assert_int_equal(vdpa_vq_pop(env.vq, &env.elem), 1);
	assert_int_equal(env.elem.in_len, 8);
	assert_int_equal(env.elem.in_num, 2);
	assert_int_equal(env.elem.iov[1].iov_len, 4);
	env_free(&env);
}

static void test_split_needs_the_right(void **state)
{
	struct vdpa_iotlb_range ranges[3];
	struct vq_env env;

	env_init(&env, 8, RING_F_INDIRECT_DESC);
	for (int i = 0; i < 3; i++)
		ranges[i] = (struct vdpa_iotlb_range){
			.iova = i ? ENV_DATA + (uint64_t)(i - 1) * 4096 : ENV_IOVA,
			.len = i ? 4096 : ENV_TABLE - ENV_IOVA,
			.hva = env_hva(&env, i ? ENV_DATA + (uint64_t)(i - 1) * 4096 : ENV_IOVA),
			.mem = env.mem,
			.perm = i ? (uint32_t)i : VDPA_PERM_RW, /* second READ, third WRITE */
		};
	vdpa_iotlb_put(env.iotlb);
	assert_int_equal(vdpa_iotlb_alloc(ranges, 3, &env.iotlb, NULL), 0);
	env.cfg.iotlb = env.iotlb;
	env_start(&env);

	env_desc(&env, ENV_IOVA, 0, ENV_DATA + 8, 8, WRITE, 0);
	env_offer(&env, 0);
	expect_miss(&env, ENV_DATA + 8, VDPA_PERM_WRITE);
	/* Also when the range with the wrong right is the one that hit last. */
	env_desc(&env, ENV_IOVA, 0, ENV_DATA + 8, 8, NEXT, 1);
	env_desc(&env, ENV_IOVA, 1, ENV_DATA + 16, 8, WRITE, 0);
	expect_miss(&env, ENV_DATA + 16, VDPA_PERM_WRITE);
	env_desc(&env, ENV_IOVA, 0, ENV_DATA + 4096, 8, 0, 0);
	expect_miss(&env, ENV_DATA + 4096, VDPA_PERM_READ);
	env_desc(&env, ENV_IOVA, 0, ENV_DATA + 4092, 8, 0, 0);
	expect_miss(&env, ENV_DATA + 4096, VDPA_PERM_READ);
	env_desc(&env, ENV_IOVA, 0, ENV_DATA + 4096, 16, INDIRECT, 0);
	expect_miss(&env, ENV_DATA + 4096, VDPA_PERM_READ);
	env_free(&env);
}

static void test_split_divides_at_range_ends(void **state)
{
	uint64_t iova = ENV_DATA + 100, skip = 0;
	struct vq_env env;

	/* Ranges of 4 KiB; each second one is somewhere else in this process. */
	struct vdpa_iotlb_range ranges[11];

	env_init(&env, 8, 0);
	for (uint64_t i = 0; i < 11; i++)
		ranges[i] = (struct vdpa_iotlb_range){
			.iova = i ? ENV_DATA + (i - 1) * 4096 : ENV_IOVA,
			.len = i ? 4096 : ENV_TABLE - ENV_IOVA,
			.hva = env_hva(&env, i ? ENV_DATA + ((i - 1) ^ 2) * 4096 : ENV_IOVA),
			.mem = env.mem,
			.perm = VDPA_PERM_RW,
		};
	vdpa_iotlb_put(env.iotlb);
	assert_int_equal(vdpa_iotlb_alloc(ranges, 11, &env.iotlb, NULL), 0);
	env.cfg.iotlb = env.iotlb;
	env_start(&env);
	env_desc(&env, ENV_IOVA, 0, iova, 30000, 0, 0);
	env_offer(&env, 0);
	assert_int_equal(vdpa_vq_pop(env.vq, &env.elem), 1);
	assert_int_equal(env.elem.out_len, 30000);
	/* Pages 0 1 2 3 4 5 6 7 are at 2 3 0 1 6 7 4 5: pairs adjoin here as well and are one
	 * piece. */
	assert_int_equal(env.elem.out_num, 4);
	for (int i = 0; i < env.elem.out_num; i++) {
		const struct iovec *iov = &env.elem.iov[i];

		for (size_t off = 0; off < iov->iov_len; off++, skip++) {
			const struct vdpa_iotlb_range *range =
				vdpa_iotlb_find(env.iotlb, iova + skip);

			assert_ptr_equal((uint8_t *)iov->iov_base + off,
					 range->hva + (iova + skip - range->iova));
		}
	}
	assert_int_equal(skip, 30000);
	env_free(&env);
}

static void test_split_chain_across_many_ranges(void **state)
{
	struct vdpa_iotlb_range ranges[600];
	struct vq_env env;
	uint32_t seed = 1;

	/* 599 pages, scattered here by a permutation, behind the ring. */
	env_init(&env, 1024, 0);
	ranges[0] = (struct vdpa_iotlb_range){ENV_IOVA, ENV_TABLE - ENV_IOVA,
					      env_hva(&env, ENV_IOVA), env.mem, VDPA_PERM_RW};
	for (uint64_t i = 1; i < 600; i++)
		ranges[i] = (struct vdpa_iotlb_range){
			.iova = ENV_DATA + i * 0x100000,
			.len = 2048,
			.hva = env_hva(&env, ENV_DATA + (i * 101 % 599) * 2048),
			.mem = env.mem,
			.perm = VDPA_PERM_RW,
		};
	vdpa_iotlb_put(env.iotlb);
	assert_int_equal(vdpa_iotlb_alloc(ranges, 600, &env.iotlb, NULL), 0);
	env.cfg.iotlb = env.iotlb;
	env_start(&env);
	for (uint16_t i = 0; i < 599; i++) {
		uint32_t off = env_random(&seed) % 2048;

		ranges[i + 1].hva += off;
		ranges[i + 1].len -= off;
		env_desc(&env, ENV_IOVA, i, ranges[i + 1].iova + off, 2048 - off,
			 WRITE | (i < 598 ? NEXT : 0), i + 1);
	}
	env_offer(&env, 0);
	assert_int_equal(vdpa_vq_pop(env.vq, &env.elem), 1);
	assert_int_equal(env.elem.in_num, 599);
	for (uint16_t i = 0; i < 599; i++) {
		assert_ptr_equal(env.elem.iov[i].iov_base, ranges[i + 1].hva);
		assert_int_equal(env.elem.iov[i].iov_len, ranges[i + 1].len);
	}
	env_free(&env);
}

static void test_split_set_map_moves_the_ring(void **state)
{
	struct vdpa_iotlb_range range;
	struct vdpa_extack ack = {0};
	struct vdpa_iotlb *map;
	struct vdpa_mem *mem;
	struct vq_env env;

	begin(&env, 8, 0);
	env_desc(&env, ENV_IOVA, 0, ENV_DATA, 8, 0, 0);
	env_offer(&env, 0);
	pop_complete(&env, 0);

	/* A map without the ring is refused, and changes nothing. */
	assert_int_equal(vdpa_iotlb_alloc(NULL, 0, &map, NULL), 0);
	assert_int_equal(vdpa_vq_set_map(env.vq, map, &ack), -EFAULT);
	assert_non_null(strstr(ack.msg, "descriptor area"));
	vdpa_iotlb_put(map);
	assert_int_equal(vdpa_vq_set_map(env.vq, NULL, NULL), -EFAULT);
	env_offer(&env, 0);
	pop_complete(&env, 0);

	/* The same content elsewhere. */
	assert_int_equal(vdpa_mem_alloc("copy", ENV_SIZE, &mem, NULL), 0);
	memcpy(vdpa_mem_hva(mem), vdpa_mem_hva(env.mem), ENV_SIZE);
	range = (struct vdpa_iotlb_range){ENV_IOVA, ENV_SIZE, vdpa_mem_hva(mem), mem, VDPA_PERM_RW};
	assert_int_equal(vdpa_iotlb_alloc(&range, 1, &map, NULL), 0);
	assert_int_equal(vdpa_vq_set_map(env.vq, map, NULL), 0);
	vdpa_iotlb_put(map);
	vdpa_mem_put(env.mem);
	env.mem = mem;
	env_offer(&env, 0);
	assert_int_equal(vdpa_vq_pop(env.vq, &env.elem), 1);
	assert_ptr_equal(env.elem.iov[0].iov_base, env_hva(&env, ENV_DATA));
	assert_true(vdpa_vq_complete(env.vq, &env.elem, 0));
	vdpa_vq_publish(env.vq);
	assert_int_equal(ring_load16(&used_of(&env)->idx), 3);
	env_free(&env);
}

/* ------------------------------------------------------------------ indirect tables */

static void test_split_takes_a_table(void **state)
{
	struct vq_env env;

	begin(&env, 4, RING_F_INDIRECT_DESC);
	env_desc(&env, ENV_IOVA, 1, ENV_TABLE, 10 * 16, INDIRECT | WRITE, 0); /* WRITE is ignored */
	env_desc(&env, ENV_TABLE, 0, ENV_DATA, 16, NEXT, 9);
	env_desc(&env, ENV_TABLE, 9, ENV_DATA + 100, 200, NEXT | WRITE, 4);
	env_desc(&env, ENV_TABLE, 4, ENV_DATA + 300, 1, WRITE, 77);
	env_offer(&env, 1);
	assert_int_equal(vdpa_vq_pop(env.vq, &env.elem), 1);
	assert_int_equal(env.elem.out_num, 1);
	assert_int_equal(env.elem.in_num, 2);
	assert_int_equal(env.elem.in_len, 201);
	assert_int_equal(env.elem.num_desc, 1);
	assert_ptr_equal(env.elem.iov[2].iov_base, env_hva(&env, ENV_DATA + 300));
	env_free(&env);
}

static void test_split_takes_a_table_of_any_alignment(void **state)
{
	struct vq_env env;

	begin(&env, 4, RING_F_INDIRECT_DESC);
	env_desc(&env, ENV_IOVA, 0, ENV_TABLE + 3, 2 * 16, INDIRECT, 0);
	env_desc(&env, ENV_TABLE + 3, 0, ENV_DATA, 16, NEXT, 1);
	env_desc(&env, ENV_TABLE + 3, 1, ENV_DATA, 8, 0, 0);
	env_offer(&env, 0);
	assert_int_equal(vdpa_vq_pop(env.vq, &env.elem), 1);
	assert_int_equal(env.elem.out_len, 24);
	env_free(&env);
}

static void test_split_takes_a_table_behind_a_chain(void **state)
{
	struct vq_env env;

	begin(&env, 2, RING_F_INDIRECT_DESC);
	env_desc(&env, ENV_IOVA, 0, ENV_DATA, 8, NEXT, 1);
	env_desc(&env, ENV_IOVA, 1, ENV_TABLE, 3 * 16, INDIRECT, 0);
	env_desc(&env, ENV_TABLE, 0, ENV_DATA, 8, NEXT, 1);
	env_desc(&env, ENV_TABLE, 1, ENV_DATA, 8, NEXT, 2);
	env_desc(&env, ENV_TABLE, 2, ENV_DATA, 8, WRITE, 0);
	env_offer(&env, 0);
	assert_int_equal(vdpa_vq_pop(env.vq, &env.elem), 1);
	assert_int_equal(env.elem.out_num, 3);
	assert_int_equal(env.elem.in_num, 1);
	assert_int_equal(env.elem.num_desc, 2);
	env_free(&env);
}

static void test_split_takes_a_table_over_range_ends(void **state)
{
	struct vdpa_iotlb_range ranges[3];
	struct vq_env env;

	/* Two ranges meet at byte 24 of the table, and are apart here. */
	env_init(&env, 4, RING_F_INDIRECT_DESC);
	ranges[0] = (struct vdpa_iotlb_range){ENV_IOVA, ENV_TABLE + 24 - ENV_IOVA,
					      env_hva(&env, ENV_IOVA), env.mem, VDPA_PERM_RW};
	ranges[1] = (struct vdpa_iotlb_range){ENV_TABLE + 24, 4096, env_hva(&env, ENV_TABLE + 8192),
					      env.mem, VDPA_PERM_RW};
	ranges[2] = (struct vdpa_iotlb_range){ENV_DATA, 4096, env_hva(&env, ENV_DATA), env.mem,
					      VDPA_PERM_RW};
	vdpa_iotlb_put(env.iotlb);
	assert_int_equal(vdpa_iotlb_alloc(ranges, 3, &env.iotlb, NULL), 0);
	env.cfg.iotlb = env.iotlb;
	env_start(&env);
	env_desc(&env, ENV_IOVA, 0, ENV_TABLE, 3 * 16, INDIRECT, 0);
	env_desc(&env, ENV_TABLE, 0, ENV_DATA, 16, NEXT, 1);
	env_desc(&env, ENV_TABLE, 1, ENV_DATA + 100, 200, NEXT | WRITE, 2);
	env_desc(&env, ENV_TABLE, 2, ENV_DATA + 300, 1, WRITE, 0);
	memcpy(env_hva(&env, ENV_TABLE + 8192), env_hva(&env, ENV_TABLE + 24), 24);
	memset(env_hva(&env, ENV_TABLE + 24), 0xff, 24);
	env_offer(&env, 0);
	assert_int_equal(vdpa_vq_pop(env.vq, &env.elem), 1);
	assert_int_equal(env.elem.out_len, 16);
	assert_int_equal(env.elem.in_len, 201);
	assert_int_equal(env.elem.in_num, 2);

	/* A table whose end is not mapped is a miss, the rest of it notwithstanding. */
	env_desc(&env, ENV_IOVA, 1, ENV_TABLE + 24 + 4096 - 16, 2 * 16, INDIRECT, 0);
	env_desc(&env, ENV_TABLE + 8192 + 4096 - 16, 0, ENV_DATA, 8, NEXT, 1);
	env_offer(&env, 1);
	assert_int_equal(vdpa_vq_pop(env.vq, &env.elem), -EFAULT);
	env_free(&env);
}

static void test_split_rejects_a_table_that_was_not_negotiated(void **state)
{
	struct vq_env env;

	begin(&env, 4, 0);
	env_desc(&env, ENV_IOVA, 0, ENV_TABLE, 16, INDIRECT, 0);
	env_offer(&env, 0);
	env_expect_broken(&env, "not negotiated");
	env_free(&env);
}

static void test_split_rejects_a_table_with_next(void **state)
{
	struct vq_env env;

	begin(&env, 4, RING_F_INDIRECT_DESC);
	env_desc(&env, ENV_IOVA, 0, ENV_TABLE, 16, INDIRECT | NEXT, 1);
	env_desc(&env, ENV_TABLE, 0, ENV_DATA, 16, 0, 0);
	env_offer(&env, 0);
	env_expect_broken(&env, "followed by another");
	env_free(&env);
}

static void test_split_rejects_a_table_in_a_table(void **state)
{
	struct vq_env env;

	begin(&env, 4, RING_F_INDIRECT_DESC);
	env_desc(&env, ENV_IOVA, 0, ENV_TABLE, 16, INDIRECT, 0);
	env_desc(&env, ENV_TABLE, 0, ENV_TABLE, 16, INDIRECT, 0);
	env_offer(&env, 0);
	env_expect_broken(&env, "inside a table");
	env_free(&env);
}

static void test_split_rejects_tables_of_bad_size(void **state)
{
	const uint32_t bad[] = {0, 8, 15, 17, 40, 16 * (VDPA_VQ_NUM_MAX + 1), UINT32_MAX & ~15u};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct vq_env env;

		begin(&env, 4, RING_F_INDIRECT_DESC);
		env_desc(&env, ENV_IOVA, 0, ENV_TABLE, bad[i], INDIRECT, 0);
		env_offer(&env, 0);
		env_expect_broken(&env, "indirect table of");
		env_free(&env);
	}
}

static void test_split_rejects_a_table_that_wraps(void **state)
{
	struct vq_env env;

	begin(&env, 4, RING_F_INDIRECT_DESC);
	env_desc(&env, ENV_IOVA, 0, UINT64_MAX - 15, 32, INDIRECT, 0);
	env_offer(&env, 0);
	env_expect_broken(&env, "not wrap");
	env_free(&env);
}

static void test_split_rejects_a_link_out_of_the_table(void **state)
{
	struct vq_env env;

	begin(&env, 4, RING_F_INDIRECT_DESC);
	env_desc(&env, ENV_IOVA, 0, ENV_TABLE, 32, INDIRECT, 0);
	env_desc(&env, ENV_TABLE, 0, ENV_DATA, 16, NEXT, 2);
	env_offer(&env, 0);
	env_expect_broken(&env, "descriptor 2 is linked, but there are only 2");
	env_free(&env);
}

static void test_split_rejects_a_loop_in_a_table(void **state)
{
	struct vq_env env;

	begin(&env, 4, RING_F_INDIRECT_DESC);
	env_desc(&env, ENV_IOVA, 0, ENV_TABLE, 32, INDIRECT, 0);
	env_desc(&env, ENV_TABLE, 0, ENV_DATA, 16, NEXT, 1);
	env_desc(&env, ENV_TABLE, 1, ENV_DATA, 16, NEXT, 0);
	env_offer(&env, 0);
	env_expect_broken(&env, "loop");
	env_free(&env);
}

static void test_split_limits_the_pieces_of_a_table(void **state)
{
	struct vq_env env;

	begin(&env, 4, RING_F_INDIRECT_DESC);
	env_desc(&env, ENV_IOVA, 0, ENV_TABLE, 16 * VDPA_VQ_SEGS_MAX, INDIRECT, 0);
	env_desc(&env, ENV_IOVA, 1, ENV_TABLE, 16 * (VDPA_VQ_SEGS_MAX + 1), INDIRECT, 0);
	for (uint16_t i = 0; i < VDPA_VQ_SEGS_MAX; i++)
		env_desc(&env, ENV_TABLE, i, ENV_DATA, 1, i < VDPA_VQ_SEGS_MAX - 1 ? NEXT : 0,
			 i + 1);
	env_offer(&env, 0);
	assert_int_equal(vdpa_vq_pop(env.vq, &env.elem), 1);
	assert_int_equal(env.elem.out_num, VDPA_VQ_SEGS_MAX);
	env_desc(&env, ENV_TABLE, VDPA_VQ_SEGS_MAX - 1, ENV_DATA, 1, NEXT, VDPA_VQ_SEGS_MAX);
	env_desc(&env, ENV_TABLE, VDPA_VQ_SEGS_MAX, ENV_DATA, 1, 0, 0);
	env_offer(&env, 1);
	env_expect_broken(&env, "too long");
	env_free(&env);
}

static void test_split_lack_of_memory_consumes_nothing(void **state)
{
	struct vq_env env;

	begin(&env, 64, 0);
	for (uint16_t i = 0; i < 64; i++)
		env_desc(&env, ENV_IOVA, i, ENV_DATA + 64 * i, 64, i < 63 ? NEXT : 0, i + 1);
	env_offer(&env, 0);
	for (unsigned n = 1;; n++) {
		int got;

		fail_alloc_nth(n);
		got = vdpa_vq_pop(env.vq, &env.elem);
		if (!fail_alloc_done()) {
			assert_int_equal(got, 1);
			break;
		}
		assert_int_equal(got, -ENOMEM);
		assert_int_equal(vdpa_vq_outstanding(env.vq), 0);
	}
	assert_int_equal(env.elem.out_num, 64);
	for (int i = 0; i < 64; i++)
		assert_ptr_equal(env.elem.iov[i].iov_base, env_hva(&env, ENV_DATA + 64 * i));
	/* The grown element needs no memory the next time. */
	assert_true(vdpa_vq_complete(env.vq, &env.elem, 0));
	env_offer(&env, 0);
	fail_alloc_nth(1);
	assert_int_equal(vdpa_vq_pop(env.vq, &env.elem), 1);
	assert_false(fail_alloc_done());
	env_free(&env);
}

/* ------------------------------------------------------------------ notifications */

static void test_split_respects_no_interrupt(void **state)
{
	struct vq_env env;

	begin(&env, 4, 0);
	env_desc(&env, ENV_IOVA, 0, ENV_DATA, 8, 0, 0);
	ring_store16(&avail_of(&env)->flags, VRING_AVAIL_F_NO_INTERRUPT);
	env_offer(&env, 0);
	pop_complete(&env, 0);
	assert_false(vdpa_vq_publish(env.vq));
	ring_store16(&avail_of(&env)->flags, 0);
	env_offer(&env, 0);
	pop_complete(&env, 0);
	assert_true(vdpa_vq_publish(env.vq));
	assert_false(vdpa_vq_publish(env.vq)); /* nothing new */
	env_free(&env);
}

static void test_split_calls_at_the_event_index(void **state)
{
	struct vring_avail *avail;
	struct vq_env env;

	begin(&env, 4, RING_F_EVENT_IDX);
	avail = avail_of(&env);
	env_desc(&env, ENV_IOVA, 0, ENV_DATA, 8, 0, 0);
	ring_store16(&avail->flags, VRING_AVAIL_F_NO_INTERRUPT); /* without meaning here */
	ring_store16(&avail->ring[4], 2);
	for (int i = 0; i < 6; i++) {
		env_offer(&env, 0);
		pop_complete(&env, 0);
		assert_int_equal(vdpa_vq_publish(env.vq), i == 2);
	}
	/* Within a batch. */
	ring_store16(&avail->ring[4], 8);
	for (int i = 6; i < 10; i++) {
		env_offer(&env, 0);
		pop_complete(&env, 0);
	}
	assert_true(vdpa_vq_publish(env.vq));
	env_free(&env);
}

static void test_split_event_index_wraps(void **state)
{
	struct vring_avail *avail;
	struct vq_env env;

	env_init(&env, 4, RING_F_EVENT_IDX);
	avail = avail_of(&env);
	env.avail = 0xfffc;
	env.cfg.state.split.avail_index = 0xfffc;
	ring_store16(&avail->idx, 0xfffc);
	ring_store16(&used_of(&env)->idx, 0xfffc);
	env_start(&env);
	env_desc(&env, ENV_IOVA, 0, ENV_DATA, 8, 0, 0);
	for (unsigned i = 0; i < 8; i++) {
		ring_store16(&avail->ring[4], 1); /* two behind the wrap */
		env_offer(&env, 0);
		pop_complete(&env, 0);
		assert_int_equal(vdpa_vq_publish(env.vq), i == 5);
	}
	assert_int_equal(ring_load16(&used_of(&env)->idx), 4);
	env_free(&env);
}

static void test_split_enable_kick_looks_again(void **state)
{
	struct vq_env env;

	begin(&env, 4, 0);
	env_desc(&env, ENV_IOVA, 0, ENV_DATA, 8, 0, 0);
	vdpa_vq_disable_kick(env.vq);
	assert_int_equal(ring_load16(&used_of(&env)->flags), VRING_USED_F_NO_NOTIFY);
	assert_false(vdpa_vq_enable_kick(env.vq));
	assert_int_equal(ring_load16(&used_of(&env)->flags), 0);
	env_offer(&env, 0);
	assert_true(vdpa_vq_enable_kick(env.vq));
	env_free(&env);
}

static void test_split_enable_kick_sets_the_event_index(void **state)
{
	const uint16_t *event;
	struct vq_env env;

	begin(&env, 4, RING_F_EVENT_IDX);
	event = (const uint16_t *)&used_of(&env)->ring[4];
	env_desc(&env, ENV_IOVA, 0, ENV_DATA, 8, 0, 0);
	for (int i = 0; i < 3; i++) {
		env_offer(&env, 0);
		pop_complete(&env, 0);
	}
	assert_int_equal(ring_load16(event), 0);
	assert_false(vdpa_vq_enable_kick(env.vq));
	assert_int_equal(ring_load16(event), 3);
	vdpa_vq_disable_kick(env.vq);
	assert_int_equal(ring_load16(&used_of(&env)->flags), 0);
	env_offer(&env, 0);
	assert_true(vdpa_vq_enable_kick(env.vq));
	env_free(&env);
}

/* ------------------------------------------------------------------ in order */

static void test_split_in_order_holds_back(void **state)
{
	struct vdpa_vq_elem elems[4];
	struct vq_env env;

	begin(&env, 4, RING_F_IN_ORDER);
	for (uint16_t i = 0; i < 4; i++) {
		env_desc(&env, ENV_IOVA, i, ENV_DATA, 8, WRITE, 0);
		env_offer(&env, i);
		vdpa_vq_elem_init(&elems[i]);
		assert_int_equal(vdpa_vq_pop(env.vq, &elems[i]), 1);
	}
	assert_false(vdpa_vq_complete(env.vq, &elems[1], 1));
	assert_false(vdpa_vq_complete(env.vq, &elems[3], 3));
	assert_false(vdpa_vq_publish(env.vq));
	assert_null(vdpa_vq_reap(env.vq));
	assert_int_equal(vdpa_vq_outstanding(env.vq), 4);
	assert_true(vdpa_vq_complete(env.vq, &elems[0], 5));
	assert_ptr_equal(vdpa_vq_reap(env.vq), &elems[1]);
	assert_null(vdpa_vq_reap(env.vq));
	assert_int_equal(vdpa_vq_outstanding(env.vq), 2);
	assert_true(vdpa_vq_publish(env.vq));
	assert_int_equal(ring_load16(&used_of(&env)->idx), 2);
	assert_true(vdpa_vq_complete(env.vq, &elems[2], 2));
	assert_ptr_equal(vdpa_vq_reap(env.vq), &elems[3]);
	assert_true(vdpa_vq_publish(env.vq));
	for (uint32_t i = 0; i < 4; i++) {
		assert_int_equal(le32toh(used_of(&env)->ring[i].id), i);
		assert_int_equal(le32toh(used_of(&env)->ring[i].len), i ? i : 5);
	}
	/* And again from an empty queue. */
	env_offer(&env, 0);
	assert_int_equal(vdpa_vq_pop(env.vq, &elems[0]), 1);
	assert_true(vdpa_vq_complete(env.vq, &elems[0], 0));
	assert_null(vdpa_vq_reap(env.vq));
	env_free(&env);
}

static void test_split_in_order_stop_takes_nothing_away(void **state)
{
	struct vdpa_vq_elem elems[3];
	struct vq_env env;

	begin(&env, 4, RING_F_IN_ORDER);
	for (uint16_t i = 0; i < 3; i++) {
		env_desc(&env, ENV_IOVA, i, ENV_DATA + i, 8, WRITE, 0);
		env_offer(&env, i);
		vdpa_vq_elem_init(&elems[i]);
		assert_int_equal(vdpa_vq_pop(env.vq, &elems[i]), 1);
	}
	assert_false(vdpa_vq_complete(env.vq, &elems[1], 1));
	assert_true(vdpa_vq_complete(env.vq, &elems[0], 1));
	vdpa_vq_stop(env.vq, &env.cfg.state);
	assert_int_equal(ring_load16(&used_of(&env)->idx), 2); /* stop publishes */
	assert_int_equal(env.cfg.state.split.avail_index, 2);
	assert_true(vdpa_vq_complete(env.vq, &elems[2], 1)); /* too late */
	env_start(&env);
	assert_true(vdpa_vq_publish(env.vq)); /* the call that was due */
	assert_int_equal(vdpa_vq_pop(env.vq, &env.elem), 1);
	assert_int_equal(env.elem.id, 2);
	assert_int_equal(vdpa_vq_pop(env.vq, &env.elem), 0);
	env_free(&env);
}

/* Two chains are taken and put back, then all three come in their order. */
static void untake(uint64_t features)
{
	struct vdpa_vq_elem elems[3];
	struct vq_env env;

	begin(&env, 4, features);
	for (uint16_t i = 0; i < 3; i++) {
		env_desc(&env, ENV_IOVA, i, ENV_DATA, 16, WRITE, 0);
		env_offer(&env, i);
		vdpa_vq_elem_init(&elems[i]);
	}
	for (int i = 0; i < 3; i++)
		assert_int_equal(vdpa_vq_pop(env.vq, &elems[i]), 1);
	assert_true(vdpa_vq_unpop(env.vq, &elems[2]));
	assert_true(vdpa_vq_unpop(env.vq, &elems[1]));
	assert_int_equal(vdpa_vq_outstanding(env.vq), 1);
	assert_true(vdpa_vq_pending(env.vq));
	for (int i = 1; i < 3; i++) {
		assert_int_equal(vdpa_vq_pop(env.vq, &elems[i]), 1);
		assert_int_equal(elems[i].id, i);
	}
	for (int i = 0; i < 3; i++)
		assert_true(vdpa_vq_complete(env.vq, &elems[i], 1));
	vdpa_vq_publish(env.vq);
	assert_int_equal(ring_load16(&used_of(&env)->idx), 3);
	env_free(&env);
}

static void test_split_unpop(void **state)
{
	untake(0);
}

static void test_split_unpop_in_order(void **state)
{
	untake(RING_F_IN_ORDER);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_split_start_checks_the_size),
		cmocka_unit_test(test_split_start_checks_alignment),
		cmocka_unit_test(test_split_start_checks_the_mapping),
		cmocka_unit_test(test_split_start_rejects_a_crooked_mapping),
		cmocka_unit_test(test_split_start_twice_is_busy),
		cmocka_unit_test(test_split_start_needs_a_split_state),
		cmocka_unit_test(test_split_stop_and_start_again),
		cmocka_unit_test(test_split_idle_queue_yields_nothing),
		cmocka_unit_test(test_split_pop_takes_a_chain),
		cmocka_unit_test(test_split_complete_cuts_the_length),
		cmocka_unit_test(test_split_completes_in_any_order),
		cmocka_unit_test(test_split_counts),
		cmocka_unit_test(test_split_skips_empty_pieces),
		cmocka_unit_test(test_split_rejects_a_readable_behind_an_empty_writable),
		cmocka_unit_test(test_split_rejects_a_readable_behind_a_writable),
		cmocka_unit_test(test_split_rejects_an_index_that_jumps),
		cmocka_unit_test(test_split_takes_a_full_ring),
		cmocka_unit_test(test_split_takes_singles_at_once),
		cmocka_unit_test(test_split_singles_are_checked_as_all),
		cmocka_unit_test(test_split_rejects_a_head_out_of_range),
		cmocka_unit_test(test_split_rejects_a_next_out_of_range),
		cmocka_unit_test(test_split_rejects_loops),
		cmocka_unit_test(test_split_takes_a_chain_of_all_descriptors),
		cmocka_unit_test(test_split_limits_the_pieces),
		cmocka_unit_test(test_split_limits_the_pieces_of_a_divided_descriptor),
		cmocka_unit_test(test_split_rejects_sums_over_4_gib),
		cmocka_unit_test(test_split_rejects_a_piece_that_wraps),
		cmocka_unit_test(test_split_parks_on_a_miss),
		cmocka_unit_test(test_split_needs_the_right),
		cmocka_unit_test(test_split_divides_at_range_ends),
		cmocka_unit_test(test_split_chain_across_many_ranges),
		cmocka_unit_test(test_split_set_map_moves_the_ring),
		cmocka_unit_test(test_split_takes_a_table),
		cmocka_unit_test(test_split_takes_a_table_of_any_alignment),
		cmocka_unit_test(test_split_takes_a_table_behind_a_chain),
		cmocka_unit_test(test_split_takes_a_table_over_range_ends),
		cmocka_unit_test(test_split_rejects_a_table_that_was_not_negotiated),
		cmocka_unit_test(test_split_rejects_a_table_with_next),
		cmocka_unit_test(test_split_rejects_a_table_in_a_table),
		cmocka_unit_test(test_split_rejects_tables_of_bad_size),
		cmocka_unit_test(test_split_rejects_a_table_that_wraps),
		cmocka_unit_test(test_split_rejects_a_link_out_of_the_table),
		cmocka_unit_test(test_split_rejects_a_loop_in_a_table),
		cmocka_unit_test(test_split_limits_the_pieces_of_a_table),
		cmocka_unit_test(test_split_lack_of_memory_consumes_nothing),
		cmocka_unit_test(test_split_respects_no_interrupt),
		cmocka_unit_test(test_split_calls_at_the_event_index),
		cmocka_unit_test(test_split_event_index_wraps),
		cmocka_unit_test(test_split_enable_kick_looks_again),
		cmocka_unit_test(test_split_enable_kick_sets_the_event_index),
		cmocka_unit_test(test_split_in_order_holds_back),
		cmocka_unit_test(test_split_in_order_stop_takes_nothing_away),
		cmocka_unit_test(test_split_unpop),
		cmocka_unit_test(test_split_unpop_in_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
