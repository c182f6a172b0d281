"""Connections that stay on this host keep no pace; others are sent to as is usual here."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from moorage.proxy import congestion
from moorage.proxy.congestion import Pace, name_of, usual
from moorage.proxy.service import backends

PACED, OTHER = b"bbr", ("192.0.2.1", 4000)


@pytest.mark.parametrize(("default", "given"), [(PACED, b"reno"), (b"cubic", usual())])
def test_a_backend_is_sent_to_without_pace(
    monkeypatch: pytest.MonkeyPatch, default: bytes, given: bytes
) -> None:
    """A container's connection is not one of those that a timer paces, and where none is it has the default."""
    monkeypatch.setattr(congestion, "usual", lambda: default)
    (backend,) = backends("tcp", "127.0.0.1", [80])
    with backend.open() as sock:
        assert name_of(sock) == given


def test_nothing_is_usual_without_a_descriptor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system cannot be asked, nothing is changed."""

    def refuse(*_: object) -> None:
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(socket, "socket", refuse)
        assert usual() == b""
        (backend,) = backends("tcp", "127.0.0.1", [80])
    assert not backend.paced


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock


def accepted(listener: socket.socket) -> tuple[socket.socket, socket.socket]:
    client = socket.create_connection(listener.getsockname())
    return client, listener.accept()[0]


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.0.1", "::1", "::ffff:127.0.0.1"])
def test_a_client_over_loopback_keeps_no_pace(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    """Where connections are paced, one of this host begins and stays without."""
    monkeypatch.setattr(congestion, "usual", lambda: PACED)
    pace = Pace(listener)
    client, server = accepted(listener)
    with client, server:
        pace.settle(server, (address, 4000))
        assert name_of(server) == b"reno"


def test_a_client_of_another_host_gets_what_is_usual(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where connections are paced, one that leaves this host is."""
    with socket.socket() as sock:
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, PACED)
        except OSError:
            pytest.skip("this kernel has no bbr, or does not let this user have it")
    monkeypatch.setattr(congestion, "usual", lambda: PACED)
    pace = Pace(listener)
    client, server = accepted(listener)
    with client, server:
        pace.settle(server, OTHER)
        assert name_of(server) == PACED


def test_a_congestion_control_that_is_gone_breaks_no_client(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A default that may not be had any more leaves the client as it was."""
    monkeypatch.setattr(congestion, "usual", lambda: b"bbr-gone")
    pace = Pace(listener)
    client, server = accepted(listener)
    with client, server:
        pace.settle(server, OTHER)
        assert name_of(server) == b"reno"


def test_where_nothing_is_paced_listeners_are_left_alone(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A default without pace is what clients of every address have."""
    before = usual()
    monkeypatch.setattr(congestion, "usual", lambda: b"cubic")
    pace = Pace(listener)
    client, server = accepted(listener)
    with client, server:
        pace.settle(server, OTHER)
        assert name_of(listener) == name_of(server) == before
