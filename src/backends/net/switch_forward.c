/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The data path: a burst from one sending queue to whom it is for.
 *
 * Frames are bits of a word: those for one receiver, those to be flooded in one VLAN.  A receiver's
 * frames are the union of both, and are handed over from the lowest bit to the highest, so what
 * comes from one sender stays in order even when its receiver becomes known in between.
 */
#include <endian.h>
#include <errno.h>
#include <string.h>

#include "backends/net/flow.h"
#include "backends/net/switch_priv.h"

#define NS_PER_SEC  UINT64_C(1000000000)
#define SWEEP_NS    (NS_PER_SEC / FDB_SWEEPS)
/* What may be flooded at once: so much of a second's worth. */
#define FLOOD_BURST 10

#define MAC_MASK   UINT64_C(0xffffffffffff)
/* As little-endian numbers: 01:80:c2:00:00:00, and what lies in its last four bits. */
#define LINK_LOCAL UINT64_C(0x000000c28001)
#define LINK_LOW   (UINT64_C(0x0f) << 40)

static inline uint64_t load_mac(const uint8_t *at)
{
	uint64_t mac;

	/* Type and two more bytes follow the source. */
	memcpy(&mac, at, sizeof(mac));
	return le64toh(mac) & MAC_MASK;
}

static inline bool is_group(uint64_t mac)
{
	return mac & 1;
}

static inline uint32_t count(uint64_t frames)
{
	return (uint32_t)__builtin_popcountll(frames);
}

static inline uint64_t bit(uint32_t i)
{
	return UINT64_C(1) << i;
}

static void drop(struct switch_tx *tx, enum switch_drop why, uint32_t num)
{
	counter_add(&tx->drops[why], num);
}

/* ---- receivers */

/* One frame, as its VLAN looks at the receiver's port. */
static __attribute__((noinline)) int deliver_changed(struct net_sink *sink,
						     const struct frame *frame, enum vlan_form form)
{
	struct vlan_room room;
	struct net_pkt pkt;
	int err = vlan_change(&frame->pkt, &frame->tag, frame->vlan, form, &room, &pkt);

	return err ? err : sink->ops->deliver(sink, &pkt);
}

static inline int deliver(struct switch_rx *rx, const struct frame *frame)
{
	enum vlan_form form = vlan_form(&rx->port->vlan, frame->vlan);

	if (likely(vlan_fits(&frame->tag, frame->vlan, form)))
		return rx->sink->ops->deliver(rx->sink, &frame->pkt);
	return deliver_changed(rx->sink, frame, form);
}

/*
 * The receiver's token is held.  When there is no room for a frame there may be for a shorter one,
 * but not for one as long.
 */
static void hand_over(struct switch_tx *tx, struct switch_rx *rx, uint64_t frames)
{
	uint64_t taken = 0, bytes = 0;
	uint32_t refused = UINT32_MAX, lost = 0;

	for (; frames; frames &= frames - 1) {
		const struct frame *frame = &tx->burst[__builtin_ctzll(frames)];
		int err = frame->pkt.len < refused ? deliver(rx, frame) : -ENOBUFS;

		if (likely(!err)) {
			taken++;
			bytes += frame->pkt.len;
		} else if (err == -ENOBUFS) {
			if (frame->pkt.len < refused)
				refused = frame->pkt.len;
			lost++;
		} else {
			counter_add(err == -EMSGSIZE ? &rx->too_long : &rx->bad, 1);
		}
	}
	counter_add(&rx->frames, taken);
	counter_add(&rx->bytes, bytes);
	if (lost) {
		counter_add(&rx->no_room, lost);
		rx->sink->ops->drop(rx->sink, lost);
	}
}

static void end_kept(struct switch_tx *tx)
{
	struct net_sink *sink = tx->kept->sink;

	tx->kept = NULL;
	sink->ops->end(sink);
}

/* At most one token at a time, so that two senders never wait for each other. */
static bool begin(struct switch_tx *tx, struct switch_rx *rx)
{
	if (tx->kept == rx)
		return true;
	if (tx->kept)
		end_kept(tx);
	return rx->sink->ops->begin(rx->sink);
}

static void to_queue(struct switch_tx *tx, struct switch_rx *rx, uint64_t frames)
{
	if (!begin(tx, rx)) {
		drop(tx, DROP_GONE, count(frames));
		return;
	}
	hand_over(tx, rx, frames);
	if (tx->keep)
		tx->kept = rx;
	else
		rx->sink->ops->end(rx->sink);
}

static struct switch_rx *running(const struct switch_port *port, uint32_t i)
{
	return __atomic_load_n(&port->running[i], __ATOMIC_SEQ_CST);
}

/* Each flow to a queue of its own. */
static void spread(struct switch_tx *tx, struct switch_port *port, uint32_t num, uint64_t frames)
{
	uint64_t queues[NET_PAIRS_MAX] = {0};

	for (; frames; frames &= frames - 1) {
		uint32_t i = (uint32_t)__builtin_ctzll(frames);
		uint32_t hash = net_flow_hash(&tx->burst[i].pkt);

		queues[(uint64_t)hash * num >> 32] |= bit(i);
	}
	for (uint32_t i = 0; i < num; i++) {
		if (queues[i])
			to_queue(tx, running(port, i), queues[i]);
	}
}

/* certain: those among the frames that are for this port, and not for all. */
static void to_port(struct switch_tx *tx, struct switch_port *port, uint64_t frames,
		    uint64_t certain)
{
	uint32_t num = __atomic_load_n(&port->num_running, __ATOMIC_SEQ_CST);

	if (likely(num == 1))
		to_queue(tx, running(port, 0), frames);
	else if (num)
		spread(tx, port, num, frames);
	else if (certain)
		drop(tx, DROP_GONE, count(certain));
}

/* ---- who a frame is for */

static struct switch_port *find_port(const struct net_switch *sw, uint32_t idx)
{
	struct switch_port *port = __atomic_load_n(&sw->ports[idx], __ATOMIC_SEQ_CST);

	return port && __atomic_load_n(&port->up, __ATOMIC_SEQ_CST) ? port : NULL;
}

static void add_target(struct switch_tx *tx, struct switch_port *port, uint32_t i)
{
	struct target *target = &tx->targets[0], *end = target + tx->num_targets;

	while (target < end && target->port != port)
		target++;
	if (target == end) {
		*target = (struct target){port, 0};
		tx->num_targets++;
	}
	target->frames |= bit(i);
}

static void add_flood(struct switch_tx *tx, uint16_t vlan, uint32_t i)
{
	struct flood *flood = &tx->floods[0], *end = flood + tx->num_floods;

	while (flood < end && flood->vlan != vlan)
		flood++;
	if (flood == end) {
		*flood = (struct flood){vlan, 0};
		tx->num_floods++;
	}
	flood->frames |= bit(i);
}

/*
 * May one more frame be flooded?  One that has one receiver at most costs no more than any other
 * frame.  The time of all that was flooded, if it had come evenly, is kept; it may be ahead of now
 * by what may come at once.
 */
static bool may_flood(struct switch_tx *tx, uint16_t vlan)
{
	struct switch_port *port = tx->port;
	const struct net_switch *sw = port->sw;
	uint64_t cost, ahead, time, start;

	if (!sw->config.flood_limit || __atomic_load_n(&sw->members[vlan], __ATOMIC_RELAXED) <= 2)
		return true;
	cost = NS_PER_SEC / sw->config.flood_limit;
	ahead = NS_PER_SEC / FLOOD_BURST > cost ? NS_PER_SEC / FLOOD_BURST : cost;
	time = __atomic_load_n(&port->flood_time, __ATOMIC_RELAXED);
	do {
		start = time > tx->now ? time : tx->now;
		if (start + cost > tx->now + ahead)
			return false;
	} while (!__atomic_compare_exchange_n(&port->flood_time, &time, start + cost, true,
					      __ATOMIC_RELAXED, __ATOMIC_RELAXED));
	return true;
}

static void learn(struct switch_tx *tx, uint64_t key)
{
	if (tx->learnt == key)
		return;
	tx->learnt = key;
	/* What was found before is not where it is now. */
	if (tx->sought == key)
		tx->sought = 0;
	if (fdb_learn(tx->port->sw->fdb, key, tx->port->idx, tx->now_s) == FDB_FULL)
		counter_add(&tx->unlearnt, 1);
}

static int look_up(struct switch_tx *tx, uint64_t key)
{
	if (tx->sought != key) {
		tx->sought = key;
		tx->found = fdb_lookup(tx->port->sw->fdb, key, tx->now_s);
	}
	return tx->found;
}

static void flood(struct switch_tx *tx, uint16_t vlan, uint32_t i)
{
	if (!may_flood(tx, vlan)) {
		drop(tx, DROP_FLOOD, 1);
		return;
	}
	counter_add(&tx->flooded, 1);
	add_flood(tx, vlan, i);
}

static void direct(struct switch_tx *tx, uint32_t idx, uint32_t i)
{
	struct switch_port *port;

	if (idx == tx->port->idx) {
		drop(tx, DROP_OWN, 1);
		return;
	}
	port = find_port(tx->port->sw, idx);
	if (port)
		add_target(tx, port, i);
	else
		drop(tx, DROP_GONE, 1);
}

static void classify(struct switch_tx *tx, uint32_t i)
{
	struct frame *frame = &tx->burst[i];
	uint32_t len = net_pkt_pull(&frame->pkt, frame->head, VLAN_HEAD);
	const uint8_t *head = frame->pkt.head;
	uint64_t dst, src;
	int idx;

	if (unlikely(len < NET_ETH_LEN)) {
		drop(tx, DROP_SHORT, 1);
		return;
	}
	dst = load_mac(head);
	src = load_mac(head + NET_MAC_LEN);
	frame->vlan = vlan_classify(&tx->port->vlan, head, len, &frame->tag);
	if (unlikely(!frame->vlan)) {
		drop(tx, DROP_VLAN, 1);
		return;
	}
	if (unlikely(is_group(src) || !src)) {
		drop(tx, DROP_SOURCE, 1);
		return;
	}
	if (unlikely((dst & ~LINK_LOW) == LINK_LOCAL)) {
		drop(tx, DROP_RESERVED, 1);
		return;
	}
	learn(tx, fdb_key(src, frame->vlan));
	idx = is_group(dst) ? -1 : look_up(tx, fdb_key(dst, frame->vlan));
	if (idx < 0)
		flood(tx, frame->vlan, i);
	else
		direct(tx, (uint32_t)idx, i);
}

/* ---- a burst */

static uint64_t frames_for(const struct switch_tx *tx, const struct switch_port *port)
{
	for (uint32_t i = 0; i < tx->num_targets; i++) {
		if (tx->targets[i].port == port)
			return tx->targets[i].frames;
	}
	return 0;
}

/* Some of the burst is for all: each port gets that, and what is for it only. */
static void forward_to_all(struct switch_tx *tx)
{
	const struct net_switch *sw = tx->port->sw;
	uint32_t num = __atomic_load_n(&sw->num_ports, __ATOMIC_SEQ_CST);

	for (uint32_t idx = 0; idx < num; idx++) {
		struct switch_port *port = find_port(sw, idx);
		uint64_t certain, frames;

		if (!port || port == tx->port)
			continue;
		certain = frames = frames_for(tx, port);
		for (uint32_t i = 0; i < tx->num_floods; i++) {
			if (vlan_form(&port->vlan, tx->floods[i].vlan) != VLAN_NOT_HERE)
				frames |= tx->floods[i].frames;
		}
		if (frames)
			to_port(tx, port, frames, certain);
	}
}

static void forward(struct switch_tx *tx)
{
	if (tx->num_floods) {
		forward_to_all(tx);
		return;
	}
	for (uint32_t i = 0; i < tx->num_targets; i++)
		to_port(tx, tx->targets[i].port, tx->targets[i].frames, tx->targets[i].frames);
}

/* A part of the table each time: nobody has to wake up for it. */
static void sweep(struct net_switch *sw, uint64_t now)
{
	if (likely(now < __atomic_load_n(&sw->sweep_time, __ATOMIC_RELAXED)) ||
	    __atomic_exchange_n(&sw->sweeping, true, __ATOMIC_ACQUIRE))
		return;
	__atomic_store_n(&sw->sweep_time, now + SWEEP_NS, __ATOMIC_RELAXED);
	fdb_sweep(sw->fdb, (uint32_t)(now / NS_PER_SEC));
	__atomic_store_n(&sw->sweeping, false, __ATOMIC_RELEASE);
}

static void forward_burst(struct switch_tx *tx)
{
	struct net_switch *sw = tx->port->sw;

	tx->now = sw->config.clock(sw->config.clock_arg);
	tx->now_s = (uint32_t)(tx->now / NS_PER_SEC);
	sweep(sw, tx->now);
	tx->num_targets = tx->num_floods = 0;
	tx->learnt = tx->sought = 0;
	for (uint32_t i = 0; i < tx->num; i++)
		classify(tx, i);
	forward(tx);
}

void switch_flush(struct net_queue *queue)
{
	struct switch_tx *tx = to_tx(queue);

	if (!tx->num)
		return;
	if (!tx->kept)
		section_enter(tx);
	if (likely(__atomic_load_n(&tx->port->up, __ATOMIC_SEQ_CST)))
		forward_burst(tx);
	else
		drop(tx, DROP_LINK, tx->num);
	tx->num = 0;
	if (!tx->kept)
		section_leave(tx);
}

int switch_send(struct net_queue *queue, const struct net_pkt *pkt)
{
	struct switch_tx *tx = to_tx(queue);

	if (unlikely(tx->num == BURST))
		switch_flush(queue);
	tx->burst[tx->num++].pkt = *pkt;
	counter_add(&tx->frames, 1);
	counter_add(&tx->bytes, pkt->len);
	return 0;
}

void switch_keep(struct net_queue *queue)
{
	to_tx(queue)->keep = true;
}

void switch_release(struct net_queue *queue)
{
	struct switch_tx *tx = to_tx(queue);

	if (!tx->kept)
		return;
	end_kept(tx);
	section_leave(tx);
}
