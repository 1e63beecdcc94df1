/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What there is to see of a switch.  rx and tx are as the port's device sees them.
 */
#include "backends/net/switch_priv.h"

static const char *const drop_names[DROP_NUM] = {
	[DROP_SHORT] = "short",       [DROP_VLAN] = "vlan",          [DROP_SOURCE] = "bad_source",
	[DROP_RESERVED] = "reserved", [DROP_OWN] = "own_port",       [DROP_FLOOD] = "flood_limit",
	[DROP_LINK] = "link_down",    [DROP_GONE] = "receiver_down",
};

static uint64_t load(const uint64_t *counter)
{
	return __atomic_load_n(counter, __ATOMIC_RELAXED);
}

struct totals {
	uint64_t tx_frames, tx_bytes, flooded, unlearnt;
	uint64_t rx_frames, rx_bytes, no_room, too_long, bad;
	uint64_t drops[DROP_NUM];
};

static void sum_queues(const struct switch_port *port, struct totals *sum)
{
	for (uint16_t i = 0; i < port->net.max_pairs; i++) {
		const struct switch_tx *tx = &port->tx[i];
		const struct switch_rx *rx = &port->rx[i];

		sum->tx_frames += load(&tx->frames);
		sum->tx_bytes += load(&tx->bytes);
		sum->flooded += load(&tx->flooded);
		sum->unlearnt += load(&tx->unlearnt);
		for (unsigned int why = 0; why < DROP_NUM; why++)
			sum->drops[why] += load(&tx->drops[why]);
		sum->rx_frames += load(&rx->frames);
		sum->rx_bytes += load(&rx->bytes);
		sum->no_room += load(&rx->no_room);
		sum->too_long += load(&rx->too_long);
		sum->bad += load(&rx->bad);
	}
}

static void show_tx(struct vdpa_info *info, const struct totals *sum)
{
	vdpa_info_open(info, "tx");
	vdpa_info_u64(info, "frames", sum->tx_frames);
	vdpa_info_u64(info, "bytes", sum->tx_bytes);
	vdpa_info_u64(info, "flooded", sum->flooded);
	vdpa_info_open(info, "drops");
	for (unsigned int why = 0; why < DROP_NUM; why++) {
		if (sum->drops[why])
			vdpa_info_u64(info, drop_names[why], sum->drops[why]);
	}
	vdpa_info_close(info);
	vdpa_info_close(info);
}

static void show_rx(struct vdpa_info *info, const struct totals *sum)
{
	vdpa_info_open(info, "rx");
	vdpa_info_u64(info, "frames", sum->rx_frames);
	vdpa_info_u64(info, "bytes", sum->rx_bytes);
	vdpa_info_open(info, "drops");
	if (sum->no_room)
		vdpa_info_u64(info, "no_room", sum->no_room);
	if (sum->too_long)
		vdpa_info_u64(info, "too_long", sum->too_long);
	if (sum->bad)
		vdpa_info_u64(info, "bad_header", sum->bad);
	vdpa_info_close(info);
	vdpa_info_close(info);
}

static void show_port(struct vdpa_info *info, const struct switch_port *port)
{
	struct totals sum = {0};

	sum_queues(port, &sum);
	vdpa_info_open(info, NULL);
	vdpa_info_str(info, "port", port->name);
	vdpa_info_str(info, "link", port->up ? "up" : "down");
	if (port->vlan.own)
		vdpa_info_u64(info, "vlan", port->vlan.own);
	vdpa_info_bool(info, "trunk", port->vlan.trunk);
	vdpa_info_u64(info, "queues", port->num_running);
	vdpa_info_u64(info, "macs", fdb_port_count(port->sw->fdb, port->idx));
	if (sum.unlearnt)
		vdpa_info_u64(info, "macs_refused", sum.unlearnt);
	show_tx(info, &sum);
	show_rx(info, &sum);
	vdpa_info_close(info);
}

static void show_entry(struct vdpa_info *info, const struct net_switch *sw,
		       const struct fdb_entry *entry)
{
	const struct switch_port *port = sw->ports[entry->port];
	const uint8_t *mac = entry->mac;

	if (!port)
		return;
	vdpa_info_open(info, NULL);
	vdpa_info_fmt(info, "mac", "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3],
		      mac[4], mac[5]);
	vdpa_info_u64(info, "vlan", entry->vlan);
	vdpa_info_str(info, "port", port->name);
	vdpa_info_u64(info, "age", entry->age);
	vdpa_info_close(info);
}

void net_switch_show(struct net_switch *sw, struct vdpa_info *info)
{
	uint32_t now = (uint32_t)(sw->config.clock(sw->config.clock_arg) / 1000000000);
	struct fdb_entry entries[SWITCH_SHOW_MACS];
	uint32_t num = fdb_list(sw->fdb, now, entries, SWITCH_SHOW_MACS);

	pthread_mutex_lock(&sw->lock);
	vdpa_info_open_list(info, "ports");
	for (uint32_t i = 0; i < sw->num_ports; i++) {
		if (sw->ports[i])
			show_port(info, sw->ports[i]);
	}
	vdpa_info_close(info);
	vdpa_info_u64(info, "macs_known", fdb_count(sw->fdb));
	vdpa_info_u64(info, "macs_max", sw->config.macs);
	vdpa_info_open_list(info, "macs");
	for (uint32_t i = 0; i < num; i++)
		show_entry(info, sw, &entries[i]);
	vdpa_info_close(info);
	pthread_mutex_unlock(&sw->lock);
}
