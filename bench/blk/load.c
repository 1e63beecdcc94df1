/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Puts load on a vhost-user disk, as a guest that does nothing else, and prints one line of JSON
 * with what came of it.  blk.py runs it against several back-ends in turn.
 */
#include <linux/virtio_blk.h>

#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/defs.h"
#include "cpu.h"
#include "guest.h"
#include "hist.h"

#define TIMEOUT_MS 10000

struct options {
	struct guest_config guest;
	bool write, sequential, sleeps, verify;
	double warmup, seconds;
	int cpu, back_end_cpu;
	pid_t back_end;
	uint64_t span; /* bytes of the disk that are used; 0: all */
};

struct load {
	struct options opt;
	struct guest guest;
	struct hist hist; /* ticks */
	uint64_t blocks, next, seed;
	uint64_t calls;     /* times that we slept and were called */
	uint64_t *versions; /* verify: of each block what was written last; 0: nothing */
	uint32_t num_slots;
	bool stopping;
	uint64_t outstanding;
	struct vdpa_extack ack;
};

static uint64_t random64(struct load *l)
{
	l->seed ^= l->seed << 13;
	l->seed ^= l->seed >> 7;
	l->seed ^= l->seed << 17;
	return l->seed;
}

static uint64_t next_block(struct load *l)
{
	if (l->opt.sequential)
		return l->next++ % l->blocks;
	/* As good as a remainder, and cheaper. */
	return (uint64_t)((unsigned __int128)random64(l) * l->blocks >> 64);
}

/* ---- verify: each request writes a block of its own, reads it back, and compares */

static uint64_t word(uint64_t block, uint64_t version, uint64_t i)
{
	return (block * 0x9e3779b97f4a7c15 + version) * 0xff51afd7ed558ccd + i;
}

static void fill(const struct load *l, struct guest_req *req)
{
	uint64_t *data = (void *)req->data;

	for (uint64_t i = 0; i < l->opt.guest.bytes / sizeof(*data); i++)
		data[i] = word(req->block, l->versions[req->block], i);
}

static int compare(struct load *l, const struct guest_req *req)
{
	const uint64_t *data = (const void *)req->data;

	for (uint64_t i = 0; i < l->opt.guest.bytes / sizeof(*data); i++)
		if (data[i] != word(req->block, l->versions[req->block], i))
			return vdpa_extack_set(&l->ack, -EIO,
					       "wrong data at byte %llu of block %llu",
					       (unsigned long long)(i * sizeof(*data)),
					       (unsigned long long)req->block);
	return 0;
}

/* A block that no other request uses. */
static uint64_t own_block(struct load *l, const struct guest_req *req)
{
	uint64_t slot = (uint64_t)(req - l->guest.reqs);
	uint64_t num = (l->blocks - slot + l->num_slots - 1) / l->num_slots;

	return slot + random64(l) % num * l->num_slots;
}

/* Steps: 0 choose a block that was written before, if it was, and read it; 1 write it anew; 2 read
 * that. */
static int verify_next(struct load *l, struct guest_req *req)
{
	int err = 0;

	if (req->sent && req->step != 2)
		err = compare(l, req);
	if (err)
		return err;
	switch (req->step) {
	case 0:
		req->block = own_block(l, req);
		req->step = 1;
		if (l->versions[req->block])
			return guest_submit(&l->guest, req, VIRTIO_BLK_T_IN,
					    req->block * l->opt.guest.bytes);
		/* fall through */
	case 1:
		l->versions[req->block]++;
		fill(l, req);
		req->step = 2;
		return guest_submit(&l->guest, req, VIRTIO_BLK_T_OUT,
				    req->block * l->opt.guest.bytes);
	default:
		memset(req->data, 0, l->opt.guest.bytes);
		req->step = 0;
		return guest_submit(&l->guest, req, VIRTIO_BLK_T_IN,
				    req->block * l->opt.guest.bytes);
	}
}

/* ---- load */

static int submit(struct load *l, struct guest_req *req, uint64_t now)
{
	int err;

	if (l->opt.verify)
		err = verify_next(l, req);
	else
		err = guest_submit(&l->guest, req,
				   l->opt.write ? VIRTIO_BLK_T_OUT : VIRTIO_BLK_T_IN,
				   next_block(l) * l->opt.guest.bytes);
	req->sent = now;
	l->outstanding += !err;
	return err;
}

/* Takes what a queue has done, and sends it again.  Returns how many, or -errno. */
static int turn(struct load *l, uint32_t queue)
{
	struct guest_queue *q = &l->guest.queues[queue];
	uint64_t now = 0;
	struct guest_req *req;
	uint32_t len;
	int num = 0, err;

	while ((req = vdpa_drvq_get(q->ring, &len))) {
		if (!num++)
			now = cpu_ticks();
		l->outstanding--;
		if (unlikely(*req->status))
			return vdpa_extack_set(&l->ack, -EIO, "a request ended with status %u",
					       *req->status);
		hist_add(&l->hist, now - req->sent, 1);
		if (l->stopping)
			continue;
		err = submit(l, req, now);
		if (unlikely(err))
			return err;
	}
	if (num)
		guest_publish(&l->guest, queue);
	else if (unlikely(vdpa_drvq_broken(q->ring)))
		return vdpa_extack_set(&l->ack, -EPROTO, "%s", vdpa_drvq_broken(q->ring));
	return num;
}

static int turns(struct load *l)
{
	int num = 0;

	for (uint32_t i = 0; i < l->opt.guest.queues; i++) {
		int ret = turn(l, i);

		if (ret < 0)
			return ret;
		num += ret;
	}
	return num;
}

static int wait_for_call(struct load *l)
{
	struct pollfd p = {.fd = l->guest.call, .events = POLLIN};
	uint64_t value;
	bool more = false;

	for (uint32_t i = 0; i < l->opt.guest.queues; i++)
		more |= vdpa_drvq_enable_call(l->guest.queues[i].ring);
	if (!more) {
		/* Some back-ends make the descriptor non-blocking, so a read alone does not wait.
		 */
		if (poll(&p, 1, TIMEOUT_MS) <= 0)
			return vdpa_extack_set(&l->ack, -ETIMEDOUT, "no call in %d ms", TIMEOUT_MS);
		if (read(l->guest.call, &value, sizeof(value)) < 0)
			return -errno;
		l->calls++;
	}
	for (uint32_t i = 0; i < l->opt.guest.queues; i++)
		vdpa_drvq_disable_call(l->guest.queues[i].ring);
	return 0;
}

/* Until a time; 0: until all requests have come back. */
static int run_until(struct load *l, uint64_t end)
{
	uint32_t idle = 0;

	l->stopping = !end;
	while (end ? cpu_ticks() < end : l->outstanding) {
		int num = turns(l);

		if (num < 0)
			return num;
		if (!num && l->opt.sleeps) {
			num = wait_for_call(l);
			if (num)
				return num;
		}
		/* A back-end that has died is noticed now and then. */
		if (num)
			idle = 0;
		else if (!(++idle & 0xffffff) && getpgid(l->opt.back_end ? l->opt.back_end : 0) < 0)
			return vdpa_extack_set(&l->ack, -ESRCH, "the back-end has ended");
	}
	return 0;
}

static int start(struct load *l)
{
	uint64_t now = cpu_ticks();

	for (uint32_t i = 0; i < l->num_slots; i++) {
		int err = submit(l, &l->guest.reqs[i], now);

		if (err)
			return err;
	}
	for (uint32_t i = 0; i < l->opt.guest.queues; i++) {
		vdpa_drvq_disable_call(l->guest.queues[i].ring);
		guest_publish(&l->guest, i);
	}
	return 0;
}

struct sample {
	double seconds, ticks_per_ns;
	uint64_t requests, kicks, calls, back_end_ns, client_ns;
	double round_trip[2];
};

static uint64_t kicks(const struct load *l)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < l->opt.guest.queues; i++)
		sum += l->guest.queues[i].kicks;
	return sum;
}

static int measure(struct load *l, struct sample *s)
{
	uint64_t begin, end;
	int err;

	err = start(l);
	if (!err)
		err = run_until(l, cpu_ticks() + (uint64_t)(l->opt.warmup * 1e9 * s->ticks_per_ns));
	if (err)
		return err;
	memset(&l->hist, 0, sizeof(l->hist));
	l->calls = 0;
	s->kicks = kicks(l);
	s->back_end_ns = cpu_time_of(l->opt.back_end);
	s->client_ns = cpu_time_of(getpid());
	begin = cpu_ticks();
	err = run_until(l, begin + (uint64_t)(l->opt.seconds * 1e9 * s->ticks_per_ns));
	if (err)
		return err;
	end = cpu_ticks();
	s->seconds = (double)(end - begin) / s->ticks_per_ns / 1e9;
	s->requests = l->hist.total;
	s->back_end_ns = cpu_time_of(l->opt.back_end) - s->back_end_ns;
	s->client_ns = cpu_time_of(getpid()) - s->client_ns;
	s->kicks = kicks(l) - s->kicks;
	s->calls = l->calls;
	return run_until(l, 0);
}

static void print(const struct load *l, const struct sample *s)
{
	double us = s->ticks_per_ns * 1000, num = s->requests ? (double)s->requests : 1;

	printf("{\"iops\": %.0f, \"bytes_per_s\": %.0f, \"p50_us\": %.3f, \"p99_us\": %.3f, "
	       "\"back_end_us\": %.3f, \"client_us\": %.3f, \"kicks\": %.3f, \"calls\": %.3f, "
	       "\"requests\": %llu, \"round_trip_ns\": [%.0f, %.0f]}\n",
	       (double)s->requests / s->seconds,
	       (double)s->requests * l->opt.guest.bytes / s->seconds,
	       (double)hist_quantile(&l->hist, 0.5) / us,
	       (double)hist_quantile(&l->hist, 0.99) / us, (double)s->back_end_ns / num / 1000,
	       (double)s->client_ns / num / 1000, (double)s->kicks / num, (double)s->calls / num,
	       (unsigned long long)s->requests, s->round_trip[0], s->round_trip[1]);
}

static int prepare(struct load *l)
{
	uint64_t span;
	int err;

	err = guest_open(&l->guest, &l->opt.guest, &l->ack);
	if (err)
		return err;
	l->num_slots = l->opt.guest.queues * l->opt.guest.depth;
	span = l->guest.capacity;
	if (l->opt.span && l->opt.span < span)
		span = l->opt.span;
	l->blocks = span / l->opt.guest.bytes;
	l->seed = 0x2545f4914f6cdd1d ^ (uint64_t)getpid() << 32;
	if (l->blocks < l->num_slots)
		return vdpa_extack_set(&l->ack, -ENOSPC, "%llu blocks for %u requests",
				       (unsigned long long)l->blocks, l->num_slots);
	if (!l->opt.verify)
		return 0;
	l->versions = calloc(l->blocks, sizeof(*l->versions));
	return l->versions ? 0 : -ENOMEM;
}

static int run(struct load *l)
{
	struct sample s = {.ticks_per_ns = cpu_ticks_per_ns()};
	int err = prepare(l), closed;

	if (err)
		return err;
	s.round_trip[0] = cpu_round_trip(l->opt.cpu, l->opt.back_end_cpu);
	cpu_pin(l->opt.cpu);
	err = measure(l, &s);
	if (err)
		return err;
	s.round_trip[1] = cpu_round_trip(l->opt.cpu, l->opt.back_end_cpu);
	closed = guest_close(&l->guest, &l->ack);
	free(l->versions);
	if (!closed)
		print(l, &s);
	return closed;
}

static void usage(FILE *f)
{
	fputs("usage: blk-load --socket PATH [OPTION]...\n"
	      "  --packed, --direct        packed ring; no indirect descriptors\n"
	      "  --queues N, --depth N     queues (1), requests on each (1)\n"
	      "  --bytes N, --span N       of a request (4096), of the disk that is used (all)\n"
	      "  --write, --sequential     instead of reading, of random places\n"
	      "  --verify                  write, read back, compare\n"
	      "  --sleep                   wait for calls instead of polling\n"
	      "  --warmup S, --seconds S   0.1 and 0.25\n"
	      "  --cpu N, --back-end-cpu N where the client runs (1), where the back-end does (0)\n"
	      "  --back-end PID            whose processor time is counted\n",
	      f);
}

static const struct option long_options[] = {
	{"socket", required_argument, NULL, 's'},
	{"packed", no_argument, NULL, 'p'},
	{"direct", no_argument, NULL, 'd'},
	{"queues", required_argument, NULL, 'q'},
	{"depth", required_argument, NULL, 'D'},
	{"bytes", required_argument, NULL, 'b'},
	{"span", required_argument, NULL, 'S'},
	{"write", no_argument, NULL, 'w'},
	{"sequential", no_argument, NULL, 'Q'},
	{"verify", no_argument, NULL, 'v'},
	{"sleep", no_argument, NULL, 'z'},
	{"warmup", required_argument, NULL, 'W'},
	{"seconds", required_argument, NULL, 't'},
	{"cpu", required_argument, NULL, 'c'},
	{"back-end-cpu", required_argument, NULL, 'C'},
	{"back-end", required_argument, NULL, 'P'},
	{0},
};

static void set_option(struct options *opt, int c)
{
	switch (c) {
	case 's':
		opt->guest.socket = optarg;
		break;
	case 'p':
		opt->guest.packed = true;
		break;
	case 'd':
		opt->guest.indirect = false;
		break;
	case 'q':
		opt->guest.queues = (uint32_t)atoi(optarg);
		break;
	case 'D':
		opt->guest.depth = (uint32_t)atoi(optarg);
		break;
	case 'b':
		opt->guest.bytes = (uint32_t)atoi(optarg);
		break;
	case 'S':
		opt->span = strtoull(optarg, NULL, 10);
		break;
	case 'w':
		opt->write = true;
		break;
	case 'Q':
		opt->sequential = true;
		break;
	case 'v':
		opt->verify = true;
		break;
	case 'z':
		opt->sleeps = true;
		break;
	case 'W':
		opt->warmup = atof(optarg);
		break;
	case 't':
		opt->seconds = atof(optarg);
		break;
	case 'c':
		opt->cpu = atoi(optarg);
		break;
	case 'C':
		opt->back_end_cpu = atoi(optarg);
		break;
	default:
		opt->back_end = (pid_t)atoi(optarg);
		break;
	}
}

int main(int argc, char **argv)
{
	static struct load l = {
		.opt = {.guest = {.indirect = true, .queues = 1, .depth = 1, .bytes = 4096},
			.warmup = 0.1,
			.seconds = 0.25,
			.cpu = 1}};
	int c, err;

	while ((c = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
		if (c == '?') {
			usage(stderr);
			return 2;
		}
		set_option(&l.opt, c);
	}
	if (optind != argc || !l.opt.guest.socket || l.opt.guest.queues < 1 ||
	    l.opt.guest.queues > GUEST_QUEUES_MAX || l.opt.guest.depth < 1 ||
	    l.opt.guest.depth > 4096 || l.opt.guest.bytes < 512 || l.opt.guest.bytes % 512 ||
	    l.opt.guest.bytes > 1u << 20) {
		usage(stderr);
		return 2;
	}
	err = run(&l);
	if (err)
		fprintf(stderr, "blk-load: %s\n", vdpa_extack_text(&l.ack, err));
	return err ? 1 : 0;
}
