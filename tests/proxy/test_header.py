"""The header of the PROXY protocol, against the layout that its specification draws."""

from __future__ import annotations

import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.proxy.header import SIGNATURE, encode

V4 = st.ip_addresses(v=4).map(str)
V6 = st.ip_addresses(v=6).filter(lambda a: not (a.ipv4_mapped or a.is_link_local)).map(str)
ports = st.integers(0, 65535)


def test_written_out() -> None:
    """An example with every byte written out by hand."""
    assert encode(("192.0.2.1", 0x1234), ("198.51.100.2", 443)) == bytes.fromhex(
        "0d0a0d0a000d0a515549540a"  # the signature
        "21"  # version 2, PROXY
        "11"  # AF_INET, STREAM
        "000c"  # twelve bytes follow
        "c0000201"
        "c6336402"
        "1234"
        "01bb"
    )


@pytest.mark.parametrize(
    ("version", "family", "kind", "length"), [(4, socket.AF_INET, 0x11, 12), (6, socket.AF_INET6, 0x21, 36)]
)
def test_layout(version: int, family: int, kind: int, length: int) -> None:
    """Both ends stand where the specification has them, whatever they are."""

    @given(V4 if version == 4 else V6, ports, V4 if version == 4 else V6, ports)
    def check(source: str, port: int, target: str, target_port: int) -> None:
        header = encode((source, port), (target, target_port))
        assert struct.unpack("!12sBBH", header[:16]) == (b"\r\n\r\n\0\r\nQUIT\n", 0x21, kind, length)
        width = (length - 4) // 2
        body = header[16:]
        assert socket.inet_ntop(family, body[:width]) == socket.inet_ntop(
            family, socket.inet_pton(family, source)
        )
        assert body[width : 2 * width] == socket.inet_pton(family, target)
        assert struct.unpack("!HH", body[2 * width :]) == (port, target_port)

    check()


def test_mapped_is_shown_as_ipv4() -> None:
    """What a socket of both families calls ::ffff:192.0.2.1 is a client of IPv4."""
    mapped = encode(("::ffff:192.0.2.1", 1, 0, 0), ("::ffff:198.51.100.2", 2, 0, 0))
    assert mapped == encode(("192.0.2.1", 1), ("198.51.100.2", 2))


def test_a_link_local_client_has_no_name() -> None:
    """Without its link its address may be the container's own: the header says that nobody is known, and no more."""
    told = encode(("fe80::1%eth0", 1, 0, 2), ("fe80::2%eth0", 2, 0, 2))
    assert told == encode(("fe80::1", 1), ("2001:db8::2", 2)) == SIGNATURE + b"\x21\x00\x00\x00"


def test_families_that_differ() -> None:
    """Two ends of different families are both written as IPv6."""
    assert encode(("192.0.2.1", 1), ("2001:db8::2", 2))[13:16] == b"\x21\x00\x24"
