/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What devices, drivers and classes say of themselves (struct vdpa_info), as JSON.
 */
#ifndef DAEMON_JSON_INFO_H
#define DAEMON_JSON_INFO_H

#include <stdbool.h>
#include <jansson.h>

#include "vdpa/info.h"

#define JSON_INFO_DEPTH 16

struct json_info {
	struct vdpa_info info;
	json_t *stack[JSON_INFO_DEPTH]; /* borrowed but for the first */
	unsigned int depth;             /* of what is open; deeper than the stack is dropped */
	bool failed;                    /* out of memory, or deeper than the stack */
};

/* 0 or -ENOMEM. */
int json_info_init(struct json_info *info);
/* The object, now the caller's; NULL when something did not fit. */
json_t *json_info_take(struct json_info *info);
void json_info_clear(struct json_info *info);

/* Any bytes to a JSON string: what is not UTF-8 becomes \xNN. */
json_t *json_text(const char *text);

#endif
