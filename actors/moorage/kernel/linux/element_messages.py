"""Changes of the elements of our sets and maps, as nftables' netlink messages.

libnftables reads all that a network namespace has of tables before a change, and the elements of our intervals: 7 ms
for an element of both our tables, and three times that with others' tables beside them. A message is 0.02.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections.abc import Callable, Iterable, Iterator
from ipaddress import ip_network

from moorage.errors import Code, Refused
from moorage.kernel.linux import ruleset
from moorage.kernel.linux.bounds import limit_in
from moorage.kernel.linux.elements import FAMILIES, NFPROTO, PROTOCOLS, SIZES
from moorage.kernel.linux.nfnetlink import Netlink, attribute, generic, nested
from moorage.kernel.linux.nftables import FORBIDDEN, NftablesError, TooLongError
from moorage.kernel.linux.ruleset import Container
from moorage.kernel.protocol import Element

Request = tuple[int, int, bytes]
"""Type, flags and body, as `Netlink.transact` takes them."""

# linux/netfilter/nf_tables.h
_NEWSETELEM, _DELSETELEM = 10 << 8 | 12, 10 << 8 | 14
_CREATE = 0x400
_TABLE, _SET, _ELEMENTS = 1, 2, 3
_ELEMENT = 1  # of a list
_KEY, _DATA, _FLAGS, _KEY_END = 1, 2, 3, 10
_VALUE, _VERDICT, _CODE, _CHAIN = 1, 2, 1, 2
_INTERVAL_END = 1
_GOTO = -4  # NFT_GOTO
_PART = 400
"""Elements in a message, of up to 132 bytes: their list is an attribute, whose length has 16 bits."""


def write(netlink: Netlink, add: Iterable[Element], remove: Iterable[Element]) -> bool:
    """Remove the keys of `remove`, then add `add`, in one transaction; whether there was anything to do.

    Raises NftablesError where it cannot be said, or the kernel has something else; TooLongError where it is too much
    for one transaction; Refused: denied without the right to change nftables, limit at a bound of the kernel.
    """
    try:
        requests = change(add, remove)
    except (ArithmeticError, LookupError, OSError, ValueError) as error:  # inet_pton(3) raises OSError
        raise NftablesError(f"an element of a set is not what the set holds: {error}") from error
    try:
        if requests:
            netlink.transact(requests)
    except OSError as error:
        number = error.errno or 0
        if number in {errno.EPERM, errno.EACCES}:
            raise Refused(Code.DENIED, FORBIDDEN) from error
        if (full := limit_in(os.strerror(number))) is not None:
            raise full from error
        raise (TooLongError if number == errno.EMSGSIZE else NftablesError)(os.strerror(number)) from error
    return bool(requests)


def change(add: Iterable[Element], remove: Iterable[Element]) -> list[Request]:
    """What first removes the keys of `remove`, then adds `add`; see `ruleset.change`."""
    gone = list(ruleset.grouped(remove, _PART))
    requests = [(_DELSETELEM, 0, _body(name, _entries(name, part, whole=False))) for name, part in gone]
    requests += [(_DELSETELEM, 0, _body(name, ())) for name in ruleset.forgotten(name for name, _ in gone)]
    for name, part in ruleset.grouped(add, _PART):
        requests.append((_NEWSETELEM, _CREATE, _body(name, _entries(name, part, whole=True))))
    return requests


def _body(name: str, entries: Iterable[bytes]) -> bytes:
    """A message about a set; without entries it is about all that it has."""
    family, _, table = ruleset.table_of(name).partition(" ")
    body = generic(NFPROTO[family]) + attribute(_TABLE, table.encode() + b"\0")
    body += attribute(_SET, name.encode() + b"\0")
    listed = [nested(_ELEMENT, each) for each in entries]
    return body + nested(_ELEMENTS, *listed) if listed else body


def _entries(name: str, elements: Iterable[Element], *, whole: bool) -> Iterator[bytes]:
    container = ruleset.container(name)
    simple = container.interval and len(container.key) == 1
    for element in elements:
        edges = [_bounds(kind, part) for kind, part in zip(container.key, element.key, strict=True)]
        first, last = (_joined(each) for each in zip(*edges, strict=True))
        data = _data(container, element) if whole else b""
        if simple:
            yield from _interval(first, last, data)
        elif container.interval:
            yield _plain(_KEY, first) + _plain(_KEY_END, last) + data
        else:
            yield _plain(_KEY, first) + data


def _interval(first: bytes, last: bytes, data: bytes) -> Iterator[bytes]:
    """Its first element and, unless it reaches the last there can be, the one after its end."""
    yield _plain(_KEY, first) + data
    after = int.from_bytes(last, "big") + 1
    if after < 1 << 8 * len(last):
        yield _plain(_KEY, after.to_bytes(len(last), "big")) + attribute(
            _FLAGS, struct.pack("!I", _INTERVAL_END)
        )


def _data(container: Container, element: Element) -> bytes:
    if not container.value:
        return b""
    if container.value == ("verdict",):
        chain = attribute(_CHAIN, str(element.value[0]).encode() + b"\0")
        return nested(_DATA, nested(_VERDICT, attribute(_CODE, struct.pack("!i", _GOTO)), chain))
    return _plain(
        _DATA, _joined([_packed(*each) for each in zip(container.value, element.value, strict=True)])
    )


def _plain(kind: int, value: bytes) -> bytes:
    return nested(kind, attribute(_VALUE, value))


def _joined(parts: Iterable[bytes]) -> bytes:
    """The parts of a key, each in whole registers of four bytes; one alone is as long as it is."""
    listed = list(parts)
    if len(listed) == 1:
        return listed[0]
    return b"".join(part + bytes(-len(part) % 4) for part in listed)


def _bounds(kind: str, part: str | int) -> tuple[bytes, bytes]:
    """The first and the last of what a part of a key stands for."""
    if isinstance(part, str) and kind not in _NAMES:
        if "/" in part:
            network = ip_network(part)
            return network[0].packed, network[-1].packed
        if "-" in part:
            first, _, last = part.partition("-")
            return _packed(kind, first), _packed(kind, last)
    packed = _packed(kind, part)
    return packed, packed


def _packed(kind: str, part: str | int) -> bytes:
    if isinstance(part, int) or kind == "inet_service":
        return int(part).to_bytes(SIZES[kind], "little" if kind in _NATIVE and _LITTLE else "big")
    return _ENCODE[kind](part)


def _ipv4(text: str) -> bytes:
    return socket.inet_pton(socket.AF_INET, text)


def _mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def _ipv6(text: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6, text)


_NATIVE = frozenset({"mark", "uid"})
"""What the kernel keeps as this machine writes numbers."""
_LITTLE = struct.pack("=H", 1) == b"\1\0"
_NUMBERS = {name: bytes([number]) for number, name in (*FAMILIES.items(), *PROTOCOLS.items())}
_NAMES = frozenset({"ifname", "ether_addr", ruleset.SAID, "inet_proto", "nf_proto"})
"""Types of what is one thing, whatever is written in it."""
_ENCODE: dict[str, Callable[[str], bytes]] = {
    "ifname": lambda name: name.encode().ljust(SIZES["ifname"], b"\0"),
    "ipv4_addr": _ipv4,
    "ipv6_addr": _ipv6,
    ruleset.TARGET4: _ipv4,
    ruleset.TARGET6: _ipv6,
    "inet_proto": _NUMBERS.__getitem__,
    "nf_proto": _NUMBERS.__getitem__,
    "ether_addr": _mac,
    ruleset.SAID: _mac,
}
