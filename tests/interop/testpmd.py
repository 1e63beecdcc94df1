# SPDX-License-Identifier: BSD-2-Clause
"""DPDK's testpmd: ports of its drivers, frames forwarded between them as told at its prompt.

    front = Testpmd(lab, "front", [virtio_user(uvdpa.socket("net0"), packed=True)])
    front("start tx_first")
    front.quit()
"""
import os
import random
import re
import subprocess

import pcap
from lab import LabError, need, until

TESTPMD = "/usr/bin/dpdk-testpmd"
PROMPT = "testpmd> "
MBUFS = 16384
SIZES = [14, 60, 64, 65, 333, 1500]


def virtio_user(number, path, pairs=1, size=256, **options):
    """A virtio-user port, a front-end.  Further options are those of the driver; bools are 0 and 1."""
    words = "".join(f",{key}={int(value) if isinstance(value, bool) else value}"
                    for key, value in options.items())
    return f"net_virtio_user{number},path={path},queues={pairs},queue_size={size}{words}"


def vhost(number, path, pairs=1):
    """A port of DPDK's own back-end."""
    return f"net_vhost{number},iface={path},queues={pairs}"


class Testpmd:
    """A testpmd.  Calling it gives it a command, and returns what it answers."""

    def __init__(self, lab, name, ports, pairs=1, cpu=None, hugepages=False, eal=(), options=()):
        need(TESTPMD, "dpdk-dev")
        cpus = cpu if cpu is not None else f"({','.join(map(str, os.sched_getaffinity(0)))})"
        runtime = lab.path(name + ".dpdk")
        os.makedirs(runtime, exist_ok=True)
        memory = ["--in-memory", "--single-file-segments"] if hugepages else ["--no-huge"]
        # What it prints would else stay in its buffer; what it echoes does not.
        argv = ["stdbuf", "-oL", TESTPMD, "--lcores", f"0@{cpus},1@{cpus}", *memory, "-m", 256,
                "--no-pci", "--no-telemetry", *eal]
        for port in ports:
            argv += ["--vdev", port]
        argv += ["--", "--interactive", "--nb-cores=1", "--forward-mode=io", "--no-mlockall",
                 f"--total-num-mbufs={MBUFS}", f"--rxq={pairs}", f"--txq={pairs}", *options]
        self.process = lab.start(name, argv, stdin=subprocess.PIPE,
                                 env={"RUNTIME_DIRECTORY": runtime}, cpu=cpu)
        self.start_up = self._answer(0)

    def _answer(self, offset):
        """What it has printed up to its prompt, from a place in its output on."""
        def answer():
            with open(self.process.log, "rb") as f:
                f.seek(offset)
                text = f.read().decode(errors="replace")
            if not self.process.alive():
                raise LabError(f"{self.process.name} has ended\n{self.process.tail()}")
            # What its drivers have to say later comes behind the prompt.
            return PROMPT in text and text.split(PROMPT)[0]
        return until(f"the prompt of {self.process.name}", answer, pause=0.002)

    def __call__(self, command):
        offset = os.path.getsize(self.process.log)
        self.process.popen.stdin.write(command.encode() + b"\n")
        self.process.popen.stdin.flush()
        answer = self._answer(offset)
        if re.search(r"Bad arguments|Command not found|Ambiguous|Fail to|Not all ports", answer):
            raise LabError(f"{self.process.name}: {answer}")
        return answer

    def stats(self, port):
        """The counters of a port since it was made, by name: "RX-packets" and so on."""
        return {name: int(value) for name, value
                in re.findall(r"([RT]x?X?-[a-z]+): +(\d+)", self(f"show port stats {port}"))}

    def quit(self):
        self.process.popen.stdin.write(b"quit\n")
        self.process.popen.stdin.close()
        status = self.process.wait()
        assert status == 0, f"{self.process.name}: status {status}\n{self.process.tail()}"


class Echo(Testpmd):
    """A front-end that sends the frames of capture files, and writes what comes back to others.

    There is one file for each queue.  A round has fewer frames than a ring has buffers, so none
    may be lost.
    """

    def __init__(self, lab, name, path, pairs=1, longest=1514, **virtio):
        self.longest = longest
        self.sent = [lab.path(f"{name}.sent{i}") for i in range(pairs)]
        self.back = [lab.path(f"{name}.back{i}") for i in range(pairs)]
        for file in self.sent:
            pcap.write(file, [])
        files = [f"rx_pcap={file}" for file in self.sent] + [f"tx_pcap={file}" for file in self.back]
        # The capture is port 0.  What waits at the start is not to be thrown away.
        super().__init__(lab, name, ["net_pcap0," + ",".join(files),
                                     virtio_user(0, path, pairs, **virtio)], pairs,
                         eal=["--log-level=pmd.net.virtio.*:info",
                              "--force-max-simd-bitwidth=512"],
                         options=["--no-flush-rx"])

    def paths(self):
        """The transmit and receive code that the driver has chosen, in its words."""
        return {way: path for path, way in
                re.findall(r"virtio: using (.*?) ([TR]x) path on port 1", self.start_up)}

    def reconnections(self):
        """How often another back-end has come, where the front-end listens."""
        return self.process.output().count("reconnection succeeds")

    def round(self, count=100):
        """Frames of random content come back in order, once each."""
        frames = {}
        for sent, back in zip(self.sent, self.back):
            sizes = [random.choice(SIZES + [self.longest]) for _ in range(count)]
            frames[back] = [random.randbytes(size) for size in sizes]
            pcap.write(sent, frames[back])
        # It opens its files anew.
        self("port stop 0")
        self("port start 0")
        self("start")
        until("the frames", lambda: all(len(pcap.read(back)) >= count for back in self.back), 30)
        self("stop")
        for back in self.back:
            found = pcap.read(back)
            wrong = next((i for i, pair in enumerate(zip(found, frames[back])) if len(set(pair)) > 1),
                         None)
            assert found == frames[back], (
                f"{back}: {len(found)} frames, not {count}; the first wrong one is {wrong}")
