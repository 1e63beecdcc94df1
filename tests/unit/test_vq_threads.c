/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Driver and device in threads of their own, which sleep whenever they may: a notification that is
 * lost ends in a time-out, a missing barrier in wrong data or a report of the thread checker.
 */
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>

#include "vq_env.h"

#define IOVA     0x40000000ull
#define NUM      16u
#define REQUESTS 12000u
#define BUF      256u

struct stress {
	struct vdpa_mem *mem;
	struct vdpa_iotlb *iotlb;
	struct vdpa_drvq *drvq; /* driver's thread */
	struct vdpa_vq *vq;     /* device's thread */
	size_t bufs;
	int kick, call;
	uint32_t served;
	const char *failed; /* the device's */
};

struct ticket {
	uint32_t seq;
	bool busy;
};

/* Sleep until somebody signals.  Returns false after a time that no honest run needs. */
static bool sleep_on(int fd)
{
	struct pollfd pfd = {fd, POLLIN, 0};
	uint64_t count;

	return poll(&pfd, 1, 10000) == 1 && read(fd, &count, sizeof(count)) == sizeof(count);
}

static void signal_fd(int fd)
{
	const uint64_t one = 1;

	assert_int_equal(write(fd, &one, sizeof(one)), sizeof(one));
}

/* The answer to a request is each of its bytes plus one. */
static void serve(struct stress *s, struct vdpa_vq_elem *elem)
{
	uint8_t buf[BUF];
	size_t len = vdpa_iov_to_buf(elem->iov, elem->out_num, 0, buf, sizeof(buf));

	for (size_t i = 0; i < len; i++)
		buf[i]++;
	vdpa_iov_from_buf(elem->iov + elem->out_num, elem->in_num, 0, buf, len);
	if (!vdpa_vq_complete(s->vq, elem, (uint32_t)len))
		s->failed = "an element was held back, though none before it is under way";
}

static void *device_thread(void *arg)
{
	struct stress *s = arg;
	struct vdpa_vq_elem elem;

	vdpa_vq_elem_init(&elem);
	vdpa_vq_disable_kick(s->vq);
	while (s->served < REQUESTS && !s->failed) {
		int got = vdpa_vq_pop(s->vq, &elem);

		if (got > 0) {
			serve(s, &elem);
			/* Batches of all lengths up to five. */
			if (s->served++ % 5 && vdpa_vq_pending(s->vq))
				continue;
		}
		if (vdpa_vq_publish(s->vq))
			signal_fd(s->call);
		if (got < 0)
			s->failed = vdpa_vq_broken(s->vq);
		else if (!got && !vdpa_vq_enable_kick(s->vq) && !sleep_on(s->kick))
			s->failed = "the kick is missing";
		else if (!got)
			vdpa_vq_disable_kick(s->vq);
	}
	vdpa_vq_elem_release(&elem);
	return NULL;
}

static void offer(struct stress *s, struct ticket *ticket, uint32_t which, uint32_t seq)
{
	uint64_t off = s->bufs + (uint64_t)which * 2 * BUF;
	uint32_t len = 1 + seq % BUF;
	const struct vdpa_drvq_sg sg[2] = {{IOVA + off, len}, {IOVA + off + BUF, BUF}};

	memset((uint8_t *)vdpa_mem_hva(s->mem) + off, (uint8_t)seq, len);
	ticket->seq = seq;
	ticket->busy = true;
	assert_int_equal(vdpa_drvq_add(s->drvq, sg, 1, 1, ticket), 0);
}

static void check(struct stress *s, struct ticket *ticket, uint32_t which, uint32_t len)
{
	const uint8_t *data = (uint8_t *)vdpa_mem_hva(s->mem) + s->bufs + which * 2 * BUF + BUF;

	assert_true(ticket->busy);
	assert_int_equal(len, 1 + ticket->seq % BUF);
	for (uint32_t i = 0; i < len; i++)
		assert_int_equal(data[i], (uint8_t)(ticket->seq + 1));
	ticket->busy = false;
}

static void drive(struct stress *s)
{
	uint32_t seq = 0, back = 0, len, seed = 3;
	struct ticket tickets[NUM / 2] = {0}, *ticket;

	vdpa_drvq_disable_call(s->drvq);
	while (back < REQUESTS) {
		uint32_t depth = 1 + env_random(&seed) % ARRAY_SIZE(tickets), before = back;

		for (uint32_t i = 0; i < depth && seq < REQUESTS; i++)
			if (!tickets[i].busy)
				offer(s, &tickets[i], i, seq++);
		if (vdpa_drvq_publish(s->drvq))
			signal_fd(s->kick);
		while ((ticket = vdpa_drvq_get(s->drvq, &len))) {
			check(s, ticket, (uint32_t)(ticket - tickets), len);
			back++;
		}
		assert_null(vdpa_drvq_broken(s->drvq));
		if (back != before || back == seq)
			continue;
		if (!vdpa_drvq_enable_call(s->drvq))
			assert_true(sleep_on(s->call));
		vdpa_drvq_disable_call(s->drvq);
	}
}

static void stress_run(uint64_t features)
{
	struct vdpa_drvq_config dcfg = {NUM, features, NULL, IOVA, 2};
	struct vdpa_vq_config cfg = {.num = NUM, .features = features};
	struct vdpa_iotlb_range range;
	struct stress s = {0};
	pthread_t thread;

	s.bufs = vdpa_drvq_bytes(NUM, features, 2);
	assert_int_equal(vdpa_mem_alloc("stress", s.bufs + NUM * 2 * BUF, &s.mem, NULL), 0);
	range = (struct vdpa_iotlb_range){IOVA, vdpa_mem_len(s.mem), vdpa_mem_hva(s.mem), s.mem,
					  VDPA_PERM_RW};
	assert_int_equal(vdpa_iotlb_alloc(&range, 1, &s.iotlb, NULL), 0);
	dcfg.hva = vdpa_mem_hva(s.mem);
	assert_int_equal(vdpa_drvq_alloc(&dcfg, &s.drvq, NULL), 0);
	vdpa_drvq_areas(s.drvq, &cfg.desc, &cfg.driver, &cfg.device);
	cfg.iotlb = s.iotlb;
	cfg.state.packed = features & RING_F_PACKED;
	if (cfg.state.packed)
		cfg.state.packed_ring.last_avail_counter = cfg.state.packed_ring.last_used_counter =
			true;
	s.vq = vdpa_vq_alloc();
	assert_non_null(s.vq);
	assert_int_equal(vdpa_vq_start(s.vq, &cfg, NULL), 0);
	s.kick = eventfd(0, EFD_CLOEXEC);
	s.call = eventfd(0, EFD_CLOEXEC);

	assert_int_equal(pthread_create(&thread, NULL, device_thread, &s), 0);
	drive(&s);
	assert_int_equal(pthread_join(thread, NULL), 0);
	if (s.failed)
		fail_msg("the device: %s", s.failed);
	assert_int_equal(s.served, REQUESTS);

	close(s.kick);
	close(s.call);
	vdpa_vq_free(s.vq);
	vdpa_drvq_free(s.drvq);
	vdpa_iotlb_put(s.iotlb);
	vdpa_mem_put(s.mem);
}

static void test_vq_threads_split(void **state)
{
	stress_run(0);
	stress_run(RING_F_EVENT_IDX);
	stress_run(RING_F_EVENT_IDX | RING_F_INDIRECT_DESC);
	stress_run(RING_F_IN_ORDER);
}

static void test_vq_threads_packed(void **state)
{
	stress_run(RING_F_PACKED);
	stress_run(RING_F_PACKED | RING_F_EVENT_IDX);
	stress_run(RING_F_PACKED | RING_F_EVENT_IDX | RING_F_INDIRECT_DESC);
	stress_run(RING_F_PACKED | RING_F_IN_ORDER);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_vq_threads_split),
		cmocka_unit_test(test_vq_threads_packed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
