"""Links, addresses and entries of a bridge's table, unpacked by hand.

Layouts are those of linux/if_link.h, if_addr.h and neighbour.h.
"""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import NamedTuple

from moorage.kernel.linux.rtattributes import attributes, number
from moorage.kernel.linux.rtports import unfit

LINK = struct.Struct("=BxHiII")
"""ifinfomsg: family, type, index, flags, change."""
ADDRESS = struct.Struct("=BBBBI")
"""ifaddrmsg: family, prefix, flags, scope, index."""
NEIGHBOUR = struct.Struct("=BxxxiHBB")
"""ndmsg: family, index, state, flags, type."""
NDA_LLADDR = 2
_NUD_NOARP = 0x40

_POINTOPOINT, _RUNNING, _NOARP = 0x10, 0x40, 0x80  # IFF_*
_TUNNELS = frozenset({512, 519, 65534, 65535, 768, 769, 776, 778, 823})
"""ARPHRD_* of linux/if_arp.h: PPP, RAWIP, NONE (TUN, WireGuard), VOID, TUNNEL, TUNNEL6, SIT, IPGRE, IP6GRE."""


class Link(NamedTuple):
    """A link: `up` as asked, `carrier` as it is, and whether it `sends`, as the kernel has acted upon both; for a veth
    the `nsid` of its peer's namespace (or -1) and the peer's index there. `unfit` has what is not as traffic needs it
    in a port of a bridge, with the value that it needs; `stp` is true of a bridge that runs the spanning tree protocol,
    `snooping` of one that listens to who reports which multicast groups.
    """

    ifindex: int
    name: str
    mac: str
    mtu: int
    up: bool
    carrier: bool
    sends: bool
    master: int
    kind: str
    alias: str
    arp: bool
    stp: bool
    snooping: bool
    unfit: dict[str, int]
    forwarding: bool
    nsid: int
    peer: int
    tunnel: bool
    """Whether it leads to one other end, or to none that is found by neighbour discovery: PPP, WireGuard, GRE, …"""


class Address(NamedTuple):
    """An address of the link `ifindex`; `remote` is the other end of a point-to-point link, else `local`."""

    ifindex: int
    local: IPv4Address | IPv6Address
    remote: IPv4Address | IPv6Address
    prefix: int
    proto: int
    nodad: bool


def _text(value: bytes | None) -> str:
    return value.rstrip(b"\0").decode(errors="replace") if value else ""


def parse_link(payload: bytes) -> Link:
    _, hardware, index, flags, _ = LINK.unpack_from(payload)
    found = attributes(payload, 16)
    info = attributes(found.get(18, b""))  # IFLA_LINKINFO
    bridge = attributes(info.get(2, b"")) if info.get(1) == b"bridge\0" else {}
    port = attributes(info.get(5, b"")) if info.get(4) == b"bridge\0" else {}  # its slave kind and data
    return Link(
        ifindex=index,
        name=_text(found.get(3)),
        mac=found.get(1, b"").hex(":"),
        mtu=number(found.get(4)),
        up=bool(flags & 1),
        carrier=bool(flags & 0x10000),
        sends=found.get(16) == b"\6",  # IFLA_OPERSTATE, IF_OPER_UP
        master=number(found.get(10)),
        kind=_text(info.get(1)),
        alias=_text(found.get(20)),
        arp=not flags & _NOARP,
        stp=number(bridge.get(5)) != 0,  # IFLA_BR_STP_STATE
        snooping=number(bridge.get(23)) != 0,  # IFLA_BR_MCAST_SNOOPING
        unfit=unfit(port, running=bool(flags & _RUNNING)),
        forwarding=port.get(1) == b"\3",  # IFLA_BRPORT_STATE, BR_STATE_FORWARDING
        nsid=number(found.get(37), -1),
        peer=number(found.get(5)),
        tunnel=is_tunnel(hardware, flags),
    )


def parse_entry(payload: bytes) -> tuple[int, str] | None:
    _, index, state, _, _ = NEIGHBOUR.unpack_from(payload)
    mac = attributes(payload, 12).get(NDA_LLADDR, b"")
    return (index, mac.hex(":")) if state & _NUD_NOARP else None


def parse_address(payload: bytes) -> Address:
    family, prefix, flags, _, index = ADDRESS.unpack_from(payload)
    found = attributes(payload, 8)
    remote = found.get(1) or found.get(2) or bytes(16 if family == 10 else 4)  # 0.0.0.0 is not written
    return Address(
        ifindex=index,
        local=ip_address(found.get(2) or remote),
        remote=ip_address(remote),
        prefix=prefix,
        proto=number(found.get(11)),
        nodad=bool(flags & 0x02),  # IFA_F_NODAD
    )


def is_tunnel(kind: int, flags: int) -> bool:
    """Whether a link of that ARPHRD_* and with those IFF_* has no neighbours; ARP can be switched off on any."""
    return bool(flags & _POINTOPOINT) or kind in _TUNNELS
