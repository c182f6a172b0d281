"""Protocols without ports that a container speaks: nobody's packets to the host become the container's by them."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

import frames
from installation import PEER, PEER6, WEB, WEB6, Installation, installed
from lab import HOST, HOST6, OUTSIDE, OUTSIDE6

pytestmark = pytest.mark.system

HEAD = b"\0\0\x08\0" + bytes(20)
"""A packet's first bytes: of GRE those of one without a key."""
PROTOCOLS = {"GRE": 47, "ESP": 50, "OSPF": 89, "IPIP": 94, "VRRP": 112, "DCCP": 33}
FAMILIES = pytest.mark.parametrize(
    ("host", "outside", "peer"), [(HOST, OUTSIDE, PEER), (HOST6, OUTSIDE6, PEER6)], ids=["v4", "v6"]
)


@pytest.fixture(scope="module")
def at(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """Nothing of it changes the installation."""
    with installed(tmp_path_factory.mktemp("protocols")) as made:
        yield made


def heard(raw: socket.socket, text: bytes, last: bytes) -> bool:
    """Whether `text` came in before `last` did."""
    data = b""
    found = False
    while last not in data:
        data = raw.recv(4096)
        found = found or text in data
    return found


@FAMILIES
@pytest.mark.parametrize("proto", PROTOCOLS.values(), ids=PROTOCOLS)
def test_what_is_sent_to_the_host_stays_its_own(
    at: Installation, host: str, outside: str, peer: str, proto: int
) -> None:
    """After a container has sent a protocol to somebody, the host hears what that one sends to it, and only the host.

    The container's is not heard outside; a neighbour in its network hears it, from it.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with ExitStack() as stack:

        def raw(name: str) -> socket.socket:
            made = stack.enter_context(at.lab.call(name, socket.socket, family, socket.SOCK_RAW, proto))
            made.settimeout(5)
            return made

        of_host, of_outside, of_web, of_peer = map(raw, ("host", "outside", "web", "peer"))
        web = WEB6 if ":" in host else WEB
        of_web.sendto(HEAD + b"of web", (outside, 0))
        of_web.sendto(HEAD + b"of web", (peer, 0))
        of_outside.sendto(HEAD + b"for the host", (host, 0))
        of_peer.sendto(HEAD + b"last", (web, 0))
        assert heard(of_host, b"for the host", b"for the host")
        of_host.sendto(HEAD + b"last", (outside, 0))
        assert not heard(of_outside, b"of web", b"last")
        assert not heard(of_web, b"for the host", b"last")
        assert heard(of_peer, b"of web", b"of web")


@FAMILIES
def test_a_container_pings(at: Installation, host: str, outside: str, peer: str) -> None:
    """An echo is answered, outside and in the host, whatever of it is as the host's own."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    proto, kind = (58, 128) if ":" in host else (1, 8)
    for to in (outside, host, peer):
        for name in ("host", "web"):
            with at.lab.call(name, socket.socket, family, socket.SOCK_RAW, proto) as made:
                made.settimeout(5)
                made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
                body = struct.pack("!HH", 7, 1) + name.encode() * 2
                sent = struct.pack("!BBH", kind, 0, 0) + body
                if family == socket.AF_INET:
                    sent = frames.icmp(kind, body)
                made.sendto(sent, (to, 0))
                answer = b""
                while not (answer[-len(body) + 4 :] == body[4:] and answer[-len(sent)] in {0, 129}):
                    answer = made.recv(4096)
