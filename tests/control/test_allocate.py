"""Allocating interfaces and giving them back."""

from __future__ import annotations

import re

import pytest

from agreement import StartAgent, assert_agreement
from moorage import Agent, Refused

pytestmark = pytest.mark.system


def test_an_interface_gets_the_next_address(agent: Agent) -> None:
    """An interface has an address, a MAC of it, the network's gateway, and is told alike by all methods."""
    web = agent.allocate("web", labels={"app": "shop"})
    assert (web.ip, web.prefix, web.gateway, web.network) == ("10.0.42.2", 24, "10.0.42.1", "default")
    assert (web.netns, web.ifname, web.labels) == (None, None, {"app": "shop"})
    assert agent.inspect("web") == web
    assert agent.allocate("db").ip == "10.0.42.3"
    assert [each.id for each in assert_agreement(agent)] == ["web", "db"]


def test_an_id_is_made_when_none_is_given(agent: Agent) -> None:
    """Without an id every allocation is another interface."""
    first, second = agent.allocate(), agent.allocate()
    assert first.id != second.id
    assert len(assert_agreement(agent)) == 2


def test_allocating_again_gives_what_is_there(agent: Agent) -> None:
    """An allocation that asks for no more than the interface has gives it, and takes nothing."""
    web = agent.allocate("web", ip="10.0.42.9", labels={"a": "b"}, ports=["8080:80", "53/udp"])
    assert agent.allocate("web") == web
    assert agent.allocate("web", ip="10.0.42.9", labels={"a": "b"}, ports=["53/udp", "8080:80"]) == web
    assert agent.allocate("web", mac=web.mac, network="default") == web
    assert_agreement(agent)


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"ip": "10.0.42.77"}, "ip 10.0.42.2"),
        ({"mac": "02:00:00:00:00:01"}, "mac"),
        ({"labels": {"x": "y"}}, "labels"),
        ({"ports": ["9090:90"]}, "9090:90"),
        ({"ports": ["80", "80"]}, "80"),
        ({"network": "other"}, "network default"),
    ],
)
def test_allocating_again_with_other_wishes_is_refused(
    agent: Agent, asked: dict[str, object], why: str
) -> None:
    """An allocation that asks for something else than the interface has is refused, naming the difference."""
    agent.create_network("other", subnet="10.0.43.1/24")
    web = agent.allocate("web", ports=["80"])
    with pytest.raises(Refused, match=re.escape(why)) as refused:
        agent.allocate("web", **asked)  # type: ignore[arg-type]  # each its own type
    assert refused.value.code == "exists"
    assert agent.inspect("web") == web
    assert_agreement(agent)


def test_a_refused_allocation_leaves_nothing(agent: Agent) -> None:
    """When the last of many wishes cannot be met, neither address nor port nor actor remains."""
    agent.allocate("web", ports=["8080:80"])
    for asked in (
        {"ports": ["81", "82/udp", "8080:80"]},
        {"ip": "10.0.42.2", "ports": ["81"]},
        {"ip": "10.9.9.9"},
        {"mac": "02:6d:0a:00:2a:02", "ports": ["81"]},
        {"ipv6": "fd00::1"},
        {"network": "nowhere"},
        {"netns": "/run/netns/x", "ports": ["81"]},
    ):
        with pytest.raises(Refused):
            agent.allocate("db", **asked)  # type: ignore[arg-type]  # each its own type
        assert [each.id for each in assert_agreement(agent)] == ["web"]
    assert agent.allocate("db", ip="10.0.42.3", ports=["81:81"]).ports[0].host_port == 81


@pytest.mark.parametrize(
    ("asked", "code", "why"),
    [
        ({"ip": "10.0.42.2"}, "address_in_use", "web"),
        ({"ip": "10.0.42.1"}, "invalid", "gateway"),
        ({"ip": "10.0.42.255"}, "invalid", "broadcast"),
        ({"ip": "10.9.9.9"}, "invalid", "10.0.42.0/24"),
        ({"mac": "02:6D:0a:00:2a:02"}, "address_in_use", "web"),
        ({"ipv6": "fd00::1"}, "invalid", "no IPv6"),
        ({"network": "nowhere"}, "not_found", "nowhere"),
        ({"netns": "/run/netns/x"}, "unsupported", "/run/netns/x"),
        ({"ports": ["8080:80"]}, "port_in_use", "web"),
        ({"ports": ["127.0.0.1:8080:80"]}, "port_in_use", "web"),
        ({"ports": ["80:"]}, "invalid", "80:"),
        ({"ifname": "eth7"}, "invalid", "netns"),
        ({"ports": ["81:80", "81:82"]}, "invalid", "81:8"),
    ],
)
def test_refusals_name_what_is_wrong(agent: Agent, asked: dict[str, object], code: str, why: str) -> None:
    """A refused allocation has its code, and a sentence with what stands in the way."""
    agent.allocate("web", ports=["8080:80"])
    with pytest.raises(Refused, match=re.escape(why)) as refused:
        agent.allocate("db", **asked)  # type: ignore[arg-type]  # each its own type
    assert refused.value.code == code


def test_a_mac_is_one_interfaces_in_its_network(agent: Agent) -> None:
    """A MAC address of another network, or of an interface that is released, may be asked for."""
    agent.create_network("other", subnet="10.0.43.1/24")
    web = agent.allocate("web", mac="02:00:00:00:00:01")
    assert agent.allocate("db", network="other", mac=web.mac).mac == web.mac
    agent.release("web")
    assert agent.allocate("new", mac=web.mac).mac == web.mac
    assert_agreement(agent)


def test_an_address_whose_mac_is_taken_is_passed_over(agent: Agent) -> None:
    """Who asks for neither gets another address; who asks for that one is refused, and may have it with another MAC."""
    agent.allocate("web", ip="10.0.42.9", mac="02:6d:0a:00:2a:02")
    assert agent.allocate("db").ip == "10.0.42.3"
    with pytest.raises(Refused, match="web") as refused:
        agent.allocate("new", ip="10.0.42.2")
    assert refused.value.code == "address_in_use"
    assert agent.allocate("new", ip="10.0.42.2", mac="02:00:00:00:00:01").ip == "10.0.42.2"
    assert_agreement(agent)


def test_releasing_gives_everything_back(agent: Agent) -> None:
    """A released interface is gone with its address, ports, proxies and actors; again is no error."""
    agent.allocate("web", ip="10.0.42.9", ports=["8080:80", "53/udp"])
    assert agent.release("web").released
    assert not agent.release("web").released
    assert assert_agreement(agent) == []
    assert agent.allocate("db", ip="10.0.42.9", ports=["8080:80"]).ip == "10.0.42.9"


@pytest.mark.parametrize("method", ["inspect", "publish", "unpublish", "attach", "detach"])
def test_what_is_not_there_is_not_found(agent: Agent, method: str) -> None:
    """A method on an interface that does not exist says so, and leaves no actor behind."""
    arguments = {"publish": {"ports": ["80"]}, "attach": {"netns": "pid:1"}}.get(method, {})
    with pytest.raises(Refused, match="ghost") as refused:
        getattr(agent, method)("ghost", **arguments)
    assert refused.value.code == "not_found"
    assert_agreement(agent)


def test_a_dual_network_gives_an_address_of_each_family(agent: Agent) -> None:
    """On a network with IPv6 an interface has both; when the IPv6 one is refused, the IPv4 one is given back."""
    agent.create_network("dual", subnet="10.0.43.1/29", subnet6="fd00:43::1/64")
    web = agent.allocate("web", network="dual", ipv6="fd00:43::9")
    assert (web.ip, web.ipv6, web.prefix6, web.gateway6) == ("10.0.43.2", "fd00:43::9", 64, "fd00:43::1")
    with pytest.raises(Refused) as refused:
        agent.allocate("db", network="dual", ipv6="fd00:43::9")
    assert refused.value.code == "address_in_use"
    assert agent.allocate("db", network="dual", ip="10.0.43.3").ipv6 == "fd00:43::2"
    assert_agreement(agent)


def test_addresses_can_be_exhausted(agent: Agent) -> None:
    """A network whose addresses are all given refuses the next at once, and gives the one that is freed."""
    agent.create_network("tiny", subnet="10.0.43.1/29")
    taken = [agent.allocate(network="tiny") for _ in range(5)]
    with pytest.raises(Refused, match=r"10\.0\.43\.0") as refused:
        agent.allocate("late", network="tiny")
    assert refused.value.code == "addresses_exhausted"
    agent.release(taken[2].id)
    assert agent.allocate("late", network="tiny").ip == taken[2].ip
    assert_agreement(agent)


def test_a_released_address_rests(start_agent: StartAgent) -> None:
    """With a quarantine a released address is given again after all others, also by an agent started anew."""
    agent = start_agent(quarantine=3600)
    agent.create_network("tiny", subnet="10.0.43.1/29")
    for name in ("a", "b"):
        agent.allocate(name, network="tiny")
    agent.release("a")
    agent.stop()
    again = start_agent(quarantine=3600)
    given = [again.allocate(network="tiny").ip for _ in range(4)]
    assert given == ["10.0.43.4", "10.0.43.5", "10.0.43.6", "10.0.43.2"]
    assert_agreement(again)
