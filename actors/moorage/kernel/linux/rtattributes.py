"""The attributes of messages of route netlink, as linux/rtnetlink.h lays them out."""

from __future__ import annotations

import struct

ATTRIBUTE = struct.Struct("=HH")

Attributes = dict[int, bytes]


def attributes(data: bytes, offset: int = 0) -> Attributes:
    """The attributes that begin at `offset`, by number, without the flag of nesting."""
    found: Attributes = {}
    unpack, last = ATTRIBUTE.unpack_from, len(data) - 4
    while offset <= last:
        length, kind = unpack(data, offset)
        if length < 4:  # the kernel writes none such
            break
        found[kind & 0x3FFF] = data[offset + 4 : offset + length]
        offset += (length + 3) & -4
    return found


def number(value: bytes | None, default: int = 0) -> int:
    return int.from_bytes(value, "little" if _LITTLE else "big") if value else default


_LITTLE = struct.pack("=H", 1) == b"\1\0"
