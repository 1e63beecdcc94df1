/* SPDX-License-Identifier: BSD-2-Clause */
#include "base/choice.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

static bool has(const struct choice *choice, const char *attr)
{
	for (size_t i = 0; i < CHOICE_ONLY_MAX && choice->only[i]; i++)
		if (!strcmp(choice->only[i], attr))
			return true;
	return false;
}

static int check_foreign(const struct choice *choices, size_t num, const struct choice *chosen,
			 const char *kind, const struct vdpa_attrs *attrs, struct vdpa_extack *ack)
{
	for (size_t i = 0; i < num; i++) {
		for (size_t j = 0; j < CHOICE_ONLY_MAX && choices[i].only[j]; j++) {
			const char *attr = choices[i].only[j];

			if (vdpa_attrs_has(attrs, attr) && !has(chosen, attr))
				return vdpa_extack_set(ack, -EINVAL,
						       "'%s' is for %s '%s', not for '%s'", attr,
						       kind, choices[i].name, chosen->name);
		}
	}
	return 0;
}

int choice_find_kind(const struct choice *choices, size_t num, const char *kind, const char *name,
		     const struct vdpa_attrs *attrs, struct vdpa_extack *ack)
{
	for (size_t i = 0; i < num; i++) {
		int err;

		if (strcmp(choices[i].name, name))
			continue;
		err = check_foreign(choices, num, &choices[i], kind, attrs, ack);
		return err ? err : (int)i;
	}
	return vdpa_extack_set(ack, -EINVAL, "there is no %s '%s'", kind, name);
}

int choice_find(const struct choice *choices, size_t num, const char *name,
		const struct vdpa_attrs *attrs, struct vdpa_extack *ack)
{
	return choice_find_kind(choices, num, "backend", name, attrs, ack);
}
