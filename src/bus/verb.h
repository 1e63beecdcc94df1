/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A verb: something that a user wants of a node, that may block, and that has a deadline.
 *
 *	control thread   prepare() -> lane   run() -> control thread   finish() -> the user's done()
 *
 * Verbs on one node take turns: the next one is prepared when the one before has finished, so
 * each sees the state that the one before has left.  At the deadline the user gets -ETIMEDOUT; one
 * that has not begun is forgotten, one that has goes on, and its finish() still runs when it comes
 * back.
 */
#ifndef BUS_VERB_H
#define BUS_VERB_H

#include "bus/priv.h"

struct verb_ops {
	const char *name; /* as in "still busy with 'unbind'" */
	bool makes;       /* makes the node: it need not be there */
	/* Control thread: check and gather.  Optional. */
	int (*prepare)(struct verb *v);
	/* Lane.  Optional. */
	int (*run)(struct verb *v);
	/*
	 * Control thread, also after the deadline: book what happened.  v->err is that of prepare
	 * or run.  Returns false when the verb goes on, by itself.  Optional.
	 */
	bool (*finish)(struct verb *v);
	/* Control thread: what the user hears at the deadline, if not -ETIMEDOUT.  Optional. */
	int (*expired)(struct verb *v);
};

struct verb {
	struct bus_msg msg;
	struct lane_job job;
	struct loop_timer timer;
	const struct verb_ops *ops;
	struct vdpa_bus *bus;
	struct bus_node *node;         /* a reference, or NULL */
	struct vdpa_device_priv *priv; /* of the node, where it is a device */
	TAILQ_ENTRY(verb) entry;       /* of the bus */
	TAILQ_ENTRY(verb) next;        /* of the node, when queued */
	bool queued;
	bool begun;
	bool answered;
	vdpa_done_fn *done;
	void *arg;
	int err;
	struct vdpa_extack ack;

	/* What it is about: each verb uses some. */
	char name[VDPA_NAME_MAX]; /* of the driver or management device */
	uint32_t flags;
	bool rule;
	int idx;
	uint64_t mask;
	struct vdpa_attrs *attrs;
	struct vdpa_attrs *driver_attrs; /* dev set: those of the driver; attrs are the parent's */
	struct driver_entry *driver;
	struct vdpa_worker *worker;
	struct vdpa_info *info;
	struct info_record record;
};

/*
 * attrs: consumed.  NULL when not even the bus's reserve is left: then done has been called.
 */
struct verb *verb_new(struct vdpa_bus *bus, const struct verb_ops *ops, struct vdpa_attrs *attrs,
		      vdpa_done_fn *done, void *arg);
/* Let it wait for its turn on the named device. */
void verb_start(struct verb *v, const char *dev);
/* The same on this device; consumes the reference. */
void verb_start_on(struct verb *v, struct vdpa_device_priv *priv);
/* The same on this node. */
void verb_start_node(struct verb *v, struct bus_node *node);
/* Let its deadline run. */
void verb_arm(struct verb *v);
/* It will not be carried out: the text is in v->ack. */
void verb_refuse(struct verb *v, int err);
/* Prepare and run the ops that v->ops names now: the second half of a verb. */
void verb_begin(struct verb *v);
/* Leave the node's queue and drop the reference, the user still waits. */
void verb_detach(struct verb *v);
/* Answer when the node is freed, or at the deadline: the second half of `del`. */
void verb_wait_freed(struct verb *v, struct bus_node *node);
/* Answer and free; the next one of the node begins. */
void verb_end(struct verb *v);
/* Refuse those on the node that have not begun. */
void verbs_refuse_waiting(struct bus_node *node);
/* The bus goes: answer all, and leave those that hang to themselves. */
void verbs_give_up(struct vdpa_bus *bus);
void verb_free(struct verb *v);

#endif
