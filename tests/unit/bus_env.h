/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A bus with fakes on it (fake_vdev.h), and a clock that the test moves.
 */
#ifndef UNIT_BUS_ENV_H
#define UNIT_BUS_ENV_H

#include "fake_vdev.h"

#define ENV_TIMEOUT_MS 10000

struct env {
	struct fake_world world;
	struct fake_mgmtdev mgmt;
	struct vdpa_bus *bus;
	uint64_t now;      /* nanoseconds */
	char events[4096]; /* "disk0:bind=one " */
	char log[4096];    /* "disk0: text\n" */
};

/* For cmocka: *state is a struct env, with drivers "one" and "two" and management device "fake". */
int env_setup(void **state);
int env_teardown(void **state);

/* Verbs, waited for. */
int env_add(struct env *env, const char *name, struct vdpa_result *res);
int env_bind(struct env *env, const char *name, const char *driver, uint32_t flags,
	     struct vdpa_result *res);
int env_unbind(struct env *env, const char *name, uint32_t flags, struct vdpa_result *res);
int env_del(struct env *env, const char *name, uint32_t flags, struct vdpa_result *res);

struct vdpa_attrs *env_attrs(const char *key, const char *value);
/* Let everything that is posted arrive: a verb that goes through the device's lane comes behind it.
 */
void env_settle(struct env *env, const char *name);
void env_pass_time(struct env *env, uint64_t ms);

/* Run fn(arg) on the device's lane, and wait for it. */
void env_on_lane(struct vdpa_device *vdev, void (*fn)(struct vdpa_device *vdev, void *arg),
		 void *arg);

#endif
