/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bus/priv.h"
#include "loop/worker.h"

/* The fields belong to the bus's worker_lock. */
struct vdpa_worker {
	char name[VDPA_NAME_MAX];
	struct vdpa_bus *bus;
	struct worker *thread;
	unsigned int queues;
	int cpu;
	TAILQ_ENTRY(vdpa_worker) entry;
};

void workers_free(struct vdpa_bus *bus)
{
	struct vdpa_worker *worker;

	while ((worker = TAILQ_FIRST(&bus->workers))) {
		TAILQ_REMOVE(&bus->workers, worker, entry);
		worker_free(worker->thread);
		free(worker);
	}
}

static struct vdpa_worker *find_locked(struct vdpa_bus *bus, const char *name)
{
	struct vdpa_worker *worker;

	TAILQ_FOREACH (worker, &bus->workers, entry)
		if (!strcmp(worker->name, name))
			return worker;
	return NULL;
}

static int add_locked(struct vdpa_bus *bus, const char *name, int cpu, uint32_t poll_us,
		      struct vdpa_extack *ack)
{
	struct vdpa_worker *worker;
	char thread[16];
	int err;

	if (find_locked(bus, name))
		return vdpa_extack_set(ack, -EEXIST, "there is a worker '%s' already", name);
	worker = calloc(1, sizeof(*worker));
	if (!worker)
		return -ENOMEM;
	snprintf(worker->name, sizeof(worker->name), "%s", name);
	snprintf(thread, sizeof(thread), "%.15s", name);
	worker->bus = bus;
	worker->cpu = cpu;
	err = worker_alloc(thread, cpu, poll_us, &worker->thread);
	if (err) {
		free(worker);
		if (err == -EINVAL)
			return vdpa_extack_set(ack, err, "no processor %d for worker '%s'", cpu,
					       name);
		return vdpa_extack_set(ack, err, "cannot start worker '%s': %s", name,
				       vdpa_extack_text(NULL, err));
	}
	TAILQ_INSERT_TAIL(&bus->workers, worker, entry);
	return 0;
}

VDPA_API int vdpa_worker_add(struct vdpa_bus *bus, const char *name, int cpu, uint32_t poll_us,
			     struct vdpa_extack *ack)
{
	int err;

	if (!bus_name_valid(name))
		return vdpa_extack_set(ack, -EINVAL, "'%.40s' is no name for a worker", name);
	pthread_mutex_lock(&bus->worker_lock);
	err = add_locked(bus, name, cpu, poll_us, ack);
	pthread_mutex_unlock(&bus->worker_lock);
	return err;
}

static int get_locked(struct vdpa_bus *bus, const char *name, struct vdpa_worker **ret,
		      struct vdpa_extack *ack)
{
	*ret = find_locked(bus, name);
	return *ret ? 0 : vdpa_extack_set(ack, -ENOENT, "no worker '%.40s'", name);
}

VDPA_API int vdpa_worker_del(struct vdpa_bus *bus, const char *name, struct vdpa_extack *ack)
{
	struct vdpa_worker *worker;
	int err;

	pthread_mutex_lock(&bus->worker_lock);
	err = get_locked(bus, name, &worker, ack);
	if (!err && worker->queues)
		err = vdpa_extack_set(ack, -EBUSY, "worker '%s' serves %u queues: move them first",
				      name, worker->queues);
	if (!err)
		TAILQ_REMOVE(&bus->workers, worker, entry);
	pthread_mutex_unlock(&bus->worker_lock);
	if (err)
		return err;
	worker_free(worker->thread);
	free(worker);
	return 0;
}

VDPA_API int vdpa_worker_set(struct vdpa_bus *bus, const char *name, int cpu, uint32_t poll_us,
			     struct vdpa_extack *ack)
{
	struct vdpa_worker *worker;
	int err;

	pthread_mutex_lock(&bus->worker_lock);
	err = get_locked(bus, name, &worker, ack);
	if (!err && cpu != INT_MIN) {
		err = worker_set_cpu(worker->thread, cpu);
		if (err)
			vdpa_extack_set(ack, err, "worker '%s' cannot run on processor %d", name,
					cpu);
	}
	if (!err && cpu != INT_MIN)
		worker->cpu = cpu;
	if (!err && poll_us != UINT32_MAX)
		worker_set_poll_us(worker->thread, poll_us);
	pthread_mutex_unlock(&bus->worker_lock);
	return err;
}

VDPA_API struct vdpa_worker *vdpa_worker_find(struct vdpa_bus *bus, const char *name)
{
	struct vdpa_worker *worker;

	pthread_mutex_lock(&bus->worker_lock);
	worker = find_locked(bus, name);
	pthread_mutex_unlock(&bus->worker_lock);
	return worker;
}

/* Only the control thread takes workers off the list, so it may walk it while others append. */
VDPA_API int vdpa_worker_each(struct vdpa_bus *bus,
			      int (*fn)(struct vdpa_worker *worker, void *arg), void *arg)
{
	struct vdpa_worker *worker, *next;
	int err = 0;

	pthread_mutex_lock(&bus->worker_lock);
	worker = TAILQ_FIRST(&bus->workers);
	pthread_mutex_unlock(&bus->worker_lock);
	while (worker && !err) {
		pthread_mutex_lock(&bus->worker_lock);
		next = TAILQ_NEXT(worker, entry);
		pthread_mutex_unlock(&bus->worker_lock);
		err = fn(worker, arg);
		worker = next;
	}
	return err;
}

VDPA_API void vdpa_worker_show(struct vdpa_worker *worker, struct vdpa_info *info)
{
	struct worker_stats stats;
	unsigned int queues;
	int cpu;

	pthread_mutex_lock(&worker->bus->worker_lock);
	queues = worker->queues;
	cpu = worker->cpu;
	pthread_mutex_unlock(&worker->bus->worker_lock);
	worker_get_stats(worker->thread, &stats);
	if (cpu >= 0)
		vdpa_info_u64(info, "cpu", (uint64_t)cpu);
	vdpa_info_u64(info, "poll_us", worker_poll_us(worker->thread));
	vdpa_info_u64(info, "queues", queues);
	vdpa_info_open(info, "stats");
	vdpa_info_u64(info, "busy_ns", stats.busy_ns);
	vdpa_info_u64(info, "idle_polls", stats.polls);
	vdpa_info_u64(info, "sleeps", stats.sleeps);
	vdpa_info_u64(info, "wakeups", stats.wakeups);
	vdpa_info_close(info);
}

VDPA_API const char *vdpa_worker_name(const struct vdpa_worker *worker)
{
	return worker->name;
}

struct worker *vdpa_worker_thread(struct vdpa_worker *worker)
{
	return worker->thread;
}

/* The first workers are called worker0, worker1, ... */
static void make_first_locked(struct vdpa_bus *bus)
{
	char name[VDPA_NAME_MAX];

	for (uint32_t i = 0; i < bus->first_workers; i++) {
		snprintf(name, sizeof(name), "worker%u", i);
		if (add_locked(bus, name, -1, bus->poll_us, NULL))
			break;
	}
}

VDPA_API struct vdpa_worker *vdpa_worker_pick(struct vdpa_bus *bus)
{
	struct vdpa_worker *worker, *best = NULL;

	pthread_mutex_lock(&bus->worker_lock);
	if (TAILQ_EMPTY(&bus->workers))
		make_first_locked(bus);
	TAILQ_FOREACH (worker, &bus->workers, entry)
		if (!best || worker->queues < best->queues)
			best = worker;
	if (best)
		best->queues++;
	pthread_mutex_unlock(&bus->worker_lock);
	return best;
}

struct vdpa_worker *vdpa_worker_pick_name(struct vdpa_bus *bus, const char *name)
{
	struct vdpa_worker *worker;

	pthread_mutex_lock(&bus->worker_lock);
	worker = find_locked(bus, name);
	if (worker)
		worker->queues++;
	pthread_mutex_unlock(&bus->worker_lock);
	return worker;
}

VDPA_API void vdpa_worker_pick_this(struct vdpa_worker *worker)
{
	pthread_mutex_lock(&worker->bus->worker_lock);
	worker->queues++;
	pthread_mutex_unlock(&worker->bus->worker_lock);
}

VDPA_API void vdpa_worker_unpick(struct vdpa_worker *worker)
{
	pthread_mutex_lock(&worker->bus->worker_lock);
	worker->queues--;
	pthread_mutex_unlock(&worker->bus->worker_lock);
}
