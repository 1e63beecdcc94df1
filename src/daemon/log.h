/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The daemon's log: one line an event on stderr, with the level as the journal wants it where
 * stderr goes there.
 */
#ifndef DAEMON_LOG_H
#define DAEMON_LOG_H

#include <stdbool.h>

#include "vdpa/bus.h"

struct log {
	int fd;
	enum vdpa_log_level level; /* the last that is written */
	bool journal;
};

/* Where stderr goes is read from $JOURNAL_STREAM. */
void log_init(struct log *log, enum vdpa_log_level level);
/* "error", "warning", "info", "debug" or -EINVAL. */
int log_parse_level(const char *name, enum vdpa_log_level *ret);

/* ANY THREAD.  A vdpa_log_fn: arg is the struct log. */
void log_text(void *arg, enum vdpa_log_level level, const char *dev, const char *text);
/* ANY THREAD. */
void log_line(struct log *log, enum vdpa_log_level level, const char *dev, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

#endif
