/* SPDX-License-Identifier: BSD-2-Clause */
/* The entropy device on each kind of source. */
#include "rig.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define DIR_NAME "/tmp/test_rng.XXXXXX"

struct source {
	char dir[sizeof(DIR_NAME)];
	char path[sizeof(DIR_NAME) + 8];
	int fd; /* the other end of a FIFO */
};

static void make_source(struct source *src)
{
	strcpy(src->dir, DIR_NAME);
	assert_non_null(mkdtemp(src->dir));
	snprintf(src->path, sizeof(src->path), "%s/bytes", src->dir);
	src->fd = -1;
}

static void drop_source(struct source *src)
{
	fd_closep(&src->fd);
	unlink(src->path);
	rmdir(src->dir);
}

static void fill_pattern(uint8_t *buf, size_t len)
{
	for (size_t i = 0; i < len; i++)
		buf[i] = (uint8_t)(i * 13 + i / 256 + 1);
}

static void make_file(struct source *src, size_t len)
{
	uint8_t *bytes = malloc(len + 1);
	int fd;

	make_source(src);
	fill_pattern(bytes, len);
	fd = open(src->path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_int_equal(write(fd, bytes, len), len);
	close(fd);
	free(bytes);
}

static struct rig_req *ask(struct rig *rig, uint32_t len)
{
	struct rig_req *req = rig_req(rig);

	memset(req->in, 0, RIG_SLOT / 2);
	rig_offer(rig, 0, req, 0, len);
	rig_kick(rig, 0);
	return req;
}

static uint32_t answer(struct rig *rig, struct rig_req *req)
{
	rig_wait(rig, 0, req);
	rig_put(req);
	return req->len;
}

/* Until the device has said something. */
static void wait_log(struct rig *rig)
{
	for (int i = 0; i < 200 && !atomic_load(&rig->logs); i++)
		vdpa_bus_dispatch(rig->bus, 100);
	assert_true(atomic_load(&rig->logs));
}

/* ---- the kernel's generator */

static void test_rng_kernel(void **state)
{
	struct rig_req *a, *b;
	struct rig rig;

	rig_open_bus(&rig, NULL);
	rig_add(&rig, "rng", NULL);
	rig_start(&rig, 0);
	a = ask(&rig, 4096);
	b = ask(&rig, 4096);
	rig_wait(&rig, 0, a);
	rig_wait(&rig, 0, b);
	assert_int_equal(a->len, 4096);
	assert_int_equal(b->len, 4096);
	/* Each byte differs in one of them, but for one in 256. */
	assert_memory_not_equal(a->in, b->in, 4096);
	assert_memory_not_equal(a->in + 4032, (uint8_t[64]){0}, 64);
	rig_close(&rig);
}

static void test_rng_request_without_room(void **state)
{
	struct rig_req *req;
	struct rig rig;

	rig_open_bus(&rig, NULL);
	rig_add(&rig, "rng", NULL);
	rig_start(&rig, 0);
	req = rig_send(&rig, 0, "x", 1, 0);
	rig_wait(&rig, 0, req);
	assert_int_equal(req->len, 0);
	assert_int_equal(rig_stats(&rig, 0).errors, 1);
	assert_int_equal(answer(&rig, ask(&rig, 16)), 16);
	rig_close(&rig);
}

/* ---- files */

/* Bytes come in order, each once; at the end requests wait. */
static void test_rng_file_ends(void **state)
{
	uint8_t pattern[10000];
	struct rig_req *req;
	struct source src;
	uint32_t have = 0;
	struct rig rig;

	fill_pattern(pattern, sizeof(pattern));
	make_file(&src, sizeof(pattern));
	rig_open_bus(&rig, NULL);
	rig_add(&rig, "rng", (const char *const[]){"file", src.path, NULL});
	rig_start(&rig, 0);
	while (have < sizeof(pattern)) {
		req = ask(&rig, 1024);
		rig_wait(&rig, 0, req);
		assert_in_range(req->len, 1, sizeof(pattern) - have);
		assert_memory_equal(req->in, pattern + have, req->len);
		have += req->len;
		rig_put(req);
	}
	req = ask(&rig, 1024);
	wait_log(&rig);
	rig_collect(&rig, 0);
	assert_false(req->done);
	/* A queue that waits stops. */
	rig_reset(&rig);
	rig_close(&rig);
	drop_source(&src);
}

static void make_fifo(struct source *src)
{
	make_source(src);
	assert_int_equal(mkfifo(src->path, 0600), 0);
	src->fd = open(src->path, O_RDWR | O_CLOEXEC);
	assert_true(src->fd >= 0);
}

static void fifo_feeds(uint64_t features)
{
	uint8_t pattern[300];
	struct rig_req *reqs[3];
	struct source src;
	struct rig rig;

	fill_pattern(pattern, sizeof(pattern));
	make_fifo(&src);
	rig_open_bus(&rig, NULL);
	rig_add(&rig, "rng", (const char *const[]){"file", src.path, NULL});
	rig_start(&rig, features);
	for (int round = 0; round < 50; round++) {
		uint32_t have = 0;

		for (int i = 0; i < 3; i++)
			reqs[i] = ask(&rig, 100);
		assert_int_equal(write(src.fd, pattern, sizeof(pattern)), sizeof(pattern));
		for (int i = 0; i < 3; i++) {
			rig_wait(&rig, 0, reqs[i]);
			assert_int_equal(reqs[i]->len, 100);
			assert_memory_equal(reqs[i]->in, pattern + have, 100);
			have += reqs[i]->len;
			rig_put(reqs[i]);
		}
	}
	rig_close(&rig);
	drop_source(&src);
}

static void test_rng_waits_for_fifo(void **state)
{
	fifo_feeds(0);
}

static void test_rng_waits_for_fifo_packed(void **state)
{
	fifo_feeds(RIG_PACKED | RIG_EVENT_IDX);
}

/* Requests that found nothing are served after another start, and a writer may leave and come. */
static void test_rng_fifo_over_stop(void **state)
{
	struct source src;
	struct rig_req *req;
	struct rig rig;

	make_fifo(&src);
	rig_open_bus(&rig, NULL);
	rig_add(&rig, "rng", (const char *const[]){"file", src.path, NULL});
	rig_start(&rig, 0);
	req = ask(&rig, 5);
	assert_int_equal(rig_lane(&rig, rig_do_suspend, NULL), 0);
	rig_collect(&rig, 0);
	assert_false(req->done);
	assert_int_equal(rig_lane(&rig, rig_do_resume, NULL), 0);
	fd_closep(&src.fd);
	src.fd = open(src.path, O_WRONLY | O_CLOEXEC);
	assert_int_equal(write(src.fd, "bytes", 5), 5);
	rig_wait(&rig, 0, req);
	assert_int_equal(req->len, 5);
	assert_memory_equal(req->in, "bytes", 5);
	rig_close(&rig);
	drop_source(&src);
}

/* ---- rate */

static void test_rng_rate(void **state)
{
	struct vdpa_attrs *attrs = vdpa_attrs_alloc();
	struct vdpa_result res = {0};
	struct rig rig;
	uint32_t len;

	rig_open_bus(&rig, NULL);
	rig_add(&rig, "rng", (const char *const[]){"rate", "400", NULL});
	rig_start(&rig, 0);
	/* A tenth of a second's at least, what a second gives at most. */
	for (int i = 0; i < 3; i++) {
		len = answer(&rig, ask(&rig, 4096));
		assert_in_range(len, 40, 400);
	}
	assert_int_equal(vdpa_attrs_add(attrs, "rate", "0", NULL, NULL), 0);
	vdpa_dev_set(rig.bus, "dev0", attrs, vdpa_result_done, &res);
	assert_int_equal(vdpa_bus_wait(rig.bus, &res), 0);
	assert_int_equal(answer(&rig, ask(&rig, 4096)), 4096);
	rig_close(&rig);
}

/* ---- refusals */

static void refused(const char *const *attrs, const char *part)
{
	struct rig rig;

	rig_open_bus(&rig, NULL);
	assert_true(rig_try_add(&rig, "rng", attrs) < 0);
	if (!strstr(rig.ack.msg, part))
		fail_msg("'%s' does not say '%s'", rig.ack.msg, part);
	rig_close(&rig);
}

static void test_rng_refuses(void **state)
{
	refused((const char *const[]){"backend", "file", NULL}, "needs the attribute 'file'");
	refused((const char *const[]){"backend", "kernel", "file", "/dev/urandom", NULL},
		"is for backend 'file'");
	refused((const char *const[]){"file", "/no/such/file", NULL}, "No such file");
	refused((const char *const[]){"file", "/tmp", NULL}, "is no file");
	refused((const char *const[]){"rate", "2G", NULL}, "rate");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rng_kernel),
		cmocka_unit_test(test_rng_request_without_room),
		cmocka_unit_test(test_rng_file_ends),
		cmocka_unit_test(test_rng_waits_for_fifo),
		cmocka_unit_test(test_rng_waits_for_fifo_packed),
		cmocka_unit_test(test_rng_fifo_over_stop),
		cmocka_unit_test(test_rng_rate),
		cmocka_unit_test(test_rng_refuses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
