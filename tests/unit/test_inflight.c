/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The in-flight log.  The main test runs the device side in a process of its own, stops it after
 * each single store to the memory that outlives it, and recovers from what is there.
 */
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

#include "fail_alloc.h"
#include "virtqueue/drvq.h"
#include "virtqueue/inflight_log.h"
#include "vq_env.h"

/* ------------------------------------------------------------------ a crash after each store */

#define CRASH_IOVA  0x40000000ull
#define CRASH_TABLE 4u
#define CRASH_BUF   64u

/* Sanitizers make each store many times as many steps, but no more stores. */
#if defined(RING_TSAN)
#define CRASH_PART 30
#elif defined(__SANITIZE_ADDRESS__)
#define CRASH_PART 12
#else
#define CRASH_PART 1
#endif

/* A driver that lives on, and a log; the device side is whoever starts it. */
struct crash {
	struct vdpa_mem *mem;
	struct vdpa_iotlb *iotlb;
	struct vdpa_drvq *drvq;
	struct vdpa_vq_config cfg;
	uint64_t bufs, log; /* offsets in mem */
	uint32_t num;
	uint64_t seq;     /* of the next request */
	uint32_t offered; /* not collected */
	uint32_t seed;
	bool busy[16]; /* buffers */
	const bool *first_busy;
};

static uint8_t *crash_hva(const struct crash *c, uint64_t off)
{
	return (uint8_t *)vdpa_mem_hva(c->mem) + off;
}

static void crash_init(struct crash *c, uint32_t num, uint64_t features)
{
	struct vdpa_drvq_config dcfg = {num, features, NULL, CRASH_IOVA, CRASH_TABLE};
	struct vdpa_iotlb_range range;

	memset(c, 0, sizeof(*c));
	c->num = num;
	c->seed = 99;
	c->first_busy = c->busy;
	c->bufs = vdpa_drvq_bytes(num, features, CRASH_TABLE);
	c->log = c->bufs + (uint64_t)num * CRASH_BUF;
	c->log = align_up(c->log, 64);
	assert_int_equal(
		vdpa_mem_alloc("crash",
			       c->log + inflight_queue_bytes(num, features & RING_F_PACKED),
			       &c->mem, NULL),
		0);
	range = (struct vdpa_iotlb_range){CRASH_IOVA, c->log, vdpa_mem_hva(c->mem), c->mem,
					  VDPA_PERM_RW};
	assert_int_equal(vdpa_iotlb_alloc(&range, 1, &c->iotlb, NULL), 0);
	dcfg.hva = vdpa_mem_hva(c->mem);
	assert_int_equal(vdpa_drvq_alloc(&dcfg, &c->drvq, NULL), 0);
	c->cfg.num = num;
	c->cfg.features = features;
	c->cfg.iotlb = c->iotlb;
	vdpa_drvq_areas(c->drvq, &c->cfg.desc, &c->cfg.driver, &c->cfg.device);
	c->cfg.state.packed = features & RING_F_PACKED;
	if (c->cfg.state.packed)
		c->cfg.state.packed_ring.last_avail_counter =
			c->cfg.state.packed_ring.last_used_counter = true;
}

static void crash_free(struct crash *c)
{
	vdpa_drvq_free(c->drvq);
	vdpa_iotlb_put(c->iotlb);
	vdpa_mem_put(c->mem);
}

static struct vdpa_vq *crash_start(const struct crash *c, struct vdpa_inflight **log)
{
	struct vdpa_vq_config cfg = c->cfg;
	struct vdpa_vq *vq = vdpa_vq_alloc();
	struct vdpa_extack ack = {0};

	if (!vq || inflight_open(c->mem, c->log, c->num, cfg.state.packed, log, NULL))
		return NULL;
	cfg.inflight = *log;
	if (vdpa_vq_start(vq, &cfg, &ack)) {
		fprintf(stderr, "cannot start: %s\n", ack.msg);
		return NULL;
	}
	return vq;
}

/* Offer one request of up to three pieces; its number is in the first. */
static bool crash_offer(struct crash *c, struct vdpa_drvq *drvq)
{
	struct vdpa_drvq_sg sg[3];
	uint32_t num = 1 + env_random(&c->seed) % 3;
	uint32_t which = 0;
	uint64_t buf;

	if (num > c->num)
		num = c->num;
	while (which < c->num && c->busy[which])
		which++;
	if (which == c->num)
		return false;
	buf = c->bufs + (uint64_t)which * CRASH_BUF;
	for (uint32_t i = 0; i < num; i++)
		sg[i] = (struct vdpa_drvq_sg){CRASH_IOVA + buf + 16 * i, 8};
	if (vdpa_drvq_add(drvq, sg, 1, num - 1, (void *)&c->first_busy[which]))
		return false;
	c->busy[which] = true;
	memcpy(crash_hva(c, buf), &c->seq, sizeof(c->seq));
	c->seq++;
	c->offered++;
	vdpa_drvq_publish(drvq);
	return true;
}

static uint32_t crash_collect(struct crash *c, struct vdpa_drvq *drvq)
{
	uint32_t num = 0, len;
	const bool *busy;

	/* The cookie points into the original, c may be a copy. */
	while ((busy = vdpa_drvq_get(drvq, &len))) {
		num++;
		c->offered--;
		c->busy[busy - c->first_busy] = false;
	}
	if (vdpa_drvq_broken(drvq))
		fail_msg("the driver sees: %s", vdpa_drvq_broken(drvq));
	return num;
}

/* Take all there is.  The oldest come first, and what was not taken before the crash behind them.
 */
static uint32_t crash_take(const struct crash *c, struct vdpa_vq *vq, struct vdpa_vq_elem *elems)
{
	uint64_t seq, last = 0;
	uint32_t taken;

	for (taken = 0; taken < c->num; taken++) {
		vdpa_vq_elem_init(&elems[taken]);
		if (vdpa_vq_pop(vq, &elems[taken]) <= 0)
			break;
		memcpy(&seq, elems[taken].iov[0].iov_base, sizeof(seq));
		assert_true(!taken || seq > last);
		last = seq;
	}
	if (vdpa_vq_broken(vq))
		fail_msg("the device sees: %s", vdpa_vq_broken(vq));
	assert_false(vdpa_vq_pending(vq));
	return taken;
}

/* Recover, take all, give back some of it, and crash again. */
static void crash_again(const struct crash *c)
{
	size_t len = vdpa_mem_len(c->mem);
	struct vdpa_vq_elem elems[16];
	struct vdpa_inflight *log = NULL;
	uint8_t *saved = malloc(len);
	struct vdpa_vq *vq = crash_start(c, &log);

	assert_true(saved && vq);
	for (uint32_t i = crash_take(c, vq, elems); i > 1; i -= 2)
		vdpa_vq_complete(vq, &elems[i - 1], 0);
	memcpy(saved, vdpa_mem_hva(c->mem), len);
	vdpa_vq_free(vq);
	inflight_close(log);
	memcpy(vdpa_mem_hva(c->mem), saved, len);
	free(saved);
}

/* Recover, finish all requests one by one, and go on round the ring. */
static void crash_finish(struct crash *c, struct vdpa_drvq *drvq)
{
	struct vdpa_inflight *log = NULL;
	struct vdpa_vq *vq = crash_start(c, &log);
	struct vdpa_vq_elem elems[16];
	uint32_t taken;

	assert_non_null(vq);
	crash_collect(c, drvq);
	taken = crash_take(c, vq, elems);
	assert_int_equal(taken, c->offered);
	for (uint32_t i = 0; i < taken; i++) {
		assert_true(vdpa_vq_complete(vq, &elems[i], 0));
		vdpa_vq_publish(vq);
		assert_int_equal(crash_collect(c, drvq), 1);
	}
	assert_int_equal(vdpa_vq_outstanding(vq), 0);
	assert_int_equal(c->offered, 0);
	for (uint32_t i = 0; i < 2 * c->num; i++) {
		assert_true(crash_offer(c, drvq));
		assert_int_equal(vdpa_vq_pop(vq, &elems[0]), 1);
		assert_true(vdpa_vq_complete(vq, &elems[0], 0));
		vdpa_vq_publish(vq);
		assert_int_equal(crash_collect(c, drvq), 1);
	}
	vdpa_vq_free(vq);
	inflight_close(log);
}

/*
 * Recover from what is in memory, as a new process would, and finish all requests.  With `meet` the
 * driver goes on between crash and recovery.  All is put back as it was.
 */
static void crash_verify(const struct crash *real, bool meet)
{
	size_t len = vdpa_mem_len(real->mem);
	size_t state_len = sizeof(*real->drvq) + real->num * sizeof(real->drvq->slots[0]);
	struct vdpa_drvq *drvq = malloc(state_len);
	uint8_t *saved = malloc(len);
	struct crash c = *real;

	assert_true(saved && drvq);
	memcpy(saved, vdpa_mem_hva(c.mem), len);
	memcpy(drvq, c.drvq, state_len);
	if (meet) {
		crash_collect(&c, drvq);
		while (crash_offer(&c, drvq))
			;
		crash_again(&c);
	}
	crash_finish(&c, drvq);
	memcpy(vdpa_mem_hva(c.mem), saved, len);
	free(drvq);
	free(saved);
}

/* The device's process: a round of random work each time that it is let go on. */
static void crash_device(const struct crash *c, unsigned rounds)
{
	struct vdpa_vq_elem elems[16], *held[16], *idle[16], *elem;
	uint32_t num_held = 0, num_idle = c->num, seed = 5;
	struct vdpa_inflight *log;
	struct vdpa_vq *vq = crash_start(c, &log);

	if (!vq || ptrace(PTRACE_TRACEME, 0, NULL, NULL))
		_exit(1);
	for (uint32_t i = 0; i < c->num; i++) {
		vdpa_vq_elem_init(&elems[i]);
		idle[i] = &elems[i];
	}
	for (unsigned i = 0; i < rounds; i++) {
		bool publish = env_random(&seed) % 3;

		raise(SIGSTOP);
		while (num_idle && env_random(&seed) % 4 && vdpa_vq_pop(vq, idle[num_idle - 1]) > 0)
			held[num_held++] = idle[--num_idle];
		while (num_held && env_random(&seed) % 4) {
			uint32_t which = env_random(&seed) % num_held;

			elem = held[which];
			held[which] = held[--num_held];
			if (vdpa_vq_complete(vq, elem, 0))
				idle[num_idle++] = elem;
			while ((elem = vdpa_vq_reap(vq)))
				idle[num_idle++] = elem;
		}
		if (publish)
			vdpa_vq_publish(vq);
	}
	_exit(vdpa_vq_broken(vq) ? 2 : 0);
}

/* Let the device do one instruction after the other until it asks to go on, or has ended. */
static bool crash_round(const struct crash *c, pid_t pid, uint8_t *before, unsigned *stores)
{
	size_t len = vdpa_mem_len(c->mem);
	int status;

	memcpy(before, vdpa_mem_hva(c->mem), len);
	for (;;) {
		assert_int_equal(ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL), 0);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		if (WIFEXITED(status)) {
			assert_int_equal(WEXITSTATUS(status), 0);
			return false;
		}
		assert_true(WIFSTOPPED(status));
		if (memcmp(before, vdpa_mem_hva(c->mem), len)) {
			crash_verify(c, false);
			crash_verify(c, true);
			memcpy(before, vdpa_mem_hva(c->mem), len);
			++*stores;
		}
		if (WSTOPSIG(status) == SIGSTOP)
			return true;
		assert_int_equal(WSTOPSIG(status), SIGTRAP);
	}
}

static void crash_run(uint32_t num, uint64_t features, unsigned rounds)
{
	cpu_set_t all, one;
	unsigned stores = 0;
	uint8_t *before;
	struct crash c;
	int status;
	pid_t pid;

	/* A step is a switch to the other process and back: many times faster on one processor. */
	assert_int_equal(sched_getaffinity(0, sizeof(all), &all), 0);
	CPU_ZERO(&one);
	CPU_SET(sched_getcpu(), &one);
	assert_int_equal(sched_setaffinity(0, sizeof(one), &one), 0);
	rounds = rounds / CRASH_PART + 3;
	crash_init(&c, num, features);
	before = malloc(vdpa_mem_len(c.mem));
	assert_non_null(before);
	pid = fork();
	assert_int_not_equal(pid, -1);
	if (!pid)
		crash_device(&c, rounds);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSTOPPED(status));
	do {
		if (env_random(&c.seed) % 4)
			crash_collect(&c, c.drvq);
		while (env_random(&c.seed) % 8 && crash_offer(&c, c.drvq))
			;
	} while (crash_round(&c, pid, before, &stores));
	assert_true(stores > rounds);
	assert_true(c.seq > 0);
	free(before);
	crash_free(&c);
	sched_setaffinity(0, sizeof(all), &all);
}

static void test_inflight_split_crash_anywhere(void **state)
{
	crash_run(4, 0, 40);
	crash_run(8, RING_F_INDIRECT_DESC, 20);
	crash_run(1, 0, 10);
}

static void test_inflight_split_in_order_crash_anywhere(void **state)
{
	crash_run(4, RING_F_IN_ORDER, 30);
}

static void test_inflight_packed_crash_anywhere(void **state)
{
	crash_run(5, RING_F_PACKED, 40);
	crash_run(3, RING_F_PACKED | RING_F_INDIRECT_DESC, 30);
	crash_run(1, RING_F_PACKED, 10);
}

static void test_inflight_packed_in_order_crash_anywhere(void **state)
{
	crash_run(4, RING_F_PACKED | RING_F_IN_ORDER, 30);
}

/* ------------------------------------------------------------------ the region */

static struct vdpa_mem *region_of(uint64_t len)
{
	struct vdpa_mem *mem;

	assert_int_equal(vdpa_mem_alloc("log", len, &mem, NULL), 0);
	return mem;
}

static void test_inflight_layout(void **state)
{
	assert_int_equal(inflight_queue_bytes(1, false), 64);
	assert_int_equal(inflight_queue_bytes(256, false), 16 + 256 * 16 + 48);
	assert_int_equal(inflight_queue_bytes(256, true), 32 + 256 * 32 + 32);
	assert_int_equal(inflight_bytes(4, 256, true), 4 * inflight_queue_bytes(256, true));
	assert_int_equal(inflight_bytes(65535, 32768, true), 65535 * (32ull + 32 * 32768 + 32));
}

static void test_inflight_open_checks_the_region(void **state)
{
	struct vdpa_mem *mem = region_of(inflight_bytes(2, 8, false));
	uint64_t second = inflight_queue_bytes(8, false);
	struct vdpa_inflight *log = NULL;
	struct inflight_split_region *region;

	assert_int_equal(inflight_open(mem, 0, 0, false, &log, NULL), -EINVAL);
	assert_int_equal(inflight_open(mem, 0, 32769, false, &log, NULL), -EINVAL);
	assert_int_equal(inflight_open(mem, second + 64, 8, false, &log, NULL), -EINVAL);
	assert_int_equal(inflight_open(mem, UINT64_MAX - 63, 8, false, &log, NULL), -EINVAL);
	assert_int_equal(inflight_open(mem, 4, 8, false, &log, NULL), -EINVAL);
	assert_int_equal(inflight_open(mem, second, 8, true, &log, NULL), -EINVAL);
	region = vdpa_mem_hva(mem);
	region->version = 2;
	region->desc_num = 8;
	assert_int_equal(inflight_open(mem, 0, 8, false, &log, NULL), -EINVAL);
	region->version = 1;
	region->desc_num = 4;
	assert_int_equal(inflight_open(mem, 0, 8, false, &log, NULL), -EINVAL);
	region->desc_num = 8;
	fail_alloc_nth(1);
	assert_int_equal(inflight_open(mem, 0, 8, false, &log, NULL), -ENOMEM);
	assert_true(fail_alloc_done());
	assert_null(log);
	assert_int_equal(inflight_open(mem, 0, 8, false, &log, NULL), 0);
	assert_false(inflight_fresh(log));
	vdpa_mem_put(mem); /* the log has its own reference */
	region->version = 1;
	inflight_close(log);
	inflight_close(NULL);
}

struct log_env {
	struct vq_env env;
	struct vdpa_mem *mem;
	struct vdpa_inflight *log;
};

static void log_begin(struct log_env *l, uint32_t num, uint64_t features)
{
	bool packed = features & RING_F_PACKED;

	env_init(&l->env, num, features);
	l->mem = region_of(inflight_queue_bytes(num, packed));
	assert_int_equal(inflight_open(l->mem, 0, num, packed, &l->log, NULL), 0);
	l->env.cfg.inflight = l->log;
}

static void log_end(struct log_env *l)
{
	env_free(&l->env);
	inflight_close(l->log);
	vdpa_mem_put(l->mem);
}

static void log_reopen(struct log_env *l)
{
	bool packed = l->env.cfg.features & RING_F_PACKED;

	vdpa_vq_stop(l->env.vq, NULL);
	inflight_close(l->log);
	assert_int_equal(inflight_open(l->mem, 0, l->env.cfg.num, packed, &l->log, NULL), 0);
	l->env.cfg.inflight = l->log;
}

static void test_inflight_start_needs_a_log_that_fits(void **state)
{
	struct vdpa_extack ack = {0};
	struct log_env l;

	log_begin(&l, 8, 0);
	l.env.cfg.num = 16;
	assert_int_equal(vdpa_vq_start(l.env.vq, &l.env.cfg, &ack), -EINVAL);
	assert_non_null(strstr(ack.msg, "in-flight log"));
	l.env.cfg.num = 4; /* a smaller ring has room in it */
	env_start(&l.env);
	vdpa_vq_stop(l.env.vq, NULL);
	l.env.cfg.features = RING_F_PACKED;
	l.env.cfg.state.packed = true;
	assert_int_equal(vdpa_vq_start(l.env.vq, &l.env.cfg, NULL), -EINVAL);
	log_end(&l);
}

static void test_inflight_split_writes_what_the_specification_says(void **state)
{
	const struct inflight_split_region *region;
	struct log_env l;

	log_begin(&l, 8, 0);
	region = vdpa_mem_hva(l.mem);
	assert_int_equal(region->version, 0);
	ring_store16(&((struct vring_used *)env_hva(&l.env, ENV_DEVICE))->idx, 7);
	ring_store16(&((struct vring_avail *)env_hva(&l.env, ENV_DRIVER))->idx, 7);
	l.env.avail = 7;
	l.env.cfg.state.split.avail_index = 7;
	env_start(&l.env);
	assert_int_equal(region->features, 0);
	assert_int_equal(region->version, 1);
	assert_int_equal(region->desc_num, 8);
	assert_int_equal(region->used_idx, 7);

	for (uint16_t i = 2; i < 5; i++) {
		env_desc(&l.env, ENV_IOVA, i, ENV_DATA, 8, 0, 0);
		env_offer(&l.env, i);
	}
	assert_int_equal(vdpa_vq_pop(l.env.vq, &l.env.elem), 1);
	assert_int_equal(region->desc[2].inflight, 1);
	assert_int_equal(region->desc[3].inflight, 0);
	assert_true(vdpa_vq_complete(l.env.vq, &l.env.elem, 0));
	assert_int_equal(vdpa_vq_pop(l.env.vq, &l.env.elem), 1);
	assert_true(region->desc[3].counter == region->desc[2].counter + 1);
	assert_true(vdpa_vq_complete(l.env.vq, &l.env.elem, 0));
	assert_int_equal(region->last_batch_head, 3);
	assert_int_equal(region->desc[3].next, 2);
	assert_int_equal(region->desc[2].inflight, 1);
	assert_int_equal(region->desc[3].inflight, 1);
	vdpa_vq_publish(l.env.vq);
	assert_int_equal(region->desc[2].inflight, 0);
	assert_int_equal(region->desc[3].inflight, 0);
	assert_int_equal(region->used_idx, 9);
	log_end(&l);
}

static void test_inflight_packed_writes_what_the_specification_says(void **state)
{
	const struct inflight_packed_region *region;
	struct log_env l;

	log_begin(&l, 6, RING_F_PACKED);
	region = vdpa_mem_hva(l.mem);
	l.env.cfg.state.packed_ring.last_avail_idx = 5;
	l.env.cfg.state.packed_ring.last_used_idx = 5;
	l.env.slot = 5;
	env_start(&l.env);
	assert_int_equal(region->version, 1);
	assert_int_equal(region->desc_num, 6);
	assert_int_equal(region->free_head, 0);
	assert_int_equal(region->used_idx, 5);
	assert_int_equal(region->old_used_idx, 5);
	assert_int_equal(region->used_wrap_counter, 1);
	assert_int_equal(region->old_used_wrap_counter, 1);

	env_packed(&l.env, ENV_DATA, 8, VRING_DESC_F_NEXT, 0); /* slot 5, then 0 of the next lap */
	env_packed(&l.env, ENV_DATA + 8, 9, VRING_DESC_F_WRITE, 33);
	assert_int_equal(vdpa_vq_pop(l.env.vq, &l.env.elem), 1);
	assert_int_equal(region->desc[0].inflight, 1);
	assert_int_equal(region->desc[0].num, 2);
	assert_int_equal(region->desc[0].last, 1);
	assert_int_equal(region->desc[0].next, 1);
	assert_int_equal(region->desc[0].addr, ENV_DATA);
	assert_int_equal(region->desc[1].addr, ENV_DATA + 8);
	assert_int_equal(region->desc[1].len, 9);
	assert_int_equal(region->desc[1].id, 33);
	assert_int_equal(region->desc[1].flags,
			 VRING_DESC_F_WRITE | RING_DESC_F_USED); /* as in the ring */
	assert_int_equal(region->free_head, 2);
	assert_int_equal(region->old_free_head, 2);
	assert_true(vdpa_vq_complete(l.env.vq, &l.env.elem, 0));
	assert_int_equal(region->desc[0].inflight, 1);
	vdpa_vq_publish(l.env.vq);
	assert_int_equal(region->desc[0].inflight, 0);
	assert_int_equal(region->free_head, 0);
	assert_int_equal(region->old_free_head, 0);
	assert_int_equal(region->desc[1].next, 2);
	assert_int_equal(region->used_idx, 1);
	assert_int_equal(region->old_used_idx, 1);
	assert_int_equal(region->used_wrap_counter, 0);
	assert_int_equal(region->old_used_wrap_counter, 0);
	log_end(&l);
}

static void test_inflight_calls_after_a_restart(void **state)
{
	struct log_env l;

	log_begin(&l, 4, 0);
	env_start(&l.env);
	assert_false(vdpa_vq_publish(l.env.vq)); /* a fresh log: nobody can wait */
	log_reopen(&l);
	env_start(&l.env);
	assert_true(vdpa_vq_publish(l.env.vq));
	assert_false(vdpa_vq_publish(l.env.vq));
	log_end(&l);
}

static void test_inflight_resubmits_after_stop(void **state)
{
	const uint64_t kinds[] = {0, RING_F_PACKED};

	for (size_t k = 0; k < ARRAY_SIZE(kinds); k++) {
		struct vdpa_vq_state where;
		struct log_env l;

		log_begin(&l, 4, kinds[k]);
		env_start(&l.env);
		for (uint16_t i = 0; i < 3; i++) {
			if (kinds[k]) {
				env_packed(&l.env, ENV_DATA + i, 1, 0, i);
			} else {
				env_desc(&l.env, ENV_IOVA, i, ENV_DATA + i, 1, 0, 0);
				env_offer(&l.env, i);
			}
			if (i < 2)
				assert_int_equal(vdpa_vq_pop(l.env.vq, &l.env.elem), 1);
		}
		/* The second is given back and published by stop; the first is under way. */
		assert_true(vdpa_vq_complete(l.env.vq, &l.env.elem, 0));
		vdpa_vq_stop(l.env.vq, &where);
		l.env.cfg.state = where;
		env_start(&l.env);
		assert_true(vdpa_vq_pending(l.env.vq));
		assert_true(vdpa_vq_enable_kick(l.env.vq));
		assert_int_equal(vdpa_vq_pop(l.env.vq, &l.env.elem), 1);
		assert_ptr_equal(l.env.elem.iov[0].iov_base, env_hva(&l.env, ENV_DATA));
		assert_int_equal(vdpa_vq_pop(l.env.vq, &l.env.elem), 1);
		assert_ptr_equal(l.env.elem.iov[0].iov_base, env_hva(&l.env, ENV_DATA + 2));
		assert_int_equal(vdpa_vq_pop(l.env.vq, &l.env.elem), 0);
		log_end(&l);
	}
}

static void test_inflight_resubmits_again_after_a_miss(void **state)
{
	const uint64_t kinds[] = {0, RING_F_PACKED};

	for (size_t k = 0; k < ARRAY_SIZE(kinds); k++) {
		struct vdpa_iotlb_range range;
		struct vdpa_iotlb *less;
		struct log_env l;

		log_begin(&l, 4, kinds[k]);
		env_start(&l.env);
		if (kinds[k]) {
			env_packed(&l.env, ENV_DATA, 1, 0, 3);
		} else {
			env_desc(&l.env, ENV_IOVA, 0, ENV_DATA, 1, 0, 0);
			env_offer(&l.env, 0);
		}
		assert_int_equal(vdpa_vq_pop(l.env.vq, &l.env.elem), 1);
		log_reopen(&l);
		range = *vdpa_iotlb_find(l.env.iotlb, ENV_IOVA);
		range.len = ENV_TABLE - ENV_IOVA;
		assert_int_equal(vdpa_iotlb_alloc(&range, 1, &less, NULL), 0);
		l.env.cfg.iotlb = less;
		env_start(&l.env);
		vdpa_iotlb_put(less);
		assert_int_equal(vdpa_vq_pop(l.env.vq, &l.env.elem), -EFAULT);
		assert_true(vdpa_vq_pending(l.env.vq));
		assert_int_equal(vdpa_vq_set_map(l.env.vq, l.env.iotlb, NULL), 0);
		assert_int_equal(vdpa_vq_pop(l.env.vq, &l.env.elem), 1);
		assert_int_equal(vdpa_vq_pop(l.env.vq, &l.env.elem), 0);
		log_end(&l);
	}
}

static void test_inflight_reset_forgets(void **state)
{
	struct log_env l;

	log_begin(&l, 4, 0);
	env_start(&l.env);
	env_desc(&l.env, ENV_IOVA, 0, ENV_DATA, 1, 0, 0);
	env_offer(&l.env, 0);
	assert_int_equal(vdpa_vq_pop(l.env.vq, &l.env.elem), 1);
	vdpa_vq_stop(l.env.vq, NULL);
	inflight_reset(l.log);
	assert_true(inflight_fresh(l.log));
	l.env.cfg.state.split.avail_index = 1;
	env_start(&l.env);
	assert_int_equal(vdpa_vq_pop(l.env.vq, &l.env.elem), 0);
	log_end(&l);
}

/* ------------------------------------------------------------------ a hostile log or driver */

static void test_inflight_split_rejects_a_head_that_is_under_way(void **state)
{
	struct log_env l;

	log_begin(&l, 4, 0);
	env_start(&l.env);
	env_desc(&l.env, ENV_IOVA, 0, ENV_DATA, 1, 0, 0);
	env_offer(&l.env, 0);
	env_offer(&l.env, 0);
	assert_int_equal(vdpa_vq_pop(l.env.vq, &l.env.elem), 1);
	env_expect_broken(&l.env, "under way already");
	log_end(&l);
}

/* Whoever shares the log takes the mark back, to have one head used more often than there is room.
 */
static void test_inflight_split_believes_its_own_marks(void **state)
{
	struct inflight_split_region *region;
	struct log_env l;

	log_begin(&l, 4, 0);
	env_start(&l.env);
	region = vdpa_mem_hva(l.mem);
	env_desc(&l.env, ENV_IOVA, 0, ENV_DATA, 1, 0, 0);
	env_offer(&l.env, 0);
	env_offer(&l.env, 0);
	assert_int_equal(vdpa_vq_pop(l.env.vq, &l.env.elem), 1);
	assert_true(vdpa_vq_complete(l.env.vq, &l.env.elem, 0));
	region->desc[0].inflight = 0;
	env_expect_broken(&l.env, "under way already");
	log_end(&l);
}

static void test_inflight_split_survives_a_bad_list(void **state)
{
	struct inflight_split_region *region;
	struct log_env l;

	/* The used index has moved, but the list leads out of the region or in a circle. */
	for (uint16_t next = 0; next < 2; next++) {
		log_begin(&l, 4, 0);
		env_start(&l.env);
		log_reopen(&l);
		region = vdpa_mem_hva(l.mem);
		region->last_batch_head = 1;
		region->desc[1].next = next ? 1 : 9999;
		region->desc[2].inflight = 1;
		ring_store16(&((struct vring_used *)env_hva(&l.env, ENV_DEVICE))->idx, 40000);
		env_start(&l.env);
		assert_int_equal(region->used_idx, 40000);
		assert_int_equal(region->desc[2].inflight, 1);
		log_end(&l);
	}
}

static void refuse_log(struct log_env *l, const char *why)
{
	struct vdpa_extack ack = {0};

	assert_int_equal(vdpa_vq_start(l->env.vq, &l->env.cfg, &ack), -EINVAL);
	if (!strstr(ack.msg, why))
		fail_msg("refused because '%s', not '%s'", ack.msg, why);
}

static void test_inflight_split_refuses_heads_that_the_ring_has_not(void **state)
{
	struct inflight_split_region *region;
	struct log_env l;

	log_begin(&l, 8, 0);
	l.env.cfg.num = 4;
	env_start(&l.env);
	vdpa_vq_stop(l.env.vq, NULL);
	region = vdpa_mem_hva(l.mem);
	region->desc[4].inflight = 1;
	refuse_log(&l, "descriptor 4 of a ring of 4");
	log_end(&l);
}

static void test_inflight_packed_refuses_damage(void **state)
{
	struct inflight_packed_region *region;
	struct log_env l;

	for (int damage = 0; damage < 9; damage++) {
		log_begin(&l, 4, RING_F_PACKED);
		env_start(&l.env);
		env_packed(&l.env, ENV_DATA, 1, VRING_DESC_F_NEXT, 3);
		env_packed(&l.env, ENV_DATA, 1, 0, 3);
		assert_int_equal(vdpa_vq_pop(l.env.vq, &l.env.elem), 1);
		log_reopen(&l);
		region = vdpa_mem_hva(l.mem);
		switch (damage) {
		case 0:
			region->old_free_head = 5;
			break;
		case 1:
			region->old_free_head = 0; /* the chain is in the free list */
			region->desc[3].next = 2;
			break;
		case 2:
			region->desc[3].next = 3;
			break;
		case 3:
			region->desc[2].next = 5;
			break;
		case 4:
			region->desc[0].num = 0;
			break;
		case 5:
			region->desc[0].num = 3; /* runs into the free list */
			break;
		case 6:
			region->desc[0].next = 77;
			break;
		case 7:
			region->old_used_idx = 4;
			break;
		case 8:
			region->desc[0].num = 1; /* one record belongs nowhere */
			break;
		}
		refuse_log(&l, "damaged");
		assert_false(vdpa_vq_started(l.env.vq));
		log_end(&l);
	}
}

static void test_inflight_packed_survives_lack_of_memory(void **state)
{
	struct log_env l;

	log_begin(&l, 4, RING_F_PACKED);
	env_start(&l.env);
	log_reopen(&l);
	fail_alloc_nth(1);
	assert_int_equal(vdpa_vq_start(l.env.vq, &l.env.cfg, NULL), -ENOMEM);
	assert_true(fail_alloc_done());
	env_start(&l.env);
	log_end(&l);
}

/* A hostile driver overwrites slots that were used but not published. */
static void test_inflight_packed_rejects_slots_taken_back_early(void **state)
{
	struct log_env l;

	log_begin(&l, 2, RING_F_PACKED);
	env_start(&l.env);
	for (uint16_t i = 0; i < 2; i++) {
		env_packed(&l.env, ENV_DATA, 1, 0, i);
		assert_int_equal(vdpa_vq_pop(l.env.vq, &l.env.elem), 1);
		assert_true(vdpa_vq_complete(l.env.vq, &l.env.elem, 0));
	}
	env_packed(&l.env, ENV_DATA, 1, 0, 2);
	env_expect_broken(&l.env, "more descriptors are available");
	log_end(&l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_inflight_layout),
		cmocka_unit_test(test_inflight_open_checks_the_region),
		cmocka_unit_test(test_inflight_start_needs_a_log_that_fits),
		cmocka_unit_test(test_inflight_split_writes_what_the_specification_says),
		cmocka_unit_test(test_inflight_packed_writes_what_the_specification_says),
		cmocka_unit_test(test_inflight_calls_after_a_restart),
		cmocka_unit_test(test_inflight_resubmits_after_stop),
		cmocka_unit_test(test_inflight_resubmits_again_after_a_miss),
		cmocka_unit_test(test_inflight_reset_forgets),
		cmocka_unit_test(test_inflight_split_rejects_a_head_that_is_under_way),
		cmocka_unit_test(test_inflight_split_believes_its_own_marks),
		cmocka_unit_test(test_inflight_split_survives_a_bad_list),
		cmocka_unit_test(test_inflight_split_refuses_heads_that_the_ring_has_not),
		cmocka_unit_test(test_inflight_packed_refuses_damage),
		cmocka_unit_test(test_inflight_packed_survives_lack_of_memory),
		cmocka_unit_test(test_inflight_packed_rejects_slots_taken_back_early),
		cmocka_unit_test(test_inflight_split_crash_anywhere),
		cmocka_unit_test(test_inflight_split_in_order_crash_anywhere),
		cmocka_unit_test(test_inflight_packed_crash_anywhere),
		cmocka_unit_test(test_inflight_packed_in_order_crash_anywhere),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
