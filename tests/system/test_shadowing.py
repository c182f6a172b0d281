"""An agent whose containers send from the numbers of ports that are somebody's."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from agents import until
from echo_server import ask
from installation import Installation, installed
from lab import HOST, OUTSIDE
from moorage.kernel.linux import elements
from moorage.kernel.linux.nfnetlink import Netlink
from moorage.model import spread

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def at(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with installed(tmp_path_factory.mktemp("shadowing")) as made:
        yield made


def flows(at: Installation, opened: ExitStack, count: int = 120, port: int = 80) -> list[socket.socket]:
    """Sockets of a container that speak to one place outside."""
    made = [opened.enter_context(at.lab.open("peer", (OUTSIDE, port), "udp")) for _ in range(count)]
    assert {ask(each).peer for each in made} == {HOST}
    return made


def ports_of(opened: list[socket.socket]) -> list[int]:
    """As which ports of the host they are seen."""
    return [ask(each).peer_port for each in opened]


def blocks(at: Installation) -> set[int]:
    """The blocks that masquerading takes."""
    with at.lab.call("host", Netlink) as netlink:
        names = {str(each.value[0]) for each in elements.read(netlink) if each.container == "spread"}
    return {int(name.removeprefix("block")) for name in names}


def has_left(flow: socket.socket, port: int) -> bool:
    """Whether it is seen as another port; an answer that came just when it lost this one is none of its."""
    flow.settimeout(0.5)
    try:
        return ask(flow).peer_port != port
    except TimeoutError:
        return False


def changed(before: list[int], after: list[int]) -> list[int]:
    return [was for was, is_ in zip(before, after, strict=True) if was != is_]


@pytest.mark.parametrize("port", [8092, 8101])
def test_a_stranger_reaches_what_is_published(at: Installation, port: int) -> None:
    """He reaches it from the very port to which a container has sent from that number before."""
    stranger = at.lab.socket("outside", kind=socket.SOCK_DGRAM)
    sender = at.lab.socket("peer", kind=socket.SOCK_DGRAM)
    sender.bind(("", port))
    sender.sendto(b"hello", (OUTSIDE, stranger_port(stranger)))
    _, seen = stranger.recvfrom(100)
    assert spread.of_port(seen[1]) not in {None, spread.of_port(port)}
    stranger.connect((HOST, port))
    assert ask(stranger).server == "web"


def stranger_port(stranger: socket.socket) -> int:
    stranger.bind((OUTSIDE, 0))
    return int(stranger.getsockname()[1])


def test_publishing_takes_a_port_from_masquerading(at: Installation) -> None:
    """Whoever has the very port begins anew from another, all others keep theirs; then the block is used again."""
    with ExitStack() as opened:
        speaking = flows(at, opened)
        before = ports_of(speaking)
        port = before[0]
        at.client.publish("lone", [f"{port}:80/udp"])
        assert changed(before, ports_of(speaking)) == [port]
        assert at.lab.connect("outside", (HOST, port), "udp").server == "lone"
        block = spread.of_port(port)
        assert block not in {spread.of_port(each) for each in ports_of(flows(at, opened))}
        at.client.unpublish("lone", [f"{port}:80/udp"])
        until(lambda: block in blocks(at))


def test_a_program_that_begins_to_listen_gets_its_port(at: Installation) -> None:
    """Within two seconds nobody has the number of a port that a program of the host listens at."""
    with ExitStack() as opened:
        speaking = flows(at, opened)
        before = ports_of(speaking)
        port = before[0]
        server = at.lab.echo_server("host", "udp", port)
        assert until(lambda: has_left(speaking[0], port)) < 2.5
        assert changed(before, ports_of(speaking)) == [port]
        assert at.lab.connect("outside", (HOST, port), "udp").server == "host"
        server.close()
        block = spread.of_port(port)
        until(lambda: block in blocks(at))


def test_sources_keep_their_ports_through_a_kill(at: Installation) -> None:
    """The next agent leads the same sources to the same ports; no connection notices."""
    with ExitStack() as opened:
        opened.callback(
            at.lab.echo_server("outside", "udp", 82).close
        )  # nobody has spoken to it from another block
        speaking = flows(at, opened, port=82)
        before = ports_of(speaking)
        at.agent.replace()
        assert changed(before, ports_of(speaking)) == []
        opened.callback(at.lab.echo_server("outside", "udp", 81).close)
        for each in speaking:
            each.connect((OUTSIDE, 81))
        assert changed(before, ports_of(speaking)) == []


def test_the_hosts_own_clients_keep_their_ports(at: Installation) -> None:
    """Over 127.0.0.1 a container sees each as the port that it has: the kernel gave it, and gives it to no other."""
    with at.lab.open("host", ("127.0.0.1", 8080)) as client:
        assert ask(client).peer_port == client.getsockname()[1]
