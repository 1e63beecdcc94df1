# SPDX-License-Identifier: BSD-2-Clause
"""One device, in turn a guest's disk and a file on this host, with the same data.

UVDPA_ROUNDS says how often it goes there and back (3).
"""
import os
import random

from lab import Disk, Qemu, Skip, main, run, say, uml
from uvdpa import check_files, no_io_error, one_disk

ROUNDS = int(os.environ.get("UVDPA_ROUNDS", "3"))

# Checks all files against the sums that are known, then adds one.
GUEST_ROUND = """
mkdir -p /tmp/mnt
fsck.ext4 -fn /dev/vda >/dev/null 2>&1
mount /dev/vda /tmp/mnt
cd /tmp/mnt
if [ -e sums ]; then
	md5sum -c --quiet sums
fi
head -c $((100000 + {size})) /dev/urandom >guest{number}
md5sum $(ls | grep -vE 'sums|lost') >sums
cat sums
cd /
umount /tmp/mnt
"""


def add_file(lab, disk, number):
    """Writes a file into the file system on the host's disk, and its checksum beside it."""
    source, sums = lab.path("source"), lab.path("sums")
    with open(source, "wb") as f:
        f.write(random.randbytes(100000 + random.randrange(100000)))
    with open(sums, "w", encoding="ascii") as f:
        f.write(run("debugfs", "-R", "cat /sums", disk).split("\n", 1)[1])
        f.write(f"{run('md5sum', source).split()[0]}  host{number}\n")
    for command in (f"write {source} host{number}", "rm /sums", f"write {sums} sums"):
        run("debugfs", "-w", "-R", command, disk)


def rounds(lab, kind):
    """A guest writes, the host verifies and writes, the next guest verifies."""
    uvdpa, image = one_disk(lab)
    if "virtio:" not in uvdpa("driver show").split():
        raise Skip("uvdpad was built without libfuse3 (package libfuse3-dev)")
    run("mkfs.ext4", "-q", image)
    disk = uvdpa.path("disk0", "disk")
    for number in range(ROUNDS):
        boot = uml if kind == "uml" else Qemu
        guest = boot(lab, [Disk(uvdpa.socket("disk0"))], name=f"{kind}{number}")
        sums = guest.sh(GUEST_ROUND.format(number=number, size=random.randrange(100000)))
        no_io_error(guest)
        guest.poweroff()
        uvdpa("dev unbind disk0")
        uvdpa("dev bind disk0 driver virtio")
        check_files(disk, sums)
        add_file(lab, disk, number)
        run("e2fsck", "-fn", disk)
        uvdpa("dev unbind disk0")
        uvdpa("dev bind disk0 driver vhost-user")
        say(f"round {number + 1} of {ROUNDS}")
    uvdpa.stop()
    check_files(image, run("debugfs", "-R", "cat /sums", image).split("\n", 1)[1])


main(rounds)
