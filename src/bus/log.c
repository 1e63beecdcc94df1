/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdio.h>

#include "bus/priv.h"

/* A line is a line, whatever a peer has called itself. */
static void log_clean(char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text < ' ' || *text == 0x7f)
			*text = '?';
}

static void log_line(struct vdpa_bus *bus, const char *dev, enum vdpa_log_level level,
		     const char *fmt, va_list ap) __attribute__((format(printf, 4, 0)));

static void log_line(struct vdpa_bus *bus, const char *dev, enum vdpa_log_level level,
		     const char *fmt, va_list ap)
{
	char text[512];

	vsnprintf(text, sizeof(text), fmt, ap);
	log_clean(text);
	pthread_mutex_lock(&bus->log_lock);
	if (bus->log)
		bus->log(bus->log_arg, level, dev, text);
	pthread_mutex_unlock(&bus->log_lock);
}

VDPA_API void vdpa_log(struct vdpa_bus *bus, const struct vdpa_device *vdev,
		       enum vdpa_log_level level, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	log_line(bus, vdev ? vdev->name : NULL, level, fmt, ap);
	va_end(ap);
}

void node_log(struct bus_node *node, enum vdpa_log_level level, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	log_line(node->bus, node->name, level, fmt, ap);
	va_end(ap);
}
