"""Datagrams find their backend, and replies their client."""

from __future__ import annotations

import errno
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pyroute2 import IPRoute

from moorage.proxy import switchboard
from moorage.proxy.listeners import open_listeners
from moorage.proxy.service import Backend
from moorage.proxy.udp_client import DatagramClient
from moorage.values import ANY
from proxy.harness import PATIENCE, HandClock, Harness, echo_datagram

IDLE = 90.0
_TENTATIVE = 0x40
"""IFA_F_TENTATIVE"""


@pytest.mark.parametrize("size", [0, 1, 1472, 65_507])
def test_every_size(harness: Harness, size: int) -> None:
    """Datagrams of every size, the empty and the largest included, go both ways as they are."""
    route = harness.route("udp")
    client = harness.datagrams(route.address)
    payload = b"\xa5" * size
    client.send(payload)
    assert echo_datagram(route.backend)[0] == payload
    assert client.recv(1 << 16) == payload


def test_clients_apart(harness: Harness) -> None:
    """Each client has a port of its own at the backend, keeps it, and gets its own replies."""
    route = harness.route("udp")
    clients = [harness.datagrams(route.address) for _ in range(20)]
    seen = []
    for number, client in enumerate(clients):
        client.send(b"%d" % number)
        seen.append(echo_datagram(route.backend)[1])
    assert len(set(seen)) == len(clients)
    for number, client in enumerate(clients):
        assert client.recv(100) == b"%d" % number
        client.send(b"again")
        assert route.backend.recvfrom(100) == (b"again", seen[number])
    assert harness.plane.connections(route.token) == len(clients)


def test_unasked_datagrams(harness: Harness) -> None:
    """A backend may send to a client as often as it likes."""
    route = harness.route("udp")
    client = harness.datagrams(route.address)
    client.send(b"subscribe")
    _, address = route.backend.recvfrom(100)
    for number in range(100):
        route.backend.sendto(b"%d" % number, address)
        assert client.recv(100) == b"%d" % number


def test_stranger_to_the_flow(harness: Harness) -> None:
    """What another socket than the backend's sends into a client's flow does not reach the client."""
    route = harness.route("udp")
    client = harness.datagrams(route.address)
    client.send(b"hello")
    _, address = route.backend.recvfrom(100)
    harness.bind(socket.SOCK_DGRAM).sendto(b"forged", address)
    route.backend.sendto(b"genuine", address)
    assert client.recv(100) == b"genuine"


def test_idle_limit(make_harness: Callable[..., Harness]) -> None:
    """A client is forgotten 90 s after the last datagram in either direction, and not before."""
    clock = HandClock()
    harness = make_harness(clock=clock)
    route = harness.route("udp")
    client = harness.datagrams(route.address)
    client.send(b"one")
    _, address = route.backend.recvfrom(100)
    clock.now += IDLE - 1
    route.backend.sendto(b"two", address)
    assert client.recv(100) == b"two"
    clock.now += IDLE - 1
    harness.settle()
    assert harness.plane.connections(route.token) == 1
    client.send(b"three")
    assert route.backend.recvfrom(100) == (b"three", address)
    clock.now += IDLE - 1
    harness.settle()
    assert harness.plane.connections(route.token) == 1
    clock.now += 1
    harness.settle()
    assert harness.plane.connections(route.token) == 0
    client.send(b"four")
    assert route.backend.recvfrom(100)[0] == b"four"


def test_idle_limit_by_the_real_clock(
    make_harness: Callable[..., Harness], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread wakes by itself to forget an idle client, and its port at the backend is closed."""
    forgotten = threading.Event()
    reset = DatagramClient.reset

    def tell(client: DatagramClient) -> None:
        reset(client)
        forgotten.set()

    monkeypatch.setattr(DatagramClient, "reset", tell)
    harness = make_harness(udp_idle=0.05)
    route = harness.route("udp")
    harness.datagrams(route.address).send(b"one")
    _, address = route.backend.recvfrom(100)
    assert forgotten.wait(PATIENCE)
    route.backend.connect(address)
    route.backend.send(b"anybody there?")
    with pytest.raises(ConnectionRefusedError):
        route.backend.recv(100)


def test_least_recent_client_makes_room(make_harness: Callable[..., Harness]) -> None:
    """Past the cap the client that was silent longest is forgotten, and no other."""
    harness = make_harness(udp_clients=2)
    route = harness.route("udp")
    first, second, third = (harness.datagrams(route.address) for _ in range(3))
    addresses = []
    for client in (first, second, first, third):
        client.send(b"hello")
        addresses.append(route.backend.recvfrom(100)[1])
    assert harness.plane.connections(route.token) == 2
    assert addresses[0] == addresses[2]
    for client, address in ((first, addresses[0]), (third, addresses[3])):
        route.backend.sendto(b"still here", address)
        assert client.recv(100) == b"still here"
    route.backend.connect(addresses[1])
    route.backend.send(b"anybody there?")
    with pytest.raises(ConnectionRefusedError):
        route.backend.recv(100)


def test_no_descriptor_for_a_client(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that there is no descriptor for takes the place of the one that was silent longest."""
    route = harness.route("udp")
    first, second = (harness.datagrams(route.address) for _ in range(2))
    first.send(b"one")
    route.backend.recv(100)
    connect = switchboard._connect

    def full(backend: Backend) -> socket.socket:
        if harness.plane.connections():
            raise OSError(errno.EMFILE, "too many open files")
        return connect(backend)

    monkeypatch.setattr(switchboard, "_connect", full)
    second.send(b"two")
    assert route.backend.recv(100) == b"two"
    assert harness.plane.connections() == 1


@pytest.mark.parametrize(("ip", "backend_ip"), [("127.0.0.1", "::1"), ("::1", "127.0.0.1")])
def test_other_family(harness: Harness, ip: str, backend_ip: str) -> None:
    """A client of one family is carried to a backend of the other."""
    route = harness.route("udp", ip, backend_ip)
    client = harness.datagrams(route.address)
    client.send(b"across")
    assert echo_datagram(route.backend)[1][0] == backend_ip
    assert client.recv(100) == b"across"


def test_refusal_met_in_sending(harness: Harness) -> None:
    """A refusal that is reported in place of the next datagram's sending costs that datagram nothing."""
    route = harness.route("udp")
    client = harness.datagrams(route.address)
    client.send(b"zero")
    assert route.backend.recv(100) == b"zero"
    ip, port = route.backend.getsockname()
    route.backend.close()
    backend = harness.keep(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))

    def refuse_then_serve() -> None:
        (member,) = harness.plane._services[route.token].members
        member.send(b"refused")
        backend.bind((ip, port))
        member.send(b"carried")

    harness.plane._reactor.post(refuse_then_serve)
    assert backend.recv(100) == b"carried"


def test_burst(harness: Harness) -> None:
    """A burst that fits the enlarged buffers loses nothing."""
    route = harness.route("udp")
    client = harness.datagrams(route.address)
    for number in range(100):
        client.send(b"%d" % number)
    assert [route.backend.recv(100) for _ in range(100)] == [b"%d" % number for number in range(100)]


def test_buffers(harness: Harness) -> None:
    """The listening socket has the larger receive buffer asked for, as far as the system grants it."""
    backend = harness.bind(socket.SOCK_DGRAM)
    sockets = open_listeners("udp", "127.0.0.1", 0, 1, dual=False)
    harness.plane.serve("udp", sockets, "127.0.0.1", [backend.getsockname()[1]])
    harness.settle()
    granted = int(Path("/proc/sys/net/core/rmem_max").read_text())
    assert sockets[0].getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) >= 2 * min(4 << 20, granted)


@pytest.fixture
def more_addresses() -> Iterator[None]:
    """Two more addresses on loopback."""
    with IPRoute() as route:
        lo = route.link_lookup(ifname="lo")[0]
        added = [("fd00::5", 128), ("192.0.2.5", 32)]
        for address, prefix in added:
            route.addr("add", index=lo, address=address, prefixlen=prefix)
        while any(address["flags"] & _TENTATIVE for address in route.get_addr(index=lo)):
            pass  # the kernel has yet to decide that nobody else has it
        yield
        for address, prefix in added:
            route.addr("del", index=lo, address=address, prefixlen=prefix)


@pytest.mark.system
@pytest.mark.usefixtures("more_addresses")
@pytest.mark.parametrize(
    ("listen", "dual", "target"),
    [
        (ANY, False, "127.0.0.5"),
        (ANY, False, "192.0.2.5"),
        ("::", False, "fd00::5"),
        (ANY, True, "127.0.0.5"),
        (ANY, True, "192.0.2.5"),
        (ANY, True, "fd00::5"),
    ],
)
def test_reply_from_the_address_asked(harness: Harness, listen: str, dual: bool, target: str) -> None:
    """A reply leaves from the very address its client sent to, whichever of the host's that was."""
    backend = harness.bind(socket.SOCK_DGRAM)
    sockets = open_listeners("udp", listen, 0, 1, dual=dual)
    port = sockets[0].getsockname()[1]
    harness.plane.serve("udp", sockets, "127.0.0.1", [backend.getsockname()[1]])
    # bound to another address than the target, which the routing table would answer from
    client = harness.bind(socket.SOCK_DGRAM, "::1" if ":" in target else "127.0.0.1")
    client.sendto(b"who is it?", (target, port))
    echo_datagram(backend)
    data, address = client.recvfrom(100)
    assert (data, address[:2]) == (b"who is it?", (target, port))


@pytest.mark.system
@pytest.mark.usefixtures("more_addresses")
def test_two_addresses_of_one_client(harness: Harness) -> None:
    """One client socket that sends to two of the host's addresses gets each answer from the right one."""
    backend = harness.bind(socket.SOCK_DGRAM)
    sockets = open_listeners("udp", ANY, 0, 1, dual=True)
    port = sockets[0].getsockname()[1]
    token = harness.plane.serve("udp", sockets, "127.0.0.1", [backend.getsockname()[1]])
    client = harness.bind(socket.SOCK_DGRAM)
    for target in ("127.0.0.5", "192.0.2.5", "127.0.0.5"):
        client.sendto(target.encode(), (target, port))
        echo_datagram(backend)
        assert client.recvfrom(100) == (target.encode(), (target, port))
    assert harness.plane.connections(token) == 2


@pytest.mark.parametrize("busy", [False, True])
def test_an_answer_that_was_under_way_comes(make_harness: Callable[..., Harness], busy: bool) -> None:
    """Who asked just before the listener went to another process is answered; what it asks next is heard there."""
    clock = HandClock()
    former, successor = make_harness(clock=clock), make_harness()
    backend = former.bind(socket.SOCK_DGRAM)
    sockets = open_listeners("udp", "127.0.0.1", 0, 1, dual=False)
    client, copies = former.datagrams(sockets[0].getsockname()), [sock.dup() for sock in sockets]
    former.plane.serve("udp", sockets, "127.0.0.1", [backend.getsockname()[1]])
    for _ in range(200 if busy else 1):
        client.send(b"first")
        _, asked_by = backend.recvfrom(100)
    former.plane.retire().result()
    backend.sendto(b"an answer", asked_by)
    assert client.recv(100) == b"an answer"
    successor.plane.serve("udp", copies, "127.0.0.1", [backend.getsockname()[1]])
    client.send(b"second")
    data, now_by = backend.recvfrom(100)
    assert (data, now_by == asked_by) == (b"second", False)
    assert former.plane.connections() == 1
    clock.now += switchboard.PARTING
    for _turn in range(2):  # of which the first ends what is due
        former.settle()
    assert former.plane.connections() == 0
    assert sockets[0].fileno() == -1


def test_who_has_not_asked_for_long_waits_for_no_answer(make_harness: Callable[..., Harness]) -> None:
    """A listener that goes to another process is closed at once where nobody has sent to it just now."""
    clock = HandClock()
    harness = make_harness(clock=clock)
    backend = harness.bind(socket.SOCK_DGRAM)
    sockets = open_listeners("udp", "127.0.0.1", 0, 1, dual=False)
    client = harness.datagrams(sockets[0].getsockname())
    harness.plane.serve("udp", sockets, "127.0.0.1", [backend.getsockname()[1]])
    client.send(b"first")
    backend.recvfrom(100)
    clock.now += switchboard.PARTING
    harness.settle()
    harness.plane.retire().result()
    for _turn in range(2):
        harness.settle()
    assert (harness.plane.connections(), sockets[0].fileno()) == (0, -1)
