/* SPDX-License-Identifier: BSD-2-Clause */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/ethtool.h>
#include <linux/if_tun.h>
#include <linux/sockios.h>
#include <net/if_arp.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "backends/net/tap_dev.h"
#include "backends/net/vnet.h"
#include "base/defs.h"

/* Missing in older headers. */
#ifndef TUN_F_USO4
#define TUN_F_USO4 0x20 /* Linux 6.2, as the next */
#define TUN_F_USO6 0x40
#endif

#define TAP_NODE "/dev/net/tun"

/* ---- open */

static bool valid_name(const char *name)
{
	if (!name[0] || strlen(name) >= IF_NAMESIZE || !strcmp(name, ".") || !strcmp(name, ".."))
		return false;
	/* The kernel would take a '%' for a pattern. */
	for (; *name; name++)
		if (strchr("/:%", *name) || !isgraph((unsigned char)*name))
			return false;
	return true;
}

static int choose_name(struct tap_dev *tap, const struct tap_dev_config *cfg,
		       struct vdpa_extack *ack)
{
	if (cfg->name && !valid_name(cfg->name))
		return vdpa_extack_set(ack, -EINVAL,
				       "'%s' is no name for an interface: up to %d characters "
				       "without spaces, '/', ':' and '%%'",
				       cfg->name, IF_NAMESIZE - 1);
	snprintf(tap->name, sizeof(tap->name), "%.*s", IF_NAMESIZE - 1,
		 cfg->name ? cfg->name : cfg->device);
	return 0;
}

static int open_node(struct vdpa_extack *ack)
{
	int fd = open(TAP_NODE, O_RDWR | O_NONBLOCK | O_CLOEXEC);

	if (fd >= 0)
		return fd;
	if (errno == ENOENT || errno == ENXIO || errno == ENODEV)
		return vdpa_extack_set(ack, -errno,
				       "this host has no " TAP_NODE ": 'modprobe tun' may help");
	return vdpa_extack_set(ack, -errno, "cannot open " TAP_NODE ": %s", strerrordesc_np(errno));
}

/* One more queue of the interface, the first one with what makes it an interface.  -errno. */
static int attach(struct tap_dev *tap, bool multi_queue, bool exclusive, struct vdpa_extack *ack)
{
	int fd vdpa_cleanup(fd_closep) = open_node(ack);
	int hdr_len = NET_HDR_LEN, little_endian = 1;
	struct ifreq ifr = {0};

	if (fd < 0)
		return fd;
	strcpy(ifr.ifr_name, tap->name);
	ifr.ifr_flags =
		(short)(IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | (multi_queue ? IFF_MULTI_QUEUE : 0) |
			(exclusive ? IFF_TUN_EXCL : 0));
	if (ioctl(fd, TUNSETIFF, &ifr))
		return -errno;
	if (ioctl(fd, TUNSETVNETHDRSZ, &hdr_len) || ioctl(fd, TUNSETVNETLE, &little_endian))
		return vdpa_extack_set(ack, -errno, "the kernel's TAPs lack a header of %d bytes",
				       hdr_len);
	tap->multi_queue = multi_queue;
	tap->fds[tap->queues++] = fd_take(&fd);
	return 0;
}

static int explain_create(const struct tap_dev *tap, int err, struct vdpa_extack *ack)
{
	if (err == -EBUSY)
		return vdpa_extack_set(ack, err,
				       "this host has an interface '%s' already: choose another "
				       "name with 'ifname', or 'ifname %s' if that TAP is meant",
				       tap->name, tap->name);
	if (err == -EPERM)
		return vdpa_extack_set(ack, err,
				       "to make the interface '%s' needs CAP_NET_ADMIN; or have "
				       "root make it: ip tuntap add mode tap user %u name %s",
				       tap->name, geteuid(), tap->name);
	return vdpa_extack_set(ack, err, "cannot make the interface '%s': %s", tap->name,
			       strerrordesc_np(-err));
}

static int explain_adopt(const struct tap_dev *tap, int err, struct vdpa_extack *ack)
{
	if (err == -EBUSY)
		return vdpa_extack_set(ack, err, "another program uses the interface '%s'",
				       tap->name);
	if (err == -EPERM)
		return vdpa_extack_set(ack, err,
				       "the interface '%s' is not for user %u: it is made for one "
				       "by 'ip tuntap add mode tap user %u name %s'",
				       tap->name, geteuid(), geteuid(), tap->name);
	if (err == -EINVAL)
		return vdpa_extack_set(ack, err, "the interface '%s' is no TAP", tap->name);
	return vdpa_extack_set(ack, err, "cannot use the interface '%s': %s", tap->name,
			       strerrordesc_np(-err));
}

static bool has_carrier(const char *name)
{
	struct ethtool_value value = {.cmd = ETHTOOL_GLINK};
	struct ifreq ifr = {.ifr_data = (void *)&value};
	int fd vdpa_cleanup(fd_closep) = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	strcpy(ifr.ifr_name, name);
	return fd >= 0 && !ioctl(fd, SIOCETHTOOL, &ifr) && value.data;
}

/*
 * The kernel does not say whether an interface that exists has many queues, but refuses the wrong
 * way.  With many it would share the frames out between us and others; but as long as nobody has
 * one there is no carrier.
 */
static int adopt(struct tap_dev *tap, bool multi_queue, struct vdpa_extack *ack)
{
	bool used = has_carrier(tap->name);
	int err = attach(tap, multi_queue, false, ack);

	if (err == -EINVAL)
		err = attach(tap, !multi_queue, false, ack);
	if (!err && tap->multi_queue && used) {
		tap_dev_close(tap);
		err = -EBUSY;
	}
	return err;
}

/* The first queue.  why gets a text when it fails. */
static int find_or_make(struct tap_dev *tap, const struct tap_dev_config *cfg,
			struct vdpa_extack *why)
{
	bool multi_queue = cfg->multi_queue || cfg->queues > 1;
	int err = attach(tap, multi_queue, true, why);

	tap->created = !err;
	if (err == -EBUSY && !cfg->exclusive) {
		err = adopt(tap, multi_queue, why);
		if (err && !why->msg[0])
			explain_adopt(tap, err, why);
	} else if (err && !why->msg[0]) {
		explain_create(tap, err, why);
	}
	return err;
}

static int get_index(struct tap_dev *tap)
{
	tap->index = if_nametoindex(tap->name);
	return tap->index ? 0 : -errno;
}

static int probe_caps(struct tap_dev *tap)
{
	tap->caps = NET_CAP_ALL;
	if (tap_dev_set_caps(tap, tap->caps))
		tap->caps &= ~(NET_CAP_USO4 | NET_CAP_USO6);
	return tap_dev_set_caps(tap, 0);
}

int tap_dev_open(const struct tap_dev_config *cfg, struct tap_dev *tap, struct vdpa_extack *ack)
{
	struct vdpa_extack why = {0};
	int err;

	memset(tap, 0, sizeof(*tap));
	err = choose_name(tap, cfg, ack);
	if (err)
		return err;
	err = find_or_make(tap, cfg, &why);
	if (err)
		return vdpa_extack_set(ack, err, "%s", why.msg);
	err = get_index(tap);
	if (!err)
		err = probe_caps(tap);
	if (err)
		vdpa_extack_set(ack, err, "cannot set up the interface '%s': %s", tap->name,
				strerrordesc_np(-err));
	else
		err = tap_dev_open_queues(tap, cfg->queues, ack);
	if (err)
		tap_dev_close(tap);
	return err;
}

int tap_dev_open_queues(struct tap_dev *tap, uint16_t queues, struct vdpa_extack *ack)
{
	struct vdpa_extack why = {0};
	int err = 0;

	while (!err && tap->multi_queue && tap->queues < queues && tap->queues < NET_PAIRS_MAX)
		err = attach(tap, true, false, &why);
	if (!err)
		return 0;
	if (!why.msg[0])
		vdpa_extack_set(&why, err, "cannot open queue %u of the interface '%s': %s",
				tap->queues, tap->name, strerrordesc_np(-err));
	return vdpa_extack_set(ack, err, "%s", why.msg);
}

void tap_dev_close(struct tap_dev *tap)
{
	while (tap->queues)
		fd_closep(&tap->fds[--tap->queues]);
}

/* ---- by descriptor */

int tap_dev_set_caps(struct tap_dev *tap, unsigned int caps)
{
	unsigned int flags = 0;

	if (caps & NET_CAP_CSUM) {
		flags |= TUN_F_CSUM;
		flags |= caps & NET_CAP_TSO4 ? TUN_F_TSO4 : 0;
		flags |= caps & NET_CAP_TSO6 ? TUN_F_TSO6 : 0;
		flags |= caps & NET_CAP_UFO ? TUN_F_UFO : 0;
	}
	if (flags & (TUN_F_TSO4 | TUN_F_TSO6) && caps & NET_CAP_ECN)
		flags |= TUN_F_TSO_ECN;
	/* The kernel knows them together only. */
	if (flags && caps & NET_CAP_USO4 && caps & NET_CAP_USO6)
		flags |= TUN_F_USO4 | TUN_F_USO6;
	return ioctl(tap->fds[0], TUNSETOFFLOAD, (unsigned long)flags) ? -errno : 0;
}

int tap_dev_use_queue(struct tap_dev *tap, uint16_t queue, bool on)
{
	struct ifreq ifr = {.ifr_flags = on ? IFF_ATTACH_QUEUE : IFF_DETACH_QUEUE};

	if (!queue)
		return on ? 0 : -EINVAL;
	return ioctl(tap->fds[queue], TUNSETQUEUE, &ifr) ? -errno : 0;
}

int tap_dev_set_carrier(struct tap_dev *tap, bool on)
{
	int carrier = on;

	return ioctl(tap->fds[0], TUNSETCARRIER, &carrier) ? -errno : 0;
}

int tap_dev_set_mac(struct tap_dev *tap, const uint8_t mac[NET_MAC_LEN])
{
	struct ifreq ifr = {.ifr_hwaddr.sa_family = ARPHRD_ETHER};

	memcpy(ifr.ifr_hwaddr.sa_data, mac, NET_MAC_LEN);
	return ioctl(tap->fds[0], SIOCSIFHWADDR, &ifr) ? -errno : 0;
}

/* ---- by name */

/* A socket for requests about the interface; ifr gets the name that it has now. */
static int control_socket(const struct tap_dev *tap, struct ifreq *ifr)
{
	int fd vdpa_cleanup(fd_closep) = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq now = {0};

	if (fd < 0 || ioctl(tap->fds[0], TUNGETIFF, &now))
		return -errno;
	memset(ifr, 0, sizeof(*ifr));
	memcpy(ifr->ifr_name, now.ifr_name, IF_NAMESIZE);
	if (ioctl(fd, SIOCGIFINDEX, &now))
		return -errno;
	if ((unsigned int)now.ifr_ifindex != tap->index)
		return -ENODEV;
	return fd_take(&fd);
}

int tap_dev_get_mtu(struct tap_dev *tap, uint32_t *mtu)
{
	struct ifreq ifr;
	int fd vdpa_cleanup(fd_closep) = control_socket(tap, &ifr);

	if (fd < 0)
		return fd;
	if (ioctl(fd, SIOCGIFMTU, &ifr))
		return -errno;
	*mtu = (uint32_t)ifr.ifr_mtu;
	return 0;
}

int tap_dev_set_mtu(struct tap_dev *tap, uint32_t mtu)
{
	struct ifreq ifr;
	int fd vdpa_cleanup(fd_closep) = control_socket(tap, &ifr);

	if (fd < 0)
		return fd;
	ifr.ifr_mtu = (int)mtu;
	return ioctl(fd, SIOCSIFMTU, &ifr) ? -errno : 0;
}

int tap_dev_set_up(struct tap_dev *tap)
{
	struct ifreq ifr;
	int fd vdpa_cleanup(fd_closep) = control_socket(tap, &ifr);

	if (fd < 0)
		return fd;
	if (ioctl(fd, SIOCGIFFLAGS, &ifr))
		return -errno;
	ifr.ifr_flags |= IFF_UP;
	return ioctl(fd, SIOCSIFFLAGS, &ifr) ? -errno : 0;
}
