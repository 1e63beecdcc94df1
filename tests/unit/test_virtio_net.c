/* SPDX-License-Identifier: BSD-2-Clause */
/* A net device that sends everything back, under the driver `virtio`: an interface of this host. */
#include <errno.h>
#include <linux/virtio_net.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <cmocka.h>

#include "backends/net/tap_dev.h"
#include "base/defs.h"
#include "fake_net.h"
#include "fake_vdev.h"
#include "host_net.h"

#define PLAIN                                                                                      \
	(BIT_ULL(VIRTIO_NET_F_MAC) | BIT_ULL(VIRTIO_NET_F_MTU) | BIT_ULL(VIRTIO_NET_F_STATUS) |    \
	 BIT_ULL(VIRTIO_NET_F_MRG_RXBUF))
#define CTRL                                                                                       \
	(BIT_ULL(VIRTIO_NET_F_CTRL_VQ) | BIT_ULL(VIRTIO_NET_F_CTRL_RX) |                           \
	 BIT_ULL(VIRTIO_NET_F_GUEST_ANNOUNCE))
#define OFFLOADS                                                                                   \
	(BIT_ULL(VIRTIO_NET_F_CSUM) | BIT_ULL(VIRTIO_NET_F_GUEST_CSUM) |                           \
	 BIT_ULL(VIRTIO_NET_F_HOST_TSO4) | BIT_ULL(VIRTIO_NET_F_GUEST_TSO4) |                      \
	 BIT_ULL(VIRTIO_NET_F_HOST_USO))
#define ALL (PLAIN | CTRL | OFFLOADS | BIT_ULL(VIRTIO_NET_F_MQ))

struct env {
	struct vdpa_bus *bus;
	struct vdpa_result res;
	bool broken;
	char why[256];
};

static void on_event(void *arg, const struct vdpa_event *event)
{
	struct env *env = arg;

	if (event->type != VDPA_EVENT_BROKEN)
		return;
	env->broken = true;
	snprintf(env->why, sizeof(env->why), "%s", event->text ? event->text : "");
}

static struct vdpa_attrs *attrs_of(const char *const *words)
{
	struct vdpa_attrs *attrs = vdpa_attrs_alloc();

	for (; words && *words; words += 2)
		assert_int_equal(vdpa_attrs_add(attrs, words[0], words[1], NULL, NULL), 0);
	return attrs;
}

#define WORDS(...) ((const char *const[]){__VA_ARGS__, NULL})

static void add(struct env *env, const char *name, const char *const *words)
{
	struct vdpa_result res = {0};

	vdpa_dev_add(env->bus, name, "fakenet", attrs_of(words), vdpa_result_done, &res);
	if (vdpa_bus_wait(env->bus, &res))
		fail_msg("%s", vdpa_extack_text(&res.ack, res.err));
}

static int bind_net(struct env *env, const char *name, const char *const *words)
{
	memset(&env->res, 0, sizeof(env->res));
	vdpa_dev_bind(env->bus, name, "virtio", attrs_of(words), 0, vdpa_result_done, &env->res);
	return vdpa_bus_wait(env->bus, &env->res);
}

static int unbind_net(struct env *env, const char *name, uint32_t flags)
{
	memset(&env->res, 0, sizeof(env->res));
	vdpa_dev_unbind(env->bus, name, flags, vdpa_result_done, &env->res);
	return vdpa_bus_wait(env->bus, &env->res);
}

/* With all that `dev add` takes, and bound. */
static void start(struct env *env, const char *const *words)
{
	add(env, "net0", words);
	if (bind_net(env, "net0", NULL))
		fail_msg("%s", vdpa_extack_text(&env->res.ack, env->res.err));
}

static void refused(struct env *env, const char *text)
{
	add(env, "net0", NULL);
	assert_true(bind_net(env, "net0", NULL) < 0);
	if (!strstr(env->res.ack.msg, text))
		fail_msg("'%s' lacks '%s'", env->res.ack.msg, text);
	assert_false(host_net_exists("net0"));
}

static void on_lane(struct vdpa_device *vdev, void *arg)
{
	eventfd_write(*(int *)arg, 1);
}

/* What the device has told the driver by now has been dealt with. */
static void settle(struct env *env)
{
	int fd = eventfd(0, EFD_CLOEXEC);
	eventfd_t count;

	assert_int_equal(vdpa_device_run(vdpa_dev_find(env->bus, "net0"), on_lane, &fd), 0);
	assert_int_equal(eventfd_read(fd, &count), 0);
	close(fd);
}

static int setup(void **state)
{
	struct env *env = calloc(1, sizeof(*env));
	struct vdpa_bus_config cfg = {.workers = 1};
	struct vdpa_extack ack = {0};

	if (vdpa_bus_alloc(&cfg, &env->bus, &ack) ||
	    vdpa_soft_class_register(env->bus, &fake_net_class, &ack) ||
	    vdpa_soft_register_builtin(env->bus, &ack) ||
	    vdpa_driver_register(env->bus, vdpa_driver_virtio, &ack)) {
		print_error("%s\n", ack.msg);
		return -1;
	}
	vdpa_bus_set_event_cb(env->bus, on_event, env);
	fake_net_init(PLAIN);
	*state = env;
	return 0;
}

static int teardown(void **state)
{
	struct env *env = *state;
	int err = vdpa_bus_free(env->bus);

	free(env);
	return err || host_net_exists("net0");
}

/* Send frames of growing length, and see each come back as it went. */
static void exchange(int fd, size_t max)
{
	uint8_t *out = malloc(max), *in = malloc(max);
	unsigned int seed = 0;

	for (size_t len = 60; len <= max; len += 1 + (max - 60) / 50) {
		host_net_fill(out, len, ++seed);
		host_net_send(fd, NULL, out, len);
		assert_int_equal(host_net_recv(fd, NULL, in, max), len);
		assert_memory_equal(in, out, len);
	}
	free(in);
	free(out);
}

/* Many at once. */
static void burst(int fd, unsigned int num)
{
	uint8_t out[HOST_MTU_FRAME], in[HOST_MTU_FRAME];

	for (unsigned int i = 0; i < num; i++) {
		host_net_fill(out, sizeof(out), i);
		host_net_send(fd, NULL, out, sizeof(out));
	}
	for (unsigned int i = 0; i < num; i++) {
		host_net_fill(out, sizeof(out), i);
		assert_int_equal(host_net_recv(fd, NULL, in, sizeof(in)), sizeof(in));
		assert_memory_equal(in, out, sizeof(in));
	}
}

static void traffic(struct env *env, uint64_t features, const char *const *words)
{
	int fd;

	fake_net_init(features);
	start(env, words);
	fd = host_net_open("net0");
	exchange(fd, HOST_MTU_FRAME);
	/* Several times around the rings; no more at once than a short one has room for, while a
	 * batch of buffers is on its way back to it. */
	for (int i = 0; i < 50; i++)
		burst(fd, 25);
	assert_int_equal(unbind_net(env, "net0", 0), 0);
	close(fd);
}

static void test_virtio_net_carries_frames_both_ways(void **state)
{
	traffic(*state, PLAIN, NULL);
}

static void test_virtio_net_uses_a_split_ring(void **state)
{
	traffic(*state, PLAIN, WORDS("packed", "off"));
}

static void test_virtio_net_uses_a_split_ring_without_events(void **state)
{
	traffic(*state, PLAIN, WORDS("packed", "off", "event-idx", "off"));
}

static void test_virtio_net_uses_short_rings(void **state)
{
	traffic(*state, PLAIN, WORDS("queue-size", "64", "indirect", "off"));
}

static void test_virtio_net_goes_without_mergeable_buffers(void **state)
{
	traffic(*state, BIT_ULL(VIRTIO_NET_F_MAC), NULL);
}

static void test_virtio_net_carries_jumbo_frames(void **state)
{
	struct env *env = *state;
	int fd;

	fake_net.mtu = 65535;
	start(env, NULL);
	assert_int_equal(host_net_mtu("net0"), TAP_MTU_MAX);
	fd = host_net_open("net0");
	exchange(fd, TAP_MTU_MAX + 14);
	close(fd);
}

static void test_virtio_net_is_like_the_device(void **state)
{
	static const uint8_t mac[6] = {0x52, 0x54, 0, 0x12, 0x34, 0x56};
	struct env *env = *state;
	uint8_t got[6];

	fake_net.mtu = 9000;
	fake_net.status = 0;
	start(env, NULL);
	host_net_mac("net0", got);
	assert_memory_equal(got, mac, 6);
	assert_int_equal(host_net_mtu("net0"), 9000);
	close(host_net_open("net0"));
	assert_false(host_net_carrier("net0"));
}

static void test_virtio_net_follows_changes(void **state)
{
	struct env *env = *state;

	start(env, NULL);
	close(host_net_open("net0"));
	assert_true(host_net_carrier("net0"));
	fake_net_set_status(0);
	settle(env);
	assert_false(host_net_carrier("net0"));
	fake_net_set_status(VIRTIO_NET_S_LINK_UP);
	settle(env);
	assert_true(host_net_carrier("net0"));
	fake_net_set_mtu(4000);
	settle(env);
	assert_int_equal(host_net_mtu("net0"), 4000);
	/* Nonsense changes nothing. */
	fake_net_set_mtu(3);
	settle(env);
	assert_int_equal(host_net_mtu("net0"), 4000);
}

static void test_virtio_net_passes_offloads_through(void **state)
{
	struct env *env = *state;
	struct virtio_net_hdr hdr, back;
	uint8_t *out = malloc(HOST_MAX_FRAME), *in = malloc(HOST_MAX_FRAME);
	int fd;

	fake_net_init(PLAIN | OFFLOADS);
	start(env, NULL);
	fd = host_net_open("net0");
	hdr = host_net_fill_tcp(out, 60054, 1448);
	host_net_send(fd, &hdr, out, 60054);
	assert_int_equal(host_net_recv(fd, &back, in, HOST_MAX_FRAME), 60054);
	assert_int_equal(back.gso_type, VIRTIO_NET_HDR_GSO_TCPV4);
	assert_int_equal(back.gso_size, 1448);
	assert_int_equal(back.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM, VIRTIO_NET_HDR_F_NEEDS_CSUM);
	assert_memory_equal(in, out, 60054);
	assert_int_equal(fake_net.sent, 1);
	assert_int_equal(fake_net.gso_types, 1 << VIRTIO_NET_HDR_GSO_TCPV4);
	close(fd);
	free(in);
	free(out);
}

static void test_virtio_net_has_the_host_cut_what_the_device_does_not(void **state)
{
	struct env *env = *state;
	struct virtio_net_hdr hdr;
	uint8_t out[14540], in[HOST_MTU_FRAME];
	int fd;

	/* The bit without the one that it needs is not taken. */
	fake_net_init(PLAIN | BIT_ULL(VIRTIO_NET_F_HOST_TSO4));
	start(env, NULL);
	fd = host_net_open("net0");
	hdr = host_net_fill_tcp(out, 54 + 10 * 1448, 1448);
	host_net_send(fd, &hdr, out, 54 + 10 * 1448);
	for (int i = 0; i < 10; i++) {
		assert_int_equal(host_net_recv(fd, &hdr, in, sizeof(in)), 54 + 1448);
		assert_memory_equal(in + 54, out + 54 + i * 1448, 1448);
	}
	assert_int_equal(fake_net.gso_types, 1 << VIRTIO_NET_HDR_GSO_NONE);
	close(fd);
}

static void test_virtio_net_uses_all_pairs(void **state)
{
	struct env *env = *state;
	uint8_t out[HOST_MTU_FRAME], in[HOST_MTU_FRAME];
	struct fake_info info;
	int fd, used = 0;

	fake_net_init(ALL);
	fake_net.pairs = 3;
	start(env, NULL);
	assert_true(fake_net_commanded("00.00:01 "));
	assert_true(fake_net_commanded("04.00:0300 "));

	/* Flows of many addresses. */
	fd = host_net_open("net0");
	for (int i = 0; i < 200; i++) {
		host_net_fill_tcp(out, 1000, 0);
		out[29] = (uint8_t)i;
		out[37] = (uint8_t)(i * 3);
		host_net_send(fd, NULL, out, 1000);
		assert_int_equal(host_net_recv(fd, NULL, in, sizeof(in)), 1000);
		assert_memory_equal(in, out, 1000);
	}
	for (int i = 0; i < FAKE_NET_PAIRS; i++)
		used += fake_net.on_pair[i] > 0;
	assert_int_equal(used, 3);
	close(fd);

	fake_info_init(&info);
	vdpa_dev_show(vdpa_dev_find(env->bus, "net0"), &info.info);
	assert_true(fake_info_has(&info, "ifname=net0 pairs=3 link=up dropped=0"));
}

static void test_virtio_net_leaves_pairs_that_the_interface_has_not(void **state)
{
	struct env *env = *state;
	struct fake_info info;
	int fd;

	fake_net_init(ALL);
	fake_net.pairs = 3;
	host_net_persist("tap7", false, true);
	add(env, "net0", NULL);
	assert_int_equal(bind_net(env, "net0", WORDS("ifname", "tap7")), 0);
	/* The control queue is behind the pairs that nobody uses. */
	assert_true(fake_net_commanded("00.00:01 "));
	assert_false(fake_net_commanded("04."));
	fd = host_net_open("tap7");
	exchange(fd, HOST_MTU_FRAME);
	close(fd);
	fake_info_init(&info);
	vdpa_dev_show(vdpa_dev_find(env->bus, "net0"), &info.info);
	assert_true(fake_info_has(&info, "ifname=tap7 pairs=1"));
	assert_int_equal(unbind_net(env, "net0", 0), 0);
	host_net_persist("tap7", false, false);
}

static void test_virtio_net_announces(void **state)
{
	struct env *env = *state;

	fake_net_init(ALL);
	start(env, NULL);
	assert_false(fake_net_commanded("03."));
	fake_net_set_status(VIRTIO_NET_S_LINK_UP | VIRTIO_NET_S_ANNOUNCE);
	settle(env);
	assert_true(fake_net_commanded("03.00:"));
	close(host_net_open("net0"));
	assert_true(host_net_carrier("net0"));
}

/* ---- devices of this library, from one interface of this host to another */

static void add_net(struct env *env, struct vdpa_attrs *attrs)
{
	struct vdpa_result res = {0};

	vdpa_dev_add(env->bus, "net0", "net", attrs, vdpa_result_done, &res);
	if (vdpa_bus_wait(env->bus, &res))
		fail_msg("%s", vdpa_extack_text(&res.ack, res.err));
	if (bind_net(env, "net0", NULL))
		fail_msg("%s", vdpa_extack_text(&env->res.ack, env->res.err));
}

/* What is sent here arrives there. */
static void carry(int from, int to, const struct virtio_net_hdr *hdr, const uint8_t *out,
		  size_t len)
{
	uint8_t *in = malloc(HOST_MAX_FRAME);
	struct virtio_net_hdr got;

	host_net_send(from, hdr, out, len);
	assert_int_equal(host_net_recv(to, &got, in, HOST_MAX_FRAME), len);
	assert_memory_equal(in, out, len);
	assert_int_equal(got.gso_type, hdr ? hdr->gso_type : VIRTIO_NET_HDR_GSO_NONE);
	assert_int_equal(got.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM,
			 hdr ? hdr->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM : 0);
	free(in);
}

static void cable(struct env *env, struct vdpa_attrs *attrs)
{
	uint8_t *out = malloc(HOST_MAX_FRAME);
	struct virtio_net_hdr hdr;
	int host, card;

	add_net(env, attrs);
	host = host_net_open("tap9");
	card = host_net_open("net0");
	assert_int_equal(host_net_mtu("tap9"), 9000);
	assert_int_equal(host_net_mtu("net0"), 9000);
	for (unsigned int i = 0; i < 500; i++) {
		size_t len = 60 + (i * 31) % 8955;

		host_net_fill(out, len, i);
		carry(host, card, NULL, out, len);
		carry(card, host, NULL, out, len);
	}
	hdr = host_net_fill_tcp(out, 65000, 1400);
	for (int i = 0; i < 20; i++) {
		carry(host, card, &hdr, out, 65000);
		carry(card, host, &hdr, out, 65000);
	}
	assert_int_equal(unbind_net(env, "net0", 0), 0);
	close(host);
	close(card);
	free(out);
}

static void test_virtio_net_is_the_other_end_of_a_tap(void **state)
{
	cable(*state, attrs_of(WORDS("backend", "tap", "ifname", "tap9", "mtu", "9000")));
}

static void test_virtio_net_is_the_other_end_of_a_tap_with_split_rings(void **state)
{
	cable(*state, attrs_of(WORDS("backend", "tap", "ifname", "tap9", "mtu", "9000", "packed",
				     "off", "in-order", "on")));
}

static void test_virtio_net_is_the_other_end_of_a_tap_with_many_queues(void **state)
{
	cable(*state,
	      attrs_of(WORDS("backend", "tap", "ifname", "tap9", "mtu", "9000", "max_vqp", "3")));
}

static void test_virtio_net_has_the_link_of_the_device(void **state)
{
	struct env *env = *state;

	add_net(env, attrs_of(WORDS("backend", "tap", "ifname", "tap9", "link", "down")));
	close(host_net_open("tap9"));
	close(host_net_open("net0"));
	assert_false(host_net_carrier("tap9"));
	assert_false(host_net_carrier("net0"));
	for (int up = 1; up >= 0; up--) {
		memset(&env->res, 0, sizeof(env->res));
		vdpa_dev_set(env->bus, "net0", attrs_of(WORDS("link", up ? "up" : "down")),
			     vdpa_result_done, &env->res);
		assert_int_equal(vdpa_bus_wait(env->bus, &env->res), 0);
		settle(env);
		assert_int_equal(host_net_carrier("tap9"), up);
		assert_int_equal(host_net_carrier("net0"), up);
	}
}

static void test_virtio_net_may_be_looped_back(void **state)
{
	struct env *env = *state;
	int fd;

	add_net(env, attrs_of(WORDS("backend", "loopback")));
	fd = host_net_open("net0");
	exchange(fd, HOST_MTU_FRAME);
	close(fd);
}

/* ---- names */

static void test_virtio_net_takes_a_name(void **state)
{
	struct env *env = *state;

	add(env, "net0", NULL);
	assert_int_equal(bind_net(env, "net0", WORDS("ifname", "uplink7")), 0);
	assert_true(host_net_exists("uplink7"));
	assert_false(host_net_exists("net0"));
	assert_int_equal(unbind_net(env, "net0", 0), 0);
	assert_false(host_net_exists("uplink7"));
}

static void test_virtio_net_cuts_the_name_of_the_device(void **state)
{
	struct env *env = *state;

	add(env, "a-name-that-is-too-long", NULL);
	assert_int_equal(bind_net(env, "a-name-that-is-too-long", NULL), 0);
	assert_true(host_net_exists("a-name-that-is-"));
}

static void refuses_name(struct env *env, const char *name, const char *why)
{
	assert_true(bind_net(env, "net0", WORDS("ifname", name)) < 0);
	if (!strstr(env->res.ack.msg, why))
		fail_msg("'%s' lacks '%s'", env->res.ack.msg, why);
}

static void test_virtio_net_refuses_names(void **state)
{
	struct env *env = *state;

	add(env, "net0", NULL);
	refuses_name(env, "lo", "'lo' is no TAP");
	refuses_name(env, "tap%d", "no name for an interface");
	refuses_name(env, "0123456789abcdef", "no name for an interface");
	refuses_name(env, "a/b", "no name for an interface");
	assert_true(bind_net(env, "net0", WORDS("mode", "0600")) < 0);
	assert_non_null(strstr(env->res.ack.msg, "'mode' means nothing to virtio_net"));
	/* None of it has left anything. */
	assert_int_equal(bind_net(env, "net0", NULL), 0);
}

static void test_virtio_net_does_not_take_over_by_chance(void **state)
{
	struct tap_dev_config cfg = {.name = "net0", .queues = 1};
	struct env *env = *state;
	struct tap_dev tap;

	assert_int_equal(tap_dev_open(&cfg, &tap, NULL), 0);
	add(env, "net0", NULL);
	assert_int_equal(bind_net(env, "net0", NULL), -EBUSY);
	assert_non_null(strstr(env->res.ack.msg, "choose another name with 'ifname'"));
	assert_int_equal(bind_net(env, "net0", WORDS("ifname", "net0")), -EBUSY);
	assert_non_null(strstr(env->res.ack.msg, "another program uses"));
	tap_dev_close(&tap);
	assert_int_equal(bind_net(env, "net0", NULL), 0);
}

/* ---- the end */

static void test_virtio_net_unbind_loses_nothing(void **state)
{
	struct env *env = *state;
	uint8_t out[HOST_MTU_FRAME];
	int fd;

	start(env, NULL);
	fd = host_net_open("net0");
	for (unsigned int i = 0; i < 200; i++) {
		host_net_fill(out, sizeof(out), i);
		host_net_send(fd, NULL, out, sizeof(out));
	}
	assert_int_equal(unbind_net(env, "net0", 0), 0);
	assert_int_equal(fake_net.sent, 200);
	close(fd);
}

static void test_virtio_net_unbind_refuses_to_lose(void **state)
{
	struct env *env = *state;
	uint8_t out[HOST_MTU_FRAME];
	int fd;

	fake_net.hold = true;
	start(env, NULL);
	fd = host_net_open("net0");
	host_net_fill(out, sizeof(out), 1);
	host_net_send(fd, NULL, out, sizeof(out));
	assert_int_equal(unbind_net(env, "net0", 0), -EBUSY);
	assert_non_null(strstr(env->res.ack.msg, "does not take what this host has sent"));
	assert_true(host_net_carrier("net0"));

	/* It goes on. */
	fake_net.hold = false;
	exchange(fd, 1000);
	assert_int_equal(unbind_net(env, "net0", VDPA_FORCE), 0);
	close(fd);
}

static void test_virtio_net_survives_that_its_interface_goes(void **state)
{
	struct env *env = *state;

	start(env, NULL);
	close(host_net_open("net0"));
	host_net_delete("net0");
	while (!env->broken)
		assert_int_equal(vdpa_bus_dispatch(env->bus, 20000), 0);
	assert_string_equal(env->why, "the interface is gone");
	fake_net_set_mtu(2000);
	settle(env);
	assert_int_equal(unbind_net(env, "net0", 0), 0);
}

/* ---- a device that lies */

static void test_virtio_net_refuses_a_bad_config_space(void **state)
{
	struct env *env = *state;

	fake_net.mac[0] = 1;
	refused(env, "its MAC is 01:54:00:12:34:56");
}

static void test_virtio_net_refuses_a_tiny_mtu(void **state)
{
	fake_net.mtu = 20;
	refused(*state, "its MTU is 20");
}

static void test_virtio_net_refuses_pairs_that_are_not_there(void **state)
{
	fake_net_init(ALL);
	fake_net.say_pairs = 0x8001;
	refused(*state, "32769 pairs");
}

static void test_virtio_net_refuses_a_device_that_does_not_obey(void **state)
{
	fake_net_init(ALL);
	fake_net.refuse = true;
	refused(*state, "does not go into promiscuous mode");
}

static void test_virtio_net_refuses_a_device_that_does_not_answer(void **state)
{
	fake_net_init(ALL);
	fake_net.mute = true;
	refused(*state, "does not go into promiscuous mode: Connection timed out");
}

/* The lie breaks the device: it is said, the interface has no carrier, and unbind needs no force.
 */
static void breaks(struct env *env, size_t len, const char *why)
{
	uint8_t out[9000];
	int fd;

	fake_net.mtu = 9000;
	start(env, NULL);
	fd = host_net_open("net0");
	host_net_fill(out, len, 1);
	host_net_send(fd, NULL, out, len);
	while (!env->broken)
		assert_int_equal(vdpa_bus_dispatch(env->bus, 20000), 0);
	if (!strstr(env->why, why))
		fail_msg("'%s' lacks '%s'", env->why, why);
	settle(env);
	assert_true(host_net_quiet(fd));
	assert_int_equal(unbind_net(env, "net0", 0), 0);
	close(fd);
}

static void test_virtio_net_meets_frames_in_no_buffers(void **state)
{
	fake_net.num_buffers = 0;
	breaks(*state, 1000, "more buffers than it has, or none");
}

static void test_virtio_net_meets_frames_in_too_many_buffers(void **state)
{
	fake_net.num_buffers = 513;
	breaks(*state, 1000, "more buffers than it has, or none");
}

static void test_virtio_net_meets_frames_in_missing_buffers(void **state)
{
	fake_net.halve = true;
	breaks(*state, 9000, "did not use all buffers of a frame at once");
}

static void test_virtio_net_meets_half_a_header(void **state)
{
	fake_net.first_len = 11;
	breaks(*state, 1000, "without a whole header");
}

static void test_virtio_net_drops_what_the_host_does_not_take(void **state)
{
	struct env *env = *state;
	struct fake_info info;
	uint8_t out[1000];
	eventfd_t count;
	int fd;

	start(env, NULL);
	fd = host_net_open("net0");
	/* A header, and less than an Ethernet header behind it. */
	fake_net.first_len = 20;
	host_net_fill(out, sizeof(out), 1);
	host_net_send(fd, NULL, out, sizeof(out));
	assert_int_equal(eventfd_read(fake_net.taken, &count), 0);
	fake_net.first_len = -1;
	exchange(fd, 1000);
	fake_info_init(&info);
	vdpa_dev_show(vdpa_dev_find(env->bus, "net0"), &info.info);
	assert_true(fake_info_has(&info, "link=up dropped=1"));
	/* More than was written: what the buffer holds at most. */
	fake_net.first_len = INT32_MAX;
	host_net_send(fd, NULL, out, sizeof(out));
	assert_int_equal(host_net_recv(fd, NULL, out, sizeof(out)), sizeof(out));
	close(fd);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_virtio_net_carries_frames_both_ways),
		TEST(test_virtio_net_uses_a_split_ring),
		TEST(test_virtio_net_uses_a_split_ring_without_events),
		TEST(test_virtio_net_uses_short_rings),
		TEST(test_virtio_net_goes_without_mergeable_buffers),
		TEST(test_virtio_net_carries_jumbo_frames),
		TEST(test_virtio_net_is_like_the_device),
		TEST(test_virtio_net_follows_changes),
		TEST(test_virtio_net_passes_offloads_through),
		TEST(test_virtio_net_has_the_host_cut_what_the_device_does_not),
		TEST(test_virtio_net_uses_all_pairs),
		TEST(test_virtio_net_leaves_pairs_that_the_interface_has_not),
		TEST(test_virtio_net_announces),
		TEST(test_virtio_net_is_the_other_end_of_a_tap),
		TEST(test_virtio_net_is_the_other_end_of_a_tap_with_split_rings),
		TEST(test_virtio_net_is_the_other_end_of_a_tap_with_many_queues),
		TEST(test_virtio_net_has_the_link_of_the_device),
		TEST(test_virtio_net_may_be_looped_back),
		TEST(test_virtio_net_takes_a_name),
		TEST(test_virtio_net_cuts_the_name_of_the_device),
		TEST(test_virtio_net_refuses_names),
		TEST(test_virtio_net_does_not_take_over_by_chance),
		TEST(test_virtio_net_unbind_loses_nothing),
		TEST(test_virtio_net_unbind_refuses_to_lose),
		TEST(test_virtio_net_survives_that_its_interface_goes),
		TEST(test_virtio_net_refuses_a_bad_config_space),
		TEST(test_virtio_net_refuses_a_tiny_mtu),
		TEST(test_virtio_net_refuses_pairs_that_are_not_there),
		TEST(test_virtio_net_refuses_a_device_that_does_not_obey),
		TEST(test_virtio_net_refuses_a_device_that_does_not_answer),
		TEST(test_virtio_net_meets_frames_in_no_buffers),
		TEST(test_virtio_net_meets_frames_in_too_many_buffers),
		TEST(test_virtio_net_meets_frames_in_missing_buffers),
		TEST(test_virtio_net_meets_half_a_header),
		TEST(test_virtio_net_drops_what_the_host_does_not_take),
	};

	if (!host_net_enter())
		return 77;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
