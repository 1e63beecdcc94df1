# SPDX-License-Identifier: BSD-2-Clause
"""Consoles of guests and of this host: a terminal here, /dev/hvc0 there, and named ports."""
import hashlib
import os
import random

from lab import Console, Skip, main, need, say, uml, until
from line import Line
from uvdpa import Uvdpa

SIZE = 300000


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


# What agetty starts in the place of login(1).
LOGIN = """#!/bin/bash
echo "user $1 on $(readlink /proc/self/fd/0 | cut -d/ -f1-3), $(stty size)"
read -r line
echo "said $line"
"""

AGETTY = "/sbin/agetty"
SOCAT = "/usr/bin/socat"
SCREEN = "/usr/bin/screen"


class Socat:
    """The other end of a console, as somebody in front of it."""

    def __init__(self, lab, address):
        need(SOCAT, "socat")
        stdin, self.keyboard = os.pipe()
        self.process = lab.start("socat", [SOCAT, "STDIO", address], stdin=stdin)
        os.close(stdin)
        self.seen = 0

    def expect(self, text):
        """Waits until this has come, behind what was expected before."""
        def there():
            at = self.process.output().find(text, self.seen)
            if at < 0:
                return False
            self.seen = at + len(text)
            return True
        until(f"'{text}'", there)

    def type(self, text):
        os.write(self.keyboard, text.encode())


def host_console(lab):
    """A console as a terminal of this host, and somebody at its other end."""
    uvdpa = start(lab, "backend socket cols 100 rows 40", driver="virtio")
    return uvdpa, Socat(lab, "UNIX-CONNECT:" + uvdpa.path("con0", "console.sock")), uvdpa.path("con0", "tty")


def login(lab):
    """agetty on the terminal: a login from the other end, and another after a hang-up."""
    need(AGETTY, "util-linux")
    if os.geteuid() != 0:
        raise Skip("agetty is for root")
    program = lab.path("login")
    with open(program, "w", encoding="utf-8") as f:
        f.write(LOGIN)
    os.chmod(program, 0o755)
    uvdpa, far, terminal = host_console(lab)
    for number in range(2):
        # It looks in /dev.
        getty = lab.start("agetty", [AGETTY, "--noclear", "--noissue", "--login-program", program,
                                     "--local-line", os.path.relpath(terminal, "/dev"), "115200", "vt100"])
        far.expect("login: ")
        far.type("alice\r")
        far.expect("on /dev/pts, 40 100")
        far.type("hello\r")
        far.expect("said hello")
        getty.wait()
        say(f"login {number + 1}")
    uvdpa.stop()


def screen(lab):
    """screen on the terminal: it shows what comes, and what is typed there goes."""
    need(SCREEN, "screen")
    uvdpa, far, terminal = host_console(lab)
    sockets, picture = lab.path("screens"), lab.path("picture")
    os.mkdir(sockets, 0o700)
    how = {"env": {"SCREENDIR": sockets, "TERM": "vt100"}}
    lab.start("screen", [SCREEN, "-D", "-m", "-S", "con0", terminal, "115200"], **how)

    def tell(*words):
        return lab.start("words", [SCREEN, "-S", "con0", "-p", "0", "-X", *words], **how).wait() == 0

    def shown():
        tell("hardcopy", picture)
        with open(picture, encoding="utf-8") as f:
            return "from the device" in f.read()
    until("screen is there", lambda: tell("hardcopy", picture) and os.path.exists(picture))
    far.type("from the device\r\n")
    until("screen shows it", shown)
    assert tell("stuff", "from screen")
    far.expect("from screen")
    tell("quit")
    uvdpa.stop()


main(one_port, ports, rebind, login, screen)
