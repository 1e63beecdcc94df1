/* SPDX-License-Identifier: BSD-2-Clause */
#include "daemon/daemon.h"
#include "daemon/notify.h"

static void remove_devices(struct daemon *daemon);

/* Both rounds are over when nothing is under way any more; what is left then is the bus's to end.
 */
static void round_over(struct daemon *daemon)
{
	if (!daemon->forced && !daemon->stopped) {
		daemon->forced = true;
		remove_devices(daemon);
	}
	if (!daemon->to_free)
		daemon->stopped = true;
}

static void removed(void *arg, int err, const struct vdpa_extack *ack)
{
	struct daemon *daemon = arg;

	if (err)
		log_line(&daemon->log, VDPA_LOG_WARN, NULL, "%s", vdpa_extack_text(ack, err));
	if (--daemon->to_free == 0)
		round_over(daemon);
}

static int remove_one(struct vdpa_device *vdev, void *arg)
{
	struct daemon *daemon = arg;

	daemon->to_free++;
	vdpa_dev_del(daemon->bus, vdev->name, daemon->forced ? VDPA_FORCE : 0, removed, daemon);
	return 0;
}

static void remove_devices(struct daemon *daemon)
{
	vdpa_dev_each(daemon->bus, remove_one, daemon);
}

void stop_begin(struct daemon *daemon)
{
	if (daemon->stopping && daemon->forced)
		return;
	if (daemon->stopping)
		daemon->forced = true;
	else if (!daemon->restart)
		notify_manager("STOPPING=1");
	daemon->stopping = true;
	remove_devices(daemon);
	if (!daemon->to_free)
		daemon->stopped = true;
}
