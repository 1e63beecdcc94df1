/* SPDX-License-Identifier: BSD-2-Clause */
/* The stream backends, with a user who is the test: it writes, reads, and hears what happens. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <termios.h>
#include <cmocka.h>

#include "backends/stream/stream.h"
#include "base/defs.h"
#include "vdpa/bus.h"
#include "vhost_user/socket.h"

#define WAIT_MS 10000

struct env {
	struct vdpa_bus *bus;
	char dir[64];
	struct stream *stream;
	struct stream_user user;
	int readable, writable, opened, closed; /* eventfds */
	struct vdpa_extack ack;
};

static const struct vdpa_attr_desc table[] = {STREAM_ATTRS, {0}};

/* ---- the user */

static void on_readable(struct stream_user *user)
{
	eventfd_write(container_of(user, struct env, user)->readable, 1);
}

static void on_writable(struct stream_user *user)
{
	eventfd_write(container_of(user, struct env, user)->writable, 1);
}

static void on_opened(struct stream_user *user, bool open)
{
	struct env *env = container_of(user, struct env, user);

	eventfd_write(open ? env->opened : env->closed, 1);
}

static const struct stream_user_ops user_ops = {on_readable, on_writable, on_opened};

static void wait_for(int fd)
{
	struct pollfd pfd = {.fd = fd, .events = POLLIN};

	assert_int_equal(poll(&pfd, 1, WAIT_MS), 1);
}

static void heard(int fd)
{
	eventfd_t count;

	wait_for(fd);
	assert_int_equal(eventfd_read(fd, &count), 0);
}

static void forget(int fd)
{
	eventfd_t count;

	eventfd_read(fd, &count);
}

static uint32_t put(struct env *env, const void *data, uint32_t len)
{
	/* In two pieces. */
	struct iovec iov[2] = {{(void *)data, len / 2}, {(char *)data + len / 2, len - len / 2}};

	return stream_write(env->stream, iov, 2, 0, len);
}

static void put_all(struct env *env, const char *text)
{
	assert_int_equal(put(env, text, (uint32_t)strlen(text)), strlen(text));
}

/* Read until the whole text is there. */
static void expect_input(struct env *env, const char *text)
{
	size_t want = strlen(text), have = 0;
	char *got = calloc(1, want + 1);

	while (have < want) {
		struct iovec iov = {got + have, want - have};

		if (stream_avail(env->stream))
			have += stream_read(env->stream, &iov, 1);
		else
			heard(env->readable);
	}
	assert_string_equal(got, text);
	free(got);
}

/* What comes out at the other end. */
static void expect_output(int fd, const char *text)
{
	size_t want = strlen(text), have = 0;
	char *got = calloc(1, want + 1);

	while (have < want) {
		ssize_t len;

		wait_for(fd);
		len = read(fd, got + have, want - have);
		assert_true(len > 0);
		have += (size_t)len;
	}
	assert_string_equal(got, text);
	free(got);
}

/* ---- set-up */

static struct vdpa_attrs *attrs_of(const char *const *words)
{
	struct vdpa_attrs *attrs = vdpa_attrs_alloc();

	for (; *words; words += 2)
		assert_int_equal(vdpa_attrs_add(attrs, words[0], words[1], NULL, NULL), 0);
	return attrs;
}

#define WORDS(...) ((const char *const[]){__VA_ARGS__, NULL})

static int try_open(struct env *env, uint16_t port, const char *const *words)
{
	struct vdpa_attrs *attrs = attrs_of(words);
	struct stream_open open = {attrs, "con0", env->bus, port};
	int err;

	env->ack = (struct vdpa_extack){0};
	assert_int_equal(vdpa_attrs_check(attrs, table, NULL, false, &env->ack), 0);
	err = stream_open(&open, &env->stream, &env->ack);
	vdpa_attrs_free(attrs);
	if (!err)
		stream_set_user(env->stream, &env->user);
	return err;
}

static void open_stream(struct env *env, const char *const *words)
{
	if (try_open(env, 0, words))
		fail_msg("%s", env->ack.msg);
}

static void refused(struct env *env, const char *const *words, const char *text)
{
	assert_true(try_open(env, 0, words) < 0);
	if (!strstr(env->ack.msg, text))
		fail_msg("'%s' lacks '%s'", env->ack.msg, text);
}

static int set_attr(struct env *env, const char *key, const char *value)
{
	struct vdpa_attrs *attrs = attrs_of(WORDS(key, value));
	int err = vdpa_attrs_check(attrs, table, NULL, true, &env->ack);

	if (!err)
		err = stream_set_attrs(env->stream, attrs, &env->ack);
	vdpa_attrs_free(attrs);
	return err;
}

static void close_stream(struct env *env)
{
	stream_close(env->stream);
	env->stream = NULL;
}

static const char *path_of(struct env *env, const char *name)
{
	static char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/%s", env->dir, name);
	return path;
}

static int setup(void **state)
{
	struct env *env = calloc(1, sizeof(*env));
	struct vdpa_bus_config cfg = {.workers = 1, .run_dir = env->dir};

	signal(SIGPIPE, SIG_IGN);
	strcpy(env->dir, "/tmp/uvdpa-stream-XXXXXX");
	if (!mkdtemp(env->dir) || vdpa_bus_alloc(&cfg, &env->bus, NULL))
		return -1;
	env->user.ops = &user_ops;
	env->readable = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	env->writable = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	env->opened = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	env->closed = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	*state = env;
	return 0;
}

/* Nothing is left behind but the folder of the device, which the bus removes. */
static int teardown(void **state)
{
	struct env *env = *state;
	int err = vdpa_bus_free(env->bus);

	rmdir(path_of(env, "dev/con0"));
	rmdir(path_of(env, "dev"));
	if (rmdir(env->dir)) {
		print_error("'%s' is not empty\n", env->dir);
		err = -1;
	}
	close(env->readable);
	close(env->writable);
	close(env->opened);
	close(env->closed);
	free(env);
	return err;
}

/* ---- the ring */

static void test_stream_bytes_keep_order(void **state)
{
	struct bytes bytes;
	uint8_t next_in = 0, next_out = 0;

	assert_int_equal(bytes_init(&bytes, 7), 0);
	for (unsigned int round = 0; round < 1000; round++) {
		struct iovec iov[2];
		uint32_t size = 7 + round % 5, add = round % 4;
		int num;

		assert_int_equal(bytes_resize(&bytes, size), 0);
		num = bytes_free(&bytes, iov);
		for (int i = 0; i < num; i++)
			for (size_t at = 0; at < iov[i].iov_len && add; at++, add--) {
				((uint8_t *)iov[i].iov_base)[at] = next_in++;
				bytes_added(&bytes, 1);
			}
		num = bytes_filled(&bytes, iov);
		if (!num)
			continue;
		assert_int_equal(*(uint8_t *)iov[0].iov_base, next_out++);
		bytes_drop(&bytes, 1);
	}
	assert_int_equal((uint8_t)(next_in - next_out), bytes.len);
	bytes_release(&bytes);
}

/* ---- pty */

static int open_pty(struct env *env)
{
	int fd = open(path_of(env, "dev/con0/pty"), O_RDWR | O_NOCTTY | O_CLOEXEC);

	assert_true(fd >= 0);
	heard(env->opened);
	return fd;
}

static void test_stream_pty_carries_both_ways(void **state)
{
	struct env *env = *state;
	int fd;

	open_stream(env, WORDS("backend", "pty"));
	forget(env->closed);
	fd = open_pty(env);
	put_all(env, "login: ");
	expect_output(fd, "login: ");
	assert_int_equal(write(fd, "root\r", 5), 5);
	expect_input(env, "root\r");
	close(fd);
	heard(env->closed);
	close_stream(env);
	assert_int_not_equal(access(path_of(env, "dev/con0/pty"), F_OK), 0);
}

static void test_stream_pty_is_opened_again(void **state)
{
	struct env *env = *state;

	open_stream(env, WORDS("backend", "pty"));
	for (int i = 0; i < 20; i++) {
		int fd;

		forget(env->closed);
		fd = open_pty(env);
		put_all(env, "x");
		expect_output(fd, "x");
		close(fd);
		heard(env->closed);
	}
	close_stream(env);
}

static void test_stream_pty_keeps_the_latest_for_who_comes(void **state)
{
	struct env *env = *state;
	int fd;

	open_stream(env, WORDS("backend", "pty", "buffer", "16"));
	put_all(env, "forgotten, forgotten");
	put_all(env, "0123456789");
	put_all(env, "abcdef");
	fd = open_pty(env);
	expect_output(fd, "0123456789abcdef");
	put_all(env, "!");
	expect_output(fd, "!");
	close(fd);
	close_stream(env);
}

static void test_stream_pty_has_a_size(void **state)
{
	struct env *env = *state;
	struct winsize size;
	int fd;

	open_stream(env, WORDS("backend", "pty"));
	stream_set_size(env->stream, 132, 43);
	fd = open_pty(env);
	assert_int_equal(ioctl(fd, TIOCGWINSZ, &size), 0);
	assert_int_equal(size.ws_col, 132);
	assert_int_equal(size.ws_row, 43);
	close(fd);
	close_stream(env);
}

static void test_stream_pty_replaces_a_stale_link(void **state)
{
	struct env *env = *state;
	char second[PATH_MAX], target[64] = "";

	mkdir(path_of(env, "dev"), 0755);
	mkdir(path_of(env, "dev/con0"), 0755);
	snprintf(second, sizeof(second), "%s", path_of(env, "dev/con0/pty.1"));
	assert_int_equal(symlink("/dev/pts/99999", second), 0);
	assert_int_equal(try_open(env, 1, WORDS("backend", "pty")), 0);
	assert_true(readlink(second, target, sizeof(target) - 1) > 0);
	assert_string_not_equal(target, "/dev/pts/99999");
	close_stream(env);
	assert_int_not_equal(access(second, F_OK), 0);
}

/* ---- socket */

static int join(struct env *env, const char *path)
{
	int fd = vu_socket_connect(path, NULL);

	assert_true(fd >= 0);
	assert_int_equal(fcntl(fd, F_SETFL, 0), 0);
	return fd;
}

static int join_default(struct env *env)
{
	return join(env, path_of(env, "dev/con0/console.sock"));
}

static void test_stream_socket_serves_one_after_the_other(void **state)
{
	struct env *env = *state;
	int one, two;

	open_stream(env, WORDS("backend", "socket"));
	one = join_default(env);
	heard(env->opened);
	two = join_default(env);
	put_all(env, "to one");
	expect_output(one, "to one");
	assert_int_equal(write(two, "from two", 8), 8);
	forget(env->closed);
	close(one);
	heard(env->closed);
	heard(env->opened);
	expect_input(env, "from two");
	put_all(env, "to two");
	expect_output(two, "to two");
	close(two);
	heard(env->closed);
	close_stream(env);
}

/* What somebody has sent before he left is not lost. */
static void test_stream_socket_reads_what_came_before_a_hang_up(void **state)
{
	struct env *env = *state;
	char *text = calloc(1, 20001);
	int fd;

	memset(text, 'y', 20000);
	open_stream(env, WORDS("backend", "socket"));
	forget(env->closed);
	fd = join_default(env);
	assert_int_equal(write(fd, text, 20000), 20000);
	close(fd);
	heard(env->closed);
	expect_input(env, text);
	assert_int_equal(stream_avail(env->stream), 0);
	fd = join_default(env);
	assert_int_equal(write(fd, "next", 4), 4);
	expect_input(env, "next");
	close(fd);
	close_stream(env);
	free(text);
}

/* Who has left does not keep others out, even if what he sent is never read. */
static void test_stream_socket_gives_way_after_a_hang_up(void **state)
{
	struct env *env = *state;
	char junk[20000] = {0};
	int fd;

	open_stream(env, WORDS("backend", "socket"));
	forget(env->closed);
	fd = join_default(env);
	assert_int_equal(write(fd, junk, sizeof(junk)), sizeof(junk));
	close(fd);
	heard(env->closed);
	forget(env->opened);
	fd = join_default(env);
	heard(env->opened);
	put_all(env, "hello");
	expect_output(fd, "hello");
	close(fd);
	close_stream(env);
}

/* Half closed, it still gets answers. */
static void test_stream_socket_answers_after_the_end_of_input(void **state)
{
	struct env *env = *state;
	int fd;

	open_stream(env, WORDS("backend", "socket"));
	fd = join_default(env);
	assert_int_equal(write(fd, "question", 8), 8);
	assert_int_equal(shutdown(fd, SHUT_WR), 0);
	expect_input(env, "question");
	assert_int_equal(stream_avail(env->stream), 0);
	put_all(env, "answer");
	expect_output(fd, "answer");
	close(fd);
	close_stream(env);
}

/* Until no more is taken.  Returns how much that was. */
static uint32_t fill_up(struct env *env)
{
	uint32_t sent = 0, len;
	uint8_t buf[4096];

	do {
		for (size_t i = 0; i < sizeof(buf); i++)
			buf[i] = (uint8_t)((sent + i) % 251);
		len = put(env, buf, sizeof(buf));
		sent += len;
	} while (len == sizeof(buf));
	return sent;
}

/* A slow reader loses nothing, and beyond the bound the writer is held back. */
static void slow_reader(struct env *env, uint32_t bound)
{
	uint32_t sent, got = 0;
	int fd = join_default(env);
	uint8_t buf[4096];

	heard(env->opened);
	sent = fill_up(env);
	assert_true(sent >= bound);
	assert_int_equal(put(env, buf, 1), 0);
	forget(env->writable);
	while (got < sent) {
		ssize_t len = read(fd, buf, sizeof(buf));

		assert_true(len > 0);
		for (ssize_t i = 0; i < len; i++, got++)
			assert_int_equal(buf[i], got % 251);
	}
	heard(env->writable);
	put_all(env, "on");
	expect_output(fd, "on");
	close(fd);
}

static void test_stream_slow_reader_loses_nothing(void **state)
{
	struct env *env = *state;

	open_stream(env, WORDS("backend", "socket", "buffer", "10000"));
	slow_reader(env, 10000);
	close_stream(env);
}

/* Then there is nobody to be waited for. */
static void test_stream_slow_reader_leaves(void **state)
{
	struct env *env = *state;
	int fd;

	open_stream(env, WORDS("backend", "socket", "buffer", "8"));
	fd = join_default(env);
	heard(env->opened);
	fill_up(env);
	forget(env->writable);
	close(fd);
	heard(env->writable);
	put_all(env, "and what he has missed");
	fd = join_default(env);
	expect_output(fd, "s missed");
	close(fd);
	close_stream(env);
}

static void test_stream_bound_can_be_changed(void **state)
{
	struct env *env = *state;
	int fd;

	open_stream(env, WORDS("backend", "socket", "buffer", "10", "unread", "hold"));
	assert_int_equal(put(env, "0123456789abcdef", 16), 10);
	assert_int_equal(set_attr(env, "buffer", "12"), 0);
	heard(env->writable);
	assert_int_equal(put(env, "abcdef", 6), 2);
	assert_int_equal(set_attr(env, "buffer", "3"), 0);
	assert_int_equal(put(env, "x", 1), 0);
	assert_int_equal(set_attr(env, "unread", "keep"), 0);
	heard(env->writable);
	/* There were 12, and now there are the latest 3. */
	assert_int_equal(put(env, "vwxyz", 5), 5);
	fd = join_default(env);
	expect_output(fd, "xyz");
	close(fd);
	close_stream(env);
}

static void test_stream_holds_the_writer_while_nobody_is_there(void **state)
{
	struct env *env = *state;
	int fd;

	open_stream(env, WORDS("backend", "socket", "buffer", "8", "unread", "hold"));
	assert_int_equal(put(env, "0123456789", 10), 8);
	fd = join_default(env);
	heard(env->writable);
	put_all(env, "89");
	expect_output(fd, "0123456789");
	close(fd);
	close_stream(env);
}

static void test_stream_force_goes_beyond_the_bound(void **state)
{
	struct iovec iov = {(void *)"0123456789", 10};
	struct env *env = *state;
	int fd;

	open_stream(env, WORDS("backend", "socket", "buffer", "4", "unread", "hold"));
	assert_int_equal(stream_force(env->stream, &iov, 1, 0, 10), 10);
	assert_int_equal(put(env, "x", 1), 0);
	fd = join_default(env);
	expect_output(fd, "0123456789");
	heard(env->writable);
	put_all(env, "ab");
	expect_output(fd, "ab");
	close(fd);
	close_stream(env);
}

static void test_stream_socket_client_connects_again(void **state)
{
	const struct vu_socket_config cfg = {.mode = 0600, .uid = (uid_t)-1, .gid = (gid_t)-1};
	struct env *env = *state;
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s", path_of(env, "server"));
	open_stream(env, WORDS("socket", path, "client", "on", "reconnect-ms", "5"));
	put_all(env, "early ");
	for (int i = 0; i < 3; i++) {
		int listener = vu_socket_listen(path, &cfg, NULL), fd;

		wait_for(listener);
		fd = accept(listener, NULL, NULL);
		assert_true(fd >= 0);
		heard(env->opened);
		put_all(env, "hello");
		expect_output(fd, i ? "hello" : "early hello");
		forget(env->closed);
		/* First nobody listens, then somebody does. */
		close(listener);
		unlink(path);
		close(fd);
		heard(env->closed);
	}
	close_stream(env);
}

/* What nobody has read does not keep it from that. */
static void test_stream_socket_client_leaves_unread_input(void **state)
{
	const struct vu_socket_config cfg = {.mode = 0600, .uid = (uid_t)-1, .gid = (gid_t)-1};
	struct env *env = *state;
	char path[PATH_MAX], junk[20000] = {0};
	int listener, fd;

	snprintf(path, sizeof(path), "%s", path_of(env, "server"));
	listener = vu_socket_listen(path, &cfg, NULL);
	open_stream(env, WORDS("socket", path, "client", "on", "reconnect-ms", "5"));
	wait_for(listener);
	fd = accept(listener, NULL, NULL);
	assert_int_equal(write(fd, junk, sizeof(junk)), sizeof(junk));
	close(fd);
	wait_for(listener);
	fd = accept(listener, NULL, NULL);
	assert_true(fd >= 0);
	put_all(env, "hello");
	expect_output(fd, "hello");
	close(fd);
	close_stream(env);
	close(listener);
	unlink(path);
}

static void test_stream_socket_uses_a_socket_that_was_passed(void **state)
{
	const struct vu_socket_config cfg = {.mode = 0600, .uid = (uid_t)-1, .gid = (gid_t)-1};
	struct vdpa_attrs *attrs = vdpa_attrs_alloc();
	struct env *env = *state;
	struct stream_open open = {attrs, "con0", env->bus, 0};
	char path[PATH_MAX];
	int fd;

	snprintf(path, sizeof(path), "%s", path_of(env, "passed"));
	fd = vu_socket_listen(path, &cfg, NULL);
	assert_int_equal(vdpa_attrs_add(attrs, "socket", path, &fd, NULL), 0);
	assert_int_equal(stream_open(&open, &env->stream, &env->ack), 0);
	vdpa_attrs_free(attrs);
	stream_set_user(env->stream, &env->user);
	fd = join(env, path);
	put_all(env, "hello");
	expect_output(fd, "hello");
	close(fd);
	close_stream(env);
	/* The file is the user's. */
	assert_int_equal(unlink(path), 0);
}

/* ---- file */

static void expect_file(const char *path, const char *text)
{
	char *got = calloc(1, strlen(text) + 2);
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_true(read(fd, got, strlen(text) + 1) >= 0);
	assert_string_equal(got, text);
	close(fd);
	free(got);
}

static void test_stream_file_is_appended_to(void **state)
{
	struct env *env = *state;
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s", path_of(env, "log"));
	for (int i = 0; i < 2; i++) {
		open_stream(env, WORDS("file", path));
		put_all(env, "line 1\n");
		put_all(env, "line 2\n");
		close_stream(env);
	}
	expect_file(path, "line 1\nline 2\nline 1\nline 2\n");
	unlink(path);
}

static void test_stream_file_is_rotated(void **state)
{
	struct env *env = *state;
	char path[PATH_MAX], old[PATH_MAX];

	snprintf(path, sizeof(path), "%s", path_of(env, "log"));
	snprintf(old, sizeof(old), "%s", path_of(env, "log.0"));
	open_stream(env, WORDS("file", path));
	put_all(env, "first");
	assert_int_equal(rename(path, old), 0);
	put_all(env, " and second");
	assert_int_equal(set_attr(env, "reopen", "on"), 0);
	put_all(env, "third");
	close_stream(env);
	expect_file(old, "first and second");
	expect_file(path, "third");
	unlink(path);
	unlink(old);
}

struct writer {
	struct env *env;
	uint32_t num; /* lines written; atomic */
	bool stop;    /* atomic */
};

static void *write_lines(void *arg)
{
	struct writer *writer = arg;

	while (!__atomic_load_n(&writer->stop, __ATOMIC_ACQUIRE)) {
		char line[16];
		int len = snprintf(line, sizeof(line), "%08u\n", writer->num);

		for (int done = 0; done < len; sched_yield())
			done += (int)put(writer->env, line + done, (uint32_t)(len - done));
		__atomic_fetch_add(&writer->num, 1, __ATOMIC_RELEASE);
	}
	return NULL;
}

/* What is in both files, one after the other, is each line once. */
static void expect_lines(const char *old, const char *now, uint32_t num)
{
	const char *const paths[] = {old, now};
	char got[16], want[16];
	size_t have = 0;
	uint32_t next = 0;

	for (int i = 0; i < 2; i++) {
		FILE *file = fopen(paths[i], "re");
		size_t len;

		assert_non_null(file);
		/* A line may begin in one file and end in the other. */
		while ((len = fread(got + have, 1, 9 - have, file))) {
			have += len;
			if (have < 9)
				continue;
			snprintf(want, sizeof(want), "%08u\n", next++);
			assert_memory_equal(got, want, 9);
			have = 0;
		}
		fclose(file);
		unlink(paths[i]);
	}
	assert_int_equal(next, num);
}

static void test_stream_file_is_rotated_while_it_is_written(void **state)
{
	struct env *env = *state;
	struct writer writer = {.env = env};
	char path[PATH_MAX], old[PATH_MAX];
	pthread_t thread;
	uint32_t num;

	snprintf(path, sizeof(path), "%s", path_of(env, "log"));
	snprintf(old, sizeof(old), "%s", path_of(env, "log.0"));
	open_stream(env, WORDS("file", path, "buffer", "1K"));
	assert_int_equal(pthread_create(&thread, NULL, write_lines, &writer), 0);
	while (__atomic_load_n(&writer.num, __ATOMIC_ACQUIRE) < 500)
		sched_yield();
	assert_int_equal(rename(path, old), 0);
	num = __atomic_load_n(&writer.num, __ATOMIC_ACQUIRE);
	assert_int_equal(set_attr(env, "reopen", "on"), 0);
	while (__atomic_load_n(&writer.num, __ATOMIC_ACQUIRE) < num + 500)
		sched_yield();
	__atomic_store_n(&writer.stop, true, __ATOMIC_RELEASE);
	pthread_join(thread, NULL);
	close_stream(env);
	expect_lines(old, path, writer.num);
}

static void test_stream_file_refuses_what_is_no_file(void **state)
{
	struct env *env = *state;

	refused(env, WORDS("file", "/dev/null"), "no regular file");
	refused(env, WORDS("file", "/nowhere/at/all"), "cannot open");
	refused(env, WORDS("backend", "file"), "needs 'file'");
}

static void test_stream_file_refuses_what_is_for_reading(void **state)
{
	struct vdpa_attrs *attrs = vdpa_attrs_alloc();
	struct env *env = *state;
	struct stream_open open_args = {attrs, "con0", env->bus, 0};
	const char *path = path_of(env, "log");
	int fd = open(path, O_RDONLY | O_CREAT | O_CLOEXEC, 0600);

	assert_int_equal(vdpa_attrs_add(attrs, "file", path, &fd, NULL), 0);
	assert_int_equal(stream_open(&open_args, &env->stream, &env->ack), -EACCES);
	assert_non_null(strstr(env->ack.msg, "for reading only"));
	vdpa_attrs_free(attrs);
	unlink(path);
}

/* Whoever has less rights than the process chose the name: then only descriptors count. */
static int open_for_stranger(struct env *env, uint16_t port, const char *key, const char *path,
			     int fd, bool client)
{
	struct vdpa_attrs *attrs = client ? attrs_of(WORDS("client", "on")) : vdpa_attrs_alloc();
	struct stream_open open_args = {attrs, "con0", env->bus, port};
	int err;

	vdpa_attrs_forbid_names(attrs);
	assert_int_equal(vdpa_attrs_add(attrs, key, path, &fd, NULL), 0);
	assert_int_equal(vdpa_attrs_check(attrs, table, NULL, false, NULL), 0);
	err = stream_open(&open_args, &env->stream, &env->ack);
	vdpa_attrs_free(attrs);
	return err;
}

static void test_stream_file_of_a_stranger_is_not_opened_by_name(void **state)
{
	struct env *env = *state;
	char path[PATH_MAX];
	int fd;

	snprintf(path, sizeof(path), "%s", path_of(env, "log"));
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	assert_int_equal(open_for_stranger(env, 0, "file", path, fd, false), 0);
	put_all(env, "text");
	assert_int_equal(set_attr(env, "reopen", "on"), -EPERM);
	assert_non_null(strstr(env->ack.msg, "opened by name"));
	close_stream(env);
	expect_file(path, "text");
	assert_int_equal(open_for_stranger(env, 0, "file", path, -1, false), -EPERM);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	assert_int_equal(open_for_stranger(env, 1, "file", path, fd, false), -EPERM);
	assert_int_not_equal(access(path_of(env, "log.1"), F_OK), 0);
	unlink(path);
}

static void test_stream_socket_of_a_stranger_is_not_used_by_name(void **state)
{
	const struct vu_socket_config cfg = {.mode = 0600, .uid = (uid_t)-1, .gid = (gid_t)-1};
	struct env *env = *state;
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s", path_of(env, "sock"));
	assert_int_equal(open_for_stranger(env, 0, "socket", path,
					   vu_socket_listen(path, &cfg, NULL), false),
			 0);
	close_stream(env);
	assert_int_equal(open_for_stranger(env, 1, "socket", path, dup(0), false), -EPERM);
	assert_int_equal(open_for_stranger(env, 0, "socket", path, dup(0), true), -EPERM);
	assert_int_not_equal(access(path_of(env, "sock.1"), F_OK), 0);
	unlink(path);
}

static void test_stream_attributes_of_others_are_refused(void **state)
{
	struct env *env = *state;

	refused(env, WORDS("backend", "pty", "file", "/tmp/x"), "for backend 'file'");
	refused(env, WORDS("backend", "stdio", "client", "on"), "for backend 'socket'");
	refused(env, WORDS("backend", "socket", "reconnect-ms", "5"), "needs 'client on'");
	open_stream(env, WORDS("backend", "pty"));
	assert_int_equal(set_attr(env, "reopen", "on"), -EOPNOTSUPP);
	close_stream(env);
}

/* ---- stdio */

static void test_stream_stdio_is_pipes(void **state)
{
	struct env *env = *state;
	int in[2], out[2], old_in = dup(0), old_out;

	fflush(stdout);
	old_out = dup(1);
	assert_int_equal(pipe(in), 0);
	assert_int_equal(pipe(out), 0);
	dup2(in[0], 0);
	dup2(out[1], 1);
	open_stream(env, WORDS("backend", "stdio"));
	dup2(old_in, 0);
	dup2(old_out, 1);
	close(in[0]);
	close(out[1]);
	heard(env->opened);
	put_all(env, "output");
	expect_output(out[0], "output");
	assert_int_equal(write(in[1], "input", 5), 5);
	expect_input(env, "input");
	/* The end of the input is not that of the output. */
	close(in[1]);
	put_all(env, "more");
	expect_output(out[0], "more");
	forget(env->closed);
	close(out[0]);
	heard(env->closed);
	assert_int_equal(stream_avail(env->stream), 0);
	close_stream(env);
	close(old_in);
	close(old_out);
}

static void test_stream_stdio_refuses_files_and_more_ports(void **state)
{
	struct env *env = *state;
	const char *path = path_of(env, "input");
	int old_in = dup(0), fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	dup2(fd, 0);
	close(fd);
	unlink(path);
	refused(env, WORDS("backend", "stdio"), "the standard input is a file");
	assert_int_equal(try_open(env, 1, WORDS("backend", "stdio")), -EINVAL);
	assert_non_null(strstr(env->ack.msg, "one port"));
	assert_true(fcntl(0, F_GETFD) >= 0);
	dup2(old_in, 0);
	close(old_in);
}

#define STREAM_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_stream_bytes_keep_order),
		STREAM_TEST(test_stream_pty_carries_both_ways),
		STREAM_TEST(test_stream_pty_is_opened_again),
		STREAM_TEST(test_stream_pty_keeps_the_latest_for_who_comes),
		STREAM_TEST(test_stream_pty_has_a_size),
		STREAM_TEST(test_stream_pty_replaces_a_stale_link),
		STREAM_TEST(test_stream_socket_serves_one_after_the_other),
		STREAM_TEST(test_stream_socket_reads_what_came_before_a_hang_up),
		STREAM_TEST(test_stream_socket_gives_way_after_a_hang_up),
		STREAM_TEST(test_stream_socket_answers_after_the_end_of_input),
		STREAM_TEST(test_stream_slow_reader_loses_nothing),
		STREAM_TEST(test_stream_slow_reader_leaves),
		STREAM_TEST(test_stream_bound_can_be_changed),
		STREAM_TEST(test_stream_holds_the_writer_while_nobody_is_there),
		STREAM_TEST(test_stream_force_goes_beyond_the_bound),
		STREAM_TEST(test_stream_socket_client_connects_again),
		STREAM_TEST(test_stream_socket_client_leaves_unread_input),
		STREAM_TEST(test_stream_socket_uses_a_socket_that_was_passed),
		STREAM_TEST(test_stream_file_is_appended_to),
		STREAM_TEST(test_stream_file_is_rotated),
		STREAM_TEST(test_stream_file_is_rotated_while_it_is_written),
		STREAM_TEST(test_stream_file_refuses_what_is_no_file),
		STREAM_TEST(test_stream_file_refuses_what_is_for_reading),
		STREAM_TEST(test_stream_file_of_a_stranger_is_not_opened_by_name),
		STREAM_TEST(test_stream_socket_of_a_stranger_is_not_used_by_name),
		STREAM_TEST(test_stream_attributes_of_others_are_refused),
		STREAM_TEST(test_stream_stdio_is_pipes),
		STREAM_TEST(test_stream_stdio_refuses_files_and_more_ports),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
