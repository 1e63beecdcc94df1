/* SPDX-License-Identifier: BSD-2-Clause */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/defs.h"
#include "daemon/log.h"

static const struct {
	const char *name;
	const char *journal; /* @spec sd-daemon(3) */
} levels[] = {
	[VDPA_LOG_ERROR] = {"error", "<3>"},
	[VDPA_LOG_WARN] = {"warning", "<4>"},
	[VDPA_LOG_INFO] = {"info", "<6>"},
	[VDPA_LOG_DEBUG] = {"debug", "<7>"},
};

void log_init(struct log *log, enum vdpa_log_level level)
{
	const char *stream = getenv("JOURNAL_STREAM");
	unsigned long long dev, ino;
	struct stat st;

	*log = (struct log){.fd = STDERR_FILENO, .level = level};
	log->journal = stream && sscanf(stream, "%llu:%llu", &dev, &ino) == 2 &&
		       !fstat(log->fd, &st) && st.st_dev == dev && st.st_ino == ino;
}

int log_parse_level(const char *name, enum vdpa_log_level *ret)
{
	for (size_t i = 0; i < ARRAY_SIZE(levels); i++) {
		if (!strcmp(levels[i].name, name)) {
			*ret = (enum vdpa_log_level)i;
			return 0;
		}
	}
	return -EINVAL;
}

void log_text(void *arg, enum vdpa_log_level level, const char *dev, const char *text)
{
	const struct log *log = arg;
	char line[1024];
	int len;

	if (level > log->level)
		return;
	if (log->journal)
		len = snprintf(line, sizeof(line) - 1, "%s%s%s%s", levels[level].journal,
			       dev ? dev : "", dev ? ": " : "", text);
	else
		len = snprintf(line, sizeof(line) - 1, "uvdpad: %s: %s%s%s", levels[level].name,
			       dev ? dev : "", dev ? ": " : "", text);
	if (len < 0)
		return;
	if ((size_t)len > sizeof(line) - 2)
		len = sizeof(line) - 2;
	/* A peer may have had a say in the text. */
	for (int i = 0; i < len; i++) {
		if ((unsigned char)line[i] < ' ' || line[i] == 0x7f)
			line[i] = '?';
	}
	line[len++] = '\n';
	(void)!write(log->fd, line, (size_t)len);
}

void log_line(struct log *log, enum vdpa_log_level level, const char *dev, const char *fmt, ...)
{
	char text[900];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	log_text(log, level, dev, text);
}
