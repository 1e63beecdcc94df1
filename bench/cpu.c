/* SPDX-License-Identifier: BSD-2-Clause */
#include "cpu.h"

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define ROUNDS 20000u

int cpu_pin(int cpu)
{
	cpu_set_t set;

	if (cpu < 0)
		return 0;
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	return sched_setaffinity(0, sizeof(set), &set) ? -errno : 0;
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

uint64_t cpu_ticks(void)
{
#ifdef __x86_64__
	return __builtin_ia32_rdtsc();
#else
	return now_ns();
#endif
}

double cpu_ticks_per_ns(void)
{
	uint64_t ns = now_ns(), ticks = cpu_ticks(), end = ns + 20000000;

	while (now_ns() < end)
		;
	return (double)(cpu_ticks() - ticks) / (double)(now_ns() - ns);
}

uint64_t cpu_time_of(pid_t pid)
{
	unsigned long long sum = 0, one;
	struct dirent *entry;
	char path[320];
	DIR *dir;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	dir = opendir(path);
	while (dir && (entry = readdir(dir))) {
		if (entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "/proc/%d/task/%s/schedstat", pid, entry->d_name);
		f = fopen(path, "re");
		if (f && fscanf(f, "%llu", &one) == 1)
			sum += one;
		if (f)
			fclose(f);
	}
	if (dir)
		closedir(dir);
	return sum;
}

struct probe {
	_Alignas(64) atomic_uint ball;
	_Alignas(64) atomic_bool stop;
	int cpu;
};

/* Nothing else shall run in between. */
static void raise_priority(int cpu)
{
	cpu_pin(cpu);
	pthread_setschedparam(pthread_self(), SCHED_FIFO,
			      &(struct sched_param){.sched_priority = 1});
}

static void *answer(void *arg)
{
	struct probe *p = arg;
	unsigned int seen = 0, ball;

	raise_priority(p->cpu);
	while (!atomic_load_explicit(&p->stop, memory_order_relaxed)) {
		ball = atomic_load_explicit(&p->ball, memory_order_acquire);
		if (ball == seen || !(ball & 1))
			continue;
		seen = ball + 1;
		atomic_store_explicit(&p->ball, seen, memory_order_release);
	}
	return NULL;
}

static double play(struct probe *p, unsigned int rounds)
{
	unsigned int ball = atomic_load(&p->ball);
	uint64_t start = now_ns();

	for (unsigned int i = 0; i < rounds; i++, ball += 2) {
		atomic_store_explicit(&p->ball, ball + 1, memory_order_release);
		/* A round that takes as long as this was disturbed, and so is the figure. */
		while (atomic_load_explicit(&p->ball, memory_order_acquire) != ball + 2)
			if (now_ns() - start > 1000000000)
				return 0;
	}
	return (double)(now_ns() - start) / rounds;
}

/* Begins on its own processor: on ours it might not get to run. */
static int start_answer(pthread_t *thread, struct probe *p)
{
	pthread_attr_t attr;
	cpu_set_t set;
	int err;

	CPU_ZERO(&set);
	CPU_SET(p->cpu, &set);
	pthread_attr_init(&attr);
	pthread_attr_setaffinity_np(&attr, sizeof(set), &set);
	err = pthread_create(thread, &attr, answer, p);
	pthread_attr_destroy(&attr);
	return err;
}

double cpu_round_trip(int here, int there)
{
	struct probe p = {.cpu = there};
	struct sched_param param;
	double ns = 0;
	pthread_t thread;
	int policy;

	if (here == there || pthread_getschedparam(pthread_self(), &policy, &param))
		return 0;
	if (start_answer(&thread, &p))
		return 0;
	raise_priority(here);
	if (play(&p, ROUNDS / 10))
		ns = play(&p, ROUNDS);
	atomic_store(&p.stop, true);
	pthread_join(thread, NULL);
	pthread_setschedparam(pthread_self(), policy, &param);
	return ns;
}
