"""The seventeen faults of the code of 2013 that no test saw, each held by its number."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from agents import AgentProcess
from agreement import assert_agreement, listening
from control.conftest import kernel
from echo_server import ask
from host_links import HostLinks
from lab import HOST, OUTSIDE, Lab
from moorage import Agent, Config, Refused
from moorage.errors import MoorageError
from moorage.kernel.linux.nftables import Nftables, NftablesError
from moorage.kernel.memory import MemoryKernel, MemoryLinks
from moorage.kernel.protocol import Bridge, Occupied
from moorage.model.address_pool import AddressPool
from moorage.model.subnets import (
    CANDIDATES,
    check_free,
    choose,
    network_range,
    networks_overlap,
    parse_subnet,
)
from moorage.proxy.plane import DataPlane
from proxy.harness import Harness, echo_datagram
from refusals import code_of

__all__ = ["kernel"]

BRIDGE = "br2013"


@pytest.fixture
def agent(kernel: MemoryKernel, state: Path) -> Iterator[Agent]:
    """An agent on that kernel, with an interface `web` that has nothing."""
    with Agent(Config(kernel="memory", state=str(state), subnet="10.0.42.1/24")) as agent:
        agent.allocate("web")
        yield agent


@pytest.fixture
def harness() -> Iterator[Harness]:
    """A running data plane."""
    plane = DataPlane()
    plane.start()
    with closing(plane), closing(Harness(plane)) as harness:
        yield harness


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentProcess]:
    """An agent on a bridge that was there before, and a container `web` that publishes its port 80."""
    with Lab() as lab:
        lab.run("host", ["ip", "link", "add", BRIDGE, "type", "bridge"])
        lab.run("host", ["ip", "address", "add", "10.0.50.1/24", "dev", BRIDGE])
        with AgentProcess(lab, tmp_path_factory.mktemp("agent"), bridge=BRIDGE) as agent:
            agent.client.allocate("web", netns=lab.container("web"), ports=["8080:80"])
            lab.echo_server("web", "tcp", 80)
            yield agent


def test_fault_01_small_networks() -> None:
    """A /31 gives one address beside its gateway and then none, never 0.0.0.0; a /32 is refused."""
    pool = AddressPool("192.168.0.2/31", "192.168.0.2")
    assert pool.acquire("a", 0) == "192.168.0.3"
    assert code_of(pool.acquire, "b", 0) == "addresses_exhausted"
    assert code_of(parse_subnet, "192.168.0.2/32") == "invalid"


def test_fault_02_a_foreign_address_released() -> None:
    """An address of another network that is released to a full pool is refused, and never given."""
    pool = AddressPool("10.0.0.0/29", "10.0.0.1")
    for _ in range(5):
        pool.acquire("a", 0)
    assert code_of(pool.release, "a", "10.9.9.9", 0) == "invalid"
    assert code_of(pool.acquire, "b", 0) == "addresses_exhausted"


def test_fault_03_an_address_released_twice() -> None:
    """A second release gives nothing to two holders, and only the holder may release."""
    pool = AddressPool("10.0.0.0/30", "10.0.0.1")
    address = pool.acquire("a", 0)
    assert pool.release("a", address, 0)
    assert pool.acquire("b", 0) == address
    assert code_of(pool.release, "a", address, 0) == "denied"
    assert code_of(pool.acquire, "c", 0) == "addresses_exhausted"


@pytest.mark.system
def test_fault_04_a_udp_backend_that_cannot_be_dialled(harness: Harness) -> None:
    """Datagrams for a backend without a route hold up neither their proxy nor any other."""
    nowhere, token = harness.serve("udp", "192.0.2.1", 9)
    for _ in range(3):
        harness.datagrams(nowhere).send(b"lost")
    route = harness.route("udp")
    client = harness.datagrams(route.address)
    client.send(b"found")
    echo_datagram(route.backend)
    assert client.recv(10) == b"found"
    harness.plane.stop(token).result(10)


def test_fault_05_half_close(harness: Harness) -> None:
    """The end of what a client sends is carried over, and the answer still comes back."""
    client, server = harness.join()
    client.sendall(b"question")
    client.shutdown(socket.SHUT_WR)
    assert (server.recv(100), server.recv(100)) == (b"question", b"")
    server.sendall(b"answer")
    server.close()
    assert (client.recv(100), client.recv(100)) == (b"answer", b"")


@pytest.mark.system
def test_fault_06_a_container_reaches_itself(host: AgentProcess) -> None:
    """A container's own published port answers it on the host's address, which it sees as the gateway's."""
    assert host.lab.connect("web", (HOST, 8080)).peer == "10.0.50.1"


@pytest.mark.system
def test_fault_07_a_port_of_another_process(agent: Agent, kernel: MemoryKernel) -> None:
    """A port that another process has is refused before any rule for it is written."""
    before, written = kernel.elements, []
    kernel.alter = lambda add, remove: written.append(add)  # type: ignore[method-assign]  # only looked at
    with socket.create_server(("127.0.0.1", 9000)):
        assert code_of(agent.publish, "web", ["9000:80"]) == "port_in_use"
    assert (written, kernel.elements) == ([], before)
    assert agent.publish("web", ["9000:80"]).ports
    assert written


@pytest.mark.system
def test_fault_08_a_restart_drops_no_rules(host: AgentProcess) -> None:
    """A connection to a running container outlives the agent, and new ones are made while it is away."""
    with host.lab.open("outside", (HOST, 8080)) as lasting:
        host.kill()
        assert host.lab.can_reach("outside", (HOST, 8080), timeout=5)
        host.start()
        assert ask(lasting).server == "web"
    assert host.client.inspect("web").ports[0].host_port == 8080


@pytest.mark.system
def test_fault_09_what_the_firewall_says_is_heard() -> None:
    """An error has the firewall's own words."""
    with closing(Nftables()) as nftables, pytest.raises(NftablesError, match="No such file or directory"):
        nftables.run("add rule inet nowhere input accept")


@pytest.mark.system
def test_fault_10_routes_of_every_kind() -> None:
    """Routes without a mask, and those that lead nowhere, are read, and stand in the way of a subnet."""
    with Lab() as lab, stopping(HostLinks(lab)) as links:
        links.ip("route", "add", "10.9.0.0", "via", OUTSIDE)
        links.ip("route", "add", "blackhole", "10.8.0.0/16")
        for subnet in ("10.9.0.0/24", "10.8.7.0/24"):
            assert code_of(check_free, subnet, links.occupied()) == "address_in_use"
        check_free("10.9.1.0/24", links.occupied())


@contextmanager
def stopping(links: HostLinks) -> Iterator[HostLinks]:
    """Stop them in the end."""
    try:
        yield links
    finally:
        links.stop()


def test_fault_11_a_nameserver_is_not_hidden() -> None:
    """A subnet that is chosen leaves out the nameserver's, EC2's 172.16.0.23 among them."""
    for server in ("172.16.0.23", "172.16.42.23", "10.0.42.1"):
        chosen = choose(CANDIDATES, [Occupied(server, f"nameserver {server}")])
        assert not networks_overlap(chosen, server)


@pytest.mark.system
def test_fault_12_an_unpublish_that_fails(
    agent: Agent, kernel: MemoryKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the kernel refuses, nothing is half gone: the same request can be done afterwards."""
    web = agent.publish("web", ["8080:80"])
    with monkeypatch.context() as patch:
        patch.setattr(kernel, "alter", refuse_once(kernel.alter))
        with pytest.raises(MoorageError):
            agent.unpublish("web")
    assert agent.inspect("web") == web
    assert_agreement(agent)
    assert agent.unpublish("web").ports == ()
    assert_agreement(agent)


def refuse_once(function: Callable[..., None]) -> Callable[..., None]:
    """What raises Refused at the first call, and does what it shall at all others."""
    refusals = [Refused("denied", "the kernel is in no mood")]

    def call(*arguments: Any) -> None:
        if refusals:
            raise refusals.pop()
        function(*arguments)

    return call


@pytest.mark.system
def test_fault_13_the_third_port_fails(agent: Agent) -> None:
    """When the third of three ports cannot be had, the first two are not either."""
    agent.allocate("db", ports=["8080:80"])
    assert code_of(agent.publish, "web", ["81:81", "82:82", "8080:80"]) == "port_in_use"
    assert agent.inspect("web").ports == ()
    assert_agreement(agent)
    assert len(agent.publish("db", ["81:81", "82:82"]).ports) == 3


@pytest.mark.system
def test_fault_14_many_at_once(agent: Agent) -> None:
    """Mappings published and withdrawn by many at the same time are all and only those that were to stay."""

    def publish(number: int) -> None:
        agent.allocate(f"c{number}", ports=[f"{7000 + number}:80", f"{7000 + number}:80/udp", "80"])
        agent.unpublish(f"c{number}", ["80"] if number % 2 else [f"{7000 + number}:80/udp"])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(publish, range(24)))
    assert_agreement(agent)
    assert agent.status().mappings == 12 * 1 + 12 * 2


@pytest.mark.system
def test_fault_15_ipv6(agent: Agent) -> None:
    """IPv6 has ranges, networks, addresses and published ports."""
    assert network_range("fd00::5/64") == ("fd00::", "fd00::ffff:ffff:ffff:ffff")
    agent.create_network("dual", subnet="10.0.43.0/24", subnet6="fd43::/64")
    assert agent.allocate("db", network="dual", ports=["[::1]:8080:80"]).ipv6 == "fd43::2"
    assert ("tcp", 8080) in listening()


@pytest.mark.system
def test_fault_16_a_bridge_with_two_addresses(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first is taken, and a subnet named as well has to be that one."""
    found = ["10.0.60.1/24", "10.0.61.1/24"]
    monkeypatch.setattr(MemoryLinks, "find_bridge", lambda _links, _name: Bridge(found, 1500))
    assert code_of(agent.create_network, "back", bridge="br7", subnet="10.0.61.1/24") == "address_in_use"
    assert agent.create_network("back", bridge="br7").subnet == "10.0.60.0/24"


@pytest.mark.system
def test_fault_17_a_bridge_that_was_there_is_masqueraded(host: AgentProcess) -> None:
    """A container on a bridge that the agent did not make gets out, with the host's address."""
    with closing(host.lab.echo_server("outside", "tcp", 80)):
        assert host.lab.connect("web", (OUTSIDE, 80)).peer == HOST
