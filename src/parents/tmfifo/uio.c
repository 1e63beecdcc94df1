/* SPDX-License-Identifier: BSD-2-Clause */
#include "parents/tmfifo/uio.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/defs.h"

#define BLOCKS    2
#define BLOCK_LEN (VDPA_TMFIFO_CTL + 8)

struct mapping {
	uint8_t *hva; /* NULL: none */
	uint64_t len; /* bytes, whole pages */
	uint64_t off; /* where the block begins in it */
};

struct uio {
	struct vdpa_tmfifo_regs regs;
	int fd;
	char *path;
	struct mapping maps[BLOCKS];
};

static struct uio *to_uio(struct vdpa_tmfifo_regs *regs)
{
	return container_of(regs, struct uio, regs);
}

/* ---- access */

static volatile uint64_t *at(struct vdpa_tmfifo_regs *regs, enum vdpa_tmfifo_block block,
			     uint32_t reg)
{
	const struct mapping *map = &to_uio(regs)->maps[block];

	return (volatile uint64_t *)(void *)(map->hva + map->off + reg);
}

/* In the order in which they are written here, also as far as the processor is concerned. */
static uint64_t uio_read(struct vdpa_tmfifo_regs *regs, enum vdpa_tmfifo_block block, uint32_t reg)
{
	return le64toh(__atomic_load_n(at(regs, block, reg), __ATOMIC_ACQUIRE));
}

static void uio_write(struct vdpa_tmfifo_regs *regs, enum vdpa_tmfifo_block block, uint32_t reg,
		      uint64_t value)
{
	__atomic_store_n(at(regs, block, reg), htole64(value), __ATOMIC_RELEASE);
}

/* How many there were does not matter.  Most drivers keep the interrupt off until they are told. */
static void uio_irq_ack(struct vdpa_tmfifo_regs *regs)
{
	int fd = to_uio(regs)->fd;
	uint32_t word;

	(void)!read(fd, &word, sizeof(word));
	word = 1;
	(void)!write(fd, &word, sizeof(word));
}

static void uio_show(struct vdpa_tmfifo_regs *regs, struct vdpa_info *info)
{
	vdpa_info_str(info, "uio", to_uio(regs)->path);
}

static void uio_free(struct vdpa_tmfifo_regs *regs)
{
	struct uio *uio = to_uio(regs);

	for (unsigned int i = 0; i < BLOCKS; i++) {
		if (uio->maps[i].hva)
			munmap(uio->maps[i].hva, uio->maps[i].len);
	}
	fd_closep(&uio->fd);
	free(uio->path);
	free(uio);
}

static const struct vdpa_tmfifo_regs_ops uio_ops = {
	.size = sizeof(uio_ops),
	.read = uio_read,
	.write = uio_write,
	.irq_ack = uio_irq_ack,
	.show = uio_show,
	.free = uio_free,
};

/* ---- set-up */

static int read_number(const char *sysfs, unsigned int map, const char *what, uint64_t *ret)
{
	char name[PATH_MAX];
	FILE *f;
	int num;

	if (snprintf(name, sizeof(name), "%s/maps/map%u/%s", sysfs, map, what) >= PATH_MAX)
		return -ENAMETOOLONG;
	f = fopen(name, "re");
	if (!f)
		return -errno;
	num = fscanf(f, "%" SCNi64, (int64_t *)ret);
	fclose(f);
	return num == 1 ? 0 : -EINVAL;
}

/* The kernel maps whole pages; older ones do not say where in the first one the block begins. */
static int map_block(struct uio *uio, const char *sysfs, unsigned int idx, struct vdpa_extack *ack)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), size, off = 0;
	struct mapping *map = &uio->maps[idx];
	void *hva;
	int err = read_number(sysfs, idx, "size", &size);

	if (err)
		return vdpa_extack_set(
			ack, err == -ENOENT ? -EINVAL : err,
			"'%s' has no mapping %u: a TmFIFO has two, for receiving and "
			"for sending",
			uio->path, idx);
	read_number(sysfs, idx, "offset", &off);
	if (off >= page || off % 8 || size < BLOCK_LEN || size > SIZE_MAX / 2)
		return vdpa_extack_set(ack, -EINVAL,
				       "mapping %u of '%s' has %" PRIu64 " bytes at %" PRIu64
				       ": a block of registers has %u, at a multiple of 8",
				       idx, uio->path, size, off, BLOCK_LEN);
	map->len = align_up(off + size, page);
	hva = mmap(NULL, map->len, PROT_READ | PROT_WRITE, MAP_SHARED, uio->fd,
		   (off_t)(idx * page));
	if (hva == MAP_FAILED)
		return vdpa_extack_set(ack, -errno, "cannot map the registers of '%s': %s",
				       uio->path, strerrordesc_np(errno));
	map->hva = hva;
	map->off = off;
	return 0;
}

/* Does it have an interrupt?  Who has none refuses to have it switched on. */
static void find_irq(struct uio *uio)
{
	int32_t on = 1;

	uio->regs.irq = write(uio->fd, &on, sizeof(on)) < 0 && errno == EIO ? -1 : uio->fd;
}

int tmfifo_uio_open_at(const char *sysfs, const char *path, int *fd, struct vdpa_tmfifo_regs **ret,
		       struct vdpa_extack *ack)
{
	int own vdpa_cleanup(fd_closep) = fd_take(fd);
	struct uio *uio = calloc(1, sizeof(*uio));
	int err = 0;

	if (!uio)
		return -ENOMEM;
	uio->regs.ops = &uio_ops;
	uio->fd = fd_take(&own);
	uio->path = strdup(path);
	if (!uio->path)
		err = -ENOMEM;
	/* Who passed the descriptor may read it, too, and take an interrupt from us. */
	fcntl(uio->fd, F_SETFL, fcntl(uio->fd, F_GETFL) | O_NONBLOCK);
	for (unsigned int i = 0; i < BLOCKS && !err; i++)
		err = map_block(uio, sysfs, i, ack);
	if (err) {
		uio_free(&uio->regs);
		return err;
	}
	find_irq(uio);
	*ret = &uio->regs;
	return 0;
}

int tmfifo_uio_open(const char *path, int *fd, struct vdpa_tmfifo_regs **ret,
		    struct vdpa_extack *ack)
{
	char sysfs[64], maps[80];
	struct stat st;

	if (fstat(*fd, &st) || !S_ISCHR(st.st_mode))
		st.st_rdev = 0;
	snprintf(sysfs, sizeof(sysfs), "/sys/dev/char/%u:%u", major(st.st_rdev), minor(st.st_rdev));
	snprintf(maps, sizeof(maps), "%s/maps", sysfs);
	if (!st.st_rdev || access(maps, F_OK)) {
		fd_closep(fd);
		return vdpa_extack_set(ack, -ENOTTY, "'%s' is no UIO device with mappings", path);
	}
	return tmfifo_uio_open_at(sysfs, path, fd, ret, ack);
}
