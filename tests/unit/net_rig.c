/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/defs.h"
#include "fake_vdev.h"
#include "net_rig.h"

#define BATCH 16

struct nrig_frame {
	TAILQ_ENTRY(nrig_frame) entry;
	uint32_t len;
	uint8_t bytes[];
};

/* ---- the sink */

static int sink_deliver(struct net_sink *sink, const struct net_pkt *pkt)
{
	struct net_rig *rig = container_of(sink, struct net_rig, sink);
	struct nrig_frame *frame;
	int err = 0;

	pthread_mutex_lock(&rig->lock);
	if (rig->full) {
		rig->waited++;
		err = -ENOBUFS;
	} else {
		frame = malloc(sizeof(*frame) + pkt->len);
		assert_non_null(frame);
		frame->len = net_pkt_peek(pkt, frame->bytes, pkt->len);
		TAILQ_INSERT_TAIL(&rig->frames, frame, entry);
		rig->num_frames++;
	}
	pthread_cond_broadcast(&rig->cond);
	pthread_mutex_unlock(&rig->lock);
	return err;
}

static void sink_drop(struct net_sink *sink, uint32_t num)
{
	struct net_rig *rig = container_of(sink, struct net_rig, sink);

	pthread_mutex_lock(&rig->lock);
	rig->drops += num;
	pthread_mutex_unlock(&rig->lock);
}

static void sink_wake(struct net_sink *sink)
{
	worker_source_wake(&container_of(sink, struct net_rig, sink)->src);
}

static const struct net_sink_ops sink_ops = {
	.deliver = sink_deliver,
	.drop = sink_drop,
	.wake = sink_wake,
};

static bool source_poll(struct worker_source *src)
{
	struct net_rig *rig = container_of(src, struct net_rig, src);

	return rig->rx && rig->net->ops->recv(rig->rx, BATCH);
}

static const struct worker_source_ops source_ops = {.poll = source_poll};

/* ---- life */

static void on_log(void *arg, enum vdpa_log_level level, const char *dev, const char *text)
{
	struct net_rig *rig = arg;
	size_t len;

	pthread_mutex_lock(&rig->lock);
	len = strlen(rig->log);
	snprintf(rig->log + len, sizeof(rig->log) - len, "%s\n", text);
	pthread_cond_broadcast(&rig->cond);
	pthread_mutex_unlock(&rig->lock);
}

static struct vdpa_attrs *parse(const char *words)
{
	struct vdpa_attrs *attrs = vdpa_attrs_alloc();
	char *copy = strdup(words), *save, *key, *value;
	int err = attrs && copy ? 0 : -ENOMEM;

	for (key = err ? NULL : strtok_r(copy, " ", &save); key && !err;
	     key = strtok_r(NULL, " ", &save)) {
		value = strtok_r(NULL, " ", &save);
		assert_non_null(value);
		err = vdpa_attrs_add(attrs, key, value, NULL, NULL);
	}
	free(copy);
	if (err) {
		vdpa_attrs_free(attrs);
		attrs = NULL;
	}
	return attrs;
}

static int open_backend(struct net_rig *rig, net_open_fn *open, const struct vdpa_attr_desc *table,
			const char *words)
{
	struct net_open what = {.name = "net0", .bus = rig->bus, .pairs = 1};
	int err;

	what.attrs = parse(words);
	if (!what.attrs)
		return -ENOMEM;
	err = vdpa_attrs_check(what.attrs, table, NULL, false, &rig->ack);
	if (!err)
		err = open(&what, &rig->net, &rig->ack);
	vdpa_attrs_free(what.attrs);
	return err;
}

int nrig_open(struct net_rig *rig, net_open_fn *open, const struct vdpa_attr_desc *table,
	      const char *words)
{
	struct vdpa_bus_config cfg = {.log = on_log, .log_arg = rig};
	int err;

	*rig = (struct net_rig){.sink.ops = &sink_ops, .src = {.ops = &source_ops, .fd = -1}};
	pthread_mutex_init(&rig->lock, NULL);
	pthread_cond_init(&rig->cond, NULL);
	TAILQ_INIT(&rig->frames);
	err = vdpa_bus_alloc(&cfg, &rig->bus, &rig->ack);
	for (unsigned int i = 0; !err && i < NRIG_WORKERS; i++)
		err = worker_alloc("test", -1, 0, &rig->workers[i]);
	if (!err)
		err = open_backend(rig, open, table, words);
	if (err)
		nrig_close(rig);
	return err;
}

void nrig_close(struct net_rig *rig)
{
	struct nrig_frame *frame;

	nrig_detach(rig);
	if (rig->net)
		rig->net->ops->close(rig->net);
	for (unsigned int i = 0; i < NRIG_WORKERS; i++)
		worker_free(rig->workers[i]);
	if (rig->bus)
		assert_int_equal(vdpa_bus_free(rig->bus), 0);
	while ((frame = TAILQ_FIRST(&rig->frames)) != NULL) {
		TAILQ_REMOVE(&rig->frames, frame, entry);
		free(frame);
	}
	pthread_cond_destroy(&rig->cond);
	pthread_mutex_destroy(&rig->lock);
}

struct attach {
	struct net_rig *rig;
	int err;
};

static void attach_tx(void *arg)
{
	struct attach *a = arg;
	struct net_backend *net = a->rig->net;

	a->err = net->ops->tx_attach(net, 0, a->rig->tx_worker, &a->rig->tx, &a->rig->ack);
}

static void attach_rx(void *arg)
{
	struct attach *a = arg;
	struct net_backend *net = a->rig->net;

	a->err = net->ops->rx_attach(net, 0, a->rig->src.worker, &a->rig->sink, &a->rig->rx,
				     &a->rig->ack);
}

int nrig_attach(struct net_rig *rig, unsigned int tx, unsigned int rx)
{
	struct attach a = {.rig = rig};

	rig->tx_worker = rig->workers[tx];
	assert_int_equal(worker_attach(rig->workers[rx], &rig->src), 0);
	worker_call(rig->tx_worker, attach_tx, &a);
	if (!a.err)
		worker_call(rig->workers[rx], attach_rx, &a);
	return a.err;
}

static void detach_tx(void *arg)
{
	struct net_rig *rig = arg;

	rig->net->ops->tx_detach(rig->tx);
	rig->tx = NULL;
}

static void detach_rx(void *arg)
{
	struct net_rig *rig = arg;

	rig->net->ops->rx_detach(rig->rx);
	rig->rx = NULL;
}

void nrig_detach(struct net_rig *rig)
{
	if (rig->tx)
		worker_call(rig->tx_worker, detach_tx, rig);
	if (rig->rx)
		worker_call(rig->src.worker, detach_rx, rig);
	worker_detach(&rig->src);
}

/* ---- frames */

struct send {
	struct net_rig *rig;
	struct net_pkt pkt;
	int err;
};

static void send_burst(void *arg)
{
	struct send *send = arg;
	const struct net_backend_ops *ops = send->rig->net->ops;

	send->err = ops->send(send->rig->tx, &send->pkt);
	if (ops->flush)
		ops->flush(send->rig->tx);
}

int nrig_send(struct net_rig *rig, const void *frame, uint32_t len)
{
	/* What others left in front, the frame in two pieces, and more room than it needs. */
	uint8_t *copy = malloc(len + 12 + 5);
	uint32_t first = 12 + len / 3;
	struct iovec iov[] = {{copy, first}, {copy + first, len + 12 + 5 - first}};
	struct send send = {rig, {.iov = iov, .num = 2, .off = 12, .len = len}, 0};

	assert_non_null(copy);
	memset(copy, 0xee, len + 12 + 5);
	memcpy(copy + 12, frame, len);
	worker_call(rig->tx_worker, send_burst, &send);
	free(copy);
	return send.err;
}

uint32_t nrig_recv(struct net_rig *rig, void *buf, uint32_t max)
{
	struct nrig_frame *frame;
	uint32_t len;

	pthread_mutex_lock(&rig->lock);
	while (TAILQ_EMPTY(&rig->frames))
		pthread_cond_wait(&rig->cond, &rig->lock);
	frame = TAILQ_FIRST(&rig->frames);
	TAILQ_REMOVE(&rig->frames, frame, entry);
	rig->num_frames--;
	pthread_mutex_unlock(&rig->lock);
	len = frame->len;
	assert_true(len <= max);
	memcpy(buf, frame->bytes, len);
	free(frame);
	return len;
}

void nrig_set_full(struct net_rig *rig, bool full)
{
	pthread_mutex_lock(&rig->lock);
	rig->full = full;
	rig->waited = 0;
	pthread_mutex_unlock(&rig->lock);
	if (!full && rig->src.worker)
		worker_source_wake(&rig->src);
}

void nrig_wait_refused(struct net_rig *rig)
{
	pthread_mutex_lock(&rig->lock);
	while (!rig->waited)
		pthread_cond_wait(&rig->cond, &rig->lock);
	pthread_mutex_unlock(&rig->lock);
}

/* ---- what it says */

bool nrig_shows(struct net_rig *rig, const char *text)
{
	struct fake_info info;

	fake_info_init(&info);
	rig->net->ops->show(rig->net, &info.info);
	return fake_info_has(&info, text);
}

void nrig_wait_log(struct net_rig *rig, const char *text)
{
	pthread_mutex_lock(&rig->lock);
	while (!strstr(rig->log, text))
		pthread_cond_wait(&rig->cond, &rig->lock);
	pthread_mutex_unlock(&rig->lock);
}
