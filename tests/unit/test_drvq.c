/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The driver side, against the device side of this library and against a device played by hand.
 */
#include "fail_alloc.h"
#include "vq_env.h"

#define PAIR_IOVA 0x40000000ull
#define REQ_BYTES 2048u
#define REQ_SEGS  12u

/* A request of the driver's: a stretch of data memory, cut into pieces. */
struct req {
	bool busy;
	uint32_t out, in; /* pieces */
	uint32_t in_len;
	uint32_t hash; /* of the bytes that the device reads */
	struct vdpa_drvq_sg sg[REQ_SEGS];
};

struct pair {
	struct vdpa_mem *mem;
	struct vdpa_iotlb *iotlb;
	struct vdpa_drvq *drvq;
	struct vdpa_vq *vq;
	size_t ring_bytes;
	uint32_t num, seed, busy, taken;
	struct req *reqs;
	struct vdpa_vq_elem *elems;
	struct vdpa_vq_elem **held; /* taken and not completed */
	struct vdpa_vq_elem **idle;
	uint32_t num_idle;
};

static uint8_t *pair_hva(struct pair *p, uint64_t iova)
{
	return (uint8_t *)vdpa_mem_hva(p->mem) + (iova - PAIR_IOVA);
}

static void pair_init(struct pair *p, uint32_t num, uint64_t features, uint32_t indirect)
{
	struct vdpa_drvq_config dcfg = {num, features, NULL, PAIR_IOVA, indirect};
	struct vdpa_vq_config cfg = {.num = num, .features = features};
	struct vdpa_iotlb_range range;

	memset(p, 0, sizeof(*p));
	p->num = num;
	p->seed = 12345 + num + (uint32_t)features + (uint32_t)(features >> 32);
	p->ring_bytes = vdpa_drvq_bytes(num, features, indirect);
	assert_int_equal(
		vdpa_mem_alloc("pair", p->ring_bytes + (uint64_t)num * REQ_BYTES, &p->mem, NULL),
		0);
	range = (struct vdpa_iotlb_range){PAIR_IOVA, vdpa_mem_len(p->mem), vdpa_mem_hva(p->mem),
					  p->mem, VDPA_PERM_RW};
	assert_int_equal(vdpa_iotlb_alloc(&range, 1, &p->iotlb, NULL), 0);

	dcfg.hva = vdpa_mem_hva(p->mem);
	assert_int_equal(vdpa_drvq_alloc(&dcfg, &p->drvq, NULL), 0);
	vdpa_drvq_areas(p->drvq, &cfg.desc, &cfg.driver, &cfg.device);
	cfg.iotlb = p->iotlb;
	if (features & RING_F_PACKED) {
		cfg.state.packed = true;
		cfg.state.packed_ring.last_avail_counter = true;
		cfg.state.packed_ring.last_used_counter = true;
	}
	p->vq = vdpa_vq_alloc();
	assert_non_null(p->vq);
	assert_int_equal(vdpa_vq_start(p->vq, &cfg, NULL), 0);

	p->reqs = calloc(num, sizeof(*p->reqs));
	p->elems = calloc(num, sizeof(*p->elems));
	p->held = calloc(num, sizeof(void *));
	p->idle = calloc(num, sizeof(void *));
	assert_true(p->reqs && p->elems && p->held && p->idle);
	for (uint32_t i = 0; i < num; i++) {
		vdpa_vq_elem_init(&p->elems[i]);
		p->idle[p->num_idle++] = &p->elems[i];
	}
}

static void pair_free(struct pair *p)
{
	for (uint32_t i = 0; i < p->num; i++)
		vdpa_vq_elem_release(&p->elems[i]);
	free(p->reqs);
	free(p->elems);
	free(p->held);
	free(p->idle);
	vdpa_vq_free(p->vq);
	vdpa_drvq_free(p->drvq);
	vdpa_iotlb_put(p->iotlb);
	vdpa_mem_put(p->mem);
}

static uint32_t hash_bytes(uint32_t hash, const uint8_t *data, size_t len)
{
	for (size_t i = 0; i < len; i++)
		hash = hash * 31 + data[i];
	return hash;
}

/* Make a request of random pieces with random content, and offer it. */
static int offer_random(struct pair *p, uint32_t index, uint32_t max_segs)
{
	uint64_t iova = PAIR_IOVA + p->ring_bytes + (uint64_t)index * REQ_BYTES;
	struct req *req = &p->reqs[index];
	uint32_t total = 1 + env_random(&p->seed) % max_segs;
	int err;

	req->out = env_random(&p->seed) % (total + 1);
	req->in = total - req->out;
	req->in_len = 0;
	req->hash = 7;
	for (uint32_t i = 0; i < total; i++) {
		uint32_t len = 1 + env_random(&p->seed) % (REQ_BYTES / REQ_SEGS - 1);
		uint8_t *data = pair_hva(p, iova);

		req->sg[i] = (struct vdpa_drvq_sg){iova, len};
		for (uint32_t k = 0; k < len; k++)
			data[k] = i < req->out ? (uint8_t)(p->seed * k >> 5) : 0xee;
		if (i < req->out)
			req->hash = hash_bytes(req->hash, data, len);
		else
			req->in_len += len;
		iova += len;
	}
	err = vdpa_drvq_add(p->drvq, req->sg, req->out, req->in, req);
	if (!err) {
		req->busy = true;
		p->busy++;
	}
	return err;
}

/* Take all there is. */
static void device_take(struct pair *p)
{
	while (p->num_idle) {
		struct vdpa_vq_elem *elem = p->idle[p->num_idle - 1];
		int got = vdpa_vq_pop(p->vq, elem);

		if (!got)
			return;
		if (got < 0)
			fail_msg("the ring is broken: %s", vdpa_vq_broken(p->vq));
		p->num_idle--;
		p->held[p->taken++] = elem;
	}
}

/* Answer one that is held, chosen at random: its in bytes depend on its out bytes. */
static void device_answer(struct pair *p)
{
	uint32_t which = env_random(&p->seed) % p->taken;
	struct vdpa_vq_elem *elem = p->held[which], *reaped;
	uint32_t hash = 7, len, done = 0;

	p->held[which] = p->held[--p->taken];
	for (uint32_t i = 0; i < elem->out_num; i++)
		hash = hash_bytes(hash, elem->iov[i].iov_base, elem->iov[i].iov_len);
	len = hash % (elem->in_len + 1);
	for (uint32_t i = elem->out_num; i < (uint32_t)elem->out_num + elem->in_num; i++)
		for (size_t k = 0; k < elem->iov[i].iov_len && done < len; k++, done++)
			((uint8_t *)elem->iov[i].iov_base)[k] = (uint8_t)(hash + done);
	if (vdpa_vq_complete(p->vq, elem, len))
		p->idle[p->num_idle++] = elem;
	while ((reaped = vdpa_vq_reap(p->vq)))
		p->idle[p->num_idle++] = reaped;
}

/* The bytes of one writable piece: what was written, and behind that what was there. */
static void check_piece(struct pair *p, const struct req *req, const struct vdpa_drvq_sg *sg,
			uint32_t written, uint32_t *done)
{
	const uint8_t *data = pair_hva(p, sg->iova);

	for (uint32_t k = 0; k < sg->len; k++, ++*done) {
		uint8_t want = *done < written ? (uint8_t)(req->hash + *done) : 0xee;

		if (data[k] != want)
			fail_msg("byte %u is 0x%x, not 0x%x", *done, data[k], want);
	}
}

/* Get back all that is used, and check the answers.  Returns how many. */
static uint32_t driver_collect(struct pair *p)
{
	uint32_t len, num = 0;
	struct req *req;

	while ((req = vdpa_drvq_get(p->drvq, &len))) {
		uint32_t want = req->hash % (req->in_len + 1), done = 0;

		assert_true(req->busy);
		assert_int_equal(len, want);
		for (uint32_t i = req->out; i < req->out + req->in; i++)
			check_piece(p, req, &req->sg[i], want, &done);
		req->busy = false;
		p->busy--;
		num++;
	}
	assert_null(vdpa_drvq_broken(p->drvq));
	return num;
}

/* Requests go round until `rounds` have come back, with batches of random size on both sides. */
static void run_pair_of(uint32_t num, uint64_t features, uint32_t indirect, uint32_t rounds,
			uint32_t segs)
{
	uint32_t back = 0;
	struct pair p;

	pair_init(&p, num, features, indirect);
	while (back < rounds) {
		for (uint32_t i = 0; i < num && env_random(&p.seed) % 16; i++)
			if (!p.reqs[i].busy && offer_random(&p, i, segs) == -ENOSPC)
				break;
		vdpa_drvq_publish(p.drvq);
		device_take(&p);
		while (p.taken && env_random(&p.seed) % 8)
			device_answer(&p);
		vdpa_vq_publish(p.vq);
		back += driver_collect(&p);
	}
	/* Drain. */
	vdpa_drvq_publish(p.drvq);
	while (p.busy) {
		device_take(&p);
		while (p.taken)
			device_answer(&p);
		vdpa_vq_publish(p.vq);
		assert_int_not_equal(driver_collect(&p), 0);
	}
	assert_int_equal(vdpa_drvq_free_slots(p.drvq), num);
	assert_int_equal(vdpa_vq_outstanding(p.vq), 0);
	assert_int_equal(vdpa_vq_stats(p.vq)->broken, 0);
	pair_free(&p);
}

static void run_pair(uint32_t num, uint64_t features, uint32_t indirect, uint32_t rounds)
{
	run_pair_of(num, features, indirect, rounds, num < REQ_SEGS ? num : REQ_SEGS);
}

static void test_drvq_all_features_random_chains(void **state)
{
	static const uint64_t bits[] = {RING_F_INDIRECT_DESC, RING_F_EVENT_IDX, RING_F_IN_ORDER,
					RING_F_PACKED};
	static const uint32_t split_sizes[] = {1, 2, 8, 64, 256};
	static const uint32_t packed_sizes[] = {1, 2, 3, 7, 64, 255};

	for (unsigned mask = 0; mask < 1u << ARRAY_SIZE(bits); mask++) {
		const uint32_t *sizes = split_sizes;
		size_t num_sizes = ARRAY_SIZE(split_sizes);
		uint64_t features = 0;

		for (size_t i = 0; i < ARRAY_SIZE(bits); i++)
			if (mask & 1u << i)
				features |= bits[i];
		if (features & RING_F_PACKED) {
			sizes = packed_sizes;
			num_sizes = ARRAY_SIZE(packed_sizes);
		}
		for (size_t i = 0; i < num_sizes; i++) {
			run_pair(sizes[i], features, 0, 200);
			run_pair(sizes[i], features, 5, 200);
			run_pair(sizes[i], features, REQ_SEGS, 200);
		}
	}
}

/* Index counters pass 65536. */
static void test_drvq_wraps(void **state)
{
	run_pair_of(256, 0, 0, 66000, 1);
	run_pair_of(64, RING_F_IN_ORDER | RING_F_EVENT_IDX, 0, 66000, 1);
}

static void test_drvq_largest_ring(void **state)
{
	uint32_t num = VDPA_VQ_NUM_MAX;

	run_pair_of(num, RING_F_INDIRECT_DESC, 2, num + 10, 2);
	run_pair_of(num, RING_F_PACKED, 0, num + 10, 2);
	run_pair_of(num - 1, RING_F_PACKED, 0, num + 10, 2);
}

/* ------------------------------------------------------------------ one rule a test */

static struct vdpa_drvq_sg some_sg(const struct pair *p, uint32_t len)
{
	return (struct vdpa_drvq_sg){PAIR_IOVA + p->ring_bytes, len};
}

static void test_drvq_add_checks_its_arguments(void **state)
{
	struct vdpa_drvq_sg sg[5];
	struct pair p;

	pair_init(&p, 4, RING_F_INDIRECT_DESC, 8);
	for (int i = 0; i < 5; i++)
		sg[i] = some_sg(&p, 8);
	assert_int_equal(vdpa_drvq_add(p.drvq, sg, 0, 0, &p), -EINVAL);
	assert_int_equal(vdpa_drvq_add(p.drvq, sg, 1, 0, NULL), -EINVAL);
	assert_int_equal(vdpa_drvq_add(p.drvq, sg, 5, 0, &p), -EINVAL);
	assert_int_equal(vdpa_drvq_add(p.drvq, sg, 3, 2, &p), -EINVAL);
	assert_int_equal(vdpa_drvq_add(p.drvq, sg, UINT32_MAX, 2, &p), -EINVAL);
	assert_int_equal(vdpa_drvq_free_slots(p.drvq), 4);
	assert_int_equal(vdpa_drvq_add(p.drvq, sg, 2, 2, &p), 0);
	assert_int_equal(vdpa_drvq_free_slots(p.drvq), 3); /* a table */
	pair_free(&p);
}

static void test_drvq_full_ring_takes_nothing(void **state)
{
	struct vdpa_drvq_sg sg[3];
	struct pair p;

	pair_init(&p, 4, 0, 0);
	for (int i = 0; i < 3; i++)
		sg[i] = some_sg(&p, 8);
	assert_int_equal(vdpa_drvq_add(p.drvq, sg, 1, 1, &p), 0);
	assert_int_equal(vdpa_drvq_add(p.drvq, sg, 1, 2, &p), -ENOSPC);
	assert_int_equal(vdpa_drvq_free_slots(p.drvq), 2);
	assert_int_equal(vdpa_drvq_add(p.drvq, sg, 2, 0, &p), 0);
	assert_int_equal(vdpa_drvq_add(p.drvq, sg, 0, 1, &p), -ENOSPC);
	pair_free(&p);
}

static void test_drvq_alloc_checks_its_config(void **state)
{
	struct vdpa_drvq_config cfg = {.num = 8, .iova = PAIR_IOVA};
	struct vdpa_drvq *q = NULL;
	struct vdpa_mem *mem;
	size_t bytes = vdpa_drvq_bytes(8, 0, 0);

	assert_int_equal(vdpa_mem_alloc("ring", bytes, &mem, NULL), 0);
	cfg.hva = vdpa_mem_hva(mem);
	cfg.num = 0;
	assert_int_equal(vdpa_drvq_alloc(&cfg, &q, NULL), -EINVAL);
	cfg.num = 6;
	assert_int_equal(vdpa_drvq_alloc(&cfg, &q, NULL), -EINVAL);
	cfg.num = 65536;
	assert_int_equal(vdpa_drvq_alloc(&cfg, &q, NULL), -EINVAL);
	cfg.num = 8;
	cfg.iova += 64;
	assert_int_equal(vdpa_drvq_alloc(&cfg, &q, NULL), -EINVAL);
	cfg.iova = UINT64_MAX - 4095;
	assert_int_equal(vdpa_drvq_alloc(&cfg, &q, NULL), -EINVAL);
	cfg.iova = PAIR_IOVA;
	cfg.indirect = 65536;
	assert_int_equal(vdpa_drvq_alloc(&cfg, &q, NULL), -EINVAL);
	cfg.indirect = 0;
	fail_alloc_nth(1);
	assert_int_equal(vdpa_drvq_alloc(&cfg, &q, NULL), -ENOMEM);
	assert_true(fail_alloc_done());
	assert_null(q);
	memset(cfg.hva, 0xff, bytes);
	assert_int_equal(vdpa_drvq_alloc(&cfg, &q, NULL), 0);
	for (size_t i = 0; i < bytes; i++)
		assert_int_equal(((uint8_t *)cfg.hva)[i], 0);
	vdpa_drvq_free(q);
	vdpa_drvq_free(NULL);
	vdpa_mem_put(mem);
}

/* A split ring whose device is the test. */
struct split_dev {
	struct pair p;
	struct vring_avail *avail;
	struct vring_used *used;
	int cookies[8];
};

static void split_dev_init(struct split_dev *d, uint64_t features, uint32_t offered)
{
	uint64_t desc, driver, device;

	pair_init(&d->p, 8, features, 0);
	vdpa_drvq_areas(d->p.drvq, &desc, &driver, &device);
	d->avail = (void *)pair_hva(&d->p, driver);
	d->used = (void *)pair_hva(&d->p, device);
	for (uint32_t i = 0; i < offered; i++) {
		struct vdpa_drvq_sg sg = some_sg(&d->p, 16);

		assert_int_equal(vdpa_drvq_add(d->p.drvq, &sg, 0, 1, &d->cookies[i]), 0);
	}
	vdpa_drvq_publish(d->p.drvq);
}

static void split_dev_use(struct split_dev *d, uint16_t at, uint32_t id, uint32_t len, uint16_t idx)
{
	d->used->ring[at] = (vring_used_elem_t){htole32(id), htole32(len)};
	ring_store16_release(&d->used->idx, idx);
}

static void split_dev_expect_broken(struct split_dev *d, const char *why)
{
	uint32_t len;

	assert_null(vdpa_drvq_get(d->p.drvq, &len));
	assert_non_null(vdpa_drvq_broken(d->p.drvq));
	if (!strstr(vdpa_drvq_broken(d->p.drvq), why))
		fail_msg("broken because '%s', not '%s'", vdpa_drvq_broken(d->p.drvq), why);
	assert_null(vdpa_drvq_get(d->p.drvq, &len));
	assert_false(vdpa_drvq_enable_call(d->p.drvq));
	pair_free(&d->p);
}

static void test_drvq_split_rejects_a_used_index_that_jumps(void **state)
{
	struct split_dev d;

	split_dev_init(&d, 0, 3);
	split_dev_use(&d, 0, 0, 0, 4);
	split_dev_expect_broken(&d, "used index jumps");
}

static void test_drvq_split_rejects_a_used_id_out_of_range(void **state)
{
	struct split_dev d;

	split_dev_init(&d, 0, 3);
	split_dev_use(&d, 0, 8, 0, 1);
	split_dev_expect_broken(&d, "id 8");
	split_dev_init(&d, 0, 3);
	split_dev_use(&d, 0, UINT32_MAX, 0, 1);
	split_dev_expect_broken(&d, "id 4294967295");
}

static void test_drvq_split_rejects_an_id_that_is_not_offered(void **state)
{
	struct split_dev d;
	uint32_t len;

	split_dev_init(&d, 0, 3);
	split_dev_use(&d, 0, 3, 0, 1);
	split_dev_expect_broken(&d, "id 3");
	/* Nor one that came back before. */
	split_dev_init(&d, 0, 3);
	split_dev_use(&d, 0, 1, 0, 1);
	assert_ptr_equal(vdpa_drvq_get(d.p.drvq, &len), &d.cookies[1]);
	split_dev_use(&d, 1, 1, 0, 2);
	split_dev_expect_broken(&d, "id 1");
}

static void test_drvq_split_cuts_the_length(void **state)
{
	struct split_dev d;
	uint32_t len;

	split_dev_init(&d, 0, 1);
	split_dev_use(&d, 0, 0, UINT32_MAX, 1);
	assert_ptr_equal(vdpa_drvq_get(d.p.drvq, &len), &d.cookies[0]);
	assert_int_equal(len, 16);
	pair_free(&d.p);
}

static void test_drvq_split_in_order_batch(void **state)
{
	struct split_dev d;
	uint32_t len;

	/* One entry stands for the first three; then one for itself; then one for two. */
	split_dev_init(&d, RING_F_IN_ORDER, 6);
	split_dev_use(&d, 0, 2, 5, 3);
	for (int i = 0; i < 3; i++) {
		assert_ptr_equal(vdpa_drvq_get(d.p.drvq, &len), &d.cookies[i]);
		assert_int_equal(len, i < 2 ? 16 : 5);
	}
	assert_null(vdpa_drvq_get(d.p.drvq, &len));
	split_dev_use(&d, 3, 3, 6, 4);
	split_dev_use(&d, 4, 5, 7, 6);
	assert_ptr_equal(vdpa_drvq_get(d.p.drvq, &len), &d.cookies[3]);
	assert_int_equal(len, 6);
	assert_ptr_equal(vdpa_drvq_get(d.p.drvq, &len), &d.cookies[4]);
	assert_int_equal(len, 16);
	assert_ptr_equal(vdpa_drvq_get(d.p.drvq, &len), &d.cookies[5]);
	assert_int_equal(len, 7);
	assert_null(vdpa_drvq_get(d.p.drvq, &len));
	assert_null(vdpa_drvq_broken(d.p.drvq));
	pair_free(&d.p);
}

static void test_drvq_split_in_order_rejects_a_batch_over_the_index(void **state)
{
	struct split_dev d;
	uint32_t len;

	split_dev_init(&d, RING_F_IN_ORDER, 6);
	split_dev_use(&d, 0, 3, 5, 2); /* four chains, but the index says two */
	assert_ptr_equal(vdpa_drvq_get(d.p.drvq, &len), &d.cookies[0]);
	assert_ptr_equal(vdpa_drvq_get(d.p.drvq, &len), &d.cookies[1]);
	split_dev_expect_broken(&d, "more chains than were used");

	split_dev_init(&d, RING_F_IN_ORDER, 6);
	split_dev_use(&d, 0, 7, 5, 2);
	split_dev_expect_broken(&d, "id 7");
}

static void test_drvq_split_in_order_uses_descriptors_in_order(void **state)
{
	struct vdpa_drvq_sg sg[2];
	struct split_dev d;
	uint32_t len;

	split_dev_init(&d, RING_F_IN_ORDER, 5);
	for (uint16_t i = 0; i < 5; i++)
		split_dev_use(&d, i, i, 0, i + 1);
	for (int i = 0; i < 5; i++)
		assert_non_null(vdpa_drvq_get(d.p.drvq, &len));
	/* The next begin at 5, wherever the free list is; chains wrap. */
	sg[0] = sg[1] = some_sg(&d.p, 8);
	for (int i = 0; i < 4; i++)
		assert_int_equal(vdpa_drvq_add(d.p.drvq, sg, 1, 1, &d.cookies[i]), 0);
	assert_int_equal(ring_load16(&d.avail->ring[5]), 5);
	assert_int_equal(ring_load16(&d.avail->ring[6]), 7);
	assert_int_equal(ring_load16(&d.avail->ring[7]), 1);
	assert_int_equal(ring_load16(&d.avail->ring[0]), 3);
	pair_free(&d.p);
}

static void test_drvq_split_kick_suppression(void **state)
{
	struct vdpa_drvq_sg sg;
	struct split_dev d;

	split_dev_init(&d, 0, 0);
	sg = some_sg(&d.p, 8);
	assert_false(vdpa_drvq_publish(d.p.drvq)); /* nothing new */
	assert_int_equal(vdpa_drvq_add(d.p.drvq, &sg, 1, 0, &d), 0);
	assert_true(vdpa_drvq_publish(d.p.drvq));
	ring_store16(&d.used->flags, VRING_USED_F_NO_NOTIFY);
	assert_int_equal(vdpa_drvq_add(d.p.drvq, &sg, 1, 0, &d), 0);
	assert_false(vdpa_drvq_publish(d.p.drvq));
	pair_free(&d.p);

	split_dev_init(&d, RING_F_EVENT_IDX, 0);
	ring_store16(&d.used->ring[8], 2);
	for (int i = 0; i < 5; i++) {
		assert_int_equal(vdpa_drvq_add(d.p.drvq, &sg, 1, 0, &d), 0);
		assert_int_equal(vdpa_drvq_publish(d.p.drvq), i == 2);
	}
	pair_free(&d.p);
}

static void test_drvq_split_enable_call_looks_again(void **state)
{
	struct split_dev d;
	uint32_t len;

	split_dev_init(&d, 0, 2);
	vdpa_drvq_disable_call(d.p.drvq);
	assert_int_equal(ring_load16(&d.avail->flags), VRING_AVAIL_F_NO_INTERRUPT);
	assert_false(vdpa_drvq_enable_call(d.p.drvq));
	assert_int_equal(ring_load16(&d.avail->flags), 0);
	split_dev_use(&d, 0, 0, 0, 1);
	assert_true(vdpa_drvq_enable_call(d.p.drvq));
	pair_free(&d.p);

	split_dev_init(&d, RING_F_EVENT_IDX, 2);
	split_dev_use(&d, 0, 0, 0, 1);
	assert_non_null(vdpa_drvq_get(d.p.drvq, &len));
	vdpa_drvq_disable_call(d.p.drvq);
	assert_int_equal(ring_load16(&d.avail->flags), 0);
	assert_false(vdpa_drvq_enable_call(d.p.drvq));
	assert_int_equal(ring_load16(&d.avail->ring[8]), 1);
	pair_free(&d.p);
}

/* A packed ring whose device is the test. */
struct packed_dev {
	struct pair p;
	struct vring_packed_desc *ring;
	struct vring_packed_desc_event *driver, *device;
	int cookies[8];
};

static void packed_dev_init(struct packed_dev *d, uint64_t features, uint32_t offered)
{
	uint64_t desc, driver, device;

	pair_init(&d->p, 5, features | RING_F_PACKED, 0);
	vdpa_drvq_areas(d->p.drvq, &desc, &driver, &device);
	d->ring = (void *)pair_hva(&d->p, desc);
	d->driver = (void *)pair_hva(&d->p, driver);
	d->device = (void *)pair_hva(&d->p, device);
	for (uint32_t i = 0; i < offered; i++) {
		struct vdpa_drvq_sg sg = some_sg(&d->p, 16);

		assert_int_equal(vdpa_drvq_add(d->p.drvq, &sg, 0, 1, &d->cookies[i]), 0);
	}
	vdpa_drvq_publish(d->p.drvq);
}

static void packed_dev_use(struct packed_dev *d, uint16_t at, uint16_t id, uint32_t len,
			   uint16_t flags)
{
	d->ring[at].id = htole16(id);
	d->ring[at].len = htole32(len);
	ring_store16_release(&d->ring[at].flags, flags);
}

static void packed_dev_expect_broken(struct packed_dev *d, const char *why)
{
	uint32_t len;

	assert_null(vdpa_drvq_get(d->p.drvq, &len));
	assert_non_null(vdpa_drvq_broken(d->p.drvq));
	if (!strstr(vdpa_drvq_broken(d->p.drvq), why))
		fail_msg("broken because '%s', not '%s'", vdpa_drvq_broken(d->p.drvq), why);
	assert_null(vdpa_drvq_get(d->p.drvq, &len));
	assert_false(vdpa_drvq_enable_call(d->p.drvq));
	pair_free(&d->p);
}

#define USED  RING_DESC_F_MARKS
#define WRITE VRING_DESC_F_WRITE

static void test_drvq_packed_publishes_a_batch_by_its_first_slot(void **state)
{
	struct vdpa_drvq_sg sg[2];
	struct packed_dev d;

	packed_dev_init(&d, 0, 0);
	sg[0] = sg[1] = some_sg(&d.p, 8);
	assert_int_equal(vdpa_drvq_add(d.p.drvq, sg, 1, 1, &d), 0);
	assert_int_equal(vdpa_drvq_add(d.p.drvq, sg, 1, 0, &d), 0);
	assert_int_equal(ring_load16(&d.ring[0].flags), 0);
	assert_int_equal(ring_load16(&d.ring[1].flags), WRITE | RING_DESC_F_AVAIL);
	assert_int_equal(ring_load16(&d.ring[2].flags), RING_DESC_F_AVAIL);
	assert_true(vdpa_drvq_publish(d.p.drvq));
	assert_int_equal(ring_load16(&d.ring[0].flags), VRING_DESC_F_NEXT | RING_DESC_F_AVAIL);
	assert_false(vdpa_drvq_publish(d.p.drvq));
	pair_free(&d.p);
}

static void test_drvq_packed_rejects_ids_that_are_not_offered(void **state)
{
	struct packed_dev d;
	uint32_t len;

	packed_dev_init(&d, 0, 3);
	packed_dev_use(&d, 0, 5, 0, USED);
	packed_dev_expect_broken(&d, "id 5");
	packed_dev_init(&d, 0, 3);
	packed_dev_use(&d, 0, 3, 0, USED);
	packed_dev_expect_broken(&d, "id 3");
	packed_dev_init(&d, 0, 3);
	packed_dev_use(&d, 0, 1, 0, USED);
	packed_dev_use(&d, 1, 1, 0, USED);
	assert_ptr_equal(vdpa_drvq_get(d.p.drvq, &len), &d.cookies[1]);
	packed_dev_expect_broken(&d, "id 1");
}

static void test_drvq_packed_length_counts_where_something_was_written(void **state)
{
	struct packed_dev d;
	uint32_t len;

	packed_dev_init(&d, 0, 3);
	packed_dev_use(&d, 0, 2, 7, USED | WRITE);
	packed_dev_use(&d, 1, 0, 7, USED);
	packed_dev_use(&d, 2, 1, UINT32_MAX, USED | WRITE);
	assert_ptr_equal(vdpa_drvq_get(d.p.drvq, &len), &d.cookies[2]);
	assert_int_equal(len, 7);
	assert_ptr_equal(vdpa_drvq_get(d.p.drvq, &len), &d.cookies[0]);
	assert_int_equal(len, 0);
	assert_ptr_equal(vdpa_drvq_get(d.p.drvq, &len), &d.cookies[1]);
	assert_int_equal(len, 16);
	assert_null(vdpa_drvq_get(d.p.drvq, &len));
	pair_free(&d.p);
}

static void test_drvq_packed_in_order_batch(void **state)
{
	struct packed_dev d;
	uint32_t len;

	/* One descriptor stands for the first three, the next for itself, the last for itself. */
	packed_dev_init(&d, RING_F_IN_ORDER, 5);
	packed_dev_use(&d, 0, 2, 5, USED | WRITE);
	for (int i = 0; i < 3; i++) {
		assert_ptr_equal(vdpa_drvq_get(d.p.drvq, &len), &d.cookies[i]);
		assert_int_equal(len, i < 2 ? 16 : 5);
	}
	assert_null(vdpa_drvq_get(d.p.drvq, &len));
	packed_dev_use(&d, 3, 4, 6, USED | WRITE);
	assert_true(vdpa_drvq_enable_call(d.p.drvq));
	assert_ptr_equal(vdpa_drvq_get(d.p.drvq, &len), &d.cookies[3]);
	assert_true(vdpa_drvq_enable_call(d.p.drvq)); /* the rest of the batch */
	assert_ptr_equal(vdpa_drvq_get(d.p.drvq, &len), &d.cookies[4]);
	assert_int_equal(len, 6);
	assert_null(vdpa_drvq_get(d.p.drvq, &len));
	assert_int_equal(vdpa_drvq_free_slots(d.p.drvq), 5);

	/* In the next lap used is the other way round. */
	for (int i = 0; i < 2; i++) {
		struct vdpa_drvq_sg sg = some_sg(&d.p, 16);

		assert_int_equal(vdpa_drvq_add(d.p.drvq, &sg, 0, 1, &d.cookies[i]), 0);
	}
	vdpa_drvq_publish(d.p.drvq);
	packed_dev_use(&d, 0, 1, 5, WRITE);
	assert_ptr_equal(vdpa_drvq_get(d.p.drvq, &len), &d.cookies[0]);
	assert_ptr_equal(vdpa_drvq_get(d.p.drvq, &len), &d.cookies[1]);
	pair_free(&d.p);

	packed_dev_init(&d, RING_F_IN_ORDER, 3);
	packed_dev_use(&d, 0, 4, 5, USED | WRITE);
	packed_dev_expect_broken(&d, "id 4");
}

static void test_drvq_packed_kick_suppression(void **state)
{
	struct packed_dev d;
	uint32_t len;

	/* For each slot of two laps: single requests kick exactly when that slot is made available.
	 */
	for (int want = 0; want < 10; want++) {
		struct vdpa_drvq_sg sg;

		packed_dev_init(&d, RING_F_EVENT_IDX, 0);
		sg = some_sg(&d.p, 16);
		ring_store16(&d.device->off_wrap, (uint16_t)(want % 5 | (want < 5) << 15));
		ring_store16(&d.device->flags, VRING_PACKED_EVENT_FLAG_DESC);
		for (int i = 0; i < 10; i++) {
			assert_int_equal(vdpa_drvq_add(d.p.drvq, &sg, 1, 0, &d), 0);
			assert_int_equal(vdpa_drvq_publish(d.p.drvq), i == want);
			packed_dev_use(&d, (uint16_t)(i % 5), 0, 0, i < 5 ? USED : 0);
			assert_non_null(vdpa_drvq_get(d.p.drvq, &len));
		}
		ring_store16(&d.device->flags, VRING_PACKED_EVENT_FLAG_DISABLE);
		assert_int_equal(vdpa_drvq_add(d.p.drvq, &sg, 1, 0, &d), 0);
		assert_false(vdpa_drvq_publish(d.p.drvq));
		ring_store16(&d.device->flags, VRING_PACKED_EVENT_FLAG_ENABLE);
		assert_int_equal(vdpa_drvq_add(d.p.drvq, &sg, 1, 0, &d), 0);
		assert_true(vdpa_drvq_publish(d.p.drvq));
		pair_free(&d.p);
	}
}

static void test_drvq_packed_enable_call_looks_again(void **state)
{
	struct packed_dev d;
	uint32_t len;

	packed_dev_init(&d, 0, 2);
	vdpa_drvq_disable_call(d.p.drvq);
	assert_int_equal(ring_load16(&d.driver->flags), VRING_PACKED_EVENT_FLAG_DISABLE);
	assert_false(vdpa_drvq_enable_call(d.p.drvq));
	assert_int_equal(ring_load16(&d.driver->flags), VRING_PACKED_EVENT_FLAG_ENABLE);
	packed_dev_use(&d, 0, 0, 0, USED);
	assert_true(vdpa_drvq_enable_call(d.p.drvq));
	pair_free(&d.p);

	packed_dev_init(&d, RING_F_EVENT_IDX, 2);
	packed_dev_use(&d, 0, 0, 0, USED);
	assert_non_null(vdpa_drvq_get(d.p.drvq, &len));
	assert_false(vdpa_drvq_enable_call(d.p.drvq));
	assert_int_equal(ring_load16(&d.driver->flags), VRING_PACKED_EVENT_FLAG_DESC);
	assert_int_equal(ring_load16(&d.driver->off_wrap), 0x8001);
	pair_free(&d.p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_drvq_all_features_random_chains),
		cmocka_unit_test(test_drvq_wraps),
		cmocka_unit_test(test_drvq_largest_ring),
		cmocka_unit_test(test_drvq_add_checks_its_arguments),
		cmocka_unit_test(test_drvq_full_ring_takes_nothing),
		cmocka_unit_test(test_drvq_alloc_checks_its_config),
		cmocka_unit_test(test_drvq_split_rejects_a_used_index_that_jumps),
		cmocka_unit_test(test_drvq_split_rejects_a_used_id_out_of_range),
		cmocka_unit_test(test_drvq_split_rejects_an_id_that_is_not_offered),
		cmocka_unit_test(test_drvq_split_cuts_the_length),
		cmocka_unit_test(test_drvq_split_in_order_batch),
		cmocka_unit_test(test_drvq_split_in_order_rejects_a_batch_over_the_index),
		cmocka_unit_test(test_drvq_split_in_order_uses_descriptors_in_order),
		cmocka_unit_test(test_drvq_split_kick_suppression),
		cmocka_unit_test(test_drvq_split_enable_call_looks_again),
		cmocka_unit_test(test_drvq_packed_publishes_a_batch_by_its_first_slot),
		cmocka_unit_test(test_drvq_packed_rejects_ids_that_are_not_offered),
		cmocka_unit_test(test_drvq_packed_length_counts_where_something_was_written),
		cmocka_unit_test(test_drvq_packed_in_order_batch),
		cmocka_unit_test(test_drvq_packed_kick_suppression),
		cmocka_unit_test(test_drvq_packed_enable_call_looks_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
