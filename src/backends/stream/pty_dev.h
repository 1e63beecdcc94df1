/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A pseudo-terminal with a name that stays: a link to whichever slave the kernel gave.
 */
#ifndef BACKENDS_STREAM_PTY_DEV_H
#define BACKENDS_STREAM_PTY_DEV_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include "vdpa/extack.h"

struct pty_dev {
	int master; /* non-blocking */
	int watch;  /* readable when somebody opens or closes the slave: pty_dev_is_open() */
	char slave[64];
	char *link; /* NULL: none */
};

#define PTY_DEV_NONE ((struct pty_dev){.master = -1, .watch = -1})

/*
 * Make one in raw mode, that nobody has open.  link: its name, replaced if it is a link, since a
 * program that was killed leaves one; NULL: none.  0 or -errno; then nothing is left.
 */
int pty_dev_open(struct pty_dev *pty, const char *link, struct vdpa_extack *ack);
/* What was not opened is allowed: zeroed, with master -1.  Does not close a master taken from it.
 */
void pty_dev_close(struct pty_dev *pty);
/* Has somebody the slave open?  Reads `watch`. */
bool pty_dev_is_open(struct pty_dev *pty);
void pty_dev_set_size(const struct pty_dev *pty, uint16_t cols, uint16_t rows);

#endif
