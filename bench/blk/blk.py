#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Compares uvdpad with qemu-storage-daemon as vhost-user disks, in turn in one run.

For each case both are running, each on processor 0, and the client of blk-load, on processor 1, uses
one and then the other, round after round.  Printed are medians of the rounds: requests a second, times,
processor time of both sides for each request, and the ratio of ours to theirs.
"""
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass

sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), ".."))
from compare import BACK_END_CPU, CLIENT_CPU, SKIP, measure, medians, options, placement, write  # noqa: E402

POLL_US = 50
FILE_SIZE = 1 << 30
NULL_SIZE = 16 << 30
FIGURES = ("iops", "bytes_per_s", "p50_us", "p99_us", "back_end_us", "client_us", "kicks", "calls")


@dataclass(frozen=True)
class Case:
    """What is measured.  Back-end: null, cached, direct."""
    backend: str
    depth: int
    queues: int = 1
    packed: bool = False
    sequential: bool = False
    sleep: bool = False

    @property
    def bytes(self):
        return 131072 if self.sequential else 4096

    def __str__(self):
        kind = "128k seq" if self.sequential else "4k rand"
        return (f"{self.backend:<6} {'packed' if self.packed else 'split':<6} {kind:<8} "
                f"q{self.queues} d{self.depth:<3} {'sleeps' if self.sleep else 'polls'}")


def cases(full):
    """The cases; those that the project has goals for, or all."""
    if full:
        return [Case(backend, depth, queues, packed, sequential, sleep)
                for backend in ("null", "cached", "direct") for packed in (False, True)
                for sequential in (False, True) for sleep in (False, True)
                for queues in (1, 2) for depth in (1, 32, 128)]
    chosen = []
    for backend in ("null", "cached", "direct"):
        chosen += [Case(backend, depth) for depth in (1, 32, 128)]
        chosen += [Case(backend, depth, sleep=True) for depth in (1, 128)]
        chosen += [Case(backend, 32, sequential=True)]
    chosen += [Case("null", depth, packed=True) for depth in (1, 128)]
    chosen += [Case("null", 128, packed=True, sleep=True), Case("null", 128, queues=2)]
    return chosen


class Server:
    """A back-end that runs."""

    def __init__(self, args, name, argv, socket):
        self.name = name
        self.socket = socket
        argv = args.prefix + argv
        with open(socket + ".log", "wb") as log:
            self.popen = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        os.sched_setaffinity(self.popen.pid, {BACK_END_CPU})

    def wait(self):
        end = time.monotonic() + 20
        while not os.path.exists(self.socket):
            if self.popen.poll() is not None or time.monotonic() > end:
                with open(self.socket + ".log", encoding="utf-8", errors="replace") as f:
                    raise RuntimeError(f"{self.name} has not started: {f.read()}")
            time.sleep(0.02)

    def stop(self):
        self.popen.terminate()
        try:
            self.popen.wait(10)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            self.popen.wait()


def qemu(args, case, folder, image):
    """qemu-storage-daemon, its disk on a thread of its own, which polls as it does by default."""
    socket = os.path.join(folder, "qemu.sock")
    node = (f"driver=null-co,node-name=n,size={NULL_SIZE},read-zeroes=off" if case.backend == "null"
            else f"driver=file,node-name=n,filename={image},aio=io_uring,locking=off,"
                 f"cache.direct={'on' if case.backend == 'direct' else 'off'}")
    argv = ["qemu-storage-daemon", "--object", "iothread,id=t", "--blockdev", node, "--export",
            f"type=vhost-user-blk,id=e,addr.type=unix,addr.path={socket},node-name=n,writable=on,"
            f"num-queues={case.queues},iothread=t"]
    return Server(args, "qemu-storage-daemon", argv, socket)


def uvdpad(args, case, folder, image):
    """uvdpad, with one worker."""
    socket = os.path.join(folder, "uvdpa.sock")
    backend = (f"backend null size {NULL_SIZE}" if case.backend == "null"
               else f"file {image} lock off direct {'on' if case.backend == 'direct' else 'off'}")
    start = os.path.join(folder, "start")
    with open(start, "w", encoding="utf-8") as f:
        f.write(f"dev add name disk mgmtdev blk {backend} queues {case.queues}\n"
                f"dev bind disk driver vhost-user socket {socket}\n")
    argv = [os.path.join(args.build, "src/daemon/uvdpad"), "--run-dir", os.path.join(folder, "run"),
            "--config", start, "--workers", "1", "--poll-us", str(POLL_US)]
    return Server(args, "uvdpad", argv, socket)


def sample(args, server, case):
    """One run of the client."""
    argv = [*args.prefix, args.load, "--socket", server.socket, "--depth", case.depth, "--queues", case.queues,
            "--bytes", case.bytes, "--span", FILE_SIZE, "--seconds", args.seconds,
            "--cpu", CLIENT_CPU, "--back-end-cpu", BACK_END_CPU, "--back-end", server.popen.pid]
    # It has no packed rings: ours are compared with its split ones.
    if case.packed and server.name == "uvdpad":
        argv.append("--packed")
    argv += ["--sequential"] * case.sequential + ["--sleep"] * case.sleep
    done = subprocess.run([str(a) for a in argv], capture_output=True, text=True, timeout=60,
                          check=False)
    if done.returncode:
        raise RuntimeError(f"{server.name}: {done.stderr.strip()}")
    result = json.loads(done.stdout)
    result["placement"] = placement(result["round_trip_ns"])
    return result


def report(case, where, kept):
    ours, theirs = (medians(kept[name], FIGURES) for name in ("uvdpad", "qemu-storage-daemon"))
    ratio = ours["iops"] / theirs["iops"]
    print(f"{case!s:<36} {where:<5} {ours['iops'] / 1000:9.1f} {theirs['iops'] / 1000:9.1f} "
          f"{ratio:6.2f}  {ours['p50_us']:8.1f} {theirs['p50_us']:8.1f}  {ours['p99_us']:8.1f} "
          f"{theirs['p99_us']:8.1f}  {ours['back_end_us']:6.2f} {theirs['back_end_us']:6.2f}  "
          f"{ours['client_us']:6.2f} {theirs['client_us']:6.2f}", flush=True)
    return {"case": {**case.__dict__, "bytes": case.bytes}, "placement": where,
            "samples": {name: len(of) for name, of in kept.items()}, "uvdpad": ours,
            "qemu-storage-daemon": theirs, "ratio": ratio}


def make_image(folder):
    """A file with data in it: a hole costs less to read."""
    path = os.path.join(folder, "image")
    chunk = os.urandom(1 << 20)
    with open(path, "wb") as f:
        for _ in range(FILE_SIZE >> 20):
            f.write(chunk)
        f.flush()
        os.fsync(f.fileno())
    return path


def warm(image):
    """Reads the file whole: the kernel takes pages back in the background."""
    with open(image, "rb", buffering=0) as f:
        while f.read(1 << 22):
            pass


def run_case(args, case, folder, image):
    work = tempfile.mkdtemp(dir=folder)
    servers = []
    try:
        servers.append(uvdpad(args, case, work, image))
        servers.append(qemu(args, case, work, image))
        for server in servers:
            server.wait()
        if case.backend == "cached":
            warm(image)
        return report(case, *measure(args.rounds, servers,
                                     lambda server: sample(args, server, case)))
    finally:
        for server in servers:
            server.stop()
        shutil.rmtree(work)


def verify(args, folder, image):
    """Whether what is measured is right: data that is written comes back."""
    for packed in (False, True):
        work = tempfile.mkdtemp(dir=folder)
        case = Case("cached", 32, queues=2, packed=packed)
        server = uvdpad(args, case, work, image)
        try:
            server.wait()
            subprocess.run([args.load, "--socket", server.socket, "--depth", "32", "--queues", "2",
                            "--verify", "--seconds", "1", "--span", str(64 << 20)]
                           + ["--packed"] * packed, check=True, timeout=60,
                           stdout=subprocess.DEVNULL)
        finally:
            server.stop()
            shutil.rmtree(work)


def parse():
    parser = options("vhost-user disks: uvdpad and qemu-storage-daemon")
    parser.add_argument("--fifo", action="store_true",
                        help="run both sides before all else, where the machine is busy (root)")
    parser.add_argument("--full", action="store_true", help="each combination")
    parser.add_argument("--dir", default="/var/tmp", help="where the disk image is made (/var/tmp)")
    return parser.parse_args()


def main():
    args = parse()
    args.prefix = ["chrt", "-f", "1"] if args.fifo else []
    args.load = os.path.join(args.build, "bench/blk-load")
    if not shutil.which("qemu-storage-daemon"):
        print("no qemu-storage-daemon (package qemu-utils)")
        return SKIP
    if os.cpu_count() < 2:
        print("needs two processors")
        return SKIP
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    results = []
    with tempfile.TemporaryDirectory(prefix="uvdpa-bench-", dir=args.dir) as folder:
        image = make_image(folder)
        verify(args, folder, image)
        print(f"{'':<42} {'thousand IOPS':>19} {'':>6}  {'p50 us':>17}  {'p99 us':>17}  "
              f"{'CPU us/request':>13}  {'of client':>13}")
        print(f"{'case':<36} {'cores':<5} {'uvdpad':>9} {'qemu':>9} {'ratio':>6}  {'uvdpad':>8} "
              f"{'qemu':>8}  {'uvdpad':>8} {'qemu':>8}  {'uvdpad':>6} {'qemu':>6}  "
              f"{'uvdpad':>6} {'qemu':>6}")
        for case in cases(args.full):
            if args.only in str(case):
                results.append(run_case(args, case, folder, image))
    write(args, results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
