"""A second socket at a listener's port: whose datagrams come by it, and who may bind it."""

from __future__ import annotations

import itertools
import socket
from collections.abc import Callable, Iterator

import pytest

from moorage.proxy.frontend import Frontends
from moorage.proxy.listeners import PortBusy, open_listeners
from proxy.harness import PATIENCE


class Stand:
    """A listener, its client and a stranger, all of them non-blocking or patient sockets of the test."""

    def __init__(self, ip: str = "127.0.0.1", *, dual: bool = False) -> None:
        (self.listener,) = open_listeners("udp", ip, 0, 1, dual=dual)
        self.listener.setblocking(False)
        self.port = self.listener.getsockname()[1]
        self.client, self.stranger = self.sender(), self.sender()
        self.all = [self.listener, self.client, self.stranger]
        self.frontends = Frontends(self.listener)
        assert self.frontends.possible

    def sender(self) -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.connect(("127.0.0.1", self.port))
        sock.settimeout(PATIENCE)
        return sock

    def open(self, client: socket.socket | None = None) -> socket.socket:
        ip, port = (client or self.client).getsockname()
        six = self.listener.family == socket.AF_INET6
        sock = self.frontends.open((f"::ffff:{ip}", port, 0, 0) if six else (ip, port))
        self.all.append(sock)
        return sock


@pytest.fixture
def stand() -> Iterator[Callable[..., Stand]]:
    stands: list[Stand] = []

    def make(ip: str = "127.0.0.1", *, dual: bool = False) -> Stand:
        stands.append(Stand(ip, dual=dual))
        return stands[-1]

    yield make
    for sock in itertools.chain.from_iterable(each.all for each in stands):
        sock.close()


def waiting(sock: socket.socket) -> list[bytes]:
    """All that a non-blocking socket holds."""
    found = []
    while True:
        try:
            found.append(sock.recv(100))
        except BlockingIOError:
            return found


@pytest.mark.parametrize(("ip", "dual"), [("127.0.0.1", False), ("0.0.0.0", False), ("0.0.0.0", True)])  # noqa: S104
def test_to_each_its_own(
    stand: Callable[..., Stand], monkeypatch: pytest.MonkeyPatch, ip: str, dual: bool
) -> None:
    """Only what the client sends from its connection on comes by its socket, and nobody's comes by none."""
    here = stand(ip, dual=dual)
    connect = socket.socket.connect

    def meanwhile(sock: socket.socket, address: tuple[str, int]) -> None:
        here.client.send(b"before")
        here.stranger.send(b"between")
        connect(sock, address)
        here.stranger.send(b"after")

    with monkeypatch.context() as patch:
        patch.setattr(socket.socket, "connect", meanwhile)
        frontend = here.open()
    here.client.send(b"mine")
    assert waiting(here.listener) == [b"before", b"between", b"after"]
    assert waiting(frontend) == [b"mine"]


@pytest.mark.parametrize(("ip", "dual"), [("127.0.0.1", False), ("0.0.0.0", True)])  # noqa: S104
def test_answers(stand: Callable[..., Stand], ip: str, dual: bool) -> None:
    """What is sent by it comes from the address that the client knows."""
    here = stand(ip, dual=dual)
    here.open().send(b"answer")
    assert here.client.recv(100) == b"answer"


@pytest.mark.parametrize(("ip", "dual"), [("127.0.0.1", False), ("0.0.0.0", False), ("0.0.0.0", True)])  # noqa: S104
def test_many(stand: Callable[..., Stand], ip: str, dual: bool) -> None:
    """There can be many at a port, whichever of them are gone again."""
    here = stand(ip, dual=dual)
    clients = [here.sender() for _ in range(30)]
    here.all += clients
    opened = {client: here.open(client) for client in clients}
    for gone in (clients[0], clients[15], clients[28], clients[29]):
        list(here.frontends.withdraw(opened[gone]))
        opened[gone] = here.open(gone)
    for client in clients:
        client.send(b"mine")
    assert [waiting(opened[client]) for client in clients] == [[b"mine"]] * len(clients)


def test_withdrawn(stand: Callable[..., Stand]) -> None:
    """What had come by it is given back in order, past a refusal, and what comes then finds the listener."""
    here = stand()
    frontend = here.open()
    here.client.send(b"one")
    here.client.send(b"two")
    assert [data for data, _ in here.frontends.withdraw(frontend)] == [b"one", b"two"]
    here.client.send(b"three")
    assert waiting(here.listener) == [b"three"]


def test_withdrawn_past_a_refusal(stand: Callable[..., Stand]) -> None:
    """That a client has refused an answer hides nothing of what it had sent."""
    here = stand()
    frontend = here.open()
    here.client.send(b"last words")
    here.client.close()
    frontend.send(b"too late")
    assert [data for data, _ in here.frontends.withdraw(frontend)] == [b"last words"]


@pytest.mark.parametrize("option", [socket.SO_REUSEADDR, socket.SO_REUSEPORT])
def test_nobody_else(stand: Callable[..., Stand], option: int) -> None:
    """Whoever would share the port is refused: without such sockets, with one, and when it is gone."""
    here = stand()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.setsockopt(socket.SOL_SOCKET, option, 1)

        def refused() -> bool:
            with pytest.raises(OSError, match="in use"):
                other.bind(("127.0.0.1", here.port))
            return True

        assert refused()
        frontends = [here.open(), here.open(here.stranger)]
        assert refused()
        for frontend in frontends:
            list(here.frontends.withdraw(frontend))
            assert refused()


def test_a_foreign_holder() -> None:
    """A listener is refused where another socket of this user holds the port, even one that would share it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        with pytest.raises(PortBusy):
            open_listeners("udp", "127.0.0.1", other.getsockname()[1], 1, dual=False)


def test_left_open_by_the_dead(stand: Callable[..., Stand]) -> None:
    """A listener whose former owner was killed in the act is shared no more."""
    here = stand()
    here.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    assert Frontends(here.listener).possible
    assert not here.listener.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT)


def test_bound_by_others() -> None:
    """A listener that was bound without this preparation is known from one that was."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        assert not Frontends(sock).possible


def test_refused(stand: Callable[..., Stand]) -> None:
    """One that cannot be opened leaves the listener as it was."""
    here = stand()
    with pytest.raises(OSError, match=r".+"):
        here.frontends.open(("255.255.255.255", 9))
    assert not here.listener.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT)
    here.client.send(b"still here")
    assert waiting(here.listener) == [b"still here"]
