/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What each bus driver owes the devices, the bus and its client, whatever it is: a disk in memory
 *is handed to a client of the driver.
 *
 *	test_driver NAME
 *
 * A new driver needs one row in drivers[]: how its client reaches the disk.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_blk.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "../../bench/blk/guest.h"
#include "../unit/bus_thread.h"
#include "base/defs.h"
#include "vdpa/soft.h"

#define SIZE        (8u << 20)
#define GROWN       (16u << 20)
#define BLOCK       4096u
#define PATIENCE_MS 20000
#define SKIP        77

/* What holds the 8 MiB, and what makes 16 MiB of them; each ends with NULL. */
struct device {
	const char *mgmtdev;
	const char *make[5], *grow[3];
};

static const struct device blk = {"blk", {"backend", "ram", "size", "8M"}, {"size", "16M"}};
static const struct device scsi = {
	"scsi", {"lun0-backend", "ram", "lun0-size", "8M"}, {"lun0-size", "16M"}};

/* A client of a driver.  All wait for their end. */
struct client_ops {
	const char *name;
	const char *driver;
	const struct device *device;
	const char *handle; /* what it looks for in dev/NAME/ */
	void (*open)(void);
	void (*close)(void);
	void (*read)(uint64_t block, void *buf);
	void (*write)(uint64_t block, const void *buf);
	/* Until the disk is seen to have this size. */
	void (*wait_size)(uint64_t size);
	/* Does reading fail, now that the device is gone?  It must not hang. */
	bool (*is_cut_off)(void);
	const char
		*needs; /* a file of the machine, and the package that brings it; NULL: nothing */
};

static struct vdpa_bus *bus;
static struct bus_thread control;
static char run_dir[64], handle[128];
static const struct client_ops *client;

/* ---- vhost-user: a guest */

static struct guest guest;

static void guest_connect(void)
{
	struct guest_config cfg = {
		.socket = handle, .indirect = true, .queues = 1, .depth = 1, .bytes = BLOCK};
	struct vdpa_extack ack = {0};

	if (guest_open(&guest, &cfg, &ack))
		fail_msg("%s", ack.msg);
	if (vu_frontend_open_channel(&guest.fe, &ack))
		fail_msg("%s", ack.msg);
}

static void guest_leave(void)
{
	guest_close(&guest, NULL);
}

/* Returns the status, or -1 when nothing came although the connection has ended. */
static int guest_request(uint32_t type, uint64_t block)
{
	struct guest_req *req = &guest.reqs[0];
	struct pollfd p[2] = {{.fd = guest.call, .events = POLLIN},
			      {.fd = guest.fe.sock, .events = POLLIN}};
	uint64_t count;
	uint32_t len;

	assert_int_equal(guest_submit(&guest, req, type, block * BLOCK), 0);
	guest_publish(&guest, 0);
	while (vdpa_drvq_get(guest.queues[0].ring, &len) != req) {
		if (vdpa_drvq_enable_call(guest.queues[0].ring))
			continue;
		assert_true(poll(p, 2, PATIENCE_MS) > 0);
		if (p[0].revents)
			assert_true(read(guest.call, &count, sizeof(count)) > 0);
		else
			return -1;
	}
	return *req->status;
}

static void guest_read(uint64_t block, void *buf)
{
	assert_int_equal(guest_request(VIRTIO_BLK_T_IN, block), 0);
	memcpy(buf, guest.reqs[0].data, BLOCK);
}

static void guest_write(uint64_t block, const void *buf)
{
	memcpy(guest.reqs[0].data, buf, BLOCK);
	assert_int_equal(guest_request(VIRTIO_BLK_T_OUT, block), 0);
}

static void guest_wait_size(uint64_t size)
{
	uint64_t sectors = 0;
	uint32_t request;

	while (vu_frontend_get_config(&guest.fe, 0, &sectors, sizeof(sectors), NULL) == 0 &&
	       sectors * 512 != size)
		assert_int_equal(vu_frontend_wait_channel(&guest.fe, &request, NULL), 0);
	assert_int_equal(sectors * 512, size);
}

static bool guest_is_cut_off(void)
{
	return guest_request(VIRTIO_BLK_T_IN, 0) < 0;
}

/* ---- virtio: a file of this host */

static int file = -1;

static void file_open(void)
{
	file = open(handle, O_RDWR | O_CLOEXEC);
	assert_true(file >= 0);
}

static void file_close(void)
{
	fd_closep(&file);
}

static void file_read(uint64_t block, void *buf)
{
	assert_int_equal(pread(file, buf, BLOCK, (off_t)(block * BLOCK)), BLOCK);
}

static void file_write(uint64_t block, const void *buf)
{
	assert_int_equal(pwrite(file, buf, BLOCK, (off_t)(block * BLOCK)), BLOCK);
}

static time_t seconds(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec;
}

/* A file tells nobody that it has grown: ask, until the answer is as expected. */
static void file_wait_size(uint64_t size)
{
	time_t end = seconds() + PATIENCE_MS / 1000;
	struct stat st;

	do {
		assert_int_equal(fstat(file, &st), 0);
	} while ((uint64_t)st.st_size != size && seconds() < end);
	assert_int_equal(st.st_size, size);
}

static bool file_is_cut_off(void)
{
	uint8_t buf[BLOCK];

	/* From a place that the kernel has not read ahead. */
	return pread(file, buf, sizeof(buf), SIZE - BLOCK) < 0;
}

static const struct client_ops drivers[] = {
	{
		.name = "vhost-user",
		.driver = "vhost-user",
		.device = &blk,
		.handle = "vhost.sock",
		.open = guest_connect,
		.close = guest_leave,
		.read = guest_read,
		.write = guest_write,
		.wait_size = guest_wait_size,
		.is_cut_off = guest_is_cut_off,
	},
	{
		.name = "virtio",
		.driver = "virtio",
		.device = &blk,
		.handle = "disk",
		.open = file_open,
		.close = file_close,
		.read = file_read,
		.write = file_write,
		.wait_size = file_wait_size,
		.is_cut_off = file_is_cut_off,
		.needs = "/dev/fuse",
	},
	{
		.name = "virtio-scsi",
		.driver = "virtio",
		.device = &scsi,
		.handle = "lun0",
		.open = file_open,
		.close = file_close,
		.read = file_read,
		.write = file_write,
		.wait_size = file_wait_size,
		.is_cut_off = file_is_cut_off,
		.needs = "/dev/fuse",
	},
};

/* ---- the bus */

static struct vdpa_attrs *attrs_of(const char *const *words)
{
	struct vdpa_attrs *attrs = vdpa_attrs_alloc();

	for (; words && *words; words += 2)
		assert_int_equal(vdpa_attrs_add(attrs, words[0], words[1], NULL, NULL), 0);
	return attrs;
}

#define ATTRS(...) ((const char *const[]){__VA_ARGS__, NULL})

enum verb { ADD, BIND, UNBIND, DEL, SET };

/* A verb on the disk, while nobody else is the control thread. */
static int verb_on(enum verb verb, const char *driver, const char *const *words, uint32_t flags,
		   struct vdpa_extack *ack)
{
	struct vdpa_result res = {0};
	int err;

	bus_thread_stop(&control);
	switch (verb) {
	case ADD:
		vdpa_dev_add(bus, "disk0", client->device->mgmtdev, attrs_of(words),
			     vdpa_result_done, &res);
		break;
	case BIND:
		vdpa_dev_bind(bus, "disk0", driver, attrs_of(words), flags, vdpa_result_done, &res);
		break;
	case UNBIND:
		vdpa_dev_unbind(bus, "disk0", flags, vdpa_result_done, &res);
		break;
	case DEL:
		vdpa_dev_del(bus, "disk0", flags, vdpa_result_done, &res);
		break;
	default:
		vdpa_dev_set(bus, "disk0", attrs_of(words), vdpa_result_done, &res);
	}
	err = vdpa_bus_wait(bus, &res);
	bus_thread_start(&control);
	if (ack)
		*ack = res.ack;
	return err;
}

static void must(enum verb verb, const char *driver, const char *const *words, uint32_t flags)
{
	struct vdpa_extack ack = {0};
	int err = verb_on(verb, driver, words, flags, &ack);

	if (err)
		fail_msg("%s", vdpa_extack_text(&ack, err));
}

static void bind_to(const struct client_ops *ops)
{
	client = ops;
	snprintf(handle, sizeof(handle), "%s/dev/disk0/%s", run_dir, ops->handle);
	must(BIND, ops->driver, NULL, 0);
}

static int setup(void **state)
{
	struct vdpa_bus_config cfg = {.run_dir = run_dir, .workers = 1};

	client = *state;
	strcpy(run_dir, "/tmp/uvdpa-driver-XXXXXX");
	assert_non_null(mkdtemp(run_dir));
	assert_int_equal(vdpa_bus_alloc(&cfg, &bus, NULL), 0);
	assert_int_equal(vdpa_soft_register_builtin(bus, NULL), 0);
	assert_int_equal(vdpa_driver_register(bus, vdpa_driver_vhost_user, NULL), 0);
	if (vdpa_driver_virtio)
		assert_int_equal(vdpa_driver_register(bus, vdpa_driver_virtio, NULL), 0);
	bus_thread_init(&control, bus);
	bus_thread_start(&control);
	must(ADD, NULL, client->device->make, 0);
	bind_to(client);
	return 0;
}

static int teardown(void **state)
{
	char command[96];

	bus_thread_stop(&control);
	assert_int_equal(vdpa_bus_free(bus), 0);
	bus_thread_release(&control);
	/* Nothing that a client could reach is left. */
	assert_int_equal(access(handle, F_OK), -1);
	snprintf(command, sizeof(command), "rm -r %s", run_dir);
	return system(command);
}

static void fill(uint8_t *buf, uint64_t block, unsigned int round)
{
	for (unsigned int i = 0; i < BLOCK; i++)
		buf[i] = (uint8_t)(block * 7 + round * 31 + i);
}

static void write_all(unsigned int round)
{
	uint8_t buf[BLOCK];

	for (uint64_t block = 0; block < SIZE / BLOCK; block += 97) {
		fill(buf, block, round);
		client->write(block, buf);
	}
}

static void check_all(unsigned int round)
{
	uint8_t buf[BLOCK], expected[BLOCK];

	for (uint64_t block = 0; block < SIZE / BLOCK; block += 97) {
		fill(expected, block, round);
		client->read(block, buf);
		assert_memory_equal(buf, expected, BLOCK);
	}
}

/* ---- the contract */

static void test_driver_hands_the_device_on(void **state)
{
	assert_int_equal(access(handle, F_OK), 0);
	client->open();
	write_all(1);
	check_all(1);
	client->close();
	/* And to the next client. */
	client->open();
	check_all(1);
	write_all(2);
	client->close();
}

static void test_driver_leaves_the_content(void **state)
{
	for (unsigned int round = 0; round < 20; round++) {
		client->open();
		if (round)
			check_all(round - 1);
		write_all(round);
		client->close();
		must(UNBIND, NULL, NULL, 0);
		assert_int_equal(access(handle, F_OK), -1);
		must(BIND, client->driver, NULL, 0);
	}
}

static void test_driver_content_is_the_same_under_each(void **state)
{
	unsigned int round = 0;

	for (size_t i = 0; i < 2 * ARRAY_SIZE(drivers); i++) {
		const struct client_ops *next = &drivers[i % ARRAY_SIZE(drivers)];

		if (next->device != client->device)
			continue;
		if (next->needs && (access(next->needs, R_OK | W_OK) || !vdpa_driver_virtio))
			continue;
		client->open();
		if (round)
			check_all(round - 1);
		write_all(round++);
		client->close();
		must(UNBIND, NULL, NULL, 0);
		bind_to(next);
	}
}

static void test_driver_tells_its_client_of_a_new_size(void **state)
{
	uint8_t buf[BLOCK], expected[BLOCK];

	client->open();
	client->wait_size(SIZE);
	must(SET, NULL, client->device->grow, 0);
	client->wait_size(GROWN);
	fill(expected, 1, 9);
	client->write(GROWN / BLOCK - 1, expected);
	client->read(GROWN / BLOCK - 1, buf);
	assert_memory_equal(buf, expected, BLOCK);
	client->close();
}

static void test_driver_lets_go_by_force(void **state)
{
	client->open();
	write_all(3);
	must(UNBIND, NULL, NULL, VDPA_FORCE);
	assert_int_equal(access(handle, F_OK), -1);
	assert_true(client->is_cut_off());
	/* The device is whole, and free for the next. */
	must(BIND, client->driver, NULL, VDPA_FORCE);
	client->close();
	client->open();
	check_all(3);
	client->close();
}

static void test_driver_is_left_by_a_device_that_goes(void **state)
{
	client->open();
	write_all(4);
	must(DEL, NULL, NULL, VDPA_FORCE);
	assert_true(client->is_cut_off());
	client->close();
	must(ADD, NULL, client->device->make, 0);
	must(BIND, client->driver, NULL, 0);
	client->open();
	write_all(5);
	check_all(5);
	client->close();
}

static void test_driver_keeps_masked_bits_from_the_device(void **state)
{
	struct vdpa_device *vdev;
	const struct vdpa_driver *driver;
	uint64_t masked;

	client->open();
	write_all(6);
	bus_thread_stop(&control);
	vdev = vdpa_dev_find(bus, "disk0");
	driver = vdpa_device_driver(vdev);
	assert_string_equal(driver->name, client->driver);
	masked = driver->masked ? driver->masked(vdev) : 0;
	for (unsigned int bit = 0; bit < 64; bit++)
		if (masked & BIT_ULL(bit))
			assert_non_null(driver->why_masked(vdev, bit));
	assert_int_equal(vdpa_get_driver_features(vdev) & masked, 0);
	bus_thread_start(&control);
	client->close();
}

static void test_driver_refuses_what_it_does_not_know(void **state)
{
	struct vdpa_extack ack = {0};

	assert_int_equal(verb_on(BIND, client->driver, NULL, 0, &ack), -EBUSY);
	must(UNBIND, NULL, NULL, 0);
	assert_int_equal(verb_on(BIND, client->driver, ATTRS("colour", "blue"), 0, &ack), -EINVAL);
	assert_non_null(strstr(ack.msg, "'colour'"));
	/* A refusal changes nothing. */
	assert_int_equal(access(handle, F_OK), -1);
	must(BIND, client->driver, NULL, 0);
	client->open();
	write_all(7);
	check_all(7);
	client->close();
}

static unsigned int open_fds(void)
{
	unsigned int num = 0;

	for (int fd = 0; fd < 1024; fd++)
		num += fcntl(fd, F_GETFD) >= 0;
	return num;
}

static void use_once(void)
{
	client->open();
	write_all(8);
	client->close();
	must(UNBIND, NULL, NULL, 0);
}

static void test_driver_keeps_no_descriptors(void **state)
{
	unsigned int before;

	use_once();
	before = open_fds();
	for (int i = 0; i < 5; i++) {
		must(BIND, client->driver, NULL, 0);
		use_once();
	}
	assert_int_equal(open_fds(), before);
}

#define T(f) cmocka_unit_test_prestate_setup_teardown(f, setup, teardown, (void *)(uintptr_t)ops)

static int run(const struct client_ops *ops)
{
	const struct CMUnitTest tests[] = {
		T(test_driver_hands_the_device_on),
		T(test_driver_leaves_the_content),
		T(test_driver_content_is_the_same_under_each),
		T(test_driver_tells_its_client_of_a_new_size),
		T(test_driver_lets_go_by_force),
		T(test_driver_is_left_by_a_device_that_goes),
		T(test_driver_keeps_masked_bits_from_the_device),
		T(test_driver_refuses_what_it_does_not_know),
		T(test_driver_keeps_no_descriptors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

int main(int argc, char **argv)
{
	for (size_t i = 0; argc == 2 && i < ARRAY_SIZE(drivers); i++) {
		const struct client_ops *ops = &drivers[i];

		if (strcmp(argv[1], ops->name))
			continue;
		if (!strcmp(ops->driver, "virtio") && !vdpa_driver_virtio) {
			printf("the library was built without the driver virtio (package "
			       "libfuse3-dev)\n");
			return SKIP;
		}
		if (ops->needs && access(ops->needs, R_OK | W_OK)) {
			printf("no access to %s\n", ops->needs);
			return SKIP;
		}
		return run(ops);
	}
	fprintf(stderr, "usage: %s vhost-user|virtio|virtio-scsi\n", argv[0]);
	return 2;
}
