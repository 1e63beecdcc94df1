# SPDX-License-Identifier: BSD-2-Clause
"""Pages that guests and this host fetch from each other."""
import functools
import http.server
import socket
import threading

PAGE = 1 << 20
# Has a guest ask for its address.
DHCP = r"""
cat >/tmp/dhcp <<'END'
#!/bin/sh
if [ "$1" = bound ]; then
	ip address add $ip/$mask dev $interface
	ip route add default via $router
fi
END
chmod +x /tmp/dhcp
ip link set eth0 up
busybox udhcpc -i eth0 -n -q -s /tmp/dhcp
"""


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format, *args):  # pylint: disable=redefined-builtin
        pass


def serve(folder):
    """Offers a folder on a port of this host; returns the port."""
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Quiet, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_address[1]


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def share(guest):
    """Has a guest offer a new page on port 80; returns its checksum."""
    return guest.sh("mkdir -p /tmp/www; pidof httpd >/dev/null || busybox httpd -p 80 -h /tmp/www; "
                    f"head -c {PAGE} /dev/urandom >/tmp/www/page; md5sum /tmp/www/page").split()[0]


def check_page(guest, url, expected):
    """A page comes to a guest as it was."""
    found = guest.sh(f"busybox wget -q -O - {url} | md5sum").split()[0]
    assert found == expected, f"{url}: {found}, not {expected}"
