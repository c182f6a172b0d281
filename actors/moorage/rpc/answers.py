"""Answers of any length, as bytes piece by piece. An answer holds no more than references to what it tells of."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final

import msgpack

from moorage.model.pieces import Piece, Reply, grouped, parts, whole
from moorage.rpc.codec import Response
from moorage.rpc.wire import interface_to_wire, interface_without_parts, mapping_to_wire
from moorage.values import Interface

PIECE: Final = 1 << 15
"""Bytes of a piece, about; a single string is not cut."""

FEW: Final = 8
"""Ports, and labels, that are packed together: most interfaces have no more."""
LITTLE: Final = 512
"""Characters of labels that are remembered with each answer, and not apart for all."""


class Packed:
    """An answer that is bytes already: one that was remembered."""

    __slots__ = ("reply",)

    def __init__(self, reply: Reply) -> None:
        """Hold a MessagePack value, or its parts."""
        self.reply = reply


class Series:
    """An array of which each member is made when its turn comes."""

    __slots__ = ("make", "members")

    def __init__(self, members: Sequence[Any], make: Callable[[Any], Any] = lambda member: member) -> None:
        """`make(member)` gives a wire value, or an Interface."""
        self.members, self.make = members, make


def pieces(response: Response) -> Iterator[bytes]:
    """The bytes of a response, in order. The first piece raises what MessagePack cannot say, if that is short."""
    if isinstance(response.result, Packed | Series | Interface):
        head = b"\x94\x01" + msgpack.packb(response.msgid) + msgpack.packb(response.error)
        yield from _gathered(_chunks(response.result), bytearray(head))
    else:
        yield msgpack.packb([1, response.msgid, response.error, response.result])


def remembered(answer: Any) -> Reply:
    """An answer for whoever remembers it, in parts of which another one may have some too."""
    if not isinstance(answer, Interface):
        return b"".join(_chunks(answer))
    if len(answer.ports) <= FEW and sum(map(len, answer.labels.values())) <= LITTLE:
        return _PACKER.pack(interface_to_wire(answer))  # type: ignore[no-any-return]  # msgpack has no types
    rest = {**interface_without_parts(answer)}
    head = _PACKER.pack_map_header(len(rest) + 2) + b"".join(
        _PACKER.pack(key) + _PACKER.pack(value) for key, value in rest.items()
    )
    labels = _PACKER.pack("labels") + _PACKER.pack(dict(answer.labels))
    ports = _PACKER.pack("ports") + _PACKER.pack_array_header(len(answer.ports))
    return head, Piece(labels), ports, *grouped(_PACKER.pack(mapping_to_wire(m)) for m in answer.ports)


def plain(answer: Any) -> Any:
    """An answer in wire values, for whoever is not at a socket."""
    match answer:
        case Packed():
            return msgpack.unpackb(whole(answer.reply))
        case Series():
            return [plain(answer.make(member)) for member in answer.members]
        case Interface():
            return interface_to_wire(answer)
    return answer


def weigh(answer: Any) -> int:
    """Bytes that an answer holds while it waits, about; what it refers to is others' too."""
    match answer:
        case Packed(reply=bytes() as data):
            return 256 + len(data)
        case Packed(reply=reply):
            return 256 + sys.getsizeof(reply)
        case Series():
            return 256 + sys.getsizeof(answer.members)
        case Interface():
            return 512 + sys.getsizeof(answer.ports)
    return 1024


def _gathered(chunks: Iterable[bytes], begun: bytearray) -> Iterator[bytes]:
    for chunk in chunks:
        begun += chunk
        if len(begun) >= PIECE:
            yield bytes(begun)
            begun.clear()
    if begun:
        yield bytes(begun)


def _chunks(answer: Any) -> Iterator[bytes]:
    match answer:
        case Packed():
            for part in parts(answer.reply):
                yield from (part[at : at + PIECE] for at in range(0, len(part), PIECE))
        case Series():
            yield _PACKER.pack_array_header(len(answer.members))
            for member in answer.members:
                yield from _chunks(answer.make(member))
        case Interface():
            yield from _of_interface(answer)
        case _:
            yield msgpack.packb(answer)


def _of_interface(interface: Interface) -> Iterator[bytes]:
    if len(interface.ports) <= FEW and len(interface.labels) <= FEW:
        yield _PACKER.pack(interface_to_wire(interface))
        return
    rest = interface_without_parts(interface)
    yield _PACKER.pack_map_header(len(rest) + 2)
    for key, value in rest.items():
        yield _PACKER.pack(key) + _PACKER.pack(value)
    yield _PACKER.pack("labels") + _PACKER.pack_map_header(len(interface.labels))
    for key, value in interface.labels.items():
        yield _PACKER.pack(key) + _PACKER.pack(value)
    yield _PACKER.pack("ports") + _PACKER.pack_array_header(len(interface.ports))
    for mapping in interface.ports:
        yield _PACKER.pack(mapping_to_wire(mapping))


_PACKER: Final = msgpack.Packer()
