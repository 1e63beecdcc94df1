#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""What a TmFIFO's console feels of its network: how long a byte takes to come back over the console.

uvdpad, on processor 0, drives a model of the hardware.  The other end, on processor 1, echoes what
comes over the console and is the peer on the network.  Both devices are this host's: a terminal and
an interface.

    idle    the network has nothing to send
    out     this host sends as much as goes (TCP)
    in      the other end does

Printed are microseconds from writing a byte to reading it, the median, the 99th percentile and the
longest; the network's rate; and the most bytes of the network's that went by while the console had
something to send.
"""
import json
import os
import statistics
import subprocess
import sys
import time
import tty

HERE = os.path.dirname(os.path.realpath(__file__))
sys.path[:0] = [os.path.join(HERE, ".."), os.path.join(HERE, "../../tests/interop")]
from compare import BACK_END_CPU, CLIENT_CPU, SKIP, options, write  # noqa: E402

LOADS = {"idle": None, "out": "", "in": "-R"}
# Bytes that are sent before the first one counts.
WARM_UP = 20


def echo(fd, seconds):
    """Seconds that each byte took, one after the other."""
    times = []
    end = time.monotonic() + seconds
    while (begin := time.monotonic()) < end:
        os.write(fd, b"x")
        os.read(fd, 1)
        times.append(time.monotonic() - begin)
    return times[WARM_UP:]


def sample(near, fd, load, seconds):
    """Returns the times of the echo, and the rate of the network in MB/s."""
    if load is None:
        return echo(fd, seconds), 0.0
    # It begins before the echo and ends after it.
    argv = [*near.enter, "iperf3", "-c", "10.8.0.2", "-t", str(round(seconds) + 2), "-J", *load.split()]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as client:
        time.sleep(1)
        times = echo(fd, seconds)
        report = json.loads(client.communicate()[0])
    if "error" in report:
        raise LabError(report["error"])
    return times, report["end"]["sum_received"]["bits_per_second"] / 8e6


def figures(times, rate, stats):
    cuts = statistics.quantiles(times, n=100)
    return {"bytes": len(times), "median_us": 1e6 * cuts[49], "p99_us": 1e6 * cuts[98],
            "max_us": 1e6 * max(times), "mb_s": rate, "wait_max": stats["console"]["wait_max"]}


def run(args):
    results = []
    print(f"{'load':<6} {'echoes':>8} {'median us':>10} {'p99 us':>10} {'max us':>10} {'MB/s':>8} "
          f"{'wait_max':>9}")
    with Lab() as lab:
        board = Board(lab, "echo", cpu=CLIENT_CPU)
        near = lab.netns("near")
        daemon = start(lab, board, "virtio", netns=near, cpu=BACK_END_CPU)
        near("ip address add 10.8.0.1/24 dev near0")
        near("ip link set near0 up")
        lab.start("server", ["iperf3", "-s"], netns=board.space)
        until("the network", lambda: " 0% packet loss" in near(
            "busybox ping -q -c 1 -W 1 10.8.0.2", check=False))
        fd = os.open(daemon.path("con0", "tty"), os.O_RDWR | os.O_NOCTTY)
        tty.setraw(fd)
        for name, load in LOADS.items():
            if args.only not in name:
                continue
            times, rate = sample(near, fd, load, args.rounds * args.seconds)
            found = figures(times, rate, shown(daemon))
            print(f"{name:<6} {found['bytes']:>8} {found['median_us']:>10.0f} {found['p99_us']:>10.0f} "
                  f"{found['max_us']:>10.0f} {found['mb_s']:>8.1f} {found['wait_max']:>9}", flush=True)
            results.append({"case": {"load": name}, **found})
        daemon.stop()
    return results


def parse():
    return options("the console of a TmFIFO while its network is busy").parse_args()


def main():
    args = parse()
    if os.cpu_count() < 2:
        print("needs two processors")
        return SKIP
    try:
        need("/usr/bin/iperf3", "iperf3")
        write(args, run(args))
    except Skip as reason:
        print(reason)
        return SKIP
    return 0


if __name__ == "__main__":
    # The tests' helpers find the build folder by it.
    os.environ.setdefault("UVDPA_BUILD", os.path.abspath(parse().build))
    from board import Board, shown, start  # noqa: E402
    from lab import Lab, LabError, Skip, need, until  # noqa: E402
    sys.exit(main())
