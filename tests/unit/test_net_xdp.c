/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The backend `af_xdp`, on one end of a cable whose other end a packet socket has.
 */
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <cmocka.h>

#include "backends/net/tap.h"
#include "backends/net/xdp.h"
#include "backends/net/xdp_sock.h"
#include "base/defs.h"
#include "host_net.h"
#include "net_rig.h"

#define IFNAME "xdp0"
#define PEER   "xdp1"

static const struct vdpa_attr_desc table[] = {NET_TAP_ATTRS, NET_XDP_ATTRS, {0}};

struct env {
	struct net_rig rig;
	int peer;
};

static bool has_program(const char *ifname)
{
	uint32_t id = 0;

	assert_int_equal(bpf_xdp_query_id((int)if_nametoindex(ifname), 0, &id), 0);
	return id;
}

static int cable(void **state)
{
	host_net_veth(IFNAME, PEER, 2);
	return 0;
}

/* Nothing of ours is left on the interface, whatever a test did with it. */
static int uncable(void **state)
{
	bool left = host_net_exists(IFNAME) && has_program(IFNAME);

	if (host_net_exists(IFNAME))
		host_net_delete(IFNAME);
	return left ? -1 : 0;
}

static void start(struct env *env, const char *words)
{
	if (nrig_open(&env->rig, net_xdp_open, table, words))
		fail_msg("%s", env->rig.ack.msg);
	assert_int_equal(nrig_attach(&env->rig, 0, 1), 0);
	assert_true(has_program(IFNAME));
	env->peer = host_net_open(PEER);
}

static void stop(struct env *env)
{
	nrig_close(&env->rig);
	close(env->peer);
}

static void send_one(struct env *env, size_t len, unsigned int seed)
{
	uint8_t out[XDP_FRAME_MAX], in[XDP_FRAME_MAX];

	host_net_fill(out, len, seed);
	assert_int_equal(nrig_send(&env->rig, out, (uint32_t)len), 0);
	assert_int_equal(host_net_recv(env->peer, NULL, in, sizeof(in)), len);
	assert_memory_equal(in, out, len);
}

static void receive_one(struct env *env, size_t len, unsigned int seed)
{
	uint8_t want[XDP_FRAME_MAX], in[XDP_FRAME_MAX];

	host_net_fill(want, len, seed);
	assert_int_equal(nrig_recv(&env->rig, in, sizeof(in)), len);
	assert_memory_equal(in, want, len);
}

static void emit(struct env *env, size_t len, unsigned int seed)
{
	uint8_t out[XDP_FRAME_MAX];

	host_net_fill(out, len, seed);
	host_net_send(env->peer, NULL, out, len);
}

/* ---- frames */

/* More of them than there are buffers, so that each is used again. */
static void both_ways(const char *words, const char *mode)
{
	struct env env;

	start(&env, words);
	assert_true(nrig_shows(&env.rig, mode));
	for (unsigned int i = 0; i < 2 * XDP_TX + 100; i++)
		send_one(&env, 60 + i % 1400, i);
	for (unsigned int i = 0; i < 2 * XDP_RX + 100; i++) {
		emit(&env, 60 + i % 1400, i);
		receive_one(&env, 60 + i % 1400, i);
	}
	stop(&env);
}

static void test_net_xdp_works_in_the_driver(void **state)
{
	both_ways("ifname " IFNAME, "ifname=xdp0 xdp-queue=0 xdp-mode=native zerocopy=off");
	both_ways("ifname " IFNAME " xdp-mode native zerocopy off", "xdp-mode=native zerocopy=off");
}

static void test_net_xdp_works_behind_the_driver(void **state)
{
	both_ways("ifname " IFNAME " xdp-mode skb", "xdp-mode=skb zerocopy=off");
}

static void test_net_xdp_leaves_frames_where_they_are(void **state)
{
	struct env env;

	start(&env, "ifname " IFNAME);
	nrig_set_full(&env.rig, true);
	for (unsigned int i = 0; i < 500; i++)
		emit(&env, 100, i);
	nrig_wait_refused(&env.rig);
	/* Also while nobody is there, and for somebody else. */
	nrig_detach(&env.rig);
	for (unsigned int i = 500; i < 600; i++)
		emit(&env, 100, i);
	nrig_set_full(&env.rig, false);
	assert_int_equal(nrig_attach(&env.rig, 1, 0), 0);
	for (unsigned int i = 0; i < 600; i++)
		receive_one(&env, 100, i);
	assert_int_equal(env.rig.drops, 0);
	send_one(&env, 200, 1);
	stop(&env);
}

static void test_net_xdp_refuses_frames_of_a_wrong_length(void **state)
{
	uint8_t frame[2048] = {0};
	struct env env;

	start(&env, "ifname " IFNAME);
	assert_int_equal(nrig_send(&env.rig, frame, NET_ETH_LEN - 1), -EMSGSIZE);
	assert_int_equal(nrig_send(&env.rig, frame, 1500 + NET_ETH_LEN + 4 + 1), -EMSGSIZE);
	send_one(&env, 1500 + NET_ETH_LEN, 1);
	stop(&env);
}

static void test_net_xdp_waits_while_the_interface_is_down(void **state)
{
	uint8_t frame[100];
	struct env env;
	unsigned int num = 0;
	int watch;

	start(&env, "ifname " IFNAME);
	host_net_set_up(IFNAME, false);
	host_net_fill(frame, sizeof(frame), 7);
	while (!nrig_send(&env.rig, frame, sizeof(frame)))
		num++;
	assert_int_equal(num, XDP_TX);
	assert_int_equal(nrig_send(&env.rig, frame, sizeof(frame)), -ENOBUFS);
	watch = host_net_watch();
	host_net_set_up(IFNAME, true);
	/* The next attempt, which finds no room, has the kernel send the others. */
	assert_int_equal(nrig_send(&env.rig, frame, sizeof(frame)), -ENOBUFS);
	for (unsigned int i = 0; i < num; i++) {
		uint8_t in[sizeof(frame)];

		assert_int_equal(host_net_recv(env.peer, NULL, in, sizeof(in)), sizeof(frame));
		assert_memory_equal(in, frame, sizeof(frame));
	}
	send_one(&env, 100, 1);
	host_net_wait_carrier(watch, PEER);
	close(watch);
	emit(&env, 100, 2);
	receive_one(&env, 100, 2);
	stop(&env);
}

static void test_net_xdp_survives_that_the_interface_goes(void **state)
{
	uint8_t frame[100] = {0};
	struct env env;

	start(&env, "ifname " IFNAME);
	host_net_delete(IFNAME);
	for (unsigned int i = 0; i < XDP_TX; i++)
		assert_int_equal(nrig_send(&env.rig, frame, sizeof(frame)), 0);
	assert_int_equal(nrig_send(&env.rig, frame, sizeof(frame)), -ENOBUFS);
	nrig_wait_log(&env.rig, "net0: the interface '" IFNAME "' is gone\n");
	stop(&env);
}

static void test_net_xdp_keeps_its_descriptors(void **state)
{
	struct stat before[64];
	struct env env;

	for (int fd = 0; fd < 64; fd++)
		if (fstat(fd, &before[fd]))
			before[fd].st_ino = 0;
	start(&env, "ifname " IFNAME);
	for (int fd = 0; fd < 64; fd++) {
		struct stat now;

		if (!fstat(fd, &now) && now.st_ino != before[fd].st_ino)
			assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
	}
	stop(&env);
}

/* ---- what it is opened with */

static void refused(const char *words, int err, const char *text)
{
	struct net_rig rig;

	assert_int_equal(nrig_open(&rig, net_xdp_open, table, words), err);
	if (!strstr(rig.ack.msg, text))
		fail_msg("'%s' does not say '%s'", rig.ack.msg, text);
}

static void test_net_xdp_refuses_what_is_no_interface(void **state)
{
	refused("xdp-queue 0", -EINVAL, "'ifname' is missing");
	refused("ifname nosuch0", -ENODEV, "there is no interface 'nosuch0'");
	refused("ifname averyveryverylongname", -ENODEV, "there is no interface 'averyvery");
}

static void test_net_xdp_refuses_queues_that_are_not_there(void **state)
{
	refused("ifname " IFNAME " xdp-queue 2", -EINVAL, "'" IFNAME "' has no queue 2 for AF_XDP");
	assert_false(has_program(IFNAME));
}

static int open_pairs(struct net_rig *rig, const char *queue, uint16_t pairs,
		      struct net_backend **net, struct vdpa_extack *ack)
{
	struct vdpa_attrs *attrs = vdpa_attrs_alloc();
	struct net_open what = {.attrs = attrs, .name = "net1", .bus = rig->bus, .pairs = pairs};
	int err;

	assert_non_null(attrs);
	assert_int_equal(vdpa_attrs_add(attrs, "ifname", IFNAME, NULL, NULL), 0);
	assert_int_equal(vdpa_attrs_add(attrs, "xdp-queue", queue, NULL, NULL), 0);
	assert_int_equal(vdpa_attrs_check(attrs, table, NULL, false, NULL), 0);
	err = net_xdp_open(&what, net, ack);
	vdpa_attrs_free(attrs);
	return err;
}

static void test_net_xdp_shares_an_interface(void **state)
{
	struct vdpa_extack ack = {0};
	struct net_backend *net;
	struct env env;

	start(&env, "ifname " IFNAME);
	/* Its queue is taken: all or nothing. */
	assert_int_equal(open_pairs(&env.rig, "0", 1, &net, &ack), -EBUSY);
	assert_non_null(strstr(ack.msg, "queue 0 of '" IFNAME "' is in use"));
	assert_int_equal(open_pairs(&env.rig, "1", 1, &net, NULL), 0);
	emit(&env, 100, 1);
	receive_one(&env, 100, 1);
	net_close(net);
	assert_true(has_program(IFNAME));
	emit(&env, 100, 2);
	receive_one(&env, 100, 2);
	stop(&env);
}

static void test_net_xdp_takes_all_queues_or_none(void **state)
{
	struct vdpa_extack ack = {0};
	struct net_backend *net;
	struct env env;

	start(&env, "ifname " IFNAME);
	stop(&env);
	assert_int_equal(nrig_open(&env.rig, net_xdp_open, table, "ifname " IFNAME), 0);
	nrig_close(&env.rig);
	assert_false(has_program(IFNAME));
	env.rig = (struct net_rig){0};
	assert_int_equal(vdpa_bus_alloc(NULL, &env.rig.bus, NULL), 0);
	assert_int_equal(open_pairs(&env.rig, "0", 3, &net, &ack), -EINVAL);
	assert_non_null(strstr(ack.msg, "no queue 2"));
	assert_false(has_program(IFNAME));
	assert_int_equal(open_pairs(&env.rig, "0", 2, &net, NULL), 0);
	assert_int_equal(net->max_pairs, 2);
	net_close(net);
	assert_int_equal(vdpa_bus_free(env.rig.bus), 0);
}

static void set_mtu(const char *ifname, int mtu)
{
	struct ifreq ifr = {.ifr_mtu = mtu};
	int fd vdpa_cleanup(fd_closep) = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	memcpy(ifr.ifr_name, ifname, strlen(ifname) + 1);
	assert_int_equal(ioctl(fd, SIOCSIFMTU, &ifr), 0);
}

static void test_net_xdp_knows_its_mtu_and_mac(void **state)
{
	struct env env;
	uint8_t mac[NET_MAC_LEN];

	set_mtu(IFNAME, 9000);
	refused("ifname " IFNAME, -EINVAL,
		"the MTU of 'xdp0' is 9000, and af_xdp has 3822 at most");
	set_mtu(IFNAME, 3822);
	set_mtu(PEER, 3822);
	/* Too much for the driver, not for what is behind it. */
	start(&env, "ifname " IFNAME);
	assert_true(nrig_shows(&env.rig, "xdp-mode=skb"));
	assert_int_equal(env.rig.net->mtu, 3822);
	host_net_mac(IFNAME, mac);
	assert_memory_equal(env.rig.net->mac, mac, sizeof(mac));
	assert_int_equal(env.rig.net->caps, 0);
	send_one(&env, 3822 + NET_ETH_LEN, 1);
	emit(&env, 3822 + NET_ETH_LEN, 2);
	receive_one(&env, 3822 + NET_ETH_LEN, 2);
	stop(&env);
}

static void test_net_xdp_says_when_memory_cannot_be_shared(void **state)
{
	refused("ifname " IFNAME " xdp-mode skb zerocopy on", -EOPNOTSUPP,
		"cannot use our memory in mode skb: 'zerocopy off'");
}

/* Of this thread only, and it may take it back. */
static void set_cap(int cap, bool on)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct caps[2];

	assert_int_equal(syscall(SYS_capget, &head, caps), 0);
	if (on)
		caps[cap / 32].effective |= 1u << cap % 32;
	else
		caps[cap / 32].effective &= ~(1u << cap % 32);
	assert_int_equal(syscall(SYS_capset, &head, caps), 0);
}

static void test_net_xdp_says_what_it_needs(void **state)
{
	struct rlimit limit, low;

	set_cap(CAP_NET_RAW, false);
	refused("ifname " IFNAME, -EPERM, "AF_XDP needs CAP_NET_RAW");
	set_cap(CAP_NET_RAW, true);
	set_cap(CAP_NET_ADMIN, false);
	refused("ifname " IFNAME, -EPERM, "needs CAP_NET_ADMIN and CAP_BPF");
	set_cap(CAP_NET_ADMIN, true);
	assert_int_equal(getrlimit(RLIMIT_MEMLOCK, &limit), 0);
	low = (struct rlimit){1 << 20, limit.rlim_max};
	assert_int_equal(setrlimit(RLIMIT_MEMLOCK, &low), 0);
	set_cap(CAP_IPC_LOCK, false);
	refused("ifname " IFNAME, -ENOBUFS, "RLIMIT_MEMLOCK) is 1024K; raise it");
	set_cap(CAP_IPC_LOCK, true);
	assert_int_equal(setrlimit(RLIMIT_MEMLOCK, &limit), 0);
}

/* Not everywhere may programs be attached: not in a container, say. */
static bool may_attach(void)
{
	struct net_rig rig;
	int err;

	cable(NULL);
	err = nrig_open(&rig, net_xdp_open, table, "ifname " IFNAME);
	if (err)
		printf("AF_XDP does not work here: %s\n", vdpa_extack_text(&rig.ack, err));
	else
		nrig_close(&rig);
	uncable(NULL);
	return err != -EPERM && err != -EAFNOSUPPORT;
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, cable, uncable)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_net_xdp_works_in_the_driver),
		TEST(test_net_xdp_works_behind_the_driver),
		TEST(test_net_xdp_leaves_frames_where_they_are),
		TEST(test_net_xdp_refuses_frames_of_a_wrong_length),
		TEST(test_net_xdp_waits_while_the_interface_is_down),
		TEST(test_net_xdp_survives_that_the_interface_goes),
		TEST(test_net_xdp_keeps_its_descriptors),
		TEST(test_net_xdp_refuses_what_is_no_interface),
		TEST(test_net_xdp_refuses_queues_that_are_not_there),
		TEST(test_net_xdp_shares_an_interface),
		TEST(test_net_xdp_takes_all_queues_or_none),
		TEST(test_net_xdp_knows_its_mtu_and_mac),
		TEST(test_net_xdp_says_when_memory_cannot_be_shared),
		TEST(test_net_xdp_says_what_it_needs),
	};

	if (!host_net_enter() || !may_attach())
		return 77;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
