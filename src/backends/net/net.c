/* SPDX-License-Identifier: BSD-2-Clause */
#include "backends/net/net.h"

#include <errno.h>

#include "backends/net/tap.h"
#include "backends/net/user.h"
#include "backends/net/xdp.h"
#include "base/choice.h"

/* What the build was made without. */
#ifndef HAVE_LIBSLIRP
#define net_user_open NULL
#endif
#ifndef HAVE_LIBXDP
#define net_xdp_open NULL
#endif

static const struct choice backends[] = {
	{"loopback", {NULL}},
	{"null", {NULL}},
	{"tap", {"ifname"}},
	{"user", {"net", "host", "dns", "dhcpstart", "hostname", "restrict", "ipv6", "hostfwd"}},
	{"af_xdp", {"ifname", "xdp-queue", "xdp-mode", "zerocopy"}},
};

static const struct {
	net_open_fn *open;
	const char *needs; /* a library */
} ways[ARRAY_SIZE(backends)] = {
	{net_loopback_open, NULL},   {net_null_open, NULL},    {net_tap_open, NULL},
	{net_user_open, "libslirp"}, {net_xdp_open, "libxdp"},
};

const char *const net_backend_names[] = {
	"loopback", "null", "tap", "user", "af_xdp", NULL,
};
const char *const net_xdp_modes[] = {"native", "skb", NULL};

int net_open(const struct net_open *open, struct net_backend **ret, struct vdpa_extack *ack)
{
	const char *name = vdpa_attrs_str(open->attrs, "backend", "");
	int idx = choice_find(backends, ARRAY_SIZE(backends), name, open->attrs, ack);

	if (idx < 0)
		return idx;
	if (!ways[idx].open)
		return vdpa_extack_set(ack, -EOPNOTSUPP,
				       "backend '%s' needs %s, which this build was made without",
				       name, ways[idx].needs);
	return ways[idx].open(open, ret, ack);
}

void net_close(struct net_backend *net)
{
	if (net)
		net->ops->close(net);
}
