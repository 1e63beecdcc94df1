/* SPDX-License-Identifier: BSD-2-Clause */
#include "parents/tmfifo/fifo.h"

#include <endian.h>
#include <errno.h>
#include <linux/virtio_ids.h>
#include <pthread.h>
#include <string.h>
#include <sys/epoll.h>

#include "base/defs.h"
#include "bus/bus.h"
#include "loop/worker.h"

/* Words of each direction before others on the worker have their turn. */
#define BUDGET    256u
/* Whoever begins a message wants to send some of it, too. */
#define BEGIN_MIN 2u
#define MS        1000000ull
/* Pauses between two looks at a transmit FIFO that stays full, in case that no interrupt comes. */
#define TICK_MIN  MS
#define TICK_MAX  (100 * MS)

enum { CONSOLE, NET, NUM_CHANNELS };

struct tmfifo {
	struct vdpa_bus *bus;
	struct vdpa_tmfifo_regs *regs;
	struct tmfifo_config config;
	struct vdpa_worker *picked;
	struct worker *worker;
	uint32_t tx_entries, rx_entries; /* words */
	int err;                         /* of start() */

	pthread_mutex_t lock; /* of channels, for those who look; the worker changes them with it */
	struct tmfifo_channel *channels[NUM_CHANNELS];

	/* The worker's. */
	struct worker_source src;
	struct loop_watch irq;
	struct loop_timer timer;
	uint64_t tick;     /* the timer's next pause while the transmit FIFO is full */
	bool blocked;      /* there is something to send, and no room */
	uint64_t since;    /* when it was blocked */
	uint64_t received; /* when the last word came, known while the parser is amid a message */
	bool silent;
	unsigned int turn; /* whose */
	struct tmfifo_parser parser;
	uint64_t unclaimed; /* received bytes that no channel is there for */
	uint32_t next, end; /* words of out that are still to go */
	uint8_t out[TMFIFO_WORD + TMFIFO_PAYLOAD_MAX + 1];
};

static uint64_t now(const struct tmfifo *fifo)
{
	return loop_now(worker_loop(fifo->worker));
}

/* ---- registers */

static uint64_t get(struct tmfifo *fifo, enum vdpa_tmfifo_block block, uint32_t reg)
{
	return fifo->regs->ops->read(fifo->regs, block, reg);
}

static void put(struct tmfifo *fifo, enum vdpa_tmfifo_block block, uint32_t reg, uint64_t value)
{
	fifo->regs->ops->write(fifo->regs, block, reg, value);
}

/* More words than it holds: that is no FIFO any more, and nothing is done to it. */
static uint32_t rx_count(struct tmfifo *fifo)
{
	uint64_t num = get(fifo, VDPA_TMFIFO_RX, VDPA_TMFIFO_STS) & VDPA_TMFIFO_STS_COUNT;

	return num <= fifo->rx_entries ? (uint32_t)num : 0;
}

static uint32_t tx_room(struct tmfifo *fifo)
{
	uint64_t num = get(fifo, VDPA_TMFIFO_TX, VDPA_TMFIFO_STS) & VDPA_TMFIFO_STS_COUNT;

	return num <= fifo->tx_entries ? fifo->tx_entries - (uint32_t)num : 0;
}

static uint32_t entries(struct tmfifo *fifo, enum vdpa_tmfifo_block block)
{
	uint64_t ctl = get(fifo, block, VDPA_TMFIFO_CTL);

	return (uint32_t)((ctl & VDPA_TMFIFO_CTL_ENTRIES) >> VDPA_TMFIFO_CTL_ENTRIES_SHIFT);
}

static void set_watermarks(struct tmfifo *fifo, enum vdpa_tmfifo_block block, uint64_t low,
			   uint64_t high)
{
	uint64_t ctl = get(fifo, block, VDPA_TMFIFO_CTL);

	ctl &= ~(VDPA_TMFIFO_CTL_LWM | VDPA_TMFIFO_CTL_HWM);
	put(fifo, block, VDPA_TMFIFO_CTL, ctl | low | high << VDPA_TMFIFO_CTL_HWM_SHIFT);
}

static int look_at_hardware(struct tmfifo *fifo, struct vdpa_extack *ack)
{
	fifo->rx_entries = entries(fifo, VDPA_TMFIFO_RX);
	fifo->tx_entries = entries(fifo, VDPA_TMFIFO_TX);
	/* A device that is not there reads as all ones. */
	if (fifo->rx_entries < BEGIN_MIN || fifo->tx_entries < BEGIN_MIN ||
	    get(fifo, VDPA_TMFIFO_RX, VDPA_TMFIFO_CTL) == UINT64_MAX)
		return vdpa_extack_set(ack, -ENODEV,
				       "no TmFIFO is there: its control registers say that it "
				       "holds %u and %u words",
				       fifo->rx_entries, fifo->tx_entries);
	set_watermarks(fifo, VDPA_TMFIFO_RX, 0, 1);
	set_watermarks(fifo, VDPA_TMFIFO_TX, fifo->tx_entries / 2, fifo->tx_entries - 1);
	return 0;
}

/* ---- what comes in */

static void pass_on(struct tmfifo_parser *parser, unsigned int idx, const uint8_t *data,
		    uint32_t len)
{
	struct tmfifo *fifo = container_of(parser, struct tmfifo, parser);
	struct tmfifo_channel *ch = fifo->channels[idx];

	if (!ch) {
		counter_add(&fifo->unclaimed, len);
		return;
	}
	counter_add(&ch->stats.rx_bytes, len);
	ch->ops->receive(ch, data, len);
}

static void on_console(struct tmfifo_parser *parser, const uint8_t *data, uint32_t len)
{
	pass_on(parser, CONSOLE, data, len);
}

static void on_frame(struct tmfifo_parser *parser, const uint8_t *data, uint32_t len)
{
	pass_on(parser, NET, data, len);
}

static const struct tmfifo_parser_ops parser_ops = {
	.console = on_console,
	.frame = on_frame,
};

static bool rx_turn(struct tmfifo *fifo)
{
	uint8_t words[BUDGET * TMFIFO_WORD];
	uint32_t num = rx_count(fifo);

	if (!num)
		return false;
	if (num > BUDGET)
		num = BUDGET;
	for (uint32_t i = 0; i < num; i++) {
		uint64_t word = htole64(get(fifo, VDPA_TMFIFO_RX, VDPA_TMFIFO_DATA));

		memcpy(words + (size_t)i * TMFIFO_WORD, &word, TMFIFO_WORD);
	}
	tmfifo_parser_feed(&fifo->parser, words, num);
	for (unsigned int i = 0; i < NUM_CHANNELS; i++) {
		struct tmfifo_channel *ch = fifo->channels[i];

		if (ch && ch->ops->flush)
			ch->ops->flush(ch);
	}
	if (tmfifo_parser_amid(&fifo->parser))
		fifo->received = now(fifo);
	return true;
}

/* ---- whose turn it is */

static bool look_who_wants(struct tmfifo *fifo)
{
	bool any = false;

	for (unsigned int i = 0; i < NUM_CHANNELS; i++) {
		struct tmfifo_channel *ch = fifo->channels[i];

		if (!ch)
			continue;
		ch->wants = ch->ops->pending(ch);
		if (!ch->wants)
			ch->waited = 0;
		any |= ch->wants;
	}
	return any;
}

static void raise(uint64_t *max, uint64_t value)
{
	if (value > *max)
		counter_add(max, value - *max);
}

/* A debt stays; what was not used does not. */
static void next_turn(struct tmfifo *fifo)
{
	struct tmfifo_channel *ch = fifo->channels[fifo->turn];

	if (ch && ch->turn) {
		counter_add(&ch->stats.turns, 1);
		raise(&ch->stats.turn_max, ch->turn);
		ch->turn = 0;
	}
	fifo->turn = (fifo->turn + 1) % NUM_CHANNELS;
	ch = fifo->channels[fifo->turn];
	if (ch)
		ch->credit = ch->credit < 0 ? ch->credit + TMFIFO_TURN : TMFIFO_TURN;
}

/* One of those who want: the debt of a single message is paid after some rounds. */
static struct tmfifo_channel *choose(struct tmfifo *fifo)
{
	struct tmfifo_channel *ch = fifo->channels[fifo->turn];

	while (!ch || !ch->wants || ch->credit <= 0) {
		next_turn(fifo);
		ch = fifo->channels[fifo->turn];
	}
	return ch;
}

static void account(struct tmfifo *fifo, struct tmfifo_channel *chosen, uint32_t len)
{
	uint32_t cost = tmfifo_msg_words(len) * TMFIFO_WORD;

	counter_add(&chosen->stats.tx_messages, 1);
	counter_add(&chosen->stats.tx_bytes, len);
	raise(&chosen->stats.wait_max, chosen->waited);
	chosen->waited = 0;
	chosen->turn += cost;
	chosen->credit -= cost;
	for (unsigned int i = 0; i < NUM_CHANNELS; i++) {
		struct tmfifo_channel *ch = fifo->channels[i];

		if (ch && ch != chosen && ch->wants)
			ch->waited += cost;
	}
}

/* ---- what goes out */

/* Somebody wants to send, and there is room. */
static void begin_message(struct tmfifo *fifo, uint32_t room)
{
	struct tmfifo_channel *ch = choose(fifo);
	uint64_t max = (uint64_t)(room - 1) * TMFIFO_WORD;
	uint64_t credit = align_up((uint64_t)ch->credit, TMFIFO_WORD);
	uint32_t len, words;

	if (credit < max)
		max = credit;
	len = ch->ops->next(ch, fifo->out + TMFIFO_WORD, (uint32_t)max);
	words = tmfifo_msg_words(len);
	tmfifo_hdr_write(fifo->out, ch->type, len);
	memset(fifo->out + TMFIFO_WORD + len, 0, (words - 1) * TMFIFO_WORD - len);
	fifo->next = 0;
	fifo->end = words;
	account(fifo, ch, len);
}

static void send_words(struct tmfifo *fifo, uint32_t num)
{
	for (uint32_t i = 0; i < num; i++) {
		uint64_t word;

		memcpy(&word, fifo->out + (size_t)fifo->next++ * TMFIFO_WORD, TMFIFO_WORD);
		put(fifo, VDPA_TMFIFO_TX, VDPA_TMFIFO_DATA, le64toh(word));
	}
}

static void set_silent(struct tmfifo *fifo, bool silent)
{
	if (fifo->silent == silent)
		return;
	__atomic_store_n(&fifo->silent, silent, __ATOMIC_RELAXED);
	for (unsigned int i = 0; i < NUM_CHANNELS; i++) {
		struct tmfifo_channel *ch = fifo->channels[i];

		if (ch && ch->ops->silent)
			ch->ops->silent(ch, silent);
	}
}

/* Words for which there has to be room before anything goes on. */
static uint32_t need(const struct tmfifo *fifo)
{
	return fifo->next < fifo->end ? 1 : BEGIN_MIN;
}

static void block(struct tmfifo *fifo)
{
	if (fifo->blocked)
		return;
	fifo->blocked = true;
	fifo->since = now(fifo);
	fifo->tick = TICK_MIN;
}

static bool tx_turn(struct tmfifo *fifo)
{
	uint32_t room = 0, done = 0;

	while (done < BUDGET && (fifo->next < fifo->end || look_who_wants(fifo))) {
		uint32_t num;

		if (room < need(fifo))
			room = tx_room(fifo);
		if (room < need(fifo)) {
			block(fifo);
			break;
		}
		if (fifo->next == fifo->end)
			begin_message(fifo, room);
		num = fifo->end - fifo->next < room ? fifo->end - fifo->next : room;
		send_words(fifo, num);
		fifo->blocked = false;
		room -= num;
		done += num;
	}
	if (done)
		set_silent(fifo, false);
	if (fifo->next == fifo->end && !look_who_wants(fifo))
		fifo->blocked = false;
	return done;
}

/* ---- when it runs */

static bool fifo_poll(struct worker_source *src)
{
	struct tmfifo *fifo = container_of(src, struct tmfifo, src);
	bool busy = rx_turn(fifo);

	return tx_turn(fifo) || busy;
}

static void sooner(uint64_t *when, uint64_t other)
{
	if (other < *when)
		*when = other;
}

static void set_timer(struct tmfifo *fifo)
{
	uint64_t time = now(fifo), when = UINT64_MAX;

	if (fifo->config.poll_ms)
		when = time + fifo->config.poll_ms * MS;
	if (tmfifo_parser_amid(&fifo->parser))
		sooner(&when, fifo->received + fifo->config.cut_ms * MS);
	if (fifo->blocked)
		sooner(&when, time + fifo->tick);
	if (when != UINT64_MAX)
		loop_timer_set(worker_loop(fifo->worker), &fifo->timer,
			       when > time ? when - time : 0);
}

static bool fifo_arm(struct worker_source *src)
{
	struct tmfifo *fifo = container_of(src, struct tmfifo, src);

	if (rx_count(fifo) || (fifo->blocked && tx_room(fifo) >= need(fifo)))
		return true;
	set_timer(fifo);
	return false;
}

static const struct worker_source_ops source_ops = {
	.poll = fifo_poll,
	.arm = fifo_arm,
};

static void on_irq(struct loop_watch *watch, uint32_t events)
{
	struct tmfifo *fifo = container_of(watch, struct tmfifo, irq);

	/* Hardware that was taken away has no interrupts any more, only errors. */
	if (!(events & EPOLLIN)) {
		vdpa_log(fifo->bus, NULL, VDPA_LOG_ERROR,
			 "the interrupts of a TmFIFO have ended: was it taken away?");
		loop_watch_del(watch);
		return;
	}
	fifo->regs->ops->irq_ack(fifo->regs);
	worker_source_wake(&fifo->src);
}

static void on_timer(struct loop_timer *timer)
{
	struct tmfifo *fifo = container_of(timer, struct tmfifo, timer);
	uint64_t time = now(fifo);

	/* A word that is there already has not been late. */
	if (tmfifo_parser_amid(&fifo->parser) && !rx_count(fifo) &&
	    time - fifo->received >= fifo->config.cut_ms * MS)
		tmfifo_parser_cut(&fifo->parser);
	if (fifo->blocked && time - fifo->since >= fifo->config.silent_ms * MS)
		set_silent(fifo, true);
	if (fifo->tick < TICK_MAX)
		fifo->tick *= 2;
	worker_source_wake(&fifo->src);
}

void tmfifo_wake(struct tmfifo *fifo)
{
	worker_source_wake(&fifo->src);
}

/* ---- channels */

static unsigned int index_of(const struct tmfifo_channel *ch)
{
	return ch->type == VIRTIO_ID_NET ? NET : CONSOLE;
}

static void set_channel(struct tmfifo *fifo, unsigned int idx, struct tmfifo_channel *ch)
{
	pthread_mutex_lock(&fifo->lock);
	fifo->channels[idx] = ch;
	pthread_mutex_unlock(&fifo->lock);
}

struct attach {
	struct tmfifo *fifo;
	struct tmfifo_channel *ch;
	int err;
};

static void attach(void *arg)
{
	struct attach *args = arg;
	struct tmfifo_channel *ch = args->ch;

	if (args->fifo->channels[index_of(ch)]) {
		args->err = -EBUSY;
		return;
	}
	ch->fifo = args->fifo;
	set_channel(args->fifo, index_of(ch), ch);
	if (args->fifo->silent && ch->ops->silent)
		ch->ops->silent(ch, true);
}

int tmfifo_attach(struct tmfifo *fifo, struct tmfifo_channel *ch)
{
	struct attach args = {fifo, ch, 0};

	worker_call(fifo->worker, attach, &args);
	return args.err;
}

static void detach(void *arg)
{
	struct tmfifo_channel *ch = arg;

	set_channel(ch->fifo, index_of(ch), NULL);
}

void tmfifo_detach(struct tmfifo_channel *ch)
{
	worker_call(ch->fifo->worker, detach, ch);
}

/* ---- life */

/*
 * Whoever drove this end before may have left amid a message.  Zeroes are the rest of it, however
 * long it was, and behind that keepalives.
 */
static void greet(struct tmfifo *fifo)
{
	uint32_t longest =
		fifo->config.frame_max > TMFIFO_TURN ? fifo->config.frame_max : TMFIFO_TURN;

	fifo->end = tmfifo_msg_words(longest) - 1;
}

static void start(void *arg)
{
	struct tmfifo *fifo = arg;

	greet(fifo);
	fifo->err = worker_attach_local(fifo->worker, &fifo->src);
	if (fifo->err || fifo->regs->irq < 0)
		return;
	fifo->err = loop_watch_add(worker_loop(fifo->worker), &fifo->irq, fifo->regs->irq, EPOLLIN);
	if (fifo->err)
		worker_detach_local(&fifo->src);
}

static void stop(void *arg)
{
	struct tmfifo *fifo = arg;
	uint32_t left = fifo->end - fifo->next, room = tx_room(fifo);

	/* Else the other end would take what comes next for the rest of this message. */
	send_words(fifo, left < room ? left : room);
	loop_watch_del(&fifo->irq);
	loop_timer_cancel(&fifo->timer);
	worker_detach_local(&fifo->src);
}

static int check(const struct vdpa_tmfifo_regs *regs, struct vdpa_extack *ack)
{
	const struct vdpa_tmfifo_regs_ops *ops = regs->ops;

	if (ops->size < sizeof(*ops) || !ops->read || !ops->write || !ops->free ||
	    (regs->irq >= 0 && !ops->irq_ack))
		return vdpa_extack_set(ack, -EINVAL,
				       "the access to the registers lacks an operation");
	return 0;
}

static int pick_worker(struct tmfifo *fifo, struct vdpa_extack *ack)
{
	const char *name = fifo->config.worker;

	fifo->picked = name ? vdpa_worker_pick_name(fifo->bus, name) : vdpa_worker_pick(fifo->bus);
	if (fifo->picked) {
		fifo->worker = vdpa_worker_thread(fifo->picked);
		return 0;
	}
	if (name)
		return vdpa_extack_set(ack, -ENOENT, "there is no worker '%s'", name);
	return vdpa_extack_set(ack, -EAGAIN, "no worker for the FIFO: out of threads");
}

/* They may be without, and be refused for that. */
static void free_regs(struct vdpa_tmfifo_regs *regs)
{
	if (regs->ops->free)
		regs->ops->free(regs);
}

static void destroy(struct tmfifo *fifo)
{
	if (fifo->picked)
		vdpa_worker_unpick(fifo->picked);
	tmfifo_parser_release(&fifo->parser);
	pthread_mutex_destroy(&fifo->lock);
	free_regs(fifo->regs);
	free(fifo);
}

int tmfifo_open(struct vdpa_bus *bus, struct vdpa_tmfifo_regs *regs,
		const struct tmfifo_config *config, struct tmfifo **ret, struct vdpa_extack *ack)
{
	struct tmfifo *fifo = calloc(1, sizeof(*fifo));
	int err;

	if (!fifo) {
		free_regs(regs);
		return -ENOMEM;
	}
	fifo->bus = bus;
	fifo->regs = regs;
	fifo->config = *config;
	fifo->src = (struct worker_source){.ops = &source_ops, .fd = -1};
	fifo->irq = LOOP_WATCH_INIT(on_irq);
	fifo->timer.fn = on_timer;
	pthread_mutex_init(&fifo->lock, NULL);
	err = check(regs, ack);
	if (!err)
		err = tmfifo_parser_init(&fifo->parser, &parser_ops, config->frame_max);
	if (!err)
		err = look_at_hardware(fifo, ack);
	if (!err)
		err = pick_worker(fifo, ack);
	if (!err) {
		worker_call(fifo->worker, start, fifo);
		err = fifo->err ? vdpa_extack_set(ack, fifo->err, "cannot watch the interrupt") : 0;
	}
	if (err) {
		destroy(fifo);
		return err;
	}
	*ret = fifo;
	return 0;
}

void tmfifo_close(struct tmfifo *fifo)
{
	if (!fifo)
		return;
	worker_call(fifo->worker, stop, fifo);
	destroy(fifo);
}

/* ---- show */

static void show_u64(struct vdpa_info *info, const char *key, const uint64_t *value)
{
	vdpa_info_u64(info, key, __atomic_load_n(value, __ATOMIC_RELAXED));
}

static void show_channel(const struct tmfifo_channel *ch, struct vdpa_info *info)
{
	const struct tmfifo_channel_stats *stats = &ch->stats;

	vdpa_info_open(info, ch->ops->name);
	show_u64(info, "tx_messages", &stats->tx_messages);
	show_u64(info, "tx_bytes", &stats->tx_bytes);
	show_u64(info, "rx_bytes", &stats->rx_bytes);
	show_u64(info, "lost", &stats->lost);
	show_u64(info, "turns", &stats->turns);
	show_u64(info, "turn_max", &stats->turn_max);
	show_u64(info, "wait_max", &stats->wait_max);
	vdpa_info_close(info);
}

void tmfifo_show(struct tmfifo *fifo, struct vdpa_info *info)
{
	const struct tmfifo_rx_stats *stats = &fifo->parser.stats;

	if (fifo->regs->ops->show)
		fifo->regs->ops->show(fifo->regs, info);
	vdpa_info_u64(info, "tx_entries", fifo->tx_entries);
	vdpa_info_u64(info, "rx_entries", fifo->rx_entries);
	vdpa_info_bool(info, "silent", __atomic_load_n(&fifo->silent, __ATOMIC_RELAXED));
	vdpa_info_str(info, "worker", vdpa_worker_name(fifo->picked));
	show_u64(info, "keepalives", &stats->keepalives);
	show_u64(info, "garbage", &stats->garbage);
	show_u64(info, "refused", &stats->refused);
	show_u64(info, "cut", &stats->cut);
	show_u64(info, "unclaimed", &fifo->unclaimed);
	pthread_mutex_lock(&fifo->lock);
	for (unsigned int i = 0; i < NUM_CHANNELS; i++) {
		if (fifo->channels[i])
			show_channel(fifo->channels[i], info);
	}
	pthread_mutex_unlock(&fifo->lock);
}
