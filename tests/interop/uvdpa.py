# SPDX-License-Identifier: BSD-2-Clause
"""uvdpad of the build folder, and what tests of its devices have in common."""
import hashlib
import json
import os
import socket
import subprocess

from lab import BUILD, LabError, run, until

UVDPAD = os.path.join(BUILD, "src/daemon/uvdpad")
UVDPA = os.path.join(BUILD, "src/cli/uvdpa")


class Uvdpa:
    """A daemon with a start-up file.  Calling it runs a command of the command-line tool."""

    def __init__(self, lab, *setup, name="uvdpad", args=(), **how):
        """args: further options of the daemon; how: of how the lab starts it."""
        self.lab = lab
        self.name = name
        self.args = args
        self.how = how
        self.run = lab.path(name + ".run")
        self.config = lab.path(name + ".conf")
        self.process = None
        with open(self.config, "w", encoding="utf-8") as f:
            f.write("\n".join(setup) + "\n")
        self.start()

    def start(self):
        """Starts it and waits until it says, as to a service manager, that all is set up."""
        path = self.lab.path("notify")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.bind(path)
            self.process = self.lab.start(
                self.name, [UVDPAD, "--run-dir", self.run, "--config", self.config, *self.args],
                env={"NOTIFY_SOCKET": path}, **self.how)
            notify.settimeout(0.1)
            until(f"{self.name} is ready", lambda: self._ready(notify))
        os.unlink(path)

    def _ready(self, notify):
        if not self.process.alive():
            raise LabError(f"{self.name} has ended\n{self.process.tail()}")
        try:
            return b"READY=1" in notify.recv(4096)
        except TimeoutError:
            return False

    def __call__(self, command, check=True):
        return run(UVDPA, "--run-dir", self.run, *command.split(), check=check)

    def json(self, command):
        return json.loads(self("-j " + command))

    def path(self, device, handle):
        """A stable name of the run directory."""
        return os.path.join(self.run, "dev", device, handle)

    def socket(self, device):
        return self.path(device, "vhost.sock")

    def crash(self):
        """kill -9, and a new daemon."""
        self.process.kill()
        self.start()

    def stop(self):
        """Ends the daemon as a user does; nothing may be left of it."""
        self("stop")
        status = self.process.wait()
        assert status == 0, f"{self.name}: status {status}"
        assert not self.lab.mounts(), self.lab.mounts()
        left = [name for _, _, files in os.walk(self.run) for name in files if "sock" in name]
        assert not left, f"left behind: {left}"


def one_disk(lab, size="64M", attributes="", driver="driver vhost-user"):
    """A daemon with the device disk0 on a new image; returns both."""
    image = lab.image("disk.img", size)
    uvdpa = Uvdpa(lab, f"dev add name disk0 mgmtdev blk file {image} {attributes}",
                  f"dev bind disk0 {driver}")
    return uvdpa, image


def counters(uvdpa, device):
    """What the queues of a device have counted."""
    return uvdpa.json(f"dev vstats show {device}")["vstats"][device]["queues"]


# Mounts a new file system and fills it from all processors at once; prints checksums that hold
# after all that was cached is gone.
WRITE_FILES = """
mkfs.ext4 -q /dev/vda
mkdir -p /tmp/mnt
mount /dev/vda /tmp/mnt
for cpu in $(seq 0 $(($(nproc) - 1))); do
	taskset -c $cpu dd if=/dev/urandom of=/tmp/mnt/big$cpu bs=64k count=48 2>/dev/null &
done
for i in $(seq 50); do
	echo "small file $i" >/tmp/mnt/small$i
done
wait
sync
cd /tmp/mnt
md5sum big* small* >/tmp/sums
cd /
umount /tmp/mnt
echo 3 >/proc/sys/vm/drop_caches
fsck.ext4 -fn /dev/vda >/dev/null 2>&1
mount /dev/vda /tmp/mnt
cd /tmp/mnt
md5sum -c --quiet /tmp/sums
cd /
umount /tmp/mnt
cat /tmp/sums
"""


def host_sum(disk, name):
    """The checksum of a file of an ext4 image or disk, read on the host without a mount."""
    data = subprocess.run(["debugfs", "-R", f"cat /{name}", disk], stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, check=True, timeout=60).stdout
    return hashlib.md5(data).hexdigest()


def check_files(disk, sums):
    """Checks a file system on the host, and files against the output of md5sum."""
    run("e2fsck", "-fn", disk)
    lines = sums.splitlines()
    assert lines, "no checksums"
    for line in lines:
        expected, name = line.split()
        found = host_sum(disk, name)
        assert found == expected, f"{name} of {disk}: {found}, not {expected}"


def no_io_error(guest):
    """The kernel log of the guest shows no error of its disk."""
    found = guest.sh("dmesg | grep -iE 'I/O error|blk_update_request|EXT4-fs error' || true")
    assert not found, found
