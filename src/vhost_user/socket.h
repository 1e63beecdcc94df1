/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Unix sockets by path, of any length.
 */
#ifndef VHOST_USER_SOCKET_H
#define VHOST_USER_SOCKET_H

#include <stdint.h>
#include <sys/types.h>

#include "vdpa/extack.h"

struct vu_socket_config {
	mode_t mode;
	uid_t uid; /* (uid_t)-1: ours */
	gid_t gid;
};

/*
 * Listen on a path.  A socket file that nobody listens on any more is replaced; anything else there
 * is left alone.  Nobody can connect before mode and owner are set. Returns a non-blocking
 * descriptor or -errno.
 */
int vu_socket_listen(const char *path, const struct vu_socket_config *cfg, struct vdpa_extack *ack);
/* Is this a listening Unix stream socket?  Makes it non-blocking.  0 or -EINVAL. */
int vu_socket_check(int fd, struct vdpa_extack *ack);
/* Returns a connected, non-blocking descriptor or -errno.  Does not wait. */
int vu_socket_connect(const char *path, struct vdpa_extack *ack);
/* "pid 12 uid 1000" of the one at the other end. */
void vu_socket_peer(int fd, char *buf, size_t len);

/* A user or group by name or number.  0, -EINVAL. */
int vu_parse_owner(const char *text, uid_t *ret, struct vdpa_extack *ack);
int vu_parse_group(const char *text, gid_t *ret, struct vdpa_extack *ack);

#endif
