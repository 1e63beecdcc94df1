/* SPDX-License-Identifier: BSD-2-Clause */
#include "fail_alloc.h"
#include "vq_env.h"

#define PAGE      4096u
#define LOG_BYTES 1024u /* for 8192 pages, 32 MiB */

struct log_env {
	struct vdpa_mem *mem; /* borrowed: the log has the reference */
	struct vdpa_dirty_log *log;
	uint8_t *bits;
};

static void log_init(struct log_env *l)
{
	assert_int_equal(vdpa_mem_alloc("log", LOG_BYTES, &l->mem, NULL), 0);
	l->bits = vdpa_mem_hva(l->mem);
	assert_int_equal(vdpa_dirty_log_alloc(l->mem, &l->log, NULL), 0);
}

static bool log_has(const struct log_env *l, uint64_t addr)
{
	return l->bits[addr / PAGE / 8] & 1u << addr / PAGE % 8;
}

static unsigned log_count(const struct log_env *l)
{
	unsigned num = 0;

	for (size_t i = 0; i < LOG_BYTES; i++)
		num += (unsigned)__builtin_popcount(l->bits[i]);
	return num;
}

static void expect_mark(uint64_t addr, uint64_t len, uint64_t first, uint64_t last)
{
	struct log_env l;

	log_init(&l);
	vdpa_dirty_log_mark(l.log, addr, len);
	for (uint64_t page = first; page <= last; page++)
		assert_true(log_has(&l, page * PAGE));
	assert_int_equal(log_count(&l), last - first + 1);
	vdpa_dirty_log_put(l.log);
}

static void test_dirty_log_marks_the_pages_touched(void **state)
{
	expect_mark(0, 1, 0, 0);
	expect_mark(PAGE - 1, 1, 0, 0);
	expect_mark(PAGE - 1, 2, 0, 1);
	expect_mark(PAGE, PAGE, 1, 1);
	expect_mark(3 * PAGE + 5, 4 * PAGE, 3, 7);
	expect_mark(7 * PAGE, 2 * PAGE, 7, 8);
	expect_mark(5 * PAGE, 40 * PAGE, 5, 44);
	expect_mark(0, 8192ull * PAGE, 0, 8191);
}

static void test_dirty_log_ignores_what_lies_behind_its_end(void **state)
{
	struct log_env l;

	expect_mark(8191ull * PAGE, 1000 * PAGE, 8191, 8191);
	expect_mark(8190ull * PAGE, UINT64_MAX, 8190, 8191);
	log_init(&l);
	vdpa_dirty_log_mark(l.log, 8192ull * PAGE, 1);
	vdpa_dirty_log_mark(l.log, UINT64_MAX, UINT64_MAX);
	vdpa_dirty_log_mark(l.log, 0, 0);
	assert_int_equal(log_count(&l), 0);
	vdpa_dirty_log_put(l.log);
}

static void test_dirty_log_keeps_other_marks(void **state)
{
	struct log_env l;

	log_init(&l);
	l.bits[0] = 0x80;
	vdpa_dirty_log_mark(l.log, 0, 1);
	assert_int_equal(l.bits[0], 0x81);
	vdpa_dirty_log_put(l.log);
	vdpa_dirty_log_put(NULL);
}

static void test_dirty_log_failure_leaves_the_memory(void **state)
{
	struct vdpa_dirty_log *log = NULL;
	struct vdpa_mem *mem;

	assert_int_equal(vdpa_mem_alloc("log", LOG_BYTES, &mem, NULL), 0);
	fail_alloc_nth(1);
	assert_int_equal(vdpa_dirty_log_alloc(mem, &log, NULL), -ENOMEM);
	assert_true(fail_alloc_done());
	assert_null(log);
	vdpa_mem_put(mem);
}

static void test_dirty_log_split_queue(void **state)
{
	struct vq_env env;
	struct log_env l;

	env_init(&env, 8, 0);
	log_init(&l);
	env_map_steps(&env, 3 * PAGE); /* a piece may lie in several ranges */
	env.cfg.log = l.log;
	env.cfg.log_used = true;
	env.cfg.log_addr = 0x1f00000 + 3;
	env_start(&env);
	env_desc(&env, ENV_IOVA, 0, ENV_DATA, PAGE, VRING_DESC_F_NEXT, 1);
	env_desc(&env, ENV_IOVA, 1, ENV_DATA + 5 * PAGE + 1, 7 * PAGE, VRING_DESC_F_WRITE, 0);
	env_offer(&env, 0);
	assert_int_equal(vdpa_vq_pop(env.vq, &env.elem), 1);
	assert_int_equal(log_count(&l), 0);
	/* All of the writable part is marked: the device may have written more than it says. */
	assert_true(vdpa_vq_complete(env.vq, &env.elem, 1));
	for (unsigned i = 5; i <= 12; i++)
		assert_true(log_has(&l, ENV_DATA + i * PAGE));
	assert_true(log_has(&l, 0x1f00000));
	assert_int_equal(log_count(&l), 9);

	/* The index and the flags are in the same page of the used ring. */
	memset(l.bits, 0, LOG_BYTES);
	assert_true(vdpa_vq_publish(env.vq));
	assert_true(log_has(&l, 0x1f00000));
	memset(l.bits, 0, LOG_BYTES);
	vdpa_vq_disable_kick(env.vq);
	assert_true(log_has(&l, 0x1f00000));
	memset(l.bits, 0, LOG_BYTES);
	vdpa_vq_enable_kick(env.vq);
	assert_true(log_has(&l, 0x1f00000));

	/* Off again. */
	memset(l.bits, 0, LOG_BYTES);
	vdpa_vq_set_log(env.vq, NULL, true, 0);
	env_offer(&env, 0);
	assert_int_equal(vdpa_vq_pop(env.vq, &env.elem), 1);
	assert_true(vdpa_vq_complete(env.vq, &env.elem, 1));
	assert_true(vdpa_vq_publish(env.vq));
	vdpa_vq_disable_kick(env.vq);
	assert_int_equal(log_count(&l), 0);

	/* On without the ring. */
	vdpa_vq_set_log(env.vq, l.log, false, 0);
	vdpa_dirty_log_put(l.log);
	env_offer(&env, 0);
	assert_int_equal(vdpa_vq_pop(env.vq, &env.elem), 1);
	assert_true(vdpa_vq_complete(env.vq, &env.elem, 1));
	assert_true(vdpa_vq_publish(env.vq));
	assert_int_equal(log_count(&l), 8);
	env_free(&env);
}

static void test_dirty_log_split_event_index(void **state)
{
	struct vq_env env;
	struct log_env l;

	env_init(&env, 1024, RING_F_EVENT_IDX);
	log_init(&l);
	env.cfg.log = l.log;
	env.cfg.log_used = true;
	env.cfg.log_addr = 0x1f00000;
	env_start(&env);
	vdpa_vq_enable_kick(env.vq);
	assert_true(log_has(&l, 0x1f00000 + 4 + 8 * 1024));
	assert_int_equal(log_count(&l), 1);
	vdpa_dirty_log_put(l.log);
	env_free(&env);
}

static void test_dirty_log_packed_queue(void **state)
{
	struct vq_env env;
	struct log_env l;

	env_init(&env, 1000, RING_F_PACKED);
	log_init(&l);
	env.cfg.log = l.log;
	env.cfg.log_used = true;
	env.cfg.state.packed_ring.last_avail_idx = 300;
	env.cfg.state.packed_ring.last_used_idx = 300;
	env_start(&env);
	vdpa_dirty_log_put(l.log);
	env.slot = 300; /* in the second page of the ring */
	env_packed(&env, ENV_DATA, 8, VRING_DESC_F_WRITE, 7);
	assert_int_equal(vdpa_vq_pop(env.vq, &env.elem), 1);
	assert_true(vdpa_vq_complete(env.vq, &env.elem, 1));
	assert_true(log_has(&l, ENV_DATA));
	assert_true(log_has(&l, ENV_IOVA + PAGE));
	assert_int_equal(log_count(&l), 2);
	memset(l.bits, 0, LOG_BYTES);
	assert_true(vdpa_vq_publish(env.vq)); /* the flags come last */
	assert_true(log_has(&l, ENV_IOVA + PAGE));
	assert_int_equal(log_count(&l), 1);
	memset(l.bits, 0, LOG_BYTES);
	vdpa_vq_disable_kick(env.vq);
	assert_true(log_has(&l, ENV_DEVICE));
	assert_int_equal(log_count(&l), 1);
	env_free(&env);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_dirty_log_marks_the_pages_touched),
		cmocka_unit_test(test_dirty_log_ignores_what_lies_behind_its_end),
		cmocka_unit_test(test_dirty_log_keeps_other_marks),
		cmocka_unit_test(test_dirty_log_failure_leaves_the_memory),
		cmocka_unit_test(test_dirty_log_split_queue),
		cmocka_unit_test(test_dirty_log_split_event_index),
		cmocka_unit_test(test_dirty_log_packed_queue),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
