# SPDX-License-Identifier: BSD-2-Clause
"""Live migration between two QEMUs, each with a device of uvdpad on the same file."""
from lab import Disk, Qemu, main, run, say, until
from uvdpa import Uvdpa, no_io_error

# Reads the whole file into the page cache again and again: pages that the device writes while the
# memory is copied, and that only the dirty log tells of.
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
	echo $count >/tmp/done
) 2>/tmp/errors &
"""
# KiB that the guest has read from its disk.
READ = "awk '{print int($3 / 2)}' /sys/block/vda/stat"
SIZE = 24 << 20


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
        f.write(random.read(SIZE))
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
    source.sh("until [ -s /tmp/count ]; do sleep 0.1; done")
    before = read_while_copied(source, path)
    until("the migration", lambda: migration(source)["status"] == "completed")
    say("migrated")
    target.qmp.wait_event("RESUME")
    target.number = source.number
    # First what came with the memory, then what the disk of the target says.
    assert target.sh("md5sum /mnt/data").split()[0] == expected, "the memory is wrong"
    assert int(target.sh(READ)) - before < 1024, "the file was not cached"
    target.sh("echo 1 >/proc/sys/vm/drop_caches")
    assert target.sh("md5sum /mnt/data").split()[0] == expected, "the disk is wrong"
    assert int(target.sh(READ)) - before >= SIZE >> 10, "the file was still cached"
    assert not target.sh("cat /tmp/errors")
    no_io_error(target)
    source.qmp("quit")
    source.process.wait()
    target.poweroff()
    uvdpa.stop()


def read_while_copied(source, path):
    """Starts to migrate, and has the file read again by the device when all was copied once."""
    # It ends when 1 ms is enough for what is left: a handful of pages, never so few here.
    source.qmp("migrate-set-parameters", downtime_limit=1, max_bandwidth=32 << 20)
    source.qmp("migrate", uri=path)
    until("two passes over the memory", lambda: passes(source) >= 3)
    # So slow that it does not end before the guest has.
    source.qmp("migrate-set-parameters", max_bandwidth=4096)
    source.sh("touch /tmp/stop; until [ -e /tmp/done ]; do sleep 0.1; done")
    before = int(source.sh(READ))
    source.qmp("migrate-set-parameters", max_bandwidth=1 << 30, downtime_limit=2000)
    return before


def migration(guest):
    state = guest.qmp("query-migrate")
    assert state["status"] != "failed", state
    return state


def passes(guest):
    """How often QEMU has gathered dirty pages.  The device makes some all the time."""
    state = migration(guest)
    assert state["status"] != "completed", "no page was dirty although the device wrote"
    return state.get("ram", {}).get("dirty-sync-count", 0)


main(qemu)
