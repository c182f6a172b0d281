"""Who reaches what through which address, and whom the container sees."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import NamedTuple

import pytest

from echo_server import Answer
from installation import GATEWAY as GW
from installation import (
    GUEST,
    GUEST6,
    LONE,
    PEER,
    PEER6,
    PROTOCOLS,
    SECOND,
    SECOND6,
    VAULT,
    VAULT6,
    WEB,
    WEB6,
    Installation,
    installed,
)
from lab import HOST, HOST6, OUTSIDE, OUTSIDE6
from moorage.kernel.linux.nftables import Nftables

pytestmark = pytest.mark.system

DROPPED = 0.7
"""Seconds after which what is not answered was dropped: the slowest of the answers below takes a tenth."""


class Case(NamedTuple):
    """A client's attempt; `server` is who answers, `seen` the address that it sees, "" where nobody may."""

    client: str
    to: str
    port: int
    server: str = ""
    seen: str = ""

    @property
    def name(self) -> str:
        return f"{self.client}->[{self.to}]:{self.port}"


REACHED = (
    # from outside, as itself; through the proxy, as the gateway
    Case("outside", HOST, 8080, "web", OUTSIDE),
    Case("outside", HOST6, 8080, "web", OUTSIDE6),
    Case("outside", HOST, 8081, "lone", OUTSIDE),
    Case("outside", HOST6, 8081, "lone", GW[LONE]),
    Case("outside", HOST, 8082, "vault", OUTSIDE),
    Case("outside", HOST6, 8082, "vault", OUTSIDE6),
    # the host's own addresses and loopback
    Case("host", HOST, 8080, "web", HOST),
    Case("host", HOST6, 8080, "web", HOST6),
    Case("host", SECOND, 8080, "web", HOST),
    Case("host", GW[WEB], 8080, "web", GW[WEB]),
    Case("host", "127.0.0.1", 8080, "web", GW[WEB]),
    Case("host", "127.0.0.1", 8081, "lone", GW[LONE]),
    Case("host", "127.0.0.1", 8082, "vault", GW[VAULT]),
    Case("host", "127.9.9.9", 8080, "web", GW[WEB]),
    Case("host", "::1", 8080, "web", GW[WEB]),
    Case("host", "::1", 8081, "lone", GW[LONE]),
    Case("host", WEB, 80, "web", GW[WEB]),
    Case("host", WEB6, 80, "web", GW[WEB6]),
    # the container itself and its neighbours
    Case("web", HOST, 8080, "web", GW[WEB]),
    Case("web", HOST6, 8080, "web", GW[WEB6]),
    Case("web", GW[WEB], 8080, "web", GW[WEB]),
    Case("peer", HOST, 8080, "web", GW[WEB]),
    Case("peer", HOST6, 8080, "web", GW[WEB6]),
    Case("peer", WEB, 80, "web", PEER),
    Case("peer", WEB6, 80, "web", PEER6),
    Case("lone", HOST, 8081, "lone", GW[LONE]),
    Case("guest", VAULT, 80, "vault", GUEST),
    Case("guest", VAULT6, 80, "vault", GUEST6),
    # other networks, internal ones too, through published ports
    Case("lone", HOST, 8080, "web", LONE),
    Case("web", HOST, 8081, "lone", WEB),
    Case("web", HOST6, 8081, "lone", GW[LONE]),
    Case("web", HOST, 8082, "vault", WEB),
    Case("web", HOST6, 8082, "vault", WEB6),
    Case("vault", HOST, 8080, "web", VAULT),
    Case("vault", HOST6, 8080, "web", VAULT6),
    # the way out
    Case("web", OUTSIDE, 80, "outside", HOST),
    Case("web", OUTSIDE6, 80, "outside", HOST6),
    Case("lone", OUTSIDE, 80, "outside", HOST),
    # ports on one address or of one family
    Case("host", "127.0.0.1", 8084, "web", GW[WEB]),
    Case("host", "::1", 8084, "web", GW[WEB]),
    Case("host", "::1", 8090, "lone", GW[LONE]),
    Case("outside", SECOND, 8091, "web", OUTSIDE),
    Case("outside", SECOND6, 8091, "web", OUTSIDE6),
    Case("outside", SECOND6, 8095, "lone", GW[LONE]),
    Case("peer", SECOND, 8091, "web", GW[WEB]),
    Case("outside", HOST, 8092, "web", OUTSIDE),
    Case("host", "127.0.0.1", 8092, "web", GW[WEB]),
    Case("outside", HOST6, 8093, "web", OUTSIDE6),
    Case("host", "::1", 8093, "web", GW[WEB]),
    # the first and the last of a range
    Case("outside", HOST, 8100, "web", OUTSIDE),
    Case("outside", HOST6, 8102, "web", OUTSIDE6),
    Case("host", "127.0.0.1", 8102, "web", GW[WEB]),
)
"""What is answered."""

REFUSED = (
    *(Case(client, "127.0.0.1", 8091) for client in ("host", "web")),
    *(Case("outside", address, 8084) for address in (HOST, HOST6, SECOND)),
    *(Case("outside", address, 8091) for address in (HOST, HOST6)),
    Case("outside", HOST6, 8090),
    Case("outside", HOST6, 8092),
    Case("host", "::1", 8092),
    Case("outside", HOST, 8093),
    Case("host", "127.0.0.1", 8093),
    *(Case("outside", HOST, port) for port in (8099, 8103)),
    Case("lone", HOST6, 8080),
)
"""Where a port is not published: on other addresses, of the other family, beside a range."""

GUARDED = (
    # other networks' containers and an internal network's way out
    *(Case("lone", address, 80) for address in (WEB, VAULT)),
    *(Case("web", address, 80) for address in (LONE, VAULT, VAULT6)),
    *(Case("vault", address, 80) for address in (WEB, WEB6, OUTSIDE, OUTSIDE6)),
    # containers and gateways from outside
    *(Case("outside", address, 80) for address in (LONE, WEB, WEB6, VAULT, VAULT6)),
    *(Case("outside", GW[address], 8080) for address in (WEB, WEB6, LONE)),
    # loopback by a route through the host
    *(Case(client, "127.0.0.1", 8084) for client in ("outside", "peer")),
)
"""What only our rules prevent: without them each of these is answered."""

ROUTES_TO_LOOPBACK = """
ip address del 127.0.0.1/8 dev lo
ip route add 127.0.0.0/8 via {gateway}
for each in all eth0; do
    echo 1 > /proc/sys/net/ipv4/conf/$each/route_localnet
    echo 0 > /proc/sys/net/ipv4/conf/$each/rp_filter
done
"""

Outcome = Answer | OSError


def invite(at: Installation) -> None:
    """Let `outside` and `peer` send to 127/8 through the host, and the host take it from any source."""
    for link in ("all", "eth0", "mg-dual"):
        at.lab.run("host", ["sysctl", "-qw", f"net.ipv4.conf.{link}.rp_filter=0"])
    for name, gateway in (("outside", HOST), ("peer", GW[WEB])):
        at.lab.run(name, ["sh", "-ec", ROUTES_TO_LOOPBACK.format(gateway=gateway)])


def attempt_all(
    at: Installation, cases: tuple[Case, ...], proto: str, deadline: float = DROPPED
) -> dict[Case, Outcome]:
    """Try all side by side, what is to be refused for `deadline` seconds each, and there is much of it."""
    with ThreadPoolExecutor(32) as pool:
        tried: dict[Case, Future[Outcome]] = {
            case: pool.submit(attempt, at, case, proto, 5 if case.server else deadline) for case in cases
        }
    return {case: each.result() for case, each in tried.items()}


def attempt(at: Installation, case: Case, proto: str, timeout: float) -> Outcome:
    """What the client gets."""
    try:
        return at.lab.connect(case.client, (case.to, case.port), proto, timeout)
    except OSError as error:
        return error


@pytest.fixture(scope="module", params=["kernel", "proxy"])
def at(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """An installation whose 127.0.0.1 is carried by the kernel, or by proxies."""
    with installed(tmp_path_factory.mktemp(request.param), loopback=request.param) as made:
        invite(made)
        yield made


@pytest.fixture(scope="module", params=PROTOCOLS)
def outcomes(at: Installation, request: pytest.FixtureRequest) -> dict[Case, Outcome]:
    """What became of every attempt."""
    return attempt_all(at, REACHED + REFUSED + GUARDED, request.param)


@pytest.mark.parametrize("case", REACHED, ids=lambda case: case.name)
def test_reached(outcomes: dict[Case, Outcome], case: Case) -> None:
    """The right server answers, and sees the address it is to see."""
    outcome = outcomes[case]
    assert isinstance(outcome, Answer), outcome
    assert (outcome.server, outcome.peer) == (case.server, case.seen)


@pytest.mark.parametrize("case", REFUSED + GUARDED, ids=lambda case: case.name)
def test_refused(outcomes: dict[Case, Outcome], case: Case) -> None:
    """Nobody answers."""
    assert isinstance(outcomes[case], OSError)


@pytest.mark.parametrize("proto", PROTOCOLS)
def test_rules_are_what_guards(at: Installation, proto: str) -> None:
    """Without our rules all that they guard is reached; the agent's start closes it again."""
    with agent_and_guard_away(at):
        assert refused(attempt_all(at, GUARDED, proto, deadline=5)) == []
    assert len(refused(attempt_all(at, GUARDED, proto))) == len(GUARDED)


@pytest.mark.parametrize(
    ("source", "to"),
    [("10.99.0.9", OUTSIDE), (LONE, OUTSIDE), ("fd99::9", OUTSIDE6), (VAULT6, OUTSIDE6), (LONE, HOST)],
)
def test_a_container_sends_from_its_own_subnet_alone(at: Installation, source: str, to: str) -> None:
    """What a container sends with an address that is not its network's arrives nowhere."""
    with listening(at, "host" if to == HOST else "outside") as heard, borrowed(at, "web", source) as sender:
        honest, target = at.lab.socket("web", sender.family, socket.SOCK_DGRAM), (to, heard.getsockname()[1])
        honest.sendto(b"first", target)  # finds the gateway's MAC, which asking from elsewhere would not
        assert heard.recv(99) == b"first"
        with agent_and_guard_away(at):
            sender.sendto(b"without", target)
            assert heard.recv(99) == b"without"
        sender.sendto(b"with", target)
        honest.sendto(b"honest", target)
        assert heard.recv(99) == b"honest"


def refused(outcomes: dict[Case, Outcome]) -> list[str]:
    return [case.name for case, outcome in outcomes.items() if isinstance(outcome, OSError)]


@contextmanager
def agent_and_guard_away(at: Installation) -> Iterator[None]:
    """Kill the agent and take away the rules that refuse; it comes back at the end."""
    at.agent.kill()
    nftables = at.lab.call("host", Nftables)
    try:
        for chain in ("guard", "from_net", "to_net"):
            nftables.run(f"flush chain inet moorage {chain}")
        nftables.run("flush chain bridge moorage sent")
        yield
    finally:
        nftables.close()
        at.agent.start()


@contextmanager
def listening(at: Installation, name: str) -> Iterator[socket.socket]:
    """A UDP socket of both families there, which hears whatever comes."""
    with at.lab.socket(name, socket.AF_INET6, socket.SOCK_DGRAM) as made:
        made.bind(("::", 0))
        yield made


@contextmanager
def borrowed(at: Installation, name: str, source: str) -> Iterator[socket.socket]:
    """A UDP socket in a container, with an address that is not its own."""
    family, bits = (socket.AF_INET6, 128) if ":" in source else (socket.AF_INET, 32)
    address = [f"{source}/{bits}", "dev", "eth0"]
    # deprecated, so that nobody takes it unasked
    at.lab.run(name, ["ip", "address", "add", *address, "preferred_lft", "0", *["nodad"] * (bits == 128)])
    try:
        with at.lab.socket(name, family, socket.SOCK_DGRAM) as made:
            made.bind((source, 0))
            yield made
    finally:
        at.lab.run(name, ["ip", "address", "del", *address])
