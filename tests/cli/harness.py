# SPDX-License-Identifier: BSD-2-Clause
"""A scratch daemon, and the tool to talk to it.

    with Scratch() as scratch:
        daemon = scratch.daemon("--workers", "2")
        daemon.cli("dev", "add", "name", "v0", "mgmtdev", "void")
        assert daemon.json("dev", "show")["dev"]["v0"]["type"] == "rng"

Nothing here sleeps: a daemon says that it is ready through the socket of the service manager, and its end is waited for.
"""
import contextlib
import json
import os
import pwd
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

BUILD = os.environ["UVDPA_BUILD"]
UVDPAD = os.path.join(BUILD, "src/daemon/uvdpad")
UVDPA = os.path.join(BUILD, "src/cli/uvdpa")
VOID = os.path.join(BUILD, "tests/cli/void_class.so")
NET_DRIVER = os.path.join(BUILD, "tests/cli/net_driver")
HUB = os.path.join(BUILD, "tests/cli/void_type.so")
TIMEOUT = 60


class Skip(Exception):
    """The machine lacks what the test needs."""


class Failed(Exception):
    """A check did not hold."""


def check(condition, what):
    if not condition:
        raise Failed(what)


def equal(got, expected, what=""):
    check(got == expected, f"{what}: got {got!r}, expected {expected!r}")


def contains(text, part):
    check(part in text, f"no {part!r} in {text!r}")


def as_user(user):
    """The words before a command that make it another user's."""
    if not user:
        return []
    gid = str(pwd.getpwnam(user).pw_gid)
    return ["setpriv", "--reuid", user, "--regid", gid, "--clear-groups"]


class Result:
    """What a program said, and how it ended."""

    def __init__(self, done):
        self.status, self.out, self.err = done.returncode, done.stdout, done.stderr


class Daemon:
    """A uvdpad in the background; ready() has been waited for."""

    def __init__(self, scratch, args, user=None, env=None, wait=True, terminal=None):
        self.scratch, self.run_dir, self.user = scratch, scratch.run_dir, user
        self.log_path = scratch.path(f"uvdpad-{len(scratch.daemons)}.log")
        self.env = {**os.environ, "UVDPA_RUN_DIR": self.run_dir, **(env or {})}
        # Sanitizers slow things down, and plug-ins are not built with them.
        notify = scratch.path(f"notify-{len(scratch.daemons)}")
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notify.bind(notify)
        os.chmod(notify, 0o777)
        self.env["NOTIFY_SOCKET"] = notify
        session = ["setsid", "--ctty"] if terminal is not None else []
        with open(self.log_path, "wb") as log:
            # The daemon dies with the test even where that is killed.
            self.popen = subprocess.Popen(
                [*session, *as_user(user), "setpriv", "--pdeathsig", "KILL", UVDPAD, "--load", VOID, *args],
                stdin=subprocess.DEVNULL if terminal is None else terminal,
                stdout=log, stderr=log, env=self.env, cwd=scratch.dir)
        self.pidfd = os.pidfd_open(self.popen.pid)
        scratch.daemons.append(self)
        if wait:
            equal(self.wait_ready(), "READY=1", self.log())

    def wait_ready(self):
        """The next message to the service manager, or None when the daemon ends first."""
        poll = select.poll()
        poll.register(self.notify, select.POLLIN)
        poll.register(self.pidfd, select.POLLIN)
        ready = dict(poll.poll(TIMEOUT * 1000))
        check(ready, "not ready in time")
        return self.notify.recv(256).decode() if self.notify.fileno() in ready else None

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as f:
            return f.read()

    def wait(self):
        status = self.popen.wait(TIMEOUT)
        return status

    def kill(self, sig=signal.SIGKILL):
        self.popen.send_signal(sig)
        return self.wait()

    def run(self, *words, stdin=None, user=None, env=None, cwd=None):
        """Runs the tool; returns a Result."""
        argv = [*as_user(user or self.user), UVDPA, *map(str, words)]
        done = subprocess.run(argv, input=stdin, capture_output=True, text=True, timeout=TIMEOUT,
                              env={**self.env, **(env or {})}, cwd=cwd or self.scratch.dir,
                              check=False)
        return Result(done)

    def cli(self, *words, **kwargs):
        """Runs the tool, which must succeed and say nothing on stderr; returns its output."""
        done = self.run(*words, **kwargs)
        equal((done.status, done.err), (0, ""), f"uvdpa {' '.join(map(str, words))}")
        return done.out

    def json(self, *words, **kwargs):
        return json.loads(self.cli("-j", *words, **kwargs))

    def refused(self, *words, status=1, **kwargs):
        """Runs the tool, which must fail with one line; returns that line without the name."""
        done = self.run(*words, **kwargs)
        equal(done.status, status, f"uvdpa {' '.join(map(str, words))}: {done.err}")
        check(done.err.startswith("uvdpa: ") and done.err.count("\n") == 1,
              f"not one line: {done.err!r}")
        return done.err[len("uvdpa: "):-1]

    def stop(self):
        self.cli("stop")
        equal(self.popen.poll() if self.popen.poll() is not None else self.wait(), 0, self.log())

    def rpc(self):
        return Rpc(os.path.join(self.run_dir, "control.sock"))


class Rpc:
    """A raw client of the control socket."""

    def __init__(self, path):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(TIMEOUT)
        self.sock.connect(path)
        self.file = self.sock.makefile("r", encoding="utf-8")

    def send(self, text, fds=()):
        socket.send_fds(self.sock, [text.encode()], list(fds))

    def receive(self):
        line = self.file.readline()
        return json.loads(line) if line else None

    def call(self, method, passed=(), **params):
        self.send(json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}) + "\n",
                  passed)
        while True:
            reply = self.receive()
            if reply is None or "id" in reply:
                return reply

    def close(self):
        self.file.close()
        self.sock.close()


class NetDriver:
    """The driver of a network device over vhost-user: see net_driver.c."""

    def __init__(self, scratch, device, features):
        path = os.path.join(scratch.run_dir, "dev", device, "vhost.sock")
        self.popen = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", NET_DRIVER, path, f"{sum(1 << bit for bit in features):x}"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        scratch.processes.append(self.popen)
        equal(self.answer(), "ready")

    def answer(self):
        return self.popen.stdout.readline().rstrip("\n")

    def __call__(self, word, data):
        self.popen.stdin.write(f"{word} {data}\n")
        self.popen.stdin.flush()
        return self.answer()

    def command(self, *data):
        """Gives the device a command, which it has to take."""
        equal(self("ctrl", bytes(data).hex()), "0", data)

    def passes(self, head):
        """Whether a frame that begins like this gets through."""
        answer = self("send", head.replace(":", "").replace(" ", ""))
        check(answer in ("back", "lost"), answer)
        return answer == "back"

    def kill(self):
        self.popen.kill()
        self.popen.wait()
        self.popen.stdin.close()
        self.popen.stdout.close()


class Scratch:
    """A folder of its own, and every daemon that the test starts."""

    def __init__(self):
        # Short: names of sockets are.
        self.dir = tempfile.mkdtemp(prefix="uvdpa-cli-", dir="/tmp")
        os.chmod(self.dir, 0o755)
        self.run_dir = os.path.join(self.dir, "run")
        self.daemons = []
        self.processes = []

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        for process in self.processes:
            if process.poll() is None:
                process.kill()
                process.wait()
        for daemon in self.daemons:
            if daemon.popen.poll() is None:
                daemon.kill()
            if exc[0]:
                print(daemon.log(), file=sys.stderr)
            daemon.notify.close()
            os.close(daemon.pidfd)
        for line in mounts_under(self.dir):
            subprocess.run(["umount", "-l", line], check=False)
        shutil.rmtree(self.dir, ignore_errors=True)

    def copy_programs(self):
        """For users who cannot reach the build folder."""
        global UVDPAD, UVDPA, VOID
        UVDPAD, UVDPA, VOID = (shutil.copy(program, self.dir) for program in (UVDPAD, UVDPA, VOID))

    def start_as(self, user, *argv):
        """A program in the background, which dies with the test."""
        process = subprocess.Popen([*as_user(user), "setpriv", "--pdeathsig", "KILL", *argv],
                                   stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        self.processes.append(process)
        return process

    @staticmethod
    def wait_open(process, path):
        """Waits until the process has the file open; only its end is an event, so it is looked for."""
        end = time.monotonic() + TIMEOUT
        while path not in open_files(process.pid):
            check(process.poll() is None and time.monotonic() < end, f"{path} was not opened")
            time.sleep(0.01)

    def path(self, name):
        return os.path.join(self.dir, name)

    def write(self, name, text):
        path = self.path(name)
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
        return path

    def daemon(self, *args, **kwargs):
        return Daemon(self, args, **kwargs)

    def listing(self):
        """Everything in the run directory; empty when there is none."""
        return sorted(os.path.relpath(os.path.join(base, name), self.run_dir)
                      for base, dirs, files in os.walk(self.run_dir) for name in dirs + files)


def open_files(pid):
    """The paths of a process's descriptors, but those that it closes meanwhile."""
    fds = f"/proc/{pid}/fd"
    paths = []
    for fd in os.listdir(fds):
        with contextlib.suppress(FileNotFoundError):
            paths.append(os.readlink(os.path.join(fds, fd)))
    return paths


def mounts_under(path):
    with open("/proc/self/mountinfo", encoding="utf-8") as f:
        return [line.split()[4] for line in f if line.split()[4].startswith(path + "/")]


def main(cases):
    """Runs the case named on the command line, all without one.  Exit status as meson wants it."""
    names = sys.argv[1:] or list(cases)
    for name in names:
        try:
            with contextlib.ExitStack() as stack:
                cases[name](stack.enter_context(Scratch()))
        except Skip as skip:
            print(skip)
            sys.exit(77)
        except (Failed, subprocess.TimeoutExpired) as failed:
            print(f"{name}: {failed}")
            sys.exit(1)
        print(f"{name}: ok")
