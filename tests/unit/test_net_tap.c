/* SPDX-License-Identifier: BSD-2-Clause */
/* The backend `tap`: frames between a sink and programs of this host. */
#include <errno.h>
#include <limits.h>
#include <linux/capability.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <cmocka.h>

#include "backends/net/tap.h"
#include "backends/net/tap_dev.h"
#include "base/defs.h"
#include "fake_vdev.h"
#include "host_net.h"
#include "loop/worker.h"

#define PATIENCE_MS 20000
#define KEPT        64

struct frame {
	struct net_hdr hdr;
	uint32_t len;
	uint8_t *data;
};

/* What a device would be.  The worker's, but for the descriptor. */
struct sink {
	struct net_sink sink;
	int woken;         /* eventfd */
	unsigned int room; /* frames */
	unsigned int num;
	struct frame frames[KEPT];
};

struct env {
	struct worker *worker;
	struct net_backend *net;
	struct net_queue *tx, *rx;
	struct sink sink;
	uint16_t pair;
	int err;
	struct net_pkt *pkt;
	unsigned int budget, got;
	struct vdpa_extack ack;
};

/* ---- the sink */

static struct sink *to_sink(struct net_sink *sink)
{
	return container_of(sink, struct sink, sink);
}

static int sink_deliver(struct net_sink *ns, const struct net_pkt *pkt)
{
	struct sink *sink = to_sink(ns);
	struct frame *frame = &sink->frames[sink->num];

	if (!sink->room)
		return -ENOBUFS;
	assert_true(sink->num < KEPT);
	sink->room--;
	sink->num++;
	frame->hdr = pkt->hdr;
	frame->len = pkt->len;
	frame->data = malloc(pkt->len);
	assert_int_equal(net_pkt_peek(pkt, frame->data, pkt->len), pkt->len);
	return 0;
}

static void sink_wake(struct net_sink *sink)
{
	eventfd_write(to_sink(sink)->woken, 1);
}

static const struct net_sink_ops sink_ops = {.deliver = sink_deliver, .wake = sink_wake};

static void forget(struct sink *sink)
{
	while (sink->num)
		free(sink->frames[--sink->num].data);
}

/* ---- on the worker */

static void do_attach(void *arg)
{
	struct env *env = arg;

	env->err = env->net->ops->tx_attach(env->net, env->pair, env->worker, &env->tx, &env->ack);
	if (!env->err)
		env->err = env->net->ops->rx_attach(env->net, env->pair, env->worker,
						    &env->sink.sink, &env->rx, &env->ack);
}

static void do_detach(void *arg)
{
	struct env *env = arg;

	env->net->ops->rx_detach(env->rx);
	env->net->ops->tx_detach(env->tx);
	env->rx = env->tx = NULL;
}

static void do_send(void *arg)
{
	struct env *env = arg;

	env->err = env->net->ops->send(env->tx, env->pkt);
}

static void do_recv(void *arg)
{
	struct env *env = arg;

	env->got = env->net->ops->recv(env->rx, env->budget);
}

/* ---- what tests do */

static int open_tap(struct env *env, const char *device, uint16_t pairs, const char *const *words)
{
	static const struct vdpa_attr_desc table[] = {
		NET_TAP_ATTRS,
		{.name = "mtu", .type = VDPA_ATTR_UINT},
		{0},
	};
	struct vdpa_attrs *attrs = vdpa_attrs_alloc();
	struct net_open open = {.attrs = attrs, .name = device, .pairs = pairs};
	int err;

	for (; words && *words; words += 2)
		assert_int_equal(vdpa_attrs_add(attrs, words[0], words[1], NULL, NULL), 0);
	assert_int_equal(vdpa_attrs_check(attrs, table, NULL, false, NULL), 0);
	env->ack.msg[0] = '\0';
	err = net_tap_open(&open, &env->net, &env->ack);
	vdpa_attrs_free(attrs);
	return err;
}

#define WORDS(...) ((const char *const[]){__VA_ARGS__, NULL})

static void attach(struct env *env, uint16_t pair)
{
	env->pair = pair;
	worker_call(env->worker, do_attach, env);
	assert_int_equal(env->err, 0);
}

static void detach(struct env *env)
{
	worker_call(env->worker, do_detach, env);
}

/* Open with one pair, attached. */
static void start(struct env *env)
{
	if (open_tap(env, "net0", 1, NULL))
		fail_msg("%s", env->ack.msg);
	attach(env, 0);
}

static int send_pkt(struct env *env, struct net_pkt *pkt)
{
	env->pkt = pkt;
	worker_call(env->worker, do_send, env);
	return env->err;
}

static unsigned int recv_pkts(struct env *env, unsigned int budget)
{
	env->budget = budget;
	worker_call(env->worker, do_recv, env);
	return env->got;
}

static void wait_woken(struct env *env)
{
	struct pollfd pfd = {.fd = env->sink.woken, .events = POLLIN};
	eventfd_t count;

	assert_int_equal(poll(&pfd, 1, PATIENCE_MS), 1);
	eventfd_read(env->sink.woken, &count);
}

static void refused(struct env *env, int err, const char *text)
{
	assert_null(env->net);
	if (!strstr(env->ack.msg, text))
		fail_msg("'%s' lacks '%s'", env->ack.msg, text);
	assert_true(err < 0);
}

static int setup(void **state)
{
	struct env *env = calloc(1, sizeof(*env));

	env->sink.sink.ops = &sink_ops;
	env->sink.woken = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	*state = env;
	return worker_alloc("test", -1, 0, &env->worker);
}

static int teardown(void **state)
{
	struct env *env = *state;

	if (env->rx)
		detach(env);
	if (env->net)
		env->net->ops->close(env->net);
	worker_free(env->worker);
	forget(&env->sink);
	close(env->sink.woken);
	free(env);
	return host_net_exists("net0");
}

/* ---- frames of the guest's */

static void test_net_tap_sends_to_this_host(void **state)
{
	struct env *env = *state;
	uint8_t out[1514], in[1514];
	struct iovec whole = {out, sizeof(out)};
	struct net_pkt pkt = {.iov = &whole, .num = 1, .len = sizeof(out)};
	struct virtio_net_hdr hdr;
	int fd;

	start(env);
	fd = host_net_open("net0");
	host_net_fill(out, sizeof(out), 3);
	assert_int_equal(send_pkt(env, &pkt), 0);
	assert_int_equal(host_net_recv(fd, &hdr, in, sizeof(in)), sizeof(in));
	assert_memory_equal(in, out, sizeof(out));
	assert_int_equal(hdr.gso_type, VIRTIO_NET_HDR_GSO_NONE);
	close(fd);
}

static void test_net_tap_sends_pieces(void **state)
{
	struct env *env = *state;
	uint8_t out[1000], in[1000];
	struct iovec iov[3] = {{out, 100}, {out + 100, 1}, {out + 101, 899}};
	struct net_pkt pkt = {.iov = iov, .num = 3, .len = sizeof(out)};
	uint8_t head[60];
	int fd;

	start(env);
	fd = host_net_open("net0");
	host_net_fill(out, sizeof(out), 3);
	assert_int_equal(net_pkt_pull(&pkt, head, sizeof(head)), sizeof(head));
	assert_int_equal(send_pkt(env, &pkt), 0);
	assert_int_equal(host_net_recv(fd, NULL, in, sizeof(in)), sizeof(in));
	assert_memory_equal(in, out, sizeof(out));
	close(fd);
}

static void test_net_tap_refuses_more_pieces_than_a_write_takes(void **state)
{
	struct env *env = *state;
	uint8_t out[IOV_MAX], in[IOV_MAX];
	struct iovec iov[IOV_MAX];
	struct net_pkt pkt = {.iov = iov, .num = IOV_MAX, .len = IOV_MAX};
	int fd;

	start(env);
	fd = host_net_open("net0");
	host_net_fill(out, sizeof(out), 3);
	for (int i = 0; i < IOV_MAX; i++)
		iov[i] = (struct iovec){&out[i], 1};
	assert_int_equal(send_pkt(env, &pkt), -EMSGSIZE);
	/* One piece is the header. */
	pkt.num = pkt.len = IOV_MAX - 1;
	assert_int_equal(send_pkt(env, &pkt), 0);
	assert_int_equal(host_net_recv(fd, NULL, in, sizeof(in)), IOV_MAX - 1);
	assert_memory_equal(in, out, IOV_MAX - 1);
	close(fd);
}

static void test_net_tap_passes_the_guests_offloads_on(void **state)
{
	struct env *env = *state;
	uint8_t *out = malloc(HOST_MAX_FRAME), *in = malloc(HOST_MAX_FRAME);
	struct iovec whole = {out, 40054};
	struct net_pkt pkt = {.iov = &whole, .num = 1, .len = 40054};
	struct virtio_net_hdr hdr;
	int fd;

	start(env);
	assert_int_equal(env->net->caps & NET_CAP_TSO4, NET_CAP_TSO4);
	fd = host_net_open("net0");
	hdr = host_net_fill_tcp(out, 40054, 1000);
	pkt.hdr = (struct net_hdr){
		.flags = hdr.flags,
		.gso_type = hdr.gso_type,
		.hdr_len = 65535, /* a hint that is wrong does no harm */
		.gso_size = hdr.gso_size,
		.csum_start = hdr.csum_start,
		.csum_offset = hdr.csum_offset,
	};
	assert_int_equal(send_pkt(env, &pkt), 0);
	assert_int_equal(host_net_recv(fd, &hdr, in, HOST_MAX_FRAME), 40054);
	assert_memory_equal(in, out, 40054);
	assert_int_equal(hdr.gso_type, VIRTIO_NET_HDR_GSO_TCPV4);
	assert_int_equal(hdr.gso_size, 1000);
	assert_int_equal(hdr.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM, VIRTIO_NET_HDR_F_NEEDS_CSUM);
	assert_int_equal(hdr.csum_start, 34);
	close(fd);
	free(in);
	free(out);
}

static void test_net_tap_says_what_the_kernel_does_not_take(void **state)
{
	struct env *env = *state;
	uint8_t out[10] = {0};
	struct iovec whole = {out, sizeof(out)};
	struct net_pkt pkt = {.iov = &whole, .num = 1, .len = sizeof(out)};

	start(env);
	close(host_net_open("net0"));
	assert_int_equal(send_pkt(env, &pkt), -EINVAL);
}

/* ---- frames of this host's */

static void test_net_tap_wakes_and_delivers(void **state)
{
	struct env *env = *state;
	uint8_t out[500];
	int fd;

	start(env);
	fd = host_net_open("net0");
	env->sink.room = KEPT;
	assert_int_equal(recv_pkts(env, KEPT), 0);
	for (unsigned int i = 0; i < 10; i++) {
		host_net_fill(out, sizeof(out), i);
		host_net_send(fd, NULL, out, sizeof(out));
	}
	wait_woken(env);
	assert_int_equal(recv_pkts(env, 4), 4);
	assert_int_equal(recv_pkts(env, KEPT), 6);
	for (unsigned int i = 0; i < 10; i++) {
		host_net_fill(out, sizeof(out), i);
		assert_int_equal(env->sink.frames[i].len, sizeof(out));
		assert_memory_equal(env->sink.frames[i].data, out, sizeof(out));
	}
	close(fd);
}

static void test_net_tap_leaves_frames_where_they_are(void **state)
{
	struct env *env = *state;
	uint8_t out[500];
	int fd;

	start(env);
	fd = host_net_open("net0");
	for (unsigned int i = 0; i < 10; i++) {
		host_net_fill(out, sizeof(out), i);
		host_net_send(fd, NULL, out, sizeof(out));
	}
	wait_woken(env);
	assert_int_equal(recv_pkts(env, KEPT), 0);
	env->sink.room = 3;
	assert_int_equal(recv_pkts(env, KEPT), 3);
	assert_int_equal(recv_pkts(env, KEPT), 0);
	env->sink.room = KEPT;
	assert_int_equal(recv_pkts(env, KEPT), 7);
	for (unsigned int i = 0; i < 10; i++) {
		host_net_fill(out, sizeof(out), i);
		assert_memory_equal(env->sink.frames[i].data, out, sizeof(out));
	}
	close(fd);
}

static void test_net_tap_wakes_for_what_came_before(void **state)
{
	struct env *env = *state;
	uint8_t out[500];
	int fd;

	assert_int_equal(open_tap(env, "net0", 1, NULL), 0);
	fd = host_net_open("net0");
	host_net_fill(out, sizeof(out), 1);
	host_net_send(fd, NULL, out, sizeof(out));
	attach(env, 0);
	wait_woken(env);
	env->sink.room = 1;
	assert_int_equal(recv_pkts(env, KEPT), 1);
	close(fd);
}

static void test_net_tap_has_the_kernel_do_what_the_guest_does_not(void **state)
{
	struct env *env = *state;
	uint8_t out[54 + 4000];
	struct virtio_net_hdr hdr = host_net_fill_tcp(out, sizeof(out), 1000);
	int fd;

	start(env);
	fd = host_net_open("net0");
	env->sink.room = KEPT;
	assert_int_equal(env->net->ops->set_caps(env->net, NET_CAP_CSUM | NET_CAP_TSO4), 0);
	host_net_send(fd, &hdr, out, sizeof(out));
	wait_woken(env);
	assert_int_equal(recv_pkts(env, KEPT), 1);
	assert_int_equal(env->sink.frames[0].hdr.gso_type, VIRTIO_NET_HDR_GSO_TCPV4);
	assert_int_equal(env->sink.frames[0].hdr.gso_size, 1000);
	assert_int_equal(env->sink.frames[0].len, sizeof(out));
	assert_memory_equal(env->sink.frames[0].data, out, sizeof(out));
	forget(&env->sink);

	/* ECN without TSO, and USO of one kind, are nothing to the kernel. */
	assert_int_equal(env->net->ops->set_caps(env->net, NET_CAP_ECN | NET_CAP_USO4), 0);
	host_net_send(fd, &hdr, out, sizeof(out));
	wait_woken(env);
	while (env->sink.num < 4)
		recv_pkts(env, KEPT);
	for (int i = 0; i < 4; i++) {
		struct frame *frame = &env->sink.frames[i];

		assert_int_equal(frame->hdr.gso_type, VIRTIO_NET_HDR_GSO_NONE);
		assert_int_equal(frame->hdr.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM, 0);
		assert_int_equal(frame->len, 54 + 1000);
		assert_memory_equal(frame->data + 54, out + 54 + i * 1000, 1000);
	}
	close(fd);
}

/* Send 40 flows.  How many of them come by the queue that is attached? */
static unsigned int send_flows(struct env *env, int fd)
{
	uint8_t out[200];
	unsigned int num;

	env->sink.room = KEPT;
	for (int i = 0; i < 40; i++) {
		host_net_fill_tcp(out, sizeof(out), 0);
		out[29] = (uint8_t)i;
		out[37] = (uint8_t)(i * 3);
		host_net_send(fd, NULL, out, sizeof(out));
	}
	/* They are there: a packet socket has sent when it returns. */
	num = recv_pkts(env, KEPT);
	forget(&env->sink);
	return num;
}

static void test_net_tap_uses_the_queues_that_the_driver_does(void **state)
{
	struct env *env = *state;
	unsigned int num;
	int fd;

	assert_int_equal(open_tap(env, "net0", 2, NULL), 0);
	assert_int_equal(env->net->max_pairs, 2);
	attach(env, 0);
	fd = host_net_open("net0");
	assert_int_equal(send_flows(env, fd), 40);
	env->net->ops->set_pairs(env->net, 2);
	num = send_flows(env, fd);
	assert_true(num > 0 && num < 40);
	env->net->ops->set_pairs(env->net, 1);
	assert_int_equal(send_flows(env, fd), 40);
	/* More than there are is as many as there are. */
	env->net->ops->set_pairs(env->net, 8);
	num = send_flows(env, fd);
	assert_true(num > 0 && num < 40);
	close(fd);
}

/* ---- the interface */

static void test_net_tap_makes_an_interface(void **state)
{
	struct env *env = *state;
	struct fake_info info;

	assert_int_equal(open_tap(env, "net0", 1, WORDS("mtu", "9000")), 0);
	assert_true(host_net_exists("net0"));
	assert_int_equal(host_net_mtu("net0"), 9000);
	assert_int_equal(env->net->mtu, 9000);
	assert_true(host_net_carrier("net0"));
	env->net->ops->set_link(env->net, false);
	assert_false(host_net_carrier("net0"));
	env->net->ops->set_link(env->net, true);
	assert_true(host_net_carrier("net0"));

	fake_info_init(&info);
	env->net->ops->show(env->net, &info.info);
	assert_true(fake_info_has(&info, "ifname=net0 created=on"));
	env->net->ops->close(env->net);
	env->net = NULL;
	assert_false(host_net_exists("net0"));
}

static void existing(struct env *env, bool multi_queue, uint16_t pairs, uint16_t max_pairs)
{
	struct fake_info info;

	host_net_persist("tap7", multi_queue, true);
	assert_int_equal(open_tap(env, "net0", pairs, WORDS("ifname", "tap7")), 0);
	assert_int_equal(env->net->max_pairs, max_pairs);
	assert_int_equal(env->net->mtu, 1500);
	/* It is not ours to set up. */
	assert_false(host_net_carrier("tap7"));
	fake_info_init(&info);
	env->net->ops->show(env->net, &info.info);
	assert_true(fake_info_has(&info, "ifname=tap7 created=off"));
	env->net->ops->close(env->net);
	env->net = NULL;
	assert_true(host_net_exists("tap7"));
	host_net_persist("tap7", multi_queue, false);
	assert_false(host_net_exists("tap7"));
}

static void test_net_tap_uses_an_existing_one(void **state)
{
	existing(*state, false, 1, 1);
}

static void test_net_tap_uses_an_existing_one_with_too_few_queues(void **state)
{
	existing(*state, false, 3, 1);
}

static void test_net_tap_uses_an_existing_one_with_many_queues(void **state)
{
	existing(*state, true, 1, 1);
	existing(*state, true, 4, 4);
}

static void in_use(struct env *env, uint16_t pairs)
{
	struct net_backend *first;
	int err;

	assert_int_equal(open_tap(env, "net0", pairs, NULL), 0);
	first = env->net;
	env->net = NULL;
	err = open_tap(env, "net1", pairs, WORDS("ifname", "net0"));
	refused(env, err, "another program uses the interface 'net0'");
	first->ops->close(first);
}

static void test_net_tap_refuses_one_that_is_used(void **state)
{
	in_use(*state, 1);
	in_use(*state, 2);
}

static void test_net_tap_refuses_what_is_no_tap(void **state)
{
	struct env *env = *state;
	int err = open_tap(env, "net0", 1, WORDS("ifname", "lo"));

	refused(env, err, "the interface 'lo' is no TAP");
	err = open_tap(env, "net0", 1, WORDS("ifname", "tap%d"));
	refused(env, err, "'tap%d' is no name for an interface");
	err = open_tap(env, "net0", 1, WORDS("ifname", ""));
	refused(env, err, "'' is no name for an interface");
	err = open_tap(env, "net0", 1, WORDS("mtu", "65535"));
	refused(env, err, "'mtu' of a TAP is 68 to 65521, not 65535");
	assert_false(host_net_exists("net0"));
}

/* Of this thread only, and it may take it back. */
static void set_net_admin(bool on)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct caps[2];

	assert_int_equal(syscall(SYS_capget, &head, caps), 0);
	if (on)
		caps[0].effective |= 1u << CAP_NET_ADMIN;
	else
		caps[0].effective &= ~(1u << CAP_NET_ADMIN);
	assert_int_equal(syscall(SYS_capset, &head, caps), 0);
}

static void test_net_tap_says_what_it_needs(void **state)
{
	struct env *env = *state;
	int err;

	set_net_admin(false);
	err = open_tap(env, "net0", 1, NULL);
	set_net_admin(true);
	refused(env, err, "needs CAP_NET_ADMIN; or have root make it: ip tuntap add mode tap");
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_net_tap_sends_to_this_host),
		TEST(test_net_tap_sends_pieces),
		TEST(test_net_tap_refuses_more_pieces_than_a_write_takes),
		TEST(test_net_tap_passes_the_guests_offloads_on),
		TEST(test_net_tap_says_what_the_kernel_does_not_take),
		TEST(test_net_tap_wakes_and_delivers),
		TEST(test_net_tap_leaves_frames_where_they_are),
		TEST(test_net_tap_wakes_for_what_came_before),
		TEST(test_net_tap_has_the_kernel_do_what_the_guest_does_not),
		TEST(test_net_tap_uses_the_queues_that_the_driver_does),
		TEST(test_net_tap_makes_an_interface),
		TEST(test_net_tap_uses_an_existing_one),
		TEST(test_net_tap_uses_an_existing_one_with_too_few_queues),
		TEST(test_net_tap_uses_an_existing_one_with_many_queues),
		TEST(test_net_tap_refuses_one_that_is_used),
		TEST(test_net_tap_refuses_what_is_no_tap),
		TEST(test_net_tap_says_what_it_needs),
	};

	if (!host_net_enter())
		return 77;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
