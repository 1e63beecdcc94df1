/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A switch whose ports and queues come and go while others send: nobody is used after it has gone,
 * nobody waits for ever, and what arrives is in order.
 */
#include <stdlib.h>

#include "switch_env.h"

#define SENDERS  2u
#define BURSTS   2000u
#define FRAMES   16u
#define VISITORS 3u
#define FLOWS    (1 + VISITORS) /* of each sender: to all, and to each visitor */
#define CHANGES  300u

/* What is delivered to whom.  The sink is freed when its queue is detached. */
struct inbox {
	struct net_sink sink;
	pthread_mutex_t token;
	uint32_t next[SENDERS][FLOWS]; /* the number of the flow's next frame at least */
	uint32_t got, lost;
	uint32_t wrong;
};

static bool inbox_begin(struct net_sink *sink)
{
	pthread_mutex_lock(&container_of(sink, struct inbox, sink)->token);
	return true;
}

static void inbox_end(struct net_sink *sink)
{
	pthread_mutex_unlock(&container_of(sink, struct inbox, sink)->token);
}

static int inbox_deliver(struct net_sink *sink, const struct net_pkt *pkt)
{
	struct inbox *inbox = container_of(sink, struct inbox, sink);
	uint8_t frame[64];
	uint32_t sender, number, *next;

	/* There is not always room. */
	if ((inbox->got + inbox->lost) % 7 == 6)
		return -ENOBUFS;
	inbox->got++;
	if (net_pkt_peek(pkt, frame, sizeof(frame)) != sizeof(frame)) {
		inbox->wrong++;
		return 0;
	}
	sender = frame[11] - 1u;
	memcpy(&number, frame + 60, sizeof(number));
	if (sender >= SENDERS) /* a visitor, that says nothing else */
		return 0;
	next = &inbox->next[sender][number % FLOWS];
	inbox->wrong += number < *next;
	*next = number + 1;
	return 0;
}

static void inbox_drop(struct net_sink *sink, uint32_t num)
{
	container_of(sink, struct inbox, sink)->lost += num;
}

static const struct net_sink_ops inbox_ops = {
	.begin = inbox_begin,
	.end = inbox_end,
	.deliver = inbox_deliver,
	.drop = inbox_drop,
};

struct town {
	struct net_switch *sw;
	bool done; /* atomic: all has been sent */
};

/* ---- those who send */

struct sender {
	struct town *town;
	uint8_t id;
};

static struct net_backend *open_port(struct town *town, const char *name, uint16_t pairs)
{
	struct net_open open = {NULL, name, NULL, pairs};
	struct net_backend *port;

	if (switch_port_open(town->sw, &open, &port, NULL))
		abort();
	return port;
}

/* To the receiver of that number; 0: to all. */
static void make_frame(uint8_t *frame, uint8_t from, uint8_t to, uint32_t number)
{
	memset(frame, to ? 0 : 0xff, NET_MAC_LEN);
	frame[0] = to ? 0x02 : 0xff;
	if (to)
		frame[5] = (uint8_t)(0x80 + to);
	memset(frame + 6, 0, 58);
	frame[6] = 0x02;
	frame[11] = (uint8_t)(from + 1);
	memcpy(frame + 12, "\x88\xb5", 2);
	memcpy(frame + 60, &number, sizeof(number));
}

static void *send_all(void *arg)
{
	struct sender *sender = arg;
	struct net_backend *port = open_port(sender->town, "sender", 1);
	uint8_t frames[FRAMES][64];
	struct net_queue *tx;
	uint32_t number = 0;

	if (port->ops->tx_attach(port, 0, NULL, &tx, NULL))
		abort();
	for (uint32_t burst = 0; burst < BURSTS; burst++) {
		for (uint32_t i = 0; i < FRAMES; i++) {
			struct net_pkt pkt = {.head = frames[i], .head_len = 64, .len = 64};

			make_frame(frames[i], sender->id, (uint8_t)(number % FLOWS), number);
			number++;
			port->ops->send(tx, &pkt);
		}
		port->ops->flush(tx);
	}
	port->ops->tx_detach(tx);
	port->ops->close(port);
	return NULL;
}

/* ---- those who come and go */

struct visitor {
	struct town *town;
	uint8_t id;
	uint32_t got, wrong; /* got: or lost */
};

static struct inbox *attach(struct net_backend *port, uint16_t pair, struct net_queue **queue)
{
	struct inbox *inbox = calloc(1, sizeof(*inbox));

	if (!inbox)
		abort();
	inbox->sink.ops = &inbox_ops;
	pthread_mutex_init(&inbox->token, NULL);
	if (port->ops->rx_attach(port, pair, NULL, &inbox->sink, queue, NULL))
		abort();
	return inbox;
}

static void detach(struct visitor *visitor, struct net_queue *queue, struct inbox *inbox)
{
	queue->net->ops->rx_detach(queue);
	visitor->got += inbox->got + inbox->lost;
	visitor->wrong += inbox->wrong;
	pthread_mutex_destroy(&inbox->token);
	free(inbox);
}

/* Make itself known, as a sender that sends nothing else. */
static void say_hello(struct net_backend *port, uint8_t id)
{
	uint8_t frame[64];
	struct net_pkt pkt = {.head = frame, .head_len = 64, .len = 64};
	struct net_queue *tx;

	make_frame(frame, 0x7f + id, 9, 0);
	frame[11] = (uint8_t)(0x80 + id);
	if (port->ops->tx_attach(port, 0, NULL, &tx, NULL))
		abort();
	port->ops->send(tx, &pkt);
	port->ops->flush(tx);
	port->ops->tx_detach(tx);
}

static void visit(struct visitor *visitor, uint32_t i)
{
	struct net_backend *port = open_port(visitor->town, "visitor", 2);
	struct net_queue *queues[2];
	struct inbox *inboxes[2];

	inboxes[0] = attach(port, 0, &queues[0]);
	say_hello(port, visitor->id);
	inboxes[1] = attach(port, 1, &queues[1]);
	port->ops->set_pairs(port, (uint16_t)(1 + i % 2));
	sched_yield();
	detach(visitor, queues[0], inboxes[0]);
	port->ops->set_link(port, i % 3);
	inboxes[0] = attach(port, 0, &queues[0]);
	say_hello(port, visitor->id);
	sched_yield();
	detach(visitor, queues[1], inboxes[1]);
	detach(visitor, queues[0], inboxes[0]);
	port->ops->close(port);
}

static void *come_and_go(void *arg)
{
	struct visitor *visitor = arg;

	for (uint32_t i = 0;
	     i < CHANGES || !__atomic_load_n(&visitor->town->done, __ATOMIC_ACQUIRE); i++)
		visit(visitor, i);
	return NULL;
}

/* ---- those who look */

static void look_str(struct vdpa_info *info, const char *key, const char *value)
{
}

static void look_u64(struct vdpa_info *info, const char *key, uint64_t value)
{
}

static void look_bool(struct vdpa_info *info, const char *key, bool value)
{
}

static void look_open(struct vdpa_info *info, const char *key, bool list)
{
}

static void look_close(struct vdpa_info *info)
{
}

static const struct vdpa_info_ops look_ops = {look_str, look_u64, look_bool, look_open, look_close};

static void test_switch_threads_come_and_go(void **state)
{
	struct net_switch_config config = {.macs = 64, .port_macs = 8, .ageing = 300, .seed = 99};
	struct town town = {net_switch_alloc(&config), false};
	struct sender senders[SENDERS];
	struct visitor visitors[VISITORS];
	pthread_t send_threads[SENDERS], visit_threads[VISITORS];
	struct vdpa_info info = {&look_ops};
	struct net_backend *home;
	struct net_queue *queue;
	struct visitor always = {&town};
	struct inbox *inbox;

	assert_non_null(town.sw);
	home = open_port(&town, "home", 1);
	inbox = attach(home, 0, &queue);
	for (uint8_t i = 0; i < VISITORS; i++) {
		visitors[i] = (struct visitor){&town, (uint8_t)(i + 1), 0, 0};
		assert_int_equal(pthread_create(&visit_threads[i], NULL, come_and_go, &visitors[i]),
				 0);
	}
	for (uint8_t i = 0; i < SENDERS; i++) {
		senders[i] = (struct sender){&town, i};
		assert_int_equal(pthread_create(&send_threads[i], NULL, send_all, &senders[i]), 0);
	}
	for (unsigned int i = 0; i < 100; i++)
		net_switch_show(town.sw, &info);
	for (unsigned int i = 0; i < SENDERS; i++)
		pthread_join(send_threads[i], NULL);
	__atomic_store_n(&town.done, true, __ATOMIC_RELEASE);
	for (unsigned int i = 0; i < VISITORS; i++) {
		pthread_join(visit_threads[i], NULL);
		assert_int_equal(visitors[i].wrong, 0);
	}
	detach(&always, queue, inbox);
	/* A quarter is for all, and whoever is known to be nowhere is sought everywhere. */
	assert_true(always.got >= SENDERS * BURSTS * FRAMES / FLOWS);
	assert_int_equal(always.wrong, 0);
	home->ops->close(home);
	net_switch_put(town.sw);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_switch_threads_come_and_go),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
