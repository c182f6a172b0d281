"""What becomes of connections whose mapping is taken away."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import count

import pytest

from echo_server import ask
from installation import Installation, installed
from lab import HOST, HOST6
from moorage import Client

pytestmark = pytest.mark.system

CLIENTS = (
    *(("outside", HOST), ("outside", HOST6), ("host", HOST), ("host", HOST6), ("host", "127.0.0.1")),
    *(("host", "::1"), ("peer", HOST), ("peer", HOST6), ("lone", HOST)),
)
"""One for each way through the kernel, and one through the proxy."""

SILENCE = 0.5
"""Seconds in which an answer that is to come would have come."""

WAYS: dict[str, Callable[[Client, str], object]] = {
    "unpublish": Client.unpublish,
    "detach": Client.detach,
    "release": Client.release,
}

_numbers = count(1)


@pytest.fixture(scope="module", params=["kernel", "proxy"])
def at(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """An installation whose 127.0.0.1 is carried by the kernel, or by proxies."""
    with installed(tmp_path_factory.mktemp(request.param), loopback=request.param) as made:
        yield made


@pytest.fixture
def name(at: Installation) -> Iterator[str]:
    """A container of its own on the network `dual`, which answers on port 80."""
    with at.container(f"c{next(_numbers)}") as made:
        yield made


def connected(at: Installation, port: int, proto: str) -> dict[str, socket.socket]:
    """A connection from each client, answered once."""
    made = {f"{name}->{to}": at.lab.open(name, (to, port), proto) for name, to in CLIENTS}
    for each in made.values():
        ask(each)
    return made


def outcome(client: socket.socket) -> str:
    """What becomes of a client that goes on."""
    client.settimeout(SILENCE if client.type == socket.SOCK_DGRAM else 5)
    try:
        ask(client, b"still there?")
    except TimeoutError:
        return "silence"
    except OSError:
        return "ended"
    return "answered"


def outcomes(clients: dict[str, socket.socket]) -> dict[str, str]:
    with ThreadPoolExecutor(len(clients)) as pool:
        return dict(zip(clients, pool.map(outcome, clients.values()), strict=True))


@pytest.mark.parametrize("same", [False, True], ids=["other-port", "same-port"])
@pytest.mark.parametrize("how", WAYS)
def test_tcp_connections_end(at: Installation, name: str, how: str, same: bool) -> None:
    """Every TCP client, whichever way it came, is told at once when it goes on."""
    port = 80 if same else 8500
    at.client.publish(name, [f"{port}:80"])
    clients = connected(at, port, "tcp")

    WAYS[how](at.client, name)

    assert outcomes(clients) == dict.fromkeys(clients, "ended")


@pytest.mark.parametrize("how", WAYS)
def test_udp_flows_stop(at: Installation, name: str, how: str) -> None:
    """No UDP client is answered any more on the socket that was answered before."""
    at.client.publish(name, ["8501:80/udp"])
    clients = connected(at, 8501, "udp")
    assert set(outcomes(clients).values()) == {"answered"}

    WAYS[how](at.client, name)

    assert "answered" not in outcomes(clients).values()


@pytest.mark.parametrize("proto", ["tcp", "udp"])
def test_connections_of_others_go_on(at: Installation, name: str, proto: str) -> None:
    """Unpublishing one port breaks nothing of the container's other port, nor of its connections out."""
    at.client.publish(name, [f"8502:80/{proto}", f"8503:80/{proto}"])
    kept = connected(at, 8503, proto)
    out = at.lab.open(name, ("10.77.0.2", 80), proto)
    ask(out)

    at.client.unpublish(name, [f"8502:80/{proto}"])

    assert outcomes(kept | {"out": out}) == dict.fromkeys([*kept, "out"], "answered")


@pytest.mark.parametrize("how", ["detach", "release"])
def test_an_address_is_reached_at_once_when_it_comes_again(at: Installation, name: str, how: str) -> None:
    """Another container with the address of one that went answers the first attempt, with another MAC too."""
    address, address6 = at.client.inspect(name).ip, at.client.inspect(name).ipv6
    assert address6 is not None
    at.client.publish(name, ["8504:80"])
    for to in (HOST, HOST6):
        at.lab.connect("outside", (to, 8504))
    for each in (address, address6):
        at.lab.connect("peer", (each, 80))
    WAYS[how](at.client, name)
    at.client.release(name)

    heir = f"{name}-heir"
    with at.container(heir, ip=address, ipv6=address6, mac="02:42:00:00:99:99"):
        at.client.publish(heir, ["8504:80"])
        for client, to in (("outside", HOST), ("outside", HOST6), ("host", "127.0.0.1"), ("peer", HOST)):
            assert at.lab.connect(client, (to, 8504), timeout=0.5).server == heir
        for each in (address, address6):
            assert at.lab.connect("peer", (each, 80), timeout=0.5).server == heir


def test_a_server_learns_of_the_end(at: Installation, name: str) -> None:
    """The container's side of a connection ends as well, when it says something after the mapping went."""
    listener = at.lab.socket(name, socket.AF_INET6)
    listener.bind(("::", 99))
    listener.listen()
    at.client.publish(name, ["8505:99"])
    client = at.lab.open("outside", (HOST, 8505))
    with listener.accept()[0] as accepted:
        accepted.settimeout(5)
        accepted.sendall(b"before")
        assert client.recv(9) == b"before"
        at.client.unpublish(name)
        with suppress(ConnectionResetError):
            accepted.sendall(b"after")
            assert accepted.recv(9) == b""
