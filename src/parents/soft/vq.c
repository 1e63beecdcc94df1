/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A queue on its worker: the data path.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>

#include "base/sigbus.h"
#include "parents/soft/internal.h"

#define CACHE_LINE 64

#define NOMEM_PAUSE_NS 10000000
/* A driver that set no descriptor for kicks: pauses between two looks at an idle ring double. */
#define IDLE_MIN_NS    50000
#define IDLE_MAX_NS    2000000

/* Requests follow, each on its own cache lines. */
struct soft_slab {
	struct soft_slab *next;
	uint32_t num;
} __attribute__((aligned(CACHE_LINE)));

struct soft_watch {
	struct loop_watch watch;
	void (*fn)(void *arg);
	void *arg;
	struct soft_watch *next;
};

static struct vdpa_soft_vq *from_source(struct worker_source *src)
{
	return container_of(src, struct vdpa_soft_vq, src);
}

/* ---- requests */

static struct vdpa_soft_req *slab_req(struct soft_slab *slab, uint32_t stride, uint32_t i)
{
	return (void *)((char *)(slab + 1) + (size_t)stride * i);
}

static bool vq_grow(struct vdpa_soft_vq *vq)
{
	uint32_t num = vq->num < SOFT_SLAB ? vq->num : SOFT_SLAB, stride = vq->soft->req_stride;
	struct soft_slab *slab = aligned_alloc(CACHE_LINE, sizeof(*slab) + (size_t)num * stride);

	if (!slab)
		return false;
	memset(slab, 0, sizeof(*slab) + (size_t)num * stride);
	slab->num = num;
	slab->next = vq->slabs;
	vq->slabs = slab;
	for (uint32_t i = num; i--;) {
		struct vdpa_soft_req *req = slab_req(slab, stride, i);

		vdpa_vq_elem_init(&req->elem);
		req->vq = vq;
		req->next = vq->free;
		vq->free = req;
	}
	return true;
}

void soft_vq_release(struct vdpa_soft_vq *vq)
{
	struct soft_slab *slab;

	while ((slab = vq->slabs)) {
		vq->slabs = slab->next;
		for (uint32_t i = 0; i < slab->num; i++)
			vdpa_vq_elem_release(&slab_req(slab, vq->soft->req_stride, i)->elem);
		free(slab);
	}
	vq->free = NULL;
}

static inline void put_req(struct vdpa_soft_vq *vq, struct vdpa_soft_req *req)
{
	req->next = vq->free;
	vq->free = req;
}

/* ---- notifications to the driver */

/*
 * A peer that fills up an eventfd must not block the worker.  The flag is the peer's, too, so it
 * stays as it is.
 *
 * What remains: a peer that clears the flag or fills the counter between the check and the write
 * holds the worker until somebody reads the eventfd.  It has to be the front-end itself, since no
 * guest reaches either.  The kernel offers no write that closes the gap: RWF_NOWAIT is for reads of
 * an eventfd only, and one cannot be opened again for a flag of its own.  Completions of Linux AIO
 * and io_uring signal an eventfd without ever waiting, but twice as slowly (2.4 us for 1.1 us) or
 * with a ring for each queue, which every driver would pay for at each interrupt.
 */
static void signal_fd(int fd)
{
	static const uint64_t one = 1;
	struct pollfd pfd = {.fd = fd, .events = POLLOUT};

	if (fd < 0)
		return;
	if (!(fcntl(fd, F_GETFL) & O_NONBLOCK) && poll(&pfd, 1, 0) != 1)
		return;
	/* A full one has been signalled, and who closed it does not want to know. */
	if (write(fd, &one, sizeof(one)) < 0)
		return;
}

static void vq_publish_quietly(struct vdpa_soft_vq *vq)
{
	vq->dirty = false;
	vq->wants_call |= vdpa_vq_publish(vq->ring);
}

static void vq_publish(struct vdpa_soft_vq *vq)
{
	vq_publish_quietly(vq);
	if (!vq->wants_call)
		return;
	vq->wants_call = false;
	if (vq->call >= 0)
		signal_fd(vq->call);
	else
		vq->call_lost = true;
}

void soft_vq_call(struct vdpa_soft_vq *vq, int fd)
{
	vq->call = fd;
	if (fd >= 0 && vq->call_lost) {
		vq->call_lost = false;
		signal_fd(fd);
	}
}

void soft_vq_publish(struct vdpa_soft_vq *vq)
{
	if (vq->dirty)
		vq_publish(vq);
}

/* ---- the token */

static inline void token_take(struct vdpa_soft_vq *vq)
{
	if (vq->shared)
		pthread_mutex_lock(&vq->token);
}

static inline void token_put(struct vdpa_soft_vq *vq)
{
	if (vq->shared)
		pthread_mutex_unlock(&vq->token);
}

/* ---- what stops a queue */

static void vq_check_drained(struct vdpa_soft_vq *vq)
{
	if (vq->taken)
		return;
	if (vq->dirty)
		vq_publish(vq);
	pthread_mutex_lock(&vq->soft->lock);
	vq->drained = true;
	pthread_cond_broadcast(&vq->soft->cond);
	pthread_mutex_unlock(&vq->soft->lock);
}

void soft_vq_hold(struct vdpa_soft_vq *vq)
{
	vq->hold |= SOFT_HOLD_DRAIN;
	vq_check_drained(vq);
}

void soft_vq_cancel(struct vdpa_soft_vq *vq, bool drop)
{
	if (drop)
		vq->hold |= SOFT_HOLD_DROP;
	if (vq->taken && vq->cls->cancel)
		vq->cls->cancel(vq);
}

void soft_vq_resume(struct vdpa_soft_vq *vq)
{
	vq->hold &= ~SOFT_HOLD_DRAIN;
	worker_source_wake(&vq->src);
}

static void vq_break(struct vdpa_soft_vq *vq, const char *why)
{
	vq->hold |= SOFT_HOLD_BROKEN;
	soft_fault(vq->soft, vq->idx, why);
	signal_fd(vq->err);
}

/* The driver may make it good by another map, and then kicks. */
static void vq_park(struct vdpa_soft_vq *vq)
{
	struct vdpa_soft *soft = vq->soft;
	uint64_t iova;
	uint32_t perm;
	char text[96];

	vq->hold |= SOFT_HOLD_PARKED;
	if (vq->miss_told)
		return;
	vq->miss_told = true;
	signal_fd(vq->err);
	vdpa_vq_miss(vq->ring, &iova, &perm);
	snprintf(text, sizeof(text), "waits: iova 0x%" PRIx64 " is not mapped for %s", iova,
		 perm & VDPA_PERM_WRITE ? "writing" : "reading");
	soft_complain(soft, vq->idx, text);
}

static void vq_pause(struct vdpa_soft_vq *vq)
{
	/* The timer is its own worker's.  Another one comes back anyway. */
	if (!worker_current(vq->thread))
		return;
	vq->hold |= SOFT_HOLD_NOMEM;
	loop_timer_set(worker_loop(vq->thread), &vq->timer, NOMEM_PAUSE_NS);
}

static void vq_stuck(struct vdpa_soft_vq *vq, int err)
{
	if (err == -EFAULT)
		vq_park(vq);
	else if (err == -ENOMEM)
		vq_pause(vq);
	else
		vq_break(vq, vdpa_vq_broken(vq->ring));
}

/* Somebody's memory has vanished: ours? */
static void vq_check_map(struct vdpa_soft_vq *vq)
{
	const struct vdpa_iotlb_range *ranges;
	size_t num;

	vq->losses = sigbus_count();
	if (vq->hold & SOFT_HOLD_BROKEN)
		return;
	ranges = vdpa_iotlb_ranges(vq->map, &num);
	for (size_t i = 0; i < num; i++) {
		if (!vdpa_mem_lost(ranges[i].mem))
			continue;
		vq_break(vq, "the driver's memory has vanished");
		return;
	}
}

/* ---- the source */

/* An idle queue has no requests. */
static bool vq_supply(struct vdpa_soft_vq *vq)
{
	if (!vdpa_vq_pending(vq->ring) && !vdpa_vq_broken(vq->ring))
		return false;
	if (vq_grow(vq))
		return true;
	vq_pause(vq);
	return false;
}

/* The next request; NULL: none, or the queue takes nothing now. */
static inline struct vdpa_soft_req *vq_take(struct vdpa_soft_vq *vq)
{
	struct vdpa_soft_req *req = vq->free;
	int got;

	if (unlikely(vq->hold))
		return NULL;
	if (unlikely(!req)) {
		if (!vq_supply(vq))
			return NULL;
		req = vq->free;
	}
	got = vdpa_vq_pop(vq->ring, &req->elem);
	if (got <= 0) {
		if (unlikely(got < 0))
			vq_stuck(vq, got);
		return NULL;
	}
	vq->free = req->next;
	vq->taken++;
	return req;
}

/* Hand the class request after request.  Returns how many. */
static uint32_t vq_handle(struct vdpa_soft_vq *vq)
{
	uint64_t bytes = 0;
	uint32_t num = 0;

	while (num < SOFT_BATCH && bytes < SOFT_BATCH_BYTES) {
		struct vdpa_soft_req *req = vq_take(vq);

		if (!req)
			break;
		bytes += (uint64_t)req->elem.out_len + req->elem.in_len;
		vq->cls->handle(req);
		/* A driver that polls goes on with these while we do the rest. */
		if (!(++num % SOFT_PUBLISH) && vq->dirty)
			vq_publish_quietly(vq);
	}
	if (num && vq->cls->flush)
		vq->cls->flush(vq);
	return num;
}

/* One user's turn begins / ends. */
static inline void vq_turn(struct vdpa_soft_vq *vq)
{
	vq->polling = true;
	vq->short_of = false;
	vq->hold &= ~SOFT_HOLD_PARKED;
}

static inline bool vq_turn_end(struct vdpa_soft_vq *vq)
{
	vq->polling = false;
	if (unlikely(vq->losses != sigbus_count()))
		vq_check_map(vq);
	if (!vq->dirty && !vq->wants_call)
		return false;
	vq_publish(vq);
	return true;
}

static bool soft_vq_poll(struct worker_source *src)
{
	struct vdpa_soft_vq *vq = from_source(src);
	bool found;

	token_take(vq);
	vq_turn(vq);
	found = vq->cls->poll ? vq->cls->poll(vq) : vq_handle(vq);
	if (found) {
		vq->idle_ns = 0;
		vq->miss_told = false;
	}
	found |= vq_turn_end(vq);
	token_put(vq);
	return found;
}

static bool vq_arm(struct vdpa_soft_vq *vq)
{
	bool more;

	if (vq->no_kicks || vq->hold & (SOFT_HOLD_STOPPED | SOFT_HOLD_DRAIN | SOFT_HOLD_BROKEN))
		return vq->dirty;
	more = vq->short_of ? vdpa_vq_enable_kick_for_more(vq->ring)
			    : vdpa_vq_enable_kick(vq->ring);
	if (vq->hold)
		return vq->dirty;
	if (vq->polled && !more) {
		vq->idle_ns = vq->idle_ns ? 2 * vq->idle_ns : IDLE_MIN_NS;
		if (vq->idle_ns > IDLE_MAX_NS)
			vq->idle_ns = IDLE_MAX_NS;
		loop_timer_set(worker_loop(vq->thread), &vq->timer, vq->idle_ns);
	}
	return more || vq->dirty;
}

static bool soft_vq_arm(struct worker_source *src)
{
	struct vdpa_soft_vq *vq = from_source(src);
	bool more;

	token_take(vq);
	more = vq_arm(vq);
	token_put(vq);
	return more;
}

static void soft_vq_disarm(struct worker_source *src)
{
	struct vdpa_soft_vq *vq = from_source(src);

	token_take(vq);
	if (!vq->no_kicks)
		vdpa_vq_disable_kick(vq->ring);
	token_put(vq);
}

static void soft_vq_woken(struct worker_source *src)
{
	struct vdpa_soft_vq *vq = from_source(src);

	counter_add(&vdpa_vq_stats(vq->ring)->kicks, 1);
}

static void soft_vq_timer(struct loop_timer *timer)
{
	struct vdpa_soft_vq *vq = container_of(timer, struct vdpa_soft_vq, timer);

	token_take(vq);
	vq->hold &= ~SOFT_HOLD_NOMEM;
	token_put(vq);
	worker_source_wake(&vq->src);
}

const struct worker_source_ops soft_vq_source_ops = {
	.poll = soft_vq_poll,
	.arm = soft_vq_arm,
	.disarm = soft_vq_disarm,
	.woken = soft_vq_woken,
};

/* ---- begin and end */

static void vq_unwatch(struct vdpa_soft_vq *vq)
{
	struct soft_watch *watch;

	while ((watch = vq->watches)) {
		vq->watches = watch->next;
		loop_watch_del(&watch->watch);
		free(watch);
	}
}

static void vq_close(struct vdpa_soft_vq *vq)
{
	/* Before the class closes the descriptors. */
	vq_unwatch(vq);
	if (vq->cls->queue_stop)
		vq->cls->queue_stop(vq);
}

int soft_vq_begin(struct vdpa_soft_vq *vq, struct vdpa_extack *ack)
{
	int err = 0;

	/* Whom the class shows the queue to must wait until it is attached. */
	vq->taken = 0;
	vq->wants_call = vq->miss_told = vq->no_kicks = false;
	/* The first poll publishes: whoever used the in-flight log before us may owe a call. */
	vq->dirty = true;
	vq->idle_ns = 0;
	/* One more than now: the map is looked through once. */
	vq->losses = sigbus_count() - 1;
	vq->map = vq->soft->iotlb;
	vq->timer.fn = soft_vq_timer;
	if (vq->cls->queue_start)
		err = vq->cls->queue_start(vq, ack);
	if (err)
		goto stopped;
	/* It is polled once, for whatever came in before we could be kicked. */
	err = worker_attach_local(vq->thread, &vq->src);
	if (err) {
		vdpa_extack_set(ack, err, "cannot wait for kicks: %s", vdpa_extack_text(NULL, err));
		goto opened;
	}
	token_take(vq);
	vq->hold = 0;
	token_put(vq);
	return 0;

opened:
	vq_close(vq);
stopped:
	vq_unwatch(vq);
	return err;
}

void soft_vq_end(struct vdpa_soft_vq *vq)
{
	token_take(vq);
	vq->hold = SOFT_HOLD_STOPPED;
	token_put(vq);
	worker_detach_local(&vq->src);
	loop_timer_cancel(&vq->timer);
	vq_close(vq);
	vdpa_vq_stop(vq->ring, &vq->state);
}

/* ---- what classes call */

/* The request is the core's again. */
static inline void complete(struct vdpa_soft_vq *vq, struct vdpa_soft_req *req, uint32_t len)
{
	struct vdpa_vq_elem *elem;

	vq->taken--;
	if (unlikely(vq->hold & SOFT_HOLD_DROP)) {
		put_req(vq, req);
		return;
	}
	if (likely(vdpa_vq_complete(vq->ring, &req->elem, len)))
		put_req(vq, req);
	if (unlikely(vq->in_order)) {
		while ((elem = vdpa_vq_reap(vq->ring)))
			put_req(vq, container_of(elem, struct vdpa_soft_req, elem));
	}
}

/* Something has been completed: it is to be published soon. */
static inline void completed(struct vdpa_soft_vq *vq)
{
	if (!vq->dirty) {
		vq->dirty = true;
		if (!vq->polling)
			worker_source_wake(&vq->src);
	}
	if (unlikely(vq->hold & SOFT_HOLD_DRAIN))
		vq_check_drained(vq);
}

VDPA_API void vdpa_soft_complete(struct vdpa_soft_req *req, uint32_t len)
{
	struct vdpa_soft_vq *vq = req->vq;

	complete(vq, req, len);
	completed(vq);
}

static void complete_many(struct vdpa_soft_vq *vq, struct vdpa_soft_req *const *reqs,
			  const uint32_t *lens, uint32_t num)
{
	struct vdpa_vq_elem *elems[VDPA_SOFT_BURST];
	uint32_t left = num;

	/* The one that was taken first is the first again. */
	do {
		left--;
		elems[left] = &reqs[left]->elem;
		put_req(vq, reqs[left]);
	} while (left);
	vdpa_vq_complete_many(vq->ring, elems, lens, num);
	vq->taken -= num;
}

VDPA_API void vdpa_soft_complete_many(struct vdpa_soft_req *const *reqs, const uint32_t *lens,
				      uint32_t num)
{
	struct vdpa_soft_vq *vq = reqs[0]->vq;

	if (unlikely(vq->in_order || vq->hold & SOFT_HOLD_DROP)) {
		for (uint32_t i = 0; i < num; i++)
			complete(vq, reqs[i], lens[i]);
	} else {
		complete_many(vq, reqs, lens, num);
	}
	completed(vq);
}

VDPA_API void vdpa_soft_complete_error(struct vdpa_soft_req *req, uint32_t len)
{
	counter_add(&vdpa_vq_stats(req->vq->ring)->errors, 1);
	vdpa_soft_complete(req, len);
}

VDPA_API void vdpa_soft_broken(struct vdpa_soft_req *req, const char *why)
{
	struct vdpa_soft_vq *vq = req->vq;

	/* The ring never gets it back. */
	vq->taken--;
	put_req(vq, req);
	counter_add(&vdpa_vq_stats(vq->ring)->broken, 1);
	vq_break(vq, why);
	if (vq->hold & SOFT_HOLD_DRAIN)
		vq_check_drained(vq);
}

VDPA_API struct vdpa_soft_req *vdpa_soft_vq_take(struct vdpa_soft_vq *vq)
{
	return vq_take(vq);
}

/* Those that are taken in few steps; num is not 0. */
static uint32_t take_singles(struct vdpa_soft_vq *vq, struct vdpa_soft_req **reqs, uint32_t num)
{
	struct vdpa_vq_elem *elems[VDPA_SOFT_BURST];
	struct vdpa_soft_req *req = vq->free;
	uint32_t have = 0, got;

	if (!req)
		return 0;
	do {
		reqs[have] = req;
		elems[have++] = &req->elem;
		req = req->next;
	} while (req && have < num);
	got = vdpa_vq_pop_singles(vq->ring, elems, have);
	if (got) {
		vq->free = reqs[got - 1]->next;
		vq->taken += got;
	}
	return got;
}

VDPA_API uint32_t vdpa_soft_vq_take_many(struct vdpa_soft_vq *vq, struct vdpa_soft_req **reqs,
					 uint32_t num)
{
	uint32_t got;

	if (unlikely(vq->hold))
		return 0;
	got = take_singles(vq, reqs, num);
	while (got < num && (reqs[got] = vq_take(vq)))
		got++;
	return got;
}

VDPA_API bool vdpa_soft_vq_may_untake(const struct vdpa_soft_vq *vq)
{
	return !vq->inflight;
}

VDPA_API void vdpa_soft_vq_untake(struct vdpa_soft_req *req)
{
	struct vdpa_soft_vq *vq = req->vq;

	if (!vdpa_vq_unpop(vq->ring, &req->elem)) {
		vdpa_soft_complete(req, 0);
		return;
	}
	vq->taken--;
	vq->short_of = true;
	put_req(vq, req);
}

VDPA_API void vdpa_soft_vq_want_kicks(struct vdpa_soft_vq *vq, bool on)
{
	if (on != vq->no_kicks)
		return;
	vq->no_kicks = !on;
	if (!on)
		vdpa_vq_disable_kick(vq->ring);
	else
		/* It asks for them when it finds nothing more to do. */
		worker_source_wake(&vq->src);
}

VDPA_API void vdpa_soft_vq_wake(struct vdpa_soft_vq *vq)
{
	bool here;

	/* Between queue_start() and the worker's taking it over nobody can be woken. */
	pthread_mutex_lock(&vq->soft->lock);
	here = vq->attached && worker_current(vq->src.worker);
	if (vq->attached && !here)
		worker_source_wake(&vq->src);
	pthread_mutex_unlock(&vq->soft->lock);
	/* Here it takes the token, which comes before the lock; and nobody else can detach it. */
	if (here)
		worker_source_wake(&vq->src);
}

VDPA_API bool vdpa_soft_vq_enter(struct vdpa_soft_vq *vq)
{
	token_take(vq);
	if (unlikely(vq->hold & ~SOFT_HOLD_PARKED)) {
		token_put(vq);
		return false;
	}
	vq_turn(vq);
	return true;
}

VDPA_API void vdpa_soft_vq_leave(struct vdpa_soft_vq *vq)
{
	vq_turn_end(vq);
	token_put(vq);
}

VDPA_API void vdpa_soft_vq_dropped(struct vdpa_soft_vq *vq, uint32_t num)
{
	counter_add(&vdpa_vq_stats(vq->ring)->drops, num);
}

static void watch_ready(struct loop_watch *watch, uint32_t events)
{
	struct soft_watch *w = container_of(watch, struct soft_watch, watch);

	w->fn(w->arg);
}

VDPA_API int vdpa_soft_vq_watch(struct vdpa_soft_vq *vq, int fd, void (*fn)(void *arg), void *arg)
{
	struct soft_watch *watch = calloc(1, sizeof(*watch));
	int err;

	if (!watch)
		return -ENOMEM;
	watch->watch = LOOP_WATCH_INIT(watch_ready);
	watch->fn = fn;
	watch->arg = arg;
	err = loop_watch_add(worker_loop(vq->thread), &watch->watch, fd, EPOLLIN | EPOLLET);
	if (err) {
		free(watch);
		return err;
	}
	watch->next = vq->watches;
	vq->watches = watch;
	return 0;
}

VDPA_API struct vdpa_soft *vdpa_soft_vq_soft(const struct vdpa_soft_vq *vq)
{
	return vq->soft;
}

VDPA_API uint16_t vdpa_soft_vq_index(const struct vdpa_soft_vq *vq)
{
	return vq->idx;
}

VDPA_API void *vdpa_soft_vq_priv(struct vdpa_soft_vq *vq)
{
	return vq->priv;
}

VDPA_API void *vdpa_soft_req_priv(struct vdpa_soft_req *req)
{
	return (char *)req + SOFT_REQ_SIZE;
}
