# SPDX-License-Identifier: BSD-2-Clause
"""A TmFIFO's console and network, in turn this host's and a guest's; the FIFO is a model of the hardware."""
import hashlib
import os
import random
import signal
import threading

from board import Board, shown, start
from lab import Console, LabError, Net, main, need, say, uml, until
from line import Line
from web import PAGE

BULK = 100 << 20
PORT = 7000
PAGES = 20
# src/parents/tmfifo/fifo.h: bytes of a turn; a frame of the MTU, with its header, in whole words.
TURN = 2048
FRAME = 8 + 1520
# What an idle daemon may take of a processor, seconds.
IDLE = 0.05

SERVE = """
import hashlib, socket
with socket.create_server(("10.8.0.2", %d)) as server:
    print("listening", flush=True)
    while True:
        sock = server.accept()[0]
        got = hashlib.md5()
        while data := sock.recv(1 << 16):
            got.update(data)
        sock.sendall(got.hexdigest().encode())
        sock.close()
"""

FLOOD = """
import socket
with socket.socket(type=socket.SOCK_DGRAM) as sock:
    while True:
        try:
            sock.sendto(bytes(1400), ("10.8.0.2", 9))
        except OSError:
            pass
"""

SEND = """
import hashlib, random, socket, sys
block = random.Random(1).randbytes(1 << 20)
sent = hashlib.md5()
with socket.create_connection(("10.8.0.2", %d)) as sock:
    for number in range(int(sys.argv[1]) >> 20):
        data = block[number:] + block[:number]
        sock.sendall(data)
        sent.update(data)
    sock.shutdown(socket.SHUT_WR)
    got = sock.makefile().read()
assert got == sent.hexdigest(), (got, sent.hexdigest())
print("the same", flush=True)
"""


def check_turns(stats):
    """Who had something to send waited for one turn of the other's at most."""
    assert stats["net"]["turn_max"] < TURN + FRAME, stats
    assert stats["console"]["wait_max"] < TURN + FRAME, stats
    assert stats["net"]["wait_max"] <= TURN + 16, stats


def check_shares(before, after, net_bytes, lines):
    """Both have got through, in turns, and nothing was lost."""
    check_turns(after)
    for name in ("garbage", "refused", "cut"):
        assert after[name] == 0, after
    assert after["console"]["lost"] == 0, after
    for name, least in (("net", net_bytes), ("console", lines)):
        sent = after[name]["tx_bytes"] - before[name]["tx_bytes"]
        assert sent >= least, f"{name}: {sent} bytes"
    assert after["net"]["turns"] > net_bytes // (TURN + FRAME), after


class Echo(threading.Thread):
    """Has lines come back over a console, one after the other, until it is stopped."""

    def __init__(self, line):
        super().__init__()
        self.line = line
        self.count = 0
        self.error = None
        self.stopping = threading.Event()
        self.start()

    def run(self):
        try:
            while not self.stopping.is_set():
                data = b"line %d\n" % self.count
                self.line.send(data)
                self.line.expect(data)
                self.count += 1
        except Exception as error:  # pylint: disable=broad-except
            self.error = error

    def stop(self):
        self.stopping.set()
        self.join()
        if self.error:
            raise self.error
        return self.count


def host(lab):
    """This host's terminal echoes while 100 MB go over this host's interface."""
    board = Board(lab, "echo")
    near = lab.netns("near")
    uvdpa = start(lab, board, "virtio", netns=near)
    near("ip address add 10.8.0.1/24 dev near0")
    near("ip link set near0 up")
    assert " mtu 1500 " in near("ip link show near0")
    server = lab.start("server", ["python3", "-c", SERVE % PORT], netns=board.space)
    until("the server", lambda: "listening" in server.output())
    before = shown(uvdpa)
    echo = Echo(Line(uvdpa.path("con0", "tty")))
    try:
        sent = near_python(near, SEND % PORT, BULK)
    finally:
        lines = echo.stop()
    assert "the same" in sent, sent
    assert lines > 100, f"{lines} lines while {BULK} bytes went over the network"
    check_shares(before, shown(uvdpa), BULK, lines)
    say(f"{BULK >> 20} MiB, and {lines} lines")
    silence(uvdpa, board, near)
    uvdpa.stop()


def crash(lab):
    """A daemon that ends amid messages, and the next one, which finds the rest of them."""
    board = Board(lab, "echo")
    near = lab.netns("near")
    uvdpa = start(lab, board, "virtio", netns=near)
    for end in (uvdpa.crash, lambda: uvdpa("restart"), uvdpa.crash):
        near("ip address add 10.8.0.1/24 dev near0")
        near("ip link set near0 up")
        until("the network", lambda: reaches(near))
        load = lab.start("load", ["python3", "-c", FLOOD], netns=near)
        before = shown(uvdpa)["net"]["tx_bytes"]
        until("a load", lambda: shown(uvdpa)["net"]["tx_bytes"] > before + 1000000)  # pylint: disable=cell-var-from-loop
        terminal = Line(uvdpa.path("con0", "tty"))
        terminal.send(b"x" * 200000)
        end()
        load.kill()
        os.close(terminal.fd)
        until("the console", lambda: comes_back(uvdpa))
        say(f"understood again after {shown(uvdpa)['garbage']} words of garbage")
    uvdpa.stop()


def comes_back(uvdpa):
    """Whether the other end sends back a line, maybe behind older ones."""
    line = Line(uvdpa.path("con0", "tty"))
    word = b"%d\n" % random.getrandbits(64)
    line.send(word)
    try:
        until("the line", lambda: line.has(word), timeout=3)
    except LabError:
        return False
    finally:
        os.close(line.fd)
    return True


def reaches(near):
    return " 0% packet loss" in near("busybox ping -q -c 1 -W 1 10.8.0.2", check=False)


def near_python(near, program, *words):
    return near(f"python3 {script(near, program)} {' '.join(map(str, words))}")


def script(near, program):
    """A file with a program, beside the log of the namespace."""
    path = near.process.log + ".py"
    with open(path, "w", encoding="utf-8") as f:
        f.write(program)
    return path


def cpu_time(process):
    with open(f"/proc/{process.pid}/stat", encoding="ascii") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def silence(uvdpa, board, near):
    """An other end that takes nothing holds up nobody, costs next to nothing, and goes on later."""
    board.process.popen.send_signal(signal.SIGSTOP)
    line = Line(uvdpa.path("con0", "tty"))
    line.send(b"x" * 4000)
    near("busybox ping -q -c 1 -W 1 10.8.0.2", check=False)
    until("the other end counts as silent", lambda: shown(uvdpa)["silent"])
    before = cpu_time(uvdpa.process)
    near("sleep 1")
    assert cpu_time(uvdpa.process) - before < IDLE, "busy while nothing goes"
    board.process.popen.send_signal(signal.SIGCONT)
    line.expect(b"x" * 4000)
    assert not shown(uvdpa)["silent"]
    until("the network", lambda: reaches(near))
    before = cpu_time(uvdpa.process)
    near("sleep 1")
    assert cpu_time(uvdpa.process) - before < IDLE, "busy while idle"
    say("silent, and back")


# Raw, held open so that it stays so; then so many bytes are read and their sum is told.
READ = """
exec 3<>/dev/hvc0
stty -F /dev/hvc0 raw -echo
echo go >&3
head -c {size} <&3 | md5sum
"""


def guest_console(guest, far):
    """Bytes both ways between the guest's terminal and the other end's."""
    data = random.randbytes(40000)
    guest.send(READ.format(size=len(data)))
    far.expect(b"go\n")
    far.send(data)
    text = guest.collect()
    assert hashlib.md5(data).hexdigest() in text, text
    guest.send("exec 3<>/dev/hvc0; stty -F /dev/hvc0 raw -echo; seq 1 20000 >&3")
    far.expect(b"".join(b"%d\n" % n for n in range(1, 20001)))
    guest.collect()
    say("the guest's console")


def rebind(lab):
    """Both devices are this host's, then a guest's, then this host's: the FIFO goes on all the time."""
    need("/usr/bin/busybox", "busybox-static")
    board = Board(lab, lab.path("console.sock"))
    lab.wait_socket(lab.path("console.sock"), board.process)
    os.mkdir(lab.path("www"))
    with open(lab.path("www/page"), "wb") as f:
        f.write(page := os.urandom(PAGE))
    lab.start("httpd", ["busybox", "httpd", "-f", "-p", "10.8.0.2:80", "-h", lab.path("www")],
              netns=board.space)
    near = lab.netns("near")
    uvdpa = start(lab, board, "virtio", netns=near)
    far = Line(lab.path("console.sock"))
    pid = uvdpa.process.pid
    for number in range(2):
        this_host(uvdpa, near, far, page)
        for device in ("con0", "net0"):
            uvdpa(f"dev unbind {device}")
            uvdpa(f"dev bind {device} driver vhost-user")
        guest = uml(lab, [Console(uvdpa.socket("con0")), Net(uvdpa.socket("net0"))], name=f"uml{number}")
        guest.sh("ip address add 10.8.0.1/24 dev eth0; ip link set eth0 up")
        assert guest.sh("cat /sys/class/net/eth0/mtu") == "1500"
        both(guest, far, page)
        guest.poweroff()
        for device, words in (("con0", ""), ("net0", "ifname near0")):
            uvdpa(f"dev unbind {device}")
            uvdpa(f"dev bind {device} driver virtio {words}")
        say(f"round {number + 1}")
    this_host(uvdpa, near, far, page)
    after = shown(uvdpa)
    check_turns(after)
    assert uvdpa.process.pid == pid and after["garbage"] == after["cut"] == 0, after
    assert after["net"]["rx_bytes"] > 2 * PAGES * PAGE and after["console"]["tx_bytes"] > 200000, after
    uvdpa.stop()


def this_host(uvdpa, near, far, page):
    """The terminal and the interface of this host."""
    terminal = Line(uvdpa.path("con0", "tty"))
    data = random.randbytes(3000)
    terminal.send(data)
    far.expect(data)
    far.send(data)
    terminal.expect(data)
    os.close(terminal.fd)
    near("ip address add 10.8.0.1/24 dev near0")
    near("ip link set near0 up")
    found = near(f"sh {script(near, 'busybox wget -q -O - http://10.8.0.2/page | md5sum')}").split()[0]
    assert found == hashlib.md5(page).hexdigest(), found
    say("this host's console and network")


def both(guest, far, page):
    """A guest's network is busy while its console is in use."""
    guest.sh(f"(for i in $(seq {PAGES}); do busybox wget -q -O - http://10.8.0.2/page; done | md5sum >/tmp/sum; "
             "mv /tmp/sum /tmp/pages) >/dev/null 2>&1 &")
    guest_console(guest, far)
    found = guest.sh("until [ -e /tmp/pages ]; do sleep 0.1; done; cat /tmp/pages").split()[0]
    assert found == hashlib.md5(PAGES * page).hexdigest(), found
    say("the guest's network")


main(host, crash, rebind)
