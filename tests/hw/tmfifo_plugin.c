/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * For `uvdpad --load`: management devices of the type `tmfifo-model`, whose registers are those of
 * a model that a tmfifo-board has.
 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "tmfifo_model.h"

extern const struct vdpa_mgmtdev_type vdpa_mgmtdev_type;

static const struct vdpa_attr_desc attrs_table[] = {
	{.name = "board",
	 .type = VDPA_ATTR_STRING,
	 .flags = VDPA_ATTR_REQUIRED,
	 .help = "socket of the tmfifo-board that has the hardware"},
	VDPA_TMFIFO_ATTRS,
	{0},
};

static int ask_board(const char *path, struct tmfifo_model **ret)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd, err;

	if (strlen(path) >= sizeof(addr.sun_path))
		return -ENAMETOOLONG;
	strcpy(addr.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	err = connect(fd, (struct sockaddr *)&addr, sizeof(addr)) ? -errno
								  : tmfifo_model_receive(fd, ret);
	close(fd);
	return err;
}

static int model_add(struct vdpa_bus *bus, const char *name, struct vdpa_attrs *attrs,
		     struct vdpa_mgmtdev **ret, struct vdpa_extack *ack)
{
	const char *path = vdpa_attrs_str(attrs, "board", "");
	struct tmfifo_model *model;
	struct vdpa_tmfifo_regs *regs;
	int err = ask_board(path, &model);

	if (err)
		return vdpa_extack_set(ack, err, "no board at '%s': %s", path,
				       strerrordesc_np(-err));
	regs = tmfifo_model_regs(model, TMFIFO_OURS, true, true);
	if (!regs) {
		tmfifo_model_free(model);
		return -ENOMEM;
	}
	return vdpa_tmfifo_make(bus, regs, attrs, ret, ack);
}

__attribute__((visibility("default"))) const struct vdpa_mgmtdev_type vdpa_mgmtdev_type = {
	.size = sizeof(vdpa_mgmtdev_type),
	.name = "tmfifo-model",
	.help = "TmFIFO in software, for tests",
	.attrs = attrs_table,
	.add = model_add,
};
