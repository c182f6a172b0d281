"""Sockets that pass from one agent to the next."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterable, Iterator
from contextlib import ExitStack

import pytest

from moorage.inheritance import Inheritance, Named
from moorage.proxy.listeners import bound, open_listeners
from moorage.values import ANY

pytestmark = pytest.mark.system


class Shelf:
    """A store that notes what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, ...]] = []

    def push(self, name: str, sockets: Iterable[socket.socket]) -> None:
        self.told.append(("push", name, str(len(list(sockets)))))

    def remove(self, names: Iterable[str]) -> None:
        self.told.append(("remove", *sorted(names)))


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """Closes sockets after the test."""
    with ExitStack() as made:
        yield made


def listener(stack: ExitStack, proto: str = "tcp", host_ip: str = "127.0.0.1", dual: bool = False) -> Named:
    (made,) = open_listeners(proto, host_ip, 0, 1, dual=dual)
    return Named(f"proxy:{proto}", stack.enter_context(made))


@pytest.mark.parametrize(
    ("proto", "host_ip", "dual"),
    [
        ("tcp", ANY, True),
        ("tcp", ANY, False),
        ("tcp", "::", False),
        ("udp", "127.0.0.1", False),
        ("udp", "::1", False),
    ],
)
def test_a_listener_is_adopted_where_it_would_be_opened(
    stack: ExitStack, proto: str, host_ip: str, dual: bool
) -> None:
    """The same protocol, address, port and families find the socket, once; anything else opens its own."""
    named = listener(stack, proto, host_ip, dual)
    port = named.socket.getsockname()[1]
    inheritance = Inheritance([named])

    other = "udp" if proto == "tcp" else "tcp"
    for sock in open_listeners(other, host_ip, port, 1, dual=dual, adopt=inheritance.take):
        assert sock is not named.socket
        sock.close()
    assert open_listeners(proto, host_ip, port, 1, dual=dual, adopt=inheritance.take) == [named.socket]
    assert inheritance.take(bound(named.socket)) is None


def test_what_nobody_took_is_closed_and_removed(stack: ExitStack) -> None:
    """At the end of a start, sockets that were not taken are closed, and those of a name in use not removed."""
    shelf = Shelf()
    first, second = listener(stack), listener(stack)
    copy = Named("again", stack.enter_context(first.socket.dup()))
    inheritance = Inheritance([first, Named("old", second.socket), copy], shelf)
    assert inheritance.take(bound(first.socket)) is first.socket
    asyncio.run(inheritance.keep(first.name, [first.socket]))

    inheritance.settle()

    assert [first.socket.fileno() < 0, second.socket.fileno() < 0, copy.socket.fileno() < 0] == [
        False,
        True,
        True,
    ]
    assert shelf.told == [("push", "proxy:tcp", "1"), ("remove", "again", "old")]


def test_only_new_sockets_are_stored(stack: ExitStack) -> None:
    """What came from the store, or was sent there once, is not sent again."""
    shelf = Shelf()
    old, new = listener(stack), listener(stack)
    inheritance = Inheritance([old._replace(stored=True)], shelf)
    for _ in range(2):
        asyncio.run(inheritance.keep("proxy", [old.socket, new.socket]))
    assert shelf.told == [("push", "proxy", "1")]


def test_a_listener_is_known_by_its_link(stack: ExitStack) -> None:
    """A link-local address on one link is not adopted as the same on another."""
    named = listener(stack)
    on_two = bound(named.socket)._replace(link=2)
    assert Inheritance([named]).take(on_two) is None


def test_those_alone_are_stored(stack: ExitStack) -> None:
    """Of what is kept alone, what the store had under that name before is removed first."""
    shelf = Shelf()
    one, two = listener(stack), listener(stack)
    inheritance = Inheritance((), shelf)
    for sockets in ([one.socket, two.socket], [two.socket]):
        asyncio.run(inheritance.keep("proxy", sockets, alone=True))
    assert shelf.told == [
        ("remove", "proxy"),
        ("push", "proxy", "2"),
        ("remove", "proxy"),
        ("push", "proxy", "1"),
    ]


@pytest.mark.parametrize("handing_over", [True, False])
def test_an_end_with_the_tree_removes_nothing(stack: ExitStack, handing_over: bool) -> None:
    """Requests that are still under way when the end begins count; once they are over, all stays as it is."""
    shelf, ended = Shelf(), list[str]()
    inheritance = Inheritance((), shelf, ended.append)
    for name in ("a", "b"):
        asyncio.run(inheritance.keep(name, [listener(stack).socket]))
    inheritance.part()
    inheritance.end(handing_over=handing_over)
    asyncio.run(inheritance.drop("a"))
    inheritance.part()
    asyncio.run(inheritance.drop("b"))
    assert shelf.told[2:] == [("remove", "a")]
    assert ended == ["a"]


def test_no_socket_blocks(stack: ExitStack) -> None:
    """Nobody who accepts waits in it, and a copy that is left does not make those of other processes block."""
    first = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    received = stack.enter_context(socket.socket(fileno=os.dup(first.fileno())))
    inheritance = Inheritance([Named("a", received)])
    assert not os.get_blocking(first.fileno())
    inheritance.end(handing_over=True)
    inheritance.leave_gateway(Named("gateway-1-2", received))
    assert inheritance.gateway is not None
    inheritance.gateway.socket.close()
    assert not os.get_blocking(first.fileno())


def test_an_agents_own_socket_is_known_by_its_file(stack: ExitStack) -> None:
    """A Unix socket is found by the name of its file, and by no other."""
    named = Named("gateway-1-2", stack.enter_context(socket.socket(socket.AF_UNIX)))
    inheritance = Inheritance([named])
    assert inheritance.take("gateway-1-3") is None
    assert inheritance.take("gateway-1-2") is named.socket
