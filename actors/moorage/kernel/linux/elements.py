"""Reading the elements of our sets and maps back from the kernel, as numbers.

libnftables writes ports as names out of /etc/services, and takes 500 ms for 10,000 elements; this, a fifth.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterable, Iterator
from ipaddress import IPv4Address, IPv6Address, ip_network, summarize_address_range

from moorage.kernel.linux import ruleset
from moorage.kernel.linux.nfnetlink import Netlink, attribute, attributes, generic
from moorage.kernel.linux.ruleset import Container
from moorage.kernel.protocol import Element
from moorage.model.overdrawn import Overdrawn, Place

# linux/netfilter/nf_tables.h
_GETSETELEM = 10 << 8 | 13
_TABLE, _SET, _ELEMENTS = 1, 2, 3
_KEY, _DATA, _FLAGS, _KEY_END = 1, 2, 3, 10
_VALUE, _VERDICT, _CHAIN = 1, 2, 2
_INTERVAL_END = 1
NFPROTO = {"inet": 1, "bridge": 7}
"""NFPROTO_* of linux/netfilter.h, by what nftables calls them."""
FAMILIES: dict[int, str] = {socket.AF_INET: "ipv4", socket.AF_INET6: "ipv6"}
PROTOCOLS = {socket.IPPROTO_TCP: "tcp", socket.IPPROTO_UDP: "udp", socket.IPPROTO_SCTP: "sctp"}


MAKER = "maker"
"""The set whose element is the id of a state."""


def read(netlink: Netlink, table: str = ruleset.TABLE) -> set[Element]:
    """Every element of a table that the kernel holds; none of the sets that are missing. Raises OSError."""
    found: set[Element] = set()
    for name, container in ruleset.containers(table).items():
        found.update(_decoded(name, container, _dump(netlink, name, table)))
    return found


def read_signature(netlink: Netlink) -> str:
    """See `signed`; "" where there is no table. Raises OSError."""
    return signed(_decoded(MAKER, ruleset.container(MAKER), _dump(netlink, MAKER, ruleset.TABLE)))


def signature(state: str) -> frozenset[Element]:
    """What says for which state the table was made; nothing where that is not known ("")."""
    return frozenset({Element(MAKER, (state,))} if state else ())


def signed(elements: Iterable[Element]) -> str:
    """The id of the state that a table with these was made for; "" where it is not said."""
    return next((str(each.key[0]) for each in elements if each.container == MAKER), "")


def read_overdrawn(netlink: Netlink) -> Overdrawn:
    """Who has begun too many connections. Raises OSError."""
    interfaces, hurried = (
        frozenset((str(bridge), str(mac)) for bridge, mac in _keys(netlink, name, "ifname", "ether_addr"))
        for name in ("overdrawn", "hurried")
    )
    places = (
        Place(str(source), str(target), str(proto), int(port))
        for name, address in (("crowded4", "ipv4_addr"), ("crowded6", "ipv6_addr"))
        for source, target, proto, port in _keys(
            netlink, name, address, address, "inet_proto", "inet_service"
        )
    )
    return Overdrawn(interfaces, frozenset(places), hurried)


def _keys(netlink: Netlink, name: str, *kinds: str) -> Iterator[tuple[str | int, ...]]:
    return (_fields(kinds, _plain(entry[_KEY])) for entry in _dump(netlink, name, ruleset.TABLE))


def _dump(netlink: Netlink, name: str, table: str) -> Iterator[dict[int, bytes]]:
    family, _, whose = table.partition(" ")
    request = generic(NFPROTO[family]) + attribute(_TABLE, whose.encode() + b"\0")
    request += attribute(_SET, name.encode() + b"\0")
    try:
        bodies = netlink.dump(_GETSETELEM, request)
    except FileNotFoundError:
        return
    for body in bodies:
        for _, entry in attributes(dict(attributes(body[4:])).get(_ELEMENTS, b"")):
            yield dict(attributes(entry))


def _decoded(name: str, container: Container, entries: Iterable[dict[int, bytes]]) -> Iterator[Element]:
    if container.interval and len(container.key) == 1:
        yield from _intervals(name, container, entries)
        return
    for entry in entries:
        first = _fields(container.key, _plain(entry[_KEY]))
        last = _fields(container.key, _plain(entry[_KEY_END])) if _KEY_END in entry else first
        key = map(_part, container.key, first, last)
        yield Element(name, tuple(key), _value(container, entry.get(_DATA, b"")))


def _value(container: Container, data: bytes) -> tuple[str | int, ...]:
    if container.value == ("verdict",):
        verdict = dict(attributes(dict(attributes(data)).get(_VERDICT, b"")))
        return (verdict.get(_CHAIN, b"").partition(b"\0")[0].decode(errors="replace"),)
    return _fields(container.value, _plain(data))


def _part(kind: str, first: str | int, last: str | int) -> str | int:
    return first if first == last else _span(kind, first, last)


def _intervals(name: str, container: Container, entries: Iterable[dict[int, bytes]]) -> Iterator[Element]:
    """Each interval is a first element and, unless it reaches the last address, the one after its end."""
    edges = sorted((_plain(entry[_KEY]), not _ends(entry), entry.get(_DATA, b"")) for entry in entries)
    kind, size = container.key[0], SIZES[container.key[0]]
    for index, (edge, opens, data) in enumerate(edges):
        if opens:
            after = next((value for value, opening, _ in edges[index + 1 :] if not opening), None)
            end = int.from_bytes(after, "big") if after is not None else 1 << 8 * size
            last = _DECODE[kind]((end - 1).to_bytes(size, "big"))
            yield Element(name, (_span(kind, _DECODE[kind](edge), last),), _value(container, data))


def _ends(entry: dict[int, bytes]) -> bool:
    return bool(int.from_bytes(entry.get(_FLAGS, b""), "big") & _INTERVAL_END)


def _plain(data: bytes) -> bytes:
    return dict(attributes(data)).get(_VALUE, b"")


def _fields(types: tuple[str, ...], data: bytes) -> tuple[str | int, ...]:
    fields, at = [], 0
    for kind in types:
        fields.append(_DECODE[kind](data[at : at + SIZES[kind]]))
        at += (SIZES[kind] + 3) & ~3
    return tuple(fields)


def _span(kind: str, first: str | int, last: str | int) -> str | int:
    """`10.0.42.0/24` for a range that is a prefix, `10.0.42.5-10.0.42.9` or `8000-8009` for one that is not."""
    if kind == "ifname":
        return first
    try:
        (network,) = _summarize(str(first), str(last))
    except ValueError:
        return f"{first}-{last}"
    return network


def _summarize(first: str, last: str) -> list[str]:
    if first == last:
        return [str(ip_network(first))]
    low, high = ip_network(first)[0], ip_network(last)[0]
    if isinstance(low, IPv4Address) and isinstance(high, IPv4Address):
        return [str(network) for network in summarize_address_range(low, high)]
    if isinstance(low, IPv6Address) and isinstance(high, IPv6Address):
        return [str(network) for network in summarize_address_range(low, high)]
    raise ValueError(first, last)


def _protocol(data: bytes) -> str | int:
    return PROTOCOLS.get(data[0], data[0])


def _port(data: bytes) -> int:
    return int(struct.unpack("!H", data)[0])


def _ifname(data: bytes) -> str:
    return data.partition(b"\0")[0].decode(errors="replace")


def _mark(data: bytes) -> int:
    return int(struct.unpack("=I", data)[0])


SIZES = {
    "mark": 4,
    "uid": 4,
    "ifname": 16,
    "ipv4_addr": 4,
    "ipv6_addr": 16,
    "inet_proto": 1,
    "inet_service": 2,
    "nf_proto": 1,
    "ether_addr": 6,
    ruleset.TARGET4: 4,
    ruleset.TARGET6: 16,
    ruleset.SAID: 6,
}
_DECODE: dict[str, Callable[[bytes], str | int]] = {
    "mark": _mark,
    "uid": _mark,
    "ifname": _ifname,
    "ipv4_addr": lambda data: socket.inet_ntop(socket.AF_INET, data),
    "ipv6_addr": lambda data: socket.inet_ntop(socket.AF_INET6, data),
    "inet_proto": _protocol,
    "inet_service": _port,
    "ether_addr": lambda data: data.hex(":"),
    ruleset.TARGET4: lambda data: socket.inet_ntop(socket.AF_INET, data),
    ruleset.TARGET6: lambda data: socket.inet_ntop(socket.AF_INET6, data),
    ruleset.SAID: lambda data: data.hex(":"),
    "nf_proto": lambda data: FAMILIES.get(data[0], data[0]),
}
