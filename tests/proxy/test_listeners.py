"""Listening sockets are all bound, or none is and a sentence says why."""

from __future__ import annotations

import errno
import socket

import pytest

from moorage.errors import Code, Refused
from moorage.proxy import listeners
from moorage.proxy.listeners import PortBusy, open_listeners
from moorage.values import ANY
from proxy.harness import LOOPBACK

KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}


@pytest.mark.parametrize("proto", ["tcp", "udp"])
@pytest.mark.parametrize("ip", list(LOOPBACK.values()))
def test_busy_port(proto: str, ip: str) -> None:
    """A port that another socket holds is refused by name, and the ports before it are free again."""
    with bound_pair(proto, ip) as (first, holder):
        port = first.getsockname()[1]
        first.close()
        with pytest.raises(PortBusy, match=f"port_in_use: port {port + 1}/{proto}") as caught:
            open_listeners(proto, ip, port, 2, dual=False)
        assert (caught.value.proto, caught.value.port) == (proto, port + 1)
        for sock in open_listeners(proto, ip, port, 1, dual=False):
            sock.close()
        holder.close()


class bound_pair:  # noqa: N801 - a context manager, used as a function is
    """Two sockets on consecutive ports."""

    def __init__(self, proto: str, ip: str) -> None:
        self._sockets: list[socket.socket] = []
        while len(self._sockets) < 2:
            self._try(proto, ip)

    def __enter__(self) -> list[socket.socket]:
        return self._sockets

    def __exit__(self, *_: object) -> None:
        for sock in self._sockets:
            sock.close()

    def _try(self, proto: str, ip: str) -> None:
        first = open_listeners(proto, ip, 0, 1, dual=False)
        try:
            self._sockets = first + open_listeners(proto, ip, first[0].getsockname()[1] + 1, 1, dual=False)
        except Refused:
            first[0].close()


@pytest.mark.parametrize("proto", ["tcp", "udp"])
def test_nobody_shares_a_port(proto: str) -> None:
    """A port of ours is refused to others even if they set SO_REUSEADDR."""
    (sock,) = open_listeners(proto, "127.0.0.1", 0, 1, dual=False)
    with sock, socket.socket(socket.AF_INET, KINDS[proto]) as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with pytest.raises(OSError, match="in use"):
            other.bind(sock.getsockname())


@pytest.mark.parametrize("ip", ["203.0.113.77", "2001:db8::77", "host.example", ""])
def test_foreign_address(ip: str) -> None:
    """An address that is not the host's, or is none, is invalid and named."""
    with pytest.raises(Refused, match="address") as caught:
        open_listeners("tcp", ip, 0, 1, dual=False)
    assert caught.value.code is Code.INVALID
    assert ip in caught.value.text


def test_beyond_the_last_port() -> None:
    """A range that runs past 65535 is invalid."""
    with pytest.raises(Refused, match="65535") as caught:
        open_listeners("tcp", "127.0.0.1", 65530, 10, dual=False)
    assert caught.value.code is Code.INVALID


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (errno.EACCES, Code.DENIED),
        (errno.EPERM, Code.DENIED),
        (errno.EMFILE, Code.LIMIT),
        (errno.ENFILE, Code.LIMIT),
        (errno.EADDRNOTAVAIL, Code.INVALID),
        (errno.EAFNOSUPPORT, Code.UNSUPPORTED),
        (errno.EADDRINUSE, Code.PORT_IN_USE),
    ],
)
def test_error_codes(monkeypatch: pytest.MonkeyPatch, number: int, code: Code) -> None:
    """Each way a port cannot be had has its code, and nothing stays bound."""
    opened: list[socket.socket] = []

    def refuse_third(sock: socket.socket, *_args: object, **_options: object) -> None:
        opened.append(sock)
        if len(opened) == 3:
            raise OSError(number, "as the kernel says")

    monkeypatch.setattr(listeners, "_bind", refuse_third)
    with pytest.raises(Refused) as caught:
        open_listeners("tcp", "127.0.0.1", 40000, 5, dual=False)
    assert caught.value.code is code
    assert [sock.fileno() for sock in opened] == [-1, -1, -1]


@pytest.mark.system
@pytest.mark.parametrize("proto", ["tcp", "udp"])
def test_dual_takes_both_families(proto: str) -> None:
    """One socket on any address holds the port on every address of both families."""
    (sock,) = open_listeners(proto, ANY, 0, 1, dual=True)
    with sock:
        for ip in ("127.0.0.1", "::1", ANY, "::"):
            with pytest.raises(PortBusy):
                open_listeners(proto, ip, sock.getsockname()[1], 1, dual=False)


@pytest.mark.system
@pytest.mark.parametrize("proto", ["tcp", "udp"])
def test_one_family_leaves_the_other(proto: str) -> None:
    """All addresses of one family and all of the other can be held apart."""
    (four,) = open_listeners(proto, ANY, 0, 1, dual=False)
    (six,) = open_listeners(proto, "::", four.getsockname()[1], 1, dual=False)
    four.close()
    six.close()


@pytest.mark.system
def test_dual_without_ipv6(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host without IPv6 has every IPv4 address taken instead."""
    monkeypatch.setattr(listeners, "_has_ipv6", lambda: False)
    (sock,) = open_listeners("tcp", ANY, 0, 1, dual=True)
    with sock:
        assert sock.family == socket.AF_INET


def test_sctp_without_a_kernel_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the kernel has no SCTP no socket is opened, and that is no error."""
    monkeypatch.setattr(listeners, "_has_sctp", lambda _family: False)
    assert open_listeners("sctp", "127.0.0.1", 9999, 2, dual=False) == []
