#!/bin/sh
# SPDX-License-Identifier: BSD-2-Clause
# Each public header builds alone, as C11 and as C++: compile_headers.sh CC INCLUDE
set -eu
for header in "$2"/vdpa/*.h; do
	name=vdpa/${header##*/}
	for language in c:c11 c++:c++11; do
		echo "#include <$name>" | $1 -x "${language%%:*}" -std="${language#*:}" -Wall -Wextra \
			-Werror -I "$2" -fsyntax-only - || {
			echo "$name does not build alone as ${language#*:}"
			exit 1
		}
	done
done
