/* SPDX-License-Identifier: BSD-2-Clause */
#include "vhost_user/socket.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "base/defs.h"

/* Another front-end may wait for the present one to leave; more need not. */
#define BACKLOG 4

/*
 * The address of a path.  A path too long for it is named by a descriptor of its folder, dir, which
 * must stay open as long as the address is used.
 */
static int path_addr(const char *path, struct sockaddr_un *addr, int *dir, struct vdpa_extack *ack)
{
	const char *base = strrchr(path, '/');
	char *folder vdpa_cleanup(freep) = NULL;
	int len;

	*addr = (struct sockaddr_un){.sun_family = AF_UNIX};
	if (strlen(path) < sizeof(addr->sun_path)) {
		strcpy(addr->sun_path, path);
		return 0;
	}
	base = base ? base + 1 : path;
	folder = base == path ? strdup(".") : strndup(path, (size_t)(base - path));
	if (!folder)
		return -ENOMEM;
	*dir = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (*dir < 0)
		return vdpa_extack_set(ack, -errno, "cannot open the folder of '%s': %s", path,
				       strerrordesc_np(errno));
	len = snprintf(addr->sun_path, sizeof(addr->sun_path), "/proc/self/fd/%d/%s", *dir, base);
	if (len < 0 || (size_t)len >= sizeof(addr->sun_path))
		return vdpa_extack_set(ack, -ENAMETOOLONG,
				       "the name of the socket '%s' is too long", base);
	return 0;
}

static int new_socket(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	return fd < 0 ? -errno : fd;
}

/* Is this what a program has left behind that was killed? */
static bool is_stale(const struct sockaddr_un *addr)
{
	int fd vdpa_cleanup(fd_closep) = -1;
	struct stat st;

	if (lstat(addr->sun_path, &st) || !S_ISSOCK(st.st_mode))
		return false;
	fd = new_socket();
	return fd >= 0 && connect(fd, (const void *)addr, sizeof(*addr)) && errno == ECONNREFUSED;
}

static int bind_path(int fd, const struct sockaddr_un *addr, const char *path,
		     struct vdpa_extack *ack)
{
	int err = bind(fd, (const void *)addr, sizeof(*addr)) ? -errno : 0;

	if (err == -EADDRINUSE && is_stale(addr)) {
		unlink(addr->sun_path);
		err = bind(fd, (const void *)addr, sizeof(*addr)) ? -errno : 0;
	}
	if (err == -EADDRINUSE)
		return vdpa_extack_set(ack, err,
				       "'%s' is in use: somebody listens there, or it is "
				       "no socket",
				       path);
	if (err)
		return vdpa_extack_set(ack, err, "cannot bind '%s': %s", path,
				       strerrordesc_np(-err));
	return 0;
}

static int set_rights(const struct sockaddr_un *addr, const char *path,
		      const struct vu_socket_config *cfg, struct vdpa_extack *ack)
{
	if (chmod(addr->sun_path, cfg->mode))
		return vdpa_extack_set(ack, -errno, "cannot set the mode of '%s': %s", path,
				       strerrordesc_np(errno));
	if ((cfg->uid != (uid_t)-1 || cfg->gid != (gid_t)-1) &&
	    lchown(addr->sun_path, cfg->uid, cfg->gid))
		return vdpa_extack_set(ack, -errno, "cannot give '%s' to another owner: %s", path,
				       strerrordesc_np(errno));
	return 0;
}

/* A socket for a path; addr and dir as path_addr() has them. */
static int socket_for(const char *path, struct sockaddr_un *addr, int *dir, struct vdpa_extack *ack)
{
	int err = path_addr(path, addr, dir, ack), fd;

	if (err)
		return err;
	fd = new_socket();
	return fd < 0 ? vdpa_extack_set(ack, fd, "cannot make a socket: %s", strerrordesc_np(-fd))
		      : fd;
}

int vu_socket_listen(const char *path, const struct vu_socket_config *cfg, struct vdpa_extack *ack)
{
	struct sockaddr_un addr;
	int dir vdpa_cleanup(fd_closep) = -1;
	int fd vdpa_cleanup(fd_closep) = socket_for(path, &addr, &dir, ack);
	int err;

	if (fd < 0)
		return fd;
	err = bind_path(fd, &addr, path, ack);
	if (err)
		return err;
	err = set_rights(&addr, path, cfg, ack);
	if (!err && listen(fd, BACKLOG))
		err = vdpa_extack_set(ack, -errno, "cannot listen on '%s': %s", path,
				      strerrordesc_np(errno));
	if (err) {
		unlink(addr.sun_path);
		return err;
	}
	return fd_take(&fd);
}

static int socket_option(int fd, int option)
{
	socklen_t len = sizeof(int);
	int value;

	return getsockopt(fd, SOL_SOCKET, option, &value, &len) ? -errno : value;
}

int vu_socket_check(int fd, struct vdpa_extack *ack)
{
	int flags = fcntl(fd, F_GETFL);

	if (socket_option(fd, SO_DOMAIN) != AF_UNIX || socket_option(fd, SO_TYPE) != SOCK_STREAM ||
	    socket_option(fd, SO_ACCEPTCONN) != 1)
		return vdpa_extack_set(ack, -EINVAL,
				       "the descriptor that came with 'socket' is not a "
				       "listening Unix stream socket");
	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK))
		return -errno;
	return 0;
}

int vu_socket_connect(const char *path, struct vdpa_extack *ack)
{
	struct sockaddr_un addr;
	int dir vdpa_cleanup(fd_closep) = -1;
	int fd vdpa_cleanup(fd_closep) = socket_for(path, &addr, &dir, ack);

	if (fd < 0)
		return fd;
	if (connect(fd, (const void *)&addr, sizeof(addr)))
		return vdpa_extack_set(ack, -errno, "cannot connect to '%s': %s", path,
				       strerrordesc_np(errno));
	return fd_take(&fd);
}

void vu_socket_peer(int fd, char *buf, size_t len)
{
	struct ucred cred = {.pid = -1};
	socklen_t cred_len = sizeof(cred);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &cred_len) || cred.pid <= 0)
		snprintf(buf, len, "unknown");
	else
		snprintf(buf, len, "pid %d uid %u", cred.pid, cred.uid);
}

/* A number for those without a name. */
static bool parse_id(const char *text, uint32_t *ret)
{
	unsigned long id;
	char *end;

	errno = 0;
	id = strtoul(text, &end, 10);
	if (errno || end == text || *end || text[0] == '-' || id >= UINT32_MAX)
		return false;
	*ret = (uint32_t)id;
	return true;
}

static bool find_user(const char *name, uint32_t *ret)
{
	struct passwd pw, *found = NULL;
	char buf[4096];

	if (getpwnam_r(name, &pw, buf, sizeof(buf), &found) || !found)
		return false;
	*ret = pw.pw_uid;
	return true;
}

static bool find_group(const char *name, uint32_t *ret)
{
	struct group gr, *found = NULL;
	char buf[4096];

	if (getgrnam_r(name, &gr, buf, sizeof(buf), &found) || !found)
		return false;
	*ret = gr.gr_gid;
	return true;
}

int vu_parse_owner(const char *text, uid_t *ret, struct vdpa_extack *ack)
{
	if (parse_id(text, ret) || find_user(text, ret))
		return 0;
	return vdpa_extack_set(ack, -EINVAL, "there is no user '%s'", text);
}

int vu_parse_group(const char *text, gid_t *ret, struct vdpa_extack *ack)
{
	if (parse_id(text, ret) || find_group(text, ret))
		return 0;
	return vdpa_extack_set(ack, -EINVAL, "there is no group '%s'", text);
}
