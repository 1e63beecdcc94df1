/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a console keeps over a migration or a crash: what its driver has said of ports, since it
 * does not say so again, and what it has not been told yet.
 */
#include <errno.h>

#include "base/defs.h"
#include "bus/bus.h"
#include "parents/soft/console.h"

enum {
	TAG_READY = 1,  /* u64: the driver asks about ports */
	TAG_PORTS,      /* u64, a bit each: the driver has it */
	TAG_GUEST_OPEN, /* u64, a bit each */
	TAG_TELL,       /* u64 for each port, from here on: what it has not been told yet */
};

int console_save(struct vdpa_soft *soft, struct vdpa_state_blob *blob, struct vdpa_extack *ack)
{
	struct console *con = vdpa_soft_priv(soft);
	uint64_t ready, ports = 0, guest = 0, tell[CONSOLE_PORTS_MAX];
	int err;

	pthread_mutex_lock(&con->lock);
	ready = con->ready;
	for (uint16_t i = 0; i < con->num_ports; i++) {
		ports |= (uint64_t)con->ports[i].ready << i;
		guest |= (uint64_t)con->ports[i].guest_open << i;
		tell[i] = con->ports[i].tell;
	}
	pthread_mutex_unlock(&con->lock);
	err = vdpa_state_put_u64(blob, TAG_READY, ready);
	if (!err)
		err = vdpa_state_put_u64(blob, TAG_PORTS, ports);
	if (!err)
		err = vdpa_state_put_u64(blob, TAG_GUEST_OPEN, guest);
	for (uint16_t i = 0; i < con->num_ports && !err; i++)
		err = vdpa_state_put_u64(blob, TAG_TELL + i, tell[i]);
	return err;
}

/* 0 where the record says nothing. */
static uint64_t find(const struct vdpa_state_blob *blob, uint32_t tag)
{
	uint64_t value;

	return vdpa_state_u64(blob, tag, &value) ? 0 : value;
}

#define TELL_ALL (2 * CONSOLE_TELL_OPEN - 1)

int console_load(struct vdpa_soft *soft, const struct vdpa_state_blob *blob,
		 struct vdpa_extack *ack)
{
	struct console *con = vdpa_soft_priv(soft);
	uint64_t ports = find(blob, TAG_PORTS), guest = find(blob, TAG_GUEST_OPEN);
	uint64_t known = BIT_ULL(con->num_ports) - 1;

	if ((ports | guest) & ~known)
		return vdpa_extack_set(ack, -EINVAL,
				       "the record has more ports than the %u of this console",
				       con->num_ports);
	pthread_mutex_lock(&con->lock);
	con->ready = find(blob, TAG_READY);
	for (uint16_t i = 0; i < con->num_ports; i++) {
		struct console_port *port = &con->ports[i];

		port->ready = ports >> i & 1;
		port->guest_open = guest >> i & 1;
		port->tell = con->ready ? find(blob, TAG_TELL + i) & TELL_ALL : 0;
		/* Somebody else may be at the other end here, and the terminal another. */
		if (port->ready)
			console_tell(port, CONSOLE_TELL_OPEN | (i ? 0 : CONSOLE_TELL_SIZE));
		console_wake(port->rx);
	}
	pthread_mutex_unlock(&con->lock);
	return 0;
}
