/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <semaphore.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>
#include <cmocka.h>

#include "block_rig.h"
#include "fail_alloc.h"

#define DISK_SIZE (1 << 20)

static char dir[64];  /* on whatever there is */
static char path[96]; /* the disk */

/* ---- system calls that fail when told so (--wrap); counts are atomic, for they come from threads
 */

struct iovec;
int __real_io_uring_queue_init_params(unsigned int entries, void *ring, void *params);
int __wrap_io_uring_queue_init_params(unsigned int entries, void *ring, void *params);
ssize_t __real_preadv64v2(int fd, const struct iovec *iov, int num, off_t off, int flags);
ssize_t __wrap_preadv64v2(int fd, const struct iovec *iov, int num, off_t off, int flags);
ssize_t __real_preadv64(int fd, const struct iovec *iov, int num, off_t off);
ssize_t __wrap_preadv64(int fd, const struct iovec *iov, int num, off_t off);
ssize_t __real_pwritev64v2(int fd, const struct iovec *iov, int num, off_t off, int flags);
ssize_t __wrap_pwritev64v2(int fd, const struct iovec *iov, int num, off_t off, int flags);
int __real_fdatasync(int fd);
int __wrap_fdatasync(int fd);
int __real_fallocate64(int fd, int mode, off_t off, off_t len);
int __wrap_fallocate64(int fd, int mode, off_t off, off_t len);

static int no_uring;        /* errno */
static int uring_good;      /* so many are set up before that */
static int inline_read_max; /* bytes that RWF_NOWAIT gives; -1: EAGAIN; 0: no limit */
static int read_max;        /* bytes that a blocking read gives; 0: no limit */
static int read_errno, write_errno, sync_errno, fallocate_errno;
static int eintr;       /* so many blocking reads and writes are interrupted */
static int syncs;       /* calls of fdatasync() */
static bool hold_syncs; /* fdatasync() waits for `go` */
static sem_t held, go;

static int get(const int *p)
{
	return __atomic_load_n(p, __ATOMIC_SEQ_CST);
}

static void set(int *p, int value)
{
	__atomic_store_n(p, value, __ATOMIC_SEQ_CST);
}

static bool interrupted(void)
{
	if (get(&eintr) <= 0 || __atomic_fetch_sub(&eintr, 1, __ATOMIC_SEQ_CST) <= 0)
		return false;
	errno = EINTR;
	return true;
}

int __wrap_io_uring_queue_init_params(unsigned int entries, void *ring, void *params)
{
	if (get(&no_uring) && __atomic_fetch_sub(&uring_good, 1, __ATOMIC_SEQ_CST) <= 0)
		return -get(&no_uring);
	return __real_io_uring_queue_init_params(entries, ring, params);
}

/* The first piece only, and no more than max of it. */
static ssize_t short_read(int fd, const struct iovec *iov, off_t off, int max)
{
	struct iovec cut = {iov->iov_base, iov->iov_len < (size_t)max ? iov->iov_len : (size_t)max};

	return __real_preadv64(fd, &cut, 1, off);
}

ssize_t __wrap_preadv64v2(int fd, const struct iovec *iov, int num, off_t off, int flags)
{
	/* Without an offset the worker reads its eventfd. */
	bool inlined = flags & RWF_NOWAIT && off >= 0;

	if (inlined && get(&inline_read_max) < 0) {
		errno = EAGAIN;
		return -1;
	}
	if (inlined && get(&inline_read_max))
		return short_read(fd, iov, off, get(&inline_read_max));
	return __real_preadv64v2(fd, iov, num, off, flags);
}

ssize_t __wrap_preadv64(int fd, const struct iovec *iov, int num, off_t off)
{
	if (interrupted())
		return -1;
	if (get(&read_errno)) {
		errno = get(&read_errno);
		return -1;
	}
	if (get(&read_max))
		return short_read(fd, iov, off, get(&read_max));
	return __real_preadv64(fd, iov, num, off);
}

ssize_t __wrap_pwritev64v2(int fd, const struct iovec *iov, int num, off_t off, int flags)
{
	/* Not the worker's own try. */
	if (!(flags & RWF_NOWAIT) && interrupted())
		return -1;
	if (get(&write_errno)) {
		errno = get(&write_errno);
		return -1;
	}
	return __real_pwritev64v2(fd, iov, num, off, flags);
}

int __wrap_fdatasync(int fd)
{
	__atomic_fetch_add(&syncs, 1, __ATOMIC_SEQ_CST);
	if (__atomic_load_n(&hold_syncs, __ATOMIC_SEQ_CST)) {
		sem_post(&held);
		sem_wait(&go);
	}
	if (get(&sync_errno)) {
		errno = get(&sync_errno);
		return -1;
	}
	return __real_fdatasync(fd);
}

int __wrap_fallocate64(int fd, int mode, off_t off, off_t len)
{
	if (get(&fallocate_errno)) {
		errno = get(&fallocate_errno);
		return -1;
	}
	return __real_fallocate64(fd, mode, off, len);
}

/* ---- the disk */

static void make_disk(off_t size)
{
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, size), 0);
	close(fd);
}

static off_t disk_size(void)
{
	struct stat st;

	assert_int_equal(stat(path, &st), 0);
	return st.st_size;
}

static int open_rig(struct block_rig *rig, const char *more)
{
	char words[256];

	snprintf(words, sizeof(words), "file %s %s", path, more);
	return brig_open(rig, words, true);
}

static void must_open(struct block_rig *rig, const char *more)
{
	if (open_rig(rig, more))
		fail_msg("'%s': %s", more, rig->ack.msg);
}

static void assert_refused(const char *more, int err, const char *text)
{
	struct block_rig rig;

	assert_int_equal(open_rig(&rig, more), err);
	if (!strstr(rig.ack.msg, text))
		fail_msg("'%s' does not say '%s'", rig.ack.msg, text);
}

static int set_up(void **state)
{
	no_uring = uring_good = inline_read_max = read_max = 0;
	read_errno = write_errno = sync_errno = fallocate_errno = eintr = syncs = 0;
	hold_syncs = false;
	make_disk(DISK_SIZE);
	return 0;
}

/* ---- data */

static void stress(const char *words, uint32_t grain)
{
	struct block_rig rig;

	if (open_rig(&rig, words)) {
		/* What this kernel or file system has not cannot be tested here. */
		assert_true(strstr(rig.ack.msg, "direct") || strstr(rig.ack.msg, "io_uring"));
		print_message("left out '%s': %s\n", words, rig.ack.msg);
		return;
	}
	brig_stress(&rig, grain, 300, grain);
	brig_close(&rig);
}

static void test_file_stress_buffered(void **state)
{
	stress("aio io_uring", 1);
	stress("aio threads", 1);
	stress("aio io_uring block-size 4096", 512);
}

static void test_file_stress_direct(void **state)
{
	stress("direct on aio io_uring", 512);
	stress("direct on aio io_uring", 4096);
	stress("direct on aio threads", 4096);
	/* Pieces that do not suit direct I/O. */
	stress("direct on aio io_uring", 1);
	stress("direct on aio threads", 16);
}

static void test_file_stress_without_page_cache(void **state)
{
	inline_read_max = -1;
	stress("aio io_uring", 1);
	stress("aio threads", 1);
}

static void test_file_stress_short_and_interrupted(void **state)
{
	inline_read_max = 700;
	read_max = 300;
	eintr = 200;
	stress("aio threads", 1);
	eintr = 0;
	stress("aio io_uring", 1);
}

static void test_file_stress_in_memory(void **state)
{
	char old[sizeof(path)];

	memcpy(old, path, sizeof(path));
	snprintf(path, sizeof(path), "/dev/shm/uvdpa-test-%d", getpid());
	make_disk(DISK_SIZE);
	stress("aio io_uring", 1);
	stress("aio threads", 1);
	unlink(path);
	memcpy(path, old, sizeof(path));
}

static void large(const char *words)
{
	enum { LEN = 3 << 20 };
	uint8_t *buf = NULL, *same = NULL;
	struct block_rig rig;

	assert_int_equal(posix_memalign((void **)&buf, 4096, LEN), 0);
	assert_int_equal(posix_memalign((void **)&same, 4096, LEN), 0);
	for (size_t i = 0; i < LEN; i++)
		buf[i] = (uint8_t)(i * 31 >> 7);
	must_open(&rig, words);
	assert_int_equal(brig_do(&rig, BLOCK_WRITE, 0, 4096, buf, LEN), 0);
	assert_int_equal(brig_do(&rig, BLOCK_READ, 0, 4096, same, LEN), 0);
	assert_memory_equal(buf, same, LEN);
	brig_close(&rig);
	free(buf);
	free(same);
}

static void test_file_requests_may_be_large(void **state)
{
	large("size 4M");
	large("size 4M aio threads");
	large("size 4M direct on");
}

static void test_file_keeps_its_data(void **state)
{
	struct block_rig rig;
	uint8_t buf[4096], same[4096];

	memset(buf, 0x5a, sizeof(buf));
	must_open(&rig, "");
	assert_int_equal(brig_do(&rig, BLOCK_WRITE, 0, 8192, buf, sizeof(buf)), 0);
	assert_int_equal(brig_do(&rig, BLOCK_WRITE, 0, 512, buf, 512), 0);
	brig_close(&rig);
	must_open(&rig, "readonly on");
	assert_true(rig.block->info.readonly);
	assert_int_equal(brig_do(&rig, BLOCK_READ, 0, 8192, same, sizeof(same)), 0);
	assert_memory_equal(buf, same, sizeof(buf));
	assert_int_equal(brig_do(&rig, BLOCK_READ, 0, 512, same, 512), 0);
	assert_memory_equal(buf, same, 512);
	brig_close(&rig);
}

/* ---- errors */

static void short_file(const char *words)
{
	struct block_rig rig;
	uint8_t buf[8192];

	make_disk(DISK_SIZE);
	must_open(&rig, words);
	/* Somebody cuts the file behind our back, in the middle of a request and of a block. */
	assert_int_equal(truncate(path, 65536 + 4096 + 100), 0);
	assert_int_equal(brig_do(&rig, BLOCK_READ, 0, 65536, buf, 8192), -EIO);
	assert_int_equal(brig_do(&rig, BLOCK_READ, 0, 128 << 10, buf, 4096), -EIO);
	assert_int_equal(brig_do(&rig, BLOCK_READ, 0, 65536, buf, 4096), 0);
	assert_int_equal(brig_do(&rig, BLOCK_WRITE, 0, 128 << 10, buf, 4096), 0);
	assert_int_equal(brig_do(&rig, BLOCK_READ, 0, 128 << 10, buf, 4096), 0);
	brig_close(&rig);
}

static void test_file_that_got_short_gives_errors(void **state)
{
	short_file("aio auto");
	short_file("aio threads");
	inline_read_max = -1;
	short_file("aio auto");
	short_file("aio threads");
}

/* As on a full disk: writes fail behind a limit, in every thread of the process and of the kernel.
 */
static void full_disk(const char *words)
{
	struct rlimit old, limit;
	struct block_rig rig;
	uint8_t *buf = NULL;

	assert_int_equal(posix_memalign((void **)&buf, 4096, 8192), 0);
	memset(buf, 3, 8192);
	make_disk(4096);
	must_open(&rig, words);
	assert_int_equal(block_resize(rig.block, DISK_SIZE, NULL), 0);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	limit = old;
	limit.rlim_cur = 64 << 10;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
	assert_int_equal(brig_do(&rig, BLOCK_WRITE, 0, 128 << 10, buf, 4096), -EFBIG);
	assert_int_equal(brig_do(&rig, BLOCK_WRITE, BLOCK_FUA, 128 << 10, buf, 4096), -EFBIG);
	/* The first half is written, the rest is an error all the same. */
	assert_int_equal(brig_do(&rig, BLOCK_WRITE, 0, 60 << 10, buf, 8192), -EFBIG);
	assert_int_equal(brig_do(&rig, BLOCK_WRITE, 0, 8192, buf, 4096), 0);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
	assert_int_equal(brig_do(&rig, BLOCK_WRITE, 0, 128 << 10, buf, 4096), 0);
	brig_close(&rig);
	free(buf);
}

static void test_file_survives_a_full_disk(void **state)
{
	full_disk("aio auto");
	full_disk("aio threads");
}

static void test_file_survives_io_errors(void **state)
{
	struct block_rig rig;
	uint8_t buf[4096] = {0};

	must_open(&rig, "aio threads");
	inline_read_max = -1;
	set(&read_errno, EIO);
	assert_int_equal(brig_do(&rig, BLOCK_READ, 0, 0, buf, 4096), -EIO);
	set(&read_errno, 0);
	assert_int_equal(brig_do(&rig, BLOCK_READ, 0, 0, buf, 4096), 0);
	set(&write_errno, ENOSPC);
	assert_int_equal(brig_do(&rig, BLOCK_WRITE, 0, 0, buf, 4096), -ENOSPC);
	set(&write_errno, 0);
	assert_int_equal(brig_do(&rig, BLOCK_WRITE, 0, 0, buf, 4096), 0);
	brig_close(&rig);
}

/* ---- flush */

static void test_file_flush_reaches_the_medium_when_something_was_written(void **state)
{
	struct block_rig rig;
	uint8_t buf[4096] = {0};

	must_open(&rig, "aio threads");
	/* Nobody knows what was written before. */
	assert_int_equal(brig_do(&rig, BLOCK_FLUSH, 0, 0, NULL, 0), 0);
	assert_int_equal(get(&syncs), 1);
	assert_int_equal(brig_do(&rig, BLOCK_FLUSH, 0, 0, NULL, 0), 0);
	assert_int_equal(get(&syncs), 1);
	assert_int_equal(brig_do(&rig, BLOCK_WRITE, 0, 0, buf, 4096), 0);
	assert_int_equal(brig_do(&rig, BLOCK_FLUSH, 0, 0, NULL, 0), 0);
	assert_int_equal(get(&syncs), 2);
	assert_int_equal(brig_do(&rig, BLOCK_DISCARD, BLOCK_FUA, 0, NULL, 4096), 0);
	assert_int_equal(get(&syncs), 3);
	brig_close(&rig);
}

static void test_file_flush_that_failed_is_not_forgotten(void **state)
{
	struct block_rig rig;

	must_open(&rig, "aio threads");
	set(&sync_errno, EIO);
	assert_int_equal(brig_do(&rig, BLOCK_FLUSH, 0, 0, NULL, 0), -EIO);
	set(&sync_errno, 0);
	/* The kernel would say that all is well, for it has dropped the pages. */
	assert_int_equal(brig_do(&rig, BLOCK_FLUSH, 0, 0, NULL, 0), -EIO);
	assert_int_equal(block_sync(rig.block), -EIO);
	brig_close(&rig);
	must_open(&rig, "aio threads");
	set(&syncs, 0);
	assert_int_equal(block_sync(rig.block), 0);
	assert_int_equal(brig_do(&rig, BLOCK_FLUSH, 0, 0, NULL, 0), 0);
	assert_int_equal(get(&syncs), 1);
	brig_close(&rig);
}

static void test_file_has_no_more_than_so_many_threads(void **state)
{
	enum { NUM = 20, THREADS = 16 };
	struct brig_io ios[NUM], *list[NUM];
	struct block_rig rig;

	sem_init(&held, 0, 0);
	sem_init(&go, 0, 0);
	hold_syncs = true;
	must_open(&rig, "aio threads");
	for (int i = 0; i < NUM; i++) {
		list[i] = &ios[i];
		brig_prep(&rig, list[i], BLOCK_FLUSH, 0, 0, NULL, 0);
	}
	brig_submit(&rig, list, NUM);
	for (int i = 0; i < THREADS; i++)
		sem_wait(&held);
	assert_int_equal(get(&syncs), THREADS);
	for (int i = 0; i < NUM; i++)
		sem_post(&go);
	for (int i = 0; i < NUM; i++)
		assert_int_equal(brig_wait(&ios[i]), 0);
	assert_int_equal(get(&syncs), NUM);
	brig_close(&rig);
	sem_destroy(&held);
	sem_destroy(&go);
}

static void test_file_takes_more_than_the_ring_holds(void **state)
{
	enum { NUM = 5000 };
	struct brig_io *ios = calloc(NUM, sizeof(*ios));
	struct brig_io **list = calloc(NUM, sizeof(*list));
	uint8_t *buf = malloc(NUM * 512);
	struct block_rig rig;

	assert_true(ios && list && buf);
	inline_read_max = -1;
	must_open(&rig, "");
	for (int i = 0; i < NUM; i++) {
		list[i] = &ios[i];
		brig_prep(&rig, list[i], BLOCK_READ, 0, 512u * (i % 2048), buf + 512 * i, 512);
	}
	brig_submit(&rig, list, NUM);
	for (int i = 0; i < NUM; i++)
		assert_int_equal(brig_wait(&ios[i]), 0);
	brig_close(&rig);
	free(ios);
	free(list);
	free(buf);
}

/* ---- discard, write-zeroes, size */

static void test_file_discard_gives_room_back(void **state)
{
	uint8_t *buf = malloc(DISK_SIZE);
	struct block_rig rig;
	struct stat st;

	assert_non_null(buf);
	memset(buf, 1, DISK_SIZE);
	must_open(&rig, "");
	if (!rig.block->info.discard) {
		brig_close(&rig);
		free(buf);
		skip();
	}
	assert_int_equal(brig_do(&rig, BLOCK_WRITE, 0, 0, buf, DISK_SIZE), 0);
	assert_int_equal(brig_do(&rig, BLOCK_FLUSH, 0, 0, NULL, 0), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_true(st.st_blocks * 512 >= DISK_SIZE);
	assert_int_equal(brig_do(&rig, BLOCK_DISCARD, 0, 0, NULL, DISK_SIZE / 2), 0);
	assert_int_equal(
		brig_do(&rig, BLOCK_WRITE_ZEROES, BLOCK_UNMAP, DISK_SIZE / 2, NULL, DISK_SIZE / 4),
		0);
	assert_int_equal(stat(path, &st), 0);
	assert_true(st.st_blocks * 512 < DISK_SIZE / 2);
	assert_int_equal(st.st_size, DISK_SIZE);
	brig_close(&rig);

	/* Where that is not wanted, a discard is nothing. */
	must_open(&rig, "discard off");
	assert_false(rig.block->info.discard);
	assert_false(rig.block->info.unmap);
	assert_int_equal(brig_do(&rig, BLOCK_DISCARD, 0, 0, NULL, DISK_SIZE), 0);
	assert_int_equal(brig_do(&rig, BLOCK_READ, 0, DISK_SIZE / 4 * 3, buf, 4096), 0);
	assert_int_equal(buf[0], 1);
	brig_close(&rig);
	free(buf);
}

static void zeroes_without_fallocate(const char *words, int err)
{
	uint8_t *buf = malloc(DISK_SIZE), *zeros = calloc(1, DISK_SIZE);
	struct block_rig rig;

	assert_true(buf && zeros);
	memset(buf, 1, DISK_SIZE);
	must_open(&rig, words);
	assert_int_equal(brig_do(&rig, BLOCK_WRITE, 0, 0, buf, DISK_SIZE), 0);
	set(&fallocate_errno, err);
	assert_int_equal(
		brig_do(&rig, BLOCK_WRITE_ZEROES, BLOCK_UNMAP, 4096, NULL, DISK_SIZE - 8192), 0);
	set(&fallocate_errno, 0);
	memset(zeros, 1, 4096);
	memset(zeros + DISK_SIZE - 4096, 1, 4096);
	assert_int_equal(brig_do(&rig, BLOCK_READ, 0, 0, buf, DISK_SIZE), 0);
	assert_memory_equal(buf, zeros, DISK_SIZE);
	brig_close(&rig);
	free(buf);
	free(zeros);
}

static void test_file_writes_zeroes_where_there_is_no_fallocate(void **state)
{
	struct block_rig rig;

	zeroes_without_fallocate("", EOPNOTSUPP);
	/* A range that is no multiple of the device's blocks. */
	zeroes_without_fallocate("", EINVAL);
	fallocate_errno = EOPNOTSUPP;
	must_open(&rig, "");
	assert_false(rig.block->info.discard);
	brig_close(&rig);
}

static void test_file_grows_and_is_never_cut(void **state)
{
	struct block_rig rig;
	uint8_t buf[512];

	must_open(&rig, "size 2M");
	assert_int_equal(disk_size(), 2 << 20);
	assert_int_equal(rig.block->info.size, 2 << 20);
	assert_int_equal(block_resize(rig.block, 512 << 10, NULL), 0);
	assert_int_equal(disk_size(), 2 << 20);
	assert_int_equal(rig.block->info.size, 512 << 10);
	assert_int_equal(block_resize(rig.block, 3 << 20, NULL), 0);
	assert_int_equal(disk_size(), 3 << 20);
	assert_int_equal(brig_do(&rig, BLOCK_READ, 0, (3 << 20) - 512, buf, 512), 0);
	/* What somebody else has done to it. */
	assert_int_equal(truncate(path, (4 << 20) + 100), 0);
	assert_int_equal(block_resize(rig.block, 0, NULL), 0);
	assert_int_equal(rig.block->info.size, 4 << 20);
	assert_int_equal(block_resize(rig.block, 1000, &rig.ack), -EINVAL);
	assert_int_equal(rig.block->info.size, 4 << 20);
	brig_close(&rig);
}

/* ---- a block device */

/* The disk as a loop device with 4096-byte sectors, in `path`; goes when the descriptor is closed.
 */
static int open_loop(void)
{
	struct loop_config cfg = {.block_size = 4096, .info.lo_flags = LO_FLAGS_AUTOCLEAR};
	int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC), num, fd = -1;

	cfg.fd = (uint32_t)open(path, O_RDWR | O_CLOEXEC);
	num = control < 0 ? -1 : ioctl(control, LOOP_CTL_GET_FREE);
	if (num >= 0) {
		snprintf(path, sizeof(path), "/dev/loop%d", num);
		fd = open(path, O_RDWR | O_CLOEXEC);
	}
	if (fd >= 0 && ioctl(fd, LOOP_CONFIGURE, &cfg)) {
		close(fd);
		fd = -1;
	}
	if (control >= 0)
		close(control);
	close((int)cfg.fd);
	return fd;
}

static void block_device(void)
{
	uint8_t *buf = malloc(DISK_SIZE);
	struct block_rig rig;
	int fd;

	assert_non_null(buf);
	stress("block-size 4096", 1);
	stress("direct on", 4096);
	stress("direct on aio threads", 512);
	assert_refused("direct on block-size 512", -EINVAL, "needs 'block-size 4096' at least");
	assert_refused("size 2M", -EINVAL, "has 1048576 bytes, not 2097152");
	must_open(&rig, "direct on");
	assert_int_equal(rig.block->info.block_size, 4096);
	memset(buf, 1, DISK_SIZE);
	assert_int_equal(brig_do(&rig, BLOCK_WRITE, 0, 0, buf, DISK_SIZE), 0);
	if (rig.block->info.discard)
		assert_int_equal(brig_do(&rig, BLOCK_DISCARD, 0, 0, NULL, DISK_SIZE / 2), 0);
	for (uint32_t flags = 0; flags <= BLOCK_UNMAP; flags += BLOCK_UNMAP) {
		assert_int_equal(brig_do(&rig, BLOCK_WRITE, 0, 0, buf, DISK_SIZE), 0);
		assert_int_equal(
			brig_do(&rig, BLOCK_WRITE_ZEROES, flags, DISK_SIZE / 2, NULL, 4096), 0);
		assert_int_equal(brig_do(&rig, BLOCK_READ, 0, DISK_SIZE / 2, buf, 8192), 0);
		assert_int_equal(buf[0] | buf[4095], 0);
		assert_int_equal(buf[4096] & buf[8191], 1);
		memset(buf, 1, 4096);
	}
	assert_int_equal(brig_do(&rig, BLOCK_FLUSH, 0, 0, NULL, 0), 0);
	brig_close(&rig);
	/* As if a file system were mounted from it. */
	fd = open(path, O_RDWR | O_EXCL | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_refused("", -EBUSY, "in use by this host");
	close(fd);
	free(buf);
}

static void test_file_on_a_block_device(void **state)
{
	char old[sizeof(path)];
	int fd;

	memcpy(old, path, sizeof(path));
	fd = open_loop();
	if (fd >= 0)
		block_device();
	else
		print_message("left out: this process may not make loop devices\n");
	close(fd);
	memcpy(path, old, sizeof(path));
}

/* ---- open */

static void test_file_lock_keeps_others_out(void **state)
{
	struct block_rig writer, reader, other;

	must_open(&writer, "");
	assert_refused("", -EBUSY, "another program uses");
	assert_refused("readonly on", -EBUSY, "another program writes to");
	must_open(&other, "lock off");
	brig_close(&other);
	brig_close(&writer);
	must_open(&reader, "readonly on");
	must_open(&other, "readonly on");
	assert_refused("", -EBUSY, "'lock off' takes it nevertheless");
	brig_close(&reader);
	brig_close(&other);
	must_open(&writer, "");
	brig_close(&writer);
}

static void test_file_refusals_say_what_is_wrong(void **state)
{
	struct block_rig rig;
	char words[192];

	snprintf(words, sizeof(words), "file %s", dir);
	assert_int_equal(brig_open(&rig, words, true), -EISDIR);
	snprintf(words, sizeof(words), "file %s/none", dir);
	assert_int_equal(brig_open(&rig, words, true), -ENOENT);
	assert_non_null(strstr(rig.ack.msg, "cannot open"));
	assert_int_equal(brig_open(&rig, "file /dev/null", true), -EINVAL);
	assert_non_null(strstr(rig.ack.msg, "neither a regular file nor a block device"));
	assert_int_equal(brig_open(&rig, "backend file", true), -EINVAL);
	assert_non_null(strstr(rig.ack.msg, "which file?"));
	assert_refused("readonly on size 2M", -EROFS, "cannot be extended");
	assert_refused("zeroes on", -EINVAL, "'zeroes' is for backend 'null'");
	make_disk(0);
	assert_refused("", -EINVAL, "is empty");
	snprintf(words, sizeof(words), "%s.fifo", path);
	assert_int_equal(mkfifo(words, 0600), 0);
	snprintf(words, sizeof(words), "file %s.fifo", path);
	assert_int_equal(brig_open(&rig, words, true), -EINVAL);
	snprintf(words, sizeof(words), "%s.fifo", path);
	unlink(words);
}

static void open_fd(struct block_rig *rig, int flags, bool readonly, int expect)
{
	struct vdpa_attrs *attrs = vdpa_attrs_alloc();
	int fd = open(path, flags | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_non_null(attrs);
	assert_int_equal(vdpa_attrs_add(attrs, "file", "disk", &fd, NULL), 0);
	if (readonly)
		assert_int_equal(vdpa_attrs_add(attrs, "readonly", "on", NULL, NULL), 0);
	memset(&rig->ack, 0, sizeof(rig->ack));
	rig->block = NULL;
	assert_int_equal(block_open(attrs, &rig->block, &rig->ack), expect);
	vdpa_attrs_free(attrs);
	block_close(rig->block);
}

static void test_file_takes_a_descriptor(void **state)
{
	struct block_rig rig;

	open_fd(&rig, O_RDWR | O_APPEND, false, 0);
	open_fd(&rig, O_RDONLY, true, 0);
	open_fd(&rig, O_RDONLY, false, -EACCES);
	assert_non_null(strstr(rig.ack.msg, "'readonly on'"));
	open_fd(&rig, O_WRONLY, false, -EACCES);
	open_fd(&rig, O_PATH, false, -EBADF);
}

static void test_file_goes_without_io_uring(void **state)
{
	uint8_t buf[4096] = {0};
	struct block_rig rig;

	no_uring = EPERM;
	assert_refused("aio io_uring", -EPERM, "'aio threads' does without");
	stress("aio auto", 1);
	/* It is there when the disk is opened, and not for this worker. */
	uring_good = 1;
	inline_read_max = -1;
	set(&syncs, 0);
	must_open(&rig, "");
	assert_int_equal(brig_do(&rig, BLOCK_READ, 0, 0, buf, 4096), 0);
	assert_int_equal(brig_do(&rig, BLOCK_FLUSH, 0, 0, NULL, 0), 0);
	assert_int_equal(get(&syncs), 1);
	brig_close(&rig);
	uring_good = 1;
	assert_refused("aio io_uring", -EPERM, "cannot set up an io_uring");
}

static void test_file_open_survives_failing_allocations(void **state)
{
	for (unsigned int n = 1;; n++) {
		struct block_rig rig;
		int err;

		fail_alloc_nth(n);
		err = open_rig(&rig, "");
		if (!fail_alloc_done()) {
			assert_int_equal(err, 0);
			brig_close(&rig);
			break;
		}
		/* Without an io_uring it would do as well. */
		if (!err)
			brig_close(&rig);
		else
			assert_int_equal(err, -ENOMEM);
	}
}

/* The n-th allocation of the worker fails, in what it is told to do. */
struct failing {
	struct block_rig *rig;
	unsigned int n;
	bool failed;
	int err;
	struct brig_io rio;
};

static void failing_attach(void *arg)
{
	struct failing *f = arg;

	fail_alloc_nth(f->n);
	f->err = block_attach(f->rig->block, f->rig->worker, f->rig->pool, &f->rig->queue, NULL);
	f->failed = fail_alloc_done();
}

static void failing_submit(void *arg)
{
	struct failing *f = arg;

	fail_alloc_nth(f->n);
	f->err = block_submit(f->rig->queue, &f->rio.io);
	f->failed = fail_alloc_done();
}

static void detach_queue(void *arg)
{
	struct block_rig *rig = arg;

	if (rig->queue)
		block_detach(rig->queue);
	rig->queue = NULL;
}

static void test_file_worker_survives_failing_allocations(void **state)
{
	struct block_rig rig;
	struct failing f = {.rig = &rig, .failed = true};

	must_open(&rig, "");
	for (f.n = 1; f.failed; f.n++) {
		brig_call(&rig, detach_queue, &rig);
		brig_call(&rig, failing_attach, &f);
		/* Without a ring it does as well. */
		assert_true(!f.err || (f.failed && f.err == -ENOMEM));
	}
	f.failed = true;
	for (f.n = 1; f.failed; f.n++) {
		brig_prep(&rig, &f.rio, BLOCK_WRITE_ZEROES, 0, 0, NULL, 4096);
		brig_call(&rig, failing_submit, &f);
		if (f.err == BLOCK_PENDING)
			assert_int_equal(brig_wait(&f.rio), 0);
		else
			assert_int_equal(f.err, -ENOMEM);
	}
	brig_close(&rig);
}

#define TEST(f) cmocka_unit_test_setup(f, set_up)

static int make_dir(void **state)
{
	const char *tmp = getenv("TMPDIR");

	/* A write beyond RLIMIT_FSIZE shall be an error, not the end. */
	signal(SIGXFSZ, SIG_IGN);
	snprintf(dir, sizeof(dir), "%s/uvdpa-XXXXXX", tmp && strlen(tmp) < 40 ? tmp : "/var/tmp");
	if (!mkdtemp(dir))
		return -1;
	snprintf(path, sizeof(path), "%s/disk", dir);
	return 0;
}

static int remove_dir(void **state)
{
	unlink(path);
	return rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_file_stress_buffered),
		TEST(test_file_stress_direct),
		TEST(test_file_stress_without_page_cache),
		TEST(test_file_stress_short_and_interrupted),
		TEST(test_file_stress_in_memory),
		TEST(test_file_requests_may_be_large),
		TEST(test_file_keeps_its_data),
		TEST(test_file_that_got_short_gives_errors),
		TEST(test_file_survives_a_full_disk),
		TEST(test_file_survives_io_errors),
		TEST(test_file_flush_reaches_the_medium_when_something_was_written),
		TEST(test_file_flush_that_failed_is_not_forgotten),
		TEST(test_file_has_no_more_than_so_many_threads),
		TEST(test_file_takes_more_than_the_ring_holds),
		TEST(test_file_discard_gives_room_back),
		TEST(test_file_writes_zeroes_where_there_is_no_fallocate),
		TEST(test_file_grows_and_is_never_cut),
		TEST(test_file_on_a_block_device),
		TEST(test_file_lock_keeps_others_out),
		TEST(test_file_refusals_say_what_is_wrong),
		TEST(test_file_takes_a_descriptor),
		TEST(test_file_goes_without_io_uring),
		TEST(test_file_open_survives_failing_allocations),
		TEST(test_file_worker_survives_failing_allocations),
	};

	return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
