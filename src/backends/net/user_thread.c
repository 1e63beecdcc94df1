/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * libslirp keeps its clock and the name server in globals, and each of its messages comes through
 * the one handler that glib has for it.  So one instance in the process runs at a time, under
 * slirp_lock, which only the threads here and lanes take.
 */
#include <errno.h>
#include <glib.h>
#include <libslirp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>

#include "backends/net/frames.h"
#include "backends/net/user_priv.h"
#include "base/defs.h"
#include "base/thread.h"
#include "vdpa/bus.h"

#define BATCH           256 /* frames of the guest's before sockets have their turn */
#define LOG_BURST       5
#define LOG_INTERVAL_NS UINT64_C(10000000000)
#define SOCKETS_MIN     64u
#define SOCKETS_MAX     1024u
#define BUSY_MS         500 /* libslirp asks to be called this often when it waits for time */

static pthread_mutex_t slirp_lock = PTHREAD_MUTEX_INITIALIZER;
/* Of slirp_lock: instances, and the handler that glib has while there are some. */
static unsigned int num_slirps;
static guint log_handler;
/* Whose libslirp this thread is in. */
static __thread struct user *inside;

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static void enter(struct user *user)
{
	pthread_mutex_lock(&slirp_lock);
	inside = user;
}

static void leave(void)
{
	inside = NULL;
	pthread_mutex_unlock(&slirp_lock);
}

/* ---- messages */

static void log_line(struct user *user, enum vdpa_log_level level, const char *text)
{
	uint32_t dropped = 0;

	if (!ratelimit_ok(&user->log_limit, now_ns(), &dropped))
		return;
	if (dropped)
		vdpa_log(user->bus, NULL, level, "%s: libslirp: %s (%u lines before are not shown)",
			 user->name, text, dropped);
	else
		vdpa_log(user->bus, NULL, level, "%s: libslirp: %s", user->name, text);
}

static void on_log(const gchar *domain, GLogLevelFlags level, const gchar *text, gpointer data)
{
	if (!inside)
		g_log_default_handler(domain, level, text, data);
	else if (level & (G_LOG_LEVEL_ERROR | G_LOG_LEVEL_CRITICAL | G_LOG_LEVEL_WARNING))
		log_line(inside, VDPA_LOG_WARN, text);
	else
		log_line(inside, VDPA_LOG_DEBUG, text);
}

static void on_guest_error(const char *text, void *opaque)
{
	log_line(opaque, VDPA_LOG_DEBUG, text);
}

/* ---- what libslirp calls */

static ssize_t on_send_packet(const void *frame, size_t len, void *opaque)
{
	struct user *user = opaque;
	void *room = NULL;

	pthread_mutex_lock(&user->lock);
	if (user->sink && len <= NET_FRAME_MAX)
		room = frames_room(user->to_guest, (uint32_t)len);
	if (room) {
		memcpy(room, frame, len);
		if (frames_put(user->to_guest))
			user->sink->ops->wake(user->sink);
	} else if (user->sink) {
		__atomic_fetch_add(&user->lost, 1, __ATOMIC_RELAXED);
	}
	pthread_mutex_unlock(&user->lock);
	/* A frame that was lost on the wire was sent nevertheless. */
	return (ssize_t)len;
}

static int64_t on_clock_get_ns(void *opaque)
{
	return (int64_t)now_ns();
}

static void *on_timer_new(SlirpTimerId id, void *cb_opaque, void *opaque)
{
	struct user *user = opaque;

	user->timer = (struct user_timer){.id = (int)id, .opaque = cb_opaque};
	return &user->timer;
}

static void on_timer_free(void *timer, void *opaque)
{
	((struct user_timer *)timer)->when = 0;
}

static void on_timer_mod(void *timer, int64_t when, void *opaque)
{
	((struct user_timer *)timer)->when = when;
}

/* Sockets that listen for hostfwd are never told; those that could not be made are as -1. */
static void count_sockets(struct user *user, int fd, unsigned int more)
{
	if (fd >= 0)
		__atomic_store_n(&user->sockets, user->sockets + more, __ATOMIC_RELAXED);
}

static void on_register_poll_fd(int fd, void *opaque)
{
	count_sockets(opaque, fd, 1);
}

static void on_unregister_poll_fd(int fd, void *opaque)
{
	count_sockets(opaque, fd, -1u);
}

/* Only while a frame is put in: the thread looks at all after that. */
static void on_notify(void *opaque)
{
}

static const SlirpCb callbacks = {
	.send_packet = on_send_packet,
	.guest_error = on_guest_error,
	.clock_get_ns = on_clock_get_ns,
	.timer_free = on_timer_free,
	.timer_mod = on_timer_mod,
	.register_poll_fd = on_register_poll_fd,
	.unregister_poll_fd = on_unregister_poll_fd,
	.notify = on_notify,
	.timer_new_opaque = on_timer_new,
};

/* ---- sockets */

static bool crowded(const struct user *user)
{
	return user->sockets >= user->sockets_max;
}

static bool listens(int fd)
{
	socklen_t len = sizeof(int);
	int yes = 0;

	return !getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &yes, &len) && yes;
}

static const struct {
	int slirp;
	short poll;
} events_map[] = {
	{SLIRP_POLL_IN, POLLIN},   {SLIRP_POLL_OUT, POLLOUT}, {SLIRP_POLL_PRI, POLLPRI},
	{SLIRP_POLL_ERR, POLLERR}, {SLIRP_POLL_HUP, POLLHUP},
};

static int on_add_poll(int fd, int events, void *opaque)
{
	struct user *user = opaque;
	short mask = 0;

	if (user->num_fds == user->cap_fds) {
		unsigned int cap = 2 * user->cap_fds;
		struct pollfd *fds = realloc(user->fds, cap * sizeof(*fds));

		if (!fds)
			return -1;
		user->fds = fds;
		user->cap_fds = cap;
	}
	for (size_t i = 0; i < ARRAY_SIZE(events_map); i++) {
		if (events & events_map[i].slirp)
			mask |= events_map[i].poll;
	}
	/* Clients wait in the kernel until others have gone. */
	if (crowded(user) && listens(fd))
		mask = 0;
	user->fds[user->num_fds] = (struct pollfd){.fd = fd, .events = mask};
	return (int)user->num_fds++;
}

static int on_get_revents(int idx, void *opaque)
{
	const struct user *user = opaque;
	int events = 0;

	/* -1: there was no memory to look at it. */
	if (idx <= 0)
		return 0;
	for (size_t i = 0; i < ARRAY_SIZE(events_map); i++) {
		if (user->fds[idx].revents & events_map[i].poll)
			events |= events_map[i].slirp;
	}
	return events;
}

/* ---- the thread */

static int timer_ms(const struct user *user)
{
	int64_t left = user->timer.when - (int64_t)(now_ns() / 1000000);

	if (!user->timer.when)
		return -1;
	if (left <= 0)
		return 0;
	return left < INT32_MAX ? (int)left : INT32_MAX;
}

/* How long to sleep, milliseconds; -1: until something happens. */
static int timeout_ms(const struct user *user, uint32_t asked)
{
	uint32_t len;
	int timer = timer_ms(user);

	if (frames_first(user->from_guest, &len))
		return 0;
	/* It asks for a second, too, when it waits for nothing. */
	if (asked > BUSY_MS)
		return timer;
	return timer >= 0 && timer < (int)asked ? timer : (int)asked;
}

static bool hold_back(struct user *user)
{
	bool held = frames_used(user->to_guest) > USER_HIGH;

	__atomic_store_n(&user->held, held, __ATOMIC_SEQ_CST);
	/* Room that came before the taker could see that it is asked to tell. */
	return held && frames_used(user->to_guest) > USER_HIGH;
}

/* Sleeps.  Returns whether sockets were looked at. */
static bool wait_for_work(struct user *user)
{
	uint32_t asked = UINT32_MAX;
	bool held;

	user->num_fds = 1;
	user->fds[0] = (struct pollfd){.fd = user->event, .events = POLLIN};
	enter(user);
	slirp_pollfds_fill(user->slirp, &asked, on_add_poll, user);
	leave();
	held = hold_back(user);
	if (poll(user->fds, held ? 1 : user->num_fds, timeout_ms(user, asked)) < 0)
		return false;
	if (user->fds[0].revents)
		eventfd_read(user->event, &(eventfd_t){0});
	return !held;
}

static void take_frames(struct user *user)
{
	const uint8_t *frame;
	uint64_t now = now_ns();
	uint32_t len;

	for (int i = 0; i < BATCH && (frame = frames_first(user->from_guest, &len)); i++) {
		if (user_guard_pass(&user->guard, frame, len, crowded(user), now))
			slirp_input(user->slirp, frame, (int)len);
		else
			counter_add(&user->refused, 1);
		frames_drop_first(user->from_guest);
	}
}

static void serve(struct user *user, bool looked)
{
	/* It reads the clock, which frames go by, and does what is due. */
	slirp_pollfds_poll(user->slirp, 1, on_get_revents, user);
	if (!timer_ms(user)) {
		user->timer.when = 0;
		slirp_handle_timer(user->slirp, (SlirpTimerId)user->timer.id, user->timer.opaque);
	}
	take_frames(user);
	/* Then sockets; and what has waited for an answer to ARP. */
	slirp_pollfds_poll(user->slirp, !looked, on_get_revents, user);
}

static void *run(void *arg)
{
	struct user *user = arg;

	while (!__atomic_load_n(&user->stop, __ATOMIC_ACQUIRE)) {
		bool looked = wait_for_work(user);

		enter(user);
		serve(user, looked);
		leave();
	}
	return NULL;
}

void user_wake(struct user *user)
{
	eventfd_write(user->event, 1);
}

/* ---- start and stop */

static Slirp *make_slirp(struct user *user)
{
	const struct user_config *c = &user->config;
	SlirpConfig cfg = {
		.version = 4,
		.restricted = c->restricted,
		.in_enabled = true,
		.vnetwork = c->net,
		.vnetmask = c->mask,
		.vhost = c->host,
		.in6_enabled = c->ipv6,
		.vprefix_len = 64,
		.vhostname = *c->hostname ? c->hostname : NULL,
		.vdhcp_start = c->dhcpstart,
		.vnameserver = c->dns,
	};

	inet_pton(AF_INET6, "fec0::", &cfg.vprefix_addr6);
	inet_pton(AF_INET6, "fec0::2", &cfg.vhost6);
	inet_pton(AF_INET6, "fec0::3", &cfg.vnameserver6);
	if (!num_slirps++)
		log_handler = g_log_set_handler(
			"Slirp", G_LOG_LEVEL_MASK | G_LOG_FLAG_FATAL | G_LOG_FLAG_RECURSION, on_log,
			NULL);
	return slirp_new(&cfg, &callbacks, user);
}

static void unmake_slirp(struct user *user)
{
	slirp_cleanup(user->slirp);
	user->slirp = NULL;
	if (!--num_slirps)
		g_log_remove_handler("Slirp", log_handler);
}

static int add_port(struct user *user, const struct hostfwd *fwd, struct vdpa_extack *ack)
{
	char text[HOSTFWD_TEXT];
	int err;

	if (!slirp_add_hostfwd(user->slirp, fwd->udp, fwd->host, fwd->host_port, fwd->guest,
			       fwd->guest_port))
		return 0;
	err = errno ? -errno : -EINVAL;
	hostfwd_format(fwd, text);
	if (err == -EACCES)
		return vdpa_extack_set(ack, err,
				       "hostfwd '%s': ports below 1024 of this host need "
				       "CAP_NET_BIND_SERVICE; take one from 1024",
				       text);
	return vdpa_extack_set(ack, err, "hostfwd '%s': cannot listen: %s", text, strerror(-err));
}

static int add_ports(struct user *user, struct vdpa_extack *ack)
{
	const struct hostfwd_list *list = &user->config.hostfwd;
	int err = 0;

	for (unsigned int i = 0; !err && i < list->num; i++)
		err = add_port(user, &list->list[i], ack);
	return err;
}

/* Enough for a desktop; not so many that this process has none left for others. */
static unsigned int sockets_max(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) || limit.rlim_cur / 8 > SOCKETS_MAX)
		return SOCKETS_MAX;
	return limit.rlim_cur / 8 < SOCKETS_MIN ? SOCKETS_MIN : (unsigned int)limit.rlim_cur / 8;
}

int user_start(struct user *user, struct vdpa_extack *ack)
{
	char name[32];
	int err;

	ratelimit_init(&user->log_limit, LOG_BURST, LOG_INTERVAL_NS);
	user->sockets_max = sockets_max();
	user->cap_fds = 16;
	user->fds = calloc(user->cap_fds, sizeof(*user->fds));
	if (!user->fds)
		return -ENOMEM;
	enter(user);
	user->slirp = make_slirp(user);
	err = add_ports(user, ack);
	leave();
	if (!err) {
		snprintf(name, sizeof(name), "slirp-%s", user->name);
		err = thread_start(&user->thread, name, run, user);
	}
	if (!err)
		return 0;
	enter(user);
	unmake_slirp(user);
	leave();
	return err;
}

void user_stop(struct user *user)
{
	if (!user->slirp)
		return;
	__atomic_store_n(&user->stop, true, __ATOMIC_RELEASE);
	user_wake(user);
	pthread_join(user->thread, NULL);
	enter(user);
	unmake_slirp(user);
	leave();
}
