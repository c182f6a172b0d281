"""Ports published on an address that leaves the host, and comes back, as a virtual one does."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import product

import pytest

from agents import until
from echo_server import ask
from installation import GATEWAY, WEB, Installation, installed
from lab import HOST, HOST6, OUTSIDE
from moorage.kernel.linux.ctnetlink import GET, Entry
from moorage.kernel.linux.flows import PROTOCOLS
from moorage.kernel.linux.nfnetlink import Netlink, generic

pytestmark = pytest.mark.system

FLOATING, FLOATING6 = "10.77.0.50", "fd77::50"
ANYCAST = "203.0.113.0/24"
SPECS = tuple(
    f"{host}{port}:80/{proto}"
    for host, port in ((f"{FLOATING}:", 8600), (f"[{FLOATING6}]:", 8600), ("", 8601))
    for proto in ("tcp", "udp")
)
CLIENTS = ("host", "web", "peer", "lone")


@pytest.fixture(scope="module", params=["kernel", "proxy"])
def at(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """An installation with ports on both floating addresses, which nobody has yet."""
    with installed(tmp_path_factory.mktemp("moving"), loopback=request.param) as made:
        with holding(made, "host"):
            made.client.publish("web", SPECS)
        yield made


@contextmanager
def holding(at: Installation, name: str) -> Iterator[None]:
    """The time in which `name` has both floating addresses; `outside` answers at them."""
    address(at, name, "add")
    there = product(("tcp", "udp"), (8600, 8601) if name == "outside" else ())
    servers = [at.lab.echo_server(name, *each, (FLOATING, FLOATING6)) for each in there]
    try:
        yield
    finally:
        for server in servers:
            server.close()
        address(at, name, "del")


def address(at: Installation, name: str, verb: str) -> None:
    extra = ["nodad", "preferred_lft", "0"] if verb == "add" else []
    at.lab.run(name, ["ip", "address", verb, f"{FLOATING}/24", "dev", "eth0"])
    at.lab.run(name, ["ip", "address", verb, f"{FLOATING6}/64", "dev", "eth0", *extra])
    other = "outside" if name == "host" else "host"
    at.lab.run(other, ["ip", "neigh", "flush", "dev", "eth0"])


@pytest.mark.parametrize("proto", ["tcp", "udp"])
@pytest.mark.parametrize("to", [FLOATING, FLOATING6])
@pytest.mark.parametrize("port", [8600, 8601])
def test_an_address_is_answered_for_while_it_is_here(
    at: Installation, to: str, port: int, proto: str
) -> None:
    """Host and containers reach the container while the host has the address, and who has it afterwards."""
    clients = [name for name in CLIENTS if ":" not in to or name != "lone"]
    with holding(at, "host"):
        answers = {name: first_answer(at, name, (to, port), proto) for name in clients}
        assert answers == dict.fromkeys(clients, "web")
    with holding(at, "outside"):
        answers = {name: first_answer(at, name, (to, port), proto) for name in clients}
        assert answers == dict.fromkeys(clients, "outside")
    with holding(at, "host"):
        assert first_answer(at, "outside", (to, port), proto) == "web"


def first_answer(at: Installation, name: str, to: tuple[str, int], proto: str) -> str:
    """Who answers there, once the neighbours know where the address is."""
    answers: list[str] = []

    def tried() -> bool:
        with suppress(OSError):
            answers.append(at.lab.connect(name, to, proto, timeout=0.5).server)
        return bool(answers)

    until(tried)
    return answers[0]


@pytest.mark.parametrize("to", [FLOATING, FLOATING6])
@pytest.mark.parametrize("port", [8600, 8601])
def test_udp_flows_follow_the_address(at: Installation, to: str, port: int) -> None:
    """A socket that spoke with the container speaks with whoever has the address now, there and back."""
    clients = [name for name in CLIENTS if ":" not in to or name != "lone"]
    with holding(at, "host"):
        flows = [flow_from(at, name, (to, port)) for name in clients]
        until(lambda: {answered(flow) for flow in flows} == {"web"})
    with holding(at, "outside"):
        until(lambda: {answered(flow) for flow in flows} == {"outside"})
    with holding(at, "host"):
        until(lambda: {answered(flow) for flow in flows} == {"web"})


def flow_from(at: Installation, name: str, to: tuple[str, int]) -> socket.socket:
    """A UDP socket there, from an address that stays."""
    family = socket.AF_INET6 if ":" in to[0] else socket.AF_INET
    made = at.lab.socket(name, family, socket.SOCK_DGRAM)
    if name == "host":
        made.bind((HOST6 if ":" in to[0] else HOST, 0))
    made.connect(to)
    return made


def answered(flow: socket.socket) -> str:
    """Who answers; nobody where it is refused, or silent for a moment."""
    flow.settimeout(0.2)
    try:
        return ask(flow).server
    except OSError:
        return ""


@pytest.mark.parametrize("to", [FLOATING, FLOATING6])
@pytest.mark.parametrize("port", [8602, 8603])
def test_connections_end_with_the_address(at: Installation, to: str, port: int) -> None:
    """A container that goes on with a client of an address that is gone is told so; those of others go on."""
    listener = at.lab.socket("web", socket.AF_INET6)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("::", 8080))
    listener.listen()
    specs = ["8602:8080", f"{FLOATING}:8603:8080", f"[{FLOATING6}]:8603:8080"]
    try:
        with holding(at, "host"):
            at.client.publish("web", specs)
            until(lambda: at.lab.can_reach("outside", (to, 8601)))
            gone = at.lab.open("outside", (to, port))
            ended, _ = listener.accept()
            kept = at.lab.open("outside", (HOST6 if ":" in to else HOST, 8602))
            other, _ = listener.accept()
        with ended, other:
            other.sendall(b"on")
            assert kept.recv(9) == b"on"
            ended.settimeout(5)
            until(lambda: not is_tracked(at, to))
            ended.sendall(b"after")
            with pytest.raises(ConnectionResetError):
                ended.recv(9)
            other.sendall(b"and on")
            assert kept.recv(9) == b"and on"
        gone.close()
    finally:
        at.client.unpublish("web", specs)
        listener.close()


def is_tracked(at: Installation, to: str, proto: str = "tcp") -> bool:
    """Whether a connection to that address is led anywhere."""

    def look() -> bool:
        with Netlink() as netlink:
            entries = [Entry.parsed(each) for each in netlink.dump(GET, generic(0))]
        return any(
            (each.target, each.proto, each.translated) == (to, PROTOCOLS[proto], True) for each in entries
        )

    return at.lab.call("host", look)


def test_connections_end_that_lost_their_address_while_the_agent_was_away(at: Installation) -> None:
    """The next start ends them, and serves the address when it comes back."""
    listener = at.lab.socket("web")
    listener.bind((WEB, 8081))
    listener.listen()
    with holding(at, "host"):
        until(lambda: at.lab.can_reach("outside", (FLOATING, 8601)))
        at.client.publish("web", [f"{FLOATING}:8604:8081"])
        at.lab.open("outside", (FLOATING, 8604))
        ended, peer = listener.accept()
        assert peer[0] == OUTSIDE
        at.agent.kill()
    at.agent.start()
    with ended:
        ended.settimeout(5)
        until(lambda: not is_tracked(at, FLOATING))
        ended.sendall(b"after")
        with pytest.raises(ConnectionResetError):
            ended.recv(9)
    with holding(at, "host"):
        at.lab.open("outside", (FLOATING, 8604)).close()
        until(lambda: at.agent.log("listener_ready"))
    at.client.unpublish("web", [f"{FLOATING}:8604:8081"])
    listener.close()


def test_the_proxy_serves_an_address_that_came_back(at: Installation) -> None:
    """What only the proxy can carry is answered again once the address is here again, and not in between."""
    with holding(at, "host"):
        at.client.publish("lone", [f"[{FLOATING6}]:8605:80"])
        assert first_answer(at, "outside", (FLOATING6, 8605), "tcp") == "lone"
    assert not at.lab.can_reach("host", (FLOATING6, 8605), timeout=0.3)
    with holding(at, "host"):
        assert first_answer(at, "host", (FLOATING6, 8605), "tcp") == "lone"
        assert at.lab.connect("host", (FLOATING6, 8605)).peer == GATEWAY["10.0.42.2"]
        at.client.unpublish("lone", [f"[{FLOATING6}]:8605:80"])


@pytest.mark.parametrize("proto", ["tcp", "udp"])
def test_a_whole_subnet_may_be_local(at: Installation, proto: str) -> None:
    """Addresses of a route of type local are the host's, their flows end with it, and unpublishing ends them too."""
    route = ["local", ANYCAST, "dev", "lo"]
    at.lab.run("outside", ["ip", "route", "replace", ANYCAST, "via", "10.77.0.1"])
    at.lab.run("host", ["ip", "route", "add", *route])
    try:
        for client in ("outside", "host", "peer"):
            assert at.lab.connect(client, ("203.0.113.7", 8601), proto).server == "web"
        at.client.publish("web", [f"8606:80/{proto}"])
        flow = at.lab.open("outside", ("203.0.113.7", 8606), proto)
        if proto == "udp":
            assert ask(flow).server == "web"
        at.client.unpublish("web", [f"8606:80/{proto}"])
        assert answered(flow) != "web"
        old = at.lab.open("outside", ("203.0.113.7", 8601), proto)
        if proto == "udp":
            assert ask(old).server == "web"
    finally:
        at.lab.run("host", ["ip", "route", "del", *route])
    until(lambda: not is_tracked(at, "203.0.113.7", proto))
    assert answered(old) != "web"
