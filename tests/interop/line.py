# SPDX-License-Identifier: BSD-2-Clause
"""The other end of a console."""
import os
import socket
import tty

from lab import until


class Line:
    """This host's end of a console: a terminal or a socket."""

    def __init__(self, path):
        if os.path.islink(path):
            self.fd = os.open(path, os.O_RDWR | os.O_NOCTTY)
            tty.setraw(self.fd)
        else:
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.connect(path)
            self.fd = self.socket.fileno()
        os.set_blocking(self.fd, False)
        self.got = b""

    def _fill(self):
        try:
            self.got += os.read(self.fd, 65536)
        except BlockingIOError:
            pass

    def expect(self, data):
        """Waits until this has come, and nothing else."""
        def there():
            self._fill()
            return len(self.got) >= len(data)
        until(f"{len(data)} bytes of the guest", there)
        assert self.got == data, f"{self.got[:200]}, not {data[:200]}"
        self.got = b""

    def has(self, data):
        """Whether this is among what has come."""
        self._fill()
        return data in self.got

    def send(self, data):
        """Writes all, as fast as it goes."""
        def gone():
            nonlocal data
            try:
                data = data[os.write(self.fd, data):]
            except BlockingIOError:
                pass
            return not data
        until("the guest takes it", gone)
