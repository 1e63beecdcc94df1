/* SPDX-License-Identifier: BSD-2-Clause */
/**
 * @file
 * Error text for people.
 *
 * A function that can fail for a reason worth telling takes a `struct vdpa_extack *` as its last
 * parameter.  The function that finds the fault writes the text; those above hand it on.
 * The caller may pass NULL when nobody will read it:
 *
 *	struct vdpa_extack ack = {0};
 *	int err = vdpa_dev_add(..., &ack);
 *	if (err)
 *		fprintf(stderr, "uvdpa: %s\n", vdpa_extack_text(&ack, err));
 *
 * Style: lower case, names in quotes, no full stop, what was wrong and what would be right.
 */
#ifndef VDPA_EXTACK_H
#define VDPA_EXTACK_H

#ifdef __cplusplus
extern "C" {
#endif

#define VDPA_EXTACK_LEN 256

struct vdpa_extack {
	char msg[VDPA_EXTACK_LEN];
};

/**
 * Write the text of an error, unless one is there already: the first is the nearest to the fault.
 *
 * @param ack  may be NULL
 * @param err  the error to return, negative
 * @param fmt  as for printf()
 * @return err
 * @context any thread; ack belongs to the caller
 */
int vdpa_extack_set(struct vdpa_extack *ack, int err, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/**
 * Put words before the text that is there (e.g. the device's name).
 *
 * @param ack  may be NULL; nothing happens when it holds no text
 * @param err  returned as it is
 * @return err
 */
int vdpa_extack_prefix(struct vdpa_extack *ack, int err, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/**
 * @return the text, or that of err (negative or positive errno) when nobody wrote one
 */
const char *vdpa_extack_text(const struct vdpa_extack *ack, int err);

#ifdef __cplusplus
}
#endif

#endif
