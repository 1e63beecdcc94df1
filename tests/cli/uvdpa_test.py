# SPDX-License-Identifier: BSD-2-Clause
"""The tool and the daemon, as a user meets them: uvdpa_test.py [CASE]..."""
import json
import os
import pty
import pwd
import resource
import select
import shutil
import signal
import socket
import stat
import subprocess
import sys
import threading

from harness import (BUILD, Failed, HUB, Scratch, Skip, TIMEOUT, UVDPA, UVDPAD, VOID, check, contains, equal,
                     main, mounts_under, NetDriver, open_files)

ADD = ("dev", "add", "name", "v0", "mgmtdev", "void")


def state_of(daemon):
    """What `save` has to bring back."""
    devs = daemon.json("dev", "show")["dev"]
    workers = daemon.json("worker", "show")["worker"]
    drivers = daemon.json("driver", "show")["driver"]
    return {
        "dev": {name: {key: dev.get(key) for key in
                       ("mgmtdev", "driver", "max_vqs", "max_vq_size", "device")}
                for name, dev in devs.items()},
        "worker": {name: (w.get("cpu"), w["poll_us"]) for name, w in workers.items()},
        "driver": {name: d["default_of"] for name, d in drivers.items()},
        "queues": {name: [q.get("worker") for q in
                          daemon.json("dev", "vstats", "show", name)["vstats"][name]["queues"]]
                   for name in devs},
    }


# ---- commands

def devices(scratch):
    """Add, show, config, set, del."""
    d = scratch.daemon()
    equal(d.cli("dev", "show"), "")
    equal(d.json("dev", "show"), {"dev": {}})
    equal(d.cli(*ADD, "size", "4M", "queues", 2, "queue-size", 128), "")
    out = d.cli("dev", "show")
    contains(out, "v0: type rng mgmtdev void vendor_id ")
    contains(out, "max_vqs 2 max_vq_size 128")
    check(all(len(line) <= 80 for line in out.splitlines()), out)
    dev = d.json("dev", "show", "v0")["dev"]["v0"]
    equal((dev["type"], dev["mgmtdev"], dev["max_vqs"], dev["state"]), ("rng", "void", 2, "unbound"))
    equal(dev["device"]["size"], 4 << 20)
    contains(out, 'text ""')
    equal(d.cli("dev", "sh", "v0"), d.cli("dev", "show", "v0"), "a short word")
    first = d.json("dev", "config", "show", "v0")["config"]["v0"]["generation"]
    equal(d.cli("dev", "set", "v0", "size", "8M"), "")
    equal(d.json("dev", "show")["dev"]["v0"]["device"]["size"], 8 << 20)
    check(d.json("dev", "config", "show")["config"]["v0"]["generation"] != first, "same generation")
    d.cli("dev", "set", "name", "v0", "size", "2M")
    equal(d.json("dev", "show")["dev"]["v0"]["device"]["size"], 2 << 20)
    queues = d.json("dev", "vstats", "show", "v0")["vstats"]["v0"]["queues"]
    equal([q["qidx"] for q in queues], [0, 1])
    queues = d.json("dev", "vstats", "show", "v0", "qidx", 1)["vstats"]["v0"]["queues"]
    equal([q["qidx"] for q in queues], [1])
    queues = d.json("-s", "dev", "show")["dev"]["v0"]["queues"]
    equal([q["requests"] for q in queues], [0, 0])
    contains(d.cli("dev", "explain", "v0"), "VERSION_1")
    pretty = d.run("-j", "-p", "dev", "show").out
    equal(json.loads(pretty)["dev"].keys(), {"v0"})
    check(pretty.count("\n") > 5, "not pretty")
    d.cli("dev", "del", "v0")
    equal(d.json("dev", "show"), {"dev": {}})
    d.stop()


def errors(scratch):
    """One line that says what and why; nothing changes."""
    d = scratch.daemon()
    d.cli(*ADD)
    before = d.json("dev", "show")
    for words, status, text in (
            (("frob",), 2, "'frob' is no command"),
            (("dev", "frob"), 2, "'frob' is no command; try 'add'"),
            (("dev", "s"), 2, "'s' could be 'show' or 'set'"),
            (("dev", "add", "name", "v1"), 2, "'mgmtdev' is missing"),
            ((*ADD, "size"), 2, "'size' has no value"),
            ((*ADD, "size", "1M", "size", "2M"), 2, "'size' is given twice"),
            (("dev", "show", "v0", "v1"), 2, "'v1' is not expected"),
            (("worker", "add", "w", "cpu", "x"), 2, "'x' of 'cpu' is no number"),
            (("dev", "show", "nope"), 1, "no device 'nope'"),
            (("dev", "config", "show", "nope"), 1, "no device 'nope'"),
            (("dev", "vstats", "show", "nope"), 1, "'nope'"),
            (("dev", "vstats", "show", "v0", "qidx", "7"), 1, "no queue 7"),
            (("dev", "explain", "nope"), 1, "'nope'"),
            (("dev", "del", "nope"), 1, "'nope'"),
            (("dev", "unbind", "v0"), 1, "v0"),
            (("dev", "bind", "v0", "driver", "nope"), 1, "'nope'"),
            (ADD, 1, "'v0'"),
            (("dev", "add", "name", "v1", "mgmtdev", "nope"), 1, "'nope'"),
            (("dev", "add", "name", "-v", "mgmtdev", "void"), 1, "-v"),
            (("dev", "add", "name", "x" * 40, "mgmtdev", "void"), 1, "xxx"),
            (("dev", "add", "name", "v1", "mgmtdev", "void", "sise", "1M"), 1, "size"),
            (("dev", "add", "name", "v1", "mgmtdev", "void", "size", "1"), 1, "512"),
            (("dev", "add", "name", "v1", "mgmtdev", "void", "mode", "wild"), 1, "fast"),
            (("dev", "add", "name", "v1", "mgmtdev", "void", "queues", "9"), 1, "queues"),
            (("dev", "add", "name", "v1", "mgmtdev", "void", "file", "gone"), 1, "gone"),
            (("dev", "set", "v0", "mode", "safe"), 1, "mode"),
            (("mgmtdev", "show", "nope"), 1, "no management device 'nope'"),
            (("driver", "show", "nope"), 1, "no driver 'nope'"),
            (("driver", "default", "blk", "nope"), 1, "'nope'"),
            (("worker", "show", "nope"), 1, "no worker 'nope'"),
            (("worker", "del", "nope"), 1, "no worker 'nope'"),
            (("worker", "add", "w", "cpu", "4000"), 1, "4000"),
            (("top", "nope"), 1, "no device 'nope'"),
            (("top", "interval", "0"), 1, "'interval' is 1 to 3600"),
    ):
        contains(d.refused(*words, status=status), text)
    equal(d.json("dev", "show"), before)
    done = d.run("-x", "dev")
    equal(done.status, 2)
    done = d.run("-batch", "x", "dev")
    equal((done.status, done.err), (2, "uvdpa: 'dev' is not expected beside -batch\n"))
    d.stop()


def help_texts(scratch):
    """Help and versions need no daemon."""
    def run(*argv):
        done = subprocess.run(argv, capture_output=True, text=True, timeout=TIMEOUT, check=False)
        equal((done.returncode, done.stderr), (0, ""))
        check(all(len(line) <= 80 for line in done.stdout.splitlines()), done.stdout)
        return done.stdout
    for argv in ((UVDPA, "-h"), (UVDPA, "help"), (UVDPA, "--help")):
        contains(run(*argv), "dev add name NAME mgmtdev MGMTDEV [KEY VALUE]...")
    text = run(UVDPA, "dev", "help")
    contains(text, "dev bind")
    check("worker add" not in text, text)
    contains(run(UVDPA, "-V"), "uvdpa ")
    contains(run(UVDPAD, "-V"), "uvdpad ")
    contains(run(UVDPAD, "--help"), "--run-dir")
    done = subprocess.run([UVDPA, "help", "frob"], capture_output=True, text=True, check=False)
    equal((done.returncode, done.stdout), (2, ""))


def columns(scratch):
    """What people read fits 80 columns, and says the same as the JSON."""
    d = scratch.daemon()
    d.cli("dev", "add", "name", "disk0", "mgmtdev", "blk", "backend", "ram", "size", "16M",
          "queues", 4)
    d.cli("dev", "bind", "disk0", "driver", "vhost-user")
    d.cli("worker", "add", "fast", "poll-us", 7)
    for words in (("mgmtdev", "show"), ("driver", "show"), ("dev", "show"), ("dev", "show", "disk0"),
                  ("-s", "dev", "show"), ("dev", "config", "show"), ("dev", "explain", "disk0"),
                  ("dev", "vstats", "show", "disk0"), ("worker", "show"), ("-n", "1", "top")):
        out = d.cli(*words)
        check(out, words)
        equal([line for line in out.splitlines() if len(line) > 80 or line != line.rstrip()], [])
    attributes = d.json("mgmtdev", "show", "blk")["mgmtdev"]["blk"]["attributes"]
    types = {attr["name"]: attr["type"] for attr in attributes}
    equal((types["file"], types["size"], types["readonly"]), ("path", "size", "bool"))
    shown = d.cli("mgmtdev", "show", "blk")
    for attr in attributes:
        contains(shown, f"\n    {attr['name']} ")
    bits = {bit["name"]: bit["state"]
            for bit in d.json("dev", "explain", "disk0")["explain"]["disk0"]["features"]}
    equal((bits["VERSION_1"], bits["RO"]), ("offered", "not offered"))
    contains(d.cli("dev", "explain", "disk0"), "\n    32 VERSION_1          offered")
    d.stop()


def journal(scratch):
    """Lines for the journal begin with their level."""
    with open(scratch.path("stderr"), "wb") as log:
        st = os.fstat(log.fileno())
        done = subprocess.run([UVDPAD, "--run-dir", scratch.run_dir, "--config", "none"], stderr=log,
                              env={**os.environ, "JOURNAL_STREAM": f"{st.st_dev}:{st.st_ino}"},
                              timeout=TIMEOUT, check=False)
    equal(done.returncode, 1)
    with open(scratch.path("stderr"), encoding="utf-8") as log:
        equal(log.read(), "<3>none: No such file or directory\n")


def no_daemon(scratch):
    """Without a daemon the tool says how to start one."""
    done = subprocess.run([UVDPA, "--run-dir", scratch.run_dir, "dev", "show"],
                          capture_output=True, text=True, check=False)
    equal((done.returncode, done.stdout), (1, ""))
    equal(done.stderr, f"uvdpa: no uvdpad runs in '{scratch.run_dir}'; "
                       f"start one: uvdpad --run-dir {scratch.run_dir}\n")


def workers(scratch):
    """Workers come, move, serve queues and go."""
    d = scratch.daemon("--workers", "2", "--poll-us", "5")
    d.cli(*ADD, "queues", 4)
    equal(d.json("worker", "show"), {"worker": {}}, "without a client")
    d.cli("worker", "add", "slow", "poll-us", 5)
    d.cli("worker", "add", "fast", "cpu", 0, "poll-us", 50)
    fast = d.json("worker", "show", "fast")["worker"]["fast"]
    equal((fast["cpu"], fast["poll_us"], fast["queues"]), (0, 50, 0))
    d.cli("dev", "set", "v0", "worker", "fast", "queue", 1)
    equal(d.json("worker", "show", "fast")["worker"]["fast"]["queues"], 1)
    contains(d.refused("worker", "del", "fast"), "serves 1 ")
    d.cli("worker", "set", "fast", "cpu", "any")
    check("cpu" not in d.json("worker", "show", "fast")["worker"]["fast"], "still pinned")
    equal(d.json("worker", "show", "fast")["worker"]["fast"]["poll_us"], 50)
    d.cli("dev", "set", "v0", "worker", "slow")
    equal(d.json("worker", "show", "slow")["worker"]["slow"]["queues"], 4)
    d.cli("worker", "del", "fast")
    contains(d.cli("worker", "show"), "poll_us 5")
    d.stop()


def batch(scratch):
    """A file of commands: stops at the first failure, unless forced."""
    d = scratch.daemon()
    good = scratch.write("good", f"# two devices\n{' '.join(ADD)}\n\n"
                                 "dev add name \"v1\" mgmtdev void \\\n  size 2M # small\n")
    equal(d.cli("-batch", good), "")
    equal(list(d.json("dev", "show")["dev"]), ["v0", "v1"])
    bad = scratch.write("bad", "dev del v0\ndev del v0\n\ndev frob\ndev del v1\n")
    contains(d.refused("-b", bad), f"{bad}:2: ")
    equal(list(d.json("dev", "show")["dev"]), ["v1"])
    done = d.run("-force", "-batch", "-", stdin="dev frob\ndev del v1\n")
    equal(done.status, 2)
    contains(done.err, "uvdpa: -:1: 'frob' is no command")
    equal(d.json("dev", "show"), {"dev": {}})
    contains(d.refused("-batch", scratch.path("none"), status=1), "cannot open")
    contains(d.refused("-batch", "-", status=2, stdin="dev \"show\n"), "-:1: a quote is not closed")
    equal(d.json("-batch", "-", stdin="dev show\n"), {"dev": {}})
    d.stop()


def files(scratch):
    """Files come as descriptors, opened with the rights and in the folder of the one who asks."""
    d = scratch.daemon()
    folder = scratch.path("folder")
    os.mkdir(folder)
    with open(os.path.join(folder, "a b.img"), "wb") as f:
        f.truncate(12345)
    d.cli(*ADD, "file", "a b.img", cwd=folder)
    device = d.json("dev", "show")["dev"]["v0"]["device"]
    equal((device["passed"], device["file_size"]), (True, 12345))
    lines = d.cli("save").splitlines()
    check(any(f'file "{folder}/a b.img"' in line for line in lines), lines)
    # By JSON-RPC, without a descriptor: the daemon opens it, for its own user.
    rpc = d.rpc()
    path = os.path.join(folder, "a b.img")
    equal(rpc.call("dev.add", name="v1", mgmtdev="void", attrs={"file": path}).get("result"), {})
    with open(path, "rb") as f:
        ask = {"name": "v2", "mgmtdev": "void", "attrs": {"file": path}}
        equal(rpc.call("dev.add", **ask, fds={"file": 0})["error"]["code"], -32602)
        equal(rpc.call("dev.add", (f.fileno(),), **ask)["error"]["code"], -32602)
        equal(rpc.call("dev.add", (f.fileno(),), **ask, fds={"file": 0})["result"], {})
    rpc.close()
    devs = d.json("dev", "show")["dev"]
    equal([dev["device"]["passed"] for dev in devs.values()], [True, False, True])
    d.stop()


def terminal(scratch):
    """What a device says reaches no terminal as a control sequence."""
    d = scratch.daemon()
    contains(d.refused(*ADD, "text", "a\x1b[2Jb", status=2), "has a control character")
    d.cli(*ADD, "text", "a\u009b2Jb \u00e4")
    out = d.cli("dev", "show")
    contains(out, "a\\x9b2Jb \u00e4")
    d.stop()


# ---- management devices that are made by command

HUB0 = ("mgmtdev", "add", "hub0", "type", "hub")


def mgmtdevs(scratch):
    """Add, show, set, save, the order of the end, and a crash."""
    d = scratch.daemon("--load", HUB)
    equal(d.json("mgmtdev", "show", "hub")["type"]["hub"]["attributes"][0],
          {"name": "ports", "type": "uint", "help": "shown as it is (8)", "min": 1, "max": 64, "live": True})
    contains(d.cli("mgmtdev", "show"), "type hub:\n  help makes devices that do nothing\n  attributes:\n    ports ")
    scratch.write("a file", "")
    rpc = d.rpc()
    rpc.call("monitor")
    plain = subprocess.Popen([UVDPA, "monitor"], stdout=subprocess.PIPE, text=True, env=d.env)
    contains(plain.stdout.readline(), "ready")
    equal(d.cli(*HUB0, "ports", 4, "file", "a file"), "")
    equal(rpc.receive()["params"], {"event": "mgmtdev-add", "mgmtdev": "hub0", "text": "hub"})
    contains(plain.stdout.readline(), " hub0 mgmtdev-add hub\n")
    d.cli("dev", "add", "name", "v0", "mgmtdev", "hub0")
    d.cli("dev", "add", "name", "v1", "mgmtdev", "hub0")
    d.cli("mgmtdev", "set", "hub0", "ports", 5)
    shown = d.json("mgmtdev", "show", "hub0")
    equal(list(shown), ["mgmtdev"])
    shown = shown["mgmtdev"]["hub0"]
    equal((shown["type"], shown["devices"], shown["device"]), ("hub", 2, {"ports": 5, "passed": True}))
    check("type" not in d.json("mgmtdev", "show", "void")["mgmtdev"]["void"], "void has a type")

    equal(d.refused(*HUB0), "there is a management device 'hub0' already")
    equal(d.refused("mgmtdev", "add", "x", "type", "nope"),
          "no type 'nope' of management devices: there are 'switch', 'tmfifo', 'hub'")
    contains(d.refused("mgmtdev", "add", "x", "type", "hub", "port", 1), "did you mean 'ports'?")
    contains(d.refused("mgmtdev", "add", "x", "type", "tmfifo"), "'uio' is missing")
    equal(d.refused("mgmtdev", "add", "x", "type", "tmfifo", "uio", "/dev/null"),
          "'/dev/null' is no UIO device with mappings")
    contains(d.refused("mgmtdev", "add", "x", "type", "tmfifo", "uio", "/dev/uio-of-nobody"),
             "cannot open '/dev/uio-of-nobody'")
    equal(d.refused("mgmtdev", "set", "hub0", "file", "x"),
          "'file' cannot be changed later; what can: 'ports'")
    equal(d.refused("mgmtdev", "del", "hub0"), "'hub0' has 2 devices: remove them first")
    contains(d.refused("mgmtdev", "del", "void"), "'void' is built in")
    names = ", ".join(f"'{name}'" for name in d.json("mgmtdev", "show")["mgmtdev"])
    contains(names, "'void', 'hub0'")
    equal(d.refused("mgmtdev", "del", "x"), f"no management device 'x': there are {names}")
    equal(d.refused("mgmtdev", "show", "x"), "no management device 'x'")
    contains(d.refused("mgmtdev", "add", "x", status=2), "'type' is missing")

    text = d.cli("save")
    lines = text.splitlines()
    equal([line for line in lines if line.startswith(("mgmtdev", "dev"))],
          [f'mgmtdev add hub0 type hub ports 5 file "{scratch.path("a file")}"',
           "dev add name v0 mgmtdev hub0", "dev add name v1 mgmtdev hub0"])
    conf = scratch.write("uvdpa.conf", text)
    equal(d.kill(), -signal.SIGKILL)
    plain.wait(TIMEOUT)
    plain.stdout.close()
    rpc.close()
    d = scratch.daemon("--load", HUB, "--config", conf)
    equal(d.cli("save"), text)
    equal(d.json("mgmtdev", "show", "hub0")["mgmtdev"]["hub0"]["device"], {"ports": 5, "passed": False})
    d.cli("dev", "del", "v1")
    d.cli("dev", "del", "v0")
    rpc = d.rpc()
    rpc.call("monitor")
    d.cli("mgmtdev", "del", "hub0")
    equal(rpc.receive()["params"], {"event": "mgmtdev-del", "mgmtdev": "hub0"})
    rpc.close()
    contains(d.refused("dev", "add", "name", "v0", "mgmtdev", "hub0"), "no management device 'hub0'")
    # The end, with devices on one, and without.
    d.cli(*HUB0)
    d.cli("mgmtdev", "add", "hub1", "type", "hub")
    d.cli("dev", "add", "name", "v0", "mgmtdev", "hub1")
    d.stop()
    equal(scratch.listing(), [])


def mgmtdevs_late(scratch):
    """One that hangs misses its deadline, and is undone when it comes."""
    fifo = scratch.path("fifo")
    os.mkfifo(fifo)
    d = scratch.daemon("--load", HUB, "--timeout", "1")
    rpc = d.rpc()
    rpc.call("monitor")
    equal(d.refused(*HUB0, "hang", fifo), "'hub0' is still busy with 'add' after 1 s")
    equal(rpc.receive()["params"], {"event": "stuck", "mgmtdev": "hub0", "text": "add"})
    equal(d.refused(*HUB0), "there is a management device 'hub0' already")
    check("hub0" not in d.json("mgmtdev", "show")["mgmtdev"], "it is there")
    # Whether it comes before the end of the first or after: it is refused when that is gone.
    other = d.rpc()
    other.send('{"jsonrpc": "2.0", "id": 1, "method": "mgmtdev.del", "params": {"name": "hub0"}}\n')
    os.close(os.open(fifo, os.O_WRONLY))
    contains(other.receive()["error"]["message"], "'hub0'")
    other.close()
    d.cli(*HUB0)
    equal(rpc.receive()["params"], {"event": "mgmtdev-add", "mgmtdev": "hub0", "text": "hub"})
    rpc.close()
    d.stop()


# ---- monitor, top

def monitor(scratch):
    """Events as they come, for as many as listen."""
    d = scratch.daemon()
    plain = subprocess.Popen([UVDPA, "monitor"], stdout=subprocess.PIPE, text=True, env=d.env)
    lines = subprocess.Popen([UVDPA, "-j", "monitor"], stdout=subprocess.PIPE, text=True, env=d.env)
    equal(json.loads(lines.stdout.readline()), {"event": "ready"})
    contains(plain.stdout.readline(), "ready")
    d.cli(*ADD)
    event = json.loads(lines.stdout.readline())
    equal((event["event"], event["dev"]), ("dev-add", "v0"))
    contains(plain.stdout.readline(), " v0 dev-add")
    d.cli("dev", "set", "v0", "size", "2M")
    equal(json.loads(lines.stdout.readline())["event"], "config")
    d.cli("dev", "del", "v0")
    equal(json.loads(lines.stdout.readline())["event"], "dev-del")
    d.stop()
    equal((plain.wait(TIMEOUT), lines.wait(TIMEOUT)), (1, 1))
    plain.stdout.close()
    lines.stdout.close()


def top(scratch):
    """A table a second, in a pipe too."""
    d = scratch.daemon()
    d.cli(*ADD, "queues", 2)
    out = d.cli("-n", 2, "top")
    equal(out.count("DEVICE"), 2)
    equal(out.count("\nv0 "), 4)
    check(all(len(line) <= 80 for line in out.splitlines()), out)
    table = d.json("top", "v0", "count", 1)
    equal([(q["qidx"], q["requests"]) for q in table["v0"]], [(0, 0.0), (1, 0.0)])
    d.stop()


# ---- save and the start-up file

def save(scratch):
    """A start-up file from `save` makes the same state again."""
    d = scratch.daemon("--workers", "2")
    d.cli(*ADD, "queues", 2, "text", "two words $x `y` \\ \"q\"", "size", "3M")
    d.cli("dev", "add", "name", "v1", "mgmtdev", "void")
    d.cli("worker", "add", "fast", "cpu", 0, "poll-us", 20)
    d.cli("dev", "set", "v0", "size", "5M")
    d.cli("dev", "set", "v0", "worker", "fast", "queue", 1)
    d.cli("driver", "default", "block", "vhost-user")
    d.cli("dev", "bind", "v1", "driver", "vhost-user", "mode", "660")
    before = state_of(d)
    text = d.cli("save")
    equal(d.json("save")["commands"], text.splitlines())
    d.stop()
    conf = scratch.write("uvdpa.conf", text)
    d = scratch.daemon("--config", conf)
    equal(state_of(d), before)
    equal(d.cli("save"), text)
    d.stop()


def startup(scratch):
    """A start-up file that fails says where, and nothing stays; --keep-going goes on."""
    conf = scratch.write("uvdpa.conf", f"# a comment\n{' '.join(ADD)}\n\ndev add name v1 mgmtdev nope\n"
                                       "dev add name v2 mgmtdev void\n")
    d = scratch.daemon("--config", conf, wait=False)
    equal(d.wait_ready(), None)
    equal(d.wait(), 1)
    contains(d.log(), f"uvdpad: error: {conf}:4: ")
    equal(scratch.listing(), [])
    d = scratch.daemon("--config", conf, "--keep-going")
    equal(list(d.json("dev", "show")["dev"]), ["v0", "v2"])
    d.stop()
    for text, reason in (("dev frob\n", ":1: 'frob' is no command"),
                         ("stop\n", ":1: 'stop' has no place in a start-up file"),
                         ("\ndev show \"x\n", ":2: a quote is not closed")):
        conf = scratch.write("bad.conf", text)
        d = scratch.daemon("--config", conf, wait=False)
        equal(d.wait(), 1)
        contains(d.log(), conf + reason)
    d = scratch.daemon("--config", scratch.path("none"), wait=False)
    equal(d.wait(), 1)
    contains(d.log(), "No such file")


def startup_interrupted(scratch):
    """A signal while a command of the start-up file hangs: the end comes at once, and is a good one."""
    fifo = scratch.path("fifo")
    os.mkfifo(fifo)
    conf = scratch.write("uvdpa.conf", f"{' '.join(ADD)}\ndev add name v1 mgmtdev void hang {fifo}\n")
    d = scratch.daemon("--config", conf, wait=False)
    # Opened for writing: the command has come as far as to read it.
    writer = os.open(fifo, os.O_WRONLY)
    d.popen.send_signal(signal.SIGTERM)
    equal(d.wait_ready(), "STOPPING=1")
    os.close(writer)
    equal(d.wait(), 0, d.log())
    equal(os.path.exists(scratch.run_dir), False)


# ---- life and death

def stopping(scratch):
    """`stop`, SIGTERM and SIGINT leave nothing behind."""
    for how in ("stop", signal.SIGTERM, signal.SIGINT):
        d = scratch.daemon()
        d.cli(*ADD)
        d.cli("dev", "bind", "v0", "driver", "vhost-user")
        check("control.sock" in scratch.listing(), "no control socket")
        if how == "stop":
            d.stop()
        else:
            equal(d.kill(how), 0, d.log())
        equal((os.path.exists(scratch.run_dir), mounts_under(scratch.dir)), (False, []))


def rotation(scratch):
    """SIGHUP: consoles go on in new files, and one whose file cannot be made says so."""
    d = scratch.daemon()
    for name in ("a", "b"):
        d.cli("dev", "add", "name", name, "mgmtdev", "console", "file", scratch.path(f"{name}.log"))
    d.cli("dev", "add", "name", "c", "mgmtdev", "console", "backend", "pty")
    d.cli(*ADD)
    for name in ("a.log", "b.log"):
        os.rename(scratch.path(name), scratch.path(name + ".1"))
    os.mkdir(scratch.path("b.log"))
    d.popen.send_signal(signal.SIGHUP)
    scratch.wait_open(d.popen, scratch.path("a.log"))
    contains(open_files(d.popen.pid), scratch.path("b.log.1"))
    contains(d.refused("dev", "set", "c", "reopen", "on"), "'reopen' is for backend 'file'")
    d.stop()
    contains(d.log(), f"cannot open '{scratch.path('b.log')}': Is a directory")
    equal(d.log().count("cannot"), 1, d.log())


def hang_up(scratch):
    """A daemon on a terminal ends with it; while that is there SIGHUP means rotation here, too."""
    ours, its = os.openpty()
    d = scratch.daemon(terminal=its)
    os.close(its)
    log = scratch.path("a.log")
    d.cli("dev", "add", "name", "a", "mgmtdev", "console", "file", log)
    os.unlink(log)
    d.popen.send_signal(signal.SIGHUP)
    scratch.wait_open(d.popen, log)
    d.cli("dev", "show")
    os.close(ours)
    equal(d.wait(), 0, d.log())
    equal(os.path.exists(scratch.run_dir), False)


def restart(scratch):
    """The same process goes on with the same state, the same files, and whoever asked."""
    d = scratch.daemon("--workers", "2")
    image = scratch.path("a.img")
    for name, size in (("a.img", 12345), ("b.img", 54321)):
        with open(scratch.path(name), "wb") as f:
            f.truncate(size)
    d.cli(*ADD, "file", "a.img", "size", "2M")
    d.cli("dev", "add", "name", "v1", "mgmtdev", "void")
    d.cli("worker", "add", "fast", "cpu", 0, "poll-us", 20)
    d.cli("driver", "default", "block", "vhost-user")
    d.cli("dev", "bind", "v0", "driver", "vhost-user", "mode", "660")
    rpc = d.rpc()
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(scratch.path("listener"))
    sock.listen()
    equal(rpc.call("dev.bind", (sock.fileno(),), name="v1", driver="vhost-user",
                   attrs={"socket": scratch.path("listener")}, fds={"socket": 0})["result"], {})
    sock.close()
    # What the path names now is another file, and not the one that was given.
    os.rename(scratch.path("b.img"), image)
    before, text = state_of(d), d.cli("save")
    for _ in range(2):
        equal(rpc.call("restart")["result"], {})
        contains(d.wait_ready(), "RELOADING=1\nMONOTONIC_USEC=")
        equal(d.wait_ready(), "READY=1")
        equal(rpc.call("save")["result"]["commands"], text.splitlines(), "the connection")
    equal((state_of(d), d.cli("save")), (before, text))
    device = d.json("dev", "show")["dev"]["v0"]["device"]
    equal((device["passed"], device["file_size"]), (True, 12345))
    with socket.socket(socket.AF_UNIX) as guest:
        guest.connect(scratch.path("listener"))
    check("dead uvdpad" not in d.log(), d.log())
    out = d.cli("-batch", "-", stdin="restart\ndev show v1\n")
    contains(out, "v1: type rng")
    second = scratch.daemon(wait=False)
    equal(second.wait(), 1)
    contains(second.log(), f"another uvdpad (process {d.popen.pid}) serves")
    rpc.close()
    d.stop()
    equal(scratch.listing(), [])


def restart_record(scratch):
    """What a driver has learned is there after a restart, and gone with the device."""
    d = scratch.daemon()
    d.cli(*ADD)
    resize(d, "8M")
    generation = d.json("dev", "config", "show", "v0")["config"]["v0"]["generation"]
    d.cli("restart")
    equal(d.json("dev", "config", "show", "v0")["config"]["v0"]["generation"], generation)
    d.cli("dev", "del", "v0")
    d.cli("restart")
    equal(scratch.listing(), ["control.sock", "lock"])
    d.stop()


def restart_fails(scratch):
    """A restart that cannot be, or not quite, says so; what can live does."""
    scratch.copy_programs()
    uvdpad = scratch.path("uvdpad")
    d = scratch.daemon("--timeout", "3")
    image = scratch.write("x.img", "x")
    rpc = d.rpc()
    equal(rpc.call("dev.add", name="v0", mgmtdev="void", attrs={"file": image})["result"], {})
    d.cli("dev", "add", "name", "v1", "mgmtdev", "void")
    # No program: nothing happens.
    os.rename(uvdpad, uvdpad + ".away")
    equal(d.refused("restart"), f"cannot execute '{uvdpad}': No such file or directory")
    equal(rpc.call("driver.default", **{"class": "block", "driver": "none"})["result"], {})
    # None that can be executed: the old one takes over.
    with open(uvdpad, "wb") as f:
        f.write(b"\x7fELF")
        os.fchmod(f.fileno(), 0o755)
    d.cli("restart")
    contains(d.log(), f"cannot execute '{uvdpad}': Exec format error")
    equal(list(d.json("dev", "show")["dev"]), ["v0", "v1"])
    rpc.close()
    d.stop()
    # A file that is gone: the other device is there all the same.
    os.replace(uvdpad + ".away", uvdpad)
    d = scratch.daemon("--timeout", "3")
    rpc = d.rpc()
    equal(rpc.call("dev.add", name="v0", mgmtdev="void", attrs={"file": image})["result"], {})
    d.cli("dev", "add", "name", "v1", "mgmtdev", "void")
    os.unlink(image)
    contains(d.refused("restart"), "restarted, but 1 of 2 commands failed: dev add name v0 mgmtdev void")
    equal(list(d.json("dev", "show")["dev"]), ["v1"])
    # While another command is under way.
    fifo = scratch.path("fifo")
    os.mkfifo(fifo)
    rpc = d.rpc()
    rpc.send(json.dumps({"jsonrpc": "2.0", "id": 7, "method": "dev.add", "params": {
        "name": "v2", "mgmtdev": "void", "attrs": {"hang": fifo}}}) + "\n")
    writer = os.open(fifo, os.O_WRONLY)
    equal(d.refused("restart"), "other commands are under way: 1")
    os.close(writer)
    equal(rpc.receive()["result"], {})
    # The next process waits for v2, when a signal ends it.
    while d.wait_ready() != "READY=1":
        pass
    with subprocess.Popen([UVDPA, "restart"], env=d.env, stderr=subprocess.PIPE, text=True) as tool:
        contains(d.wait_ready(), "RELOADING=1")
        d.popen.terminate()
        equal(tool.stderr.read(), "uvdpa: not restarted: a signal came\n")
        equal(tool.wait(TIMEOUT), 1)
    equal(d.wait(), 0, d.log())
    rpc.close()
    equal(scratch.listing(), [])


def one_daemon(scratch):
    """A second daemon is refused, and does no harm to the first."""
    d = scratch.daemon()
    d.cli(*ADD)
    second = scratch.daemon(wait=False)
    equal(second.wait(), 1)
    contains(second.log(), f"another uvdpad (process {d.popen.pid}) serves '{scratch.run_dir}'")
    equal(list(d.json("dev", "show")["dev"]), ["v0"])
    d.stop()


def resize(daemon, size):
    """Changes the config space of v0, and waits until that has happened, and the record is there."""
    rpc = daemon.rpc()
    rpc.call("monitor")
    daemon.cli("dev", "set", "v0", "size", size)
    while rpc.receive()["params"]["event"] != "config":
        pass
    rpc.close()


def crash(scratch):
    """kill -9 and start again: what the dead one left is cleaned, what the driver wrote is kept."""
    d = scratch.daemon()
    d.cli(*ADD, "size", "4M")
    d.cli("dev", "bind", "v0", "driver", "vhost-user")
    resize(d, "8M")
    before = d.json("dev", "config", "show", "v0")["config"]["v0"]["generation"]
    check("dev/v0/state" in scratch.listing(), scratch.listing())
    equal(d.kill(), -signal.SIGKILL)
    check("control.sock" in scratch.listing(), "the socket is gone by itself")
    dev = os.path.join(scratch.run_dir, "dev", "stale")
    os.makedirs(dev)
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(os.path.join(dev, "vhost.sock"))
    sock.close()
    if os.geteuid() == 0:
        # A mount that nobody serves any more stands for any mount.
        open(os.path.join(dev, "disk"), "wb").close()
        subprocess.run(["mount", "--bind", UVDPA, os.path.join(dev, "disk")], check=True)
    d = scratch.daemon()
    contains(d.log(), "that a dead uvdpad had left")
    equal(mounts_under(scratch.dir), [])
    check(not os.path.exists(dev), scratch.listing())
    d.cli(*ADD, "size", "8M")
    contains(d.log(), "v0: goes on with the record of a dead process")
    equal(d.json("dev", "config", "show", "v0")["config"]["v0"]["generation"], before)
    d.cli("dev", "del", "v0")
    equal(scratch.listing(), ["control.sock", "dev", "lock"])
    d.cli(*ADD)
    equal(d.json("dev", "config", "show", "v0")["config"]["v0"]["generation"], 0, "anew")
    d.stop()
    # The folder itself was not the second one's.
    equal(scratch.listing(), [])


# Bits of a network device: the control queue, and filters by address and VLAN.
CTRL_VQ, CTRL_RX, CTRL_VLAN = 17, 18, 19
OWN, OTHER = "020000000001", "020000000009"
GROUP, OTHER_GROUP = "01005e000001", "01005e000002"


def filter_of(driver):
    """Which frames get through: by address, and those to the station itself in VLAN 7 and 8."""
    heads = [OWN, OTHER, GROUP, OTHER_GROUP] + [f"{OWN}{OTHER}8100{vlan:04x}" for vlan in (7, 8)]
    return [driver.passes(head) for head in heads]


def crash_commands(scratch):
    """kill -9 while a driver is at work: what it has commanded holds for the one that goes on."""
    setup = ("dev add name n0 mgmtdev net backend loopback mac 02:00:00:00:00:01\n"
             "dev bind n0 driver vhost-user\n")
    d = scratch.daemon()
    d.cli("-batch", "-", stdin=setup)
    driver = NetDriver(scratch, "n0", (CTRL_VQ, CTRL_RX, CTRL_VLAN))
    equal(filter_of(driver), [True] * 6)
    check("dev/n0/state" not in scratch.listing(), "a record of nothing")
    # Not promiscuous; a table of no station and one group; a VLAN.
    driver.command(0, 0, 0)
    driver.command(1, 0, *bytes(4), *(1, 0, 0, 0), *bytes.fromhex(GROUP))
    driver.command(2, 0, *(7, 0))
    expected = [True, False, True, False, True, False]
    equal(filter_of(driver), expected)
    # The record is written behind the driver's back, but before whatever is asked of the device now.
    d.cli("dev", "config", "show", "n0")
    d.kill()
    driver.kill()

    d = scratch.daemon()
    d.cli("-batch", "-", stdin=setup)
    contains(d.log(), "n0: goes on with the record of a dead process")
    driver = NetDriver(scratch, "n0", (CTRL_VQ, CTRL_RX, CTRL_VLAN))
    equal(filter_of(driver), expected)
    driver.kill()
    d.stop()


def records(scratch):
    """A record that is damaged, or is none, is told of and thrown away; the device is as good as new."""
    target = scratch.write("target", "not yours")
    d = scratch.daemon()
    dev = os.path.join(scratch.run_dir, "dev/v0")
    state = os.path.join(dev, "state")
    d.cli(*ADD)
    resize(d, "2M")
    with open(state, "rb") as f:
        good = f.read()
    d.cli("dev", "del", "v0")
    for n, data in enumerate((b"", b"x", good[:-1], good[: len(good) // 2], good + b"x",
                              bytes(255 - byte for byte in good), bytes(1 << 21), None)):
        os.makedirs(dev)
        if data is None:
            os.symlink(target, state)
        else:
            with open(state, "wb") as f:
                f.write(data)
        d.cli(*ADD)
        equal(d.log().count("v0: the record of a dead process is of no use"), n + 1, data)
        check(not os.path.lexists(state), "still there")
        d.cli("dev", "del", "v0")
    with open(target, encoding="utf-8") as f:
        equal(f.read(), "not yours")
    d.stop()


def mounts(scratch, user=None):
    """A disk of this host in use: `stop` and SIGTERM detach it all the same, and so does the next daemon after a
    crash."""
    if scratch.start_as(user, "test", "-w", "/dev/fuse").wait(TIMEOUT) != 0:
        raise Skip(f"/dev/fuse is not there for {user or 'us'}")
    with open(scratch.path("disk.img"), "wb") as f:
        f.truncate(8 << 20)
    os.chmod(f.name, 0o666)
    disk = os.path.join(scratch.run_dir, "dev/disk0/disk")
    for how in ("stop", signal.SIGTERM, signal.SIGKILL):
        d = scratch.daemon(user=user)
        if "virtio" not in d.json("driver", "show")["driver"]:
            raise Skip("built without the virtio driver")
        d.cli("dev", "add", "name", "disk0", "mgmtdev", "blk", "file", "disk.img")
        d.cli("dev", "bind", "disk0", "driver", "virtio")
        equal(mounts_under(scratch.dir), [disk])
        reader = scratch.start_as(user, "tail", "-f", disk)
        scratch.wait_open(reader, disk)
        contains(d.refused("dev", "unbind", "disk0"), "is open")
        equal(mounts_under(scratch.dir), [disk], "after the refusal")
        if how == "stop":
            d.stop()
        elif how == signal.SIGTERM:
            equal(d.kill(how), 0, d.log())
        else:
            d.kill(how)
            equal(mounts_under(scratch.dir), [disk], "after the crash")
            d = scratch.daemon(user=user)
            equal(mounts_under(scratch.dir), [])
            d.stop()
        equal(mounts_under(scratch.dir), [])
        equal(scratch.listing(), [])
        reader.kill()
        reader.wait(TIMEOUT)


def mounts_unprivileged(scratch):
    """The same without root."""
    if os.geteuid() != 0:
        raise Skip("needs root to become another user")
    if not shutil.which("fusermount3"):
        raise Skip("no fusermount3 (package fuse3)")
    if "UVDPA_OWN_FUSE" not in os.environ and not stat.S_IMODE(os.stat("/dev/fuse").st_mode) & 2:
        # Machines without udev keep it to root: others get a node of their own, in a mount namespace.
        node = scratch.path("fuse")
        os.mknod(node, stat.S_IFCHR | 0o666, os.stat("/dev/fuse").st_rdev)
        os.chmod(node, 0o666)
        done = subprocess.run(
            ["unshare", "-m", "sh", "-c", 'mount --bind "$0" /dev/fuse && exec "$@"', node,
             sys.executable, "-B", os.path.realpath(__file__), "mounts_unprivileged"],
            env={**os.environ, "UVDPA_OWN_FUSE": "1"}, capture_output=True, text=True, check=False)
        if done.returncode == 77:
            raise Skip(done.stdout.strip())
        equal(done.returncode, 0, done.stdout + done.stderr)
        return
    scratch.copy_programs()
    shutil.chown(scratch.dir, "nobody", "nogroup")
    mounts(scratch, "nobody")


def unprivileged(scratch):
    """Without root: the run directory is $XDG_RUNTIME_DIR/uvdpa, or an error that says so."""
    if os.geteuid() != 0:
        raise Skip("needs root to become another user")
    # The build folder may be out of its reach.
    for program in (UVDPAD, UVDPA, VOID):
        shutil.copy(program, scratch.dir)
    uvdpad, uvdpa = scratch.path("uvdpad"), scratch.path("uvdpa")
    void = scratch.path("void_class.so")
    home = scratch.path("home")
    os.mkdir(home)
    shutil.chown(home, "nobody", "nogroup")
    as_nobody = ["setpriv", "--reuid", "nobody", "--regid", "nogroup", "--clear-groups"]
    env = {"PATH": os.environ["PATH"]}
    done = subprocess.run([*as_nobody, uvdpad], env=env, capture_output=True, text=True,
                          timeout=TIMEOUT, check=False)
    equal(done.returncode, 1)
    contains(done.stderr, "not root, and XDG_RUNTIME_DIR is not set")
    done = subprocess.run([*as_nobody, uvdpa, "dev"], env=env, capture_output=True, text=True,
                          timeout=TIMEOUT, check=False)
    equal(done.returncode, 1)
    contains(done.stderr, "XDG_RUNTIME_DIR is not set")
    ready = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    ready.bind(os.path.join(home, "notify"))
    ready.settimeout(TIMEOUT)
    os.chmod(os.path.join(home, "notify"), 0o777)
    env |= {"XDG_RUNTIME_DIR": home, "NOTIFY_SOCKET": os.path.join(home, "notify")}
    with subprocess.Popen([*as_nobody, "setpriv", "--pdeathsig", "KILL", uvdpad, "--load", void],
                          env=env, stderr=subprocess.PIPE, text=True) as daemon:
        equal(ready.recv(64), b"READY=1")
        mode = os.stat(os.path.join(home, "uvdpa/control.sock"))
        equal((stat.S_IMODE(mode.st_mode)), 0o600)
        for words in (ADD, ("dev", "show"), ("dev", "del", "v0"), ("stop",)):
            done = subprocess.run([*as_nobody, uvdpa, *words], env=env, capture_output=True,
                                  text=True, timeout=TIMEOUT, check=False)
            equal((done.returncode, done.stderr), (0, ""))
        equal(daemon.wait(TIMEOUT), 0)
    ready.close()
    equal(os.listdir(home), ["notify"])


def other_users(scratch):
    """--socket-mode lets others in; they get no file that they could not open themselves."""
    if os.geteuid() != 0:
        raise Skip("needs root to become another user")
    shutil.copy(UVDPA, scratch.dir)
    d = scratch.daemon("--socket-mode", "666", "--socket-group", "nogroup")
    st = os.stat(os.path.join(scratch.run_dir, "control.sock"))
    equal((stat.S_IMODE(st.st_mode), st.st_gid), (0o666, 65534))
    secret = scratch.write("secret", "x")
    os.chmod(secret, 0o600)

    def nobody(*words):
        return subprocess.run(
            ["setpriv", "--reuid", "nobody", "--regid", "nogroup", "--clear-groups",
             scratch.path("uvdpa"), *words], env=d.env, capture_output=True, text=True,
            timeout=TIMEOUT, check=False)
    equal(nobody(*ADD, "file", secret).stderr,
          f"uvdpa: cannot open '{secret}': Permission denied\n")
    # A file that is not there cannot come as a descriptor.
    contains(nobody(*ADD, "file", secret + "2").stderr, "'file' must come as a descriptor")
    os.chmod(secret, 0o644)
    equal(nobody(*ADD, "file", secret).stderr, "")
    equal(d.json("dev", "show")["dev"]["v0"]["device"]["passed"], True)
    # Nor by its name later on, or beside it.
    log = ("dev", "add", "name", "log0", "mgmtdev", "console", "file", secret)
    os.chmod(secret, 0o666)
    contains(nobody(*log, "ports", "2").stderr, "would have to be opened by name")
    equal(nobody(*log).stderr, "")
    contains(d.refused("dev", "set", "log0", "reopen", "on"), "would have to be opened by name")
    # That holds after a restart, and so do the descriptors.
    equal(nobody("dev", "set", "log0", "buffer", "1K").stderr, "")
    os.rename(secret, secret + ".1")
    d.cli("restart")
    contains(d.refused("dev", "set", "log0", "reopen", "on"), "would have to be opened by name")
    check(secret + ".1" in open_files(d.popen.pid) and not os.path.exists(secret), d.log())
    os.rename(secret + ".1", secret)
    # Nor is a socket made for them: the tool makes it.
    own = scratch.path("own")
    os.mkdir(own)
    shutil.chown(own, "nobody", "nogroup")
    sock = os.path.join(own, "v0.sock")
    bind = ("dev", "bind", "v0", "driver", "vhost-user", "socket")
    contains(nobody(*bind, scratch.path("v0.sock")).stderr, "Permission denied")
    equal(nobody(*bind, sock, "mode", "660").stderr, "")
    st = os.stat(sock)
    equal((st.st_uid, stat.S_IMODE(st.st_mode)), (pwd.getpwnam("nobody").pw_uid, 0o660))
    with socket.socket(socket.AF_UNIX) as guest:
        guest.connect(sock)
    contains(nobody(*bind, sock + "2").stderr, "bound to 'vhost-user' already")
    equal(os.listdir(own), ["v0.sock"])
    contains(nobody(*bind, sock + "2", "client", "on").stderr, "must come as a descriptor")
    d.stop()


def deadlines(scratch):
    """A verb that hangs is given up at its deadline; the daemon lives on, and ends."""
    d = scratch.daemon("--timeout", "3")
    fifo = scratch.path("fifo")
    os.mkfifo(fifo)
    check(d.refused(*ADD, "hang", fifo), "no reason")
    d.cli("dev", "add", "name", "v1", "mgmtdev", "void")
    equal(list(d.json("dev", "show")["dev"]), ["v1"])
    d.cli("dev", "del", "v0", "force")
    d.cli(*ADD)
    equal(list(d.json("dev", "show")["dev"]), ["v1", "v0"])
    # Let it go on, so that the end leaves no thread behind.
    os.close(os.open(fifo, os.O_WRONLY))
    d.stop()
    # And if it never does, the end comes all the same.
    d = scratch.daemon("--timeout", "3")
    check(d.refused(*ADD, "hang", fifo), "no reason")
    d.stop()
    equal(os.path.exists(scratch.run_dir), False)


def spinner(scratch):
    """A verb that takes longer than a second shows on a terminal that it is under way."""
    d = scratch.daemon()
    fifo = scratch.path("fifo")
    os.mkfifo(fifo)
    main_fd, tty = pty.openpty()
    with subprocess.Popen([UVDPA, *ADD, "hang", fifo], stderr=tty, env=d.env) as tool:
        os.close(tty)
        seen = os.read(main_fd, 64)
        os.close(os.open(fifo, os.O_WRONLY))
        equal(tool.wait(TIMEOUT), 0)
    os.close(main_fd)
    check(seen.startswith(b"\r"), repr(seen))
    d.stop()


def slow_clients(scratch):
    """Clients that say nothing, or do not read, delay nobody."""
    d = scratch.daemon()
    d.cli(*ADD)
    silent = [d.rpc() for _ in range(20)]
    deaf = d.rpc()
    ask = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "mgmtdev.show"}) + "\n"
    deaf.sock.setblocking(False)
    try:
        while True:
            deaf.sock.send(ask.encode() * 50)
    except BlockingIOError:
        pass
    half = d.rpc()
    half.send('{"jsonrpc": "2.0", "id"')
    equal(list(d.json("dev", "show")["dev"]), ["v0"])
    for rpc in (*silent, deaf, half):
        rpc.close()
    d.stop()


def many_clients(scratch):
    """Twenty at once, each with its own device."""
    d = scratch.daemon()
    failures = []

    def work(i):
        try:
            rpc = d.rpc()
            for _ in range(5):
                for method, params in (("dev.add", {"name": f"m{i}", "mgmtdev": "void"}),
                                       ("dev.show", {"name": f"m{i}"}), ("dev.del", {"name": f"m{i}"})):
                    reply = rpc.call(method, **params)
                    check("result" in reply, reply)
            rpc.close()
        except (Failed, OSError) as failed:
            failures.append(failed)
    threads = [threading.Thread(target=work, args=(i,)) for i in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT)
    equal(failures, [])
    equal(d.json("dev", "show"), {"dev": {}})
    d.stop()


def completion(scratch):
    """What the tab key offers."""
    d = scratch.daemon("--load", HUB)
    d.cli(*ADD)

    def offers(*words):
        return d.cli("--complete", *words).split()
    check({"dev", "mgmtdev", "worker", "stop", "help"} <= set(offers()), offers())
    check({"add", "show", "config"} <= set(offers("dev")), offers("dev"))
    equal(offers("dev", "config"), ["show"])
    equal(offers("dev", "show"), ["v0"])
    equal(offers("dev", "del", "v0"), ["force"])
    equal(offers("dev", "add", "name", "x"), ["mgmtdev"])
    contains(offers("dev", "add", "name", "x", "mgmtdev"), "void")
    contains(offers("dev", "add", "name", "x", "mgmtdev", "void"), "size")
    equal(offers("dev", "add", "name", "x", "mgmtdev", "void", "mode"), ["fast", "safe"])
    equal(offers("mgmtdev"), ["show", "add", "set", "del"])
    equal(offers("mgmtdev", "add", "x", "type"), ["switch", "tmfifo", "hub"])
    equal(offers("mgmtdev", "add", "x", "type", "hub"), ["ports", "file", "hang"])
    contains(offers("mgmtdev", "del"), "blk")
    script = os.path.join(os.path.dirname(os.path.realpath(__file__)),
                          "../../packaging/completion/uvdpa")
    done = subprocess.run(
        ["bash", "-c", f". {script}; COMP_WORDS=(uvdpa dev sh); COMP_CWORD=2; _uvdpa; "
                       "echo ${COMPREPLY[@]}"],
        env={**d.env, "PATH": os.path.dirname(UVDPA) + ":" + os.environ["PATH"]},
        capture_output=True, text=True, timeout=TIMEOUT, check=False)
    equal((done.stdout, done.stderr), ("show\n", ""))
    d.stop()


# ---- cost

def memory_of(pid):
    with open(f"/proc/{pid}/smaps_rollup", encoding="utf-8") as f:
        fields = dict(line.split(":", 1) for line in f.read().splitlines()[1:])
    return sum(int(fields[key].split()[0]) for key in ("Private_Clean", "Private_Dirty"))


def cpu_of(pid):
    """Nanoseconds on a processor, all threads."""
    total = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/schedstat", encoding="utf-8") as f:
            total += int(f.read().split()[0])
    return total


def idle(scratch):
    """100 idle devices: under 2 MiB of private memory each, under 1 % of a processor."""
    d = scratch.daemon()
    empty = memory_of(d.popen.pid)
    lines = "".join(f"dev add name i{i} mgmtdev blk backend ram size 1M\n"
                    f"dev bind i{i} driver vhost-user\n" for i in range(100))
    d.cli("-batch", "-", stdin=lines)
    each = (memory_of(d.popen.pid) - empty) / 100
    # A clock that fires once, waited for by poll().
    monitor_end = d.rpc()
    before = cpu_of(d.popen.pid)
    poll = select.poll()
    poll.register(monitor_end.sock, select.POLLIN)
    equal(poll.poll(3000), [], "the daemon said something")
    share = (cpu_of(d.popen.pid) - before) / 3e9
    monitor_end.close()
    print(f"{each:.1f} KiB a device, {100 * share:.3f} % of a processor for 100, "
          f"{empty} KiB without any")
    check(each < 2048, f"{each} KiB a device")
    check(share < 0.01, f"{100 * share} % of a processor")
    d.stop()


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    main({case.__name__: case for case in (
        columns, devices, errors, journal, records, mounts, mounts_unprivileged, help_texts, no_daemon, workers, batch, files, terminal, monitor, top, save,
        startup, startup_interrupted, stopping, rotation, hang_up, restart, restart_record, restart_fails, one_daemon, crash, crash_commands, unprivileged,
        other_users, deadlines, spinner, slow_clients, many_clients, mgmtdevs, mgmtdevs_late, completion, idle)})
