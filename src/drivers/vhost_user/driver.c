/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The bus driver `vhost-user`: serves a device to one front-end at a time, on a Unix socket.
 *
 * Who does what.  The control thread accepts (or connects) and watches the connection; all watches
 * are one-shot. When the connection is readable it puts a job on the device's lane, which reads
 * messages and handles them until there are none, then arms the watch again.  So messages never run
 * beside another op of the device, and the control thread never waits for a front-end.
 *
 * Teardown.  A struct vhu is counted: one reference is the binding's, one the control side's (the
 * watches, the timer, the posted call), one for each job on its way to the lane.
 *
 * - A session ends on the lane, by vhu_session_end(): no ring runs afterwards, the device is reset,
 * and nothing of the front-end's memory is mapped for it.  The connection is only shut down there,
 * since its watch belongs to the control thread; `over` asks that to delete the watch and close the
 * descriptor, in this order, before it accepts the next.  A job that comes before that sees
 * `over` and does nothing.
 * - remove() runs on the lane as well, so no job runs beside it.  It ends the session, then sets
 * `dead` and posts the call under the lock.  A job that comes later sees `dead` and only drops its
 * reference.  The control thread looks at `dead` under the lock: whatever connection it made before
 * is shut down by remove(), and after that it makes none.  In the posted call it takes back a
 * second posting (which, being made under the lock together with `dead`, has happened by then),
 * deletes watches and timer, closes the descriptors, and drops its reference: nothing can call it
 * any more.
 * - The reference on the device keeps it from being freed before the last of these.
 */
#include <errno.h>
#include <limits.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "base/defs.h"
#include "bus/bus.h"
#include "drivers/vhost_user/session.h"
#include "vhost_user/socket.h"
#include "loop/loop.h"
#include "vdpa/driver.h"

/* Messages that one job handles: a front-end that never pauses must leave room for other ops. */
#define BATCH 32

#define NS_PER_MS          1000000ull
#define RETRY_MS           100u
#define RECONNECT_FIRST_MS 20u

struct vhu {
	atomic_uint refs;
	struct vdpa_device *vdev;
	struct vdpa_bus *bus;
	struct loop *loop;
	char *path;
	bool client;
	bool path_owned; /* we have made the socket file */
	uint32_t reconnect_ms;

	struct vhu_session session; /* the lane's */

	/* The control thread's. */
	struct loop_watch listen_watch, conn_watch;
	struct loop_timer timer;
	int listen_fd;
	uint32_t delay_ms; /* until the next attempt to connect */

	pthread_mutex_t lock; /* for what follows */
	struct loop_call call;
	bool dead;
	bool over; /* the session has ended; close the connection */
	int conn;  /* set and closed by the control thread */
	char peer[64];
	uint64_t features, protocol_features; /* of the session, to be shown */
};

static const struct vdpa_attr_desc attrs_table[] = {
	{.name = "socket",
	 .type = VDPA_ATTR_LISTENER,
	 .help = "path of the Unix socket, or a listening descriptor; default dev/NAME/vhost.sock "
		 "in "
		 "the run directory"},
	{.name = "mode",
	 .type = VDPA_ATTR_OCTAL,
	 .help = "rights of the socket file; default 0600"},
	{.name = "owner",
	 .type = VDPA_ATTR_STRING,
	 .help = "user of the socket file; default ours"},
	{.name = "group",
	 .type = VDPA_ATTR_STRING,
	 .help = "group of the socket file; default ours"},
	{.name = "client",
	 .type = VDPA_ATTR_BOOL,
	 .help = "connect to a front-end that listens, again when it leaves; default off"},
	{.name = "reconnect-ms",
	 .type = VDPA_ATTR_UINT,
	 .min = 1,
	 .max = 3600000,
	 .help = "with client: longest pause between two attempts, milliseconds; default 1000"},
	{0},
};

static void vhu_get(struct vhu *v)
{
	atomic_fetch_add_explicit(&v->refs, 1, memory_order_relaxed);
}

static void vhu_put(struct vhu *v)
{
	if (atomic_fetch_sub_explicit(&v->refs, 1, memory_order_acq_rel) != 1)
		return;
	fd_closep(&v->listen_fd);
	vhu_session_destroy(&v->session);
	pthread_mutex_destroy(&v->lock);
	vdpa_device_put(v->vdev);
	free(v->path);
	free(v);
}

/* ---- on the lane */

static void session_over(struct vhu *v, const char *why)
{
	vhu_session_end(&v->session);
	pthread_mutex_lock(&v->lock);
	v->features = v->protocol_features = 0;
	shutdown(v->conn, SHUT_RDWR);
	vdpa_device_client(v->vdev, false, why);
	v->over = true;
	loop_post(v->loop, &v->call);
	pthread_mutex_unlock(&v->lock);
}

static void session_failed(struct vhu *v, int err, const struct vdpa_extack *ack)
{
	if (err == -EPIPE || err == -ECONNRESET) {
		vhu_session_log(&v->session, VDPA_LOG_INFO, "the front-end (%s) has left", v->peer);
		session_over(v, "the front-end has left");
		return;
	}
	vhu_session_log(&v->session, VDPA_LOG_WARN, "the session with %s is ended: %s", v->peer,
			vdpa_extack_text(ack, err));
	session_over(v, vdpa_extack_text(ack, err));
}

static void read_on_lane(struct vdpa_device *vdev, void *arg)
{
	struct vdpa_extack ack = {0};
	struct vhu *v = arg;
	bool gone;
	int ret;

	/* A session that ended by itself (check_memory()) may have left its watch armed. */
	pthread_mutex_lock(&v->lock);
	gone = v->dead || v->over || v->conn < 0;
	pthread_mutex_unlock(&v->lock);
	if (!gone) {
		if (!vhu_session_open(&v->session))
			vhu_session_begin(&v->session, v->conn);
		ret = vhu_session_read(&v->session, BATCH, &ack);
		pthread_mutex_lock(&v->lock);
		v->features = v->session.features;
		v->protocol_features = v->session.protocol_features;
		pthread_mutex_unlock(&v->lock);
		if (ret < 0)
			session_failed(v, ret, &ack);
		else
			loop_watch_set(&v->conn_watch, EPOLLIN | EPOLLONESHOT);
	}
	vhu_put(v);
}

static void check_memory(struct vdpa_device *vdev, void *arg)
{
	struct vdpa_extack ack = {0};
	struct vhu *v = arg;

	if (!v->dead && vhu_session_open(&v->session) && vhu_memory_lost(&v->session, &ack))
		session_failed(v, -EFAULT, &ack);
	vhu_put(v);
}

static void config_changed(void *arg)
{
	struct vhu *v = container_of(arg, struct vhu, session);

	vhu_session_config_changed(&v->session);
	/* That may be since its memory has vanished under the device. */
	if (!(vdpa_get_status(v->vdev) & VIRTIO_CONFIG_S_NEEDS_RESET))
		return;
	vhu_get(v);
	if (vdpa_device_run(v->vdev, check_memory, v))
		vhu_put(v);
}

/* ---- on the control thread */

static void retry_later(struct vhu *v, uint32_t ms)
{
	loop_timer_set(v->loop, &v->timer, ms * NS_PER_MS);
}

static void conn_readable(struct loop_watch *watch, uint32_t events)
{
	struct vhu *v = container_of(watch, struct vhu, conn_watch);

	vhu_get(v);
	switch (vdpa_device_run(v->vdev, read_on_lane, v)) {
	case 0:
		return;
	case -ENODEV:
		/* remove() is on its way. */
		break;
	default:
		retry_later(v, RETRY_MS);
	}
	vhu_put(v);
}

/* A front-end is there. */
static void connected(struct vhu *v, int fd)
{
	bool dead;

	pthread_mutex_lock(&v->lock);
	dead = v->dead;
	if (!dead) {
		v->conn = fd;
		vu_socket_peer(fd, v->peer, sizeof(v->peer));
		vdpa_device_client(v->vdev, true, v->peer);
	}
	pthread_mutex_unlock(&v->lock);
	if (dead) {
		close(fd);
		return;
	}
	vhu_session_log(&v->session, VDPA_LOG_INFO, "a front-end (%s) is connected", v->peer);
	if (loop_watch_add(v->loop, &v->conn_watch, fd, EPOLLIN | EPOLLONESHOT))
		retry_later(v, RETRY_MS);
}

static void listen_readable(struct loop_watch *watch, uint32_t events)
{
	struct vhu *v = container_of(watch, struct vhu, listen_watch);
	int fd = accept4(v->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd >= 0)
		connected(v, fd);
	else
		/* One that gave up while it waited, or no descriptor is left. */
		retry_later(v, errno == EAGAIN || errno == ECONNABORTED ? 1 : RETRY_MS);
}

static void try_connect(struct vhu *v)
{
	struct vdpa_extack ack = {0};
	int fd = vu_socket_connect(v->path, &ack);

	if (fd >= 0) {
		v->delay_ms = 0;
		connected(v, fd);
		return;
	}
	if (!v->delay_ms) {
		vhu_session_log(&v->session, VDPA_LOG_INFO, "%s; trying again",
				vdpa_extack_text(&ack, fd));
		v->delay_ms = RECONNECT_FIRST_MS;
	} else {
		v->delay_ms *= 2;
	}
	if (v->delay_ms > v->reconnect_ms)
		v->delay_ms = v->reconnect_ms;
	retry_later(v, v->delay_ms);
}

static int arm(struct vhu *v, struct loop_watch *watch, int fd)
{
	return watch->fd < 0 ? loop_watch_add(v->loop, watch, fd, EPOLLIN | EPOLLONESHOT)
			     : loop_watch_set(watch, EPOLLIN | EPOLLONESHOT);
}

static void wait_for_client(struct vhu *v)
{
	if (v->client)
		try_connect(v);
	else if (arm(v, &v->listen_watch, v->listen_fd))
		retry_later(v, RETRY_MS);
}

static void timer_fired(struct loop_timer *timer)
{
	struct vhu *v = container_of(timer, struct vhu, timer);

	if (v->conn < 0)
		wait_for_client(v);
	else if (arm(v, &v->conn_watch, v->conn))
		retry_later(v, RETRY_MS);
}

static void called(struct loop_call *call)
{
	struct vhu *v = container_of(call, struct vhu, call);
	int conn = -1;
	bool dead;

	pthread_mutex_lock(&v->lock);
	dead = v->dead;
	if (dead)
		loop_call_cancel(v->loop, &v->call);
	if (dead || v->over)
		conn = fd_take(&v->conn);
	v->over = false;
	pthread_mutex_unlock(&v->lock);

	if (conn >= 0) {
		loop_watch_del(&v->conn_watch);
		close(conn);
	}
	if (dead) {
		loop_watch_del(&v->listen_watch);
		loop_timer_cancel(&v->timer);
		vhu_put(v);
	} else if (conn >= 0 && v->client) {
		/* It may do so again at once. */
		retry_later(v, RECONNECT_FIRST_MS);
	} else if (v->conn < 0) {
		wait_for_client(v);
	}
}

/* ---- the driver */

static int vhu_match(struct vdpa_device *vdev, struct vdpa_extack *ack)
{
	if (vdev->nvqs > VU_RINGS_MAX)
		return vdpa_extack_set(ack, -EINVAL, "%u queues, vhost-user has numbers for %u",
				       vdev->nvqs, VU_RINGS_MAX);
	if (!vdev->ops->set_vq_kick)
		return vdpa_extack_set(ack, -EINVAL, "the device takes no descriptors for kicks");
	return 0;
}

static int make_path(struct vhu *v, struct vdpa_attrs *attrs, struct vdpa_extack *ack)
{
	const char *path = vdpa_attrs_str(attrs, "socket", NULL);
	char buf[PATH_MAX];
	int err;

	if (!path && v->client)
		return vdpa_extack_set(ack, -EINVAL,
				       "'client on' needs 'socket', the path to connect to");
	if (!path) {
		err = vdpa_device_path(v->vdev, "vhost.sock", buf, sizeof(buf));
		if (err)
			return vdpa_extack_set(ack, err,
					       "there is no run directory for the socket; "
					       "'socket' names one elsewhere");
		path = buf;
	}
	v->path = strdup(path);
	return v->path ? 0 : -ENOMEM;
}

static int open_socket(struct vhu *v, struct vdpa_attrs *attrs, struct vdpa_extack *ack)
{
	int fd vdpa_cleanup(fd_closep) = vdpa_attrs_take_fd(attrs, "socket");
	struct vu_socket_config cfg = {.mode = (mode_t)vdpa_attrs_u64(attrs, "mode", 0600),
				       .uid = (uid_t)-1,
				       .gid = (gid_t)-1};
	const char *owner = vdpa_attrs_str(attrs, "owner", NULL);
	const char *group = vdpa_attrs_str(attrs, "group", NULL);
	int err;

	if (fd >= 0) {
		err = vu_socket_check(fd, ack);
		if (!err)
			v->listen_fd = fd_take(&fd);
		return err;
	}
	if (owner && (err = vu_parse_owner(owner, &cfg.uid, ack)))
		return err;
	if (group && (err = vu_parse_group(group, &cfg.gid, ack)))
		return err;
	v->listen_fd = vu_socket_listen(v->path, &cfg, ack);
	v->path_owned = v->listen_fd >= 0;
	return v->listen_fd < 0 ? v->listen_fd : 0;
}

static struct vhu *vhu_alloc(struct vdpa_device *vdev)
{
	struct vhu *v = calloc(1, sizeof(*v));

	if (!v)
		return NULL;
	if (vhu_session_init(&v->session, vdev)) {
		free(v);
		return NULL;
	}
	atomic_init(&v->refs, 1);
	v->vdev = vdpa_device_get(vdev);
	v->bus = vdpa_device_bus(vdev);
	v->loop = bus_loop(v->bus);
	v->listen_fd = v->conn = -1;
	v->listen_watch = LOOP_WATCH_INIT(listen_readable);
	v->conn_watch = LOOP_WATCH_INIT(conn_readable);
	v->timer.fn = timer_fired;
	v->call.fn = called;
	pthread_mutex_init(&v->lock, NULL);
	return v;
}

static int vhu_probe(struct vdpa_device *vdev, struct vdpa_attrs *attrs, struct vdpa_extack *ack)
{
	struct vhu *v = vhu_alloc(vdev);
	int err;

	if (!v)
		return -ENOMEM;
	v->client = vdpa_attrs_bool(attrs, "client", false);
	v->reconnect_ms = (uint32_t)vdpa_attrs_u64(attrs, "reconnect-ms", 1000);
	err = make_path(v, attrs, ack);
	if (!err && !v->client)
		err = open_socket(v, attrs, ack);
	if (err) {
		vhu_put(v);
		return err;
	}
	vdpa_set_config_cb(vdev,
			   &(struct vdpa_config_cb){.changed = config_changed, .arg = &v->session});
	vdpa_device_set_drvdata(vdev, v);
	/* The control side's reference; from here on front-ends come. */
	vhu_get(v);
	loop_post(v->loop, &v->call);
	return 0;
}

static int vhu_remove(struct vdpa_device *vdev, bool force, struct vdpa_extack *ack)
{
	struct vhu *v = vdpa_device_drvdata(vdev);

	if (v->path_owned)
		unlink(v->path);
	vdpa_set_config_cb(vdev, NULL);
	vhu_session_end(&v->session);
	pthread_mutex_lock(&v->lock);
	if (v->conn >= 0 && !v->over) {
		shutdown(v->conn, SHUT_RDWR);
		vdpa_device_client(vdev, false, "the device was unbound");
	}
	v->dead = true;
	loop_post(v->loop, &v->call);
	pthread_mutex_unlock(&v->lock);
	vdpa_device_set_drvdata(vdev, NULL);
	vhu_put(v);
	return 0;
}

static void vhu_show(struct vdpa_device *vdev, struct vdpa_info *info)
{
	struct vhu *v = vdpa_device_drvdata(vdev);

	if (!v)
		return;
	vdpa_info_str(info, "socket", v->path);
	vdpa_info_str(info, "mode", v->client ? "client" : "server");
	pthread_mutex_lock(&v->lock);
	if (v->conn >= 0 && !v->over) {
		vdpa_info_str(info, "client", v->peer);
		vdpa_info_fmt(info, "features", "0x%llx", (unsigned long long)v->features);
		vdpa_info_fmt(info, "protocol-features", "0x%llx",
			      (unsigned long long)v->protocol_features);
	}
	pthread_mutex_unlock(&v->lock);
}

static uint64_t vhu_masked(const struct vdpa_device *vdev)
{
	return VHU_MASKED_FEATURES;
}

static const char *vhu_why_masked(const struct vdpa_device *vdev, unsigned int bit)
{
	switch (bit) {
	case VU_F_LOG_ALL:
		return "vhost-user's own: whether writes are logged for a migration";
	case VU_F_PROTOCOL_FEATURES:
		return "vhost-user's own: whether protocol features are negotiated";
	case VU_F_ACCESS_PLATFORM:
		return "front-ends share guest memory as it is, without an IOMMU";
	default:
		return NULL;
	}
}

/* Kinds of device that hold what outlives a session. */
static bool holds_content(struct vdpa_device *vdev, uint64_t features)
{
	switch (vdpa_get_device_id(vdev)) {
	case VIRTIO_ID_BLOCK:
		return !(features & BIT_ULL(VIRTIO_BLK_F_RO));
	case VIRTIO_ID_SCSI:
	case VIRTIO_ID_FS:
		return true;
	default:
		return false;
	}
}

static int vhu_in_use(struct vdpa_device *vdev, struct vdpa_extack *ack)
{
	struct vhu *v = vdpa_device_drvdata(vdev);

	/* Rings that were stopped mean that the guest has let go of the device. */
	if (!v || !vhu_session_active(&v->session) || !holds_content(vdev, v->session.features))
		return 0;
	return vdpa_extack_set(ack, -EBUSY, "the guest of the front-end (%s) uses it", v->peer);
}

static const struct vdpa_driver driver = {
	.size = sizeof(driver),
	.name = "vhost-user",
	.attrs = attrs_table,
	.match = vhu_match,
	.probe = vhu_probe,
	.remove = vhu_remove,
	.show = vhu_show,
	.masked = vhu_masked,
	.why_masked = vhu_why_masked,
	.in_use = vhu_in_use,
};

VDPA_API const struct vdpa_driver *const vdpa_driver_vhost_user = &driver;
