/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Memory that front-ends share, and messages that are wrong.
 */
#include "vhu_env.h"

#include <fcntl.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <poll.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "drivers/vhost_user/session.h"
#include "fail_alloc.h"
#include "fail_syscall.h"
#include "virtqueue/inflight.h"

#define PACKED    BIT_ULL(VIRTIO_F_RING_PACKED)
#define REPLY_ACK BIT_ULL(VU_PROTOCOL_F_REPLY_ACK)
#define SLOTS     BIT_ULL(VU_PROTOCOL_F_CONFIGURE_MEM_SLOTS)
#define PAGE      4096ull

static struct env env;

/* All messages before this one have been handled. */
static void sync_up(struct env_guest *g)
{
	uint64_t value;

	env_ok(g, vu_frontend_get_u64(&g->fe, VU_GET_FEATURES, &value, &g->ack));
}

/* The page-sized piece i of the guest's memory. */
static struct vu_region page(uint64_t i)
{
	return (struct vu_region){.gpa = ENV_GPA + i * PAGE,
				  .size = PAGE,
				  .uaddr = ENV_UADDR + i * PAGE,
				  .offset = i * PAGE};
}

/* ---- memory */

static void test_memory_in_many_slots(void **state)
{
	struct env_guest g;
	uint64_t slots;

	env_connect(&env, &g, 0, ENV_PROTOCOL);
	env_set_features(&g, g.features);
	env_ok(&g, vu_frontend_get_u64(&g.fe, VU_GET_MAX_MEM_SLOTS, &slots, &g.ack));
	assert_true(slots >= 509);
	/* All of the guest's 256 pages one by one, from the last to the first. */
	for (uint64_t i = ENV_MEM / PAGE; i--;) {
		struct vu_region region = page(i);

		env_ok(&g, vu_frontend_add_mem(&g.fe, &region, g.memfd, &g.ack));
	}
	/* Some more behind it, up to the limit. */
	for (uint64_t i = ENV_MEM / PAGE; i < slots; i++) {
		struct vu_region region = page(i);

		region.offset = 0;
		env_ok(&g, vu_frontend_add_mem(&g.fe, &region, g.memfd, &g.ack));
	}
	env_start_ring(&g, 0);
	env_roundtrip(&g, 0, 30);
	/* Those at the end go and come while the ring runs. */
	for (uint64_t i = slots - 8; i < slots; i++) {
		struct vu_region region = page(i);

		region.offset = 0;
		env_ok(&g, vu_frontend_rem_mem(&g.fe, &region, &g.ack));
		env_roundtrip(&g, 0, 10);
		env_ok(&g, vu_frontend_add_mem(&g.fe, &region, g.memfd, &g.ack));
		env_roundtrip(&g, 0, 10);
	}
	env_disconnect(&g);
	assert_string_equal(env.log, "");
}

static void test_memory_table_changes_while_rings_run(void **state)
{
	struct vu_region regions[2] = {
		{.gpa = ENV_GPA, .size = ENV_MEM, .uaddr = ENV_UADDR},
		{.gpa = ENV_GPA + ENV_MEM, .size = PAGE, .uaddr = ENV_UADDR + ENV_MEM},
	};
	struct env_guest g;
	int other, fds[2];

	env_connect(&env, &g, PACKED, REPLY_ACK);
	env_start_rings(&g, 2);
	other = memfd_create("more", MFD_CLOEXEC);
	assert_int_equal(ftruncate(other, 2 * PAGE), 0);
	fds[0] = g.memfd;
	fds[1] = other;
	atomic_store(&env.hold, true);
	env_offer(&g, 0, 5);
	/* What does not change does not wait for requests that use it. */
	env_ok(&g, vu_frontend_set_mem(&g.fe, regions, fds, 2, &g.ack));
	env_release(&env);
	env_collect(&g, 0, 5);
	env_ok(&g, vu_frontend_set_mem(&g.fe, regions, fds, 1, &g.ack));
	env_roundtrip(&g, 1, 10);
	env_disconnect(&g);
	close(other);
}

static void test_memory_slot_goes_with_a_descriptor(void **state)
{
	struct vu_mem_reg reg = {.region = page(300)};
	struct env_guest g;
	unsigned int before = 0;

	env_connect(&env, &g, 0, ENV_PROTOCOL);
	reg.region.offset = 0;
	for (int i = 0; i < 3; i++) {
		env_ok(&g, vu_frontend_add_mem(&g.fe, &reg.region, g.memfd, &g.ack));
		env_ok(&g, vu_frontend_call(&g.fe, VU_REM_MEM_REG, &reg, sizeof(reg), &g.memfd, 1,
					    &g.ack));
		/* The descriptor goes when the next message is read. */
		sync_up(&g);
		if (!i)
			before = env_open_fds();
	}
	assert_int_equal(env_open_fds(), before);
	env_disconnect(&g);
}

/* ---- the dirty log */

static bool is_dirty(const uint8_t *log, uint64_t gpa)
{
	return log[gpa / PAGE / 8] & 1 << gpa / PAGE % 8;
}

static void set_addr(struct env_guest *g, uint32_t idx, uint32_t flags, uint64_t log)
{
	struct vu_frontend_ring ring;
	struct vu_vring_addr addr;

	env_ring_setup(g, idx, &ring);
	addr = (struct vu_vring_addr){.index = idx,
				      .flags = flags,
				      .desc = ring.desc,
				      .avail = ring.avail,
				      .used = ring.used,
				      .log = log};
	env_ok(g,
	       vu_frontend_call(&g->fe, VU_SET_VRING_ADDR, &addr, sizeof(addr), NULL, 0, &g->ack));
}

static void run_migration(uint64_t features)
{
	struct vu_log log = {.size = (ENV_GPA + ENV_MEM) / PAGE / 8, .offset = 8192};
	uint64_t used = ENV_GPA + ENV_MEM - PAGE; /* where the front-end wants it logged */
	uint8_t *bits;
	struct env_guest g;
	int fd;

	env_connect(&env, &g, features, ENV_PROTOCOL);
	env_start_rings(&g, 2);
	env_roundtrip(&g, 0, 10);
	fd = memfd_create("log", MFD_CLOEXEC);
	assert_int_equal(ftruncate(fd, (off_t)(log.size + log.offset)), 0);
	bits = mmap(NULL, log.size + log.offset, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_true(bits != MAP_FAILED);
	bits += log.offset;
	/* As QEMU does it: the log, the feature, each ring; all of it while requests are under way.
	 */
	atomic_store(&env.hold, true);
	env_offer(&g, 1, 5);
	env_ok(&g, vu_frontend_call(&g.fe, VU_SET_LOG_BASE, &log, sizeof(log), &fd, 1, &g.ack));
	env_set_features(&g, g.features | BIT_ULL(VU_F_LOG_ALL));
	set_addr(&g, 0, VU_VRING_F_LOG, used);
	env_release(&env);
	env_collect(&g, 1, 5);
	env_roundtrip(&g, 0, 5);
	assert_true(is_dirty(bits, ENV_GPA + ENV_DATA));
	/* A packed ring is written where its descriptors are. */
	assert_true(is_dirty(bits, features & PACKED ? ENV_GPA + g.rings[0].offset : used));
	assert_false(is_dirty(bits, ENV_GPA + ENV_DATA + 0x40000));
	/* Off again: silence. */
	set_addr(&g, 0, 0, 0);
	env_set_features(&g, g.features);
	memset(bits, 0, log.size);
	env_roundtrip(&g, 0, 20);
	env_roundtrip(&g, 1, 20);
	for (uint64_t i = 0; i < log.size; i++)
		assert_int_equal(bits[i], 0);
	/* And with the log there from the start of a ring. */
	env_set_features(&g, g.features | BIT_ULL(VU_F_LOG_ALL));
	env_get_base(&g, 0);
	env_ok(&g, vu_frontend_set_ring_fd(&g.fe, VU_SET_VRING_KICK, 0, g.rings[0].kick, &g.ack));
	env_roundtrip(&g, 0, 5);
	assert_true(is_dirty(bits, ENV_GPA + ENV_DATA));
	munmap(bits - log.offset, log.size + log.offset);
	close(fd);
	env_disconnect(&g);
	assert_string_equal(env.log, "");
}

static void test_memory_log_of_split_rings(void **state)
{
	run_migration(0);
}

static void test_memory_log_of_packed_rings(void **state)
{
	run_migration(PACKED);
}

static void test_memory_log_eventfd_is_taken(void **state)
{
	struct env_guest g;

	env_connect(&env, &g, 0, ENV_PROTOCOL);
	env_ok(&g, vu_frontend_call(&g.fe, VU_SET_LOG_FD, NULL, 0, &g.memfd, 1, &g.ack));
	env_disconnect(&g);
}

/* ---- the in-flight log */

/* A machine that lives on while its back-end dies: memory as it was at that moment, rings included.
 */
struct image {
	uint8_t mem[ENV_MEM];
	uint8_t inflight[65536];
};

static struct image image;

static void get_inflight(struct env_guest *g, struct vu_inflight *in, int *fd)
{
	*in = (struct vu_inflight){.num_queues = 2, .queue_size = ENV_NUM};
	env_ok(g, vu_frontend_get_inflight(&g->fe, in, fd, &g->ack));
	env_ok(g, vu_frontend_set_inflight(&g->fe, in, *fd, &g->ack));
}

static void take_image(struct env_guest *g, const struct vu_inflight *in, int fd)
{
	memcpy(image.mem, g->mem, ENV_MEM);
	assert_true(in->mmap_size <= sizeof(image.inflight));
	assert_int_equal(pread(fd, image.inflight, in->mmap_size, (off_t)in->mmap_offset),
			 in->mmap_size);
}

static void run_crash(uint64_t features)
{
	struct vu_frontend_ring ring;
	struct vu_inflight in;
	struct env_guest g, after;
	unsigned int handled;
	int fd, log;

	env_connect(&env, &g, features, ENV_PROTOCOL);
	env_set_features(&g, g.features);
	get_inflight(&g, &in, &fd);
	env_start_rings(&g, 1);
	env_roundtrip(&g, 0, 13);
	atomic_store(&env.hold, true);
	env_offer(&g, 0, 6);
	handled = 13 + 6;
	while (atomic_load(&env.handled) < handled)
		sync_up(&g);
	take_image(&g, &in, fd);
	/* These the device has not seen when it dies. */
	env_release(&env);
	env_collect(&g, 0, 6);
	env_disconnect(&g);
	close(fd);

	/* The next one has the memory of that moment, and its log. */
	env_connect(&env, &after, features, ENV_PROTOCOL);
	env_set_features(&after, after.features);
	memcpy(after.mem, image.mem, ENV_MEM);
	log = memfd_create("inflight", MFD_CLOEXEC);
	assert_int_equal(pwrite(log, image.inflight, in.mmap_size, 0), in.mmap_size);
	in.mmap_offset = 0;
	env_ok(&after, vu_frontend_set_inflight(&after.fe, &in, log, &after.ack));
	env_send_memory(&after);
	after.rings[0].kick = env_eventfd();
	after.rings[0].call = env_eventfd();
	env_ring_at(&after, 0, &ring);
	/* A split ring goes on at its used index; a packed one knows from its log. */
	ring.base = features & PACKED ? 13u * 2 | 13u * 2 << 16 | 0x80008000 : 13;
	env_ok(&after, vu_frontend_start_ring(&after.fe, &ring, &after.ack));
	env_wait_fd(after.rings[0].call);
	/* Exactly those that were in flight, once each. */
	env_get_base(&after, 0);
	assert_int_equal(atomic_load(&env.handled), handled + 6);
	for (uint64_t i = 13; i < 19; i++) {
		uint64_t value;

		memcpy(&value, after.mem + ENV_DATA + i * ENV_SLOT + 8, sizeof(value));
		assert_true(value == ~i);
	}
	env_disconnect(&after);
	close(log);
}

static void test_memory_inflight_of_a_split_ring(void **state)
{
	run_crash(0);
}

static void test_memory_inflight_of_a_packed_ring(void **state)
{
	run_crash(PACKED);
}

static void test_memory_inflight_is_sealed_and_large_enough(void **state)
{
	struct vu_inflight in;
	struct env_guest g;
	struct stat st;
	int fd;

	env_connect(&env, &g, 0, ENV_PROTOCOL);
	get_inflight(&g, &in, &fd);
	/* Nobody has said yet which kind the rings are. */
	assert_true(in.mmap_size >= inflight_bytes(2, ENV_NUM, false));
	assert_true(in.mmap_size >= inflight_bytes(2, ENV_NUM, true));
	assert_int_equal(fstat(fd, &st), 0);
	assert_true((uint64_t)st.st_size >= in.mmap_offset + in.mmap_size);
	assert_true(fcntl(fd, F_GET_SEALS) & F_SEAL_SHRINK);
	close(fd);
	env_disconnect(&g);
}

/* ---- bad messages: each ends its session, with one line that says which and why */

struct bad {
	uint32_t request;
	uint32_t size;
	union vu_payload payload;
	unsigned int fds;
	const char *text;
};

static void assert_ends(const struct bad *bad, bool running)
{
	struct vu_hdr hdr = {bad->request, VU_FLAG_VERSION, bad->size};
	struct env_guest g;
	struct pollfd p;
	int fds[VU_FDS_MAX];
	char byte;

	env_forget(&env);
	env_connect(&env, &g, 0, ENV_PROTOCOL & ~REPLY_ACK);
	if (running) {
		env_start_rings(&g, 1);
		env_roundtrip(&g, 0, 3);
	}
	for (int i = 0; i < VU_FDS_MAX; i++)
		fds[i] = g.memfd;
	assert_int_equal(vu_send(g.fe.sock, &hdr, &bad->payload, fds, bad->fds, ENV_WAIT_MS), 0);
	env_wait_log(&env, bad->text);
	p = (struct pollfd){.fd = g.fe.sock, .events = POLLIN};
	assert_int_equal(poll(&p, 1, ENV_WAIT_MS), 1);
	assert_int_equal(recv(g.fe.sock, &byte, 1, 0), 0);
	/* One line. */
	assert_ptr_equal(strchr(env.log, '\n'), env.log + strlen(env.log) - 1);
	env_disconnect(&g);
}

#define REGION(g, s, u, o)                                                                         \
	{                                                                                          \
		.gpa = (g), .size = (s), .uaddr = (u), .offset = (o)                               \
	}

static const struct bad bad_messages[] = {
	{99, 0, {0}, 0, "message 99 is not known"},
	{VU_GPU_SET_SOCKET, 0, {0}, 1, "GPU_SET_SOCKET: is not supported"},
	{VU_SEND_RARP, 8, {0}, 0, "SEND_RARP: needs the protocol feature RARP"},
	{VU_SET_FEATURES,
	 8,
	 {.u64 = 1ull << 33},
	 0,
	 "SET_FEATURES: acks the bits 0x200000000, which"},
	{VU_SET_PROTOCOL_FEATURES,
	 8,
	 {.u64 = 1u << 8},
	 0,
	 "SET_PROTOCOL_FEATURES: acks the bits 0x100"},
	{VU_SET_VRING_NUM, 8, {.state = {4, 64}}, 0, "SET_VRING_NUM: ring 4, the device has 4"},
	{VU_SET_VRING_NUM,
	 8,
	 {.state = {0, 0}},
	 0,
	 "SET_VRING_NUM: ring 0: 0 entries, it takes 1 to 64"},
	{VU_SET_VRING_NUM, 8, {.state = {0, 65}}, 0, "SET_VRING_NUM: ring 0: 65 entries"},
	{VU_SET_VRING_ADDR, 40, {.addr = {.index = 9}}, 0, "SET_VRING_ADDR: ring 9"},
	{VU_SET_VRING_BASE, 8, {.state = {255, 0}}, 0, "SET_VRING_BASE: ring 255"},
	{VU_GET_VRING_BASE, 8, {.state = {UINT32_MAX, 0}}, 0, "GET_VRING_BASE: ring 4294967295"},
	{VU_SET_VRING_ENABLE,
	 8,
	 {.state = {0, 2}},
	 0,
	 "SET_VRING_ENABLE: ring 0: 2 is neither 0 nor 1"},
	{VU_SET_VRING_KICK, 8, {.u64 = 0}, 0, "SET_VRING_KICK: ring 0: no descriptor came"},
	{VU_SET_VRING_CALL, 8, {.u64 = 17}, 1, "SET_VRING_CALL: ring 17"},
	{VU_SET_VRING_ERR, 8, {.u64 = 1}, 2, "SET_VRING_ERR: 2 descriptors, not 0 to 1"},
	{VU_SET_MEM_TABLE,
	 8,
	 {.table = {.num = 9}},
	 0,
	 "SET_MEM_TABLE: 9 regions in 8 bytes, at most 8"},
	{VU_SET_MEM_TABLE,
	 40,
	 {.table = {.num = 1}},
	 0,
	 "SET_MEM_TABLE: 0 descriptors for 1 regions"},
	{VU_SET_MEM_TABLE,
	 40,
	 {.table = {.num = 1}},
	 1,
	 "SET_MEM_TABLE: a region at 0x0 of 0x0 bytes"},
	{VU_SET_MEM_TABLE,
	 40,
	 {.table = {.num = 1, .regions = {REGION(-4096ull, 8192, 0, 0)}}},
	 1,
	 "is empty or wraps"},
	{VU_SET_MEM_TABLE,
	 40,
	 {.table = {.num = 1, .regions = {REGION(0, 8192, -4096ull, 0)}}},
	 1,
	 "is empty or wraps"},
	{VU_SET_MEM_TABLE,
	 40,
	 {.table = {.num = 1, .regions = {REGION(0, 8192, 0, -4096ull)}}},
	 1,
	 "is empty or wraps"},
	{VU_SET_MEM_TABLE,
	 40,
	 {.table = {.num = 1, .regions = {REGION(0, 2 * ENV_MEM, 0, 0)}}},
	 1,
	 "SET_MEM_TABLE: "},
	{VU_SET_MEM_TABLE,
	 72,
	 {.table = {.num = 2, .regions = {REGION(0, 8192, 0, 0), REGION(4096, 8192, 65536, 0)}}},
	 2,
	 "SET_MEM_TABLE: the region at 0x1000 overlaps the one at 0x0"},
	{VU_SET_MEM_TABLE,
	 72,
	 {.table = {.num = 2,
		    .regions = {REGION(0, 8192, 65536, 0), REGION(65536, 8192, 61440, 0)}}},
	 2,
	 "SET_MEM_TABLE: the region at 0x10000 overlaps the one at 0x0"},
	{VU_ADD_MEM_REG, 40, {0}, 0, "ADD_MEM_REG: 0 descriptors, not 1 to 1"},
	{VU_REM_MEM_REG, 40, {0}, 0, "REM_MEM_REG: there is no region at 0x0 of 0x0 bytes"},
	{VU_SET_LOG_BASE, 16, {.log = {.size = 0}}, 1, "SET_LOG_BASE: "},
	{VU_SET_LOG_BASE, 16, {.log = {.size = 1ull << 40}}, 1, "SET_LOG_BASE: "},
	{VU_GET_INFLIGHT_FD,
	 24,
	 {.inflight = {.num_queues = 5, .queue_size = 64}},
	 0,
	 "GET_INFLIGHT_FD: 5 queues of 64 entries, the device has 4 of 64"},
	{VU_GET_INFLIGHT_FD,
	 20,
	 {.inflight = {.num_queues = 1, .queue_size = 0}},
	 0,
	 "GET_INFLIGHT_FD: 1 queues of 0 entries"},
	{VU_SET_INFLIGHT_FD,
	 24,
	 {.inflight = {.mmap_size = 8, .num_queues = 1, .queue_size = 64}},
	 1,
	 "SET_INFLIGHT_FD: 0x8 bytes, 1 queues of 64 entries take"},
	{VU_GET_CONFIG,
	 12,
	 {.config = {.size = 5000}},
	 0,
	 "GET_CONFIG: 5000 bytes of config space"},
	{VU_GET_CONFIG, 20, {.config = {.size = 9}}, 0, "GET_CONFIG: 9 bytes of config space"},
	{VU_SET_CONFIG, 12, {.config = {.size = 1}}, 0, "SET_CONFIG: 1 bytes of config space"},
	{VU_SET_CONFIG,
	 20,
	 {.config = {.offset = UINT32_MAX, .size = 8}},
	 0,
	 "SET_CONFIG: [4294967295, +8) is not in the config space of 24 bytes"},
	{VU_SET_STATUS, 8, {.u64 = 256}, 0, "SET_STATUS: 0x100, a status has 8 bits"},
	{VU_SET_MEM_TABLE,
	 72,
	 {.table = {.num = 2,
		    .regions = {REGION(0, 4096, 0, 0), REGION(4096, 1ull << 43, 4096, 0)}}},
	 2,
	 "SET_MEM_TABLE: the region at 0x1000 of 0x80000000000 bytes makes the memory larger"},
};

static void test_memory_bad_messages(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(bad_messages); i++)
		assert_ends(&bad_messages[i], i % 2);
}

static void test_memory_what_fits_while_nothing_runs(void **state)
{
	static const struct bad features = {
		VU_SET_FEATURES,
		8,
		{.u64 = 1ull << 32 | 1ull << 30 | PACKED},
		0,
		"SET_FEATURES: changes the bits 0x400000000 while rings run"};
	static const struct bad inflight = {
		VU_SET_INFLIGHT_FD,
		24,
		{.inflight = {.mmap_size = 65536, .num_queues = 1, .queue_size = 64}},
		1,
		"SET_INFLIGHT_FD: rings are running"};

	assert_ends(&features, true);
	assert_ends(&inflight, true);
}

static void test_memory_refusal_is_answered(void **state)
{
	struct vu_region region = page(0);
	struct env_guest g;
	int closed;

	env_connect(&env, &g, 0, ENV_PROTOCOL);
	/* The message is well-formed, what it wants does not go: the answer is no, the session
	 * lives. */
	closed = open("/dev/null", O_RDONLY | O_CLOEXEC);
	assert_int_equal(vu_frontend_add_mem(&g.fe, &region, closed, NULL), -EREMOTEIO);
	env_wait_log(&env, "refused ADD_MEM_REG: ");
	close(closed);
	env_start_rings(&g, 1);
	env_roundtrip(&g, 0, 3);
	/* A bad message is answered as well, and then it is over. */
	region.size = 0;
	assert_int_equal(vu_frontend_add_mem(&g.fe, &region, g.memfd, NULL), -EREMOTEIO);
	env_wait_log(&env, "is ended: ADD_MEM_REG: a region at ");
	env_disconnect(&g);
}

static void test_memory_ring_outside_of_it(void **state)
{
	struct vu_region region = {.gpa = ENV_GPA, .size = ENV_MEM, .uaddr = ENV_UADDR};
	struct vu_frontend_ring ring;
	struct env_guest g;

	env_connect(&env, &g, 0, ENV_PROTOCOL);
	env_set_features(&g, g.features);
	env_send_memory(&g);
	env_make_ring(&g, 0);
	env_ring_setup(&g, 0, &ring);
	ring.used = ENV_UADDR + ENV_MEM;
	assert_int_equal(vu_frontend_start_ring(&g.fe, &ring, NULL), -EREMOTEIO);
	env_wait_log(&env, "refused SET_VRING_ENABLE: ring 0: no region holds its used area");
	/* It begins in memory and ends elsewhere: the device sees that. */
	ring.used = ENV_UADDR + ENV_MEM - 4;
	assert_int_equal(vu_frontend_start_ring(&g.fe, &ring, NULL), -EREMOTEIO);
	env_ring_setup(&g, 0, &ring);
	env_ok(&g, vu_frontend_start_ring(&g.fe, &ring, &g.ack));
	env_roundtrip(&g, 0, 3);
	/* A ring whose memory goes waits until it comes again. */
	env_ok(&g, vu_frontend_rem_mem(&g.fe, &region, &g.ack));
	env_offer(&g, 0, 3);
	env_ok(&g, vu_frontend_add_mem(&g.fe, &region, g.memfd, &g.ack));
	env_collect(&g, 0, 3);
	env_disconnect(&g);
}

/* ---- out of memory, out of descriptors
 *
 * The session without its socket and its lane, so that what fails is what this thread does.
 */

struct alone {
	struct vhu_session s;
	int pair[2];
	int memfd, event;
};

/* Returns what the session says of a message; its answer is dropped. */
static int feed(struct alone *a, uint32_t request, const void *payload, uint32_t size, int fd)
{
	struct vu_msg *msg = &a->s.msg;
	struct vdpa_extack ack = {0};
	char answer[8192];
	int err;

	msg->hdr = (struct vu_hdr){request, VU_FLAG_VERSION, size};
	if (size)
		memcpy(&msg->payload, payload, size);
	if (fd >= 0) {
		msg->fds[0] = dup(fd);
		msg->num_fds = 1;
	}
	err = vhu_session_handle(&a->s, &ack);
	vu_msg_clear(msg);
	while (recv(a->pair[1], answer, sizeof(answer), MSG_DONTWAIT) > 0)
		;
	return err;
}

/* A session from its start to a ring that runs; ends at the first failure. */
static int whole_session(struct alone *a)
{
	const uint64_t protocol = vhu_protocol_offer(&a->s) & ~REPLY_ACK, idx = 0;
	const uint64_t features =
		BIT_ULL(VIRTIO_F_VERSION_1) | PACKED | BIT_ULL(VU_F_PROTOCOL_FEATURES);
	const struct vu_mem_table table = {
		.num = 1, .regions = {{.gpa = ENV_GPA, .size = ENV_MEM / 2, .uaddr = ENV_UADDR}}};
	const struct vu_mem_reg more = {.region = {.gpa = ENV_GPA + ENV_MEM / 2,
						   .size = ENV_MEM / 2,
						   .uaddr = ENV_UADDR + ENV_MEM / 2,
						   .offset = ENV_MEM / 2}};
	const struct vu_log log = {.size = 65536};
	const struct vu_inflight in = {.num_queues = 1, .queue_size = ENV_NUM};
	const struct vu_vring_state num = {0, ENV_NUM}, base = {0, 0x80008000}, on = {0, 1};
	const struct vu_vring_addr addr = {
		.desc = ENV_UADDR, .avail = ENV_UADDR + 0x2000, .used = ENV_UADDR + 0x3000};
	const struct vu_device_state save = {.direction = VU_STATE_SAVE},
				     load = {.direction = VU_STATE_LOAD};
	const struct {
		uint32_t request;
		const void *payload;
		uint32_t size;
		int fd;
	} steps[] = {
		{VU_SET_PROTOCOL_FEATURES, &protocol, 8, -1},
		{VU_SET_FEATURES, &features, 8, -1},
		{VU_SET_MEM_TABLE, &table, VU_TABLE_HDR + 32, a->memfd},
		{VU_ADD_MEM_REG, &more, sizeof(more), a->memfd},
		{VU_SET_LOG_BASE, &log, sizeof(log), a->memfd},
		{VU_GET_INFLIGHT_FD, &in, sizeof(in), -1},
		{VU_SET_DEVICE_STATE_FD, &save, sizeof(save), a->event},
		{VU_CHECK_DEVICE_STATE, NULL, 0, -1},
		{VU_SET_DEVICE_STATE_FD, &load, sizeof(load), a->event},
		{VU_CHECK_DEVICE_STATE, NULL, 0, -1},
		{VU_SET_VRING_NUM, &num, sizeof(num), -1},
		{VU_SET_VRING_BASE, &base, sizeof(base), -1},
		{VU_SET_VRING_ADDR, &addr, sizeof(addr), -1},
		{VU_SET_VRING_CALL, &idx, 8, a->event},
		{VU_SET_VRING_KICK, &idx, 8, a->event},
		{VU_SET_VRING_ENABLE, &on, sizeof(on), -1},
		{VU_REM_MEM_REG, &more, sizeof(more), -1},
	};
	int err = 0;

	vhu_session_begin(&a->s, a->pair[0]);
	for (size_t i = 0; i < ARRAY_SIZE(steps) && !err; i++)
		err = feed(a, steps[i].request, steps[i].payload, steps[i].size, steps[i].fd);
	return err;
}

/* How a session does when the n-th resource is not there, for each n. */
static void walk(struct alone *a, void (*arm)(unsigned int n), bool (*done)(void))
{
	unsigned int before = env_open_fds();
	int err;

	for (unsigned int n = 1;; n++) {
		bool failed;

		arm(n);
		err = whole_session(a);
		failed = done();
		vhu_session_end(&a->s);
		assert_int_equal(env_open_fds(), before);
		if (!failed)
			break;
	}
	assert_int_equal(err, 0);
}

static void test_memory_session_short_of_everything(void **state)
{
	struct alone a = {.memfd = memfd_create("guest", MFD_CLOEXEC), .event = env_eventfd()};
	struct vdpa_device *vdev;

	env_stop(&env);
	assert_int_equal(env_unbind(&env, 0, NULL), 0);
	vdev = vdpa_dev_find(env.bus, "toy0");
	assert_int_equal(ftruncate(a.memfd, ENV_MEM), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, a.pair), 0);
	assert_int_equal(vhu_session_init(&a.s, vdev), 0);
	/* Workers are made when they are needed first; they stay. */
	assert_int_equal(whole_session(&a), 0);
	vhu_session_end(&a.s);
	walk(&a, fail_alloc_nth, fail_alloc_done);
	walk(&a, fail_syscall_nth, fail_syscall_done);
	vhu_session_destroy(&a.s);
	close(a.pair[0]);
	close(a.pair[1]);
	close(a.memfd);
	close(a.event);
}

#define T(f) cmocka_unit_test_prestate_setup_teardown(f, env_setup, env_teardown, &env)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_memory_in_many_slots),
		T(test_memory_table_changes_while_rings_run),
		T(test_memory_slot_goes_with_a_descriptor),
		T(test_memory_log_of_split_rings),
		T(test_memory_log_of_packed_rings),
		T(test_memory_log_eventfd_is_taken),
		T(test_memory_inflight_of_a_split_ring),
		T(test_memory_inflight_of_a_packed_ring),
		T(test_memory_inflight_is_sealed_and_large_enough),
		T(test_memory_bad_messages),
		T(test_memory_what_fits_while_nothing_runs),
		T(test_memory_refusal_is_answered),
		T(test_memory_ring_outside_of_it),
		T(test_memory_session_short_of_everything),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
