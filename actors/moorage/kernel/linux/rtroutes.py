"""Routes and next hops, unpacked by hand. Layouts are those of linux/rtnetlink.h and nexthop.h."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from ipaddress import ip_address
from typing import NamedTuple

from moorage.kernel.linux.rtattributes import Attributes, attributes, number

ROUTE = struct.Struct("=BBBBBBBBI")
"""rtmsg: family, dst_len, src_len, tos, table, protocol, scope, type, flags."""
_NEXTHOP = struct.Struct("=HxxI")  # rtnexthop: length, flags, hops, index
_GROUP = struct.Struct("=I4x")  # nexthop_grp: id, weight


class Hop(NamedTuple):
    """One way that a route leads: out of link `ifindex` (0 for none) and over `gateway` ("" for none)."""

    ifindex: int
    gateway: str
    wrapped: bool = False
    """Whether packets are wrapped up on this way (`encap`)."""


class Route(NamedTuple):
    """A route to `subnet`, out of link `ifindex` (0 for none) and over `gateway` ("" for none).

    `hops` has all its ways; `nexthop` is the id of the object that has them, or 0; `protocol` is the RTPROT_* of who
    made it.
    """

    subnet: str
    ifindex: int
    gateway: str
    kind: int
    table: int
    priority: int
    hops: tuple[Hop, ...]
    nexthop: int
    protocol: int


def nexthops(bodies: Sequence[bytes]) -> dict[int, tuple[Hop, ...]]:
    """The ways of every next hop that is an object, by its id, those of groups included."""
    found = [attributes(body, 8) for body in bodies]
    single = {number(each.get(1)): (_nexthop(each),) for each in found if 2 not in each}
    groups = {number(each.get(1)): each[2] for each in found if 2 in each}
    return single | {
        group: tuple(hop for (member,) in _GROUP.iter_unpack(members) for hop in single.get(member, ()))
        for group, members in groups.items()
    }


def parse_route(payload: bytes) -> Route:
    """The route of a message."""
    family, length, _, _, table, protocol, _, kind, _ = ROUTE.unpack_from(payload)
    found = attributes(payload, 12)
    hop = _hop(found, number(found.get(4)))
    nothing = bytes(16 if family == 10 else 4)
    return Route(
        subnet=f"{ip_address(found.get(1, nothing))}/{length}",
        ifindex=hop.ifindex,
        gateway=hop.gateway,
        kind=kind,
        table=number(found.get(15), table),
        priority=number(found.get(6)),
        hops=tuple(_hops(found[9])) if 9 in found else (hop,),  # RTA_MULTIPATH
        nexthop=number(found.get(30)),
        protocol=protocol,
    )


def begins_with_nothing(payload: bytes) -> bool:
    """Whether the subnet of a route begins at 0.0.0.0 or ::, as that of every default route does."""
    return not any(attributes(payload, 12).get(1, b""))


def _nexthop(found: Attributes) -> Hop:
    return Hop(number(found.get(5)), str(ip_address(found[6])) if 6 in found else "", wrapped=7 in found)


def _hop(found: Attributes, ifindex: int) -> Hop:
    """Of a route's attributes: RTA_GATEWAY is 5, RTA_VIA 18 (a gateway of another family), RTA_ENCAP_TYPE 21."""
    gateway = found[5] if 5 in found else found.get(18, b"")[2:]
    return Hop(ifindex, str(ip_address(gateway)) if gateway else "", wrapped=number(found.get(21)) != 0)


def _hops(data: bytes) -> Iterator[Hop]:
    while len(data) >= _NEXTHOP.size:
        length, ifindex = _NEXTHOP.unpack_from(data)
        yield _hop(attributes(data[:length], _NEXTHOP.size), ifindex)
        data = data[max(length + 3 & -4, _NEXTHOP.size) :]
