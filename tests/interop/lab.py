# SPDX-License-Identifier: BSD-2-Clause
"""Stock Linux guests and peers for the interop tests.

A test opens a Lab, which owns a scratch folder and every process that the test starts, and boots
guests in it.  A guest does what it is told and hands back output and status:

    with Lab() as lab:
        guest = Qemu(lab, [Disk("/tmp/vhost.sock", queues=4, packed=True)], smp=4)
        guest.sh("mkfs.ext4 -q /dev/vda")
        guest.poweroff()

Between two calls of sh() the guest waits, so the test can act on the host meanwhile.  Scripts run
with the host's root as their (read-only) root, so that all programs of the host are there; /tmp
is the guest's own.  Whatever ends the test, signals included, nothing that it started stays.
"""
import base64
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass

import initrd

HERE = os.path.dirname(os.path.realpath(__file__))
BUILD = os.environ.get("UVDPA_BUILD") or os.path.join(HERE, "../../build")
UML = "/usr/bin/linux.uml"
UML_MODULES = "/usr/lib/uml/modules"
QEMU = "/usr/bin/qemu-system-x86_64"
# Guests without hardware virtualisation are slow, and the machine may be busy.
BOOT_TIMEOUT = 120
TIMEOUT = 120


class LabError(Exception):
    """A step of a test went wrong."""


class Skip(Exception):
    """The machine lacks what the test needs.  "(package NAME)" at the end where one has it."""


def need(path, package):
    if not os.path.exists(path):
        raise Skip(f"no {path} (package {package})")


def say(text):
    print(f"{time.monotonic() - START:6.1f} {text}", flush=True)


START = time.monotonic()


def run(*argv, check=True, timeout=TIMEOUT, **kwargs):
    """Runs a program to its end; returns its output."""
    done = subprocess.run([str(arg) for arg in argv], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True,
                          timeout=timeout, check=False, **kwargs)
    if check and done.returncode != 0:
        raise LabError(f"{' '.join(map(str, argv))}: status {done.returncode}\n{done.stdout}")
    return done.stdout


def until(what, condition, timeout=TIMEOUT, pause=0.02):
    """Waits for something that gives no descriptor to wait on."""
    end = time.monotonic() + timeout
    while not (result := condition()):
        if time.monotonic() > end:
            raise LabError(f"{what}: not within {timeout} s")
        time.sleep(pause)
    return result


class Process:
    """A program in the background, in a process group of its own, its output in a file."""

    def __init__(self, lab, name, argv, fds=(), user=None, env=None, stdin=subprocess.DEVNULL,
                 netns=None, cpu=None):
        self.name = name
        self.log = lab.path(name + ".log")
        # The program dies with the test even where that is killed.
        pin = ["taskset", "--cpu-list", str(cpu)] if cpu is not None else []
        argv = [*self._prefix(user), *(netns.enter if netns else []), *pin, *map(str, argv)]
        with open(self.log, "ab") as log:
            self.popen = subprocess.Popen(argv, stdin=stdin, stdout=log, stderr=log,
                                          start_new_session=True, pass_fds=fds,
                                          env={**os.environ, **(env or {})})

    @staticmethod
    def _prefix(user):
        prefix = ["setpriv", "--pdeathsig", "KILL"]
        if user:
            if os.geteuid() != 0:
                raise Skip("only root can run a program as another user")
            prefix += ["--reuid", user, "--regid", str(pwd.getpwnam(user).pw_gid), "--clear-groups"]
        return prefix

    @property
    def pid(self):
        return self.popen.pid

    def output(self):
        with open(self.log, errors="replace", encoding="utf-8") as f:
            return f.read()

    def alive(self):
        return self.popen.poll() is None

    def wait(self, timeout=TIMEOUT):
        try:
            return self.popen.wait(timeout)
        except subprocess.TimeoutExpired:
            raise LabError(f"{self.name} did not end within {timeout} s\n{self.tail()}") from None

    def kill(self, sig=signal.SIGKILL):
        """Ends the whole group: user-mode Linux leaves children behind otherwise."""
        try:
            os.killpg(self.pid, sig)
        except ProcessLookupError:
            pass
        return self.wait()

    def tail(self):
        return "".join(f"  {self.name}: {line}\n" for line in self.output().splitlines()[-30:])


class Netns:
    """A network namespace, which lasts as long as its process."""

    def __init__(self, lab, name):
        if os.geteuid() != 0:
            raise Skip("only root can make network namespaces")
        self.process = lab.start(name, ["unshare", "--net", "sleep", "infinity"])
        path = f"/proc/{self.process.pid}/ns/net"
        until(f"the namespace {name}", lambda: os.stat(path).st_ino != os.stat("/proc/self/ns/net").st_ino)
        self.enter = ["nsenter", f"--net={path}"]
        self("ip link set lo up")

    def __call__(self, command, **kwargs):
        """Runs a program in it to its end; returns its output."""
        return run(*self.enter, *command.split(), **kwargs)

    def take(self, interface, owner):
        """Brings an interface of another namespace here."""
        owner(f"ip link set {interface} netns {self.process.pid}")


class Lab:
    """The scratch folder of a test and all that runs for it."""

    def __init__(self):
        self.processes = []
        self.dir = tempfile.mkdtemp(prefix="uvdpa-", dir="/tmp")

    def __enter__(self):
        # As SystemExit they unwind through __exit__.
        for sig in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(sig, lambda number, frame: sys.exit(128 + number))
        return self

    def __exit__(self, kind, error, trace):
        for sig in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(sig, signal.SIG_IGN)
        for process in reversed(self.processes):
            if process.alive():
                process.kill()
        # Programs that were started again share a file.
        tails = {process.name: process.tail() for process in self.processes}
        left = self.mounts()
        for mount in left:
            run("umount", "-l", mount, check=False)
        shutil.rmtree(self.dir)
        if kind and issubclass(kind, Exception) and not issubclass(kind, Skip):
            print("".join(tails.values()), end="", flush=True)
        if left and not kind:
            raise LabError(f"a mount was left behind: {left}")

    def path(self, name):
        return os.path.join(self.dir, name)

    def mounts(self):
        with open("/proc/self/mounts", encoding="utf-8") as f:
            return [m for m in (line.split()[1] for line in f) if m.startswith(self.dir + "/")]

    def start(self, name, argv, **kwargs):
        process = Process(self, name, argv, **kwargs)
        self.processes.append(process)
        return process

    def netns(self, name):
        return Netns(self, name)

    def image(self, name, size, ext4=False):
        """A sparse file, with an empty file system if asked for."""
        path = self.path(name)
        run("truncate", "-s", size, path)
        if ext4:
            run("mkfs.ext4", "-q", path)
        return path

    def wait_socket(self, path, process):
        """Waits until a process has made its socket."""
        def ready():
            if not process.alive():
                raise LabError(f"{process.name} has ended\n{process.tail()}")
            return os.path.exists(path)
        until(f"socket {path}", ready)


@dataclass
class Disk:
    """A vhost-user block device of a guest, to which the socket leads."""
    socket: str
    queues: int = 1
    packed: bool = False
    reconnect: bool = False
    modules = ("virtio_blk",)
    device_id = 2

    def qemu(self, name):
        """Its options to QEMU; name tells it from others."""
        return [*chardev(self, name),
                "-device", f"vhost-user-blk-pci,id={name},chardev={name}.chr,"
                           f"packed={on_off(self.packed)},num-queues={self.queues}"]


@dataclass
class Scsi:
    """A vhost-user SCSI host of a guest.  Its queues are those for commands."""
    socket: str
    queues: int = 1
    packed: bool = False
    reconnect: bool = False
    modules = ("virtio_scsi", "sd_mod", "sg")
    device_id = 8

    def qemu(self, name):
        return [*chardev(self, name),
                "-device", f"vhost-user-scsi-pci,id={name},chardev={name}.chr,"
                           f"packed={on_off(self.packed)},num_queues={self.queues}"]


@dataclass
class Net:
    """A vhost-user network device of a guest.  Its queues are pairs."""
    socket: str
    mac: str = "52:54:00:00:00:01"
    queues: int = 1
    packed: bool = False
    reconnect: bool = False
    mtu: int = 0
    modules = ("virtio_net",)
    device_id = 1

    def qemu(self, name):
        mtu = f",host_mtu={self.mtu}" if self.mtu else ""
        return [*chardev(self, name),
                "-netdev", f"vhost-user,id={name}.net,chardev={name}.chr,queues={self.queues}",
                "-device", f"virtio-net-pci,id={name},netdev={name}.net,mac={self.mac},romfile=,"
                           f"packed={on_off(self.packed)},mq={on_off(self.queues > 1)},"
                           f"vectors={2 * self.queues + 2}{mtu}"]


@dataclass
class Console:
    """A vhost-user console of a guest of user-mode Linux: QEMU has none."""
    socket: str
    modules = ("virtio_console",)
    device_id = 3


def wanted_modules(devices):
    """The modules of the guest's kernel that drive its devices."""
    return list(dict.fromkeys(module for device in devices for module in device.modules))


def on_off(value):
    return "on" if value else "off"


def chardev(device, name):
    """The connection of a vhost-user device to its back-end, for QEMU."""
    reconnect = ",reconnect-ms=100" if device.reconnect else ""
    return ["-chardev", f"socket,id={name}.chr,path={device.socket}{reconnect}"]


class Guest:
    """A booted Linux that does what sh() tells it.  See guest/agent for the other end."""

    def __init__(self, process, channel):
        self.process = process
        self.channel = channel
        self.buffer = b""
        self.number = 0

    def _line(self, end):
        while b"\n" not in self.buffer:
            self.channel.settimeout(max(end - time.monotonic(), 0.001))
            try:
                data = self.channel.recv(65536)
            except TimeoutError:
                raise LabError(f"no answer from {self.process.name}") from None
            if not data:
                raise LabError(f"{self.process.name} has ended")
            self.buffer += data
        line, _, self.buffer = self.buffer.partition(b"\n")
        return line.rstrip(b"\r").decode(errors="replace")

    def wait_ready(self):
        """Waits until the guest has booted."""
        end = time.monotonic() + BOOT_TIMEOUT
        while self._line(end) != "@ready":
            pass

    def send(self, script):
        """Starts a script in the guest; collect() waits for it."""
        self.number += 1
        text = base64.b64encode(script.encode()).decode()
        self.channel.sendall(f"{self.number} {text}\n".encode())

    def collect(self, check=True, timeout=TIMEOUT):
        """The output of the script that was sent last."""
        end = time.monotonic() + timeout
        output = []
        while not (line := self._line(end)).startswith(f"@end {self.number} "):
            output.append(line)
        status = int(line.split()[2])
        text = "\n".join(output).strip("\n")
        if check and status != 0:
            raise LabError(f"{self.process.name}: status {status} of the script\n{text}")
        return text

    def sh(self, script, check=True, timeout=TIMEOUT):
        """Runs a script in the guest, which ends it at the first command that fails."""
        self.send(script)
        return self.collect(check, timeout)

    def has_feature(self, device, bit):
        """Whether the guest's driver of a device, named as under /sys, has negotiated a feature."""
        return self.sh(f"cat /sys/{device}/device/features")[bit] == "1"

    def poweroff(self):
        """Shuts the guest down, what it has mounted first."""
        self.send("sync; echo o >/proc/sysrq-trigger; sleep 60")
        self.process.wait()
        self.channel.close()


def uml(lab, devices, name="uml", memory="256M"):
    """Boots user-mode Linux."""
    need(UML, "user-mode-linux")
    need(initrd.BUSYBOX, "busybox-static")
    archive = lab.path(name + ".initrd")
    modules = os.path.join(UML_MODULES, os.listdir(UML_MODULES)[0])
    initrd.build(archive, modules, sorted(wanted_modules(devices)))
    ours, theirs = socket.socketpair()
    with theirs:
        argv = [UML, f"mem={memory}", f"initrd={archive}", "con=null", "con0=null,fd:1", "ssl=null",
                f"con1=fd:{theirs.fileno()}", "quiet", "loglevel=3", "panic=-1",
                "lab.tty=tty1", "lab.share=hostfs"]
        argv += [f"virtio_uml.device={device.socket}:{device.device_id}" for device in devices]
        # See uml_xstate.c.
        env = {"LD_PRELOAD": os.path.join(BUILD, "tests/interop/libuml_xstate.so")}
        process = lab.start(name, argv, fds=[theirs.fileno()], env=env)
    guest = Guest(process, ours)
    guest.wait_ready()
    return guest


def kernel_dir():
    """Where scripts/fetch-kernel has put the kernel of QEMU's guests."""
    cache = os.environ.get("UVDPA_CACHE") or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "uvdpa")
    return os.path.join(cache, "kernel")


def has_kvm():
    """Whether KVM can run a stock kernel: the device node alone does not say so."""
    with open("/proc/cpuinfo", encoding="ascii") as f:
        flags = next((line for line in f if line.startswith("flags")), "").split()
    return bool({"vmx", "svm"} & set(flags)) and os.access("/dev/kvm", os.R_OK | os.W_OK)


class Qmp:
    """QEMU's machine protocol."""

    def __init__(self, path):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(TIMEOUT)
        # The socket has its name a moment before QEMU listens.
        until("QEMU's monitor", lambda: self.sock.connect_ex(path) == 0)
        self.file = self.sock.makefile("r", encoding="utf-8")
        self.events = []
        self.file.readline()
        self("qmp_capabilities")

    def _message(self):
        return json.loads(self.file.readline())

    def __call__(self, command, **arguments):
        """Runs a command; "_" stands for "-" in the names of arguments."""
        arguments = {key.replace("_", "-"): value for key, value in arguments.items()}
        text = json.dumps({"execute": command, "arguments": arguments})
        self.sock.sendall(text.encode())
        while "event" in (message := self._message()):
            self.events.append(message)
        if "error" in message:
            raise LabError(f"QEMU: {command}: {message['error']['desc']}")
        return message["return"]

    def wait_event(self, name):
        """Waits for an event, or takes one that has come."""
        while True:
            for event in self.events:
                if event["event"] == name:
                    self.events.remove(event)
                    return event.get("data")
            self.events.append(self._message())


class Qemu(Guest):
    """A guest under QEMU, with KVM where the processor has it."""

    def __init__(self, lab, devices, name="qemu", smp=1, memory="512M", share=True, user=None,
                 modules=(), incoming=None, extra=()):
        need(QEMU, "qemu-system-x86")
        need(initrd.BUSYBOX, "busybox-static")
        kernel = kernel_dir()
        if not os.path.exists(os.path.join(kernel, "vmlinux")):
            raise Skip("no guest kernel: scripts/fetch-kernel brings it (package linux-image-amd64)")
        self.dir = lab.path(name)
        os.mkdir(self.dir)
        modules = ["virtio_blk", "crc32c_generic", "ext4", *wanted_modules(devices), *modules,
                   *(["9p", "9pnet_virtio"] if share else [])]
        initrd.build(self._path("initrd"), self._modules(kernel), modules)
        vmlinux = os.path.join(kernel, "vmlinux")
        if user:
            shutil.copy(vmlinux, self._path("vmlinux"))
            vmlinux = self._path("vmlinux")
            os.chmod(lab.dir, 0o711)
            shutil.chown(self.dir, user)
        argv = [QEMU, *self._machine(vmlinux, smp, memory, share), *extra]
        for number, device in enumerate(devices):
            argv += device.qemu(f"dev{number}")
        if incoming:
            argv += ["-incoming", incoming]
        process = lab.start(name, argv, user=user)
        lab.wait_socket(self._path("qmp.sock"), process)
        self.qmp = Qmp(self._path("qmp.sock"))
        channel = socket.socket(socket.AF_UNIX)
        channel.connect(self._path("agent.sock"))
        super().__init__(process, channel)
        if not incoming:
            self.wait_ready()

    def _path(self, name):
        return os.path.join(self.dir, name)

    @staticmethod
    def _modules(kernel):
        with open(os.path.join(kernel, "release"), encoding="ascii") as f:
            return os.path.join(kernel, "lib/modules", f.read().strip())

    def _machine(self, vmlinux, smp, memory, share):
        if has_kvm():
            accel = ["-accel", "kvm", "-cpu", "host"]
        else:
            accel = ["-accel", "tcg,thread=multi", "-cpu", "max"]
        # Most options save time while booting.  init_on_alloc: a page that the processor has cleared
        # is dirty anyhow, and no migration would miss what the device wrote into it.
        append = ("console=ttyS0 quiet panic=0 noreplace-smp cryptomgr.notests=1 nokaslr "
                  "rcupdate.rcu_expedited=1 lsm=capability mitigations=off init_on_alloc=0 "
                  "lab.tty=ttyS1")
        argv = [
            *accel, "-M", "q35,smm=off,hpet=off,sata=off,smbus=off,vmport=off,usb=off",
            "-smp", smp, "-m", f"{memory},slots=4,maxmem=4G",
            "-object", f"memory-backend-memfd,id=mem,size={memory},share=on",
            "-machine", "memory-backend=mem",
            "-nodefaults", "-no-user-config", "-display", "none",
            "-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console",
            "-chardev", f"socket,id=agent,path={self._path('agent.sock')},server=on,wait=off",
            "-serial", "chardev:agent",
            "-qmp", f"unix:{self._path('qmp.sock')},server=on,wait=off",
            "-kernel", vmlinux, "-initrd", self._path("initrd")]
        if share:
            append += " lab.share=9p"
            argv += ["-fsdev", "local,id=host,path=/,security_model=none,readonly=on,multidevs=remap",
                     "-device", "virtio-9p-pci,fsdev=host,mount_tag=host"]
        return [*argv, "-append", append]

    def reset(self):
        """Resets the guest and waits until it has booted again."""
        self.qmp("system_reset")
        self.wait_ready()
        self.number = 0


def main(*cases):
    """Runs the case that the command line names: a function of a Lab and the further words."""
    by_name = {case.__name__: case for case in cases}
    if len(sys.argv) < 2 or sys.argv[1] not in by_name:
        sys.exit(f"usage: {sys.argv[0]} {'|'.join(by_name)}")
    try:
        with Lab() as lab:
            by_name[sys.argv[1]](lab, *sys.argv[2:])
    except Skip as reason:
        print(reason)
        sys.exit(77)
    say("done")
