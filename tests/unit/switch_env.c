/* SPDX-License-Identifier: BSD-2-Clause */
#include "switch_env.h"

#include <stdio.h>
#include <stdlib.h>

#include "vdpa/device.h"

#define FRAME 64u

const uint8_t env_all[NET_MAC_LEN] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

/* ---- receivers */

static struct ear *to_ear(struct net_sink *sink)
{
	return container_of(sink, struct ear, sink);
}

static bool ear_begin(struct net_sink *sink)
{
	struct ear *ear = to_ear(sink);

	pthread_mutex_lock(&ear->token);
	if (ear->deaf) {
		pthread_mutex_unlock(&ear->token);
		return false;
	}
	ear->bursts++;
	return true;
}

static void ear_end(struct net_sink *sink)
{
	pthread_mutex_unlock(&to_ear(sink)->token);
}

static int ear_deliver(struct net_sink *sink, const struct net_pkt *pkt)
{
	struct ear *ear = to_ear(sink);
	struct got *got;

	if (pkt->len > ear->longest)
		return -EMSGSIZE;
	if (!ear->room)
		return -ENOBUFS;
	ear->room--;
	if (ear->num < ENV_KEPT) {
		got = &ear->got[ear->num];
		got->hdr = pkt->hdr;
		got->len = pkt->len;
		net_pkt_peek(pkt, got->bytes, pkt->len < ENV_FRAME ? pkt->len : ENV_FRAME);
	}
	ear->num++;
	return 0;
}

static void ear_drop(struct net_sink *sink, uint32_t num)
{
	to_ear(sink)->lost += num;
}

static const struct net_sink_ops ear_ops = {
	.begin = ear_begin,
	.end = ear_end,
	.deliver = ear_deliver,
	.drop = ear_drop,
};

void ear_attach(struct station *station, uint16_t pair)
{
	struct ear *ear = &station->ears[pair];

	assert_int_equal(station->port->ops->rx_attach(station->port, pair, NULL, &ear->sink,
						       &ear->queue, NULL),
			 0);
}

void ear_detach(struct ear *ear)
{
	struct net_queue *queue = ear->queue;

	if (!queue)
		return;
	queue->net->ops->rx_detach(queue);
	ear->queue = NULL;
}

/* ---- the switch */

static uint64_t env_clock(void *arg)
{
	return __atomic_load_n((uint64_t *)arg, __ATOMIC_RELAXED);
}

void env_init(struct switch_env *env)
{
	memset(env, 0, sizeof(*env));
	env->now = 1000 * ENV_SECOND;
	env->config = (struct net_switch_config){
		.macs = 1000,
		.port_macs = 100,
		.ageing = ENV_AGEING,
		.seed = UINT64_C(0x9e3779b97f4a7c15),
		.clock = env_clock,
		.clock_arg = &env->now,
	};
	for (unsigned int i = 0; i < ENV_STATIONS; i++) {
		struct station *station = &env->stations[i];

		station->env = env;
		memcpy(station->mac, "\x52\x54\0\0\0", 5);
		station->mac[5] = (uint8_t)(i + 1);
		for (unsigned int k = 0; k < NET_PAIRS_MAX; k++) {
			station->ears[k].sink.ops = &ear_ops;
			station->ears[k].room = station->ears[k].longest = UINT32_MAX;
			pthread_mutex_init(&station->ears[k].token, NULL);
		}
	}
}

void env_start(struct switch_env *env)
{
	env->sw = net_switch_alloc(&env->config);
	assert_non_null(env->sw);
}

void env_free(struct switch_env *env)
{
	for (unsigned int i = 0; i < ENV_STATIONS; i++)
		env_unplug(&env->stations[i]);
	net_switch_put(env->sw);
}

int env_try_plug(struct switch_env *env, unsigned int i, uint16_t pairs, const char *const *attrs,
		 struct vdpa_extack *ack)
{
	struct net_open open = {vdpa_attrs_alloc(), "station0", NULL, pairs};
	char name[VDPA_NAME_MAX];
	int err;

	assert_non_null(open.attrs);
	snprintf(name, sizeof(name), "station%u", i);
	open.name = name;
	for (; attrs && *attrs; attrs += 2)
		assert_int_equal(vdpa_attrs_add(open.attrs, attrs[0], attrs[1], NULL, NULL), 0);
	err = vdpa_attrs_check(open.attrs, switch_port_attrs, NULL, false, ack);
	if (!err)
		err = switch_port_open(env->sw, &open, &env->stations[i].port, ack);
	vdpa_attrs_free(open.attrs);
	return err;
}

struct station *env_plug(struct switch_env *env, unsigned int i, uint16_t pairs,
			 const char *const *attrs)
{
	struct station *station = &env->stations[i];

	assert_int_equal(env_try_plug(env, i, pairs, attrs, NULL), 0);
	assert_int_equal(station->port->ops->tx_attach(station->port, 0, NULL, &station->tx, NULL),
			 0);
	for (uint16_t pair = 0; pair < pairs; pair++)
		ear_attach(station, pair);
	return station;
}

void env_unplug(struct station *station)
{
	if (!station->port)
		return;
	for (unsigned int i = 0; i < NET_PAIRS_MAX; i++)
		ear_detach(&station->ears[i]);
	station->port->ops->tx_detach(station->tx);
	station->port->ops->close(station->port);
	station->port = NULL;
}

void env_simple(struct switch_env *env, unsigned int num)
{
	env_init(env);
	env_start(env);
	for (unsigned int i = 0; i < num; i++)
		env_plug(env, i, 1, NULL);
}

/* ---- frames */

const uint8_t *env_mac(struct switch_env *env, unsigned int i)
{
	return env->stations[i].mac;
}

/* What the sender has lent until flush() returns. */
static struct {
	uint8_t bytes[64][ENV_FRAME];
	struct iovec iov[64];
	unsigned int num;
} lent;

void env_put_bytes(struct station *from, const void *bytes, uint32_t len)
{
	unsigned int i = lent.num++;
	struct net_pkt pkt = {.iov = &lent.iov[i], .num = 1, .len = len};

	assert_in_range(i, 0, 63);
	assert_in_range(len, 0, ENV_FRAME);
	memcpy(lent.bytes[i], bytes, len);
	lent.iov[i] = (struct iovec){lent.bytes[i], len};
	assert_int_equal(from->port->ops->send(from->tx, &pkt), 0);
}

void env_put(struct station *from, const uint8_t *dst, uint8_t number)
{
	uint8_t frame[FRAME] = {0};

	memcpy(frame, dst, NET_MAC_LEN);
	memcpy(frame + NET_MAC_LEN, from->mac, NET_MAC_LEN);
	frame[12] = 0x88;
	frame[13] = 0xb5;
	frame[FRAME - 1] = number;
	env_put_bytes(from, frame, sizeof(frame));
}

void env_flush(struct station *from)
{
	from->port->ops->flush(from->tx);
	memset(&lent, 0xee, sizeof(lent));
	lent.num = 0;
}

void env_send(struct station *from, const uint8_t *dst, uint8_t number)
{
	env_put(from, dst, number);
	env_flush(from);
}

uint8_t env_number(const struct got *got)
{
	return got->bytes[got->len - 1];
}

void env_forget(struct switch_env *env)
{
	for (unsigned int i = 0; i < ENV_STATIONS; i++) {
		for (unsigned int k = 0; k < NET_PAIRS_MAX; k++) {
			struct ear *ear = &env->stations[i].ears[k];

			ear->num = ear->bursts = ear->lost = 0;
		}
	}
}

/* ---- what is shown */

struct finder {
	struct vdpa_info info;
	const char *port; /* that is looked for */
	bool inside;      /* its group */
	char path[128];
	const char *wanted;
	uint64_t value;
};

static void find_str(struct vdpa_info *info, const char *key, const char *value)
{
	struct finder *f = container_of(info, struct finder, info);

	if (key && !strcmp(key, "port") && !strcmp(f->path, "ports."))
		f->inside = !strcmp(value, f->port);
}

static void find_u64(struct vdpa_info *info, const char *key, uint64_t value)
{
	struct finder *f = container_of(info, struct finder, info);
	char path[256];

	snprintf(path, sizeof(path), "%s.%s", f->path, key);
	if (f->inside && !strncmp(path, "ports..", 7) && !strcmp(path + 7, f->wanted))
		f->value = value;
}

static void find_bool(struct vdpa_info *info, const char *key, bool value)
{
}

static void find_open(struct vdpa_info *info, const char *key, bool list)
{
	struct finder *f = container_of(info, struct finder, info);

	if (*f->path)
		strcat(f->path, ".");
	strcat(f->path, key ? key : "");
}

static void find_close(struct vdpa_info *info)
{
	struct finder *f = container_of(info, struct finder, info);
	char *dot = strrchr(f->path, '.');

	*(dot ? dot : f->path) = '\0';
}

static const struct vdpa_info_ops find_ops = {find_str, find_u64, find_bool, find_open, find_close};

uint64_t env_stat(struct station *station, const char *path)
{
	struct finder finder = {.info = {&find_ops}, .wanted = path};
	char name[VDPA_NAME_MAX];

	snprintf(name, sizeof(name), "station%u", (unsigned int)(station - station->env->stations));
	finder.port = name;
	net_switch_show(station->env->sw, &finder.info);
	return finder.value;
}
