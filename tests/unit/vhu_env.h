/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A device that is served over vhost-user, and a front-end that uses it: for tests of the driver.
 * The bus has a thread of its own for control, so that the test's thread can wait for answers.
 *
 * The device answers each request (8 bytes out) with its bitwise complement (8 bytes in), or keeps
 * requests back while `hold` is set, to have some in flight.  Of class "toy" it is a disk by its
 * number, of class "toynet" a network device that notes the commands it gets.
 */
#ifndef UNIT_VHU_ENV_H
#define UNIT_VHU_ENV_H

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/defs.h"
#include "bus_thread.h"
#include "vdpa/soft.h"
#include "vhost_user/frontend.h"

#define ENV_QUEUES  4
#define ENV_NUM     64 /* entries of a ring */
#define ENV_CONFIG  24 /* bytes of config space; the first 8 may be written */
#define ENV_MEM     0x100000ull
#define ENV_GPA     0x40000000ull
#define ENV_UADDR   0x7f0000000000ull /* what the front-end says are its own addresses */
#define ENV_RING    0x10000ull        /* bytes for each ring */
#define ENV_DATA    0x80000ull        /* offset of the requests' data */
#define ENV_SLOT    64ull
#define ENV_WAIT_MS 20000
#define ENV_KEPT    (256u << 10)

/* All protocol features that a test may want. */
#define ENV_PROTOCOL (~0ull)

struct env {
	struct vdpa_bus *bus;
	char run_dir[64];
	char socket[128];
	struct bus_thread control;
	pthread_mutex_t lock; /* for the log and the events */
	char log[16384];      /* lines of level warning and error */
	char events[4096];
	int changed;         /* eventfd: a line or an event came */
	atomic_uint handled; /* requests that reached the device */
	atomic_bool hold;
	int wakes[ENV_QUEUES]; /* for env_release() */
	/* The class's own state: saved and loaded, lost on a reset.  Under the lock. */
	uint8_t kept[ENV_KEPT];
	uint32_t kept_len;
	/* Of "toynet", under the lock. */
	uint32_t cmd; /* the last command */
	uint8_t cmd_in[16];
	uint32_t cmd_len;
	unsigned int cmds; /* how many came */
	int cmd_err;       /* what they return */
};

struct env_ring {
	struct vdpa_drvq *q;
	int kick, call, err;
	uint64_t offset; /* in memory */
	uint64_t next;   /* value of the next request */
};

/* The front-end: memory and rings of its guest. */
struct env_guest {
	struct env *env;
	struct vu_frontend fe;
	uint64_t features;
	int memfd;
	uint8_t *mem;
	struct env_ring rings[ENV_QUEUES];
	struct vdpa_extack ack;
};

/* attrs: KEY, VALUE, ..., NULL for `dev bind`; NULL: none. */
void env_open(struct env *env, const char *const *bind_attrs);
/* With a device of another class, with these attributes of `dev add`. */
void env_open_class(struct env *env, const char *class_name, const char *const *add_attrs,
		    const char *const *bind_attrs);
void env_close(struct env *env);
/* The same for a test whose state is the env. */
int env_setup(void **state);
int env_teardown(void **state);
/* Start and end the control thread; verbs are called between. */
void env_start(struct env *env);
void env_stop(struct env *env);
/* Control thread stopped.  The text goes to ack. */
int env_bind(struct env *env, struct vdpa_attrs *attrs, struct vdpa_extack *ack);
int env_unbind(struct env *env, uint32_t flags, struct vdpa_extack *ack);
/* `dev show`, as "key=value " each. */
void env_show(struct env *env, char *buf, size_t len);
/* The device changes its config space, bytes from 8 on. */
void env_set_config(struct env *env, uint64_t value);
/* Complete what was held. */
void env_release(struct env *env);

/* Wait until the log / the events hold a text; fails the test after a while. */
void env_wait_log(struct env *env, const char *text);
void env_wait_event(struct env *env, const char *text);
bool env_logged(struct env *env, const char *text);
void env_forget(struct env *env);
void env_wait_fd(int fd);

/* Connect and negotiate; features: virtio, VERSION_1 is added. */
void env_connect(struct env *env, struct env_guest *g, uint64_t features, uint64_t protocol);
/* Only connect, with memory. */
void env_connect_raw(struct env *env, struct env_guest *g);
void env_disconnect(struct env_guest *g);
/* Fails the test with the text and the log if err is not 0. */
void env_ok(struct env_guest *g, int err);
void env_set_features(struct env_guest *g, uint64_t features);
uint32_t env_get_base(struct env_guest *g, uint32_t idx);
void env_send_memory(struct env_guest *g);
/* Make a ring in memory; it is sent by env_start_ring(). */
void env_make_ring(struct env_guest *g, uint32_t idx);
void env_ring_setup(struct env_guest *g, uint32_t idx, struct vu_frontend_ring *ring);
/* The messages for a ring that is in memory, at the place of ring idx; without making it. */
void env_ring_at(const struct env_guest *g, uint32_t idx, struct vu_frontend_ring *ring);
void env_start_ring(struct env_guest *g, uint32_t idx);
/* memory, SET_FEATURES, all rings */
void env_start_rings(struct env_guest *g, uint32_t num);

/* Offer n requests on a ring. */
void env_offer(struct env_guest *g, uint32_t idx, unsigned int n);
/* Wait until n have come back, and check them. */
void env_collect(struct env_guest *g, uint32_t idx, unsigned int n);
/* Is the ring idle although it has n requests?  (A message has been answered since they were
 * offered.) */
void env_roundtrip(struct env_guest *g, uint32_t idx, unsigned int n);
int env_eventfd(void);
/* How many descriptors this process has. */
unsigned int env_open_fds(void);

#endif
