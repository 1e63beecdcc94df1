/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <fcntl.h>
#include <linux/memfd.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "vdpa/bus.h"

#define SIZE 65536

/* The test library takes the signal over at the start of each test, so that is not the place. */
static void install(void)
{
	assert_int_equal(vdpa_sigbus_install(), 0);
	assert_int_equal(vdpa_sigbus_install(), 0);
}

static struct vdpa_mem *map_file(int fd)
{
	struct vdpa_mem *mem;

	assert_int_equal(ftruncate(fd, SIZE), 0);
	assert_int_equal(vdpa_mem_map(fd, 0, SIZE, VDPA_PERM_RW, &mem, NULL), 0);
	return mem;
}

static void test_sigbus_finds_zeroes(void **state)
{
	int fd = memfd_create("guest", MFD_CLOEXEC);
	struct vdpa_mem *mem = map_file(fd), *other;
	volatile uint8_t *at = vdpa_mem_hva(mem);

	install();
	assert_int_equal(vdpa_mem_alloc("ours", SIZE, &other, NULL), 0);
	at[0] = 1;
	at[SIZE - 1] = 2;
	assert_false(vdpa_mem_lost(mem));
	assert_int_equal(ftruncate(fd, 4096), 0);
	/* What is left is as good as lost, too: half a guest is none. */
	assert_int_equal(at[SIZE - 1], 0);
	assert_true(vdpa_mem_lost(mem));
	assert_int_equal(at[0], 0);
	at[SIZE - 1] = 3;
	assert_int_equal(at[SIZE - 1], 3);
	assert_false(vdpa_mem_lost(other));
	vdpa_mem_put(mem);
	vdpa_mem_put(other);
	close(fd);
}

/* A seal keeps a file from being cut, but huge pages may be missing all the same. */
static void test_sigbus_without_huge_pages(void **state)
{
	const size_t huge = 2 << 20;
	int fd =
		memfd_create("guest", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_HUGETLB | MFD_HUGE_2MB);
	struct vdpa_mem *mem;
	volatile uint8_t *at;

	if (fd < 0)
		skip();
	install();
	assert_int_equal(ftruncate(fd, huge), 0);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK), 0);
	assert_int_equal(vdpa_mem_map(fd, 0, huge, VDPA_PERM_RW, &mem, NULL), 0);
	at = vdpa_mem_hva(mem);
	at[0] = 1;
	assert_int_equal(at[0], 1);
	vdpa_mem_put(mem);
	close(fd);
}

/* ThreadSanitizer takes the mapping that the handler puts there for a write of another thread. */
__attribute__((no_sanitize("thread"))) static void *touch(void *arg)
{
	volatile uint8_t *at = arg;
	unsigned int sum = 0;

	for (int i = 0; i < SIZE; i += 512)
		sum += at[i];
	return (void *)(uintptr_t)sum;
}

/* Faults on several threads while others come and go. */
static void test_sigbus_on_many_threads(void **state)
{
	install();
	for (int round = 0; round < 50; round++) {
		int fd = memfd_create("guest", MFD_CLOEXEC);
		struct vdpa_mem *mem = map_file(fd), *other = map_file(fd);
		pthread_t threads[4];

		assert_int_equal(ftruncate(fd, 0), 0);
		for (int i = 0; i < 4; i++)
			assert_int_equal(
				pthread_create(&threads[i], NULL, touch, vdpa_mem_hva(mem)), 0);
		vdpa_mem_put(other);
		for (int i = 0; i < 4; i++)
			pthread_join(threads[i], NULL);
		assert_true(vdpa_mem_lost(mem));
		vdpa_mem_put(mem);
		close(fd);
	}
}

/* What is not ours kills as ever. */
static void test_sigbus_of_others(void **state)
{
	int fd = memfd_create("other", MFD_CLOEXEC), status;
	pid_t child;

	assert_int_equal(ftruncate(fd, 4096), 0);
	child = fork();
	if (!child) {
		volatile uint8_t *at = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);

		signal(SIGBUS, SIG_DFL);
		if (vdpa_sigbus_install() || ftruncate(fd, 0))
			_exit(1);
		_exit(at[0]);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGBUS);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sigbus_finds_zeroes),
		cmocka_unit_test(test_sigbus_without_huge_pages),
		cmocka_unit_test(test_sigbus_on_many_threads),
		cmocka_unit_test(test_sigbus_of_others),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
