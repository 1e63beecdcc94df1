/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The driver against the model: channels that count, and at the other end a computer that does only
 * what a test says.  The worker's clock is the test's.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <errno.h>

#include "base/defs.h"
#include "bus/bus.h"
#include "fake_vdev.h"
#include "loop/worker.h"
#include "parents/tmfifo/fifo.h"
#include "tmfifo_end.h"

#define FRAME_MAX 9018u
#define SILENT_MS 2000
#define CUT_MS    1000
#define MS        1000000ull

/* ---- the rig */

struct channel {
	struct tmfifo_channel ch;
	uint32_t left;    /* bytes to send */
	uint32_t message; /* of so many bytes; 0: as many as there is room for */
	uint8_t sent, got, expected;
	uint32_t received, flushed, silences;
	bool wrong, silent;
};

struct env {
	struct vdpa_bus *bus;
	struct worker *worker;
	struct tmfifo_model *model;
	struct tmfifo *fifo;
	struct channel console, net;
	struct tmfifo_end end;
	uint64_t now;
	struct tmfifo_channel_stats console_stats, net_stats; /* of get_stats() */
	/* Of what the other end got. */
	uint32_t messages, bytes[4];
	uint8_t next[4];
	bool wrong;
};

static struct channel *to_channel(struct tmfifo_channel *ch)
{
	return container_of(ch, struct channel, ch);
}

static bool channel_pending(struct tmfifo_channel *ch)
{
	return to_channel(ch)->left;
}

static uint32_t channel_next(struct tmfifo_channel *ch, uint8_t *buf, uint32_t max)
{
	struct channel *channel = to_channel(ch);
	uint32_t len = channel->message ? channel->message : max;

	assert_int_not_equal(max, 0);
	if (len > channel->left)
		len = channel->left;
	for (uint32_t i = 0; i < len; i++)
		buf[i] = channel->sent++;
	channel->left -= len;
	return len;
}

static void channel_receive(struct tmfifo_channel *ch, const uint8_t *data, uint32_t len)
{
	struct channel *channel = to_channel(ch);

	for (uint32_t i = 0; i < len; i++)
		channel->wrong |= data[i] != channel->got++;
	channel->received += len;
}

static void channel_flush(struct tmfifo_channel *ch)
{
	to_channel(ch)->flushed++;
}

static void channel_silent(struct tmfifo_channel *ch, bool silent)
{
	to_channel(ch)->silent = silent;
	to_channel(ch)->silences++;
}

static const struct tmfifo_channel_ops channel_ops = {
	.name = "channel",
	.pending = channel_pending,
	.next = channel_next,
	.receive = channel_receive,
	.flush = channel_flush,
	.silent = channel_silent,
};

static void on_message(struct tmfifo_end *end, uint8_t type, const uint8_t *data, uint32_t len)
{
	struct env *env = container_of(end, struct env, end);

	for (uint32_t i = 0; i < len; i++)
		env->wrong |= data[i] != env->next[type]++;
	env->bytes[type] += len;
	env->messages++;
}

static uint64_t clock_now(void *arg)
{
	return __atomic_load_n((uint64_t *)arg, __ATOMIC_RELAXED);
}

static void set_clock(void *arg)
{
	struct env *env = arg;

	loop_set_clock(worker_loop(env->worker), clock_now, &env->now);
}

static void get_stats(void *arg)
{
	struct env *env = arg;

	env->console_stats = env->console.ch.stats;
	env->net_stats = env->net.ch.stats;
}

static void own_clock(void *arg)
{
	loop_set_clock(worker_loop(((struct env *)arg)->worker), NULL, NULL);
}

static void nothing(void *arg)
{
}

static void open_fifo(struct env *env, struct vdpa_tmfifo_regs *regs)
{
	const struct tmfifo_config config = {
		.frame_max = FRAME_MAX,
		.silent_ms = SILENT_MS,
		.cut_ms = CUT_MS,
		.worker = "w",
	};
	struct vdpa_extack ack;

	if (tmfifo_open(env->bus, regs, &config, &env->fifo, &ack))
		fail_msg("%s", ack.msg);
}

struct give {
	struct channel *channel;
	uint32_t len;
};

static void set_left(void *arg)
{
	const struct give *give = arg;

	give->channel->left = give->len;
}

/* The channel has so many bytes to send; the worker may be at work. */
static void give(struct env *env, struct channel *channel, uint32_t len)
{
	struct give args = {channel, len};

	worker_call(env->worker, set_left, &args);
}

/*
 * The driver has seen what there is, once: the first call is behind the wake-up, the second behind
 * a round.
 */
static void settle(struct env *env)
{
	tmfifo_wake(env->fifo);
	worker_call(env->worker, nothing, NULL);
	worker_call(env->worker, nothing, NULL);
}

/* Until no end has anything to do. */
static void run(struct env *env)
{
	do
		settle(env);
	while (tmfifo_end_run(&env->end));
	settle(env);
}

static int set_up(void **state)
{
	struct env *env = calloc(1, sizeof(*env));

	assert_int_equal(vdpa_bus_alloc(NULL, &env->bus, NULL), 0);
	assert_int_equal(vdpa_worker_add(env->bus, "w", -1, 0, NULL), 0);
	env->worker = vdpa_worker_thread(vdpa_worker_find(env->bus, "w"));
	env->now = 1000 * MS;
	worker_call(env->worker, set_clock, env);
	assert_int_equal(tmfifo_model_alloc(&env->model), 0);
	tmfifo_end_init(&env->end, env->model);
	env->end.message = on_message;
	open_fifo(env, tmfifo_model_regs(env->model, TMFIFO_OURS, true, false));
	env->console.ch = (struct tmfifo_channel){.ops = &channel_ops, .type = TMFIFO_END_CONSOLE};
	env->net.ch = (struct tmfifo_channel){.ops = &channel_ops, .type = TMFIFO_END_NET};
	env->net.message = 1514;
	assert_int_equal(tmfifo_attach(env->fifo, &env->console.ch), 0);
	assert_int_equal(tmfifo_attach(env->fifo, &env->net.ch), 0);
	run(env);
	*state = env;
	return 0;
}

static int tear_down(void **state)
{
	struct env *env = *state;

	if (env->fifo) {
		tmfifo_detach(&env->net.ch);
		tmfifo_detach(&env->console.ch);
		tmfifo_close(env->fifo);
	}
	assert_int_equal(tmfifo_model_faults(env->model, TMFIFO_OURS), 0);
	tmfifo_model_free(env->model);
	worker_call(env->worker, own_clock, env);
	assert_int_equal(vdpa_bus_free(env->bus), 0);
	free(env);
	return 0;
}

/* The timers that are due then have run. */
static void advance(struct env *env, uint64_t ms)
{
	__atomic_store_n(&env->now, env->now + ms * MS, __ATOMIC_RELAXED);
	settle(env);
	settle(env);
}

static void expect_shown(struct env *env, const char *text)
{
	struct fake_info info;

	fake_info_init(&info);
	tmfifo_show(env->fifo, &info.info);
	if (!fake_info_has(&info, text))
		fail_msg("'%s' does not have '%s'", info.text, text);
}

static uint32_t in_fifo(struct env *env)
{
	return (uint32_t)tmfifo_model_read(env->model, TMFIFO_OURS, VDPA_TMFIFO_TX,
					   VDPA_TMFIFO_STS);
}

/* ---- both ways */

static void test_tmfifo_sends(void **state)
{
	struct env *env = *state;

	env->net.message = 15;
	for (uint32_t len = 1; len < 3000; len += 37) {
		give(env, &env->net, len);
		give(env, &env->console, len);
		run(env);
		assert_int_equal(env->net.left + env->console.left, 0);
	}
	assert_false(env->wrong);
	assert_int_equal(env->bytes[TMFIFO_END_NET], env->bytes[TMFIFO_END_CONSOLE]);
	assert_int_equal(env->end.bad, 0);
}

static void test_tmfifo_receives(void **state)
{
	struct env *env = *state;
	uint8_t data[FRAME_MAX], next[4] = {0};
	uint32_t sum = 0;

	for (uint32_t len = 14; len < FRAME_MAX; len += 61) {
		for (uint8_t type = TMFIFO_END_NET; type <= TMFIFO_END_CONSOLE; type += 2) {
			for (uint32_t i = 0; i < len; i++)
				data[i] = next[type]++;
			tmfifo_end_put(&env->end, type, data, len);
			run(env);
		}
		sum += len;
	}
	assert_false(env->net.wrong || env->console.wrong);
	assert_int_equal(env->net.received, sum);
	assert_int_equal(env->console.received, sum);
	assert_true(env->net.flushed);
	expect_shown(env, "garbage=0 refused=0 cut=0 unclaimed=0 ");
}

/* The interrupt alone wakes the driver. */
static void test_tmfifo_interrupt(void **state)
{
	struct env *env = *state;
	uint64_t count;

	tmfifo_end_put(&env->end, TMFIFO_END_CONSOLE, "\0\1\2", 3);
	tmfifo_end_run(&env->end);
	/* Once for the first word, and not for those behind it while they are not taken. */
	do {
		worker_call(env->worker, nothing, NULL);
		count = tmfifo_model_read(env->model, TMFIFO_OURS, VDPA_TMFIFO_RX, VDPA_TMFIFO_STS);
	} while (count);
	worker_call(env->worker, nothing, NULL);
	worker_call(env->worker, nothing, NULL);
	assert_int_equal(env->console.received, 3);
	assert_false(env->console.wrong);
}

/* ---- a FIFO that is full */

static void test_tmfifo_full(void **state)
{
	struct env *env = *state;

	give(env, &env->net, 100 * 1514);
	settle(env);
	settle(env);
	assert_int_equal(in_fifo(env), TMFIFO_MODEL_ENTRIES);
	/* The driver sleeps, and has begun no further message. */
	assert_int_equal(env->net.left, 98 * 1514);
	run(env);
	assert_int_equal(env->bytes[TMFIFO_END_NET], 100 * 1514);
	assert_false(env->wrong);
}

/* A console's message is cut to what there is room for, and needs room for a byte. */
static void test_tmfifo_small_room(void **state)
{
	struct env *env = *state;

	give(env, &env->console, 255 * 8 - 8);
	settle(env);
	assert_int_equal(in_fifo(env), 255);
	give(env, &env->console, 1);
	settle(env);
	assert_int_equal(in_fifo(env), 255);
	assert_int_equal(env->console.left, 1);
	tmfifo_model_read(env->model, TMFIFO_THEIRS, VDPA_TMFIFO_RX, VDPA_TMFIFO_DATA);
	give(env, &env->console, 100);
	settle(env);
	assert_int_equal(in_fifo(env), 256);
	assert_int_equal(env->console.left, 92);
}

static void test_tmfifo_silent(void **state)
{
	struct env *env = *state;

	give(env, &env->net, 100 * 1514);
	give(env, &env->console, 1);
	settle(env);
	settle(env);
	advance(env, SILENT_MS - 1);
	assert_false(env->console.silent);
	advance(env, 100);
	assert_true(env->console.silent);
	expect_shown(env, "silent=on");
	/* Whoever comes later is told. */
	tmfifo_detach(&env->net.ch);
	env->net.silent = false;
	assert_int_equal(tmfifo_attach(env->fifo, &env->net.ch), 0);
	assert_true(env->net.silent);
	tmfifo_end_run(&env->end);
	settle(env);
	assert_false(env->console.silent || env->net.silent);
	assert_int_equal(env->console.silences, 2);
	run(env);
	assert_false(env->wrong);
	assert_int_equal(env->bytes[TMFIFO_END_CONSOLE], 1);
	/* One that has nothing to take is not silent. */
	advance(env, 10 * SILENT_MS);
	assert_int_equal(env->console.silences, 2);
}

/* With a word in time it is slow, and not silent. */
static void test_tmfifo_slow(void **state)
{
	struct env *env = *state;

	give(env, &env->net, 100 * 1514);
	settle(env);
	settle(env);
	for (unsigned int i = 0; i < 5; i++) {
		advance(env, SILENT_MS - 100);
		tmfifo_model_read(env->model, TMFIFO_THEIRS, VDPA_TMFIFO_RX, VDPA_TMFIFO_DATA);
		settle(env);
		assert_int_equal(in_fifo(env), TMFIFO_MODEL_ENTRIES);
	}
	assert_int_equal(env->console.silences, 0);
}

/* ---- a hostile other end */

/* A message that breaks off is given up, so that the next one is understood. */
static void test_tmfifo_cut(void **state)
{
	struct env *env = *state;
	uint64_t words[3] = {0};

	memcpy(words, "\x01\0\x64\0\0\0\0\0", 8);
	tmfifo_end_put_words(&env->end, words, 3);
	run(env);
	advance(env, CUT_MS - 100);
	expect_shown(env, "cut=0 ");
	advance(env, 200);
	expect_shown(env, "cut=1 ");
	tmfifo_end_put(&env->end, TMFIFO_END_CONSOLE, "\0\1\2", 3);
	run(env);
	assert_int_equal(env->console.received, 3);
	assert_int_equal(env->net.received, 0);
	/* Nothing is cut between messages. */
	advance(env, 10 * CUT_MS);
	expect_shown(env, "cut=1 ");
}

static void test_tmfifo_garbage(void **state)
{
	struct env *env = *state;
	uint64_t words[600];

	for (unsigned int i = 0; i < 600; i++)
		words[i] = 0x0102030405060700ull + 4 + i % 4;
	tmfifo_end_put_words(&env->end, words, 600);
	run(env);
	assert_int_equal(env->console.received + env->net.received, 0);
	expect_shown(env, "garbage=600 ");
	tmfifo_end_put(&env->end, TMFIFO_END_CONSOLE, "\0\1\2", 3);
	run(env);
	assert_int_equal(env->console.received, 3);
	assert_false(env->console.wrong);
}

static void test_tmfifo_unclaimed(void **state)
{
	struct env *env = *state;

	tmfifo_detach(&env->console.ch);
	tmfifo_end_put(&env->end, TMFIFO_END_CONSOLE, "\0\1\2", 3);
	run(env);
	expect_shown(env, "unclaimed=3 ");
	assert_int_equal(tmfifo_attach(env->fifo, &env->console.ch), 0);
	assert_int_equal(tmfifo_attach(env->fifo, &env->console.ch), -EBUSY);
	assert_int_equal(env->console.received, 0);
}

/* ---- turns */

#define NET_COST(len) (8 + ((len) + 7) / 8 * 8)

/* Both always have something to send: each gets its share, and waits for one turn of the other's.
 */
static void share(struct env *env, uint32_t frame)
{
	const struct tmfifo_channel_stats *console = &env->console_stats, *net = &env->net_stats;
	uint64_t bound = TMFIFO_TURN - 1 + NET_COST(frame);

	env->net.message = frame;
	while (env->bytes[TMFIFO_END_CONSOLE] < 1000000) {
		give(env, &env->net, 100 * frame);
		give(env, &env->console, 100000);
		settle(env);
		tmfifo_end_run(&env->end);
	}
	worker_call(env->worker, get_stats, env);
	assert_in_range(net->turn_max, TMFIFO_TURN, bound);
	/* Its messages end with the turn, up to a header and a word. */
	assert_in_range(console->turn_max, TMFIFO_TURN / 2, TMFIFO_TURN + 15);
	assert_in_range(console->wait_max, 1, bound);
	assert_true(net->turns && console->turns);
	/* Equal shares, up to the console's headers and what is under way. */
	assert_in_range(net->tx_messages * NET_COST(frame), console->tx_bytes * 9 / 10 - 2 * frame,
			console->tx_bytes * 11 / 10 + 2 * frame);
}

static void test_tmfifo_turns(void **state)
{
	share(*state, 1514);
}

static void test_tmfifo_turns_of_long_frames(void **state)
{
	share(*state, FRAME_MAX);
}

static void test_tmfifo_turns_of_short_frames(void **state)
{
	share(*state, 60);
}

/* A byte now and then comes through within a turn, however much the network has. */
static void test_tmfifo_echo_under_load(void **state)
{
	struct env *env = *state;

	for (unsigned int i = 1; i <= 1000; i++) {
		unsigned int rounds = 0;

		give(env, &env->net, 10 * 1514);
		give(env, &env->console, 1);
		while (env->bytes[TMFIFO_END_CONSOLE] < i) {
			settle(env);
			tmfifo_end_run(&env->end);
			/* What is in the FIFO, one turn of the network's, and itself. */
			assert_in_range(++rounds, 1, 4);
		}
	}
	worker_call(env->worker, get_stats, env);
	assert_in_range(env->console_stats.wait_max, 0, TMFIFO_TURN + NET_COST(1514));
	assert_false(env->wrong);
}

/* ---- life */

/* The rest of a message that is under way still goes, where there is room. */
static void test_tmfifo_close_amid_message(void **state)
{
	struct env *env = *state;

	env->net.message = 3000;
	give(env, &env->net, 3000);
	settle(env);
	assert_int_equal(in_fifo(env), TMFIFO_MODEL_ENTRIES);
	tmfifo_end_run(&env->end);
	tmfifo_detach(&env->net.ch);
	tmfifo_detach(&env->console.ch);
	tmfifo_close(env->fifo);
	tmfifo_end_run(&env->end);
	assert_int_equal(env->messages, 1);
	/* Another driver finds what was sent meanwhile. */
	tmfifo_end_put(&env->end, TMFIFO_END_CONSOLE, "\0\1\2", 3);
	tmfifo_end_run(&env->end);
	open_fifo(env, tmfifo_model_regs(env->model, TMFIFO_OURS, true, false));
	assert_int_equal(tmfifo_attach(env->fifo, &env->net.ch), 0);
	assert_int_equal(tmfifo_attach(env->fifo, &env->console.ch), 0);
	give(env, &env->net, 3000);
	run(env);
	assert_int_equal(env->messages, 2);
	assert_false(env->wrong);
}

/* A driver that was killed amid a message: the next one's are understood all the same. */
static void test_tmfifo_half_message_of_another(void **state)
{
	struct env *env = *state;
	const uint64_t hdr = 0x0000000000ee0501; /* 1518 bytes for the network */

	tmfifo_detach(&env->net.ch);
	tmfifo_detach(&env->console.ch);
	tmfifo_close(env->fifo);
	tmfifo_model_write(env->model, TMFIFO_OURS, VDPA_TMFIFO_TX, VDPA_TMFIFO_DATA,
			   hdr | 0x0cull << 56);
	open_fifo(env, tmfifo_model_regs(env->model, TMFIFO_OURS, true, false));
	assert_int_equal(tmfifo_attach(env->fifo, &env->net.ch), 0);
	assert_int_equal(tmfifo_attach(env->fifo, &env->console.ch), 0);
	give(env, &env->console, 3);
	run(env);
	assert_int_equal(env->bytes[TMFIFO_END_CONSOLE], 3);
	assert_int_equal(env->end.bad, 0);
}

/* Registers of hardware that is not there, or goes away. */
struct dead {
	struct vdpa_tmfifo_regs regs;
	uint64_t ctl, sts;
	bool freed;
};

static uint64_t dead_read(struct vdpa_tmfifo_regs *regs, enum vdpa_tmfifo_block block, uint32_t reg)
{
	struct dead *dead = container_of(regs, struct dead, regs);

	assert_int_not_equal(reg, VDPA_TMFIFO_DATA);
	return reg == VDPA_TMFIFO_CTL ? dead->ctl : dead->sts;
}

static void dead_write(struct vdpa_tmfifo_regs *regs, enum vdpa_tmfifo_block block, uint32_t reg,
		       uint64_t value)
{
	assert_int_not_equal(reg, VDPA_TMFIFO_DATA);
}

static void dead_free(struct vdpa_tmfifo_regs *regs)
{
	container_of(regs, struct dead, regs)->freed = true;
}

static void test_tmfifo_dead(void **state)
{
	static const struct vdpa_tmfifo_regs_ops ops = {
		.size = sizeof(ops), .read = dead_read, .write = dead_write, .free = dead_free};
	static const struct vdpa_tmfifo_regs_ops less = {.size = sizeof(less), .free = dead_free};
	struct env *env = *state;
	struct tmfifo_config config = {.frame_max = FRAME_MAX, .worker = "nobody"};
	struct dead dead = {.regs = {&ops, -1}, .ctl = UINT64_MAX, .sts = UINT64_MAX};
	struct vdpa_extack ack = {0}, why = {0};
	struct tmfifo *fifo;

	assert_int_equal(tmfifo_open(env->bus, &dead.regs, &config, &fifo, &ack), -ENODEV);
	assert_non_null(strstr(ack.msg, "no TmFIFO is there"));
	assert_true(dead.freed);
	dead.ctl = 0;
	assert_int_equal(tmfifo_open(env->bus, &dead.regs, &config, &fifo, &ack), -ENODEV);
	dead.regs.ops = &less;
	assert_int_equal(tmfifo_open(env->bus, &dead.regs, &config, &fifo, &ack), -EINVAL);
	dead.regs.ops = &ops;
	dead.regs.irq = 0;
	assert_int_equal(tmfifo_open(env->bus, &dead.regs, &config, &fifo, &ack), -EINVAL);
	dead.regs.irq = -1;
	dead.ctl = 256ull << VDPA_TMFIFO_CTL_ENTRIES_SHIFT;
	assert_int_equal(tmfifo_open(env->bus, &dead.regs, &config, &fifo, &why), -ENOENT);
	assert_string_equal(why.msg, "there is no worker 'nobody'");
	/* Counts that cannot be are not believed: neither read nor written. */
	config.worker = "w";
	config.poll_ms = 10;
	assert_int_equal(tmfifo_open(env->bus, &dead.regs, &config, &fifo, &ack), 0);
	tmfifo_detach(&env->net.ch);
	give(env, &env->net, 1514);
	assert_int_equal(tmfifo_attach(fifo, &env->net.ch), 0);
	tmfifo_wake(fifo);
	advance(env, 100);
	assert_int_equal(env->net.left, 1514);
	tmfifo_detach(&env->net.ch);
	tmfifo_close(fifo);
	give(env, &env->net, 0);
	assert_int_equal(tmfifo_attach(env->fifo, &env->net.ch), 0);
}

/* Without interrupts it looks from time to time. */
static void test_tmfifo_polled(void **state)
{
	struct env *env = *state;
	const struct tmfifo_config config = {
		.frame_max = FRAME_MAX, .poll_ms = 10, .silent_ms = 1, .cut_ms = 1, .worker = "w"};

	tmfifo_detach(&env->net.ch);
	tmfifo_detach(&env->console.ch);
	tmfifo_close(env->fifo);
	assert_int_equal(tmfifo_open(env->bus,
				     tmfifo_model_regs(env->model, TMFIFO_OURS, false, false),
				     &config, &env->fifo, NULL),
			 0);
	assert_int_equal(tmfifo_attach(env->fifo, &env->console.ch), 0);
	assert_int_equal(tmfifo_attach(env->fifo, &env->net.ch), 0);
	worker_call(env->worker, nothing, NULL);
	tmfifo_end_put(&env->end, TMFIFO_END_CONSOLE, "\0\1\2", 3);
	tmfifo_end_run(&env->end);
	for (unsigned int i = 0; i < 4; i++)
		worker_call(env->worker, nothing, NULL);
	assert_int_equal(env->console.received, 0);
	__atomic_store_n(&env->now, env->now + 11 * MS, __ATOMIC_RELAXED);
	for (unsigned int i = 0; i < 4; i++)
		worker_call(env->worker, nothing, NULL);
	assert_int_equal(env->console.received, 3);
}

#define TEST(name) cmocka_unit_test_setup_teardown(test_tmfifo_##name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(sends),
		TEST(receives),
		TEST(interrupt),
		TEST(full),
		TEST(small_room),
		TEST(silent),
		TEST(slow),
		TEST(cut),
		TEST(garbage),
		TEST(unclaimed),
		TEST(turns),
		TEST(turns_of_long_frames),
		TEST(turns_of_short_frames),
		TEST(echo_under_load),
		TEST(close_amid_message),
		TEST(half_message_of_another),
		TEST(dead),
		TEST(polled),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
