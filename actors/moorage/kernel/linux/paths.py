"""What the kernel notes of the path to an address, for ten minutes: how large a packet there may be."""

from __future__ import annotations

import socket
import struct
from collections.abc import Collection
from contextlib import suppress
from ipaddress import ip_address

from moorage.kernel.linux import sysctl
from moorage.kernel.linux.nfnetlink import Netlink, attribute
from moorage.kernel.linux.policy.plan import NETWORKS
from moorage.kernel.linux.rtattributes import attributes
from moorage.kernel.linux.rtroutes import ROUTE

_DELROUTE, _GETROUTE = 25, 26  # linux/rtnetlink.h
_DST, _METRICS, _TABLE = 1, 8, 15  # RTA_*
_MTU = 2  # RTAX_MTU
_CLONED = 0x200  # RTM_F_CLONED: what was noted of one address, and not the route that leads to it
_MAIN = 254
_FLUSH = "net/ipv4/route/flush"


def forget(addresses: Collection[str]) -> None:
    """Forget how large a packet to these may be. Raises OSError.

    IPv4 forgets it of all addresses at once, so only where one of these has such a note.
    """
    if not addresses:
        return
    with Netlink(socket.NETLINK_ROUTE) as netlink:
        ipv4 = [each for each in addresses if ":" not in each]
        for address in set(addresses).difference(ipv4):
            _forget6(netlink, address)
        if any(_is_noted(netlink, each) for each in ipv4):
            sysctl.write(_FLUSH, "1")


def _forget6(netlink: Netlink, address: str) -> None:
    for table in (_MAIN, NETWORKS):
        with suppress(ProcessLookupError):  # nothing was noted, or there is no such table
            netlink.ask(_DELROUTE, _about(address, table))


def _is_noted(netlink: Netlink, address: str) -> bool:
    try:
        found = [attributes(body, ROUTE.size) for body in netlink.ask(_GETROUTE, _about(address))]
    except OSError:  # no way leads there
        return False
    return any(_MTU in attributes(each.get(_METRICS, b"")) for each in found)


def _about(address: str, table: int = 0) -> bytes:
    packed = ip_address(address).packed
    family = socket.AF_INET6 if len(packed) == 16 else socket.AF_INET
    flags = _CLONED if table else 0
    which = attribute(_TABLE, struct.pack("=I", table)) if table else b""
    return ROUTE.pack(family, 8 * len(packed), 0, 0, 0, 0, 0, 0, flags) + attribute(_DST, packed) + which
