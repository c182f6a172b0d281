"""Links that take only what would be answered by them (`rp_filter` 1), where the answers of containers are marked.

What asks for a published port is for a container by then, and its answer would leave otherwise unless the mark is
looked at, which `src_valid_mark` of the link says. It is set for links that marked packets leave by, and for no other:
somebody's marks of packets that come by those may mean another way.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from socket import AF_INET
from typing import NamedTuple

from moorage.kernel.linux import sysctl
from moorage.kernel.linux.rtdump import Reader
from moorage.kernel.linux.rtroutes import Hop, Route

_KERNELS = frozenset({255, 254, 253})  # local, main and default may have a million routes
_FAR_AWAY = "192.0.2.1"
"""An address that only a default route leads to, as it is for documentation (RFC 5737)."""
_CONF = "net/ipv4/conf"


class Uplink(NamedTuple):
    """A link by which marked packets leave: whether it is strict, and whether it looks at marks."""

    name: str
    strict: bool
    looks: bool


def uplinks(reader: Reader, tables: Iterable[int], marks: Iterable[int]) -> tuple[Uplink, ...]:
    """The links over which a packet with one of these marks, or by a route of these tables, leaves for far away."""
    found = {reader.leaves(_FAR_AWAY, mark) for mark in marks}
    for table in set(tables) - _KERNELS:
        routes = _routes(reader, table)
        objects = reader.nexthops() if any(route.nexthop for route in routes) else {}
        found |= {hop.ifindex for route in routes for hop in _ways_away(route, objects.get(route.nexthop))}
    return tuple(map(_uplink, sorted(filter(None, map(_name, found)))))


def look_at_marks(links: Iterable[Uplink], remember: Callable[[str, str], None]) -> list[str]:
    """Let those of `links` that are strict look at marks; a sentence for each that did not. Raises OSError."""
    done = []
    for link in links:
        if link.strict and not link.looks:
            path = f"{_CONF}/{link.name}/src_valid_mark"
            remember(path, "0")
            sysctl.write(path, "1")
            done.append(f"{path.replace('/', '.')} was 0, set to 1")
    return done


def _routes(reader: Reader, table: int) -> list[Route]:
    try:
        return reader.routes(AF_INET, table=table)
    except FileNotFoundError:
        return []


def _ways_away(route: Route, shared: Sequence[Hop] | None) -> list[Hop]:
    """Its ways, but for one to neighbours alone; `shared` are those of its next hop where that is an object."""
    ways = shared or route.hops or (Hop(route.ifindex, route.gateway),)
    return [hop for hop in ways if hop.gateway or route.subnet.endswith("/0")]


def _uplink(name: str) -> Uplink:
    """The kernel takes the larger number of the link's own and that of all, and either's word for the marks."""
    strict = max(_read(link, "rp_filter") for link in ("all", name)) == "1"
    return Uplink(name, strict, any(_read(link, "src_valid_mark") == "1" for link in ("all", name)))


def _read(link: str, name: str) -> str:
    return sysctl.read(f"{_CONF}/{link}/{name}") or "0"


def _name(index: int) -> str:
    with suppress(OSError):
        return socket.if_indextoname(index)
    return ""
