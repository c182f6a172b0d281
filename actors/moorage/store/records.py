"""Values as the bytes of a row, and the checksum that tells whether a row is what was written.

SQLite has no checksum of its own: of 200 bits flipped in a database file, 141 went unnoticed.
"""

from __future__ import annotations

import zlib
from dataclasses import fields
from typing import Any

import msgpack

from moorage.errors import Fault
from moorage.values import GATEWAY, Interface, Mapping, Network

INTERFACE = tuple(field.name for field in fields(Interface))
MAPPING = tuple(field.name for field in fields(Mapping))
NETWORK = tuple(field.name for field in fields(Network))


class Damaged(Fault):
    """A row is not what was written."""


def seal(*columns: object) -> int:
    """The CRC-32 of the columns of a row."""
    return zlib.crc32(msgpack.packb(columns))


def check(what: str, crc: int, *columns: object) -> None:
    """Raise Damaged, naming the row, unless `crc` is the seal of its columns."""
    try:
        intact = seal(*columns) == crc
    except (ValueError, TypeError, OverflowError):
        intact = False
    if not intact:
        raise Damaged(f"the record of {what} is damaged: its checksum does not match")


def seal_text(text: str) -> str:
    """A text as it is kept: with its checksum, since a damaged id would look like another boot, or another state."""
    return f"{text} {seal(text)}"


def open_text(key: str, sealed: str) -> str:
    """The text that is kept under `key`. Raises Damaged."""
    text, _, crc = sealed.rpartition(" ")
    check(f"the {key}", int(crc) if crc.isascii() and crc.isdecimal() else -1, text)
    return text


def pack_interface(interface: Interface) -> bytes:
    """The body of an interface's row."""
    body = {name: getattr(interface, name) for name in INTERFACE}
    body["ports"] = [_packable(mapping) for mapping in interface.ports]
    body["labels"] = dict(interface.labels)
    return _pack(body)


def _packable(mapping: Mapping) -> dict[str, Any]:
    """As earlier versions wrote it, unless it has what they did not know."""
    body = {name: getattr(mapping, name) for name in MAPPING}
    if mapping.source == GATEWAY:
        del body["source"]
    return body


def unpack_interface(body: bytes) -> Interface:
    """The interface of a body; keys that a later version wrote are passed over, what it lacks is the default."""
    known = _known(msgpack.unpackb(body), INTERFACE)
    known["ports"] = tuple(Mapping(**_known(mapping, MAPPING)) for mapping in known["ports"])
    return Interface(**known)


def pack_network(network: Network) -> bytes:
    """The body of a network's row."""
    return _pack({name: getattr(network, name) for name in NETWORK})


def unpack_network(body: bytes) -> Network:
    """The network of a body; keys that a later version wrote are passed over."""
    return Network(**_known(msgpack.unpackb(body), NETWORK))


def _pack(body: dict[str, Any]) -> bytes:
    packed: bytes = msgpack.packb(body)
    return packed


def _known(body: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: body[name] for name in names if name in body}
