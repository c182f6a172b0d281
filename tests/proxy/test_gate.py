"""A listener that is shut hears the host itself alone."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import suppress

import pytest

from lab import HOST, HOST6, OUTSIDE6, Lab
from moorage.proxy.gate import Gate
from moorage.proxy.listeners import open_listeners
from moorage.values import ANY

SIDES = {HOST: "127.0.0.1", HOST6: "::1"}
"""An address of the host that is known outside, and one that is not."""


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """A host and somebody outside."""
    with Lab() as made:
        yield made


class Listener:
    """A listener on every address, shut at first, with its gate."""

    def __init__(self, lab: Lab, proto: str) -> None:
        self._lab, self._proto = lab, proto
        (self.sock,) = lab.call("host", open_listeners, proto, ANY, 0, 1, dual=True, is_shut=True)
        self.sock.settimeout(0.3)
        self.gate = Gate(is_shut=True)
        self.gate.lead_to([self.sock])

    def hears(self, name: str, ip: str) -> bool:
        """Whether somebody there reaches it: connects, or has a datagram arrive."""
        kind = socket.SOCK_STREAM if self._proto == "tcp" else socket.SOCK_DGRAM
        with self._lab.socket(name, socket.AF_INET6 if ":" in ip else socket.AF_INET, kind) as caller:
            caller.settimeout(0.3)
            with suppress(TimeoutError):
                caller.connect((ip, self.sock.getsockname()[1]))
                if self._proto == "tcp":
                    return True
                caller.send(b"here")
        with suppress(OSError):  # a listener of TCP gives no data
            return self.sock.recv(10) == b"here"
        return False


@pytest.mark.parametrize("proto", ["tcp", "udp"])
@pytest.mark.parametrize("host", SIDES)
def test_who_is_outside_is_kept_there(lab: Lab, host: str, proto: str) -> None:
    """From before it is bound until it is opened nobody outside reaches it, and the host does; then as it is set."""
    listener = Listener(lab, proto)
    with listener.sock:
        assert (listener.hears("outside", host), listener.hears("host", SIDES[host])) == (False, True)
        for act, heard in (
            (listener.gate.open, True),
            (listener.gate.shut, False),
            (listener.gate.open, True),
        ):
            act()
            assert (listener.hears("outside", host), listener.hears("host", host)) == (heard, True)


def test_nobody_is_heard_in_anothers_name(lab: Lab) -> None:
    """What a program of the host sends from an address that is not the host's is not heard while it is shut."""
    listener = Listener(lab, "udp")
    with listener.sock, lab.socket("host", socket.AF_INET6, socket.SOCK_DGRAM) as caller:
        port = listener.sock.getsockname()[1]
        caller.setsockopt(socket.IPPROTO_IPV6, 78, 1)  # IPV6_FREEBIND
        caller.bind((OUTSIDE6, 5060))
        caller.sendto(b"in another's name", (HOST6, port))
        assert listener.hears("host", HOST6)  # else that would be read first
        listener.gate.open()
        caller.sendto(b"in another's name", (HOST6, port))
        assert listener.sock.recv(100) == b"in another's name"


def test_later_listeners_are_as_the_gate(lab: Lab) -> None:
    """One that is put behind a gate is shut or open as that is, whatever it was before."""
    listener = Listener(lab, "udp")
    with listener.sock:
        Gate(is_shut=False).lead_to([listener.sock])
        assert listener.hears("outside", HOST)
        Gate(is_shut=True).lead_to([listener.sock])
        assert not listener.hears("outside", HOST)


def test_a_listener_that_is_closed_is_no_error(lab: Lab) -> None:
    """The data plane may have closed one that is being opened or shut."""
    listener = Listener(lab, "tcp")
    listener.sock.close()
    listener.gate.open()
    listener.gate.shut()
    assert listener.gate.is_shut


@pytest.mark.parametrize("proto", ["tcp", "udp"])
@pytest.mark.parametrize("host", SIDES)
def test_it_knows_whether_it_turned_somebody_away(lab: Lab, host: str, proto: str) -> None:
    """A gate knows of who came from outside while it was shut, and that the host itself did not have to wait."""
    listener = Listener(lab, proto)
    with listener.sock:
        assert listener.hears("host", SIDES[host])
        assert not listener.gate.has_turned_away()
        assert not listener.hears("outside", host)
        assert listener.gate.has_turned_away()


def test_it_does_not_know_of_listeners_that_are_gone(lab: Lab) -> None:
    """Where a proxy was started again while its gate was shut, the former listener may have turned somebody away."""
    first, second = Listener(lab, "tcp"), Listener(lab, "tcp")
    with first.sock, second.sock:
        gate = Gate(is_shut=True)
        gate.lead_to([first.sock])
        gate.lead_to([first.sock, second.sock])
        assert not gate.has_turned_away()
        gate.lead_to([second.sock])
        assert gate.has_turned_away()
        gate.open()
        gate.shut()
        assert not gate.has_turned_away()
