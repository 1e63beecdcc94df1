/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A block backend whose requests end when the test says so: it keeps them, in the order in which
 * they came, in front of one that does them at once (RAM, null).  block_open() gives it to a
 * program that is linked with --wrap=block_open.
 *
 * Functions of the test's thread; those that wait fail the test after a while.
 */
#ifndef UNIT_SLOW_BLOCK_H
#define UNIT_SLOW_BLOCK_H

#include "backends/block/block.h"

/* Keep what comes from now on / let it through.  What is kept stays. */
void slow_keep(bool on);
/* Until num requests are kept at once. */
void slow_wait(unsigned int num);
/* How many are kept now. */
unsigned int slow_num(void);
/* Let the oldest one end: done by the backend behind, or with an error. */
void slow_end(void);
void slow_fail(int err);

#endif
