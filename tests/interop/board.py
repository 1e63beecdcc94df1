# SPDX-License-Identifier: BSD-2-Clause
"""A TmFIFO's hardware, in software, and uvdpad with its two devices."""
import os

from lab import BUILD
from uvdpa import Uvdpa

BOARD = os.path.join(BUILD, "tests/hw/tmfifo-board")
PLUGIN = os.path.join(BUILD, "tests/hw/tmfifo_model.so")


class Board:
    """The hardware, and the computer at its other end, which has a network namespace of its own."""

    def __init__(self, lab, console, **how):
        """console: `echo`, or a socket to listen at.  how: of how the lab starts it."""
        self.socket = lab.path("board.sock")
        self.space = lab.netns("far")
        self.process = lab.start("board", [BOARD, self.socket, console, "far0"], netns=self.space,
                                 **how)
        lab.wait_socket(self.socket, self.process)
        self.space("ip address add 10.8.0.2/24 dev far0")
        self.space("ip link set far0 up")


def start(lab, board, driver, **how):
    """A daemon with the FIFO tmf0 and its two devices."""
    net = "driver virtio ifname near0" if driver == "virtio" else f"driver {driver}"
    return Uvdpa(lab, f"mgmtdev add tmf0 type tmfifo-model board {board.socket}",
                 "dev add name con0 mgmtdev tmf0 type console",
                 "dev add name net0 mgmtdev tmf0 type net",
                 f"dev bind con0 driver {driver}", f"dev bind net0 {net}",
                 args=["--load", PLUGIN], **how)


def shown(uvdpa):
    return uvdpa.json("mgmtdev show tmf0")["mgmtdev"]["tmf0"]["device"]
