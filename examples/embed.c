/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The smallest program that embeds a bus: it has a poll loop of its own, in which the bus is one
 * descriptor.  Each line that it reads is a disk to serve, in memory, on a socket of that name:
 *
 *	printf 'a.sock\nb.sock\n' | embed
 *
 * It ends with its input.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <vdpa/soft.h>

static void on_event(void *arg, const struct vdpa_event *event)
{
	printf("%s: %s%s%s\n", event->dev, event->name, event->text ? ": " : "",
	       event->text ? event->text : "");
	fflush(stdout);
}

/* A verb has ended.  Nothing waits for it but this: the loop goes on meanwhile. */
static void on_done(void *arg, int err, const struct vdpa_extack *ack)
{
	if (err)
		fprintf(stderr, "embed: %s\n", vdpa_extack_text(ack, err));
}

static void add_disk(struct vdpa_bus *bus, const char *path)
{
	const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
	struct vdpa_attrs *disk = vdpa_attrs_alloc(), *place = vdpa_attrs_alloc();

	if (!disk || vdpa_attrs_add(disk, "backend", "ram", NULL, NULL) ||
	    vdpa_attrs_add(disk, "size", "16M", NULL, NULL) || !place ||
	    vdpa_attrs_add(place, "socket", path, NULL, NULL)) {
		vdpa_attrs_free(disk);
		vdpa_attrs_free(place);
		fprintf(stderr, "embed: %s\n", strerror(ENOMEM));
		return;
	}
	vdpa_dev_add(bus, name, "blk", disk, on_done, NULL);
	vdpa_dev_bind(bus, name, "vhost-user", place, 0, on_done, NULL);
}

/* False when the input has ended. */
static bool read_line(struct vdpa_bus *bus)
{
	static char buf[4096];
	static size_t used;
	ssize_t num = read(STDIN_FILENO, buf + used, sizeof(buf) - used);
	char *end;

	if (num <= 0)
		return false;
	used += (size_t)num;
	while ((end = memchr(buf, '\n', used))) {
		*end++ = '\0';
		add_disk(bus, buf);
		used -= (size_t)(end - buf);
		memmove(buf, end, used);
	}
	return used < sizeof(buf);
}

int main(void)
{
	struct vdpa_extack ack = {0};
	struct vdpa_bus *bus;
	int err;

	err = vdpa_bus_alloc(NULL, &bus, &ack);
	if (err)
		return 1;
	vdpa_sigbus_install();
	vdpa_bus_set_event_cb(bus, on_event, NULL);
	err = vdpa_soft_register_builtin(bus, &ack);
	if (!err)
		err = vdpa_driver_register(bus, vdpa_driver_vhost_user, &ack);
	while (!err) {
		struct pollfd fds[] = {
			{.fd = STDIN_FILENO, .events = POLLIN},
			{.fd = vdpa_bus_fd(bus), .events = POLLIN},
		};

		poll(fds, 2, -1);
		if (fds[1].revents)
			err = vdpa_bus_dispatch(bus, 0);
		if (fds[0].revents && !read_line(bus))
			break;
	}
	if (err)
		fprintf(stderr, "embed: %s\n", vdpa_extack_text(&ack, err));
	vdpa_bus_free(bus);
	return err ? 1 : 0;
}
