# SPDX-License-Identifier: BSD-2-Clause
"""Random bytes of an entropy device, judged by rngtest: on this host and in a guest."""
import fcntl
import os
import re
import struct
import subprocess
import termios

from lab import TIMEOUT, Qemu, main, need, say, until
from uvdpa import Uvdpa

RNGTEST = "/usr/bin/rngtest"
RNGD = "/usr/sbin/rngd"
# Of 2500 bytes; one in 1200 of perfectly random ones fails.
HOST_BLOCKS = 200
# A stock driver asks for 64 bytes at a time.
GUEST_BLOCKS = 20
FAILURES_MAX = 3


def check_report(text, blocks):
    """rngtest has seen all blocks, and nearly all were random."""
    good = int(re.search(r"FIPS 140-2 successes: (\d+)", text)[1])
    bad = int(re.search(r"FIPS 140-2 failures: (\d+)", text)[1])
    assert good + bad == blocks and bad <= FAILURES_MAX, text


def unread(fifo):
    """Bytes that wait in a FIFO."""
    return struct.unpack("i", fcntl.ioctl(fifo, termios.FIONREAD, bytes(4)))[0]


def rngd_reads(lab, path):
    """rngd takes a block of 2500 bytes for the kernel at a time.  Nobody has read before."""
    full = 8192
    with open(path, "rb", buffering=0) as fifo:
        until("the FIFO is full", lambda: unread(fifo) == full)
        rngd = lab.start("rngd", [RNGD, "-f", "-d", "1", "-n", "1", "-r", path, "-p", lab.path("pid")])
        until("rngd has read", lambda: not rngd.alive() or full - unread(fifo) >= 2500)
        assert rngd.alive(), rngd.output()
        rngd.kill()


def host(lab):
    """The driver's FIFO as rngtest and rngd read it."""
    need(RNGTEST, "rng-tools5")
    uvdpa = Uvdpa(lab, "dev add name rng0 mgmtdev rng", "dev bind rng0 driver virtio")
    path = uvdpa.path("rng0", "hwrng")
    rngd_reads(lab, path)
    for _ in range(2):
        with open(path, "rb") as fifo:
            report = subprocess.run([RNGTEST, "-c", str(HOST_BLOCKS)], stdin=fifo, timeout=TIMEOUT,
                                    capture_output=True, text=True, check=False)
        check_report(report.stderr, HOST_BLOCKS)
    uvdpa("dev unbind rng0")
    assert not os.path.exists(path)
    uvdpa.stop()


def judge_in(guest):
    assert "virtio_rng" in guest.sh("cat /sys/class/misc/hw_random/rng_current")
    report = guest.sh(f"rngtest -c {GUEST_BLOCKS} </dev/hwrng 2>&1 || true")
    check_report(report, GUEST_BLOCKS)


def qemu(lab):
    """A stock guest has the device as /dev/hwrng, also after a reset."""
    need(RNGTEST, "rng-tools5")
    uvdpa = Uvdpa(lab, "dev add name rng0 mgmtdev rng", "dev bind rng0 driver vhost-user")
    guest = Qemu(lab, [], modules=["virtio-rng"], extra=[
        "-chardev", f"socket,id=rng,path={uvdpa.socket('rng0')}",
        "-device", "vhost-user-rng-pci,chardev=rng"])
    say("booted")
    judge_in(guest)
    guest.reset()
    say("reset")
    judge_in(guest)
    guest.poweroff()
    uvdpa.stop()


main(host, qemu)
