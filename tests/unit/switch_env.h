/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A switch with a clock of the test's, and stations at its ports: each sends frames as a device
 * would, and keeps what it gets.
 */
#ifndef UNIT_SWITCH_ENV_H
#define UNIT_SWITCH_ENV_H

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "backends/net/switch.h"
#include "base/defs.h"

#define ENV_STATIONS 8
#define ENV_FRAME    128 /* bytes of a frame that are kept */
#define ENV_KEPT     256 /* frames that a queue keeps */
#define ENV_AGEING   300
#define ENV_SECOND   UINT64_C(1000000000)

struct got {
	struct net_hdr hdr;
	uint32_t len;
	uint8_t bytes[ENV_FRAME];
};

/* A receiving queue. */
struct ear {
	struct net_sink sink;
	struct net_queue *queue; /* NULL: not attached */
	pthread_mutex_t token;
	bool deaf;     /* begin() fails */
	uint32_t room; /* frames that it takes */
	uint32_t longest;
	uint32_t bursts, num, lost;
	struct got got[ENV_KEPT]; /* the first ones */
};

struct station {
	struct switch_env *env;
	struct net_backend *port;
	struct net_queue *tx;
	struct ear ears[NET_PAIRS_MAX];
	uint8_t mac[NET_MAC_LEN];
};

struct switch_env {
	struct net_switch_config config;
	struct net_switch *sw;
	uint64_t now; /* nanoseconds */
	struct station stations[ENV_STATIONS];
};

/* Nothing is open yet: for tests that change the config. */
void env_init(struct switch_env *env);
void env_start(struct switch_env *env);
void env_free(struct switch_env *env);
/* attrs: pairs of words, ends with NULL; all queues of the port run. */
struct station *env_plug(struct switch_env *env, unsigned int i, uint16_t pairs,
			 const char *const *attrs);
int env_try_plug(struct switch_env *env, unsigned int i, uint16_t pairs, const char *const *attrs,
		 struct vdpa_extack *ack);
void env_unplug(struct station *station);
/* A switch with so many stations of one queue and no attributes. */
void env_simple(struct switch_env *env, unsigned int num);

extern const uint8_t env_all[NET_MAC_LEN];
/* The address of station i. */
const uint8_t *env_mac(struct switch_env *env, unsigned int i);
/* A frame of 64 bytes with a number in its end, to be sent with the burst. */
void env_put(struct station *from, const uint8_t *dst, uint8_t number);
void env_put_bytes(struct station *from, const void *bytes, uint32_t len);
void env_flush(struct station *from);
/* One frame that is a burst. */
void env_send(struct station *from, const uint8_t *dst, uint8_t number);
/* The number of a frame that was got. */
uint8_t env_number(const struct got *got);
/* Forget what was got so far. */
void env_forget(struct switch_env *env);
/* Counters of the port as they are shown: "rx.drops.no_room"; 0 when it is not shown. */
uint64_t env_stat(struct station *station, const char *path);

/* Take the queue away, give it back. */
void ear_attach(struct station *station, uint16_t pair);
void ear_detach(struct ear *ear);

#endif
