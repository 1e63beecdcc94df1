/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Flows: frames that have to stay in order, since they are of one conversation.
 */
#ifndef BACKENDS_NET_FLOW_H
#define BACKENDS_NET_FLOW_H

#include "backends/net/net.h"

/*
 * A number for the flow of a frame: of its addresses, of IP's addresses and protocol, and of TCP's
 * and UDP's ports where no fragments can be; whatever its tag.  ANY THREAD.
 */
uint32_t net_flow_hash(const struct net_pkt *pkt);

#endif
