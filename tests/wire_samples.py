"""Values as they are on the wire, for tests of whatever reads them."""

from __future__ import annotations

from moorage.values import ANY

TCP = {"proto": "tcp", "host_ip": "127.0.0.1", "host_port": 8080, "container_port": 80, "count": 1}
UDP = {"proto": "udp", "host_ip": ANY, "host_port": 8000, "container_port": 9000, "count": 2}
WEB = {
    "id": "web",
    "network": "default",
    "ip": "10.0.42.2",
    "prefix": 24,
    "gateway": "10.0.42.1",
    "mac": "02:42:0a:00:2a:02",
    "netns": None,
    "ifname": None,
    "ports": [TCP, UDP],
    "labels": {"app": "web"},
    "created": "2026-01-01T00:00:00Z",
}
DEFAULT = {
    "name": "default",
    "bridge": "moorage0",
    "subnet": "10.0.42.0/24",
    "gateway": "10.0.42.1",
    "internal": False,
    "mtu": 1500,
}
HELLO = {"name": "moorage", "version": "0.1.0", "api": 1, "pid": 7, "started": "2026-01-01T00:00:00Z"}
BACK = {
    "name": "back",
    "bridge": "b1",
    "subnet": "10.1.0.0/24",
    "gateway": "10.1.0.1",
    "internal": True,
    "mtu": 9000,
}
