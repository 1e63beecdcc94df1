/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef DAEMON_NOTIFY_H
#define DAEMON_NOTIFY_H

/* Tell the service manager ("READY=1"); without one nothing happens.  @spec sd_notify(3) */
void notify_manager(const char *state);

#endif
