# SPDX-License-Identifier: BSD-2-Clause
"""Runs what the manuals show: examples_test.py CASE.

A block between .EX and .EE that a comment `.\\" example` precedes is run.  Lines that begin with "$ "
are commands for a shell (a command goes on while a quote is open); lines after one are its output, in which "..."
stands for anything.  Blocks of a page share a folder and a daemon.  `.\\" example background` starts its own daemon;
`.\\" example startup` is a start-up file, `.\\" example c NAME` a program.  `.\\" example crypto` is left out of a build
without the class.
"""
import os
import re
import subprocess
import sys

HERE = os.path.dirname(os.path.realpath(__file__))
TOP = os.path.join(HERE, "../..")
sys.path.insert(0, os.path.join(HERE, "../cli"))

from harness import TIMEOUT, UVDPA, UVDPAD, check, contains, equal, main  # noqa: E402


def plain(line):
    """A line of roff as a reader sees it."""
    for escape, text in ((r"\-", "-"), (r"\(aq", "'"), (r"\(dq", '"'), (r"\e", "\\")):
        line = line.replace(escape, text)
    return line


def blocks(page):
    """(kind, lines) of each marked block."""
    with open(os.path.join(TOP, "man", page), encoding="utf-8") as f:
        text = f.read()
    found = re.findall(r'^\.\\" (example[a-z. ]*)\n\.EX\n(.*?)^\.EE$', text, re.M | re.S)
    return [(kind, [plain(line) for line in body.splitlines()]) for kind, body in found]


def steps(lines):
    """(command, expected output) of each command."""
    result = []
    for line in lines:
        if line.startswith("$ "):
            result.append(([line[2:]], []))
        elif sum(part.count("'") for part in result[-1][0]) % 2:
            result[-1][0].append(line)
        else:
            result[-1][1].append(line)
    return [("\n".join(command), "\n".join(output)) for command, output in result]


def matches(got, expected):
    pattern = ".*".join(re.escape(part) for part in expected.split("..."))
    return re.fullmatch(pattern, got.strip(), re.S)


def shell(scratch, command, env):
    path = os.pathsep.join((os.path.dirname(UVDPA), os.path.dirname(UVDPAD), os.environ["PATH"]))
    done = subprocess.run(["bash", "-ec", command], cwd=scratch.dir, capture_output=True, text=True,
                          env={**os.environ, **env, "PATH": path}, timeout=TIMEOUT, check=False)
    equal(done.returncode, 0, f"{command}\n{done.stderr}")
    return done.stdout


def has_crypto(daemon):
    return "crypto" in daemon.json("mgmtdev", "show")["mgmtdev"]


def tool(scratch):
    """uvdpa.8"""
    daemon = scratch.daemon()
    found = blocks("uvdpa.8")
    check(len(found) >= 5, "the marks are gone")
    for kind, lines in found:
        if kind == "example crypto" and not has_crypto(daemon):
            continue
        for command, expected in steps(lines):
            got = shell(scratch, command, {"UVDPA_RUN_DIR": daemon.run_dir})
            check(matches(got, expected) or not expected, f"{command}\ngave {got!r}")
    equal(daemon.wait(), 0)
    again = scratch.daemon("--config", scratch.path("uvdpa.conf"))
    equal(list(again.json("dev", "show")["dev"]), ["disk0"])
    again.stop()


def readme(scratch):
    """README.md, by hand: all but the guest, and the mount (there is no file system without one)."""
    with open(os.path.join(TOP, "README.md"), encoding="utf-8") as f:
        section = re.search(r"^## By hand\n(.*?)^## ", f.read(), re.M | re.S)[1]
    lines = [line[4:] for line in section.splitlines() if re.match(r"    (truncate|uvdpa) ", line)]
    equal(len(lines), 15)
    daemon = scratch.daemon()
    for line in lines:
        if "crypto" in line and not has_crypto(daemon):
            continue
        shell(scratch, line, {"UVDPA_RUN_DIR": daemon.run_dir})
    disk = os.path.join(daemon.run_dir, "dev/disk0/disk")
    equal(os.stat(disk).st_size, 2 << 30)
    contains(section, "/run/uvdpa/dev/disk0/disk")
    contains(section, "/run/uvdpa/dev/disk0/vhost.sock")
    daemon.stop()


def startup_file(scratch):
    """uvdpa.conf.5"""
    (kind, lines), = blocks("uvdpa.conf.5")
    equal(kind, "example startup")
    with open(scratch.path("disk.img"), "wb") as f:
        f.truncate(64 << 20)
    daemon = scratch.daemon("--config", scratch.write("uvdpa.conf", "\n".join(lines) + "\n"))
    equal(list(daemon.json("dev", "show")["dev"]), ["disk0", "scratch"])
    daemon.stop()


def daemon_page(scratch):
    """uvdpad.8: the daemon is started by the test, which has to know when it is ready."""
    (kind, lines), = blocks("uvdpad.8")
    equal(kind, "example background")
    (start, _), (stop, _) = steps(lines)
    equal(start, "uvdpad --run-dir ./run &")
    daemon = scratch.daemon("--run-dir", "./run")
    equal(shell(scratch, stop, {}), "")
    equal(daemon.wait(), 0)


def commands(scratch):
    """The synopsis, the help of the tool and the options are the same everywhere."""
    with open(os.path.join(TOP, "man/uvdpa.8"), encoding="utf-8") as f:
        page = f.read()
    synopsis = plain(re.search(r'^\.\\" commands\n(.*?)^\.EE$', page, re.M | re.S)[1]).splitlines()
    done = subprocess.run([UVDPA, "help"], capture_output=True, text=True, check=True)
    usage = [line.strip() for line in done.stdout.split("cut short:\n")[1].splitlines()
             if line.startswith("  ") and not line.startswith("   ")]
    equal(synopsis, usage)
    for program, name in ((UVDPA, "uvdpa.8"), (UVDPAD, "uvdpad.8")):
        done = subprocess.run([program, "--help"], capture_output=True, text=True, check=True)
        with open(os.path.join(TOP, "man", name), encoding="utf-8") as f:
            page = plain(f.read())
        options = re.findall(r"^  (?:-\w, )?(--?[\w-]+)", done.stdout, re.M)
        check(len(options) >= 7, done.stdout)
        for option in options:
            contains(page, option)


def json_rpc(scratch):
    """docs/json-rpc.md: each method has its place, and its examples are taken as they stand."""
    with open(os.path.join(TOP, "docs/json-rpc.md"), encoding="utf-8") as f:
        page = f.read()
    done = subprocess.run([UVDPA, "help"], capture_output=True, text=True, check=True)
    lines = [line.strip() for line in done.stdout.split("cut short:\n")[1].splitlines()
             if line.startswith("  ") and not line.startswith("   ")]
    for line in lines:
        words = []
        for word in line.split():
            if not word.islower() or word == "name":
                break
            words.append(word)
        method = ".".join(words[:3 if words[-1] == "show" else 2])
        if method != "top":
            contains(page, f"`{method}`")
    with open(scratch.path("disk.img"), "wb") as f:
        f.truncate(64 << 20)
    daemon = scratch.daemon()
    rpc = daemon.rpc()
    sent = 0
    for block in re.findall(r"^```json\n(.*?)^```$", page, re.M | re.S):
        for line in block.splitlines():
            if line.startswith("--> "):
                rpc.send(line[4:].replace("/srv/disk.img", scratch.path("disk.img")) + "\n")
                sent += 1
            elif line.startswith("<-- "):
                got = rpc.file.readline()
                check(matches(got, line[4:]), f"{line[4:]}\ngot {got}")
    check(sent >= 3, "the examples are gone")
    rpc.close()
    daemon.stop()


def parent_page(scratch):
    """vdpa-parent.7: the class compiles without a warning, and hands out what is written."""
    files = {kind.split()[-1]: lines for kind, lines in blocks("vdpa-parent.7")
             if kind.startswith("example c ")}
    equal(list(files), ["feed.c"])
    for name, lines in files.items():
        scratch.write(name, "\n".join(lines) + "\n")
    (commands_shown,) = [steps(lines) for kind, lines in blocks("vdpa-parent.7")
                         if kind == "example parent"]
    env = {"CPATH": os.path.join(TOP, "include")}
    daemon = None
    for command, expected in commands_shown:
        if command.startswith("uvdpad"):
            equal(command, "uvdpad --run-dir ./run --load ./feed.so &")
            daemon = scratch.daemon("--run-dir", "./run", "--load", "./feed.so")
            continue
        got = shell(scratch, command.replace("cc ", "cc -Wall -Wextra -Wno-unused-parameter -Werror "), env)
        check(matches(got, expected), f"{command}\ngave {got!r}")
    with open(scratch.path("entropy"), "wb", buffering=0) as fifo:
        fifo.write(b"\x01\x23\x45")
        ask = os.path.join(os.environ["UVDPA_BUILD"], "tests/examples/ask")
        done = subprocess.run([ask, scratch.path("run/dev/rng0/vhost.sock"), "16"],
                              capture_output=True, text=True, timeout=TIMEOUT, check=False)
    equal((done.stdout, done.stderr), ("012345\n", ""))
    daemon.stop()


if __name__ == "__main__":
    main({case.__name__: case for case in (tool, startup_file, daemon_page, commands, json_rpc,
                                             parent_page, readme)})
