/* SPDX-License-Identifier: BSD-2-Clause */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/defs.h"
#include "command/rundir.h"
#include "daemon/rundir.h"

#define RUNDIR_LEN_MAX 90

extern char **environ;

/* ---- one at a time */

static int check_owner(const char *path, struct vdpa_extack *ack)
{
	struct stat st;

	if (stat(path, &st) || !S_ISDIR(st.st_mode))
		return vdpa_extack_set(ack, -ENOTDIR, "'%s' is no directory", path);
	if ((st.st_uid != geteuid() && st.st_uid != 0) || (st.st_mode & S_IWOTH))
		return vdpa_extack_set(ack, -EPERM, "'%s' must be ours, and not writable by others",
				       path);
	return 0;
}

static int take_lock(struct rundir *dir, const char *path, struct vdpa_extack *ack)
{
	char text[32] = "";
	struct stat ours, theirs;
	int len;

	dir->lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
	if (dir->lock < 0)
		return vdpa_extack_set(ack, -errno, "cannot open '%s': %s", path,
				       strerrordesc_np(errno));
	if (flock(dir->lock, LOCK_EX | LOCK_NB)) {
		if (read(dir->lock, text, sizeof(text) - 1) < 0)
			text[0] = '\0';
		text[strcspn(text, "\n")] = '\0';
		fd_closep(&dir->lock);
		return vdpa_extack_set(ack, -EBUSY, "another uvdpad (process %s) serves '%s'",
				       *text ? text : "unknown", dir->path);
	}
	/* Whoever had it may have removed it while we waited at the door. */
	if (fstat(dir->lock, &ours) || stat(path, &theirs) || ours.st_ino != theirs.st_ino) {
		fd_closep(&dir->lock);
		return -EAGAIN;
	}
	len = snprintf(text, sizeof(text), "%d\n", (int)getpid());
	if (ftruncate(dir->lock, 0) || pwrite(dir->lock, text, (size_t)len, 0) != len) {
		fd_closep(&dir->lock);
		return vdpa_extack_set(ack, -EIO, "cannot write '%s'", path);
	}
	return 0;
}

int rundir_open(struct rundir *dir, const char *path, struct vdpa_extack *ack)
{
	char lock[PATH_MAX];
	int err;

	dir->made = !mkdir(path, 0755);
	if (!dir->made && errno != EEXIST)
		return vdpa_extack_set(ack, -errno, "cannot make '%s': %s", path,
				       strerrordesc_np(errno));
	if (!realpath(path, dir->path))
		return vdpa_extack_set(ack, -errno, "'%s': %s", path, strerrordesc_np(errno));
	/* Sockets in it have to fit the 108 bytes of an address. */
	if (strlen(dir->path) > RUNDIR_LEN_MAX)
		return vdpa_extack_set(ack, -ENAMETOOLONG, "'%s' is too long for names of sockets",
				       dir->path);
	err = check_owner(dir->path, ack);
	if (err)
		return err;
	snprintf(lock, sizeof(lock), "%.4000s/lock", dir->path);
	do {
		err = take_lock(dir, lock, ack);
	} while (err == -EAGAIN);
	return err;
}

/* ---- what a dead daemon left */

/* Undoes the octal escapes of /proc/self/mountinfo, in place. */
static void unescape(char *text)
{
	char *out = text;

	for (; *text; text++) {
		if (text[0] == '\\' && text[1] && text[2] && text[3]) {
			*out++ = (char)((text[1] - '0') << 6 | (text[2] - '0') << 3 |
					(text[3] - '0'));
			text += 3;
		} else {
			*out++ = *text;
		}
	}
	*out = '\0';
}

static void detach(const char *path)
{
	char *argv[] = {"fusermount3", "-u", "-z", "-q", "--", (char *)path, NULL};
	pid_t pid;

	if (!umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW))
		return;
	/* Not root: the helper may do it for the one who mounted. */
	if (!posix_spawnp(&pid, argv[0], NULL, NULL, argv, environ))
		waitpid(pid, NULL, 0);
}

/* Detaches what is mounted under dev/, the last mounted first. */
static unsigned int clean_mounts(const struct rundir *dir)
{
	char *line vdpa_cleanup(freep) = NULL, **paths = NULL, prefix[PATH_MAX], *path;
	size_t room = 0, num = 0, len;
	FILE *file = fopen("/proc/self/mountinfo", "re");

	len = (size_t)snprintf(prefix, sizeof(prefix), "%.4000s/dev/", dir->path);
	while (file && getline(&line, &room, file) > 0) {
		char **more;

		/* @spec proc(5): the mount point is the fifth field. */
		if (sscanf(line, "%*s %*s %*s %*s %ms", &path) != 1)
			continue;
		unescape(path);
		more = strncmp(path, prefix, len) ? NULL
						  : realloc(paths, (num + 1) * sizeof(*paths));
		if (!more) {
			free(path);
			continue;
		}
		paths = more;
		paths[num++] = path;
	}
	if (file)
		fclose(file);
	for (size_t i = num; i-- > 0;) {
		detach(paths[i]);
		unlink(paths[i]);
		free(paths[i]);
	}
	free(paths);
	return (unsigned int)num;
}

/* What a device needs to go on after a crash. */
static bool kept(const char *name)
{
	return !strcmp(name, "state") || !strncmp(name, "inflight", strlen("inflight"));
}

/* Removes the files of one device and then, when it is empty, its folder. */
static unsigned int clean_device(int devs, const char *name, bool all)
{
	int fd = openat(devs, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	DIR *files = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *entry;
	unsigned int num = 0;

	if (!files) {
		if (fd >= 0)
			close(fd);
		return 0;
	}
	while ((entry = readdir(files))) {
		if ((all || !kept(entry->d_name)) && !unlinkat(fd, entry->d_name, 0))
			num++;
	}
	closedir(files);
	unlinkat(devs, name, AT_REMOVEDIR);
	return num;
}

unsigned int rundir_clean(const struct rundir *dir, bool all)
{
	const struct dirent *entry;
	unsigned int num;
	char path[PATH_MAX];
	DIR *devs;

	num = clean_mounts(dir);
	snprintf(path, sizeof(path), "%.4000s/dev", dir->path);
	devs = opendir(path);
	while (devs && (entry = readdir(devs))) {
		if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, ".."))
			num += clean_device(dirfd(devs), entry->d_name, all);
	}
	if (devs)
		closedir(devs);
	rmdir(path);
	snprintf(path, sizeof(path), "%.4000s/" CONTROL_SOCKET, dir->path);
	if (!unlink(path))
		num++;
	return num;
}

/* ---- the control socket */

int rundir_listen(const struct rundir *dir, mode_t mode, gid_t gid, struct vdpa_extack *ack)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int err;

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%.80s/" CONTROL_SOCKET, dir->path);
	/* Between bind and listen nobody can connect: by then mode and group are right. */
	if (fd >= 0 && !bind(fd, (struct sockaddr *)&addr, sizeof(addr)) &&
	    (gid == (gid_t)-1 || !chown(addr.sun_path, (uid_t)-1, gid)) &&
	    !chmod(addr.sun_path, mode) && !listen(fd, SOMAXCONN))
		return fd;
	err = -errno;
	if (fd >= 0)
		close(fd);
	return vdpa_extack_set(ack, err, "cannot listen on '%s': %s", addr.sun_path,
			       strerrordesc_np(-err));
}

void rundir_close(struct rundir *dir)
{
	char path[PATH_MAX];

	if (dir->lock < 0)
		return;
	rundir_clean(dir, true);
	snprintf(path, sizeof(path), "%.4000s/lock", dir->path);
	unlink(path);
	fd_closep(&dir->lock);
	if (dir->made)
		rmdir(dir->path);
}
