/* SPDX-License-Identifier: BSD-2-Clause */
/* The file of a disk, mounted for real, over a disk that is a piece of memory. */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/falloc.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/defs.h"
#include "drivers/virtio/disk.h"

#define SIZE (8u << 20)

/* Requests are carried out when the export reaps them, in an order that is not theirs. */
struct memdisk {
	struct disk disk;
	uint8_t *data;
	struct disk_io *queue[64];
	unsigned int num, room;
	unsigned int flushes, zeroes; /* atomic */
	unsigned int order;           /* atomic: in_order() */
	int fail;                     /* atomic: what requests end with */
	bool hold;                    /* atomic: nothing completes */
	struct disk_export *exp;
	char dir[64], path[96];
};

static int mem_submit(struct disk *disk, struct disk_io *io)
{
	struct memdisk *m = container_of(disk, struct memdisk, disk);

	if (m->num == m->room)
		return -EAGAIN;
	assert(io->offset % disk->block_size == 0 && io->len % disk->block_size == 0);
	m->queue[m->num++] = io;
	return 0;
}

static void mem_commit(struct disk *disk)
{
	struct memdisk *m = container_of(disk, struct memdisk, disk);

	if (m->num && !__atomic_load_n(&m->hold, __ATOMIC_RELAXED))
		eventfd_write(disk->call, 1);
}

/* A request and its answer go through the kernel, where ThreadSanitizer sees no order. */
static void in_order(struct memdisk *m)
{
	__atomic_add_fetch(&m->order, 1, __ATOMIC_ACQ_REL);
}

static void mem_do(struct memdisk *m, struct disk_io *io)
{
	io->err = __atomic_load_n(&m->fail, __ATOMIC_RELAXED);
	if (io->err)
		return;
	switch (io->op) {
	case DISK_READ:
		memcpy(io->buf, m->data + io->offset, io->len);
		break;
	case DISK_WRITE:
		memcpy(m->data + io->offset, io->buf, io->len);
		break;
	case DISK_FLUSH:
		__atomic_add_fetch(&m->flushes, 1, __ATOMIC_RELAXED);
		break;
	case DISK_WRITE_ZEROES:
		memset(m->data + io->offset, 0, io->len);
		__atomic_add_fetch(&m->zeroes, 1, __ATOMIC_RELAXED);
		break;
	}
}

static void mem_complete(struct disk *disk)
{
	struct memdisk *m = container_of(disk, struct memdisk, disk);
	struct disk_io *queue[64];
	unsigned int num = m->num;

	memcpy(queue, m->queue, sizeof(queue));
	m->num = 0;
	while (num--) {
		in_order(m);
		mem_do(m, queue[num]);
		in_order(m);
		queue[num]->done(queue[num]);
	}
}

static const struct disk_ops mem_ops = {
	.submit = mem_submit,
	.commit = mem_commit,
	.complete = mem_complete,
};

static int setup(void **state)
{
	struct memdisk *m = calloc(1, sizeof(*m));
	struct disk_export_config cfg = {.path = m->path, .mode = 0600, .uid = geteuid()};
	struct vdpa_extack ack = {0};

	strcpy(m->dir, "/tmp/test_disk_fuse.XXXXXX");
	assert_non_null(mkdtemp(m->dir));
	snprintf(m->path, sizeof(m->path), "%s/disk", m->dir);
	m->data = calloc(1, SIZE);
	m->room = 3;
	m->disk = (struct disk){
		.ops = &mem_ops,
		.name = "disk0",
		.call = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC),
		.size = SIZE,
		.block_size = 4096,
		.max_io = 65536,
		.max_zeroes = 1u << 20,
		.flush = true,
		.buffer_bytes = disk_export_buffer_bytes(),
	};
	m->disk.buffers = malloc(m->disk.buffer_bytes);
	if (disk_export_start(&m->disk, &cfg, &m->exp, &ack)) {
		print_error("%s\n", ack.msg);
		return -1;
	}
	*state = m;
	return 0;
}

static int teardown(void **state)
{
	struct memdisk *m = *state;
	struct vdpa_extack ack = {0};
	int err = m->exp ? disk_export_stop(m->exp, true, &ack) : 0;

	close(m->disk.call);
	free(m->disk.buffers);
	free(m->data);
	if (rmdir(m->dir))
		err = -errno;
	free(m);
	return err;
}

static int open_disk(struct memdisk *m, int flags)
{
	int fd = open(m->path, flags | O_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

static void test_disk_fuse_is_a_file_of_the_disks_size(void **state)
{
	struct memdisk *m = *state;
	struct stat st;

	assert_int_equal(stat(m->path, &st), 0);
	assert_true(S_ISREG(st.st_mode));
	assert_int_equal(st.st_size, SIZE);
	assert_int_equal(st.st_blksize, 4096);
}

static void test_disk_fuse_random_access_holds_data(void **state)
{
	struct memdisk *m = *state;
	uint8_t *shadow = calloc(1, SIZE), *buf = malloc(200000);
	unsigned int seed = 1;
	int fd = open_disk(m, O_RDWR);

	for (int i = 0; i < 400; i++) {
		size_t len = 1 + (size_t)rand_r(&seed) % 199999;
		size_t off = (size_t)rand_r(&seed) % (SIZE - len);

		if (i % 2) {
			assert_int_equal(pread(fd, buf, len, off), len);
			assert_memory_equal(buf, shadow + off, len);
		} else {
			memset(buf, i, len);
			assert_int_equal(pwrite(fd, buf, len, off), len);
			memcpy(shadow + off, buf, len);
		}
	}
	close(fd);
	in_order(m);
	assert_memory_equal(m->data, shadow, SIZE);
	free(shadow);
	free(buf);
}

static void *write_bytes(void *arg)
{
	struct memdisk *m = ((void **)arg)[0];
	size_t at = (size_t)((void **)arg)[1];
	int fd = open(m->path, O_RDWR | O_DIRECT | O_CLOEXEC);
	uint8_t byte = 1 + at;

	for (size_t off = at; off < 4096; off += 4)
		if (pwrite(fd, &byte, 1, off) != 1)
			abort();
	close(fd);
	return NULL;
}

static void test_disk_fuse_partial_writes_of_a_block_do_not_lose_each_other(void **state)
{
	struct memdisk *m = *state;
	uint8_t expected[4096];
	pthread_t threads[4];
	void *args[4][2];

	for (size_t i = 0; i < 4; i++) {
		args[i][0] = m;
		args[i][1] = (void *)i;
		assert_int_equal(pthread_create(&threads[i], NULL, write_bytes, args[i]), 0);
	}
	for (size_t i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	for (size_t i = 0; i < sizeof(expected); i++)
		expected[i] = 1 + i % 4;
	in_order(m);
	assert_memory_equal(m->data, expected, sizeof(expected));
}

static void test_disk_fuse_end_of_disk(void **state)
{
	struct memdisk *m = *state;
	char buf[8192] = {1};
	int fd = open_disk(m, O_RDWR);

	assert_int_equal(pread(fd, buf, sizeof(buf), SIZE), 0);
	assert_int_equal(pread(fd, buf, sizeof(buf), SIZE - 100), 100);
	assert_int_equal(pwrite(fd, buf, sizeof(buf), SIZE - 100), 100);
	assert_int_equal(pwrite(fd, buf, 1, SIZE), -1);
	assert_int_equal(errno, ENOSPC);
	close(fd);
}

static void test_disk_fuse_truncation_to_nothing_is_ignored(void **state)
{
	struct memdisk *m = *state;
	struct stat st;
	int fd = open_disk(m, O_WRONLY | O_TRUNC);

	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_size, SIZE);
	assert_int_equal(ftruncate(fd, SIZE / 2), -1);
	assert_int_equal(errno, EINVAL);
	close(fd);
}

static void test_disk_fuse_fsync_flushes(void **state)
{
	struct memdisk *m = *state;
	int fd = open_disk(m, O_RDWR);

	assert_int_equal(fsync(fd), 0);
	assert_int_equal(fdatasync(fd), 0);
	in_order(m);
	assert_int_equal(m->flushes, 2);
	close(fd);
}

static void test_disk_fuse_holes_and_zeroes(void **state)
{
	struct memdisk *m = *state;
	int fd = open_disk(m, O_RDWR);

	memset(m->data, 0xee, SIZE);
	in_order(m);
	assert_int_equal(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4096, 3 << 20),
			 0);
	in_order(m);
	assert_int_equal(m->zeroes, 3);
	assert_int_equal(m->data[4095], 0xee);
	assert_int_equal(m->data[4096], 0);
	assert_int_equal(m->data[4096 + (3 << 20) - 1], 0);
	assert_int_equal(m->data[4096 + (3 << 20)], 0xee);
	assert_int_equal(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 1, 4096), -1);
	assert_int_equal(errno, EOPNOTSUPP);
	close(fd);
}

static void test_disk_fuse_errors_reach_the_program(void **state)
{
	struct memdisk *m = *state;
	char *buf = aligned_alloc(4096, 4096);
	int fd = open_disk(m, O_RDWR | O_DIRECT);

	memset(buf, 0, 4096);
	__atomic_store_n(&m->fail, -EIO, __ATOMIC_RELAXED);
	assert_int_equal(pread(fd, buf, 4096, 0), -1);
	assert_int_equal(errno, EIO);
	assert_int_equal(pwrite(fd, buf, 4096, 0), -1);
	assert_int_equal(pwrite(fd, buf, 512, 0), -1);
	assert_int_equal(fsync(fd), -1);
	__atomic_store_n(&m->fail, 0, __ATOMIC_RELAXED);
	assert_int_equal(pread(fd, buf, 4096, 0), 4096);
	close(fd);
	free(buf);
}

static void test_disk_fuse_new_size_is_seen(void **state)
{
	struct memdisk *m = *state;
	struct stat st;
	char byte;
	int fd = open_disk(m, O_RDWR);

	__atomic_store_n(&m->disk.size, SIZE / 2, __ATOMIC_RELAXED);
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(st.st_size, SIZE / 2);
	assert_int_equal(pread(fd, &byte, 1, SIZE / 2), 0);
	__atomic_store_n(&m->disk.size, SIZE, __ATOMIC_RELAXED);
	assert_int_equal(pread(fd, &byte, 1, SIZE / 2), 1);
	close(fd);
}

static void test_disk_fuse_stop_refuses_while_open(void **state)
{
	struct memdisk *m = *state;
	struct vdpa_extack ack = {0};
	int fd = open_disk(m, O_RDWR);
	char byte;

	assert_int_equal(disk_export_opens(m->exp), 1);
	assert_int_equal(disk_export_stop(m->exp, false, &ack), -EBUSY);
	assert_non_null(strstr(ack.msg, "is open (1 times)"));
	assert_int_equal(pread(fd, &byte, 1, 0), 1);
	close(fd);
	assert_int_equal(disk_export_stop(m->exp, false, NULL), 0);
	m->exp = NULL;
	assert_int_equal(access(m->path, F_OK), -1);
}

static void *read_byte(void *arg)
{
	char byte;

	return (void *)(intptr_t)(pread(*(int *)arg, &byte, 1, 0) == 1 ? 0 : errno);
}

static void test_disk_fuse_forced_stop_fails_what_is_under_way(void **state)
{
	struct memdisk *m = *state;
	int fd = open_disk(m, O_RDWR);
	pthread_t thread;
	void *result;
	char byte;

	__atomic_store_n(&m->hold, true, __ATOMIC_RELAXED);
	assert_int_equal(pthread_create(&thread, NULL, read_byte, &fd), 0);
	assert_int_equal(disk_export_stop(m->exp, true, NULL), 0);
	m->exp = NULL;
	pthread_join(thread, &result);
	/* EIO when the thread had read the request, ENOTCONN or so when it was still in the kernel.
	 */
	assert_true((intptr_t)result != 0);
	assert_int_equal(pread(fd, &byte, 1, 0), -1);
	close(fd);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_disk_fuse_is_a_file_of_the_disks_size),
		TEST(test_disk_fuse_random_access_holds_data),
		TEST(test_disk_fuse_partial_writes_of_a_block_do_not_lose_each_other),
		TEST(test_disk_fuse_end_of_disk),
		TEST(test_disk_fuse_truncation_to_nothing_is_ignored),
		TEST(test_disk_fuse_fsync_flushes),
		TEST(test_disk_fuse_holes_and_zeroes),
		TEST(test_disk_fuse_errors_reach_the_program),
		TEST(test_disk_fuse_new_size_is_seen),
		TEST(test_disk_fuse_stop_refuses_while_open),
		TEST(test_disk_fuse_forced_stop_fails_what_is_under_way),
	};

	if (access("/dev/fuse", R_OK | W_OK)) {
		puts("there is no /dev/fuse that may be opened");
		return 77;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
