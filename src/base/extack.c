/* SPDX-License-Identifier: BSD-2-Clause */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/defs.h"
#include "vdpa/extack.h"

VDPA_API int vdpa_extack_set(struct vdpa_extack *ack, int err, const char *fmt, ...)
{
	va_list ap;

	if (ack && !ack->msg[0]) {
		va_start(ap, fmt);
		vsnprintf(ack->msg, sizeof(ack->msg), fmt, ap);
		va_end(ap);
	}
	return err;
}

VDPA_API int vdpa_extack_prefix(struct vdpa_extack *ack, int err, const char *fmt, ...)
{
	char text[VDPA_EXTACK_LEN];
	size_t len;
	va_list ap;

	if (!ack || !ack->msg[0])
		return err;

	memcpy(text, ack->msg, sizeof(text));
	va_start(ap, fmt);
	vsnprintf(ack->msg, sizeof(ack->msg), fmt, ap);
	va_end(ap);
	len = strlen(ack->msg);
	snprintf(ack->msg + len, sizeof(ack->msg) - len, ": %s", text);
	return err;
}

VDPA_API const char *vdpa_extack_text(const struct vdpa_extack *ack, int err)
{
	return ack && ack->msg[0] ? ack->msg : strerrordesc_np(abs(err));
}
