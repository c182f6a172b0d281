"""A router on a link of a lab: it advertises itself and a prefix, once for each call (RFC 4861, 4.2)."""

from __future__ import annotations

import socket
import struct
from ipaddress import IPv6Network

from lab import Lab

LIFETIME = 1800


def advertise(lab: Lab, inside: str, link: str, prefix: str) -> None:
    """Say on `link` of a namespace that a default route leads here, and addresses of `prefix`, a /64, may be taken."""
    lab.call(inside, _send, link, _advertisement(prefix))


def _advertisement(prefix: str) -> bytes:
    network = IPv6Network(prefix)
    head = struct.pack("!BBHBBHII", 134, 0, 0, 64, 0, LIFETIME, 0, 0)
    on_link_and_autonomous = 0xC0
    information = struct.pack(
        "!BBBBIII16s",
        *(3, 4, network.prefixlen, on_link_and_autonomous, LIFETIME, LIFETIME, 0, network[0].packed),
    )
    return head + information


def _send(link: str, message: bytes) -> None:
    with socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) as made:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
        made.sendto(message, ("ff02::1", 0, 0, socket.if_nametoindex(link)))
