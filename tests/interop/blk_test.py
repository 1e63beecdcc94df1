# SPDX-License-Identifier: BSD-2-Clause
"""Stock guests on a block device of uvdpad."""
import os

from lab import Disk, Qemu, main, run, say, uml
from uvdpa import WRITE_FILES, check_files, counters, no_io_error, one_disk

RING_PACKED = 34


def qemu_files(lab, ring, queues):
    """Files written under QEMU are the same on the host; each queue has its share."""
    uvdpa, image = one_disk(lab, attributes=f"queues {queues}")
    disk = Disk(uvdpa.socket("disk0"), queues=int(queues), packed=ring == "packed")
    guest = Qemu(lab, [disk], smp=int(queues))
    say("booted")
    assert guest.sh("ls /sys/block/vda/mq").split() == [str(i) for i in range(int(queues))]
    assert guest.has_feature("block/vda", RING_PACKED) == disk.packed
    sums = guest.sh(WRITE_FILES)
    # Each processor has a queue; the files may not have needed all of them.
    for cpu in range(int(queues)):
        guest.sh(f"taskset -c {cpu} dd if=/dev/vda of=/dev/null bs=4096 count=1 iflag=direct")
    no_io_error(guest)
    guest.poweroff()
    queues_now = counters(uvdpa, "disk0")
    assert all(queue["requests"] > 0 and queue["errors"] == 0 for queue in queues_now), queues_now
    uvdpa.stop()
    check_files(image, sums)


def uml_files(lab, ring):
    """The same under user-mode Linux, which takes every feature that is offered."""
    packed = ring == "packed"
    uvdpa, image = one_disk(lab, attributes=f"packed {'on' if packed else 'off'}")
    guest = uml(lab, [Disk(uvdpa.socket("disk0"))])
    say("booted")
    assert guest.has_feature("block/vda", RING_PACKED) == packed
    sums = guest.sh(WRITE_FILES)
    no_io_error(guest)
    guest.poweroff()
    uvdpa.stop()
    check_files(image, sums)


def reset(lab, ring):
    """A guest is reset while it writes, and finds what it had flushed."""
    uvdpa, image = one_disk(lab)
    guest = Qemu(lab, [Disk(uvdpa.socket("disk0"), packed=ring == "packed")])
    sums = guest.sh(WRITE_FILES)
    guest.sh("mount /dev/vda /tmp/mnt; "
             "(while :; do dd if=/dev/zero of=/tmp/mnt/new bs=4k count=2000 conv=fsync; done) "
             ">/dev/null 2>&1 & "
             "start=$(awk '{print $7}' /sys/block/vda/stat); "
             "until [ $(awk '{print $7}' /sys/block/vda/stat) -gt $((start + 4000)) ]; do :; done")
    guest.reset()
    say("reset")
    # The journal is replayed by the mount.
    guest.sh("mkdir /tmp/mnt; mount /dev/vda /tmp/mnt; umount /tmp/mnt")
    no_io_error(guest)
    guest.poweroff()
    uvdpa.stop()
    check_files(image, sums)


def resize(lab, kind):
    """A running guest sees its disk grow and shrink."""
    uvdpa, image = one_disk(lab)
    disk = Disk(uvdpa.socket("disk0"))
    guest = uml(lab, [disk]) if kind == "uml" else Qemu(lab, [disk])
    for size in (128, 32):
        uvdpa(f"dev set disk0 size {size}M")
        guest.sh(f"until [ $(cat /sys/block/vda/size) = {size * 2048} ]; do sleep 0.1; done")
        say(f"{size} MiB")
        # What a smaller disk does not show stays in the file.
        assert os.path.getsize(image) == 128 << 20
    sums = guest.sh(WRITE_FILES)
    guest.poweroff()
    uvdpa.stop()
    check_files(image, sums)


def hotplug(lab):
    """The disk is read into memory that was plugged in while the guest ran."""
    uvdpa, image = one_disk(lab, size="320M")
    run("dd", "if=/dev/urandom", f"of={image}", "bs=1M", "count=320", "conv=notrunc")
    guest = Qemu(lab, [Disk(uvdpa.socket("disk0"))], memory="256M")
    before = int(guest.sh("awk '/MemTotal/ {print $2}' /proc/meminfo"))
    for i in range(2):
        guest.qmp("object-add", qom_type="memory-backend-memfd", id=f"more{i}", size=256 << 20,
                  share=True)
        guest.qmp("device_add", driver="pc-dimm", id=f"dimm{i}", memdev=f"more{i}")
    guest.sh("until [ $(grep -l offline /sys/devices/system/memory/memory*/state | wc -l) -gt 0 ] "
             f"|| [ $(awk '/MemTotal/ {{print $2}}' /proc/meminfo) -gt {before + 500000} ]; do "
             "sleep 0.1; done; "
             "for state in $(grep -l offline /sys/devices/system/memory/memory*/state); do "
             "echo online >$state; done; "
             f"until [ $(awk '/MemTotal/ {{print $2}}' /proc/meminfo) -gt {before + 500000} ]; do "
             "sleep 0.1; done")
    say("memory is there")
    # What does not fit into the old memory is read into the new one.
    found = guest.sh("exec 3</dev/vda; md5sum <&3; awk '/^Buffers/ {print $2}' /proc/meminfo").split()
    assert int(found[-1]) > 300 << 10, f"{found[-1]} KiB of the disk are cached"
    assert found[0] == run("md5sum", image).split()[0]
    no_io_error(guest)
    guest.poweroff()
    uvdpa.stop()


def other_user(lab):
    """QEMU runs as another user than uvdpad, and the socket's attributes let it in."""
    uvdpa, image = one_disk(lab, driver="driver vhost-user mode 0600")
    os.chmod(lab.dir, 0o711)
    path = uvdpa.socket("disk0")
    client = "import socket, sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1])"
    refused = lab.start("refused", ["python3", "-c", client, path], user="nobody")
    assert refused.wait() != 0 and "PermissionError" in refused.output()

    uvdpa("dev unbind disk0")
    uvdpa("dev bind disk0 driver vhost-user mode 0600 owner nobody group nogroup")
    guest = Qemu(lab, [Disk(path)], user="nobody")
    sums = guest.sh(WRITE_FILES)
    guest.poweroff()
    uvdpa.stop()
    check_files(image, sums)


main(qemu_files, uml_files, reset, resize, hotplug, other_user)
