/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/defs.h"
#include "daemon/control.h"
#include "daemon/rpc.h"
#include "fail_alloc.h"
#include "loop/loop.h"

/* A daemon that says what it was asked; calls to `stop` wait until the test ends them. */
struct fixture {
	struct loop *loop;
	struct control *control;
	struct call *waiting[2 * CONTROL_CALLS_MAX];
	size_t nwaiting;
	size_t runs;
	int kept; /* the descriptor of the last request that had one */
};

static void echo(void *arg, const struct command *cmd, const json_t *params, int *fds, size_t nfds,
		 struct call *call)
{
	struct fixture *f = arg;
	struct vdpa_extack ack = {0};
	char method[COMMAND_METHOD_LEN];

	f->runs++;
	command_method(cmd, method);
	if (nfds)
		f->kept = fd_take(&fds[0]);
	if (!strcmp(method, "stop")) {
		f->waiting[f->nwaiting++] = call;
	} else if (!strcmp(method, "monitor")) {
		call->ops->monitor(call);
		call->ops->done(call, 0, NULL, NULL);
	} else if (!strcmp(method, "save")) {
		vdpa_extack_set(&ack, -EBUSY, "not now");
		call->ops->done(call, -EBUSY, &ack, NULL);
	} else {
		call->ops->done(call, 0, NULL,
				json_pack("{s:s,s:O*,s:i}", "method", method, "params", params,
					  "nfds", (int)nfds));
	}
}

static int setup(void **state)
{
	static const struct control_ops ops = {.run = echo};
	struct fixture *f = calloc(1, sizeof(*f));

	f->kept = -1;
	assert_int_equal(loop_alloc(&f->loop), 0);
	assert_int_equal(control_alloc(f->loop, &ops, f, &f->control), 0);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	control_free(f->control);
	for (size_t i = 0; i < f->nwaiting; i++)
		f->waiting[i]->ops->done(f->waiting[i], 0, NULL, NULL);
	loop_free(f->loop);
	fd_closep(&f->kept);
	free(f);
	return 0;
}

/* Returns the test's end, which never blocks. */
static int join(struct fixture *f)
{
	int fds[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	assert_int_equal(fcntl(fds[0], F_SETFL, O_NONBLOCK), 0);
	assert_int_equal(control_add_client(f->control, &fds[1]), 0);
	assert_int_equal(fds[1], -1);
	return fds[0];
}

static void settle(struct fixture *f)
{
	while (loop_dispatch(f->loop, 0) > 0)
		;
}

static void put_len(struct fixture *f, int fd, const char *text, size_t len)
{
	ssize_t put;

	while (len) {
		put = send(fd, text, len, MSG_NOSIGNAL);
		if (put > 0) {
			text += put;
			len -= (size_t)put;
		}
		settle(f);
		if (put < 0 && errno != EAGAIN)
			return;
	}
}

static void put(struct fixture *f, int fd, const char *text)
{
	put_len(f, fd, text, strlen(text));
}

static void put_fds(int fd, const char *text, size_t nfds)
{
	char control[CMSG_SPACE(64 * sizeof(int))] __attribute__((aligned(8))) = {0};
	struct iovec iov = {(char *)text, strlen(text)};
	struct msghdr msg = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control,
		.msg_controllen = CMSG_SPACE(nfds * sizeof(int)),
	};
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);
	int passed = STDERR_FILENO;

	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(nfds * sizeof(int));
	for (size_t i = 0; i < nfds; i++)
		memcpy(CMSG_DATA(cmsg) + i * sizeof(passed), &passed, sizeof(passed));
	assert_int_equal(sendmsg(fd, &msg, MSG_NOSIGNAL), strlen(text));
}

/* All that has come, as text; "EOF" stands for the end. */
static char *take(struct fixture *f, int fd)
{
	static char buf[1 << 20];
	size_t len = 0;
	ssize_t got;

	settle(f);
	while ((got = recv(fd, buf + len, sizeof(buf) - 4 - len, 0)) > 0) {
		len += (size_t)got;
		settle(f);
	}
	buf[len] = '\0';
	if (got == 0 || errno == ECONNRESET)
		strcpy(buf + len, "EOF");
	return buf;
}

#define ERROR(id, code, text)                                                                      \
	"{\"jsonrpc\":\"2.0\",\"id\":" id ",\"error\":{\"code\":" code ",\"message\":\"" text      \
	"\"}}\n"

static void test_rpc_answers_with_the_id(void **state)
{
	struct fixture *f = *state;
	int fd = join(f);

	put(f, fd,
	    "{\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"dev.show\",\"params\":{\"name\":\"a\"}}\n");
	assert_string_equal(take(f, fd),
			    "{\"jsonrpc\":\"2.0\",\"id\":7,\"result\":{\"method\":\"dev.show\","
			    "\"params\":{\"name\":\"a\"},\"nfds\":0}}\n");
	put(f, fd, "{\"jsonrpc\":\"2.0\",\"id\":\"x\",\"method\":\"save\"}\n");
	assert_string_equal(take(f, fd),
			    "{\"jsonrpc\":\"2.0\",\"id\":\"x\",\"error\":{\"code\":-32000,"
			    "\"message\":\"not now\",\"data\":{\"errno\":16,\"name\":"
			    "\"EBUSY\"}}}\n");
	/* A notification is carried out, and not answered. */
	put(f, fd, "{\"jsonrpc\":\"2.0\",\"method\":\"dev.show\"}\n");
	assert_string_equal(take(f, fd), "");
	assert_int_equal(f->runs, 3);
	close(fd);
	settle(f);
	assert_int_equal(control_num_clients(f->control), 0);
}

static void test_rpc_lines_may_come_in_pieces(void **state)
{
	static const char text[] = "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"monitor\"}\n"
				   "{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"monitor\"}\n";
	struct fixture *f = *state;
	int fd = join(f);

	for (size_t i = 0; i < sizeof(text) - 1; i++)
		put_len(f, fd, text + i, 1);
	assert_string_equal(take(f, fd), "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}\n"
					 "{\"jsonrpc\":\"2.0\",\"id\":2,\"result\":{}}\n");
	put(f, fd, text);
	assert_int_equal(strlen(take(f, fd)),
			 2 * strlen("{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}\n"));
	close(fd);
}

static void test_rpc_refuses_what_is_no_request(void **state)
{
	static const struct {
		const char *line, *answer;
	} cases[] = {
		{"[]\n", ERROR("null", "-32600", "a request must be one object")},
		{"{}\n",
		 ERROR("null", "-32600", "'jsonrpc' must be \\\"2.0\\\" and 'method' a string")},
		{"{\"jsonrpc\":\"1.0\",\"id\":3,\"method\":\"stop\"}\n",
		 ERROR("3", "-32600", "'jsonrpc' must be \\\"2.0\\\" and 'method' a string")},
		{"{\"jsonrpc\":\"2.0\",\"id\":[],\"method\":\"stop\"}\n",
		 ERROR("null", "-32600",
		       "'id' must be a number, null or a string of at most 128 bytes")},
		{"{\"jsonrpc\":\"2.0\",\"id\":3,\"method\":\"top\"}\n",
		 ERROR("3", "-32601", "unknown method 'top'")},
		{"{\"jsonrpc\":\"2.0\",\"id\":3,\"method\":\"dev.del\"}\n",
		 ERROR("3", "-32602", "parameter 'name' is missing")},
		{"{\"jsonrpc\":\"2.0\",\"id\":3,\"method\":\"dev.show\",\"params\":[1]}\n",
		 ERROR("3", "-32602", "parameters must be an object")},
		{"[[[[[[[[[[[[[[[[[\n", ERROR("null", "-32700", "nested deeper than 16")},
	};
	struct fixture *f = *state;
	int fd = join(f);

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		put(f, fd, cases[i].line);
		assert_string_equal(take(f, fd), cases[i].answer);
	}
	/* The words are the parser's. */
	put(f, fd, "nonsense\n");
	assert_non_null(strstr(take(f, fd), "\"id\":null,\"error\":{\"code\":-32700"));
	put(f, fd, "{\"id\":1,\"id\":2}\n");
	assert_non_null(strstr(take(f, fd), "-32700"));
	put(f, fd, "\n");
	assert_non_null(strstr(take(f, fd), "-32700"));
	assert_int_equal(f->runs, 0);
	close(fd);
}

static void test_rpc_brackets_in_strings_do_not_count(void **state)
{
	struct fixture *f = *state;
	int fd = join(f);

	put(f, fd,
	    "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"dev.show\","
	    "\"params\":{\"name\":\"[[[[[[[[[[[[[[[[[[[[[[\\\"[[\"}}\n");
	assert_non_null(strstr(take(f, fd), "\"result\""));
	close(fd);
}

static void test_rpc_ends_a_client_with_a_huge_line(void **state)
{
	struct fixture *f = *state;
	char *text = malloc(CONTROL_LINE_MAX + 1);
	int fd = join(f);

	memset(text, 'x', CONTROL_LINE_MAX + 1);
	put_len(f, fd, text, CONTROL_LINE_MAX + 1);
	assert_string_equal(take(f, fd), ERROR("null", "-32700", "the line is too long") "EOF");
	assert_int_equal(control_num_clients(f->control), 0);
	close(fd);
	free(text);
}

static void test_rpc_longest_line_is_taken(void **state)
{
	struct fixture *f = *state;
	char *text = malloc(CONTROL_LINE_MAX);
	const char *line = "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"monitor\"}";
	int fd = join(f);

	memset(text, ' ', CONTROL_LINE_MAX);
	memcpy(text, line, strlen(line));
	text[CONTROL_LINE_MAX - 1] = '\n';
	put_len(f, fd, text, CONTROL_LINE_MAX);
	assert_string_equal(take(f, fd), "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}\n");
	close(fd);
	free(text);
}

#define WITH_FDS(id, fds)                                                                          \
	"{\"jsonrpc\":\"2.0\",\"id\":" id ",\"method\":\"dev.set\",\"params\":{\"name\":\"a\","    \
	"\"attrs\":{\"file\":\"x\",\"log\":\"y\"},\"fds\":{" fds "}}}\n"

static void test_rpc_descriptors_belong_to_their_line(void **state)
{
	static const char monitor[] = "{\"jsonrpc\":\"2.0\",\"id\":3,\"method\":\"monitor\"}\n";
	struct fixture *f = *state;
	int fd = join(f);

	put(f, fd, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"monitor\"}\n{\"json");
	put_fds(fd,
		"rpc\":\"2.0\",\"id\":2,\"method\":\"dev.set\",\"params\":{\"name\":\"a\","
		"\"attrs\":"
		"{\"file\":\"x\"},\"fds\":{\"file\":0}}}\n",
		1);
	assert_non_null(strstr(take(f, fd), "\"id\":2,\"result\""));
	assert_in_range(f->kept, 0, 1000);
	fd_closep(&f->kept);

	/* A line without descriptors, waiting before one with. */
	assert_true(send(fd, monitor, strlen(monitor), 0) > 0);
	put_fds(fd, WITH_FDS("4", "\"log\":1,\"file\":0"), 2);
	take(f, fd);
	assert_in_range(f->kept, 0, 1000);
	close(fd);
}

static void test_rpc_refuses_descriptors_that_do_not_add_up(void **state)
{
	struct fixture *f = *state;
	int fd = join(f);

	put(f, fd, WITH_FDS("1", "\"file\":0"));
	assert_string_equal(take(f, fd), ERROR("1", "-32602",
					       "'fds': 'file' is descriptor 0, but 0 came along"));
	put_fds(fd, WITH_FDS("2", ""), 1);
	assert_string_equal(take(f, fd),
			    ERROR("2", "-32602", "1 descriptors came along, 0 are named in 'fds'"));
	put_fds(fd, WITH_FDS("3", "\"file\":0,\"log\":0"), 2);
	assert_string_equal(take(f, fd),
			    ERROR("3", "-32602", "'fds': descriptor 0 is named twice"));
	put_fds(fd, WITH_FDS("4", "\"file\":99999999999"), 1);
	assert_non_null(strstr(take(f, fd), "-32602"));
	assert_int_equal(f->runs, 0);
	close(fd);
}

/* What came along and was not taken is closed, however much it is. */
static void test_rpc_leaks_no_descriptors(void **state)
{
	struct fixture *f = *state;
	int fd = join(f), before, after;

	before = dup(STDERR_FILENO);
	close(before);
	put_fds(fd, "no request\n", 3);
	settle(f);
	put_fds(fd, WITH_FDS("1", "\"file\":0,\"log\":1"), 40);
	settle(f);
	put_fds(fd, "half a line", 2);
	settle(f);
	close(fd);
	settle(f);
	assert_int_equal(control_num_clients(f->control), 0);
	fd_closep(&f->kept);
	after = dup(STDERR_FILENO);
	close(after);
	assert_in_range(after, 0, before);
}

static void test_rpc_slow_client_blocks_nobody(void **state)
{
	static const char ask[] =
		"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"dev.show\",\"params\":{\"name\":"
		"\"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\"}}\n";
	struct fixture *f = *state;
	int slow = join(f), fast = join(f);
	size_t sent = 0, runs;

	/* It asks, and never reads, until nothing of it is taken any more. */
	for (ssize_t got = 1; got > 0;) {
		got = send(slow, ask, sizeof(ask) - 1, MSG_NOSIGNAL);
		sent += got > 0;
		settle(f);
	}
	runs = f->runs;
	assert_in_range(runs, 1000, sent);
	/* The bound, one reply more, and what the socket holds. */
	assert_in_range(runs * 140, 0, 4 * CONTROL_OUT_MAX);
	put(f, fast, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"monitor\"}\n");
	assert_non_null(strstr(take(f, fast), "result"));
	assert_int_equal(f->runs, runs + 1);
	/* When it reads again it gets on. */
	while (*take(f, slow))
		;
	assert_true(f->runs > runs + 1);
	close(slow);
	close(fast);
}

static void test_rpc_requests_under_way_are_bounded(void **state)
{
	struct fixture *f = *state;
	struct call *call;
	int fd = join(f);

	for (int i = 0; i < CONTROL_CALLS_MAX + 8; i++)
		put(f, fd, "{\"jsonrpc\":\"2.0\",\"id\":5,\"method\":\"stop\"}\n");
	assert_int_equal(f->runs, CONTROL_CALLS_MAX);
	call = f->waiting[--f->nwaiting];
	call->ops->done(call, 0, NULL, NULL);
	settle(f);
	assert_int_equal(f->runs, CONTROL_CALLS_MAX + 1);
	/* It leaves: the requests go on, nobody is told. */
	close(fd);
	settle(f);
	assert_int_equal(control_num_clients(f->control), 0);
	assert_int_equal(f->nwaiting, CONTROL_CALLS_MAX);
}

static void test_rpc_half_closed_client_gets_its_replies(void **state)
{
	struct fixture *f = *state;
	int fd = join(f);

	put(f, fd, "{\"jsonrpc\":\"2.0\",\"id\":5,\"method\":\"stop\"}\n");
	shutdown(fd, SHUT_WR);
	assert_string_equal(take(f, fd), "");
	f->waiting[0]->ops->done(f->waiting[0], 0, NULL, NULL);
	f->nwaiting = 0;
	assert_string_equal(take(f, fd), "{\"jsonrpc\":\"2.0\",\"id\":5,\"result\":{}}\nEOF");
	close(fd);
}

static void test_rpc_events_go_to_those_who_monitor(void **state)
{
	struct fixture *f = *state;
	int fd = join(f), other = join(f);
	json_t *params = json_pack("{s:s}", "event", "dev-add");

	put(f, fd, "{\"jsonrpc\":\"2.0\",\"method\":\"monitor\"}\n");
	control_notify(f->control, "event", params);
	assert_string_equal(take(f, fd),
			    "{\"jsonrpc\":\"2.0\",\"method\":\"event\",\"params\":{\"event\":"
			    "\"dev-add\"}}\n");
	assert_string_equal(take(f, other), "");
	json_decref(params);
	close(fd);
	close(other);
}

static void test_rpc_lost_events_are_counted(void **state)
{
	struct fixture *f = *state;
	json_t *params = json_pack("{s:s}", "event", "dev-add");
	char *text, *lost = NULL;
	int fd = join(f);

	put(f, fd, "{\"jsonrpc\":\"2.0\",\"method\":\"monitor\"}\n");
	for (int i = 0; i < 100000; i++)
		control_notify(f->control, "event", params);
	assert_int_equal(control_num_clients(f->control), 1);
	for (text = take(f, fd); *text && !lost; text = take(f, fd))
		lost = strstr(text, "{\"event\":\"lost\",\"count\":");
	assert_non_null(lost);
	assert_true(atoi(lost + strlen("{\"event\":\"lost\",\"count\":")) > 1000);
	json_decref(params);
	close(fd);
}

static void test_rpc_turns_away_too_many_clients(void **state)
{
	struct fixture *f = *state;
	int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0),
	    fds[CONTROL_CLIENTS_MAX + 1];
	struct sockaddr_storage addr = {0};
	socklen_t len = sizeof(addr);

	/* An abstract name that the kernel picks. */
	addr.ss_family = AF_UNIX;
	assert_int_equal(bind(listener, (struct sockaddr *)&addr, sizeof(addr.ss_family)), 0);
	assert_int_equal(getsockname(listener, (struct sockaddr *)&addr, &len), 0);
	assert_int_equal(listen(listener, 8), 0);
	assert_int_equal(control_listen(f->control, &listener), 0);
	assert_int_equal(listener, -1);
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
		fds[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
		assert_int_equal(connect(fds[i], (struct sockaddr *)&addr, len), 0);
		settle(f);
	}
	assert_int_equal(control_num_clients(f->control), CONTROL_CLIENTS_MAX);
	assert_non_null(strstr(take(f, fds[CONTROL_CLIENTS_MAX]), "too many clients"));
	for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
		close(fds[i]);
	settle(f);
	assert_int_equal(control_num_clients(f->control), 0);
}

static uint64_t test_clock(void *arg)
{
	return *(uint64_t *)arg;
}

/* Out of descriptors: the one who waits is served when there are some again, and nobody spins until
 * then. */
static void test_rpc_accepts_again_after_running_out_of_descriptors(void **state)
{
	struct fixture *f = *state;
	int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0), fd, lowest;
	struct sockaddr_storage addr = {.ss_family = AF_UNIX};
	socklen_t len = sizeof(addr);
	struct rlimit limit, none;
	uint64_t now = 1;

	loop_set_clock(f->loop, test_clock, &now);
	assert_int_equal(bind(listener, (struct sockaddr *)&addr, sizeof(addr.ss_family)), 0);
	assert_int_equal(getsockname(listener, (struct sockaddr *)&addr, &len), 0);
	assert_int_equal(listen(listener, 8), 0);
	assert_int_equal(control_listen(f->control, &listener), 0);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&addr, len), 0);

	lowest = dup(fd);
	close(lowest);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	none = (struct rlimit){(rlim_t)lowest, limit.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	settle(f);
	assert_int_equal(loop_dispatch(f->loop, 0), 0);
	assert_int_equal(control_num_clients(f->control), 0);

	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	settle(f);
	assert_int_equal(control_num_clients(f->control), 0);
	now += 1000000000;
	settle(f);
	assert_int_equal(control_num_clients(f->control), 1);
	close(fd);
	settle(f);
}

/* The library's allocations, too, go through the ones that can be made to fail. */
static void *json_alloc(size_t size)
{
	return malloc(size);
}

static void test_rpc_survives_every_failing_allocation(void **state)
{
	static const char ask[] = "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"dev.set\",\"params\":"
				  "{\"name\":\"a\",\"attrs\":{\"k\":\"v\"}}}\n";
	struct fixture *f = *state;
	bool failed = true;

	json_set_alloc_funcs(json_alloc, free);
	for (unsigned int n = 1; failed; n++) {
		int fd = join(f);
		const char *answer;

		assert_int_equal(send(fd, ask, sizeof(ask) - 1, MSG_NOSIGNAL), sizeof(ask) - 1);
		fail_alloc_nth(n);
		settle(f);
		failed = fail_alloc_done();
		answer = take(f, fd);
		/* An answer, or the end of the connection; never silence. */
		assert_true(strlen(answer) > 0);
		if (!failed)
			assert_non_null(strstr(answer, "\"result\""));
		close(fd);
		settle(f);
		assert_int_equal(control_num_clients(f->control), 0);
	}
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_rpc_answers_with_the_id),
		TEST(test_rpc_lines_may_come_in_pieces),
		TEST(test_rpc_refuses_what_is_no_request),
		TEST(test_rpc_brackets_in_strings_do_not_count),
		TEST(test_rpc_ends_a_client_with_a_huge_line),
		TEST(test_rpc_longest_line_is_taken),
		TEST(test_rpc_descriptors_belong_to_their_line),
		TEST(test_rpc_refuses_descriptors_that_do_not_add_up),
		TEST(test_rpc_leaks_no_descriptors),
		TEST(test_rpc_slow_client_blocks_nobody),
		TEST(test_rpc_requests_under_way_are_bounded),
		TEST(test_rpc_half_closed_client_gets_its_replies),
		TEST(test_rpc_events_go_to_those_who_monitor),
		TEST(test_rpc_lost_events_are_counted),
		TEST(test_rpc_turns_away_too_many_clients),
		TEST(test_rpc_accepts_again_after_running_out_of_descriptors),
		TEST(test_rpc_survives_every_failing_allocation),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
