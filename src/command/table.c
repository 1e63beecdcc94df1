/* SPDX-License-Identifier: BSD-2-Clause */
#include "command/command.h"

#define NAME(w)                                                                                    \
	{                                                                                          \
		"name", COMMAND_STRING, COMMAND_REQUIRED | COMMAND_POSITIONAL, (w), "NAME"         \
	}
#define SOME(w)                                                                                    \
	{                                                                                          \
		"name", COMMAND_STRING, COMMAND_POSITIONAL, (w), "NAME"                            \
	}
#define KEY_VALUE                                                                                  \
	{                                                                                          \
		"attrs", COMMAND_ATTRS                                                             \
	}
#define KEY_VALUES                                                                                 \
	{                                                                                          \
		"attrs", COMMAND_ATTRS, COMMAND_REQUIRED                                           \
	}
#define FORCE                                                                                      \
	{                                                                                          \
		"force", COMMAND_FLAG                                                              \
	}
#define STATISTICS                                                                                 \
	{                                                                                          \
		"statistics", COMMAND_FLAG, COMMAND_OPTION                                         \
	}

const struct command command_table[] = {
	{{"mgmtdev", "show"},
	 {SOME(COMMAND_MGMTDEV)},
	 0,
	 "what can be made: classes, queues, features, attributes; types"},
	{{"mgmtdev", "add"},
	 {NAME(COMMAND_ANYTHING),
	  {"type", COMMAND_STRING, COMMAND_REQUIRED, COMMAND_TYPE, "TYPE"},
	  KEY_VALUE},
	 0,
	 "make a management device"},
	{{"mgmtdev", "set"},
	 {NAME(COMMAND_MGMTDEV), KEY_VALUES},
	 0,
	 "change one that was made, while it is used"},
	{{"mgmtdev", "del"},
	 {NAME(COMMAND_MGMTDEV)},
	 0,
	 "remove one that was made and has no devices"},
	{{"dev", "add"},
	 {{"name", COMMAND_STRING, COMMAND_REQUIRED, COMMAND_ANYTHING, "NAME"},
	  {"mgmtdev", COMMAND_STRING, COMMAND_REQUIRED, COMMAND_MGMTDEV, "MGMTDEV"},
	  KEY_VALUE},
	 0,
	 "make a device"},
	{{"dev", "del"}, {NAME(COMMAND_DEV), FORCE}, 0, "remove a device"},
	{{"dev", "show"}, {SOME(COMMAND_DEV), STATISTICS}, 0, "devices, their drivers and clients"},
	{{"dev", "set"}, {NAME(COMMAND_DEV), KEY_VALUES}, 0, "change a device while it is used"},
	{{"dev", "bind"},
	 {NAME(COMMAND_DEV),
	  {"driver", COMMAND_STRING, COMMAND_REQUIRED, COMMAND_DRIVER, "DRIVER"},
	  FORCE,
	  KEY_VALUE},
	 0,
	 "hand a device to a driver"},
	{{"dev", "unbind"}, {NAME(COMMAND_DEV), FORCE}, 0, "take a device back from its driver"},
	{{"dev", "config", "show"}, {SOME(COMMAND_DEV)}, 0, "the config space, decoded"},
	{{"dev", "vstats", "show"},
	 {NAME(COMMAND_DEV), {"qidx", COMMAND_UINT, 0, COMMAND_ANYTHING, "N"}},
	 0,
	 "statistics of the queues"},
	{{"dev", "explain"},
	 {NAME(COMMAND_DEV)},
	 0,
	 "each feature bit: offered, masked, acked, and by whom it was dropped"},
	{{"driver", "show"},
	 {SOME(COMMAND_DRIVER)},
	 0,
	 "drivers, and what they are the default of"},
	{{"driver", "default"},
	 {{"class", COMMAND_STRING, COMMAND_REQUIRED | COMMAND_POSITIONAL, COMMAND_CLASS, "CLASS"},
	  {"driver", COMMAND_STRING, COMMAND_REQUIRED | COMMAND_POSITIONAL, COMMAND_DRIVER,
	   "DRIVER"}},
	 0,
	 "bind new devices of a class to this driver ('none': to none)"},
	{{"worker", "show"}, {SOME(COMMAND_WORKER)}, 0, "threads that serve queues"},
	{{"worker", "add"},
	 {NAME(COMMAND_ANYTHING),
	  {"cpu", COMMAND_CPU, 0, COMMAND_ANYTHING, "N"},
	  {"poll-us", COMMAND_UINT, 0, COMMAND_ANYTHING, "N"}},
	 0,
	 "make a worker"},
	{{"worker", "set"},
	 {NAME(COMMAND_WORKER),
	  {"cpu", COMMAND_CPU, 0, COMMAND_ANYTHING, "N"},
	  {"poll-us", COMMAND_UINT, 0, COMMAND_ANYTHING, "N"}},
	 0,
	 "change a worker"},
	{{"worker", "del"}, {NAME(COMMAND_WORKER)}, 0, "remove a worker that serves no queue"},
	{{"monitor"}, {{NULL}}, COMMAND_SESSION, "print events as they come"},
	{{"top"},
	 {SOME(COMMAND_DEV),
	  {"interval", COMMAND_UINT, 0, COMMAND_ANYTHING, "SECONDS"},
	  {"count", COMMAND_UINT, 0, COMMAND_ANYTHING, "N"}},
	 COMMAND_LOCAL,
	 "requests, bytes, kicks and calls of each queue, live"},
	{{"save"},
	 {{NULL}},
	 COMMAND_SESSION,
	 "print the commands that make the present state again"},
	{{"stop"}, {{NULL}}, COMMAND_SESSION, "detach everything and end the daemon"},
	{{"restart"},
	 {{NULL}},
	 COMMAND_SESSION,
	 "execute the daemon anew, with the state that it has now"},
	{{NULL}, {{NULL}}, 0, NULL},
};
