"""Crowds at proxied ports and at the agent's socket: the agent keeps its own descriptors, and others theirs."""

from __future__ import annotations

import os
import resource
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from agents import START, AgentProcess, Replaceable, until
from chaos.processes import descriptors, memory
from echo_server import ask
from installation import Installation, installed
from lab import HOST, HOST6, Lab, Socket
from moorage import Fault, Refused
from moorage.descriptors import LOW
from moorage.kernel.linux.nftables import Nftables

pytestmark = pytest.mark.system

LONG = bool(os.environ.get("MOORAGE_SOAK_MINUTES"))
"""Whether there is time for the large numbers."""
LARGE = min(20_000, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
"""Descriptors of the agent. Were they as many as config/moorage.service gives, a port's share would be more connections
than a client has ports for."""
LIMITS = [1024, *[LARGE] * LONG]
MOST = LARGE // 2
"""Clients of a crowd: this process has both ends of what they are carried to."""
NOTICED = 2.0
"""Seconds that an answer may take while somebody else does his worst, on two shared cores."""
SPARE = 64 << 20
"""Bytes that a crowd may cost."""
PROXIED = {"outside": HOST6, "host": "::1"}
"""What only the proxy carries, on a network without IPv6, of a neighbour and of a local user."""
SILENT = (90, 91, 92)
"""Ports of the container where connections wait and nobody takes them: a crowd costs nobody's time but the agent's."""
PORTS = ["8600:90", "8601:91", "8602:92", "8600:90/udp", "8601:91/udp", "8603:80/udp"]
FEW = 16
"""UDP clients that are asked in between, and forgotten later."""


@pytest.fixture(scope="module", params=LIMITS)
def at(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """An installation whose agent may have so many descriptors, with more ports of a container on IPv4."""
    LOW.take()  # for the tests' own libnftables, before their crowds have these numbers
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    with installed(tmp_path_factory.mktemp("crowds")) as made:
        resource.prlimit(made.agent.pid, resource.RLIMIT_NOFILE, (request.param,) * 2)
        made.client.publish("lone", PORTS)
        for port in SILENT:
            waiting = made.lab.socket("lone", socket.AF_INET)
            waiting.bind(("0.0.0.0", port))  # noqa: S104 - every address of the lab's container
            waiting.listen(LARGE)
        yield made


def limit(at: Installation) -> int:
    return resource.prlimit(at.agent.pid, resource.RLIMIT_NOFILE)[0]


@contextmanager
def unnoticed(at: Installation, *, port: int = 8081) -> Iterator[None]:
    """Meanwhile all else works: other ports, requests, repairs and links; no actor and no process ended."""
    before, status = memory(at.agent.pid), at.client.status()
    began = time.monotonic()
    yield
    for name, to in PROXIED.items():
        for proto in ("tcp", "udp"):
            asked = time.monotonic()
            assert at.lab.connect(name, (to, port), proto).server == "lone"
            assert time.monotonic() - asked < NOTICED
    with at.container("solo") as name:
        at.client.publish(name, ["8700:80", "8700:80/udp", "127.0.0.1::81"])
        assert at.lab.connect("outside", (HOST, 8700)).server == "solo"
        assert at.lab.connect("host", ("::1", 8700)).server == "solo"
        at.client.detach(name)
        at.client.attach(name, netns=at.lab.path(name))
    repaired(at)
    after = at.client.status()
    assert (after.restarts, after.started) == (status.restarts, status.started)
    assert memory(at.agent.pid) - before < SPARE
    assert descriptors(at.agent.pid) < limit(at) * 7 // 8, f"after {time.monotonic() - began} s"


def repaired(at: Installation) -> None:
    """What others change in rules and links is put right."""
    nftables = at.lab.call("host", Nftables)
    nftables.run("flush chain inet moorage publish")
    nftables.close()
    until(lambda: at.lab.can_reach("outside", (HOST, 8080), timeout=0.2))
    at.lab.run("host", ["ip", "link", "set", "mg-dual", "down"])
    until(lambda: at.lab.can_reach("outside", (HOST, 8080), timeout=0.2))


class Crowd:
    """Clients that come and stay, until they are sent away."""

    def __init__(self, at: Installation, name: str) -> None:
        self.at, self.name = at, name
        self.members: list[Socket] = []

    def come(self, count: int, *ports: int) -> None:
        """So many more connect, to these ports in turn, and say nothing; some may be reset."""
        self.at.lab.call(self.name, self._come, count, ports)

    def _come(self, count: int, ports: tuple[int, ...]) -> None:
        for number in range(count):
            made = socket.socket(socket.AF_INET6)
            made.settimeout(5)
            with suppress(ConnectionError):
                made.connect((PROXIED[self.name], ports[number % len(ports)]))
            self.members.append(made)

    def send(self, count: int, *ports: int) -> None:
        """So many datagrams, each of a client of its own, to these ports in turn."""
        self.at.lab.call(self.name, self._send, count, ports)

    def _send(self, count: int, ports: tuple[int, ...]) -> None:
        for number in range(count):
            with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as made:
                made.sendto(b"made up\n", (PROXIED[self.name], ports[number % len(ports)]))

    def leave(self) -> None:
        for each in self.members:  # with a reset: nobody in the container hears of an orderly end
            each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            each.close()
        self.members.clear()


@pytest.fixture(params=PROXIED)
def crowd(at: Installation, request: pytest.FixtureRequest) -> Iterator[Crowd]:
    """One of a neighbour, or of a local user, which leaves nothing."""
    before = descriptors(at.agent.pid)
    made = Crowd(at, request.param)
    yield made
    made.leave()
    at.client.unpublish("lone", PORTS)  # which ends UDP clients
    at.client.publish("lone", PORTS)
    until(lambda: descriptors(at.agent.pid) <= before + FEW)
    until(lambda: at.client.status().warnings == (), 30)


def test_a_crowd_at_one_port(at: Installation, crowd: Crowd) -> None:
    """Idle connections at one port take its share, and are told of once; they that have it keep it."""
    told = len(at.agent.log("port_share_met"))
    with unnoticed(at):
        crowd.come(min(MOST, limit(at)), 8600)
    warned = at.client.status().warnings
    assert [each for each in warned if "tcp/0.0.0.0:8600" in each] == list(warned)
    assert len(at.agent.log("port_share_met")) == told + 1
    assert stays(crowd.members[0])
    assert not stays(crowd.members[-1])
    crowd.leave()
    until(lambda: is_taken(at, 8600))


def stays(client: Socket) -> bool:
    """Whether nobody ends a connection at which nobody says anything either."""
    client.settimeout(0.2)
    try:
        client.recv(1)
    except TimeoutError:
        return True
    except OSError:
        pass
    return False


def is_taken(at: Installation, port: int) -> bool:
    """Whether a new connection of the host is."""
    try:
        return stays(at.lab.open("host", ("::1", port)))
    except OSError:
        return False


def test_crowds_at_several_ports(at: Installation, crowd: Crowd) -> None:
    """So it is where they come to several ports."""
    with unnoticed(at):
        crowd.come(min(MOST, limit(at)), 8600, 8601, 8602)


def test_a_crowd_of_datagrams(at: Installation, crowd: Crowd) -> None:
    """Made-up clients of UDP ports give way to each other, while one that was answered on another port stays."""
    real = at.lab.open("host", ("::1", 8603), "udp")
    first = ask(real)
    with unnoticed(at):
        crowd.send(2 * limit(at), 8600, 8601)
    assert ask(real) == first


def test_a_crowd_at_the_socket(at: Installation) -> None:
    """Silent connections to the agent's socket leave it what it needs as well."""
    with ExitStack() as stack, unnoticed(at):
        for _ in range(600):
            made = stack.enter_context(socket.socket(socket.AF_UNIX))
            made.connect(str(at.agent.socket))


def test_more_ports_than_descriptors(at: Installation) -> None:
    """Who publishes more ports than there are descriptors for is refused, `limit`, with nothing changed."""
    before = at.client.inspect("lone"), descriptors(at.agent.pid)
    if limit(at) > 10_000:
        pytest.skip("there are as many descriptors as ports")
    with pytest.raises(Refused, match=r"limit: .*LimitNOFILE"):
        at.client.publish("lone", ["20000-29999:20000-29999"])
    assert at.client.inspect("lone") == before[0]
    until(lambda: descriptors(at.agent.pid) <= before[1])


def test_without_a_single_descriptor(tmp_path: Path) -> None:
    """With none at all left, even of its own, the agent refuses what needs one, and goes on when there are some."""
    with Lab() as lab, AgentProcess(lab, tmp_path, subnet="10.0.42.1/24") as agent:
        netns = lab.container("web")
        agent.client.allocate("web", netns=netns, ports=["8080:80"])
        lab.echo_server("web", "tcp", 80)
        before = agent.client.inspect("web")
        soft, hard = resource.prlimit(agent.pid, resource.RLIMIT_NOFILE)
        highest = max(int(each.name) for each in Path(f"/proc/{agent.pid}/fd").iterdir())
        with ExitStack() as stack:
            resource.prlimit(agent.pid, resource.RLIMIT_NOFILE, (highest + 1, hard))
            taken = descriptors(agent.pid)
            for _each in range(highest + 1 - taken):  # what is left below is taken by sessions
                made = stack.enter_context(socket.socket(socket.AF_UNIX))
                made.connect(str(agent.socket))
            for call in (
                lambda: agent.client.allocate("db", netns=lab.container("db")),
                lambda: agent.client.publish("web", ["8081:80"]),
                lambda: agent.client.detach("web"),
                lambda: agent.client.create_network("more", subnet="10.0.43.0/24"),
            ):
                with suppress(Refused, Fault):
                    call()
            nftables = lab.call("host", Nftables)
            nftables.run("flush chain inet moorage publish")
            nftables.close()
        resource.prlimit(agent.pid, resource.RLIMIT_NOFILE, (soft, hard))
        until(
            lambda: (
                lab.can_reach("outside", (HOST, 8080), timeout=0.2)
                or agent.client.inspect("web").netns is None
            )
        )
        assert agent.client.hello().pid == agent.pid
        assert before.id == "web"


def test_more_descriptors_than_select_takes(tmp_path: Path) -> None:
    """With a thousand listeners and more, a port mapper that is restarted and an agent that takes over go on."""
    with Lab() as lab, Replaceable(lab, tmp_path, subnet="10.0.42.1/24") as agent:
        agent.client.allocate("web", netns=lab.container("web"), ports=["8080:80", "20000-21199:20000-21199"])
        lab.echo_server("web", "tcp", 80)
        for _ in range(3):
            agent.client.crash("port-mapper")
            agent.client.publish("web", ["8081:80"])
            agent.client.unpublish("web", ["8081:80"])
        predecessor = agent.succeed()
        agent.client.publish("web", ["8081:80"])
        assert lab.connect("outside", (HOST, 8081)).server == "web"
        assert predecessor.wait(START) == 0
