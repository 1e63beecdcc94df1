/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the rings themselves cost: requests of the shape of a 4 KiB read (16 bytes out, 4 KiB and
 *one byte in) go from a driver to a device that only writes the last byte, and back.
 *
 *	micro_vq [SECONDS [one]]
 *
 * "one thread": both sides in turn, in batches; processor time, so other load matters little.
 * "two threads": each side polls on a processor of its own, 128 requests under way; what the cache
 * lines cost besides.  The round trip of one line is measured before and after each sample: a
 *figure means something only beside it, and on a machine that does nothing else.
 */
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/defs.h"
#include "vdpa/virtqueue.h"
#include "virtqueue/ring.h"

#define IOVA  0x100000000ull
#define NUM   256u
#define DEPTH 128u
#define BATCH 32u

struct bench {
	const char *name;
	uint64_t features;
};

struct rig {
	struct vdpa_mem *mem;
	struct vdpa_iotlb *iotlb;
	struct vdpa_drvq *drvq;
	struct vdpa_vq *vq;
	uint64_t bufs; /* offset */
	struct vdpa_vq_elem elems[BATCH];
	bool stop;
	uint64_t served;
};

static double read_clock(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (double)ts.tv_sec + 1e-9 * (double)ts.tv_nsec;
}

static bool rig_init(struct rig *rig, uint64_t features)
{
	struct vdpa_drvq_config dcfg = {NUM, features, NULL, IOVA, 3};
	struct vdpa_vq_config cfg = {.num = NUM, .features = features};
	struct vdpa_iotlb_range range;

	memset(rig, 0, sizeof(*rig));
	rig->bufs = vdpa_drvq_bytes(NUM, features, 3);
	if (vdpa_mem_alloc("bench", rig->bufs + DEPTH * 8192ull, &rig->mem, NULL))
		return false;
	range = (struct vdpa_iotlb_range){IOVA, vdpa_mem_len(rig->mem), vdpa_mem_hva(rig->mem),
					  rig->mem, VDPA_PERM_RW};
	dcfg.hva = vdpa_mem_hva(rig->mem);
	if (vdpa_iotlb_alloc(&range, 1, &rig->iotlb, NULL) ||
	    vdpa_drvq_alloc(&dcfg, &rig->drvq, NULL))
		return false;
	vdpa_drvq_areas(rig->drvq, &cfg.desc, &cfg.driver, &cfg.device);
	cfg.iotlb = rig->iotlb;
	cfg.state.packed = features & RING_F_PACKED;
	if (cfg.state.packed)
		cfg.state.packed_ring.last_avail_counter = cfg.state.packed_ring.last_used_counter =
			true;
	for (unsigned i = 0; i < BATCH; i++)
		vdpa_vq_elem_init(&rig->elems[i]);
	memset((uint8_t *)vdpa_mem_hva(rig->mem) + rig->bufs, 1, DEPTH * 8192ull);
	rig->vq = vdpa_vq_alloc();
	return rig->vq && !vdpa_vq_start(rig->vq, &cfg, NULL);
}

static void rig_free(struct rig *rig)
{
	vdpa_vq_free(rig->vq);
	vdpa_drvq_free(rig->drvq);
	vdpa_iotlb_put(rig->iotlb);
	vdpa_mem_put(rig->mem);
}

/* A request has a header of 16 bytes, a status byte in the same page, and a page of data. */
static bool offer(struct rig *rig, uint32_t which)
{
	uint64_t buf = IOVA + rig->bufs + which * 8192ull;
	const struct vdpa_drvq_sg sg[3] = {{buf, 16}, {buf + 4096, 4096}, {buf + 64, 1}};

	return !vdpa_drvq_add(rig->drvq, sg, 1, 2, (void *)(uintptr_t)(which + 1));
}

/* One burst of the device.  Returns how many were served. */
static uint32_t serve(struct rig *rig)
{
	uint32_t num = 0;

	while (num < BATCH && vdpa_vq_pop(rig->vq, &rig->elems[num]) == 1)
		num++;
	for (uint32_t i = 0; i < num; i++) {
		struct vdpa_vq_elem *elem = &rig->elems[i];
		uint64_t type;

		memcpy(&type, elem->iov[0].iov_base, 8);
		*(uint8_t *)elem->iov[2].iov_base = (uint8_t)(type ^ 1);
		vdpa_vq_complete(rig->vq, elem, 4097);
	}
	if (num)
		vdpa_vq_publish(rig->vq);
	while (vdpa_vq_reap(rig->vq))
		;
	return num;
}

/* ns a request, driver and device together */
static double one_thread(struct rig *rig, double seconds)
{
	double begin = read_clock(CLOCK_THREAD_CPUTIME_ID), end;
	uint64_t done = 0;
	uint32_t len;

	do {
		for (unsigned round = 0; round < 100; round++) {
			for (uint32_t i = 0; i < BATCH; i++)
				offer(rig, i);
			vdpa_drvq_publish(rig->drvq);
			done += serve(rig);
			while (vdpa_drvq_get(rig->drvq, &len))
				;
		}
		end = read_clock(CLOCK_THREAD_CPUTIME_ID);
	} while (end - begin < seconds);
	return 1e9 * (end - begin) / (double)done;
}

/* Must not be inherited: unpin before a thread is made. */
static void pin(unsigned cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	sched_setaffinity(0, sizeof(set), &set);
}

static void unpin(void)
{
	cpu_set_t set;

	memset(&set, 0xff, sizeof(set));
	sched_setaffinity(0, sizeof(set), &set);
}

static void *device_thread(void *arg)
{
	struct rig *rig = arg;
	uint64_t served = 0;

	pin(0);
	vdpa_vq_disable_kick(rig->vq);
	while (!__atomic_load_n(&rig->stop, __ATOMIC_RELAXED))
		served += serve(rig);
	rig->served = served;
	return NULL;
}

/* Million requests a second. */
static double two_threads(struct rig *rig, double seconds)
{
	pthread_t thread;
	uint64_t done = 0;
	double begin, end;
	uint32_t len;

	unpin();
	if (pthread_create(&thread, NULL, device_thread, rig))
		return 0;
	pin(1);
	vdpa_drvq_disable_call(rig->drvq);
	for (uint32_t i = 0; i < DEPTH; i++)
		offer(rig, i);
	vdpa_drvq_publish(rig->drvq);
	begin = read_clock(CLOCK_MONOTONIC);
	do {
		for (unsigned round = 0; round < 1000; round++) {
			uint32_t num = 0;
			void *cookie;

			while (num < BATCH && (cookie = vdpa_drvq_get(rig->drvq, &len))) {
				offer(rig, (uint32_t)(uintptr_t)cookie - 1);
				num++;
			}
			if (num)
				vdpa_drvq_publish(rig->drvq);
			done += num;
		}
		end = read_clock(CLOCK_MONOTONIC);
	} while (end - begin < seconds);
	__atomic_store_n(&rig->stop, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	if (vdpa_vq_broken(rig->vq) || vdpa_drvq_broken(rig->drvq))
		printf("broken: device sees '%s', driver sees '%s'\n", vdpa_vq_broken(rig->vq),
		       vdpa_drvq_broken(rig->drvq));
	return 1e-6 * (double)done / (end - begin);
}

/* ------------------------------------------------------------------ distance of the processors */

struct line {
	uint32_t ping __attribute__((aligned(64)));
	uint32_t pong __attribute__((aligned(64)));
};

enum { LINE_ROUNDS = 20000 };

static void *line_thread(void *arg)
{
	struct line *line = arg;

	pin(0);
	for (uint32_t i = 1; i <= LINE_ROUNDS; i++) {
		while (__atomic_load_n(&line->ping, __ATOMIC_ACQUIRE) != i)
			;
		__atomic_store_n(&line->pong, i, __ATOMIC_RELEASE);
	}
	return NULL;
}

/* ns for a cache line there and back */
static double line_round_trip(void)
{
	struct line line = {0};
	pthread_t thread;
	double begin;

	unpin();
	if (pthread_create(&thread, NULL, line_thread, &line))
		return 0;
	pin(1);
	__atomic_store_n(&line.ping, 1, __ATOMIC_RELEASE);
	while (__atomic_load_n(&line.pong, __ATOMIC_ACQUIRE) != 1)
		;
	begin = read_clock(CLOCK_MONOTONIC);
	for (uint32_t i = 2; i <= LINE_ROUNDS; i++) {
		__atomic_store_n(&line.ping, i, __ATOMIC_RELEASE);
		while (__atomic_load_n(&line.pong, __ATOMIC_ACQUIRE) != i)
			;
	}
	begin = read_clock(CLOCK_MONOTONIC) - begin;
	pthread_join(thread, NULL);
	return 1e9 * begin / (LINE_ROUNDS - 1);
}

int main(int argc, char **argv)
{
	static const struct bench benches[] = {
		{"split", 0},
		{"split, indirect", RING_F_INDIRECT_DESC},
		{"split, indirect, in order", RING_F_INDIRECT_DESC | RING_F_IN_ORDER},
		{"packed", RING_F_PACKED},
		{"packed, indirect", RING_F_PACKED | RING_F_INDIRECT_DESC},
		{"packed, indirect, in order",
		 RING_F_PACKED | RING_F_INDIRECT_DESC | RING_F_IN_ORDER},
	};
	double seconds = argc > 1 ? strtod(argv[1], NULL) : 0.25;

	printf("%-28s %12s %14s %24s\n", "ring", "one thread", "two threads", "line before, after");
	for (size_t i = 0; i < ARRAY_SIZE(benches); i++) {
		static struct rig rig;
		double one, two, before, after;

		if (!rig_init(&rig, benches[i].features))
			return 1;
		one = one_thread(&rig, seconds);
		if (argc > 2) {
			printf("%-28s %9.1f ns\n", benches[i].name, one);
			rig_free(&rig);
			continue;
		}
		before = line_round_trip();
		two = two_threads(&rig, seconds);
		after = line_round_trip();
		printf("%-28s %9.1f ns %12.2f M/s %12.0f, %6.0f ns\n", benches[i].name, one, two,
		       before, after);
		rig_free(&rig);
	}
	return 0;
}
