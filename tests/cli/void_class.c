/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A device class for the tests of the tool, loaded by `uvdpad --load`: it moves no data, and says
 * what it was given.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <vdpa/soft.h>

extern const struct vdpa_soft_class vdpa_class;

struct void_priv {
	uint64_t size; /* also the config space */
	bool passed;   /* the file came as a descriptor */
	int64_t file_size;
	char text[64];
};

static const char *const modes[] = {"fast", "safe", NULL};

static const struct vdpa_attr_desc void_attrs[] = {
	{"file", VDPA_ATTR_PATH, 0, 0, 0, NULL, "a file to look at"},
	{"size", VDPA_ATTR_SIZE, VDPA_ATTR_LIVE, 512, 1ull << 40, NULL,
	 "what the config space says (1M)"},
	{"mode", VDPA_ATTR_ENUM, 0, 0, 0, modes, "means nothing (safe)"},
	{"text", VDPA_ATTR_STRING, 0, 0, 0, NULL, "shown as it is"},
	{"hang", VDPA_ATTR_STRING, 0, 0, 0, NULL, "a FIFO to wait for before the device is made"},
	{0},
};

static int look_at(struct void_priv *priv, struct vdpa_attrs *attrs, const char *path,
		   struct vdpa_extack *ack)
{
	int fd = vdpa_attrs_take_fd(attrs, "file");
	struct stat st;

	priv->passed = fd >= 0;
	if (fd < 0)
		fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st))
		return vdpa_extack_set(ack, -errno, "cannot open '%s': %s", path, strerror(errno));
	priv->file_size = st.st_size;
	close(fd);
	return 0;
}

static int void_create(struct vdpa_soft *soft, struct vdpa_attrs *attrs, struct vdpa_extack *ack)
{
	struct void_priv *priv = vdpa_soft_priv(soft);
	const char *hang = vdpa_attrs_str(attrs, "hang", NULL);
	const char *path = vdpa_attrs_str(attrs, "file", NULL);
	char byte;
	int fd;

	if (hang) {
		fd = open(hang, O_RDONLY | O_CLOEXEC);
		if (fd < 0 || read(fd, &byte, 1) < 0)
			return vdpa_extack_set(ack, -errno, "cannot wait for '%s'", hang);
		close(fd);
	}
	snprintf(priv->text, sizeof(priv->text), "%s", vdpa_attrs_str(attrs, "text", ""));
	priv->size = vdpa_attrs_u64(attrs, "size", 1 << 20);
	vdpa_soft_update_config(soft, 0, &priv->size, sizeof(priv->size));
	vdpa_soft_set_nvqs(soft, (uint16_t)vdpa_attrs_u64(attrs, "queues", 1));
	return path ? look_at(priv, attrs, path, ack) : 0;
}

static int void_set_attrs(struct vdpa_soft *soft, struct vdpa_attrs *attrs, struct vdpa_extack *ack)
{
	struct void_priv *priv = vdpa_soft_priv(soft);

	priv->size = vdpa_attrs_u64(attrs, "size", priv->size);
	vdpa_soft_update_config(soft, 0, &priv->size, sizeof(priv->size));
	return 0;
}

static void void_show(struct vdpa_soft *soft, struct vdpa_info *info)
{
	const struct void_priv *priv = vdpa_soft_priv(soft);

	vdpa_info_u64(info, "size", priv->size);
	vdpa_info_bool(info, "passed", priv->passed);
	vdpa_info_u64(info, "file_size", (uint64_t)priv->file_size);
	vdpa_info_str(info, "text", priv->text);
}

static void void_handle(struct vdpa_soft_req *req)
{
	vdpa_soft_complete(req, 0);
}

__attribute__((visibility("default"))) const struct vdpa_soft_class vdpa_class = {
	.size = sizeof(vdpa_class),
	.name = "void",
	.help = "takes everything, gives nothing",
	.device_id = 4,
	.nvqs = 1,
	.max_vqs = 4,
	.config_size = 8,
	.attrs = void_attrs,
	.priv_size = sizeof(struct void_priv),
	.create = void_create,
	.set_attrs = void_set_attrs,
	.show = void_show,
	.handle = void_handle,
};
