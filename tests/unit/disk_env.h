/* SPDX-License-Identifier: BSD-2-Clause */
/* A bus with a run directory, and a device `disk0` on it that the driver `virtio` makes files of.
 */
#ifndef UNIT_DISK_ENV_H
#define UNIT_DISK_ENV_H

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/defs.h"
#include "vdpa/soft.h"

struct env {
	struct vdpa_bus *bus;
	char dir[64];
	char path[128];
};

/* Of a group's tests; *state is the struct env. */
int env_setup(void **state);
/* Also: is nothing left of the device? */
int env_teardown(void **state);

/* KEY, VALUE, ... */
struct vdpa_attrs *env_attrs(const char *const *words);
#define ATTRS(...) env_attrs((const char *const[]){__VA_ARGS__, NULL})

void env_run(struct env *env, struct vdpa_result *res);
void env_add(struct env *env, const char *mgmtdev, struct vdpa_attrs *attrs);
/* What the verb says. */
int env_bind(struct env *env, const char *driver, struct vdpa_result *res);
int env_unbind(struct env *env, uint32_t flags, struct vdpa_result *res);
int env_set(struct env *env, struct vdpa_attrs *attrs);

/* A file of the device; the path is valid until the next call. */
const char *env_path(struct env *env, const char *file);
int env_open(struct env *env, const char *file, int flags);
int env_stat(struct env *env, const char *file, struct stat *st);
/* 0 while it is there, -1. */
int env_access(struct env *env, const char *file);

/* A file that can be written gets a hole, which reads as zeros. */
void env_punch_hole(struct env *env, const char *file);

#endif
