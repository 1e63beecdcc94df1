# SPDX-License-Identifier: BSD-2-Clause
"""kill -9 or `restart` of uvdpad under a guest's verified load: no error, no wrong block.

UVDPA_ROUNDS says how often (3).
"""
import os
import random

from lab import Disk, Qemu, main, say
from uvdpa import no_io_error, one_disk

ROUNDS = int(os.environ.get("UVDPA_ROUNDS", "3"))

# Writes and verifies again and again until told to stop; the status comes last.
LOAD = """
(
	status=0
	while [ $status = 0 ] && [ ! -e /tmp/stop ]; do
		fio --name=load --filename=/dev/vda --size=16M --direct=1 --ioengine=libaio \\
			--rw=randwrite --bsrange=4k-32k --iodepth=16 --verify=crc32c \\
			--verify_backlog=128 --verify_fatal=1 --randrepeat=0 || status=$?
	done
	echo $status >/tmp/status
) >/tmp/log 2>&1 &
"""
STOP = """
touch /tmp/stop
until [ -s /tmp/status ]; do sleep 0.1; done
cat /tmp/log /tmp/status
"""


def progress(guest, requests):
    """Waits until the disk has completed so many more requests; fails where the load has ended."""
    guest.sh(f"""
		count() {{ awk '{{print $1 + $5}}' /sys/block/vda/stat; }}
		end=$(($(count) + {requests}))
		until [ $(count) -ge $end ]; do
			if [ -e /tmp/status ]; then
				cat /tmp/log
				exit 1
			fi
			sleep 0.05
		done""")


def load(lab, ring, queues, how="crash"):
    """QEMU connects again, and what was in flight is done once more."""
    uvdpa, _ = one_disk(lab, attributes=f"queues {queues}")
    guest = Qemu(lab, [Disk(uvdpa.socket("disk0"), queues=int(queues), packed=ring == "packed",
                            reconnect=True)], smp=int(queues))
    guest.sh(LOAD)
    for number in range(ROUNDS):
        progress(guest, random.randint(50, 600))
        uvdpa.crash() if how == "crash" else uvdpa("restart")
        say(f"round {number + 1} of {ROUNDS}")
    progress(guest, 500)
    report = guest.sh(STOP)
    assert report.splitlines()[-1] == "0", report
    no_io_error(guest)
    guest.poweroff()
    uvdpa.stop()


main(load)
