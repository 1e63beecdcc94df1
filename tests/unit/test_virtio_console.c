/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A console of this library on a Unix socket, under the driver `virtio`: what the test writes to
 * the terminal comes out of the socket, and the other way round.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/defs.h"
#include "parents/soft/console.h"
#include "vdpa/bus.h"
#include "vhost_user/socket.h"

#define WAIT_MS 20000

struct env {
	struct vdpa_bus *bus;
	char dir[64];
	int peer, tty;
	struct vdpa_result res;
	char why[256]; /* of the last event BROKEN */
};

static void on_event(void *arg, const struct vdpa_event *event)
{
	struct env *env = arg;

	if (event->type == VDPA_EVENT_BROKEN)
		snprintf(env->why, sizeof(env->why), "%s", event->text ? event->text : "");
}

#define WORDS(...) ((const char *const[]){__VA_ARGS__, NULL})

static struct vdpa_attrs *attrs_of(const char *const *words)
{
	struct vdpa_attrs *attrs = vdpa_attrs_alloc();

	for (; words && *words; words += 2)
		assert_int_equal(vdpa_attrs_add(attrs, words[0], words[1], NULL, NULL), 0);
	return attrs;
}

static int wait_done(struct env *env)
{
	return vdpa_bus_wait(env->bus, &env->res);
}

static void add(struct env *env, const char *const *words)
{
	env->res = (struct vdpa_result){0};
	vdpa_dev_add(env->bus, "con0", "console", attrs_of(words), vdpa_result_done, &env->res);
	if (wait_done(env))
		fail_msg("%s", env->res.ack.msg);
}

static int bind_console(struct env *env)
{
	env->res = (struct vdpa_result){0};
	vdpa_dev_bind(env->bus, "con0", "virtio", NULL, 0, vdpa_result_done, &env->res);
	return wait_done(env);
}

static int unbind_console(struct env *env, uint32_t flags)
{
	env->res = (struct vdpa_result){0};
	vdpa_dev_unbind(env->bus, "con0", flags, vdpa_result_done, &env->res);
	return wait_done(env);
}

static void set(struct env *env, const char *key, const char *value)
{
	env->res = (struct vdpa_result){0};
	vdpa_dev_set(env->bus, "con0", attrs_of(WORDS(key, value)), vdpa_result_done, &env->res);
	assert_int_equal(wait_done(env), 0);
}

static const char *path_of(struct env *env, const char *name)
{
	static char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/dev/con0/%s", env->dir, name);
	return path;
}

static void join(struct env *env)
{
	env->peer = vu_socket_connect(path_of(env, "console.sock"), NULL);
	assert_true(env->peer >= 0);
	assert_int_equal(fcntl(env->peer, F_SETFL, 0), 0);
}

static void open_tty(struct env *env)
{
	env->tty = open(path_of(env, "tty"), O_RDWR | O_NOCTTY | O_CLOEXEC);
	assert_true(env->tty >= 0);
}

static void start(struct env *env, const char *const *words)
{
	add(env, words);
	if (bind_console(env))
		fail_msg("%s", env->res.ack.msg);
	join(env);
	open_tty(env);
}

static int setup(void **state)
{
	struct env *env = calloc(1, sizeof(*env));
	struct vdpa_bus_config cfg = {.workers = 1, .run_dir = env->dir};
	struct vdpa_extack ack = {0};

	env->peer = env->tty = -1;
	strcpy(env->dir, "/tmp/uvdpa-tty-XXXXXX");
	if (!mkdtemp(env->dir) || vdpa_bus_alloc(&cfg, &env->bus, &ack) ||
	    vdpa_soft_register_builtin(env->bus, &ack) ||
	    vdpa_driver_register(env->bus, vdpa_driver_virtio, &ack)) {
		print_error("%s\n", ack.msg);
		return -1;
	}
	vdpa_bus_set_event_cb(env->bus, on_event, env);
	*state = env;
	return 0;
}

static int teardown(void **state)
{
	struct env *env = *state;
	char dev[PATH_MAX];
	int err;

	fd_closep(&env->tty);
	fd_closep(&env->peer);
	err = vdpa_bus_free(env->bus);
	snprintf(dev, sizeof(dev), "%s/dev", env->dir);
	err |= rmdir(dev) | rmdir(env->dir);
	free(env);
	return err;
}

/* ---- bytes */

static void put(int fd, const char *text)
{
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
}

static void expect(int fd, const char *text)
{
	struct pollfd pfd = {.fd = fd, .events = POLLIN};
	size_t want = strlen(text), have = 0;
	char *got = calloc(1, want + 1);

	while (have < want) {
		ssize_t len;

		assert_int_equal(poll(&pfd, 1, WAIT_MS), 1);
		len = read(fd, got + have, want - have);
		assert_true(len > 0);
		have += (size_t)len;
	}
	assert_string_equal(got, text);
	free(got);
}

static void converse(struct env *env, const char *const *words)
{
	start(env, words);
	for (int i = 0; i < 200; i++) {
		put(env->tty, "ls -l\r");
		expect(env->peer, "ls -l\r");
		put(env->peer, "total 0\r\n");
		expect(env->tty, "total 0\r\n");
	}
}

static void test_virtio_console_carries_both_ways(void **state)
{
	converse(*state, WORDS("backend", "socket"));
}

static void test_virtio_console_uses_a_split_ring(void **state)
{
	converse(*state, WORDS("backend", "socket", "packed", "off"));
}

static void test_virtio_console_uses_a_short_ring(void **state)
{
	converse(*state, WORDS("backend", "socket", "queue-size", "2", "packed", "off"));
}

static void test_virtio_console_uses_the_first_of_many_ports(void **state)
{
	converse(*state, WORDS("backend", "socket", "ports", "3"));
}

struct flood {
	int from, to;
	uint32_t len;
};

static uint8_t flood_byte(uint32_t at)
{
	return (uint8_t)(at % 251);
}

static void *pour(void *arg)
{
	struct flood *flood = arg;
	uint8_t buf[1000];

	for (uint32_t at = 0; at < flood->len;) {
		uint32_t num = flood->len - at < sizeof(buf) ? flood->len - at : sizeof(buf);
		ssize_t done;

		for (uint32_t i = 0; i < num; i++)
			buf[i] = flood_byte(at + i);
		done = write(flood->from, buf, num);
		if (done <= 0)
			return arg;
		at += (uint32_t)done;
	}
	return NULL;
}

/* More than all buffers on the way hold, with a reader that comes late. */
static void flow(int from, int to)
{
	struct flood flood = {from, to, 1000000};
	struct pollfd pfd = {.fd = to, .events = POLLIN};
	pthread_t thread;
	uint8_t buf[3000];
	void *failed;

	assert_int_equal(pthread_create(&thread, NULL, pour, &flood), 0);
	for (uint32_t at = 0; at < flood.len;) {
		ssize_t num;

		assert_int_equal(poll(&pfd, 1, WAIT_MS), 1);
		num = read(to, buf, sizeof(buf));
		assert_true(num > 0);
		for (ssize_t i = 0; i < num; i++, at++)
			assert_int_equal(buf[i], flood_byte(at));
	}
	pthread_join(thread, &failed);
	assert_null(failed);
}

static void test_virtio_console_loses_nothing(void **state)
{
	struct env *env = *state;

	start(env, WORDS("backend", "socket", "buffer", "1K"));
	flow(env->tty, env->peer);
	flow(env->peer, env->tty);
}

/* What comes while nobody has the terminal open is there when somebody has. */
static void test_virtio_console_keeps_input_for_who_comes(void **state)
{
	struct env *env = *state;

	start(env, WORDS("backend", "socket"));
	put(env->tty, "x");
	expect(env->peer, "x");
	fd_closep(&env->tty);
	put(env->peer, "welcome");
	open_tty(env);
	expect(env->tty, "welcome");
}

/* ---- size */

static struct winsize size_of(struct env *env)
{
	struct winsize size;

	assert_int_equal(ioctl(env->tty, TIOCGWINSZ, &size), 0);
	return size;
}

static void resize(struct env *env, const char *const *words)
{
	start(env, words);
	/* The thread has applied it when it carries bytes. */
	put(env->tty, "x");
	expect(env->peer, "x");
	assert_int_equal(size_of(env).ws_col, 80);
	assert_int_equal(size_of(env).ws_row, 24);
	set(env, "cols", "132");
	while (size_of(env).ws_col != 132)
		sched_yield();
	assert_int_equal(size_of(env).ws_row, 24);
	set(env, "rows", "50");
	while (size_of(env).ws_row != 50)
		sched_yield();
	assert_int_equal(size_of(env).ws_col, 132);
}

static void test_virtio_console_has_the_size_of_the_device(void **state)
{
	resize(*state, WORDS("backend", "socket"));
}

static void test_virtio_console_has_the_size_of_the_port(void **state)
{
	resize(*state, WORDS("backend", "socket", "ports", "2"));
}

/* ---- who is there */

/* What the device knows of its driver's side, and has told it. */
static void wait_told(struct env *env, bool guest_open, bool host_open)
{
	struct console *con = vdpa_soft_priv(to_soft(vdpa_dev_find(env->bus, "con0")));
	const struct console_port *port = &con->ports[0];
	bool told;

	do {
		sched_yield();
		pthread_mutex_lock(&con->lock);
		told = port->guest_open == guest_open && port->host_open == host_open &&
		       port->ready && !port->tell;
		pthread_mutex_unlock(&con->lock);
	} while (!told);
}

static void test_virtio_console_says_when_the_terminal_is_open(void **state)
{
	struct env *env = *state;

	start(env, WORDS("backend", "socket", "ports", "2"));
	for (int i = 0; i < 10; i++) {
		wait_told(env, true, true);
		fd_closep(&env->tty);
		wait_told(env, false, true);
		open_tty(env);
	}
}

static void wait_hung_up(struct env *env)
{
	struct pollfd pfd = {.fd = env->tty};

	assert_int_equal(poll(&pfd, 1, WAIT_MS), 1);
	assert_true(pfd.revents & POLLHUP);
	fd_closep(&env->tty);
}

/* The name is there again, of another terminal. */
static void reopen_tty(struct env *env)
{
	while ((env->tty = open(path_of(env, "tty"), O_RDWR | O_NOCTTY | O_CLOEXEC)) < 0)
		sched_yield();
}

static void test_virtio_console_hangs_up_when_the_other_end_does(void **state)
{
	struct env *env = *state;

	start(env, WORDS("backend", "socket", "ports", "2"));
	set(env, "cols", "99");
	for (int i = 0; i < 10; i++) {
		put(env->peer, "hello");
		expect(env->tty, "hello");
		wait_told(env, true, true);
		fd_closep(&env->peer);
		wait_hung_up(env);
		join(env);
		reopen_tty(env);
	}
	put(env->tty, "x");
	expect(env->peer, "x");
	assert_int_equal(size_of(env).ws_col, 99);
}

static void test_virtio_console_hangs_up_when_it_is_unbound(void **state)
{
	struct env *env = *state;

	start(env, WORDS("backend", "socket"));
	for (int i = 0; i < 3; i++) {
		put(env->tty, "last words");
		assert_int_equal(unbind_console(env, 0), 0);
		expect(env->peer, "last words");
		wait_hung_up(env);
		assert_int_not_equal(access(path_of(env, "tty"), F_OK), 0);
		assert_int_equal(bind_console(env), 0);
		open_tty(env);
	}
	put(env->peer, "again");
	expect(env->tty, "again");
}

static void test_virtio_console_is_not_unbound_while_output_waits(void **state)
{
	struct env *env = *state;

	start(env, WORDS("backend", "socket", "buffer", "4", "unread", "hold"));
	fd_closep(&env->peer);
	for (int i = 0; i < 20; i++)
		put(env->tty, "more than fits");
	assert_int_equal(unbind_console(env, 0), -EBUSY);
	assert_non_null(strstr(env->res.ack.msg, "does not take what was typed"));
	assert_int_equal(unbind_console(env, VDPA_FORCE), 0);
	wait_hung_up(env);
}

static void test_virtio_console_hangs_up_when_the_device_fails(void **state)
{
	struct env *env = *state;

	start(env, WORDS("backend", "socket"));
	vdpa_soft_fail(to_soft(vdpa_dev_find(env->bus, "con0")), "as the test wants");
	wait_hung_up(env);
	assert_int_equal(unbind_console(env, 0), 0);
	assert_non_null(strstr(env->why, "needs a reset"));
}

#define TTY_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TTY_TEST(test_virtio_console_carries_both_ways),
		TTY_TEST(test_virtio_console_uses_a_split_ring),
		TTY_TEST(test_virtio_console_uses_a_short_ring),
		TTY_TEST(test_virtio_console_uses_the_first_of_many_ports),
		TTY_TEST(test_virtio_console_loses_nothing),
		TTY_TEST(test_virtio_console_keeps_input_for_who_comes),
		TTY_TEST(test_virtio_console_has_the_size_of_the_device),
		TTY_TEST(test_virtio_console_has_the_size_of_the_port),
		TTY_TEST(test_virtio_console_says_when_the_terminal_is_open),
		TTY_TEST(test_virtio_console_hangs_up_when_the_other_end_does),
		TTY_TEST(test_virtio_console_hangs_up_when_it_is_unbound),
		TTY_TEST(test_virtio_console_is_not_unbound_while_output_waits),
		TTY_TEST(test_virtio_console_hangs_up_when_the_device_fails),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
