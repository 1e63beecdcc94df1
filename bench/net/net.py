#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Compares uvdpad with DPDK's own vhost back-end, in turn in one run, under the same DPDK front-end.

The front-end (testpmd, virtio-user ports, on processor 1) sends frames, and sends again what comes
back.  The back-end, on processor 0, is either a testpmd with vhost ports or uvdpad.

    loop    one port; what the back-end gets from it goes back to it: uvdpad's backend `loopback`
    ports   two ports; what the back-end gets from one goes to the other: uvdpad's switch

Printed are medians: million frames a second that came back to the front-end, the processor time of
the back-end for each of them, and the ratio of ours to theirs.
"""
import contextlib
import os
import subprocess
import sys
import time
from dataclasses import dataclass

HERE = os.path.dirname(os.path.realpath(__file__))
sys.path[:0] = [os.path.join(HERE, ".."), os.path.join(HERE, "../../tests/interop")]
from compare import BACK_END_CPU, CLIENT_CPU, SKIP, measure, medians, options, placement, write  # noqa: E402

RING = 1024
POLL_US = 50
# Bursts of 32 frames that go round.
BURSTS = 32
SIZES = (64, 1518)
HUGE_PAGES = "/proc/sys/vm/nr_hugepages"
# 2 MiB each: three programs of 256 MiB, and what they take beside it.
HUGE_PAGES_NEEDED = 400
FIGURES = ("mpps", "back_end_ns")


@dataclass(frozen=True)
class Setting:
    """What both sides are started with.  Ports: 1 for a loop."""
    ports: int
    packed: bool
    mergeable: bool

    def __str__(self):
        return (f"{'loop' if self.ports == 1 else 'ports':<5} "
                f"{'packed' if self.packed else 'split':<6} mrg_rxbuf={int(self.mergeable)}")


def settings():
    return [Setting(ports, packed, mergeable) for ports in (1, 2) for packed in (False, True)
            for mergeable in (True, False)]


@contextlib.contextmanager
def huge_pages():
    """Has the kernel set huge pages aside; yields whether there are enough."""
    with open(HUGE_PAGES, encoding="ascii") as f:
        before = f.read()
    try:
        if os.geteuid() == 0 and int(before) < HUGE_PAGES_NEEDED:
            set_huge_pages(HUGE_PAGES_NEEDED)
        with open(HUGE_PAGES, encoding="ascii") as f:
            yield int(f.read()) >= HUGE_PAGES_NEEDED
    finally:
        if os.geteuid() == 0 and int(before) < HUGE_PAGES_NEEDED:
            set_huge_pages(before)


def set_huge_pages(num):
    with open(HUGE_PAGES, "w", encoding="ascii") as f:
        f.write(str(num))


class Dpdk:
    """A testpmd with a vhost port for each socket."""

    def __init__(self, lab, name, ports, huge):
        self.name = name
        self.sockets = [lab.path(f"{name}{i}.sock") for i in range(ports)]
        self.program = Testpmd(lab, name, [vhost(i, path) for i, path in enumerate(self.sockets)],
                               cpu=BACK_END_CPU, hugepages=huge,
                               options=[f"--rxd={RING}", f"--txd={RING}"])
        self.pid = self.program.process.pid

    def start(self):
        self.program("start")

    def stop(self):
        """It polls as long as it forwards, and would be in the other side's way."""
        self.program("stop")

    def end(self):
        self.program.quit()


class Ours:
    """uvdpad, with one worker.  It sleeps while nobody sends."""

    def __init__(self, lab, name, ports):
        self.name = name
        setup = ["mgmtdev add sw0 type switch"] if ports > 1 else []
        mgmtdev = "sw0" if ports > 1 else "net backend loopback"
        for i in range(ports):
            setup += [f"dev add name net{i} mgmtdev {mgmtdev} in-order on",
                      f"dev bind net{i} driver vhost-user"]
        self.daemon = Uvdpa(lab, *setup, name=name, cpu=BACK_END_CPU,
                            args=["--workers", "1", "--poll-us", POLL_US])
        self.sockets = [self.daemon.socket(f"net{i}") for i in range(ports)]
        self.pid = self.daemon.process.pid

    def start(self):
        pass

    def stop(self):
        pass

    def end(self):
        self.daemon.stop()


class Front:
    """The front-end: its ports are those of all sides, of which one side's are in use at a time."""

    def __init__(self, lab, setting, sides, huge):
        self.ports = {}
        vdevs = []
        for side in sides:
            self.ports[side.name] = range(len(vdevs), len(vdevs) + setting.ports)
            for path in side.sockets:
                vdevs.append(virtio_user(len(vdevs), path, size=RING, mac=self._mac(len(vdevs)),
                                         packed_vq=setting.packed, mrg_rxbuf=setting.mergeable,
                                         in_order=False))
        self.program = Testpmd(lab, "front", vdevs, cpu=CLIENT_CPU, hugepages=huge,
                               options=[f"--rxd={RING}", f"--txd={RING}"])
        for ports in self.ports.values():
            for port, peer in zip(ports, reversed(ports)):
                self.program(f"set eth-peer {port} {self._mac(peer)}")

    @staticmethod
    def _mac(port):
        return f"02:00:00:00:01:{port:02x}"

    def begin(self, side, size):
        self.program(f"set portlist {','.join(map(str, self.ports[side.name]))}")
        self.program(f"set txpkts {size}")
        self.program(f"start tx_first {BURSTS}")

    def stop(self):
        self.program("stop")

    def frames(self, side):
        """How many have come back, and how many a second since this was asked last."""
        stats = [self.program.stats(port) for port in self.ports[side.name]]
        return [sum(of[key] for of in stats) for key in ("RX-packets", "Rx-pps")]

    def end(self):
        self.program.quit()


def cpu_time(pid):
    """Nanoseconds that all threads of a process have run."""
    total = 0
    for thread in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{thread}/schedstat", encoding="ascii") as f:
            total += int(f.read().split()[0])
    return total


def sample(args, front, side, size):
    """Frames go round for a while."""
    round_trips = [round_trip(args)]
    side.start()
    front.begin(side, size)
    frames, _ = front.frames(side)
    cpu = cpu_time(side.pid)
    time.sleep(args.seconds)
    again, rate = front.frames(side)
    cpu = cpu_time(side.pid) - cpu
    front.stop()
    side.stop()
    round_trips.append(round_trip(args))
    if again == frames:
        raise LabError(f"{side.name}: no frame came back")
    return {"mpps": rate / 1e6, "back_end_ns": cpu / (again - frames),
            "placement": placement(round_trips)}


def round_trip(args):
    return float(subprocess.run([os.path.join(args.build, "bench/round-trip")], check=True,
                                stdout=subprocess.PIPE, timeout=60).stdout)


def report(setting, size, names, where, kept):
    ours, theirs = (medians(kept[name], FIGURES) for name in names)
    ratio = ours["mpps"] / theirs["mpps"]
    print(f"{setting!s} {size:>5}  {where:<5} {ours['mpps']:8.2f} {theirs['mpps']:8.2f} {ratio:6.2f}"
          f"  {ours['back_end_ns']:8.1f} {theirs['back_end_ns']:8.1f}", flush=True)
    return {"case": {**setting.__dict__, "bytes": size}, "placement": where,
            "samples": {name: len(of) for name, of in kept.items()},
            names[0]: ours, names[1]: theirs, "ratio": ratio}


def run_setting(args, setting, huge):
    results = []
    with Lab() as lab:
        sides = [Dpdk(lab, "control", setting.ports, huge) if args.control
                 else Ours(lab, "uvdpad", setting.ports), Dpdk(lab, "dpdk", setting.ports, huge)]
        front = Front(lab, setting, sides, huge)
        for size in args.sizes:
            results.append(report(setting, size, [side.name for side in sides], *measure(
                args.rounds, sides, lambda side, size=size: sample(args, front, side, size))))
        for program in (front, *sides):
            program.end()
    return results


def verify():
    """Whether what is measured is right: frames come back as they were sent."""
    for packed in (False, True):
        with Lab() as lab:
            side = Ours(lab, "uvdpad", 1)
            front = Echo(lab, "front", side.sockets[0], size=RING, packed_vq=packed)
            front.round(RING // 4)
            front.quit()
            side.end()


def parse():
    parser = options("vhost-user network devices: uvdpad and DPDK's vhost library")
    parser.add_argument("--control", action="store_true",
                        help="DPDK against itself: what the ratios are worth")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="bytes of a frame")
    return parser.parse_args()


def main():
    args = parse()
    if os.cpu_count() < 2:
        print("needs two processors")
        return SKIP
    if not args.control:
        verify()
    results = []
    with huge_pages() as huge:
        names = "control" if args.control else "uvdpad"
        print(f"{'':<26} {'million frames/s' + ('' if huge else ', no huge pages'):>29} {'':>7} "
              f"{'CPU ns/frame':>17}")
        print(f"{'case':<22} bytes  cores {names:>8} {'dpdk':>8} {'ratio':>6}  {names:>8} {'dpdk':>8}")
        for setting in settings():
            if args.only in str(setting):
                results += run_setting(args, setting, huge)
    write(args, results)
    return 0


if __name__ == "__main__":
    # The tests' helpers find the build folder by it.
    os.environ.setdefault("UVDPA_BUILD", os.path.abspath(parse().build))
    from lab import Lab, LabError, Skip  # noqa: E402
    from testpmd import Echo, Testpmd, vhost, virtio_user  # noqa: E402
    from uvdpa import Uvdpa  # noqa: E402
    try:
        sys.exit(main())
    except Skip as reason:
        print(reason)
        sys.exit(SKIP)
