/* SPDX-License-Identifier: BSD-2-Clause */
#include "backends/net/net.h"

#include "backends/net/tap.h"
#include "base/choice.h"

static const struct choice backends[] = {
	{"loopback", {NULL}},
	{"null", {NULL}},
	{"tap", {"ifname"}},
};
static net_open_fn *const open_backend[ARRAY_SIZE(backends)] = {
	net_loopback_open,
	net_null_open,
	net_tap_open,
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
	int idx = choice_find(backends, ARRAY_SIZE(backends), name, open->attrs, ack);

	return idx < 0 ? idx : open_backend[idx](open, ret, ack);
}

void net_close(struct net_backend *net)
{
	if (net)
		net->ops->close(net);
}
