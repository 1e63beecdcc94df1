# SPDX-License-Identifier: BSD-2-Clause
"""The lab itself, with a back-end that others wrote: what fails here is no fault of uvdpa."""
from lab import Disk, Qemu, main, need, say, uml
from testpmd import Echo, Testpmd, vhost

STORAGE_DAEMON = "/usr/bin/qemu-storage-daemon"


def export(lab, image, name):
    """Starts a peer that serves the image; returns its socket."""
    need(STORAGE_DAEMON, "qemu-utils")
    path = lab.path(name + ".sock")
    daemon = lab.start(name, [
        STORAGE_DAEMON, "--blockdev", f"driver=file,node-name=f,filename={image}", "--export",
        f"type=vhost-user-blk,id=e,addr.type=unix,addr.path={path},node-name=f,writable=on"])
    lab.wait_socket(path, daemon)
    return path


def guests(lab):
    """A file written under user-mode Linux is read under QEMU, before and after a reset."""
    image = lab.image("disk.img", "64M", ext4=True)
    guest = uml(lab, [Disk(export(lab, image, "first"))])
    say("user-mode Linux has booted")
    mount = "mkdir /tmp/mnt; mount /dev/vda /tmp/mnt; "
    written = guest.sh(mount + "head -c 3000000 /dev/urandom >/tmp/mnt/data; md5sum /tmp/mnt/data; "
                               "umount /tmp/mnt")
    guest.poweroff()

    guest = Qemu(lab, [Disk(export(lab, image, "second"))])
    say("QEMU has booted")
    check = mount + "md5sum /tmp/mnt/data; umount /tmp/mnt"
    assert guest.sh(check) == written
    guest.reset()
    assert guest.sh(check) == written
    guest.poweroff()


def testpmd(lab, ring, pairs):
    """Frames that a front-end sends come back from a back-end that forwards to where they came from."""
    path = lab.path("vhost.sock")
    back = Testpmd(lab, "back", [vhost(0, path, int(pairs))], int(pairs))
    back("start")
    front = Echo(lab, "front", path, int(pairs), packed_vq=ring == "packed")
    for _ in range(2):
        front.round()
    front.quit()
    back.quit()


main(guests, testpmd)
