"""Networks whose published ports are the kernel's alone."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from agreement import StartAgent, assert_agreement, listening
from moorage import Agent, Network, Refused
from moorage.kernel.memory import MemoryKernel

pytestmark = pytest.mark.system

SPECS = ["8080:80", "53/udp", "127.0.0.1:8081:81", "9000-9299:9000-9299", "9000-9009:80-89/udp"]


@pytest.fixture
def bare(agent: Agent) -> Network:
    """A network without proxies, of IPv4."""
    return agent.create_network("bare", subnet="10.0.43.0/24", proxy="never")


def listener(proto: str, port: int) -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM if proto == "udp" else socket.SOCK_STREAM)
    made.bind(("127.0.0.1", port))
    if proto == "tcp":
        made.listen()
    return made


def test_nothing_listens(agent: Agent, bare: Network, kernel: MemoryKernel) -> None:
    """Published ports have rules, are reserved and taken, and are held by no proxy and no socket."""
    web = agent.allocate("web", network="bare", ports=SPECS)
    assert listening() == set()
    assert agent.status().proxies == 0
    assert {each.host_port for each in web.ports if each.host_port > 49152} <= kernel.reserved
    assert_agreement(agent)
    with pytest.raises(Refused, match="web"):
        agent.allocate("other", ports=["8080:80"])
    agent.unpublish("web", ["8080:80"])
    agent.publish("web", ["8080:80/udp"])
    assert_agreement(agent)
    agent.release("web")
    assert_agreement(agent)


def test_networks_side_by_side(agent: Agent, bare: Network) -> None:
    """Each network keeps its own way; the default one still listens."""
    agent.allocate("web", network="bare", ports=["8080:80"])
    agent.allocate("api", ports=["8090:80"])
    assert listening() == {("tcp", 8090)}
    assert_agreement(agent)
    assert [each.proxy for each in agent.networks()] == ["never", "always"]


@pytest.mark.parametrize(("proto", "spec"), [("tcp", "8000-8299:8000-8299"), ("udp", "8299:80/udp")])
def test_a_foreign_holder_is_found(agent: Agent, bare: Network, proto: str, spec: str) -> None:
    """A port that somebody listens at is refused, naming who, with nothing changed; then nobody holds it."""
    agent.allocate("web", network="bare")
    with listener(proto, 8299), pytest.raises(Refused, match=f"port 8299/{proto} is held by pid") as refused:
        agent.publish("web", ["81:81", spec])
    assert refused.value.code == "port_in_use"
    assert agent.inspect("web").ports == ()
    assert_agreement(agent)
    agent.publish("web", ["81:81", spec])
    listener(proto, 8299).close()


def test_automatic_ports_pass_over_foreign_ones(agent: Agent, bare: Network) -> None:
    """An automatic port that somebody else holds is not given."""
    with listener("tcp", 49153):
        assert agent.allocate("web", network="bare", ports=["80"]).ports[0].host_port == 49154


@pytest.mark.parametrize("spec", ["[::1]:8080:80", "[::]:8080:80", "[2001:db8::1]:8080:80"])
def test_what_needs_a_proxy_is_refused(agent: Agent, bare: Network, spec: str) -> None:
    """What the rules of the kernel cannot carry to a container without IPv6 is unsupported, and nothing is changed."""
    agent.allocate("web", network="bare", ports=["81:81"])
    for attempt in (
        lambda: agent.publish("web", ["82:82", spec]),
        lambda: agent.allocate("api", network="bare", ports=["82:82", spec]),
    ):
        with pytest.raises(Refused, match="needs a proxy, and the network bare has none") as refused:
            attempt()
        assert refused.value.code == "unsupported"
    assert [each.host_port for each in agent.inspect("web").ports] == [81]
    assert_agreement(agent)


def test_ipv6_is_the_kernels_where_the_network_has_it(agent: Agent) -> None:
    """With IPv6 on both sides only loopback is left to a proxy, and refused."""
    agent.create_network("both", subnet="10.0.44.0/24", subnet6="fd44::/64", proxy="never")
    agent.allocate("web", network="both", ports=["8080:80", "[::]:8082:80"])
    with pytest.raises(Refused, match=r"\[::1\]:8083:80 needs a proxy"):
        agent.publish("web", ["[::1]:8083:80"])
    assert_agreement(agent)


@pytest.mark.parametrize("config", [{}, {"loopback": "proxy"}])
def test_the_default_network_without(start_agent: StartAgent, config: dict[str, Any]) -> None:
    """The configuration says it for the default network; loopback left to a proxy is then nobody's."""
    agent = start_agent(proxy="never", **config)
    if config:
        with pytest.raises(Refused, match="needs a proxy"):
            agent.allocate("web", ports=["127.0.0.1:8080:80"])
    agent.allocate("web", ports=["8080:80"])
    assert listening() == set()
    agent.stop()
    with pytest.raises(Refused, match="with proxy never, MTU 1500 and interfaces"):
        start_agent(**config)
    again = start_agent(proxy="never", **config)
    assert_agreement(again)
    again.release("web")
    again.stop()
    assert [each.proxy for each in start_agent(**config).networks()] == ["always"]


@pytest.mark.parametrize(
    "actor", ["interface:web", "proxies", "interfaces", "port-mapper", "tcp-ports", "journal"]
)
def test_crashes_bring_no_listener(agent: Agent, bare: Network, actor: str) -> None:
    """Whoever restarts knows that there is none."""
    agent.allocate("web", network="bare", ports=SPECS)
    with agent.subscribe(["actor_restarted"]) as events:
        agent.crash(actor)
        assert next(events)["actor"] == actor
    agent.publish("web", ["7000:70"])
    assert_agreement(agent)
