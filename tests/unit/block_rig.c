/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/defs.h"
#include "block_rig.h"
#include "loop/lane.h"
#include "loop/worker.h"

static struct vdpa_attrs *parse(const char *words)
{
	struct vdpa_attrs *attrs = vdpa_attrs_alloc();
	char *copy = strdup(words), *save, *key, *value;

	if (!attrs || !copy)
		goto fail;
	for (key = strtok_r(copy, " ", &save); key; key = strtok_r(NULL, " ", &save)) {
		value = strtok_r(NULL, " ", &save);
		assert_non_null(value);
		if (vdpa_attrs_add(attrs, key, value, NULL, NULL))
			goto fail;
	}
	free(copy);
	return attrs;
fail:
	free(copy);
	vdpa_attrs_free(attrs);
	return NULL;
}

static const struct vdpa_attr_desc brig_attrs[] = {BLOCK_ATTRS, {0}};

static int open_backend(struct block_rig *rig, const char *words)
{
	struct vdpa_attrs *attrs = parse(words);
	int err;

	if (!attrs)
		return -ENOMEM;
	err = vdpa_attrs_check(attrs, brig_attrs, NULL, false, &rig->ack);
	if (!err)
		err = block_open(attrs, &rig->block, &rig->ack);
	vdpa_attrs_free(attrs);
	return err;
}

struct attach {
	struct block_rig *rig;
	int err;
};

static void attach(void *arg)
{
	struct attach *a = arg;

	a->err = block_attach(a->rig->block, a->rig->worker, a->rig->pool, &a->rig->queue,
			      &a->rig->ack);
}

int brig_open(struct block_rig *rig, const char *words, bool with_worker)
{
	struct attach a = {.rig = rig};

	memset(rig, 0, sizeof(*rig));
	pthread_mutex_init(&rig->lock, NULL);
	pthread_cond_init(&rig->cond, NULL);
	a.err = open_backend(rig, words);
	if (!a.err && with_worker) {
		a.err = lane_pool_alloc(1, 100, &rig->pool);
		if (!a.err)
			a.err = worker_alloc("test", -1, 0, &rig->worker);
	}
	if (!a.err)
		brig_call(rig, attach, &a);
	if (a.err)
		brig_close(rig);
	return a.err;
}

static void detach(void *arg)
{
	struct block_rig *rig = arg;

	block_detach(rig->queue);
}

void brig_close(struct block_rig *rig)
{
	if (rig->queue)
		brig_call(rig, detach, rig);
	block_close(rig->block);
	if (rig->worker)
		worker_free(rig->worker);
	if (rig->pool)
		assert_int_equal(lane_pool_free(rig->pool, 10000), 0);
	rig->queue = NULL;
	rig->block = NULL;
	rig->worker = NULL;
	rig->pool = NULL;
}

void brig_call(struct block_rig *rig, void (*fn)(void *arg), void *arg)
{
	if (rig->worker)
		worker_call(rig->worker, fn, arg);
	else
		fn(arg);
}

static void ended(struct brig_io *rio, int err)
{
	pthread_mutex_lock(&rio->rig->lock);
	assert_false(rio->done);
	rio->done = true;
	rio->err = err;
	pthread_cond_broadcast(&rio->rig->cond);
	pthread_mutex_unlock(&rio->rig->lock);
}

static void io_done(struct block_io *io, int err)
{
	ended(container_of(io, struct brig_io, io), err);
}

void brig_prep(struct block_rig *rig, struct brig_io *rio, enum block_op op, uint32_t flags,
	       uint64_t off, void *buf, uint64_t len)
{
	memset(rio, 0, sizeof(*rio));
	rio->rig = rig;
	rio->iov[0] = (struct iovec){.iov_base = buf, .iov_len = len};
	rio->io.op = op;
	rio->io.flags = flags;
	rio->io.off = off;
	rio->io.len = len;
	rio->io.iov = rio->iov;
	rio->io.iovcnt = 1;
	rio->io.done = io_done;
}

struct batch {
	struct block_rig *rig;
	struct brig_io **rios;
	unsigned int num;
};

static void submit(void *arg)
{
	struct batch *batch = arg;

	for (unsigned int i = 0; i < batch->num; i++) {
		int err = block_submit(batch->rig->queue, &batch->rios[i]->io);

		if (err != BLOCK_PENDING)
			ended(batch->rios[i], err);
	}
	block_kick(batch->rig->queue);
}

void brig_submit(struct block_rig *rig, struct brig_io **rios, unsigned int num)
{
	struct batch batch = {.rig = rig, .rios = rios, .num = num};

	brig_call(rig, submit, &batch);
}

int brig_wait(struct brig_io *rio)
{
	pthread_mutex_lock(&rio->rig->lock);
	while (!rio->done)
		pthread_cond_wait(&rio->rig->cond, &rio->rig->lock);
	pthread_mutex_unlock(&rio->rig->lock);
	return rio->err;
}

bool brig_is_done(struct brig_io *rio)
{
	bool done;

	pthread_mutex_lock(&rio->rig->lock);
	done = rio->done;
	pthread_mutex_unlock(&rio->rig->lock);
	return done;
}

int brig_do(struct block_rig *rig, enum block_op op, uint32_t flags, uint64_t off, void *buf,
	    uint64_t len)
{
	struct brig_io rio, *list = &rio;

	brig_prep(rig, &rio, op, flags, off, buf, len);
	brig_submit(rig, &list, 1);
	return brig_wait(&rio);
}

/* ---- stress */

#define STRESS_IOS 16
#define STRESS_MAX 65536u

struct stress {
	struct block_rig *rig;
	unsigned int seed;
	uint32_t grain;
	uint8_t *shadow;
	struct brig_io ios[STRESS_IOS];
	uint8_t *bufs[STRESS_IOS];
	bool busy[STRESS_IOS];
};

static uint32_t pick(struct stress *s, uint32_t num)
{
	return (uint32_t)rand_r(&s->seed) % num;
}

static bool overlaps(const struct stress *s, uint64_t off, uint64_t len)
{
	for (unsigned int i = 0; i < STRESS_IOS; i++) {
		const struct block_io *io = &s->ios[i].io;

		if (s->busy[i] && off < io->off + io->len && io->off < off + len)
			return true;
	}
	return false;
}

/* Cut the buffer into pieces of random length. */
static void split(struct stress *s, struct brig_io *rio)
{
	uint8_t *base = rio->iov[0].iov_base;
	uint64_t left = rio->io.len;
	unsigned int n = 0;

	while (n < ARRAY_SIZE(rio->iov) - 1 && left > s->grain) {
		uint64_t len = (1 + pick(s, (uint32_t)(left / s->grain))) * s->grain;

		if (len >= left)
			break;
		rio->iov[n++] = (struct iovec){base, len};
		base += len;
		left -= len;
	}
	rio->iov[n++] = (struct iovec){base, left};
	rio->io.iovcnt = n;
}

/* What the disk holds once the request is done. */
static void apply(struct stress *s, unsigned int i)
{
	struct block_io *io = &s->ios[i].io;

	if (io->op == BLOCK_WRITE)
		memcpy(s->shadow + io->off, s->bufs[i], io->len);
	else if (io->op == BLOCK_WRITE_ZEROES)
		memset(s->shadow + io->off, 0, io->len);
}

/* Each write differs from all others, and each four bytes of it from their neighbours. */
static void fill(struct stress *s, uint8_t *buf, uint64_t len)
{
	uint32_t value = (uint32_t)rand_r(&s->seed);

	for (uint64_t b = 0; b < len; b += sizeof(value)) {
		memcpy(buf + b, &value, sizeof(value));
		value += 0x9e3779b9;
	}
}

static bool start(struct stress *s, unsigned int i)
{
	uint32_t bs = s->rig->block->info.block_size;
	uint64_t blocks = s->rig->block->info.size / bs;
	uint64_t len = (1 + pick(s, STRESS_MAX / bs)) * bs;
	uint64_t off = pick(s, (uint32_t)(blocks - len / bs + 1)) * bs;
	static const enum block_op ops[] = {BLOCK_READ,        BLOCK_READ,  BLOCK_READ,
					    BLOCK_WRITE,       BLOCK_WRITE, BLOCK_WRITE,
					    BLOCK_WRITE_ZEROES};
	/* Few wait for the medium: it may be slow. */
	enum block_op op = pick(s, 64) ? ops[pick(s, ARRAY_SIZE(ops))] : BLOCK_FLUSH;
	uint32_t flags = 0;

	if (op == BLOCK_FLUSH)
		off = len = 0;
	else if (overlaps(s, off, len))
		return false;
	if (op == BLOCK_WRITE && !pick(s, 64))
		flags = BLOCK_FUA;
	if (op == BLOCK_WRITE_ZEROES && pick(s, 2))
		flags = BLOCK_UNMAP;
	brig_prep(s->rig, &s->ios[i], op, flags, off, s->bufs[i], len);
	if (op == BLOCK_WRITE)
		fill(s, s->bufs[i], len);
	else
		memset(s->bufs[i], 0xa5, len);
	split(s, &s->ios[i]);
	s->busy[i] = true;
	return true;
}

static void end(struct stress *s, unsigned int i)
{
	struct block_io *io = &s->ios[i].io;

	assert_int_equal(brig_wait(&s->ios[i]), 0);
	if (io->op == BLOCK_READ)
		assert_memory_equal(s->bufs[i], s->shadow + io->off, io->len);
	apply(s, i);
	s->busy[i] = false;
}

static void stress_round(struct stress *s)
{
	struct brig_io *batch[STRESS_IOS];
	unsigned int num = 0;

	for (unsigned int i = 0; i < STRESS_IOS; i++) {
		if (s->busy[i] && (brig_is_done(&s->ios[i]) || !pick(s, 4)))
			end(s, i);
		if (!s->busy[i] && start(s, i))
			batch[num++] = &s->ios[i];
	}
	if (num)
		brig_submit(s->rig, batch, num);
}

void brig_stress(struct block_rig *rig, unsigned int seed, unsigned int rounds, uint32_t grain)
{
	uint64_t size = rig->block->info.size;
	struct stress *s = calloc(1, sizeof(*s));

	assert_non_null(s);
	s->rig = rig;
	s->seed = seed;
	s->grain = grain;
	s->shadow = malloc(size);
	assert_non_null(s->shadow);
	for (unsigned int i = 0; i < STRESS_IOS; i++)
		assert_int_equal(posix_memalign((void **)&s->bufs[i], 4096, STRESS_MAX), 0);
	assert_int_equal(brig_do(rig, BLOCK_READ, 0, 0, s->shadow, size), 0);
	for (unsigned int i = 0; i < rounds; i++)
		stress_round(s);
	for (unsigned int i = 0; i < STRESS_IOS; i++) {
		if (s->busy[i])
			end(s, i);
		free(s->bufs[i]);
	}
	free(s->shadow);
	free(s);
}
