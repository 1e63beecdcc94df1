/* SPDX-License-Identifier: BSD-2-Clause */
#include "backends/net/net.h"
#include "backends/net/tap.h"

#include <string.h>

static const struct {
	const char *name;
	net_open_fn *open;
} backends[] = {
	{"loopback", net_loopback_open},
	{"null", net_null_open},
	{"tap", net_tap_open},
};

const char *const net_backend_names[] = {
	"loopback",
	"null",
	"tap",
	NULL,
};

int net_open(const struct net_open *open, struct net_backend **ret, struct vdpa_extack *ack)
{
	const char *name = vdpa_attrs_str(open->attrs, "backend", "");
	size_t i = 0;

	/* One of them: the attributes were checked. */
	while (strcmp(backends[i].name, name))
		i++;
	return backends[i].open(open, ret, ack);
}

void net_close(struct net_backend *net)
{
	if (net)
		net->ops->close(net);
}
