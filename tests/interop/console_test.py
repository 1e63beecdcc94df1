# SPDX-License-Identifier: BSD-2-Clause
"""Consoles of guests: a terminal here, /dev/hvc0 there, and named ports."""
import hashlib
import os
import random
import socket
import tty

from lab import Console, main, say, uml, until
from uvdpa import Uvdpa

SIZE = 300000


class Line:
    """This host's end of a console: a terminal or a socket."""

    def __init__(self, path):
        if os.path.islink(path):
            self.fd = os.open(path, os.O_RDWR | os.O_NOCTTY)
            tty.setraw(self.fd)
        else:
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.connect(path)
            self.fd = self.socket.fileno()
        os.set_blocking(self.fd, False)
        self.got = b""

    def _fill(self):
        try:
            self.got += os.read(self.fd, 65536)
        except BlockingIOError:
            pass

    def expect(self, data):
        """Waits until this has come, and nothing else."""
        def there():
            self._fill()
            return len(self.got) >= len(data)
        until(f"{len(data)} bytes of the guest", there)
        assert self.got == data, f"{self.got[:200]}, not {data[:200]}"
        self.got = b""

    def send(self, data):
        """Writes all, as fast as it goes."""
        def gone():
            nonlocal data
            try:
                data = data[os.write(self.fd, data):]
            except BlockingIOError:
                pass
            return not data
        until("the guest takes it", gone)


def start(lab, attributes, driver="vhost-user"):
    """A daemon with the device con0."""
    return Uvdpa(lab, f"dev add name con0 mgmtdev console {attributes}",
                 f"dev bind con0 driver {driver}")


def boot(lab, uvdpa, name="uml"):
    return uml(lab, [Console(uvdpa.socket("con0"))], name=name)


# Raw, held open so that it stays so; then so many bytes are read and their sum is told.
READ = """
exec 3<>{device}
stty -F {device} raw -echo 2>/dev/null || true
echo go >&3
head -c {size} <&3 | md5sum
"""


def both_ways(guest, line, device):
    """Bytes with checksums through a device of the guest, one way and the other."""
    data = random.randbytes(SIZE)
    guest.send(READ.format(device=device, size=SIZE))
    line.expect(b"go\n")
    line.send(data)
    text = guest.collect()
    assert hashlib.md5(data).hexdigest() in text, text
    guest.send(f"exec 3<>{device}; stty -F {device} raw -echo 2>/dev/null || true\n"
               f"seq 1 20000 >&3")
    line.expect(b"".join(b"%d\n" % n for n in range(1, 20001)))
    guest.collect()
    say(f"{device}: {SIZE} bytes and 20000 lines")


def one_port(lab):
    """A pseudo-terminal of this host is the guest's console; its size is the guest's, too."""
    uvdpa = start(lab, "backend pty cols 100 rows 40")
    guest = boot(lab, uvdpa)
    both_ways(guest, Line(uvdpa.path("con0", "pty")), "/dev/hvc0")
    # Linux reads the size of a console without ports only when it changes.
    uvdpa("dev set con0 cols 132 rows 50")
    until("the guest sees the new size",
          lambda: "50 132" in guest.sh("stty -F /dev/hvc0 size"))
    config = uvdpa.json("dev config show con0")
    assert "132" in str(config), config
    guest.poweroff()
    uvdpa.stop()


def ports(lab):
    """A named port beside the console, and the daemon killed under both."""
    uvdpa = start(lab, "backend socket ports 2 names ,agent")
    guest = boot(lab, uvdpa)
    name = guest.sh("cat /sys/class/virtio-ports/vport*p1/name")
    assert "agent" in name, name
    device = "/dev/" + guest.sh("cd /sys/class/virtio-ports; ls -d vport*p1").strip()
    until("the guest has a node for the port", lambda: "yes" in guest.sh(
        f"test -c {device} && echo yes || echo no"))
    console = Line(uvdpa.path("con0", "console.sock"))
    agent = Line(uvdpa.path("con0", "console.sock.1"))
    both_ways(guest, agent, device)
    both_ways(guest, console, "/dev/hvc0")
    guest.poweroff()
    uvdpa.stop()


def rebind(lab):
    """One console, in turn a guest's serial port and a terminal of this host."""
    uvdpa = start(lab, "backend socket")
    line = Line(uvdpa.path("con0", "console.sock"))
    for number in range(2):
        guest = boot(lab, uvdpa, name=f"uml{number}")
        both_ways(guest, line, "/dev/hvc0")
        guest.poweroff()
        uvdpa("dev unbind con0")
        uvdpa("dev bind con0 driver virtio")
        terminal = Line(uvdpa.path("con0", "tty"))
        data = random.randbytes(SIZE // 100)
        terminal.send(data)
        line.expect(data)
        line.send(data)
        terminal.expect(data)
        os.close(terminal.fd)
        uvdpa("dev unbind con0")
        uvdpa("dev bind con0 driver vhost-user")
        say(f"round {number + 1}")
    uvdpa.stop()


main(one_port, ports, rebind)
