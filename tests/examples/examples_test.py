# SPDX-License-Identifier: BSD-2-Clause
"""Runs the programs of examples/ and asks the devices that they serve: examples_test.py CASE."""
import os
import signal
import stat
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "../cli"))

from harness import BUILD, TIMEOUT, Scratch, check, equal, main  # noqa: E402

ASK = os.path.join(BUILD, "tests/examples/ask")
RNG = os.path.join(BUILD, "examples/rng")
RNG_CLASS = os.path.join(BUILD, "examples/rng_class.so")
EMBED = os.path.join(BUILD, "examples/embed")
# A virtio block request: read one sector, the first.
READ_FIRST_SECTOR = bytes(16).hex()


def start(argv, **kwargs):
    """A program that dies with the test."""
    return subprocess.Popen(["setpriv", "--pdeathsig", "KILL", *argv], text=True, bufsize=1,
                            stdout=subprocess.PIPE, **kwargs)


def wait_line(process, part):
    for line in process.stdout:
        if part in line:
            return
    check(False, f"{process.args[-1]} ended without saying {part!r}")


def ask(path, length, sent=""):
    done = subprocess.run([ASK, path, str(length), sent], capture_output=True, text=True,
                          timeout=TIMEOUT, check=False)
    equal(done.returncode, 0, done.stderr)
    return done.stdout.strip()


def check_entropy(path):
    first, second = ask(path, 64), ask(path, 64)
    equal(len(first), 128, "hex digits")
    check(first != second and first != "00" * 64, f"not random: {first} {second}")


def rng(scratch):
    """The smallest device, as a program: two guests one after the other, and no trace of it."""
    path = scratch.path("rng.sock")
    process = start([RNG, path])
    wait_line(process, "ready")
    check_entropy(path)
    process.send_signal(signal.SIGTERM)
    equal(process.wait(TIMEOUT), 0)
    check(not os.path.exists(path), "the socket is left behind")
    with open(os.path.join(os.path.dirname(os.path.realpath(__file__)), "../../examples/rng.c"),
              encoding="utf-8") as f:
        check(len(f.readlines()) < 100, "examples/rng.c is not under 100 lines")


def rng_errors(scratch):
    """What goes wrong is said in a line."""
    done = subprocess.run([RNG, scratch.path("no/such/folder")], capture_output=True, text=True,
                          timeout=TIMEOUT, check=False)
    equal(done.returncode, 1)
    check(done.stderr.startswith("rng: ") and done.stderr.count("\n") == 1, done.stderr)


def rng_class(scratch):
    """The smallest device, as a class of the daemon."""
    daemon = scratch.daemon("--load", RNG_CLASS)
    daemon.cli("dev", "add", "name", "rng0", "mgmtdev", "my-rng")
    daemon.cli("dev", "bind", "rng0", "driver", "vhost-user")
    path = os.path.join(daemon.run_dir, "dev/rng0/vhost.sock")
    check(stat.S_ISSOCK(os.stat(path).st_mode), "no socket")
    check_entropy(path)
    equal(daemon.json("dev", "vstats", "show", "rng0")["vstats"]["rng0"]["queues"][0]["requests"], 2)
    daemon.stop()


def embed(scratch):
    """The bus in the loop of another program."""
    process = start([EMBED], stdin=subprocess.PIPE, cwd=scratch.dir)
    for name in ("a.sock", "b.sock"):
        process.stdin.write(name + "\n")
        process.stdin.flush()
        wait_line(process, f"{name}: bind")
        answer = ask(scratch.path(name), 513, READ_FIRST_SECTOR)
        equal(answer, "00" * 513, "a sector of zeroes, and success")
    process.stdin.close()
    equal(process.wait(TIMEOUT), 0)
    equal([name for name in os.listdir(scratch.dir) if name.endswith(".sock")], [])


main({case.__name__: case for case in (rng, rng_errors, rng_class, embed)})
