# SPDX-License-Identifier: BSD-2-Clause
"""The initial file system of a test guest: static busybox, the modules asked for, guest/*."""
import lzma
import os
import stat
import subprocess

BUSYBOX = "/bin/busybox"
HERE = os.path.dirname(os.path.abspath(__file__))


class Newc:
    """Writes a cpio archive in the "newc" format, which needs no root for device nodes."""

    def __init__(self, out):
        self.out = out
        self.ino = 0

    def add(self, name, mode, data=b"", rdev=(0, 0)):
        self.ino += 1
        name = name.encode() + b"\0"
        fields = (self.ino, mode, 0, 0, 1, 0, len(data), 0, 0, *rdev, len(name), 0)
        head = b"070701" + b"".join(b"%08x" % field for field in fields) + name
        self.out.write(head + b"\0" * (-len(head) % 4) + data + b"\0" * (-len(data) % 4))

    def file(self, name, path):
        with open(path, "rb") as f:
            self.add(name, stat.S_IFREG | 0o755, f.read())

    def close(self):
        self.add("TRAILER!!!", 0)


def module_files(root, wanted):
    """The paths of the wanted modules and all that they need, in the order to load them."""
    depends = {}
    with open(os.path.join(root, "modules.dep"), encoding="ascii") as f:
        for line in f:
            path, needs = line.split(":")
            depends[path] = needs.split()
    by_name = {os.path.basename(path).split(".")[0]: path for path in depends}
    order = []
    for name in wanted:
        path = by_name[name]
        # depmod lists the module that is needed last first.
        for need in [*reversed(depends[path]), path]:
            if need not in order:
                order.append(need)
    return [os.path.join(root, path) for path in order]


def build(path, modules_root, modules):
    """Writes the archive, uncompressed: unpacking it costs a guest more than reading it."""
    applets = subprocess.run([BUSYBOX, "--list"], stdout=subprocess.PIPE, check=True, text=True)
    with open(path, "wb") as out:
        cpio = Newc(out)
        for name in ("bin", "dev", "proc", "run", "sys", "tmp", "host", "modules"):
            cpio.add(name, stat.S_IFDIR | 0o755)
        cpio.add("dev/console", stat.S_IFCHR | 0o600, rdev=(5, 1))
        cpio.file("bin/busybox", BUSYBOX)
        for applet in applets.stdout.split():
            if applet != "busybox":
                cpio.add("bin/" + applet, stat.S_IFLNK | 0o777, b"busybox")
        for name in ("init", "agent"):
            cpio.file(name, os.path.join(HERE, "guest", name))
        for i, module in enumerate(module_files(modules_root, modules)):
            with (lzma.open(module) if module.endswith(".xz") else open(module, "rb")) as f:
                name = f"modules/{i:02}-{os.path.basename(module).split('.')[0]}.ko"
                cpio.add(name, stat.S_IFREG | 0o644, f.read())
        cpio.close()
