"""Requests of route netlink, packed by hand and sent many at a time, for what is made anew with every container.

pyroute2 takes 0.3 ms of CPU for a request, and every datagram waits for the lock that all of the host's links share.
Layouts are those of linux/rtnetlink.h, if_link.h, if_addr.h, if_bridge.h and neighbour.h.
"""

from __future__ import annotations

import os
import socket
import struct
from ipaddress import ip_address, ip_network
from typing import NamedTuple

from moorage.kernel.linux.nfnetlink import ACK, ERROR, REQUEST, attribute, message, messages, nested

_CREATE, _EXCLUSIVE = 0x400, 0x200
_NEWLINK, _DELLINK, _NEWADDR, _DELADDR, _NEWROUTE, _DELROUTE, _NEWNEIGH, _DELNEIGH = (
    16,
    17,
    20,
    21,
    24,
    25,
    28,
    29,
)
_UP = 1  # IFF_UP
_MAC, _NAME, _MTU, _MASTER, _LINKINFO, _ALIAS, _AF_SPEC, _NET_NS_FD = 1, 3, 4, 10, 18, 20, 26, 28  # IFLA_*
_KIND, _DATA, _SLAVE_KIND, _SLAVE_DATA = 1, 2, 4, 5  # IFLA_INFO_*
_PEER = 1  # VETH_INFO_PEER
_HAIRPIN, _LEARNING, _GROUPS = 4, 8, 31  # IFLA_BRPORT_MODE, IFLA_BRPORT_LEARNING, IFLA_BRPORT_GROUP_FWD_MASK
ALL_GROUPS = 0xFFFD
"""Every group of bridges that the kernel can be told to forward to, as a mask: not that of pause frames."""
_ADDR_GEN_MODE = 8  # IFLA_INET6_ADDR_GEN_MODE
_NO_ADDRESS = b"\1"  # IN6_ADDR_GEN_MODE_NONE
_IFA_ADDRESS, _IFA_LOCAL, _NODAD = 1, 2, 0x02
_TO, _OIF, _GATEWAY, _PRIORITY, _TABLE = 1, 4, 5, 6, 15  # RTA_*
_MAIN, _STATIC, _UNICAST = 254, 4, 1  # RT_TABLE_MAIN, RTPROT_STATIC, RTN_UNICAST
_ELSEWHERE, _ON_LINK = 252, 253  # RT_TABLE_COMPAT: an attribute says which; RT_SCOPE_LINK
_DST, _LLADDR = 1, 2  # NDA_*
_REPLACE, _NOARP, _MASTERS, _STICKY = (
    0x100,
    0x40,
    0x04,
    0x40,
)  # NLM_F_REPLACE, NUD_NOARP, NTF_MASTER, NTF_STICKY


class Request(NamedTuple):
    """One message without its header."""

    kind: int
    flags: int
    body: bytes


def run(sock: socket.socket, *requests: Request) -> list[int]:
    """Send all in one datagram, which the kernel does in order; gives the errno of each, 0 for what was done.

    One that fails does not keep the following from being done. Raises OSError when they cannot be sent.
    """
    frames = (
        message(kind, flags | REQUEST | ACK, number, body)
        for number, (kind, flags, body) in enumerate(requests, 1)
    )
    sock.send(b"".join(frames))
    outcomes: dict[int, int] = {}
    while len(outcomes) < len(requests):
        outcomes |= _acknowledged(sock.recv(1 << 16))
    return [outcomes[number] for number in range(1, len(requests) + 1)]


class Pair(NamedTuple):
    """A veth pair: the link `name` here, `peer` with `mac` in the namespace behind `fd`."""

    name: str
    peer: str
    mac: str
    mtu: int
    fd: int


def new_pair(pair: Pair, bridge: int) -> Request:
    """Make a pair, this end of it a port of the link `bridge`; EEXIST where a name is taken."""
    there = _link(0) + _text(_NAME, pair.peer) + attribute(_MAC, bytes.fromhex(pair.mac.replace(":", "")))
    there += _number(_MTU, pair.mtu) + _number(_NET_NS_FD, pair.fd)
    info = nested(_LINKINFO, _text(_KIND, "veth"), nested(_DATA, attribute(_PEER, there)))
    here = _link(0) + _text(_NAME, pair.name) + _number(_MTU, pair.mtu) + _number(_MASTER, bridge)
    return Request(_NEWLINK, _CREATE | _EXCLUSIVE, here + info)


def without_link_local(index: int) -> Request:
    """Let a link that is not up yet have no IPv6 address of its own; refused where there is no IPv6."""
    mode = attribute(_ADDR_GEN_MODE, _NO_ADDRESS)
    return Request(_NEWLINK, 0, _link(index) + nested(_AF_SPEC, nested(socket.AF_INET6, mode)))


def raise_port(index: int, alias: str) -> Request:
    """Give a port of a bridge its alias and hairpin mode, have it learn nobody's MAC and forward all, and set it up."""
    groups = attribute(_GROUPS, struct.pack("=H", ALL_GROUPS))
    data = nested(_SLAVE_DATA, attribute(_HAIRPIN, b"\1"), attribute(_LEARNING, b"\0"), groups)
    info = nested(_LINKINFO, _text(_SLAVE_KIND, "bridge"), data)
    return Request(_NEWLINK, 0, _link(index, up=True) + attribute(_ALIAS, alias.encode()) + info)


def raise_link(index: int) -> Request:
    """Set a link up; one that is stays so, and nobody is told."""
    return Request(_NEWLINK, 0, _link(index, up=True))


def delete_link(index: int) -> Request:
    """Delete a link, with its peer if it has one."""
    return Request(_DELLINK, 0, _link(index))


def new_address(index: int, address: str, prefix: int) -> Request:
    """Give a link an address, an IPv6 one without looking for duplicates."""
    local = ip_address(address)
    flags = _NODAD if local.version == 6 else 0
    body = struct.pack("=BBBBI", _family(address), prefix, flags, 0, index)
    body += attribute(_IFA_LOCAL, local.packed) + attribute(_IFA_ADDRESS, local.packed)
    return Request(_NEWADDR, _CREATE | _EXCLUSIVE, body)


def delete_address(index: int, address: str, prefix: int, remote: str) -> Request:
    """Delete an address of a link; `remote` is the other end of a point-to-point link, else the address itself."""
    body = struct.pack("=BBBBI", _family(address), prefix, 0, 0, index)
    body += attribute(_IFA_LOCAL, ip_address(address).packed)
    return Request(_DELADDR, 0, body + attribute(_IFA_ADDRESS, ip_address(remote).packed))


def new_default_route(index: int, gateway: str) -> Request:
    """Route everything else over `gateway`."""
    body = struct.pack("=BBBBBBBBI", _family(gateway), 0, 0, 0, _MAIN, _STATIC, 0, _UNICAST, 0)
    body += attribute(_GATEWAY, ip_address(gateway).packed) + _number(_OIF, index)
    return Request(_NEWROUTE, _CREATE | _EXCLUSIVE, body)


class TableRoute(NamedTuple):
    """A route of a table of ours, out of a link; without a gateway ("") to neighbours there.

    `priority` is its metric, 0 for the kernel's choice.
    """

    table: int
    link: int
    subnet: str
    gateway: str = ""
    priority: int = 0


def new_route(route: TableRoute, origin: int) -> Request:
    """Add it; EEXIST for one that is there. `origin` is an RTPROT_*."""
    return Request(_NEWROUTE, _CREATE | _EXCLUSIVE, _route(route, origin))


def delete_route(route: TableRoute) -> Request:
    """Delete it; ESRCH for one that is not there."""
    return Request(_DELROUTE, 0, _route(route, 0))


def know_mac(port: int, mac: str) -> Request:
    """Have the bridge of a port know for good that this MAC is there, whoever else sends with it."""
    body = struct.pack("=BxxxiHBB", socket.AF_BRIDGE, port, _NOARP, _MASTERS | _STICKY, 0)
    return Request(
        _NEWNEIGH, _CREATE | _REPLACE, body + attribute(_LLADDR, bytes.fromhex(mac.replace(":", "")))
    )


def forget_neighbour(index: int, address: str) -> Request:
    """Forget the MAC of a neighbour; ENOENT where none is known."""
    body = struct.pack("=BxxxiHBB", _family(address), index, 0, 0, 0)
    return Request(_DELNEIGH, 0, body + attribute(_DST, ip_address(address).packed))


def check(outcome: int, *harmless: int) -> None:
    """Raise OSError for an errno that is not one of `harmless`."""
    if outcome and outcome not in harmless:
        raise OSError(outcome, os.strerror(outcome))


def _acknowledged(data: bytes) -> dict[int, int]:
    """Sequence number and errno of each acknowledgement in a datagram."""
    return {
        number: -struct.unpack_from("=i", body)[0]
        for kind, _, number, body in messages(data)
        if kind == ERROR
    }


def _route(route: TableRoute, origin: int) -> bytes:
    to = ip_network(route.subnet)
    scope = _ON_LINK if to.version == 4 and not route.gateway else 0
    kind = (_ELSEWHERE, origin, scope, _UNICAST)
    body = struct.pack("=BBBBBBBBI", _family(route.subnet), to.prefixlen, 0, 0, *kind, 0)
    body += attribute(_TO, to.network_address.packed) + _number(_OIF, route.link)
    body += attribute(_GATEWAY, ip_address(route.gateway).packed) if route.gateway else b""
    body += _number(_PRIORITY, route.priority) if route.priority else b""
    return body + _number(_TABLE, route.table)


def _link(index: int, *, up: bool = False) -> bytes:
    return struct.pack("=BxHiII", 0, 0, index, _UP * up, _UP * up)


def _text(kind: int, text: str) -> bytes:
    return attribute(kind, text.encode() + b"\0")


def _number(kind: int, number: int) -> bytes:
    return attribute(kind, struct.pack("=I", number))


def _family(address: str) -> int:
    return socket.AF_INET6 if ":" in address else socket.AF_INET
