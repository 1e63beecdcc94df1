# SPDX-License-Identifier: BSD-2-Clause
"""Stock guests on a SCSI host of uvdpad."""
from lab import Qemu, Scsi, main, need, say, uml
from uvdpa import WRITE_FILES, Uvdpa, check_files, counters, no_io_error

RING_PACKED = 34


def host(lab, attributes="", **sizes):
    """A daemon with the device scsi0, whose units are on new images; returns both."""
    images = {lun: lab.image(f"{lun}.img", size) for lun, size in sizes.items()}
    units = " ".join(f"{lun} {image}" for lun, image in images.items())
    uvdpa = Uvdpa(lab, f"dev add name scsi0 mgmtdev scsi {units} {attributes}",
                  "dev bind scsi0 driver vhost-user")
    return uvdpa, images


def boot(lab, uvdpa, kind, ring, queues=1):
    device = Scsi(uvdpa.socket("scsi0"), queues=queues, packed=ring == "packed")
    guest = uml(lab, [device]) if kind == "uml" else Qemu(lab, [device], smp=queues)
    say("booted")
    return guest


def is_packed(guest):
    return guest.sh("cat /sys/bus/virtio/drivers/virtio_scsi/virtio*/features")[RING_PACKED] == "1"


def disk(guest, lun):
    """The name that the guest has given to a unit, once it has found it: in any order."""
    return guest.sh(f"until ls /sys/bus/scsi/devices/*:0:{lun}/block 2>/dev/null; do sleep 0.1; done")


def files(lab, kind, ring, queues="1"):
    """Files written in a guest are the same in the units' files on this host; each queue has its share."""
    uvdpa, images = host(lab, f"request-queues {queues} packed {'on' if ring == 'packed' else 'off'}",
                         lun0="64M", lun1="32M")
    guest = boot(lab, uvdpa, kind, ring, int(queues))
    assert is_packed(guest) == (ring == "packed")
    names = [disk(guest, lun) for lun in range(2)]
    sums = [guest.sh(WRITE_FILES.replace("vda", name)) for name in names]
    for cpu in range(int(queues)):
        guest.sh(f"taskset -c {cpu} dd if=/dev/{names[0]} of=/dev/null bs=4096 count=1 iflag=direct")
    no_io_error(guest)
    guest.poweroff()
    requests = [queue["requests"] for queue in counters(uvdpa, "scsi0")[2:]]
    assert len(requests) == int(queues) and all(requests), requests
    uvdpa("dev unbind scsi0")
    uvdpa("dev bind scsi0 driver virtio")
    for lun, text in zip(images, sums):
        check_files(uvdpa.path("scsi0", lun), text)
    uvdpa.stop()
    for image, text in zip(images.values(), sums):
        check_files(image, text)


TOOLS = """
PATH=/usr/sbin:$PATH
sg_inq {dev} | grep -q 'Product identification: virtual disk'
sg_inq --page=sn {dev} | grep -q 'Unit serial number: scsi0-0'
for page in sv sn di ei bl bdc lbpv; do
	sg_vpd --page=$page {dev} >/tmp/page
done
sg_vpd --page=di {dev} | grep -q 'vendor id: uvdpa'
sg_vpd --page=bl {dev} | grep -q 'Maximum unmap block descriptor count: 64'
sg_vpd --page=lbpv {dev} | grep -q 'Unmap command supported (LBPU): 1'
sg_readcap {dev} | grep -q 'Last LBA=131071'
sg_readcap --16 {dev} | grep -q 'Logical block provisioning: lbpme=1, lbprz=1'
sg_luns {dev} | grep -q 'Lun list length = 8 '
sg_requests {dev} >/dev/null
sg_turs --number=10 {dev}
sg_modes {dev} | grep -q 'Caching'
sg_opcodes {dev} | grep -q 'Compare and write'
sg_start --start {dev}
sg_sync {dev}
sg_sync --16 {dev}

# A pattern, zeros in the middle of it, and what is behind them as before.
yes pattern | dd of={dev} bs=4096 count=64 oflag=direct iflag=fullblock 2>/dev/null
sg_unmap --lba=64 --num=64 {dev}
dd if={dev} bs=512 skip=64 count=64 iflag=direct 2>/dev/null | cmp -n 32768 - /dev/zero
dd if={dev} bs=512 skip=128 count=1 iflag=direct 2>/dev/null | grep -q pattern
sg_write_same --16 --lba=128 --num=8 --in=/dev/zero --xferlen=512 {dev}
dd if={dev} bs=512 skip=128 count=8 iflag=direct 2>/dev/null | cmp -n 4096 - /dev/zero
sg_write_same --10 --lba=200 --num=8 --in=/tmp/a --xferlen=512 {dev}
dd if={dev} bs=512 skip=207 count=1 iflag=direct 2>/dev/null | cmp - /tmp/a
sg_verify --lba=0 --count=131072 {dev}

# One block: 512 zeros to be found, 512 times "a" to be written.
(head -c 512 /dev/zero; cat /tmp/a) >/tmp/caw
sg_compare_and_write --in=/tmp/caw --lba=64 --num=1 --xferlen=1024 {dev}
dd if={dev} bs=512 skip=64 count=1 iflag=direct 2>/dev/null | cmp - /tmp/a
status=0
sg_compare_and_write --in=/tmp/caw --lba=64 --num=1 --xferlen=1024 {dev} 2>/dev/null || status=$?
[ $status = 14 ] # miscompare

sg_persist --out --register --param-sark=abc {dev} >/dev/null
sg_persist --out --reserve --param-rk=abc --prout-type=5 {dev} >/dev/null
sg_persist --in --read-keys {dev} | grep -q 0xabc
sg_persist --in --read-reservation {dev} | grep -q 'Write Exclusive, registrants only'
sg_persist --in --report-capabilities {dev} >/dev/null
sg_persist --in --read-full-status {dev} | grep -qi 'reservation holder'
status=0
sg_persist --out --release --param-rk=def --prout-type=5 {dev} >/dev/null 2>&1 || status=$?
[ $status = 24 ] # reservation conflict
sg_persist --out --clear --param-rk=abc {dev} >/dev/null
sg_persist --in --read-keys {dev} | grep -q 'NO registered'

sg_reset --device {dev}
dd if={dev} of=/dev/null bs=64k count=100 iflag=direct 2>/dev/null
"""


def tools(lab, kind, ring):
    """The commands of sg3_utils on a unit."""
    need("/usr/bin/sg_inq", "sg3-utils")
    uvdpa, _ = host(lab, f"packed {'on' if ring == 'packed' else 'off'}", lun0="64M")
    guest = boot(lab, uvdpa, kind, ring)
    guest.sh("head -c 512 /dev/zero | tr '\\0' a >/tmp/a")
    guest.sh(TOOLS.format(dev="/dev/" + disk(guest, 0)))
    no_io_error(guest)
    guest.poweroff()
    uvdpa.stop()


def events(lab, kind):
    """A running guest sees units that come, grow and go."""
    uvdpa, _ = host(lab, lun0="64M")
    guest = boot(lab, uvdpa, kind, "split")
    first = disk(guest, 0)
    image = lab.image("more.img", "32M")
    uvdpa(f"dev set scsi0 lun3-backend file lun3 {image}")
    name = disk(guest, 3)
    say(f"lun3 is {name}")
    assert name != first
    sums = guest.sh(WRITE_FILES.replace("vda", name))
    uvdpa("dev set scsi0 lun3-size 48M")
    guest.sh(f"until [ $(cat /sys/block/{name}/size) = {48 * 2048} ]; do sleep 0.1; done")
    say("48 MiB")
    uvdpa("dev set scsi0 lun3-backend none")
    guest.sh(f"while [ -e /sys/block/{name} ]; do sleep 0.1; done")
    say("gone")
    # The other one was never in the way.
    guest.sh(f"dd if=/dev/{first} of=/dev/null bs=1M count=4 iflag=direct")
    no_io_error(guest)
    guest.poweroff()
    uvdpa.stop()
    check_files(image, sums)


main(files, tools, events)
