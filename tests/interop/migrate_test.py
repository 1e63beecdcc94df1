# SPDX-License-Identifier: BSD-2-Clause
"""Live migration between two QEMUs, each with a device of uvdpad on the same file."""
from lab import Disk, Qemu, main, run, say, until
from uvdpa import Uvdpa, no_io_error

# Reads the whole file into the page cache again and again: pages that the device writes while
# the memory is copied, and that only the dirty log tells of.
READER = """
mkdir /mnt
mount /dev/vda /mnt
(
	count=0
	while [ ! -e /tmp/stop ]; do
		echo 1 >/proc/sys/vm/drop_caches
		cat /mnt/data >/dev/null
		count=$((count + 1))
		echo $count >/tmp/count
	done
	# What is cached now came by then.
	md5sum /mnt/data >/tmp/cached
	echo 1 >/proc/sys/vm/drop_caches
	md5sum /mnt/data >/tmp/again
	echo $count >/tmp/done
) 2>/tmp/errors &
"""


def qemu(lab, ring):
    """A guest that reads its disk all the time moves, and every page of it is right."""
    image = lab.image("disk.img", "64M")
    setup = []
    for name in ("disk0", "disk1"):
        setup += [f"dev add name {name} mgmtdev blk file {image} lock off",
                  f"dev bind {name} driver vhost-user"]
    uvdpa = Uvdpa(lab, *setup)
    run("mkfs.ext4", "-q", image)
    with open(lab.path("data"), "wb") as f, open("/dev/urandom", "rb") as random:
        f.write(random.read(24 << 20))
    run("debugfs", "-w", "-R", f"write {lab.path('data')} data", image)
    expected = run("md5sum", lab.path("data")).split()[0]

    guests = []
    for i, name in enumerate(("source", "target")):
        disk = Disk(uvdpa.socket(f"disk{i}"), packed=ring == "packed")
        guests.append(Qemu(lab, [disk], name=name, share=False, memory="256M",
                           incoming="defer" if i else None))
    source, target = guests
    source.sh(READER)
    path = "unix:" + lab.path("migration.sock")
    target.qmp("migrate-incoming", uri=path)
    source.sh("until [ $(cat /tmp/count) -gt 0 ]; do sleep 0.1; done")
    source.qmp("migrate", uri=path)
    until("the migration", lambda: migrated(source.qmp))
    say("migrated")
    target.qmp.wait_event("RESUME")
    target.number = source.number
    count = int(target.sh("cat /tmp/count"))
    target.sh(f"until [ $(cat /tmp/count) -gt {count} ]; do sleep 0.1; done; touch /tmp/stop; "
              "until [ -e /tmp/done ]; do sleep 0.1; done")
    for name in ("cached", "again"):
        assert target.sh(f"cat /tmp/{name}").split()[0] == expected, f"{name}: wrong"
    assert not target.sh("cat /tmp/errors")
    no_io_error(target)
    source.qmp("quit")
    source.process.wait()
    target.poweroff()
    uvdpa.stop()


def migrated(qmp):
    state = qmp("query-migrate")
    assert state["status"] != "failed", state
    return state["status"] == "completed"


main(qemu)
