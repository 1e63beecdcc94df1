# SPDX-License-Identifier: BSD-2-Clause
"""Front-ends, guests and network namespaces on network devices of uvdpad."""
import hashlib
import json
import os
import signal
import time
import urllib.request

from lab import LabError, Net, Qemu, Skip, main, need, run, say, uml, until
from testpmd import Echo, Testpmd, virtio_user
from uvdpa import Uvdpa, counters
from web import DHCP, PAGE, check_page, free_port, serve, share

CSUM = 0
GUEST_CSUM = 1
HOST_TSO4 = 11
CTRL_VQ = 17
MQ = 22
RING_PACKED = 34
# CSUM, MAC, HOST_TSO4, HOST_TSO6, MRG_RXBUF, STATUS, VERSION_1: the driver gets whole frames only, their
# checksums computed.
NO_GUEST_OFFLOADS = sum(1 << bit for bit in (0, 5, 11, 12, 15, 16, 32))
TAP_FRAME = 1514


def device(name, mgmtdev, attributes="", driver="vhost-user"):
    """The commands that make a device and bind it."""
    return [f"dev add name {name} mgmtdev {mgmtdev} {attributes}", f"dev bind {name} driver {driver}"]


# ---- DPDK

def variants(packed):
    """What a virtio-user front-end may ask for, and the receive code that it then must have chosen.

    None where that depends on the processor.
    """
    start = "packed ring " if packed else ""
    yield {"mrg_rxbuf": 1, "in_order": 0}, start + "mergeable buffer"
    yield {"mrg_rxbuf": 1, "in_order": 1}, "packed ring mergeable buffer" if packed else "inorder"
    yield {"mrg_rxbuf": 0, "in_order": 0}, start + "standard"
    yield {"mrg_rxbuf": 0, "in_order": 1}, "packed ring standard" if packed else "inorder"
    if packed:
        yield {"mrg_rxbuf": 0, "in_order": 1, "vectorized": 1}, packed_vector_path()
    else:
        yield {"mrg_rxbuf": 0, "in_order": 0, "vectorized": 1}, "vectorized"


def packed_vector_path():
    """DPDK has vector code for packed rings where the processor has AVX-512."""
    with open("/proc/cpuinfo", encoding="ascii") as f:
        return "packed ring " + ("vectorized" if "avx512f" in f.read() else "standard")


def testpmd(lab, ring, pairs):
    """Each kind of front-end gets back what it has sent; one comes after the other."""
    packed, pairs = ring == "packed", int(pairs)
    uvdpa = Uvdpa(lab, *device("net0", "net",
                               f"backend loopback max_vqp {pairs} mtu 9000 in-order on"))
    for number, (options, path) in enumerate(variants(packed)):
        front = Echo(lab, f"front{number}", uvdpa.socket("net0"), pairs, packed_vq=packed,
                     longest=9000 if options["mrg_rxbuf"] else 1514, **options)
        assert front.paths()["Rx"] == path, f"{options}: {front.paths()}"
        # Often enough for the rings to wrap.
        for _ in range(4):
            front.round()
        front.quit()
        say(f"{path} ({options})")
    uvdpa.stop()


def killed(lab, ring):
    """A front-end that is killed under load is followed by another."""
    uvdpa = Uvdpa(lab, *device("net0", "net", "backend loopback"))
    for number in range(3):
        front = Echo(lab, f"front{number}", uvdpa.socket("net0"), packed_vq=ring == "packed")
        front.round()
        # Frames go round for ever.
        front("set portlist 1")
        front("start tx_first")
        until("frames on their way", lambda: front.stats(1)["RX-packets"] > 10000)
        front.process.kill()
        say("killed the front-end")
    uvdpa.stop()


def server(lab, ring):
    """A front-end that listens goes on with a back-end that was killed and comes back."""
    path = lab.path("front.sock")
    uvdpa = Uvdpa(lab, *device("net0", "net", "backend loopback",
                               f"vhost-user socket {path} client on reconnect-ms 50"))
    front = Echo(lab, "front", path, packed_vq=ring == "packed", server=1)
    for number in range(3):
        front.round()
        uvdpa.crash()
        until("the front-end", lambda: front.reconnections() > number,  # pylint: disable=cell-var-from-loop
              30)
        say("killed the back-end")
    front.round()
    front.quit()
    uvdpa.stop()


# ---- guests

def guest_up(guest, address):
    guest.sh(f"ip address add {address}/24 dev eth0; ip link set eth0 up; "
             "iperf3 -s -D")


def reaches(guest, address, size=56):
    """Whether a guest gets an answer from an address."""
    return guest.sh(f"busybox ping -q -c 2 -W 1 -s {size} {address} >/dev/null && echo yes || true") == "yes"


def iperf(client, address, options="", end="-t 2"):
    """Bytes that came through: client runs a command line and returns what it prints."""
    report = json.loads(client(f"iperf3 -c {address} {end} -J {options}"))
    assert "error" not in report, report["error"]
    return (report["end"].get("sum_received") or report["end"]["sum"])["bytes"]


def fragments(guest):
    """How many IP fragments a guest has made."""
    names, values = [line.split() for line in guest.sh("grep ^Ip: /proc/net/snmp").splitlines()]
    return int(values[names.index("FragCreates")])


def switch(lab, ring):
    """Two guests on one switch."""
    packed = ring == "packed"
    ports = {"net0": ("10.9.0.1", "52:54:00:00:00:01"), "net1": ("10.9.0.2", "52:54:00:00:00:02")}
    setup = ["mgmtdev add sw0 type switch"]
    for name, (_, mac) in ports.items():
        setup += device(name, "sw0", f"mac {mac} mtu 9000 max_vqp 2")
    uvdpa = Uvdpa(lab, *setup)
    guests = []
    for name, (address, mac) in ports.items():
        guests.append(Qemu(lab, [Net(uvdpa.socket(name), mac, queues=2, packed=packed, mtu=9000,
                                     reconnect=True)], name=name + "-guest", smp=2, memory="384M"))
        guest_up(guests[-1], address)
        say(f"{guests[-1].process.name} is up")
    one, two = guests
    for guest in guests:
        for bit in (CSUM, GUEST_CSUM, HOST_TSO4, MQ):
            assert guest.has_feature("class/net/eth0", bit), f"feature {bit}"
        assert guest.has_feature("class/net/eth0", RING_PACKED) == packed
        assert guest.sh("cat /sys/class/net/eth0/mtu") == "9000"
    assert reaches(two, "10.9.0.1")
    assert reaches(two, "10.9.0.1", size=8972) and not fragments(two)
    say("ping")
    tcp(one, two)
    queues(uvdpa, two)
    link(uvdpa, two)

    one.reset()
    guest_up(one, "10.9.0.1")
    until("the guest after its reset", lambda: reaches(two, "10.9.0.1"))
    say("reset")
    # Of a packed ring QEMU does not know where it stood when the back-end died.
    if not packed:
        uvdpa.crash()
        until("the switch after a crash", lambda: reaches(two, "10.9.0.1"))
        check_page(two, "http://10.9.0.1/page", share(one))
        say("crash")
    for guest in guests:
        guest.poweroff()
    uvdpa.stop()


def tcp(one, two):
    """TCP both ways; and what arrives is what was sent."""
    for options in ("", "-R"):
        say(f"{iperf(two.sh, '10.9.0.1', options) / 2e6:.0f} MB/s {options}")
    check_page(two, "http://10.9.0.1/page", share(one))
    check_page(one, "http://10.9.0.2/page", share(two))


def transmitted(uvdpa, device):
    """Packets that each of a device's transmit queues has taken."""
    return [queue["packets"] for queue in counters(uvdpa, device) if queue.get("role") == "tx"]


def queues(uvdpa, guest):
    """The guest uses one pair of queues, then two."""
    for count in (1, 2):
        guest.sh(f"ethtool -L eth0 combined {count}")
        before = transmitted(uvdpa, "net1")
        for cpu in range(2):
            guest.sh(f"taskset -c {cpu} busybox wget -q -O /dev/null http://10.9.0.1/page")
        sent = [now - then for then, now in zip(before, transmitted(uvdpa, "net1"))]
        assert all(sent[:count]) and not any(sent[count:2]), f"with {count} pairs: {sent}"
        say(f"{count} pairs: {sent[:2]} packets")


def link(uvdpa, guest):
    """Nothing passes while the user has the link down.  QEMU does not tell its guest."""
    uvdpa("dev set net0 link down")
    assert not reaches(guest, "10.9.0.1")
    uvdpa("dev set net0 link up")
    until("the link", lambda: reaches(guest, "10.9.0.1"))
    say("link down and up")


# ---- the user-mode network

def user(lab, kind):
    """A guest fetches a page of this host, and this host one of the guest's."""
    os.mkdir(lab.path("www"))
    with open(lab.path("www/page"), "wb") as f:
        f.write(page := os.urandom(PAGE))
    theirs, ours = free_port(), serve(lab.path("www"))
    uvdpa = Uvdpa(lab, *device("net0", "net",
                               f"backend user hostfwd tcp:127.0.0.1:{theirs}-:80"))
    boot = uml if kind == "uml" else Qemu
    guest = boot(lab, [Net(uvdpa.socket("net0"))])
    say("booted")
    guest.sh(DHCP)
    assert "10.0.2." in guest.sh("ip -4 -brief address show eth0")
    page_here = f"http://10.0.2.2:{ours}/page", hashlib.md5(page).hexdigest()
    check_page(guest, *page_here)
    say("the guest has the page")
    expected = share(guest)
    with urllib.request.urlopen(f"http://127.0.0.1:{theirs}/page", timeout=60) as answer:
        assert hashlib.md5(answer.read()).hexdigest() == expected
    say("this host has the guest's")
    if kind == "uml":
        control_queue(uvdpa, guest)
        check_page(guest, *page_here)
    guest.poweroff()
    uvdpa.stop()


def control_queue(uvdpa, guest):
    """Nobody but the device serves the control queue of user-mode Linux."""
    assert guest.has_feature("class/net/eth0", CTRL_VQ)
    guest.sh("ip link set eth0 promisc on; ip link set eth0 promisc off; "
             "ip link set eth0 allmulticast on; ip link set eth0 allmulticast off; "
             "ip maddress add 33:33:00:00:12:34 dev eth0; ip link set eth0 address 52:54:00:00:00:99")
    complaints = guest.sh("dmesg | grep -i 'virtio.*failed' || true")
    assert not complaints, complaints
    for state, carrier in (("down", "0"), ("up", "1")):
        uvdpa(f"dev set net0 link {state}")
        guest.sh(f"until [ $(cat /sys/class/net/eth0/carrier) = {carrier} ]; do sleep 0.1; done")
    say("control queue and link")


# ---- network namespaces

def namespaces(lab, joint):
    """The kernel's own network stack on both sides, and a third that takes no offloads.

    In between is a switch of ours; or a bridge of this host, and a TAP for each device.
    """
    need("/usr/bin/tshark", "tshark")
    need("/usr/bin/iperf3", "iperf3")
    host = lab.netns("host")
    setup = ["mgmtdev add sw0 type switch"] if joint == "switch" else []
    masks = {"left": "", "right": "", "plain": f"features {NO_GUEST_OFFLOADS:#x}"}
    for name, mask in masks.items():
        mgmtdev = "sw0" if joint == "switch" else f"net backend tap ifname {name}-tap"
        setup += device(name, mgmtdev, mask, driver=f"virtio ifname {name}")
    uvdpa = Uvdpa(lab, *setup, netns=host)
    if joint == "bridge":
        host("ip link add name sw0 type bridge")
        host("ip link set sw0 up")
        for name in masks:
            host(f"ip link set {name}-tap master sw0 up")
    spaces = {}
    for number, name in enumerate(masks):
        spaces[name] = lab.netns(f"{name}-space")
        spaces[name].take(name, host)
        spaces[name](f"ip address add 10.9.0.{number + 1}/24 dev {name}")
        spaces[name](f"ip link set {name} up")
        lab.start(f"{name}-iperf", ["iperf3", "-s"], netns=spaces[name])
    left = spaces["left"]
    assert "tcp-segmentation-offload: on" in left("ethtool -k left")
    for number in (2, 3):
        until("the neighbour", lambda: "2 received" in left(  # pylint: disable=cell-var-from-loop
            f"busybox ping -q -c 2 -W 1 10.9.0.{number}", check=False).replace("packets ", ""))
    for options in ("", "-R", "-P 4"):
        say(f"{iperf(left, '10.9.0.2', options) / 2e6:.0f} MB/s {options}")
    right_checksums(lab, left, spaces["plain"], "plain", "10.9.0.3")
    uvdpa.stop()


def right_checksums(lab, left, space, interface, address):
    """What left leaves to the device is done by the time it gets to somebody who takes none of it."""
    capture = lab.path(f"{interface}.pcapng")
    tshark = lab.start("tshark", ["tshark", "-i", interface, "-s", "0", "-w", capture], netns=space)
    until("tshark", lambda: "Capturing on" in tshark.output())
    for options in ("", "-u -b 100M -l 1400"):
        iperf(left, address, options, end="-n 4M")
    tshark.kill(signal.SIGINT)
    fields = ["frame.len", "ip.checksum.status", "tcp.checksum.status", "udp.checksum.status"]
    argv = ["tshark", "-r", capture, "-Y", "ip.src == 10.9.0.1 && (tcp || udp)", "-T", "fields"]
    for field in fields:
        argv += ["-e", field]
    for protocol in ("ip", "tcp", "udp"):
        argv += ["-o", f"{protocol}.check_checksum:TRUE"]
    frames = [line.split("\t") for line in run(*argv).splitlines() if line[:1].isdigit()]
    bad = [frame for frame in frames if int(frame[0]) > TAP_FRAME or set(frame[1:]) != {"1", ""}]
    assert len(frames) > 1000 and not bad, f"{len(frames)} frames, {len(bad)} of them bad: {bad[:5]}"
    assert any(frame[2] for frame in frames) and any(frame[3] for frame in frames)
    say(f"{len(frames)} checksums are right")


# ---- interfaces past the host's stack

def cable(host, name):
    """Two interfaces of a namespace that are joined, NAME and NAME-far."""
    queues = "numtxqueues 1 numrxqueues 1"
    host(f"ip link add {name} {queues} type veth peer name {name}-far {queues}")
    # The host computes the checksums of what it sends: behind a real cable nobody would.
    host(f"ethtool -K {name}-far tx off")
    for end in (name, f"{name}-far"):
        host(f"ip link set {end} up")


def start_past_stack(lab, setup, **how):
    """A daemon with devices on AF_XDP, which not every machine lets root have."""
    try:
        return Uvdpa(lab, *setup, **how)
    except LabError as error:
        if any(text in str(error) for text in ("AF_XDP needs", "CAP_BPF", "no AF_XDP")):
            raise Skip("this machine does not allow AF_XDP") from None
        raise


def af_xdp(lab, mode):
    """The host's stack behind the device, and another one at the far end of the cable."""
    need("/usr/bin/tshark", "tshark")
    need("/usr/bin/iperf3", "iperf3")
    host, left, far = (lab.netns(name) for name in ("host", "left-space", "far-space"))
    cable(host, "eth0")
    far.take("eth0-far", host)
    setup = device("net0", "net", f"backend af_xdp ifname eth0 xdp-mode {mode}", "virtio ifname left")
    uvdpa = start_past_stack(lab, setup, netns=host)
    left.take("left", host)
    for space, name, address in ((left, "left", "10.9.0.1"), (far, "eth0-far", "10.9.0.2")):
        space(f"ip address add {address}/24 dev {name}")
        space(f"ip link set {name} up")
    assert "tcp-segmentation-offload: on" in left("ethtool -k left")
    lab.start("far-iperf", ["iperf3", "-s"], netns=far)
    until("the far end", lambda: " 0% packet loss" in left(
        "busybox ping -q -c 2 -W 1 10.9.0.2", check=False))
    for options in ("", "-R", "-P 4"):
        say(f"{iperf(left, '10.9.0.2', options) / 2e6:.0f} MB/s {options}")
    right_checksums(lab, left, far, "eth0-far", "10.9.0.2")
    # What a daemon that is killed leaves on the interface is taken over, or gone.
    uvdpa.crash()
    left.take("left", host)
    left("ip address add 10.9.0.1/24 dev left")
    left("ip link set left up")
    until("the far end after a crash", lambda: " 0% packet loss" in left(
        "busybox ping -q -c 2 -W 1 10.9.0.2", check=False))
    uvdpa.stop()


# ---- processor time

IDLE_DEVICES = 10
IDLE_SECONDS = 2


def cpu_of(pid, thread=""):
    """Seconds on a processor of a process's threads whose names begin so, all by default."""
    total = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/comm", encoding="utf-8") as f:
            if not f.read().startswith(thread):
                continue
        with open(f"/proc/{pid}/task/{task}/schedstat", encoding="utf-8") as f:
            total += int(f.read().split()[0])
    return total / 1e9


def idle_devices(host, backend):
    """The commands that make devices on a backend, each with a driver of ours."""
    setup = ["mgmtdev add sw0 type switch uplink up0"] if backend == "switch" else []
    for number in range(IDLE_DEVICES):
        mgmtdev = f"net backend {backend}"
        if backend == "switch":
            mgmtdev = "sw0"
        elif backend == "tap":
            mgmtdev += f" ifname back{number}"
        elif backend == "af_xdp":
            cable(host, f"eth{number}")
            mgmtdev += f" ifname eth{number}"
        setup += device(f"net{number}", mgmtdev, driver=f"virtio ifname if{number}")
    return setup


def idle(lab, backend):
    """Devices whose queues run, and have nothing to do, cost nothing."""
    host = lab.netns("host")
    # Else the interfaces have something to say.
    for where in ("all", "default"):
        host(f"sysctl -q -w net.ipv6.conf.{where}.disable_ipv6=1")
    uvdpa = start_past_stack(lab, idle_devices(host, backend), netns=host)
    for number in range(IDLE_DEVICES):
        host(f"ip link set if{number} up")
        roles = {queue.get("role") for queue in counters(uvdpa, f"net{number}")}
        assert {"rx", "tx", "ctrl"} <= roles, roles
    pid = uvdpa.process.pid
    # What goes up may say so, and user-mode networks look at their timers once.
    settled = cpu_of(pid)
    time.sleep(0.5)
    say(f"{1e3 * (cpu_of(pid) - settled):.2f} ms to settle")
    before = cpu_of(pid)
    time.sleep(IDLE_SECONDS)
    share = (cpu_of(pid) - before) / IDLE_SECONDS
    say(f"{100 * share:.4f} % of a processor for {IDLE_DEVICES} devices")
    assert share < 0.01, f"{100 * share} % of a processor"
    uvdpa.stop()


REST_SECONDS = 0.05


def rest(lab, poll_us):
    """A worker that polls under load sleeps when the load ends."""
    uvdpa = Uvdpa(lab, *device("net0", "net", "backend loopback"), args=["--poll-us", poll_us])
    front = Testpmd(lab, "front", [virtio_user(0, uvdpa.socket("net0"))])
    pid = uvdpa.process.pid
    worker = "worker"
    for _ in range(3):
        before = front.stats(0)["RX-packets"], cpu_of(pid, worker), time.monotonic()
        front("start tx_first")
        until("frames on their way", lambda: front.stats(0)["RX-packets"] > before[0] + 200000)  # pylint: disable=cell-var-from-loop
        front("stop")
        end, used = time.monotonic(), cpu_of(pid, worker)
        load = (used - before[1]) / (end - before[2])
        time.sleep(1)
        after = cpu_of(pid, worker) - used
        say(f"{100 * load:.0f} % of a processor under load, {1e3 * after:.2f} ms in the second after it")
        assert after < REST_SECONDS, f"{after} s of processor time after the end of the load"
    front.quit()
    uvdpa.stop()


main(testpmd, killed, server, switch, user, namespaces, af_xdp, idle, rest)
