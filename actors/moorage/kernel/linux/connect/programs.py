"""The programs that a cgroup runs as its sockets connect, and as they ask whom they are connected to. Pure.

A socket of our network namespace that connects over TCP to 127/8 or ::1, and is bound to no address itself, is led to
the container that the map of published ports names, and remembers whom it asked for. Everything else passes.

Addresses have 16 bytes, those of IPv4 as IPv6 maps them (::ffff:127.0.0.1), and are followed by the port in four.
"""

from __future__ import annotations

import socket
import struct
import sys
from typing import NamedTuple

from moorage.kernel.linux.connect.code import Code

# linux/bpf.h
CONNECT4, CONNECT6, PEER4, PEER6 = 10, 11, 29, 30
KINDS = (CONNECT4, CONNECT6, PEER4, PEER6)
"""Where they are attached."""
_MAP_LOOKUP, _STORAGE, _NETNS_COOKIE = 1, 107, 122
_CREATE = 1

ENDPOINT_SIZE = 20
"""Bytes of an address with its port."""
STORAGE_SIZE = 2 * ENDPOINT_SIZE
"""Bytes that a socket remembers: whom it asked for, and the container it was led to."""
_PORT = 16

# struct bpf_sock_addr
_IP4, _IP6, _USER_PORT, _PROTOCOL, _SOCK = 4, 8, 24, 36, 64
# struct bpf_sock
_SOURCE4, _SOURCE6 = 24, 28
# what is kept on the stack
_KEY, _ASKED = -24, -48
_CONTEXT, _SOCKET, _FOUND = 6, 7, 8
_STACK = 10


def _word(data: bytes) -> int:
    """Four bytes of an address as a register has them."""
    return int.from_bytes(data, sys.byteorder)


MAPPED = bytes(10) + b"\xff\xff"
"""What IPv6 writes before an address of IPv4."""
_MARK = _word(MAPPED[8:])
_NET, _MASK = _word(b"\x7f\0\0\0"), _word(b"\xff\0\0\0")
"""127/8."""
_ONE = _word(b"\0\0\0\x01")
"""The end of ::1."""


class Maps(NamedTuple):
    """Descriptors of the maps that the programs share."""

    published: int
    asked: int


def endpoint(ip: str, port: int) -> bytes:
    """An address with its port, as the programs have it."""
    packed = (
        socket.inet_pton(socket.AF_INET6, ip) if ":" in ip else MAPPED + socket.inet_pton(socket.AF_INET, ip)
    )
    return packed + struct.pack("=I", socket.htons(port))


def parsed(data: bytes) -> tuple[str, int]:
    """The address, as people write it, and the port of an endpoint."""
    ip, port = data[:_PORT], socket.ntohs(struct.unpack("=I", data[_PORT:])[0])
    if ip.startswith(MAPPED):
        return socket.inet_ntop(socket.AF_INET, ip[len(MAPPED) :]), port
    return socket.inet_ntop(socket.AF_INET6, ip), port


def programs(maps: Maps, netns_cookie: int) -> dict[int, tuple[str, bytes]]:
    """Name and instructions of each by where it is attached; they are about one network namespace."""
    return {
        CONNECT4: ("moorage_conn4", _connect(maps, netns_cookie, 4)),
        CONNECT6: ("moorage_conn6", _connect(maps, netns_cookie, 6)),
        PEER4: ("moorage_peer4", _peer(maps, 4)),
        PEER6: ("moorage_peer6", _peer(maps, 6)),
    }


def _connect(maps: Maps, netns_cookie: int, family: int) -> bytes:
    code = Code()
    code.copy(_CONTEXT, 1)
    code.load(1, _CONTEXT, _PROTOCOL)
    code.jump_unless(1, socket.IPPROTO_TCP, "pass")
    (_asked_for4 if family == 4 else _asked_for6)(code)
    _only_unbound(code, family)
    _only_of(code, netns_cookie)
    _find(code, maps.published)
    _remember(code, maps.asked)
    _lead(code, family, _FOUND)
    _pass(code)
    return code.assembled()


def _peer(maps: Maps, family: int) -> bytes:
    code = Code()
    code.copy(_CONTEXT, 1)
    code.load(2, _CONTEXT, _SOCK, 8)
    code.jump_if_zero(2, "pass")
    code.set_map(1, maps.asked)
    code.set(3, 0)
    code.set(4, 0)
    code.call(_STORAGE)
    code.jump_if_zero(0, "pass")
    _only_if_led(code, family)
    _lead(code, family, 0)
    _pass(code)
    return code.assembled()


def _pass(code: Code) -> None:
    code.label("pass")
    code.set(0, 1)
    code.exit()


def _asked_for4(code: Code) -> None:
    """Put what is asked for on the stack; pass what is not 127/8."""
    code.load(2, _CONTEXT, _IP4)
    _only_loopback4(code)
    code.store_value(_STACK, _KEY, 0, 8)
    code.store_value(_STACK, _KEY + 8, _MARK)
    code.store(_STACK, _KEY + 12, 2)
    _store_port(code)


def _asked_for6(code: Code) -> None:
    """The same for ::1, and for 127/8 as IPv6 has it."""
    code.load(2, _CONTEXT, _IP6)
    code.load(1, _CONTEXT, _IP6 + 4)
    code.merge(2, 1)
    code.jump_unless_zero(2, "pass")
    code.load(3, _CONTEXT, _IP6 + 8)
    code.load(2, _CONTEXT, _IP6 + 12)
    code.jump_if(3, _MARK, "mapped")
    code.jump_unless_zero(3, "pass")
    code.jump_unless(2, _ONE, "pass")
    code.jump("asked")
    code.label("mapped")
    _only_loopback4(code)
    code.label("asked")
    code.store_value(_STACK, _KEY, 0, 8)
    code.store(_STACK, _KEY + 8, 3)
    code.store(_STACK, _KEY + 12, 2)
    _store_port(code)


def _only_loopback4(code: Code) -> None:
    code.copy(1, 2)
    code.mask(1, _MASK)
    code.jump_unless(1, _NET, "pass")


def _store_port(code: Code) -> None:
    code.load(1, _CONTEXT, _USER_PORT)
    code.store(_STACK, _KEY + _PORT, 1)


def _only_unbound(code: Code, family: int) -> None:
    """A socket with an address of its own keeps it: that is the business of rules."""
    code.load(_SOCKET, _CONTEXT, _SOCK, 8)
    code.jump_if_zero(_SOCKET, "pass")
    if family == 4:
        code.load(1, _SOCKET, _SOURCE4)
    else:
        code.load(1, _SOCKET, _SOURCE6)
        for offset in (4, 8, 12):
            code.load(2, _SOCKET, _SOURCE6 + offset)
            code.merge(1, 2)
    code.jump_unless_zero(1, "pass")


def _only_of(code: Code, netns_cookie: int) -> None:
    code.copy(1, _CONTEXT)
    code.call(_NETNS_COOKIE)
    code.set_wide(1, netns_cookie)
    code.jump_unless_same(0, 1, "pass")


def _find(code: Code, published: int) -> None:
    """Look up the address with its port, then every address with that port."""
    for offset in range(0, ENDPOINT_SIZE, 4):
        code.load(1, _STACK, _KEY + offset)
        code.store(_STACK, _ASKED + offset, 1)
    _look_up(code, published)
    code.jump_unless_zero(0, "found")
    code.store_value(_STACK, _KEY + 12, 0)
    _look_up(code, published)
    code.jump_if_zero(0, "pass")
    code.label("found")
    code.copy(_FOUND, 0)


def _look_up(code: Code, published: int) -> None:
    code.set_map(1, published)
    code.copy(2, _STACK)
    code.add(2, _KEY)
    code.call(_MAP_LOOKUP)


def _remember(code: Code, asked: int) -> None:
    """Pass where there is no memory for it: rules lead it then."""
    code.set_map(1, asked)
    code.copy(2, _SOCKET)
    code.set(3, 0)
    code.set(4, _CREATE)
    code.call(_STORAGE)
    code.jump_if_zero(0, "pass")
    for offset in range(0, ENDPOINT_SIZE, 4):
        code.load(1, _STACK, _ASKED + offset)
        code.store(0, offset, 1)
        code.load(1, _FOUND, offset)
        code.store(0, ENDPOINT_SIZE + offset, 1)


def _only_if_led(code: Code, family: int) -> None:
    """A socket may have been connected to somebody else since."""
    last = (_IP4 if family == 4 else _IP6 + 12), ENDPOINT_SIZE + 12
    for context, remembered in (last, (_USER_PORT, ENDPOINT_SIZE + _PORT)):
        code.load(1, _CONTEXT, context)
        code.load(2, 0, remembered)
        code.jump_unless_same(1, 2, "pass")


def _lead(code: Code, family: int, source: int) -> None:
    """Give the socket's call another address, which register `source` points to."""
    words = [(_IP4, 12)] if family == 4 else [(_IP6 + offset, offset) for offset in range(0, 16, 4)]
    for context, offset in (*words, (_USER_PORT, _PORT)):
        code.load(1, source, offset)
        code.store(_CONTEXT, context, 1)
