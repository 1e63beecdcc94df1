# SPDX-License-Identifier: BSD-2-Clause
# A front for meson and ninja that sets everything up first.  `make help` says what there is.

BUILD ?= build
# What goes to meson when the build folder is made, such as --prefix=/usr.
MESON_ARGS ?=
# `make check PEERS=no` leaves out what needs guests and peers.
PEERS ?= yes
# The guest of the demo: uml (user-mode Linux), or qemu.
GUEST ?= uml
# What goes to `meson test`: names of tests, or options.
T ?=

suites := $(if $(filter no,$(PEERS)),--no-suite interop)
group := $(if $(filter no,$(PEERS)),build,all)

.PHONY: all build deps-build deps-all demo check bench install clean distclean help

all: build

deps-build deps-all: deps-%:
	@scripts/install-deps $*

$(BUILD)/build.ninja: | deps-build
	meson setup $(BUILD) $(MESON_ARGS)

build: deps-build $(BUILD)/build.ninja
	@ninja -C $(BUILD)

demo: deps-all build
	@GUEST=$(GUEST) scripts/demo $(BUILD)

check: deps-$(group) build
	@scripts/check $(BUILD) $(suites) $(T)

bench: deps-all build
	@meson test -C $(BUILD) --no-rebuild --benchmark --verbose $(T)

install: build
	meson install -C $(BUILD) --no-rebuild

clean:
	rm -rf $(BUILD)

# Also the guest kernel that the interop tests have downloaded.
distclean: clean
	rm -rf "$${UVDPA_CACHE:-$${XDG_CACHE_HOME:-$$HOME/.cache}/uvdpa}/kernel"

help:
	@echo "make            build in $(BUILD)/ (installs missing packages first)"
	@echo "make demo       a guest's disk and network, then the disk as a file; GUEST=qemu for QEMU"
	@echo "make check      run all tests; PEERS=no leaves out guests and peers, T=NAME picks one"
	@echo "make bench      run the benchmarks"
	@echo "make install    install (DESTDIR is honoured; MESON_ARGS=--prefix=/usr on the first make)"
	@echo "make clean      remove $(BUILD)/; make distclean also the downloaded guest kernel"
