"""Where an answer leaves from, by what the kernel says of the question."""

from __future__ import annotations

import socket

import pytest

from moorage.proxy.frontend import answers_from
from moorage.proxy.listeners import open_listeners
from moorage.proxy.pktinfo import destination, is_nobody, source, tell_destination, unmapped
from moorage.values import ANY

LINK = b"\x03\x00\x00\x00"


def asked(text: str, answering: str = "") -> list[tuple[int, int, bytes]]:
    """What the kernel says of a datagram to that address by link 3; of IPv4, what it would answer from."""
    if ":" in text:
        return [(socket.IPPROTO_IPV6, 50, socket.inet_pton(socket.AF_INET6, text) + LINK)]
    return [(socket.IPPROTO_IP, 8, LINK + socket.inet_aton(answering or text) + socket.inet_aton(text))]


@pytest.mark.parametrize(
    ("text", "answering", "address", "link"),
    [
        ("192.0.2.1", "", "192.0.2.1", False),
        ("127.0.0.5", "", "127.0.0.5", False),
        ("192.0.2.255", "192.0.2.1", "192.0.2.1", False),
        ("255.255.255.255", "192.0.2.1", ANY, True),
        ("224.0.0.251", "192.0.2.1", ANY, True),
        ("239.255.255.250", "192.0.2.1", ANY, True),
        ("2001:db8::1", "", "2001:db8::1", False),
        ("fe80::1", "", "fe80::1", True),
    ],
)
def test_where_an_answer_leaves_from(text: str, answering: str, address: str, link: bool) -> None:
    """From the address that was asked; where it is everybody's, from one of the host, by the link if it takes one."""
    level, _, data = source(asked(text, answering)) or (0, 0, b"")
    number = LINK if link else bytes(4)
    if level == socket.IPPROTO_IPV6:
        assert data == socket.inet_pton(socket.AF_INET6, address) + number
    else:
        assert data == number + socket.inet_aton(address) + bytes(4)


@pytest.mark.parametrize("group", ["ff02::1", "ff05::1:3"])
def test_multicast_of_ipv6(group: str) -> None:
    """It is left to the routing table and the client's own scope."""
    assert source(asked(group)) is None


def test_who_is_one_client() -> None:
    """Who asks a subnet's broadcast address and the host's own is one; who asks everybody, or on another link, two."""
    assert destination(asked("192.0.2.255", "192.0.2.1")) == destination(asked("192.0.2.1"))
    assert destination(asked("255.255.255.255", "192.0.2.1")) != destination(asked("192.0.2.1"))
    for text in ("255.255.255.255", "fe80::1", "ff02::1"):
        (level, kind, data), *_ = asked(text, "192.0.2.1" if "." in text else "")
        other = data[:-4] + b"\x04\0\0\0" if ":" in text else b"\x04\0\0\0" + data[4:]
        assert destination([(level, kind, other)]) != destination([(level, kind, data)])
    assert destination([]) == b""
    assert source([]) is None


@pytest.mark.system
@pytest.mark.parametrize(("ip", "dual"), [(ANY, True), (ANY, False), ("::", False), ("127.0.0.1", False)])
def test_what_a_listener_is_told(ip: str, dual: bool) -> None:
    """One on every address is told where each datagram was sent, by either family; one on a single address is not."""
    (sock,) = open_listeners("udp", ip, 0, 1, dual=dual)
    with sock:
        room = tell_destination(sock, sock.getsockname()[0])
        for to in ("127.0.0.5", "::1") if dual else ("::1",) if ip == "::" else ("127.0.0.5",):
            if not room:
                continue
            with socket.socket(socket.AF_INET6 if ":" in to else socket.AF_INET, socket.SOCK_DGRAM) as client:
                client.sendto(b"x", (to, sock.getsockname()[1]))
            _, controls, _, _ = sock.recvmsg(10, room)
            packed = socket.inet_pton(client.family, to)
            assert destination(controls) == packed
        assert bool(room) == (ip != "127.0.0.1")


@pytest.mark.system
def test_addresses_of_ipv4_in_ipv6() -> None:
    """What the routing table answers from is compared in four bytes, whichever socket is asked."""
    assert answers_from(socket.AF_INET6, ("::ffff:127.0.0.1", 9)) == socket.inet_aton("127.0.0.1")
    assert answers_from(socket.AF_INET, ("127.0.0.1", 9)) == socket.inet_aton("127.0.0.1")
    assert unmapped(socket.inet_pton(socket.AF_INET6, "::1")) == bytes(15) + b"\x01"


@pytest.mark.parametrize(
    ("ip", "nobody"), [(ANY, True), ("::", True), ("::ffff:0.0.0.0", True), ("10.0.0.1", False)]
)
def test_nobody(ip: str, nobody: bool) -> None:
    """An answer to no address would go to this host."""
    assert is_nobody(ip) is nobody
