/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The driver as a front-end sees it: life of a session, sockets, and front-ends that go.
 */
#include "vhu_env.h"

#include <fcntl.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <poll.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "vhost_user/socket.h"

#define PACKED BIT_ULL(VIRTIO_F_RING_PACKED)

static struct env env;

static void serve(uint64_t features, uint64_t protocol)
{
	struct env_guest g;

	env_connect(&env, &g, features, protocol);
	env_start_rings(&g, ENV_QUEUES);
	for (uint32_t i = 0; i < ENV_QUEUES; i++)
		for (int n = 0; n < 5; n++)
			env_roundtrip(&g, i, 30);
	env_disconnect(&g);
	env_wait_event(&env, "disconnect the front-end has left");
	env_forget(&env);
}

static void test_driver_serves_one_after_the_other(void **state)
{
	serve(0, ENV_PROTOCOL);
	serve(PACKED, ENV_PROTOCOL);
	serve(BIT_ULL(VIRTIO_RING_F_EVENT_IDX), 0);
	serve(PACKED, BIT_ULL(VU_PROTOCOL_F_REPLY_ACK));
}

static void test_driver_second_front_end_waits(void **state)
{
	struct env_guest first, second;

	env_connect(&env, &first, 0, ENV_PROTOCOL);
	env_start_rings(&first, 1);
	env_connect_raw(&env, &second);
	assert_int_equal(vu_frontend_call(&second.fe, VU_SET_OWNER, NULL, 0, NULL, 0, NULL), 0);
	env_roundtrip(&first, 0, 10);
	env_disconnect(&first);
	/* Now it is its turn. */
	assert_int_equal(vu_frontend_negotiate(&second.fe, ENV_PROTOCOL, NULL), 0);
	second.features = BIT_ULL(VIRTIO_F_VERSION_1) | BIT_ULL(VU_F_PROTOCOL_FEATURES);
	env_start_rings(&second, 1);
	env_roundtrip(&second, 0, 10);
	env_disconnect(&second);
}

static void test_driver_keeps_no_descriptors(void **state)
{
	unsigned int before;

	/* What the first session makes for good: workers, pools. */
	serve(0, ENV_PROTOCOL);
	before = env_open_fds();
	for (int i = 0; i < 3; i++)
		serve(PACKED, ENV_PROTOCOL);
	/* The connection is closed after the event that tells of its end: ask for the next one. */
	serve(0, ENV_PROTOCOL);
	assert_true(env_open_fds() <= before + 1);
}

static void test_driver_unbind_in_mid_flight(void **state)
{
	struct vdpa_result res = {0};
	struct env_guest g;
	struct pollfd p;
	char byte;

	env_connect(&env, &g, 0, ENV_PROTOCOL);
	env_start_rings(&g, ENV_QUEUES);
	atomic_store(&env.hold, true);
	env_offer(&g, 0, 8);
	env_offer(&g, 3, 8);
	while (atomic_load(&env.handled) < 16)
		assert_int_equal(vu_frontend_negotiate(&g.fe, ENV_PROTOCOL, NULL), 0);
	env_stop(&env);
	vdpa_dev_unbind(env.bus, "toy0", 0, vdpa_result_done, &res);
	env_release(&env);
	assert_int_equal(vdpa_bus_wait(env.bus, &res), 0);
	/* What was in flight has come back, and the front-end sees the end. */
	env_collect(&g, 0, 8);
	env_collect(&g, 3, 8);
	p = (struct pollfd){.fd = g.fe.sock, .events = POLLIN};
	assert_int_equal(poll(&p, 1, ENV_WAIT_MS), 1);
	assert_int_equal(recv(g.fe.sock, &byte, 1, 0), 0);
	assert_int_equal(access(env.socket, F_OK), -1);
	assert_int_equal(env_bind(&env, NULL, NULL), 0);
	env_start(&env);
	env_disconnect(&g);
	serve(0, ENV_PROTOCOL);
}

static void test_driver_unbind_again_and_again(void **state)
{
	for (int i = 0; i < 50; i++) {
		struct vu_frontend fe = {.sock = -1};

		/* Now and then somebody connects meanwhile. */
		if (i % 3)
			assert_int_equal(vu_frontend_connect(&fe, env.socket, ENV_WAIT_MS, NULL),
					 0);
		if (i % 3 == 2)
			assert_int_equal(vu_frontend_negotiate(&fe, ENV_PROTOCOL, NULL), 0);
		env_stop(&env);
		assert_int_equal(env_unbind(&env, 0, NULL), 0);
		assert_int_equal(env_bind(&env, NULL, NULL), 0);
		env_start(&env);
		if (fe.sock >= 0)
			vu_frontend_close(&fe);
	}
	serve(0, ENV_PROTOCOL);
}

static void test_driver_slow_sender_holds_nobody_up(void **state)
{
	struct vu_hdr hdr = {.request = VU_GET_FEATURES, .flags = VU_FLAG_VERSION};
	struct env_guest g;
	struct vu_msg msg;
	struct pollfd p;
	char show[2048];

	env_connect_raw(&env, &g);
	/* Half a header; the lane is free meanwhile. */
	assert_int_equal(send(g.fe.sock, &hdr, 6, 0), 6);
	env_stop(&env);
	env_show(&env, show, sizeof(show));
	assert_non_null(strstr(show, env.socket));
	assert_int_equal(env_unbind(&env, 0, NULL), 0);
	assert_int_equal(env_bind(&env, NULL, NULL), 0);
	env_start(&env);
	env_disconnect(&g);

	env_connect_raw(&env, &g);
	assert_int_equal(send(g.fe.sock, &hdr, 6, 0), 6);
	assert_int_equal(send(g.fe.sock, (char *)&hdr + 6, 6, 0), 6);
	p = (struct pollfd){.fd = g.fe.sock, .events = POLLIN};
	assert_int_equal(poll(&p, 1, ENV_WAIT_MS), 1);
	vu_msg_init(&msg);
	assert_int_equal(vu_recv(g.fe.sock, VU_TO_BACKEND, true, &msg, NULL), 1);
	env_disconnect(&g);
}

static void test_driver_front_end_that_never_reads(void **state)
{
	struct vu_hdr hdr = {.request = VU_GET_CONFIG,
			     .flags = VU_FLAG_VERSION,
			     .size = sizeof(struct vu_config)};
	static const struct vu_config config = {.size = VU_CONFIG_MAX};
	struct env_guest g;

	env_connect(&env, &g, 0, BIT_ULL(VU_PROTOCOL_F_CONFIG));
	while (vu_send(g.fe.sock, &hdr, &config, NULL, 0, ENV_WAIT_MS) == 0)
		;
	env_wait_log(&env, "GET_CONFIG: the front-end did not take the answer");
	env_disconnect(&g);
	serve(0, ENV_PROTOCOL);
}

static void test_driver_front_end_that_errs_again_and_again(void **state)
{
	struct vu_hdr hdr = {.request = 99, .flags = VU_FLAG_VERSION};
	unsigned int lines = 0;

	for (int i = 0; i < 150; i++) {
		struct vu_frontend fe;
		struct pollfd p;
		char byte;

		assert_int_equal(vu_frontend_connect(&fe, env.socket, ENV_WAIT_MS, NULL), 0);
		assert_int_equal(send(fe.sock, &hdr, sizeof(hdr), 0), sizeof(hdr));
		p = (struct pollfd){.fd = fe.sock, .events = POLLIN};
		assert_int_equal(poll(&p, 1, ENV_WAIT_MS), 1);
		assert_int_equal(recv(fe.sock, &byte, 1, 0), 0);
		vu_frontend_close(&fe);
	}
	/* The last session may still have something to say. */
	pthread_mutex_lock(&env.lock);
	for (const char *line = env.log; (line = strstr(line, "message 99")); line++)
		lines++;
	pthread_mutex_unlock(&env.lock);
	assert_in_range(lines, 40, 149);
	env_forget(&env);
	serve(0, ENV_PROTOCOL);
}

static void test_driver_shows_its_client(void **state)
{
	char show[2048], pid[32];
	struct env_guest g;

	env_connect(&env, &g, PACKED, ENV_PROTOCOL);
	env_start_rings(&g, 1);
	env_roundtrip(&g, 0, 1);
	env_stop(&env);
	env_show(&env, show, sizeof(show));
	snprintf(pid, sizeof(pid), "pid %d uid %d", getpid(), getuid());
	assert_non_null(strstr(show, pid));
	assert_non_null(strstr(show, "mode=server"));
	env_start(&env);
	env_disconnect(&g);
}

/* ---- in use */

struct asked {
	struct vdpa_extack ack;
	int err;
	int done; /* eventfd */
};

static void ask_on_lane(struct vdpa_device *vdev, void *arg)
{
	struct asked *asked = arg;

	asked->err = vdpa_driver_vhost_user->in_use(vdev, &asked->ack);
	eventfd_write(asked->done, 1);
}

/* Another driver is what the question is for; here the same one is asked before it lets go. */
static void assert_rebind(bool refused)
{
	struct asked asked = {.done = env_eventfd()};

	assert_int_equal(vdpa_device_run(vdpa_dev_find(env.bus, "toy0"), ask_on_lane, &asked), 0);
	env_wait_fd(asked.done);
	close(asked.done);
	assert_int_equal(asked.err, refused ? -EBUSY : 0);
	if (refused)
		assert_non_null(strstr(asked.ack.msg, "the guest of the front-end (pid "));
}

static void test_driver_in_use_while_rings_run(void **state)
{
	struct env_guest g;
	uint32_t base;

	env_stop(&env);
	assert_rebind(false);
	env_start(&env);
	env_connect(&env, &g, 0, ENV_PROTOCOL);
	env_start_rings(&g, 1);
	env_stop(&env);
	assert_rebind(true);
	env_start(&env);
	assert_int_equal(vu_frontend_get_base(&g.fe, 0, &base, NULL), 0);
	env_stop(&env);
	assert_rebind(false);
	env_start(&env);
	env_disconnect(&g);
}

static void test_driver_readonly_is_not_in_use(void **state)
{
	struct env_guest g;

	env_connect(&env, &g, BIT_ULL(5), ENV_PROTOCOL);
	env_start_rings(&g, 1);
	env_stop(&env);
	assert_rebind(false);
	env_start(&env);
	env_disconnect(&g);
}

/* ---- attributes */

static void rebind(const char *const *kv, int *fd, int expected, struct vdpa_extack *ack)
{
	struct vdpa_attrs *attrs = vdpa_attrs_alloc();

	env_stop(&env);
	env_unbind(&env, 0, NULL);
	for (; *kv; kv += 2) {
		assert_int_equal(vdpa_attrs_add(attrs, kv[0], kv[1], fd, NULL), 0);
		fd = NULL;
	}
	assert_int_equal(env_bind(&env, attrs, ack), expected);
	env_start(&env);
}

static void test_driver_socket_mode_and_place(void **state)
{
	const char *kv[] = {"socket", NULL, "mode", "0660", "group", "0", NULL};
	char path[160], back[128];
	struct stat st;

	snprintf(path, sizeof(path), "%s/own.sock", env.run_dir);
	kv[1] = path;
	rebind(kv, NULL, 0, NULL);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0660);
	memcpy(back, env.socket, sizeof(back));
	snprintf(env.socket, sizeof(env.socket), "%.120s", path);
	serve(0, ENV_PROTOCOL);
	rebind((const char *const[]){NULL}, NULL, 0, NULL);
	assert_int_equal(access(path, F_OK), -1);
	memcpy(env.socket, back, sizeof(back));
	assert_int_equal(stat(env.socket, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
}

static void test_driver_takes_a_listening_descriptor(void **state)
{
	struct vu_socket_config cfg = {.mode = 0600, .uid = (uid_t)-1, .gid = (gid_t)-1};
	char path[160], back[128];
	int fd, keep;

	snprintf(path, sizeof(path), "%s/given.sock", env.run_dir);
	fd = vu_socket_listen(path, &cfg, NULL);
	keep = dup(fd);
	rebind((const char *const[]){"socket", path, NULL}, &fd, 0, NULL);
	memcpy(back, env.socket, sizeof(back));
	snprintf(env.socket, sizeof(env.socket), "%.120s", path);
	serve(0, ENV_PROTOCOL);
	/* It is somebody else's: neither the file goes nor the socket. */
	rebind((const char *const[]){NULL}, NULL, 0, NULL);
	assert_int_equal(access(path, F_OK), 0);
	assert_int_equal(vu_socket_check(keep, NULL), 0);
	memcpy(env.socket, back, sizeof(back));
	close(keep);
	unlink(path);
}

static void test_driver_refuses_bad_attributes(void **state)
{
	struct vdpa_extack ack = {0};
	int fd = eventfd(0, 0);

	rebind((const char *const[]){"socket", "/tmp/x", NULL}, &fd, -EINVAL, &ack);
	assert_non_null(strstr(ack.msg, "not a listening Unix stream socket"));
	rebind((const char *const[]){"client", "on", NULL}, NULL, -EINVAL, &ack);
	assert_non_null(strstr(ack.msg, "'client on' needs 'socket'"));
	rebind((const char *const[]){"owner", "nobody at all", NULL}, NULL, -EINVAL, &ack);
	assert_non_null(strstr(ack.msg, "there is no user 'nobody at all'"));
	rebind((const char *const[]){"socket", "/no/such/place", NULL}, NULL, -ENOENT, &ack);
	rebind((const char *const[]){NULL}, NULL, 0, NULL);
	serve(0, ENV_PROTOCOL);
}

static void test_driver_as_client_comes_again(void **state)
{
	struct vu_socket_config cfg = {.mode = 0600, .uid = (uid_t)-1, .gid = (gid_t)-1};
	char path[160];
	int server;

	snprintf(path, sizeof(path), "%s/fe.sock", env.run_dir);
	/* Nobody is there at first. */
	rebind((const char *const[]){"socket", path, "client", "on", "reconnect-ms", "50", NULL},
	       NULL, 0, NULL);
	server = vu_socket_listen(path, &cfg, NULL);
	assert_true(server >= 0);
	for (int i = 0; i < 3; i++) {
		struct pollfd p = {.fd = server, .events = POLLIN};
		struct vu_frontend fe;
		int conn;

		assert_int_equal(poll(&p, 1, ENV_WAIT_MS), 1);
		conn = accept4(server, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		assert_true(conn >= 0);
		vu_frontend_init(&fe, &conn, ENV_WAIT_MS);
		assert_int_equal(vu_frontend_negotiate(&fe, ENV_PROTOCOL, NULL), 0);
		vu_frontend_close(&fe);
	}
	close(server);
	unlink(path);
}

#define T(f) cmocka_unit_test_prestate_setup_teardown(f, env_setup, env_teardown, &env)

/* A front-end that cuts its memory would kill a process that does not look out. */
static void test_driver_memory_that_vanishes(void **state)
{
	struct env_guest g, next;

	assert_int_equal(vdpa_sigbus_install(), 0);
	env_connect(&env, &g, 0, ENV_PROTOCOL);
	env_start_rings(&g, 1);
	env_roundtrip(&g, 0, 3);
	assert_int_equal(ftruncate(g.memfd, 0), 0);
	eventfd_write(g.rings[0].kick, 1);
	env_wait_log(&env, "has become shorter");
	/* The next one is served. */
	assert_int_equal(ftruncate(g.memfd, ENV_MEM), 0);
	env_connect(&env, &next, 0, ENV_PROTOCOL);
	env_start_rings(&next, 1);
	env_roundtrip(&next, 0, 3);
	env_disconnect(&next);
	env_disconnect(&g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_driver_serves_one_after_the_other),
		T(test_driver_second_front_end_waits),
		T(test_driver_keeps_no_descriptors),
		T(test_driver_unbind_in_mid_flight),
		T(test_driver_unbind_again_and_again),
		T(test_driver_slow_sender_holds_nobody_up),
		T(test_driver_front_end_that_never_reads),
		T(test_driver_front_end_that_errs_again_and_again),
		T(test_driver_shows_its_client),
		T(test_driver_in_use_while_rings_run),
		T(test_driver_readonly_is_not_in_use),
		T(test_driver_socket_mode_and_place),
		T(test_driver_takes_a_listening_descriptor),
		T(test_driver_refuses_bad_attributes),
		T(test_driver_as_client_comes_again),
		T(test_driver_memory_that_vanishes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
