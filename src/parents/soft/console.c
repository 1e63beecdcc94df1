/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The console device: attributes, features, config space, and which queue is what.
 *
 * @spec virtio 1.3, 5.3
 */
#include "parents/soft/console.h"

#include <endian.h>
#include <errno.h>
#include <linux/virtio_ids.h>
#include <string.h>

#include "base/defs.h"

#define CONSOLE_COLS 80
#define CONSOLE_ROWS 24
/* A pair for each port, and one for messages. */
#define MAX_VQS      (2 * (CONSOLE_PORTS_MAX + 1))

#define CONSOLE_FEATURES                                                                           \
	(BIT_ULL(VIRTIO_CONSOLE_F_SIZE) | BIT_ULL(VIRTIO_CONSOLE_F_MULTIPORT) |                    \
	 BIT_ULL(VIRTIO_CONSOLE_F_EMERG_WRITE))

/* ---- features and config space */

static int console_features_ok(struct vdpa_soft *soft, uint64_t features, struct vdpa_extack *ack)
{
	struct console *con = vdpa_soft_priv(soft);

	con->features = features;
	return 0;
}

static void console_reset(struct vdpa_soft *soft)
{
	struct console *con = vdpa_soft_priv(soft);

	con->features = 0;
	console_ctrl_reset(con);
}

static const char *console_why_not(struct vdpa_soft *soft, unsigned int bit)
{
	return bit == VIRTIO_CONSOLE_F_MULTIPORT ? "it has one port: see attribute 'ports'" : NULL;
}

/* A character for when nothing else works, maybe before DRIVER_OK.  @spec virtio 1.3, 5.3.4 */
static int console_config_write(struct vdpa_soft *soft, uint32_t off, const void *buf, uint32_t len,
				struct vdpa_extack *ack)
{
	struct console *con = vdpa_soft_priv(soft);
	struct iovec iov = {(void *)buf, 1};

	if (off != offsetof(struct virtio_console_config, emerg_wr) || !len)
		return vdpa_extack_set(
			ack, -EINVAL, "only 'emerg_wr' of a console's config space is for writing");
	stream_force(con->ports[0].stream, &iov, 1, 0, 1);
	return 0;
}

/* ---- attributes */

static const struct vdpa_attr_desc console_attrs[] = {
	STREAM_ATTRS,
	{.name = "ports",
	 .type = VDPA_ATTR_UINT,
	 .min = 1,
	 .max = CONSOLE_PORTS_MAX,
	 .help = "number of ports; those behind the first have files and names with .1, .2 ... "
		 "(1)"},
	{.name = "names",
	 .type = VDPA_ATTR_STRING,
	 .help = "names of the ports, with commas between them, for /dev/virtio-ports (none)"},
	{.name = "cols",
	 .type = VDPA_ATTR_UINT,
	 .flags = VDPA_ATTR_LIVE,
	 .max = UINT16_MAX,
	 .help = "columns of the terminal (80)"},
	{.name = "rows",
	 .type = VDPA_ATTR_UINT,
	 .flags = VDPA_ATTR_LIVE,
	 .max = UINT16_MAX,
	 .help = "rows of the terminal (24)"},
	{0},
};

static int read_names(struct console *con, const char *names, struct vdpa_extack *ack)
{
	uint16_t i = 0;

	while (*names) {
		size_t len = strcspn(names, ",");

		if (i == con->num_ports)
			return vdpa_extack_set(ack, -EINVAL,
					       "'names' has more than %u, the number of ports",
					       con->num_ports);
		if (len >= CONSOLE_NAME_MAX)
			return vdpa_extack_set(ack, -EINVAL,
					       "the name of port %u is longer than %d bytes", i,
					       CONSOLE_NAME_MAX - 1);
		memcpy(con->ports[i++].name, names, len);
		names += len + (names[len] == ',');
	}
	return 0;
}

/* Names are told in messages, so that one port with a name has queues for those, too. */
static int choose_ports(struct console *con, const struct vdpa_attrs *attrs,
			struct vdpa_extack *ack)
{
	const char *names = vdpa_attrs_str(attrs, "names", "");
	int err;

	if (vdpa_attrs_has(attrs, "queues"))
		return vdpa_extack_set(ack, -EINVAL,
				       "'queues' of a console follow from 'ports': give that");
	con->num_ports = (uint16_t)vdpa_attrs_u64(attrs, "ports", 1);
	err = read_names(con, names, ack);
	if (con->num_ports > 1 || *names)
		vdpa_soft_set_nvqs(con->soft, (uint16_t)(2 * (con->num_ports + 1)));
	return err;
}

static void offer(struct console *con)
{
	uint64_t features = CONSOLE_FEATURES;
	const struct virtio_console_config cfg = {
		.cols = htole16(con->cols),
		.rows = htole16(con->rows),
		.max_nr_ports = htole32(con->num_ports),
	};

	if (vdpa_soft_nvqs(con->soft) == 2)
		features &= ~BIT_ULL(VIRTIO_CONSOLE_F_MULTIPORT);
	vdpa_soft_set_features(con->soft, features);
	vdpa_soft_update_config(con->soft, 0, &cfg, sizeof(cfg));
}

static void close_ports(struct console *con)
{
	for (uint16_t i = 0; i < con->num_ports; i++)
		console_port_close(&con->ports[i]);
	pthread_mutex_destroy(&con->lock);
}

static int console_create(struct vdpa_soft *soft, struct vdpa_attrs *attrs, struct vdpa_extack *ack)
{
	struct console *con = vdpa_soft_priv(soft);
	int err;

	con->soft = soft;
	con->cols = (uint16_t)vdpa_attrs_u64(attrs, "cols", CONSOLE_COLS);
	con->rows = (uint16_t)vdpa_attrs_u64(attrs, "rows", CONSOLE_ROWS);
	err = choose_ports(con, attrs, ack);
	if (err)
		return err;
	pthread_mutex_init(&con->lock, NULL);
	for (uint16_t i = 0; i < con->num_ports && !err; i++)
		err = console_port_open(con, i, attrs, ack);
	if (err) {
		close_ports(con);
		return err;
	}
	offer(con);
	stream_set_size(con->ports[0].stream, con->cols, con->rows);
	return 0;
}

static void console_destroy(struct vdpa_soft *soft)
{
	close_ports(vdpa_soft_priv(soft));
}

static int console_set_attrs(struct vdpa_soft *soft, struct vdpa_attrs *attrs,
			     struct vdpa_extack *ack)
{
	struct console *con = vdpa_soft_priv(soft);
	uint16_t cols = (uint16_t)vdpa_attrs_u64(attrs, "cols", con->cols);
	uint16_t rows = (uint16_t)vdpa_attrs_u64(attrs, "rows", con->rows);
	int err = 0;

	for (uint16_t i = 0; i < con->num_ports && !err; i++)
		err = stream_set_attrs(con->ports[i].stream, attrs, ack);
	if (!err && (cols != con->cols || rows != con->rows))
		console_set_size(con, cols, rows);
	return err;
}

/* ---- queues */

/* A pair for port 0, one for messages, then one for each other port.  @spec virtio 1.3, 5.3.2 */
static enum console_role role_of(struct console *con, uint16_t idx, struct console_port **port)
{
	uint16_t pair = idx / 2;

	*port = NULL;
	if (pair == 1 && console_multiport(con))
		return idx % 2 ? CONSOLE_CTRL_TX : CONSOLE_CTRL_RX;
	if (pair && !console_multiport(con))
		return CONSOLE_NOTHING;
	*port = &con->ports[pair ? pair - 1 : 0];
	return idx % 2 ? CONSOLE_TX : CONSOLE_RX;
}

/* A queue that messages and streams may wake, and where; NULL: none. */
static void enlist(struct console *con, const struct console_vq *cvq, struct console_vq *place)
{
	pthread_mutex_lock(&con->lock);
	if (cvq->role == CONSOLE_RX)
		cvq->port->rx = place;
	else if (cvq->role == CONSOLE_TX)
		cvq->port->tx = place;
	else if (cvq->role == CONSOLE_CTRL_RX)
		con->ctrl_rx = place;
	pthread_mutex_unlock(&con->lock);
}

static void on_wake(struct loop_call *call)
{
	vdpa_soft_vq_wake(container_of(call, struct console_vq, wake)->vq);
}

static int console_queue_start(struct vdpa_soft_vq *vq, struct vdpa_extack *ack)
{
	struct console *con = vdpa_soft_priv(vdpa_soft_vq_soft(vq));
	struct console_vq *cvq = vdpa_soft_vq_priv(vq);
	enum console_role role = role_of(con, vdpa_soft_vq_index(vq), &cvq->port);

	__atomic_store_n(&cvq->role, role, __ATOMIC_RELAXED);
	cvq->held = NULL;
	cvq->done = 0;
	cvq->vq = vq;
	cvq->loop = worker_loop(soft_vq_worker(vq));
	cvq->wake.fn = on_wake;
	enlist(con, cvq, cvq);
	return 0;
}

static void console_queue_stop(struct vdpa_soft_vq *vq)
{
	struct console_vq *cvq = vdpa_soft_vq_priv(vq);

	enlist(vdpa_soft_priv(vdpa_soft_vq_soft(vq)), cvq, NULL);
	loop_call_cancel(cvq->loop, &cvq->wake);
}

static bool console_poll(struct vdpa_soft_vq *vq)
{
	struct console_vq *cvq = vdpa_soft_vq_priv(vq);

	switch (cvq->role) {
	case CONSOLE_RX:
		return console_rx_poll(vq, cvq);
	case CONSOLE_TX:
		return console_tx_poll(vq, cvq);
	case CONSOLE_CTRL_RX:
		return console_ctrl_rx_poll(vq);
	case CONSOLE_CTRL_TX:
		return console_ctrl_tx_poll(vq);
	case CONSOLE_NOTHING:
		break;
	}
	return false;
}

/* Only output is ever held. */
static void console_cancel(struct vdpa_soft_vq *vq)
{
	console_tx_cancel(vq, vdpa_soft_vq_priv(vq));
}

static void console_vq_stats(struct vdpa_soft_vq *vq, struct vdpa_info *info)
{
	static const char *const names[] = {
		[CONSOLE_RX] = "rx",           [CONSOLE_TX] = "tx",
		[CONSOLE_CTRL_RX] = "ctrl_rx", [CONSOLE_CTRL_TX] = "ctrl_tx",
		[CONSOLE_NOTHING] = "none",
	};
	const struct console_vq *cvq = vdpa_soft_vq_priv(vq);

	vdpa_info_str(info, "role", names[__atomic_load_n(&cvq->role, __ATOMIC_RELAXED)]);
}

/* ---- show */

static void show_port(struct console_port *port, struct vdpa_info *info)
{
	struct console *con = port->con;
	bool guest_open;

	pthread_mutex_lock(&con->lock);
	guest_open = port->guest_open;
	pthread_mutex_unlock(&con->lock);
	vdpa_info_open(info, NULL);
	if (port->name[0])
		vdpa_info_str(info, "name", port->name);
	vdpa_info_bool(info, "guest_open", guest_open);
	stream_show(port->stream, info);
	vdpa_info_close(info);
}

static void console_show(struct vdpa_soft *soft, struct vdpa_info *info)
{
	struct console *con = vdpa_soft_priv(soft);

	vdpa_info_open_list(info, "ports");
	for (uint16_t i = 0; i < con->num_ports; i++)
		show_port(&con->ports[i], info);
	vdpa_info_close(info);
}

const struct vdpa_soft_class soft_console_class = {
	.size = sizeof(soft_console_class),
	.name = "console",
	.help = "console and ports on a pseudo-terminal, a socket, a file or the standard streams",
	.device_id = VIRTIO_ID_CONSOLE,
	.nvqs = 2,
	.max_vqs = MAX_VQS,
	.config_size = sizeof(struct virtio_console_config),
	.features = CONSOLE_FEATURES,
	.attrs = console_attrs,
	.priv_size = sizeof(struct console),
	.vq_priv_size = sizeof(struct console_vq),
	.flags = VDPA_SOFT_F_PAIRS | VDPA_SOFT_F_WAITS,
	.create = console_create,
	.destroy = console_destroy,
	.set_attrs = console_set_attrs,
	.config_write = console_config_write,
	.features_ok = console_features_ok,
	.reset = console_reset,
	.queue_start = console_queue_start,
	.queue_stop = console_queue_stop,
	.poll = console_poll,
	.cancel = console_cancel,
	.vq_stats = console_vq_stats,
	.show = console_show,
	.why_not = console_why_not,
	.save = console_save,
	.load = console_load,
};
